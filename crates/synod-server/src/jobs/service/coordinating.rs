//! The coordinator's part: each job's next step, and what comes of work on files.

use std::time::Duration;

use synod_client::Kv;
use synod_jobs::PlannedJob;
use synod_jobs::builtin::is_planned_with_its_files;
use synod_jobs::cluster::room::slots_together;
use synod_jobs::cluster::{
    Change, Coordinator, JobId, JobState, Planner, Program, Step, View, Work,
};

use super::overseeing::{Stop, Verdict, Working};
use super::{COMMIT_TRIES, JobService};
use crate::jobs::records::Applied;
use crate::jobs::threads::{CoordinatorTask, WorkResult, remove_late_output};

impl<K: Kv> JobService<K> {
    pub(super) async fn coordinate(&mut self) {
        if self.coordinator().is_none() {
            return;
        }
        let now = self.facts.moments.since(self.started);
        let build = self.build.clone();
        let mut is_wanted_elsewhere = false;
        let ids: Vec<JobId> = self.view.active().map(|(id, ..)| id.clone()).collect();
        for id in ids {
            let cancel = self.view.jobs.get(&id).is_some_and(|job| job.cancel);
            if let Some(working) = self.working.get_mut(&id) {
                if working.look(now, self.options.limits.stall, cancel) == Verdict::Leave {
                    // Nothing can end a thread that waits for a file system; the job need not wait.
                    let result = match working.published().get() {
                        Some(manifest) => {
                            tracing::warn!(
                                "jobs: the output of job {id} is complete, but what is left beside it \
                                 cannot be removed: the file system does not answer"
                            );
                            let manifest = Box::new(manifest.clone());
                            match working.work {
                                Work::Clean => WorkResult::Cleaned(Ok(Some(manifest))),
                                _ => WorkResult::Committed(Ok(manifest)),
                            }
                        }
                        None => WorkResult::Unanswered(working.work),
                    };
                    self.working.remove(&id);
                    self.after_work(&id, result).await;
                } else if working.takes_a_while(now) {
                    self.show_that_it_is_noticed(&id).await;
                }
                continue;
            }
            let unix_ms = self.facts.moments.unix_ms();
            let Some(coordinator) = self.coordinator() else { return };
            coordinator.coordinator.tell_time(unix_ms);
            match coordinator.next(now, &id) {
                None => {}
                Some(Step::Change(change)) => {
                    self.change(change).await;
                }
                Some(Step::Work(Work::Plan)) => {
                    let Some(seat) = self.coordinator() else { return };
                    match seat.planner(&id, &build, now) {
                        Planner::This => self.start_work(id, Work::Plan, now),
                        Planner::Another => is_wanted_elsewhere = true,
                        Planner::Nobody(None) => {}
                        Planner::Nobody(Some(change)) => drop(self.change(change).await),
                    }
                }
                // Plans alone go before, or two programs would hand the office to and fro for ever.
                Some(Step::Work(_)) if is_wanted_elsewhere => {}
                Some(Step::Work(work)) => self.start_work(id, work, now),
            }
        }
        if is_wanted_elsewhere && self.working.is_empty() {
            self.step_aside().await;
            return;
        }
        let prune = self.coordinator().and_then(|coordinator| coordinator.prune());
        if let Some(change) = prune {
            self.change(change).await;
        }
    }

    /// A job whose output is still being looked for would be taken back as one that nobody has seen.
    async fn show_that_it_is_noticed(&mut self, id: &JobId) {
        let job = self.view.jobs.get(id).and_then(|job| job.job.clone());
        let Some(job) = job.filter(|job| job.record.state == JobState::Submitted) else { return };
        let Some(coordinator) = self.coordinator() else { return };
        let change = coordinator.coordinator.noticed(id, &job);
        self.change(change).await;
    }

    fn start_work(&mut self, id: JobId, work: Work, now: Duration) {
        let planned = self.view.jobs.get(&id).and_then(|job| job.job.as_ref());
        let planned = planned.map(|job| &job.record.spec).filter(|_| work == Work::Plan);
        let planned = planned.filter(|spec| is_planned_with_its_files(spec)).cloned();
        let at_hand = planned.and_then(|spec| self.at_hand(&id, &spec));
        let Some(job) = self.view.jobs.get(&id) else { return };
        let mut working = Working::new(work, self.works_begun, now);
        // If its time has come already, a commit only finds out whether another one was in time.
        working.look(now, self.options.limits.stall, job.cancel);
        let task = CoordinatorTask {
            work,
            id: id.clone(),
            number: self.works_begun,
            slots: slots_together(self.view.workers.values().map(|worker| &worker.record)),
            jobs: self.options.known.clone(),
            stores: self.stores(),
            at_hand,
            progress: working.progress(),
            published: working.published(),
            moments: self.facts.moments.clone(),
        };
        match task.start(job, self.sender.clone()) {
            Ok(()) => {
                self.works_begun += 1;
                self.working.insert(id, working);
            }
            Err(error) => tracing::warn!("jobs: cannot start a thread: {error}"),
        }
    }

    /// Work has ended; if it was given up before, nobody waits for it.
    pub(super) async fn on_work(&mut self, id: &JobId, number: u64, result: WorkResult) {
        let known = self.working.get(id).filter(|working| working.number == number);
        let Some(stop) = known.map(Working::stopped) else {
            self.note_made(id, &result);
            return;
        };
        let work = self.working.remove(id).map(|working| working.work);
        let result = match (stop, work) {
            _ if result.is_success() => result,
            // Whoever is elected then does it again.
            (Some(Stop::Deposed), _) => return,
            // The wish that has ended it ends the job, now that nothing works on it.
            (Some(Stop::Wish), Some(Work::Plan)) => return,
            (Some(Stop::Stalled), Some(work)) => {
                let limit = self.options.limits.stall.as_secs();
                let what = match work {
                    Work::Check => "looking at the output",
                    Work::Plan => "planning",
                    Work::Commit => "publishing the output",
                    Work::Clean => "removing the output",
                };
                WorkResult::failed(work, &format!("{what} did not move for {limit} s"))
            }
            _ => result,
        };
        self.after_work(id, result).await;
    }

    /// Tells all work to end, because another coordinator may do it now.
    pub(super) fn stop_work(&mut self) {
        self.working.values_mut().for_each(|working| working.stop(Stop::Deposed));
    }

    /// The coordinator and what it looks at, if this node is elected.
    fn coordinator(&mut self) -> Option<Seat<'_>> {
        let coordinator = self.member.as_mut()?.coordinator.as_mut()?;
        Some(Seat { coordinator, view: &self.view })
    }

    /// Writes what comes of work that has ended.
    pub(super) async fn after_work(&mut self, id: &JobId, result: WorkResult) {
        self.note_made(id, &result);
        let changes = self.changes_after(id, result);
        let is_moot = changes.is_empty();
        for change in changes {
            match self.change(change).await {
                Applied::Yes(_) => {}
                // It is done again, by this coordinator or the next.
                Applied::No | Applied::Unknown => return,
                Applied::TooLarge => {
                    if let Some(Seat { coordinator, .. }) = self.coordinator() {
                        coordinator.told_too_large();
                    }
                    return;
                }
            }
        }
        if !is_moot {
            self.made.remove(id);
        }
    }

    /// Remembers an output until the records know of it.
    fn note_made(&mut self, id: &JobId, result: &WorkResult) {
        let WorkResult::Planned(Ok(planned)) = result else { return };
        self.made.insert(id.clone(), planned.spec.clone());
    }

    /// Removes what planning has made here of jobs that have ended without it: another coordinator has ended
    /// them while this one stood still.
    pub(super) fn remove_late_outputs(&mut self) {
        let stores = self.stores();
        let view = &self.view;
        self.made.retain(|id, spec| {
            let job = view.jobs.get(id).and_then(|job| job.job.as_ref());
            match job.map(|job| &job.record.state) {
                Some(JobState::Done(_)) => false,
                // Forgotten jobs have ended, too.
                Some(JobState::Failed(_) | JobState::Cancelled) | None => {
                    remove_late_output(spec.clone(), id.clone(), stores.clone());
                    false
                }
                Some(_) => true,
            }
        });
    }

    fn changes_after(&mut self, id: &JobId, result: WorkResult) -> Vec<Change> {
        let build = self.build.clone();
        let failed = self.failed_commits.get(id).copied().unwrap_or(0) + 1;
        let unix_ms = self.facts.moments.unix_ms();
        let Some(Seat { coordinator, view }) = self.coordinator() else { return Vec::new() };
        let Some(job_view) = view.jobs.get(id) else { return Vec::new() };
        let Some(job) = &job_view.job else { return Vec::new() };
        coordinator.tell_time(unix_ms);
        if !result.fits(&job.record.state) {
            // It comes too late: the job has been moved on without it.
            return Vec::new();
        }
        let change = match result {
            WorkResult::Checked(result) => coordinator.checked(id, job, result.err()),
            WorkResult::Planned(Ok(planned)) => {
                let PlannedJob { plan, runs_commands, attempts } = planned.job;
                let program = Program { build: &build, runs_commands, attempts };
                match coordinator.planned(id, job, &plan, program) {
                    Ok(changes) => return changes,
                    Err(why) => coordinator.not_planned(id, job, why),
                }
            }
            WorkResult::Planned(Err(why)) => coordinator.not_planned(id, job, why),
            WorkResult::Committed(Ok(manifest)) => coordinator.committed(id, view, job, *manifest),
            WorkResult::Committed(Err(why)) if failed < COMMIT_TRIES => {
                tracing::warn!("jobs: publishing the output of job {id} failed: {why}");
                self.failed_commits.insert(id.clone(), failed);
                return Vec::new();
            }
            WorkResult::Committed(Err(why)) => coordinator.not_committed(id, job, why),
            WorkResult::CommitCancelled => coordinator.commit_cancelled(id, job),
            WorkResult::Cleaned(Ok(Some(manifest))) => {
                tracing::warn!("jobs: job {id} was to end, but its output was complete before");
                coordinator.committed(id, view, job, *manifest)
            }
            WorkResult::Cleaned(result) => coordinator.cleaned(id, view, job, result.err()),
            // The wish ends the job.
            WorkResult::Unanswered(Work::Plan) if job_view.cancel => return Vec::new(),
            WorkResult::Unanswered(work) => {
                let why = "the file system does not answer the coordinator's node".to_owned();
                match work {
                    Work::Check => coordinator.checked(id, job, Some(why)),
                    Work::Plan => coordinator.not_planned(id, job, why),
                    Work::Commit => coordinator.commit_unanswered(id, view, job),
                    Work::Clean => coordinator.cleaned(id, view, job, Some(why)),
                }
            }
        };
        vec![change]
    }
}

/// The coordinator with its view.
struct Seat<'a> {
    coordinator: &'a mut Coordinator,
    view: &'a View,
}

impl Seat<'_> {
    fn next(self, now: Duration, id: &JobId) -> Option<Step> {
        self.coordinator.next(self.view, id, now)
    }

    fn planner(self, id: &JobId, build: &str, now: Duration) -> Planner {
        self.coordinator.planner(self.view, id, build, now)
    }

    fn prune(self) -> Option<Change> {
        self.coordinator.prune(self.view)
    }
}
