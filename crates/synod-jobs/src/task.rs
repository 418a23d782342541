//! What a task is told about itself: the surroundings of one attempt.
//!
//! Jobs that work on bytes alone never look at it. Those that start a program, write side files or
//! keep something open for the length of a task do.

use crate::error::JobError;
use crate::progress::Progress;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Attempts of one task before the job fails, on a cluster and if the job does not say otherwise.
pub const MAX_ATTEMPTS: u32 = 4;

/// Maps come before reduces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// Reads a split.
    Map,
    /// Writes a part file.
    Reduce,
}

impl TaskKind {
    /// `map` or `reduce`.
    pub fn name(self) -> &'static str {
        match self {
            TaskKind::Map => "map",
            TaskKind::Reduce => "reduce",
        }
    }
}

/// How often a task is tried, by its kind, before it has failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    /// A map task.
    pub map: u32,
    /// A reduce task.
    pub reduce: u32,
}

impl Attempts {
    /// So often, whatever its kind.
    pub const fn both(attempts: u32) -> Attempts {
        Attempts { map: attempts, reduce: attempts }
    }
}

/// Where the lines go that a task says about itself.
pub trait TaskLog: Send + Sync {
    /// One line, without its line feed. It may be dropped or cut if there are too many.
    fn line(&self, bytes: &[u8]);
}

/// A log that keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLog;

impl TaskLog for NoLog {
    fn line(&self, _: &[u8]) {}
}

/// One attempt of one task.
pub struct TaskContext<'a> {
    /// Name of the job.
    pub job_id: &'a str,
    /// Map or reduce.
    pub kind: TaskKind,
    /// Index of the split, or the partition. A map task of a job with a combiner of fixed length may
    /// run several splits; this is the first.
    pub number: u32,
    /// Attempts of the task before this one.
    pub attempt: u32,
    /// How often tasks of this job are tried here.
    pub attempts: Attempts,
    /// Map tasks of the job.
    pub maps: u32,
    /// Reduce tasks of the job; with none, map tasks write the part files.
    pub reduces: u32,
    /// Whether the next attempt may be on another machine.
    pub on_cluster: bool,
    /// Asked whether the job was cancelled, told that the task moves.
    pub progress: &'a Progress,
    /// The task's log.
    pub log: &'a dyn TaskLog,
    scratch: PathBuf,
    scratch_made: AtomicBool,
    side: PathBuf,
}

impl<'a> TaskContext<'a> {
    /// An attempt whose folders for scratch and side files, if it makes them, are these.
    #[expect(clippy::too_many_arguments, reason = "the one place where they come together")]
    pub fn new(
        job_id: &'a str,
        kind: TaskKind,
        number: u32,
        (attempt, attempts): (u32, Attempts),
        tasks: (u32, u32),
        progress: &'a Progress,
        log: &'a dyn TaskLog,
        folders: (PathBuf, PathBuf),
    ) -> TaskContext<'a> {
        let (maps, reduces) = tasks;
        let (scratch, side) = folders;
        let scratch_made = AtomicBool::new(false);
        TaskContext {
            job_id,
            kind,
            number,
            attempt,
            attempts,
            maps,
            reduces,
            on_cluster: false,
            progress,
            log,
            scratch,
            scratch_made,
            side,
        }
    }

    /// A folder for this attempt alone. It is removed with the attempt.
    pub fn scratch(&self) -> Result<&Path, JobError> {
        self.scratch_made.store(true, Relaxed);
        make(&self.scratch)
    }

    /// A folder whose files are published beside the part files if this attempt wins. Two tasks
    /// must not choose the same name, nor one that begins with `part-` or `_`.
    pub fn side_folder(&self) -> Result<&Path, JobError> {
        // Nothing above the attempt's own folder: an attempt that begins after the end of its job must not
        // bring back the output that was removed.
        let made = match create_one(&self.side) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = self.side.parent().map_or(Err(error), create_one);
                parent.and_then(|()| create_one(&self.side))
            }
            made => made,
        };
        made.map_err(|error| JobError::io("create", &self.side, error))?;
        Ok(&self.side)
    }

    /// Where [`TaskContext::side_folder`] is, made or not.
    pub(crate) fn side_path(&self) -> &Path {
        &self.side
    }
}

impl Drop for TaskContext<'_> {
    fn drop(&mut self) {
        if *self.scratch_made.get_mut() {
            // What cannot be removed goes with the folder around it at the end of the job.
            let _ = std::fs::remove_dir_all(&self.scratch);
        }
    }
}

/// Makes a folder in one that is there, unless it is there.
fn create_one(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn make(path: &Path) -> Result<&Path, JobError> {
    std::fs::create_dir_all(path).map_err(|error| JobError::io("create", path, error))?;
    Ok(path)
}
