//! Waiting in line for the ownership of a name: the recipe that locks and elections share, as etcd's
//! clients do it, so that theirs and ours stand in the same line.
//!
//! Each contender writes `<name>/<lease id in hex>` with its lease. The lowest create revision owns.
//! A contender waits only for the one just before it, so a release wakes one waiter, not all. It also
//! watches its own key: if that goes, its session is lost and it stops waiting. A watch always stands
//! before the read it depends on, so no deletion falls between the two.

use bytes::{BufMut, Bytes, BytesMut};
use synod_base::{LeaseId, Revision};
use synod_node::{Header, RequestError, WatchSpec};
use synod_state::kv::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, EventKind, KeyRange, KeyValue,
    PutRequest, RangeRequest, SortOrder, SortTarget, TxnOp, TxnOpResult, TxnRequest,
};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::error::ClientError;
use crate::kv::{Consistency, Kv};
use crate::watcher::Watcher;

/// How often in a row a watch may be ended by the server before the waiter gives up.
const MAX_WATCHES_ENDED: u32 = 16;

/// Why a name could not be owned, or is owned no longer.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum OwnershipError {
    /// The store has no answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The lease has ended, and the contender's key went with it. Grant a new lease and start anew.
    #[error("session lost: its lease has ended")]
    SessionLost,
    /// The caller owned the name no longer when it asked. Stop acting as the owner.
    #[error("not the owner any more")]
    NotOwner,
}

/// A place in the line of one name; the first place is ownership.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// The contender's key.
    pub key: Bytes,
    /// Its create revision: the order of the line, and the fencing token.
    pub revision: Revision,
    /// Its value as it was when the place was taken.
    pub value: Bytes,
    /// This call wrote the key; it was not there before.
    pub created: bool,
}

/// `<name>/`, under which all contenders stand.
pub(crate) fn line_of(name: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(name.len() + 1);
    line.put_slice(name);
    line.put_u8(b'/');
    line.freeze()
}

/// Takes a place, or finds the one this lease has already: calling again after an unknown outcome
/// is safe. If the caller drops the future while the answer is under way, the place is left again.
pub(crate) async fn take_place<K: Kv>(
    kv: &K,
    name: &[u8],
    lease: LeaseId,
    value: Bytes,
) -> Result<LeaveOnDrop<K>, OwnershipError> {
    let (kv, name) = (kv.clone(), Bytes::copy_from_slice(name));
    let taking = async move {
        let place = write_place(&kv, &name, lease, value).await?;
        let armed = place.created;
        Ok(LeaveOnDrop { kv, place, armed })
    };
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return taking.await };
    let (sender, taken) = oneshot::channel();
    // Whoever drops the result, here or in the channel, drops the guard in it.
    runtime.spawn(async move { drop(sender.send(taking.await)) });
    taken.await.unwrap_or(Err(ClientError::Request(RequestError::Stopped).into()))
}

async fn write_place<K: Kv>(
    kv: &K,
    name: &[u8],
    lease: LeaseId,
    value: Bytes,
) -> Result<Place, OwnershipError> {
    let mut key = line_of(name).to_vec();
    key.extend_from_slice(format!("{lease}").as_bytes());
    let key = Bytes::from(key);
    let put = PutRequest { key: key.clone(), value, lease, ..PutRequest::default() };
    let read = RangeRequest { range: KeyRange::one(key.clone()), ..RangeRequest::default() };
    let request = TxnRequest {
        compare: vec![created_at(&key, Revision(0))],
        success: vec![TxnOp::Put(put), TxnOp::Range(read.clone())],
        failure: vec![TxnOp::Range(read)],
    };
    let (_, result) = kv.txn(request).await.map_err(session_lost_if_no_lease)?;
    let Some(TxnOpResult::Range(found)) = result.responses.into_iter().next_back() else {
        return Err(ClientError::UnexpectedAnswer { request: "txn" }.into());
    };
    let Some(own) = found.kvs.into_iter().next() else {
        return Err(ClientError::UnexpectedAnswer { request: "txn" }.into());
    };
    let KeyValue { create_revision, value, .. } = own;
    Ok(Place { key, revision: create_revision, value, created: result.succeeded })
}

/// Waits until the place is the first of its line; answers with the header of the read that saw it.
///
/// If it does not come to that (an error, or the caller drops the future), a key that this call's
/// `take_place` created is deleted again, so that nobody waits for a contender that left.
pub(crate) async fn wait_for_turn<K: Kv>(
    kv: &K,
    name: &[u8],
    mut taken: LeaveOnDrop<K>,
) -> Result<(Header, Place), OwnershipError> {
    let header = wait_in_line(kv, name, &taken.place).await?;
    taken.armed = false;
    Ok((header, taken.place.clone()))
}

/// Deletes the contender's key if it is still the same one; whether it was.
pub(crate) async fn leave<K: Kv>(
    kv: &K,
    key: &Bytes,
    revision: Revision,
) -> Result<(Header, bool), ClientError> {
    let request = TxnRequest {
        compare: vec![created_at(key, revision)],
        success: vec![TxnOp::DeleteRange(DeleteRangeRequest {
            range: KeyRange::one(key.clone()),
            prev_kv: false,
        })],
        failure: Vec::new(),
    };
    let (header, result) = kv.txn(request).await?;
    Ok((header, result.succeeded))
}

/// Waits until the contender's key is gone.
pub(crate) async fn wait_until_gone<K: Kv>(
    kv: &K,
    key: &Bytes,
    revision: Revision,
) -> Result<(), ClientError> {
    let mut watches_ended = 0;
    loop {
        let mut watcher = watch_deletions(kv, key).await?;
        let (_, own) = kv.get(key.clone()).await?;
        if own.is_none_or(|own| own.create_revision != revision) {
            return Ok(());
        }
        match next_deletion(&mut watcher).await {
            Ok(()) => return Ok(()),
            Err(error) => tolerate_ended_watch(&mut watches_ended, error)?,
        }
    }
}

/// The guard of a transaction that must meet this very key (revision 0: no such key).
pub(crate) fn created_at(key: &Bytes, revision: Revision) -> Compare {
    Compare {
        range: KeyRange::one(key.clone()),
        result: CompareResult::Equal,
        target: CompareTarget::Create(revision),
    }
}

/// A write under a lease that is gone means that the session is lost.
pub(crate) fn session_lost_if_no_lease(error: ClientError) -> OwnershipError {
    if error.is_lease_not_found() { OwnershipError::SessionLost } else { error.into() }
}

async fn wait_in_line<K: Kv>(kv: &K, name: &[u8], place: &Place) -> Result<Header, OwnershipError> {
    let mut own_watcher: Option<Watcher> = None;
    let mut watches_ended = 0;
    loop {
        let (header, before) = contender_before(kv, name, place.revision).await?;
        let Some(before) = before else {
            return match kv.get(place.key.clone()).await? {
                (_, Some(own)) if own.create_revision == place.revision => Ok(header),
                _ => Err(OwnershipError::SessionLost),
            };
        };
        let mut before_watcher = watch_deletions(kv, &before.key).await?;
        let own_watcher = match &mut own_watcher {
            Some(watcher) => watcher,
            none => none.insert(watch_deletions(kv, &place.key).await?),
        };
        let (_, own) = kv.get(place.key.clone()).await?;
        if own.is_none_or(|own| own.create_revision != place.revision) {
            return Err(OwnershipError::SessionLost);
        }
        let (_, still) = kv.get(before.key.clone()).await?;
        if still.is_none_or(|still| still.create_revision != before.create_revision) {
            continue;
        }
        let ended = tokio::select! {
            gone = next_deletion(own_watcher) => match gone {
                Ok(()) => return Err(OwnershipError::SessionLost),
                Err(error) => Some(error),
            },
            gone = next_deletion(&mut before_watcher) => gone.err(),
        };
        if let Some(error) = ended {
            tolerate_ended_watch(&mut watches_ended, error)?;
            *own_watcher = watch_deletions(kv, &place.key).await?;
        }
    }
}

async fn contender_before<K: Kv>(
    kv: &K,
    name: &[u8],
    revision: Revision,
) -> Result<(Header, Option<KeyValue>), ClientError> {
    let request = RangeRequest {
        range: KeyRange::prefix(line_of(name)),
        limit: 1,
        sort_order: SortOrder::Descend,
        sort_target: SortTarget::Create,
        max_create_revision: Revision(revision.0 - 1),
        keys_only: true,
        ..RangeRequest::default()
    };
    let (header, found) = kv.range(request, Consistency::Linearizable).await?;
    Ok((header, found.kvs.into_iter().next()))
}

async fn watch_deletions<K: Kv>(kv: &K, key: &Bytes) -> Result<Watcher, ClientError> {
    let range = KeyRange::one(key.clone());
    kv.watch(WatchSpec { range, no_put: true, ..WatchSpec::default() }).await
}

async fn next_deletion(watcher: &mut Watcher) -> Result<(), ClientError> {
    loop {
        let batch = watcher.next().await?;
        if batch.events.iter().any(|event| event.event.kind == EventKind::Delete) {
            return Ok(());
        }
    }
}

fn tolerate_ended_watch(watches_ended: &mut u32, error: ClientError) -> Result<(), ClientError> {
    *watches_ended += 1;
    match error {
        ClientError::WatchCanceled { .. } if *watches_ended < MAX_WATCHES_ENDED => Ok(()),
        error => Err(error),
    }
}

/// Takes the contender out of the line when it stops waiting.
pub(crate) struct LeaveOnDrop<K: Kv> {
    kv: K,
    pub place: Place,
    armed: bool,
}

impl<K: Kv> Drop for LeaveOnDrop<K> {
    fn drop(&mut self) {
        // Without a runtime (a simulated world) the key goes when its lease ends.
        if let (true, Ok(runtime)) = (self.armed, tokio::runtime::Handle::try_current()) {
            let (kv, place) = (self.kv.clone(), self.place.clone());
            runtime.spawn(async move { leave(&kv, &place.key, place.revision).await });
        }
    }
}
