//! What a request says about one key: conditions that held when it took effect, and changes.
//!
//! Only values are used. A comparison of versions or revisions with zero asks whether the key is
//! there; with anything else it is taken as unknown, in either direction.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use synod_base::LeaseId;
use synod_node::{Happened, Request, Response};
use synod_state::kv::{
    Command, CommandResult, Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyValue,
    PutRequest, RangeRequest, RangeResult, TxnOp, TxnOpResult, TxnRequest, TxnResult,
};

use super::{UNSEEN, Value};
use crate::history::{Operation, TrueTime};

/// One request, as one key sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Step<V> {
    pub called: TrueTime,
    /// `None`: it may take effect at any time after its call, or never.
    pub returned: Option<TrueTime>,
    /// What it may have done, each as a sequence. One, if the answer is known.
    pub alternatives: Vec<Vec<Act<V>>>,
}

/// One thing done or found.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Act<V> {
    Need(Cond<V>),
    NotAll(Vec<Cond<V>>),
    /// `None` keeps what is there; then the key has to be there.
    Put {
        value: Option<V>,
        lease: Option<LeaseId>,
    },
    Delete,
    /// Deletes the key if it hangs on the lease.
    EndLease(LeaseId),
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Cond<V> {
    Present,
    Absent,
    Is(V),
    /// There, with another value.
    Other(V),
}

impl<V> Act<V> {
    pub fn changes(&self) -> bool {
        !matches!(self, Act::Need(_) | Act::NotAll(_))
    }
}

impl Act<Bytes> {
    /// Shows every value that was seen or asked about.
    pub fn each_seen(&self, show: &mut dyn FnMut(&Bytes)) {
        let conds = match self {
            Act::Need(cond) => std::slice::from_ref(cond),
            Act::NotAll(conds) => conds,
            _ => &[],
        };
        for cond in conds {
            if let Cond::Is(value) | Cond::Other(value) = cond {
                show(value);
            }
        }
    }

    pub fn named(&self, names: &BTreeMap<Bytes, Value>) -> Act<Value> {
        let name = |value: &Bytes| names.get(value).copied().unwrap_or(UNSEEN);
        let cond = |cond: &Cond<Bytes>| match cond {
            Cond::Present => Cond::Present,
            Cond::Absent => Cond::Absent,
            Cond::Is(value) => Cond::Is(name(value)),
            Cond::Other(value) => Cond::Other(name(value)),
        };
        match self {
            Act::Need(need) => Act::Need(cond(need)),
            Act::NotAll(conds) => Act::NotAll(conds.iter().map(cond).collect()),
            Act::Put { value, lease } => {
                Act::Put { value: value.as_ref().map(name), lease: *lease }
            }
            Act::Delete => Act::Delete,
            Act::EndLease(lease) => Act::EndLease(*lease),
        }
    }
}

/// Every key that was put or found.
pub(super) fn keys(operations: &[Operation]) -> BTreeSet<Bytes> {
    let mut keys = BTreeSet::new();
    for operation in operations {
        match &operation.request {
            Request::Write(Command::Put(put)) => {
                keys.insert(put.key.clone());
            }
            Request::Write(Command::Txn(txn)) => put_keys(txn, &mut keys),
            _ => {}
        }
        if let Some((_, Ok(answer))) = &operation.answer {
            match &answer.response {
                Response::Range(range) => keys.extend(range.kvs.iter().map(|kv| kv.key.clone())),
                Response::Txn(txn) => found_keys(txn, &mut keys),
                _ => {}
            }
        }
    }
    keys
}

fn put_keys(txn: &TxnRequest, keys: &mut BTreeSet<Bytes>) {
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            TxnOp::Put(put) => {
                keys.insert(put.key.clone());
            }
            TxnOp::Txn(inner) => put_keys(inner, keys),
            TxnOp::Range(_) | TxnOp::DeleteRange(_) => {}
        }
    }
}

fn found_keys(txn: &TxnResult, keys: &mut BTreeSet<Bytes>) {
    for response in &txn.responses {
        match response {
            TxnOpResult::Range(range) => keys.extend(range.kvs.iter().map(|kv| kv.key.clone())),
            TxnOpResult::Txn(inner) => found_keys(inner, keys),
            TxnOpResult::Put { .. } | TxnOpResult::DeleteRange { .. } => {}
        }
    }
}

/// Everything that was asked of one key, and the ends of its leases.
pub(super) fn steps(operations: &[Operation], key: &Bytes) -> Vec<Step<Bytes>> {
    let mut steps: Vec<_> = operations.iter().filter_map(|o| step(o, key)).collect();
    let mut first_call: BTreeMap<LeaseId, TrueTime> = BTreeMap::new();
    for step in &steps {
        for act in step.alternatives.iter().flatten() {
            if let Act::Put { lease: Some(lease), .. } = act {
                let call = first_call.entry(*lease).or_insert(step.called);
                *call = step.called.min(*call);
            }
        }
    }
    first_call.remove(&LeaseId::NONE);
    for (lease, called) in first_call {
        let grants = operations.iter().filter(|operation| match operation.request {
            Request::Write(Command::LeaseGrant { id, .. }) => id == lease,
            _ => false,
        });
        let end = Step { called, returned: None, alternatives: vec![vec![Act::EndLease(lease)]] };
        steps.extend(vec![end; grants.count().max(1)]);
    }
    steps
}

/// What one operation says about the key, if anything.
fn step(operation: &Operation, key: &Bytes) -> Option<Step<Bytes>> {
    let known = match &operation.answer {
        Some((returned, Ok(answer))) => Some((*returned, &answer.response)),
        Some((_, Err(error))) if error.happened() == Happened::No => return None,
        Some((_, Err(_))) | None => None,
    };
    let response = known.map(|(_, response)| response);
    let mut alternatives = match (&operation.request, response) {
        (Request::Write(command), _) => {
            let result = match response {
                Some(Response::Write(result)) => Some(result),
                _ => None,
            };
            of_command(command, result, key)
        }
        (Request::Range { request, linearizable: true }, Some(Response::Range(range))) => {
            vec![found(request, range, key)]
        }
        (Request::ReadTxn { request, linearizable: true }, Some(Response::Txn(result))) => {
            of_txn(request, Some(result), key).into_iter().map(Path::into_acts).collect()
        }
        _ => return None,
    };
    if known.is_some() {
        alternatives.retain(|acts| !acts.is_empty());
    } else {
        alternatives.retain(|acts| acts.iter().any(Act::changes));
    }
    let returned = known.map(|(returned, _)| returned);
    (!alternatives.is_empty()).then_some(Step { called: operation.called, returned, alternatives })
}

fn of_command(
    command: &Command,
    result: Option<&CommandResult>,
    key: &Bytes,
) -> Vec<Vec<Act<Bytes>>> {
    let mut acts = Vec::new();
    match (command, result) {
        (Command::Put(request), result) => {
            let before = match result {
                Some(CommandResult::Put { prev_kv }) => Some(prev_kv.as_ref()),
                _ => None,
            };
            put(request, before, key, &mut acts);
        }
        (Command::DeleteRange(request), result) => {
            let told = match result {
                Some(CommandResult::DeleteRange { deleted, prev_kvs }) => {
                    Some((*deleted, &prev_kvs[..]))
                }
                _ => None,
            };
            delete(request, told, key, &mut acts);
        }
        (Command::Txn(request), result) => {
            let result = match result {
                Some(CommandResult::Txn(result)) => Some(result),
                _ => None,
            };
            return of_txn(request, result, key).into_iter().map(Path::into_acts).collect();
        }
        // An unknown revocation is covered by the end that every lease has.
        (Command::LeaseRevoke { id }, Some(_)) => acts.push(Act::EndLease(*id)),
        (Command::LeaseRevoke { .. } | Command::LeaseGrant { .. } | Command::Compact { .. }, _) => {
        }
    }
    vec![acts]
}

/// One way through a transaction: what its compares say of the state before it, then what it does.
#[derive(Clone, Default)]
struct Path {
    before: Vec<Act<Bytes>>,
    body: Vec<Act<Bytes>>,
}

impl Path {
    fn into_acts(mut self) -> Vec<Act<Bytes>> {
        self.before.append(&mut self.body);
        self.before
    }
}

/// The way that was taken; without an answer every way there is.
fn of_txn(txn: &TxnRequest, result: Option<&TxnResult>, key: &Bytes) -> Vec<Path> {
    let branches = match result {
        Some(result) => vec![result.succeeded],
        None => vec![true, false],
    };
    let mut paths = Vec::new();
    for succeeded in branches {
        let before = guards(&txn.compare, succeeded, key);
        let mut ways = vec![Path { before, body: Vec::new() }];
        let ops = if succeeded { &txn.success } else { &txn.failure };
        for (place, op) in ops.iter().enumerate() {
            let told = result.and_then(|result| result.responses.get(place));
            ways = extend(&ways, &of_op(op, told, key));
        }
        paths.append(&mut ways);
    }
    paths
}

fn extend(ways: &[Path], with: &[Path]) -> Vec<Path> {
    let mut extended = Vec::new();
    for way in ways {
        for more in with {
            let mut way = way.clone();
            way.before.extend_from_slice(&more.before);
            way.body.extend_from_slice(&more.body);
            extended.push(way);
        }
    }
    extended
}

fn of_op(op: &TxnOp, told: Option<&TxnOpResult>, key: &Bytes) -> Vec<Path> {
    let mut path = Path::default();
    match (op, told) {
        (TxnOp::Range(request), Some(TxnOpResult::Range(range))) => {
            path.body = found(request, range, key);
        }
        (TxnOp::Range(_), _) => {}
        (TxnOp::Put(request), told) => {
            let before = match told {
                Some(TxnOpResult::Put { prev_kv }) => Some(prev_kv.as_ref()),
                _ => None,
            };
            put(request, before, key, &mut path.body);
        }
        (TxnOp::DeleteRange(request), told) => {
            let told = match told {
                Some(TxnOpResult::DeleteRange { deleted, prev_kvs }) => {
                    Some((*deleted, &prev_kvs[..]))
                }
                _ => None,
            };
            delete(request, told, key, &mut path.body);
        }
        (TxnOp::Txn(inner), told) => {
            let told = match told {
                Some(TxnOpResult::Txn(result)) => Some(result),
                _ => None,
            };
            return of_txn(inner, told, key);
        }
    }
    vec![path]
}

/// What it says of the key that all compares held, or that not all did.
fn guards(compares: &[Compare], succeeded: bool, key: &Bytes) -> Vec<Act<Bytes>> {
    let of_key = |compare: &&Compare| compare.range.is_single() && compare.range.key == *key;
    if succeeded {
        let conds = compares.iter().filter(of_key).filter_map(|compare| judge(compare).0);
        return conds.map(Act::Need).collect();
    }
    let judged = |compare: &Compare| match judge(compare) {
        (Some(cond), true) if of_key(&compare) => Some(cond),
        _ => None,
    };
    match compares.iter().map(judged).collect() {
        Some(conds) => vec![Act::NotAll(conds)],
        None => Vec::new(),
    }
}

/// What a compare that holds says, and whether it holds whenever that is so.
fn judge(compare: &Compare) -> (Option<Cond<Bytes>>, bool) {
    use CompareResult::{Equal, Greater, Less, NotEqual};
    let number = match &compare.target {
        CompareTarget::Version(version) => *version,
        CompareTarget::Create(revision) | CompareTarget::Mod(revision) => revision.0,
        CompareTarget::Lease(_) => return (None, false),
        CompareTarget::Value(value) => {
            return match compare.result {
                Equal => (Some(Cond::Is(value.clone())), true),
                NotEqual => (Some(Cond::Other(value.clone())), true),
                Greater | Less => (Some(Cond::Present), false),
            };
        }
    };
    match (compare.result, number) {
        (Equal, 0) => (Some(Cond::Absent), true),
        (Greater | NotEqual, 0) => (Some(Cond::Present), true),
        (Equal | Greater, 1..) => (Some(Cond::Present), false),
        _ => (None, false),
    }
}

fn put(
    request: &PutRequest,
    before: Option<Option<&KeyValue>>,
    key: &Bytes,
    acts: &mut Vec<Act<Bytes>>,
) {
    if request.key != *key {
        return;
    }
    if let (true, Some(before)) = (request.prev_kv, before) {
        acts.push(Act::Need(before.map_or(Cond::Absent, |kv| Cond::Is(kv.value.clone()))));
    }
    let value = (!request.ignore_value).then(|| request.value.clone());
    let lease = (!request.ignore_lease).then_some(request.lease);
    acts.push(Act::Put { value, lease });
}

fn delete(
    request: &DeleteRangeRequest,
    told: Option<(i64, &[KeyValue])>,
    key: &Bytes,
    acts: &mut Vec<Act<Bytes>>,
) {
    if !request.range.contains(key) {
        return;
    }
    if let Some((deleted, prev_kvs)) = told {
        let before = prev_kvs.iter().find(|kv| kv.key == *key);
        if request.prev_kv {
            acts.push(Act::Need(before.map_or(Cond::Absent, |kv| Cond::Is(kv.value.clone()))));
        } else if request.range.is_single() {
            acts.push(Act::Need(if deleted == 0 { Cond::Absent } else { Cond::Present }));
        }
    }
    acts.push(Act::Delete);
}

fn found(request: &RangeRequest, range: &RangeResult, key: &Bytes) -> Vec<Act<Bytes>> {
    // A read of the past says nothing of now.
    if !request.range.contains(key) || request.revision.0 > 0 {
        return Vec::new();
    }
    let single = request.range.is_single();
    let cond = if request.count_only {
        let cond = if range.count > 0 { Cond::Present } else { Cond::Absent };
        single.then_some(cond)
    } else {
        match range.kvs.iter().find(|kv| kv.key == *key) {
            Some(_) if request.keys_only => Some(Cond::Present),
            Some(kv) => Some(Cond::Is(kv.value.clone())),
            None => (single && range.count == 0 || shows_all(request)).then_some(Cond::Absent),
        }
    };
    cond.map(Act::Need).into_iter().collect()
}

/// Whether a key of the range that is not in the answer was not there.
fn shows_all(request: &RangeRequest) -> bool {
    let bounds = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    request.limit <= 0 && bounds.iter().all(|bound| bound.0 == 0)
}
