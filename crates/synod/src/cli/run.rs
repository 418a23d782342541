//! `synod run`: a MapReduce job, in this process or on a cluster.

use std::future::Future;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use synod::jobs::{
    JobError, JobSpec, JobSummary, Phase, Progress, Snapshot, run_built_in, run_passes,
};
use synod::server::SubmitError;
use tokio::sync::oneshot;

use super::connect::{Cluster, block_on};
use super::failure::Failure;
use super::signals::StopSignals;
use super::{Outcome, job_help, output};

/// How often the progress is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long one node of a cluster may take to answer.
const NODE_TIMEOUT: Duration = Duration::from_secs(10);

/// Without a terminal, a line this often.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Run a MapReduce job over files
#[derive(Args, Debug)]
#[command(after_help = job_help::text())]
pub struct Run {
    /// Which job; they are listed below
    job: String,
    /// Files to read
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Folder for the part files; must not exist yet
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Number of part files
    #[arg(long, value_name = "R")]
    reduces: Option<u32>,
    /// Input per map task, MiB
    #[arg(long, value_name = "MIB")]
    split_mib: Option<u64>,
    /// Memory for intermediate data, MiB; more goes to disk
    #[arg(long, value_name = "MIB")]
    memory_mib: Option<u64>,
    /// Tasks at a time; default: one per core
    #[arg(long, value_name = "N")]
    slots: Option<u32>,
    /// Longest record, MiB
    #[arg(long, value_name = "MIB")]
    max_record_mib: Option<u64>,
    /// Leave out up to this many records that the job fails on
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip_bad_records: u64,
    /// An option of the job itself; may be given several times
    #[arg(long = "set", alias = "option", value_name = "KEY=VALUE", value_parser = key_value)]
    options: Vec<(String, String)>,
    /// Do not wait until the part files are on stable storage
    #[arg(long)]
    no_sync: bool,
    /// Run on the nodes of this cluster, which see the same files under the same paths
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT,..")]
    endpoints: Vec<String>,
}

impl Run {
    pub fn run(self) -> Outcome {
        let started = Instant::now();
        let spec = self.spec()?;
        let progress = Arc::new(Progress::new());
        let summary = if self.endpoints.is_empty() {
            run_here(spec, &progress)?
        } else {
            let cluster = Cluster { endpoints: self.endpoints.clone(), timeout: NODE_TIMEOUT };
            run_passes(&spec, |pass| submit(pass, &cluster, &progress))?
        };
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "{}: {} from {} splits in {:.1} s, {} records in {}",
            self.job,
            output::size(summary.input_bytes),
            summary.splits,
            started.elapsed().as_secs_f64(),
            progress_records(&summary),
            self.output.display()
        )?;
        Ok(())
    }

    fn spec(&self) -> Result<JobSpec, Failure> {
        let mut spec = JobSpec::new(&self.job, &self.inputs, &self.output);
        spec.reduces = self.reduces;
        spec.split_bytes = self.split_mib.map(mib).transpose()?;
        spec.max_record_bytes = self.max_record_mib.map(mib).transpose()?;
        if let Some(memory) = self.memory_mib {
            spec.memory_bytes = mib(memory)?;
        }
        spec.slots = self.slots;
        spec.skip_bad_records = self.skip_bad_records;
        spec.sync_output = !self.no_sync;
        for (key, value) in &self.options {
            if spec.options.insert(key.clone(), value.clone()).is_some() {
                return Err(Failure::WrongUse(format!("--set {key} is given twice")));
            }
        }
        spec.check()?;
        Ok(spec)
    }
}

/// Has the nodes of a cluster run the job.
fn submit(spec: &JobSpec, cluster: &Cluster, progress: &Progress) -> Result<JobSummary, Failure> {
    let mut summary = None;
    block_on(async {
        let kv = cluster.connect()?;
        let job = synod::server::submit(&kv, spec, progress);
        let result = while_showing(progress, job).await?;
        summary = Some(result.map_err(|error| match error {
            SubmitError::Job(JobError::Cancelled) => Failure::Code(INTERRUPTED),
            SubmitError::Job(error) => error.into(),
            SubmitError::Cluster(error) => error.into(),
        })?);
        Ok(())
    })?;
    summary.ok_or_else(|| Failure::Failed("the job has no summary; please report this".into()))
}

/// Runs the job on threads of its own while this one shows its progress and hears Ctrl-C.
fn run_here(spec: JobSpec, progress: &Arc<Progress>) -> Result<JobSummary, Failure> {
    let (done, finished) = oneshot::channel();
    let worker = std::thread::spawn({
        let progress = progress.clone();
        move || {
            let result = run_built_in(&spec, &progress);
            // The other side waits until the thread has ended.
            let _ = done.send(());
            result
        }
    });
    block_on(async {
        // The sender is dropped without a word only by a panic, which the thread tells.
        while_showing(progress, finished).await?.ok();
        Ok(())
    })?;
    let panicked = |_| Failure::Failed("the job panicked; please report this".into());
    worker.join().map_err(panicked)?.map_err(|error| match error {
        JobError::Cancelled => Failure::Code(INTERRUPTED),
        error => error.into(),
    })
}

/// Waits for a job, shows how far it is, and cancels it at Ctrl-C.
async fn while_showing<T>(progress: &Progress, job: impl Future<Output = T>) -> Result<T, Failure> {
    let mut stop = StopSignals::listen()?;
    let mut view = View::new();
    // Not at once: a job that is refused says nothing but why.
    let first_look = tokio::time::Instant::now() + LOOK_INTERVAL;
    let mut look = tokio::time::interval_at(first_look, LOOK_INTERVAL);
    tokio::pin!(job);
    let result = loop {
        tokio::select! {
            result = &mut job => break result,
            _ = look.tick() => view.show(&progress.snapshot()),
            () = stop.next() => progress.cancel(),
        }
    };
    view.end();
    Ok(result)
}

/// What shells say of a process that SIGINT ended.
const INTERRUPTED: u8 = 130;

/// A bar on a terminal, a line now and then elsewhere; both on stderr.
enum View {
    Bar(ProgressBar),
    Lines { last: Option<(Phase, Instant)> },
}

impl View {
    fn new() -> View {
        if !std::io::stderr().is_terminal() {
            return View::Lines { last: None };
        }
        let bar = ProgressBar::new(PER_MILLE);
        if let Ok(style) = ProgressStyle::with_template("{msg:9} [{wide_bar}] {percent:>3}%") {
            bar.set_style(style.progress_chars("=> "));
        }
        View::Bar(bar)
    }

    fn show(&mut self, now: &Snapshot) {
        match self {
            View::Bar(bar) => {
                bar.set_message(phase_name(now.phase));
                bar.set_position(per_mille(now));
            }
            View::Lines { .. } if now.phase == Phase::Planning => {}
            View::Lines { last } => {
                let due = last
                    .is_none_or(|(phase, at)| phase != now.phase || at.elapsed() >= LINE_INTERVAL);
                if due {
                    *last = Some((now.phase, Instant::now()));
                    eprintln!("{}", line(now));
                }
            }
        }
    }

    fn end(&self) {
        if let View::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

const PER_MILLE: u64 = 1000;

fn line(now: &Snapshot) -> String {
    format!(
        "{}: {} of {} read, {} of {} maps, {} of {} reduces",
        phase_name(now.phase),
        output::size(now.bytes_read),
        output::size(now.bytes_total),
        now.maps_done,
        now.maps_total,
        now.reduces_done,
        now.reduces_total
    )
}

/// How far the present phase is.
fn per_mille(now: &Snapshot) -> u64 {
    let (done, total) = match now.phase {
        Phase::Planning => (0, 1),
        Phase::Map => (now.bytes_read, now.bytes_total),
        Phase::Reduce => (now.reduces_done, now.reduces_total),
        Phase::Commit | Phase::Done => (1, 1),
    };
    (done.saturating_mul(PER_MILLE) / total.max(1)).min(PER_MILLE)
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Planning => "planning",
        Phase::Map => "map",
        Phase::Reduce => "reduce",
        Phase::Commit => "commit",
        Phase::Done => "done",
    }
}

fn progress_records(summary: &JobSummary) -> u64 {
    summary.manifest.counters.reduce_records_out
}

fn mib(mib: u64) -> Result<u64, Failure> {
    let too_many = || Failure::WrongUse(format!("{mib} MiB is more than there can be"));
    mib.checked_mul(1 << 20).ok_or_else(too_many)
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_never_more_than_all() {
        let progress = Progress::new();
        progress.enter(Phase::Map);
        let now = Snapshot { bytes_total: 10, bytes_read: 5, ..progress.snapshot() };
        assert_eq!(per_mille(&now), 500);
        let over = Snapshot { bytes_read: 30, ..now };
        assert_eq!(per_mille(&over), PER_MILLE);
        let empty = Snapshot { bytes_total: 0, bytes_read: 0, ..now };
        assert_eq!(per_mille(&empty), 0);
    }
}
