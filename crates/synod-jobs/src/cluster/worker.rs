//! What a worker does with records: claims a waiting task, says how it ended.
//!
//! A claim and the task's next attempt number are written in one transaction, guarded by the job's
//! record, the task's record and the absence of a claim. The claim hangs on the worker's lease: if
//! the worker is lost its tasks wait again without anybody's doing. The end of an attempt is
//! guarded by the claim's create revision, so exactly one attempt wins.

use crate::cluster::change::Change;
use crate::cluster::names::{JobId, JobKey, TaskId, TaskKind, WorkerId};
use crate::cluster::records::{
    AttemptFailure, ClaimRecord, JobState, Span, TaskDone, TaskOutput, TaskRecord,
    UnreadableRecord, WorkerRecord, encode,
};
use crate::cluster::view::{JobView, Stamped, View};
use std::collections::BTreeSet;
use synod_base::{LeaseId, Revision};

/// A registered worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub id: WorkerId,
    /// Its lease.
    pub lease: LeaseId,
    /// Name of its node.
    pub node: String,
}

/// A task that the worker may try to claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Of which job.
    pub job: JobId,
    /// Which.
    pub task: TaskId,
    /// The task as it will be once claimed.
    pub record: TaskRecord,
    /// When, by the worker's clock.
    pub started_ms: u64,
    /// The claim itself.
    pub change: Change,
}

/// A claimed task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Of which job.
    pub job: JobId,
    /// Which.
    pub task: TaskId,
    /// The task as claimed.
    pub record: TaskRecord,
    /// When it was claimed: create revision of the claim, mod revision of the task.
    pub revision: Revision,
    /// The same by the worker's clock, milliseconds since 1970.
    pub started_ms: u64,
}

impl Held {
    /// The attempt's number.
    pub fn attempt(&self) -> u32 {
        self.record.attempts - 1
    }
}

/// Picks a waiting task, the oldest job's first, maps before reduces. `mine` is what this worker has
/// registered; `busy` are tasks that this process still works on, whatever the records say;
/// `unix_ms` is its clock.
///
/// Workers start at different places of the queue, so they seldom want the same task. Tasks that this
/// worker has failed come last.
pub fn next_claim(
    view: &View,
    me: &Identity,
    mine: &WorkerRecord,
    busy: &BTreeSet<(JobId, TaskId)>,
    unix_ms: u64,
) -> Option<Claim> {
    for (id, job_view, job) in view.active() {
        let open = job.record.state == JobState::Running && !job_view.cancel;
        if !open || !mine.may_run(&job.record) || job_view.excluded().contains(&me.id) {
            continue;
        }
        let waiting = |kind| -> Vec<(TaskId, &Stamped<TaskRecord>)> {
            job_view
                .tasks_of(kind)
                .filter(|(task, found)| {
                    let free = found.record.done.is_none() && !job_view.claims.contains_key(task);
                    free && !busy.contains(&(id.clone(), *task))
                })
                .collect()
        };
        let mut tasks = waiting(TaskKind::Map);
        if tasks.is_empty() && job_view.maps_are_there(&view.workers) {
            tasks = waiting(TaskKind::Reduce);
        }
        let rank = view.workers.keys().position(|worker| *worker == me.id).unwrap_or(0);
        let start = rank * tasks.len() / view.workers.len().max(1);
        let (before, after) = tasks.split_at(start.min(tasks.len()));
        let failed_here = |found: &Stamped<TaskRecord>| {
            found.record.failures.iter().any(|failure| failure.worker == me.id)
        };
        let picked = after.iter().chain(before).min_by_key(|(_, found)| failed_here(found));
        if let Some((task, found)) = picked {
            return Some(claim(me, id, job.modified, *task, found, unix_ms));
        }
    }
    None
}

fn claim(
    me: &Identity,
    id: &JobId,
    job_modified: Revision,
    task: TaskId,
    found: &Stamped<TaskRecord>,
    started_ms: u64,
) -> Claim {
    let record = TaskRecord { attempts: found.record.attempts + 1, ..found.record.clone() };
    let attempt = found.record.attempts;
    let worker = me.id.clone();
    let claim = ClaimRecord { worker, attempt, activity: 0, bytes_read: 0, started_ms };
    let (task_key, claim_key) = (id.key(JobKey::Task(task)), id.key(JobKey::Claim(task)));
    let change = Change::new()
        .if_unchanged(id.key(JobKey::Record), job_modified)
        .if_unchanged(task_key.clone(), found.modified)
        .if_created_at(claim_key.clone(), Revision(0))
        .put(task_key, stored(&record))
        .put_leased(claim_key, stored(&claim), me.lease);
    Claim { job: id.clone(), task, record, started_ms, change }
}

/// The attempt won, if nobody was faster. It ended at `ended_ms` by this worker's clock.
pub fn done(held: &Held, me: &Identity, output: TaskOutput, ended_ms: u64) -> Change {
    let span = Span { started_ms: held.started_ms, ended_ms };
    let (worker, node) = (me.id.clone(), me.node.clone());
    let done = TaskDone { attempt: held.attempt(), worker, node, span, output };
    let record = TaskRecord { done: Some(done), ..held.record.clone() };
    ended(held).put(held.job.key(JobKey::Task(held.task)), stored(&record))
}

/// The attempt failed.
pub fn failed(held: &Held, failure: AttemptFailure, skips_allowed: bool) -> Change {
    let record = held.record.failed(failure, skips_allowed);
    ended(held).put(held.job.key(JobKey::Task(held.task)), stored(&record))
}

/// The attempt could not read the output of a map task: no failure of its own.
pub fn unreadable(held: &Held, map: TaskId, report: &UnreadableRecord) -> Change {
    ended(held).put(held.job.key(JobKey::Unreadable(map)), stored(report))
}

/// The attempt is given up, without a result.
pub fn given_up(held: &Held) -> Change {
    ended(held)
}

/// The attempt is alive and moves.
pub fn refreshed(held: &Held, me: &Identity, activity: u64, bytes_read: u64) -> Change {
    let key = held.job.key(JobKey::Claim(held.task));
    let attempt = held.attempt();
    let (worker, started_ms) = (me.id.clone(), held.started_ms);
    let claim = ClaimRecord { worker, attempt, activity, bytes_read, started_ms };
    let change = Change::new().if_created_at(key.clone(), held.revision);
    change.put_leased(key, stored(&claim), me.lease)
}

/// Whether the claim still stands.
pub fn still_held(job: Option<&JobView>, held: &Held) -> bool {
    let claim = job.and_then(|job| job.claims.get(&held.task));
    claim.is_some_and(|claim| claim.created == held.revision)
}

/// A claim of this worker that nobody here knows about: its transaction had an unknown outcome.
pub fn stray_claim(
    view: &View,
    me: &Identity,
    known: &BTreeSet<(JobId, TaskId)>,
) -> Option<Change> {
    for (id, job) in &view.jobs {
        for (task, claim) in &job.claims {
            if claim.record.worker == me.id && !known.contains(&(id.clone(), *task)) {
                let key = id.key(JobKey::Claim(*task));
                return Some(Change::new().if_created_at(key.clone(), claim.created).delete(key));
            }
        }
    }
    None
}

/// Begins every end of an attempt: the claim must stand, and goes.
fn ended(held: &Held) -> Change {
    let claim = held.job.key(JobKey::Claim(held.task));
    Change::new()
        .if_created_at(claim.clone(), held.revision)
        .if_unchanged(held.job.key(JobKey::Task(held.task)), held.revision)
        .delete(claim)
}

fn stored<T: serde::Serialize>(record: &T) -> Vec<u8> {
    encode(record).expect("these records hold text and numbers only")
}
