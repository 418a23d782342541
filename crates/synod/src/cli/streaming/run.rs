//! Runs a streaming job from its arguments, and says how it goes.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use synod::jobs::given_up::warning;
use synod::jobs::streaming::arguments::lint::lint;
use synod::jobs::streaming::arguments::lint::scripts::{LOOKED_AT_BYTES, Shipped};
use synod::jobs::streaming::arguments::notices::notices;
use synod::jobs::streaming::arguments::submission::{Outside, Submission};
use synod::jobs::streaming::arguments::{Arguments, usage};
use synod::jobs::streaming::child::folder::is_readable;
use synod::jobs::streaming::locations::{HDFS_ROOT_VARIABLE, Locations};
use synod::jobs::streaming::settings::Settings;
use synod::jobs::{JobError, Progress};

use super::follow::{Here, View, run_here, stores, submit, submit_only};
use super::log;
use super::on::{HandOver, refuse_what_was_meant_for_another};
use crate::cli::Outcome;
use crate::cli::failure::Failure;
use crate::cli::output::plain;
use crate::cli::run::{CLUSTER_RATE_WINDOW, RATE_WINDOW};
use crate::cli::summary::Done;

/// What shells say of a process that SIGINT ended.
const INTERRUPTED: u8 = 130;

/// For whom the messages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// For a person who called `synod streaming`.
    Synod,
    /// For scripts that call `hadoop` and read what it says.
    Hadoop,
}

/// Why a command ends early.
pub enum Stop {
    /// The job was refused or failed.
    Job(JobError),
    /// Something else.
    Other(Failure),
}

impl<F: Into<Failure>> From<F> for Stop {
    fn from(failure: F) -> Stop {
        Stop::Other(failure.into())
    }
}

/// Does what the arguments say.
pub fn streaming(words: &[String], style: Style) -> Outcome {
    let outcome = here_or_elsewhere(words, style);
    outcome.map_err(|stop| match (style, stop) {
        (_, Stop::Job(JobError::Cancelled)) => Failure::Code(INTERRUPTED),
        (Style::Hadoop, stop) => as_hadoop(stop),
        (Style::Synod, Stop::Job(error)) => error.into(),
        (Style::Synod, Stop::Other(failure)) => failure,
    })
}

fn here_or_elsewhere(words: &[String], style: Style) -> Result<(), Stop> {
    refuse_what_was_meant_for_another()?;
    if let Some(wanted) = HandOver::wanted(words) {
        return wanted.run();
    }
    let arguments =
        Arguments::parse(words).map_err(|error| Failure::WrongUse(error.to_string()))?;
    with_arguments(&arguments, style)
}

fn with_arguments(arguments: &Arguments, style: Style) -> Result<(), Stop> {
    if let Some(help) = arguments.help {
        std::io::stdout().lock().write_all(usage::text(help).as_bytes())?;
        return Ok(());
    }
    let submission = submission(arguments)?;
    if arguments.has("check") {
        return check(arguments, &submission);
    }
    for notice in notices(arguments, &submission.properties) {
        say(style, "WARN", &notice);
    }
    if arguments.has("verbose") {
        let mut out = std::io::stdout().lock();
        for (name, value) in submission.properties.iter() {
            writeln!(out, "STREAM: {name}={value}")?;
        }
    }
    run(&submission, arguments, style)
}

/// `--check`: one line for each thing to look at; fails if there is any.
fn check(arguments: &Arguments, submission: &Submission) -> Result<(), Stop> {
    let found = lint(arguments, submission, &shipped).map_err(Stop::Job)?;
    let mut out = std::io::stdout().lock();
    for line in &found {
        writeln!(out, "{line}")?;
    }
    if found.is_empty() {
        writeln!(out, "nothing to say: this job should run the same way elsewhere")?;
        return Ok(());
    }
    Err(Failure::Code(1).into())
}

/// The beginning of a shipped file, for the lint.
fn shipped(path: &Path) -> std::io::Result<Shipped> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut first = Vec::new();
    file.take(LOOKED_AT_BYTES).read_to_end(&mut first)?;
    Ok(Shipped { first, may_execute: mode & 0o111 != 0 })
}

fn say(style: Style, level: &str, text: &str) {
    match style {
        Style::Synod => eprintln!("synod: {text}"),
        Style::Hadoop => log::line(level, "streaming.StreamJob", text),
    }
}

/// The job that the arguments describe, in the world as it is.
pub fn submission(arguments: &Arguments) -> Result<Submission, Stop> {
    let user = user_name();
    let variable = |name: &str| match name.strip_prefix("env.") {
        Some(name) => environment_variable(name),
        None if name == "user.name" => Some(user.clone()),
        None if name == "java.io.tmpdir" => Some(std::env::temp_dir().display().to_string()),
        None => None,
    };
    let outside = Outside {
        read: &|path: &Path| std::fs::read_to_string(path),
        look: &is_readable,
        variable: &variable,
        locations: locations(),
        folder: std::env::current_dir()?,
        job_id: new_job_id(),
        user: user.clone(),
    };
    Submission::new(arguments, &outside).map_err(Stop::Job)
}

/// `NAME`, or `NAME-default` and `NAME:-default`.
fn environment_variable(text: &str) -> Option<String> {
    let (name, default) = match text.split_once('-') {
        Some((name, default)) => (name.trim_end_matches(':'), Some(default.to_owned())),
        None => (text, None),
    };
    std::env::var(name).ok().or(default)
}

/// Where paths lie: the folder in place of HDFS comes from the environment.
pub fn locations() -> Locations {
    let root = std::env::var_os(HDFS_ROOT_VARIABLE).filter(|root| !root.is_empty());
    Locations { hdfs_root: root.map(PathBuf::from) }
}

/// The name of whoever runs this.
pub fn user_name() -> String {
    ["HADOOP_USER_NAME", "USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
        .unwrap_or_else(|| format!("uid{}", rustix::process::getuid().as_raw()))
}

/// Scripts take it apart: `job_`, a time, and four digits, which tell apart the jobs of one moment.
fn new_job_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("job_{}_{:04}", now.as_millis(), std::process::id() % 10_000)
}

/// Runs the job and tells how it goes.
fn run(submission: &Submission, arguments: &Arguments, style: Style) -> Result<(), Stop> {
    let started = Instant::now();
    let spec = &submission.spec;
    let job_id = submission.properties.get_or("mapreduce.job.id", "");
    let progress = Arc::new(Progress::new());
    if style == Style::Hadoop {
        log::info("mapreduce.JobSubmitter", &format!("Submitting tokens for job: {job_id}"));
        log::info("mapreduce.Job", &format!("Running job: {job_id}"));
        log::info("mapreduce.Job", &format!("Job {job_id} running in uber mode : false"));
    }
    let on_cluster = arguments.has("endpoints");
    let window = if on_cluster { CLUSTER_RATE_WINDOW } else { RATE_WINDOW };
    let view = View::new(style, &job_id, window, arguments.has("verbose"));
    let result = match arguments.value("endpoints") {
        Some(endpoints) if arguments.has("background") => {
            return submit_only(spec, endpoints, style);
        }
        Some(endpoints) => submit(spec, endpoints, &progress, view),
        None => {
            let here = Here { stores: stores(arguments), only_maps: submission.only_maps.clone() };
            run_here(spec.clone(), here, &progress, view, style)
        }
    };
    if style == Style::Hadoop && result.is_err() {
        log::info("mapreduce.Job", &format!("Job {job_id} failed with state FAILED"));
    }
    let summary = result?;
    if let Some(lost) = warning(&summary.manifest.counters, &summary.manifest.given_up) {
        say(style, "WARN", &plain(&lost));
    }
    let combines = Settings::read(&submission.properties).map_err(Stop::Job)?.combiner.is_some();
    let counted = log::counters(&summary, combines);
    match style {
        Style::Hadoop => {
            log::info("mapreduce.Job", &format!("Job {job_id} completed successfully"));
            log::info("mapreduce.Job", &counted);
            if let Some(more) = log::counters_cut(&summary.manifest) {
                log::info("mapreduce.Job", &more);
            }
            let directory = format!("Output directory: {}", submission.output_as_given);
            log::info("streaming.StreamJob", &directory);
        }
        Style::Synod => {
            eprintln!("{counted}");
            if let Some(more) = log::counters_cut(&summary.manifest) {
                eprintln!("{more}");
            }
            let mut out = std::io::stdout().lock();
            if arguments.has("json") {
                let name = spec.name.as_deref().unwrap_or(&spec.job);
                let (output, took) = (spec.output.as_path(), started.elapsed());
                let done = Done { name, id: None, output, took: Some(took), summary: &summary };
                return Ok(done.print_json(&mut out)?);
            }
            writeln!(
                out,
                "streaming: {} splits, {} records in {}",
                summary.splits,
                summary.manifest.counters.reduce_records_out,
                spec.output.display()
            )?;
        }
    }
    Ok(())
}

/// Says what Hadoop's client says, and ends as it does: with a code for what went wrong.
fn as_hadoop(stop: Stop) -> Failure {
    let (code, what, line) = match stop {
        Stop::Other(Failure::Code(code)) => return Failure::Code(code),
        Stop::Other(Failure::WrongUse(line)) => (1, "", line),
        Stop::Other(Failure::Failed(line)) => (5, "Error Launching job : ", line),
        Stop::Job(error) => {
            let line = error.to_string();
            match error {
                // Hadoop has codes of their own for bad input paths and an output that is there, 2 and 4,
                // and never comes to use them.
                JobError::InputMissing { .. }
                | JobError::NothingMatches { .. }
                | JobError::InputIsFolder { .. }
                | JobError::OutputExists { .. } => (5, "Error Launching job : ", line),
                JobError::BadSpec { .. } => (1, "Error launching job , Invalid job conf : ", line),
                _ => (1, "Job not successful! ", line),
            }
        }
    };
    let line: Vec<&str> = line.split_whitespace().collect();
    log::line("ERROR", "streaming.StreamJob", &format!("{what}{}", line.join(" ")));
    eprintln!("Streaming Command Failed!");
    Failure::Code(code)
}
