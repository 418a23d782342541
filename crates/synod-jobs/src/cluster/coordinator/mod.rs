//! What the coordinator does next with a job: a change of records, or work on files.
//!
//! Any node may be elected. All it needs is in the records, so a new one goes on where the last one
//! stopped. Every change is guarded by the coordinator's own election key: once that is gone, or
//! was created anew, nothing of the old one's takes effect. Its revision is the epoch.
//!
//! Tasks are not handed out here: workers claim them (`claim.rs`). The coordinator moves the job on,
//! stores its plan (`planning.rs`), sends lost work back and gives up tasks that the job may do without
//! (`losses.rs`), lets slow tasks run a second time (`slowness.rs`), and ends what cannot succeed. Every
//! state has a time limit.

mod losses;
mod planning;
mod slowness;

pub use self::planning::Planner;
use self::slowness::Paces;
use crate::cluster::bounds::{MAX_END_BYTES, end_within};
use crate::cluster::change::Change;
use crate::cluster::names::{JobId, JobKey, TaskId, TaskKind};
use crate::cluster::records::{Ended, JobRecord, JobState, TaskRecord, Totals, encode};
use crate::cluster::report::JobReport;
use crate::cluster::verdict::{Precedence, Verdict, no_worker, output_in_use, precedence, verdict};
use crate::cluster::view::{JobView, Stamped, View};
use crate::commit::Manifest;
use crate::task::Attempts;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use synod_base::Revision;

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For a worker that can take the job's tasks.
    pub no_worker: Duration,
    /// For a running attempt to move, and for a job to change in any way.
    pub stall: Duration,
    /// Before an attempt may be found slow.
    pub slow_after: Duration,
    /// Records of finished jobs that are kept.
    pub finished_kept: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            no_worker: Duration::from_secs(30),
            stall: Duration::from_secs(600),
            slow_after: Duration::from_secs(10),
            finished_kept: 50,
        }
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
    /// How often its tasks are tried.
    pub attempts: Attempts,
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
    /// Publish the winners' part files. If the job is to be cancelled, only what readers can see already
    /// is brought to its end.
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
    /// Bytes that the end of a job may take.
    room: usize,
    without_worker: BTreeMap<JobId, Duration>,
    still_jobs: BTreeMap<JobId, (Revision, Duration)>,
    paces: Paces,
}

impl Coordinator {
    /// In this office.
    pub fn new(office: Office, limits: Limits) -> Coordinator {
        Coordinator {
            office,
            limits,
            unix_ms: 0,
            room: MAX_END_BYTES,
            without_worker: BTreeMap::new(),
            still_jobs: BTreeMap::new(),
            paces: Paces::default(),
        }
    }

    /// Tells it what the clock says, milliseconds since 1970. It goes into records, nothing else.
    pub fn tell_time(&mut self, unix_ms: u64) {
        self.unix_ms = unix_ms;
    }

    /// Tells it that the store has refused a change for its size: it takes less than others do. What is kept
    /// of a job at its end is cut to half of what it was.
    pub fn told_too_large(&mut self) {
        self.room /= 2;
    }

    /// The next step of an active job; `None`: wait until something changes, or time passes.
    pub fn next(&mut self, view: &View, id: &JobId, now: Duration) -> Option<Step> {
        let job_view = view.jobs.get(id)?;
        let job = job_view.job.as_ref()?;
        let step = match &job.record.state {
            JobState::Submitted | JobState::Waiting if job_view.cancel => {
                self.end_now(id, view, job, JobState::Cancelled)
            }
            JobState::Submitted | JobState::Waiting => {
                return self.next_of_new(view, id, job);
            }
            JobState::Preparing if job_view.cancel => self.end(id, job, Ended::Cancelled),
            JobState::Preparing => match output_in_use(view, id, job) {
                // Both were looked at before either was known to write.
                Some(why) => self.end(id, job, Ended::Failed(why)),
                None => Step::Work(Work::Plan),
            },
            JobState::Running => return self.next_of_running(view, id, job_view, job, now),
            JobState::Committing => Step::Work(Work::Commit),
            JobState::Ending(_) => Step::Work(Work::Clean),
            JobState::Done(_) | JobState::Failed(_) | JobState::Cancelled => return None,
        };
        Some(step)
    }

    /// A job that has touched nothing yet.
    fn next_of_new(&self, view: &View, id: &JobId, job: &Stamped<JobRecord>) -> Option<Step> {
        let fail = |why| Some(self.end_now(id, view, job, JobState::Failed(why)));
        match precedence(view, &job.record) {
            Precedence::Never(why) => return fail(why),
            Precedence::Pending if job.record.state == JobState::Waiting => return None,
            // So that whoever submitted it sees that somebody has.
            Precedence::Pending => {
                return Some(Step::Change(self.moved(id, job, JobState::Waiting)));
            }
            Precedence::Done => {}
        }
        if let Some(why) = output_in_use(view, id, job) {
            return fail(why);
        }
        Some(Step::Work(Work::Check))
    }

    /// Shows whoever has submitted a job that somebody looks after it, though nothing has come of that yet.
    pub fn noticed(&self, id: &JobId, job: &Stamped<JobRecord>) -> Change {
        self.moved(id, job, JobState::Waiting)
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
        match verdict(job_view, &job.record) {
            Some(Verdict::Ends(why)) => return Some(self.end(id, job, Ended::Failed(why))),
            Some(Verdict::Without(task, why)) => {
                return self.give_up(id, (job_view, job), task, why);
            }
            None => {}
        }
        let Totals { maps, reduces, .. } = job.record.totals;
        // The maps of a job without reduces are its output.
        let (last, count) =
            if reduces == 0 { (TaskKind::Map, maps) } else { (TaskKind::Reduce, reduces) };
        if job_view.done(last) + job_view.given_up(last) == count {
            return Some(Step::Change(self.committing(id, job)));
        }
        self.paces.look(id, job_view, now);
        if let Some(change) = self.send_back(view, id, job_view, now) {
            return Some(Step::Change(change));
        }
        if let Some(change) = self.back_up(view, id, job_view, job, now) {
            return Some(Step::Change(change));
        }
        let why = self.standstill(view, id, job_view, job, now)?;
        Some(self.end(id, job, Ended::Failed(why)))
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
                return Some(no_worker(view, &job.record));
            }
        } else {
            self.without_worker.remove(id);
        }
        let still = self.still_jobs.entry(id.clone()).or_insert((job_view.changed, now));
        if still.0 != job_view.changed {
            *still = (job_view.changed, now);
        }
        let limit = self.limits.stall * 2;
        if now.saturating_sub(still.1) >= limit / 2 && !view.has_room_for(job_view) {
            // It waits behind other jobs, for however long they take. When they are done there is time to
            // take its tasks.
            still.1 = now;
        }
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

    /// After [`Work::Plan`] without success: what it may have left must go.
    pub fn not_planned(&self, id: &JobId, job: &Stamped<JobRecord>, why: String) -> Change {
        self.moved(id, job, JobState::Ending(Ended::Failed(why)))
    }

    /// After [`Work::Commit`]: the job is done. Its tasks are forgotten, but for its report.
    pub fn committed(
        &self,
        id: &JobId,
        view: &View,
        job: &Stamped<JobRecord>,
        manifest: Manifest,
    ) -> Change {
        self.finished(id, view, job, JobState::Done(manifest))
    }

    /// After [`Work::Commit`] that was cancelled by wish before readers could see the output.
    pub fn commit_cancelled(&self, id: &JobId, job: &Stamped<JobRecord>) -> Change {
        self.moved(id, job, JobState::Ending(Ended::Cancelled))
    }

    /// After [`Work::Commit`] that does not even end when told to: nobody may touch the output.
    pub fn commit_unanswered(&self, id: &JobId, view: &View, job: &Stamped<JobRecord>) -> Change {
        let output = job.record.spec.output.display();
        let why = format!(
            "publishing the output neither moves nor ends, and may still go on: look at {output} and \
             remove it before another job writes there"
        );
        self.finished(id, view, job, JobState::Failed(why))
    }

    /// After [`Work::Commit`] that fails time and again.
    pub fn not_committed(&self, id: &JobId, job: &Stamped<JobRecord>, why: String) -> Change {
        self.moved(id, job, JobState::Ending(Ended::Failed(why)))
    }

    /// After [`Work::Clean`]: the job is at its end. `left` says what could not be removed.
    pub fn cleaned(
        &self,
        id: &JobId,
        view: &View,
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
        self.paces.retain_jobs(is_active);
        let is_final = |job: &JobView| job.job.as_ref().is_some_and(|j| j.record.state.is_final());
        // Whoever waits for a job wants to know how it ended.
        let wanted: BTreeSet<&JobId> =
            view.active().flat_map(|(_, _, job)| &job.record.spec.after).collect();
        let finished: Vec<&JobId> = view
            .jobs
            .iter()
            .filter(|(id, job)| is_final(job) && !wanted.contains(id))
            .map(|(id, _)| id)
            .collect();
        let surplus = finished.len().checked_sub(self.limits.finished_kept).filter(|n| *n > 0)?;
        let mut change = self.guarded();
        for id in finished.into_iter().take(surplus) {
            change = change.delete_prefix(id.prefix()).delete_prefix(id.files_prefix());
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
        let state = state.in_short();
        let ended_ms = if state.is_final() { self.unix_ms } else { 0 };
        let record = JobRecord { state, ended_ms, ..self.signed(job) };
        self.guarded().if_unchanged(key.clone(), job.modified).put(key, stored(&record))
    }

    /// With this the winners are settled: no attempt that still runs, be it a map that is made again, can end
    /// any more, and none begins.
    fn committing(&self, id: &JobId, job: &Stamped<JobRecord>) -> Change {
        let change = self.moved(id, job, JobState::Committing);
        id.claim_prefixes().into_iter().fold(change, Change::delete_prefix)
    }

    fn finished(
        &self,
        id: &JobId,
        view: &View,
        job: &Stamped<JobRecord>,
        state: JobState,
    ) -> Change {
        // Only what has no output can be tried again with the same files.
        let has_spare_files = matches!(state, JobState::Done(_)) && job.record.spec.sent.is_some();
        let known = view.jobs.get(id).filter(|job| !job.tasks.is_empty());
        let report = known.map(|job| JobReport::of(job, &view.workers));
        let (state, report) = end_within(self.room, &self.signed(job), state.in_short(), report);
        let mut change = self.moved(id, job, state);
        if has_spare_files {
            change = change.delete_prefix(id.files_prefix());
        }
        if let Some(report) = report {
            change = change.put(id.key(JobKey::Report), stored(&report));
        }
        id.working_prefixes().into_iter().fold(change, Change::delete_prefix)
    }

    fn end(&self, id: &JobId, job: &Stamped<JobRecord>, ended: Ended) -> Step {
        Step::Change(self.moved(id, job, JobState::Ending(ended)))
    }

    /// Ends a job that has touched nothing yet.
    fn end_now(&self, id: &JobId, view: &View, job: &Stamped<JobRecord>, state: JobState) -> Step {
        Step::Change(self.finished(id, view, job, state))
    }
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
