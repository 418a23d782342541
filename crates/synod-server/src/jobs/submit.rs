//! The client's side of a job on a cluster: submit, cancel, try again. How it is followed is in
//! `following.rs`.
//!
//! The job's record is written once; everything else is done by the nodes. If the client goes away the
//! job goes on.

use std::path::PathBuf;

use synod_base::Revision;
use synod_client::{ClientError, Kv};
use synod_jobs::builtin::is_planned_with_its_files;
use synod_jobs::cluster::bounds::MAX_SPEC_BYTES;
use synod_jobs::cluster::destination::no_staging_folder;
use synod_jobs::cluster::names::JobKey;
use synod_jobs::cluster::records::{Totals, decode, encode};
use synod_jobs::cluster::sent::OwnFile;
use synod_jobs::cluster::{Change, JobId, JobRecord, JobState};
use synod_jobs::input::{check_name, local_path, scheme_of};
use synod_jobs::task::MAX_ATTEMPTS;
use synod_jobs::{Counters, JobError, JobSpec, JobSummary, Jobs, Progress};
use thiserror::Error;

use super::following::Following;
use super::host::build_of_this_program;
use super::patience::patiently;
use super::sending::{Stored, gone, remove, send};
use super::stores::local_stores;
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

/// Runs a built-in job on the nodes of a cluster and returns when its output is complete, or removed.
///
/// Paths of inputs and output must mean the same files on every node; relative ones are taken from this
/// process's folder. Other files that the job needs are sent with it.
/// `progress` shows how far the job is, and cancels it. Memory is per node; the spec's `slots` and
/// `spill_folder` are the nodes' own business and not looked at.
pub async fn submit<K: Kv>(
    kv: &K,
    spec: &JobSpec,
    progress: &Progress,
) -> Result<JobSummary, SubmitError> {
    submit_with(kv, spec, progress, &Jobs::built_in()).await
}

/// The same for a job of these; see [`submit_job_with`].
pub async fn submit_with<K: Kv>(
    kv: &K,
    spec: &JobSpec,
    progress: &Progress,
    jobs: &Jobs,
) -> Result<JobSummary, SubmitError> {
    progress.check_cancelled()?;
    let id = submit_job_with(kv, spec, jobs).await?;
    follow_job(kv, id, progress).await
}

/// Submits a built-in job and does not wait for it. Its name can be given as what another one comes after.
pub async fn submit_job<K: Kv>(kv: &K, spec: &JobSpec) -> Result<JobId, SubmitError> {
    submit_job_with(kv, spec, &Jobs::built_in()).await
}

/// Submits a job of these and does not wait for it.
///
/// One of the program's own is planned and run by workers that are this same program, by the checksum of
/// its file, and by no others; it fails if there is none for as long as [`Limits::no_worker`] says. A job
/// that prepares its spec or takes several passes is submitted pass by pass, see [`Jobs::run_passes`].
///
/// [`Limits::no_worker`]: synod_jobs::cluster::Limits::no_worker
pub async fn submit_job_with<K: Kv>(
    kv: &K,
    spec: &JobSpec,
    jobs: &Jobs,
) -> Result<JobId, SubmitError> {
    let spec = for_cluster(spec, jobs)?;
    let files = if spec.sent.is_none() { jobs.own_files(&spec)? } else { Vec::new() };
    let build = if jobs.is_own(&spec) { this_build().await } else { String::new() };
    create_job(kv, spec, files, build).await
}

async fn this_build() -> String {
    match tokio::task::spawn_blocking(build_of_this_program).await {
        Ok(build) => build,
        // It does not panic; what cannot be spawned is done here.
        Err(_) => build_of_this_program(),
    }
}

/// Writes the record of a job that nodes can use, behind the files that come with it; `build` is the program
/// that must plan it, if only one can.
async fn create_job<K: Kv>(
    kv: &K,
    mut spec: JobSpec,
    files: Vec<OwnFile>,
    build: String,
) -> Result<JobId, SubmitError> {
    let id = new_job_id();
    let stored = send(kv, &spec, files, &id).await?;
    spec.sent = stored.as_ref().map(|stored| stored.sent.clone());
    let record = JobRecord {
        name: spec.shown_name().to_owned(),
        submitted_ms: unix_ms(),
        runs_commands: false,
        attempts: MAX_ATTEMPTS,
        reduce_attempts: None,
        started_ms: 0,
        ended_ms: 0,
        spec,
        state: JobState::Submitted,
        epoch: 0,
        build,
        totals: Totals::default(),
    };
    let value = encode(&record).map_err(|error| JobError::BadSpec {
        what: format!("it cannot be sent to a cluster: {error}"),
    })?;
    let written = match value.len() {
        bytes if bytes > MAX_SPEC_BYTES => Err(too_large(bytes)),
        _ => write_record(kv, &id, value, stored.as_ref()).await,
    };
    if written.is_err() && stored.is_some() {
        remove(kv, &id).await;
    }
    written.map(|()| id)
}

fn too_large(bytes: usize) -> SubmitError {
    let what = format!(
        "its inputs and options take {bytes} bytes, at most {MAX_SPEC_BYTES} can be sent to a cluster: name \
         folders or patterns instead of single files"
    );
    JobError::BadSpec { what }.into()
}

/// Follows a submitted job until its output is complete, or removed; see [`submit`].
pub async fn follow_job<K: Kv>(
    kv: &K,
    id: JobId,
    progress: &Progress,
) -> Result<JobSummary, SubmitError> {
    Following::new(kv, id, progress).follow().await
}

/// Waits for a job that was submitted before, perhaps by somebody else, as [`follow_job`] does. The job does
/// not depend on who waits so: it stays if no node takes it.
pub async fn wait_for_job<K: Kv>(
    kv: &K,
    id: JobId,
    progress: &Progress,
) -> Result<JobSummary, SubmitError> {
    Following::new(kv, id, progress).looking_on().follow().await
}

/// What came of the wish to cancel a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cancelling {
    /// It will end without output, unless that can be seen already.
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

/// Submits a job that failed or was cancelled once more, as a new one. A job that this program does not
/// know goes to the program that had it before.
pub async fn retry_job<K: Kv>(kv: &K, id: &JobId) -> Result<JobId, SubmitError> {
    retry_job_with(kv, id, &Jobs::built_in()).await
}

/// The same by a program with jobs of its own: those go to workers that are this program as it is now.
pub async fn retry_job_with<K: Kv>(kv: &K, id: &JobId, jobs: &Jobs) -> Result<JobId, SubmitError> {
    let refused = |what: &str| JobError::BadSpec { what: format!("job {id} {what}") };
    let (_, found) = kv.get(id.key(JobKey::Record)).await?;
    let found = found.ok_or_else(|| refused("is not known: see `synod jobs list`"))?;
    let record: Option<JobRecord> = decode(&found.value);
    let record = record.ok_or_else(|| refused("was written by another version of this program"))?;
    match record.state {
        JobState::Failed(_) | JobState::Cancelled => {
            match submit_job_with(kv, &record.spec, jobs).await {
                Err(SubmitError::Job(JobError::UnknownJob { .. })) if !record.build.is_empty() => {
                    create_job(kv, record.spec, Vec::new(), record.build).await
                }
                submitted => submitted,
            }
        }
        JobState::Done(manifest) => {
            let Counters { maps_given_up, reduces_given_up, .. } = manifest.counters;
            Err(match maps_given_up + reduces_given_up {
                0 => refused("is done: there is nothing to try again"),
                lost => refused(&format!(
                    "is done, although without {lost} of its tasks: to have all, run it with another output"
                )),
            }
            .into())
        }
        _ => Err(refused("has not ended: cancel it first, or wait").into()),
    }
}

/// The spec as nodes can use it.
fn for_cluster(spec: &JobSpec, jobs: &Jobs) -> Result<JobSpec, JobError> {
    spec.check()?;
    // The module of one that is tried again need not be here; it was when it was checked first.
    if spec.sent.is_none() || !is_planned_with_its_files(spec) {
        jobs.check(spec)?;
    }
    if spec.output_is_in_store() && spec.staging_folder.is_none() {
        return Err(no_staging_folder(spec));
    }
    // What is wrong with its name alone need not wait for the cluster.
    if let Ok(Some(store)) = local_stores(&[]).output_of(&spec.output) {
        store.check(spec)?;
    }
    let absolute = |path: &PathBuf| {
        let path = match scheme_of(path) {
            // Its name is the same everywhere.
            Some(scheme) if scheme != "file" => path.clone(),
            _ => {
                let path = local_path(path);
                std::path::absolute(path).map_err(|error| JobError::io("find", path, error))?
            }
        };
        check_name(&path).map(|()| path)
    };
    Ok(JobSpec {
        inputs: spec.inputs.iter().map(absolute).collect::<Result<_, _>>()?,
        output: absolute(&spec.output)?,
        staging_folder: spec.staging_folder.as_ref().map(absolute).transpose()?,
        slots: None,
        spill_folder: None,
        // Whoever chooses its input does not know it.
        table_seed: fastrand::u64(1..),
        ..spec.clone()
    })
}

/// Jobs sort by the time of their submission.
fn new_job_id() -> JobId {
    let name = format!("{:012x}-{:08x}", unix_ms(), fastrand::u32(..));
    name.parse().expect("it holds hexadecimal digits and a dash")
}

/// Writes the record once. The name is nobody else's: if the record is there, it is ours.
async fn write_record<K: Kv>(
    kv: &K,
    id: &JobId,
    value: Vec<u8>,
    stored: Option<&Stored>,
) -> Result<(), SubmitError> {
    let key = id.key(JobKey::Record);
    let mut create = Change::new().if_created_at(key.clone(), Revision(0)).put(key.clone(), value);
    if let Some(Stored { first: (piece, revision), .. }) = stored {
        create = create.if_created_at(piece.clone(), *revision);
    }
    let created = patiently(|| async {
        let (header, result) = kv.txn(create.clone().into_txn()).await?;
        if result.succeeded || stored.is_none() {
            return Ok((header, true));
        }
        let (header, found) = kv.get(key.clone()).await?;
        Ok((header, found.is_some()))
    });
    if created.await? { Ok(()) } else { Err(gone(id).into()) }
}
