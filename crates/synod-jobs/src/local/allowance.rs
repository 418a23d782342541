//! How many records and groups a job may still leave out, over all its tasks.

use crate::error::JobError;
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
