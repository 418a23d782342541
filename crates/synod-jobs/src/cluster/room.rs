//! How many more tasks a worker may take now.
//!
//! A worker that was told how many tasks to run at a time runs so many. Any other has a slot per core, and shares the
//! cores of its machine with all such workers there: together they run as many tasks as one of them would alone,
//! each its part of them (rounded up), so that none has all and the loss of one costs little. More tasks than
//! cores only take caches from each other.
//!
//! By the records: what a worker has claimed that died counts until its lease ends or its neighbours notice, and
//! workers that claim at the same moment may take a task too many.

use crate::cluster::names::WorkerId;
use crate::cluster::records::WorkerRecord;
use crate::cluster::view::{JobView, View};
use std::collections::{BTreeMap, BTreeSet};

/// The room of all workers for tasks of one job.
#[derive(Debug)]
pub(super) struct Room<'v> {
    view: &'v View,
    eligible: BTreeSet<&'v WorkerId>,
    running: BTreeMap<&'v WorkerId, u32>,
    hosts: BTreeMap<&'v str, Host>,
}

/// Workers of one machine that share its cores.
#[derive(Debug, Default)]
struct Host {
    /// Those that may take tasks of the job.
    workers: u32,
    /// Tasks of all of them, of all jobs.
    running: u32,
}

impl<'v> Room<'v> {
    /// By the records alone.
    pub(super) fn of(view: &'v View, job: &JobView) -> Room<'v> {
        let (eligible, running) = (view.eligible(job), view.running_on());
        let mut hosts: BTreeMap<&str, Host> = BTreeMap::new();
        for (id, worker) in view.workers.iter().filter(|(_, worker)| worker.record.shares_cores) {
            let host = hosts.entry(&worker.record.host).or_default();
            host.workers += u32::from(eligible.contains(id));
            host.running += running.get(id).copied().unwrap_or(0);
        }
        Room { view, eligible, running, hosts }
    }

    /// How many more tasks of the job a worker may take; none if it takes none of this job.
    pub(super) fn left(&self, worker: &WorkerId) -> u32 {
        let Some(found) = self.view.workers.get(worker) else { return 0 };
        if !self.eligible.contains(worker) {
            return 0;
        }
        let running = self.running.get(worker).copied().unwrap_or(0);
        self.limit(&found.record, running).saturating_sub(running)
    }

    /// Whether a worker that runs so many tasks may take one of the job, as far as it is for others to say: its
    /// slots it counts itself, the records may not know yet, or still, what it runs.
    pub(super) fn is_left_to(&self, worker: &WorkerId, running: u32) -> bool {
        let Some(found) = self.view.workers.get(worker) else { return false };
        let known = self.running.get(worker).copied().unwrap_or(0);
        let is_free = || running < self.limit(&found.record, known);
        self.eligible.contains(worker) && (!found.record.shares_cores || is_free())
    }

    /// Workers that may take a task of the job now.
    pub(super) fn workers(&self) -> impl Iterator<Item = &'v WorkerId> {
        self.eligible.iter().copied().filter(|worker| self.left(worker) > 0)
    }

    /// Tasks that a worker may run at a time while the others run what they do; `running` of it are known.
    fn limit(&self, record: &WorkerRecord, running: u32) -> u32 {
        let host = self.hosts.get(record.host.as_str()).filter(|_| record.shares_cores);
        let Some(host) = host else { return record.slots };
        let part = record.slots.div_ceil(host.workers.max(1));
        part.min(record.slots.saturating_sub(host.running.saturating_sub(running)))
    }
}

/// Tasks that these workers may run at a time, all together.
pub fn slots_together<'a>(workers: impl Iterator<Item = &'a WorkerRecord>) -> u32 {
    let mut hosts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut sum = 0u32;
    for worker in workers {
        if worker.shares_cores {
            let cores = hosts.entry(&worker.host).or_default();
            *cores = worker.slots.max(*cores);
        } else {
            sum = sum.saturating_add(worker.slots);
        }
    }
    hosts.values().fold(sum, |sum, cores| sum.saturating_add(*cores))
}
