//! Every limit that crosses a crate, with its unit and its reason. Limits that only one room
//! knows stand in that room.

/// Largest request a client may send, in bytes: etcd's default (1.5 MiB).
pub const MAX_REQUEST_BYTES: usize = 1536 * 1024;

/// Operations in one branch of a transaction: etcd's default.
pub const MAX_TXN_OPS: usize = 128;

/// Transactions may nest this deep; deeper ones are refused (recursion is bounded by it).
pub const MAX_TXN_DEPTH: usize = 8;

/// Largest frame between nodes, in bytes. A frame carries one message, at most one batch of
/// entries; the receiver refuses a longer declared length before it allocates.
pub const MAX_PEER_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// Commands waiting in a node for their entry to be applied; one more is refused as overload.
pub const MAX_WAITING_PROPOSALS: usize = 16 * 1024;

/// Largest payload of one log entry, in bytes: one batch of commands. A single request may exceed
/// the target, never the frame.
pub const MAX_ENTRY_BYTES: usize = 4 * 1024 * 1024;

/// One piece of a snapshot on its way to a follower, in bytes.
pub const SNAPSHOT_CHUNK_BYTES: usize = 1024 * 1024;

const _: () = assert!(MAX_REQUEST_BYTES < MAX_ENTRY_BYTES);
const _: () = assert!(MAX_ENTRY_BYTES + SNAPSHOT_CHUNK_BYTES < MAX_PEER_FRAME_BYTES);
