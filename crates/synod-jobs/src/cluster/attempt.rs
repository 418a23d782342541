//! One attempt of one task, run to its end on the calling thread.
//!
//! A map leaves its run file in the worker's own folder. A reduce first collects its partition of every
//! map output (`shuffle.rs`), then it merges.

use crate::builtin::JobVisitor;
use crate::cluster::blame::Culprit;
use crate::cluster::failures::within_text;
use crate::cluster::names::{JobId, TaskId, TaskKind};
use crate::cluster::output;
use crate::cluster::records::{
    AttemptFailure, BadRecord, Span, TaskOutput, UnreadableRecord, shortened,
};
use crate::cluster::shuffle::{Collected, Fetch, MapLocation, Shuffle, map_file_name};
use crate::cluster::worker::{Held, Identity};
use crate::commit::Naming;
use crate::error::JobError;
use crate::fan_in::fan_in;
use crate::job::Job;
use crate::jobs::Jobs;
use crate::local::MIN_BUFFER_BYTES;
use crate::map_task::{MapContext, Skips, run_map_only_task, run_map_task_to_file};
use crate::plan::JobPlan;
use crate::progress::Progress;
use crate::quarantine::LeftOut;
use crate::reduce_task::{ReduceContext, run_reduce_task};
use crate::run::store::{MemoryBudget, RunStore};
use crate::spec::JobSpec;
use crate::stores::Stores;
use crate::task::{TaskContext, TaskLog};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What an attempt needs to know.
pub struct Attempt<'a> {
    /// Of which job.
    pub job: &'a JobId,
    /// Which task.
    pub task: TaskId,
    /// Its number.
    pub number: u32,
    /// What to run.
    pub spec: &'a JobSpec,
    /// On what.
    pub plan: &'a JobPlan,
    /// The worker's own folder for this job; it exists.
    pub folder: &'a Path,
    /// Tasks that the worker runs at a time: they share the memory.
    pub slots: u32,
    /// Records or groups to leave out.
    pub skips: &'a [BadRecord],
    /// Whether another attempt has failed on a record: then a map goes record by record, see [`Skips`].
    pub has_failed_before: bool,
    /// For a reduce: where the map outputs are, in the order of the map tasks.
    pub maps: &'a [MapLocation],
    /// Where inputs are read from.
    pub stores: &'a Stores,
    /// Where the lines go that the task says.
    pub log: &'a dyn TaskLog,
    /// Told how far it is, asked whether it was cancelled.
    pub progress: &'a Progress,
    /// Told how much of its work is done.
    pub work: &'a Arc<WorkMeter>,
}

/// How much of its work an attempt has done, in bytes: of input for a map; for a reduce of what it fetches,
/// and again when that is merged.
#[derive(Debug, Default)]
pub struct WorkMeter {
    total: AtomicU64,
    done: AtomicU64,
    moves: AtomicU64,
}

impl WorkMeter {
    /// All of it; 0 before it is known.
    pub fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    /// What is done. A map counts that in its [`Progress`] instead.
    pub fn done(&self) -> u64 {
        self.done.load(Relaxed)
    }

    /// A number that changes when the attempt moves.
    pub fn moves(&self) -> u64 {
        self.moves.load(Relaxed)
    }

    pub(super) fn set_total(&self, bytes: u64) {
        self.total.store(bytes, Relaxed);
    }

    pub(super) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Relaxed);
        self.moves.fetch_add(1, Relaxed);
    }
}

/// Why an attempt has no result.
#[derive(Debug)]
pub enum AttemptError {
    /// It failed itself.
    Failed(JobError),
    /// A map output could not be read.
    Unreadable(TaskId, UnreadableRecord),
    /// What was fetched ahead of a map output could not be read. The output may be good: the next attempt
    /// here fetches it itself.
    AheadUnreadable(TaskId),
}

impl From<JobError> for AttemptError {
    fn from(error: JobError) -> AttemptError {
        AttemptError::Failed(error)
    }
}

/// The failure as a record keeps it. A group that a reduce function failed on is named only if the job may
/// leave it out: otherwise it is a failure like others, and another node may do better.
pub fn failure_of(
    error: &JobError,
    held: &Held,
    me: &Identity,
    span: Span,
    skips_allowed: bool,
) -> AttemptFailure {
    let as_text = |(place, error): (u64, JobError)| (place, error.to_string());
    let bad_record = match (error, held.task.kind) {
        (JobError::MapPanicked { offset, .. }, _) => Some(*offset),
        (_, TaskKind::Reduce) if !skips_allowed => None,
        _ => error.bad_group(),
    };
    AttemptFailure {
        attempt: held.attempt(),
        worker: me.id.clone(),
        node: me.node.clone(),
        span,
        message: shortened(&error.to_string()),
        bad_record,
        permanent: error.is_permanent(),
        whole_job: error.is_of_whole_job(),
        others: within_text(error.each_panic().into_iter().skip(1).map(as_text)),
    }
}

/// Removes what a finished attempt has written: it did not win. `folder` is the worker's own for the
/// job, `output` the job's.
pub fn remove_output(job: &JobId, task: TaskId, attempt: u32, folder: &Path, output: &Path) {
    if task.kind == TaskKind::Map {
        // It goes with the folder otherwise.
        let _ = fs::remove_file(folder.join(map_file_name(task, attempt)));
    }
    output::remove_attempt(output, job, task, attempt);
}

impl Attempt<'_> {
    /// Runs it, of a built-in job. Without success it leaves nothing behind.
    pub fn run(&self, fetch: &dyn Fetch) -> Result<TaskOutput, AttemptError> {
        self.run_with(&Jobs::built_in(), fetch)
    }

    /// The same of a job of these.
    pub fn run_with(&self, jobs: &Jobs, fetch: &dyn Fetch) -> Result<TaskOutput, AttemptError> {
        let result = jobs.run_attempt(self.spec, RunAttempt { attempt: self, fetch });
        if result.is_err() {
            let output = self.spec.working_folder(self.job);
            remove_output(self.job, self.task, self.number, self.folder, &output);
        }
        result
    }

    fn map_file(&self) -> PathBuf {
        self.folder.join(map_file_name(self.task, self.number))
    }

    /// Where it writes its part file; the folder is made.
    fn part_file(&self, partition: u32) -> Result<PathBuf, JobError> {
        let output = self.spec.working_folder(self.job);
        let folder = output::create_attempt(&output, self.job, self.task, self.number)?;
        Ok(folder.join(Naming::of(self.spec).part(partition)))
    }

    fn context<'c, J: Job>(&'c self, job: &J, id: &'c str) -> TaskContext<'c> {
        let tasks = (self.plan.splits.len() as u32, self.plan.reduces);
        let (kind, number) = (self.task.kind, self.task.number);
        let output = self.spec.working_folder(self.job);
        let own = output::attempt_path(&output, self.job, self.task, self.number);
        let scratch = self.folder.join(format!("{}-scratch", self.prefix()));
        let folders = (scratch, output::side_folder(&own));
        let attempt = (self.number, job.attempts_on_cluster());
        let (progress, log) = (self.progress, self.log);
        let mut task = TaskContext::new(id, kind, number, attempt, tasks, progress, log, folders);
        task.on_cluster = true;
        task
    }

    /// Begins the names of all files that do not outlive the attempt.
    fn prefix(&self) -> String {
        format!("tmp-{}-{}", self.task, self.number)
    }

    /// The attempt's share of half the job's memory; the other half is for what is finished.
    fn share_bytes(&self) -> u64 {
        (self.spec.data_bytes() / 2 / u64::from(self.slots.max(1))).max(MIN_BUFFER_BYTES)
    }

    fn left_out(&self) -> LeftOut {
        self.skips.iter().map(|bad| (bad.place, bad.error.clone())).collect()
    }

    fn map<J: Job>(&self, job: &J) -> Result<TaskOutput, AttemptError> {
        let share = self.share_bytes();
        let store = RunStore::new(self.folder, self.prefix(), MemoryBudget::new(share));
        let split = self.task.number as usize;
        if let Some(range) = self.plan.splits.get(split) {
            self.work.set_total(range.end.saturating_sub(range.start));
        }
        let mut skips = Skips::new();
        if self.has_failed_before || !self.skips.is_empty() {
            skips.insert(split, self.left_out());
        }
        let id = self.job.to_string();
        let task = self.context(job, &id);
        let context = MapContext {
            job,
            plan: self.plan,
            stores: self.stores,
            store: &store,
            buffer_bytes: share,
            skips: &skips,
            may_leave_out: self.spec.skip_bad_records,
            task: &task,
        };
        if self.plan.reduces == 0 {
            let file = self.part_file(self.task.number)?;
            let (codec, sync) = (self.spec.output_codec, self.spec.sync_output);
            let part = run_map_only_task(&context, split, &file, codec, sync)?;
            return Ok(TaskOutput::Reduce(part));
        }
        let fan_in = fan_in(share, self.slots);
        let made = run_map_task_to_file(&context, split, &self.map_file(), fan_in)?;
        Ok(TaskOutput::of_map(&made.index, made.counters, made.side_files))
    }

    fn reduce<J: Job>(&self, job: &J, fetch: &dyn Fetch) -> Result<TaskOutput, AttemptError> {
        let partition = self.task.number;
        let file = self.part_file(partition)?;
        let shuffle = Shuffle {
            job: self.job,
            partition,
            folder: self.folder,
            prefix: self.prefix(),
            maps: self.maps,
            room_bytes: self.share_bytes(),
            progress: self.progress,
            work: self.work,
        };
        let Collected { sources, blame } = shuffle.collect(fetch)?;
        let store = RunStore::new(self.folder, self.prefix(), MemoryBudget::new(0));
        let id = self.job.to_string();
        let task = self.context(job, &id);
        let skips = self.left_out();
        let context = ReduceContext {
            job,
            store: &store,
            fan_in: fan_in(self.share_bytes(), self.slots),
            sync: self.spec.sync_output,
            codec: self.spec.output_codec,
            skips: &skips,
            task: &task,
        };
        let reduced = run_reduce_task(&context, partition, sources, &file);
        // Damage that only the merge has found is the map output's fault, too.
        match (reduced, blame.take()) {
            (Ok(output), _) => Ok(TaskOutput::Reduce(output)),
            (Err(_), Some(Culprit::Output(map, report))) => {
                Err(AttemptError::Unreadable(map, report))
            }
            (Err(_), Some(Culprit::Ahead(from))) => {
                fetch.forget(self.job, &from);
                Err(AttemptError::AheadUnreadable(from.map))
            }
            (Err(error), None) => Err(error.into()),
        }
    }
}

/// Runs an attempt of a job whose type is known.
pub(crate) struct RunAttempt<'a, 'b> {
    attempt: &'a Attempt<'b>,
    fetch: &'a dyn Fetch,
}

impl<'b> RunAttempt<'_, 'b> {
    pub(crate) fn progress(&self) -> &'b Progress {
        self.attempt.progress
    }
}

impl JobVisitor for RunAttempt<'_, '_> {
    type Output = Result<TaskOutput, AttemptError>;

    fn visit<J: Job>(self, job: &J) -> Self::Output {
        match self.attempt.task.kind {
            TaskKind::Map => self.attempt.map(job),
            TaskKind::Reduce => self.attempt.reduce(job, self.fetch),
        }
    }
}
