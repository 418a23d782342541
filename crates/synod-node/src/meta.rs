//! What a node keeps in its engine beside the key-value state: how far it has applied, who takes part,
//! and its own notes about a bootstrap or an installation that a crash may have cut short.
//!
//! Everything in `Space::Meta` is written in the same batch as the data it describes, so that replay
//! after a crash starts exactly where the engine stands.

use std::collections::BTreeMap;

use bytes::Bytes;
use synod_base::{DecodeError, Decoder, Encoder, LogIndex, LogStart, NodeId, Term};
use synod_consensus::Membership;
use synod_storage::engine::{EngineError, EngineRead, Space, WriteBatch};
use thiserror::Error;

use crate::member::Member;

/// Key of the applied position in `Space::Meta`.
pub const APPLIED: &[u8] = b"node/applied";
const MEMBERSHIP: &[u8] = b"node/membership";
const MEMBERS: &[u8] = b"node/members";
const BOOTSTRAPPING: &[u8] = b"bootstrapping";
const INSTALLING: &[u8] = b"installing";
const INSTALLED: &[u8] = b"installed";

/// Where the engine stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// Last applied entry: its index and term.
    pub position: LogStart,
    /// Who takes part, as of that entry.
    pub membership: Membership,
    /// Their names and addresses, as of that entry.
    pub members: BTreeMap<NodeId, Member>,
}

/// What a crash may have left half done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Notes {
    /// The first state was written, but perhaps not the log's start.
    pub bootstrapping: bool,
    /// A complete snapshot of this position lies in `Space::Staging` and is being moved in.
    pub installing: Option<LogStart>,
    /// The last snapshot that was moved in; the log's start may not have been written.
    pub installed: Option<LogStart>,
}

/// Why the engine's notes cannot be read.
#[derive(Debug, Error)]
pub enum MetaError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A record does not decode.
    #[error("the engine's record {record} is damaged: {source}")]
    Damaged {
        /// Which.
        record: &'static str,
        /// How.
        source: DecodeError,
    },
}

impl Applied {
    /// Reads where the engine stands; all zero for an empty one.
    pub fn load(engine: &dyn EngineRead) -> Result<Self, MetaError> {
        let position = load_position(engine, Space::Meta, APPLIED, "applied")?.unwrap_or_default();
        let membership = match engine.get(Space::Meta, MEMBERSHIP)? {
            None => Membership::default(),
            Some(bytes) => Membership::decode(&mut Decoder::new(bytes))
                .map_err(|source| MetaError::Damaged { record: "membership", source })?,
        };
        let members = match engine.get(Space::Meta, MEMBERS)? {
            None => BTreeMap::new(),
            Some(bytes) => decode_members(bytes)
                .map_err(|source| MetaError::Damaged { record: "members", source })?,
        };
        Ok(Applied { position, membership, members })
    }

    /// Adds the position to a batch.
    pub fn save_position(&self, batch: &mut WriteBatch) {
        batch.put(Space::Meta, APPLIED, encode_position(self.position));
    }

    /// Adds membership and member table to a batch.
    pub fn save_members(&self, batch: &mut WriteBatch) {
        let mut out = Encoder::new();
        self.membership.encode(&mut out);
        batch.put(Space::Meta, MEMBERSHIP, out.into_bytes());
        let mut out = Encoder::new();
        out.var(self.members.len() as u64);
        for member in self.members.values() {
            member.encode(&mut out);
        }
        batch.put(Space::Meta, MEMBERS, out.into_bytes());
    }
}

impl Notes {
    /// Reads the notes.
    pub fn load(engine: &dyn EngineRead) -> Result<Self, MetaError> {
        Ok(Notes {
            bootstrapping: engine.get(Space::Local, BOOTSTRAPPING)?.is_some(),
            installing: load_position(engine, Space::Local, INSTALLING, "installing")?,
            installed: load_position(engine, Space::Local, INSTALLED, "installed")?,
        })
    }

    /// Adds them to a batch.
    pub fn save(&self, batch: &mut WriteBatch) {
        let positions = [(INSTALLING, self.installing), (INSTALLED, self.installed)];
        for (key, position) in positions {
            match position {
                Some(position) => batch.put(Space::Local, key, encode_position(position)),
                None => batch.delete(Space::Local, key),
            }
        }
        if self.bootstrapping {
            batch.put(Space::Local, BOOTSTRAPPING, Bytes::from_static(&[1]));
        } else {
            batch.delete(Space::Local, BOOTSTRAPPING);
        }
    }
}

fn encode_position(position: LogStart) -> Bytes {
    let mut out = Encoder::new();
    out.var(position.index.0).var(position.term.0);
    out.into_bytes()
}

/// Reads a position that [`Applied`] or [`Notes`] wrote.
pub fn load_position(
    engine: &dyn EngineRead,
    space: Space,
    key: &[u8],
    record: &'static str,
) -> Result<Option<LogStart>, MetaError> {
    let Some(bytes) = engine.get(space, key)? else { return Ok(None) };
    let mut input = Decoder::new(bytes);
    let mut read = || {
        let index = LogIndex(input.var("index")?);
        Ok(LogStart { index, term: Term(input.var("term")?) })
    };
    read().map(Some).map_err(|source| MetaError::Damaged { record, source })
}

fn decode_members(bytes: Bytes) -> Result<BTreeMap<NodeId, Member>, DecodeError> {
    let mut input = Decoder::new(bytes);
    let mut members = BTreeMap::new();
    for _ in 0..input.count("member count")? {
        let member = Member::decode(&mut input)?;
        members.insert(member.id, member);
    }
    input.finish()?;
    Ok(members)
}
