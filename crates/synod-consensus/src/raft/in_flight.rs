//! Writes that were handed out and are not durable yet, in their order.
//!
//! Two rules live here. A write that asks for nothing is durable as soon as the ones before it are,
//! so the host need not answer it. And an acknowledgement is held back while a later write that
//! *replaces* entries is under way: by then the log holds other entries at the same positions, and a
//! late acknowledgement would count for them (a bug openraft once had).

use std::collections::VecDeque;

/// What must be remembered of a write until it is durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteRecord {
    pub(super) number: u64,
    /// Of its entries' payloads.
    pub(super) bytes: usize,
    pub(super) empty: bool,
    pub(super) hard_state: bool,
    /// It replaces entries, or the whole log by a snapshot.
    pub(super) replaces: bool,
}

/// The writes under way. Invariant: numbers ascend; those up to `durable` are durable but held back.
#[derive(Default, Debug)]
pub(super) struct WritesInFlight {
    records: VecDeque<WriteRecord>,
    durable: u64,
    last_number: u64,
}

impl WritesInFlight {
    /// A write was handed out.
    pub(super) fn push(&mut self, record: WriteRecord) {
        assert!(record.number > self.last_number, "write numbers ascend");
        self.last_number = record.number;
        self.records.push_back(record);
    }

    /// This write and all before it are durable. Returns up to where the raft crate may be told so.
    pub(super) fn acknowledge(&mut self, number: u64) -> Option<u64> {
        assert!(number <= self.last_number, "write {number} was never handed out");
        self.durable = self.durable.max(number);
        for record in &self.records {
            if record.number > self.durable {
                if !record.empty {
                    break;
                }
                self.durable = record.number;
            }
        }
        if self.records.iter().any(|r| r.replaces && r.number > self.durable) {
            return None;
        }
        let before = self.records.len();
        self.records.retain(|r| r.number > self.durable);
        (self.records.len() < before).then_some(self.durable)
    }

    /// Whether every write handed out is durable.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether a term or a vote is not durable yet.
    pub(super) fn has_hard_state(&self) -> bool {
        self.records.iter().any(|r| r.hard_state && r.number > self.durable)
    }

    /// Payload bytes that were handed out and are not durable.
    pub(super) fn bytes(&self) -> usize {
        self.records.iter().filter(|r| r.number > self.durable).map(|r| r.bytes).sum()
    }

    pub(super) fn check(&self) {
        assert!(self.records.iter().is_sorted_by(|a, b| a.number < b.number));
        assert!(self.durable <= self.last_number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64) -> WriteRecord {
        WriteRecord { number, bytes: 1, empty: false, hard_state: false, replaces: false }
    }

    #[test]
    fn one_acknowledgement_covers_all_earlier_writes_and_the_empty_ones_after_it() {
        let mut writes = WritesInFlight::default();
        writes.push(record(1));
        writes.push(record(2));
        writes.push(WriteRecord { empty: true, ..record(3) });
        writes.push(record(4));
        assert_eq!(writes.bytes(), 4);
        assert_eq!(writes.acknowledge(2), Some(3));
        assert_eq!(writes.bytes(), 1);
        assert_eq!(writes.acknowledge(1), None, "an old one is no news");
        assert_eq!(writes.acknowledge(4), Some(4));
        assert!(writes.is_empty());
    }

    #[test]
    fn an_acknowledgement_waits_for_a_later_write_that_replaces_entries() {
        let mut writes = WritesInFlight::default();
        writes.push(WriteRecord { hard_state: true, ..record(1) });
        writes.push(WriteRecord { replaces: true, ..record(2) });
        writes.push(record(3));
        assert!(writes.has_hard_state());
        assert_eq!(writes.acknowledge(1), None);
        assert!(!writes.has_hard_state(), "the vote is durable although entries are held back");
        assert!(!writes.is_empty());
        assert_eq!(writes.acknowledge(2), Some(2));
        assert_eq!(writes.acknowledge(3), Some(3));
    }
}
