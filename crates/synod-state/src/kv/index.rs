//! The key index: every key that the readable history knows, in order, with the places of its events.
//!
//! It answers "which keys, at which revision" and gives a put all it needs (create revision, version,
//! lease) from memory; values are fetched by [`EventId`]. A key stays as long as one of its events
//! does, so a deleted key goes when its tombstone is scrubbed away. Keys are own copies: a slice of a
//! log entry would hold the whole entry in memory for as long as the key lives.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use synod_base::{LeaseId, Revision};

use super::record::EventId;
use super::{EventKind, KeyRange};

/// All keys, in bytewise order.
#[derive(Default, Debug)]
pub(crate) struct KeyIndex {
    keys: BTreeMap<Bytes, KeyHistory>,
    live_keys: usize,
    events: usize,
}

/// One event of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    /// Where the event stands.
    pub id: EventId,
    /// What it was.
    pub kind: EventKind,
}

/// What a put needs to know of the key as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Live {
    /// Revision of its creation.
    pub create_revision: Revision,
    /// Puts since then.
    pub version: i64,
    /// Its lease, or none.
    pub lease: LeaseId,
}

/// The events of one key, oldest first. Most keys have one: it needs no allocation.
#[derive(Debug)]
pub(crate) struct KeyHistory {
    newest: Mark,
    older: Vec<Mark>,
    /// As the newest event left the key; meaningless if that deleted it.
    state: Live,
}

impl KeyHistory {
    /// The key as it is, if it is there.
    pub fn live(&self) -> Option<&Live> {
        (self.newest.kind == EventKind::Put).then_some(&self.state)
    }

    /// Its last event.
    pub fn newest(&self) -> Mark {
        self.newest
    }

    /// The last event at or before a revision.
    pub fn at(&self, revision: Revision) -> Option<Mark> {
        if self.newest.id.revision <= revision {
            return Some(self.newest);
        }
        let after = self.older.partition_point(|mark| mark.id.revision <= revision);
        after.checked_sub(1).map(|last| self.older[last])
    }

    /// The put that made the key what it was at a revision, if it was there.
    pub fn put_at(&self, revision: Revision) -> Option<EventId> {
        self.at(revision).filter(|mark| mark.kind == EventKind::Put).map(|mark| mark.id)
    }

    /// How many events there are.
    fn len(&self) -> usize {
        self.older.len() + 1
    }

    fn mark(&self, position: usize) -> Mark {
        self.older.get(position).copied().unwrap_or(self.newest)
    }

    /// Takes out, and hands to `dropped`, the events that no reader at or above `compacted` can see:
    /// those below it, but for a put that still holds at it. Events *at* `compacted` all stay,
    /// deletions too, since a watch may start there. Returns whether any event is left.
    fn compact(&mut self, compacted: Revision, mut dropped: impl FnMut(EventId)) -> bool {
        let mut below = self.older.partition_point(|mark| mark.id.revision < compacted);
        if below == self.older.len() && self.newest.id.revision < compacted {
            below += 1;
        }
        if below == 0 {
            return true;
        }
        let superseded = below < self.len() && self.mark(below).id.revision == compacted;
        let holds = self.mark(below - 1).kind == EventKind::Put && !superseded;
        let drop_count = below - usize::from(holds);
        (0..drop_count).for_each(|position| dropped(self.mark(position).id));
        if drop_count == self.len() {
            return false;
        }
        if drop_count > 0 {
            self.older.drain(..drop_count);
            self.older.shrink_to_fit();
        }
        true
    }
}

impl KeyIndex {
    /// A key's history.
    pub fn get(&self, key: &[u8]) -> Option<&KeyHistory> {
        self.keys.get(key)
    }

    /// The key as it is, if it is there.
    pub fn live(&self, key: &[u8]) -> Option<&Live> {
        self.keys.get(key).and_then(KeyHistory::live)
    }

    /// The keys of a range, in order; also keys that are deleted by now.
    pub fn range(&self, range: &KeyRange) -> impl Iterator<Item = (&Bytes, &KeyHistory)> {
        let (one, many) = if range.is_single() {
            (self.keys.get_key_value(&range.key[..]), None)
        } else {
            (None, bounds(range).map(|bounds| self.keys.range::<[u8], _>(bounds)))
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Records an event, newer than all others of its key. `state` is how it leaves the key.
    pub fn record(&mut self, key: &[u8], mark: Mark, state: Live) {
        self.events += 1;
        let is_live = mark.kind == EventKind::Put;
        let was_live = if let Some(history) = self.keys.get_mut(key) {
            assert!(history.newest.id < mark.id, "events of a key are recorded in order");
            let was_live = history.live().is_some();
            history.older.push(std::mem::replace(&mut history.newest, mark));
            history.state = state;
            was_live
        } else {
            let history = KeyHistory { newest: mark, older: Vec::new(), state };
            self.keys.insert(Bytes::copy_from_slice(key), history);
            false
        };
        self.live_keys += usize::from(is_live);
        self.live_keys -= usize::from(was_live);
    }

    /// The keys that are there, in order.
    pub fn live_entries(&self) -> impl Iterator<Item = (&Bytes, &Live)> {
        self.keys.iter().filter_map(|(key, history)| history.live().map(|live| (key, live)))
    }

    /// The index's own copy of a key, for those who keep keys longer than a request.
    pub fn own_key(&self, key: &[u8]) -> Option<&Bytes> {
        self.keys.get_key_value(key).map(|(key, _)| key)
    }

    /// Compacts the next `max_keys` keys after `cursor`, hands the events that went to `dropped`, and
    /// returns the last key visited; `None` when the end is reached.
    pub fn compact(
        &mut self,
        cursor: Option<&Bytes>,
        max_keys: usize,
        compacted: Revision,
        mut dropped: impl FnMut(EventId),
    ) -> Option<Bytes> {
        let from = cursor.map_or(Bound::Unbounded, |key| Bound::Excluded(&key[..]));
        let mut last = None;
        let mut visited = 0;
        let mut emptied = Vec::new();
        for (key, history) in self.keys.range_mut::<[u8], _>((from, Bound::Unbounded)) {
            if visited == max_keys {
                break;
            }
            visited += 1;
            let before = history.len();
            if history.compact(compacted, &mut dropped) {
                self.events -= before - history.len();
            } else {
                self.events -= before;
                emptied.push(key.clone());
            }
            last = Some(key);
        }
        let last = last.filter(|_| visited == max_keys).cloned();
        for key in emptied {
            self.keys.remove(&key);
        }
        last
    }

    /// Keys that are there now.
    pub fn live_keys(&self) -> usize {
        self.live_keys
    }

    /// Keys in the index, deleted ones of the readable history included.
    pub fn known_keys(&self) -> usize {
        self.keys.len()
    }

    /// Events in the history.
    pub fn events(&self) -> usize {
        self.events
    }
}

type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The range as bounds of an ordered map; `None` if it is empty (the map refuses those).
fn bounds(range: &KeyRange) -> Option<Bounds<'_>> {
    let from = Bound::Included(&range.key[..]);
    match &range.range_end[..] {
        [0] => Some((from, Bound::Unbounded)),
        end if end > &range.key[..] => Some((from, Bound::Excluded(end))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(revision: i64, kind: EventKind) -> Mark {
        Mark { id: EventId { revision: Revision(revision), sub: 0 }, kind }
    }

    fn history(events: &[(i64, EventKind)]) -> KeyHistory {
        let mut marks: Vec<Mark> = events.iter().map(|(r, k)| mark(*r, *k)).collect();
        let newest = marks.pop().unwrap();
        let state = Live { create_revision: Revision(0), version: 0, lease: LeaseId::NONE };
        KeyHistory { newest, older: marks, state }
    }

    fn left_after(events: &[(i64, EventKind)], compacted: i64) -> Vec<i64> {
        let mut history = history(events);
        if !history.compact(Revision(compacted), |_| ()) {
            return Vec::new();
        }
        (0..history.len()).map(|i| history.mark(i).id.revision.0).collect()
    }

    #[test]
    fn compaction_keeps_what_a_reader_at_the_compacted_revision_sees() {
        use EventKind::{Delete, Put};
        let events = [(2, Put), (3, Put), (5, Delete), (7, Put), (9, Put)];
        assert_eq!(left_after(&events, 2), [2, 3, 5, 7, 9]);
        assert_eq!(left_after(&events, 3), [3, 5, 7, 9]);
        assert_eq!(left_after(&events, 4), [3, 5, 7, 9]);
        assert_eq!(left_after(&events, 5), [5, 7, 9], "a watch from 5 sees the deletion");
        assert_eq!(left_after(&events, 6), [7, 9]);
        assert_eq!(left_after(&events, 8), [7, 9]);
        assert_eq!(left_after(&events, 9), [9]);
        assert_eq!(left_after(&events, 20), [9]);
        assert_eq!(left_after(&events[..3], 5), [5]);
        assert_eq!(left_after(&events[..3], 6), [0; 0]);
    }

    #[test]
    fn a_key_is_found_as_it_was_at_each_revision() {
        use EventKind::{Delete, Put};
        let h = history(&[(2, Put), (5, Delete), (7, Put)]);
        let seen: Vec<Option<i64>> =
            (1..9).map(|r| h.put_at(Revision(r)).map(|id| id.revision.0)).collect();
        let two = Some(2);
        let seven = Some(7);
        assert_eq!(seen, [None, two, two, two, None, None, seven, seven]);
    }
}
