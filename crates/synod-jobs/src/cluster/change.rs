//! A change of records: guards and writes that go to the store as one transaction.
//!
//! A change that loses did nothing: whoever was faster shows up in the view, and is decided upon anew.

use bytes::Bytes;
use synod_base::{LeaseId, Revision};
use synod_state::kv::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyRange, PutRequest, TxnOp,
    TxnRequest,
};

/// Writes of one change, at most; the store's own limit is a little higher.
pub const MAX_WRITES: usize = 100;

/// Bytes of keys and values from which on nothing more is put into a change that could be several: one record
/// more, however large it may be, fits the store's limit of 1.5 MiB.
const FULL_BYTES: usize = 128 << 10;

/// A guarded transaction in the making.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    guards: Vec<Compare>,
    writes: Vec<TxnOp>,
    bytes: usize,
}

impl Change {
    /// Nothing yet.
    pub fn new() -> Change {
        Change::default()
    }

    /// Only if the key was not written since this revision.
    #[must_use]
    pub fn if_unchanged(self, key: impl Into<Bytes>, mod_revision: Revision) -> Change {
        self.guard(key, CompareTarget::Mod(mod_revision))
    }

    /// Only if the key is the one that was created at this revision; 0: only if it is absent.
    #[must_use]
    pub fn if_created_at(self, key: impl Into<Bytes>, create_revision: Revision) -> Change {
        self.guard(key, CompareTarget::Create(create_revision))
    }

    fn guard(mut self, key: impl Into<Bytes>, target: CompareTarget) -> Change {
        let range = KeyRange::one(key);
        self.guards.push(Compare { range, result: CompareResult::Equal, target });
        self
    }

    /// Writes a key.
    #[must_use]
    pub fn put(self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Change {
        self.put_leased(key, value, LeaseId::NONE)
    }

    /// Writes a key that goes with a lease.
    #[must_use]
    pub fn put_leased(
        mut self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        lease: LeaseId,
    ) -> Change {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.writes.push(TxnOp::Put(PutRequest { key, value, lease, ..PutRequest::default() }));
        self
    }

    /// Deletes a key, or nothing.
    #[must_use]
    pub fn delete(self, key: impl Into<Bytes>) -> Change {
        self.delete_range(KeyRange::one(key))
    }

    /// Deletes everything under a prefix.
    #[must_use]
    pub fn delete_prefix(self, prefix: impl Into<Bytes>) -> Change {
        self.delete_range(KeyRange::prefix(prefix))
    }

    fn delete_range(mut self, range: KeyRange) -> Change {
        self.writes.push(TxnOp::DeleteRange(DeleteRangeRequest { range, prev_kv: false }));
        self
    }

    /// Whether it holds as much as it may.
    pub fn is_full(&self) -> bool {
        // Room for the puts and deletions that belong together.
        self.writes.len() + 2 > MAX_WRITES
            || self.guards.len() + 2 > MAX_WRITES
            || self.bytes >= FULL_BYTES
    }

    /// The transaction.
    pub fn into_txn(self) -> TxnRequest {
        TxnRequest { compare: self.guards, success: self.writes, failure: Vec::new() }
    }
}
