//! Jobs that are left to a cluster: submitted, named, and not waited for. `synod jobs wait` waits later.

use std::io::Write;

use serde_json::json;
use synod::jobs::JobSpec;
use synod::jobs::cluster::JobId;
use synod::server::{SubmitError, submit_job};

use super::Outcome;
use super::connect::{Cluster, block_on};
use super::failure::Failure;

/// Submits a job; its name, or why there is none.
pub fn leave(spec: &JobSpec, cluster: &Cluster) -> Result<Result<JobId, SubmitError>, Failure> {
    let mut submitted = None;
    block_on(async {
        let kv = cluster.connect()?;
        submitted = Some(submit_job(&kv, spec).await);
        Ok(())
    })?;
    submitted.ok_or_else(|| Failure::Failed("the job has no name; please report this".into()))
}

/// How much is said of a job that was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// Its name on stdout, on stderr how to wait for it.
    Usual,
    /// Its name.
    Few,
    /// An object with its name.
    Json,
}

/// Says what a job is called that was left.
pub fn tell(id: &JobId, words: Words) -> Outcome {
    let mut out = std::io::stdout().lock();
    match words {
        Words::Json => writeln!(out, "{}", json!({ "id": id }))?,
        Words::Usual | Words::Few => writeln!(out, "{id}")?,
    }
    out.flush()?;
    if words == Words::Usual {
        eprintln!("synod: job {id} goes on in the background: synod jobs wait {id}");
    }
    Ok(())
}
