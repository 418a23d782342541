//! A streaming job as the engine sees it.
//!
//! Pairs travel as they are if keys are ordered by their bytes. With a comparator the engine's key is
//! the partition (two bytes, because the sort key does not tell it) and the sort key, and the
//! value holds the length of the real key, that key and the real value.

use super::child::folder::JobFolder;
use super::classes::{OutputClass, PartitionerClass};
use super::environment;
use super::files::JobFile;
use super::locations::HDFS_ROOT;
use super::partition;
use super::properties::Properties;
use super::settings::{DEFAULT_ATTEMPTS, Settings, Worker};
use super::wire::output::LineWriter;
use super::wire::{Kind, key_number};
use super::{map, reduce};
use crate::builtin::options::{NamedJob, Options};
use crate::cluster::sent::OwnFile;
use crate::combine::PairSink;
use crate::emit::Emitter;
use crate::error::JobError;
use crate::job::Job;
use crate::map_input::MapInput;
use crate::record::Record;
use crate::reduce_input::{ReduceInput, Values};
use crate::sink::Sink;
use crate::spec::JobSpec;
use crate::task::{Attempts, MAX_ATTEMPTS, TaskContext};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// A job made of programs.
pub struct Streaming {
    pub(super) settings: Settings,
    pub(super) properties: Properties,
    pub(super) max_record_bytes: usize,
    /// Whether tasks write map output as lines, without reduce tasks.
    pub(super) map_lines: LineWriter,
    pub(super) reduce_lines: LineWriter,
    folder: Mutex<Option<Arc<JobFolder>>>,
    folder_parent: PathBuf,
    /// Where files of the job are that were sent here, by their names.
    at_hand: BTreeMap<String, PathBuf>,
}

/// Bytes of the partition in front of a sort key.
const PARTITION_BYTES: usize = 2;
/// Bytes of the length of a real key in a value.
const LENGTH_BYTES: usize = 4;

impl Streaming {
    /// The job that these properties describe.
    pub fn new(
        properties: Properties,
        max_record_bytes: u64,
        folder_parent: PathBuf,
    ) -> Result<Streaming, JobError> {
        let settings = Settings::read(&properties)?;
        let combines_to = match &settings.combiner {
            Some(Worker::Command(_)) => settings.reduce.output.kinds(),
            _ => settings.map_kinds(),
        };
        if combines_to != settings.map_kinds() {
            return Err(JobError::BadSpec {
                what: "the combiner prints another format than the mapper: stream.map.output and \
                       stream.reduce.output must be equal with a combiner"
                    .to_owned(),
            });
        }
        let drops = settings.output == OutputClass::Null;
        let lines = |kinds| LineWriter::new(kinds, &settings.output_separator, drops);
        Ok(Streaming {
            map_lines: lines(settings.map_kinds()),
            reduce_lines: lines(settings.reduce_kinds()),
            max_record_bytes: usize::try_from(max_record_bytes).unwrap_or(usize::MAX),
            settings,
            properties,
            folder: Mutex::new(None),
            folder_parent,
            at_hand: BTreeMap::new(),
        })
    }

    /// Whether it runs programs of the user.
    pub fn runs_commands(&self) -> bool {
        self.settings.runs_commands()
    }

    /// The job's files on this machine, made when they are first asked for.
    pub(super) fn folder(&self) -> Result<Arc<JobFolder>, JobError> {
        let mut folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = &*folder {
            return Ok(Arc::clone(folder));
        }
        let Settings { files, archives, .. } = &self.settings;
        let made = JobFolder::create(&self.folder_parent, files, archives, &self.at_hand)?;
        let made = Arc::new(made);
        *folder = Some(Arc::clone(&made));
        Ok(made)
    }

    fn orders_by_sort_key(&self) -> bool {
        !self.settings.sort_keys.is_plain()
    }

    /// Where a key goes.
    fn partition_of(&self, key: &[u8], partitions: u32) -> u32 {
        let settings = &self.settings;
        match settings.partitioner {
            PartitionerClass::Hash | PartitionerClass::TotalOrder => {
                match settings.map_kinds().key {
                    Kind::Number => partition::by_number(key_number(key), partitions),
                    _ => partition::by_bytes(key, partitions),
                }
            }
            PartitionerClass::KeyField => match settings.map_kinds().key {
                Kind::Text => {
                    let fields = &settings.partition_fields;
                    partition::by_fields(fields, key, &mut Vec::new(), partitions)
                }
                kind => {
                    // The fields of what Java would print.
                    let text = super::wire::output::text(kind, key);
                    let fields = &settings.partition_fields;
                    partition::by_fields(fields, text.as_bytes(), &mut Vec::new(), partitions)
                }
            },
        }
    }
}

/// Gives a mapper's or combiner's pairs the form that the engine orders.
#[derive(Debug, Default)]
pub(super) struct Former {
    key: Vec<u8>,
    value: Vec<u8>,
    lengths: Vec<usize>,
}

impl Former {
    /// Emits a pair of a mapper.
    #[inline]
    pub(super) fn emit(
        &mut self,
        job: &Streaming,
        reduces: u32,
        (key, value): (&[u8], &[u8]),
        out: &mut Emitter<'_, Streaming>,
    ) {
        if reduces == 0 || !job.orders_by_sort_key() {
            return out.emit(key, value);
        }
        self.key.clear();
        if !job.total_order() {
            let partition = job.partition_of(key, reduces) as u16;
            self.key.extend_from_slice(&partition.to_be_bytes());
        }
        self.form(job, key, value);
        out.emit(&self.key, &self.value);
    }

    /// Keeps a pair of a combiner, in the partition whose pairs it was given: `stands` is the key of
    /// one of them.
    pub(super) fn push(
        &mut self,
        job: &Streaming,
        stands: &[u8],
        (key, value): (&[u8], &[u8]),
        out: &mut PairSink<'_>,
    ) -> Result<(), JobError> {
        if !job.orders_by_sort_key() {
            return out.push(key, value);
        }
        self.key.clear();
        if !job.total_order() {
            self.key.extend_from_slice(&stands[..PARTITION_BYTES.min(stands.len())]);
        }
        self.form(job, key, value);
        out.push(&self.key, &self.value)
    }

    fn form(&mut self, job: &Streaming, key: &[u8], value: &[u8]) {
        job.settings.sort_keys.append(key, &mut self.lengths, &mut self.key);
        self.value.clear();
        // Records are far below 4 GiB.
        self.value.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.value.extend_from_slice(key);
        self.value.extend_from_slice(value);
    }
}

impl Streaming {
    /// The real pair of an engine's pair.
    #[inline]
    pub(super) fn real<'p>(&self, key: &'p [u8], value: &'p [u8]) -> (&'p [u8], &'p [u8]) {
        if !self.orders_by_sort_key() {
            return (key, value);
        }
        let length = value.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize);
        value[LENGTH_BYTES.min(value.len())..].split_at(length)
    }
}

impl Job for Streaming {
    const RUNS_COMMANDS: bool = true;
    const WRITES_PAIRS: bool = true;

    fn attempts(&self) -> Attempts {
        self.settings.attempts_or(DEFAULT_ATTEMPTS)
    }

    fn attempts_on_cluster(&self) -> Attempts {
        self.settings.attempts_or(MAX_ATTEMPTS)
    }

    fn total_order(&self) -> bool {
        self.settings.partitioner == PartitionerClass::TotalOrder
    }

    fn combines_runs(&self) -> bool {
        self.settings.combiner.is_some()
    }

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        let mut former = Former::default();
        map::with_pair(&self.settings, record, &mut |key, value| {
            former.emit(self, 1, (key, value), out);
        });
    }

    /// The keys of the input, as they would be if the mapper passed lines on. To ask the mapper
    /// itself would cost a process for every sample; if it makes other keys, the part files are in
    /// order all the same, only less even in size.
    fn sample(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        let mut former = Former::default();
        match &self.settings.mapper {
            Worker::Command(_) => {
                let pipes = &self.settings.map;
                let key = map::key_of_line(record.bytes, &pipes.output_separator, pipes.key_fields);
                former.emit(self, 1, (key, b""), out);
            }
            _ => self.map(record, out),
        }
    }

    fn map_split(
        &self,
        task: &TaskContext<'_>,
        input: &mut MapInput<'_>,
        out: &mut Emitter<'_, Self>,
    ) -> Result<(), JobError> {
        map::run(self, task, input, out)
    }

    fn combine_run(
        &self,
        task: &TaskContext<'_>,
        input: &mut ReduceInput<'_, Self>,
        out: &mut PairSink<'_>,
    ) -> Result<(), JobError> {
        reduce::combine(self, task, input, out)
    }

    fn partition(&self, key: &[u8], partitions: u32) -> u32 {
        if !self.orders_by_sort_key() {
            return self.partition_of(key, partitions);
        }
        let stored = key.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes));
        u32::from(stored).min(partitions - 1)
    }

    fn reduce(&self, key: &[u8], values: &mut Values<'_, Self>, out: &mut Sink) {
        while let Some(value) = values.next() {
            let (key, value) = self.real(key, value);
            self.reduce_lines.write(key, value, out);
        }
    }

    fn reduce_partition(
        &self,
        task: &TaskContext<'_>,
        input: &mut ReduceInput<'_, Self>,
        out: &mut Sink,
    ) -> Result<(), JobError> {
        reduce::run(self, task, input, out)
    }

    fn write_pair(&self, key: &[u8], value: &[u8], out: &mut Sink) {
        self.map_lines.write(key, value, out);
    }
}

impl NamedJob for Streaming {
    const NAME: &'static str = "streaming";
    const ABOUT: &'static str =
        "programs that map and reduce lines, as `synod streaming` sets them up";
    const TAKES_ANY_OPTION: bool = true;
    const IS_SHOWN: bool = false;

    fn from_options(options: &Options<'_>) -> Result<Streaming, JobError> {
        let spec = options.spec();
        let properties = Properties::of_options(&spec.options);
        let parent = spec.spill_folder.clone().unwrap_or_else(std::env::temp_dir);
        let job = Streaming::new(properties, spec.max_record(), parent)?;
        Ok(Streaming { at_hand: spec.at_hand.clone(), ..job })
    }

    fn own_files(spec: &JobSpec) -> Result<Vec<OwnFile>, JobError> {
        let properties = Properties::of_options(&spec.options);
        let settings = Settings::read(&properties)?;
        // What stands in the place of HDFS is seen by all nodes, as HDFS is.
        let root = properties.get(HDFS_ROOT).map(PathBuf::from);
        let everywhere = |file: &JobFile| {
            settings.files_in_place || root.as_ref().is_some_and(|root| file.path.starts_with(root))
        };
        let files = settings.files.iter().map(|file| (file, false));
        let archives = settings.archives.iter().map(|file| (file, true));
        let own = files.chain(archives).filter(|(file, _)| !everywhere(file));
        let own = own.map(|(JobFile { name, path }, is_archive)| OwnFile {
            name: name.clone(),
            path: path.clone(),
            is_archive,
        });
        Ok(own.collect())
    }
}

/// Who an attempt is, for its log and its errors.
pub(super) fn attempt_name(properties: &Properties, task: &TaskContext<'_>) -> String {
    environment::Identity::of(properties, task.kind, task.number, task.attempt).attempt
}
