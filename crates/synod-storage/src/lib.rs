//! What a node keeps: the write-ahead log, shared by all its groups, and the `Engine` that holds
//! the state of its replicated machines.
//!
//! The log is the only thing synced on the hot path. The engine is written without a sync; after a
//! crash it may be older than the log's end, never newer than what was synced there, and replaying the
//! log from the engine's applied index (which is in the same atomic batch as the data) restores it.

pub mod engine;
pub mod wal;
