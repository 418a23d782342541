//! The history record: one event as `Space::History` holds it.
//!
//! Key: revision, then the number of the event within its revision, both big-endian, so that the
//! engine's order is the order of events. Value: kind, create revision, version, lease, key, value.
//! Opening rebuilds the index and the leases' keys from these records alone, so everything a later
//! put needs is in them. Equal events give equal bytes: hashes are taken over them.

use bytes::Bytes;
use synod_base::{DecodeError, Decoder, Encoder, LeaseId, Revision};
use synod_storage::engine::EngineError;

use super::{Event, EventKind, KeyValue};

/// Where an event stands in the history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct EventId {
    /// Its revision.
    pub revision: Revision,
    /// Which event of that revision, from 0 without gaps (etcd's sub revision).
    pub sub: u32,
}

const KIND_PUT: u8 = 0;
const KIND_DELETE: u8 = 1;

/// Bytes of a record beside its key and value, at most: kind, four variable integers.
const MAX_OVERHEAD_BYTES: usize = 1 + 4 * 10;

impl EventId {
    /// The engine key.
    pub fn to_key(self) -> [u8; 12] {
        let mut key = [0; 12];
        key[..8].copy_from_slice(&self.revision.0.to_be_bytes());
        key[8..].copy_from_slice(&self.sub.to_be_bytes());
        key
    }

    /// From an engine key.
    pub fn from_key(key: &[u8]) -> Result<Self, EngineError> {
        let (Some(revision), Some(sub), 12) = (key.first_chunk(), key.last_chunk(), key.len())
        else {
            return Err(EngineError::Damaged(format!("history key of {} bytes", key.len())));
        };
        let revision = i64::from_be_bytes(*revision);
        if revision < 0 {
            return Err(EngineError::Damaged(format!("history key of revision {revision}")));
        }
        Ok(EventId { revision: Revision(revision), sub: u32::from_be_bytes(*sub) })
    }

    /// The engine key of the first event of a revision.
    pub fn first_key(revision: Revision) -> [u8; 12] {
        EventId { revision, sub: 0 }.to_key()
    }
}

/// An event's record. The revision is not in it: the engine key holds it.
pub(crate) fn encode(kind: EventKind, kv: &KeyValue) -> Bytes {
    let mut e = Encoder::with_capacity(MAX_OVERHEAD_BYTES + kv.key.len() + kv.value.len());
    e.u8(match kind {
        EventKind::Put => KIND_PUT,
        EventKind::Delete => KIND_DELETE,
    });
    e.var_i64(kv.create_revision.0).var_i64(kv.version).var_i64(kv.lease.0);
    e.bytes(&kv.key).raw(&kv.value);
    e.into_bytes()
}

/// The event of a record; its key and value are slices of `record`.
pub(crate) fn decode(id: EventId, record: Bytes) -> Result<Event, EngineError> {
    decode_fields(id, record).map_err(|error| {
        EngineError::Damaged(format!("history record {}.{}: {error}", id.revision, id.sub))
    })
}

fn decode_fields(id: EventId, record: Bytes) -> Result<Event, DecodeError> {
    let mut d = Decoder::new(record);
    let kind = match d.u8("event kind")? {
        KIND_PUT => EventKind::Put,
        KIND_DELETE => EventKind::Delete,
        other => return Err(DecodeError::Invalid { what: "event kind", value: other.into() }),
    };
    let create_revision = Revision(d.var_i64("create revision")?);
    let version = d.var_i64("version")?;
    let lease = LeaseId(d.var_i64("lease")?);
    let key = d.bytes("key")?;
    let value = d.rest();
    if key.is_empty() {
        return Err(DecodeError::Invalid { what: "key length", value: 0 });
    }
    let mod_revision = id.revision;
    Ok(Event { kind, kv: KeyValue { key, create_revision, mod_revision, version, value, lease } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(revision: i64, sub: u32) -> EventId {
        EventId { revision: Revision(revision), sub }
    }

    #[test]
    fn a_record_comes_back_as_it_went_in() {
        let kv = KeyValue {
            key: "k".into(),
            create_revision: Revision(3),
            mod_revision: Revision(300),
            version: 7,
            value: "value".into(),
            lease: LeaseId(-9),
        };
        for kind in [EventKind::Put, EventKind::Delete] {
            let record = encode(kind, &kv);
            assert_eq!(decode(id(300, 2), record).unwrap(), Event { kind, kv: kv.clone() });
        }
    }

    #[test]
    fn engine_keys_sort_as_events_do() {
        let ids = [id(1, 0), id(2, 0), id(2, 1), id(2, 256), id(255, 0), id(256, 0)];
        assert!(ids.windows(2).all(|w| w[0].to_key() < w[1].to_key()));
        assert!(ids.iter().all(|i| EventId::from_key(&i.to_key()).unwrap() == *i));
    }

    #[test]
    fn cut_and_odd_records_are_damage() {
        let kv = KeyValue { key: "key".into(), value: "v".into(), ..KeyValue::default() };
        let record = encode(EventKind::Put, &kv);
        for end in 0..record.len() - 1 {
            assert!(decode(id(2, 0), record.slice(..end)).is_err());
        }
        assert!(decode(id(2, 0), Bytes::from_static(&[9, 0, 0, 0, 1, b'k'])).is_err());
        assert!(EventId::from_key(b"short").is_err());
        assert!(EventId::from_key(&[0xff; 12]).is_err());
        assert!(EventId::from_key(&[0; 13]).is_err());
    }
}
