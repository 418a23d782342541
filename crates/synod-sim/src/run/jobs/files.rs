//! Files as the simulated jobs see them: outputs of maps on each worker's own disk, and the folders that all
//! nodes share, where maps leave a side file, reduces their part files, and coordinators publish them.
//!
//! What is published stays under the attempt that it came from, so two winners of one partition show.

use std::collections::{BTreeMap, BTreeSet};

use synod_jobs::cluster::{JobId, TaskId, WorkerId};

use crate::history::Violation;

/// One attempt of one task.
pub(super) type Attempt = (TaskId, u32);

/// The output folder of one job.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// Files of attempts that have ended.
    staged: BTreeSet<Attempt>,
    /// The attempt whose file each task has published.
    pub(super) published: BTreeMap<TaskId, u32>,
    /// `_SUCCESS` is there.
    pub(super) success: bool,
}

/// All files.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Map outputs that lie on the disk of a worker.
    outputs: BTreeSet<(WorkerId, JobId, Attempt)>,
    pub(super) folders: BTreeMap<JobId, Folder>,
}

impl Files {
    pub(super) fn put_output(&mut self, worker: &WorkerId, job: &JobId, map: Attempt) {
        self.outputs.insert((worker.clone(), job.clone(), map));
    }

    pub(super) fn has_output(&self, worker: &WorkerId, job: &JobId, map: Attempt) -> bool {
        self.outputs.contains(&(worker.clone(), job.clone(), map))
    }

    /// A worker's process has ended; nobody reads from its disk any more.
    pub(super) fn lose_outputs(&mut self, worker: &WorkerId) {
        self.outputs.retain(|(owner, ..)| owner != worker);
    }

    /// The coordinator's first work: false if somebody's output is there.
    pub(super) fn is_free(&self, job: &JobId) -> bool {
        !self.folders.contains_key(job)
    }

    /// Makes the folder, or takes over the one that an earlier coordinator has made.
    pub(super) fn make(&mut self, job: &JobId) {
        self.folders.entry(job.clone()).or_default();
    }

    /// An attempt has written its file; false if the folder is gone.
    pub(super) fn stage(&mut self, job: &JobId, attempt: Attempt) -> bool {
        let Some(folder) = self.folders.get_mut(job) else { return false };
        folder.staged.insert(attempt);
        true
    }

    /// An attempt that did not win takes its file away.
    pub(super) fn discard(&mut self, worker: &WorkerId, job: &JobId, attempt: Attempt) {
        self.outputs.remove(&(worker.clone(), job.clone(), attempt));
        if let Some(folder) = self.folders.get_mut(job) {
            folder.staged.remove(&attempt);
        }
    }

    /// Moves the winners' files to where readers look, so many of them, and says at last that all are there.
    /// Repeating it is no error; a file that is nowhere is one.
    pub(super) fn publish(
        &mut self,
        job: &JobId,
        winners: &BTreeMap<TaskId, u32>,
        most: usize,
    ) -> Result<Vec<Violation>, String> {
        let Some(folder) = self.folders.get_mut(job) else {
            return Err("the output folder is gone".to_owned());
        };
        let mut violations = Vec::new();
        for (&task, &attempt) in winners.iter().take(most) {
            let there = folder.published.get(&task).copied();
            if there.is_some_and(|other| other != attempt) {
                let what = format!("{job}: {task} is there of {there:?}, and won by {attempt}");
                violations.push(Violation { promise: "job-two-winners", what });
            }
            if folder.staged.remove(&(task, attempt)) {
                folder.published.insert(task, attempt);
            } else if there != Some(attempt) {
                return Err(format!("the file of {task}, attempt {attempt}, is gone"));
            }
        }
        if most >= winners.len() {
            folder.success = true;
            folder.staged.clear();
        }
        Ok(violations)
    }

    /// Removes what a job without success has left. What readers have been told is complete stays: then it
    /// says so.
    pub(super) fn clean(&mut self, job: &JobId) -> bool {
        let complete = self.folders.get(job).is_some_and(|folder| folder.success);
        if !complete {
            self.folders.remove(job);
        }
        complete
    }
}
