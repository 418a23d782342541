//! The data model in its simplest form: a full map of the keys per revision. Slow, obvious, and written
//! from etcd's documents rather than from the machine it checks.

use std::collections::BTreeMap;

use bytes::Bytes;
use synod_base::{LeaseId, Revision};
use synod_state::kv::*;

type Map = BTreeMap<Bytes, KeyValue>;

#[derive(Clone)]
pub struct Naive {
    /// The keys at revision 1, 2, ...
    pub maps: Vec<Map>,
    /// The events of revision 1 (none), 2, ...
    pub events: Vec<Vec<Event>>,
    pub leases: BTreeMap<LeaseId, i64>,
    pub compacted: i64,
}

/// A write transaction that may still be given up.
struct Draft {
    map: Map,
    events: Vec<Event>,
    revision: Revision,
}

impl Naive {
    pub fn new() -> Self {
        Naive {
            maps: vec![Map::new()],
            events: vec![vec![]],
            leases: BTreeMap::new(),
            compacted: 0,
        }
    }

    pub fn revision(&self) -> Revision {
        Revision(self.maps.len() as i64)
    }

    pub fn now(&self) -> &Map {
        self.maps.last().unwrap()
    }

    pub fn apply(&mut self, command: &Command) -> Result<CommandResult, Refusal> {
        validate(command)?;
        let mut draft =
            Draft { map: self.now().clone(), events: vec![], revision: self.revision().next() };
        let result = match command {
            Command::Put(put) => CommandResult::Put { prev_kv: self.put(&mut draft, put)? },
            Command::DeleteRange(delete) => {
                let (deleted, prev_kvs) = self.delete(&mut draft, delete);
                CommandResult::DeleteRange { deleted, prev_kvs }
            }
            Command::Txn(txn) => CommandResult::Txn(self.txn(&mut draft, txn)?),
            Command::Compact { revision } => {
                if revision.0 <= self.compacted {
                    return Err(Refusal::Compacted { compacted: Revision(self.compacted) });
                }
                if *revision > self.revision() {
                    return Err(Refusal::FutureRevision { current: self.revision() });
                }
                self.compacted = revision.0;
                CommandResult::Compact
            }
            Command::LeaseGrant { id, ttl_seconds } => {
                if *id == LeaseId::NONE {
                    return Err(Refusal::LeaseNotFound);
                }
                if *ttl_seconds > 9_000_000_000 {
                    return Err(Refusal::LeaseTtlTooLarge);
                }
                if self.leases.contains_key(id) {
                    return Err(Refusal::LeaseExists);
                }
                let ttl_seconds = (*ttl_seconds).max(1);
                self.leases.insert(*id, ttl_seconds);
                CommandResult::LeaseGrant { id: *id, ttl_seconds }
            }
            Command::LeaseRevoke { id } => {
                self.leases.remove(id).ok_or(Refusal::LeaseNotFound)?;
                for key in self.keys_of(*id) {
                    let range = KeyRange::one(key);
                    self.delete(&mut draft, &DeleteRangeRequest { range, prev_kv: false });
                }
                CommandResult::LeaseRevoke
            }
        };
        if !draft.events.is_empty() {
            self.maps.push(draft.map);
            self.events.push(draft.events);
        }
        Ok(result)
    }

    pub fn keys_of(&self, id: LeaseId) -> Vec<Bytes> {
        self.now().values().filter(|kv| kv.lease == id).map(|kv| kv.key.clone()).collect()
    }

    pub fn range(&self, request: &RangeRequest) -> Result<RangeResult, Refusal> {
        validate_range(request)?;
        Ok(range_of(self.at(request.revision)?.unwrap_or(self.now()), request))
    }

    fn at(&self, revision: Revision) -> Result<Option<&Map>, Refusal> {
        match revision.0 {
            i64::MIN..=0 => Ok(None),
            r if revision <= self.revision() && r >= self.compacted => {
                Ok(Some(&self.maps[r as usize - 1]))
            }
            _ if revision > self.revision() => {
                Err(Refusal::FutureRevision { current: self.revision() })
            }
            _ => Err(Refusal::Compacted { compacted: Revision(self.compacted) }),
        }
    }

    fn put(&self, draft: &mut Draft, put: &PutRequest) -> Result<Option<KeyValue>, Refusal> {
        if put.lease != LeaseId::NONE && !self.leases.contains_key(&put.lease) {
            return Err(Refusal::LeaseNotFound);
        }
        let old = draft.map.get(&put.key).cloned();
        if old.is_none() && (put.ignore_value || put.ignore_lease) {
            return Err(Refusal::KeyNotFound);
        }
        let was = old.clone().unwrap_or_default();
        let kv = KeyValue {
            key: put.key.clone(),
            create_revision: if old.is_some() { was.create_revision } else { draft.revision },
            mod_revision: draft.revision,
            version: was.version + 1,
            value: if put.ignore_value { was.value } else { put.value.clone() },
            lease: if put.ignore_lease { was.lease } else { put.lease },
        };
        draft.map.insert(put.key.clone(), kv.clone());
        draft.events.push(Event { kind: EventKind::Put, kv });
        Ok(old.filter(|_| put.prev_kv))
    }

    fn delete(&self, draft: &mut Draft, delete: &DeleteRangeRequest) -> (i64, Vec<KeyValue>) {
        let gone: Vec<KeyValue> =
            draft.map.values().filter(|kv| delete.range.contains(&kv.key)).cloned().collect();
        for kv in &gone {
            draft.map.remove(&kv.key);
            let kv = KeyValue {
                key: kv.key.clone(),
                mod_revision: draft.revision,
                ..KeyValue::default()
            };
            draft.events.push(Event { kind: EventKind::Delete, kv });
        }
        (gone.len() as i64, if delete.prev_kv { gone } else { vec![] })
    }

    fn txn(&self, draft: &mut Draft, txn: &TxnRequest) -> Result<TxnResult, Refusal> {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let mut responses = vec![];
        for op in ops {
            responses.push(match op {
                TxnOp::Range(range) => {
                    let map = self.at(range.revision)?.unwrap_or(&draft.map);
                    TxnOpResult::Range(range_of(map, range))
                }
                TxnOp::Put(put) => TxnOpResult::Put { prev_kv: self.put(draft, put)? },
                TxnOp::DeleteRange(delete) => {
                    let (deleted, prev_kvs) = self.delete(draft, delete);
                    TxnOpResult::DeleteRange { deleted, prev_kvs }
                }
                TxnOp::Txn(inner) => TxnOpResult::Txn(self.txn(draft, inner)?),
            });
        }
        Ok(TxnResult { succeeded, responses })
    }

    fn holds(&self, compare: &Compare) -> bool {
        let in_range = |kv: &&KeyValue| compare.range.contains(&kv.key);
        let mut kvs: Vec<KeyValue> = self.now().values().filter(in_range).cloned().collect();
        if kvs.is_empty() {
            if matches!(compare.target, CompareTarget::Value(_)) {
                return false;
            }
            kvs.push(KeyValue::default());
        }
        let order = |kv: &KeyValue| match &compare.target {
            CompareTarget::Version(v) => kv.version.cmp(v),
            CompareTarget::Create(v) => kv.create_revision.cmp(v),
            CompareTarget::Mod(v) => kv.mod_revision.cmp(v),
            CompareTarget::Value(v) => kv.value.cmp(v),
            CompareTarget::Lease(v) => kv.lease.cmp(v),
        };
        kvs.iter().all(|kv| match compare.result {
            CompareResult::Equal => order(kv).is_eq(),
            CompareResult::NotEqual => order(kv).is_ne(),
            CompareResult::Less => order(kv).is_lt(),
            CompareResult::Greater => order(kv).is_gt(),
        })
    }
}

fn range_of(map: &Map, r: &RangeRequest) -> RangeResult {
    let mut kvs: Vec<KeyValue> =
        map.values().filter(|kv| r.range.contains(&kv.key)).cloned().collect();
    let count = kvs.len() as i64;
    if r.count_only {
        return RangeResult { kvs: vec![], more: false, count };
    }
    let limit = if r.limit > 0 { r.limit as usize } else { usize::MAX };
    let bounds =
        [r.min_mod_revision, r.max_mod_revision, r.min_create_revision, r.max_create_revision];
    if r.sort_order == SortOrder::None && bounds == [Revision(0); 4] {
        kvs.truncate(limit.saturating_add(1));
    }
    let or_max = |bound: Revision| if bound.0 == 0 { Revision(i64::MAX) } else { bound };
    let or_min = |bound: Revision| if bound.0 == 0 { Revision(i64::MIN) } else { bound };
    kvs.retain(|kv| {
        (or_min(r.min_mod_revision)..=or_max(r.max_mod_revision)).contains(&kv.mod_revision)
            && (or_min(r.min_create_revision)..=or_max(r.max_create_revision))
                .contains(&kv.create_revision)
    });
    type Field = (i64, Bytes);
    let field = |kv: &KeyValue| -> Field {
        match r.sort_target {
            SortTarget::Key => (0, kv.key.clone()),
            SortTarget::Version => (kv.version, Bytes::new()),
            SortTarget::Create => (kv.create_revision.0, Bytes::new()),
            SortTarget::Mod => (kv.mod_revision.0, Bytes::new()),
            SortTarget::Value => (0, kv.value.clone()),
        }
    };
    match r.sort_order {
        SortOrder::Descend => kvs.sort_by_key(|kv| std::cmp::Reverse(field(kv))),
        SortOrder::None | SortOrder::Ascend => kvs.sort_by_key(field),
    }
    let more = kvs.len() > limit;
    kvs.truncate(limit);
    if r.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value.clear());
    }
    RangeResult { kvs, more, count }
}
