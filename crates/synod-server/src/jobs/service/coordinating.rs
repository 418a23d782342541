//! The coordinator's part: each job's next step, and what comes of work on files.

use std::time::Duration;

use synod_client::Kv;
use synod_jobs::cluster::{Change, Coordinator, JobId, JobState, Program, Step, View};
use tokio::time::Instant;

use super::{COMMIT_TRIES, JobService};
use crate::jobs::records::Applied;
use crate::jobs::threads::{WorkResult, remove_late_output, start_work, unix_ms};

impl<K: Kv> JobService<K> {
    pub(super) async fn coordinate(&mut self) {
        let now = self.started.elapsed();
        let ids: Vec<JobId> = self.view.active().map(|(id, ..)| id.clone()).collect();
        for id in ids {
            if let Some((work, started)) = self.working.get(&id) {
                if started.elapsed() < self.options.limits.stall {
                    continue;
                }
                // Nothing can end a thread that waits for a file system; the job need not wait.
                let result = WorkResult::unanswered(*work);
                self.working.remove(&id);
                self.after_work(&id, result).await;
                continue;
            }
            let Some(coordinator) = self.coordinator() else { return };
            coordinator.coordinator.tell_time(unix_ms());
            match coordinator.next(now, &id) {
                None => {}
                Some(Step::Change(change)) => {
                    self.change(change).await;
                }
                Some(Step::Work(work)) => {
                    let Some(job) = self.view.jobs.get(&id) else { continue };
                    let slots = self.view.workers.values().map(|worker| worker.record.slots).sum();
                    let (stores, sender) = (self.stores(), self.sender.clone());
                    let moments = self.facts.moments.clone();
                    match start_work(work, id.clone(), job, (slots, stores), moments, sender) {
                        Ok(()) => drop(self.working.insert(id, (work, Instant::now()))),
                        Err(error) => tracing::warn!("jobs: cannot start a thread: {error}"),
                    }
                }
            }
        }
        let prune = self.coordinator().and_then(|coordinator| coordinator.prune());
        if let Some(change) = prune {
            self.change(change).await;
        }
    }

    /// The coordinator and what it looks at, if this node is elected.
    fn coordinator(&mut self) -> Option<Seat<'_>> {
        let coordinator = self.member.as_mut()?.coordinator.as_mut()?;
        Some(Seat { coordinator, view: &self.view })
    }

    /// Writes what comes of work that has ended.
    pub(super) async fn after_work(&mut self, id: &JobId, result: WorkResult) {
        if let WorkResult::Planned(Ok(_)) = &result {
            let job = self.view.jobs.get(id).and_then(|job| job.job.as_ref());
            let ended = job.filter(|job| {
                use JobState::{Cancelled, Ending, Failed};
                matches!(job.record.state, Ending(_) | Failed(_) | Cancelled)
            });
            if let Some(spec) = ended.map(|job| job.record.spec.clone()) {
                // Another coordinator has ended it while this one's thread stood still.
                remove_late_output(spec, id.clone(), self.stores());
            }
        }
        for change in self.changes_after(id, result) {
            if !matches!(self.change(change).await, Applied::Yes(_)) {
                // It is done again, by this coordinator or the next.
                return;
            }
        }
    }

    fn changes_after(&mut self, id: &JobId, result: WorkResult) -> Vec<Change> {
        let build = self.build.clone();
        let failed = self.failed_commits.get(id).copied().unwrap_or(0) + 1;
        let Some(Seat { coordinator, view }) = self.coordinator() else { return Vec::new() };
        let Some(job_view) = view.jobs.get(id) else { return Vec::new() };
        let Some(job) = &job_view.job else { return Vec::new() };
        coordinator.tell_time(unix_ms());
        if !result.fits(&job.record.state) {
            // It comes too late: the job has been moved on without it.
            return Vec::new();
        }
        let change = match result {
            WorkResult::Checked(result) => coordinator.checked(id, job, result.err()),
            WorkResult::Planned(Ok(planned)) => {
                let program = Program { build: &build, runs_commands: planned.runs_commands };
                match coordinator.planned(id, job, &planned.plan, program) {
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
            WorkResult::Cleaned(result) => coordinator.cleaned(id, view, job, result.err()),
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

    fn prune(self) -> Option<Change> {
        self.coordinator.prune(self.view)
    }
}
