//! Elections, by etcd's recipe (see `queue.rs`): the leader of a name is the contender with the lowest
//! create revision, and its value says who it is.

use bytes::Bytes;
use synod_base::{LeaseId, Revision};
use synod_node::{Header, WatchSpec};
use synod_state::kv::{
    EventKind, KeyRange, KeyValue, PutRequest, RangeRequest, SortOrder, SortTarget, TxnOp,
    TxnRequest,
};

use crate::error::ClientError;
use crate::kv::{Answer, Consistency, Kv};
use crate::queue;
pub use crate::queue::OwnershipError;
use crate::watcher::Watcher;

/// Leadership of one name, held as long as its key exists (v3electionpb.LeaderKey).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leadership {
    /// Of what.
    pub name: Bytes,
    /// The leader's key.
    pub key: Bytes,
    /// The key's create revision: the fencing token, higher for every later leader.
    pub revision: Revision,
    /// The lease that keeps it.
    pub lease: LeaseId,
    /// Of the read that saw the leadership.
    pub header: Header,
}

/// Waits to become leader of `name` with a lease that the caller keeps alive, and announces `value`.
/// The same lease may ask again and gets the same place.
///
/// A caller that drops the future while it waits leaves the line.
pub async fn campaign<K: Kv>(
    kv: &K,
    name: &[u8],
    lease: LeaseId,
    value: impl Into<Bytes>,
) -> Result<Leadership, OwnershipError> {
    let value = value.into();
    let taken = queue::take_place(kv, name, lease, value.clone()).await?;
    let place = &taken.place;
    if place.value != value {
        announce(kv, &place.key, place.revision, lease, value)
            .await?
            .ok_or(OwnershipError::SessionLost)?;
    }
    let (header, place) = queue::wait_for_turn(kv, name, taken).await?;
    let name = Bytes::copy_from_slice(name);
    Ok(Leadership { name, key: place.key, revision: place.revision, lease, header })
}

/// Announces a new value without a new election.
pub async fn proclaim<K: Kv>(
    kv: &K,
    leadership: &Leadership,
    value: impl Into<Bytes>,
) -> Result<Header, OwnershipError> {
    let Leadership { key, revision, lease, .. } = leadership;
    announce(kv, key, *revision, *lease, value.into()).await?.ok_or(OwnershipError::NotOwner)
}

/// Steps down; false if the leadership was lost before.
pub async fn resign<K: Kv>(kv: &K, leadership: &Leadership) -> Answer<bool> {
    queue::leave(kv, &leadership.key, leadership.revision).await
}

/// Waits until the leadership is lost or given up. An error means that nobody can tell any more:
/// treat it as lost.
pub async fn lost<K: Kv>(kv: &K, leadership: &Leadership) -> Result<(), ClientError> {
    queue::wait_until_gone(kv, &leadership.key, leadership.revision).await
}

/// The leader's key and value, if there is a leader.
pub async fn leader<K: Kv>(kv: &K, name: &[u8]) -> Answer<Option<KeyValue>> {
    let request = RangeRequest {
        range: KeyRange::prefix(queue::line_of(name)),
        limit: 1,
        sort_order: SortOrder::Ascend,
        sort_target: SortTarget::Create,
        ..RangeRequest::default()
    };
    let (header, found) = kv.range(request, Consistency::Linearizable).await?;
    Ok((header, found.kvs.into_iter().next()))
}

/// Starts to follow who leads `name`.
pub async fn observe<K: Kv>(kv: &K, name: &[u8]) -> Result<Observer<K>, ClientError> {
    let watcher = watch_line(kv, name).await?;
    let name = Bytes::copy_from_slice(name);
    Ok(Observer { kv: kv.clone(), name, watcher, told: None, must_read: true })
}

/// Follows the leaders of one name. Each leader and each new value of a leader is told; changes that
/// follow each other faster than they are read may be told as one.
#[derive(Debug)]
pub struct Observer<K> {
    kv: K,
    name: Bytes,
    watcher: Watcher,
    /// Create and mod revision of the last one told.
    told: Option<(Revision, Revision)>,
    must_read: bool,
}

impl<K: Kv> Observer<K> {
    /// Waits for the next leader or value; at first the present one, if there is any. Cancel-safe.
    pub async fn next(&mut self) -> Result<(Header, KeyValue), ClientError> {
        loop {
            if self.must_read {
                let (header, leader) = leader(&self.kv, &self.name).await?;
                self.must_read = false;
                if let Some(leader) = leader {
                    let seen = (leader.create_revision, leader.mod_revision);
                    if self.told.replace(seen) != Some(seen) {
                        return Ok((header, leader));
                    }
                }
            }
            match self.watcher.next().await {
                Ok(batch) => self.must_read |= batch.events.iter().any(|e| self.matters(&e.event)),
                Err(ClientError::WatchCanceled { compact_revision, .. })
                    if compact_revision != Revision(0) =>
                {
                    self.watcher = watch_line(&self.kv, &self.name).await?;
                    self.must_read = true;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A new contender behind a living leader changes nothing.
    fn matters(&self, event: &synod_state::kv::Event) -> bool {
        let Some((leader_created, _)) = self.told else { return true };
        event.kind == EventKind::Delete || event.kv.create_revision <= leader_created
    }
}

async fn watch_line<K: Kv>(kv: &K, name: &[u8]) -> Result<Watcher, ClientError> {
    let range = KeyRange::prefix(queue::line_of(name));
    kv.watch(WatchSpec { range, ..WatchSpec::default() }).await
}

/// Writes the value if the key is still the same one; `None` if it is not.
async fn announce<K: Kv>(
    kv: &K,
    key: &Bytes,
    revision: Revision,
    lease: LeaseId,
    value: Bytes,
) -> Result<Option<Header>, OwnershipError> {
    let put = PutRequest { key: key.clone(), value, lease, ..PutRequest::default() };
    let request = TxnRequest {
        compare: vec![queue::created_at(key, revision)],
        success: vec![TxnOp::Put(put)],
        failure: Vec::new(),
    };
    let (header, result) = kv.txn(request).await.map_err(queue::session_lost_if_no_lease)?;
    Ok(result.succeeded.then_some(header))
}
