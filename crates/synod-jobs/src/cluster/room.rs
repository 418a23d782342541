//! How many more tasks a worker may take now.
//!
//! A worker that was told how many tasks to run at a time runs so many. Any other has a slot per core, and
//! shares the cores of its machine with all such workers there: each has its part of them, rounded up. More
//! tasks than that only take caches from each other. The part is fixed as long as these workers are there:
//! none has all outputs of a job, and when one dies the others need not hear of it to keep the cores busy.
//!
//! By the same room each worker has its share of a job's partitions, which it reduces first: so it can fetch
//! what it will need of them while maps still run.

use crate::cluster::names::{TaskId, TaskKind, WorkerId};
use crate::cluster::records::WorkerRecord;
use crate::cluster::view::{JobView, View};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The room of all workers for tasks of one job.
#[derive(Debug)]
pub(super) struct Room<'v> {
    view: &'v View,
    eligible: BTreeSet<&'v WorkerId>,
    running: BTreeMap<&'v WorkerId, u32>,
    /// Workers that share the cores of a machine and may take tasks of the job.
    sharers: BTreeMap<&'v str, u32>,
}

impl<'v> Room<'v> {
    /// By the records alone.
    pub(super) fn of(view: &'v View, job: &JobView) -> Room<'v> {
        let (eligible, running) = (view.eligible(job), view.running_on());
        let records = eligible.iter().filter_map(|id| Some(&view.workers.get(*id)?.record));
        let sharers = sharers(records);
        Room { view, eligible, running, sharers }
    }

    /// How many more tasks of the job a worker may take; none if it takes none of this job.
    pub(super) fn left(&self, worker: &WorkerId) -> u32 {
        let running = self.running.get(worker).copied().unwrap_or(0);
        self.part_of(worker).saturating_sub(running)
    }

    /// Whether a worker that runs so many tasks may take one of the job, as far as it is for others to say:
    /// its slots it counts itself, the records may not know yet, or still, what it runs.
    pub(super) fn is_left_to(&self, worker: &WorkerId, running: u32) -> bool {
        let has_own = self.view.workers.get(worker).is_some_and(|found| !found.record.shares_cores);
        self.eligible.contains(worker) && (has_own || running < self.part_of(worker))
    }

    /// Workers that may take a task of the job now.
    pub(super) fn workers(&self) -> impl Iterator<Item = &'v WorkerId> {
        self.eligible.iter().copied().filter(|worker| self.left(worker) > 0)
    }

    /// The partitions of the job, of so many, that a worker reduces first: neighbours in their order, as
    /// many as it has of the room. Every partition is in the share of one worker, if there is any.
    pub(super) fn share_of(&self, worker: &WorkerId, partitions: u32) -> Range<u32> {
        let parts = || self.eligible.iter().map(|id| (*id, u64::from(self.part_of(id))));
        let all: u64 = parts().map(|(_, part)| part).sum();
        let before: u64 = parts().take_while(|(id, _)| *id < worker).map(|(_, part)| part).sum();
        let end = before + u64::from(self.part_of(worker));
        // No more than there are partitions.
        let cut = |at: u64| (u64::from(partitions) * at / all.max(1)) as u32;
        cut(before)..cut(end)
    }

    /// Whether the worker that has a partition in its share can be expected to reduce it soon: it works on
    /// reduces of the job, or has room for them.
    pub(super) fn owner_is_at_it(&self, job: &JobView, partition: u32) -> bool {
        let partitions = job.job.as_ref().map_or(0, |job| job.record.totals.reduces);
        let mut eligible = self.eligible.iter().copied();
        let owner = eligible.find(|id| self.share_of(id, partitions).contains(&partition));
        owner.is_some_and(|owner| {
            let mut attempts = job.attempts();
            let is_its_reduce =
                |task: TaskId, worker: &WorkerId| task.kind == TaskKind::Reduce && worker == owner;
            self.left(owner) > 0
                || attempts.any(|(task, _, claim)| is_its_reduce(task, &claim.record.worker))
        })
    }

    /// Tasks of the job that a worker may run at a time.
    fn part_of(&self, worker: &WorkerId) -> u32 {
        let found = self.view.workers.get(worker).filter(|_| self.eligible.contains(worker));
        found.map_or(0, |found| part(&found.record, &self.sharers))
    }
}

/// Tasks that these workers may run at a time, all together.
pub fn slots_together<'a>(workers: impl Iterator<Item = &'a WorkerRecord> + Clone) -> u32 {
    let sharers = sharers(workers.clone());
    workers.fold(0, |sum: u32, worker| sum.saturating_add(part(worker, &sharers)))
}

/// How many of these workers share the cores of each machine.
fn sharers<'a>(workers: impl Iterator<Item = &'a WorkerRecord>) -> BTreeMap<&'a str, u32> {
    let mut sharers = BTreeMap::new();
    for worker in workers.filter(|worker| worker.shares_cores) {
        *sharers.entry(worker.host.as_str()).or_insert(0) += 1;
    }
    sharers
}

fn part(worker: &WorkerRecord, sharers: &BTreeMap<&str, u32>) -> u32 {
    let sharers = sharers.get(worker.host.as_str()).filter(|_| worker.shares_cores);
    worker.slots.div_ceil(sharers.copied().unwrap_or(1).max(1))
}
