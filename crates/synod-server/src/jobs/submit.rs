//! The client's side of a job on a cluster: submit, follow, cancel, try again.
//!
//! The job's record is written once; everything else is done by the nodes. If the client goes away the
//! job goes on.

use std::path::PathBuf;
use std::time::Duration;

use synod_base::Revision;
use synod_client::{ClientError, Consistency, Kv};
use synod_jobs::cluster::names::JobKey;
use synod_jobs::cluster::records::{Totals, decode, encode};
use synod_jobs::cluster::{Change, JobId, JobRecord, JobState, JobView, View};
use synod_jobs::{Job, JobError, JobSpec, JobSummary, JobVisitor, Progress, with_job};
use thiserror::Error;
use tokio::time::Instant;

use super::records::{Applied, apply, follow};
use super::threads::unix_ms;

/// Why a submitted job has no result.
#[derive(Debug, Error)]
pub enum SubmitError {
    /// The cluster cannot be asked. The job may run.
    #[error(transparent)]
    Cluster(#[from] ClientError),
    /// The job failed, or was refused.
    #[error(transparent)]
    Job(#[from] JobError),
}

/// Runs a job on the nodes of a cluster and returns when its output is complete, or removed.
///
/// Paths must mean the same files on every node; relative ones are taken from this process's folder.
/// `progress` shows how far the job is, and cancels it. Memory is per node; the spec's `slots` and
/// `spill_folder` are the nodes' own business and not looked at.
pub async fn submit<K: Kv>(
    kv: &K,
    spec: &JobSpec,
    progress: &Progress,
) -> Result<JobSummary, SubmitError> {
    progress.check_cancelled()?;
    let id = submit_job(kv, spec).await?;
    follow_job(kv, id, progress).await
}

/// Submits a job and does not wait for it. Its name can be given as what another one comes after.
pub async fn submit_job<K: Kv>(kv: &K, spec: &JobSpec) -> Result<JobId, SubmitError> {
    let spec = for_cluster(spec)?;
    let id = new_job_id();
    let record = JobRecord {
        name: spec.shown_name().to_owned(),
        submitted_ms: unix_ms(),
        runs_commands: false,
        started_ms: 0,
        ended_ms: 0,
        spec,
        state: JobState::Submitted,
        epoch: 0,
        build: String::new(),
        totals: Totals::default(),
    };
    let value = encode(&record).map_err(|error| JobError::BadSpec {
        what: format!("it cannot be sent to a cluster: {error}"),
    })?;
    write_record(kv, &id, value).await?;
    Ok(id)
}

/// Follows a submitted job until its output is complete, or removed; see [`submit`].
pub async fn follow_job<K: Kv>(
    kv: &K,
    id: JobId,
    progress: &Progress,
) -> Result<JobSummary, SubmitError> {
    Submission { kv, id, progress, asked_to_cancel: None }.follow().await
}

/// What came of the wish to cancel a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cancelling {
    /// It will end without output, unless it is being published already.
    Asked,
    /// It has ended before.
    Ended,
    /// There is no such job.
    Unknown,
}

/// Asks for a job to end. Its workers stop and its output is removed some moments later.
pub async fn cancel_job<K: Kv>(kv: &K, id: &JobId) -> Result<Cancelling, ClientError> {
    loop {
        let (_, found) = kv.get(id.key(JobKey::Record)).await?;
        let Some(found) = found else { return Ok(Cancelling::Unknown) };
        let record: Option<JobRecord> = decode(&found.value);
        if record.is_some_and(|record| record.state.is_final()) {
            return Ok(Cancelling::Ended);
        }
        // Guarded by what was seen, so that nothing is left at a job that ends just now.
        let change = Change::new()
            .if_unchanged(id.key(JobKey::Record), found.mod_revision)
            .put(id.key(JobKey::Cancel), "");
        let (_, result) = kv.txn(change.into_txn()).await?;
        if result.succeeded {
            return Ok(Cancelling::Asked);
        }
    }
}

/// Submits a job that failed or was cancelled once more, as a new one.
pub async fn retry_job<K: Kv>(kv: &K, id: &JobId) -> Result<JobId, SubmitError> {
    let refused = |what: &str| JobError::BadSpec { what: format!("job {id} {what}") };
    let (_, found) = kv.get(id.key(JobKey::Record)).await?;
    let found = found.ok_or_else(|| refused("is not known: see `synod jobs list`"))?;
    let record: Option<JobRecord> = decode(&found.value);
    let record = record.ok_or_else(|| refused("was written by another version of this program"))?;
    match record.state {
        JobState::Failed(_) | JobState::Cancelled => submit_job(kv, &record.spec).await,
        JobState::Done(_) => Err(refused("is done: there is nothing to try again").into()),
        _ => Err(refused("has not ended: cancel it first, or wait").into()),
    }
}

struct Submission<'a, K> {
    kv: &'a K,
    id: JobId,
    progress: &'a Progress,
    asked_to_cancel: Option<Instant>,
}

impl<K: Kv> Submission<'_, K> {
    async fn follow(mut self) -> Result<JobSummary, SubmitError> {
        let mut unreachable_since = None;
        loop {
            let error = match follow(self.kv, &self.id.prefix(), Consistency::Linearizable).await {
                Ok((view, watcher)) => {
                    unreachable_since = None;
                    match self.watch(view, watcher).await? {
                        Ended::Job(summary) => return Ok(*summary),
                        Ended::Watch(error) => error,
                    }
                }
                Err(error) => error,
            };
            let since = *unreachable_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= PATIENCE {
                return Err(error.into());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn watch(
        &mut self,
        mut view: View,
        mut watcher: synod_client::Watcher,
    ) -> Result<Ended, SubmitError> {
        let opened = Instant::now();
        loop {
            let Some(job) = view.jobs.get(&self.id) else {
                let message = format!("the records of job {} were removed", self.id);
                return Err(JobError::OnCluster { message }.into());
            };
            if let Some(summary) = self.look_at(job, opened).await? {
                return Ok(Ended::Job(Box::new(summary)));
            }
            tokio::select! {
                batch = watcher.next() => match batch {
                    Ok(batch) => batch.events.iter().for_each(|event| view.apply(&event.event)),
                    Err(error) => return Ok(Ended::Watch(error)),
                },
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Shows the progress, passes on the wish to stop; the summary once the job is done.
    async fn look_at(
        &mut self,
        view: &JobView,
        opened: Instant,
    ) -> Result<Option<JobSummary>, SubmitError> {
        let Some(job) = &view.job else { return Ok(None) };
        match &job.record.state {
            JobState::Done(manifest) => {
                let Totals { maps, input_bytes, .. } = job.record.totals;
                let (manifest, splits) = (manifest.clone(), maps as usize);
                // It was written together with the state.
                let report = view.report().unwrap_or_default();
                return Ok(Some(JobSummary { manifest, splits, input_bytes, report }));
            }
            JobState::Failed(message) => {
                let message = message.clone();
                return Err(JobError::OnCluster { message }.into());
            }
            JobState::Cancelled => return Err(JobError::Cancelled.into()),
            JobState::Submitted if opened.elapsed() >= PATIENCE => {
                return self.withdraw(job.modified).await;
            }
            // It goes nowhere any more.
            JobState::Ending(_) => {}
            _ => self.progress.show(&view.snapshot()),
        }
        if self.progress.check_cancelled().is_err() {
            self.cancel(job.created).await?;
        }
        Ok(None)
    }

    async fn cancel(&mut self, created: Revision) -> Result<(), SubmitError> {
        match self.asked_to_cancel {
            None => {
                let change = Change::new()
                    .if_created_at(self.id.key(JobKey::Record), created)
                    .put(self.id.key(JobKey::Cancel), "");
                if let Applied::Yes(_) = apply(self.kv, change).await {
                    self.asked_to_cancel = Some(Instant::now());
                }
                Ok(())
            }
            Some(asked) if asked.elapsed() < PATIENCE => Ok(()),
            Some(_) => {
                let id = &self.id;
                let message = format!("job {id} was told to stop, but nobody has confirmed it");
                Err(JobError::OnCluster { message }.into())
            }
        }
    }

    /// Takes back a job that nobody has touched.
    async fn withdraw(&self, modified: Revision) -> Result<Option<JobSummary>, SubmitError> {
        let key = self.id.key(JobKey::Record);
        let change = Change::new().if_unchanged(key, modified).delete_prefix(self.id.prefix());
        match apply(self.kv, change).await {
            Applied::Yes(_) => {
                let message =
                    "no node took the job: start nodes that take jobs; nothing was done".to_owned();
                Err(JobError::OnCluster { message }.into())
            }
            // Somebody has just begun, or nobody knows: look again.
            Applied::No | Applied::Unknown => Ok(None),
        }
    }
}

/// How following a job once has ended.
enum Ended {
    Job(Box<JobSummary>),
    Watch(ClientError),
}

/// The spec as nodes can use it.
fn for_cluster(spec: &JobSpec) -> Result<JobSpec, JobError> {
    struct Known;
    impl JobVisitor for Known {
        type Output = ();
        fn visit<J: Job>(self, _: &J) {}
    }
    spec.check()?;
    with_job(spec, Known)?;
    let absolute = |path: &PathBuf| {
        std::path::absolute(path).map_err(|error| JobError::io("find", path, error))
    };
    Ok(JobSpec {
        inputs: spec.inputs.iter().map(absolute).collect::<Result<_, _>>()?,
        output: absolute(&spec.output)?,
        slots: None,
        spill_folder: None,
        table_seed: fastrand::u64(..),
        ..spec.clone()
    })
}

/// Jobs sort by the time of their submission.
fn new_job_id() -> JobId {
    let name = format!("{:012x}-{:08x}", unix_ms(), fastrand::u32(..));
    name.parse().expect("it holds hexadecimal digits and a dash")
}

/// Writes the record once. The name is nobody else's: if the record is there, it is ours.
async fn write_record<K: Kv>(kv: &K, id: &JobId, value: Vec<u8>) -> Result<(), SubmitError> {
    let began = Instant::now();
    let key = id.key(JobKey::Record);
    let create = Change::new().if_created_at(key.clone(), Revision(0)).put(key.clone(), value);
    loop {
        let error = match kv.txn(create.clone().into_txn()).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if began.elapsed() >= PATIENCE || !may_pass(&error) {
            return Err(error.into());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether waiting can help.
fn may_pass(error: &ClientError) -> bool {
    use synod_client::Advice;
    matches!(error.advice(), Advice::Retry | Advice::Wait | Advice::ReadFirst)
}

/// How long a cluster may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between looks at the wish to stop, and between attempts.
const PAUSE: Duration = Duration::from_millis(100);
