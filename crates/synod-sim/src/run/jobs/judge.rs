//! What the records of jobs must never do, looked for in what the replicas have applied, revision by
//! revision.

use std::collections::{BTreeMap, BTreeSet};

use synod_jobs::cluster::names::{JobKey, Key};
use synod_jobs::cluster::records::{ClaimRecord, decode};
use synod_jobs::cluster::{JobId, JobRecord, JobState, TaskId, TaskRecord, WorkerId};
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
        let mut begun: BTreeMap<TaskId, u32> = BTreeMap::new();
        for (_, task, ..) in self.claimed.iter().filter(|(of, ..)| of == job) {
            *begun.entry(*task).or_default() += 1;
        }
        begun.into_values().any(|begun| begun >= MOST_BEGUN)
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
            JobKey::Claim(task) | JobKey::Backup(task) if put => {
                let claim: Option<ClaimRecord> = decode(&event.kv.value);
                if let Some(ClaimRecord { attempt, worker, .. }) = claim {
                    self.claimed.insert((job, task, attempt, worker));
                }
            }
            _ => {}
        }
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
        let known = self.tasks.get(&key).map_or(0, |record| record.backups.len());
        self.counts.backups += now.backups.len().saturating_sub(known) as u64;
        self.counts.lost += u64::from(lost);
        self.tasks.insert(key, now);
    }

    fn broken(&mut self, promise: &'static str, what: String) {
        self.violations.push(Violation { promise, what });
    }
}
