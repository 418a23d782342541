//! `synod run`: a MapReduce job, in this process or on a cluster.

use std::collections::BTreeSet;
use std::future::Future;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use synod::jobs::cluster::JobId;
use synod::jobs::{
    JobError, JobSpec, JobSummary, LocalOptions, NoLog, Progress, only_pass, run_built_in_with,
    run_passes,
};
use synod::server::{SubmitError, follow_job, submit_job};
use tokio::sync::oneshot;

use super::background::{Words, leave, tell};
use super::connect::{Cluster, block_on};
use super::failure::Failure;
use super::progress::View;
use super::run_flags::RunFlags;
use super::signals::StopSignals;
use super::store_flags::StoreFlags;
use super::summary::{Done, warn_of_given_up};
use super::{Outcome, job_help};

/// How often the progress is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long one node of a cluster may take to answer.
pub const NODE_TIMEOUT: Duration = Duration::from_secs(10);

/// The rate is that of the last seconds.
pub const RATE_WINDOW: Duration = Duration::from_secs(5);

/// A cluster tells every five seconds how far a task is.
pub const CLUSTER_RATE_WINDOW: Duration = Duration::from_secs(20);

/// Run a MapReduce job over files, or over the keys of a store
#[derive(Args, Debug)]
#[command(after_help = job_help::text())]
pub struct Run {
    /// Which job; they are listed below
    job: String,
    /// What to read: files, folders, patterns, kv://PREFIX for keys and values of a store,
    /// s3://BUCKET/KEY for objects
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Folder for the part files, or kv://PREFIX, or s3://BUCKET/KEY; must not exist yet
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Number of part files
    #[arg(long, value_name = "R")]
    reduces: Option<u32>,
    /// Input per map task, MiB
    #[arg(long, value_name = "MIB")]
    split_mib: Option<u64>,
    /// The same as --memory, in MiB
    #[arg(long, value_name = "MIB", hide = true)]
    memory_mib: Option<u64>,
    /// Tasks at a time; default: one per core
    #[arg(long, value_name = "N")]
    slots: Option<u32>,
    /// Longest record, MiB
    #[arg(long, value_name = "MIB")]
    max_record_mib: Option<u64>,
    /// Leave out up to this many records and groups that the job fails on; they are kept beside the output
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip_bad_records: u64,
    /// An option of the job itself; may be given several times
    #[arg(long = "set", alias = "option", value_name = "KEY=VALUE", value_parser = key_value)]
    options: Vec<(String, String)>,
    /// Do not wait until the part files are on stable storage
    #[arg(long)]
    no_sync: bool,
    #[command(flatten)]
    flags: RunFlags,
    /// Print nothing but errors
    #[arg(long, short)]
    quiet: bool,
    /// Print what the job has done as JSON: the manifest of its output, and the report of its tasks
    #[arg(long)]
    json: bool,
    /// Run on the nodes of this cluster, which see the same files under the same paths
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT,..")]
    endpoints: Vec<String>,
    /// Submit the job, print its name and do not wait for it; synod jobs wait does, later
    #[arg(long, requires = "endpoints")]
    background: bool,
    #[command(flatten)]
    store: StoreFlags,
}

impl Run {
    pub fn run(self) -> Outcome {
        let started = Instant::now();
        let spec = self.spec()?;
        let progress = Arc::new(Progress::new());
        if self.background {
            return self.leave(&spec, &progress);
        }
        let mut id = None;
        let summary = if self.endpoints.is_empty() {
            run_here(spec, self.flags.only_maps(), &self.store, &progress, self.view(RATE_WINDOW))?
        } else {
            let cluster = self.cluster();
            // Of several passes the last one's name is told.
            run_passes(&spec, &progress, |pass| {
                let view = self.view(CLUSTER_RATE_WINDOW);
                let (pass, summary) = submit(pass, &cluster, &progress, view)?;
                id = Some(pass);
                Ok::<_, Failure>(summary)
            })?
        };
        warn_of_given_up(&summary.manifest);
        let (output, took) = (self.output.as_path(), started.elapsed());
        let done =
            Done { name: &self.job, id: id.as_ref(), output, took: Some(took), summary: &summary };
        let mut out = BufWriter::new(std::io::stdout().lock());
        match () {
            () if self.json => done.print_json(&mut out)?,
            () if self.quiet => {}
            () => done.print(&mut out)?,
        }
        out.flush()?;
        Ok(())
    }

    fn cluster(&self) -> Cluster {
        Cluster { endpoints: self.endpoints.clone(), timeout: NODE_TIMEOUT }
    }

    /// Leaves the job to the cluster.
    fn leave(&self, spec: &JobSpec, progress: &Progress) -> Outcome {
        let spec = only_pass(spec, progress)?;
        let id = leave(&spec, &self.cluster())?.map_err(failure)?;
        let words = match () {
            () if self.json => Words::Json,
            () if self.quiet => Words::Few,
            () => Words::Usual,
        };
        tell(&id, words)
    }

    fn view(&self, window: Duration) -> View {
        if self.quiet { View::nothing() } else { View::new(window) }
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
        spec.staging_folder.clone_from(&self.store.staging);
        self.flags.apply(&mut spec);
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
pub fn submit(
    spec: &JobSpec,
    cluster: &Cluster,
    progress: &Progress,
    view: View,
) -> Result<(JobId, JobSummary), Failure> {
    let mut summary = None;
    block_on(async {
        let kv = cluster.connect()?;
        let job = async {
            let id = submit_job(&kv, spec).await.map_err(failure)?;
            let result = follow_job(&kv, id.clone(), progress).await;
            let summary = result.map_err(|error| failure_of(&id, error))?;
            Ok::<_, Failure>((id, summary))
        };
        summary = Some(while_showing(progress, view, AtStop::Cancel, job).await??);
        Ok(())
    })?;
    summary.ok_or_else(|| Failure::Failed("the job has no summary; please report this".into()))
}

pub fn failure(error: SubmitError) -> Failure {
    match error {
        SubmitError::Job(JobError::Cancelled) => Failure::Code(INTERRUPTED),
        SubmitError::Job(error) => error.into(),
        SubmitError::Cluster(error) => error.into(),
    }
}

/// The failure of a job that has a name: what the cluster keeps of it can be looked up.
pub fn failure_of(id: &JobId, error: SubmitError) -> Failure {
    match error {
        SubmitError::Job(JobError::OnCluster { message }) => {
            Failure::Failed(format!("{message} (job {id})"))
        }
        error => failure(error),
    }
}

/// Runs the job on threads of its own while this one shows its progress and hears Ctrl-C.
pub fn run_here(
    spec: JobSpec,
    only_maps: Option<BTreeSet<u32>>,
    store: &StoreFlags,
    progress: &Arc<Progress>,
    view: View,
) -> Result<JobSummary, Failure> {
    let (done, finished) = oneshot::channel();
    let worker = std::thread::spawn({
        let (progress, stores) = (progress.clone(), store.stores());
        move || {
            let only_maps = only_maps.as_ref();
            let options = LocalOptions { stores: &stores, log: &NoLog, only_maps };
            let result = run_built_in_with(&spec, &progress, &options);
            // The other side waits until the thread has ended.
            let _ = done.send(());
            result
        }
    });
    block_on(async {
        // The sender is dropped without a word only by a panic, which the thread tells.
        while_showing(progress, view, AtStop::Cancel, finished).await?.ok();
        Ok(())
    })?;
    let panicked = |_| Failure::Failed("the job panicked; please report this".into());
    worker.join().map_err(panicked)?.map_err(|error| match error {
        JobError::Cancelled => Failure::Code(INTERRUPTED),
        error => error.into(),
    })
}

/// What becomes of a job at Ctrl-C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtStop {
    /// It is cancelled; at the second one it is not waited for any longer.
    Cancel,
    /// It goes on and is not waited for any longer.
    GoOn,
}

/// Waits for a job, and shows how far it is.
pub async fn while_showing<T>(
    progress: &Progress,
    mut view: View,
    at_stop: AtStop,
    job: impl Future<Output = T>,
) -> Result<T, Failure> {
    let mut stop = StopSignals::listen()?;
    // Not at once: a job that is refused says nothing but why.
    let first_look = tokio::time::Instant::now() + LOOK_INTERVAL;
    let mut look = tokio::time::interval_at(first_look, LOOK_INTERVAL);
    tokio::pin!(job);
    let result = loop {
        tokio::select! {
            result = &mut job => break result,
            _ = look.tick() => view.show(&progress.snapshot()),
            () = stop.next() => {
                if at_stop == AtStop::GoOn || progress.check_cancelled().is_err() {
                    view.end();
                    return Err(Failure::Code(INTERRUPTED));
                }
                progress.cancel();
            }
        }
    };
    view.end();
    Ok(result)
}

/// What shells say of a process that SIGINT ended.
const INTERRUPTED: u8 = 130;

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
