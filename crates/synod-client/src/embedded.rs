//! The door to a node in this process: a bounded inbox towards the node's loop, an answer per request,
//! a channel per watch stream.
//!
//! The loop that owns the `Node` (in `synod-server`) takes [`Inbound`] from the receiver that
//! [`NodeHandle::new`] returns. A full inbox is a refusal, never a queue that grows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use synod_node::{Reply, Request, RequestError, StreamId, WatchDelivery, WatchRequest};
use tokio::sync::{mpsc, oneshot};

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
        Some(WatchStream { stream, inbox: self.inbox.clone(), deliveries })
    }
}

/// One watch stream; dropping it closes all its watches.
#[derive(Debug)]
pub struct WatchStream {
    stream: StreamId,
    inbox: mpsc::Sender<Inbound>,
    deliveries: mpsc::Receiver<WatchDelivery>,
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
    /// Taking it tells the node that there is room for more.
    pub async fn next(&mut self) -> Option<WatchDelivery> {
        let delivery = self.deliveries.recv().await?;
        let drained = WatchRequest::Drained { stream: self.stream, bytes: delivery.bytes };
        self.inbox.send(Inbound::Watch(drained)).await.ok()?;
        Some(delivery)
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        let close = Inbound::Watch(WatchRequest::Close { stream: self.stream });
        // A full inbox loses this; the loop then finds the channel closed at the next delivery.
        drop(self.inbox.try_send(close));
    }
}
