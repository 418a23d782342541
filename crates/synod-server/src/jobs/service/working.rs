//! The worker's part: claims tasks, runs them on threads, says how they ended.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use synod_client::Kv;
use synod_jobs::cluster::attempt::{AttemptError, WorkMeter, failure_of};
use synod_jobs::cluster::claim::{Asking, Claim};
use synod_jobs::cluster::records::Span;
use synod_jobs::cluster::shuffle::MapLocation;
use synod_jobs::cluster::worker::{self, Held, Made, Pace};
use synod_jobs::cluster::{Change, JobId, TaskId, TaskKind, WorkerId, WorkerRecord};
use synod_jobs::{JobError, JobSpec, Progress};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::JobService;
use crate::jobs::at_hand::AtHand;
use crate::jobs::folders::{discard_output, folder_of};
use crate::jobs::memory::within;
use crate::jobs::records::Applied;
use crate::jobs::threads::{AttemptTask, EndedAttempt, Place, StoredPlan, map_locations};

/// An attempt whose thread has not ended.
pub(super) struct Running {
    held: Held,
    pub(super) progress: Arc<Progress>,
    work: Arc<WorkMeter>,
    told: (u64, Instant),
}

impl Running {
    /// How far the attempt is; `activity` changes when it moves.
    fn pace(&self) -> Pace {
        let now = self.progress.snapshot();
        let sum = now.bytes_read + now.bytes_spilled + now.bytes_written;
        let (work_done, work_total) = match self.held.task.kind {
            TaskKind::Map => (now.bytes_read, self.work.total()),
            TaskKind::Reduce => (self.work.done(), self.work.total()),
        };
        let activity = sum + self.work.moves() + self.progress.moves();
        let status = self.progress.status().map(|status| status.to_string()).unwrap_or_default();
        Pace { activity, bytes_read: now.bytes_read, work_done, work_total, status }
    }
}

impl<K: Kv> JobService<K> {
    /// Says how attempts have ended; keeps those that nobody can tell about.
    pub(super) async fn report_ended(&mut self) {
        for _ in 0..self.ended.len() {
            let Some(ended) = self.ended.pop_front() else { return };
            let held = &ended.held;
            if self.view.revision() < held.revision {
                // Whether its claim stands cannot be told yet.
                self.ended.push_back(ended);
                continue;
            }
            if !worker::still_held(self.view.jobs.get(&held.job), held) {
                if !self.has_won(held) {
                    self.discard(held);
                }
                continue;
            }
            let Some(change) = self.end_of(&ended) else {
                // Its lease is lost, and the claim with it.
                self.discard(held);
                continue;
            };
            match self.change(change).await {
                Applied::Yes(_) => {}
                // The view will say what happened.
                Applied::No | Applied::Unknown => self.ended.push_back(ended),
                Applied::TooLarge => self.ended.push_back(ended.untellable()),
            }
        }
    }

    fn end_of(&self, ended: &EndedAttempt) -> Option<Change> {
        let EndedAttempt { held, result, ended_ms, work } = ended;
        let me = &self.member.as_ref()?.identity;
        let now = self.view.jobs.get(&held.job)?.tasks.get(&held.task)?;
        let spec = self.folders.get(&held.job);
        Some(match result {
            Ok(output) => {
                let (output, ended_ms, work) = (output.clone(), *ended_ms, *work);
                worker::done(held, me, now, Made { output, ended_ms, work })
            }
            Err(AttemptError::Failed(JobError::Cancelled)) => worker::given_back(held, now),
            Err(AttemptError::AheadUnreadable(map)) => {
                let job = &held.job;
                tracing::warn!(
                    "jobs: what was fetched ahead of task {map} of job {job} is unreadable"
                );
                worker::given_back(held, now)
            }
            Err(AttemptError::Failed(error)) => {
                let Held { job, task, .. } = held;
                tracing::warn!("jobs: task {task} of job {job} failed: {error}");
                let skips_allowed = spec.is_some_and(|spec| spec.skip_bad_records > 0);
                let span = Span { started_ms: held.started_ms, ended_ms: *ended_ms };
                let failure = failure_of(error, held, me, span, skips_allowed);
                worker::failed(held, now, failure, skips_allowed)
            }
            Err(AttemptError::Unreadable(map, report)) => {
                let (job, why) = (&held.job, &report.message);
                tracing::warn!("jobs: the output of task {map} of job {job} is unreadable: {why}");
                worker::unreadable(held, now, *map, report)
            }
        })
    }

    /// Whether the records say that this attempt is the task's winner.
    fn has_won(&self, held: &Held) -> bool {
        let task = self.view.jobs.get(&held.job).and_then(|job| job.tasks.get(&held.task));
        task.and_then(|task| task.record.winner())
            .is_some_and(|done| done.worker == self.id && done.attempt == held.attempt())
    }

    /// Removes what an attempt has made: nobody wants it. No other attempt writes under its number.
    fn discard(&self, held: &Held) {
        let Some(spec) = self.folders.get(&held.job) else { return };
        let folder = folder_of(&self.facts.folder, &held.job);
        let output = spec.working_folder(&held.job);
        discard_output(held, folder, output);
    }

    /// Stops attempts that lost their claim, and tells of those that move.
    pub(super) async fn mind_running(&mut self) {
        let Some(identity) = self.member.as_ref().map(|member| member.identity.clone()) else {
            return;
        };
        let mut known: BTreeSet<(JobId, TaskId)> = self.running.keys().cloned().collect();
        known.extend(self.ended.iter().map(|ended| (ended.held.job.clone(), ended.held.task)));
        if let Some(change) = worker::stray_claim(&self.view, &identity, &known) {
            self.change(change).await;
        }
        let mut changes = Vec::new();
        let seen = self.view.revision();
        for running in self.running.values_mut() {
            let job = self.view.jobs.get(&running.held.job);
            // A claim that the view has not come to is not gone.
            let is_gone = seen >= running.held.revision && !worker::still_held(job, &running.held);
            if is_gone || job.is_some_and(|job| job.cancel) {
                running.progress.cancel();
                continue;
            }
            let pace = running.pace();
            let (told, at) = running.told;
            if pace.activity != told && at.elapsed() >= self.options.tell_interval {
                running.told = (pace.activity, Instant::now());
                changes.push(worker::refreshed(&running.held, &identity, pace));
            }
        }
        for change in changes {
            self.change(change).await;
        }
    }

    fn warn_of_other_programs(&mut self) {
        for (id, _, job) in self.view.active() {
            let (its, ours) = (&job.record.build, &self.build);
            if its.is_empty() || its == ours || !self.warned.insert(id.clone()) {
                continue;
            }
            let what = format!("jobs: job {id} is for program {its}, this node runs {ours}");
            // A job of another program's own is none of this one's business.
            match self.options.known.is_known(&job.record.spec) {
                true => tracing::warn!("{what}"),
                false => tracing::debug!("{what}"),
            }
        }
    }

    /// Whether the view lacks a claim of this worker's own, ended or not: each is known until it was there.
    fn lacks_a_claim(&self) -> bool {
        let running = self.running.values().map(|running| &running.held);
        let mut held = running.chain(self.ended.iter().map(|ended| &ended.held));
        held.any(|held| self.view.revision() < held.revision)
    }

    /// Claims tasks for free slots and starts them; nothing more from a view that lacks the last ones.
    pub(super) async fn claim(&mut self) {
        self.warn_of_other_programs();
        if self.lacks_a_claim() {
            return;
        }
        let mut busy: BTreeSet<(JobId, TaskId)> = self.running.keys().cloned().collect();
        busy.extend(self.ended.iter().map(|ended| (ended.held.job.clone(), ended.held.task)));
        while self.running.len() < self.slots as usize {
            let Some(member) = &self.member else { return };
            let (me, mine) = (&member.identity, &member.record);
            let (now, unix_ms) = (self.started.elapsed(), self.facts.moments.unix_ms());
            let running = self.running.len() as u32;
            let ask = Asking { me, mine, busy: &busy, running, now, unix_ms };
            let Some(claim) = self.chooser.next(&self.view, ask) else { return };
            // Lost or not, it is not tried again before the view is newer.
            busy.insert((claim.job.clone(), claim.task));
            let Some(maps) = self.maps_for(&claim) else {
                let Claim { job, task, .. } = &claim;
                tracing::error!("jobs: task {task} of job {job} is not begun: a map output lacks");
                continue;
            };
            let Applied::Yes(revision) = self.change(claim.change).await else { continue };
            let Claim { job, task, seat, record, started_ms, .. } = claim;
            let held = Held { job, task, seat, record, revision, started_ms };
            if let Err(error) = self.start(held, maps) {
                tracing::warn!("jobs: cannot start a thread: {error}");
                return;
            }
        }
    }

    /// Where the outputs of a worker are for this one.
    pub(super) fn place_of(&self, worker: &WorkerId, job: &JobId) -> Place {
        if *worker == self.id {
            return Place::default();
        }
        let Some(found) = self.view.workers.get(worker) else {
            // A worker that has just gone is asked in vain, and reported.
            return Place { address: Some("gone".to_owned()), folder: None };
        };
        let WorkerRecord { address, host, folder, .. } = &found.record;
        let ours = self.member.as_ref().map(|member| &member.record.host);
        let is_near = !host.is_empty() && ours == Some(host) && !folder.is_empty();
        let folder = is_near.then(|| folder_of(Path::new(folder), job));
        Place { address: Some(address.clone()), folder }
    }

    /// The files that came with a job. From now on this worker has a folder for it.
    pub(super) fn at_hand(&mut self, id: &JobId, spec: &JobSpec) -> Option<Arc<AtHand>> {
        self.folders.entry(id.clone()).or_insert_with(|| spec.clone());
        let sent = spec.sent.clone()?;
        let (kv, folder) = (self.kv.clone(), folder_of(&self.facts.folder, id));
        let new = || Arc::new(AtHand::new(kv, Handle::current(), sent, &folder));
        Some(self.at_hand.entry(id.clone()).or_insert_with(new).clone())
    }

    /// Where a reduce finds its input, by the view that it is claimed by; nothing for a map. `None` if a
    /// map output is not there: the reduce would go without it.
    fn maps_for(&self, claim: &Claim) -> Option<Vec<MapLocation>> {
        match claim.task.kind {
            TaskKind::Map => Some(Vec::new()),
            TaskKind::Reduce => {
                let job = self.view.jobs.get(&claim.job)?;
                map_locations(job, claim.task.number, |worker| self.place_of(worker, &claim.job))
            }
        }
    }

    fn start(&mut self, held: Held, maps: Vec<MapLocation>) -> std::io::Result<()> {
        if held.task.kind == TaskKind::Reduce {
            // What is on its way it need not fetch itself.
            self.fetch_ahead(&held.job);
        }
        let Some(view) = self.view.jobs.get(&held.job) else { return Ok(()) };
        let Some(job) = &view.job else { return Ok(()) };
        let is_first = !self.plans.contains_key(&held.job);
        let plan = self.plans.entry(held.job.clone());
        let plan = plan.or_insert_with(|| Arc::new(StoredPlan::new(view))).clone();
        let (spec, said) = within(&job.record.spec, self.memory_bytes);
        if let Some(said) = &said
            && is_first
        {
            tracing::warn!("jobs: job {}: {said}", held.job);
        }
        let at_hand = self.at_hand(&held.job, &spec);
        let (progress, work) = (Arc::new(Progress::new()), Arc::new(WorkMeter::default()));
        let task = AttemptTask {
            held: held.clone(),
            spec,
            said,
            plan,
            maps,
            folder: folder_of(&self.facts.folder, &held.job),
            slots: self.slots,
            jobs: self.options.known.clone(),
            stores: self.stores(),
            progress: progress.clone(),
            work: work.clone(),
            at_hand,
            ahead: self.ahead.clone(),
            moments: self.facts.moments.clone(),
        };
        task.start(&self.pool, self.sender.clone())?;
        let key = (held.job.clone(), held.task);
        let running = Running { held, progress, work, told: (0, Instant::now()) };
        self.running.insert(key, running);
        Ok(())
    }
}
