//! What can go wrong in the log, and what each means for the replica.

use std::io;

use synod_base::{ClusterId, NodeId};
use thiserror::Error;

/// Why the log refused.
#[derive(Debug, Error)]
pub enum WalError {
    /// The disk is full. The operation did not happen, the log stays usable: retry when there is room.
    #[error("no space left for the write-ahead log")]
    NoSpace,

    /// A record that had been made durable is gone or does not check out. Nothing was changed; this
    /// replica must neither vote nor lead until it was repaired from its peers.
    #[error(
        "the write-ahead log is damaged: {reason}, in segment {segment} at byte {offset}, frame {frame}; \
         this replica must not vote again: remove the member, empty its folder, add it anew"
    )]
    Damaged {
        /// Sequence number of the segment file.
        segment: u64,
        /// Byte in that file.
        offset: u64,
        /// The frame that should be there.
        frame: u64,
        /// What does not fit.
        reason: &'static str,
    },

    /// The files belong to another cluster or another node.
    #[error(
        "this log belongs to node {found_node} of cluster {found_cluster}, \
         not to node {node} of cluster {cluster}"
    )]
    OtherIdentity {
        /// Whose log was asked for.
        cluster: ClusterId,
        /// Whose log was asked for.
        node: NodeId,
        /// Whose log it is.
        found_cluster: ClusterId,
        /// Whose log it is.
        found_node: NodeId,
    },

    /// A newer release wrote the files: start that one.
    #[error("this log has format {found}, and this release knows formats up to {known}")]
    NewerFormat {
        /// Format version in the files.
        found: u32,
        /// Newest version this release reads.
        known: u32,
    },

    /// A write or sync failed. Whether it happened is unknown; the log is poisoned.
    #[error("the write-ahead log could not {action}: {error}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the operating system said.
        error: io::Error,
    },

    /// An earlier write or sync failed. What is on disk is unknown until the log is opened again.
    #[error("the write-ahead log stopped after an earlier error")]
    Poisoned,
}

impl WalError {
    /// Names what was tried, and tells a full disk from other errors.
    pub(super) fn from_io(action: &'static str, error: io::Error) -> Self {
        if is_no_space(&error) { WalError::NoSpace } else { WalError::Io { action, error } }
    }
}

/// Whether the disk, or this user's share of it, is full.
pub(super) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
