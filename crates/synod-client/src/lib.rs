//! The Rust SDK: the `Kv` trait (served by the node in this process, by a remote Synod, or by an etcd
//! cluster), and locks, elections, ids and counters over it.

pub mod embedded;

pub use embedded::{Inbound, NodeHandle, WatchStream};
