//! Opening: rebuilds the index and the leases from what the engine holds.
//!
//! `Space::Meta` holds three records under the prefix `kv/`: the format version, the compacted revision,
//! and how far scrubbing has got (it tells of the history it lies beside and travels with it in a
//! snapshot, so it is not among the replica's local notes). The current revision needs none: the newest
//! event's is it, since compaction never takes the events at or above the compacted revision.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use synod_base::{LeaseId, Revision};
use synod_storage::engine::{Engine, EngineError, Space, WriteBatch};
use thiserror::Error;

use super::Event;
use super::index::{KeyIndex, Live, Mark};
use super::lease::{self, Leases};
use super::machine::{FIRST_REVISION, Kv};
use super::record::{self, EventId};
use super::scrub::ScrubState;
use super::window::Window;

/// The version of everything `kv` keeps in an engine.
pub const FORMAT_VERSION: u64 = 1;

const FORMAT_KEY: &[u8] = b"kv/format";
const COMPACTED_KEY: &[u8] = b"kv/compacted";
const SCRUBBED_KEY: &[u8] = b"kv/scrubbed";

/// Why a state does not open.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Written by a newer Synod: run that one.
    #[error("the key-value state has format {found}, this program reads up to {FORMAT_VERSION}")]
    NewerFormat {
        /// The format it has.
        found: u64,
    },
    /// The engine fails, or what it holds is damaged.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

pub(super) fn open(engine: Arc<dyn Engine>, window_bytes: usize) -> Result<Kv, OpenError> {
    check_format(&*engine)?;
    let compacted = read_number(&*engine, COMPACTED_KEY)?.map_or(Revision(0), to_revision);
    let scrubbed = read_number(&*engine, SCRUBBED_KEY)?.map_or(Revision(0), to_revision);
    let mut index = KeyIndex::default();
    let mut revision = FIRST_REVISION;
    scan(&*engine, Space::History, |key, value| {
        let id = EventId::from_key(key)?;
        let event = record::decode(id, Bytes::copy_from_slice(value))?;
        record_event(&mut index, id, &event);
        revision = id.revision;
        Ok(())
    })?;
    if compacted > revision {
        return Err(damaged(format!("compacted at {compacted}, written up to {revision}")).into());
    }
    let leases = read_leases(&*engine, &index)?;
    Ok(Kv {
        engine,
        index,
        leases,
        window: Window::after(revision, window_bytes),
        revision,
        committed: revision,
        compacted,
        scrub: ScrubState::after_open(scrubbed),
    })
}

pub(super) fn put_compacted(revision: Revision, batch: &mut WriteBatch) {
    put_number(COMPACTED_KEY, revision.0 as u64, batch);
}

pub(super) fn put_scrubbed(revision: Revision, batch: &mut WriteBatch) {
    put_number(SCRUBBED_KEY, revision.0 as u64, batch);
}

/// An engine without a format is an empty store, or it is not ours.
fn check_format(engine: &dyn Engine) -> Result<(), OpenError> {
    match read_number(engine, FORMAT_KEY)? {
        Some(found) if found > FORMAT_VERSION => Err(OpenError::NewerFormat { found }),
        Some(_) => Ok(()),
        None => {
            for space in [Space::History, Space::Lease] {
                scan(engine, space, |_, _| Err(damaged("records without a format version")))?;
            }
            let mut batch = WriteBatch::default();
            put_number(FORMAT_KEY, FORMAT_VERSION, &mut batch);
            Ok(engine.write(batch)?)
        }
    }
}

fn record_event(index: &mut KeyIndex, id: EventId, event: &Event) {
    let kv = &event.kv;
    let state = Live { create_revision: kv.create_revision, version: kv.version, lease: kv.lease };
    index.record(&kv.key, Mark { id, kind: event.kind }, state);
}

fn read_leases(engine: &dyn Engine, index: &KeyIndex) -> Result<Leases, EngineError> {
    let mut leases = Leases::default();
    scan(engine, Space::Lease, |key, value| {
        let (id, ttl_seconds) = lease::decode_record(key, value)?;
        leases.grant(id, ttl_seconds);
        Ok(())
    })?;
    for (key, live) in index.live_entries() {
        if live.lease != LeaseId::NONE && !leases.attach(live.lease, key.clone()) {
            return Err(damaged(format!("a key hangs on lease {}, which is missing", live.lease)));
        }
    }
    Ok(leases)
}

fn scan(
    engine: &dyn Engine,
    space: Space,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let mut outcome = Ok(());
    engine.scan(space, &[], None, &mut |key, value| {
        outcome = each(key, value);
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    outcome
}

fn read_number(engine: &dyn Engine, key: &[u8]) -> Result<Option<u64>, EngineError> {
    let Some(value) = engine.get(Space::Meta, key)? else { return Ok(None) };
    match value[..].try_into() {
        Ok(bytes) => Ok(Some(u64::from_be_bytes(bytes))),
        Err(_) => Err(damaged(format!("{} holds {} bytes", key.escape_ascii(), value.len()))),
    }
}

fn put_number(key: &'static [u8], value: u64, batch: &mut WriteBatch) {
    batch.put(Space::Meta, Bytes::from_static(key), Bytes::copy_from_slice(&value.to_be_bytes()));
}

fn to_revision(number: u64) -> Revision {
    Revision(i64::try_from(number).unwrap_or(i64::MAX))
}

fn damaged(what: impl Into<String>) -> EngineError {
    EngineError::Damaged(what.into())
}
