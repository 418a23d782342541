//! What a worker does with the records of an attempt that it runs: says how far it is, and how it ended.
//!
//! The end of an attempt is guarded by its claim's create revision, so each attempt ends once, and by the
//! task's record as the worker has seen it last. The first attempt that commits takes both claims of the
//! task away: there is one winner, and whoever ran beside it finds its claim gone, stops, and removes what
//! it has written. How tasks are claimed is in `claim.rs`.

use crate::cluster::bounds::{MAX_TASK_BYTES, bytes_of};
use crate::cluster::change::Change;
use crate::cluster::names::{JobId, JobKey, TaskId, WorkerId};
use crate::cluster::records::{
    AttemptFailure, ClaimRecord, Span, TaskDone, TaskOutput, TaskRecord, UnreadableRecord, encode,
};
use crate::cluster::seat::Seat;
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

/// A claimed task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Of which job.
    pub job: JobId,
    /// Which.
    pub task: TaskId,
    /// On which seat.
    pub seat: Seat,
    /// The task as claimed.
    pub record: TaskRecord,
    /// Create revision of the claim.
    pub revision: Revision,
    /// When it was claimed by the worker's clock, milliseconds since 1970.
    pub started_ms: u64,
}

impl Held {
    /// The attempt's number.
    pub fn attempt(&self) -> u32 {
        self.record.attempts - 1
    }

    fn claim_key(&self) -> String {
        self.job.key(self.seat.key(self.task))
    }

    fn task_key(&self) -> String {
        self.job.key(JobKey::Task(self.task))
    }
}

/// What an attempt without failure has made, and how long it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The output.
    pub output: TaskOutput,
    /// When it ended by the worker's clock, milliseconds since 1970.
    pub ended_ms: u64,
    /// The work that it was, see [`TaskDone::work`].
    pub work: u64,
}

/// How far a running attempt is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pace {
    /// Raised whenever it moves.
    pub activity: u64,
    /// Bytes of input read.
    pub bytes_read: u64,
    /// See [`ClaimRecord::work_done`].
    pub work_done: u64,
    /// See [`ClaimRecord::work_total`].
    pub work_total: u64,
    /// See [`ClaimRecord::status`].
    pub status: String,
}

/// The attempt won, if nobody was faster. `now` is the task as the worker sees it. What does not fit the
/// task's record is a failure that another attempt could not avoid.
pub fn done(held: &Held, me: &Identity, now: &Stamped<TaskRecord>, made: Made) -> Change {
    let Made { output, ended_ms, work } = made;
    let span = Span { started_ms: held.started_ms, ended_ms };
    let (worker, node) = (me.id.clone(), me.node.clone());
    let done = TaskDone { attempt: held.attempt(), worker, node, span, output, work };
    let record = TaskRecord { done: Some(done), lost: None, slow: None, ..now.record.clone() };
    let bytes = bytes_of(&record);
    if bytes > MAX_TASK_BYTES {
        return failed(held, now, too_much(held, me, &record, bytes), false);
    }
    let beside = match held.seat {
        Seat::First => Seat::Second,
        Seat::Second => Seat::First,
    };
    ended(held)
        .if_unchanged(held.task_key(), now.modified)
        .delete(held.job.key(beside.key(held.task)))
        .put(held.task_key(), stored(&record))
}

fn too_much(held: &Held, me: &Identity, record: &TaskRecord, bytes: usize) -> AttemptFailure {
    let output = record.done.as_ref().map(|done| &done.output);
    let names = output.map_or(0, |output| output.counters().user.len());
    let files = output.map_or(0, |output| output.side_files().len());
    AttemptFailure {
        attempt: held.attempt(),
        worker: me.id.clone(),
        node: me.node.clone(),
        span: record.done.as_ref().map(|done| done.span).unwrap_or_default(),
        message: format!(
            "what the task has to tell takes {bytes} bytes, at most {MAX_TASK_BYTES} can be stored: it has \
             left {files} side files and counted under {names} names; make fewer of them, or shorter names"
        ),
        bad_record: None,
        permanent: true,
        // A program that tells so much does so in each of its tasks.
        whole_job: true,
        others: Vec::new(),
    }
}

/// The attempt failed. `now` is the task as the worker sees it.
pub fn failed(
    held: &Held,
    now: &Stamped<TaskRecord>,
    failure: AttemptFailure,
    skips_allowed: bool,
) -> Change {
    let record = now.record.failed(failure, skips_allowed);
    ended(held).if_unchanged(held.task_key(), now.modified).put(held.task_key(), stored(&record))
}

/// The attempt could not read the output of a map task: no failure of its own. `now` is the task as the
/// worker sees it.
pub fn unreadable(
    held: &Held,
    now: &Stamped<TaskRecord>,
    map: TaskId,
    report: &UnreadableRecord,
) -> Change {
    given_back(held, now).put(held.job.key(JobKey::Unreadable(map)), stored(report))
}

/// The attempt ends without a result: the task waits for another one. `now` is the task as the worker sees
/// it.
pub fn given_back(held: &Held, now: &Stamped<TaskRecord>) -> Change {
    let times = now.record.given_back.saturating_add(1);
    let record = TaskRecord { given_back: times, ..now.record.clone() };
    ended(held).if_unchanged(held.task_key(), now.modified).put(held.task_key(), stored(&record))
}

/// The attempt is alive and moves.
pub fn refreshed(held: &Held, me: &Identity, pace: Pace) -> Change {
    let claim = ClaimRecord {
        worker: me.id.clone(),
        attempt: held.attempt(),
        activity: pace.activity,
        bytes_read: pace.bytes_read,
        started_ms: held.started_ms,
        work_done: pace.work_done,
        work_total: pace.work_total,
        status: pace.status,
    };
    let key = held.claim_key();
    let change = Change::new().if_created_at(key.clone(), held.revision);
    change.put_leased(key, stored(&claim), me.lease)
}

/// Whether the claim still stands.
pub fn still_held(job: Option<&JobView>, held: &Held) -> bool {
    let claim = job.and_then(|job| held.seat.claims(job).get(&held.task));
    claim.is_some_and(|claim| claim.created == held.revision)
}

/// A claim of this worker that nobody here knows about: its transaction had an unknown outcome.
pub fn stray_claim(
    view: &View,
    me: &Identity,
    known: &BTreeSet<(JobId, TaskId)>,
) -> Option<Change> {
    for (id, job) in &view.jobs {
        for (task, seat, claim) in job.attempts() {
            if claim.record.worker == me.id && !known.contains(&(id.clone(), task)) {
                let key = id.key(seat.key(task));
                return Some(Change::new().if_created_at(key.clone(), claim.created).delete(key));
            }
        }
    }
    None
}

/// Begins every end of an attempt: the claim must stand, and goes.
fn ended(held: &Held) -> Change {
    let claim = held.claim_key();
    Change::new().if_created_at(claim.clone(), held.revision).delete(claim)
}

fn stored<T: serde::Serialize>(record: &T) -> Vec<u8> {
    encode(record).expect("these records hold text and numbers only")
}
