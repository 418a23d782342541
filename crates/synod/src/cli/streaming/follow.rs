//! Has a streaming job run, in this process or by a cluster, and watches it.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use synod::jobs::local::{LocalOptions, run_local_with};
use synod::jobs::streaming::arguments::Arguments;
use synod::jobs::{
    Job, JobError, JobSpec, JobSummary, JobVisitor, Phase, Progress, Snapshot, Stores, with_job,
};
use synod::server::{SubmitError, local_stores};
use tokio::sync::oneshot;

use super::log::{self, CommandLog};
use super::run::{Stop, Style};
use crate::cli::background::leave;
use crate::cli::connect::{Cluster, block_on};
use crate::cli::failure::Failure;
use crate::cli::output::plain;
use crate::cli::progress::{Beside, View as Bar};
use crate::cli::signals::StopSignals;
use crate::cli::store_flags::ENDPOINTS_VARIABLE;

/// How often the progress is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long one node of a cluster may take to answer.
const NODE_TIMEOUT: Duration = Duration::from_secs(10);

fn cluster(endpoints: &str) -> Cluster {
    let endpoints = endpoints.split(',').map(|node| node.trim().to_owned()).collect();
    Cluster { endpoints, timeout: NODE_TIMEOUT }
}

/// `-background`: has the nodes of a cluster run the job, and says how to ask for it.
pub fn submit_only(spec: &JobSpec, endpoints: &str, style: Style) -> Result<(), Stop> {
    let id = leave(spec, &cluster(endpoints))?.map_err(|error| match error {
        SubmitError::Job(error) => Stop::Job(error),
        SubmitError::Cluster(error) => error.into(),
    })?;
    if style == Style::Hadoop {
        log::info("streaming.StreamJob", "Job is running in background.");
        log::info("streaming.StreamJob", &format!("synod jobs show {id}"));
        return Ok(());
    }
    writeln!(
        std::io::stdout().lock(),
        "streaming: in the background as {id}: synod jobs show {id}"
    )?;
    Ok(())
}

/// Has the nodes of a cluster run the job.
pub fn submit(
    spec: &JobSpec,
    endpoints: &str,
    progress: &Progress,
    view: View,
) -> Result<JobSummary, Stop> {
    let mut summary = None;
    block_on(async {
        let kv = cluster(endpoints).connect()?;
        let job = synod::server::submit(&kv, spec, progress);
        let result = view.show_while(progress, job).await?;
        summary = Some(result);
        Ok(())
    })?;
    match summary {
        Some(Ok(summary)) => Ok(summary),
        Some(Err(SubmitError::Job(error))) => Err(Stop::Job(error)),
        Some(Err(SubmitError::Cluster(error))) => Err(error.into()),
        None => Err(Failure::Failed("the job has no summary; please report this".into()).into()),
    }
}

/// What a job is given that runs in this process.
pub struct Here {
    /// What it may read.
    pub stores: Stores,
    /// The map tasks to run, if not all.
    pub only_maps: Option<BTreeSet<u32>>,
}

/// Runs the job on threads of its own while this one tells how it goes and hears Ctrl-C.
pub fn run_here(
    spec: JobSpec,
    here: Here,
    progress: &Arc<Progress>,
    view: View,
    style: Style,
) -> Result<JobSummary, Stop> {
    let (done, finished) = oneshot::channel();
    let beside = view.beside();
    let worker = std::thread::spawn({
        let progress = Arc::clone(progress);
        move || {
            let log = CommandLog { as_log: style == Style::Hadoop, beside };
            let run = RunLocal { spec: &spec, here: &here, progress: &progress, log: &log };
            let result = with_job(&spec, &progress, run);
            // The other side waits until the thread has ended.
            let _ = done.send(());
            result.and_then(|result| result)
        }
    });
    block_on(async {
        // The sender is dropped without a word only by a panic, which the thread tells.
        view.show_while(progress, finished).await?.ok();
        Ok(())
    })?;
    let panicked = |_| Failure::Failed("the job panicked; please report this".into());
    worker.join().map_err(panicked)?.map_err(Stop::Job)
}

/// What a job that runs here may read.
pub fn stores(arguments: &Arguments) -> Stores {
    let told = arguments.value("store").map(str::to_owned);
    let told = told.or_else(|| std::env::var(ENDPOINTS_VARIABLE).ok());
    let endpoints = told.iter().flat_map(|told| told.split(','));
    let endpoints = endpoints.map(|node| node.trim().to_owned()).filter(|node| !node.is_empty());
    local_stores(&endpoints.collect::<Vec<_>>())
}

struct RunLocal<'a> {
    spec: &'a JobSpec,
    here: &'a Here,
    progress: &'a Progress,
    log: &'a CommandLog,
}

impl JobVisitor for RunLocal<'_> {
    type Output = Result<JobSummary, JobError>;

    fn visit<J: Job>(self, job: &J) -> Self::Output {
        let Here { stores, only_maps } = self.here;
        let options = LocalOptions { stores, log: self.log, only_maps: only_maps.as_ref() };
        run_local_with(self.spec, job, self.progress, &options)
    }
}

/// What is seen of a running job: a bar for a person at a terminal; else lines, and always for scripts that
/// call `hadoop`, some of which give it a terminal to read its lines from (mrjob does).
pub struct View {
    style: Style,
    job_id: String,
    bar: Option<Bar>,
    /// Percent of map and reduce that were said last.
    last: Option<(u64, u64)>,
    /// Whether what tasks say of how they do is passed on as lines, and what that was last.
    is_verbose: bool,
    status: Option<Arc<str>>,
}

impl View {
    /// Of a job of which nothing has been said yet. Rates are over the last `window`.
    pub fn new(style: Style, job_id: &str, window: Duration, is_verbose: bool) -> View {
        let bar = if style == Style::Synod { Bar::bar(window) } else { None };
        let job_id = job_id.to_owned();
        View { style, job_id, bar, last: None, is_verbose, status: None }
    }

    /// For whoever prints on stderr meanwhile.
    fn beside(&self) -> Beside {
        self.bar.as_ref().map(Bar::beside).unwrap_or_default()
    }

    /// Waits for a job, says how far it is, and cancels it at Ctrl-C.
    async fn show_while<T>(
        mut self,
        progress: &Progress,
        job: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let mut stop = StopSignals::listen()?;
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        tokio::pin!(job);
        loop {
            tokio::select! {
                result = &mut job => {
                    self.end(progress);
                    return Ok(result);
                }
                _ = look.tick() => self.show(progress),
                () = stop.next() => progress.cancel(),
            }
        }
    }

    fn end(&mut self, progress: &Progress) {
        match &self.bar {
            Some(bar) => bar.end(),
            None => self.show(progress),
        }
    }

    fn show(&mut self, progress: &Progress) {
        let (now, status) = (progress.snapshot(), progress.status());
        match &mut self.bar {
            Some(bar) => bar.show_saying(&now, status.as_deref().unwrap_or_default()),
            None => {
                self.pass_on(status.filter(|_| self.is_verbose));
                self.say(&now);
            }
        }
    }

    /// `-verbose`: what a task says of how it does, if that is new.
    fn pass_on(&mut self, status: Option<Arc<str>>) {
        if status.is_none() || status == self.status {
            return;
        }
        self.status = status;
        let text = self.status.as_deref().map(plain).unwrap_or_default();
        match self.style {
            Style::Hadoop => log::info("mapred.LocalJobRunner", &text),
            Style::Synod => eprintln!("{}: {text}", self.job_id),
        }
    }

    /// A line, if the percentages have changed.
    fn say(&mut self, now: &Snapshot) {
        if now.phase == Phase::Planning {
            return;
        }
        let percent = |done: u64, total: u64| {
            done.saturating_mul(100).checked_div(total).map_or(100, |percent| percent.min(100))
        };
        let map = match now.phase {
            Phase::Map => percent(now.bytes_read, now.bytes_total).min(99),
            _ => 100,
        };
        let reduce = match now.phase {
            Phase::Planning | Phase::Map => 0,
            Phase::Reduce => percent(now.reduces_over(), now.reduces_total),
            Phase::Commit | Phase::Done => 100,
        };
        if self.last == Some((map, reduce)) {
            return;
        }
        self.last = Some((map, reduce));
        match self.style {
            Style::Hadoop => log::info("mapreduce.Job", &format!(" map {map}% reduce {reduce}%")),
            Style::Synod => eprintln!("{}: map {map}% reduce {reduce}%", self.job_id),
        }
    }
}
