//! The write-ahead log of one node, shared by all its groups.

use synod_base::{Entry, GroupId, HardState, LogStart};

/// One record. All records of one loop turn go out as one frame: one write, one sync.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogRecord {
    /// The node was started; counts from 1. Part of every proposal id and read context.
    NodeStart {
        /// This start's number.
        start_number: u32,
    },
    /// Entries of one group, indexes without a gap. The first one may lie at or before the group's
    /// last index: then everything from there on is replaced (Raft paper, section 5.3).
    Entries {
        /// Whose.
        group: GroupId,
        /// At least one.
        entries: Vec<Entry>,
    },
    /// A group's term or vote changed.
    HardState {
        /// Whose.
        group: GroupId,
        /// Its new value.
        state: HardState,
    },
    /// A group's log now begins after this position: what lies before is covered by the engine's
    /// durable state (prefix truncation), or everything was replaced by an installed snapshot (then
    /// `start` lies past the last entry, or at an entry of another term, and the log becomes empty).
    Start {
        /// Whose.
        group: GroupId,
        /// The new beginning.
        start: LogStart,
    },
}
