//! What Spark is told of a streaming job; and what of a job cannot be told, which is refused by name.
//!
//! Where inputs and the output lie is Spark's matter: they are handed on as they were written, so that
//! `hdfs://..` and `s3a://..` are what they are for Spark. All the rest is read as for a run here.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use synod::jobs::streaming::HADOOP_BUFFER_BYTES;
use synod::jobs::streaming::arguments::submission::{Submission, split_paths};
use synod::jobs::streaming::arguments::{Arguments, without};
use synod::jobs::streaming::classes::{InputClass, OutputClass, PartitionerClass};
use synod::jobs::streaming::environment::{ALWAYS_INHERITED, of_options, variables_of};
use synod::jobs::streaming::files::JobFile;
use synod::jobs::streaming::properties::Properties;
use synod::jobs::streaming::properties::known::{Use, use_of};
use synod::jobs::streaming::settings::{CMDENV_PREFIX, INHERITED, OWN_PREFIX, Settings, Worker};
use synod::jobs::streaming::wire::Wire;
use synod::jobs::{JobError, TaskKind};

use crate::cli::failure::Failure;
use crate::cli::streaming::run::{Stop, submission};

/// Properties that are followed.
const FOLLOWED: &[&str] = &[
    "mapreduce.input.fileinputformat.inputdir",
    "mapreduce.job.cache.files",
    "mapreduce.job.id",
    "mapreduce.job.name",
    "mapreduce.job.reduces",
    "mapreduce.job.user.name",
    "mapreduce.job.working.dir",
    "mapreduce.map.env",
    "mapreduce.output.fileoutputformat.outputdir",
    "mapreduce.output.textoutputformat.separator",
    "mapreduce.reduce.env",
    "stream.addenvironment",
    "stream.combine.streamprocessor",
    "stream.map.input.field.separator",
    "stream.map.output.field.separator",
    "stream.map.streamprocessor",
    "stream.non.zero.exit.is.failure",
    "stream.num.map.output.key.fields",
    "stream.num.reduce.output.key.fields",
    "stream.reduce.input.field.separator",
    "stream.reduce.output.field.separator",
    "stream.reduce.streamprocessor",
    "stream.stderr.reporter.prefix",
    "synod.hdfs.root",
    INHERITED,
    "synod.streaming.unread.input.is.failure",
];

/// Properties about how a job is run, not what it gives: Spark has settings of its own for that.
const LEFT_TO_SPARK: &[&str] = &[
    "mapreduce.cluster.local.dir",
    "mapreduce.input.fileinputformat.split.maxsize",
    "mapreduce.input.fileinputformat.split.minsize",
    "mapreduce.job.maps",
    "mapreduce.job.priority",
    "mapreduce.map.failures.maxpercent",
    "mapreduce.map.maxattempts",
    "mapreduce.map.speculative",
    "mapreduce.reduce.failures.maxpercent",
    "mapreduce.reduce.maxattempts",
    "mapreduce.reduce.speculative",
    "mapreduce.task.io.sort.mb",
    "mapreduce.task.timeout",
    "stream.joindelay.milli",
];

/// Properties that name a class or a format, which is looked at on its own.
const LOOKED_AT: &[&str] = &[
    "mapred.input.format.class",
    "mapred.output.format.class",
    "mapred.partitioner.class",
    "mapreduce.job.output.key.comparator.class",
    "mapreduce.job.partitioner.class",
    "stream.map.input",
    "stream.map.output",
    "stream.reduce.input",
    "stream.reduce.output",
];

/// Options that cannot be followed.
const REFUSED_OPTIONS: &[&str] = &[
    "inputreader",
    "lazyOutput",
    "background",
    "mapdebug",
    "reducedebug",
    "cacheArchive",
    "dfs",
    "archives",
    "libjars",
    "fs",
    "jt",
    "tokenCacheFile",
];

/// What differs from task to task.
const TOLD: &[&str] = &[
    "mapreduce.task.id",
    "mapreduce.task.attempt.id",
    "mapreduce.task.ismap",
    "mapreduce.task.partition",
    "mapreduce.job.local.dir",
];

/// A job for Spark.
pub struct SparkJob {
    /// What people call it.
    pub name: String,
    /// The output folder as it was given.
    pub output: String,
    /// What is to be said before it runs.
    pub notices: Vec<String>,
    /// Settings of Spark itself.
    pub settings: Vec<(String, String)>,
    inputs: Vec<String>,
    reduces: u32,
    properties: Properties,
    streaming: Settings,
}

impl SparkJob {
    /// Reads the words, and refuses what Spark is not to be asked for.
    pub fn new(words: &[String], arguments: &Arguments) -> Result<SparkJob, Stop> {
        if let Some(name) = REFUSED_OPTIONS.iter().find(|name| arguments.has(name)) {
            return refuse(&format!("-{name}"));
        }
        let lists = arguments.values("input");
        let inputs: Vec<String> = lists.flat_map(split_paths).map(str::to_owned).collect();
        let output = arguments.value("output").map(str::to_owned);
        let (Some(output), false) = (output, inputs.is_empty()) else {
            return wrong("required arguments: -input <path> and -output <path>".to_owned());
        };
        if let Some(input) = inputs.iter().find(|input| input.starts_with("kv://")) {
            return wrong(format!("{input}: only Synod reads keys; leave out --on spark"));
        }
        // Names that Spark understands may mean nothing here.
        let mut rest = without(&without(words, "input"), "output");
        rest.extend(["-input", "in", "-output", "out"].map(str::to_owned));
        let here = Arguments::parse(&rest).map_err(|error| Failure::WrongUse(error.to_string()))?;
        let Submission { spec, mut properties, .. } = submission(&here)?;
        if spec.inputs.len() != 1 {
            return refuse("-D mapreduce.input.fileinputformat.inputdir");
        }
        let streaming = Settings::read(&properties).map_err(Stop::Job)?;
        refuse_formats(&streaming).or_else(|what| refuse(&what))?;
        let notices = notices(arguments, &properties)?;
        properties.set("mapreduce.input.fileinputformat.inputdir", inputs.join(","));
        properties.set("mapreduce.output.fileoutputformat.outputdir", output.clone());
        let of_spark = |(name, _): &(&str, &str)| name.starts_with("spark.");
        let settings = properties.iter().filter(of_spark);
        Ok(SparkJob {
            name: properties.get_or("mapreduce.job.name", "streamjob"),
            output,
            notices,
            settings: settings
                .map(|(name, _)| (name.to_owned(), properties.get_or(name, "")))
                .collect(),
            inputs,
            reduces: spec.reduces.unwrap_or(1),
            streaming,
            properties,
        })
    }

    /// The job as the driver reads it. Its files are put into this folder, each under a name of its own.
    pub fn describe(&self, folder: &Path) -> Result<Vec<u8>, Failure> {
        let Settings { map, reduce, files, .. } = &self.streaming;
        let files = files.iter().enumerate().map(|(at, file)| stage(file, at, folder));
        let files = files.collect::<Result<Vec<Value>, Failure>>()?;
        let commands = |worker: &Worker| match worker {
            Worker::Command(arguments) => Some(arguments.clone()),
            Worker::Identity | Worker::Aggregate => None,
        };
        let mapper = json!({
            "name": "mapper",
            "letter": "m",
            "arguments": commands(&self.streaming.mapper),
            "separator": map.output_separator,
            "key_fields": map.key_fields,
            "variables": variables(&self.properties, TaskKind::Map),
        });
        let reducer = commands(&self.streaming.reducer).map(|arguments| {
            json!({
                "name": "reducer",
                "letter": "r",
                "arguments": arguments,
                "input_separator": reduce.input_separator,
                "separator": reduce.output_separator,
                "key_fields": reduce.key_fields,
                "variables": variables(&self.properties, TaskKind::Reduce),
            })
        });
        let id = self.properties.get_or("mapreduce.job.id", "");
        let own = self.properties.get_or(INHERITED, "");
        let inherited = ALWAYS_INHERITED.iter().copied().chain(own.split(',').map(str::trim));
        let told = TOLD.iter().map(|name| (*name, variables_of(name).collect::<Vec<_>>()));
        let described = json!({
            "inputs": self.inputs,
            "output": self.output,
            "reduces": self.reduces,
            "map": mapper,
            "reduce": reducer,
            "output_separator": self.streaming.output_separator,
            "exit_is_failure": self.streaming.exit_is_failure,
            "unread_is_failure": self.streaming.unread_is_failure,
            "buffer_bytes": HADOOP_BUFFER_BYTES,
            "reporter_prefix": self.streaming.reporter_prefix,
            "digits": id.strip_prefix("job_").unwrap_or(&id),
            "environment": self.environment(),
            "inherited": inherited.filter(|pattern| !pattern.is_empty()).collect::<Vec<_>>(),
            "told": told.collect::<BTreeMap<_, _>>(),
            "files": files,
        });
        Ok(described.to_string().into_bytes())
    }

    /// The properties of the job, under all their names.
    fn environment(&self) -> BTreeMap<String, String> {
        let mut environment = BTreeMap::new();
        let shown = |name: &str| !name.starts_with(OWN_PREFIX) && !name.starts_with("spark.");
        let reduces = ("mapreduce.job.reduces", self.reduces.to_string());
        let properties = self.properties.iter().filter(|(name, _)| shown(name));
        let properties = properties.map(|(name, _)| (name, self.properties.get_or(name, "")));
        for (name, value) in properties.chain([reduces]) {
            for variable in variables_of(name) {
                environment.insert(variable, value.replace('\0', ""));
            }
        }
        environment
    }
}

fn refuse<T>(what: &str) -> Result<T, Stop> {
    wrong(format!("{what} is not handed to Spark: leave it out, or leave out --on spark"))
}

fn wrong<T>(what: String) -> Result<T, Stop> {
    Err(Stop::Job(JobError::BadSpec { what }))
}

/// What a command finds in its environment by `-cmdenv` and the like.
fn variables(properties: &Properties, kind: TaskKind) -> BTreeMap<String, String> {
    let variables = of_options(properties, kind).into_iter();
    variables.map(|(name, value)| (name, value.replace('\0', ""))).collect()
}

/// Formats, classes and functions that the driver knows nothing of, by the option they came with.
fn refuse_formats(settings: &Settings) -> Result<(), String> {
    if settings.input != InputClass::Text || !settings.without_keys {
        return Err("-inputformat other than TextInputFormat".to_owned());
    }
    if settings.output != OutputClass::Text {
        return Err("-outputformat other than TextOutputFormat".to_owned());
    }
    if settings.partitioner != PartitionerClass::Hash {
        return Err("-partitioner other than HashPartitioner".to_owned());
    }
    if !settings.sort_keys.is_plain() {
        return Err("-D mapreduce.job.output.key.comparator.class".to_owned());
    }
    let pipes = [&settings.map, &settings.reduce];
    if pipes.iter().any(|pipes| pipes.input != Wire::Text || pipes.output != Wire::Text) {
        return Err("-io other than text".to_owned());
    }
    if settings.mapper == Worker::Identity {
        return Err(
            "-mapper IdentityMapper (which gives offsets; `-mapper cat` gives lines)".into()
        );
    }
    if settings.reducer == Worker::Aggregate {
        return Err("-reducer aggregate".to_owned());
    }
    Ok(())
}

/// What to say of the properties; refuses those that would have to be followed and cannot be.
fn notices(arguments: &Arguments, properties: &Properties) -> Result<Vec<String>, Stop> {
    let mut notices = arguments.warnings.clone();
    let (mut left, mut unknown) = (Vec::new(), Vec::new());
    for (name, _) in properties.iter() {
        let followed = FOLLOWED.contains(&name) || name.starts_with(CMDENV_PREFIX);
        match use_of(name) {
            _ if followed || LOOKED_AT.contains(&name) || name.starts_with("spark.") => {}
            _ if LEFT_TO_SPARK.contains(&name) => left.push(name),
            Use::Heeded => return refuse(&format!("-D {name}")),
            Use::WithoutEffect => {}
            Use::Unknown => unknown.push(name),
        }
    }
    if !left.is_empty() {
        notices.push(format!("left to Spark's own settings: {}", left.join(", ")));
    }
    if !unknown.is_empty() {
        notices.push(format!("properties not interpreted: {}", unknown.join(", ")));
    }
    if arguments.has("combiner") {
        notices.push("the combiner is not run on Spark; the result is the same".to_owned());
    }
    Ok(notices)
}

/// Puts a file of the job into the folder; what the driver is told of it.
fn stage(file: &JobFile, at: usize, folder: &Path) -> Result<Value, Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::Failed(format!("-files {}: {error}", file.path.display()))
    };
    if file.path.is_dir() {
        return Err(wrong(&"folders are not handed to Spark"));
    }
    let path = folder.join(format!("synod-file-{at}"));
    // Its mode comes with it.
    std::fs::copy(&file.path, &path).map_err(|error| wrong(&error))?;
    Ok(json!({ "path": path, "name": file.name }))
}
