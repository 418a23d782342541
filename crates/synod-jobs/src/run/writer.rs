//! Writes a run: partitions one after the other, in compressed and checksummed blocks.
//!
//! ```text
//! file    := section* index footer
//! section := block*                          one per partition, in order, perhaps empty
//! block   := raw u32 | stored u32 | crc u32 | payload[stored]
//! index   := (offset u64 | bytes u64 | pairs u64)*
//! footer  := partitions u32 | crc u32 | "SYNRUN01"
//! ```
//!
//! Integers are little-endian. A block's CRC32C covers its two lengths and its payload, which is
//! LZ4 unless `raw == stored`. The footer's CRC32C covers the index. A run is not synced: if the
//! machine goes down its map task runs again.

use crate::run::{BLOCK_BYTES, record};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};

/// Bytes before a block's payload.
pub(crate) const BLOCK_HEADER_BYTES: usize = 12;
/// The last bytes of a run file.
pub(crate) const MAGIC: [u8; 8] = *b"SYNRUN01";
/// Bytes of the index per partition.
pub(crate) const SECTION_BYTES: usize = 24;
/// Bytes behind the index.
pub(crate) const FOOTER_BYTES: usize = 16;

/// Where one partition lies in a run file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Offset of its first block.
    pub offset: u64,
    /// Bytes of its blocks.
    pub bytes: u64,
    /// Pairs in them.
    pub pairs: u64,
}

/// Where the partitions lie in a run file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunIndex {
    /// One section per partition.
    pub sections: Vec<Section>,
    /// Length of the whole file.
    pub file_bytes: u64,
}

impl RunIndex {
    /// The CRC32C that stands in the file's footer: two files with the same one are the same, as far
    /// as lengths and numbers can tell.
    pub fn checksum(&self) -> u32 {
        crc32c::crc32c(&encode(&self.sections))
    }
}

/// The index as it stands in the file, with room for the footer.
fn encode(sections: &[Section]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(sections.len() * SECTION_BYTES + FOOTER_BYTES);
    for section in sections {
        for number in [section.offset, section.bytes, section.pairs] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
    }
    bytes
}

/// Writes sorted pairs, partition by partition.
pub struct RunWriter<W> {
    out: W,
    block: Vec<u8>,
    packed: Vec<u8>,
    sections: Vec<Section>,
    offset: u64,
}

impl<W: Write> RunWriter<W> {
    /// A run without partitions.
    pub fn new(out: W) -> RunWriter<W> {
        RunWriter { out, block: Vec::new(), packed: Vec::new(), sections: Vec::new(), offset: 0 }
    }

    /// Starts the next partition.
    pub fn begin_partition(&mut self) -> io::Result<()> {
        self.write_block()?;
        self.sections.push(Section { offset: self.offset, bytes: 0, pairs: 0 });
        Ok(())
    }

    /// Appends a pair to the current partition; keys must not descend.
    #[inline]
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        record::put(&mut self.block, key, value);
        self.sections.last_mut().expect("a partition was begun").pairs += 1;
        if self.block.len() >= BLOCK_BYTES { self.write_block() } else { Ok(()) }
    }

    /// Writes the index and gives the output back.
    pub fn finish(mut self) -> io::Result<(W, RunIndex)> {
        self.write_block()?;
        let mut tail = encode(&self.sections);
        let crc = crc32c::crc32c(&tail);
        tail.extend_from_slice(&(self.sections.len() as u32).to_le_bytes());
        tail.extend_from_slice(&crc.to_le_bytes());
        tail.extend_from_slice(&MAGIC);
        self.out.write_all(&tail)?;
        self.out.flush()?;
        let file_bytes = self.offset + tail.len() as u64;
        Ok((self.out, RunIndex { sections: self.sections, file_bytes }))
    }

    fn write_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let most = lz4_flex::block::get_maximum_output_size(self.block.len());
        if self.packed.len() < most {
            self.packed.resize(most, 0);
        }
        let stored = match lz4_flex::block::compress_into(&self.block, &mut self.packed) {
            Ok(packed) if packed < self.block.len() => &self.packed[..packed],
            _ => &self.block[..],
        };
        let mut header = [0; BLOCK_HEADER_BYTES];
        header[..4].copy_from_slice(&(self.block.len() as u32).to_le_bytes());
        header[4..8].copy_from_slice(&(stored.len() as u32).to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..8]), stored);
        header[8..].copy_from_slice(&crc.to_le_bytes());
        self.out.write_all(&header)?;
        self.out.write_all(stored)?;
        let written = (BLOCK_HEADER_BYTES + stored.len()) as u64;
        self.offset += written;
        self.sections.last_mut().expect("a block belongs to a partition").bytes += written;
        self.block.clear();
        if self.block.capacity() > 4 * BLOCK_BYTES {
            // One giant pair must not keep its memory for the rest of the run.
            self.block = Vec::new();
            self.packed = Vec::new();
        }
        Ok(())
    }
}
