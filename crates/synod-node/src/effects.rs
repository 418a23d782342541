//! What a node wants done. The executor does it in this order: `send`; then each `log` batch: append,
//! sync, `Node::on_log_durable`, its `send_after`; then replies and watch deliveries.

use bytes::Bytes;
use synod_base::NodeId;
use synod_storage::wal::LogRecord;
use thiserror::Error;

use crate::request::{Reply, RequestToken};
use crate::watch::WatchDelivery;

/// One write to the node's log: one frame, one sync. Batches become durable in order.
#[derive(Clone, Debug)]
pub struct LogBatch {
    /// Given back to `Node::on_log_durable`.
    pub number: u64,
    /// What to append; may be empty (then nothing is written, but the order holds).
    pub records: Vec<LogRecord>,
    /// Frames that may leave only once this batch is durable.
    pub send_after: Vec<(NodeId, Bytes)>,
}

/// Why a node stopped. It takes no further part; the operator must act.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum StopReason {
    /// It was removed from the cluster.
    #[error("this member was removed from the cluster")]
    Removed,
    /// The engine's files are damaged or unreachable.
    #[error("storage failed: {0}")]
    Storage(String),
    /// The log holds what no replica may hold.
    #[error("the replicated log does not decode: {0}")]
    DamagedEntry(String),
    /// A leader knows of more of this replica than its log holds: it lost durable data.
    #[error("this replica has lost entries that it had acknowledged: {0}")]
    LogLost(String),
}

/// Collected by `Node::turn`; the executor empties it.
#[derive(Debug, Default)]
pub struct Effects {
    /// Frames to peers that may leave at once.
    pub send: Vec<(NodeId, Bytes)>,
    /// Writes to the log, in order.
    pub log: Vec<LogBatch>,
    /// Answers.
    pub replies: Vec<(RequestToken, Reply)>,
    /// To watch streams.
    pub watch: Vec<WatchDelivery>,
    /// Make the engine durable (on any thread), then call `Node::on_engine_persisted` with this.
    pub persist_engine: Option<u64>,
    /// The member table changed: look at `Node::members` for peers to connect to.
    pub members_changed: bool,
    /// Set once, when the node stops.
    pub stopped: Option<StopReason>,
}

impl Effects {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.send.is_empty()
            && self.log.is_empty()
            && self.replies.is_empty()
            && self.watch.is_empty()
            && self.persist_engine.is_none()
            && !self.members_changed
            && self.stopped.is_none()
    }
}
