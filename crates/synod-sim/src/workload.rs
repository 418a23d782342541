//! What the clients ask: puts, reads, deletions, guarded writes and transactions over few keys, so that
//! they meet. Every put has a value that no other put has.

use std::collections::BTreeMap;

use bytes::Bytes;
use fastrand::Rng;
use synod_base::Revision;
use synod_node::Request;
use synod_state::kv::{
    Command, Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyRange, PutRequest,
    RangeRequest, TxnOp, TxnRequest,
};

/// How many keys the clients share.
const KEYS: usize = 6;

/// Revisions of history that a compaction leaves.
const KEPT_REVISIONS: i64 = 150;

/// Draws requests for one client.
#[derive(Debug)]
pub struct Workload {
    rng: Rng,
    client: u32,
    counter: u64,
    /// Last mod revision this client saw of each key; 0 for absent.
    seen: BTreeMap<Bytes, Revision>,
    compacts: bool,
}

impl Workload {
    /// A client's own workload.
    #[must_use]
    pub fn new(rng: Rng, client: u32, compacts: bool) -> Self {
        Workload { rng, client, counter: 0, seen: BTreeMap::new(), compacts }
    }

    /// The next request; `newest` is the newest revision this client knows of.
    pub fn next(&mut self, newest: Revision) -> Request {
        let key = self.key();
        match self.rng.u32(0..100) {
            0..35 => Request::Write(Command::Put(self.put(key))),
            35..60 => {
                let range = KeyRange::one(key);
                let request = RangeRequest { range, ..RangeRequest::default() };
                Request::Range { request, linearizable: self.rng.u8(..) < 200 }
            }
            60..68 => {
                let range = KeyRange::one(key);
                Request::Write(Command::DeleteRange(DeleteRangeRequest { range, prev_kv: true }))
            }
            68..84 => self.guarded_put(key),
            84..90 => self.transaction(),
            90..95 => self.read_transaction(),
            95..97 => {
                let range = KeyRange::prefix("k");
                let request = RangeRequest { range, ..RangeRequest::default() };
                Request::Range { request, linearizable: true }
            }
            97..98 => self.read_at_revision(newest),
            _ if self.compacts && newest.0 > KEPT_REVISIONS => {
                let revision = Revision(newest.0 - KEPT_REVISIONS);
                Request::Write(Command::Compact { revision })
            }
            _ => Request::Write(Command::Put(self.put(key))),
        }
    }

    /// Notes the mod revision of a key that an answer showed.
    pub fn saw(&mut self, key: Bytes, mod_revision: Revision) {
        self.seen.insert(key, mod_revision);
    }

    fn key(&mut self) -> Bytes {
        Bytes::from(format!("k{}", self.rng.usize(0..KEYS)))
    }

    fn put(&mut self, key: Bytes) -> PutRequest {
        self.counter += 1;
        let value = Bytes::from(format!("c{}-{}", self.client, self.counter));
        PutRequest { key, value, prev_kv: self.rng.bool(), ..PutRequest::default() }
    }

    /// The keys as they were, or, now and then, as they will be.
    fn read_at_revision(&mut self, newest: Revision) -> Request {
        let revision = Revision(self.rng.i64(1..=newest.0 + 2));
        let range = KeyRange::prefix("k");
        let request = RangeRequest { range, revision, ..RangeRequest::default() };
        Request::Range { request, linearizable: self.rng.bool() }
    }

    /// Compare-and-set on the revision last seen.
    fn guarded_put(&mut self, key: Bytes) -> Request {
        let expected = self.seen.get(&key).copied().unwrap_or_default();
        let compare = Compare {
            range: KeyRange::one(key.clone()),
            result: CompareResult::Equal,
            target: CompareTarget::Mod(expected),
        };
        let range = KeyRange::one(key.clone());
        let read = TxnOp::Range(RangeRequest { range, ..RangeRequest::default() });
        Request::Write(Command::Txn(TxnRequest {
            compare: vec![compare],
            success: vec![TxnOp::Put(self.put(key))],
            failure: vec![read],
        }))
    }

    /// Two keys at once, and a third one removed.
    fn transaction(&mut self) -> Request {
        let first = self.rng.usize(0..KEYS);
        let key = |n: usize| Bytes::from(format!("k{}", (first + n) % KEYS));
        let range = KeyRange::one(key(2));
        Request::Write(Command::Txn(TxnRequest {
            compare: Vec::new(),
            success: vec![
                TxnOp::Put(self.put(key(0))),
                TxnOp::Put(self.put(key(1))),
                TxnOp::DeleteRange(DeleteRangeRequest { range, prev_kv: false }),
            ],
            failure: Vec::new(),
        }))
    }

    fn read_transaction(&mut self) -> Request {
        let read = |n: usize| {
            let range = KeyRange::one(format!("k{n}"));
            TxnOp::Range(RangeRequest { range, ..RangeRequest::default() })
        };
        let request = TxnRequest {
            compare: Vec::new(),
            success: (0..KEYS).map(read).collect(),
            failure: Vec::new(),
        };
        Request::ReadTxn { request, linearizable: true }
    }
}
