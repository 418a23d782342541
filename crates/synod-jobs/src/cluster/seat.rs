//! The two places that attempts of one task may take at a time.
//!
//! A waiting task is claimed on the first seat. If that attempt turns out to be slow, another one may
//! begin on the seat that is left. Whoever commits first frees both. An attempt that ends otherwise frees
//! its own, so a task waits again when both are free.

use crate::cluster::names::{JobKey, TaskId};
use crate::cluster::records::ClaimRecord;
use crate::cluster::view::{JobView, Stamped};
use std::collections::BTreeMap;

/// A place for an attempt of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seat {
    /// `claim/<task>`.
    First,
    /// `backup/<task>`.
    Second,
}

impl Seat {
    /// Both.
    pub const ALL: [Seat; 2] = [Seat::First, Seat::Second];

    /// The key of the claim of a task on this seat.
    pub fn key(self, task: TaskId) -> JobKey {
        match self {
            Seat::First => JobKey::Claim(task),
            Seat::Second => JobKey::Backup(task),
        }
    }

    /// Who sits on it, task by task.
    pub fn claims(self, job: &JobView) -> &BTreeMap<TaskId, Stamped<ClaimRecord>> {
        match self {
            Seat::First => &job.claims,
            Seat::Second => &job.backups,
        }
    }
}

impl JobView {
    /// The running attempts of a task.
    pub fn attempts_of(&self, task: TaskId) -> impl Iterator<Item = (Seat, &Stamped<ClaimRecord>)> {
        Seat::ALL.into_iter().filter_map(move |seat| Some((seat, seat.claims(self).get(&task)?)))
    }

    /// The running attempts of all tasks.
    pub fn attempts(&self) -> impl Iterator<Item = (TaskId, Seat, &Stamped<ClaimRecord>)> {
        Seat::ALL.into_iter().flat_map(|seat| {
            seat.claims(self).iter().map(move |(task, claim)| (*task, seat, claim))
        })
    }

    /// The running attempt of a task, and the seat beside it, if there is exactly one.
    pub fn lone_attempt(&self, task: TaskId) -> Option<(Seat, &Stamped<ClaimRecord>)> {
        match (self.claims.get(&task), self.backups.get(&task)) {
            (Some(claim), None) => Some((Seat::Second, claim)),
            (None, Some(claim)) => Some((Seat::First, claim)),
            _ => None,
        }
    }
}
