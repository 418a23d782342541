//! Compressed files: how they are told, read and written.
//!
//! A file is compressed if its name says so; then its first bytes must agree. What it unpacks to is
//! read in a stream, so memory is bounded; a file that unpacks to absurdly much is refused.

use super::blocks::{Boundary, SplitBlocks};
use crate::error::JobError;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A file may unpack to this many times its size..
const MAX_RATIO: u64 = 10_000;
/// ..once it has given so much,
const RATIO_FROM_BYTES: u64 = 256 << 20;
/// and to no more than this in any case.
const MAX_UNPACKED_BYTES: u64 = 1 << 44;
/// Packed bytes asked for at once.
const BUFFER_BYTES: usize = 256 << 10;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// gzip, RFC 1952; several members one after the other are one stream.
    Gz,
    /// Zstandard, RFC 8878; several frames are one stream.
    Zst,
    /// bzip2; several streams are one.
    Bz2,
}

impl Codec {
    /// All of them.
    pub const ALL: [Codec; 3] = [Codec::Gz, Codec::Zst, Codec::Bz2];

    /// The end of the names of such files, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Codec::Gz => "gz",
            Codec::Zst => "zst",
            Codec::Bz2 => "bz2",
        }
    }

    fn magic(self) -> &'static [u8] {
        match self {
            Codec::Gz => b"\x1f\x8b",
            Codec::Zst => b"\x28\xb5\x2f\xfd",
            Codec::Bz2 => b"BZh",
        }
    }
}

/// Ends of names of files that are packed in a way that is not known here. To read them as they are
/// would give nonsense without a word.
const NOT_UNPACKED: &[&str] = &["deflate", "lz4", "lzo", "lzo_deflate", "snappy", "xz"];

/// How a file with this name should be compressed.
pub(crate) fn codec_named(path: &Path) -> Option<Codec> {
    let extension = path.extension()?.to_str()?;
    Codec::ALL.into_iter().find(|codec| codec.extension() == extension)
}

/// How a file with this name and these first bytes is compressed. An empty file is just empty, whatever its
/// name: who reads it is warned.
pub fn codec_of(path: &Path, first: &[u8]) -> Result<Option<Codec>, JobError> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if !first.is_empty() && NOT_UNPACKED.contains(&extension) {
        let what = format!("Synod does not unpack {extension}, only gz, zst and bz2");
        return Err(JobError::BadCompression { path: path.to_owned(), what });
    }
    let named = codec_named(path).filter(|_| !first.is_empty());
    let Some(codec) = named else { return Ok(None) };
    // Zstandard allows frames that are to be skipped, also in front.
    let skippable = first.get(1..4) == Some(b"\x2a\x4d\x18") && first[0] & 0xf0 == 0x50;
    if first.starts_with(codec.magic()) || (codec == Codec::Zst && skippable) {
        return Ok(Some(codec));
    }
    let what = format!("its name says {extension}, its first bytes do not");
    Err(JobError::BadCompression { path: path.to_owned(), what })
}

/// Unpacks a stream. `taken` counts the packed bytes that were read.
pub(crate) fn unpack(
    codec: Codec,
    packed: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
) -> io::Result<Box<dyn Read + Send>> {
    let counted = Counted { inner: packed, taken: Arc::clone(&taken) };
    let buffered = io::BufReader::with_capacity(BUFFER_BYTES, counted);
    let inner: Box<dyn Read + Send> = match codec {
        Codec::Gz => Box::new(flate2::bufread::MultiGzDecoder::new(buffered)),
        Codec::Zst => Box::new(zstd::Decoder::with_buffer(buffered)?),
        Codec::Bz2 => Box::new(bzip2::bufread::MultiBzDecoder::new(buffered)),
    };
    Ok(Box::new(Capped { inner, taken, given: 0 }))
}

/// Unpacks what belongs to a split of a bzip2 file, and what follows it. `packed` begins at
/// [`SplitBlocks::reads_from`]; `taken` tells how much of the split was read.
pub(crate) fn unpack_split(
    packed: Box<dyn Read + Send>,
    split: Range<u64>,
    taken: Arc<AtomicU64>,
) -> (Box<dyn Read + Send>, Boundary) {
    let (blocks, boundary) = SplitBlocks::new(packed, split, Arc::clone(&taken));
    (Box::new(Capped { inner: Box::new(blocks), taken, given: 0 }), boundary)
}

struct Counted {
    inner: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.taken.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}

/// Refuses what unpacks to absurdly much.
struct Capped {
    inner: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
    given: u64,
}

impl Read for Capped {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.given += read as u64;
        let ratio = self.given / self.taken.load(Relaxed).max(1);
        if self.given > MAX_UNPACKED_BYTES || (self.given > RATIO_FROM_BYTES && ratio > MAX_RATIO) {
            let what = format!("it unpacks to {ratio} times its size or more");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(read)
    }
}
