//! The description of a job: plain data that can be stored, sent and compared.
//!
//! A spec says what to do, never how far it got. Sizes carry their unit in the name. Everything
//! is checked once, in [`JobSpec::check`], before an input is opened.

use crate::cluster::names::JobId;
use crate::cluster::sent::Sent;
use crate::error::JobError;
use crate::framing::{Framing, InputFormat};
use crate::input::codec::Codec;
use crate::input::scheme_of;
use crate::priority::Priority;
use crate::split_size::SplitBounds;
use crate::task::TaskKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Largest part of the input that one map task reads, unless the spec says otherwise.
pub const DEFAULT_SPLIT_BYTES: u64 = 64 << 20;
/// No automatic split is smaller: below it the cost of a task outweighs its work.
pub const MIN_AUTO_SPLIT_BYTES: u64 = 1 << 20;
/// Intermediate data kept in memory by one job, unless the spec says otherwise.
pub const DEFAULT_MEMORY_BYTES: u64 = 1 << 30;
/// Of the memory no more than this is kept back for other things than data.
const MAX_KEPT_BACK_BYTES: u64 = 96 << 20;
/// Longest record, unless the spec says otherwise; never more than a quarter of the memory.
pub const DEFAULT_MAX_RECORD_BYTES: u64 = 256 << 20;
/// Longest record that a spec may ask for: positions in a sort buffer are 32 bits wide.
pub const LARGEST_MAX_RECORD_BYTES: u64 = 1 << 30;
/// Most reduce tasks of one job.
pub const MAX_REDUCES: u32 = 10_000;
/// Input bytes per reduce task when the spec leaves their number open.
pub const BYTES_PER_REDUCE: u64 = 64 << 20;

const _: () = assert!(DEFAULT_MAX_RECORD_BYTES * 4 <= DEFAULT_MEMORY_BYTES);
const _: () = assert!(LARGEST_MAX_RECORD_BYTES < u32::MAX as u64 / 2);

/// What to run, on what, with which limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// Name of the job in the registry, or a free name for a job of one's own.
    pub job: String,
    /// What to read, in this order: files, folders, patterns, names with the scheme of a store.
    pub inputs: Vec<PathBuf>,
    /// Folder to create; it must not exist.
    pub output: PathBuf,
    /// How the inputs are read.
    #[serde(default)]
    pub format: InputFormat,
    /// Number of reduce tasks and of part files; `None` chooses by the size of the input. With 0
    /// every map task writes a part file.
    #[serde(default)]
    pub reduces: Option<u32>,
    /// Size of a split; `None` chooses 64 MiB or 32, less for small inputs, within `split_bounds`.
    #[serde(default)]
    pub split_bytes: Option<u64>,
    /// What is said of splits whose size is left open.
    #[serde(default, skip_serializing_if = "SplitBounds::are_open")]
    pub split_bounds: SplitBounds,
    /// Budget for intermediate data in memory; what exceeds it is spilled to disk.
    #[serde(default = "default_memory")]
    pub memory_bytes: u64,
    /// Longest record; `None` is 256 MiB, or a quarter of the memory if that is less.
    #[serde(default)]
    pub max_record_bytes: Option<u64>,
    /// How many records may be left out because the map function panics on them.
    #[serde(default)]
    pub skip_bad_records: u64,
    /// Map and reduce tasks that run at once; `None` is one per core.
    #[serde(default)]
    pub slots: Option<u32>,
    /// Folder for spilled data; `None` keeps it under the output's `_temporary`.
    #[serde(default)]
    pub spill_folder: Option<PathBuf>,
    /// Folder for part files until they are published, if the output is in a store. On a cluster all its
    /// nodes must see it; in one process `None` takes the folder for spilled data or a temporary one.
    #[serde(default)]
    pub staging_folder: Option<PathBuf>,
    /// Whether the part files are on stable storage before `_SUCCESS` appears.
    #[serde(default = "default_sync")]
    pub sync_output: bool,
    /// How part files are compressed.
    #[serde(default)]
    pub output_codec: Option<Codec>,
    /// Whether part files without a record are left out.
    #[serde(default)]
    pub lazy_output: bool,
    /// Seed of the combine tables; 0: a new one for each run. It cannot influence the output; a random one
    /// keeps a hostile input from choosing keys that collide.
    #[serde(default)]
    pub table_seed: u64,
    /// Settings of the job itself, checked by the job that is named.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// What people call it; `None` is the name of its job.
    #[serde(default)]
    pub name: Option<String>,
    /// Whether a slow task may run twice at a time on a cluster. Not for jobs whose functions do
    /// something that must not be done twice.
    #[serde(default = "default_speculative")]
    pub speculative: bool,
    /// The kind of tasks that never do, if the others may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_speculative: Option<TaskKind>,
    /// On a cluster: jobs that must be done first. Inputs are looked up after that; if one of them
    /// fails, so does this job.
    #[serde(default)]
    pub after: Vec<JobId>,
    /// The files that come with the job, as its submission to a cluster has stored them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
    /// Where this process has them, by the names that tasks see; what is not in it is read where the
    /// options say. Never stored.
    #[serde(skip)]
    pub at_hand: BTreeMap<String, PathBuf>,
    /// How many of a hundred map tasks may fail as often as they may and be given up: the job goes on
    /// without their records, and its manifest, counters and report say so. More, and the job fails.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed_maps_percent: u32,
    /// The same for reduce tasks: one that is given up has no part file.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed_reduces_percent: u32,
    /// On a cluster: whether its tasks are taken before or after those of other jobs.
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
}

fn is_zero(percent: &u32) -> bool {
    *percent == 0
}

fn default_speculative() -> bool {
    true
}

fn default_memory() -> u64 {
    DEFAULT_MEMORY_BYTES
}

fn default_sync() -> bool {
    true
}

impl JobSpec {
    /// Whether the output is no folder but in a store, by its scheme.
    pub fn output_is_in_store(&self) -> bool {
        scheme_of(&self.output).is_some_and(|scheme| scheme != "file")
    }

    /// A job over `inputs` into `output` with every default.
    pub fn new(
        job: impl Into<String>,
        inputs: impl IntoIterator<Item = impl Into<PathBuf>>,
        output: impl Into<PathBuf>,
    ) -> JobSpec {
        JobSpec {
            job: job.into(),
            inputs: inputs.into_iter().map(Into::into).collect(),
            output: output.into(),
            format: InputFormat::default(),
            reduces: None,
            split_bytes: None,
            split_bounds: SplitBounds::default(),
            memory_bytes: DEFAULT_MEMORY_BYTES,
            max_record_bytes: None,
            skip_bad_records: 0,
            slots: None,
            spill_folder: None,
            staging_folder: None,
            sync_output: true,
            output_codec: None,
            lazy_output: false,
            table_seed: 0,
            options: BTreeMap::new(),
            name: None,
            speculative: true,
            not_speculative: None,
            after: Vec::new(),
            sent: None,
            at_hand: BTreeMap::new(),
            failed_maps_percent: 0,
            failed_reduces_percent: 0,
            priority: Priority::default(),
        }
    }

    /// How many of a hundred tasks of this kind may be given up.
    pub fn failed_percent(&self, kind: TaskKind) -> u32 {
        match kind {
            TaskKind::Map => self.failed_maps_percent,
            TaskKind::Reduce => self.failed_reduces_percent,
        }
    }

    /// Whether a slow task of this kind may run twice at a time.
    pub fn may_run_twice(&self, kind: TaskKind) -> bool {
        self.speculative && self.not_speculative != Some(kind)
    }

    /// What people call the job.
    pub fn shown_name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.job)
    }

    /// The part of the memory that intermediate data may take. The rest is for reading, writing and
    /// the program itself, so that the budget holds for the whole process.
    pub fn data_bytes(&self) -> u64 {
        self.memory_bytes - (self.memory_bytes / 8).min(MAX_KEPT_BACK_BYTES)
    }

    /// The same job with so much memory. It accepts the same records.
    #[must_use]
    pub fn within_memory(self, memory_bytes: u64) -> JobSpec {
        let max_record_bytes = Some(self.max_record());
        JobSpec { memory_bytes, max_record_bytes, ..self }
    }

    /// The longest record this job accepts.
    pub fn max_record(&self) -> u64 {
        self.max_record_bytes
            .unwrap_or_else(|| DEFAULT_MAX_RECORD_BYTES.min((self.memory_bytes / 4).max(64 << 10)))
    }

    /// Refuses a spec that breaks a limit.
    pub fn check(&self) -> Result<(), JobError> {
        let bad = |what: String| Err(JobError::BadSpec { what });
        if self.inputs.is_empty() {
            return bad("no input: name at least one file".to_owned());
        }
        if let Some(reduces) = self.reduces
            && reduces > MAX_REDUCES
        {
            return bad(format!("{reduces} reduce tasks: 0 to {MAX_REDUCES} are possible"));
        }
        let percents = [("map", self.failed_maps_percent), ("reduce", self.failed_reduces_percent)];
        if let Some((kind, percent)) = percents.into_iter().find(|(_, percent)| *percent > 100) {
            return bad(format!(
                "{percent} percent of {kind} tasks that may fail: 0 to 100 are possible"
            ));
        }
        if self.split_bytes == Some(0) {
            return bad("a split of 0 bytes: at least 1 is needed, 16 to 64 MiB are usual".into());
        }
        match &self.format.framing {
            Framing::Delimiter(bytes) if bytes.is_empty() => {
                return bad("a delimiter of no bytes: at least one is needed".to_owned());
            }
            Framing::Fixed(0) => return bad("records of 0 bytes: at least 1 is needed".to_owned()),
            _ => {}
        }
        if self.format.lines_per_split == Some(0) {
            return bad("0 records per split: at least 1 is needed".to_owned());
        }
        if self.slots == Some(0) {
            return bad("0 slots: at least 1 task must run at a time".to_owned());
        }
        if self.memory_bytes == 0 {
            return bad("a memory budget of 0 bytes: give at least 1 MiB".to_owned());
        }
        if let Some(limit) = self.max_record_bytes
            && !(1..=LARGEST_MAX_RECORD_BYTES).contains(&limit)
        {
            return bad(format!(
                "a record limit of {limit} bytes: 1 to {LARGEST_MAX_RECORD_BYTES} are possible"
            ));
        }
        Ok(())
    }
}
