//! Reaching a cluster: the options that all client commands share.

use std::future::Future;
use std::time::Duration;

use clap::Args;
use synod::client::{Remote, RemoteOptions};

use super::failure::Failure;
use super::{Outcome, parse};

/// Which cluster, and for how long to wait.
#[derive(Args, Debug)]
pub struct Cluster {
    /// Nodes to ask, host:port; any node takes any request
    #[arg(
        long,
        env = "SYNOD_ENDPOINTS",
        value_delimiter = ',',
        value_name = "HOST:PORT,..",
        default_value = "127.0.0.1:2379"
    )]
    pub endpoints: Vec<String>,
    /// How long one node may take to answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse::duration)]
    pub timeout: Duration,
}

impl Cluster {
    /// A client; call it inside [`block_on`].
    pub fn connect(&self) -> Result<Remote, Failure> {
        self.connect_to(&self.endpoints)
    }

    /// The same, to other endpoints.
    pub fn connect_to(&self, endpoints: &[String]) -> Result<Remote, Failure> {
        let connect_timeout = self.timeout.min(RemoteOptions::default().connect_timeout);
        let options = RemoteOptions { connect_timeout, request_timeout: self.timeout };
        Remote::new(endpoints, options).map_err(|error| Failure::WrongUse(error.to_string()))
    }
}

/// Runs a client command on a runtime of its own.
pub fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(command);
    // Nothing that still runs in the background is worth waiting for.
    runtime.shutdown_background();
    outcome
}
