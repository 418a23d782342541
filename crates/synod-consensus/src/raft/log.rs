//! The replicated log in memory: every entry after its start, as the raft crate's `Storage`.
//!
//! Entries come here when they are handed out to be written, before they are durable: the raft crate
//! itself keeps apart what is durable. Invariants: entries have no gap, the first follows `start`,
//! terms never fall. Files are the host's business; a snapshot made here has a position and a
//! membership and no data.

use std::collections::VecDeque;

use raft::eraftpb::{self as pb, ConfState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};
use synod_base::{Entry, LogIndex, LogStart, Term};

use super::convert;
use crate::core::Membership;

/// The log of one replica, and where its engine stands.
pub(super) struct MemoryLog {
    start: LogStart,
    entries: VecDeque<Entry>,
    payload_bytes: usize,
    /// What the replica restarts from; read once by the raft crate.
    initial: (pb::HardState, ConfState),
    /// Where the engine stands: what a follower that is too far behind is sent. `None` while a
    /// membership change is applied but not its index: the two would not fit together.
    snapshot: Option<(LogStart, Membership)>,
}

impl MemoryLog {
    pub(super) fn new(start: LogStart, initial: (pb::HardState, ConfState)) -> Self {
        MemoryLog { start, entries: VecDeque::new(), payload_bytes: 0, initial, snapshot: None }
    }

    /// Adds entries; the first may replace older ones. Whether it did.
    pub(super) fn append(&mut self, entries: &[Entry]) -> bool {
        let Some(first) = entries.first() else { return false };
        assert!(
            first.index > self.start.index && first.index <= self.last().next(),
            "entry {} does not fit a log of {}..={}",
            first.index,
            self.start.index,
            self.last()
        );
        let keep = (first.index.0 - self.start.index.0 - 1) as usize;
        let replaces = keep < self.entries.len();
        for replaced in self.entries.drain(keep..) {
            self.payload_bytes -= replaced.payload.len();
        }
        for entry in entries {
            assert_eq!(entry.index, self.last().next(), "the log has a gap");
            self.payload_bytes += entry.payload.len();
            self.entries.push_back(entry.clone());
        }
        replaces
    }

    /// Starts anew after a snapshot.
    pub(super) fn reset(&mut self, start: LogStart) {
        assert!(start.index > self.start.index, "a snapshot never takes the log back");
        self.start = start;
        self.entries.clear();
        self.payload_bytes = 0;
    }

    /// Forgets everything up to and including `upto`, which must be in the log.
    pub(super) fn forget(&mut self, upto: LogIndex) {
        let term = self.term_of(upto).expect("only entries of the log are forgotten");
        let count = (upto.0 - self.start.index.0) as usize;
        for forgotten in self.entries.drain(..count) {
            self.payload_bytes -= forgotten.payload.len();
        }
        self.start = LogStart { index: upto, term };
    }

    pub(super) fn set_snapshot(&mut self, snapshot: Option<(LogStart, Membership)>) {
        self.snapshot = snapshot;
    }

    pub(super) fn snapshot_is_withheld(&self) -> bool {
        self.snapshot.is_none()
    }

    pub(super) fn start(&self) -> LogStart {
        self.start
    }

    pub(super) fn last(&self) -> LogIndex {
        LogIndex(self.start.index.0 + self.entries.len() as u64)
    }

    pub(super) fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// The term of an entry, or of the start.
    pub(super) fn term_of(&self, index: LogIndex) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        let offset = index.0.checked_sub(self.start.index.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?).map(|e| e.term)
    }

    /// Asserts what must always hold.
    pub(super) fn check(&self) {
        let (mut index, mut term, mut bytes) = (self.start.index, self.start.term, 0);
        for entry in &self.entries {
            assert_eq!(entry.index, index.next(), "the log has a gap");
            assert!(entry.term >= term, "the term falls at {}", entry.index);
            (index, term) = (entry.index, entry.term);
            bytes += entry.payload.len();
        }
        assert_eq!(bytes, self.payload_bytes, "the count of payload bytes is wrong");
        if let Some((at, membership)) = &self.snapshot {
            assert!(at.index >= self.start.index, "the engine is behind the log's start");
            assert!(membership.voters.is_empty() || membership.validate().is_ok());
        }
    }
}

impl Storage for MemoryLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let (hard_state, conf_state) = self.initial.clone();
        Ok(RaftState::new(hard_state, conf_state))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<pb::Entry>> {
        if low <= self.start.index.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        if high > self.last().0 + 1 {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let max_size = max_size.into().unwrap_or(u64::MAX);
        let from = (low - self.start.index.0 - 1) as usize;
        let to = (high - self.start.index.0 - 1) as usize;
        let mut size = 0u64;
        let mut entries = Vec::new();
        for entry in self.entries.range(from..to) {
            size += (entry.payload.len() + convert::ENTRY_OVERHEAD_BYTES) as u64;
            if size > max_size && !entries.is_empty() {
                break;
            }
            entries.push(convert::entry_to_raft(entry));
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        match self.term_of(LogIndex(index)) {
            Some(term) => Ok(term.0),
            None if index < self.start.index.0 => Err(Error::Store(StorageError::Compacted)),
            None => Err(Error::Store(StorageError::Unavailable)),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.start.index.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last().0)
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        match &self.snapshot {
            Some((at, membership)) if at.index.0 >= request_index && at.index.0 > 0 => {
                Ok(convert::snapshot_to_raft(*at, membership))
            }
            _ => Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable)),
        }
    }
}
