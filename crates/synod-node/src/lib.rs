//! One node as one deterministic machine: messages, requests, finished disk writes and `now` go in;
//! messages, log writes, replies and watch events come out.
//!
//! No async, clock, thread, socket or ambient randomness. `synod-server` drives a [`Node`] on real
//! sockets and disks, `synod-sim` on virtual ones; both see only what is exported here.

mod apply;
pub mod boot;
mod duplicates;
pub mod effects;
pub mod frame;
mod full;
mod hashes;
mod item;
mod lease_clock;
pub mod member;
mod membership;
pub mod meta;
mod moving_in;
pub mod node;
mod proposals;
mod questions;
mod queue;
mod reads;
pub mod request;
mod requests;
mod retention;
mod showing;
mod snapshot;
mod transfer;
pub mod watch;

pub use boot::{BootError, LogRetention, NodeConfig, Start, Timing, boot};
pub use effects::{Effects, LogBatch, StopReason};
pub use member::Member;
pub use node::{FrameError, Node};
pub use request::*;
pub use watch::{StreamId, WatchDelivery, WatchEvent, WatchKind, WatchRequest, WatchSpec};
