//! What every implementation of [`Kv`] must do, as one suite: the embedded node, a remote Synod and a
//! real etcd all run it. A failed demand panics.
//!
//! Each part works under a prefix of its own, so the suite may run on a store that is in use. Time
//! passes only where a lease must be missed.

use std::collections::BTreeSet;
use std::pin::pin;

use bytes::Bytes;
use synod_base::{LeaseId, Revision};
use synod_node::{Happened, RequestError, WatchEvent, WatchSpec};
use synod_state::kv::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, EventKind, KeyRange, PutRequest,
    RangeRequest, Refusal, TxnOp, TxnOpResult, TxnRequest,
};
use tokio::sync::oneshot;

use crate::counter::Counter;
use crate::error::ClientError;
use crate::id::IdAllocator;
use crate::kv::{Consistency, Kv};
use crate::queue::OwnershipError;
use crate::session::Session;
use crate::{election, lock};

/// Long enough to outlive the suite.
const LEASE_SECONDS: i64 = 600;

/// Runs every part. Call it on a multi- or single-threaded tokio runtime.
pub async fn run_all<K: Kv>(kv: &K, prefix: &str) {
    reads_see_acknowledged_writes(kv, &format!("{prefix}/read")).await;
    ranges_are_ordered_limited_and_counted(kv, &format!("{prefix}/range")).await;
    transactions_take_one_branch(kv, &format!("{prefix}/txn")).await;
    refusals_are_typed_and_not_applied(kv, &format!("{prefix}/refusal")).await;
    leases_own_their_keys(kv, &format!("{prefix}/lease")).await;
    watches_resume_in_order(kv, &format!("{prefix}/watch")).await;
    locks_pass_on_in_line(kv, &format!("{prefix}/lock")).await;
    lost_leases_lose_locks(kv, &format!("{prefix}/lost")).await;
    elections_have_one_leader(kv, &format!("{prefix}/election")).await;
    numbers_are_counted_once(kv, &format!("{prefix}/number")).await;
    sessions_notice_their_loss(kv).await;
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..PutRequest::default()
    }
}

fn one(key: &str) -> KeyRange {
    KeyRange::one(Bytes::copy_from_slice(key.as_bytes()))
}

fn under(prefix: &str) -> KeyRange {
    KeyRange::prefix(Bytes::copy_from_slice(prefix.as_bytes()))
}

async fn value_of<K: Kv>(kv: &K, key: &str) -> Option<Bytes> {
    let (_, found) = kv.get(key.to_owned()).await.expect("a read is answered");
    found.map(|found| found.value)
}

async fn grant<K: Kv>(kv: &K) -> LeaseId {
    kv.lease_grant(LeaseId::NONE, LEASE_SECONDS).await.expect("a lease is granted").1.id
}

async fn reads_see_acknowledged_writes<K: Kv>(kv: &K, key: &str) {
    assert_eq!(value_of(kv, key).await, None);
    let (first, none) = kv.put(put(key, "1")).await.expect("a put is answered");
    assert_eq!(none, None);
    let again = PutRequest { prev_kv: true, ..put(key, "2") };
    let (second, previous) = kv.put(again).await.expect("a put is answered");
    assert_eq!(previous.map(|kv| kv.value), Some(Bytes::from("1")));
    assert!(second.revision > first.revision, "each write has a revision of its own");
    let (_, found) = kv.get(key.to_owned()).await.expect("a read is answered");
    let found = found.expect("the key was put");
    assert_eq!((found.value, found.version), (Bytes::from("2"), 2));

    let old = RangeRequest {
        range: one(key),
        revision: found.create_revision,
        ..RangeRequest::default()
    };
    let (_, old) = kv.range(old, Consistency::Serializable).await.expect("history is there");
    assert_eq!(old.kvs[0].value, "1");

    let delete = DeleteRangeRequest { range: one(key), prev_kv: true };
    let (_, deleted) = kv.delete(delete).await.expect("a deletion is answered");
    assert_eq!((deleted.deleted, deleted.prev_kvs.len()), (1, 1));
    assert_eq!(value_of(kv, key).await, None);
}

async fn ranges_are_ordered_limited_and_counted<K: Kv>(kv: &K, prefix: &str) {
    for name in ["b", "c", "a"] {
        kv.put(put(&format!("{prefix}/{name}"), name)).await.expect("a put is answered");
    }
    let request = RangeRequest { range: under(prefix), limit: 2, ..RangeRequest::default() };
    let (_, page) = kv.range(request, Consistency::Linearizable).await.expect("answered");
    let values: Vec<&[u8]> = page.kvs.iter().map(|kv| &kv.value[..]).collect();
    assert_eq!(values, [b"a", b"b"]);
    assert_eq!((page.more, page.count), (true, 3));
    let keys = RangeRequest { range: under(prefix), keys_only: true, ..RangeRequest::default() };
    let (_, keys) = kv.range(keys, Consistency::Linearizable).await.expect("answered");
    assert!(keys.kvs.len() == 3 && keys.kvs.iter().all(|kv| kv.value.is_empty()));
}

async fn transactions_take_one_branch<K: Kv>(kv: &K, key: &str) {
    let absent = Compare {
        range: one(key),
        result: CompareResult::Equal,
        target: CompareTarget::Create(Revision(0)),
    };
    let read = TxnOp::Range(RangeRequest { range: one(key), ..RangeRequest::default() });
    let create = TxnRequest {
        compare: vec![absent.clone()],
        success: vec![TxnOp::Put(put(key, "made")), read.clone()],
        failure: vec![read.clone()],
    };
    for first in [true, false] {
        let (_, result) = kv.txn(create.clone()).await.expect("a transaction is answered");
        assert_eq!(result.succeeded, first);
        let Some(TxnOpResult::Range(found)) = result.responses.last() else {
            panic!("the last operation of either branch is a read: {result:?}");
        };
        assert_eq!(found.kvs[0].value, "made", "a read sees the earlier puts of its transaction");
    }
    let reading = TxnRequest { compare: vec![absent], success: Vec::new(), failure: vec![read] };
    let (before, result) = kv.txn(reading).await.expect("a transaction is answered");
    assert!(!result.succeeded);
    let (after, _) = kv.get(key.to_owned()).await.expect("a read is answered");
    assert_eq!(before.revision, after.revision, "a read-only transaction makes no revision");
}

async fn refusals_are_typed_and_not_applied<K: Kv>(kv: &K, key: &str) {
    let refused = |result: Result<_, ClientError>| match result {
        Err(ClientError::Request(RequestError::Refused(refusal))) => refusal,
        other => panic!("wanted a refusal, got {other:?}"),
    };
    let empty = kv.put(put("", "x")).await.map(drop);
    assert_eq!(refused(empty), Refusal::EmptyKey);
    let orphan = PutRequest { lease: LeaseId(0x7eef), ..put(key, "x") };
    assert_eq!(refused(kv.put(orphan).await.map(drop)), Refusal::LeaseNotFound);
    let twice = TxnRequest {
        success: vec![TxnOp::Put(put(key, "1")), TxnOp::Put(put(key, "2"))],
        ..TxnRequest::default()
    };
    assert_eq!(refused(kv.txn(twice).await.map(drop)), Refusal::DuplicateKey);
    let future =
        RangeRequest { range: one(key), revision: Revision(1 << 60), ..RangeRequest::default() };
    let error = kv.range(future, Consistency::Linearizable).await.map(drop);
    let error = error.expect_err("a future revision cannot be read");
    assert_eq!(error.happened(), Happened::No);
    assert!(matches!(refused(Err(error)), Refusal::FutureRevision { .. }));
    assert_eq!(value_of(kv, key).await, None);
}

async fn leases_own_their_keys<K: Kv>(kv: &K, key: &str) {
    let lease = grant(kv).await;
    kv.put(PutRequest { lease, ..put(key, "x") }).await.expect("a put is answered");
    let (_, left) = kv.lease_time_to_live(lease, true).await.expect("answered");
    assert_eq!(left.granted_seconds, LEASE_SECONDS);
    assert!((1..=LEASE_SECONDS).contains(&left.remaining_seconds), "{left:?}");
    assert_eq!(left.keys, [key]);
    assert_eq!(kv.lease_keep_alive(lease).await.expect("answered").1, LEASE_SECONDS);
    kv.lease_revoke(lease).await.expect("a lease can be revoked");
    assert_eq!(value_of(kv, key).await, None);

    assert_eq!(kv.lease_keep_alive(lease).await.expect("answered").1, 0);
    assert_eq!(
        kv.lease_time_to_live(lease, false).await.expect("answered").1.remaining_seconds,
        -1
    );
    let again = kv.lease_revoke(lease).await.expect_err("it is gone");
    assert!(again.is_lease_not_found(), "{again}");
}

async fn watches_resume_in_order<K: Kv>(kv: &K, prefix: &str) {
    let key = format!("{prefix}/k");
    let live = WatchSpec { range: under(prefix), ..WatchSpec::default() };
    let mut live = kv.watch(live).await.expect("a watch is opened");
    let (first, _) = kv.put(put(&key, "1")).await.expect("a put is answered");
    kv.put(put(&key, "2")).await.expect("a put is answered");
    let delete = DeleteRangeRequest { range: one(&key), prev_kv: false };
    kv.delete(delete).await.expect("a deletion is answered");

    let spec = WatchSpec { range: under(prefix), prev_kv: true, ..WatchSpec::default() };
    let spec = WatchSpec { start_revision: first.revision, ..spec };
    let mut past = kv.watch(spec).await.expect("a watch is opened");
    for watcher in [&mut live, &mut past] {
        let mut seen: Vec<WatchEvent> = Vec::new();
        while seen.len() < 3 {
            seen.extend(watcher.next().await.expect("the watch goes on").events);
        }
        let kinds: Vec<EventKind> = seen.iter().map(|event| event.event.kind).collect();
        assert_eq!(kinds, [EventKind::Put, EventKind::Put, EventKind::Delete]);
        let revisions: Vec<Revision> = seen.iter().map(|e| e.event.kv.mod_revision).collect();
        assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
    }
    let no_put = WatchSpec { range: under(prefix), no_put: true, ..WatchSpec::default() };
    let no_put = WatchSpec { start_revision: first.revision, ..no_put };
    let mut deletions = kv.watch(no_put).await.expect("a watch is opened");
    let events = deletions.next().await.expect("the watch goes on").events;
    assert!(events.len() == 1 && events[0].event.kind == EventKind::Delete, "{events:?}");
}

async fn locks_pass_on_in_line<K: Kv>(kv: &K, name: &str) {
    let leases = [grant(kv).await, grant(kv).await, grant(kv).await];
    let name = name.as_bytes();
    let first = lock::lock(kv, name, leases[0]).await.expect("a free lock is taken at once");
    let again = lock::lock(kv, name, leases[0]).await.expect("the owner may ask again");
    assert_eq!(again.revision, first.revision);

    // The second contender leaves the line while it waits; the third must not wait for it.
    let (in_line, joined) = oneshot::channel();
    let leaving = async {
        let mut waiting = pin!(lock::lock(kv, name, leases[1]));
        let key = lock_key(name, leases[1]);
        let mut in_line = Some(in_line);
        loop {
            tokio::select! {
                held = &mut waiting => panic!("the lock is held by another: {held:?}"),
                found = kv.get(key.clone()) => {
                    if found.expect("a read is answered").1.is_some() {
                        let in_line = in_line.take().expect("the loop ends here");
                        in_line.send(()).expect("the other side waits");
                        return;
                    }
                }
            }
        }
    };
    let (_, left) = tokio::join!(leaving, joined);
    left.expect("the second contender stood in line");

    let third = async { lock::lock(kv, name, leases[2]).await.expect("the lock comes free") };
    let release = async { lock::unlock(kv, &first).await.expect("a release is answered") };
    let (third, was_held) = tokio::join!(third, release);
    assert!(was_held);
    assert!(third.revision > first.revision, "the fencing token grows");
    assert!(!lock::unlock(kv, &first).await.expect("answered"), "a stale owner releases nothing");
    assert!(lock::unlock(kv, &third).await.expect("answered"));
}

fn lock_key(name: &[u8], lease: LeaseId) -> Bytes {
    [name, b"/", format!("{lease}").as_bytes()].concat().into()
}

async fn lost_leases_lose_locks<K: Kv>(kv: &K, name: &str) {
    let (owner, waiter) = (grant(kv).await, grant(kv).await);
    let name = name.as_bytes();
    let held = lock::lock(kv, name, owner).await.expect("a free lock is taken at once");
    let waiting = lock::lock(kv, name, waiter);
    let revoke_waiter = async {
        while kv.get(lock_key(name, waiter)).await.expect("answered").1.is_none() {}
        kv.lease_revoke(waiter).await.expect("a lease can be revoked");
    };
    let (waited, ()) = tokio::join!(waiting, revoke_waiter);
    assert_eq!(waited, Err(OwnershipError::SessionLost));

    let (lost, revoked) = tokio::join!(lock::lost(kv, &held), kv.lease_revoke(owner));
    assert!(lost.is_ok() && revoked.is_ok());
    let gone = lock::lock(kv, name, owner).await;
    assert_eq!(gone, Err(OwnershipError::SessionLost), "a lock needs a living lease");
}

async fn elections_have_one_leader<K: Kv>(kv: &K, name: &str) {
    let leases = [grant(kv).await, grant(kv).await];
    let name = name.as_bytes();
    assert_eq!(election::leader(kv, name).await.expect("answered").1, None);
    let mut observer = election::observe(kv, name).await.expect("answered");

    let first = election::campaign(kv, name, leases[0], "a").await.expect("nobody else");
    assert_eq!(observer.next().await.expect("a leader").1.value, "a");
    election::proclaim(kv, &first, "a2").await.expect("it leads");
    assert_eq!(observer.next().await.expect("a new value").1.value, "a2");

    let second = election::campaign(kv, name, leases[1], "b");
    let resign = election::resign(kv, &first);
    let (second, resigned) = tokio::join!(second, resign);
    let second = second.expect("the first has resigned");
    assert!(resigned.expect("answered").1);
    assert!(second.revision > first.revision);
    assert_eq!(observer.next().await.expect("a new leader").1.value, "b");
    let stale = election::proclaim(kv, &first, "late").await;
    assert_eq!(stale, Err(OwnershipError::NotOwner));
    let leader = election::leader(kv, name).await.expect("answered").1;
    assert_eq!(leader.map(|leader| leader.value), Some(Bytes::from("b")));
}

async fn numbers_are_counted_once<K: Kv>(kv: &K, prefix: &str) {
    let counter = Counter::new(kv, format!("{prefix}/counter"));
    let adders: Vec<_> = (0..4)
        .map(|_| {
            let counter = counter.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    counter.add(3).await.expect("an addition is answered");
                }
            })
        })
        .collect();
    for adder in adders {
        adder.await.expect("no adder panics");
    }
    assert_eq!(counter.value().await.expect("answered"), 4 * 10 * 3);

    let key = format!("{prefix}/ids");
    let allocators = [IdAllocator::new(kv, key.clone(), 4), IdAllocator::new(kv, key, 4)];
    let mut ids = BTreeSet::new();
    for _ in 0..10 {
        for allocator in &allocators {
            let id = allocator.next().await.expect("an id is given");
            assert!(ids.insert(id), "id {id} was given twice");
        }
    }
}

async fn sessions_notice_their_loss<K: Kv>(kv: &K) {
    let session = Session::open(kv, 2).await.expect("a session is opened");
    assert!(!session.is_lost());
    kv.lease_revoke(session.lease()).await.expect("a lease can be revoked");
    session.lost().await;
    assert!(session.is_lost());
    let closed = Session::open(kv, LEASE_SECONDS).await.expect("a session is opened");
    let lease = closed.lease();
    closed.close().await.expect("a session can be closed");
    assert_eq!(kv.lease_keep_alive(lease).await.expect("answered").1, 0);
}
