//! What clients asked and were told, and what the replicas applied: the checkers' only input.
//!
//! Times are on the simulator's one true clock, in nanoseconds; nodes and clients never see it.

use std::collections::BTreeMap;

use bytes::Bytes;
use synod_base::{LeaseId, NodeId, Revision};
use synod_node::{Request, RequestError, Response, WatchKind};
use synod_state::kv::{Event, KeyRange};

/// True time, in nanoseconds since the simulation's start.
pub type TrueTime = u64;

/// One request of one client, from its call to its answer.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Which client; each has at most one request under way.
    pub client: u32,
    /// The node it was sent to.
    pub node: NodeId,
    /// When it was called.
    pub called: TrueTime,
    /// What was asked. Every put of the workload has a value that no other put has.
    pub request: Request,
    /// When the answer came, and what it was; `None` if none ever came (its node crashed): unknown.
    pub answer: Option<(TrueTime, Result<Answer, RequestError>)>,
}

/// A successful answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The revision in its header.
    pub revision: Revision,
    /// The answer itself.
    pub response: Response,
}

/// One watch of one client, with everything it was given in order, over all its reconnects.
#[derive(Clone, Debug)]
pub struct WatchLog {
    /// What it watches.
    pub range: KeyRange,
    /// Its first start revision (never 0).
    pub start: Revision,
    /// Deliveries, in order of arrival. A reconnect resumes after the last event received.
    pub deliveries: Vec<WatchSeen>,
    /// The workload ended with this watch open and everything healed: nothing may be missing.
    pub complete: bool,
}

/// What a watching client saw.
#[derive(Clone, Debug)]
pub enum WatchSeen {
    /// A delivery and its header's revision.
    Delivery(Revision, WatchKind),
    /// The stream broke; the client watches again from this revision.
    Resumed(Revision),
}

/// What the replicas applied: the union over all of them, each revision once. Two replicas that differ
/// at a revision are a violation at once (the simulator compares while it runs).
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// All events of each revision, in order within it.
    pub events: BTreeMap<Revision, Vec<Event>>,
}

/// A lease as its client saw it.
#[derive(Clone, Debug)]
pub struct LeaseLog {
    /// Which.
    pub id: LeaseId,
    /// As granted, seconds.
    pub ttl_seconds: i64,
    /// Each grant or renewal that was answered with success: when it was *called*.
    pub renewed: Vec<TrueTime>,
    /// A client asked to revoke it, then (whatever the answer).
    pub revoked: Option<TrueTime>,
    /// When a replica first applied its end (all its keys deleted in one revision), if it did.
    pub ended: Option<(TrueTime, Revision)>,
    /// Keys attached to it.
    pub keys: Vec<Bytes>,
}

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which promise, as a short stable name: `lost-write`, `stale-read`, `watch-gap`, ...
    pub promise: &'static str,
    /// What was seen.
    pub what: String,
}

impl Violation {
    /// A broken promise and what was seen of it.
    #[must_use]
    pub fn new(promise: &'static str, what: impl Into<String>) -> Self {
        Violation { promise, what: what.into() }
    }
}
