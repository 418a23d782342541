//! `synod pipeline`: several jobs, one after the other, as a file says.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use synod::jobs::cluster::JobId;
use synod::jobs::pipeline::Pipeline as Stages;
use synod::jobs::{JobError, JobSpec, JobSummary, Progress, only_pass, run_passes};

use super::Outcome;
use super::background::{Words, leave, tell};
use super::connect::Cluster;
use super::failure::Failure;
use super::progress::View;
use super::run::{CLUSTER_RATE_WINDOW, NODE_TIMEOUT, RATE_WINDOW, failure, run_here, submit};
use super::store_flags::StoreFlags;
use super::summary::{Done, warn_of_given_up};

/// Run jobs one after the other, each on what earlier ones have written
///
/// The jobs stand in a TOML file in their order. If one fails those behind it do not run, and what is there
/// stays, so that it can be seen why.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  synod pipeline counts.toml

The file:
  [[job]]
  job = \"wordcount\"
  inputs = [\"books/*.txt\"]
  output = \"counts\"
  temporary = true              # removed when the last job is done

  [[job]]
  job = \"top-k\"
  inputs = [\"counts\"]
  output = \"top\"
  reduces = 1
  set = { k = \"10\" }

Any job may also have, as synod run has flags of these names:
  allow_failed_maps = 1         # percent
  allow_failed_reduces = 0      # percent
  priority = \"high\"             # on a cluster")]
pub struct Pipeline {
    /// The file
    file: PathBuf,
    /// Run on the nodes of this cluster, which see the same files under the same paths
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT,..")]
    endpoints: Vec<String>,
    /// Submit all jobs, each to run when the one before it is done, print their names and do not wait for
    /// them; synod jobs wait does, later
    #[arg(long, requires = "endpoints")]
    background: bool,
    #[command(flatten)]
    store: StoreFlags,
}

impl Pipeline {
    pub fn run(self) -> Outcome {
        let shown = self.file.display();
        let text = std::fs::read_to_string(&self.file)
            .map_err(|error| Failure::WrongUse(format!("cannot read {shown}: {error}")))?;
        let stages: Stages = toml::from_str(&text)
            .map_err(|error| Failure::WrongUse(format!("{shown} is no pipeline: {error}")))?;
        let cluster = Cluster { endpoints: self.endpoints, timeout: NODE_TIMEOUT };
        let specs = stages.specs()?;
        if cluster.endpoints.is_empty()
            && stages.stages.iter().any(|stage| stage.priority.is_some())
        {
            // Of a job in this process there are no others that it could be before or after.
            eprintln!("synod: fields that have no effect here: priority");
        }
        if self.background {
            return leave_all(&stages, specs, &cluster, &self.store);
        }
        for mut spec in specs {
            spec.staging_folder.clone_from(&self.store.staging);
            let started = Instant::now();
            let (id, summary) = run_stage(&spec, &cluster, &self.store)?;
            warn_of_given_up(&summary.manifest);
            let (output, took) = (spec.output.as_path(), started.elapsed());
            let done = Done {
                name: &spec.job,
                id: id.as_ref(),
                output,
                took: Some(took),
                summary: &summary,
            };
            let mut out = std::io::stdout().lock();
            done.print(&mut out)?;
            out.flush()?;
        }
        for output in stages.temporary_outputs() {
            // Every one was made here: a job refuses an output that exists.
            std::fs::remove_dir_all(output)
                .map_err(|error| JobError::io("remove", output, error))?;
        }
        Ok(())
    }
}

/// Leaves the jobs to the cluster.
fn leave_all(
    stages: &Stages,
    specs: Vec<JobSpec>,
    cluster: &Cluster,
    store: &StoreFlags,
) -> Outcome {
    if let Some(output) = stages.temporary_outputs().next() {
        let output = output.display();
        return Err(Failure::WrongUse(format!(
            "output {output} is temporary: it is removed by whoever waits for the last job, so wait for it, or \
             have it stay"
        )));
    }
    let only_pass = |spec: &JobSpec| only_pass(spec, &Progress::new());
    let specs = specs.iter().map(only_pass).collect::<Result<Vec<_>, _>>()?;
    let mut before = None;
    for mut spec in specs {
        spec.staging_folder.clone_from(&store.staging);
        spec.after.extend(before);
        let id = leave(&spec, cluster)?.map_err(failure)?;
        tell(&id, Words::Few)?;
        before = Some(id);
    }
    if let Some(last) = before {
        eprintln!(
            "synod: the jobs go on in the background, the last one as {last}: synod jobs wait {last}"
        );
    }
    Ok(())
}

fn run_stage(
    spec: &JobSpec,
    cluster: &Cluster,
    store: &StoreFlags,
) -> Result<(Option<JobId>, JobSummary), Failure> {
    let progress = Arc::new(Progress::new());
    if cluster.endpoints.is_empty() {
        let summary = run_here(spec.clone(), None, store, &progress, View::new(RATE_WINDOW))?;
        return Ok((None, summary));
    }
    let mut id = None;
    let summary = run_passes(spec, &progress, |pass| {
        let (pass, summary) = submit(pass, cluster, &progress, View::new(CLUSTER_RATE_WINDOW))?;
        id = Some(pass);
        Ok::<_, Failure>(summary)
    })?;
    Ok((id, summary))
}
