//! One node as one deterministic machine: messages, requests, finished disk writes and `now` go in;
//! messages, log writes, replies and watch events come out.
//!
//! No async, clock, thread, socket or ambient randomness. `synod-server` drives a [`Node`] on real
//! sockets and disks, `synod-sim` on virtual ones; both see only what is exported here.

pub mod effects;
pub mod member;
pub mod request;
pub mod watch;

pub use effects::{Effects, LogBatch, StopReason};
pub use member::Member;
pub use request::*;
pub use watch::{StreamId, WatchDelivery, WatchEvent, WatchKind, WatchRequest, WatchSpec};
