//! The etcd v3 API over a node.
//!
//! One file per family, each with two pure functions per call: message to [`synod_node::Request`],
//! [`synod_node::Reply`] to message. What etcd refuses at its API's edge is refused here with its
//! codes and words (`error.rs`), so a bad request never reaches the node. `service/` serves them
//! over a [`synod_client::NodeHandle`].

pub mod cluster;
pub mod error;
pub mod header;
pub mod kv;
pub mod lease;
pub mod maintenance;
pub mod service;
pub mod txn;
pub mod watch;

pub use error::Rejection;

/// The etcd release whose API we follow, as clients that look for features want to read it
/// (kube-apiserver asks for 3.5.13 at least). Synod's own version is not this.
pub const API_VERSION: &str = "3.5.21";
