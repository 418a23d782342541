//! Reading a log back: what is in it, and whether its end is torn or its middle damaged.
//!
//! The rule (FAST'18, "Protocol-Aware Recovery for Consensus-Based Storage"): a frame that does not
//! check out is a torn tail only if nothing proves that it had been durable. Proofs are a later
//! segment, because a segment is made after everything before it was synced, and a later frame of the
//! same segment whose `synced_through` covers the bad one. With a proof it is damage: an error, and
//! not a byte is changed.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use synod_base::disk::DiskFile;
use synod_base::{Entry, GroupId, HardState, LogIndex, LogStart};

use super::error::WalError;
use super::folder::{Folder, Listing, fill};
use super::frame::{ALIGNMENT, FRAME_HEADER_BYTES, FrameHeader};
use super::header::{FIRST_FRAME_AT, SegmentHeader, WalIdentity};
use super::log::{Segment, Wal, WalLimits};
use super::record::{self, StoredRecord};
use super::table::{GroupLog, GroupTable};

/// What a log held when it was opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// Number of the node's last start; 0 if it never started.
    pub start_number: u32,
    /// Every group that has a record.
    pub groups: BTreeMap<GroupId, RecoveredGroup>,
    /// The unfinished end that was cut off, if there was one.
    pub torn_tail: Option<TornTail>,
}

/// One group's part of a log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecoveredGroup {
    /// Term and vote.
    pub hard_state: HardState,
    /// Where its log begins.
    pub start: LogStart,
    /// All entries after `start`, without a gap.
    pub entries: Vec<Entry>,
    /// The last entry that is noted as committed ([`LogRecord::Committed`]), if it is after `start`.
    pub committed: Option<LogIndex>,
}

/// Where an unfinished end was cut off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TornTail {
    /// The segment.
    pub segment: u64,
    /// The byte it now ends at.
    pub offset: u64,
    /// The first frame that is not there.
    pub frame: u64,
}

/// Reads the listed segments and opens the newest for writing.
pub(super) fn recover(
    mut folder: Folder,
    listing: &Listing,
    identity: WalIdentity,
    limits: WalLimits,
) -> Result<(Wal, Recovered), WalError> {
    let (newest, before) = listing.segments.split_last().expect("the caller found a segment");
    let mut replay = Replay::new(identity);
    let mut older = VecDeque::new();
    for segment in before {
        let bytes = read_all(&*folder.open_segment(*segment)?)?;
        replay.segment(*segment, &bytes)?;
        older.push_back((*segment, bytes.len() as u64));
    }
    let mut file = folder.open_segment(*newest)?;
    let bytes = read_all(&*file)?;
    replay.segment(*newest, &bytes)?;
    let torn = replay.judge_tail(&bytes)?;
    replay.check_entries()?;

    // All is well; only now is anything written.
    settle_tail(&mut *file, &bytes, &replay, torn)?;
    folder.tidy(listing)?;
    let Replay { at, begun, table, mut entries, next_frame, previous, .. } = replay;
    let groups = table.groups().iter().map(|(group, log)| {
        let entries = entries.remove(group).unwrap_or_default();
        let GroupLog { hard_state, start, .. } = *log;
        let committed = log.committed_in_log();
        (*group, RecoveredGroup { hard_state, start, entries, committed })
    });
    let recovered = Recovered {
        start_number: table.start_number,
        groups: groups.collect(),
        torn_tail: torn.then_some(TornTail { segment: *newest, offset: at, frame: next_frame }),
    };
    // Of the newest frame's padding a part may be missing: nobody reads it.
    let filled = at.max(bytes.len() as u64);
    let wal = Wal {
        folder,
        identity,
        limits,
        table,
        older,
        current: Segment { number: *newest, file, begun, tail: at, filled },
        next_frame,
        previous,
        synced_through: next_frame - 1,
        newest_is_witness: false,
        look_for_free_segments: true,
        poisoned: false,
        frame: Vec::new(),
    };
    Ok((wal, recovered))
}

/// Goes through segments, oldest first, and gathers what they say.
struct Replay {
    seed: u32,
    identity: WalIdentity,
    table: GroupTable,
    /// Known entries of each group: without a gap, but after the oldest segment's checkpoint the first
    /// may lie behind the start until a later record moves that.
    entries: BTreeMap<GroupId, Vec<Entry>>,
    /// 0 before the first segment.
    segment: u64,
    /// Byte of the segment.
    at: u64,
    /// Where the segment's first frame, its checkpoint, ends.
    begun: u64,
    next_frame: u64,
    previous: u32,
    /// The newest frame that a later one proves to have been durable.
    witnessed: u64,
    /// Where the segment's frames begin, by number from its first.
    frames_at: Vec<u64>,
    is_first_segment: bool,
}

impl Replay {
    fn new(identity: WalIdentity) -> Self {
        Replay {
            seed: identity.checksum_seed(),
            identity,
            table: GroupTable::default(),
            entries: BTreeMap::new(),
            segment: 0,
            at: 0,
            begun: 0,
            next_frame: 0,
            previous: 0,
            witnessed: 0,
            frames_at: Vec::new(),
            is_first_segment: true,
        }
    }

    fn damaged(&self, reason: &'static str) -> WalError {
        let Replay { segment, at: offset, next_frame: frame, .. } = *self;
        WalError::Damaged { segment, offset, frame, reason }
    }

    /// Reads all frames of a segment; `at` is then where the first bad one begins.
    fn segment(&mut self, segment: u64, bytes: &[u8]) -> Result<(), WalError> {
        let header = SegmentHeader::decode(bytes, segment, self.identity)?;
        self.is_first_segment = self.segment == 0;
        if self.is_first_segment {
            (self.next_frame, self.previous) = (header.first_frame, header.previous);
        } else if (header.first_frame, header.previous) != (self.next_frame, self.previous) {
            // Reported where the frame should be: in the segment before.
            return Err(self.damaged("a frame before the end of the segment does not check out"));
        }
        (self.segment, self.at) = (segment, FIRST_FRAME_AT);
        if header.filled_bytes > bytes.len() as u64 {
            return Err(self.damaged("the file has lost its end"));
        }
        self.frames_at.clear();
        while let Some((frame, payload)) = self.next_good_frame(bytes) {
            let records = record::decode_all(Bytes::copy_from_slice(payload))
                .map_err(|_| self.damaged("a frame that checks out does not decode"))?;
            let is_checkpoint = matches!(records.as_slice(), [StoredRecord::Checkpoint(_)]);
            if self.frames_at.is_empty() != is_checkpoint {
                return Err(self.damaged("a checkpoint is not first in its segment"));
            }
            for record in records {
                self.apply(record)?;
            }
            self.frames_at.push(self.at);
            self.at += frame.total_bytes();
            if is_checkpoint {
                self.begun = self.at;
            }
            self.witnessed = frame.synced_through;
            self.next_frame += 1;
            self.previous = frame.crc;
        }
        if self.frames_at.is_empty() {
            return Err(self.damaged("the segment's checkpoint does not check out"));
        }
        Ok(())
    }

    fn next_good_frame<'a>(&self, bytes: &'a [u8]) -> Option<(FrameHeader, &'a [u8])> {
        let rest = bytes.get(self.at as usize..)?;
        let frame = FrameHeader::peek(rest)?;
        if (frame.number, frame.previous) != (self.next_frame, self.previous) {
            return None;
        }
        Some((frame, frame.checks_out(rest, self.seed)?))
    }

    fn apply(&mut self, record: StoredRecord) -> Result<(), WalError> {
        match record {
            StoredRecord::NodeStart(number) => self.table.start_number = number,
            StoredRecord::HardState(group, state) => self.table.group(group).hard_state = state,
            StoredRecord::Committed(group, index) => self.table.group(group).note_committed(index),
            StoredRecord::Entries(group, new) => {
                let log = self.table.group(group);
                let follows =
                    |first: &Entry| first.index > log.start.index && first.index <= log.last.next();
                if !new.first().is_some_and(follows) {
                    return Err(self.damaged("entries leave a gap"));
                }
                log.append(&new, self.segment);
                let entries = self.entries.entry(group).or_default();
                entries.truncate(entries.partition_point(|entry| entry.index < new[0].index));
                entries.extend(new);
            }
            StoredRecord::Start(group, start, keeps_entries) => {
                self.table.group(group).set_start(start, keeps_entries);
                let entries = self.entries.entry(group).or_default();
                if keeps_entries {
                    entries.drain(..entries.partition_point(|entry| entry.index <= start.index));
                } else {
                    entries.clear();
                }
            }
            StoredRecord::Checkpoint(checkpoint) if self.is_first_segment => {
                self.table.start_number = checkpoint.start_number;
                for (group, state) in &checkpoint.groups {
                    self.table.group(*group).restore(state);
                }
            }
            StoredRecord::Checkpoint(checkpoint) => {
                if checkpoint != self.table.checkpoint() {
                    return Err(self.damaged("a checkpoint contradicts the records before it"));
                }
            }
        }
        Ok(())
    }

    /// Whether the newest segment, read up to `at`, ends there torn (`true`) or just ends. Looks at
    /// every place behind for a frame of this log that should not be there without those before.
    fn judge_tail(&self, bytes: &[u8]) -> Result<bool, WalError> {
        let mut torn = false;
        let mut at = self.at as usize;
        while at + FRAME_HEADER_BYTES <= bytes.len() {
            let later = FrameHeader::peek(&bytes[at..]).filter(|f| f.number >= self.next_frame);
            if let Some(frame) = later {
                torn = true;
                if frame.number > self.next_frame
                    && frame.synced_through >= self.next_frame
                    && frame.checks_out(&bytes[at..], self.seed).is_some()
                {
                    return Err(self.damaged("a frame that was durable does not check out"));
                }
            }
            at += ALIGNMENT as usize;
        }
        Ok(torn)
    }

    /// Every group has all entries from its start to its end.
    fn check_entries(&self) -> Result<(), WalError> {
        for (group, log) in self.table.groups() {
            let entries = self.entries.get(group).map_or(&[][..], Vec::as_slice);
            let first = entries.first().map_or(log.last.next(), |entry| entry.index);
            if first != log.start.index.next() {
                return Err(self.damaged("a segment with entries that are needed is missing"));
            }
        }
        Ok(())
    }
}

/// Makes the newest segment ready to be continued: nothing behind the tail looks like a frame to come,
/// and everything before it is durable.
///
/// Frames that no later frame proves durable are written again before the sync: after a sync that failed
/// in an earlier life, the operating system may hold them in memory, marked as written, though they are
/// not on disk.
fn settle_tail(
    file: &mut dyn DiskFile,
    bytes: &[u8],
    replay: &Replay,
    torn: bool,
) -> Result<(), WalError> {
    let io = |error| WalError::Io { action: "settle its end", error };
    if torn {
        fill(file, replay.at, bytes.len() as u64 - replay.at).map_err(io)?;
    }
    let first_frame = replay.next_frame - replay.frames_at.len() as u64;
    let unproven = (replay.witnessed + 1).saturating_sub(first_frame) as usize;
    if let Some(from) = replay.frames_at.get(unproven) {
        let unproven = &bytes[*from as usize..bytes.len().min(replay.at as usize)];
        file.write_at(*from, unproven).map_err(io)?;
    }
    file.sync_data().map_err(io)
}

fn read_all(file: &dyn DiskFile) -> Result<Vec<u8>, WalError> {
    let io = |error| WalError::Io { action: "read a segment", error };
    let mut bytes = vec![0; file.len().map_err(io)? as usize];
    let read = file.read_at(0, &mut bytes).map_err(io)?;
    bytes.truncate(read);
    Ok(bytes)
}
