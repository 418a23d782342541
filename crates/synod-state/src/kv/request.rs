//! What can be asked of the key-value state, and what it answers: etcd's vocabulary (api/etcdserverpb
//! and mvccpb) as plain types. Wire formats live above (`synod-api`), the replicated encoding of
//! [`Command`] in `codec.rs`.

use bytes::Bytes;
use synod_base::{LeaseId, Revision};
use thiserror::Error;

/// A stored key at one revision (mvccpb.KeyValue).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyValue {
    /// The key; never empty.
    pub key: Bytes,
    /// Revision of the put that created the key (since its last deletion).
    pub create_revision: Revision,
    /// Revision of the last put.
    pub mod_revision: Revision,
    /// Puts since creation, from 1.
    pub version: i64,
    /// Its value.
    pub value: Bytes,
    /// Its lease, or `LeaseId::NONE`.
    pub lease: LeaseId,
}

/// Which keys, as etcd's `key` and `range_end` say it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyRange {
    /// First key.
    pub key: Bytes,
    /// Empty: just `key`. A single zero byte: every key from `key` on. Else: the first key that is
    /// not meant.
    pub range_end: Bytes,
}

/// Field to sort a range by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SortTarget {
    /// The key, bytewise.
    #[default]
    Key,
    /// Version.
    Version,
    /// Create revision.
    Create,
    /// Mod revision.
    Mod,
    /// Value, bytewise.
    Value,
}

/// Direction of a sort. Equal targets keep key order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SortOrder {
    /// As stored, that is ascending by key (etcd: ascending if a target other than key is named).
    #[default]
    None,
    /// Lowest first.
    Ascend,
    /// Highest first.
    Descend,
}

/// etcdserverpb.RangeRequest, without its consistency (the node decides that before).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RangeRequest {
    /// Which keys.
    pub range: KeyRange,
    /// At most this many; 0 for all.
    pub limit: i64,
    /// At this revision; 0 or less for the latest.
    pub revision: Revision,
    /// Direction.
    pub sort_order: SortOrder,
    /// Field.
    pub sort_target: SortTarget,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only the count.
    pub count_only: bool,
    /// Only keys with a mod revision of at least this; 0 for no bound. The same for the next three.
    pub min_mod_revision: Revision,
    /// Upper bound of the mod revision.
    pub max_mod_revision: Revision,
    /// Lower bound of the create revision.
    pub min_create_revision: Revision,
    /// Upper bound of the create revision.
    pub max_create_revision: Revision,
}

/// etcdserverpb.RangeResponse.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RangeResult {
    /// The keys found.
    pub kvs: Vec<KeyValue>,
    /// More keys match than `limit` let through.
    pub more: bool,
    /// How many keys lie in the range, whatever the limit.
    pub count: i64,
}

/// etcdserverpb.PutRequest.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PutRequest {
    /// Which key.
    pub key: Bytes,
    /// Its new value.
    pub value: Bytes,
    /// Attach to this lease, or none.
    pub lease: LeaseId,
    /// Answer with the key as it was.
    pub prev_kv: bool,
    /// Keep the present value (the key must exist).
    pub ignore_value: bool,
    /// Keep the present lease (the key must exist).
    pub ignore_lease: bool,
}

/// etcdserverpb.DeleteRangeRequest.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeleteRangeRequest {
    /// Which keys.
    pub range: KeyRange,
    /// Answer with the keys as they were.
    pub prev_kv: bool,
}

/// How a comparison compares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompareResult {
    /// `=`
    Equal,
    /// `>`
    Greater,
    /// `<`
    Less,
    /// `!=`
    NotEqual,
}

/// What a comparison looks at, and against which value. An absent key has version, revisions and
/// lease 0, and no comparison of values with it is true.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CompareTarget {
    /// Version.
    Version(i64),
    /// Create revision.
    Create(Revision),
    /// Mod revision.
    Mod(Revision),
    /// Value.
    Value(Bytes),
    /// Lease.
    Lease(LeaseId),
}

/// One guard of a transaction; with a range it must hold for every key in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compare {
    /// Which keys.
    pub range: KeyRange,
    /// How.
    pub result: CompareResult,
    /// What against what.
    pub target: CompareTarget,
}

/// One operation of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TxnOp {
    /// A read; sees the earlier operations of its transaction.
    Range(RangeRequest),
    /// A put.
    Put(PutRequest),
    /// A deletion.
    DeleteRange(DeleteRangeRequest),
    /// A nested transaction.
    Txn(TxnRequest),
}

/// etcdserverpb.TxnRequest: all compares hold, then `success`, else `failure`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TxnRequest {
    /// Guards.
    pub compare: Vec<Compare>,
    /// If they hold.
    pub success: Vec<TxnOp>,
    /// If not.
    pub failure: Vec<TxnOp>,
}

/// A committed change of the state, as it is replicated. Every variant is deterministic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// A put.
    Put(PutRequest),
    /// A deletion.
    DeleteRange(DeleteRangeRequest),
    /// A transaction that may write.
    Txn(TxnRequest),
    /// Forget history below a revision.
    Compact {
        /// The first revision that can still be read.
        revision: Revision,
    },
    /// A new lease. The proposer picks the id (0 is refused).
    LeaseGrant {
        /// Its id.
        id: LeaseId,
        /// Granted time to live, whole seconds, at least 1.
        ttl_seconds: i64,
    },
    /// Ends a lease and deletes its keys in one revision: a client's wish, or expiry.
    LeaseRevoke {
        /// Which.
        id: LeaseId,
    },
}

/// What applying a command gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandResult {
    /// Answer to a put.
    Put {
        /// The key as it was, if asked for and there.
        prev_kv: Option<KeyValue>,
    },
    /// Answer to a deletion.
    DeleteRange {
        /// How many keys went.
        deleted: i64,
        /// They, if asked for.
        prev_kvs: Vec<KeyValue>,
    },
    /// Answer to a transaction.
    Txn(TxnResult),
    /// Answer to a compaction.
    Compact,
    /// Answer to a grant.
    LeaseGrant {
        /// Its id.
        id: LeaseId,
        /// Granted time to live, seconds.
        ttl_seconds: i64,
    },
    /// Answer to a revoke.
    LeaseRevoke,
}

/// etcdserverpb.TxnResponse.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TxnResult {
    /// Which branch ran.
    pub succeeded: bool,
    /// One answer per operation of that branch.
    pub responses: Vec<TxnOpResult>,
}

/// Answer to one operation of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TxnOpResult {
    /// To a read.
    Range(RangeResult),
    /// To a put.
    Put {
        /// The key as it was, if asked for and there.
        prev_kv: Option<KeyValue>,
    },
    /// To a deletion.
    DeleteRange {
        /// How many keys went.
        deleted: i64,
        /// They, if asked for.
        prev_kvs: Vec<KeyValue>,
    },
    /// To a nested transaction.
    Txn(TxnResult),
}

/// Why the state refuses a request. Nothing was applied; the same request will be refused again
/// until the caller or the state changes.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    /// An empty key where one is needed.
    #[error("key is not provided")]
    EmptyKey,
    /// `ignore_value` with a value.
    #[error("value is provided")]
    ValueProvided,
    /// `ignore_lease` with a lease.
    #[error("lease is provided")]
    LeaseProvided,
    /// `ignore_value` or `ignore_lease` on an absent key.
    #[error("key not found")]
    KeyNotFound,
    /// More than `MAX_TXN_OPS` operations in a branch.
    #[error("too many operations in txn request")]
    TooManyOps,
    /// Two writes of one transaction meet.
    #[error("duplicate key given in txn request")]
    DuplicateKey,
    /// Transactions nested deeper than `MAX_TXN_DEPTH`.
    #[error("txn requests are nested too deeply")]
    TooDeep,
    /// A read or a compaction below the compacted revision.
    #[error("required revision has been compacted")]
    Compacted {
        /// The compacted revision.
        compacted: Revision,
    },
    /// A read or a compaction above the present revision.
    #[error("required revision is a future revision")]
    FutureRevision {
        /// The present revision.
        current: Revision,
    },
    /// No such lease.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// A grant of an id in use.
    #[error("lease already exists")]
    LeaseExists,
    /// A grant beyond etcd's bound of 9,000,000,000 seconds.
    #[error("too large lease TTL")]
    LeaseTtlTooLarge,
}

/// What happened to a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// It was put.
    Put,
    /// It was deleted.
    Delete,
}

/// One change of one key (mvccpb.Event).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Which change.
    pub kind: EventKind,
    /// The key after it. A deletion holds the key and `mod_revision` only.
    pub kv: KeyValue,
}

impl KeyRange {
    /// Just one key.
    #[must_use]
    pub fn one(key: impl Into<Bytes>) -> Self {
        KeyRange { key: key.into(), range_end: Bytes::new() }
    }

    /// Every key with this prefix; all keys for an empty prefix.
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let key: Bytes = prefix.into();
        let mut end = key.to_vec();
        while let Some(last) = end.pop() {
            if last < 0xff {
                end.push(last + 1);
                return KeyRange { key, range_end: end.into() };
            }
        }
        let key = if key.is_empty() { Bytes::from_static(&[0]) } else { key };
        KeyRange { key, range_end: Bytes::from_static(&[0]) }
    }

    /// Whether the range means one key.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.range_end.is_empty()
    }

    /// Whether `key` lies in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        if self.is_single() {
            key == self.key
        } else if self.range_end[..] == [0] {
            key >= &self.key[..]
        } else {
            key >= &self.key[..] && key < &self.range_end[..]
        }
    }
}

impl TxnRequest {
    /// Whether neither branch writes, however deep; such a transaction is a read.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| match op {
            TxnOp::Range(_) => true,
            TxnOp::Put(_) | TxnOp::DeleteRange(_) => false,
            TxnOp::Txn(inner) => inner.is_read_only(),
        })
    }
}
