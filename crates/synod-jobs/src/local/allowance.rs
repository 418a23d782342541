//! How many records and groups a job may still leave out, over all its tasks; and how many tasks of a kind it
//! may go on without.

use super::lock;
use crate::cluster::names::TaskId;
use crate::error::JobError;
use crate::given_up::may_go_on;
use crate::task::TaskKind;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the spec allows, and what of that is left.
pub(super) struct Allowance {
    limit: u64,
    left: AtomicU64,
}

impl Allowance {
    pub fn new(limit: u64) -> Allowance {
        Allowance { limit, left: AtomicU64::new(limit) }
    }

    /// Whether anything may be left out.
    pub fn is_some(&self) -> bool {
        self.limit > 0
    }

    /// Takes one; `false` if there is none.
    pub fn take(&self) -> bool {
        self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// The error of a job in which this is one too many.
    pub fn exceeded(&self, last: JobError) -> JobError {
        match self.limit {
            0 => last,
            limit => JobError::TooManyBadRecords { limit, last: Box::new(last) },
        }
    }
}

/// How many tasks of one kind the job may go on without, and those that it does.
pub(super) struct Tolerance {
    kind: TaskKind,
    percent: u32,
    total: u64,
    given_up: Mutex<BTreeMap<u32, String>>,
}

impl Tolerance {
    /// Of so many tasks so many of a hundred may fail.
    pub fn new(kind: TaskKind, percent: u32, total: u64) -> Tolerance {
        Tolerance { kind, percent, total, given_up: Mutex::default() }
    }

    /// Whether the job could go on without a task that fails like this. What is wrong with this process or
    /// its disk is no matter of one task, and there is no other machine to try it on.
    pub fn cover(&self, error: &JobError) -> bool {
        let of_machine = matches!(
            error,
            JobError::Io { .. } | JobError::DiskFull { .. } | JobError::DamagedRun { .. }
        );
        self.percent > 0 && !of_machine && !error.is_of_whole_job()
    }

    /// Goes on without a task that has failed for good, or fails itself if there are too many.
    pub fn give_up(&self, number: u32, error: JobError) -> Result<(), JobError> {
        if !self.cover(&error) {
            return Err(error);
        }
        let Tolerance { kind, percent, total, .. } = *self;
        let mut given_up = lock(&self.given_up);
        let failed = given_up.len() as u64 + 1;
        if !may_go_on(percent, failed, total) {
            let last = Box::new(error);
            return Err(JobError::TooManyFailedTasks { kind, failed, total, percent, last });
        }
        given_up.insert(number, error.to_string());
        Ok(())
    }

    /// The tasks and their errors, by number.
    pub fn take(&self) -> Vec<(TaskId, String)> {
        let given_up = std::mem::take(&mut *lock(&self.given_up));
        let id = |number| TaskId { kind: self.kind, number };
        given_up.into_iter().map(|(number, error)| (id(number), error)).collect()
    }
}
