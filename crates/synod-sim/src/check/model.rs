//! The store as a naive model: every key's whole history, replayed from the applied events, and
//! each request evaluated on it word by word as etcd's documentation says.
//!
//! Slow and plain on purpose: nothing here is shared with `synod-state`, whose answers it judges.

use std::collections::BTreeMap;

use bytes::Bytes;
use synod_base::{LeaseId, Revision};
use synod_node::Response;
use synod_state::kv::{
    Command, CommandResult, Compare, CompareResult, CompareTarget, DeleteRangeRequest, Event,
    EventKind, KeyRange, KeyValue, PutRequest, RangeRequest, RangeResult, SortOrder, SortTarget,
    TxnOp, TxnOpResult, TxnRequest, TxnResult,
};

use crate::history::{Applied, Violation};

/// The revision of an empty store.
pub const EMPTY: Revision = Revision(1);

/// All states the store ever had.
#[derive(Debug, Default)]
pub struct Model {
    /// Each key's states, ascending; `None` where it was deleted.
    keys: BTreeMap<Bytes, Vec<(Revision, Option<KeyValue>)>>,
    last: Revision,
}

/// The store at one revision.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    model: &'a Model,
    revision: Revision,
}

/// What a command does, evaluated on a view.
#[derive(Clone, PartialEq, Debug)]
pub struct Effect {
    /// Its changes, in order; none if it writes nothing.
    pub events: Vec<Event>,
    /// Its answer.
    pub result: CommandResult,
}

impl Model {
    /// Replays what was applied. Events that no sequence of puts and deletions can give are
    /// violations: a gap in the revisions, a wrong create revision or version, the deletion of an
    /// absent key.
    #[must_use]
    pub fn replay(applied: &Applied) -> (Model, Vec<Violation>) {
        let mut model = Model { keys: BTreeMap::new(), last: EMPTY };
        let mut violations = Vec::new();
        for (&revision, events) in &applied.events {
            if revision != model.last.next() {
                let what = format!("revision {revision} follows {}", model.last);
                violations.push(Violation::new("revision-gap", what));
            }
            if events.is_empty() {
                let what = format!("revision {revision} was used without an event");
                violations.push(Violation::new("revision-gap", what));
            }
            for event in events {
                if let Some(expected) = model.misfit(revision, event) {
                    let what = format!("{event:?} at revision {revision}: expected {expected}");
                    violations.push(Violation::new("wrong-event", what));
                }
                let state = (event.kind == EventKind::Put).then(|| event.kv.clone());
                model.keys.entry(event.kv.key.clone()).or_default().push((revision, state));
            }
            model.last = revision;
        }
        (model, violations)
    }

    /// What the event should have been, if it cannot be what it is.
    fn misfit(&self, revision: Revision, event: &Event) -> Option<String> {
        let before = self.keys.get(&event.kv.key).and_then(|states| states.last()?.1.as_ref());
        let expected = match event.kind {
            EventKind::Put => KeyValue {
                create_revision: before.map_or(revision, |kv| kv.create_revision),
                mod_revision: revision,
                version: before.map_or(0, |kv| kv.version) + 1,
                ..event.kv.clone()
            },
            EventKind::Delete if before.is_none() => return Some("the key to be there".into()),
            EventKind::Delete => deletion(event.kv.key.clone(), revision).kv,
        };
        (event.kv != expected).then(|| format!("{expected:?}"))
    }

    /// The store as it was when `revision` was its newest.
    #[must_use]
    pub fn at(&self, revision: Revision) -> View<'_> {
        View { model: self, revision }
    }

    /// The newest revision.
    #[must_use]
    pub fn last(&self) -> Revision {
        self.last
    }
}

impl<'a> View<'a> {
    /// One key, if it is there.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&'a KeyValue> {
        self.state_of(self.model.keys.get(key)?)
    }

    /// The keys that hang on a lease.
    pub fn attached(self, lease: LeaseId) -> impl Iterator<Item = &'a KeyValue> {
        let states = self.model.keys.values();
        states.filter_map(move |states| self.state_of(states)).filter(move |kv| kv.lease == lease)
    }

    /// What the command does on this state, or `None` if it has to be refused. Whether a lease is
    /// there is not known here.
    #[must_use]
    pub fn effect(self, command: &Command) -> Option<Effect> {
        let mut scratch = Scratch { view: self, changed: BTreeMap::new(), events: Vec::new() };
        let result = match command {
            Command::Put(put) => CommandResult::Put { prev_kv: scratch.put(put)? },
            Command::DeleteRange(delete) => {
                let (deleted, prev_kvs) = scratch.delete_range(delete);
                CommandResult::DeleteRange { deleted, prev_kvs }
            }
            Command::Txn(txn) => CommandResult::Txn(scratch.txn(txn)?),
            Command::Compact { .. } => CommandResult::Compact,
            Command::LeaseGrant { id, ttl_seconds } => {
                CommandResult::LeaseGrant { id: *id, ttl_seconds: (*ttl_seconds).max(1) }
            }
            Command::LeaseRevoke { id } => {
                let keys: Vec<_> = self.attached(*id).map(|kv| kv.key.clone()).collect();
                keys.into_iter().for_each(|key| scratch.delete(key));
                CommandResult::LeaseRevoke
            }
        };
        Some(Effect { events: scratch.events, result })
    }

    /// The answer to a range read.
    #[must_use]
    pub fn range(self, request: &RangeRequest) -> Response {
        let scratch = Scratch { view: self, changed: BTreeMap::new(), events: Vec::new() };
        Response::Range(scratch.range(request))
    }

    /// The answer to a transaction that only reads.
    #[must_use]
    pub fn read_txn(self, txn: &TxnRequest) -> Option<Response> {
        let mut scratch = Scratch { view: self, changed: BTreeMap::new(), events: Vec::new() };
        scratch.txn(txn).map(Response::Txn)
    }

    fn state_of(self, states: &'a [(Revision, Option<KeyValue>)]) -> Option<&'a KeyValue> {
        let later = states.partition_point(|(revision, _)| *revision <= self.revision);
        states[..later].last()?.1.as_ref()
    }

    fn all(self) -> impl Iterator<Item = &'a KeyValue> {
        self.model.keys.values().filter_map(move |states| self.state_of(states))
    }
}

/// A view and, on top, what the command under evaluation has changed so far.
struct Scratch<'a> {
    view: View<'a>,
    changed: BTreeMap<Bytes, Option<KeyValue>>,
    events: Vec<Event>,
}

impl Scratch<'_> {
    fn get(&self, key: &Bytes) -> Option<KeyValue> {
        match self.changed.get(key) {
            Some(state) => state.clone(),
            None => self.view.get(key).cloned(),
        }
    }

    /// The keys of a range, ascending.
    fn keys_in(&self, range: &KeyRange) -> Vec<KeyValue> {
        let mut found: BTreeMap<Bytes, Option<KeyValue>> = if range.is_single() {
            let kv = self.view.get(&range.key).cloned();
            [(range.key.clone(), kv)].into()
        } else {
            let inside = self.view.all().filter(|kv| range.contains(&kv.key));
            inside.map(|kv| (kv.key.clone(), Some(kv.clone()))).collect()
        };
        let changed = self.changed.iter().filter(|(key, _)| range.contains(key));
        found.extend(changed.map(|(key, state)| (key.clone(), state.clone())));
        found.into_values().flatten().collect()
    }

    fn put(&mut self, put: &PutRequest) -> Option<Option<KeyValue>> {
        let before = self.get(&put.key);
        if before.is_none() && (put.ignore_value || put.ignore_lease) {
            return None;
        }
        let revision = self.view.revision.next();
        let kept = before.clone().unwrap_or_default();
        let kv = KeyValue {
            key: put.key.clone(),
            create_revision: if before.is_some() { kept.create_revision } else { revision },
            mod_revision: revision,
            version: kept.version + 1,
            value: if put.ignore_value { kept.value } else { put.value.clone() },
            lease: if put.ignore_lease { kept.lease } else { put.lease },
        };
        self.changed.insert(put.key.clone(), Some(kv.clone()));
        self.events.push(Event { kind: EventKind::Put, kv });
        Some(before.filter(|_| put.prev_kv))
    }

    fn delete(&mut self, key: Bytes) {
        self.events.push(deletion(key.clone(), self.view.revision.next()));
        self.changed.insert(key, None);
    }

    fn delete_range(&mut self, delete: &DeleteRangeRequest) -> (i64, Vec<KeyValue>) {
        let kvs = self.keys_in(&delete.range);
        kvs.iter().for_each(|kv| self.delete(kv.key.clone()));
        (kvs.len() as i64, if delete.prev_kv { kvs } else { Vec::new() })
    }

    fn range(&self, request: &RangeRequest) -> RangeResult {
        let mut kvs = if request.revision.0 > 0 {
            let past = self.view.model.at(request.revision);
            let past = Scratch { view: past, changed: BTreeMap::new(), events: Vec::new() };
            past.keys_in(&request.range)
        } else {
            self.keys_in(&request.range)
        };
        let count = kvs.len() as i64;
        if request.count_only {
            return RangeResult { kvs: Vec::new(), more: false, count };
        }
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
        let unbounded = filter(request, &mut kvs);
        // etcd reads one key beyond the limit, and only then sorts, if no order was asked for.
        if let (SortOrder::None, true, Some(limit)) = (request.sort_order, unbounded, limit) {
            kvs.truncate(limit + 1);
        }
        sort(request, &mut kvs);
        let more = limit.is_some_and(|limit| kvs.len() > limit);
        kvs.truncate(limit.unwrap_or(usize::MAX));
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        RangeResult { kvs, more, count }
    }

    /// Runs a transaction: all compares, nested ones too, look at the state before it.
    fn txn(&mut self, txn: &TxnRequest) -> Option<TxnResult> {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let branch = if succeeded { &txn.success } else { &txn.failure };
        let mut responses = Vec::with_capacity(branch.len());
        for op in branch {
            responses.push(match op {
                TxnOp::Range(range) => TxnOpResult::Range(self.range(range)),
                TxnOp::Put(put) => TxnOpResult::Put { prev_kv: self.put(put)? },
                TxnOp::DeleteRange(delete) => {
                    let (deleted, prev_kvs) = self.delete_range(delete);
                    TxnOpResult::DeleteRange { deleted, prev_kvs }
                }
                TxnOp::Txn(inner) => TxnOpResult::Txn(self.txn(inner)?),
            });
        }
        Some(TxnResult { succeeded, responses })
    }

    fn holds(&self, compare: &Compare) -> bool {
        let before = Scratch { view: self.view, changed: BTreeMap::new(), events: Vec::new() };
        let kvs = before.keys_in(&compare.range);
        if kvs.is_empty() {
            let on_value = matches!(compare.target, CompareTarget::Value(_));
            return !on_value && key_holds(compare, &KeyValue::default());
        }
        kvs.iter().all(|kv| key_holds(compare, kv))
    }
}

fn key_holds(compare: &Compare, kv: &KeyValue) -> bool {
    let (less, equal) = match &compare.target {
        CompareTarget::Version(v) => (kv.version < *v, kv.version == *v),
        CompareTarget::Create(r) => (kv.create_revision < *r, kv.create_revision == *r),
        CompareTarget::Mod(r) => (kv.mod_revision < *r, kv.mod_revision == *r),
        CompareTarget::Value(v) => (kv.value < *v, kv.value == *v),
        CompareTarget::Lease(l) => (kv.lease < *l, kv.lease == *l),
    };
    match compare.result {
        CompareResult::Equal => equal,
        CompareResult::NotEqual => !equal,
        CompareResult::Less => less,
        CompareResult::Greater => !less && !equal,
    }
}

/// Drops what the bounds on revisions exclude; says whether there are none.
fn filter(request: &RangeRequest, kvs: &mut Vec<KeyValue>) -> bool {
    let within = |low: Revision, revision: Revision, high: Revision| {
        (low.0 == 0 || revision >= low) && (high.0 == 0 || revision <= high)
    };
    let (mod_low, mod_high) = (request.min_mod_revision, request.max_mod_revision);
    let (create_low, create_high) = (request.min_create_revision, request.max_create_revision);
    kvs.retain(|kv| {
        within(mod_low, kv.mod_revision, mod_high)
            && within(create_low, kv.create_revision, create_high)
    });
    [mod_low, mod_high, create_low, create_high].iter().all(|bound| bound.0 == 0)
}

fn sort(request: &RangeRequest, kvs: &mut [KeyValue]) {
    let order = |a: &KeyValue, b: &KeyValue| match request.sort_target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    match request.sort_order {
        SortOrder::Descend => kvs.sort_by(|a, b| order(b, a)),
        SortOrder::None | SortOrder::Ascend => kvs.sort_by(order),
    }
}

fn deletion(key: Bytes, revision: Revision) -> Event {
    let kv = KeyValue { key, mod_revision: revision, ..KeyValue::default() };
    Event { kind: EventKind::Delete, kv }
}
