//! Three nodes of Synod on this machine, whose workers take a job's tasks.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::bench::kv::cluster::{Cluster, System};
use crate::bench::workplace::Workplace;

/// The nodes, until dropped.
pub struct Workers(Cluster);

impl Workers {
    /// Starts them and waits until they have done a small job.
    pub fn start(synod: &Path, work: &Workplace) -> Result<Workers> {
        let mut workers = Workers(Cluster::start(System::Synod, synod, NODES, work)?);
        let folder = work.fresh("first-job")?;
        let (input, output) = (folder.join("in"), folder.join("out"));
        std::fs::write(&input, "one word")?;
        let mut job = Command::new(synod);
        job.args(["run", "wordcount", "--quiet"]).arg(&input).arg("--output").arg(&output);
        job.arg("--endpoints").arg(workers.endpoints()).stdin(Stdio::null()).stdout(Stdio::null());
        // It waits for workers itself.
        let status = job.status()?;
        workers.0.check()?;
        if !status.success() {
            bail!("three nodes could not do a small job: {status}");
        }
        Ok(workers)
    }

    /// As `--endpoints` takes them.
    pub fn endpoints(&self) -> String {
        let all: Vec<String> = self.0.endpoints.iter().map(SocketAddr::to_string).collect();
        all.join(",")
    }

    /// Processor time of all until now.
    pub fn cpu(&self) -> Duration {
        self.0.cpu().into_iter().sum()
    }
}

const NODES: usize = 3;
