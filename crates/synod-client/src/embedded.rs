//! The door to a node in this process: a bounded inbox towards the node's loop, an answer per request,
//! a channel per watch stream.
//!
//! The loop that owns the `Node` (in `synod-server`) takes [`Inbound`] from the receiver that
//! [`NodeHandle::new`] returns. A full inbox is a refusal, never a queue that grows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use synod_base::LeaseId;
use synod_node::{
    LeaseTimeToLive, Reply, Request, RequestError, Response, StreamId, WatchDelivery, WatchKind,
    WatchRequest, WatchSpec,
};
use synod_state::kv::{
    Command, CommandResult, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, RangeResult,
    TxnRequest, TxnResult,
};
use tokio::sync::{mpsc, oneshot};

use crate::error::ClientError;
use crate::kv::{Answer, Consistency, Deleted, Kv, LeaseGranted};
use crate::watcher::Watcher;

/// Deliveries that may wait in one stream's channel. The node counts at least
/// `WATCH_DELIVERY_MIN_BYTES` per delivery against the stream's window, so events never fill it; a
/// client that asks without ever reading does, and loses its stream.
const WATCH_CHANNEL_DELIVERIES: usize = 16 * 1024;

/// What reaches the node's loop.
#[derive(Debug)]
pub enum Inbound {
    /// A request and where its reply goes.
    Request(Request, oneshot::Sender<Reply>),
    /// A new watch stream and where its deliveries go. If the channel is full or closed, the loop
    /// drops it and tells the node `WatchRequest::Close`.
    OpenStream(StreamId, mpsc::Sender<WatchDelivery>),
    /// To the node as it is.
    Watch(WatchRequest),
}

/// A cheap handle on a node in this process.
#[derive(Clone, Debug)]
pub struct NodeHandle {
    inbox: mpsc::Sender<Inbound>,
    next_stream: Arc<AtomicU64>,
}

impl NodeHandle {
    /// A handle, and the receiver for the loop that drives the node. `inbox_size` is in messages.
    #[must_use]
    pub fn new(inbox_size: usize) -> (Self, mpsc::Receiver<Inbound>) {
        let (inbox, receiver) = mpsc::channel(inbox_size);
        (NodeHandle { inbox, next_stream: Arc::new(AtomicU64::new(1)) }, receiver)
    }

    /// Asks the node; the reply is as the node gave it. A full inbox is `Overloaded` (not applied); a
    /// node that stopped before it answered is `Stopped` (unknown).
    pub async fn request(&self, request: Request) -> Reply {
        let (reply, answer) = oneshot::channel();
        match self.inbox.try_send(Inbound::Request(request, reply)) {
            Ok(()) => answer.await.unwrap_or(Err(RequestError::Stopped)),
            Err(mpsc::error::TrySendError::Full(_)) => Err(RequestError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(RequestError::Stopped),
        }
    }

    /// Opens a watch stream; `None` when the node has stopped.
    pub async fn open_watch_stream(&self) -> Option<WatchStream> {
        let stream = StreamId(self.next_stream.fetch_add(1, Ordering::Relaxed));
        let (sender, deliveries) = mpsc::channel(WATCH_CHANNEL_DELIVERIES);
        self.inbox.send(Inbound::OpenStream(stream, sender)).await.ok()?;
        Some(WatchStream { stream, inbox: self.inbox.clone(), deliveries, undrained_bytes: 0 })
    }
}

/// One watch stream; dropping it closes all its watches.
#[derive(Debug)]
pub struct WatchStream {
    stream: StreamId,
    inbox: mpsc::Sender<Inbound>,
    deliveries: mpsc::Receiver<WatchDelivery>,
    /// Taken, but the node does not know yet.
    undrained_bytes: usize,
}

impl WatchStream {
    /// This stream's number, for building requests.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.stream
    }

    /// Sends a request of this stream; false when the node has stopped.
    pub async fn send(&self, request: WatchRequest) -> bool {
        self.inbox.send(Inbound::Watch(request)).await.is_ok()
    }

    /// The next delivery; `None` when the node has stopped or has closed a stream that would not read.
    /// Taking it tells the node that there is room for more. Cancel-safe: a delivery is given or not
    /// taken.
    pub async fn next(&mut self) -> Option<WatchDelivery> {
        if self.undrained_bytes > 0 {
            let place = self.inbox.reserve().await.ok()?;
            place.send(Inbound::Watch(drained(self.stream, &mut self.undrained_bytes)));
        }
        let delivery = self.deliveries.recv().await?;
        self.undrained_bytes += delivery.bytes;
        // No await may stand between taking a delivery and giving it; a full inbox waits until the next.
        if let Ok(place) = self.inbox.try_reserve() {
            place.send(Inbound::Watch(drained(self.stream, &mut self.undrained_bytes)));
        }
        Some(delivery)
    }
}

fn drained(stream: StreamId, undrained_bytes: &mut usize) -> WatchRequest {
    WatchRequest::Drained { stream, bytes: std::mem::take(undrained_bytes) }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        let close = Inbound::Watch(WatchRequest::Close { stream: self.stream });
        // A full inbox loses this; the loop then finds the channel closed at the next delivery.
        drop(self.inbox.try_send(close));
    }
}

/// `Kv` served by the node in this process.
#[derive(Clone, Debug)]
pub struct Embedded {
    node: NodeHandle,
}

impl Embedded {
    /// Over this node.
    #[must_use]
    pub fn new(node: NodeHandle) -> Self {
        Embedded { node }
    }

    /// The node itself, for what `Kv` does not say (status, members, hashes).
    #[must_use]
    pub fn node(&self) -> &NodeHandle {
        &self.node
    }

    async fn write(&self, command: Command) -> Answer<CommandResult> {
        match self.node.request(Request::Write(command)).await? {
            (header, Response::Write(result)) => Ok((header, result)),
            _ => Err(ClientError::UnexpectedAnswer { request: "write" }),
        }
    }
}

impl Kv for Embedded {
    async fn range(&self, request: RangeRequest, consistency: Consistency) -> Answer<RangeResult> {
        let linearizable = consistency == Consistency::Linearizable;
        match self.node.request(Request::Range { request, linearizable }).await? {
            (header, Response::Range(result)) => Ok((header, result)),
            _ => Err(ClientError::UnexpectedAnswer { request: "range" }),
        }
    }

    async fn put(&self, request: PutRequest) -> Answer<Option<KeyValue>> {
        match self.write(Command::Put(request)).await? {
            (header, CommandResult::Put { prev_kv }) => Ok((header, prev_kv)),
            _ => Err(ClientError::UnexpectedAnswer { request: "put" }),
        }
    }

    async fn delete(&self, request: DeleteRangeRequest) -> Answer<Deleted> {
        match self.write(Command::DeleteRange(request)).await? {
            (header, CommandResult::DeleteRange { deleted, prev_kvs }) => {
                Ok((header, Deleted { deleted, prev_kvs }))
            }
            _ => Err(ClientError::UnexpectedAnswer { request: "delete" }),
        }
    }

    async fn txn(&self, request: TxnRequest) -> Answer<TxnResult> {
        if request.is_read_only() {
            let read = Request::ReadTxn { request, linearizable: true };
            return match self.node.request(read).await? {
                (header, Response::Txn(result)) => Ok((header, result)),
                _ => Err(ClientError::UnexpectedAnswer { request: "txn" }),
            };
        }
        match self.write(Command::Txn(request)).await? {
            (header, CommandResult::Txn(result)) => Ok((header, result)),
            _ => Err(ClientError::UnexpectedAnswer { request: "txn" }),
        }
    }

    async fn lease_grant(&self, id: LeaseId, ttl_seconds: i64) -> Answer<LeaseGranted> {
        match self.write(Command::LeaseGrant { id, ttl_seconds }).await? {
            (header, CommandResult::LeaseGrant { id, ttl_seconds }) => {
                Ok((header, LeaseGranted { id, ttl_seconds }))
            }
            _ => Err(ClientError::UnexpectedAnswer { request: "lease grant" }),
        }
    }

    async fn lease_revoke(&self, id: LeaseId) -> Answer<()> {
        match self.write(Command::LeaseRevoke { id }).await? {
            (header, CommandResult::LeaseRevoke) => Ok((header, ())),
            _ => Err(ClientError::UnexpectedAnswer { request: "lease revoke" }),
        }
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Answer<i64> {
        match self.node.request(Request::LeaseKeepAlive { id }).await? {
            (header, Response::LeaseKeepAlive { ttl_seconds }) => Ok((header, ttl_seconds)),
            _ => Err(ClientError::UnexpectedAnswer { request: "lease keep-alive" }),
        }
    }

    async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Answer<LeaseTimeToLive> {
        match self.node.request(Request::LeaseTimeToLive { id, keys }).await? {
            (header, Response::LeaseTimeToLive(left)) => Ok((header, left)),
            _ => Err(ClientError::UnexpectedAnswer { request: "lease time-to-live" }),
        }
    }

    async fn watch(&self, spec: WatchSpec) -> Result<Watcher, ClientError> {
        let mut stream = self.node.open_watch_stream().await.ok_or(RequestError::Stopped)?;
        let spec = WatchSpec { watch_id: 0, fragment: false, ..spec };
        let create = WatchRequest::Create { stream: stream.id(), spec };
        if !stream.send(create).await {
            return Err(RequestError::Stopped.into());
        }
        match stream.next().await.ok_or(RequestError::Stopped)?.kind {
            WatchKind::Created => Ok(Watcher::embedded(stream)),
            WatchKind::Canceled { compact_revision, reason } => {
                Err(ClientError::WatchCanceled { compact_revision, reason })
            }
            _ => Err(ClientError::UnexpectedAnswer { request: "watch" }),
        }
    }
}
