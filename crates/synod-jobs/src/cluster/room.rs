//! How many more tasks a worker may take now.
//!
//! A worker that was told how many tasks to run at a time runs so many. Any other has a slot per core, and
//! shares the cores of its machine with all such workers there: each has its part of them, rounded up. More
//! tasks than that only take caches from each other. The part is fixed as long as these workers are there:
//! none has all outputs of a job, and when one dies the others need not hear of it to keep the cores busy.

use crate::cluster::names::{TaskKind, WorkerId};
use crate::cluster::records::WorkerRecord;
use crate::cluster::shares::Shares;
use crate::cluster::view::{JobView, View};
use std::collections::{BTreeMap, BTreeSet};

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

    /// Who reduces which of the job's partitions first, by the tasks that each may run at a time.
    pub(super) fn shares(&self, job: &JobView) -> Shares<'v> {
        let partitions = job.job.as_ref().map_or(0, |job| job.record.totals.reduces);
        Shares::new(self.eligible.iter().map(|id| (*id, self.part_of(id))), partitions)
    }

    /// Workers that can be expected to reduce more of the job soon: they work on reduces of it, or have room
    /// for them.
    pub(super) fn reducing(&self, job: &'v JobView) -> BTreeSet<&'v WorkerId> {
        let reduces = job.attempts().filter(|(task, ..)| task.kind == TaskKind::Reduce);
        let working = reduces.map(|(_, _, claim)| &claim.record.worker);
        working.chain(self.workers()).collect()
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
