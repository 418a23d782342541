//! The coordinator that a simulated worker may be: elected as the oldest candidate, it moves jobs on and has
//! work done on files.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use synod_jobs::Attempts;
use synod_jobs::cluster::winners::Winners;
use synod_jobs::cluster::{
    Change, Coordinator, JobId, JobState, Limits, Office, Program, Step, Work,
};
use synod_jobs::commit::Manifest;

use super::super::plan_of;
use super::{BUILD, Begun, Worker, election_key};
use crate::faults::MILLIS;
use crate::history::TrueTime;

/// Commits that may fail before the job does.
const COMMIT_TRIES: u32 = 3;
const PROGRAM: Program<'_> =
    Program { build: BUILD, runs_commands: false, attempts: Attempts::both(4) };
const LIMITS: Limits = Limits {
    no_worker: Duration::from_secs(60),
    stall: Duration::from_secs(20),
    slow_after: Duration::from_millis(500),
    finished_kept: 10,
};

/// The result of a work on files.
#[derive(Debug)]
pub(in super::super) enum Worked {
    Checked(bool),
    Planned,
    Committed(Result<Box<Manifest>, String>),
    CommitCancelled,
    /// With what it says, if the output was complete before, and stays.
    Cleaned(Option<Box<Manifest>>),
}

/// A work on files under way.
#[derive(Debug)]
pub(in super::super) struct Working {
    pub number: u64,
    pub work: Work,
    pub winners: Winners,
    pub cancel: bool,
    /// Another coordinator may do it now.
    deposed: bool,
}

impl Worker {
    /// Nobody else's changes count while it is the oldest candidate.
    pub(super) fn heed_election(&mut self) {
        let Some(member) = &mut self.member else { return };
        let key = Bytes::from(election_key(member.identity.lease));
        let first = self.candidates.iter().min_by_key(|(_, created)| **created);
        match first.filter(|(first, _)| **first == key) {
            None => {
                if member.coordinator.take().is_some() {
                    self.stop_work();
                }
            }
            Some((_, &epoch)) => {
                if member.coordinator.is_none() {
                    member.coordinator = Some(Coordinator::new(Office { key, epoch }, LIMITS));
                    self.failed_commits.clear();
                }
            }
        }
    }

    pub(super) fn stop_work(&mut self) {
        self.changes.clear();
        self.planned = None;
        self.working.values_mut().for_each(|working| working.deposed = true);
    }

    /// Another coordinator may have ended a job before this one, long asleep, made its folder.
    pub(super) fn remove_late_folders(&mut self) {
        let Some(view) = &self.view else { return };
        let (made, removals) = (&mut self.made, &mut self.removals);
        made.retain(|id| {
            let job = view.jobs.get(id).and_then(|job| job.job.as_ref());
            match job.map(|job| &job.record.state) {
                Some(JobState::Done(_)) => false,
                Some(JobState::Failed(_) | JobState::Cancelled) | None => {
                    removals.push(id.clone());
                    false
                }
                Some(_) => true,
            }
        });
    }

    pub(super) fn coordinate(&mut self, now: TrueTime) -> Option<Change> {
        while let Some((job, worked)) = self.worked.pop_front() {
            let is_plan = matches!(worked, Worked::Planned);
            let mut changes = VecDeque::from(self.after_work(&job, worked, now));
            if let Some(first) = changes.pop_front() {
                self.changes = changes;
                self.planned = is_plan.then_some(job);
                return Some(first);
            }
        }
        let ids: Vec<JobId> = self.view.as_ref()?.active().map(|(id, ..)| id.clone()).collect();
        for id in ids.into_iter().filter(|id| !self.working.contains_key(id)).collect::<Vec<_>>() {
            let view = self.view.as_ref()?;
            let coordinator = self.member.as_mut()?.coordinator.as_mut()?;
            coordinator.tell_time(now / MILLIS);
            match coordinator.next(view, &id, Duration::from_nanos(now)) {
                None => {}
                Some(Step::Change(change)) => return Some(change),
                Some(Step::Work(work)) => {
                    let job = view.jobs.get(&id)?;
                    let (winners, cancel) = (Winners::of(job), job.cancel);
                    let number = self.number();
                    let working = Working { number, work, winners, cancel, deposed: false };
                    self.working.insert(id, working);
                    self.begun.push(Begun::Work(number));
                }
            }
        }
        None
    }

    /// A work has come to its end.
    pub(in super::super) fn on_work(&mut self, job: &JobId, worked: Worked) {
        let Some(working) = self.working.remove(job) else { return };
        if matches!(worked, Worked::Planned) {
            self.made.insert(job.clone());
        }
        let fails = matches!(worked, Worked::Committed(Err(_)) | Worked::CommitCancelled);
        // Whoever is elected does it again.
        if !(working.deposed && fails) {
            self.worked.push_back((job.clone(), worked));
        }
    }

    fn after_work(&mut self, id: &JobId, worked: Worked, now: TrueTime) -> Vec<Change> {
        let failed = self.failed_commits.get(id).copied().unwrap_or(0) + 1;
        let Some(view) = &self.view else { return Vec::new() };
        let Some(job) = view.jobs.get(id).and_then(|job| job.job.as_ref()) else {
            return Vec::new();
        };
        let coordinator = self.member.as_mut().and_then(|member| member.coordinator.as_mut());
        let Some(coordinator) = coordinator.filter(|_| worked.fits(&job.record.state)) else {
            return Vec::new();
        };
        coordinator.tell_time(now / MILLIS);
        vec![match worked {
            Worked::Checked(free) => {
                coordinator.checked(id, job, (!free).then(|| "the output exists".to_owned()))
            }
            Worked::Planned => {
                let plan = plan_of(&job.record.spec);
                return coordinator.planned(id, job, &plan, PROGRAM).expect("it is a small plan");
            }
            Worked::Committed(Ok(manifest)) => coordinator.committed(id, view, job, *manifest),
            Worked::Committed(Err(_)) if failed < COMMIT_TRIES => {
                self.failed_commits.insert(id.clone(), failed);
                return Vec::new();
            }
            Worked::Committed(Err(why)) => coordinator.not_committed(id, job, why),
            Worked::CommitCancelled => coordinator.commit_cancelled(id, job),
            Worked::Cleaned(Some(manifest)) => coordinator.committed(id, view, job, *manifest),
            Worked::Cleaned(None) => coordinator.cleaned(id, view, job, None),
        }]
    }
}

impl Worked {
    /// Whether a job in this state waits for it.
    fn fits(&self, state: &JobState) -> bool {
        match self {
            Worked::Checked(_) => matches!(state, JobState::Submitted | JobState::Waiting),
            Worked::Planned => *state == JobState::Preparing,
            Worked::Committed(_) | Worked::CommitCancelled => *state == JobState::Committing,
            Worked::Cleaned(_) => matches!(state, JobState::Ending(_)),
        }
    }
}
