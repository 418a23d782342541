//! The simulator: whole nodes on a virtual network, clock and disk, driven by one seed.
//!
//! Everything that a `Node` can see is made here: time, delay, loss, crashes, full disks. Clients run a
//! random workload and note what they asked and what they were told ([`history`]); the checkers compare
//! that with what the replicas agreed on. Same seed, same trace.

pub mod check;
pub mod cli;
pub mod etcd;
pub mod faults;
pub mod history;
pub mod host;
pub mod network;
pub mod run;
pub mod workload;
pub mod world;
