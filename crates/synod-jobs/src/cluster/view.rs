//! A node's copy of all job records, fed by a watch in the order of revisions.
//!
//! It may be behind the store, never torn: changes are guarded by the revisions it saw. A record
//! that does not parse is left out; a newer program wrote it and knows what it means.

use crate::cluster::index::{Index, Sums};
use crate::cluster::names::{JobId, JobKey, Key, TaskId, TaskKind, WorkerId};
use crate::cluster::records::{
    ClaimRecord, JobRecord, JobState, TaskDone, TaskRecord, UnreadableRecord, WorkerRecord, decode,
};
use crate::cluster::report::JobReport;
use crate::cluster::room::Room;
use crate::cluster::shares::Shares;
use crate::given_up::{GivenUp, kept};
use crate::progress::{Phase, Snapshot};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use synod_base::Revision;
use synod_state::kv::{Event, EventKind, KeyValue};

/// Failures of different tasks after which a worker gets no more of the job.
const FAILED_TASKS_PER_WORKER: usize = 3;

/// A record and the revisions that vouch for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped<T> {
    /// The record.
    pub record: T,
    /// When its key was created.
    pub created: Revision,
    /// When it was written last.
    pub modified: Revision,
}

/// All records.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Workers that are alive.
    pub workers: BTreeMap<WorkerId, Stamped<WorkerRecord>>,
    /// Jobs, oldest first.
    pub jobs: BTreeMap<JobId, JobView>,
    revision: Revision,
}

/// The records of one job.
#[derive(Debug, Clone, Default)]
pub struct JobView {
    /// Spec and state; absent for a moment when keys come in the order of their names.
    pub job: Option<Stamped<JobRecord>>,
    /// Somebody wants it to end.
    pub cancel: bool,
    /// Pieces of the plan.
    pub plan: BTreeMap<u32, Bytes>,
    /// Tasks, maps first.
    pub tasks: BTreeMap<TaskId, Stamped<TaskRecord>>,
    /// Tasks that are running.
    pub claims: BTreeMap<TaskId, Stamped<ClaimRecord>>,
    /// Tasks that run a second time, beside a slow attempt.
    pub backups: BTreeMap<TaskId, Stamped<ClaimRecord>>,
    /// Reports about map outputs.
    pub unreadable: BTreeMap<TaskId, Stamped<UnreadableRecord>>,
    /// The report of a job that has ended, as stored; see [`JobView::report`].
    pub stored_report: Option<Bytes>,
    /// Last revision that changed anything of it.
    pub changed: Revision,
    index: Index,
}

impl View {
    /// Everything that a range over the prefix gave, as of `revision`.
    pub fn load(keys: &[KeyValue], revision: Revision) -> View {
        let mut view = View::default();
        for kv in keys {
            view.put(kv);
        }
        view.revision = revision;
        view
    }

    /// The last revision that it knows of.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Takes in one change.
    pub fn apply(&mut self, event: &Event) {
        match event.kind {
            EventKind::Put => self.put(&event.kv),
            EventKind::Delete => self.delete(&event.kv.key, event.kv.mod_revision),
        }
        self.revision = self.revision.max(event.kv.mod_revision);
    }

    fn put(&mut self, kv: &KeyValue) {
        match Key::parse(&kv.key) {
            None => {}
            Some(Key::Worker(worker)) => {
                if let Some(record) = stamped(kv) {
                    self.workers.insert(worker, record);
                }
            }
            Some(Key::Job(job, key)) => {
                let job = self.jobs.entry(job).or_default();
                job.changed = kv.mod_revision;
                job.put(key, kv);
            }
        }
    }

    fn delete(&mut self, key: &[u8], revision: Revision) {
        match Key::parse(key) {
            None => {}
            Some(Key::Worker(worker)) => {
                self.workers.remove(&worker);
            }
            Some(Key::Job(id, key)) => {
                let Some(job) = self.jobs.get_mut(&id) else { return };
                job.changed = revision;
                job.delete(key);
                if job.is_empty() {
                    self.jobs.remove(&id);
                }
            }
        }
    }

    /// Jobs that are not at their end.
    pub fn active(&self) -> impl Iterator<Item = (&JobId, &JobView, &Stamped<JobRecord>)> {
        self.jobs.iter().filter_map(|(id, view)| {
            let job = view.job.as_ref()?;
            (!job.record.state.is_final()).then_some((id, view, job))
        })
    }

    /// Name of a worker's node; empty once the worker has gone.
    pub fn node_of(&self, worker: &WorkerId) -> String {
        self.workers.get(worker).map(|found| found.record.node.clone()).unwrap_or_default()
    }

    /// How many tasks each worker runs now, those of all jobs together.
    pub fn running_on(&self) -> BTreeMap<&WorkerId, u32> {
        let mut load = BTreeMap::new();
        for (_, _, claim) in self.jobs.values().flat_map(JobView::attempts) {
            *load.entry(&claim.record.worker).or_insert(0) += 1;
        }
        load
    }

    /// Whether a worker that may take tasks of a job runs fewer than it could.
    pub fn has_room_for(&self, job: &JobView) -> bool {
        Room::of(self, job).workers().next().is_some()
    }

    /// Who reduces which of a job's partitions first.
    pub fn shares(&self, job: &JobView) -> Shares<'_> {
        Room::of(self, job).shares(job)
    }

    /// Workers that may take tasks of a job: the same program, not about to leave, and allowed to run what
    /// the job needs. Those that fail all the time are left out while there are others; what fails
    /// everywhere is the tasks' fault, and each of them fails so often only.
    pub fn eligible(&self, job: &JobView) -> BTreeSet<&WorkerId> {
        let Some(record) = job.job.as_ref().map(|job| &job.record) else { return BTreeSet::new() };
        let fit = self.workers.iter().filter(|(_, worker)| worker.record.may_run(record));
        let fit: BTreeSet<&WorkerId> = fit.map(|(id, _)| id).collect();
        let failing = job.failing();
        match fit.is_subset(&failing) {
            true => fit,
            false => fit.into_iter().filter(|id| !failing.contains(id)).collect(),
        }
    }
}

impl JobView {
    fn put(&mut self, key: JobKey, kv: &KeyValue) {
        match key {
            JobKey::Record => self.job = stamped(kv).or_else(|| self.job.take()),
            JobKey::Cancel => self.cancel = true,
            JobKey::Plan(piece) => {
                self.plan.insert(piece, kv.value.clone());
            }
            JobKey::Task(task) => {
                if let Some(found) = stamped(kv) {
                    self.set_task(task, Some(found));
                }
            }
            JobKey::Claim(task) => {
                insert(&mut self.claims, task, kv);
                self.claimed_or_freed(task);
            }
            JobKey::Backup(task) => {
                insert(&mut self.backups, task, kv);
                self.claimed_or_freed(task);
            }
            JobKey::Report => self.stored_report = Some(kv.value.clone()),
            JobKey::Unreadable(task) => insert(&mut self.unreadable, task, kv),
        }
    }

    fn delete(&mut self, key: JobKey) {
        match key {
            JobKey::Record => self.job = None,
            JobKey::Cancel => self.cancel = false,
            JobKey::Plan(piece) => drop(self.plan.remove(&piece)),
            JobKey::Task(task) => self.set_task(task, None),
            JobKey::Claim(task) => {
                self.claims.remove(&task);
                self.claimed_or_freed(task);
            }
            JobKey::Backup(task) => {
                self.backups.remove(&task);
                self.claimed_or_freed(task);
            }
            JobKey::Report => self.stored_report = None,
            JobKey::Unreadable(task) => drop(self.unreadable.remove(&task)),
        }
    }

    fn set_task(&mut self, id: TaskId, now: Option<Stamped<TaskRecord>>) {
        let claimed = self.is_claimed(id);
        let before = match now.clone() {
            Some(now) => self.tasks.insert(id, now),
            None => self.tasks.remove(&id),
        };
        let [before, now] = [&before, &now].map(|task| task.as_ref().map(|task| &task.record));
        self.index.update(id, before, now, claimed);
    }

    fn claimed_or_freed(&mut self, id: TaskId) {
        let claimed = self.is_claimed(id);
        let task = self.tasks.get(&id).map(|task| &task.record);
        self.index.update(id, task, task, claimed);
    }

    /// Whether an attempt of the task runs.
    pub fn is_claimed(&self, task: TaskId) -> bool {
        self.claims.contains_key(&task) || self.backups.contains_key(&task)
    }

    fn is_empty(&self) -> bool {
        let JobView { job, cancel, plan, tasks, claims, backups, unreadable, .. } = self;
        job.is_none()
            && !cancel
            && plan.is_empty()
            && tasks.is_empty()
            && claims.is_empty()
            && backups.is_empty()
            && unreadable.is_empty()
            && self.stored_report.is_none()
    }

    /// What is kept of the tasks of a job that has ended.
    pub fn report(&self) -> Option<JobReport> {
        let mut report: JobReport = decode(self.stored_report.as_ref()?)?;
        if let Some(JobState::Done(manifest)) = self.job.as_ref().map(|job| &job.record.state)
            && report.counters.user.is_empty()
        {
            // They are kept once, see `bounds.rs`.
            report.counters.user.clone_from(&manifest.counters.user);
        }
        Some(report)
    }

    /// Tasks of a kind, by number.
    pub fn tasks_of(&self, kind: TaskKind) -> impl Iterator<Item = (TaskId, &Stamped<TaskRecord>)> {
        let first = TaskId { kind, number: 0 };
        let last = TaskId { kind, number: u32::MAX };
        self.tasks.range(first..=last).map(|(id, task)| (*id, task))
    }

    /// Tasks of a kind that have their winner.
    pub fn done(&self, kind: TaskKind) -> u32 {
        self.index.done(kind)
    }

    /// Tasks of a kind that the job goes on without.
    pub fn given_up(&self, kind: TaskKind) -> u32 {
        self.index.given_up(kind)
    }

    /// The tasks that the job goes on without, as a manifest and a report keep them.
    pub fn tasks_given_up(&self) -> Vec<GivenUp> {
        let given_up = |(id, task): (TaskId, &'_ Stamped<TaskRecord>)| {
            task.record.given_up.clone().map(|why| (id, why))
        };
        let all: Vec<(TaskId, String)> = self.troubled().filter_map(given_up).collect();
        kept(all.iter().map(|(id, why)| (*id, why.as_str())))
    }

    /// Whether nothing remains to be done for any task of a kind.
    pub fn are_over(&self, kind: TaskKind) -> bool {
        self.index.are_over(kind)
    }

    /// Tasks of a kind that are neither over nor running, by number.
    pub fn waiting(&self, kind: TaskKind) -> impl Iterator<Item = TaskId> {
        self.index.waiting_of(kind)
    }

    /// Running tasks of which the coordinator has found that a second attempt may begin.
    pub fn slow(&self) -> impl Iterator<Item = TaskId> {
        self.index.slow.iter().copied()
    }

    /// Tasks that have failed, lost or skipped anything, or were begun unusually often.
    pub fn troubled(&self) -> impl Iterator<Item = (TaskId, &Stamped<TaskRecord>)> {
        self.index.troubled.iter().filter_map(|id| Some((*id, self.tasks.get(id)?)))
    }

    /// Finished maps by the worker that keeps their output.
    pub fn outputs(&self) -> &BTreeMap<WorkerId, BTreeSet<TaskId>> {
        &self.index.outputs
    }

    /// Whether map outputs that reduces may still ask for are a worker's.
    pub fn has_outputs_of(&self, worker: &WorkerId) -> bool {
        self.index.outputs.contains_key(worker) && !self.index.are_over(TaskKind::Reduce)
    }

    /// Whether every map output can be had: each map is done, and its worker alive; or it was given up.
    pub fn maps_are_there(&self, workers: &BTreeMap<WorkerId, Stamped<WorkerRecord>>) -> bool {
        self.unreadable.is_empty()
            && self.index.are_over(TaskKind::Map)
            && self.index.outputs.keys().all(|worker| workers.contains_key(worker))
    }

    /// What a reduce reads: the winners of the maps but those given up. `None` if a map has none: a reduce
    /// that begins now would go without its records.
    pub fn map_outputs(&self) -> Option<Vec<(TaskId, &TaskDone)>> {
        let mut outputs = Vec::new();
        for (map, task) in self.tasks_of(TaskKind::Map) {
            match &task.record.done {
                Some(done) => outputs.push((map, done)),
                None if task.record.given_up.is_some() => {}
                None => return None,
            }
        }
        Some(outputs)
    }

    /// Workers that have failed many tasks of this job. A failure that is about a record which may be left
    /// out does not count, nor one of a task that the same worker has done since. Where tasks may fail for
    /// good, only those count that another worker has done: the others may be what nobody can do.
    fn failing(&self) -> BTreeSet<&WorkerId> {
        let spec = self.job.as_ref().map(|job| &job.record.spec);
        let leaves_out = spec.is_some_and(|spec| spec.skip_bad_records > 0);
        let mut failed: BTreeMap<&WorkerId, BTreeSet<TaskId>> = BTreeMap::new();
        for (id, task) in self.troubled() {
            let done_by = task.record.done.as_ref().map(|done| &done.worker);
            let may_fail = spec.is_some_and(|spec| spec.failed_percent(id.kind) > 0);
            let failures = task.record.failures.iter();
            let counts = failures.filter(|failure| {
                let is_its_records = leaves_out && failure.bad_record.is_some();
                let is_the_tasks = may_fail && done_by.is_none();
                !is_its_records && !is_the_tasks && done_by != Some(&failure.worker)
            });
            for failure in counts {
                failed.entry(&failure.worker).or_default().insert(id);
            }
        }
        let too_many = |tasks: &BTreeSet<TaskId>| tasks.len() >= FAILED_TASKS_PER_WORKER;
        failed.into_iter().filter(|(_, tasks)| too_many(tasks)).map(|(id, _)| id).collect()
    }

    /// What a progress bar shows.
    pub fn snapshot(&self) -> Snapshot {
        let totals = self.job.as_ref().map(|job| job.record.totals).unwrap_or_default();
        let Sums { read, spilled, written } = self.index.sums;
        let further = |id, first: u64| {
            self.backups.get(id).map_or(first, |beside| first.max(beside.record.bytes_read))
        };
        let running = self.claims.iter().map(|(id, claim)| further(id, claim.record.bytes_read));
        let running: u64 = running.sum();
        let (maps_done, maps_given_up) = (self.done(TaskKind::Map), self.given_up(TaskKind::Map));
        let phase = match self.job.as_ref().map(|job| &job.record.state) {
            Some(JobState::Running) if maps_done + maps_given_up < totals.maps => Phase::Map,
            Some(JobState::Running) => Phase::Reduce,
            Some(JobState::Committing) => Phase::Commit,
            Some(JobState::Done(_)) => Phase::Done,
            _ => Phase::Planning,
        };
        Snapshot {
            phase,
            bytes_total: totals.input_bytes,
            bytes_read: (read + running).min(totals.input_bytes),
            maps_total: totals.maps.into(),
            maps_done: maps_done.into(),
            maps_given_up: maps_given_up.into(),
            reduces_total: totals.reduces.into(),
            reduces_done: self.done(TaskKind::Reduce).into(),
            reduces_given_up: self.given_up(TaskKind::Reduce).into(),
            bytes_spilled: spilled,
            bytes_written: written,
        }
    }
}

fn insert<T: DeserializeOwned>(map: &mut BTreeMap<TaskId, Stamped<T>>, id: TaskId, kv: &KeyValue) {
    if let Some(record) = stamped(kv) {
        map.insert(id, record);
    }
}

fn stamped<T: DeserializeOwned>(kv: &KeyValue) -> Option<Stamped<T>> {
    let record = decode(&kv.value)?;
    Some(Stamped { record, created: kv.create_revision, modified: kv.mod_revision })
}
