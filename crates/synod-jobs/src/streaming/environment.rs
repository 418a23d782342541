//! The environment of a command: who it is, and every property of its job.
//!
//! Names have every character that is no letter or digit turned into `_`, values their `${name}`s
//! replaced. Old names are exported beside present ones, because scripts ask for either. Of Synod's
//! own environment only what programs need to run at all is passed on; a server's secrets are not.

use super::files::JobFile;
use super::locations::{HDFS_ROOT, HDFS_ROOT_VARIABLE, file_uri};
use super::properties::Properties;
use super::properties::aliases::old_names;
use super::settings::{CMDENV_PREFIX, INHERITED, Settings};
use crate::map_input::InputRange;
use crate::task::{TaskContext, TaskKind};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

/// Variables of Synod's own environment that commands get; a `*` at the end stands for any rest.
pub const ALWAYS_INHERITED: &[&str] = &[
    "HOME",
    "JAVA_HOME",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TZ",
    "USER",
    "VIRTUAL_ENV",
];

/// The identifier of a job if its properties have none.
pub const UNNAMED_JOB: &str = "job_0_0001";

/// What holds for a job whose properties say nothing else, as far as Hadoop tells it, too, and it is
/// true here.
const DEFAULTS: &[(&str, &str)] = &[
    ("mapred.input.format.class", "org.apache.hadoop.mapred.TextInputFormat"),
    ("mapred.output.format.class", "org.apache.hadoop.mapred.TextOutputFormat"),
    ("mapreduce.framework.name", "local"),
    ("mapreduce.input.fileinputformat.split.minsize", "0"),
    ("mapreduce.input.lineinputformat.linespermap", "1"),
    ("mapreduce.job.name", "streamjob"),
    ("mapreduce.job.queuename", "default"),
    ("mapreduce.job.skiprecords", "false"),
    ("mapreduce.map.skip.maxrecords", "0"),
    ("mapreduce.map.speculative", "true"),
    ("mapreduce.output.fileoutputformat.compress", "false"),
    ("mapreduce.reduce.skip.maxgroups", "0"),
    ("mapreduce.reduce.speculative", "true"),
    ("mapreduce.task.skip.start.attempts", "2"),
    ("mapreduce.task.timeout", "600000"),
];

/// Who an attempt is, in Hadoop's form: scripts take these names apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `job_1700000000000_0001`
    pub job: String,
    /// `task_1700000000000_0001_m_000003`
    pub task: String,
    /// `attempt_1700000000000_0001_m_000003_0`
    pub attempt: String,
}

impl Identity {
    /// Of an attempt of the job with these properties.
    pub fn of(properties: &Properties, kind: TaskKind, number: u32, attempt: u32) -> Identity {
        let job = properties.get_or("mapreduce.job.id", UNNAMED_JOB);
        let digits = job.strip_prefix("job_").unwrap_or(&job);
        let letter = match kind {
            TaskKind::Map => 'm',
            TaskKind::Reduce => 'r',
        };
        let task = format!("{digits}_{letter}_{number:06}");
        Identity { attempt: format!("attempt_{task}_{attempt}"), task: format!("task_{task}"), job }
    }
}

/// What a command is told beside the job's properties.
pub struct Place<'a> {
    /// The attempt.
    pub task: &'a TaskContext<'a>,
    /// What a map task reads.
    pub range: Option<InputRange<'a>>,
    /// The working folder.
    pub folder: &'a Path,
    /// Where side files go.
    pub output: &'a Path,
    /// For files of no use after the attempt.
    pub temporary: &'a Path,
}

/// The whole environment. `outer` is Synod's own. The second half is what was cut off: the names of
/// variables over the limit.
pub fn build(
    properties: &Properties,
    settings: &Settings,
    place: &Place<'_>,
    outer: impl Iterator<Item = (OsString, OsString)>,
) -> (BTreeMap<OsString, OsString>, Vec<String>) {
    let mut environment = inherited(properties, outer);
    let mut told = of_task(properties, settings, place);
    for (name, _) in properties.iter() {
        if !name.starts_with(super::settings::OWN_PREFIX)
            && let Some(value) = properties.get(name)
        {
            told.set_if_missing(name, value);
        }
    }
    let mut truncated = Vec::new();
    for (name, value) in told.iter() {
        for name in variables_of(name) {
            let value = match settings.truncate_limit {
                Some(limit) if value.encode_utf16().count() > limit => {
                    truncated.push(name.clone());
                    truncate(value, limit)
                }
                _ => value,
            };
            // No value can hold a zero byte.
            environment.insert(name.into(), value.replace('\0', "").into());
        }
    }
    truncated.sort_unstable();
    // A program that calls `hadoop fs` finds what the job finds.
    if let Some(root) = properties.get(HDFS_ROOT) {
        environment.insert(HDFS_ROOT_VARIABLE.into(), root.replace('\0', "").into());
    }
    for (name, value) in of_options(properties, place.task.kind) {
        environment.insert(name.into(), value.replace('\0', "").into());
    }
    environment.insert("TMPDIR".into(), place.temporary.into());
    (environment, truncated)
}

fn inherited(
    properties: &Properties,
    outer: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    let own = properties.get_or(INHERITED, "");
    let patterns: Vec<&str> =
        ALWAYS_INHERITED.iter().copied().chain(own.split(',').map(str::trim)).collect();
    let wanted = |name: &OsString| {
        let name = name.to_string_lossy();
        patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == *pattern,
        })
    };
    outer.filter(|(name, _)| wanted(name)).collect()
}

/// The properties that differ from task to task.
fn of_task(properties: &Properties, settings: &Settings, place: &Place<'_>) -> Properties {
    let task = place.task;
    let identity = Identity::of(properties, task.kind, task.number, task.attempt);
    let mut told = Properties::new();
    told.set("mapreduce.job.id", identity.job);
    told.set("mapreduce.task.id", identity.task);
    told.set("mapreduce.task.attempt.id", identity.attempt);
    told.set("mapreduce.task.ismap", (task.kind == TaskKind::Map).to_string());
    told.set("mapreduce.task.partition", task.number.to_string());
    told.set("mapreduce.job.maps", task.maps.to_string());
    told.set("mapreduce.job.reduces", task.reduces.to_string());
    // Also where no property says so.
    told.set("mapreduce.map.maxattempts", task.attempts.map.to_string());
    told.set("mapreduce.reduce.maxattempts", task.attempts.reduce.to_string());
    told.set("mapreduce.task.output.dir", place.output.display().to_string());
    let folder = place.folder.display().to_string();
    told.set("mapreduce.job.local.dir", folder.clone());
    told.set("mapreduce.cluster.local.dir", folder);
    if let Some(range) = &place.range {
        told.set("mapreduce.map.input.file", file_uri(range.file));
        told.set("mapreduce.map.input.start", range.start.to_string());
        told.set("mapreduce.map.input.length", range.bytes.to_string());
    }
    for (property, files, local) in [
        ("mapreduce.job.cache.files", &settings.files, "mapreduce.job.cache.local.files"),
        ("mapreduce.job.cache.archives", &settings.archives, "mapreduce.job.cache.local.archives"),
    ] {
        if properties.raw(property).is_some() {
            let here = |file: &JobFile| place.folder.join(&file.name).display().to_string();
            told.set(local, files.iter().map(here).collect::<Vec<_>>().join(","));
        }
    }
    for (name, value) in DEFAULTS {
        if properties.raw(name).is_none() {
            told.set(name, *value);
        }
    }
    told
}

/// What `-cmdenv` and its kin set, later ones over earlier ones.
pub fn of_options(properties: &Properties, kind: TaskKind) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut add = |pair: &str| {
        if let Some((name, value)) = pair.split_once('=')
            && !name.is_empty()
            && !name.contains('\0')
        {
            variables.push((name.to_owned(), value.to_owned()));
        }
    };
    let of_kind = match kind {
        TaskKind::Map => "mapreduce.map.env",
        TaskKind::Reduce => "mapreduce.reduce.env",
    };
    properties.get_or(of_kind, "").split(',').for_each(|pair| add(pair.trim()));
    // Hadoop joins what `-cmdenv` gave with blanks, and takes it apart at blanks.
    properties.get_or("stream.addenvironment", "").split(' ').for_each(&mut add);
    for (name, _) in properties.iter() {
        if let Some(variable) = name.strip_prefix(CMDENV_PREFIX) {
            add(&format!("{variable}={}", properties.raw(name).unwrap_or_default()));
        }
    }
    variables
}

/// The variables that a property is told in: by its present name and by its old ones.
pub fn variables_of(name: &str) -> impl Iterator<Item = String> {
    std::iter::once(safe_name(name)).chain(old_names(name).map(safe_name))
}

/// A property's name as that of a variable.
pub fn safe_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// The first `limit` UTF-16 units, less one if that would cut a character in two.
fn truncate(value: &str, limit: usize) -> &str {
    let mut units = 0;
    for (at, character) in value.char_indices() {
        units += character.len_utf16();
        if units > limit {
            return &value[..at];
        }
    }
    value
}
