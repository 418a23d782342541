//! Log entries and hard state: what consensus decides, the write-ahead log keeps and nodes send.

use bytes::Bytes;

use crate::{DecodeError, Decoder, Encoder, LogIndex, NodeId, Term};

/// What an entry is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// A batch of commands; an empty payload is a new leader's first entry (or a change that the
    /// leader refused).
    Normal,
    /// A membership change, in `synod-consensus`'s own encoding.
    Membership,
}

/// One entry of one group's replicated log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its position.
    pub index: LogIndex,
    /// The term of the leader that made it.
    pub term: Term,
    /// What the payload is.
    pub kind: EntryKind,
    /// Opaque to consensus and storage. Shared, never copied on its way.
    pub payload: Bytes,
}

impl Entry {
    /// Appends index, term, kind and payload.
    pub fn encode(&self, out: &mut Encoder) {
        out.var(self.index.0).var(self.term.0).u8(match self.kind {
            EntryKind::Normal => 0,
            EntryKind::Membership => 1,
        });
        out.bytes(&self.payload);
    }

    /// Reads what [`Entry::encode`] wrote.
    pub fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        let index = LogIndex(input.var("entry index")?);
        let term = Term(input.var("entry term")?);
        let kind = match input.u8("entry kind")? {
            0 => EntryKind::Normal,
            1 => EntryKind::Membership,
            v => return Err(DecodeError::Invalid { what: "entry kind", value: u64::from(v) }),
        };
        Ok(Entry { index, term, kind, payload: input.bytes("entry payload")? })
    }
}

/// What a replica must never forget: the term it is in and whom it voted for there (Raft paper,
/// figure 2, persistent state). `NodeId::NONE` is no vote.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HardState {
    /// Latest term seen.
    pub term: Term,
    /// Candidate that got this replica's vote in `term`.
    pub voted_for: NodeId,
}

/// Where a log begins: the last entry that is *not* in it any more, because a snapshot or the
/// engine's durable state covers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogStart {
    /// Index of the last covered entry; 0 for a replica that has nothing yet.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
}
