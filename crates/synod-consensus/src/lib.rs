//! Consensus: the `Core` trait, Raft behind it, and quorum arithmetic.
//!
//! A core is a pure state machine. It knows no disk, no socket, no clock: ticks, messages, requests
//! and completed writes go in, [`Output`] comes out. No type of the `raft` crate leaves this crate.

pub mod core;
pub mod membership;
pub mod quorum;
pub mod raft;

pub use crate::core::*;
pub use crate::membership::MembershipError;
pub use crate::raft::RaftCore;
