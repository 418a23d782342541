//! `synod jobs wait`: waits for a job that goes on by itself, and ends as `synod run` does.

use std::io::Write;
use std::time::Duration;

use synod::client::Remote;
use synod::jobs::cluster::JobId;
use synod::jobs::cluster::shown::JobRow;
use synod::jobs::{JobError, Progress};
use synod::server::{SubmitError, read_job, wait_for_job};

use super::{now_ms, unknown};
use crate::cli::Outcome;
use crate::cli::failure::Failure;
use crate::cli::progress::View;
use crate::cli::run::{AtStop, CLUSTER_RATE_WINDOW, failure_of, while_showing};
use crate::cli::summary::{Done, warn_of_given_up};

/// Waits, shows how far the job is, and prints what it has done.
pub async fn wait(
    out: &mut impl Write,
    kv: &Remote,
    id: &JobId,
    is_quiet: bool,
    as_json: bool,
) -> Outcome {
    let view = read_job(kv, id).await?;
    let job = view.jobs.get(id).and_then(|job| job.job.as_ref()).ok_or_else(|| unknown(id))?;
    let spec = &job.record.spec;
    let progress = Progress::new();
    let shown = if is_quiet { View::nothing() } else { View::new(CLUSTER_RATE_WINDOW) };
    let ended = wait_for_job(kv, id.clone(), &progress);
    let ended =
        while_showing(&progress, shown, AtStop::GoOn, ended).await.inspect_err(|stopped| {
            if matches!(stopped, Failure::Code(_)) {
                eprintln!("synod: job {id} goes on; synod jobs cancel {id} ends it");
            }
        })?;
    let summary = ended.map_err(|error| {
        if matches!(error, SubmitError::Job(JobError::Cancelled)) {
            eprintln!("synod: job {id} was cancelled");
        }
        failure_of(id, error)
    })?;
    warn_of_given_up(&summary.manifest);
    let (name, output) = (spec.shown_name(), spec.output.as_path());
    let done = Done { name, id: Some(id), output, took: took(kv, id).await?, summary: &summary };
    match () {
        () if as_json => done.print_json(out)?,
        () if is_quiet => {}
        () => done.print(out)?,
    }
    Ok(())
}

/// How long the job has taken, as its coordinator saw it. `None` if its record has been removed since.
async fn took(kv: &Remote, id: &JobId) -> Result<Option<Duration>, Failure> {
    let view = read_job(kv, id).await?;
    let row = view.jobs.get(id).and_then(|job| JobRow::of(id, job, None));
    let millis = row.and_then(|row| row.millis(now_ms()));
    Ok(millis.map(Duration::from_millis))
}
