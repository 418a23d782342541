//! What is asked of a job's records all the time, kept up to date with every change: which tasks wait,
//! which are done and where, and what they add up to. Without it each look at a job of ten thousand tasks
//! would be a walk over all of them.

use crate::cluster::names::{TaskId, TaskKind, WorkerId};
use crate::cluster::records::{TaskDone, TaskOutput, TaskRecord};
use std::collections::{BTreeMap, BTreeSet};

/// Attempts from which on a task is worth a look.
const MANY_ATTEMPTS: u32 = 4;

/// The index of one job.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// Tasks that are neither over nor claimed.
    pub waiting: BTreeSet<TaskId>,
    /// Tasks that have failed, lost, skipped or begun anything more than once.
    pub troubled: BTreeSet<TaskId>,
    /// Tasks that may be run beside a slow attempt.
    pub slow: BTreeSet<TaskId>,
    /// Finished maps by the worker that keeps their output.
    pub outputs: BTreeMap<WorkerId, BTreeSet<TaskId>>,
    /// Sums over the winning attempts.
    pub sums: Sums,
    maps: Tally,
    reduces: Tally,
    /// What a task has added to the sums.
    added: BTreeMap<TaskId, (WorkerId, Sums)>,
}

/// Tasks of one kind.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    all: u32,
    done: u32,
    given_up: u32,
}

/// What winning attempts have counted, as far as a progress bar shows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub read: u64,
    pub spilled: u64,
    pub written: u64,
}

impl Index {
    /// Takes in how a task was and is: `None` for a task without a record. `claimed` is what it is now.
    pub fn update(
        &mut self,
        id: TaskId,
        before: Option<&TaskRecord>,
        now: Option<&TaskRecord>,
        claimed: bool,
    ) {
        let tally = self.tally(id.kind);
        tally.all = tally.all + u32::from(now.is_some()) - u32::from(before.is_some());
        let is_done = |task: Option<&TaskRecord>| task.is_some_and(|task| task.done.is_some());
        tally.done = tally.done + u32::from(is_done(now)) - u32::from(is_done(before));
        let is_given_up =
            |task: Option<&TaskRecord>| task.is_some_and(|task| task.given_up.is_some());
        tally.given_up =
            tally.given_up + u32::from(is_given_up(now)) - u32::from(is_given_up(before));
        let done = now.and_then(|task| task.done.as_ref());
        self.account(id, done);
        set(&mut self.waiting, id, now.is_some_and(|task| !task.is_over()) && !claimed);
        set(&mut self.slow, id, now.is_some_and(|task| task.slow.is_some() && !task.is_over()));
        let is_troubled = |task: &TaskRecord| {
            !task.failures.is_empty()
                || !task.skips.is_empty()
                || task.losses > 0
                || task.given_up.is_some()
                || task.attempts >= MANY_ATTEMPTS
        };
        set(&mut self.troubled, id, now.is_some_and(is_troubled));
    }

    /// Tasks of a kind that have their winner.
    pub fn done(&self, kind: TaskKind) -> u32 {
        self.of(kind).done
    }

    /// Tasks of a kind that the job goes on without.
    pub fn given_up(&self, kind: TaskKind) -> u32 {
        self.of(kind).given_up
    }

    /// Whether every task of a kind has its winner, or was given up.
    pub fn are_over(&self, kind: TaskKind) -> bool {
        let Tally { all, done, given_up } = self.of(kind);
        done + given_up == all
    }

    /// Waiting tasks of a kind.
    pub fn waiting_of(&self, kind: TaskKind) -> impl Iterator<Item = TaskId> {
        let (first, last) = (TaskId { kind, number: 0 }, TaskId { kind, number: u32::MAX });
        self.waiting.range(first..=last).copied()
    }

    fn of(&self, kind: TaskKind) -> Tally {
        match kind {
            TaskKind::Map => self.maps,
            TaskKind::Reduce => self.reduces,
        }
    }

    fn tally(&mut self, kind: TaskKind) -> &mut Tally {
        match kind {
            TaskKind::Map => &mut self.maps,
            TaskKind::Reduce => &mut self.reduces,
        }
    }

    fn account(&mut self, id: TaskId, done: Option<&TaskDone>) {
        if let Some((worker, sums)) = self.added.remove(&id) {
            self.sums = self.sums.less(sums);
            if let Some(outputs) = self.outputs.get_mut(&worker) {
                outputs.remove(&id);
                if outputs.is_empty() {
                    self.outputs.remove(&worker);
                }
            }
        }
        let Some(done) = done else { return };
        let counters = done.output.counters();
        let sums = Sums {
            read: counters.map_bytes_in,
            spilled: counters.run_bytes_written,
            written: counters.reduce_bytes_out,
        };
        self.sums = self.sums.plus(sums);
        self.added.insert(id, (done.worker.clone(), sums));
        // The part file of a job without reduces lies in the output folder, not with the worker.
        if matches!(done.output, TaskOutput::Map { .. }) {
            self.outputs.entry(done.worker.clone()).or_default().insert(id);
        }
    }
}

impl Sums {
    fn plus(self, other: Sums) -> Sums {
        Sums {
            read: self.read.wrapping_add(other.read),
            spilled: self.spilled.wrapping_add(other.spilled),
            written: self.written.wrapping_add(other.written),
        }
    }

    fn less(self, other: Sums) -> Sums {
        Sums {
            read: self.read.wrapping_sub(other.read),
            spilled: self.spilled.wrapping_sub(other.spilled),
            written: self.written.wrapping_sub(other.written),
        }
    }
}

fn set(of: &mut BTreeSet<TaskId>, id: TaskId, is_in: bool) {
    if is_in {
        of.insert(id);
    } else {
        of.remove(&id);
    }
}
