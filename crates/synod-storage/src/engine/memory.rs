//! `MemoryEngine`: ordered maps, for the simulator and for tests.
//!
//! Keeps, like a disk-backed engine, batches that are visible but not yet durable, and can lose a
//! suffix of them in a [`MemoryEngine::crash`]. A key holds one version per write that an open
//! snapshot may still need; without snapshots that is one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fastrand::Rng;
use synod_base::disk::Crash;

use super::{Engine, EngineError, EngineRead, Space, Visit, WriteBatch, WriteOp};

/// A cheap handle; clones share one store, so the simulator keeps one over a node's crash.
#[derive(Clone, Default)]
pub struct MemoryEngine {
    store: Arc<Mutex<Store>>,
}

impl MemoryEngine {
    /// An empty engine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the machine: all, some random suffix, or none of the batches since the last
    /// [`Engine::persist`] are lost. Snapshots from before must not be used any more.
    pub fn crash(&self, crash: Crash, rng: &mut Rng) {
        let mut store = self.lock();
        let unpersisted = store.undo.len();
        let lost = match crash {
            Crash::LoseUnsynced => unpersisted,
            Crash::KeepRandomSubset => rng.usize(..=unpersisted),
            Crash::KeepEverything => 0,
        };
        store.take_back(lost);
        store.full = false;
    }

    /// From now on every write fails for lack of room, or no longer does.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get_at(&self, space: Space, key: &[u8], at: u64) -> Option<Bytes> {
        self.lock().space(space).get(key).and_then(|versions| versions.at(at).cloned())
    }

    /// Scans in pieces, so that the visitor runs without the lock and may use the engine itself.
    fn scan_at(
        &self,
        space: Space,
        from: &[u8],
        to: Option<&[u8]>,
        at: u64,
        visit: &mut Visit<'_>,
    ) {
        let mut from = Bound::Included(Bytes::copy_from_slice(from));
        let to = to.map_or(Bound::Unbounded, |to| Bound::Excluded(Bytes::copy_from_slice(to)));
        loop {
            if !is_forward(&from, &to) {
                return;
            }
            let piece: Vec<(Bytes, Option<Bytes>)> = self
                .lock()
                .space(space)
                .range((from.clone(), to.clone()))
                .take(SCAN_PIECE_KEYS)
                .map(|(key, versions)| (key.clone(), versions.at(at).cloned()))
                .collect();
            let Some((last, _)) = piece.last() else {
                return;
            };
            from = Bound::Excluded(last.clone());
            for (key, value) in &piece {
                if let Some(value) = value
                    && visit(key, value) == ControlFlow::Break(())
                {
                    return;
                }
            }
        }
    }
}

impl EngineRead for MemoryEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.get_at(space, key, NOW))
    }

    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), EngineError> {
        self.scan_at(space, from, to, NOW, visit);
        Ok(())
    }
}

impl Engine for MemoryEngine {
    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        let mut store = self.lock();
        if store.full {
            return Err(EngineError::NoSpace("the simulated disk is full".to_owned()));
        }
        store.write(batch);
        Ok(())
    }

    fn persist(&self) -> Result<(), EngineError> {
        self.lock().undo.clear();
        Ok(())
    }

    fn snapshot(&self) -> Result<Box<dyn EngineRead + Send>, EngineError> {
        let mut store = self.lock();
        let at = store.sequence;
        *store.snapshots.entry(at).or_insert(0) += 1;
        Ok(Box::new(MemorySnapshot { engine: self.clone(), at }))
    }

    fn disk_bytes(&self) -> u64 {
        let store = self.lock();
        let bytes = |(key, versions): (&Bytes, &Versions)| {
            key.len() + versions.at(NOW).map_or(0, Bytes::len)
        };
        store.spaces.values().flatten().map(bytes).sum::<usize>() as u64
    }
}

struct MemorySnapshot {
    engine: MemoryEngine,
    at: u64,
}

impl EngineRead for MemorySnapshot {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.engine.get_at(space, key, self.at))
    }

    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), EngineError> {
        self.engine.scan_at(space, from, to, self.at, visit);
        Ok(())
    }
}

impl Drop for MemorySnapshot {
    fn drop(&mut self) {
        self.engine.lock().close_snapshot(self.at);
    }
}

/// The sequence number of a read that is not from a snapshot.
const NOW: u64 = u64::MAX;

/// Keys a scan copies out of the lock at a time.
const SCAN_PIECE_KEYS: usize = 256;

fn is_forward(from: &Bound<Bytes>, to: &Bound<Bytes>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Excluded(to)) => from < to,
        (Bound::Excluded(from), Bound::Excluded(to)) => from < to,
        _ => true,
    }
}

type Map = BTreeMap<Bytes, Versions>;

#[derive(Default)]
struct Store {
    spaces: BTreeMap<Space, Map>,
    /// Counts batches.
    sequence: u64,
    /// Open snapshots: how many at which sequence.
    snapshots: BTreeMap<u64, usize>,
    /// Keys that hold more than their newest value, or only a removal.
    cluttered: BTreeSet<(Space, Bytes)>,
    /// What each batch since the last persist replaced, oldest batch first.
    undo: Vec<Vec<(Space, Bytes, Option<Bytes>)>>,
    full: bool,
}

impl Store {
    fn space(&mut self, space: Space) -> &mut Map {
        self.spaces.entry(space).or_default()
    }

    fn write(&mut self, batch: WriteBatch) {
        self.sequence += 1;
        let mut replaced = Vec::with_capacity(batch.ops.len());
        for op in batch.ops {
            let (space, key, value) = match op {
                WriteOp::Put(space, key, value) => (space, key, Some(value)),
                WriteOp::Delete(space, key) => (space, key, None),
            };
            let old = self.set(space, key.clone(), value);
            replaced.push((space, key, old));
        }
        self.undo.push(replaced);
    }

    /// Sets or removes a key in the current sequence; the value it had.
    fn set(&mut self, space: Space, key: Bytes, value: Option<Bytes>) -> Option<Bytes> {
        let (sequence, newest_snapshot) =
            (self.sequence, self.snapshots.keys().next_back().copied());
        let map = self.space(space);
        let versions = map.entry(key.clone()).or_default();
        let old = versions.at(NOW).cloned();
        match versions.0.last_mut() {
            // Nobody can see the newest version apart: it gives way.
            Some(last) if newest_snapshot.is_none_or(|snapshot| snapshot < last.0) => {
                *last = (sequence, value);
            }
            _ => versions.0.push((sequence, value)),
        }
        if versions.is_plain() {
            return old;
        }
        if newest_snapshot.is_none() && versions.0.len() == 1 {
            map.remove(&key);
        } else {
            self.cluttered.insert((space, key));
        }
        old
    }

    fn close_snapshot(&mut self, at: u64) {
        if let Some(count) = self.snapshots.get_mut(&at) {
            *count -= 1;
            if *count == 0 {
                self.snapshots.remove(&at);
            }
        }
        if !self.snapshots.is_empty() {
            return;
        }
        for (space, key) in std::mem::take(&mut self.cluttered) {
            let map = self.space(space);
            if let Some(versions) = map.get_mut(&key) {
                versions.keep_newest();
                if !versions.is_plain() {
                    map.remove(&key);
                }
            }
        }
    }

    fn take_back(&mut self, batches: usize) {
        for _ in 0..batches {
            self.sequence += 1;
            for (space, key, old) in self.undo.pop().into_iter().flatten().rev() {
                self.set(space, key, old);
            }
        }
        self.undo.clear();
    }
}

/// A key's values by sequence number, ascending; `None` is a removal.
#[derive(Default)]
struct Versions(Vec<(u64, Option<Bytes>)>);

impl Versions {
    fn at(&self, sequence: u64) -> Option<&Bytes> {
        self.0.iter().rev().find(|(set_at, _)| *set_at <= sequence).and_then(|(_, v)| v.as_ref())
    }

    fn keep_newest(&mut self) {
        self.0.drain(..self.0.len().saturating_sub(1));
    }

    /// Whether there is one version, and it is a value.
    fn is_plain(&self) -> bool {
        matches!(self.0.as_slice(), [(_, Some(_))])
    }
}
