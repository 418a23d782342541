//! `synod jobs list|show|wait|logs|cancel|retry`: what becomes of jobs on a cluster.

mod logs;
mod show;
mod wait;

use std::io::{self, BufWriter, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde_json::json;
use synod::client::Remote;
use synod::jobs::JobError;
use synod::jobs::cluster::shown::JobRow;
use synod::jobs::cluster::{JobId, TaskId};
use synod::server::{Cancelling, SubmitError, cancel_job, read_jobs, retry_job};

use super::connect::{Cluster, block_on};
use super::failure::Failure;
use super::output::{self, plain};
use super::{Outcome, parse};

/// Look at the jobs of a cluster, end them, or start them again
#[derive(Args, Debug)]
#[command(
    name = "jobs",
    after_help = "Examples:
  synod jobs list
  synod jobs show 01937a5c2e10-9be2f314
  synod jobs wait 01937a5c2e10-9be2f314
  synod jobs logs 01937a5c2e10-9be2f314 m12
  synod jobs cancel 01937a5c2e10-9be2f314

The same is to be seen in a browser: http://HOST:PORT/jobs on the client port of every node."
)]
pub struct Jobs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// List the jobs, oldest first
    #[command(after_help = "Example:\n  synod jobs list --endpoints 127.0.0.1:2379")]
    List {
        #[command(flatten)]
        how: How,
    },
    /// Show a job: its tasks and running attempts, or what it has done
    #[command(after_help = "Example:\n  synod jobs show 01937a5c2e10-9be2f314")]
    Show {
        /// Its name, see `synod jobs list`
        id: JobId,
        #[command(flatten)]
        how: How,
    },
    /// Wait for the end of a job, and end as synod run would have; Ctrl-C ends the waiting, not the job
    #[command(after_help = "Example:\n  synod jobs wait 01937a5c2e10-9be2f314")]
    Wait {
        /// Its name, see `synod jobs list`
        id: JobId,
        /// Print nothing but errors
        #[arg(long, short)]
        quiet: bool,
        #[command(flatten)]
        how: How,
    },
    /// Print what the attempts of a job have said, as far as their workers are there
    #[command(after_help = "Examples:
  synod jobs logs 01937a5c2e10-9be2f314                    of all tasks
  synod jobs logs 01937a5c2e10-9be2f314 m12 --attempt 0    of one attempt")]
    Logs {
        /// The job's name
        id: JobId,
        /// One task: m12 is the map of split 12, r0 the reduce of partition 0
        #[arg(value_parser = parse::task_id)]
        task: Option<TaskId>,
        /// One attempt of it, counted from 0
        #[arg(long, value_name = "N", requires = "task")]
        attempt: Option<u32>,
        #[command(flatten)]
        how: How,
    },
    /// End a job; its output is removed
    #[command(after_help = "Example:\n  synod jobs cancel 01937a5c2e10-9be2f314")]
    Cancel {
        /// Its name
        id: JobId,
        #[command(flatten)]
        how: How,
    },
    /// Submit a job that failed or was cancelled once more, as a new one
    #[command(after_help = "Example:\n  synod jobs retry 01937a5c2e10-9be2f314")]
    Retry {
        /// Its name
        id: JobId,
        #[command(flatten)]
        how: How,
    },
}

/// Where to ask, and how to answer.
#[derive(Args, Debug)]
struct How {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cluster: Cluster,
}

impl Jobs {
    pub fn run(self) -> Outcome {
        block_on(async move {
            let mut out = BufWriter::new(io::stdout().lock());
            match self.command {
                Command::List { how } => list(&mut out, &how.cluster.connect()?, how.json).await?,
                Command::Show { id, how } => {
                    show::show(&mut out, &how.cluster.connect()?, &id, how.json).await?;
                }
                Command::Wait { id, quiet, how } => {
                    wait::wait(&mut out, &how.cluster.connect()?, &id, quiet, how.json).await?;
                }
                Command::Logs { id, task, attempt, how } => {
                    let wanted = logs::Wanted { job: id, task, attempt };
                    logs::logs(&mut out, &how.cluster, &wanted, how.json).await?;
                }
                Command::Cancel { id, how } => {
                    cancel(&mut out, &how.cluster.connect()?, &id, how.json).await?;
                }
                Command::Retry { id, how } => {
                    let new = retry_job(&how.cluster.connect()?, &id).await.map_err(failure)?;
                    if how.json {
                        print_json(&mut out, &json!({ "id": new, "retry_of": id }))?;
                    } else {
                        writeln!(out, "job {new} is submitted; see it with synod jobs show {new}")?;
                    }
                }
            }
            out.flush()?;
            Ok(())
        })
    }
}

async fn list(out: &mut impl Write, kv: &Remote, as_json: bool) -> Outcome {
    let view = read_jobs(kv).await?;
    let rows = view.jobs.iter().filter_map(|(id, job)| JobRow::of(id, job, None));
    if as_json {
        for row in rows {
            print_json(out, &row)?;
        }
        return Ok(());
    }
    let now = now_ms();
    let rows = rows.map(|row| table_row(&row, now));
    let table: Vec<Vec<String>> =
        std::iter::once(HEADING.map(str::to_owned).to_vec()).chain(rows).collect();
    Ok(output::print_table(out, &table)?)
}

const HEADING: [&str; 9] =
    ["ID", "NAME", "STATE", "PRIORITY", "MAPS", "REDUCES", "INPUT", "TIME", "SUBMITTED"];

/// Characters of a job's name in the list.
const NAME_CHARS: usize = 30;

fn table_row(row: &JobRow, now: u64) -> Vec<String> {
    let progress = &row.progress;
    let mut state = if row.cancelling { "cancelling" } else { row.state }.to_owned();
    let given_up = progress.maps_given_up + progress.reduces_given_up;
    if given_up > 0 {
        state += &format!(", {given_up} given up");
    }
    vec![
        row.id.to_string(),
        output::cut(&plain(&row.name), NAME_CHARS),
        state,
        row.priority.to_owned(),
        format!("{}/{}", progress.maps_done, progress.maps_total),
        format!("{}/{}", progress.reduces_done, progress.reduces_total),
        output::size(progress.bytes_total),
        row.millis(now).map_or_else(|| "-".to_owned(), millis),
        ago(row.submitted_ms, now),
    ]
}

async fn cancel(out: &mut impl Write, kv: &Remote, id: &JobId, as_json: bool) -> Outcome {
    match cancel_job(kv, id).await? {
        Cancelling::Asked if as_json => {
            Ok(print_json(out, &json!({ "id": id, "cancelling": true }))?)
        }
        Cancelling::Asked => {
            writeln!(out, "job {id} is told to end; synod jobs show {id} says when it has")?;
            Ok(())
        }
        Cancelling::Ended => Err(Failure::Failed(format!("job {id} has ended before"))),
        Cancelling::Unknown => Err(unknown(id)),
    }
}

fn unknown(id: &JobId) -> Failure {
    Failure::Failed(format!("there is no job {id}; see `synod jobs list`"))
}

fn failure(error: SubmitError) -> Failure {
    match error {
        // What cannot be tried again was named rightly.
        SubmitError::Job(JobError::BadSpec { what }) => Failure::Failed(what),
        SubmitError::Job(error) => error.into(),
        SubmitError::Cluster(error) => error.into(),
    }
}

fn print_json(out: &mut impl Write, value: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// This machine's clock, milliseconds since 1970.
fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn millis(millis: u64) -> String {
    output::duration(std::time::Duration::from_millis(millis))
}

/// How long ago a moment was; clocks of several machines are compared, so it is not exact.
fn ago(moment_ms: u64, now: u64) -> String {
    match moment_ms {
        0 => "-".to_owned(),
        moment => format!(
            "{} ago",
            output::about(std::time::Duration::from_millis(now.saturating_sub(moment)))
        ),
    }
}
