//! Reads one split of a file as blocks of whole lines.
//!
//! A line belongs to the split in which its first byte lies, so every line is read by exactly one
//! split, whatever the split size. The file is read with positioned reads into one buffer that is
//! reused; the beginning of an unfinished line is carried over to the next block. The buffer grows
//! only for a line that does not fit and never beyond the job's record limit plus one chunk.
//! Only the line feed ends a record; carriage returns, NULs and invalid UTF-8 are content.

use crate::error::JobError;
use crate::input::InputFile;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes asked for by one read.
pub const CHUNK_BYTES: usize = 1 << 20;

/// Reads the lines of one split.
pub struct SplitReader<'a> {
    input: &'a InputFile,
    file: File,
    /// The split covers `start..end` of the file.
    start: u64,
    end: u64,
    max_record: usize,
    buffer: Vec<u8>,
    /// Bytes of the buffer that hold data.
    filled: usize,
    /// Bytes at the front that the last block handed out.
    consumed: usize,
    /// File offset of the buffer's first byte.
    base: u64,
    /// Where the split's last line ends, once it is known.
    limit: Option<u64>,
    started: bool,
}

/// Whole lines, one after the other, the last one perhaps without its line feed.
#[derive(Debug, Clone, Copy)]
pub struct Lines<'b> {
    /// The lines with their line feeds.
    pub bytes: &'b [u8],
    /// File offset of the first byte.
    pub offset: u64,
}

impl<'a> SplitReader<'a> {
    /// Opens the file and makes sure that it has not changed since it was frozen.
    pub fn open(
        input: &'a InputFile,
        start: u64,
        end: u64,
        max_record: u64,
    ) -> Result<SplitReader<'a>, JobError> {
        assert!(start <= end && end <= input.bytes, "a split lies within its file");
        let file = input.open()?;
        let chunk = usize::try_from(end - start + 1).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let chunk = chunk.max(512);
        Ok(SplitReader {
            input,
            file,
            start,
            end,
            max_record: usize::try_from(max_record).unwrap_or(usize::MAX),
            buffer: vec![0; chunk],
            filled: 0,
            consumed: 0,
            base: start,
            limit: None,
            started: false,
        })
    }

    /// The next lines, or `None` after the last one. The end also checks that the file is still
    /// the frozen one.
    pub fn next_block(&mut self) -> Result<Option<Lines<'_>>, JobError> {
        if !self.started {
            self.started = true;
            self.skip_foreign_line()?;
        }
        self.drop_consumed();
        let mut searched = 0;
        loop {
            if let Some(block_end) = self.complete_lines(searched) {
                self.check_records(block_end)?;
                self.consumed = block_end;
                return Ok(Some(Lines { bytes: &self.buffer[..block_end], offset: self.base }));
            }
            if self.limit == Some(self.base) {
                self.input.check_unchanged(&self.file)?;
                return Ok(None);
            }
            searched = self.filled;
            self.make_room()?;
            self.fill()?;
        }
    }

    /// Moves to the first line that starts in this split.
    fn skip_foreign_line(&mut self) -> Result<(), JobError> {
        if self.start >= self.end {
            self.limit = Some(self.base);
            return Ok(());
        }
        if self.start == 0 {
            return Ok(());
        }
        // The byte before the split tells whether a line starts exactly at the split.
        self.base = self.start - 1;
        loop {
            self.fill()?;
            let found = memchr::memchr(b'\n', &self.buffer[..self.filled]);
            let skipped = found.map_or(self.filled, |at| at + 1);
            if self.base + skipped as u64 >= self.end {
                self.base += skipped as u64;
                self.filled = 0;
                self.limit = Some(self.base);
                return Ok(());
            }
            self.consumed = skipped;
            if found.is_some() {
                return Ok(());
            }
            self.drop_consumed();
        }
    }

    /// The end of the last complete line in the buffer that belongs to this split; `from` is where
    /// bytes start that nobody has searched yet.
    fn complete_lines(&mut self, from: usize) -> Option<usize> {
        let have = self.base + self.filled as u64;
        if self.limit.is_none() && have >= self.end {
            // The last line is the one that contains the split's last byte.
            let at = usize::try_from((self.end - 1).saturating_sub(self.base))
                .expect("the split's end lies within the buffer")
                .max(from);
            if let Some(found) = memchr::memchr(b'\n', &self.buffer[at..self.filled]) {
                self.limit = Some(self.base + (at + found) as u64 + 1);
            } else if have == self.input.bytes {
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
    fn check_records(&self, block_end: usize) -> Result<(), JobError> {
        if block_end <= self.max_record {
            return Ok(());
        }
        let mut start = 0;
        while start < block_end {
            let end = memchr::memchr(b'\n', &self.buffer[start..block_end])
                .map_or(block_end, |at| start + at);
            if end - start > self.max_record {
                return Err(self.too_long(self.base + start as u64));
            }
            start = end + 1;
        }
        Ok(())
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

    fn make_room(&mut self) -> Result<(), JobError> {
        if self.filled > self.max_record {
            return Err(self.too_long(self.base));
        }
        if self.filled == self.buffer.len() {
            let larger = (self.buffer.len() * 2).min(self.max_record.saturating_add(CHUNK_BYTES));
            self.buffer.resize(larger.max(self.filled + 512), 0);
        }
        Ok(())
    }

    /// Reads once, behind what the buffer holds.
    fn fill(&mut self) -> Result<(), JobError> {
        let at = self.base + self.filled as u64;
        let left = self.input.bytes - at;
        let room = self.buffer.len() - self.filled;
        let want = room.min(usize::try_from(left).unwrap_or(room));
        let space = &mut self.buffer[self.filled..self.filled + want];
        let read = loop {
            match self.file.read_at(space, at) {
                Ok(read) => break read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(JobError::io("read", &self.input.path, error)),
            }
        };
        if read == 0 && want > 0 {
            return Err(JobError::InputChanged {
                path: self.input.path.clone(),
                what: format!("it ends at {at} and had {} bytes", self.input.bytes),
            });
        }
        self.filled += read;
        Ok(())
    }
}
