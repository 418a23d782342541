//! `synod worker`: takes tasks of MapReduce jobs without being a node of the cluster.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use synod::jobs::size::parse_memory;
use synod::server::{JobsOptions, WorkerOptions, WorkerReady, run_worker};

use super::failure::Failure;
use super::server::{start_log, stop_when_stdin_ends};
use super::{Outcome, parse};

/// Take tasks of MapReduce jobs, without being a node
#[derive(Args, Debug)]
#[command(after_help = "\
The records of the jobs are in the cluster at --endpoints, which may be Synod's or etcd's. Inputs
and outputs must have the same paths on all workers.

The first Ctrl-C or SIGTERM lets it finish what it runs, and serve its results until no job needs
them; the second one ends it.

Examples:
  synod worker                                          for the node at 127.0.0.1:2379
  synod worker --endpoints 10.0.0.1:2379,10.0.0.2:2379 --listen 10.0.0.7:2400 --insecure
  synod run wordcount books/*.txt --output counts --endpoints 127.0.0.1:2379")]
pub struct Worker {
    /// The cluster that holds the jobs' records
    #[arg(
        long,
        env = "SYNOD_ENDPOINTS",
        value_delimiter = ',',
        value_name = "HOST:PORT,..",
        default_value = "127.0.0.1:2379"
    )]
    endpoints: Vec<String>,
    /// Where other workers fetch its results; port 0 is any free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: String,
    /// What other workers are told to connect to [default: where it listens]
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Folder for intermediate data, for this process alone
    #[arg(long, value_name = "DIR", default_value = "synod-worker-data")]
    data: PathBuf,
    /// What it is called [default: worker-PID]
    #[arg(long)]
    name: Option<String>,
    /// Tasks at a time [default: one per core, which workers of one machine share]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    slots: Option<u32>,
    /// Memory that its tasks may take together, whatever a job asks for [default: a half of the machine's, or
    /// of what this process may have of it]
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    job_memory: Option<u64>,
    /// Whether jobs may run programs with its rights [default: only if it listens on loopback]
    #[arg(long, value_name = "BOOL")]
    job_commands: Option<bool>,
    /// How much of the free disk each job may fill with what its reduces will want of maps on other machines,
    /// fetched while maps run; 0 fetches nothing before it is needed
    #[arg(long, value_name = "PERCENT", default_value_t = JobsOptions::default().ahead_percent)]
    #[arg(value_parser = clap::value_parser!(u8).range(..=100))]
    job_ahead_percent: u8,
    /// How long it goes on serving results when it is told to stop
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse::duration)]
    drain_limit: Duration,
    /// Listen beyond loopback although nothing is encrypted and nobody is asked who they are
    #[arg(long)]
    insecure: bool,
    /// Stop when standard input ends: the parent process is gone
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

impl Worker {
    pub fn run(self) -> Outcome {
        if parse::is_loopback(&self.listen) == Some(false) && !self.insecure {
            return Err(Failure::WrongUse(format!(
                "{} can be reached from other machines, but this version has no TLS and no \
                 credentials yet; listen on 127.0.0.1, or accept the risk with --insecure",
                self.listen
            )));
        }
        start_log();
        if self.stop_with_stdin {
            stop_when_stdin_ends();
        }
        let name = self.name.unwrap_or_else(|| format!("worker-{}", std::process::id()));
        let mut options = WorkerOptions::new(self.data, name, self.endpoints);
        options.listen = self.listen;
        options.advertise = self.advertise;
        options.insecure = self.insecure;
        options.drain_limit = self.drain_limit;
        options.jobs.slots = self.slots;
        options.jobs.memory_bytes = self.job_memory;
        options.jobs.commands = self.job_commands;
        options.jobs.ahead_percent = self.job_ahead_percent;
        run_worker(options, |ready| print_ready(&ready))?;
        Ok(())
    }
}

fn print_ready(ready: &WorkerReady) {
    let mut out = std::io::stdout().lock();
    // Nobody may be reading; it works all the same.
    drop(writeln!(out, "synod worker {} ready: results at {}", ready.name, ready.address));
    drop(out.flush());
}
