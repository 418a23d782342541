//! The records in a frame, and their bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use synod_base::{
    DecodeError, Decoder, Encoder, Entry, GroupId, HardState, LogIndex, LogStart, NodeId, Term,
};

/// One record. All records of one loop turn go out as one frame: one write, one sync.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogRecord {
    /// The node was started; counts from 1. Part of every proposal id and read context.
    NodeStart {
        /// This start's number.
        start_number: u32,
    },
    /// Entries of one group, indexes without a gap. The first one may lie at or before the group's
    /// last index: then everything from there on is replaced (Raft paper, section 5.3).
    Entries {
        /// Whose.
        group: GroupId,
        /// At least one.
        entries: Vec<Entry>,
    },
    /// A group's term or vote changed.
    HardState {
        /// Whose.
        group: GroupId,
        /// Its new value.
        state: HardState,
    },
    /// A group's entries up to this one are committed: the host needs to know that after a crash, and its
    /// engine had no room to remember it. Never beyond the last entry.
    Committed {
        /// Whose.
        group: GroupId,
        /// Up to this one.
        index: LogIndex,
    },
    /// A group's log now begins after this position: what lies before is covered by the engine's
    /// durable state (prefix truncation), or everything was replaced by an installed snapshot (then
    /// `start` lies past the last entry, or at an entry of another term, and the log becomes empty).
    Start {
        /// Whose.
        group: GroupId,
        /// The new beginning.
        start: LogStart,
    },
}

/// A record as it is in the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum StoredRecord {
    NodeStart(u32),
    Entries(GroupId, Vec<Entry>),
    HardState(GroupId, HardState),
    Committed(GroupId, LogIndex),
    /// With whether entries behind the new start stay. Decided when it was written: a reader may no
    /// longer have the entry whose term decides.
    Start(GroupId, LogStart, bool),
    /// First in each segment: all there is to know without the entries of earlier segments.
    Checkpoint(Checkpoint),
}

/// The log's state at the start of a segment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Checkpoint {
    pub(super) start_number: u32,
    pub(super) groups: BTreeMap<GroupId, GroupCheckpoint>,
}

/// One group's part of a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct GroupCheckpoint {
    pub(super) hard_state: HardState,
    pub(super) start: LogStart,
    /// Index of the last entry; that of `start` if there is none.
    pub(super) last: LogIndex,
}

/// Appends a record; for [`LogRecord::Start`], `keeps_entries` says whether entries stay.
pub(super) fn encode(record: &LogRecord, keeps_entries: bool, out: &mut Encoder) {
    match record {
        LogRecord::NodeStart { start_number } => {
            out.u8(TAG_NODE_START).var(u64::from(*start_number));
        }
        LogRecord::Entries { group, entries } => {
            out.u8(TAG_ENTRIES).var(u64::from(group.0)).var(entries.len() as u64);
            for entry in entries {
                entry.encode(out);
            }
        }
        LogRecord::HardState { group, state } => {
            out.u8(TAG_HARD_STATE).var(u64::from(group.0));
            encode_hard_state(*state, out);
        }
        LogRecord::Committed { group, index } => {
            out.u8(TAG_COMMITTED).var(u64::from(group.0)).var(index.0);
        }
        LogRecord::Start { group, start } => {
            out.u8(TAG_START).var(u64::from(group.0));
            encode_start(*start, out);
            out.bool(keeps_entries);
        }
    }
}

pub(super) fn encode_checkpoint(checkpoint: &Checkpoint, out: &mut Encoder) {
    out.u8(TAG_CHECKPOINT).var(u64::from(checkpoint.start_number));
    out.var(checkpoint.groups.len() as u64);
    for (group, state) in &checkpoint.groups {
        out.var(u64::from(group.0));
        encode_hard_state(state.hard_state, out);
        encode_start(state.start, out);
        out.var(state.last.0);
    }
}

/// Reads all records of a frame.
pub(super) fn decode_all(payload: Bytes) -> Result<Vec<StoredRecord>, DecodeError> {
    let mut input = Decoder::new(payload);
    let mut records = Vec::new();
    while input.remaining() > 0 {
        records.push(decode(&mut input)?);
    }
    Ok(records)
}

fn decode(input: &mut Decoder) -> Result<StoredRecord, DecodeError> {
    Ok(match input.u8("record tag")? {
        TAG_NODE_START => StoredRecord::NodeStart(input.var_u32("start number")?),
        TAG_ENTRIES => {
            let group = GroupId(input.var_u32("group")?);
            let count = input.count("entries")?;
            let mut entries: Vec<Entry> = Vec::new();
            for _ in 0..count {
                let entry = Entry::decode(input)?;
                if entries.last().is_some_and(|last| last.index.next() != entry.index) {
                    return Err(DecodeError::Invalid { what: "entry index", value: entry.index.0 });
                }
                entries.push(entry);
            }
            StoredRecord::Entries(group, entries)
        }
        TAG_HARD_STATE => {
            StoredRecord::HardState(GroupId(input.var_u32("group")?), decode_hard_state(input)?)
        }
        TAG_COMMITTED => {
            let group = GroupId(input.var_u32("group")?);
            StoredRecord::Committed(group, LogIndex(input.var("committed index")?))
        }
        TAG_START => {
            let group = GroupId(input.var_u32("group")?);
            StoredRecord::Start(group, decode_start(input)?, input.bool("keeps entries")?)
        }
        TAG_CHECKPOINT => StoredRecord::Checkpoint(decode_checkpoint(input)?),
        tag => return Err(DecodeError::Invalid { what: "record tag", value: u64::from(tag) }),
    })
}

fn decode_checkpoint(input: &mut Decoder) -> Result<Checkpoint, DecodeError> {
    let start_number = input.var_u32("start number")?;
    let mut groups = BTreeMap::new();
    for _ in 0..input.count("groups")? {
        let group = GroupId(input.var_u32("group")?);
        let hard_state = decode_hard_state(input)?;
        let start = decode_start(input)?;
        let last = LogIndex(input.var("last index")?);
        groups.insert(group, GroupCheckpoint { hard_state, start, last });
    }
    Ok(Checkpoint { start_number, groups })
}

fn encode_hard_state(state: HardState, out: &mut Encoder) {
    out.var(state.term.0).var(state.voted_for.0);
}

fn decode_hard_state(input: &mut Decoder) -> Result<HardState, DecodeError> {
    let term = Term(input.var("term")?);
    Ok(HardState { term, voted_for: NodeId(input.var("vote")?) })
}

fn encode_start(start: LogStart, out: &mut Encoder) {
    out.var(start.index.0).var(start.term.0);
}

fn decode_start(input: &mut Decoder) -> Result<LogStart, DecodeError> {
    let index = LogIndex(input.var("start index")?);
    Ok(LogStart { index, term: Term(input.var("start term")?) })
}

const TAG_NODE_START: u8 = 1;
const TAG_ENTRIES: u8 = 2;
const TAG_HARD_STATE: u8 = 3;
const TAG_START: u8 = 4;
const TAG_CHECKPOINT: u8 = 5;
const TAG_COMMITTED: u8 = 6;

#[cfg(test)]
mod tests {
    use synod_base::EntryKind;

    use super::*;

    #[test]
    fn records_come_back_as_they_were_written_and_cut_ones_are_refused() {
        let entry = |index| Entry {
            index: LogIndex(index),
            term: Term(2),
            kind: EntryKind::Normal,
            payload: Bytes::from_static(b"payload"),
        };
        let state = HardState { term: Term(3), voted_for: NodeId(u64::MAX) };
        let start = LogStart { index: LogIndex(8), term: Term(1) };
        let mut out = Encoder::new();
        let group = GroupId(300);
        encode(&LogRecord::NodeStart { start_number: 9 }, false, &mut out);
        encode(&LogRecord::Entries { group, entries: vec![entry(9), entry(10)] }, false, &mut out);
        encode(&LogRecord::HardState { group, state }, false, &mut out);
        encode(&LogRecord::Start { group, start }, true, &mut out);
        encode(&LogRecord::Committed { group, index: LogIndex(9) }, false, &mut out);
        let part = GroupCheckpoint { hard_state: state, start, last: LogIndex(10) };
        let checkpoint = Checkpoint { start_number: 9, groups: BTreeMap::from([(group, part)]) };
        encode_checkpoint(&checkpoint, &mut out);
        let bytes = out.into_bytes();
        let expected = [
            StoredRecord::NodeStart(9),
            StoredRecord::Entries(group, vec![entry(9), entry(10)]),
            StoredRecord::HardState(group, state),
            StoredRecord::Start(group, start, true),
            StoredRecord::Committed(group, LogIndex(9)),
            StoredRecord::Checkpoint(checkpoint),
        ];
        assert_eq!(decode_all(bytes.clone()).unwrap(), expected);
        for end in 0..bytes.len() {
            if let Ok(records) = decode_all(bytes.slice(..end)) {
                assert_eq!(records, expected[..records.len()]);
            }
        }
    }
}
