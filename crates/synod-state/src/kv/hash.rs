//! Hashes of the state, to tell whether replicas are equal.
//!
//! Both cover what readers can see, not what happens to be stored: how far a replica has scrubbed, and
//! into which batches its commands fell, makes no difference. Events are taken in history order, in steps
//! if the owner has other things to do: what was hashed does not change, but for a compaction, after
//! which the walk begins anew.

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

/// A hash that is made in steps. Invariant: `hash` is that of everything before `from`.
#[derive(Clone, Debug)]
pub struct HashWalk {
    revision: Revision,
    compacted: Revision,
    from: Vec<u8>,
    hash: u32,
}

impl Kv {
    /// Hashes keys and history up to `revision` (0 or less: the current one), not the leases.
    pub fn hash(&self, revision: Revision) -> Result<Result<KvHash, Refusal>, EngineError> {
        let mut walk = match self.start_hash(revision) {
            Ok(walk) => walk,
            Err(refusal) => return Ok(Err(refusal)),
        };
        loop {
            if let Some(outcome) = self.step_hash(&mut walk, usize::MAX)? {
                return Ok(outcome);
            }
        }
    }

    /// Begins the same in steps.
    pub fn start_hash(&self, revision: Revision) -> Result<HashWalk, Refusal> {
        let revision = self.readable(revision)?;
        Ok(HashWalk { revision, compacted: self.compacted, from: Vec::new(), hash: 0 })
    }

    /// Goes on by about so many bytes of history; `None` if there is more.
    pub fn step_hash(
        &self,
        walk: &mut HashWalk,
        max_bytes: usize,
    ) -> Result<Option<Result<KvHash, Refusal>>, EngineError> {
        if walk.compacted != self.compacted {
            match self.start_hash(walk.revision) {
                Ok(anew) => *walk = anew,
                Err(refusal) => return Ok(Some(Err(refusal))),
            }
        }
        if !self.hash_events(walk, max_bytes)? {
            return Ok(None);
        }
        let HashWalk { revision, compacted, hash, .. } = *walk;
        Ok(Some(Ok(KvHash { hash, compacted, revision })))
    }

    /// Hashes everything that is replicated: keys, history, revisions, leases. Replicas that have
    /// applied the same log prefix agree in it.
    pub fn state_hash(&self) -> Result<u32, EngineError> {
        let mut e = Encoder::new();
        let (revision, compacted) = (self.revision, self.compacted);
        let mut walk = HashWalk { revision, compacted, from: Vec::new(), hash: 0 };
        while !self.hash_events(&mut walk, usize::MAX)? {}
        e.u32(walk.hash);
        e.var_i64(self.revision.0).var_i64(self.compacted.0);
        for (id, lease) in self.leases.iter() {
            e.var_i64(id.0).var_i64(lease.ttl_seconds).var(lease.keys.len() as u64);
            lease.keys.iter().for_each(|key| {
                e.bytes(key);
            });
        }
        Ok(crc32c_append(0, &e.into_vec()))
    }

    /// Whether it came to the end.
    fn hash_events(&self, walk: &mut HashWalk, max_bytes: usize) -> Result<bool, EngineError> {
        let mut hash = walk.hash;
        let mut outcome = Ok(());
        let mut bytes = 0;
        let mut stopped_at = None;
        let end = EventId::first_key(walk.revision.min(self.committed).next());
        self.engine.scan(Space::History, &walk.from, Some(&end), &mut |key, value| {
            if bytes >= max_bytes {
                stopped_at = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            bytes += key.len() + value.len();
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
        walk.hash = hash;
        if let Some(key) = stopped_at {
            walk.from = key;
            return Ok(false);
        }
        walk.from = end.to_vec();
        self.hash_uncommitted(walk);
        Ok(true)
    }

    /// Events that are not in the engine: a few, and in memory.
    fn hash_uncommitted(&self, walk: &mut HashWalk) {
        let mut sub = 0;
        let mut last = Revision(0);
        for event in self.window.from(self.committed.next()).into_iter().flatten() {
            let at = event.kv.mod_revision;
            if at > walk.revision {
                break;
            }
            sub = if at == last { sub + 1 } else { 0 };
            last = at;
            let id = EventId { revision: at, sub };
            if at > self.compacted || self.holds_at_compacted(id, &event.kv.key) {
                walk.hash = crc32c_append(walk.hash, &id.to_key());
                walk.hash = crc32c_append(walk.hash, &record::encode(event.kind, &event.kv));
            }
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use synod_storage::engine::{Engine, MemoryEngine, WriteBatch};

    use super::*;
    use crate::kv::{Command, PutRequest};

    fn apply(kv: &mut Kv, engine: &MemoryEngine, command: &Command) {
        let mut batch = WriteBatch::default();
        kv.apply(command, &mut batch).unwrap().unwrap();
        engine.write(batch).unwrap();
        kv.on_committed();
    }

    fn put(n: i32) -> Command {
        let key = format!("k{}", n % 10).into();
        Command::Put(PutRequest { key, value: vec![n as u8; 100].into(), ..PutRequest::default() })
    }

    #[test]
    fn a_hash_made_in_steps_between_writes_is_the_hash_made_at_once() {
        let engine = Arc::new(MemoryEngine::new());
        let mut kv = Kv::open(engine.clone()).unwrap();
        (0..100).for_each(|n| apply(&mut kv, &engine, &put(n)));
        let at_once = kv.hash(Revision(0)).unwrap().unwrap();
        let mut walk = kv.start_hash(Revision(0)).unwrap();
        let mut steps = 0;
        let outcome = loop {
            steps += 1;
            if let Some(outcome) = kv.step_hash(&mut walk, 1000).unwrap() {
                break outcome;
            }
            apply(&mut kv, &engine, &put(steps));
        };
        assert_eq!(outcome, Ok(at_once));
        assert!(steps > 10, "{steps}");
    }

    #[test]
    fn a_compaction_on_the_way_begins_the_hash_anew_or_refuses_it() {
        let engine = Arc::new(MemoryEngine::new());
        let mut kv = Kv::open(engine.clone()).unwrap();
        (0..100).for_each(|n| apply(&mut kv, &engine, &put(n)));
        let mut kept = kv.start_hash(Revision(90)).unwrap();
        let mut lost = kv.start_hash(Revision(20)).unwrap();
        for walk in [&mut kept, &mut lost] {
            assert_eq!(kv.step_hash(walk, 1000).unwrap(), None);
        }
        apply(&mut kv, &engine, &Command::Compact { revision: Revision(50) });
        let mut batch = WriteBatch::default();
        while kv.scrub(3, &mut batch).unwrap() {}
        engine.write(batch).unwrap();
        let outcome = kv.step_hash(&mut kept, usize::MAX).unwrap();
        assert_eq!(outcome, Some(kv.hash(Revision(90)).unwrap()));
        let refused = Refusal::Compacted { compacted: Revision(50) };
        assert_eq!(kv.step_hash(&mut lost, usize::MAX).unwrap(), Some(Err(refused)));
    }
}
