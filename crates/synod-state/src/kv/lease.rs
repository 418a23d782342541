//! Leases as replicated state: which there are, what was granted, and which keys hang on each.
//!
//! No clock here. How much time is left is known to the leader alone (`synod-node`), which proposes
//! `LeaseRevoke` when it is over. A lease's record holds its granted time; its keys are not stored with
//! it, every key's newest history record names its lease.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use synod_base::{Decoder, Encoder, LeaseId};
use synod_storage::engine::EngineError;

/// A lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Granted time to live, whole seconds, at least 1.
    pub ttl_seconds: i64,
    /// The keys that go with it.
    pub keys: BTreeSet<Bytes>,
}

/// All leases, by id.
#[derive(Default, Debug)]
pub(crate) struct Leases {
    leases: BTreeMap<LeaseId, Lease>,
}

/// etcd's bound on a grant.
pub(crate) const MAX_TTL_SECONDS: i64 = 9_000_000_000;

impl Leases {
    /// One lease.
    pub fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.leases.get(&id)
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.leases.iter().map(|(id, lease)| (*id, lease))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Adds one that is not there yet.
    pub fn grant(&mut self, id: LeaseId, ttl_seconds: i64) {
        let before = self.leases.insert(id, Lease { ttl_seconds, keys: BTreeSet::new() });
        assert!(before.is_none(), "a lease is granted once");
    }

    /// Removes one.
    pub fn remove(&mut self, id: LeaseId) {
        self.leases.remove(&id);
    }

    /// Hangs a key on a lease; false if there is no such lease.
    pub fn attach(&mut self, id: LeaseId, key: Bytes) -> bool {
        self.leases.get_mut(&id).map(|lease| lease.keys.insert(key)).is_some()
    }

    /// Takes a key off its lease.
    pub fn detach(&mut self, id: LeaseId, key: &[u8]) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.remove(key);
        }
    }
}

/// The engine key of a lease.
pub(crate) fn record_key(id: LeaseId) -> [u8; 8] {
    id.0.to_be_bytes()
}

/// The engine value of a lease.
pub(crate) fn record_value(ttl_seconds: i64) -> Bytes {
    let mut e = Encoder::new();
    e.var_i64(ttl_seconds);
    e.into_bytes()
}

/// A lease's id and granted seconds, from its record.
pub(crate) fn decode_record(key: &[u8], value: &[u8]) -> Result<(LeaseId, i64), EngineError> {
    let Ok(id) = key.try_into().map(i64::from_be_bytes) else {
        return Err(EngineError::Damaged(format!("lease key of {} bytes", key.len())));
    };
    let mut d = Decoder::new(Bytes::copy_from_slice(value));
    let ttl = d.var_i64("lease ttl").and_then(|ttl| d.finish().map(|()| ttl));
    match ttl {
        Ok(ttl) if id != 0 && (1..=MAX_TTL_SECONDS).contains(&ttl) => Ok((LeaseId(id), ttl)),
        _ => Err(EngineError::Damaged(format!("lease record {id:x}: {ttl:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_record_comes_back_and_an_odd_one_is_damage() {
        for (id, ttl) in [(1, 1), (-7, MAX_TTL_SECONDS), (i64::MAX, 60)] {
            let key = record_key(LeaseId(id));
            assert_eq!(decode_record(&key, &record_value(ttl)).unwrap(), (LeaseId(id), ttl));
        }
        assert!(decode_record(&record_key(LeaseId(0)), &record_value(1)).is_err());
        assert!(decode_record(&record_key(LeaseId(1)), &record_value(0)).is_err());
        assert!(decode_record(&record_key(LeaseId(1)), b"").is_err());
        assert!(decode_record(b"short", &record_value(1)).is_err());
    }
}
