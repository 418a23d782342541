//! What the records of jobs must never do, looked for in what the replicas have applied, revision by
//! revision.

use std::collections::{BTreeMap, BTreeSet};

use synod_jobs::cluster::names::{JobKey, Key};
use synod_jobs::cluster::records::{ClaimRecord, decode};
use synod_jobs::cluster::{
    JobId, JobRecord, JobReport, JobState, Seat, TaskId, TaskRecord, WorkerId,
};
use synod_state::kv::{Event, EventKind};

use crate::history::{Applied, Violation};

/// Attempts of a task that may begin before its job ends because of that.
const MOST_BEGUN: u32 = 12;

/// What the history has shown so far.
#[derive(Debug, Default)]
pub(super) struct Judge {
    jobs: BTreeMap<JobId, JobRecord>,
    tasks: BTreeMap<(JobId, TaskId), TaskRecord>,
    /// Attempts that were claimed, and by whom.
    claimed: BTreeSet<(JobId, TaskId, u32, WorkerId)>,
    /// Tasks that are claimed now, on which seats.
    running: BTreeSet<(JobId, TaskId, Seat)>,
    /// Tasks that each job went on without, and why.
    given_up: BTreeMap<JobId, BTreeMap<TaskId, String>>,
    /// What is kept of each job that has ended.
    pub(super) reports: BTreeMap<JobId, JobReport>,
    /// The winners of each job when it began to commit.
    pub(super) winners: BTreeMap<JobId, BTreeMap<TaskId, u32>>,
    pub(super) violations: Vec<Violation>,
    /// How often what happened.
    pub(super) counts: Counts,
}

/// Things that must happen in some seed, or nothing was learnt about them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub done: u64,
    pub cancelled: u64,
    pub given_up: u64,
    pub lost: u64,
    pub backups: u64,
    pub coordinators: u64,
}

impl Judge {
    /// Looks at the whole history.
    pub(super) fn of(applied: &Applied) -> Judge {
        let mut judge = Judge::default();
        for event in applied.events.values().flatten() {
            judge.see(event);
        }
        judge
    }

    /// How each job has ended, or how far it is.
    pub(super) fn state(&self, job: &JobId) -> Option<&JobState> {
        self.jobs.get(job).map(|record| &record.state)
    }

    /// Whether the workers of a task of it were lost so often that it may end without success.
    pub(super) fn wears_out(&self, job: &JobId) -> bool {
        let claimed = self.claimed.iter().filter(|(of, ..)| of == job);
        let tasks: BTreeSet<TaskId> = claimed.map(|(_, task, ..)| *task).collect();
        tasks.into_iter().any(|task| self.task_wears_out(job, task))
    }

    /// Whether the workers of a task were lost so often that nobody tries it again.
    pub(super) fn task_wears_out(&self, job: &JobId, task: TaskId) -> bool {
        let begun = self.claimed.iter().filter(|(of, its, ..)| (of, *its) == (job, task));
        begun.count() >= MOST_BEGUN as usize
    }

    /// The tasks that a job went on without, and why.
    pub(super) fn given_up(&self, job: &JobId) -> BTreeMap<TaskId, String> {
        self.given_up.get(job).cloned().unwrap_or_default()
    }

    fn see(&mut self, event: &Event) {
        let Some(Key::Job(job, key)) = Key::parse(&event.kv.key) else { return };
        let put = event.kind == EventKind::Put;
        match key {
            JobKey::Record if put => match decode(&event.kv.value) {
                Some(record) => self.see_job(job, record),
                None => self.broken("job-record", format!("the record of {job} is unreadable")),
            },
            JobKey::Record => self.broken("job-record", format!("the record of {job} is gone")),
            JobKey::Task(task) if put => match decode(&event.kv.value) {
                Some(record) => self.see_task(job, task, record),
                None => self.broken("job-record", format!("{task} of {job} is unreadable")),
            },
            JobKey::Task(task) => drop(self.tasks.remove(&(job, task))),
            JobKey::Claim(task) if put => self.see_claim((job, task, Seat::First), event),
            JobKey::Claim(task) => drop(self.running.remove(&(job, task, Seat::First))),
            JobKey::Backup(task) if put => self.see_claim((job, task, Seat::Second), event),
            JobKey::Backup(task) => drop(self.running.remove(&(job, task, Seat::Second))),
            JobKey::Report if put => match decode(&event.kv.value) {
                Some(report) => drop(self.reports.insert(job, report)),
                None => self.broken("job-record", format!("the report of {job} is unreadable")),
            },
            _ => {}
        }
    }

    fn see_claim(&mut self, seat: (JobId, TaskId, Seat), event: &Event) {
        let (job, task) = (seat.0.clone(), seat.1);
        if self.given_up.get(&job).is_some_and(|given_up| given_up.contains_key(&task)) {
            self.broken("job-given-up", format!("{task} of {job} is claimed, and was given up"));
        }
        let claim: Option<ClaimRecord> = decode(&event.kv.value);
        if let Some(ClaimRecord { attempt, worker, .. }) = claim {
            self.claimed.insert((job, task, attempt, worker));
        }
        self.running.insert(seat);
    }

    fn see_job(&mut self, job: JobId, now: JobRecord) {
        if let Some(before) = self.jobs.get(&job) {
            if before.state.is_final() && before.state != now.state {
                let what = format!("{job} had ended: {:?}, now {:?}", before.state, now.state);
                self.broken("job-end", what);
            } else if now.epoch < before.epoch {
                let what = format!("{job}: epoch {} after {}", now.epoch, before.epoch);
                self.broken("job-epoch", what);
            } else if now.epoch > before.epoch && before.epoch > 0 {
                self.counts.coordinators += 1;
            }
        }
        if now.state == JobState::Committing {
            let mine = self.tasks.iter().filter(|((of, _), _)| *of == job);
            let won =
                mine.filter_map(|((_, task), record)| Some((*task, record.winner()?.attempt)));
            let won: BTreeMap<TaskId, u32> = won.collect();
            // Each has a file to publish: of a map it is one beside its pairs, which may be lost.
            let mine = self.tasks.iter().filter(|((of, _), _)| *of == job);
            let given_up = mine.filter(|(_, record)| record.given_up.is_some()).count();
            let all = (now.totals.maps + now.totals.reduces) as usize;
            if won.len() + given_up != all {
                let what = format!("{job} commits the files of {} of {all} tasks", won.len());
                self.broken("job-early-end", what);
            }
            self.winners.insert(job.clone(), won);
        }
        match now.state {
            JobState::Done(_) => self.counts.done += 1,
            JobState::Cancelled => self.counts.cancelled += 1,
            _ => {}
        }
        self.jobs.insert(job, now);
    }

    fn see_task(&mut self, job: JobId, task: TaskId, now: TaskRecord) {
        let key = (job, task);
        let before = self.tasks.get(&key).and_then(|record| record.done.as_ref());
        let lost = before.is_some() && now.done.is_none();
        if let (Some(before), Some(now)) = (before, &now.done)
            && (before.attempt, &before.worker) != (now.attempt, &now.worker)
        {
            let what = format!("{} of {}: {before:?}, then {now:?}", key.1, key.0);
            self.broken("job-two-winners", what);
        }
        if let Some(done) = &now.done {
            let claim = (key.0.clone(), task, done.attempt, done.worker.clone());
            if !self.claimed.contains(&claim) {
                let what = format!("{task} of {} was won by {done:?} without a claim", key.0);
                self.broken("job-unclaimed", what);
            }
        }
        self.see_given_up(&key, &now);
        let known = self.tasks.get(&key).map_or(0, |record| record.backups.len());
        self.counts.backups += now.backups.len().saturating_sub(known) as u64;
        self.counts.lost += u64::from(lost);
        self.tasks.insert(key, now);
    }

    /// Once a job goes on without a task, nothing happens to that any more.
    fn see_given_up(&mut self, key: &(JobId, TaskId), now: &TaskRecord) {
        let (job, task) = key;
        let before = self.tasks.get(key).and_then(|record| record.given_up.clone());
        let is_running = [Seat::First, Seat::Second]
            .into_iter()
            .any(|seat| self.running.contains(&(job.clone(), *task, seat)));
        let what = match (before, &now.given_up) {
            (None, None) => return,
            (Some(before), Some(why)) if before == *why && now.winner().is_none() => return,
            (None, Some(why)) if now.winner().is_none() && !is_running => {
                self.counts.given_up += 1;
                self.given_up.entry(job.clone()).or_default().insert(*task, why.clone());
                return;
            }
            (before, _) => format!("{task} of {job}, given up: {before:?}, then {now:?}"),
        };
        self.broken("job-given-up", what);
    }

    fn broken(&mut self, promise: &'static str, what: String) {
        self.violations.push(Violation { promise, what });
    }
}
