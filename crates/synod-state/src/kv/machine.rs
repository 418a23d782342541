//! `Kv`: the machine itself: opening, applying commands, committing.
//!
//! The order of calls is `apply` any number of times into one batch, `engine.write(batch)` by the owner
//! (with its own applied index in the same batch), `on_committed`. An `EngineError` from `apply`
//! leaves the machine between two states: its owner drops it and opens it again from the engine. After a
//! failed `engine.write` (no space) nothing is lost: what was applied stays readable here, and the
//! owner may write the same batch again later, or open anew and replay the log.
//!
//! How a transaction runs is in `txn.rs`, how keys are read in `range.rs`, what is forgotten in
//! `scrub.rs`.

use std::sync::Arc;

use bytes::Bytes;
use synod_base::{LeaseId, Revision};
use synod_storage::engine::{Engine, EngineError, Space, WriteBatch};

use super::index::{KeyIndex, Live, Mark};
use super::lease::{self, Lease, Leases, MAX_TTL_SECONDS};
use super::open;
use super::record::{self, EventId};
use super::scrub::ScrubState;
use super::window::Window;
use super::{
    Command, CommandResult, DeleteRangeRequest, Event, EventKind, KeyRange, KeyValue, PutRequest,
    RangeRequest, Refusal, validate,
};

/// The key-value state.
pub struct Kv {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) index: KeyIndex,
    pub(super) leases: Leases,
    pub(super) window: Window,
    /// The revision of the last write, 1 before the first.
    pub(super) revision: Revision,
    /// The last revision that is in the engine; `window` holds all after it.
    pub(super) committed: Revision,
    /// The lowest readable revision; 0 before the first compaction.
    pub(super) compacted: Revision,
    pub(super) scrub: ScrubState,
}

/// How much the recent-events window holds, in bytes: some seconds of writes, so that watchers and
/// `prev_kv` seldom go to the engine, and small beside a node's 60 MB of idle memory.
pub const WINDOW_BYTES: usize = 8 * 1024 * 1024;

/// Revision of a store that nothing was ever written to, as in etcd.
pub const FIRST_REVISION: Revision = Revision(1);

/// Sizes, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KvSizes {
    /// Keys that are there.
    pub live_keys: usize,
    /// Keys in the index, with deleted ones whose history is still readable.
    pub known_keys: usize,
    /// Events in the history.
    pub history_events: usize,
    /// Events in the recent-events window.
    pub window_events: usize,
    /// What they cost.
    pub window_bytes: usize,
    /// Leases.
    pub leases: usize,
}

/// One write transaction at work: all its events share the revision it makes.
#[derive(Default)]
pub(super) struct Writing {
    /// Events so far. The first one raises the revision.
    events: u32,
}

impl Kv {
    /// Opens the state that an engine holds; an empty engine is an empty store.
    pub fn open(engine: Arc<dyn Engine>) -> Result<Kv, open::OpenError> {
        open::open(engine, WINDOW_BYTES)
    }

    /// Opens with a recent-events window of another size.
    pub fn open_with_window(
        engine: Arc<dyn Engine>,
        window_bytes: usize,
    ) -> Result<Kv, open::OpenError> {
        open::open(engine, window_bytes)
    }

    /// Applies a committed command; its changes go to `batch` and are readable at once. A refused
    /// command changes nothing.
    pub fn apply(
        &mut self,
        command: &Command,
        batch: &mut WriteBatch,
    ) -> Result<Result<CommandResult, Refusal>, EngineError> {
        if let Err(refusal) = validate::validate(command) {
            return Ok(Err(refusal));
        }
        let mut writing = Writing::default();
        Ok(match command {
            Command::Put(put) => match self.check_put(put) {
                Ok(()) => {
                    let prev_kv = self.put(put, &mut writing, batch)?;
                    Ok(CommandResult::Put { prev_kv })
                }
                Err(refusal) => Err(refusal),
            },
            Command::DeleteRange(delete) => {
                let (deleted, prev_kvs) = self.delete_range(delete, &mut writing, batch)?;
                Ok(CommandResult::DeleteRange { deleted, prev_kvs })
            }
            Command::Txn(txn) => self.apply_txn(txn, batch)?.map(CommandResult::Txn),
            Command::Compact { revision } => self.compact(*revision, batch),
            Command::LeaseGrant { id, ttl_seconds } => self.grant(*id, *ttl_seconds, batch),
            Command::LeaseRevoke { id } => self.revoke(*id, &mut writing, batch)?,
        })
    }

    /// The batches that held all changes so far are in the engine.
    pub fn on_committed(&mut self) {
        self.committed = self.revision;
        self.window.evict(self.committed);
    }

    /// The revision of the last write.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The lowest revision that can be read; 0 if nothing was compacted yet.
    #[must_use]
    pub fn compacted_revision(&self) -> Revision {
        self.compacted
    }

    /// How many keys there are.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.index.live_keys()
    }

    /// One lease.
    #[must_use]
    pub fn lease(&self, id: LeaseId) -> Option<&Lease> {
        self.leases.get(id)
    }

    /// All leases, by id.
    pub fn leases(&self) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.leases.iter()
    }

    /// How large its parts are.
    #[must_use]
    pub fn sizes(&self) -> KvSizes {
        KvSizes {
            live_keys: self.index.live_keys(),
            known_keys: self.index.known_keys(),
            history_events: self.index.events(),
            window_events: self.window.len(),
            window_bytes: self.window.bytes(),
            leases: self.leases.len(),
        }
    }

    /// Whether the state lets a well-formed put happen.
    pub(super) fn check_put(&self, put: &PutRequest) -> Result<(), Refusal> {
        if put.lease != LeaseId::NONE && self.leases.get(put.lease).is_none() {
            return Err(Refusal::LeaseNotFound);
        }
        if (put.ignore_value || put.ignore_lease) && self.index.live(&put.key).is_none() {
            return Err(Refusal::KeyNotFound);
        }
        Ok(())
    }

    /// Puts a key; `check_put` has passed.
    pub(super) fn put(
        &mut self,
        put: &PutRequest,
        writing: &mut Writing,
        batch: &mut WriteBatch,
    ) -> Result<Option<KeyValue>, EngineError> {
        let live = self.index.live(&put.key).copied();
        let previous = match live {
            Some(_) if put.prev_kv || put.ignore_value => self.newest_value(&put.key)?,
            _ => None,
        };
        let value = match &previous {
            Some(previous) if put.ignore_value => previous.value.clone(),
            _ => put.value.clone(),
        };
        let old_lease = live.map_or(LeaseId::NONE, |live| live.lease);
        let lease = if put.ignore_lease { old_lease } else { put.lease };
        let id = self.next_event(writing);
        let create_revision = live.map_or(id.revision, |live| live.create_revision);
        let version = live.map_or(0, |live| live.version) + 1;
        let kv = KeyValue {
            key: put.key.clone(),
            create_revision,
            mod_revision: id.revision,
            version,
            value,
            lease,
        };
        self.push_event(id, EventKind::Put, &kv, batch)?;
        if lease != old_lease {
            self.leases.detach(old_lease, &put.key);
            self.attach(lease, &put.key);
        }
        Ok(previous.filter(|_| put.prev_kv))
    }

    /// Deletes the keys of a range; says how many, and if asked what they were.
    pub(super) fn delete_range(
        &mut self,
        delete: &DeleteRangeRequest,
        writing: &mut Writing,
        batch: &mut WriteBatch,
    ) -> Result<(i64, Vec<KeyValue>), EngineError> {
        let prev_kvs = if delete.prev_kv {
            let all = RangeRequest { range: delete.range.clone(), ..RangeRequest::default() };
            self.read_range(&all, self.revision)?.kvs
        } else {
            Vec::new()
        };
        let keys = self.live_keys_in(&delete.range);
        for key in &keys {
            self.delete(key, writing, batch)?;
        }
        Ok((keys.len() as i64, prev_kvs))
    }

    fn live_keys_in(&self, range: &KeyRange) -> Vec<Bytes> {
        let live = |(key, history): (&Bytes, &super::index::KeyHistory)| {
            history.live().map(|_| key.clone())
        };
        self.index.range(range).filter_map(live).collect()
    }

    /// Deletes a key that is there.
    fn delete(
        &mut self,
        key: &Bytes,
        writing: &mut Writing,
        batch: &mut WriteBatch,
    ) -> Result<(), EngineError> {
        let lease = self.index.live(key).map_or(LeaseId::NONE, |live| live.lease);
        let id = self.next_event(writing);
        let kv = KeyValue { key: key.clone(), mod_revision: id.revision, ..KeyValue::default() };
        self.push_event(id, EventKind::Delete, &kv, batch)?;
        self.leases.detach(lease, key);
        Ok(())
    }

    fn attach(&mut self, lease: LeaseId, key: &[u8]) {
        if lease != LeaseId::NONE {
            let key = self.index.own_key(key).expect("the put has just recorded the key");
            let attached = self.leases.attach(lease, key.clone());
            assert!(attached, "check_put has found the lease");
        }
    }

    fn next_event(&mut self, writing: &mut Writing) -> EventId {
        if writing.events == 0 {
            self.revision = self.revision.next();
        }
        let sub = writing.events;
        writing.events += 1;
        EventId { revision: self.revision, sub }
    }

    /// Enters an event everywhere. Window and batch share the one record made here.
    fn push_event(
        &mut self,
        id: EventId,
        kind: EventKind,
        kv: &KeyValue,
        batch: &mut WriteBatch,
    ) -> Result<(), EngineError> {
        let record = record::encode(kind, kv);
        let state =
            Live { create_revision: kv.create_revision, version: kv.version, lease: kv.lease };
        self.index.record(&kv.key, Mark { id, kind }, state);
        self.window.push(record::decode(id, record.clone())?);
        batch.put(Space::History, Bytes::copy_from_slice(&id.to_key()), record);
        Ok(())
    }

    fn grant(
        &mut self,
        id: LeaseId,
        ttl_seconds: i64,
        batch: &mut WriteBatch,
    ) -> Result<CommandResult, Refusal> {
        if id == LeaseId::NONE {
            return Err(Refusal::LeaseNotFound);
        }
        if ttl_seconds > MAX_TTL_SECONDS {
            return Err(Refusal::LeaseTtlTooLarge);
        }
        if self.leases.get(id).is_some() {
            return Err(Refusal::LeaseExists);
        }
        let ttl_seconds = ttl_seconds.max(1);
        self.leases.grant(id, ttl_seconds);
        let key = Bytes::copy_from_slice(&lease::record_key(id));
        batch.put(Space::Lease, key, lease::record_value(ttl_seconds));
        Ok(CommandResult::LeaseGrant { id, ttl_seconds })
    }

    fn revoke(
        &mut self,
        id: LeaseId,
        writing: &mut Writing,
        batch: &mut WriteBatch,
    ) -> Result<Result<CommandResult, Refusal>, EngineError> {
        let Some(lease) = self.leases.get(id) else {
            return Ok(Err(Refusal::LeaseNotFound));
        };
        let keys: Vec<Bytes> = lease.keys.iter().cloned().collect();
        for key in &keys {
            self.delete(key, writing, batch)?;
        }
        self.leases.remove(id);
        batch.delete(Space::Lease, Bytes::copy_from_slice(&lease::record_key(id)));
        Ok(Ok(CommandResult::LeaseRevoke))
    }

    /// The key as its newest event left it, if it is there.
    fn newest_value(&self, key: &[u8]) -> Result<Option<KeyValue>, EngineError> {
        match self.index.get(key).map(|history| history.newest()) {
            Some(mark) if mark.kind == EventKind::Put => Ok(Some(self.load(mark.id)?.kv)),
            _ => Ok(None),
        }
    }

    /// An event that the index knows: from the window, else from the engine.
    pub(super) fn load(&self, id: EventId) -> Result<Event, EngineError> {
        if let Some(event) = self.window.get(id) {
            return Ok(event.clone());
        }
        match self.engine.get(Space::History, &id.to_key())? {
            Some(record) => record::decode(id, record),
            None => {
                let EventId { revision, sub } = id;
                Err(EngineError::Damaged(format!("history record {revision}.{sub} is missing")))
            }
        }
    }
}
