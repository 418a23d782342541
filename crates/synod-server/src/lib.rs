//! The real world around a node: options, data folder, sockets, clock, disk, signals, metrics.
//!
//! Everything that decides lives below, in `synod-node` and what it stands on; everything that decodes
//! a client's protocol lives in `synod-api`, what jobs are in `synod-jobs`. Here is what drives them on
//! this machine.

mod client;
mod cluster_naming;
mod data_folder;
mod engine_watch;
mod error;
mod jobs;
mod listeners;
mod log_limit;
mod metrics;
mod node_loop;
mod options;
mod peer;
mod running;
mod server;

pub use error::{FolderError, JoinError, OptionsError, ServerError};
pub use jobs::{
    Cancelling, JobsOptions, SubmitError, WorkerOptions, WorkerReady, cancel_job, follow_job,
    local_stores, read_job, read_jobs, retry_job, retry_job_with, run_worker, stores_of_job,
    submit, submit_job, submit_job_with, submit_with, wait_for_job,
};
pub use listeners::Listeners;
pub use options::{DEFAULT_CLUSTER_TOKEN, InitialState, ServerOptions};
pub use server::{ReadyInfo, Server, run};
