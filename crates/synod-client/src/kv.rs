//! `Kv`: the one trait that locks, elections, ids, registries and job records are written against.
//!
//! Served by the node in this process ([`crate::Embedded`]), by a remote Synod or by an etcd cluster
//! ([`crate::Remote`]). Requests and answers are the state machine's own types, so nothing is
//! translated twice. Every call says in its error whether it happened ([`ClientError::happened`]).

use std::future::Future;

use bytes::Bytes;
use synod_base::LeaseId;
use synod_node::{Header, LeaseTimeToLive, WatchEvent, WatchSpec};
use synod_state::kv::{
    DeleteRangeRequest, KeyRange, KeyValue, PutRequest, RangeRequest, RangeResult, TxnRequest,
    TxnResult,
};

use crate::error::ClientError;
use crate::watcher::Watcher;

/// An answer and where it comes from, or why there is none.
pub type Answer<T> = Result<(Header, T), ClientError>;

/// How fresh a read must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Consistency {
    /// It sees every write that was acknowledged before it began.
    #[default]
    Linearizable,
    /// Whatever the asked node has: may be stale, needs no quorum.
    Serializable,
}

/// What a deletion did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Deleted {
    /// How many keys went.
    pub deleted: i64,
    /// They, if asked for.
    pub prev_kvs: Vec<KeyValue>,
}

/// A lease as granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseGranted {
    /// Its id.
    pub id: LeaseId,
    /// Granted time to live; the server may have raised the wish.
    pub ttl_seconds: i64,
}

/// One message of a watch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchBatch {
    /// Where it comes from. Without events: everything up to its revision has been delivered.
    pub header: Header,
    /// Ascending by revision; a revision is never split over two batches.
    pub events: Vec<WatchEvent>,
}

/// A strictly serializable key-value store with leases and watches. Handles are cheap to clone.
///
/// No implementation retries a write whose outcome is unknown.
pub trait Kv: Clone + Send + Sync + 'static {
    /// Reads keys.
    fn range(
        &self,
        request: RangeRequest,
        consistency: Consistency,
    ) -> impl Future<Output = Answer<RangeResult>> + Send;

    /// Writes one key; answers with the key as it was, if asked for and there.
    fn put(&self, request: PutRequest) -> impl Future<Output = Answer<Option<KeyValue>>> + Send;

    /// Deletes keys.
    fn delete(&self, request: DeleteRangeRequest) -> impl Future<Output = Answer<Deleted>> + Send;

    /// Compares, then does one branch, atomically. A transaction that cannot write is a
    /// linearizable read.
    fn txn(&self, request: TxnRequest) -> impl Future<Output = Answer<TxnResult>> + Send;

    /// Grants a lease; with `LeaseId::NONE` the server picks the id.
    fn lease_grant(
        &self,
        id: LeaseId,
        ttl_seconds: i64,
    ) -> impl Future<Output = Answer<LeaseGranted>> + Send;

    /// Ends a lease and deletes its keys in one revision.
    fn lease_revoke(&self, id: LeaseId) -> impl Future<Output = Answer<()>> + Send;

    /// Starts a lease's time to live anew: its full time in seconds, or 0 if there is no such lease.
    fn lease_keep_alive(&self, id: LeaseId) -> impl Future<Output = Answer<i64>> + Send;

    /// How long a lease has left; with its keys, if `keys`.
    fn lease_time_to_live(
        &self,
        id: LeaseId,
        keys: bool,
    ) -> impl Future<Output = Answer<LeaseTimeToLive>> + Send;

    /// Opens a watch. When this returns, the watch stands: with start revision 0 it delivers every
    /// change that commits from now on. `watch_id` and `fragment` of the spec are not used.
    fn watch(&self, spec: WatchSpec) -> impl Future<Output = Result<Watcher, ClientError>> + Send;

    /// Reads one key, linearizably.
    fn get(
        &self,
        key: impl Into<Bytes> + Send,
    ) -> impl Future<Output = Answer<Option<KeyValue>>> + Send {
        let request = RangeRequest { range: KeyRange::one(key), ..RangeRequest::default() };
        async move {
            let (header, result) = self.range(request, Consistency::Linearizable).await?;
            Ok((header, result.kvs.into_iter().next()))
        }
    }
}
