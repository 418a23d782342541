//! Locks, by etcd's recipe (see `queue.rs`): a lock taken here is seen by every etcd client, and the
//! other way round.
//!
//! A lock is advisory: after a pause its owner may have lost it without knowing. Whoever guards a
//! resource compares the fencing token, [`LockHeld::revision`], and refuses a lower one than it has seen.

use bytes::Bytes;
use synod_base::{LeaseId, Revision};
use synod_node::Header;

use crate::error::ClientError;
use crate::kv::Kv;
use crate::queue;
pub use crate::queue::OwnershipError;

/// A lock that is held as long as its key exists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LockHeld {
    /// The owner's key, `<name>/<lease id in hex>`; deleting it releases the lock.
    pub key: Bytes,
    /// The key's create revision: the fencing token, higher for every later owner.
    pub revision: Revision,
    /// Of the read that saw the ownership.
    pub header: Header,
}

/// Waits for the lock `name` and takes it with a lease that the caller keeps alive. The same lease
/// may ask again (also after an error with an unknown outcome) and gets the same place.
///
/// A caller that drops the future while it waits leaves the line.
pub async fn lock<K: Kv>(kv: &K, name: &[u8], lease: LeaseId) -> Result<LockHeld, OwnershipError> {
    let taken = queue::take_place(kv, name, lease, Bytes::new()).await?;
    let (header, place) = queue::wait_for_turn(kv, name, taken).await?;
    Ok(LockHeld { key: place.key, revision: place.revision, header })
}

/// Releases the lock; false if it was lost before.
pub async fn unlock<K: Kv>(kv: &K, held: &LockHeld) -> Result<bool, ClientError> {
    let (_, was_held) = queue::leave(kv, &held.key, held.revision).await?;
    Ok(was_held)
}

/// Waits until the lock is lost or released. An error means that nobody can tell any more: treat it
/// as lost.
pub async fn lost<K: Kv>(kv: &K, held: &LockHeld) -> Result<(), ClientError> {
    queue::wait_until_gone(kv, &held.key, held.revision).await
}
