//! The key-value machine seen from outside: golden scripts, a naive model, restarts, hostile input.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod golden;
mod hostile;
mod model;
mod naive;
mod restart;
mod strategies;

use std::sync::Arc;

use synod_base::{LeaseId, Revision};
use synod_state::kv::{Command, CommandResult, KeyRange, Kv, PutRequest, RangeRequest, Refusal};
use synod_storage::engine::{Engine, MemoryEngine, WriteBatch};

/// An empty store.
pub fn new_kv() -> Kv {
    Kv::open(Arc::new(MemoryEngine::new())).unwrap()
}

/// Applies one command, on its own in a batch.
pub fn apply(
    kv: &mut Kv,
    engine: &dyn Engine,
    command: &Command,
) -> Result<CommandResult, Refusal> {
    let mut batch = WriteBatch::default();
    let result = kv.apply(command, &mut batch).unwrap();
    engine.write(batch).unwrap();
    kv.on_committed();
    result
}

/// A plain put.
pub fn put(key: &'static str, value: &'static str, lease: i64) -> Command {
    Command::Put(PutRequest {
        key: key.into(),
        value: value.into(),
        lease: LeaseId(lease),
        ..PutRequest::default()
    })
}

/// Every key at a revision.
pub fn everything(revision: Revision) -> RangeRequest {
    RangeRequest { range: KeyRange::prefix(""), revision, ..RangeRequest::default() }
}
