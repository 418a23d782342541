//! Reads one split of an input as blocks of whole records.
//!
//! A record belongs to the split in which its first byte lies, so every record is read by exactly one
//! split, whatever the split size. The input is a stream that begins just before the split; it is read
//! into one buffer that is reused, and the beginning of an unfinished record is carried over to the
//! next block. The buffer grows only for a record that does not fit, and never beyond the job's record
//! limit plus one chunk. What ends a record is in `framing.rs`; lines are found backwards from a
//! block's end, which is faster, other records one after the other.

use crate::error::JobError;
use crate::framing::{Framing, InputFormat, LongRecords};
use crate::input::blocks::{Boundary, SplitBlocks};
use crate::input::codec::Codec;
use crate::input::{InputFile, InputStore, codec};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes asked for by one read.
pub const CHUNK_BYTES: usize = 1 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads the records of one split.
pub struct SplitReader<'a> {
    store: &'a dyn InputStore,
    input: &'a InputFile,
    format: &'a InputFormat,
    stream: Box<dyn Read + Send>,
    /// Packed bytes read from a compressed input, and how many of them were told.
    packed: Option<(Arc<AtomicU64>, u64)>,
    /// Of a split of a bzip2 file: where its blocks end.
    boundary: Option<Boundary>,
    /// Whether the stream has as many bytes as the input; else it ends where it ends.
    length_known: bool,
    /// The split covers `start..end` of the input; `end` is `u64::MAX` for one of unknown length.
    start: u64,
    end: u64,
    /// The end is not before this, whatever the boundary says.
    least_end: u64,
    max_record: usize,
    buffer: Vec<u8>,
    /// Bytes of the buffer that hold data.
    filled: usize,
    /// Bytes at the front that the last block handed out.
    consumed: usize,
    /// Offset of the buffer's first byte in the input.
    base: u64,
    /// Whether the buffer's last byte is the input's.
    at_eof: bool,
    /// Where the split's last record ends, once it is known.
    limit: Option<u64>,
    started: bool,
    /// The rest of a long record is being passed over.
    discarding: bool,
    long_skipped: u64,
}

/// Whole records, one after the other, the last one perhaps without its terminator.
#[derive(Debug, Clone, Copy)]
pub struct Lines {
    /// Their length with their terminators; the bytes are what [`SplitReader::bytes`] gives.
    pub length: usize,
    /// Offset of the first byte.
    pub offset: u64,
    /// Whether one of them is longer than the limit, and the job wants to go on.
    pub has_long: bool,
    /// Whether each ends with a line feed and has none within: they can be read as [`Framing::Line`].
    pub are_lines: bool,
}

impl<'a> SplitReader<'a> {
    /// Opens the input and makes sure that it has not changed since it was frozen.
    pub fn open(
        store: &'a dyn InputStore,
        input: &'a InputFile,
        format: &'a InputFormat,
        split: (u64, u64),
        max_record: u64,
    ) -> Result<SplitReader<'a>, JobError> {
        let (start, mut end) = split;
        assert!(start <= end && end <= input.bytes, "a split lies within its file");
        let from = match format.framing {
            Framing::Fixed(length) => start.next_multiple_of(u64::from(length.max(1))),
            _ => start.saturating_sub(format.framing.look_back()),
        };
        let from = from.min(input.bytes);
        // If no record begins in the split, it ends before the first one does.
        let to = end.max(from);
        let is_part = input.codec == Some(Codec::Bz2) && end - start < input.bytes;
        let open = match input.codec {
            None => from..to,
            Some(_) if is_part => SplitBlocks::reads_from(&(start..end))..end,
            Some(_) => 0..input.bytes,
        };
        let mut stream = store.open(input, open)?;
        let (mut packed, mut boundary) = (None, None);
        let mut chunk = usize::try_from(to - from).map_or(CHUNK_BYTES, |bytes| bytes + 1);
        if let Some(kind) = input.codec {
            let taken = Arc::new(AtomicU64::new(0));
            packed = Some((Arc::clone(&taken), 0));
            if is_part {
                let (unpacked, known) = codec::unpack_split(stream, start..end, taken);
                (stream, boundary) = (unpacked, Some(known));
            } else {
                stream = codec::unpack(kind, stream, taken)
                    .map_err(|error| JobError::io("unpack", &input.path, error))?;
            }
        }
        let length_known = input.codec.is_none() && !input.whole;
        if !length_known {
            (end, chunk) = (u64::MAX, CHUNK_BYTES);
        }
        Ok(SplitReader {
            store,
            input,
            format,
            stream,
            packed,
            boundary,
            length_known,
            start,
            end,
            least_end: 0,
            max_record: usize::try_from(max_record).unwrap_or(usize::MAX),
            buffer: vec![0; chunk.clamp(512, CHUNK_BYTES)],
            filled: 0,
            consumed: 0,
            base: if is_part { start } else { from },
            at_eof: false,
            limit: None,
            started: false,
            discarding: false,
            long_skipped: 0,
        })
    }

    /// Bytes of the input, as stored, that were read since the last call for a block of this length.
    pub fn stored_bytes(&mut self, block: usize) -> u64 {
        match &mut self.packed {
            None => block as u64,
            Some((taken, told)) => {
                let taken = taken.load(Relaxed);
                taken - std::mem::replace(told, taken)
            }
        }
    }

    /// Records that were left out because they were too long to be held; those that could be held are
    /// left out by whoever walks the block.
    pub fn long_skipped(&self) -> u64 {
        self.long_skipped
    }

    /// The next records, or `None` after the last one. The end also checks that the input is still
    /// the frozen one.
    pub fn next_block(&mut self) -> Result<Option<Lines>, JobError> {
        if !self.started {
            self.started = true;
            self.skip_foreign_record()?;
        }
        self.drop_consumed();
        let mut searched = 0;
        loop {
            if self.discarding {
                searched = 0;
                if !self.pass_over()? {
                    continue;
                }
            }
            let are_lines = self.has_only_lines();
            if let Some((end, has_long)) = self.complete_records(searched, are_lines)? {
                self.consumed = end;
                return Ok(Some(Lines { length: end, offset: self.base, has_long, are_lines }));
            }
            if self.limit == Some(self.base) {
                self.store.check_unchanged(self.input)?;
                return Ok(None);
            }
            if self.filled > self.max_record {
                match self.format.long_records {
                    LongRecords::Truncate if self.is_delimited() => {
                        self.consumed = self.max_record;
                        self.discarding = true;
                        let (length, offset) = (self.max_record, self.base);
                        let are_lines = self.format.framing == Framing::Line;
                        return Ok(Some(Lines { length, offset, has_long: true, are_lines }));
                    }
                    LongRecords::Skip if self.is_delimited() => {
                        self.long_skipped += 1;
                        self.discarding = true;
                        continue;
                    }
                    _ => return Err(self.too_long(self.base)),
                }
            }
            searched = self.filled;
            self.make_room();
            self.fill()?;
        }
    }

    /// The bytes of the last block.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.consumed]
    }

    fn is_delimited(&self) -> bool {
        use Framing::{AnyLine, Delimiter, Line};
        matches!(self.format.framing, Line | AnyLine | Delimiter(_))
    }

    fn next_record(&self, at: usize) -> Result<Option<crate::framing::Found>, JobError> {
        let found = self.format.framing.next(&self.buffer[..self.filled], at, self.at_eof);
        found.map_err(|what| JobError::Malformed {
            path: self.input.path.clone(),
            offset: self.base + at as u64,
            what,
        })
    }

    /// Moves to the first record that starts in this split.
    fn skip_foreign_record(&mut self) -> Result<(), JobError> {
        if self.base >= self.end {
            self.limit = Some(self.base);
            return Ok(());
        }
        if self.start == 0 {
            self.fill()?;
            if self.format.strip_bom {
                while self.filled < BYTE_ORDER_MARK.len() && !self.at_eof {
                    self.fill()?;
                }
                if self.buffer[..self.filled].starts_with(BYTE_ORDER_MARK) {
                    self.consumed = BYTE_ORDER_MARK.len();
                    // The record behind it is this split's, wherever within the mark the split ends:
                    // no other one would find its beginning.
                    self.least_end = BYTE_ORDER_MARK.len() as u64 + 1;
                    self.end = self.end.max(self.least_end);
                }
            }
            return Ok(());
        }
        if !self.is_delimited() {
            return Ok(());
        }
        loop {
            self.fill()?;
            let found = if self.filled > 0 { self.next_record(0)? } else { None };
            let have = self.base + self.filled as u64;
            match found {
                Some(found) if self.base + (found.next as u64) < self.end && !self.ends(&found) => {
                    self.consumed = found.next;
                    return Ok(());
                }
                None if have < self.end && !self.at_eof => self.keep_tail(),
                _ => {
                    self.base = have;
                    self.filled = 0;
                    self.limit = Some(self.base);
                    return Ok(());
                }
            }
        }
    }

    /// Whether nothing follows this record, terminator or not.
    fn ends(&self, found: &crate::framing::Found) -> bool {
        self.at_eof && found.next == self.filled
    }

    /// Forgets all but the bytes that a terminator may have begun in.
    fn keep_tail(&mut self) {
        let tail = self.format.framing.look_back() as usize;
        self.consumed = self.filled.saturating_sub(tail);
        self.drop_consumed();
        self.make_room();
    }

    /// Passes over the rest of a long record. Returns whether its end was found.
    fn pass_over(&mut self) -> Result<bool, JobError> {
        if self.filled > 0
            && let Some(found) = self.next_record(0)?
        {
            self.consumed = found.next;
            self.drop_consumed();
            self.discarding = false;
            if self.base >= self.end || (self.at_eof && self.filled == 0) {
                self.limit = Some(self.base);
                self.filled = 0;
            }
            return Ok(true);
        }
        if self.at_eof {
            // It ended exactly where it was cut.
            self.discarding = false;
            self.limit = Some(self.base);
            return Ok(true);
        }
        self.keep_tail();
        self.fill()?;
        Ok(false)
    }

    /// The end of the last complete record in the buffer that belongs to this split, and whether one
    /// of them is too long; `from` is where bytes start that nobody has searched yet.
    fn complete_records(
        &mut self,
        from: usize,
        are_lines: bool,
    ) -> Result<Option<(usize, bool)>, JobError> {
        if let Some(limit) = self.limit
            && limit == self.base
        {
            return Ok(None);
        }
        if are_lines {
            return match self.complete_lines(from) {
                Some(end) => Ok(Some((end, self.has_long_lines(end)?))),
                None => Ok(None),
            };
        }
        let mut at = 0;
        let mut has_long = false;
        while at < self.filled && self.base + (at as u64) < self.end {
            let Some(found) = self.next_record(at)? else { break };
            if found.content.len() > self.max_record {
                has_long = true;
                if self.format.long_records == LongRecords::Fail || !self.is_delimited() {
                    return Err(self.too_long(self.base + at as u64));
                }
            }
            at = found.next;
        }
        if self.base + at as u64 >= self.end || (self.at_eof && at == self.filled) {
            self.limit = Some(self.base + at as u64);
        }
        Ok((at > 0).then_some((at, has_long)))
    }

    /// Whether what the buffer holds is cut at line feeds alone: without a carriage return in it lines
    /// that may end with one are ordinary lines, and those are found, counted and walked much faster.
    fn has_only_lines(&self) -> bool {
        match self.format.framing {
            Framing::Line => true,
            Framing::AnyLine => memchr::memchr(b'\r', &self.buffer[..self.filled]).is_none(),
            _ => false,
        }
    }

    fn complete_lines(&mut self, from: usize) -> Option<usize> {
        let have = self.base + self.filled as u64;
        if self.limit.is_none() && (have >= self.end || self.at_eof) {
            // The last line is the one that contains the split's last byte.
            let last = self.end.min(have.max(1)) - 1;
            let at = usize::try_from(last.saturating_sub(self.base))
                .expect("the split's end lies within the buffer")
                .max(from);
            let rest = self.buffer[..self.filled].get(at..).unwrap_or_default();
            if self.at_eof && have < self.end {
                self.limit = Some(have);
            } else if let Some(found) = memchr::memchr(b'\n', rest) {
                self.limit = Some(self.base + (at + found) as u64 + 1);
            } else if self.at_eof {
                self.limit = Some(have);
            }
        }
        if let Some(limit) = self.limit
            && limit <= have
        {
            let end = usize::try_from(limit - self.base).expect("the limit lies in the buffer");
            return (end > 0).then_some(end);
        }
        memchr::memrchr(b'\n', &self.buffer[from..self.filled]).map(|at| from + at + 1)
    }

    /// Enforces the record limit exactly; a block no longer than the limit needs no look.
    fn has_long_lines(&self, block_end: usize) -> Result<bool, JobError> {
        if block_end <= self.max_record {
            return Ok(false);
        }
        let mut start = 0;
        while start < block_end {
            let end = memchr::memchr(b'\n', &self.buffer[start..block_end])
                .map_or(block_end, |at| start + at);
            if end - start > self.max_record {
                if self.format.long_records != LongRecords::Fail {
                    return Ok(true);
                }
                return Err(self.too_long(self.base + start as u64));
            }
            start = end + 1;
        }
        Ok(false)
    }

    fn too_long(&self, offset: u64) -> JobError {
        JobError::RecordTooLong {
            path: self.input.path.clone(),
            offset,
            limit_bytes: self.max_record as u64,
        }
    }

    fn drop_consumed(&mut self) {
        if self.consumed > 0 {
            self.buffer.copy_within(self.consumed..self.filled, 0);
            self.filled -= self.consumed;
            self.base += self.consumed as u64;
            self.consumed = 0;
        }
    }

    fn make_room(&mut self) {
        if self.filled == self.buffer.len() {
            let larger = (self.buffer.len() * 2).min(self.max_record.saturating_add(CHUNK_BYTES));
            self.buffer.resize(larger.max(self.filled + 512), 0);
        }
    }

    /// Reads once, behind what the buffer holds.
    fn fill(&mut self) -> Result<(), JobError> {
        let at = self.base + self.filled as u64;
        let mut room = self.buffer.len() - self.filled;
        if self.length_known {
            // A file that has grown is read no further than it was.
            room = room.min(usize::try_from(self.input.bytes - at).unwrap_or(room));
        }
        let space = &mut self.buffer[self.filled..self.filled + room];
        let read = loop {
            match self.stream.read(space) {
                Ok(read) => break read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unreadable(error)),
            }
        };
        self.filled += read;
        if let Some(bytes) = self.boundary.as_ref().and_then(Boundary::known) {
            // The next split begins in the middle of a record, for all it knows, and passes over it: one
            // that begins just there is this split's.
            self.end = (self.start + bytes + 1).max(self.least_end);
        }
        if !self.length_known {
            self.at_eof = read == 0 && room > 0;
        } else if read == 0 && room > 0 {
            return Err(JobError::InputChanged {
                path: self.input.path.clone(),
                what: format!("it ends at {at} and had {} bytes", self.input.bytes),
            });
        } else {
            self.at_eof = at + read as u64 == self.input.bytes;
        }
        Ok(())
    }

    fn unreadable(&self, error: io::Error) -> JobError {
        use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
        let packed = self.packed.is_some();
        let of_store = error.get_ref().is_some_and(|inner| inner.is::<JobError>());
        if packed
            && !of_store
            && matches!(error.kind(), InvalidData | InvalidInput | Other | UnexpectedEof)
        {
            let at = self.base + self.filled as u64;
            let what = format!("after {at} unpacked bytes: {error}");
            return JobError::BadCompression { path: self.input.path.clone(), what };
        }
        JobError::io("read", &self.input.path, error)
    }
}
