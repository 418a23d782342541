//! Reads runs back, from a file or from any stream of the same bytes.
//!
//! Nothing that a block declares is trusted: lengths are compared with what is left of the section
//! before memory is taken, and the checksum is verified before the block is unpacked.

use crate::error::JobError;
use crate::run::RunSource;
use crate::run::writer::{
    BLOCK_HEADER_BYTES, FOOTER_BYTES, MAGIC, RunIndex, SECTION_BYTES, Section,
};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};
use std::path::Path;

/// LZ4 cannot expand a byte to more than this many.
const MAX_EXPANSION: u64 = 255;
/// Bytes fetched by one read of a section.
const READ_BYTES: usize = 256 << 10;

/// The blocks of one section, read from a stream that begins with them.
pub struct SectionSource<R> {
    reader: R,
    /// Bytes of the section that were not read yet.
    left: u64,
    stored: Vec<u8>,
    /// Named in errors.
    origin: String,
}

impl<R: Read + Send> SectionSource<R> {
    /// Reads `bytes` of blocks from `reader`; `origin` is named in errors.
    pub fn new(reader: R, bytes: u64, origin: String) -> SectionSource<R> {
        SectionSource { reader, left: bytes, stored: Vec::new(), origin }
    }

    fn damaged(&self, what: &'static str) -> JobError {
        JobError::DamagedRun { origin: self.origin.clone(), what }
    }

    fn read_exact(&mut self, into: &mut [u8]) -> Result<(), JobError> {
        self.reader.read_exact(into).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("it ends too early"),
            _ => JobError::io("read", Path::new(&self.origin), error),
        })
    }
}

/// The bytes of one section of a local file.
pub type SectionFile = BufReader<Take<File>>;

/// A section of a local file.
pub type FileSource = SectionSource<SectionFile>;

/// Opens one partition of a run file.
pub fn open_section(path: &Path, section: Section) -> Result<FileSource, JobError> {
    let reader = open_section_file(path, section)?;
    Ok(SectionSource::new(reader, section.bytes, path.display().to_string()))
}

/// The same as bytes.
pub fn open_section_file(path: &Path, section: Section) -> Result<SectionFile, JobError> {
    let mut file = File::open(path).map_err(|error| JobError::io("open", path, error))?;
    file.seek(SeekFrom::Start(section.offset))
        .map_err(|error| JobError::io("position", path, error))?;
    let size = usize::try_from(section.bytes).unwrap_or(READ_BYTES).min(READ_BYTES);
    Ok(BufReader::with_capacity(size, file.take(section.bytes)))
}

/// Whether there is a run file with this checksum of its index.
pub fn is_run_file(path: &Path, index_crc32c: u32) -> io::Result<bool> {
    // Looked at before it is opened: opening a pipe would wait for whoever writes to it.
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() || metadata.len() < FOOTER_BYTES as u64 {
        return Ok(false);
    }
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-(FOOTER_BYTES as i64)))?;
    let mut footer = [0; FOOTER_BYTES];
    file.read_exact(&mut footer)?;
    Ok(footer[8..] == MAGIC && le_u32(&footer, 4) == index_crc32c)
}

/// Reads the index at the end of a run file.
pub fn read_index(path: &Path) -> Result<RunIndex, JobError> {
    let damaged = |what| JobError::DamagedRun { origin: path.display().to_string(), what };
    let io = |error| JobError::io("read", path, error);
    let mut file = File::open(path).map_err(|error| JobError::io("open", path, error))?;
    let file_bytes = file.metadata().map_err(io)?.len();
    let body = file_bytes.checked_sub(FOOTER_BYTES as u64).ok_or(damaged("it has no footer"))?;
    file.seek(SeekFrom::Start(body)).map_err(io)?;
    let mut footer = [0; FOOTER_BYTES];
    file.read_exact(&mut footer).map_err(io)?;
    if footer[8..] != MAGIC {
        return Err(damaged("its last bytes are not those of a run"));
    }
    let partitions = u64::from(le_u32(&footer, 0));
    let index_bytes = partitions * SECTION_BYTES as u64;
    let start = body.checked_sub(index_bytes).ok_or(damaged("its index is too long"))?;
    file.seek(SeekFrom::Start(start)).map_err(io)?;
    let mut index = Vec::new();
    file.take(index_bytes).read_to_end(&mut index).map_err(io)?;
    if index.len() as u64 != index_bytes || crc32c::crc32c(&index) != le_u32(&footer, 4) {
        return Err(damaged("the checksum of its index does not fit"));
    }
    let sections = index
        .chunks_exact(SECTION_BYTES)
        .map(|entry| Section {
            offset: le_u64(entry, 0),
            bytes: le_u64(entry, 8),
            pairs: le_u64(entry, 16),
        })
        .collect();
    Ok(RunIndex { sections, file_bytes })
}

impl<R: Read + Send> RunSource for SectionSource<R> {
    fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, JobError> {
        block.clear();
        if self.left == 0 {
            return Ok(false);
        }
        let mut header = [0; BLOCK_HEADER_BYTES];
        self.left = self
            .left
            .checked_sub(BLOCK_HEADER_BYTES as u64)
            .ok_or_else(|| self.damaged("a block's header is cut"))?;
        self.read_exact(&mut header)?;
        let raw = u64::from(le_u32(&header, 0));
        let stored = u64::from(le_u32(&header, 4));
        self.left = self
            .left
            .checked_sub(stored)
            .ok_or_else(|| self.damaged("a block is longer than its section"))?;
        if raw == 0 || raw < stored || raw > stored.saturating_mul(MAX_EXPANSION) {
            return Err(self.damaged("a block declares an impossible length"));
        }
        let mut payload = std::mem::take(&mut self.stored);
        payload.resize(stored as usize, 0);
        self.read_exact(&mut payload)?;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..8]), &payload);
        if crc != le_u32(&header, 8) {
            return Err(self.damaged("a block's checksum does not fit"));
        }
        if raw == stored {
            block.extend_from_slice(&payload);
        } else {
            block.resize(raw as usize, 0);
            let unpacked = lz4_flex::block::decompress_into(&payload, block);
            if unpacked.ok() != Some(raw as usize) {
                return Err(self.damaged("a block does not unpack to its length"));
            }
        }
        self.stored = payload;
        Ok(true)
    }
}

fn le_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("the caller checked the length"))
}

fn le_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("the caller checked the length"))
}
