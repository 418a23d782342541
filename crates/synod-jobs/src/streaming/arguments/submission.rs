//! From arguments to a job: properties, files, inputs and output.
//!
//! What has to be read or asked from outside comes through [`Outside`], so that the result depends on
//! nothing hidden. Files of properties come first, then `-D` and `-jobconf`, then what the options
//! say; all of it ends up in the options of a [`JobSpec`]. What the spec itself has a field for is
//! in `spec.rs`.

use super::Arguments;
use crate::error::JobError;
use crate::input::scheme_of;
use crate::spec::JobSpec;
use crate::streaming::classes::{InputClass, OutputClass, PartitionerClass, Processor};
use crate::streaming::command;
use crate::streaming::files::JobFile;
use crate::streaming::job::Streaming;
use crate::streaming::locations::{HDFS_ROOT, Locations, file_uri};
use crate::streaming::properties::Properties;
use crate::streaming::properties::conf_file::ConfFiles;
use crate::streaming::settings::{AGGREGATE_CLASS, CMDENV_PREFIX};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// What a submission asks from the world around it.
pub struct Outside<'o> {
    /// Reads a file of properties.
    pub read: &'o dyn Fn(&Path) -> io::Result<String>,
    /// Whether a file is there and may be read.
    pub look: &'o dyn Fn(&Path) -> io::Result<()>,
    /// What `${name}` stands for that is no property.
    pub variable: &'o dyn Fn(&str) -> Option<String>,
    /// Where paths lie, unless a property says otherwise.
    pub locations: Locations,
    /// The folder that relative paths are below.
    pub folder: PathBuf,
    /// `job_1700000000000_0001`, for example.
    pub job_id: String,
    /// Who submits it.
    pub user: String,
}

/// A job as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// What is run.
    pub spec: JobSpec,
    /// All properties.
    pub properties: Properties,
    /// `-output` as it was given, for the messages that scripts read.
    pub output_as_given: String,
    /// The only map tasks to run, in this process: to look at them with a debugger.
    pub only_maps: Option<BTreeSet<u32>>,
}

impl Submission {
    /// Makes a job of arguments.
    pub fn new(arguments: &Arguments, outside: &Outside<'_>) -> Result<Submission, JobError> {
        let mut properties = given_properties(arguments, outside)?;
        properties.resolve_outside(outside.variable);
        let locations = match properties.get(HDFS_ROOT) {
            Some(root) => Locations { hdfs_root: Some(PathBuf::from(root)) },
            None => outside.locations.clone(),
        };
        // Wherever a task runs, its programs are to find the same files.
        if let Some(root) = locations.hdfs_root.as_deref().and_then(Path::to_str) {
            properties.set(HDFS_ROOT, outside.folder.join(root).display().to_string());
        }
        let mut builder = Builder { arguments, outside, locations, properties };
        builder.add_commands()?;
        builder.add_classes()?;
        builder.add_variables();
        builder.add_files()?;
        builder.unqualify_commands()?;
        let inputs = builder.inputs()?;
        let (output_as_given, output) = builder.output()?;
        let mut properties = builder.properties;
        properties.set("mapreduce.job.id", outside.job_id.clone());
        properties.set_if_missing("mapreduce.job.user.name", outside.user.clone());
        properties.set_if_missing("mapreduce.job.working.dir", file_uri(&outside.folder));
        properties.set_if_missing("mapreduce.job.name", "streamjob");
        let spec = super::spec::spec(arguments, &properties, inputs, output)?;
        let only_maps = super::spec::only_maps(arguments)?;
        // Refuses what cannot run, before anything is submitted.
        Streaming::new(properties.clone(), spec.max_record(), PathBuf::new())?;
        Ok(Submission { spec, properties, output_as_given, only_maps })
    }
}

fn bad<T>(what: String) -> Result<T, JobError> {
    Err(JobError::BadSpec { what })
}

/// The properties of files, then those of the command line.
fn given_properties(arguments: &Arguments, outside: &Outside<'_>) -> Result<Properties, JobError> {
    let mut files = ConfFiles::default();
    for name in arguments.values("conf").chain(arguments.values("additionalconfspec")) {
        let path = outside.locations.resolve(name)?;
        let wrong = |what: String| JobError::BadSpec { what: format!("-conf {name}: {what}") };
        let text = (outside.read)(&path).map_err(|error| wrong(error.to_string()))?;
        files.add(&text).map_err(wrong)?;
    }
    let mut properties = files.into_properties();
    for pair in arguments.values("D") {
        // Hadoop passes over what is no pair; so does this.
        if let Some((name, value)) = pair.split_once('=') {
            properties.set(name, value);
        }
    }
    for pair in arguments.values("jobconf") {
        match pair.split_once('=') {
            Some((name, value)) => properties.set(name, value),
            None => return bad(format!("-jobconf {pair}: write name=value")),
        }
    }
    properties.drop_empty();
    Ok(properties)
}

struct Builder<'b> {
    arguments: &'b Arguments,
    outside: &'b Outside<'b>,
    locations: Locations,
    properties: Properties,
}

impl Builder<'_> {
    /// `-mapper`, `-combiner`, `-reducer`, `-numReduceTasks`.
    fn add_commands(&mut self) -> Result<(), JobError> {
        if let Some(number) = self.arguments.value("numReduceTasks") {
            self.properties.set("mapreduce.job.reduces", number);
        }
        if self.arguments.value("reducer") == Some("NONE") {
            self.properties.set("mapreduce.job.reduces", "0");
        }
        for (option, property) in [
            ("mapper", "stream.map.streamprocessor"),
            ("combiner", "stream.combine.streamprocessor"),
            ("reducer", "stream.reduce.streamprocessor"),
        ] {
            let Some(line) = self.arguments.value(option) else { continue };
            if option == "reducer" && line == "NONE" {
                continue;
            }
            if option == "reducer" && line.eq_ignore_ascii_case("aggregate") {
                self.properties.set("mapred.reducer.class", AGGREGATE_CLASS);
                continue;
            }
            match Processor::named(&format!("-{option}"), line)? {
                Processor::Command => self.properties.set(property, command::encode(line)),
                Processor::Identity => {
                    self.properties.remove(property);
                }
            }
        }
        Ok(())
    }

    /// `-inputformat`, `-inputreader`, `-outputformat`, `-partitioner`, `-io`, `-lazyOutput`.
    fn add_classes(&mut self) -> Result<(), JobError> {
        if let Some(name) = self.arguments.value("inputformat") {
            let class = InputClass::named(name)?;
            self.properties.set("mapred.input.format.class", class.full_name());
        }
        if let Some(spec) = self.arguments.value("inputreader") {
            let mut parts = spec.split(',');
            let class = parts.next().unwrap_or_default();
            self.properties.set("stream.recordreader.class", class);
            for part in parts {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                self.properties.set(&format!("stream.recordreader.{name}"), value);
            }
        }
        if let Some(name) = self.arguments.value("outputformat") {
            let class = OutputClass::named(name)?;
            self.properties.set("mapred.output.format.class", class.full_name());
        }
        if let Some(name) = self.arguments.value("partitioner") {
            let class = PartitionerClass::named(name)?;
            self.properties.set("mapred.partitioner.class", class.full_name());
        }
        if let Some(io) = self.arguments.value("io") {
            for pipe in ["map.input", "map.output", "reduce.input", "reduce.output"] {
                self.properties.set(&format!("stream.{pipe}"), io);
            }
        }
        Ok(())
    }

    /// `-cmdenv`. Joined with blanks, as Hadoop hands them on, values with blanks would break; so
    /// each is kept on its own as well.
    fn add_variables(&mut self) {
        let mut joined = self.properties.get_or("stream.addenvironment", "");
        for pair in self.arguments.values("cmdenv") {
            if !joined.is_empty() {
                joined.push(' ');
            }
            joined.push_str(pair);
            if let Some((name, value)) = pair.split_once('=') {
                self.properties.set(&format!("{CMDENV_PREFIX}{name}"), value);
            }
        }
        if !joined.is_empty() {
            self.properties.set("stream.addenvironment", joined);
        }
    }

    /// `-files`, `-archives`, `-libjars`, and the old `-file`, `-cacheFile`, `-cacheArchive`.
    fn add_files(&mut self) -> Result<(), JobError> {
        let lists = |name: &'static str| {
            let lists = self.arguments.values(name);
            lists.flat_map(|list| list.split(',')).map(str::trim).filter(|part| !part.is_empty())
        };
        let files: Vec<&str> = lists("files")
            .chain(self.arguments.values("file"))
            .chain(lists("cacheFile"))
            .chain(lists("libjars"))
            .collect();
        let archives: Vec<&str> = lists("archives").chain(lists("cacheArchive")).collect();
        let files = self.resolve_all(&files)?;
        let archives = self.resolve_all(&archives)?;
        for (property, list) in
            [("mapreduce.job.cache.files", files), ("mapreduce.job.cache.archives", archives)]
        {
            let before = self.properties.get(property);
            let before = before.iter().flat_map(|list| list.split(',')).map(str::to_owned);
            let all: Vec<String> = before.chain(list.iter().map(JobFile::uri)).collect();
            if !all.is_empty() {
                self.properties.set(property, all.join(","));
            }
        }
        Ok(())
    }

    fn resolve_all(&self, names: &[&str]) -> Result<Vec<JobFile>, JobError> {
        let mut files: Vec<JobFile> = Vec::new();
        for name in names {
            let mut file = JobFile::parse(name, &self.locations)?;
            file.path = self.absolute(&file.path);
            if let Err(error) = (self.outside.look)(&file.path) {
                return bad(format!("file {}: {error}", file.path.display()));
            }
            // The same file named twice is one.
            if !files.contains(&file) {
                files.push(file);
            }
        }
        Ok(files)
    }

    /// A command whose program is a file of the job, named by its path, becomes the name that a task
    /// sees.
    fn unqualify_commands(&mut self) -> Result<(), JobError> {
        let files = JobFile::list(self.properties.get("mapreduce.job.cache.files").as_deref())?;
        for property in [
            "stream.map.streamprocessor",
            "stream.combine.streamprocessor",
            "stream.reduce.streamprocessor",
        ] {
            let Some(line) = self.properties.raw(property).and_then(command::decode) else {
                continue;
            };
            let (program, rest) = match line.split_once(' ') {
                Some((program, rest)) => (program, Some(rest)),
                None => (line.as_str(), None),
            };
            let path = self.absolute(Path::new(program));
            if let Some(file) = files.iter().find(|file| file.is_at(&path)) {
                let line = match rest {
                    Some(rest) => format!("{} {rest}", file.name),
                    None => file.name.clone(),
                };
                self.properties.set(property, command::encode(&line));
            }
        }
        Ok(())
    }

    /// All inputs: those of the property, then those of the options.
    fn inputs(&mut self) -> Result<Vec<PathBuf>, JobError> {
        let before = self.properties.get("mapreduce.input.fileinputformat.inputdir");
        let lists = before.iter().map(String::as_str).chain(self.arguments.values("input"));
        let mut inputs = Vec::new();
        for name in lists.flat_map(split_paths) {
            inputs.push(self.absolute_data(self.locations.resolve_data(name)?));
        }
        if inputs.is_empty() {
            return bad("required argument: -input <path>; try -help".to_owned());
        }
        if inputs.iter().any(|input| scheme_of(input) == Some("kv")) {
            let class = "mapred.input.format.class";
            if self.properties.get(class).is_some()
                || self.properties.raw("stream.recordreader.class").is_some()
            {
                return bad("-input kv://..: keys and values need no -inputformat".to_owned());
            }
            self.properties.set(class, InputClass::Pairs.full_name());
        }
        let uris: Vec<String> = inputs.iter().map(|name| uri_of(name)).collect();
        self.properties.set("mapreduce.input.fileinputformat.inputdir", uris.join(","));
        Ok(inputs)
    }

    fn output(&mut self) -> Result<(String, PathBuf), JobError> {
        let property = "mapreduce.output.fileoutputformat.outputdir";
        let given = self.arguments.value("output").map(str::to_owned);
        let Some(given) = given.or_else(|| self.properties.get(property)) else {
            return bad("required argument: -output <path>; try -help".to_owned());
        };
        let output = self.absolute_data(self.locations.resolve_data(&given)?);
        self.properties.set(property, uri_of(&output));
        Ok((given, output))
    }

    /// An input or the output as every process understands it.
    fn absolute_data(&self, name: PathBuf) -> PathBuf {
        if is_in_store(&name) { name } else { self.absolute(&name) }
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        let mut absolute = self.outside.folder.clone();
        // `./a` and `a` are one file.
        absolute.extend(path.components().filter(|part| *part != std::path::Component::CurDir));
        absolute
    }
}

/// How a property names an input or the output.
fn uri_of(name: &Path) -> String {
    if is_in_store(name) { name.display().to_string() } else { file_uri(name) }
}

fn is_in_store(name: &Path) -> bool {
    scheme_of(name).is_some()
}

/// Splits a list of paths at its commas, but not at those within braces of a pattern.
pub fn split_paths(list: &str) -> Vec<&str> {
    let mut paths = Vec::new();
    let (mut start, mut depth) = (0, 0);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth <= 0 => {
                paths.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    paths.push(&list[start..]);
    paths.retain(|path| !path.trim().is_empty());
    paths
}

#[cfg(test)]
mod tests;
