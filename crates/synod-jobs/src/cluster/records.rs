//! The records of a job in the replicated store, as JSON.
//!
//! Only transitions are written: a task is written when it is claimed, when it ends and when its
//! output is lost. How far a running attempt is, is said by its claim, now and then. What stays of the
//! tasks of a job that has ended is its report (`report.rs`).
//!
//! Moments are milliseconds since 1970 by the clock of whoever wrote them, 0 if unknown: they are for
//! people to look at. Nothing is decided by them, so a clock that is wrong does no harm.

use crate::cluster::names::WorkerId;
use crate::commit::Manifest;
use crate::counters::Counters;
use crate::reduce_task::ReduceOutput;
use crate::run::writer::{RunIndex, Section};
use crate::side_files::SideFile;
use crate::spec::JobSpec;
use crate::task::{MAX_ATTEMPTS, TaskKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use crate::cluster::failures::{AttemptFailure, BadRecord};

/// Longest error text that a record keeps, in characters.
const MAX_MESSAGE_CHARS: usize = 2_000;

/// A job: what was asked for and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// What to run. Its paths are absolute and mean the same files on every node.
    pub spec: JobSpec,
    /// How far it is.
    pub state: JobState,
    /// Epoch of the coordinator that wrote this; 0 if the client did.
    pub epoch: i64,
    /// The program that planned it: only workers with the same one take its tasks. Before that, the
    /// program that must plan it; empty if any may, as for the built-in jobs.
    pub build: String,
    /// What the plan says; all 0 before there is one.
    pub totals: Totals,
    /// Whether its tasks run programs of the user: then only workers that allow it take them.
    #[serde(default)]
    pub runs_commands: bool,
    /// How often one of its tasks is tried; what took its worker along counts apart.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// How often one of its reduce tasks is, if that is another number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduce_attempts: Option<u32>,
    /// What people call it: the spec's name, or the name of its job.
    #[serde(default)]
    pub name: String,
    /// When the client submitted it, by the client's clock.
    #[serde(default)]
    pub submitted_ms: u64,
    /// When its tasks might be claimed, by the coordinator's clock.
    #[serde(default)]
    pub started_ms: u64,
    /// When it came to its end, by the coordinator's clock.
    #[serde(default)]
    pub ended_ms: u64,
}

impl JobRecord {
    /// How often a task of this kind is tried.
    pub fn attempts_of(&self, kind: TaskKind) -> u32 {
        match kind {
            TaskKind::Map => self.attempts,
            TaskKind::Reduce => self.reduce_attempts.unwrap_or(self.attempts),
        }
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn default_attempts() -> u32 {
    MAX_ATTEMPTS
}

/// Sizes of a planned job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Map tasks.
    pub maps: u32,
    /// Reduce tasks.
    pub reduces: u32,
    /// Bytes of input.
    pub input_bytes: u64,
    /// Records that the plan is stored in.
    pub plan_pieces: u32,
}

/// How far a job is. `Done`, `Failed` and `Cancelled` are final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::large_enum_variant, reason = "a job has one, and few are done")]
pub enum JobState {
    /// Nothing was looked at.
    Submitted,
    /// Other jobs must be done first.
    Waiting,
    /// The output folder did not exist: inputs are being frozen and the folder is being made.
    Preparing,
    /// Tasks may be claimed.
    Running,
    /// Every reduce task has its winner; part files are being renamed.
    Committing,
    /// It will not succeed; what it left in the output is being removed.
    Ending(Ended),
    /// The output is complete.
    Done(Manifest),
    /// It failed and left no output.
    Failed(String),
    /// It was cancelled and left no output.
    Cancelled,
}

/// Why a job ends without output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// With this error.
    Failed(String),
    /// By wish.
    Cancelled,
}

impl JobState {
    /// Whether nothing will happen to it any more.
    pub fn is_final(&self) -> bool {
        matches!(self, JobState::Done(_) | JobState::Failed(_) | JobState::Cancelled)
    }
}

/// A task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Attempts begun; the next one gets this number.
    pub attempts: u32,
    /// Finished outputs that were lost with their worker or could not be read.
    pub losses: u32,
    /// Workers that are alive, but whose output of this task could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost_at: Vec<WorkerId>,
    /// Attempts that ended without a result and without failing: what they should read was lost, or their
    /// worker was to leave.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub given_back: u32,
    /// Attempts that failed through no fault of another task.
    pub failures: Vec<AttemptFailure>,
    /// Records to leave out; groups, if it is a reduce.
    pub skips: Vec<BadRecord>,
    /// Attempts that failed on nothing but what is left out now: they are no longer among the failures.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub forgiven: u32,
    /// The attempt that won.
    pub done: Option<TaskDone>,
    /// The one that had won before its output was lost, until another one does; see [`TaskRecord::winner`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<TaskDone>,
    /// A running attempt that is so slow that another one may begin beside it.
    #[serde(default)]
    pub slow: Option<u32>,
    /// Attempts begun beside a slow one, by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backups: Vec<u32>,
    /// Why the job goes on without it. Nothing happens to it any more: nobody claims it, it has no winner
    /// and counts as over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<String>,
}

/// The winning attempt of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDone {
    /// Its number.
    pub attempt: u32,
    /// Who ran it, and keeps its output if it is a map.
    pub worker: WorkerId,
    /// Name of that worker's node.
    #[serde(default)]
    pub node: String,
    /// When it ran.
    #[serde(default)]
    pub span: Span,
    /// What it made.
    pub output: TaskOutput,
    /// The work that it was, in the units of [`ClaimRecord::work_total`]; 0 if unknown.
    #[serde(default)]
    pub work: u64,
}

impl TaskDone {
    /// This, with the sum of its sections in the place of them: there is nothing to be read there any more.
    #[must_use]
    pub fn without_sections(mut self) -> TaskDone {
        if let TaskOutput::Map { sections, .. } = &mut self.output {
            let sum = |sum: (u64, u64), one: &(u64, u64)| {
                (sum.0.saturating_add(one.0), sum.1.saturating_add(one.1))
            };
            *sections = vec![sections.iter().fold((0, 0), sum)];
        }
        self
    }
}

/// When an attempt began and ended, by its worker's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Its beginning, milliseconds since 1970.
    pub started_ms: u64,
    /// Its end.
    pub ended_ms: u64,
}

impl Span {
    /// How long it took; 0 if the clock was set back meanwhile.
    pub fn millis(&self) -> u64 {
        self.ended_ms.saturating_sub(self.started_ms)
    }
}

/// What a finished task made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskOutput {
    /// A run file in the worker's data folder.
    Map {
        /// Bytes and pairs per partition; they lie one behind the other from offset 0.
        sections: Vec<(u64, u64)>,
        /// Checksum of the file's index; 0 if it is not known.
        #[serde(default)]
        index_crc32c: u32,
        /// What was counted.
        counters: Counters,
        /// Files in the attempt's folder that are to be published beside the part files.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        side_files: Vec<SideFile>,
    },
    /// A part file in the attempt's folder; of a map, if there are no reduce tasks.
    Reduce(ReduceOutput),
}

impl TaskOutput {
    /// The output of a map task, from the index of its file.
    pub fn of_map(index: &RunIndex, counters: Counters, side_files: Vec<SideFile>) -> TaskOutput {
        let sections = index.sections.iter().map(|section| (section.bytes, section.pairs));
        let (sections, index_crc32c) = (sections.collect(), index.checksum());
        TaskOutput::Map { sections, index_crc32c, counters, side_files }
    }

    /// Where a partition lies in a map output; `None` if it has no such partition.
    pub fn section(&self, partition: u32) -> Option<Section> {
        let TaskOutput::Map { sections, .. } = self else { return None };
        let &(bytes, pairs) = sections.get(partition as usize)?;
        let offset = sections[..partition as usize].iter().map(|(bytes, _)| bytes).sum();
        Some(Section { offset, bytes, pairs })
    }

    /// Bytes of a partition of a map output.
    pub fn section_bytes(&self, partition: u32) -> u64 {
        match self {
            TaskOutput::Map { sections, .. } => {
                sections.get(partition as usize).map_or(0, |(bytes, _)| *bytes)
            }
            TaskOutput::Reduce(_) => 0,
        }
    }

    /// Checksum of the index of a map output's file.
    pub fn index_crc32c(&self) -> u32 {
        match self {
            TaskOutput::Map { index_crc32c, .. } => *index_crc32c,
            TaskOutput::Reduce(_) => 0,
        }
    }

    /// Files that it has left beside its part file.
    pub fn side_files(&self) -> &[SideFile] {
        match self {
            TaskOutput::Map { side_files, .. } => side_files,
            TaskOutput::Reduce(output) => &output.side_files,
        }
    }

    /// What the attempt counted.
    pub fn counters(&self) -> &Counters {
        match self {
            TaskOutput::Map { counters, .. } => counters,
            TaskOutput::Reduce(output) => &output.counters,
        }
    }
}

/// Who runs a task now. It hangs on the worker's lease; its create revision names the attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRecord {
    /// Who.
    pub worker: WorkerId,
    /// Which attempt.
    pub attempt: u32,
    /// How much it has moved: only that it changes means something.
    pub activity: u64,
    /// Bytes of input read so far.
    pub bytes_read: u64,
    /// When it began, by the worker's clock.
    #[serde(default)]
    pub started_ms: u64,
    /// Bytes that are done of `work_total`.
    #[serde(default)]
    pub work_done: u64,
    /// Bytes to read for a map; for a reduce bytes to fetch, and again to merge. 0 if unknown.
    #[serde(default)]
    pub work_total: u64,
    /// What its program has said last of how it does; empty if nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
}

/// A worker that takes tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// Name of its node.
    pub node: String,
    /// `host:port` of its HTTP: map outputs are fetched there, and its tasks' logs.
    pub address: String,
    /// Tasks it runs at a time.
    pub slots: u32,
    /// Whether these are the cores of its host, which it shares with other workers there that say so, too.
    #[serde(default)]
    pub shares_cores: bool,
    /// Its program.
    pub build: String,
    /// Equal for workers that run on one machine and see the same files there; empty if unknown.
    #[serde(default)]
    pub host: String,
    /// Its folder for jobs, as processes of the same host can open it; empty if nobody may.
    #[serde(default)]
    pub folder: String,
    /// Whether it runs programs of the user: tasks of jobs that need them go to no other.
    #[serde(default)]
    pub runs_commands: bool,
    /// It takes nothing new: it is about to leave, once nobody needs its outputs.
    #[serde(default)]
    pub draining: bool,
}

impl WorkerRecord {
    /// Whether it takes new tasks of a job, as far as it is known at the start.
    pub fn may_run(&self, job: &JobRecord) -> bool {
        self.build == job.build && !self.draining && (self.runs_commands || !job.runs_commands)
    }
}

/// A reducer's report: this output of a map task cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadableRecord {
    /// The attempt whose output it is.
    pub attempt: u32,
    /// The worker that should have it.
    pub worker: WorkerId,
    /// What was seen.
    pub message: String,
}

/// Encodes a record. Fails on a path that is not text.
pub fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(record)
}

/// Decodes a record.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

/// An error text as records keep it.
pub fn shortened(message: &str) -> String {
    message.chars().take(MAX_MESSAGE_CHARS).collect()
}

impl TaskRecord {
    /// The attempt whose counts and side files are the task's. When the pairs of a map are lost these are
    /// not: its counts are here, its side files in the job's folder. They are the task's to the end if the
    /// job needs the pairs no more, or else until another attempt has won.
    pub fn winner(&self) -> Option<&TaskDone> {
        self.done.as_ref().or(self.lost.as_ref())
    }

    /// Whether nothing remains to be done for it: it has its winner, or was given up.
    pub fn is_over(&self) -> bool {
        self.done.is_some() || self.given_up.is_some()
    }
}
