//! What the properties of a streaming job come to: read and checked once, before anything runs.
//!
//! Properties are Hadoop's names and texts; [`Settings`] is what the tasks work with. Wrong values
//! are refused here with the property's name. What is Synod's own begins with [`OWN_PREFIX`].

use super::classes::{ComparatorClass, InputClass, OutputClass, PartitionerClass};
use super::command;
use super::files::JobFile;
use super::key_fields::KeyFields;
use super::order::SortKeys;
use super::properties::Properties;
use super::wire::{Kind, Kinds, Wire};
use crate::error::JobError;
use crate::task::Attempts;
use std::time::Duration;

/// Properties that Hadoop does not have begin with it.
pub const OWN_PREFIX: &str = "synod.";
/// `false`: as a Unix user would have it, not as Hadoop does. Carriage returns and byte order marks
/// are content, and the output of a reducer that had no input is kept.
pub const COMPATIBLE: &str = "synod.streaming.compatible";
/// `false`: a command that ends without having read all its input has not failed.
pub const UNREAD_INPUT_IS_FAILURE: &str = "synod.streaming.unread.input.is.failure";
/// `true`: on a cluster every node finds the job's files where they are now, so they are not sent.
pub const FILES_IN_PLACE: &str = "synod.streaming.files.in.place";
/// Names of environment variables, separated by commas, that commands get beside the usual ones; a
/// `*` at the end stands for any rest.
pub const INHERITED: &str = "synod.streaming.environment";
/// What becomes of a record that is longer than it may be: `fail`, `skip` or `truncate`. Without it the job
/// fails, or, if `mapreduce.input.linerecordreader.line.maxlength` is set, the record is left out.
pub const LONG_RECORDS: &str = "synod.streaming.long.records";
/// How many records or groups one task may leave out.
pub const SKIP_LIMIT: &str = "synod.streaming.skip.limit";
/// What `-cmdenv` sets is kept under this prefix and the variable's name.
pub const CMDENV_PREFIX: &str = "synod.cmdenv.";

/// Without progress for so long an attempt is ended.
const DEFAULT_TIMEOUT_MILLIS: u64 = 600_000;
/// Attempts of a task. Hadoop has four; here a command that fails twice is taken to fail.
pub(super) const DEFAULT_ATTEMPTS: u32 = 2;
const DEFAULT_SKIP_LIMIT: u64 = 100;

/// What maps or reduces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Worker {
    /// A program and its arguments.
    Command(Vec<String>),
    /// Pairs pass as they are.
    Identity,
    /// `-reducer aggregate`.
    Aggregate,
}

/// The pipes of a command: what it reads and what it prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pipes {
    /// Format of what it reads.
    pub input: Wire,
    /// Between key and value of what it reads.
    pub input_separator: String,
    /// Format of what it prints.
    pub output: Wire,
    /// Between key and value of what it prints.
    pub output_separator: String,
    /// How many fields of what it prints are the key.
    pub key_fields: usize,
}

/// What a record begins and ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    /// Its first bytes.
    pub begin: Vec<u8>,
    /// Its last bytes.
    pub end: Vec<u8>,
}

/// When records that a command fails on are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipping {
    /// From this attempt on (0 is the first).
    pub from_attempt: u32,
    /// Records around a bad one that may be left out with it.
    pub most_records: u64,
    /// The same for the groups of a reducer; 0 is none.
    pub most_groups: u64,
    /// What may be left out of one task.
    pub limit: u64,
}

/// A streaming job as its tasks see it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What maps.
    pub mapper: Worker,
    /// What combines, if anything does.
    pub combiner: Option<Worker>,
    /// What reduces.
    pub reducer: Worker,
    /// What the records of the input are.
    pub input: InputClass,
    /// Between key and value of an input line.
    pub input_key_separator: u8,
    /// Marks around a record, for [`InputClass::Marked`].
    pub marks: Option<Marks>,
    /// Whether a mapper sees the value of a record alone.
    pub without_keys: bool,
    /// What becomes of the output.
    pub output: OutputClass,
    /// Between key and value of an output line.
    pub output_separator: String,
    /// How pairs are spread over reduce tasks.
    pub partitioner: PartitionerClass,
    /// Which bytes of a key its partition depends on.
    pub partition_fields: KeyFields,
    /// How keys are ordered.
    pub sort_keys: SortKeys,
    /// Pipes of the mapper.
    pub map: Pipes,
    /// Pipes of the reducer.
    pub reduce: Pipes,
    /// Without progress for so long an attempt is ended; `None` is never.
    pub timeout: Option<Duration>,
    /// How long output is waited for when the command has ended and a child of it holds the pipe.
    pub join_delay: Option<Duration>,
    /// Whether a command that does not end with 0 has failed.
    pub exit_is_failure: bool,
    /// Whether a command that does not read all its input has failed.
    pub unread_is_failure: bool,
    /// A mapper that has printed so many records may stop reading.
    pub enough_output: Option<u64>,
    /// Longest value of an environment variable, in UTF-16 units as Java counts.
    pub truncate_limit: Option<usize>,
    /// What lines to the reporter begin with.
    pub reporter_prefix: String,
    /// Whether Hadoop is followed where a Unix user would expect something else.
    pub compatible: bool,
    /// Files that stand in the working folder.
    pub files: Vec<JobFile>,
    /// Archives that are unpacked there.
    pub archives: Vec<JobFile>,
    /// Whether all nodes of a cluster see them where they are.
    pub files_in_place: bool,
    /// How often map and reduce tasks are tried, if the job says so.
    pub attempts: (Option<u32>, Option<u32>),
    /// When bad records are left out.
    pub skipping: Option<Skipping>,
    /// Values that `UniqValueCount` keeps.
    pub most_unique: Option<usize>,
}

impl Settings {
    /// Reads and checks the properties.
    pub fn read(properties: &Properties) -> Result<Settings, JobError> {
        let input = match properties.get("mapred.input.format.class") {
            Some(name) if properties.raw("stream.recordreader.class").is_none() => {
                InputClass::named(&name)?
            }
            Some(_) => InputClass::Marked,
            None if properties.raw("stream.recordreader.class").is_some() => InputClass::Marked,
            None => InputClass::Text,
        };
        let mapper = worker(properties, "stream.map.streamprocessor")?.unwrap_or(Worker::Identity);
        let (reducer, combiner) = reducer_and_combiner(properties)?;
        let map = pipes(properties, "map")?;
        let reduce = pipes(properties, "reduce")?;
        let compatible = properties.flag(COMPATIBLE, true);
        let settings = Settings {
            mapper,
            combiner,
            reducer,
            input,
            input_key_separator: *properties
                .get_or("mapreduce.input.keyvaluelinerecordreader.key.value.separator", "\t")
                .as_bytes()
                .first()
                .unwrap_or(&b'\t'),
            marks: marks(properties, input)?,
            without_keys: properties.flag("stream.map.input.ignoreKey", input == InputClass::Text),
            output: match properties.get("mapred.output.format.class") {
                Some(name) => OutputClass::named(&name)?,
                None => OutputClass::Text,
            },
            output_separator: properties
                .get_or("mapreduce.output.textoutputformat.separator", "\t"),
            partitioner: partitioner(properties)?,
            partition_fields: partition_fields(properties)?,
            sort_keys: sort_keys(properties)?,
            map,
            reduce,
            timeout: match properties.number("mapreduce.task.timeout")? {
                Some(0) => None,
                millis => Some(Duration::from_millis(millis.unwrap_or(DEFAULT_TIMEOUT_MILLIS))),
            },
            join_delay: properties
                .number("stream.joindelay.milli")?
                .filter(|&millis| millis > 0)
                .map(Duration::from_millis),
            exit_is_failure: properties.flag("stream.non.zero.exit.is.failure", true),
            unread_is_failure: properties.flag(UNREAD_INPUT_IS_FAILURE, true),
            enough_output: properties.number("stream.minRecWrittenToEnableSkip_")?,
            truncate_limit: properties
                .number::<i64>("stream.jobconf.truncate.limit")?
                .and_then(|limit| usize::try_from(limit).ok()),
            reporter_prefix: properties.get_or("stream.stderr.reporter.prefix", "reporter:"),
            compatible,
            files: JobFile::list(properties.get("mapreduce.job.cache.files").as_deref())?,
            archives: JobFile::list(properties.get("mapreduce.job.cache.archives").as_deref())?,
            files_in_place: properties.flag(FILES_IN_PLACE, false),
            attempts: attempts(properties)?,
            skipping: skipping(properties)?,
            most_unique: properties.number("mapreduce.aggregate.max.num.unique.values")?,
        };
        JobFile::check_names(&settings.files, &settings.archives)?;
        settings.check()
    }

    /// How often tasks are tried; so often where the job does not say.
    pub fn attempts_or(&self, usual: u32) -> Attempts {
        let (map, reduce) = self.attempts;
        Attempts { map: map.unwrap_or(usual), reduce: reduce.unwrap_or(usual) }
    }

    fn check(self) -> Result<Settings, JobError> {
        let bad = |what: &str| Err(JobError::BadSpec { what: what.to_owned() });
        if !self.sort_keys.is_plain() && self.map_kinds().key != Kind::Text {
            return bad("KeyFieldBasedComparator compares text: the mapper's output must be text");
        }
        if self.reducer == Worker::Aggregate && self.map_kinds() != Wire::Text.kinds() {
            return bad("-reducer aggregate adds up text: the mapper's output must be text");
        }
        Ok(self)
    }

    /// What the records of the input are, in Hadoop's classes.
    pub fn input_kinds(&self) -> Kinds {
        let key = match self.input {
            InputClass::Text | InputClass::NLine => Kind::Number,
            InputClass::KeyValue | InputClass::Marked | InputClass::Pairs => Kind::Text,
        };
        Kinds { key, value: Kind::Text }
    }

    /// What a mapper gives.
    pub fn map_kinds(&self) -> Kinds {
        match self.mapper {
            Worker::Command(_) => self.map.output.kinds(),
            Worker::Identity | Worker::Aggregate => self.input_kinds(),
        }
    }

    /// What a reducer gives.
    pub fn reduce_kinds(&self) -> Kinds {
        match self.reducer {
            Worker::Command(_) => self.reduce.output.kinds(),
            Worker::Identity => self.map_kinds(),
            Worker::Aggregate => Wire::Text.kinds(),
        }
    }

    /// Whether a program of the user runs somewhere in the job.
    pub fn runs_commands(&self) -> bool {
        let is_command = |worker: &Worker| matches!(worker, Worker::Command(_));
        is_command(&self.mapper)
            || is_command(&self.reducer)
            || self.combiner.as_ref().is_some_and(is_command)
    }
}

/// The command that a property holds, split into arguments.
fn worker(properties: &Properties, name: &str) -> Result<Option<Worker>, JobError> {
    let Some(text) = properties.raw(name) else { return Ok(None) };
    let bad = |what: String| JobError::BadSpec { what };
    let line = command::decode(text)
        .ok_or_else(|| bad(format!("property {name}: `{text}` is not an encoded command")))?;
    let arguments = command::split(&line);
    if arguments.is_empty() {
        return Err(bad(format!("property {name}: the command is empty")));
    }
    if arguments.iter().any(|argument| argument.contains('\0')) {
        return Err(bad(format!("property {name}: no argument can hold a zero byte")));
    }
    Ok(Some(Worker::Command(arguments)))
}

fn reducer_and_combiner(properties: &Properties) -> Result<(Worker, Option<Worker>), JobError> {
    let combiner = worker(properties, "stream.combine.streamprocessor")?;
    if properties.raw("mapred.reducer.class") == Some(AGGREGATE_CLASS) {
        return Ok((Worker::Aggregate, Some(Worker::Aggregate)));
    }
    let reducer = worker(properties, "stream.reduce.streamprocessor")?;
    Ok((reducer.unwrap_or(Worker::Identity), combiner))
}

/// What `mapred.reducer.class` is for `-reducer aggregate`.
pub const AGGREGATE_CLASS: &str = "org.apache.hadoop.mapred.lib.aggregate.ValueAggregatorReducer";

/// The pipes of a stage, `map` or `reduce`.
fn pipes(properties: &Properties, stage: &str) -> Result<Pipes, JobError> {
    let wire = |direction: &str| {
        let name = format!("stream.{stage}.{direction}");
        Wire::named(&name, &properties.get_or(&name, "text"))
    };
    let separator = |direction: &str| {
        properties.get_or(&format!("stream.{stage}.{direction}.field.separator"), "\t")
    };
    let key_fields = properties.number(&format!("stream.num.{stage}.output.key.fields"))?;
    Ok(Pipes {
        input: wire("input")?,
        input_separator: separator("input"),
        output: wire("output")?,
        output_separator: separator("output"),
        // Hadoop takes what is below 1 for 1.
        key_fields: key_fields.unwrap_or(1i64).max(1) as usize,
    })
}

fn marks(properties: &Properties, input: InputClass) -> Result<Option<Marks>, JobError> {
    if input != InputClass::Marked {
        return Ok(None);
    }
    let bad = |what: String| JobError::BadSpec { what };
    let class = properties.get_or("stream.recordreader.class", "");
    // Hadoop's documents leave the end of the name out.
    let name = class.rsplit('.').next().unwrap_or_default();
    if !["StreamXmlRecordReader", "StreamXmlRecord"].contains(&name) {
        return Err(bad(format!("-inputreader {class}: StreamXmlRecordReader is known")));
    }
    if properties.flag("stream.recordreader.slowmatch", false) {
        return Err(bad("-inputreader: slowmatch=true is not known here; begin and end are \
                        searched as they are written"
            .to_owned()));
    }
    let mark = |name: &str| match properties.get(&format!("stream.recordreader.{name}")) {
        Some(mark) if !mark.is_empty() => Ok(mark.into_bytes()),
        _ => Err(bad(format!("-inputreader StreamXmlRecordReader needs {name}=.."))),
    };
    Ok(Some(Marks { begin: mark("begin")?, end: mark("end")? }))
}

fn partitioner(properties: &Properties) -> Result<PartitionerClass, JobError> {
    let name = properties
        .get("mapred.partitioner.class")
        .or_else(|| properties.get("mapreduce.job.partitioner.class"));
    name.map_or(Ok(PartitionerClass::Hash), |name| PartitionerClass::named(&name))
}

fn key_separator(properties: &Properties) -> String {
    properties.get_or("mapreduce.map.output.key.field.separator", "\t")
}

fn partition_fields(properties: &Properties) -> Result<KeyFields, JobError> {
    let separator = key_separator(properties);
    match properties.number::<usize>("num.key.fields.for.partition")? {
        Some(count) => Ok(KeyFields::first(count, &separator)),
        None => KeyFields::parse(
            properties.get("mapreduce.partition.keypartitioner.options").as_deref(),
            &separator,
        ),
    }
}

fn sort_keys(properties: &Properties) -> Result<SortKeys, JobError> {
    let separator = key_separator(properties);
    let comparator = match properties.get("mapreduce.job.output.key.comparator.class") {
        Some(name) => ComparatorClass::named(&name)?,
        None => ComparatorClass::Bytes,
    };
    let options = match comparator {
        ComparatorClass::Bytes => None,
        ComparatorClass::KeyField => properties.get("mapreduce.partition.keycomparator.options"),
    };
    Ok(SortKeys::new(KeyFields::parse(options.as_deref(), &separator)?))
}

fn attempts(properties: &Properties) -> Result<(Option<u32>, Option<u32>), JobError> {
    // At least once, whatever is said.
    let of = |name| Ok(properties.number(name)?.map(|attempts: u32| attempts.max(1)));
    Ok((of("mapreduce.map.maxattempts")?, of("mapreduce.reduce.maxattempts")?))
}

fn skipping(properties: &Properties) -> Result<Option<Skipping>, JobError> {
    let most_records = properties.number("mapreduce.map.skip.maxrecords")?;
    let most_groups = properties.number("mapreduce.reduce.skip.maxgroups")?;
    let on = properties.flag("mapreduce.job.skiprecords", false)
        || most_records.unwrap_or(0u64) > 0
        || most_groups.unwrap_or(0u64) > 0;
    if !on {
        return Ok(None);
    }
    Ok(Some(Skipping {
        from_attempt: properties.number("mapreduce.task.skip.start.attempts")?.unwrap_or(2),
        most_records: most_records.unwrap_or(1),
        most_groups: most_groups.unwrap_or(0),
        limit: properties.number(SKIP_LIMIT)?.unwrap_or(DEFAULT_SKIP_LIMIT),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, JobError> {
        let mut properties = Properties::new();
        for (name, value) in pairs {
            properties.set(name, *value);
        }
        Settings::read(&properties)
    }

    #[test]
    fn without_properties_a_job_passes_pairs_on() {
        let settings = read(&[]).unwrap();
        assert_eq!(
            (settings.mapper.clone(), settings.reducer.clone()),
            (Worker::Identity, Worker::Identity)
        );
        assert!(settings.combiner.is_none() && !settings.runs_commands() && settings.compatible);
        assert_eq!(settings.timeout, Some(Duration::from_secs(600)));
        assert_eq!(settings.map_kinds().key, Kind::Number);
        assert_eq!(settings.attempts_or(4), Attempts::both(4));
    }

    #[test]
    fn commands_are_decoded_and_split() {
        let settings = read(&[
            ("stream.map.streamprocessor", "awk+%27%7B+print+%7D%27"),
            ("stream.reduce.streamprocessor", "cat"),
            ("stream.num.map.output.key.fields", "2"),
            ("stream.num.reduce.output.fields", "3"),
            ("mapred.task.timeout", "0"),
        ])
        .unwrap();
        let command = ["awk", "{ print }"].map(str::to_owned).to_vec();
        assert_eq!(settings.mapper, Worker::Command(command));
        assert!(settings.runs_commands());
        assert_eq!((settings.map.key_fields, settings.reduce.key_fields), (2, 3));
        assert_eq!(settings.timeout, None);
        assert_eq!(settings.map_kinds(), Wire::Text.kinds());
    }

    #[test]
    fn maps_and_reduces_are_tried_as_often_as_is_said_of_each() {
        let (map, reduce) = ("mapreduce.map.maxattempts", "mapred.reduce.max.attempts");
        for (said, expected) in [
            (&[(map, "1")][..], (1, 4)),
            (&[(reduce, "7")], (4, 7)),
            (&[(map, "9"), (reduce, "0")], (9, 1)),
        ] {
            let Attempts { map, reduce } = read(said).unwrap().attempts_or(4);
            assert_eq!((map, reduce), expected, "{said:?}");
        }
    }

    #[test]
    fn wrong_values_are_refused_with_the_name_of_the_property() {
        for (name, value) in [
            ("stream.map.streamprocessor", "%zz"),
            ("stream.map.streamprocessor", "+++"),
            ("stream.map.output", "json"),
            ("mapreduce.task.timeout", "soon"),
            ("mapred.partitioner.class", "com.example.P"),
            ("mapreduce.partition.keypartitioner.options", "-kx"),
            ("stream.recordreader.class", "StreamXmlRecordReader"),
            ("mapreduce.job.output.key.comparator.class", "com.example.C"),
        ] {
            assert!(matches!(read(&[(name, value)]), Err(JobError::BadSpec { .. })), "{name}");
        }
        let comparator = ("mapreduce.job.output.key.comparator.class", "KeyFieldBasedComparator");
        let error = read(&[comparator, ("mapreduce.partition.keycomparator.options", "-n")]);
        assert!(error.unwrap_err().to_string().contains("compares text"));
    }
}
