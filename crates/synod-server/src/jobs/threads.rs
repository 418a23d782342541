//! The threads that tasks and file work run on: one for each, never the node's own.
//!
//! A panic becomes an error of its task. Results travel over a bounded channel; a thread waits for
//! room in it, and ends quietly if the service is gone.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use synod_jobs::cluster::attempt::{Attempt, AttemptError, WorkMeter};
use synod_jobs::cluster::destination::Destination;
use synod_jobs::cluster::records::{TaskOutput, decode};
use synod_jobs::cluster::shuffle::{MapLocation, map_file_name};
use synod_jobs::cluster::view::JobView;
use synod_jobs::cluster::winners::Winners;
use synod_jobs::cluster::worker::Held;
use synod_jobs::cluster::{JobId, JobRecord, JobState, Work, WorkerId};
use synod_jobs::commit::Manifest;
use synod_jobs::{JobError, JobPlan, JobSpec, Jobs, PlannedJob, Progress, Stores, TaskLog};
use tokio::sync::mpsc;

use super::ahead::Ahead;
use super::at_hand::AtHand;
use super::fetch::HttpFetch;
use super::moments::Moments;
use super::pool::Pool;
use super::task_log::FileLog;

/// Sends a result from a thread to the service.
pub(super) type Results = mpsc::Sender<ThreadResult>;

/// What a thread has done.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "no more than a few exist at a time")]
pub(super) enum ThreadResult {
    /// An attempt of a task has ended.
    Attempt(EndedAttempt),
    /// Work of the coordinator has ended; the number tells it from other work on the job.
    Work(JobId, u64, WorkResult),
}

/// An attempt that has ended.
#[derive(Debug)]
pub(super) struct EndedAttempt {
    pub held: Held,
    pub result: Result<TaskOutput, AttemptError>,
    /// By this machine's clock at the beginning, milliseconds since 1970, and by the time that has
    /// passed since: a clock that is set meanwhile makes it neither longer nor shorter.
    pub ended_ms: u64,
    /// Bytes of work that it was, see [`WorkMeter`].
    pub work: u64,
}

impl EndedAttempt {
    /// This, after the store has refused what it has to tell: then it has failed, for good; and if not even
    /// that can be told it is given up.
    pub(super) fn untellable(self) -> Self {
        let error = match self.result {
            Ok(_) => JobError::Task {
                message: "the store does not take what the task has to tell: it has too many side \
                          files or counters"
                    .to_owned(),
                permanent: true,
                bad_record: None,
            },
            Err(_) => JobError::Cancelled,
        };
        EndedAttempt { result: Err(AttemptError::Failed(error)), ..self }
    }
}

/// What became of the coordinator's work.
#[derive(Debug)]
pub(super) enum WorkResult {
    Checked(Result<(), String>),
    Planned(Result<Box<Planned>, String>),
    Committed(Result<Box<Manifest>, String>),
    /// It was told to end before anybody could see the output, and has.
    CommitCancelled,
    /// With the manifest of an output that turned out to be complete.
    Cleaned(Result<Option<Box<Manifest>>, String>),
    /// It does not move, and does not end when it is told to.
    Unanswered(Work),
}

/// A plan, and what was found out about the job beside it.
#[derive(Debug)]
pub(super) struct Planned {
    pub spec: JobSpec,
    pub job: PlannedJob,
}

impl WorkResult {
    /// Of work without success.
    pub(super) fn failed(work: Work, why: &str) -> WorkResult {
        let why = why.to_owned();
        match work {
            Work::Check => WorkResult::Checked(Err(why)),
            Work::Plan => WorkResult::Planned(Err(why)),
            Work::Commit => WorkResult::Committed(Err(why)),
            Work::Clean => WorkResult::Cleaned(Err(why)),
        }
    }

    pub(super) fn is_success(&self) -> bool {
        match self {
            WorkResult::Checked(result) => result.is_ok(),
            WorkResult::Cleaned(result) => result.is_ok(),
            WorkResult::Planned(result) => result.is_ok(),
            WorkResult::Committed(result) => result.is_ok(),
            WorkResult::CommitCancelled | WorkResult::Unanswered(_) => false,
        }
    }

    /// Whether a job in this state waits for it.
    pub(super) fn fits(&self, state: &JobState) -> bool {
        match self {
            WorkResult::Checked(_) | WorkResult::Unanswered(Work::Check) => {
                matches!(state, JobState::Submitted | JobState::Waiting)
            }
            WorkResult::Planned(_) | WorkResult::Unanswered(Work::Plan) => {
                matches!(state, JobState::Preparing)
            }
            WorkResult::Committed(_)
            | WorkResult::CommitCancelled
            | WorkResult::Unanswered(Work::Commit) => matches!(state, JobState::Committing),
            WorkResult::Cleaned(_) | WorkResult::Unanswered(Work::Clean) => {
                matches!(state, JobState::Ending(_))
            }
        }
    }
}

/// A stored plan, put together and parsed by the first attempt that needs it.
#[derive(Debug)]
pub(super) struct StoredPlan {
    pieces: Vec<Bytes>,
    parsed: OnceLock<Option<JobPlan>>,
}

impl StoredPlan {
    pub(super) fn new(job: &JobView) -> Self {
        StoredPlan { pieces: job.plan.values().cloned().collect(), parsed: OnceLock::new() }
    }

    fn get(&self) -> Result<&JobPlan, JobError> {
        let parsed = self.parsed.get_or_init(|| decode(&self.pieces.concat()));
        let what = || "its stored plan does not parse: submit it again".to_owned();
        parsed.as_ref().ok_or_else(|| JobError::BadSpec { what: what() })
    }
}

/// What the thread of an attempt takes along.
#[derive(Debug)]
pub(super) struct AttemptTask {
    pub held: Held,
    pub spec: JobSpec,
    /// What its log begins with.
    pub said: Option<String>,
    pub plan: Arc<StoredPlan>,
    pub maps: Vec<MapLocation>,
    pub folder: PathBuf,
    pub slots: u32,
    pub jobs: Jobs,
    pub stores: Stores,
    pub progress: Arc<Progress>,
    pub work: Arc<WorkMeter>,
    /// The files that came with the job.
    pub at_hand: Option<Arc<AtHand>>,
    /// What the worker has fetched of map outputs already.
    pub ahead: Ahead,
    pub moments: Moments,
}

impl AttemptTask {
    /// Runs it on a thread.
    pub(super) fn start(self, pool: &Pool, results: Results) -> std::io::Result<()> {
        let began = Instant::now();
        pool.run(move || {
            let result = catch_unwind(AssertUnwindSafe(|| self.run())).unwrap_or_else(|_| {
                let error = std::io::Error::other("it panicked; the log says where");
                Err(JobError::io("run a task in", &self.folder, error).into())
            });
            self.moments.attempt_ended(&self.held);
            // The service may have stopped; then nobody wants to know.
            let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let ended_ms = self.held.started_ms.saturating_add(millis);
            let work = self.work.total();
            let ended = EndedAttempt { held: self.held, result, ended_ms, work };
            drop(results.blocking_send(ThreadResult::Attempt(ended)));
        })
    }

    fn run(&self) -> Result<TaskOutput, AttemptError> {
        self.moments.attempt_begins(&self.held);
        let folder = &self.folder;
        std::fs::create_dir_all(folder).map_err(|error| JobError::io("create", folder, error))?;
        let log = FileLog::new(folder, self.held.task, self.held.attempt());
        if let Some(said) = &self.said {
            log.line(said.as_bytes());
        }
        let result = self.attempt(&log);
        match &result {
            Ok(_) | Err(AttemptError::Failed(JobError::Cancelled)) => {}
            Err(AttemptError::Failed(error)) => log.line(error.to_string().as_bytes()),
            Err(AttemptError::Unreadable(map, report)) => {
                let why = format!("the output of task {map} is unreadable: {}", report.message);
                log.line(why.as_bytes());
            }
            Err(AttemptError::AheadUnreadable(map)) => {
                let why = format!("what was fetched of task {map} ahead is unreadable: once more");
                log.line(why.as_bytes());
            }
        }
        result
    }

    fn attempt(&self, log: &FileLog) -> Result<TaskOutput, AttemptError> {
        let spec = filled_in(&self.spec, self.at_hand.as_deref(), &self.progress)?;
        let record = &self.held.record;
        let attempt = Attempt {
            job: &self.held.job,
            task: self.held.task,
            number: self.held.attempt(),
            spec: &spec,
            plan: self.plan.get()?,
            folder: &self.folder,
            slots: self.slots,
            skips: &record.skips,
            has_failed_before: record.failures.iter().any(|failure| failure.bad_record.is_some()),
            maps: &self.maps,
            stores: &self.stores,
            log,
            progress: &self.progress,
            work: &self.work,
        };
        attempt.run_with(&self.jobs, &HttpFetch::new(self.ahead.clone()))
    }
}

/// The spec with what this machine knows of its files.
fn filled_in(
    spec: &JobSpec,
    at_hand: Option<&AtHand>,
    progress: &Progress,
) -> Result<JobSpec, JobError> {
    match at_hand {
        Some(at_hand) => at_hand.fill_in(spec.clone(), progress),
        None => Ok(spec.clone()),
    }
}

/// What the thread of the coordinator's work takes along.
#[derive(Debug)]
pub(super) struct CoordinatorTask {
    pub work: Work,
    pub id: JobId,
    /// Tells it from other work on the job.
    pub number: u64,
    /// Slots of all workers.
    pub slots: u32,
    /// The jobs that this program knows.
    pub jobs: Jobs,
    /// What the job may read and write.
    pub stores: Stores,
    /// The files that came with the job, if planning needs them.
    pub at_hand: Option<Arc<AtHand>>,
    /// Tells whether it moves, and tells it to end.
    pub progress: Arc<Progress>,
    /// Told what is published as soon as readers can see it.
    pub published: Arc<OnceLock<Manifest>>,
    pub moments: Moments,
}

impl CoordinatorTask {
    /// Does it on a thread of its own.
    pub(super) fn start(self, job: &JobView, results: Results) -> std::io::Result<()> {
        let Some(record) = job.job.as_ref().map(|job| job.record.clone()) else { return Ok(()) };
        let work = self.work;
        let winners = if work == Work::Commit { Winners::of(job) } else { Winners::default() };
        spawn(move || {
            let done = AssertUnwindSafe(|| {
                self.moments.work_begins(work);
                let result = self.run(&record, &winners);
                self.moments.work_ended(work);
                result
            });
            let result = catch_unwind(done).unwrap_or_else(|_| {
                WorkResult::failed(work, "it panicked; the coordinator's log says where")
            });
            drop(results.blocking_send(ThreadResult::Work(self.id, self.number, result)));
        })
    }

    fn run(&self, job: &JobRecord, winners: &Winners) -> WorkResult {
        let text = |error: JobError| error.to_string();
        let destination = || Destination::of(&job.spec, &self.id, &self.stores);
        match self.work {
            Work::Check => {
                let checked = destination().and_then(|destination| destination.check_absent());
                WorkResult::Checked(checked.map_err(text))
            }
            Work::Plan => {
                let spec = filled_in(&job.spec, self.at_hand.as_deref(), &self.progress);
                WorkResult::Planned(spec.and_then(|spec| self.plan(&spec)).map_err(text))
            }
            Work::Commit => {
                let committed =
                    destination().and_then(|destination| self.commit(&destination, winners));
                match committed {
                    Err(JobError::Cancelled) => WorkResult::CommitCancelled,
                    other => WorkResult::Committed(other.map(Box::new).map_err(text)),
                }
            }
            Work::Clean => {
                let cleaned = destination().and_then(|destination| self.clean(&destination));
                WorkResult::Cleaned(cleaned.map(|found| found.map(Box::new)).map_err(text))
            }
        }
    }

    /// First the plan, then the folder: a job that cannot be planned touches nothing.
    fn plan(&self, spec: &JobSpec) -> Result<Box<Planned>, JobError> {
        let job = self.jobs.plan(spec, self.slots, &self.stores, &self.progress)?;
        self.progress.step()?;
        self.moments.makes();
        Destination::of(spec, &self.id, &self.stores)?.create()?;
        Ok(Box::new(Planned { spec: spec.clone(), job }))
    }

    /// Publishes. With that the job has succeeded; what comes behind it is tidying.
    fn commit(
        &self,
        destination: &Destination<'_>,
        Winners { outputs, account }: &Winners,
    ) -> Result<Manifest, JobError> {
        let manifest = destination.commit(outputs, account, &self.progress)?;
        self.complete(destination, &manifest);
        Ok(manifest)
    }

    fn clean(&self, destination: &Destination<'_>) -> Result<Option<Manifest>, JobError> {
        let found = destination.clean(&self.progress)?;
        if let Some(manifest) = &found {
            self.complete(destination, manifest);
        }
        Ok(found)
    }

    /// Readers can see the output: the job has succeeded, whatever comes of the rest.
    fn complete(&self, destination: &Destination<'_>, manifest: &Manifest) {
        // Only this thread says so.
        let _first: Result<(), _> = self.published.set(manifest.clone());
        self.moments.published();
        if let Err(left) = destination.tidy(&self.progress) {
            tracing::warn!("jobs: the output of job {} is complete, but {left}", self.id);
        }
    }
}

/// Removes, on a thread of its own, the output that was made for a job which had ended meanwhile.
pub(super) fn remove_late_output(spec: JobSpec, id: JobId, stores: Stores) {
    drop(spawn(move || {
        let destination = Destination::of(&spec, &id, &stores);
        let cleaned = destination.and_then(|destination| destination.clean(&Progress::new()));
        if let Err(error) = cleaned {
            tracing::warn!("jobs: what was made too late for job {id} stays: {error}");
        }
    }));
}

/// Where a worker's map outputs of a job are, as seen by another one.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// Where they are fetched; `None` for this worker itself.
    pub address: Option<String>,
    /// The worker's folder for the job, if it is on this machine.
    pub folder: Option<PathBuf>,
}

/// Where the parts of a partition are. `None` if one is not there, see [`JobView::map_outputs`].
pub(super) fn map_locations(
    job: &JobView,
    partition: u32,
    place_of: impl Fn(&WorkerId) -> Place,
) -> Option<Vec<MapLocation>> {
    let places: BTreeMap<&WorkerId, Place> =
        job.outputs().keys().map(|worker| (worker, place_of(worker))).collect();
    let mut maps = Vec::new();
    for (map, done) in job.map_outputs()? {
        let section = done.output.section(partition)?;
        let (worker, attempt) = (done.worker.clone(), done.attempt);
        let Place { address, folder } = places.get(&worker).cloned().unwrap_or_default();
        let file = folder.map(|folder| folder.join(map_file_name(map, attempt)));
        let index_crc32c = done.output.index_crc32c();
        maps.push(MapLocation { map, attempt, worker, address, file, section, index_crc32c });
    }
    Some(maps)
}

/// This machine's clock, milliseconds since 1970. For people only: it may jump.
pub(super) fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn spawn(body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name("synod-job".into()).spawn(body).map(drop)
}
