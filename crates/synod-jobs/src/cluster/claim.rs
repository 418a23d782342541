//! Which task a worker takes next, and how it claims it.
//!
//! A claim and the task's next attempt number are written in one transaction, guarded by the job's
//! record, the task's record and the absence of a claim on that seat. The claim hangs on the worker's
//! lease: if the worker is lost its tasks wait again without anybody's doing.
//!
//! The job with the highest priority goes first, of several the oldest; maps before reduces. Each worker
//! begins with the reduces of its own share of the partitions, of which it has fetched much already. Those
//! of others it leaves to them for a moment, unless it holds most of their input itself. What the
//! coordinator has found to be slow is run a second time when nothing waits.

use crate::cluster::change::Change;
use crate::cluster::names::{JobId, JobKey, TaskId, TaskKind, WorkerId};
use crate::cluster::records::{
    ClaimRecord, JobRecord, JobState, TaskOutput, TaskRecord, WorkerRecord, encode,
};
use crate::cluster::room::Room;
use crate::cluster::seat::Seat;
use crate::cluster::shares::Shares;
use crate::cluster::view::{JobView, Stamped, View};
use crate::cluster::worker::Identity;
use crate::task::MAX_ATTEMPTS;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use synod_base::Revision;

/// How long a worker that has no reduces of its own share leaves those of others to them.
const LOCALITY_PATIENCE: Duration = Duration::from_secs(1);
/// How long a worker leaves a task to others, after each failure anew: who has room by the records may take
/// nothing all the same.
const LEFT_PATIENCE: Duration = Duration::from_mins(2);
/// Reduces of others' shares that are looked at for one that may be taken.
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

/// Chooses for one worker. It remembers since when no reduce of its share of a job is to be claimed, and
/// since when a task is left to others.
#[derive(Debug, Clone, Default)]
pub struct Chooser {
    without_own_since: BTreeMap<JobId, Duration>,
    /// And after how many failures.
    left_since: BTreeMap<(JobId, TaskId), (usize, Duration)>,
}

impl Chooser {
    /// The next task to claim.
    pub fn next(&mut self, view: &View, ask: Asking<'_>) -> Option<Claim> {
        let Chooser { without_own_since, left_since } = self;
        without_own_since.retain(|id, _| view.jobs.contains_key(id));
        left_since.retain(|(id, _), _| view.jobs.contains_key(id));
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
            // Nothing is left to those that are busy, for who knows how long.
            let others: Vec<_> = room.workers().filter(|other| **other != ask.me.id).collect();
            let mut is_left = |task: &TaskId| {
                is_better_made_elsewhere(view, job_view, *task, ask.me, &others)
                    && leaves(left_since, id, job_view, *task, ask.now)
            };
            let mut first = |queue: Vec<TaskId>| {
                let suiting = queue.into_iter().filter(|task| free(task) && !is_left(task));
                first_not_failed(job_view, suiting, ask.me)
            };
            let task = match kind {
                TaskKind::Map => first(queue_of_maps(view, job_view, ask.me)),
                TaskKind::Reduce => {
                    let shares = room.shares(job_view);
                    let share = shares.of(&ask.me.id);
                    let waiting = job_view.waiting(TaskKind::Reduce);
                    let (own, others) = waiting.partition(|task| share.contains(&task.number));
                    let own = first(own);
                    if own.is_some() {
                        without_own_since.remove(id);
                    }
                    own.or_else(|| {
                        let since = *without_own_since.entry(id.clone()).or_insert(ask.now);
                        let waited = ask.now.saturating_sub(since);
                        let others = from_the_back(others, share.start);
                        match waited < LOCALITY_PATIENCE {
                            true => first(not_left(view, job_view, &room, &shares, others, ask)),
                            false => first(others),
                        }
                    })
                }
            };
            if let Some(task) = task {
                return claim(id, job, job_view, task, Seat::First, ask);
            }
        }
        open_to(view, ask).find_map(|Open { id, job_view, job, .. }| {
            let (task, seat) = slow_task(view, id, job_view, ask)?;
            claim(id, job, job_view, task, seat, ask)
        })
    }
}

/// Whether it is not too long ago that the task was left to others for the first time.
fn leaves(
    left_since: &mut BTreeMap<(JobId, TaskId), (usize, Duration)>,
    id: &JobId,
    job: &JobView,
    task: TaskId,
    now: Duration,
) -> bool {
    let record = job.tasks.get(&task).map(|task| &task.record);
    let failures = record.map_or(0, |record| record.failures.len() + record.lost_at.len());
    let since = left_since.entry((id.clone(), task)).or_insert((failures, now));
    if since.0 != failures {
        *since = (failures, now);
    }
    now.saturating_sub(since.1) < LEFT_PATIENCE
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
    let attempts = job.attempts_of(task.kind);
    let task = view.tasks.get(&task).map(|task| &task.record);
    task.is_some_and(|task| task.fatal_failure(attempts).is_none())
}

/// The maps that wait. Workers start at different places of the queue, so they seldom want the same one.
fn queue_of_maps(view: &View, job: &JobView, me: &Identity) -> Vec<TaskId> {
    let mut queue: Vec<TaskId> = job.waiting(TaskKind::Map).collect();
    let rank = view.workers.keys().position(|worker| *worker == me.id).unwrap_or(0);
    let start = rank * queue.len() / view.workers.len().max(1);
    queue.rotate_left(start);
    queue
}

/// Reduces of others in the order in which a worker whose share begins here tries them: of the share before
/// its own the last one first, as its owner comes to that last, and so on around. So everybody begins
/// elsewhere.
fn from_the_back(mut others: Vec<TaskId>, share_begins: u32) -> Vec<TaskId> {
    let before = others.partition_point(|task| task.number < share_begins);
    others[..before].reverse();
    others[before..].reverse();
    others
}

/// Of the first of these reduces those that need not be left to their owners: these do something else, or
/// this worker holds most of their input.
fn not_left(
    view: &View,
    job: &JobView,
    room: &Room<'_>,
    shares: &Shares<'_>,
    others: Vec<TaskId>,
    ask: Asking<'_>,
) -> Vec<TaskId> {
    let Some(whereabouts) = Whereabouts::of(view, job, &ask.mine.host) else { return others };
    let reducing = room.reducing(job);
    let is_left = |partition| shares.owner(partition).is_some_and(|owner| reducing.contains(owner));
    let is_open = |task: &TaskId| !is_left(task.number) || whereabouts.has_most_of(task.number);
    others.into_iter().take(NEAR_LOOKS).filter(is_open).collect()
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
    let attempts = job.job.as_ref().map(|job| job.record.attempts_of(task.kind));
    let attempts = attempts.unwrap_or(MAX_ATTEMPTS);
    let is_untried = |other: &&WorkerId| !has_failed_at(job, task, other);
    with_room.iter().any(is_untried)
        || record.failures.len() as u32 >= attempts / 2 && view.eligible(job).iter().any(is_untried)
}

/// A task that may be run a second time, here.
fn slow_task(view: &View, id: &JobId, job: &JobView, ask: Asking<'_>) -> Option<(TaskId, Seat)> {
    // One of a reduce that began while a map output is lost would go without it, and might win.
    let all_is_there = job.maps_are_there(&view.workers);
    let slow = job.slow().filter(|task| task.kind == TaskKind::Map || all_is_there);
    slow.into_iter().find_map(|task| {
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

/// Where the map outputs of a job are.
struct Whereabouts<'v> {
    /// Of each output whether it is on this worker's machine.
    outputs: Vec<(bool, &'v TaskOutput)>,
}

impl<'v> Whereabouts<'v> {
    /// `None` if all outputs are on one machine, or the worker does not know where it is.
    fn of(view: &'v View, job: &'v JobView, host: &str) -> Option<Whereabouts<'v>> {
        if host.is_empty() {
            return None;
        }
        let mut hosts = BTreeSet::new();
        let mut outputs = Vec::new();
        for (worker, maps) in job.outputs() {
            let its_host = view.workers.get(worker)?.record.host.as_str();
            hosts.insert(its_host);
            let done = maps.iter().filter_map(|map| job.tasks.get(map)?.record.done.as_ref());
            outputs.extend(done.map(|done| (its_host == host, &done.output)));
        }
        (hosts.len() > 1).then_some(Whereabouts { outputs })
    }

    /// Whether so much of a partition is on this machine that it need not matter who has fetched the rest.
    fn has_most_of(&self, partition: u32) -> bool {
        let (mut mine, mut all) = (0, 0);
        for (is_mine, output) in &self.outputs {
            let bytes = output.section_bytes(partition);
            all += bytes;
            mine += if *is_mine { bytes } else { 0 };
        }
        mine > all / 4 * 3
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
