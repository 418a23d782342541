//! Synod as a library: one name for what a program needs to embed a node, to be its client, and to run
//! MapReduce jobs. The binary's command line is not part of it.
//!
//! A program embeds a node with [`server::Server::start`], wraps its handle into
//! [`client::Embedded`], and uses the same [`client::Kv`] as with [`client::Remote`].
//!
//! Its own MapReduce jobs go by name into a value of [`jobs::Jobs`], which runs them in the process, and
//! which [`server::run_worker`] and [`server::submit_with`] are given to run them on a cluster.

pub use synod_base::{LeaseId, NodeId, Revision, Term};
pub use synod_client as client;
pub use synod_jobs as jobs;
pub use synod_server as server;
pub use synod_state::kv;
