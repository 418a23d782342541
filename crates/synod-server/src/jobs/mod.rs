//! Jobs on this node: a worker and a candidate for coordinator, while there is a job; nothing otherwise.
//!
//! What is decided, and what the records look like, is in `synod_jobs::cluster`. Here are the watch that
//! feeds it (`service/`), the threads that tasks run on (`threads.rs`), the HTTP that map outputs travel
//! by (`serve.rs`, `fetch.rs`, `ahead/`), the client's side (`submit.rs`), and a worker that is a process
//! of its own, without a node (`standalone.rs`, `port.rs`), what jobs read that is no file (`stores/`),
//! and the files that come with a job (`sending.rs`, `at_hand.rs`). What people see is in `page/`.

mod ahead;
mod at_hand;
mod fetch;
mod folders;
mod following;
mod host;
mod memory;
mod metrics;
mod moments;
mod page;
mod patience;
mod pool;
mod port;
mod query;
mod records;
mod sending;
mod serve;
mod service;
mod standalone;
mod stores;
mod submit;
mod task_log;
mod threads;

#[cfg(test)]
mod tests;

pub(crate) use host::host_of_this_process;
pub(crate) use metrics::JobMetrics;
pub(crate) use moments::Moments;
pub(crate) use page::JobsPage;
pub use query::{read_job, read_jobs};
pub(crate) use serve::JobFiles;
pub(crate) use service::{JobService, NodeFacts};
pub use standalone::{WorkerOptions, WorkerReady, run_worker};
pub use stores::{local_stores, stores_of_job};
pub use submit::{
    Cancelling, SubmitError, cancel_job, follow_job, retry_job, retry_job_with, submit, submit_job,
    submit_job_with, submit_with, wait_for_job,
};

use std::time::Duration;

use synod_jobs::Jobs;
use synod_jobs::cluster::Limits;

use crate::error::OptionsError;

/// How this node takes part in jobs.
#[derive(Clone, Debug)]
pub struct JobsOptions {
    /// Whether it does. A job reads and writes files as the user that this server runs as.
    pub enabled: bool,
    /// The jobs that it knows: the built-in ones, and those that the program adds to them.
    pub known: Jobs,
    /// Tasks at a time; `None`: one per core.
    pub slots: Option<u32>,
    /// Memory that the tasks here may take together, whatever a job asks for; `None`: a half of the machine's
    /// or of what this process may have of it. Programs that a job runs have their own.
    pub memory_bytes: Option<u64>,
    /// Whether jobs may run programs with this server's rights; `None`: only if nobody but this
    /// machine can reach it.
    pub commands: Option<bool>,
    /// A worker that is silent for this long has lost its tasks, seconds.
    pub lease_seconds: i64,
    /// How long a node stays registered after the last job, so that the next one starts at once.
    pub linger: Duration,
    /// Running attempts tell how far they are this often, if they move.
    pub tell_interval: Duration,
    /// The coordinator's time limits.
    pub limits: Limits,
    /// While maps run, each job may fill so much of what is free on the disk with what its reduces here
    /// will want of maps on other machines, percent; 0: nothing is fetched ahead.
    pub ahead_percent: u8,
}

impl Default for JobsOptions {
    fn default() -> Self {
        JobsOptions {
            enabled: true,
            known: Jobs::built_in(),
            slots: None,
            memory_bytes: None,
            commands: None,
            lease_seconds: 5,
            linger: Duration::from_secs(10),
            tell_interval: Duration::from_secs(2),
            limits: Limits::default(),
            ahead_percent: 10,
        }
    }
}

impl JobsOptions {
    /// Tasks at a time.
    pub(crate) fn slots(&self) -> u32 {
        let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        self.slots.unwrap_or_else(cores).max(1)
    }

    /// Refuses memory that is too little for its tasks.
    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        let slots = self.slots();
        let (given_bytes, least_bytes) = (self.memory_bytes, memory::least_for(slots));
        match given_bytes.filter(|given| self.enabled && *given < least_bytes) {
            Some(given_bytes) => {
                Err(OptionsError::TooLittleJobMemory { given_bytes, slots, least_bytes })
            }
            None => Ok(()),
        }
    }
}
