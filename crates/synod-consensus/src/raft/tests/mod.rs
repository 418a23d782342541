//! The machine under test: hosts on a small deterministic network, and stories told on it.

mod cluster;
mod crashes;
mod elections;
mod host;
mod messages;
mod outputs;
mod reads;
mod replication;
mod reshape;
