//! One attempt's command: where it runs, what it is told, and what is made of its end.

use super::child::folder::AttemptFolder;
use super::child::launch::Launch;
use super::child::{Command, Outcome};
use super::environment::{self, Place};
use super::job::{Streaming, attempt_name};
use super::report::Reports;
use super::settings::Pipes;
use super::wire::reader::PairReader;
use crate::error::JobError;
use crate::map_input::InputRange;
use crate::task::{TaskContext, TaskKind};
use std::time::Instant;

/// Input that Hadoop has in a buffer on its own side. A command that ends without having read it is
/// not noticed there, whatever it was given before: `head -1` fails on a large input only.
pub const HADOOP_BUFFER_BYTES: u64 = 128 << 10;

/// A command of an attempt that may be started, once or, to find bad records, many times.
pub struct Stage<'a> {
    job: &'a Streaming,
    task: &'a TaskContext<'a>,
    launch: Launch,
    pipes: &'a Pipes,
    /// Command, input and attempt, for errors.
    label: String,
    /// What it says on stderr.
    pub reports: Reports,
}

impl<'a> Stage<'a> {
    /// Lays out the folder and the environment of an attempt.
    pub fn new(
        job: &'a Streaming,
        task: &'a TaskContext<'a>,
        (what, arguments, pipes): (&'static str, &[String], &'a Pipes),
        range: Option<InputRange<'_>>,
    ) -> Result<Stage<'a>, JobError> {
        let AttemptFolder { work, temporary } = job.folder()?.lay_out(task.scratch()?)?;
        let output = task.side_folder()?;
        let output =
            std::path::absolute(output).map_err(|error| JobError::io("find", output, error))?;
        let place = match &range {
            Some(range) => {
                format!("{} from offset {}", range.file.display(), range.start)
            }
            None => format!("partition {}", task.number),
        };
        let told = Place { task, range, folder: &work, output: &output, temporary: &temporary };
        let (settings, properties) = (&job.settings, &job.properties);
        let (environment, truncated) =
            environment::build(properties, settings, &told, std::env::vars_os());
        for name in truncated {
            task.log.line(format!("[the variable {name} was cut]").as_bytes());
        }
        let launch = Launch { arguments: arguments.to_vec(), folder: work, environment };
        let reports = Reports::new(&settings.reporter_prefix, settings.compatible, Instant::now());
        let label = format!(
            "{what} `{}` on {place} ({})",
            launch.arguments.first().map_or("", String::as_str),
            attempt_name(properties, task)
        );
        Ok(Stage { job, task, launch, pipes, label, reports })
    }

    /// Starts the command.
    pub fn start(&mut self) -> Result<Command<'_>, JobError> {
        let settings = &self.job.settings;
        let reader = PairReader::new(
            self.pipes.output,
            &self.pipes.output_separator,
            self.pipes.key_fields,
            settings.compatible,
            self.job.max_record_bytes,
        );
        let delays = (settings.timeout, settings.join_delay);
        Command::start(&self.launch, reader, &mut self.reports, self.task, delays)
            .map_err(|error| located(&self.label, error))
    }

    /// Whether the attempt has failed: by the command's code, or because it did not read `offered`
    /// bytes of input.
    pub fn judge(&self, outcome: Outcome, closed: bool, offered: u64) -> Result<(), JobError> {
        let settings = &self.job.settings;
        if outcome.code != 0 {
            let words = self.reports.last_words();
            let said = if words.is_empty() { String::new() } else { format!(": {words}") };
            let message = format!("it failed with code {}{said}", outcome.code);
            if settings.exit_is_failure {
                return Err(self.failed(&message));
            }
            self.task.log.line(format!("[{message}]").as_bytes());
        }
        let enough = self.task.kind == TaskKind::Map
            && settings.enough_output.is_some_and(|enough| outcome.pairs >= enough);
        let closed = closed || outcome.left_input;
        if closed && offered > HADOOP_BUFFER_BYTES && settings.unread_is_failure && !enough {
            return Err(self.failed(&format!(
                "it ended with code {} before it had read all its input, which counts as a \
                 broken pipe; let it read to the end, or set {}=false",
                outcome.code,
                super::settings::UNREAD_INPUT_IS_FAILURE
            )));
        }
        Ok(())
    }

    /// The error for a command that has done wrong.
    pub fn failed(&self, message: &str) -> JobError {
        let error =
            JobError::Task { message: message.to_owned(), permanent: false, bad_record: None };
        self.located(error)
    }

    /// The error with the names of command, attempt and input.
    pub fn located(&self, error: JobError) -> JobError {
        located(&self.label, error)
    }

    /// What was counted, as the engine names it: `group,name`; what was taken off beside it, under
    /// `group,name,-`.
    pub fn count(&mut self, count: &mut dyn FnMut(&str, u64)) {
        for ((group, name), amount) in self.reports.take_counters() {
            let sign = if amount < 0 { ",-" } else { "" };
            count(&format!("{group},{name}{sign}"), amount.unsigned_abs());
        }
    }
}

fn located(label: &str, error: JobError) -> JobError {
    match error {
        JobError::Task { message, permanent, bad_record } => {
            JobError::Task { message: format!("{label}: {message}"), permanent, bad_record }
        }
        JobError::NotStarted { message, permanent } => {
            JobError::NotStarted { message: format!("{label}: {message}"), permanent }
        }
        other => other,
    }
}
