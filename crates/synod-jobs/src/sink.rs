//! Takes the output of a task and writes one part file, compressed if the job says so.
//!
//! The first failure to write is remembered, what follows is dropped, and the task fails when it
//! next looks. The CRC32C of the whole file is computed on the way.

use crate::counters::Counters;
use crate::error::JobError;
use crate::input::codec::Codec;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Output is handed to the operating system in pieces of this size.
const BUFFER_BYTES: usize = 1 << 20;

/// Where a reduce function writes.
pub struct Sink {
    path: PathBuf,
    encoder: Encoder,
    buffer: Vec<u8>,
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

/// A file and the checksum of what was written to it.
struct CheckedFile {
    file: File,
    crc: u32,
    bytes: u64,
}

impl Write for CheckedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.crc = crc32c::crc32c_append(self.crc, &bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Encoder {
    Plain(CheckedFile),
    Gz(flate2::write::GzEncoder<CheckedFile>),
    Zst(zstd::Encoder<'static, CheckedFile>),
    Bz2(bzip2::write::BzEncoder<CheckedFile>),
}

impl Encoder {
    fn new(codec: Option<Codec>, file: CheckedFile) -> io::Result<Encoder> {
        Ok(match codec {
            None => Encoder::Plain(file),
            Some(Codec::Gz) => {
                Encoder::Gz(flate2::write::GzEncoder::new(file, flate2::Compression::default()))
            }
            Some(Codec::Zst) => Encoder::Zst(zstd::Encoder::new(file, ZSTD_LEVEL)?),
            Some(Codec::Bz2) => {
                Encoder::Bz2(bzip2::write::BzEncoder::new(file, bzip2::Compression::default()))
            }
        })
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Encoder::Plain(file) => file.write_all(bytes),
            Encoder::Gz(encoder) => encoder.write_all(bytes),
            Encoder::Zst(encoder) => encoder.write_all(bytes),
            Encoder::Bz2(encoder) => encoder.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<CheckedFile> {
        match self {
            Encoder::Plain(file) => Ok(file),
            Encoder::Gz(encoder) => encoder.finish(),
            Encoder::Zst(encoder) => encoder.finish(),
            Encoder::Bz2(encoder) => encoder.finish(),
        }
    }
}

/// Zstandard's own default.
const ZSTD_LEVEL: i32 = 3;

impl Sink {
    /// Creates the part file, or replaces one that a failed attempt left.
    pub(crate) fn create(path: &Path, codec: Option<Codec>) -> Result<Sink, JobError> {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .map_err(|error| JobError::io("create", path, error))?;
        let encoder = Encoder::new(codec, CheckedFile { file, crc: 0, bytes: 0 })
            .map_err(|error| JobError::io("create", path, error))?;
        Ok(Sink {
            path: path.to_owned(),
            encoder,
            buffer: Vec::with_capacity(BUFFER_BYTES + (64 << 10)),
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

    /// Whether no record was written.
    pub fn is_empty(&self) -> bool {
        self.records == 0 && self.buffer.is_empty()
    }

    /// Ends the current record with nothing.
    #[inline]
    pub fn end_bare_record(&mut self) {
        self.records += 1;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush();
        }
    }

    #[cold]
    fn flush(&mut self) {
        if self.failure.is_none() {
            self.failure = self.encoder.write_all(&self.buffer).err();
        }
        self.buffer.clear();
        // One giant record must not keep its memory.
        self.buffer.shrink_to(4 * BUFFER_BYTES);
    }

    /// Fails if something could not be written.
    pub fn check(&mut self) -> Result<(), JobError> {
        match self.failure.take() {
            None => Ok(()),
            Some(error) => Err(JobError::io("write", &self.path, error)),
        }
    }

    /// Writes what is left, to stable storage if `sync` says so.
    pub(crate) fn finish(mut self, sync: bool) -> Result<(Written, Counters), JobError> {
        self.flush();
        self.check()?;
        let write = |error| JobError::io("write", &self.path, error);
        let CheckedFile { file, crc, bytes } = self.encoder.finish().map_err(write)?;
        if sync {
            file.sync_all().map_err(|error| JobError::io("sync", &self.path, error))?;
        }
        Ok((Written { bytes, records: self.records, crc32c: crc }, self.counters))
    }
}
