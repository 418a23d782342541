//! Items on their way into an entry of the leader's log: in order, and what they are besides bytes.
//!
//! Expiries of leases go first. What is queued here was not proposed yet, so the lease whose time is over
//! is an older one than any that a queued grant would make; behind such a grant the revoke would hit
//! the new one.

use std::collections::VecDeque;

use bytes::Bytes;
use synod_base::{LeaseId, ProposalId};

/// Where a queued item comes from, which decides what becomes of it when leadership changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A client of this node, or the node itself: waits for the next leader.
    Own,
    /// Another node, for this leader and term only: dropped.
    Forwarded,
    /// The lease clock of this leader: dropped, the next leader has its own.
    Expiry,
}

/// One item.
#[derive(Debug)]
pub struct Queued {
    /// Its proposal.
    pub id: ProposalId,
    /// Its encoding (`item.rs`).
    pub item: Bytes,
    /// Whose it is.
    pub source: Source,
    /// The lease that it grants, if it is a grant.
    pub grants: Option<LeaseId>,
}

/// All items of a node that are neither proposed nor forwarded.
#[derive(Debug, Default)]
pub struct Queue {
    items: VecDeque<Queued>,
    /// Of all items' encodings.
    bytes: usize,
}

impl Queue {
    /// Adds an item: an expiry in front, anything else behind.
    pub fn push(&mut self, queued: Queued) {
        self.bytes += queued.item.len();
        match queued.source {
            Source::Expiry => self.items.push_front(queued),
            Source::Own | Source::Forwarded => self.items.push_back(queued),
        }
    }

    /// Takes from the front what fits into payloads of so many bytes together.
    pub fn take_front(&mut self, mut room: usize) -> Vec<Queued> {
        let mut taken = Vec::new();
        while let Some(first) = self.items.front() {
            let cost = first.item.len() + ITEM_OVERHEAD_BYTES;
            if cost > room {
                break;
            }
            room -= cost;
            self.bytes -= first.item.len();
            taken.extend(self.items.pop_front());
        }
        taken
    }

    /// What was taken from the front and could not be proposed goes there again.
    pub fn put_back(&mut self, taken: Vec<Queued>) {
        for queued in taken.into_iter().rev() {
            self.bytes += queued.item.len();
            self.items.push_front(queued);
        }
    }

    /// Drops what `keep` does not want.
    pub fn retain(&mut self, keep: impl FnMut(&Queued) -> bool) {
        self.items.retain(keep);
        self.bytes = self.items.iter().map(|queued| queued.item.len()).sum();
    }

    /// How many bytes the items have.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// What an item costs in an entry beside its own bytes, at most.
pub const ITEM_OVERHEAD_BYTES: usize = 32;
