//! Bad input to the real binary: always a clear error, a fitting code, nothing lost, and no memory
//! that grows with what the other side declares. What needs no running server is in `cli.rs`, the
//! refusals that etcd's clients see are in `etcdctl.rs`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod disk_full;
mod giants;
mod job_input;
mod many_keys;
mod one_key;
mod peer_port;
mod requests;
mod start;
#[path = "../support/mod.rs"]
mod support;
