//! Takes the output of a reduce function and writes one part file.
//!
//! The first failure to write is remembered, what follows is dropped, and the task fails when it
//! next looks. The CRC32C of the whole part is computed on the way.

use crate::counters::Counters;
use crate::error::JobError;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Output is handed to the operating system in pieces of this size.
const BUFFER_BYTES: usize = 1 << 20;

/// Where a reduce function writes.
#[derive(Debug)]
pub struct Sink {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    crc: u32,
    bytes: u64,
    records: u64,
    failure: Option<io::Error>,
    pub(crate) counters: Counters,
}

/// What a part file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub bytes: u64,
    pub records: u64,
    pub crc32c: u32,
}

impl Sink {
    /// Creates the part file, or replaces one that a failed attempt left.
    pub(crate) fn create(path: &Path) -> Result<Sink, JobError> {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .map_err(|error| JobError::io("create", path, error))?;
        Ok(Sink {
            path: path.to_owned(),
            file,
            buffer: Vec::with_capacity(BUFFER_BYTES + (64 << 10)),
            crc: 0,
            bytes: 0,
            records: 0,
            failure: None,
            counters: Counters::default(),
        })
    }

    /// Appends bytes to the current record.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Appends a number in decimal.
    #[inline]
    pub fn decimal(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.buffer.extend_from_slice(&digits[at..]);
    }

    /// Ends the current record with a line feed.
    #[inline]
    pub fn end_record(&mut self) {
        self.buffer.push(b'\n');
        self.records += 1;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush();
        }
    }

    /// Adds to a counter of the job's own.
    pub fn count(&mut self, name: &str, amount: u64) {
        self.counters.count(name, amount);
    }

    #[cold]
    fn flush(&mut self) {
        if self.failure.is_none() {
            self.crc = crc32c::crc32c_append(self.crc, &self.buffer);
            self.bytes += self.buffer.len() as u64;
            self.failure = self.file.write_all(&self.buffer).err();
        }
        self.buffer.clear();
    }

    /// Fails if something could not be written.
    pub(crate) fn check(&mut self) -> Result<(), JobError> {
        match self.failure.take() {
            None => Ok(()),
            Some(error) => Err(JobError::io("write", &self.path, error)),
        }
    }

    /// Writes what is left, to stable storage if `sync` says so.
    pub(crate) fn finish(mut self, sync: bool) -> Result<(Written, Counters), JobError> {
        self.flush();
        self.check()?;
        if sync {
            self.file.sync_all().map_err(|error| JobError::io("sync", &self.path, error))?;
        }
        let written = Written { bytes: self.bytes, records: self.records, crc32c: self.crc };
        Ok((written, self.counters))
    }
}
