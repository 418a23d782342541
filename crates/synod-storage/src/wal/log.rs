//! `Wal`: appending to the log, syncing it, and going from segment to segment.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use synod_base::disk::{Disk, DiskFile};
use synod_base::{Encoder, GroupId};

use super::error::{WalError, is_no_space};
use super::folder::{Folder, fill};
use super::frame::{self, FRAME_HEADER_BYTES};
use super::header::{FIRST_FRAME_AT, SegmentHeader, WalIdentity};
use super::record::{self, LogRecord};
use super::recovery::{self, Recovered};
use super::table::{GroupLog, GroupTable};

/// Sizes of a log's files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WalLimits {
    /// Length of a segment file, in bytes. An append that does not fit gets a longer file of its own.
    pub segment_bytes: u64,
    /// Files kept for reuse when their segment is no longer needed. With 0, segments always begin
    /// empty and grow.
    pub max_spares: usize,
}

impl Default for WalLimits {
    fn default() -> Self {
        WalLimits { segment_bytes: 16 * 1024 * 1024, max_spares: 2 }
    }
}

/// One node's write-ahead log. One owner, one thread.
///
/// What [`Wal::append`] was given is durable when the [`Wal::sync`] after it returned `Ok`.
pub struct Wal {
    pub(super) folder: Folder,
    pub(super) identity: WalIdentity,
    pub(super) limits: WalLimits,
    pub(super) table: GroupTable,
    /// Segments before the current one, oldest first, with their lengths.
    pub(super) older: VecDeque<(u64, u64)>,
    pub(super) current: Segment,
    pub(super) next_frame: u64,
    /// Checksum of the newest frame.
    pub(super) previous: u32,
    /// Number of the newest durable frame.
    pub(super) synced_through: u64,
    /// Whether the newest frame carries no records: nothing to witness.
    pub(super) newest_is_witness: bool,
    /// Whether a segment may have become free since the last look.
    pub(super) look_for_free_segments: bool,
    pub(super) poisoned: bool,
    /// The frame being made; kept for its allocation.
    pub(super) frame: Vec<u8>,
}

/// The segment that is written to.
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) file: Box<dyn DiskFile>,
    /// Where its checkpoint ends.
    pub(super) begun: u64,
    /// Where the next frame goes.
    pub(super) tail: u64,
    /// How far the file reaches: bytes up to there exist.
    pub(super) filled: u64,
}

impl Wal {
    /// Opens the log in the directory `dir` of `disk`, or begins one there.
    ///
    /// A torn tail is cut off; anything else that does not check out is an error and leaves the files
    /// as they are. That no other process has the log open is the caller's business.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &str,
        identity: WalIdentity,
        limits: WalLimits,
    ) -> Result<(Wal, Recovered), WalError> {
        assert!(limits.segment_bytes.is_multiple_of(MIN_SEGMENT_BYTES), "whole blocks");
        let (mut folder, listing) =
            Folder::open(disk, dir, limits.segment_bytes, limits.max_spares)?;
        if listing.segments.is_empty() {
            folder.tidy(&listing)?;
            return Ok((Wal::begin(folder, identity, limits)?, Recovered::default()));
        }
        recovery::recover(folder, &listing, identity, limits)
    }

    /// Begins an empty log.
    fn begin(
        mut folder: Folder,
        identity: WalIdentity,
        limits: WalLimits,
    ) -> Result<Wal, WalError> {
        let table = GroupTable::default();
        let first = Position { segment: 1, frame: 1, previous: 0 };
        let (current, previous) = begin_segment(&mut folder, identity, &table, first, 0)?;
        Ok(Wal {
            folder,
            identity,
            limits,
            table,
            older: VecDeque::new(),
            current,
            next_frame: 2,
            previous,
            synced_through: 1,
            newest_is_witness: true,
            look_for_free_segments: false,
            poisoned: false,
            frame: Vec::new(),
        })
    }

    /// Writes all records as one frame: after a crash either all of them are there or none.
    ///
    /// After [`WalError::NoSpace`] nothing happened, and the same call may be made again.
    pub fn append(&mut self, records: &[LogRecord]) -> Result<(), WalError> {
        self.check_usable()?;
        if records.is_empty() {
            return Ok(());
        }
        self.assemble(records);
        let result = self.write_frame();
        self.note(&result);
        result?;
        for record in records {
            self.table.apply(record, self.current.number);
            self.look_for_free_segments |= matches!(record, LogRecord::Start { .. });
        }
        self.newest_is_witness = false;
        Ok(())
    }

    /// Makes everything appended durable, and gives up segments that nobody needs any more.
    pub fn sync(&mut self) -> Result<(), WalError> {
        self.check_usable()?;
        let result = self.sync_current().and_then(|()| self.retire_segments());
        self.note(&result);
        result
    }

    /// Fills the current file, or else the next one, by at most `max_bytes`: one write and one sync.
    /// Whether both are ready. To be called when there is nothing else to do, and now and then when
    /// there always is: a log that finds no file filled grows one, which makes each sync slower.
    pub fn prepare_spare(&mut self, max_bytes: usize) -> Result<bool, WalError> {
        self.check_usable()?;
        let result = self.fill_step(max_bytes);
        self.note(&result);
        result
    }

    /// Writes an empty frame behind a durable one, without a sync, if there is none yet. A frame that
    /// rots is told from one that was never finished only by what follows it: this is for the newest
    /// frame, before the node rests or stops.
    pub fn witness(&mut self) -> Result<(), WalError> {
        self.check_usable()?;
        let room = self.current.tail + FRAME_HEADER_BYTES as u64 <= self.current.filled;
        if self.newest_is_witness || self.synced_through + 1 != self.next_frame || !room {
            return Ok(());
        }
        self.assemble(&[]);
        let result = self.write_frame();
        self.note(&result);
        self.newest_is_witness = result.is_ok();
        result
    }

    /// Bytes of all its files.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let older: u64 = self.older.iter().map(|(_, bytes)| bytes).sum();
        older + self.current.filled + self.folder.spare_bytes()
    }

    /// How many segments there are.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.older.len() + 1
    }

    /// Groups whose entries keep the oldest segment from being given up; none if there is but one.
    /// A group that rests should get a new [`LogRecord::Start`], or it holds up all others' space.
    #[must_use]
    pub fn holding_back(&self) -> Vec<GroupId> {
        self.older.front().map_or(Vec::new(), |(oldest, _)| self.table.groups_in(*oldest))
    }

    /// Whether an error has stopped the log for good.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    fn check_usable(&self) -> Result<(), WalError> {
        if self.poisoned { Err(WalError::Poisoned) } else { Ok(()) }
    }

    /// Stops the log after an error that leaves the files in an unknown state.
    fn note<T>(&mut self, result: &Result<T, WalError>) {
        self.poisoned |= matches!(result, Err(error) if !matches!(error, WalError::NoSpace));
    }

    /// Encodes the records behind room for a frame header.
    fn assemble(&mut self, records: &[LogRecord]) {
        let mut out = Encoder::reuse(std::mem::take(&mut self.frame));
        out.raw(&[0; FRAME_HEADER_BYTES]);
        // A record may build on an earlier one of the same append.
        let mut ahead: BTreeMap<GroupId, GroupLog> = BTreeMap::new();
        for record in records {
            let mut keeps_entries = false;
            match record {
                LogRecord::Entries { group, entries } => {
                    let log = self.table.copy_once(*group, &mut ahead);
                    log.assert_follows(entries);
                    log.append(entries, self.current.number);
                }
                LogRecord::Start { group, start } => {
                    let log = self.table.copy_once(*group, &mut ahead);
                    assert!(start.index >= log.start.index, "a log's start never goes back");
                    keeps_entries = log.keeps_entries(*start);
                    log.set_start(*start, keeps_entries);
                }
                LogRecord::Committed { group, index } => {
                    let log = self.table.copy_once(*group, &mut ahead);
                    assert!(*index <= log.last, "only entries of the log are committed");
                }
                LogRecord::NodeStart { .. } | LogRecord::HardState { .. } => {}
            }
            record::encode(record, keeps_entries, &mut out);
        }
        self.frame = out.into_vec();
    }

    /// Writes the assembled frame at the tail, in a new segment if it does not fit.
    fn write_frame(&mut self) -> Result<(), WalError> {
        let frame_bytes = frame::padded(self.frame.len() as u64);
        let room_to = self.limits.segment_bytes.max(self.current.filled);
        // A segment with nothing but its checkpoint takes any frame: another would not have more room.
        if self.current.tail > self.current.begun && self.current.tail + frame_bytes > room_to {
            self.next_segment(frame_bytes)?;
        }
        let seed = self.identity.checksum_seed();
        let (number, previous) = (self.next_frame, self.previous);
        let crc = frame::seal(&mut self.frame, number, self.synced_through, previous, seed);
        let segment = &mut self.current;
        if let Err(e) = segment.file.write_at(segment.tail, &self.frame) {
            let error = WalError::from_io("append", e);
            if matches!(error, WalError::NoSpace) {
                self.wipe_refused_frame()?;
            }
            return Err(error);
        }
        segment.tail += self.frame.len() as u64;
        segment.filled = segment.filled.max(segment.tail);
        self.next_frame += 1;
        self.previous = crc;
        Ok(())
    }

    /// A part of a refused frame, or all but its padding, may be in the file. It must never be found
    /// there: the caller is told that it did not happen.
    fn wipe_refused_frame(&mut self) -> Result<(), WalError> {
        let io = |error| WalError::Io { action: "take back a refused append", error };
        let segment = &mut self.current;
        segment.filled = segment.filled.max(segment.file.len().map_err(io)?);
        if segment.filled <= segment.tail {
            return Ok(());
        }
        match segment.file.write_at(segment.tail, &[0; 4]) {
            Err(e) if !is_no_space(&e) => return Err(io(e)),
            _ => segment.file.sync_data().map_err(io)?,
        }
        self.synced_through = self.next_frame - 1;
        Ok(())
    }

    fn sync_current(&mut self) -> Result<(), WalError> {
        if self.synced_through + 1 == self.next_frame {
            return Ok(());
        }
        // Never `NoSpace`: a sync that failed, for whatever reason, has lost what it should keep.
        self.current.file.sync_data().map_err(|error| WalError::Io { action: "sync", error })?;
        self.synced_through = self.next_frame - 1;
        Ok(())
    }

    /// Goes on in a new segment. The old one is durable first, so that a segment's existence proves
    /// everything before it, and only the newest segment can have a torn tail.
    fn next_segment(&mut self, frame_bytes: u64) -> Result<(), WalError> {
        self.sync_current()?;
        let next = Position {
            segment: self.current.number + 1,
            frame: self.next_frame,
            previous: self.previous,
        };
        let (segment, previous) =
            begin_segment(&mut self.folder, self.identity, &self.table, next, frame_bytes)?;
        let full = std::mem::replace(&mut self.current, segment);
        self.older.push_back((full.number, full.filled));
        self.synced_through = self.next_frame;
        self.next_frame += 1;
        self.previous = previous;
        self.look_for_free_segments = true;
        Ok(())
    }

    fn retire_segments(&mut self) -> Result<(), WalError> {
        if !std::mem::take(&mut self.look_for_free_segments) || self.older.is_empty() {
            return Ok(());
        }
        let needed = self.table.oldest_needed().unwrap_or(self.current.number);
        let free = self.older.iter().take_while(|(segment, _)| *segment < needed).count();
        let segments: Vec<_> = self.older.iter().take(free).copied().collect();
        let retired = self.folder.retire(&segments)?;
        self.older.drain(..retired);
        self.look_for_free_segments = retired < free;
        Ok(())
    }

    fn fill_step(&mut self, max_bytes: usize) -> Result<bool, WalError> {
        // Zeros that do not fit do no harm, as long as no frame depends on their sync.
        self.sync_current()?;
        let segment = &mut self.current;
        if segment.filled < self.limits.segment_bytes && self.limits.max_spares > 0 {
            let step = (max_bytes as u64).min(self.limits.segment_bytes - segment.filled);
            fill(&mut *segment.file, segment.filled, step)
                .map_err(|e| WalError::from_io("fill a segment", e))?;
            segment.filled += step;
            return Ok(segment.filled == self.limits.segment_bytes && self.folder.has_spare());
        }
        self.folder.fill_spare(max_bytes)
    }
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal")
            .field("segment", &self.current.number)
            .field("tail", &self.current.tail)
            .field("next_frame", &self.next_frame)
            .field("synced_through", &self.synced_through)
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}

/// Where a segment begins.
struct Position {
    segment: u64,
    frame: u64,
    previous: u32,
}

/// Makes a durable segment with its checkpoint, and room for `frame_bytes` more. Returns it and the
/// checkpoint frame's checksum.
fn begin_segment(
    folder: &mut Folder,
    identity: WalIdentity,
    table: &GroupTable,
    at: Position,
    frame_bytes: u64,
) -> Result<(Segment, u32), WalError> {
    let mut out = Encoder::new();
    out.raw(&[0; FRAME_HEADER_BYTES]);
    record::encode_checkpoint(&table.checkpoint(), &mut out);
    let mut checkpoint = out.into_vec();
    let crc =
        frame::seal(&mut checkpoint, at.frame, at.frame - 1, at.previous, identity.checksum_seed());
    let header = SegmentHeader {
        identity,
        segment: at.segment,
        first_frame: at.frame,
        previous: at.previous,
        filled_bytes: 0,
    };
    let tail = FIRST_FRAME_AT + checkpoint.len() as u64;
    let (file, filled) =
        folder.create_segment(header, FIRST_FRAME_AT, &checkpoint, tail + frame_bytes)?;
    Ok((Segment { number: at.segment, file, begun: tail, tail, filled }, crc))
}

/// Segment lengths are multiples of this: a block of most file systems.
const MIN_SEGMENT_BYTES: u64 = 4096;
