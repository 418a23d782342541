//! Which running attempts are so slow that the task may run a second time: LATE, "Longest Approximate
//! Time to End" (Zaharia and others, OSDI 2008).
//!
//! A wish is a mark in the task's record; a worker that has nothing else to do takes it up (`claim.rs`).
//! Times are the coordinator's own, counted from when it saw a claim first, so no clock of another
//! machine matters, and a new coordinator watches for a while before it finds anything slow.

use super::{Coordinator, put_task};
use crate::cluster::change::Change;
use crate::cluster::claim::may_back_up;
use crate::cluster::names::{JobId, TaskId, TaskKind, WorkerId};
use crate::cluster::records::{ClaimRecord, JobRecord};
use crate::cluster::room::{Room, slots_together};
use crate::cluster::seat::Seat;
use crate::cluster::view::{JobView, Stamped, View};
use std::collections::BTreeMap;
use std::time::Duration;
use synod_base::Revision;

/// One in so many slots may be taken by second attempts; at least one.
const SLOTS_PER_BACKUP: usize = 10;

/// How running attempts have moved since they were first seen.
#[derive(Debug, Default)]
pub(super) struct Paces {
    of: BTreeMap<(JobId, TaskId, Seat), Pace>,
}

/// How one attempt has moved.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// The claim's create revision.
    created: Revision,
    first_seen: Duration,
    /// Bytes done when it was first seen.
    first_done: u64,
    modified: Revision,
    moved_at: Duration,
    /// Bytes done when it was last seen, and since when they are as many.
    work_done: u64,
    worked_at: Duration,
}

impl Pace {
    fn of(claim: &Stamped<ClaimRecord>, now: Duration) -> Pace {
        Pace {
            created: claim.created,
            first_seen: now,
            first_done: claim.record.work_done,
            modified: claim.modified,
            moved_at: now,
            work_done: claim.record.work_done,
            worked_at: now,
        }
    }

    fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.first_seen)
    }

    /// Estimated milliseconds until the attempt ends; `u64::MAX` if it does not move.
    fn millis_left(&self, claim: &ClaimRecord, now: Duration) -> u64 {
        let age = millis(self.age(now));
        let left = claim.work_total.saturating_sub(claim.work_done);
        if left == 0 {
            // Nothing is known of it, or all its input was handed over and what comes of that is not known:
            // half of it may be done.
            return age;
        }
        let done = claim.work_done.saturating_sub(self.first_done);
        // Work that has stood still for a while may do so for as long again, though the attempt moves: one
        // that waits for a program of the user does.
        let still = millis(now.saturating_sub(self.worked_at));
        scaled(age, left, done).map_or(u64::MAX, |left| left.max(still))
    }
}

impl Paces {
    /// Takes in the running attempts of a job as they are now.
    pub(super) fn look(&mut self, id: &JobId, job: &JobView, now: Duration) {
        for (task, seat, claim) in job.attempts() {
            let fresh = Pace::of(claim, now);
            let pace = self.of.entry((id.clone(), task, seat)).or_insert(fresh);
            if pace.created != claim.created {
                *pace = fresh;
            } else if pace.modified != claim.modified {
                (pace.modified, pace.moved_at) = (claim.modified, now);
                if pace.work_done != claim.record.work_done {
                    (pace.work_done, pace.worked_at) = (claim.record.work_done, now);
                }
            }
        }
        self.of.retain(|(of, task, seat), _| of != id || seat.claims(job).contains_key(task));
    }

    /// Forgets jobs.
    pub(super) fn retain_jobs(&mut self, is_active: impl Fn(&JobId) -> bool) {
        self.of.retain(|(id, ..), _| is_active(id));
    }

    /// Attempts that have not moved for so long, by task.
    pub(super) fn unmoved<'v>(
        &self,
        id: &JobId,
        job: &'v JobView,
        now: Duration,
        limit: Duration,
    ) -> Vec<(TaskId, Seat, &'v Stamped<ClaimRecord>)> {
        let of_job = self.of.iter().filter(|((of, ..), _)| of == id);
        let still = of_job.filter(|(_, pace)| now.saturating_sub(pace.moved_at) >= limit);
        let claim = |seat: Seat, task| seat.claims(job).get(task);
        still.filter_map(|((_, task, seat), _)| Some((*task, *seat, claim(*seat, task)?))).collect()
    }

    fn get(&self, id: &JobId, task: TaskId, seat: Seat) -> Option<&Pace> {
        self.of.get(&(id.clone(), task, seat))
    }
}

impl Coordinator {
    /// Marks the slowest attempt, if there is one that should have company.
    pub(super) fn back_up(
        &self,
        view: &View,
        id: &JobId,
        job_view: &JobView,
        job: &Stamped<JobRecord>,
        now: Duration,
    ) -> Option<Change> {
        let maps_left = !job_view.are_over(TaskKind::Map);
        let kind = if maps_left { TaskKind::Map } else { TaskKind::Reduce };
        if !job.record.spec.may_run_twice(kind) {
            return None;
        }
        if job_view.waiting(kind).next().is_some() || backups(view) >= backups_allowed(view) {
            return None;
        }
        let idle: Vec<&WorkerId> = Room::of(view, job_view).workers().collect();
        let may_be_helped = |task, running: &ClaimRecord| {
            idle.iter().any(|worker| may_back_up(job_view, task, running, worker))
        };
        let seats = Seat::ALL.into_iter();
        let running = seats.flat_map(|seat| seat.claims(job_view).iter().map(move |c| (seat, c)));
        let running: Vec<Running<'_>> = running
            .filter(|(_, (task, _))| task.kind == kind)
            .filter_map(|(seat, (task, claim))| {
                let pace = self.paces.get(id, *task, seat)?;
                let left = pace.millis_left(&claim.record, now);
                let age = pace.age(now);
                Some(Running { task: *task, claim: &claim.record, age, left })
            })
            .collect();
        let ordinary = Ordinary::of(job_view, kind, &running)?;
        let is_unmarked = |task: TaskId| {
            job_view.tasks.get(&task).is_some_and(|found| found.record.slow.is_none())
        };
        let slow = running
            .iter()
            .filter(|one| one.age >= self.limits.slow_after)
            .filter(|one| is_unmarked(one.task) && job_view.lone_attempt(one.task).is_some())
            .filter(|one| ordinary.is_exceeded_by(one) && may_be_helped(one.task, one.claim))
            .max_by_key(|one| one.left)?;
        let found = job_view.tasks.get(&slow.task)?;
        let mut record = found.record.clone();
        record.slow = Some(slow.claim.attempt);
        Some(put_task(self.guarded(), id, slow.task, found, &record))
    }
}

/// A running attempt as far as it matters here.
struct Running<'v> {
    task: TaskId,
    claim: &'v ClaimRecord,
    age: Duration,
    /// Milliseconds.
    left: u64,
}

/// What tasks of a kind usually take.
struct Ordinary {
    /// Milliseconds of the task in the middle.
    median: u64,
    /// Time and work of the finished task in the middle of those whose work is known.
    fresh: Option<(u64, u64)>,
}

impl Ordinary {
    /// By the finished tasks, or else by what the running ones are estimated to take.
    fn of(job: &JobView, kind: TaskKind, running: &[Running<'_>]) -> Option<Ordinary> {
        let done = job.tasks_of(kind).filter_map(|(_, task)| task.record.done.as_ref());
        let done: Vec<(u64, u64)> = done.map(|done| (done.span.millis(), done.work)).collect();
        let mut times: Vec<u64> = done.iter().map(|(millis, _)| *millis).collect();
        if times.is_empty() {
            let whole = |one: &Running<'_>| millis(one.age).saturating_add(one.left);
            times = running.iter().map(whole).collect();
        }
        times.sort_unstable();
        // Of two the smaller one: it shows what is possible.
        let median = *times.get(times.len().checked_sub(1)? / 2)?;
        let mut known: Vec<(u64, u64)> = done.into_iter().filter(|(_, work)| *work > 0).collect();
        known.sort_by(|(a_millis, a_work), (b_millis, b_work)| {
            let [a, b] = [(a_millis, b_work), (b_millis, a_work)]
                .map(|(millis, work)| u128::from(*millis) * u128::from(*work));
            a.cmp(&b)
        });
        let fresh = known.get(known.len() / 2).copied();
        Some(Ordinary { median, fresh })
    }

    /// Whether a second attempt would probably end before this one, and this one is out of the ordinary.
    fn is_exceeded_by(&self, one: &Running<'_>) -> bool {
        let fresh = match self.fresh {
            Some((millis, work)) => scaled(millis, one.claim.work_total, work),
            None => None,
        };
        let fresh = fresh.unwrap_or(self.median).max(self.median);
        one.left > self.median.saturating_add(self.median / 2) && one.left > fresh
    }
}

/// Tasks of all jobs that run twice, or may.
fn backups(view: &View) -> usize {
    let of_job = |job: &JobView| {
        let wished = job.slow().filter(|task| job.lone_attempt(*task).is_some()).count();
        let twice = job.backups.keys().filter(|task| job.claims.contains_key(task)).count();
        wished + twice
    };
    view.active().map(|(_, job, _)| of_job(job)).sum()
}

fn backups_allowed(view: &View) -> usize {
    let all = view.workers.values().map(|worker| &worker.record);
    let slots = slots_together(all.filter(|worker| !worker.draining)) as usize;
    (slots / SLOTS_PER_BACKUP).max(1)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `value * part / whole`; `None` if the whole is 0.
fn scaled(value: u64, part: u64, whole: u64) -> Option<u64> {
    let scaled = (u128::from(value) * u128::from(part)).checked_div(u128::from(whole))?;
    Some(u64::try_from(scaled).unwrap_or(u64::MAX))
}
