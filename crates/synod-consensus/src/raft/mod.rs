//! Raft (Ongaro and Ousterhout; Ongaro's dissertation) behind [`crate::Core`], by means of the `raft`
//! crate. Only this folder knows that crate, and nothing of it leaves.
//!
//! - `core`: the machine itself, one turn after the other;
//! - `start`: what it starts from, checked, and the settings;
//! - `admission`: which messages of peers may reach the raft crate at all;
//! - `membership`: proposing and applying changes of members;
//! - `in_flight`: writes that are not durable yet;
//! - `timeout`: election timeouts from our own seed;
//! - `log`: the replicated log in memory;
//! - `convert`, `wire`: our types and bytes to the crate's and back;
//! - `outgoing`: messages merged and encoded.

mod admission;
mod convert;
mod core;
mod in_flight;
mod log;
mod membership;
mod outgoing;
mod start;
mod timeout;
mod wire;

pub use self::core::RaftCore;

#[cfg(test)]
mod tests;
