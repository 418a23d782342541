//! Nodes as their executor sees them, one or a few together, through stories that random faults seldom
//! tell: membership, snapshots, leases, full disks, leadership that moves.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(missing_docs, reason = "tests are read, not documented")]

mod churn;
mod engine;
mod full;
mod leases;
mod membership;
mod requests;
mod restart;
mod snapshots;
mod world;

use std::time::Duration;

use bytes::Bytes;
use synod_base::{LeaseId, NodeId};
use synod_node::{Request, Response};
use synod_state::kv::{Command, DeleteRangeRequest, KeyRange, PutRequest, RangeRequest};

use world::World;

pub fn range(key: &str) -> KeyRange {
    KeyRange { key: Bytes::copy_from_slice(key.as_bytes()), range_end: Bytes::new() }
}

pub fn put(key: &str, value: impl Into<Bytes>) -> Request {
    put_with(key, value, LeaseId::NONE)
}

pub fn put_with(key: &str, value: impl Into<Bytes>, lease: LeaseId) -> Request {
    let key = Bytes::copy_from_slice(key.as_bytes());
    Request::Write(Command::Put(PutRequest {
        key,
        value: value.into(),
        lease,
        ..PutRequest::default()
    }))
}

pub fn delete(key: &str) -> Request {
    Request::Write(Command::DeleteRange(DeleteRangeRequest { range: range(key), prev_kv: false }))
}

pub fn get(key: &str, linearizable: bool) -> Request {
    let request = RangeRequest { range: range(key), ..RangeRequest::default() };
    Request::Range { request, linearizable }
}

pub fn grant(id: i64, ttl_seconds: i64) -> Request {
    Request::Write(Command::LeaseGrant { id: LeaseId(id), ttl_seconds })
}

impl World {
    /// Reads a key behind the barrier of a node.
    pub fn read(&mut self, id: NodeId, key: &str) -> Option<Bytes> {
        match self.ask(id, get(key, true)) {
            Ok((_, Response::Range(range))) => range.kvs.into_iter().next().map(|kv| kv.value),
            other => panic!("{other:?}"),
        }
    }

    /// Writes a key; it must work.
    pub fn write(&mut self, id: NodeId, key: &str, value: impl Into<Bytes>) {
        self.ask(id, put(key, value)).unwrap();
    }
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
