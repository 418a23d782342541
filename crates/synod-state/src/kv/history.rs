//! The history as watchers read it: whole revisions, in order, from the window or the engine.

use std::ops::ControlFlow;

use bytes::Bytes;
use synod_base::Revision;
use synod_storage::engine::{EngineError, Space};

use super::machine::Kv;
use super::record::{self, EventId};
use super::{Event, KeyValue, Refusal};

/// A piece of the history.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HistoryPage {
    /// Events of whole revisions, in order.
    pub events: Vec<Event>,
    /// Where to go on: the revision after the last event, or the next one to come.
    pub next: Revision,
}

/// Collects events until a revision ends beyond the byte bound.
struct Page {
    events: Vec<Event>,
    bytes: usize,
    max_bytes: usize,
    /// Set when the bound stopped it: the first revision left out.
    stopped_at: Option<Revision>,
}

impl Kv {
    /// The events from revision `from` on: at least one whole revision if there is any, and no further
    /// one once `max_bytes` of keys and values are reached. A start in the future gives nothing, and
    /// `next` stays there. `from` may be the compacted revision, whose events are all still there.
    pub fn history(
        &self,
        from: Revision,
        max_bytes: usize,
    ) -> Result<Result<HistoryPage, Refusal>, EngineError> {
        if from < self.compacted {
            return Ok(Err(Refusal::Compacted { compacted: self.compacted }));
        }
        if from > self.revision {
            return Ok(Ok(HistoryPage { events: Vec::new(), next: from }));
        }
        let mut page = Page { events: Vec::new(), bytes: 0, max_bytes, stopped_at: None };
        if from < self.window.first() {
            self.page_from_engine(from, &mut page)?;
        }
        if page.stopped_at.is_none() {
            let from = from.max(self.window.first());
            for event in self.window.from(from).into_iter().flatten() {
                if page.add(event.kv.mod_revision, || Ok(event.clone()))?.is_break() {
                    break;
                }
            }
        }
        let next = page.stopped_at.unwrap_or(self.revision.next());
        Ok(Ok(HistoryPage { events: page.events, next }))
    }

    /// The events from revision `from` on if all of them are in the recent-events window, without
    /// touching the engine. `None`: ask [`Kv::history`].
    pub fn recent_from(&self, from: Revision) -> Option<impl Iterator<Item = &Event>> {
        self.window.from(from).filter(|_| from >= self.compacted)
    }

    /// The key of an event as it was just before the event's revision. `None` if it was not there, or
    /// if that revision is compacted away.
    pub fn prev_kv(&self, event: &Event) -> Result<Option<KeyValue>, EngineError> {
        let before = Revision(event.kv.mod_revision.0 - 1);
        if before < self.compacted {
            return Ok(None);
        }
        match self.index.get(&event.kv.key).and_then(|history| history.put_at(before)) {
            Some(put) => Ok(Some(self.load(put)?.kv)),
            None => Ok(None),
        }
    }

    /// Events before the window's first.
    fn page_from_engine(&self, from: Revision, page: &mut Page) -> Result<(), EngineError> {
        let first = EventId::first_key(Revision(from.0.max(0)));
        let end = EventId::first_key(self.window.first());
        let mut outcome = Ok(ControlFlow::Continue(()));
        self.engine.scan(Space::History, &first, Some(&end), &mut |key, value| {
            outcome = EventId::from_key(key).and_then(|id| {
                page.add(id.revision, || record::decode(id, Bytes::copy_from_slice(value)))
            });
            match outcome {
                Ok(flow) => flow,
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        outcome.map(|_| ())
    }
}

impl Page {
    /// Adds an event unless the page is full and the event begins a revision.
    fn add(
        &mut self,
        revision: Revision,
        event: impl FnOnce() -> Result<Event, EngineError>,
    ) -> Result<ControlFlow<()>, EngineError> {
        let begins = self.events.last().is_some_and(|last| last.kv.mod_revision != revision);
        if begins && self.bytes >= self.max_bytes {
            self.stopped_at = Some(revision);
            return Ok(ControlFlow::Break(()));
        }
        let event = event()?;
        self.bytes += event.kv.key.len() + event.kv.value.len();
        self.events.push(event);
        Ok(ControlFlow::Continue(()))
    }
}
