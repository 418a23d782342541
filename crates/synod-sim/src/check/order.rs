//! Strict serializability, by revision: revisions order all writes, and every read says at which
//! revision it looked. So it is enough that real time never contradicts that order, and that each
//! answer is what the model gives at its revision.
//!
//! Whether the writes themselves are what was asked is judged in `writes`; `linear` comes to its
//! verdict without revisions.

use std::collections::BTreeMap;

use bytes::Bytes;
use synod_base::{LeaseId, NodeId, Revision};
use synod_node::{Request, RequestError, Response};
use synod_state::kv::{Command, EventKind, Refusal};

use super::model::Model;
use super::writes::{own_values, says_written};
use crate::history::{Answer, Applied, Operation, TrueTime, Violation};

/// Checks real time and answers.
#[must_use]
pub fn check(operations: &[Operation], applied: &Applied) -> Vec<Violation> {
    // What is wrong with the events themselves is for `writes` to report.
    let (model, _) = Model::replay(applied);
    let value_revision = value_revisions(applied);
    let points: Vec<Point<'_>> = operations
        .iter()
        .filter_map(|operation| place(operation, &model, &value_revision))
        .collect();
    let mut violations = real_time(&points);
    violations.extend(no_node_goes_back(&points));
    violations.extend(operations.iter().filter_map(|operation| wrong_answer(operation, &model)));
    violations
}

/// An operation and where revisions place it.
#[derive(Clone, Copy)]
struct Point<'a> {
    operation: &'a Operation,
    revision: Revision,
    kind: Kind,
    /// `None` if no answer came, or one that leaves it open when it happened.
    returned: Option<TrueTime>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It made its revision.
    Writing,
    /// It saw the newest revision.
    Reading,
    /// It saw a revision that may be old.
    Local,
}

/// When an unknown put was applied, its value tells.
fn value_revisions(applied: &Applied) -> BTreeMap<&Bytes, Revision> {
    let mut revisions = BTreeMap::new();
    for (revision, events) in &applied.events {
        for event in events.iter().filter(|event| event.kind == EventKind::Put) {
            revisions.entry(&event.kv.value).or_insert(*revision);
        }
    }
    revisions
}

fn place<'a>(
    operation: &'a Operation,
    model: &Model,
    value_revision: &BTreeMap<&Bytes, Revision>,
) -> Option<Point<'a>> {
    let point = |kind, revision, returned| Some(Point { operation, revision, kind, returned });
    match (&operation.request, &operation.answer) {
        (Request::Write(command), Some((returned, Ok(answer)))) => {
            let before = model.at(Revision(answer.revision.0 - 1));
            let told = Some(&answer.response);
            let effect = before.effect(command).filter(|effect| !effect.events.is_empty());
            // A write that changed nothing is a read of the revision it found.
            let made = effect.is_some_and(|e| Some(&Response::Write(e.result)) == told);
            let kind = if made { Kind::Writing } else { Kind::Reading };
            point(kind, answer.revision, Some(*returned))
        }
        (request, Some((_, Err(RequestError::Refused(Refusal::FutureRevision { .. })))))
            if reads_newest(request) =>
        {
            // It saw a revision below that, at most this one; so it says nothing to those after it.
            let asked = asked_revision(request)?;
            point(Kind::Reading, Revision(asked.0 - 1), None)
        }
        (Request::Write(command), _) => {
            let revision = own_values(command).into_iter().find_map(|v| value_revision.get(v))?;
            point(Kind::Writing, *revision, None)
        }
        (request, Some((returned, Ok(answer)))) => {
            let kind = if reads_newest(request) {
                Kind::Reading
            } else if reads_here(request) {
                Kind::Local
            } else {
                return None;
            };
            point(kind, answer.revision, Some(*returned))
        }
        _ => None,
    }
}

/// The one revision that a request names.
fn asked_revision(request: &Request) -> Option<Revision> {
    match request {
        Request::Range { request, .. } => Some(request.revision),
        Request::Write(Command::Compact { revision }) => Some(*revision),
        _ => None,
    }
}

fn reads_newest(request: &Request) -> bool {
    match request {
        Request::Write(_) | Request::LeaseList => true,
        Request::Range { linearizable, .. } | Request::ReadTxn { linearizable, .. } => {
            *linearizable
        }
        _ => false,
    }
}

fn reads_here(request: &Request) -> bool {
    match request {
        Request::Status | Request::HashKv { .. } => true,
        Request::Range { linearizable, .. } | Request::ReadTxn { linearizable, .. } => {
            !*linearizable
        }
        _ => false,
    }
}

/// Whoever is called after another has returned sees, or makes, no older revision.
fn real_time(points: &[Point<'_>]) -> Vec<Violation> {
    let mut by_call: Vec<&Point<'_>> = points.iter().collect();
    by_call.sort_by_key(|point| point.operation.called);
    let mut by_return: Vec<(TrueTime, &Point<'_>)> =
        points.iter().filter_map(|point| Some((point.returned?, point))).collect();
    by_return.sort_by_key(|(returned, _)| *returned);

    let mut returned = by_return.into_iter().peekable();
    let mut newest: Option<&Point<'_>> = None;
    let mut last_of_client: BTreeMap<u32, &Point<'_>> = BTreeMap::new();
    let mut violations = Vec::new();
    for point in by_call {
        let operation = point.operation;
        while let Some((_, done)) = returned.next_if(|(time, _)| *time < operation.called) {
            newest = newest.filter(|newest| newest.revision >= done.revision).or(Some(done));
        }
        // At the very same time another client's order is open; a client's own is not.
        let own = last_of_client.insert(operation.client, point);
        let own = own.filter(|own| own.returned.is_some_and(|time| time <= operation.called));
        let Some(before) = newest.into_iter().chain(own).max_by_key(|before| before.revision)
        else {
            continue;
        };
        let (promise, broken) = match point.kind {
            Kind::Writing => ("write-order", point.revision <= before.revision),
            Kind::Reading => ("stale-read", point.revision < before.revision),
            Kind::Local => continue,
        };
        if broken {
            let what = format!(
                "{:?} is at revision {}, but was called after {:?} had returned {}",
                operation, point.revision, before.operation, before.revision
            );
            violations.push(Violation::new(promise, what));
        }
    }
    violations
}

/// What a node shows at once may be old, but is never older than what it showed before.
fn no_node_goes_back(points: &[Point<'_>]) -> Vec<Violation> {
    let answered = points.iter().filter_map(|point| Some((point.returned?, point)));
    let mut by_node: BTreeMap<NodeId, Vec<(TrueTime, &Point<'_>)>> = BTreeMap::new();
    for (returned, point) in answered {
        by_node.entry(point.operation.node).or_default().push((returned, point));
    }
    let mut violations = Vec::new();
    for (node, mut points) in by_node {
        points.sort_by_key(|(returned, _)| *returned);
        let mut calls: Vec<&Point<'_>> =
            points.iter().map(|(_, point)| *point).filter(|p| p.kind == Kind::Local).collect();
        calls.sort_by_key(|point| point.operation.called);
        let mut shown = points.into_iter().peekable();
        let mut newest = Revision(0);
        for point in calls {
            while let Some((_, earlier)) = shown.next_if(|(t, _)| *t < point.operation.called) {
                newest = newest.max(earlier.revision);
            }
            if point.revision < newest {
                let what = format!(
                    "node {node} had shown {newest}, then {} to {:?}",
                    point.revision, point.operation
                );
                violations.push(Violation::new("node-went-back", what));
            }
        }
    }
    violations
}

/// The answer is what the model says at the answer's revision.
fn wrong_answer(operation: &Operation, model: &Model) -> Option<Violation> {
    let Some((_, Ok(Answer { revision, response }))) = &operation.answer else { return None };
    let at = model.at(*revision);
    let beyond = *revision > model.last();
    let fits = match &operation.request {
        Request::Write(Command::LeaseGrant { id: LeaseId::NONE, .. }) => true,
        Request::Write(command) => {
            let Response::Write(result) = response else { return None };
            // A write looked at the state before its revision; one that changed nothing, at its
            // revision.
            let wrote = says_written(result).unwrap_or(false);
            let found = if wrote { model.at(Revision(revision.0 - 1)) } else { at };
            found.effect(command).is_some_and(|effect| effect.result == *result)
        }
        Request::Range { request, .. } => at.range(request) == *response,
        Request::ReadTxn { request, .. } => at.read_txn(request).as_ref() == Some(response),
        _ => true,
    };
    if fits && !beyond {
        return None;
    }
    Some(Violation::new("wrong-answer", format!("{operation:?} is not the state at {revision}")))
}

#[cfg(test)]
mod tests;
