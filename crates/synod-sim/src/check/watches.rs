//! Watches: etcd's properties. Ordered, unique, atomic, reliable, resumable, bookmarkable,
//! filtered, and `prev_kv` and create flags as the history says.
//!
//! One pass over what a watch was given, with the applied events beside it: a delivery is right if
//! it is the next event of the next revision that touches the range.

use synod_base::Revision;
use synod_node::{WatchEvent, WatchKind};
use synod_state::kv::{Event, EventKind};

use super::model::{EMPTY, Model};
use crate::history::{Applied, Violation, WatchLog, WatchSeen};

/// Checks all watches. `compacted` is the highest revision anyone ever asked to compact at: a
/// `prev_kv` below it may be missing.
#[must_use]
pub fn check(logs: &[WatchLog], applied: &Applied, compacted: Revision) -> Vec<Violation> {
    let (model, _) = Model::replay(applied);
    let mut violations = Vec::new();
    for log in logs {
        let wants_prev = log.deliveries.iter().any(has_prev_kv);
        let mut walk = Walk {
            log,
            applied,
            model: &model,
            prev_kv_from: wants_prev.then_some(compacted),
            next: log.start,
            partial: None,
            canceled: None,
            violations: Vec::new(),
        };
        log.deliveries.iter().for_each(|seen| walk.on_seen(seen));
        walk.on_end();
        violations.append(&mut walk.violations);
    }
    violations
}

fn has_prev_kv(seen: &WatchSeen) -> bool {
    match seen {
        WatchSeen::Delivery(_, WatchKind::Events { events, .. }) => {
            events.iter().any(|event| event.prev_kv.is_some())
        }
        _ => false,
    }
}

/// How far one watch is.
struct Walk<'a> {
    log: &'a WatchLog,
    applied: &'a Applied,
    model: &'a Model,
    /// It asked for `prev_kv`, which must be there for events after this revision.
    prev_kv_from: Option<Revision>,
    /// Everything below is delivered.
    next: Revision,
    /// The revision under delivery in fragments, and how many of its events have come.
    partial: Option<(Revision, usize)>,
    /// Canceled, and from where it may go on.
    canceled: Option<Revision>,
    violations: Vec<Violation>,
}

impl<'a> Walk<'a> {
    fn on_seen(&mut self, seen: &WatchSeen) {
        match seen {
            WatchSeen::Resumed(from) => self.on_resumed(*from),
            WatchSeen::Delivery(header, kind) => {
                if self.canceled.is_some() {
                    self.report("watch-after-cancel", format!("{kind:?} came after the cancel"));
                }
                if *header > self.model.last().max(EMPTY) {
                    self.report("watch-ahead", format!("header {header} is beyond all revisions"));
                }
                match kind {
                    WatchKind::Created => {}
                    WatchKind::Events { events, more } => self.on_events(*header, events, *more),
                    WatchKind::Progress => self.on_progress(*header),
                    WatchKind::Canceled { compact_revision, .. } => {
                        self.on_canceled(*compact_revision);
                    }
                }
            }
        }
    }

    fn on_events(&mut self, header: Revision, events: &[WatchEvent], more: bool) {
        for event in events {
            self.on_event(header, event);
        }
        if events.is_empty() {
            self.report("watch-empty", "a delivery of no events".into());
        }
        if !more {
            self.demand_whole("a delivery ended, with nothing to follow,");
        }
    }

    fn on_event(&mut self, header: Revision, seen: &WatchEvent) {
        let revision = seen.event.kv.mod_revision;
        if !self.log.range.contains(&seen.event.kv.key) {
            return self.report("watch-filter", format!("{seen:?} is outside the range"));
        }
        if revision > header {
            self.report("watch-ahead", format!("{seen:?} came under header {header}"));
        }
        if revision < self.next {
            let next = self.next;
            let what = format!("{seen:?}, but all below {next} had been delivered");
            return self.report("watch-again", what);
        }
        if self.partial.is_none_or(|(partial, _)| partial != revision) {
            self.demand_whole("the next revision began");
            self.demand_nothing_until(revision);
            self.partial = Some((revision, 0));
        }
        let (_, taken) = self.partial.unwrap_or((revision, 0));
        let wanted = self.in_range(revision);
        self.partial = Some((revision, taken + 1));
        match wanted.get(taken) {
            Some(event) if **event == seen.event => self.check_prev_kv(seen),
            Some(event) => {
                let what = format!("{seen:?}, but next in the history is {event:?}");
                self.report("watch-wrong-event", what);
            }
            None => self.report("watch-wrong-event", format!("{seen:?} never happened")),
        }
        if taken + 1 >= wanted.len() {
            self.partial = None;
            self.next = revision.next();
        }
    }

    fn check_prev_kv(&mut self, seen: &WatchEvent) {
        let kv = &seen.event.kv;
        let before = self.model.at(Revision(kv.mod_revision.0 - 1)).get(&kv.key);
        let is_create = seen.event.kind == EventKind::Put && kv.version == 1;
        if is_create != (seen.event.kind == EventKind::Put && before.is_none()) {
            self.report("watch-is-create", format!("{seen:?}, but before it was {before:?}"));
        }
        let readable = |from: Revision| kv.mod_revision > from;
        let right = match &seen.prev_kv {
            Some(prev_kv) => before == Some(prev_kv),
            None => before.is_none() || !self.prev_kv_from.is_some_and(readable),
        };
        if !right {
            self.report("watch-prev-kv", format!("{seen:?}, but before it was {before:?}"));
        }
    }

    /// A bookmark: nothing at or below it may be missing, nor come later.
    fn on_progress(&mut self, header: Revision) {
        self.demand_whole("progress was told");
        self.demand_nothing_until(header.next());
        self.next = self.next.max(header.next());
    }

    fn on_canceled(&mut self, compact_revision: Revision) {
        self.partial = None;
        if compact_revision != Revision(0) && compact_revision <= self.next {
            let what = format!("compacted at {compact_revision}, but it waits for {}", self.next);
            self.report("watch-needless-cancel", what);
        }
        self.canceled = Some(compact_revision);
    }

    fn on_resumed(&mut self, from: Revision) {
        let allowed = match self.canceled.take() {
            Some(compacted) if from < compacted => {
                let what = format!("resumed at {from}, below the compacted {compacted}");
                return self.report("watch-resume-compacted", what);
            }
            Some(compacted) => compacted.max(self.next),
            None => self.next,
        };
        if from > allowed {
            let what = format!("resumed at {from}, though only all below {allowed} is known");
            self.report("watch-resume-gap", what);
        }
        self.partial = None;
        self.next = from;
    }

    fn on_end(&mut self) {
        if self.log.complete {
            self.demand_whole("the workload ended");
            self.demand_nothing_until(self.model.last().next());
        }
    }

    /// No revision may be left half delivered.
    fn demand_whole(&mut self, when: &str) {
        if let Some((revision, taken)) = self.partial.take() {
            let all = self.in_range(revision).len();
            let what = format!("{when} after {taken} of the {all} events of revision {revision}");
            self.report("watch-split", what);
            self.next = revision.next();
        }
    }

    /// No event of the range lies between what is delivered and `revision`.
    fn demand_nothing_until(&mut self, revision: Revision) {
        if revision <= self.next {
            return;
        }
        let range = &self.log.range;
        let mut skipped = self.applied.events.range(self.next..revision).map(|(_, events)| events);
        if let Some(event) = skipped.find_map(|es| es.iter().find(|e| range.contains(&e.kv.key))) {
            self.report("watch-gap", format!("{event:?} was skipped on the way to {revision}"));
        }
        self.next = revision;
    }

    fn in_range(&self, revision: Revision) -> Vec<&'a Event> {
        let events = self.applied.events.get(&revision).into_iter().flatten();
        events.filter(|event| self.log.range.contains(&event.kv.key)).collect()
    }

    fn report(&mut self, promise: &'static str, what: String) {
        let watch = format!("watch of {:?} from {}: ", self.log.range, self.log.start);
        self.violations.push(Violation::new(promise, watch + &what));
    }
}

#[cfg(test)]
mod tests;
