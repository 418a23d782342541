//! Every write against what was applied: an acknowledged one is there, whole and once; a refused
//! one is not; whatever is there was asked for; an unknown one is there at most once.
//!
//! An acknowledged write names its revision, so it is judged there. A revision that no
//! acknowledgement names is matched with the writes whose outcome is unknown, as a bipartite
//! matching: deletions carry no value that would name their request, so several may fit.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use synod_base::{LeaseId, Revision};
use synod_node::{Happened, Request, Response};
use synod_state::kv::{
    Command, CommandResult, EventKind, PutRequest, TxnOp, TxnOpResult, TxnRequest,
};

use super::model::{Effect, Model};
use crate::history::{Applied, Operation, Violation};

/// Checks all writes of a workload in which no two puts have the same value.
#[must_use]
pub fn check(operations: &[Operation], applied: &Applied) -> Vec<Violation> {
    let (model, violations) = Model::replay(applied);
    let mut check = Check {
        applied,
        model,
        acknowledged: BTreeMap::new(),
        unknown: Vec::new(),
        refused: Vec::new(),
        values: BTreeMap::new(),
        violations,
    };
    for (number, operation) in operations.iter().enumerate() {
        if let Request::Write(command) = &operation.request {
            check.sort_in(number, operation, command);
        }
    }
    check.match_unclaimed();
    check.violations
}

/// A write by its place in the history.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    number: usize,
    command: &'a Command,
}

struct Check<'a> {
    applied: &'a Applied,
    model: Model,
    /// Who was told that it made this revision.
    acknowledged: BTreeMap<Revision, Asked<'a>>,
    unknown: Vec<Asked<'a>>,
    refused: Vec<Asked<'a>>,
    /// Which write has this value.
    values: BTreeMap<Bytes, Asked<'a>>,
    violations: Vec<Violation>,
}

impl<'a> Check<'a> {
    fn sort_in(&mut self, number: usize, operation: &'a Operation, command: &'a Command) {
        let asked = Asked { number, command };
        for value in own_values(command) {
            let other = self.values.insert(value.clone(), asked);
            if other.is_some_and(|other| other.number != number) {
                let what = format!("{asked:?} puts a value that another write has put");
                self.report("bad-workload", what);
            }
        }
        match &operation.answer {
            Some((_, Ok(answer))) => {
                let Response::Write(result) = &answer.response else {
                    let what = format!("{asked:?} was answered with {:?}", answer.response);
                    return self.report("wrong-answer", what);
                };
                self.acknowledge(asked, answer.revision, result);
            }
            Some((_, Err(error))) if error.happened() == Happened::No => self.refused.push(asked),
            Some((_, Err(_))) | None => self.unknown.push(asked),
        }
    }

    /// An acknowledged write is the events at its revision, or has none and changed nothing there.
    fn acknowledge(&mut self, asked: Asked<'a>, revision: Revision, result: &CommandResult) {
        let seen = self.applied.events.get(&revision).map_or(&[][..], |events| events);
        let written = self.model.at(Revision(revision.0 - 1)).effect(asked.command);
        let as_told = match says_written(result) {
            Some(told) => told,
            // The end of a lease does not say whether it had keys.
            None => written.as_ref().is_some_and(|e| !e.events.is_empty() && e.events == seen),
        };
        if !as_told {
            let nothing = |e: Effect| e.events.is_empty();
            if !self.model.at(revision).effect(asked.command).is_some_and(nothing) {
                let what = format!("{asked:?} changed nothing, it says, but had to at {revision}");
                self.report("lost-write", what);
            }
            return;
        }
        match written {
            _ if seen.is_empty() => {
                let what = format!("{asked:?}, acknowledged at {revision}, was never applied");
                return self.report("lost-write", what);
            }
            Some(effect) if effect.events == seen => {}
            effect => {
                let expected = effect.map(|effect| effect.events);
                let what = format!(
                    "{asked:?}, acknowledged at {revision}: expected {expected:?}, found {seen:?}"
                );
                return self.report("lost-write", what);
            }
        }
        if let Some(other) = self.acknowledged.insert(revision, asked) {
            let what = format!("{other:?} and {asked:?} were both told revision {revision}");
            self.report("revision-reused", what);
        }
    }

    /// Finds for each revision that no acknowledgement names the write that made it.
    fn match_unclaimed(&mut self) {
        let applied = self.applied;
        let claimed = |revision: &Revision| self.acknowledged.contains_key(revision);
        let unclaimed: Vec<Revision> =
            applied.events.keys().copied().filter(|revision| !claimed(revision)).collect();
        // What can be a lease's end needs no write: `leases` judges whether it was one.
        let unclaimed = unclaimed.into_iter().filter(|revision| !self.is_lease_end(*revision));
        let mut matching = Matching::default();
        let mut orphans = Vec::new();
        for revision in unclaimed {
            let fitting = self.fitting(revision, &self.unknown);
            if fitting.is_empty() || !matching.place(revision, fitting) {
                orphans.push(revision);
            }
        }
        for revision in orphans {
            let (promise, what) = self.explain(revision, &matching);
            self.report(promise, what);
        }
    }

    /// Which of the writes would have done exactly what was done at this revision.
    fn fitting(&self, revision: Revision, writes: &[Asked<'a>]) -> Vec<usize> {
        let events = &self.applied.events[&revision];
        let values: BTreeSet<_> = events.iter().map(|event| &event.kv.value).collect();
        let before = self.model.at(Revision(revision.0 - 1));
        let fits = |asked: &&Asked<'_>| {
            // Cheap first: a write with values of its own must show one of them, or only delete.
            let shows_value = own_values(asked.command).iter().any(|value| values.contains(value));
            let only_deletes = events.iter().all(|event| event.kind == EventKind::Delete);
            (shows_value || only_deletes || keeps_values(asked.command))
                && before.effect(asked.command).is_some_and(|effect| effect.events == *events)
        };
        writes.iter().filter(fits).map(|asked| asked.number).collect()
    }

    /// Exactly the keys of one lease were deleted.
    fn is_lease_end(&self, revision: Revision) -> bool {
        let events = &self.applied.events[&revision];
        let before = self.model.at(Revision(revision.0 - 1));
        let lease = events.first().and_then(|event| before.get(&event.kv.key)).map(|kv| kv.lease);
        lease.filter(|lease| *lease != LeaseId::NONE).is_some_and(|id| {
            let revoke = before.effect(&Command::LeaseRevoke { id });
            revoke.is_some_and(|effect| effect.events == *events)
        })
    }

    /// What an unclaimed revision that nothing fits breaks.
    fn explain(&self, revision: Revision, matching: &Matching) -> (&'static str, String) {
        let events = &self.applied.events[&revision];
        let placed = |asked: &Asked<'_>| {
            matching.revision_of.contains_key(&asked.number)
                || self.acknowledged.values().any(|other| other.number == asked.number)
        };
        let puts = events.iter().filter(|event| event.kind == EventKind::Put);
        let refused = |asked: &&Asked<'_>| self.refused.iter().any(|r| r.number == asked.number);
        match puts.filter_map(|event| self.values.get(&event.kv.value)).next() {
            Some(asked) if refused(&asked) => {
                ("refused-yet-applied", format!("{asked:?} was refused, but is at {revision}"))
            }
            Some(asked) if !placed(asked) => {
                ("wrong-effect", format!("{asked:?} cannot have done {events:?} at {revision}"))
            }
            Some(asked) => {
                ("applied-twice", format!("{asked:?} has its revision, but is at {revision} again"))
            }
            None if !self.fitting(revision, &self.refused).is_empty() => {
                let what = format!("only a refused write fits {events:?} at {revision}");
                ("refused-yet-applied", what)
            }
            None => ("unasked-write", format!("nobody asked for {events:?} at {revision}")),
        }
    }

    fn report(&mut self, promise: &'static str, what: String) {
        self.violations.push(Violation::new(promise, what));
    }
}

/// Revisions matched with writes, each write at most once (Kuhn's algorithm).
#[derive(Default)]
struct Matching {
    fitting: BTreeMap<Revision, Vec<usize>>,
    revision_of: BTreeMap<usize, Revision>,
}

impl Matching {
    /// Gives the revision one of the writes, moving others to another that fits them; false if none
    /// is left.
    fn place(&mut self, revision: Revision, fitting: Vec<usize>) -> bool {
        self.fitting.insert(revision, fitting);
        self.augment(revision, &mut BTreeSet::new())
    }

    fn augment(&mut self, revision: Revision, tried: &mut BTreeSet<usize>) -> bool {
        for number in self.fitting[&revision].clone() {
            if !tried.insert(number) {
                continue;
            }
            let free = match self.revision_of.get(&number).copied() {
                None => true,
                Some(holder) => self.augment(holder, tried),
            };
            if free {
                self.revision_of.insert(number, revision);
                return true;
            }
        }
        false
    }
}

/// Whether the answer tells that something was written; `None` if it leaves that open.
pub(super) fn says_written(result: &CommandResult) -> Option<bool> {
    match result {
        CommandResult::Put { .. } => Some(true),
        CommandResult::DeleteRange { deleted, .. } => Some(*deleted > 0),
        CommandResult::Txn(txn) => Some(txn.responses.iter().any(wrote)),
        CommandResult::Compact | CommandResult::LeaseGrant { .. } => Some(false),
        CommandResult::LeaseRevoke => None,
    }
}

fn wrote(response: &TxnOpResult) -> bool {
    match response {
        TxnOpResult::Range(_) => false,
        TxnOpResult::Put { .. } => true,
        TxnOpResult::DeleteRange { deleted, .. } => *deleted > 0,
        TxnOpResult::Txn(txn) => txn.responses.iter().any(wrote),
    }
}

/// The values that only this write puts.
pub(super) fn own_values(command: &Command) -> Vec<&Bytes> {
    let mut values = Vec::new();
    each_put(command, &mut |put| {
        if !put.ignore_value {
            values.push(&put.value);
        }
    });
    values
}

/// Whether it may put a value that is there already.
fn keeps_values(command: &Command) -> bool {
    let mut keeps = false;
    each_put(command, &mut |put| keeps |= put.ignore_value);
    keeps
}

fn each_put<'a>(command: &'a Command, visit: &mut dyn FnMut(&'a PutRequest)) {
    match command {
        Command::Put(put) => visit(put),
        Command::Txn(txn) => each_put_of_txn(txn, visit),
        _ => {}
    }
}

fn each_put_of_txn<'a>(txn: &'a TxnRequest, visit: &mut dyn FnMut(&'a PutRequest)) {
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            TxnOp::Put(put) => visit(put),
            TxnOp::Txn(inner) => each_put_of_txn(inner, visit),
            TxnOp::Range(_) | TxnOp::DeleteRange(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
