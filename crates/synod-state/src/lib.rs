//! Replicated machines: deterministic state that a consensus group agrees on.
//!
//! `kv` is the first: etcd's data model. A machine takes committed commands in order and keeps its
//! state in an `Engine`; it never sees a clock, a socket or a random number, so equal commands
//! give equal bytes on every replica.

pub mod kv;
