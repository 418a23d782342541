//! The watch hub: which watcher wants which events, and how far each has got.
//!
//! Every watcher has its own cursor, the revision of the next event it has not been given. A *synced* watcher
//! has everything there is and gets new revisions as they are applied; one that starts in the past,
//! or whose stream had no room, is *behind* and reads history in bounded steps until it has caught up.
//! A slow client therefore costs a cursor, never a queue; only when history is compacted under its
//! cursor is it cancelled, with the revision to resume at.
//!
//! Invariants: a watcher is in exactly one of the synced indexes or in `behind`; synced watchers have
//! been given everything up to `seen`; a stream with at least `MAX_STREAM_OUTSTANDING_BYTES` on their
//! way gets no further events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use synod_base::limits::MAX_REQUEST_BYTES;
use synod_base::{Instant, Revision};
use synod_state::kv::{Event, EventKind, Kv, Refusal};
use synod_storage::engine::EngineError;

use super::types::{StreamId, WatchDelivery, WatchEvent, WatchKind, WatchRequest, WatchSpec};
use crate::request::Header;

/// Bytes on their way to one stream after which it gets no further events until some are taken.
pub const MAX_STREAM_OUTSTANDING_BYTES: usize = 4 * 1024 * 1024;

/// What a delivery counts at least, so that the number of deliveries is bounded, too.
pub const WATCH_DELIVERY_MIN_BYTES: usize = 512;

/// History read per catching-up watcher and turn.
const CATCH_UP_BYTES: usize = 1024 * 1024;

/// Watchers that catch up in one turn.
const CATCH_UP_WATCHERS: usize = 16;

/// How often `progress_notify` says how far a quiet watch is (etcd's default).
const PROGRESS_INTERVAL: Duration = Duration::from_secs(600);

/// How often quiet watches are looked for.
const PROGRESS_CHECK_INTERVAL: Duration = Duration::from_secs(10);

type WatcherKey = (StreamId, i64);

#[derive(Debug)]
struct Watcher {
    spec: WatchSpec,
    /// Events below are not wanted, or were given.
    next: Revision,
    next_progress: Instant,
}

#[derive(Debug, Default)]
struct Stream {
    outstanding_bytes: usize,
    next_watch_id: i64,
    watch_ids: BTreeSet<i64>,
}

/// All watches of one node.
#[derive(Debug, Default)]
pub struct WatchHub {
    streams: BTreeMap<StreamId, Stream>,
    watchers: BTreeMap<WatcherKey, Watcher>,
    /// Synced watchers of one key.
    by_key: BTreeMap<Bytes, BTreeSet<WatcherKey>>,
    /// Synced watchers of a range.
    by_range: BTreeSet<WatcherKey>,
    behind: BTreeSet<WatcherKey>,
    /// Where the round over `behind` goes on.
    behind_cursor: Option<WatcherKey>,
    /// Synced watchers have everything up to here.
    seen: Revision,
    /// Streams that asked how far they are.
    progress_asked: BTreeSet<StreamId>,
    /// When quiet watches are looked for next.
    next_progress: Instant,
}

impl WatchHub {
    /// A hub over a store that stands at `revision`.
    #[must_use]
    pub fn new(revision: Revision) -> Self {
        WatchHub { seen: revision, ..WatchHub::default() }
    }

    /// The store was replaced by a newer snapshot: everybody reads on from history.
    pub fn on_store_replaced(&mut self, revision: Revision) {
        for (key, watcher) in &mut self.watchers {
            if self.behind.insert(*key) {
                watcher.next = watcher.next.max(self.seen.next());
            }
        }
        self.by_key.clear();
        self.by_range.clear();
        self.seen = revision;
    }

    /// A stream asks.
    pub fn on_request(
        &mut self,
        now: Instant,
        header: Header,
        request: WatchRequest,
        out: &mut Vec<WatchDelivery>,
    ) {
        match request {
            WatchRequest::Create { stream, spec } => self.create(now, header, stream, spec, out),
            WatchRequest::Cancel { stream, watch_id } => {
                if self.remove((stream, watch_id)) {
                    let kind = canceled(Revision(0), String::new());
                    self.deliver(header, (stream, watch_id), kind, out);
                }
            }
            WatchRequest::Progress { stream } => {
                self.streams.entry(stream).or_default();
                self.progress_asked.insert(stream);
            }
            WatchRequest::Close { stream } => {
                if let Some(closed) = self.streams.get(&stream) {
                    for watch_id in closed.watch_ids.clone() {
                        self.remove((stream, watch_id));
                    }
                }
                self.streams.remove(&stream);
                self.progress_asked.remove(&stream);
            }
            WatchRequest::Drained { stream, bytes } => {
                if let Some(stream) = self.streams.get_mut(&stream) {
                    stream.outstanding_bytes = stream.outstanding_bytes.saturating_sub(bytes);
                }
            }
        }
    }

    /// Gives out what is new in the store.
    pub fn turn(
        &mut self,
        now: Instant,
        header: Header,
        kv: &Kv,
        out: &mut Vec<WatchDelivery>,
    ) -> Result<(), EngineError> {
        self.give_new(header, kv, out)?;
        self.catch_up(header, kv, out)?;
        self.report_progress(now, header, out);
        Ok(())
    }

    /// History is about to be compacted: those who have kept up get what is new first.
    pub fn before_compaction(
        &mut self,
        header: Header,
        kv: &Kv,
        out: &mut Vec<WatchDelivery>,
    ) -> Result<(), EngineError> {
        self.give_new(header, kv, out)
    }

    /// Whether another turn has work to do at once.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.behind.iter().any(|key| self.has_room(key.0))
    }

    /// How many watches there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.watchers.len()
    }

    /// Whether there is no watch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.watchers.is_empty()
    }

    fn create(
        &mut self,
        now: Instant,
        header: Header,
        stream: StreamId,
        mut spec: WatchSpec,
        out: &mut Vec<WatchDelivery>,
    ) {
        let state = self.streams.entry(stream).or_default();
        if spec.watch_id == 0 {
            while state.watch_ids.contains(&state.next_watch_id) {
                state.next_watch_id += 1;
            }
            spec.watch_id = state.next_watch_id;
            state.next_watch_id += 1;
        } else if state.watch_ids.contains(&spec.watch_id) {
            let reason = "mvcc: duplicate watch ID provided on the WatchStream".to_owned();
            self.deliver(header, (stream, -1), canceled(Revision(0), reason), out);
            return;
        }
        state.watch_ids.insert(spec.watch_id);
        let key = (stream, spec.watch_id);
        let next = if spec.start_revision.0 > 0 { spec.start_revision } else { self.seen.next() };
        let watcher = Watcher { spec, next, next_progress: now + PROGRESS_INTERVAL };
        self.watchers.insert(key, watcher);
        if next > self.seen {
            self.index_synced(key);
        } else {
            self.behind.insert(key);
        }
        self.deliver(header, key, WatchKind::Created, out);
    }

    fn index_synced(&mut self, key: WatcherKey) {
        let range = &self.watchers[&key].spec.range;
        if range.is_single() {
            self.by_key.entry(range.key.clone()).or_default().insert(key);
        } else {
            self.by_range.insert(key);
        }
    }

    fn unindex_synced(&mut self, key: WatcherKey) {
        let range = &self.watchers[&key].spec.range;
        if range.is_single() {
            if let Some(watchers) = self.by_key.get_mut(&range.key) {
                watchers.remove(&key);
                if watchers.is_empty() {
                    self.by_key.remove(&range.key);
                }
            }
        } else {
            self.by_range.remove(&key);
        }
    }

    fn remove(&mut self, key: WatcherKey) -> bool {
        if !self.watchers.contains_key(&key) {
            return false;
        }
        if !self.behind.remove(&key) {
            self.unindex_synced(key);
        }
        self.watchers.remove(&key);
        if let Some(stream) = self.streams.get_mut(&key.0) {
            stream.watch_ids.remove(&key.1);
        }
        true
    }

    fn has_room(&self, stream: StreamId) -> bool {
        self.streams
            .get(&stream)
            .is_some_and(|s| s.outstanding_bytes < MAX_STREAM_OUTSTANDING_BYTES)
    }

    /// New revisions to synced watchers.
    fn give_new(
        &mut self,
        header: Header,
        kv: &Kv,
        out: &mut Vec<WatchDelivery>,
    ) -> Result<(), EngineError> {
        if self.by_key.is_empty() && self.by_range.is_empty() {
            self.seen = kv.revision();
            return Ok(());
        }
        while self.seen < kv.revision() {
            let history = match kv.history(self.seen.next(), CATCH_UP_BYTES)? {
                Ok(history) => history,
                Err(_) => {
                    // Compacted before it was given out: let each watcher find out for itself.
                    self.on_store_replaced(kv.revision());
                    return Ok(());
                }
            };
            let mut wanted: BTreeMap<WatcherKey, Vec<WatchEvent>> = BTreeMap::new();
            for event in &history.events {
                for key in self.synced_watchers_of(event) {
                    let watcher = &self.watchers[&key];
                    if wants(watcher, event) {
                        let with_prev = with_prev_kv(watcher, event, kv)?;
                        wanted.entry(key).or_default().push(with_prev);
                    }
                }
            }
            let first = self.seen.next();
            self.seen = Revision(history.next.0 - 1);
            for (key, events) in wanted {
                if self.has_room(key.0) {
                    self.deliver_events(header, key, events, out);
                } else {
                    self.unindex_synced(key);
                    self.behind.insert(key);
                    if let Some(watcher) = self.watchers.get_mut(&key) {
                        watcher.next = watcher.next.max(first);
                    }
                }
            }
        }
        Ok(())
    }

    fn synced_watchers_of(&self, event: &Event) -> Vec<WatcherKey> {
        let mut keys: Vec<WatcherKey> =
            self.by_key.get(&event.kv.key).into_iter().flatten().copied().collect();
        let in_range = |key: &&WatcherKey| self.watchers[*key].spec.range.contains(&event.kv.key);
        keys.extend(self.by_range.iter().filter(in_range));
        keys
    }

    /// A bounded step of history for some of those behind, in turn.
    fn catch_up(
        &mut self,
        header: Header,
        kv: &Kv,
        out: &mut Vec<WatchDelivery>,
    ) -> Result<(), EngineError> {
        let start = self.behind_cursor.take();
        let after = self.behind.iter().filter(|key| start.is_none_or(|start| **key > start));
        let before = self.behind.iter().filter(|key| start.is_some_and(|start| **key <= start));
        let chosen: Vec<WatcherKey> = after
            .chain(before)
            .filter(|key| self.has_room(key.0))
            .take(CATCH_UP_WATCHERS)
            .copied()
            .collect();
        for key in chosen {
            self.behind_cursor = Some(key);
            if self.has_room(key.0) {
                self.catch_up_one(header, key, kv, out)?;
            }
        }
        Ok(())
    }

    fn catch_up_one(
        &mut self,
        header: Header,
        key: WatcherKey,
        kv: &Kv,
        out: &mut Vec<WatchDelivery>,
    ) -> Result<(), EngineError> {
        let Some(watcher) = self.watchers.get(&key) else { return Ok(()) };
        let mut events = Vec::new();
        let next = if watcher.next > self.seen {
            watcher.next
        } else {
            match kv.history(watcher.next, CATCH_UP_BYTES)? {
                Ok(history) => {
                    for event in &history.events {
                        if watcher.spec.range.contains(&event.kv.key) && wants(watcher, event) {
                            events.push(with_prev_kv(watcher, event, kv)?);
                        }
                    }
                    history.next
                }
                Err(refusal) => {
                    self.remove(key);
                    let compacted = match refusal {
                        Refusal::Compacted { compacted } => compacted,
                        _ => Revision(0),
                    };
                    let reason = format!("mvcc: {refusal}");
                    self.deliver(header, key, canceled(compacted, reason), out);
                    return Ok(());
                }
            }
        };
        if let Some(watcher) = self.watchers.get_mut(&key) {
            watcher.next = next;
        }
        if !events.is_empty() {
            self.deliver_events(header, key, events, out);
        }
        if next > self.seen {
            self.behind.remove(&key);
            self.index_synced(key);
        }
        Ok(())
    }

    fn report_progress(&mut self, now: Instant, header: Header, out: &mut Vec<WatchDelivery>) {
        let is_behind = |stream: StreamId| {
            self.behind.range((stream, i64::MIN)..=(stream, i64::MAX)).next().is_some()
        };
        let asked: Vec<StreamId> =
            self.progress_asked.iter().copied().filter(|id| !is_behind(*id)).collect();
        for id in asked {
            // Several questions that wait together have one answer: the newest.
            self.progress_asked.remove(&id);
            self.deliver(header, (id, -1), WatchKind::Progress, out);
        }
        if now < self.next_progress {
            return;
        }
        self.next_progress = now + PROGRESS_CHECK_INTERVAL;
        let quiet: Vec<WatcherKey> = self
            .watchers
            .iter()
            .filter(|(key, w)| {
                w.spec.progress_notify && w.next_progress <= now && !self.behind.contains(*key)
            })
            .map(|(key, _)| *key)
            .collect();
        for key in quiet {
            if let Some(watcher) = self.watchers.get_mut(&key) {
                watcher.next_progress = now + PROGRESS_INTERVAL;
            }
            self.deliver(header, key, WatchKind::Progress, out);
        }
    }

    fn deliver_events(
        &mut self,
        header: Header,
        key: WatcherKey,
        events: Vec<WatchEvent>,
        out: &mut Vec<WatchDelivery>,
    ) {
        if !self.watchers[&key].spec.fragment {
            self.deliver(header, key, WatchKind::Events { events, more: false }, out);
            return;
        }
        let mut part = Vec::new();
        let mut part_bytes = 0;
        for event in events {
            let bytes = event_bytes(&event);
            if !part.is_empty() && part_bytes + bytes > MAX_REQUEST_BYTES {
                let events = std::mem::take(&mut part);
                self.deliver(header, key, WatchKind::Events { events, more: true }, out);
                part_bytes = 0;
            }
            part_bytes += bytes;
            part.push(event);
        }
        self.deliver(header, key, WatchKind::Events { events: part, more: false }, out);
    }

    fn deliver(
        &mut self,
        header: Header,
        (stream, watch_id): WatcherKey,
        kind: WatchKind,
        out: &mut Vec<WatchDelivery>,
    ) {
        let bytes = match &kind {
            WatchKind::Events { events, .. } => events.iter().map(event_bytes).sum(),
            _ => 0,
        };
        let bytes = WATCH_DELIVERY_MIN_BYTES.max(bytes);
        if let Some(state) = self.streams.get_mut(&stream) {
            state.outstanding_bytes += bytes;
        }
        out.push(WatchDelivery { stream, watch_id, header, kind, bytes });
    }
}

fn canceled(compact_revision: Revision, reason: String) -> WatchKind {
    WatchKind::Canceled { compact_revision, reason }
}

fn wants(watcher: &Watcher, event: &Event) -> bool {
    let filtered = match event.kind {
        EventKind::Put => watcher.spec.no_put,
        EventKind::Delete => watcher.spec.no_delete,
    };
    !filtered && event.kv.mod_revision >= watcher.next
}

fn with_prev_kv(watcher: &Watcher, event: &Event, kv: &Kv) -> Result<WatchEvent, EngineError> {
    let prev_kv = if watcher.spec.prev_kv { kv.prev_kv(event)? } else { None };
    Ok(WatchEvent { event: event.clone(), prev_kv })
}

fn event_bytes(event: &WatchEvent) -> usize {
    let prev = event.prev_kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len() + 32);
    event.event.kv.key.len() + event.event.kv.value.len() + 64 + prev
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
