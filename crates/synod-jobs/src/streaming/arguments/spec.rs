//! What of a job's properties the spec has a field for: formats, sizes, number of tasks.

use super::Arguments;
use crate::builtin::options::NamedJob;
use crate::error::JobError;
use crate::framing::{Framing, InputFormat, LongRecords};
use crate::input::codec::Codec;
use crate::priority::Priority;
use crate::size::parse_memory;
use crate::spec::{JobSpec, LARGEST_MAX_RECORD_BYTES};
use crate::split_size::SplitBounds;
use crate::streaming::classes::{InputClass, OutputClass};
use crate::streaming::job::Streaming;
use crate::streaming::properties::Properties;
use crate::streaming::settings::{LONG_RECORDS, Settings};
use crate::task::TaskKind;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The spec for these properties.
pub fn spec(
    arguments: &Arguments,
    properties: &Properties,
    inputs: Vec<PathBuf>,
    output: PathBuf,
) -> Result<JobSpec, JobError> {
    let settings = Settings::read(properties)?;
    let mut spec = JobSpec::new(Streaming::NAME, inputs, output);
    spec.name = properties.get("mapreduce.job.name");
    // Hadoop has one reduce task unless it is told otherwise.
    spec.reduces = Some(properties.number("mapreduce.job.reduces")?.unwrap_or(1));
    spec.format = format(&settings, properties)?;
    spec.split_bounds = split_bounds(properties)?;
    if let Some(limit) = line_limit(properties)? {
        spec.max_record_bytes = Some(limit);
        spec.format.long_records = LongRecords::Skip;
    }
    if let Some(wanted) = long_records(properties)? {
        spec.format.long_records = wanted;
    }
    spec.output_codec = codec(properties)?;
    spec.lazy_output = arguments.has("lazyOutput") || settings.output == OutputClass::Null;
    let maps_twice = properties.flag("mapreduce.map.speculative", true);
    let reduces_twice = properties.flag("mapreduce.reduce.speculative", true);
    spec.speculative = maps_twice || reduces_twice;
    spec.not_speculative = match (maps_twice, reduces_twice) {
        (false, true) => Some(TaskKind::Map),
        (true, false) => Some(TaskKind::Reduce),
        _ => None,
    };
    spec.priority = priority(properties)?;
    spec.failed_maps_percent = percent(properties, "mapreduce.map.failures.maxpercent")?;
    spec.failed_reduces_percent = percent(properties, "mapreduce.reduce.failures.maxpercent")?;
    spec.slots = number_of(arguments, "slots")?;
    spec.sync_output = !arguments.has("no-sync");
    spec.memory_bytes = memory(arguments)?.unwrap_or(spec.memory_bytes);
    spec.staging_folder = arguments.value("staging").map(PathBuf::from);
    spec.options = properties.clone().into_options();
    spec.check()?;
    Ok(spec)
}

/// `--only-maps 3,17`: the map tasks to run, if not all. Only in one process.
pub(super) fn only_maps(arguments: &Arguments) -> Result<Option<BTreeSet<u32>>, JobError> {
    let bad = |what: String| Err(JobError::BadSpec { what });
    let mut wanted = BTreeSet::new();
    for list in arguments.values("only-maps") {
        for number in list.split(',') {
            let Ok(number) = number.trim().parse() else {
                return bad(format!("--only-maps {list}: write numbers of map tasks, from 0"));
            };
            wanted.insert(number);
        }
    }
    if !wanted.is_empty() && arguments.has("endpoints") {
        return bad("--only-maps runs map tasks in this process: leave --endpoints out".to_owned());
    }
    Ok((!wanted.is_empty()).then_some(wanted))
}

/// `--memory 512M`, or `--memory-mib 512`.
fn memory(arguments: &Arguments) -> Result<Option<u64>, JobError> {
    let bad = |what: String| Err(JobError::BadSpec { what });
    let in_mib = number_of::<u64>(arguments, "memory-mib")?;
    match (arguments.value("memory"), in_mib) {
        (Some(_), Some(_)) => bad("--memory and --memory-mib are the same: give one".to_owned()),
        (Some(size), None) => match parse_memory(size) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(why) => bad(format!("--memory: {why}")),
        },
        (None, Some(0)) => bad("--memory-mib 0: 1 is the least".to_owned()),
        (None, Some(mib)) => Ok(Some(mib.saturating_mul(1 << 20))),
        (None, None) => Ok(None),
    }
}

fn number_of<T: std::str::FromStr>(
    arguments: &Arguments,
    name: &str,
) -> Result<Option<T>, JobError> {
    let Some(text) = arguments.value(name) else { return Ok(None) };
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(JobError::BadSpec { what: format!("--{name} {text}: write a number") }),
    }
}

fn priority(properties: &Properties) -> Result<Priority, JobError> {
    let name = "mapreduce.job.priority";
    let Some(text) = properties.get(name) else { return Ok(Priority::default()) };
    text.parse()
        .map_err(|why| JobError::BadSpec { what: format!("property {name}: `{text}`: {why}") })
}

/// How many of a hundred tasks may be given up. In Hadoop more than a hundred are all, and less than none
/// fail every job.
fn percent(properties: &Properties, name: &str) -> Result<u32, JobError> {
    match properties.number::<i32>(name)?.unwrap_or(0) {
        percent @ 0.. => Ok(percent.min(100).unsigned_abs()),
        percent => {
            Err(JobError::BadSpec { what: format!("property {name}: {percent} is no percentage") })
        }
    }
}

fn format(settings: &Settings, properties: &Properties) -> Result<InputFormat, JobError> {
    let framing = match (&settings.marks, properties.get("textinputformat.record.delimiter")) {
        (Some(marks), _) => Framing::Delimiter(marks.end.clone()),
        (None, Some(delimiter)) if !delimiter.is_empty() => {
            Framing::Delimiter(delimiter.into_bytes())
        }
        _ if settings.input == InputClass::Pairs => Framing::Pairs,
        _ if settings.compatible => Framing::AnyLine,
        _ => Framing::Line,
    };
    let lines_per_split = match settings.input {
        InputClass::NLine => {
            let lines = properties.number("mapreduce.input.lineinputformat.linespermap")?;
            Some(lines.unwrap_or(1))
        }
        _ => None,
    };
    Ok(InputFormat {
        framing,
        lines_per_split,
        strip_bom: settings.compatible && settings.marks.is_none(),
        tasks_for_empty_files: true,
        recursive: properties.flag("mapreduce.input.fileinputformat.input.dir.recursive", false),
        ..InputFormat::default()
    })
}

/// What is said of the size and the number of splits.
fn split_bounds(properties: &Properties) -> Result<SplitBounds, JobError> {
    let least = properties.number("mapreduce.input.fileinputformat.split.minsize")?;
    Ok(SplitBounds {
        least_bytes: least.unwrap_or(0),
        most_bytes: properties.number("mapreduce.input.fileinputformat.split.maxsize")?,
        wanted: properties.number("mapreduce.job.maps")?,
    })
}

fn line_limit(properties: &Properties) -> Result<Option<u64>, JobError> {
    let limit = properties.number::<u64>("mapreduce.input.linerecordreader.line.maxlength")?;
    // Hadoop's own value for no limit is the largest 32-bit number.
    Ok(limit
        .filter(|&limit| limit < i32::MAX as u64)
        .map(|limit| limit.clamp(1, LARGEST_MAX_RECORD_BYTES)))
}

fn long_records(properties: &Properties) -> Result<Option<LongRecords>, JobError> {
    let Some(wanted) = properties.get(LONG_RECORDS) else { return Ok(None) };
    match wanted.trim() {
        "fail" => Ok(Some(LongRecords::Fail)),
        "skip" => Ok(Some(LongRecords::Skip)),
        "truncate" => Ok(Some(LongRecords::Truncate)),
        other => Err(JobError::BadSpec {
            what: format!("property {LONG_RECORDS}: it is fail, skip or truncate, not `{other}`"),
        }),
    }
}

fn codec(properties: &Properties) -> Result<Option<Codec>, JobError> {
    if !properties.flag("mapreduce.output.fileoutputformat.compress", false) {
        return Ok(None);
    }
    let name = properties.get_or(
        "mapreduce.output.fileoutputformat.compress.codec",
        "org.apache.hadoop.io.compress.GzipCodec",
    );
    match name.trim().rsplit('.').next().unwrap_or_default() {
        "GzipCodec" | "gzip" => Ok(Some(Codec::Gz)),
        "BZip2Codec" | "bzip2" => Ok(Some(Codec::Bz2)),
        "ZStandardCodec" | "zstandard" => Ok(Some(Codec::Zst)),
        _ => Err(JobError::BadSpec {
            what: format!("codec {name}: GzipCodec, BZip2Codec and ZStandardCodec are known"),
        }),
    }
}
