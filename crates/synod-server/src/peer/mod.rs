//! How nodes talk: framed TCP, one connection per direction. Each node dials its peers and sends on
//! the connections it dialled; what it accepted it only reads.
//!
//! ```text
//! frame    length u32 | crc32c of the body u32 | body
//! first    the dialler's `Hello`, answered by a `HelloAnswer`; then only frames, one way
//! ```
//!
//! A frame's body belongs to `synod-node`. Nothing here trusts the other side: a length is checked
//! before anything is allocated for it, memory grows with the bytes that came, a connection that does
//! not say who it is in time is closed, and one bad frame ends its connection, never the node.

mod frame;
mod hello;
mod incoming;
mod join;
mod link;
mod starting;
mod transport;

pub(crate) use hello::{JoinAnswer, Local};
pub(crate) use incoming::{Connection, Listener};
pub(crate) use join::{check_founder, join_cluster};
pub(crate) use starting::refuse_all;
pub(crate) use transport::Transport;

use std::sync::Arc;

use bytes::Bytes;
use synod_base::NodeId;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// What the peer port has for the node's loop.
#[derive(Debug)]
pub(crate) enum PeerEvent {
    /// A frame arrived. `room` frees its connection's window when it is dropped.
    Frame { from: NodeId, body: Bytes, connection: Arc<Connection>, room: OwnedSemaphorePermit },
    /// A peer said hello and where it can be reached.
    Greeted { from: NodeId, peer_url: String },
    /// Frames to this peer were lost, or cannot be sent.
    Unreachable(NodeId),
    /// A member that joins asks who is there.
    Join(oneshot::Sender<JoinAnswer>),
}

/// Events that may wait for the node's loop.
pub(crate) const PEER_EVENTS_WAITING: usize = 4096;

#[cfg(test)]
mod tests;
