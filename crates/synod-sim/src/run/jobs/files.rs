//! Files as the simulated jobs see them: outputs of maps on each worker's own disk, and the folders that all
//! nodes share, where maps leave a side file, reduces their part files, and coordinators publish them.
//!
//! What is published stays under the attempt that it came from, so two winners of one partition show.

use std::collections::{BTreeMap, BTreeSet};

use synod_jobs::cluster::output::Winner;
use synod_jobs::cluster::winners::Winners;
use synod_jobs::cluster::{JobId, TaskId, WorkerId};
use synod_jobs::commit::{Account, Manifest};

use crate::history::Violation;

/// One attempt of one task.
pub(super) type Attempt = (TaskId, u32);

/// The output folder of one job.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// Files of attempts that have ended, and the maps whose pairs are in them.
    staged: BTreeMap<Attempt, BTreeSet<TaskId>>,
    /// The file that each task has published.
    pub(super) published: BTreeMap<TaskId, Published>,
    /// What `_SUCCESS` holds, if it is there.
    pub(super) success: Option<Manifest>,
}

/// A file that readers find.
#[derive(Debug)]
pub(super) struct Published {
    /// The attempt that it came from.
    pub(super) attempt: u32,
    /// The maps whose pairs are in it.
    pub(super) holds: BTreeSet<TaskId>,
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

    /// An attempt has written its file, with the pairs of these maps; false if the folder is gone.
    pub(super) fn stage(
        &mut self,
        job: &JobId,
        attempt: Attempt,
        maps: impl IntoIterator<Item = TaskId>,
    ) -> bool {
        let Some(folder) = self.folders.get_mut(job) else { return false };
        folder.staged.insert(attempt, maps.into_iter().collect());
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
        winners: &Winners,
        most: usize,
    ) -> Result<Vec<Violation>, String> {
        let Some(folder) = self.folders.get_mut(job) else {
            return Err("the output folder is gone".to_owned());
        };
        let mut violations = Vec::new();
        for Winner { task, attempt, .. } in winners.outputs.iter().take(most) {
            let (task, attempt) = (*task, *attempt);
            let there = folder.published.get(&task).map(|there| there.attempt);
            if there.is_some_and(|other| other != attempt) {
                let what = format!("{job}: {task} is there of {there:?}, and won by {attempt}");
                violations.push(Violation { promise: "job-two-winners", what });
            }
            if let Some(holds) = folder.staged.remove(&(task, attempt)) {
                folder.published.insert(task, Published { attempt, holds });
            } else if there != Some(attempt) {
                return Err(format!("the file of {task}, attempt {attempt}, is gone"));
            }
        }
        if most >= winners.outputs.len() {
            folder.success = Some(manifest(job, winners));
            folder.staged.clear();
        }
        Ok(violations)
    }

    /// What readers have been told is complete, if they have. Whoever publishes the same once more finds in
    /// it what it would have written.
    pub(super) fn published(&self, job: &JobId) -> Option<&Manifest> {
        self.folders.get(job)?.success.as_ref()
    }

    /// Removes what a job without success has left. What readers have been told is complete stays: then it
    /// says so.
    pub(super) fn clean(&mut self, job: &JobId) -> Option<Manifest> {
        let complete = self.published(job).cloned();
        if complete.is_none() {
            self.folders.remove(job);
        }
        complete
    }
}

/// The files of a job are not told of here: those that are there are looked at.
pub(super) fn manifest(job: &JobId, winners: &Winners) -> Manifest {
    let Account { counters, given_up } = winners.account.clone();
    Manifest { id: Some(job.to_string()), counters, given_up, ..Manifest::default() }
}
