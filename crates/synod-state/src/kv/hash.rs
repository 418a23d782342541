//! Hashes of the state, to tell whether replicas are equal.
//!
//! Both cover what readers can see, not what happens to be stored: how far a replica has scrubbed, and
//! into which batches its commands fell, makes no difference. Events are taken in history order.

use std::ops::ControlFlow;

use bytes::Bytes;
use synod_base::checksum::crc32c_append;
use synod_base::{Encoder, Revision};
use synod_storage::engine::{EngineError, Space};

use super::Refusal;
use super::machine::Kv;
use super::record::{self, EventId};

/// A hash over the key-value state up to a revision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KvHash {
    /// CRC32C of the keys that were there at `compacted`, and of all events after it up to `revision`.
    pub hash: u32,
    /// The compacted revision at the time; only hashes that agree in it can be compared.
    pub compacted: Revision,
    /// Up to here.
    pub revision: Revision,
}

impl Kv {
    /// Hashes keys and history up to `revision` (0 or less: the current one), not the leases.
    pub fn hash(&self, revision: Revision) -> Result<Result<KvHash, Refusal>, EngineError> {
        let revision = match self.readable(revision) {
            Ok(revision) => revision,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let hash = self.hash_events(revision)?;
        Ok(Ok(KvHash { hash, compacted: self.compacted, revision }))
    }

    /// Hashes everything that is replicated: keys, history, revisions, leases. Replicas that have
    /// applied the same log prefix agree in it.
    pub fn state_hash(&self) -> Result<u32, EngineError> {
        let mut e = Encoder::new();
        e.u32(self.hash_events(self.revision)?);
        e.var_i64(self.revision.0).var_i64(self.compacted.0);
        for (id, lease) in self.leases.iter() {
            e.var_i64(id.0).var_i64(lease.ttl_seconds).var(lease.keys.len() as u64);
            lease.keys.iter().for_each(|key| {
                e.bytes(key);
            });
        }
        Ok(crc32c_append(0, &e.into_vec()))
    }

    fn hash_events(&self, revision: Revision) -> Result<u32, EngineError> {
        let mut hash = 0;
        let mut outcome = Ok(());
        let end = EventId::first_key(revision.min(self.committed).next());
        self.engine.scan(Space::History, &[], Some(&end), &mut |key, value| {
            match self.is_hashed(key, value) {
                Ok(true) => hash = crc32c_append(crc32c_append(hash, key), value),
                Ok(false) => {}
                Err(error) => {
                    outcome = Err(error);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        outcome?;
        let mut sub = 0;
        let mut last = Revision(0);
        for event in self.window.from(self.committed.next()).into_iter().flatten() {
            let at = event.kv.mod_revision;
            if at > revision {
                break;
            }
            sub = if at == last { sub + 1 } else { 0 };
            last = at;
            let id = EventId { revision: at, sub };
            if at > self.compacted || self.holds_at_compacted(id, &event.kv.key) {
                hash = crc32c_append(hash, &id.to_key());
                hash = crc32c_append(hash, &record::encode(event.kind, &event.kv));
            }
        }
        Ok(hash)
    }

    fn is_hashed(&self, key: &[u8], record: &[u8]) -> Result<bool, EngineError> {
        let id = EventId::from_key(key)?;
        if id.revision > self.compacted {
            return Ok(true);
        }
        let event = record::decode(id, Bytes::copy_from_slice(record))?;
        Ok(self.holds_at_compacted(id, &event.kv.key))
    }

    /// Whether an event is what a reader at the compacted revision sees of its key.
    fn holds_at_compacted(&self, id: EventId, key: &[u8]) -> bool {
        self.index.get(key).and_then(|history| history.put_at(self.compacted)) == Some(id)
    }
}
