//! What the coordinator does next with a job: a change of records, or work on files.
//!
//! Any node may be elected. All it needs is in the records, so a new one goes on where the last one
//! stopped. Every change is guarded by the coordinator's own election key: once that is gone, or
//! was created anew, nothing of the old one's takes effect. Its revision is the epoch.
//!
//! Tasks are not handed out here: workers claim them (`worker.rs`). The coordinator moves the job on,
//! sends lost work back, and ends what cannot succeed. Every state has a time limit.

use crate::cluster::change::Change;
use crate::cluster::names::{JobId, JobKey, TaskId, TaskKind};
use crate::cluster::records::{
    AttemptFailure, Ended, JobRecord, JobState, Span, TaskOutput, TaskRecord, Totals, encode,
};
use crate::cluster::report::JobReport;
use crate::cluster::verdict::{no_worker, same_output, verdict};
use crate::cluster::view::{JobView, Stamped, View};
use crate::commit::Manifest;
use crate::plan::JobPlan;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;
use synod_base::Revision;

/// Bytes of one piece of a stored plan.
const PIECE_BYTES: usize = 256 << 10;
/// Bytes of a stored plan.
const MAX_PLAN_BYTES: usize = 64 << 20;
/// Sections of all map outputs: every one is in a record, and every node holds the records.
const MAX_SECTIONS: u64 = 4_000_000;

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For a worker that can take the job's tasks.
    pub no_worker: Duration,
    /// For a running attempt to move, and for a job to change in any way.
    pub stall: Duration,
    /// Records of finished jobs that are kept.
    pub finished_kept: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        let (no_worker, stall) = (Duration::from_secs(30), Duration::from_secs(600));
        Limits { no_worker, stall, finished_kept: 50 }
    }
}

/// The coordinator's proof of office.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Office {
    /// Its election key.
    pub key: Bytes,
    /// The key's create revision.
    pub epoch: Revision,
}

/// What planning has found out about the program of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program<'a> {
    /// The build that planned it: only workers with the same one take its tasks.
    pub build: &'a str,
    /// Its functions run programs of the user.
    pub runs_commands: bool,
}

/// What to do next with a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write this.
    Change(Change),
    /// Work on files, on a thread.
    Work(Work),
}

/// Work on files that takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// See that the output does not exist.
    Check,
    /// Freeze and split the inputs, find cut points, make the output folder.
    Plan,
    /// Publish the winners' part files.
    Commit,
    /// Remove what a job without success has left.
    Clean,
}

/// The elected coordinator. Beside the records it remembers only since when things stand still.
#[derive(Debug)]
pub struct Coordinator {
    office: Office,
    limits: Limits,
    unix_ms: u64,
    without_worker: BTreeMap<JobId, Duration>,
    still_jobs: BTreeMap<JobId, (Revision, Duration)>,
    still_claims: BTreeMap<(JobId, TaskId), (Revision, Duration)>,
}

impl Coordinator {
    /// In this office.
    pub fn new(office: Office, limits: Limits) -> Coordinator {
        Coordinator {
            office,
            limits,
            unix_ms: 0,
            without_worker: BTreeMap::new(),
            still_jobs: BTreeMap::new(),
            still_claims: BTreeMap::new(),
        }
    }

    /// Tells it what the clock says, milliseconds since 1970. It goes into records, nothing else.
    pub fn tell_time(&mut self, unix_ms: u64) {
        self.unix_ms = unix_ms;
    }

    /// The next step of an active job; `None`: wait until something changes, or time passes.
    pub fn next(&mut self, view: &View, id: &JobId, now: Duration) -> Option<Step> {
        let job_view = view.jobs.get(id)?;
        let job = job_view.job.as_ref()?;
        let step = match &job.record.state {
            JobState::Submitted if job_view.cancel => {
                self.end_now(id, job_view, job, JobState::Cancelled)
            }
            JobState::Submitted => match same_output(view, id, job) {
                Some(other) => {
                    let output = job.record.spec.output.display();
                    let why = format!("output {output} is being written by job {other}");
                    self.end_now(id, job_view, job, JobState::Failed(why))
                }
                None => Step::Work(Work::Check),
            },
            JobState::Preparing if job_view.cancel => self.end(id, job, Ended::Cancelled),
            JobState::Preparing => Step::Work(Work::Plan),
            JobState::Running => return self.next_of_running(view, id, job_view, job, now),
            JobState::Committing => Step::Work(Work::Commit),
            JobState::Ending(_) => Step::Work(Work::Clean),
            JobState::Done(_) | JobState::Failed(_) | JobState::Cancelled => return None,
        };
        Some(step)
    }

    fn next_of_running(
        &mut self,
        view: &View,
        id: &JobId,
        job_view: &JobView,
        job: &Stamped<JobRecord>,
        now: Duration,
    ) -> Option<Step> {
        if job_view.cancel {
            return Some(self.end(id, job, Ended::Cancelled));
        }
        if let Some(why) = verdict(job_view, &job.record) {
            return Some(self.end(id, job, Ended::Failed(why)));
        }
        let totals = job.record.totals;
        // Without reduce tasks the maps write the part files.
        let (last, all) = match totals.reduces {
            0 => (TaskKind::Map, totals.maps),
            reduces => (TaskKind::Reduce, reduces),
        };
        if job_view.done(last) == all {
            let change = self.moved(id, job, JobState::Committing);
            return Some(Step::Change(change));
        }
        if let Some(change) = self.send_back(view, id, job_view, now) {
            return Some(Step::Change(change));
        }
        let why = self.standstill(view, id, job_view, job, now)?;
        Some(self.end(id, job, Ended::Failed(why)))
    }

    /// Tasks whose result is lost, or whose attempt does not move, wait again.
    fn send_back(
        &mut self,
        view: &View,
        id: &JobId,
        job: &JobView,
        now: Duration,
    ) -> Option<Change> {
        let mut change = self.guarded();
        let mut any = false;
        for (task, report) in &job.unreadable {
            change = change.delete(id.key(JobKey::Unreadable(*task)));
            any = true;
            let Some(found) = job.tasks.get(task) else { continue };
            let done = found.record.done.as_ref();
            if done.is_some_and(|done| done.attempt == report.record.attempt) {
                change = lost(change, id, *task, found);
            }
            if change.is_full() {
                return Some(change);
            }
        }
        for (task, found) in job.tasks_of(TaskKind::Map) {
            let Some(done) = &found.record.done else { continue };
            if matches!(done.output, TaskOutput::Reduce(_)) {
                // It lies in the output folder, not with its worker.
                continue;
            }
            if !view.workers.contains_key(&done.worker) && !job.unreadable.contains_key(&task) {
                change = lost(change, id, task, found);
                any = true;
            }
            if change.is_full() {
                return Some(change);
            }
        }
        for (task, claim) in &job.claims {
            let still = self
                .still_claims
                .entry((id.clone(), *task))
                .and_modify(|seen| {
                    if seen.0 != claim.modified {
                        *seen = (claim.modified, now);
                    }
                })
                .or_insert((claim.modified, now));
            if now.saturating_sub(still.1) < self.limits.stall {
                continue;
            }
            let Some(found) = job.tasks.get(task) else { continue };
            let seconds = self.limits.stall.as_secs();
            let failure = AttemptFailure {
                attempt: claim.record.attempt,
                worker: claim.record.worker.clone(),
                node: view.node_of(&claim.record.worker),
                span: Span { started_ms: claim.record.started_ms, ended_ms: self.unix_ms },
                message: format!("no progress for {seconds} s"),
                bad_record: None,
                permanent: false,
            };
            let key = id.key(JobKey::Claim(*task));
            change = change.if_created_at(key.clone(), claim.created).delete(key);
            change = put_task(change, id, *task, found, &found.record.failed(failure, false));
            any = true;
            if change.is_full() {
                return Some(change);
            }
        }
        self.still_claims.retain(|(of, task), _| of != id || job.claims.contains_key(task));
        any.then_some(change)
    }

    /// Why a job that nothing happens to must end.
    fn standstill(
        &mut self,
        view: &View,
        id: &JobId,
        job_view: &JobView,
        job: &Stamped<JobRecord>,
        now: Duration,
    ) -> Option<String> {
        if view.eligible(job_view).is_empty() {
            let since = *self.without_worker.entry(id.clone()).or_insert(now);
            if now.saturating_sub(since) >= self.limits.no_worker {
                return Some(no_worker(view, job_view, &job.record));
            }
        } else {
            self.without_worker.remove(id);
        }
        let still = self.still_jobs.entry(id.clone()).or_insert((job_view.changed, now));
        if still.0 != job_view.changed {
            *still = (job_view.changed, now);
        }
        let limit = self.limits.stall * 2;
        (now.saturating_sub(still.1) >= limit).then(|| {
            format!("nothing has happened for {} s: no worker takes a task", limit.as_secs())
        })
    }

    /// After [`Work::Check`]: the job is being prepared, or failed.
    pub fn checked(&self, id: &JobId, job: &Stamped<JobRecord>, why: Option<String>) -> Change {
        match why {
            None => self.moved(id, job, JobState::Preparing),
            Some(why) => self.moved(id, job, JobState::Failed(why)),
        }
    }

    /// After [`Work::Plan`]: the changes that store the plan and its tasks, then let them run.
    pub fn planned(
        &self,
        id: &JobId,
        job: &Stamped<JobRecord>,
        plan: &JobPlan,
        program: Program<'_>,
    ) -> Result<Vec<Change>, String> {
        let maps = plan.splits.len() as u64;
        if maps * u64::from(plan.reduces) > MAX_SECTIONS {
            let reduces = plan.reduces;
            return Err(format!(
                "{maps} splits times {reduces} reduce tasks are more than {MAX_SECTIONS} pieces \
                 for a cluster: use larger splits or fewer reduce tasks"
            ));
        }
        let text = encode(plan).map_err(|error| format!("the plan cannot be stored: {error}"))?;
        if text.len() > MAX_PLAN_BYTES {
            let bytes = text.len();
            return Err(format!(
                "the plan takes {bytes} bytes, at most {MAX_PLAN_BYTES} can be stored: name fewer \
                 inputs, or use larger splits"
            ));
        }
        let text = Bytes::from(text);
        let guarded = || self.guarded().if_unchanged(id.key(JobKey::Record), job.modified);
        let [_, working @ ..] = id.working_prefixes();
        // What another coordinator has begun to write may be longer than this.
        let mut changes = vec![working.into_iter().fold(guarded(), Change::delete_prefix)];
        let mut plan_pieces = 0;
        for start in (0..text.len()).step_by(PIECE_BYTES) {
            let piece = text.slice(start..text.len().min(start + PIECE_BYTES));
            changes.push(guarded().put(id.key(JobKey::Plan(plan_pieces)), piece));
            plan_pieces += 1;
        }
        let totals = Totals {
            maps: maps as u32,
            reduces: plan.reduces,
            input_bytes: plan.input_bytes(),
            plan_pieces,
        };
        let fresh = stored(&TaskRecord::default());
        let mut change = guarded();
        let maps = (0..totals.maps).map(TaskId::map);
        for task in maps.chain((0..totals.reduces).map(TaskId::reduce)) {
            change = change.put(id.key(JobKey::Task(task)), fresh.clone());
            if change.is_full() {
                changes.push(std::mem::replace(&mut change, guarded()));
            }
        }
        let running = JobRecord {
            state: JobState::Running,
            build: program.build.to_owned(),
            runs_commands: program.runs_commands,
            totals,
            started_ms: self.unix_ms,
            ..self.signed(job)
        };
        changes.push(change.put(id.key(JobKey::Record), stored(&running)));
        Ok(changes)
    }

    /// After [`Work::Plan`] without success: what it may have left must go.
    pub fn not_planned(&self, id: &JobId, job: &Stamped<JobRecord>, why: String) -> Change {
        self.moved(id, job, JobState::Ending(Ended::Failed(why)))
    }

    /// After [`Work::Commit`]: the job is done. Its tasks are forgotten, but for its report.
    pub fn committed(
        &self,
        id: &JobId,
        view: &JobView,
        job: &Stamped<JobRecord>,
        manifest: Manifest,
    ) -> Change {
        self.finished(id, view, job, JobState::Done(manifest))
    }

    /// After [`Work::Commit`] that fails time and again.
    pub fn not_committed(&self, id: &JobId, job: &Stamped<JobRecord>, why: String) -> Change {
        self.moved(id, job, JobState::Ending(Ended::Failed(why)))
    }

    /// After [`Work::Clean`]: the job is at its end. `left` says what could not be removed.
    pub fn cleaned(
        &self,
        id: &JobId,
        view: &JobView,
        job: &Stamped<JobRecord>,
        left: Option<String>,
    ) -> Change {
        let left = left.map(|left| format!("; its output could not be removed: {left}"));
        let state = match (&job.record.state, left) {
            (JobState::Ending(Ended::Failed(why)), left) => {
                JobState::Failed(format!("{why}{}", left.unwrap_or_default()))
            }
            (_, Some(left)) => JobState::Failed(format!("the job was cancelled{left}")),
            (_, None) => JobState::Cancelled,
        };
        self.finished(id, view, job, state)
    }

    /// Forgets the oldest finished jobs, if there are too many.
    pub fn prune(&mut self, view: &View) -> Option<Change> {
        let is_active = |id: &JobId| view.active().any(|(active, ..)| active == id);
        self.without_worker.retain(|id, _| is_active(id));
        self.still_jobs.retain(|id, _| is_active(id));
        self.still_claims.retain(|(id, _), _| is_active(id));
        let is_final = |job: &JobView| job.job.as_ref().is_some_and(|j| j.record.state.is_final());
        let finished: Vec<&JobId> =
            view.jobs.iter().filter(|(_, job)| is_final(job)).map(|(id, _)| id).collect();
        let surplus = finished.len().checked_sub(self.limits.finished_kept).filter(|n| *n > 0)?;
        let mut change = self.guarded();
        for id in finished.into_iter().take(surplus) {
            change = change.delete_prefix(id.prefix());
            if change.is_full() {
                break;
            }
        }
        Some(change)
    }

    fn guarded(&self) -> Change {
        Change::new().if_created_at(self.office.key.clone(), self.office.epoch)
    }

    fn signed(&self, job: &Stamped<JobRecord>) -> JobRecord {
        JobRecord { epoch: self.office.epoch.0, ..job.record.clone() }
    }

    fn moved(&self, id: &JobId, job: &Stamped<JobRecord>, state: JobState) -> Change {
        let key = id.key(JobKey::Record);
        let ended_ms = if state.is_final() { self.unix_ms } else { 0 };
        let record = JobRecord { state, ended_ms, ..self.signed(job) };
        self.guarded().if_unchanged(key.clone(), job.modified).put(key, stored(&record))
    }

    fn finished(
        &self,
        id: &JobId,
        view: &JobView,
        job: &Stamped<JobRecord>,
        state: JobState,
    ) -> Change {
        let mut change = self.moved(id, job, state);
        if !view.tasks.is_empty() {
            change = change.put(id.key(JobKey::Report), stored(&JobReport::of(view)));
        }
        id.working_prefixes().into_iter().fold(change, Change::delete_prefix)
    }

    fn end(&self, id: &JobId, job: &Stamped<JobRecord>, ended: Ended) -> Step {
        Step::Change(self.moved(id, job, JobState::Ending(ended)))
    }

    /// Ends a job that has touched nothing yet.
    fn end_now(
        &self,
        id: &JobId,
        view: &JobView,
        job: &Stamped<JobRecord>,
        state: JobState,
    ) -> Step {
        Step::Change(self.finished(id, view, job, state))
    }
}

fn lost(change: Change, id: &JobId, task: TaskId, found: &Stamped<TaskRecord>) -> Change {
    let losses = found.record.losses + 1;
    let record = TaskRecord { done: None, losses, ..found.record.clone() };
    put_task(change, id, task, found, &record)
}

fn put_task(
    change: Change,
    id: &JobId,
    task: TaskId,
    found: &Stamped<TaskRecord>,
    record: &TaskRecord,
) -> Change {
    let key = id.key(JobKey::Task(task));
    change.if_unchanged(key.clone(), found.modified).put(key, stored(record))
}

/// A record whose paths came out of a record, as bytes.
fn stored<T: serde::Serialize>(record: &T) -> Vec<u8> {
    encode(record).expect("what was decoded from text can be encoded as text")
}
