//! Which task a worker takes next, and how it claims it.
//!
//! A claim and the task's next attempt number are written in one transaction, guarded by the job's
//! record, the task's record and the absence of a claim on that seat. The claim hangs on the worker's
//! lease: if the worker is lost its tasks wait again without anybody's doing.
//!
//! The job with the highest priority goes first, of several the oldest; maps before reduces. A reduce goes to
//! a machine that holds most of its input, if such a one has a free slot; that is waited for a moment only.
//! What the coordinator has found to be slow is run a second time when nothing waits.

use crate::cluster::change::Change;
use crate::cluster::names::{JobId, JobKey, TaskId, TaskKind, WorkerId};
use crate::cluster::records::{
    ClaimRecord, JobRecord, JobState, TaskOutput, TaskRecord, WorkerRecord, encode,
};
use crate::cluster::room::Room;
use crate::cluster::seat::Seat;
use crate::cluster::view::{JobView, Stamped, View};
use crate::cluster::worker::Identity;
use crate::task::MAX_ATTEMPTS;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use synod_base::Revision;

/// How long a reduce waits for a machine that holds its input.
const LOCALITY_PATIENCE: Duration = Duration::from_secs(1);
/// How long a worker leaves a task to others, after each failure anew: who has room by the records may take
/// nothing all the same.
const LEFT_PATIENCE: Duration = Duration::from_mins(2);
/// Reduces that are looked at for one that is near.
const NEAR_LOOKS: usize = 32;

/// A task that the worker may try to claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Of which job.
    pub job: JobId,
    /// Which.
    pub task: TaskId,
    /// On which seat.
    pub seat: Seat,
    /// The task as it will be once claimed.
    pub record: TaskRecord,
    /// When, by the worker's clock.
    pub started_ms: u64,
    /// The claim itself.
    pub change: Change,
}

/// Who asks for a task.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The worker.
    pub me: &'a Identity,
    /// What it has registered.
    pub mine: &'a WorkerRecord,
    /// Tasks that this process still works on, whatever the records say.
    pub busy: &'a BTreeSet<(JobId, TaskId)>,
    /// How many run here now. That they are fewer than its slots is the caller's to see.
    pub running: u32,
    /// Time that only goes forward.
    pub now: Duration,
    /// The worker's clock, milliseconds since 1970: it goes into the claim.
    pub unix_ms: u64,
}

/// Chooses for one worker. It remembers since when the reduces of a job may be claimed, and since when a task
/// is left to others.
#[derive(Debug, Clone, Default)]
pub struct Chooser {
    open_since: BTreeMap<JobId, Duration>,
    /// And after how many failures.
    left_since: BTreeMap<(JobId, TaskId), (usize, Duration)>,
}

impl Chooser {
    /// The next task to claim.
    pub fn next(&mut self, view: &View, ask: Asking<'_>) -> Option<Claim> {
        self.open_since.retain(|id, _| view.jobs.contains_key(id));
        self.left_since.retain(|(id, _), _| view.jobs.contains_key(id));
        for Open { id, job_view, job, room } in open_to(view, ask) {
            let kind = if job_view.waiting(TaskKind::Map).next().is_some() {
                TaskKind::Map
            } else if job_view.maps_are_there(&view.workers) {
                TaskKind::Reduce
            } else {
                continue;
            };
            let free = |task: &TaskId| {
                !ask.busy.contains(&(id.clone(), *task))
                    && may_succeed(job_view, *task, &job.record)
            };
            let near = match kind {
                TaskKind::Map => None,
                TaskKind::Reduce => self.neighbourhood(view, id, job_view, &room, ask),
            };
            // Nothing is left to those that are busy, for who knows how long.
            let others: Vec<_> = room.workers().filter(|other| **other != ask.me.id).collect();
            let mut is_left = |task: &TaskId| {
                is_better_made_elsewhere(view, job_view, *task, ask.me, &others)
                    && self.leaves(id, job_view, *task, ask.now)
            };
            let (near, suits) = (near.as_ref(), |task: &TaskId| free(task) && !is_left(task));
            if let Some(task) = pick(view, job_view, kind, near, (ask.me, suits)) {
                return claim(id, job, job_view, task, Seat::First, ask);
            }
        }
        open_to(view, ask).find_map(|Open { id, job_view, job, .. }| {
            let (task, seat) = slow_task(id, job_view, ask)?;
            claim(id, job, job_view, task, seat, ask)
        })
    }

    /// Whether it is not too long ago that the task was left to others for the first time.
    fn leaves(&mut self, id: &JobId, job: &JobView, task: TaskId, now: Duration) -> bool {
        let record = job.tasks.get(&task).map(|task| &task.record);
        let failures = record.map_or(0, |record| record.failures.len() + record.lost_at.len());
        let since = self.left_since.entry((id.clone(), task)).or_insert((failures, now));
        if since.0 != failures {
            *since = (failures, now);
        }
        now.saturating_sub(since.1) < LEFT_PATIENCE
    }

    /// Where the map outputs are, if it matters and there is still time to wait for it.
    fn neighbourhood<'v>(
        &mut self,
        view: &'v View,
        id: &JobId,
        job: &'v JobView,
        room: &Room<'v>,
        ask: Asking<'_>,
    ) -> Option<Neighbourhood<'v>> {
        let since = *self.open_since.entry(id.clone()).or_insert(ask.now);
        if ask.now.saturating_sub(since) >= LOCALITY_PATIENCE {
            return None;
        }
        Neighbourhood::of(view, job, room, &ask.mine.host)
    }
}

/// A job that a worker may take tasks of.
struct Open<'v> {
    id: &'v JobId,
    job_view: &'v JobView,
    job: &'v Stamped<JobRecord>,
    room: Room<'v>,
}

/// Jobs whose tasks this worker may claim, those of a higher priority first, of one priority the oldest.
fn open_to<'v>(view: &'v View, ask: Asking<'_>) -> impl Iterator<Item = Open<'v>> {
    let running = view.active().filter(|(_, job_view, job)| {
        job.record.state == JobState::Running && !job_view.cancel && ask.mine.may_run(&job.record)
    });
    let mut open: Vec<_> = running.collect();
    // They come by age, and stay so among their equals.
    open.sort_by_key(|(.., job)| Reverse(job.record.spec.priority));
    let open = open.into_iter().map(|(id, job_view, job)| {
        let room = Room::of(view, job_view);
        Open { id, job_view, job, room }
    });
    open.filter(move |open| open.room.is_left_to(&ask.me.id, ask.running))
}

/// Whether the failures of a task leave it another attempt. If not, the coordinator is about to end the job.
fn may_succeed(view: &JobView, task: TaskId, job: &JobRecord) -> bool {
    let task = view.tasks.get(&task).map(|task| &task.record);
    task.is_some_and(|task| task.fatal_failure(job.attempts).is_none())
}

/// One of the waiting tasks that suit. Workers start at different places of the queue, so they seldom want
/// the same one. Those that are nearer to others are not taken. Of ten thousand that wait only the first few
/// are looked at closely.
fn pick(
    view: &View,
    job: &JobView,
    kind: TaskKind,
    near: Option<&Neighbourhood<'_>>,
    (me, mut suits): (&Identity, impl FnMut(&TaskId) -> bool),
) -> Option<TaskId> {
    let rank = view.workers.keys().position(|worker| *worker == me.id).unwrap_or(0);
    let waiting = || job.waiting(kind);
    let start = rank * waiting().count() / view.workers.len().max(1);
    let queue = waiting().skip(start).chain(waiting().take(start)).filter(|task| suits(task));
    match near {
        None => first_not_failed(job, queue, me),
        Some(near) => {
            let mut looked_at = queue.take(NEAR_LOOKS);
            looked_at.find(|task| near.suits(job, task.number))
        }
    }
}

/// What every worker has failed comes last.
fn first_not_failed(
    job: &JobView,
    mut queue: impl Iterator<Item = TaskId>,
    me: &Identity,
) -> Option<TaskId> {
    let first = queue.next()?;
    if !has_failed_at(job, first, &me.id) {
        return Some(first);
    }
    Some(queue.find(|task| !has_failed_at(job, *task, &me.id)).unwrap_or(first))
}

fn has_failed_at(job: &JobView, task: TaskId, worker: &WorkerId) -> bool {
    let Some(task) = job.tasks.get(&task).map(|task| &task.record) else { return false };
    task.failures.iter().any(|failed| failed.worker == *worker) || task.lost_at.contains(worker)
}

/// Whether a task should be left to another worker. One with room for it is asked before this one makes an
/// output anew that could not be read, or tries once more what it has failed; and half the attempts are kept
/// for workers that have not tried, also while they are busy: what this machine lacks, a right, say, it would
/// lack each time, and end the job.
fn is_better_made_elsewhere(
    view: &View,
    job: &JobView,
    task: TaskId,
    me: &Identity,
    with_room: &[&WorkerId],
) -> bool {
    let Some(record) = job.tasks.get(&task).map(|task| &task.record) else { return false };
    let lost_at = &record.lost_at;
    if lost_at.contains(&me.id) && with_room.iter().any(|other| !lost_at.contains(other)) {
        return true;
    }
    if !record.failures.iter().any(|failure| failure.worker == me.id) {
        return false;
    }
    let attempts = job.job.as_ref().map_or(MAX_ATTEMPTS, |job| job.record.attempts);
    let is_untried = |other: &&WorkerId| !has_failed_at(job, task, other);
    with_room.iter().any(is_untried)
        || record.failures.len() as u32 >= attempts / 2 && view.eligible(job).iter().any(is_untried)
}

/// A task that may be run a second time, here.
fn slow_task(id: &JobId, job: &JobView, ask: Asking<'_>) -> Option<(TaskId, Seat)> {
    job.slow().find_map(|task| {
        let (seat, running) = job.lone_attempt(task)?;
        let suits = may_back_up(job, task, &running.record, &ask.me.id)
            && !ask.busy.contains(&(id.clone(), task));
        suits.then_some((task, seat))
    })
}

/// Whether a worker may run a task beside another one that is slow: it is no worse itself.
pub(super) fn may_back_up(
    job: &JobView,
    task: TaskId,
    running: &ClaimRecord,
    worker: &WorkerId,
) -> bool {
    running.worker != *worker
        && !has_failed_at(job, task, worker)
        && !is_slow_worker(job, task.kind, worker)
}

/// Whether a worker is among the slowest quarter of those that have finished tasks of this kind.
fn is_slow_worker(job: &JobView, kind: TaskKind, worker: &WorkerId) -> bool {
    let mut spent: BTreeMap<&WorkerId, (u64, u64)> = BTreeMap::new();
    for (_, task) in job.tasks_of(kind) {
        let Some(done) = &task.record.done else { continue };
        let (millis, work) = spent.entry(&done.worker).or_default();
        *millis += done.span.millis();
        *work += done.work;
    }
    let Some(&(millis, work)) = spent.get(worker) else { return false };
    let faster = |(other_millis, other_work): &&(u64, u64)| {
        // Compared as fractions: less time for the same work.
        u128::from(*other_millis) * u128::from(work) < u128::from(millis) * u128::from(*other_work)
    };
    let ahead = spent.values().filter(faster).count();
    ahead >= 1 && ahead >= spent.len() - spent.len() / 4
}

/// Bytes of each partition by machine, looked up when needed.
struct Neighbourhood<'v> {
    /// Finished maps' sections, and whether the machine that has them is this worker's; others by number.
    outputs: Vec<(usize, &'v TaskOutput)>,
    /// Whether a machine has a free slot for the job.
    has_room: Vec<bool>,
    mine: usize,
}

impl<'v> Neighbourhood<'v> {
    /// `None` if all outputs are on one machine, or the worker does not know where it is.
    fn of(
        view: &'v View,
        job: &'v JobView,
        room: &Room<'v>,
        host: &str,
    ) -> Option<Neighbourhood<'v>> {
        if host.is_empty() {
            return None;
        }
        let mut hosts = vec![host];
        let mut number_of = |host: &'v str| match hosts.iter().position(|known| *known == host) {
            Some(number) => number,
            None => {
                hosts.push(host);
                hosts.len() - 1
            }
        };
        let mut outputs = Vec::new();
        for (worker, maps) in job.outputs() {
            let number = number_of(&view.workers.get(worker)?.record.host);
            let done = maps.iter().filter_map(|map| job.tasks.get(map)?.record.done.as_ref());
            outputs.extend(done.map(|done| (number, &done.output)));
        }
        if outputs.iter().all(|(number, _)| *number == outputs[0].0) {
            return None;
        }
        let mut has_room = vec![false; hosts.len()];
        for worker in room.workers() {
            let Some(found) = view.workers.get(worker) else { continue };
            let number = hosts.iter().position(|host| *host == found.record.host);
            if let Some(number) = number {
                has_room[number] = true;
            }
        }
        Some(Neighbourhood { outputs, has_room, mine: 0 })
    }

    /// Whether this worker should take a partition: no machine with room has more of it.
    fn suits(&self, job: &JobView, partition: u32) -> bool {
        debug_assert!(!job.outputs().is_empty(), "there are outputs");
        let mut bytes = vec![0u64; self.has_room.len()];
        for (host, output) in &self.outputs {
            bytes[*host] += output.section_bytes(partition);
        }
        let mine = bytes[self.mine];
        let better = |(host, bytes): (usize, &u64)| *bytes > mine && self.has_room[host];
        !bytes.iter().enumerate().any(better)
    }
}

fn claim(
    id: &JobId,
    job: &Stamped<JobRecord>,
    job_view: &JobView,
    task: TaskId,
    seat: Seat,
    ask: Asking<'_>,
) -> Option<Claim> {
    let found = job_view.tasks.get(&task)?;
    let mut record =
        TaskRecord { attempts: found.record.attempts + 1, slow: None, ..found.record.clone() };
    if job_view.is_claimed(task) {
        record.backups.push(found.record.attempts);
    }
    let claim = ClaimRecord {
        worker: ask.me.id.clone(),
        attempt: found.record.attempts,
        activity: 0,
        bytes_read: 0,
        started_ms: ask.unix_ms,
        work_done: 0,
        work_total: 0,
        status: String::new(),
    };
    let (task_key, claim_key) = (id.key(JobKey::Task(task)), id.key(seat.key(task)));
    // The other seat needs no guard: who takes it writes the task's record, too.
    let change = Change::new()
        .if_unchanged(id.key(JobKey::Record), job.modified)
        .if_unchanged(task_key.clone(), found.modified)
        .if_created_at(claim_key.clone(), Revision(0))
        .put(task_key, stored(&record))
        .put_leased(claim_key, stored(&claim), ask.me.lease);
    Some(Claim { job: id.clone(), task, seat, record, started_ms: ask.unix_ms, change })
}

fn stored<T: serde::Serialize>(record: &T) -> Vec<u8> {
    encode(record).expect("these records hold text and numbers only")
}
