//! The recent events, shared: values of what is applied but not yet in the engine are read here, and
//! watchers that keep up are served from here without touching the engine.
//!
//! Bounded by bytes. Events that are not committed to the engine are never dropped, so a batch may
//! exceed the bound until it is. Whole revisions are dropped: what is here is gapless.

use std::collections::VecDeque;

use synod_base::Revision;

use super::Event;
use super::record::EventId;

/// Events of the last revisions, oldest first.
#[derive(Debug)]
pub(crate) struct Window {
    events: VecDeque<Event>,
    bytes: usize,
    max_bytes: usize,
    /// The first revision that is here, or would be: everything from it on is here.
    first: Revision,
}

/// What an event costs beside its key and value: its own fields and the record they are slices of.
const EVENT_OVERHEAD_BYTES: usize = 192;

impl Window {
    /// An empty window for the events after `revision`.
    pub fn after(revision: Revision, max_bytes: usize) -> Self {
        Window { events: VecDeque::new(), bytes: 0, max_bytes, first: revision.next() }
    }

    /// Adds the newest event.
    pub fn push(&mut self, event: Event) {
        self.bytes += cost(&event);
        self.events.push_back(event);
    }

    /// Drops the oldest revisions, of those at or below `committed`, until the bound is met.
    pub fn evict(&mut self, committed: Revision) {
        while self.bytes > self.max_bytes {
            match self.events.front() {
                Some(event) if event.kv.mod_revision <= committed => {
                    let revision = event.kv.mod_revision;
                    self.drop_front(revision);
                }
                _ => return,
            }
        }
    }

    /// The first revision that is here in full, and every later one with it.
    pub fn first(&self) -> Revision {
        self.first
    }

    /// An event.
    pub fn get(&self, id: EventId) -> Option<&Event> {
        if id.revision < self.first {
            return None;
        }
        let event = self.events.get(self.position(id.revision) + id.sub as usize)?;
        (event.kv.mod_revision == id.revision).then_some(event)
    }

    /// The events from a revision on, or `None` if some of them were dropped.
    pub fn from(&self, revision: Revision) -> Option<impl Iterator<Item = &Event>> {
        (revision >= self.first).then(|| self.events.range(self.position(revision)..))
    }

    /// How many events are here.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// What they cost, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn position(&self, revision: Revision) -> usize {
        self.events.partition_point(|event| event.kv.mod_revision < revision)
    }

    fn drop_front(&mut self, revision: Revision) {
        while let Some(event) = self.events.front()
            && event.kv.mod_revision == revision
        {
            self.bytes -= cost(event);
            self.events.pop_front();
        }
        self.first = revision.next();
    }
}

fn cost(event: &Event) -> usize {
    EVENT_OVERHEAD_BYTES + event.kv.key.len() + event.kv.value.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{EventKind, KeyValue};

    fn window() -> Window {
        let mut window = Window::after(Revision(1), 4 * (EVENT_OVERHEAD_BYTES + 1));
        for (revision, keys) in [(2, "a"), (3, "bcd"), (4, "ef"), (5, "g")] {
            for i in 0..keys.len() {
                let kv = KeyValue {
                    key: keys[i..=i].to_string().into(),
                    mod_revision: Revision(revision),
                    ..KeyValue::default()
                };
                window.push(Event { kind: EventKind::Put, kv });
            }
        }
        window
    }

    #[test]
    fn uncommitted_events_stay_whatever_they_cost() {
        let mut window = window();
        window.evict(Revision(1));
        assert_eq!((window.len(), window.first()), (7, Revision(2)));
        let id = EventId { revision: Revision(3), sub: 2 };
        assert_eq!(window.get(id).unwrap().kv.key, "d");
        assert_eq!(window.get(EventId { revision: Revision(3), sub: 3 }), None);
    }

    #[test]
    fn whole_revisions_go_and_the_rest_is_gapless() {
        let mut window = window();
        window.evict(Revision(5));
        assert_eq!((window.len(), window.first()), (3, Revision(4)));
        assert!(window.from(Revision(3)).is_none());
        assert_eq!(window.from(Revision(5)).unwrap().count(), 1);
        assert_eq!(window.from(Revision(6)).unwrap().count(), 0);
        assert_eq!(window.bytes(), 3 * (EVENT_OVERHEAD_BYTES + 1));
    }
}
