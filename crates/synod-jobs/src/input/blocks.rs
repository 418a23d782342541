//! The part of a bzip2 file that belongs to one split: the blocks that begin in it, as Hadoop cuts them.
//!
//! A block begins with 48 bits, at any bit of a byte. The first block of a split is searched by them; a
//! place that only looks like a block does not unpack, or is not followed by a block or the end of a
//! stream, and the search goes on. From there on each block tells where the next one is. The first
//! block of a stream begins at the stream's header, so no split can begin between the two. Every
//! block is a stream of its own to the decoder, so its checksum is always verified; that of a stream is
//! by the split that reads all of it.
//!
//! Bytes of blocks behind the split follow without a break, for the record that begins in it and ends
//! there; [`Boundary`] tells where they begin. Which records a split has is in `reader.rs`.

use bzip2::Decompress;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Begins a block.
const BLOCK: u64 = 0x3141_5926_5359;
/// Stands behind the last block of a stream, before its checksum.
const END: u64 = 0x1772_4538_5090;
const MARK_BITS: u64 = 48;
const CRC_BITS: u64 = 32;
const HEADER_BYTES: u64 = 4;
/// A header for a block of any size.
const HEADER: &[u8] = b"BZh9";
/// Bits that the decoder may have taken of what follows a block.
const LOOK_AHEAD_BITS: u64 = 64;
/// Packed bytes that are read, and handed to the decoder, at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Unpacked bytes before the first block that belongs to another split, as soon as that is reached.
#[derive(Debug, Clone)]
pub(crate) struct Boundary(Arc<AtomicU64>);

impl Boundary {
    /// How many they are.
    pub(crate) fn known(&self) -> Option<u64> {
        Some(self.0.load(Relaxed)).filter(|&bytes| bytes != u64::MAX)
    }
}

/// Unpacks the blocks of a split and those behind it.
pub(crate) struct SplitBlocks {
    window: Window,
    /// The split, in packed bytes.
    split: Range<u64>,
    next: Next,
    /// A block that is being given.
    decoder: Option<Decompress>,
    given: u64,
    boundary: Boundary,
    /// Packed bytes of the split that are behind us.
    taken: Arc<AtomicU64>,
    /// The checksum of the current stream's blocks, if none of them was left out.
    stream_crc: Option<u32>,
}

/// What comes after the block that is being given.
enum Next {
    /// The first block of the split, wherever it is.
    Search,
    /// A block at this bit, which belongs to the split that has this byte.
    Block { bit: u64, place: u64 },
    /// A stream at this byte, or the end of the file.
    Stream(u64),
    /// Nothing.
    End,
}

impl SplitBlocks {
    /// Where in the file the bytes begin that a split is read from.
    pub(crate) fn reads_from(split: &Range<u64>) -> u64 {
        split.start.saturating_sub(HEADER_BYTES)
    }

    /// Reads `split` from a stream that begins at [`SplitBlocks::reads_from`].
    pub(crate) fn new(
        packed: Box<dyn Read + Send>,
        split: Range<u64>,
        taken: Arc<AtomicU64>,
    ) -> (SplitBlocks, Boundary) {
        let boundary = Boundary(Arc::new(AtomicU64::new(u64::MAX)));
        let start = SplitBlocks::reads_from(&split);
        let blocks = SplitBlocks {
            window: Window { packed, bytes: Vec::new(), start, ended: false },
            next: if split.start == 0 { Next::Stream(0) } else { Next::Search },
            split,
            decoder: None,
            given: 0,
            boundary: boundary.clone(),
            taken,
            stream_crc: None,
        };
        (blocks, boundary)
    }

    /// Moves on to what comes next.
    fn step(&mut self) -> io::Result<()> {
        match self.next {
            Next::Search => self.search(),
            Next::Block { bit, place } => {
                if place >= self.split.end && self.boundary.known().is_none() {
                    self.boundary.0.store(self.given, Relaxed);
                }
                let (decoder, end) = self.window.open_block(bit)?;
                self.begin(decoder, bit, end)
            }
            Next::Stream(byte) => self.begin_stream(byte),
            Next::End => Ok(()),
        }
    }

    /// Finds the first block that begins in the split.
    fn search(&mut self) -> io::Result<()> {
        let mut from = self.split.start * 8;
        loop {
            // A block whose stream begins in the split may itself begin behind it.
            let most = (self.split.end + HEADER_BYTES) * 8;
            let Some(bit) = self.window.find_block(from..most)? else { break };
            let after_header = self.window.follows_header(bit)?;
            let place = bit / 8 - if after_header { HEADER_BYTES } else { 0 };
            if (self.split.start..self.split.end).contains(&place) {
                match self.window.open_block(bit) {
                    Ok((decoder, end)) => {
                        self.stream_crc = after_header.then_some(0);
                        return self.begin(decoder, bit, end);
                    }
                    // It only looked like one. If it is one, but damaged, whoever reads the block before
                    // it reads on into this one.
                    Err(error)
                        if matches!(
                            error.kind(),
                            ErrorKind::InvalidData | ErrorKind::UnexpectedEof
                        ) => {}
                    Err(error) => return Err(error),
                }
            }
            from = bit + 1;
            self.window.forget((from / 8).saturating_sub(HEADER_BYTES));
        }
        self.boundary.0.store(0, Relaxed);
        self.finish();
        Ok(())
    }

    /// Begins to give the block at `bit`, which ends at `end`.
    fn begin(&mut self, decoder: Decompress, bit: u64, end: u64) -> io::Result<()> {
        let crc = self.window.bits(bit + MARK_BITS, CRC_BITS)?.unwrap_or_default() as u32;
        self.stream_crc = self.stream_crc.map(|stream| stream.rotate_left(1) ^ crc);
        self.decoder = Some(decoder);
        self.go_to(end, end / 8)
    }

    fn begin_stream(&mut self, byte: u64) -> io::Result<()> {
        if !self.window.reach(byte + 1)? {
            self.finish();
            return Ok(());
        }
        let after = (byte + HEADER_BYTES) * 8;
        if !self.window.reach(byte + HEADER_BYTES)? || !self.window.follows_header(after)? {
            let what = "what follows the end of a bzip2 stream is not another one";
            return Err(io::Error::new(ErrorKind::InvalidData, what));
        }
        self.stream_crc = Some(0);
        self.go_to(after, byte)
    }

    /// What comes next is at `bit`; if it is a block, `place` decides whose it is.
    fn go_to(&mut self, bit: u64, place: u64) -> io::Result<()> {
        self.next = match self.window.bits(bit, MARK_BITS)? {
            Some(BLOCK) => Next::Block { bit, place },
            Some(END) => {
                let crc = self.window.bits(bit + MARK_BITS, CRC_BITS)?.ok_or_else(cut_off)?;
                if self.stream_crc.is_some_and(|stream| u64::from(stream) != crc) {
                    return Err(io::Error::new(
                        ErrorKind::InvalidData,
                        "a stream's checksum is wrong",
                    ));
                }
                Next::Stream((bit + MARK_BITS + CRC_BITS).div_ceil(8))
            }
            Some(_) => return Err(io::Error::new(ErrorKind::InvalidData, "there is no block")),
            None => return Err(cut_off()),
        };
        self.window.forget(bit / 8);
        let taken = (bit / 8).clamp(self.split.start, self.split.end) - self.split.start;
        self.taken.store(taken, Relaxed);
        Ok(())
    }

    fn finish(&mut self) {
        self.next = Next::End;
        self.taken.store(self.split.end - self.split.start, Relaxed);
    }
}

impl Read for SplitBlocks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(decoder) = &mut self.decoder {
                let before = decoder.total_out();
                // It has all of the block, so it gives as much as there is and then verifies.
                decoder.decompress(&[], into).map_err(damaged)?;
                let given = (decoder.total_out() - before) as usize;
                if given < into.len() {
                    self.decoder = None;
                }
                if given > 0 {
                    self.given += given as u64;
                    return Ok(given);
                }
            } else if matches!(self.next, Next::End) {
                return Ok(0);
            } else {
                self.step()?;
            }
        }
    }
}

/// Packed bytes around the place where we are.
struct Window {
    packed: Box<dyn Read + Send>,
    bytes: Vec<u8>,
    /// Where in the file `bytes` begins.
    start: u64,
    ended: bool,
}

impl Window {
    /// Reads until all bytes before `end` are here. Whether there are so many.
    fn reach(&mut self, end: u64) -> io::Result<bool> {
        while self.end() < end && !self.ended {
            let filled = self.bytes.len();
            self.bytes.resize(filled + CHUNK_BYTES, 0);
            let read = self.packed.read(&mut self.bytes[filled..]);
            self.bytes.truncate(filled + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => self.ended = true,
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
        Ok(self.end() >= end)
    }

    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Bytes before this one are not needed any more.
    fn forget(&mut self, before: u64) {
        let count = before.saturating_sub(self.start) as usize;
        // Moving the rest is worth it only now and then.
        if count >= CHUNK_BYTES {
            self.bytes.drain(..count);
            self.start = before;
        }
    }

    /// At most 57 bits at a place, if the file has them.
    fn bits(&mut self, bit: u64, count: u64) -> io::Result<Option<u64>> {
        if !self.reach((bit + count).div_ceil(8))? {
            return Ok(None);
        }
        let at = (bit / 8 - self.start) as usize;
        let mut word = [0; 8];
        let have = &self.bytes[at..self.bytes.len().min(at + 8)];
        word[..have.len()].copy_from_slice(have);
        Ok(Some(u64::from_be_bytes(word) << (bit % 8) >> (64 - count)))
    }

    /// Whether the header of a stream ends at this bit.
    fn follows_header(&mut self, bit: u64) -> io::Result<bool> {
        if !bit.is_multiple_of(8) || bit < self.start * 8 + HEADER_BYTES * 8 {
            return Ok(false);
        }
        let header = self.bits(bit - HEADER_BYTES * 8, HEADER_BYTES * 8)?;
        let bytes = (header.unwrap_or_default() as u32).to_be_bytes();
        Ok(bytes.starts_with(b"BZh") && (b'1'..=b'9').contains(&bytes[3]))
    }

    /// The first place within these bits that looks like the beginning of a block.
    fn find_block(&mut self, bits: Range<u64>) -> io::Result<Option<u64>> {
        let mut at = bits.start / 8;
        let mut word = 0u64;
        while at < bits.end.div_ceil(8) + MARK_BITS / 8 && self.reach(at + 1)? {
            word = word << 8 | u64::from(self.bytes[(at - self.start) as usize]);
            at += 1;
            if at.is_multiple_of(CHUNK_BYTES as u64) {
                // What was found begins at most seven bytes back, its header four more.
                self.forget(at.saturating_sub(16));
            }
            for left in (0..8).rev() {
                let found = (word >> left) & ((1 << MARK_BITS) - 1) == BLOCK;
                let Some(bit) = (at * 8).checked_sub(left + MARK_BITS) else { continue };
                if found && bits.contains(&bit) {
                    return Ok(Some(bit));
                }
            }
        }
        Ok(None)
    }

    /// A decoder that has read the block at `bit` and given nothing yet, and where the block ends.
    fn open_block(&mut self, bit: u64) -> io::Result<(Decompress, u64)> {
        let mut decoder = Decompress::new(false);
        decoder.decompress(HEADER, &mut []).map_err(damaged)?;
        let shift = bit % 8;
        let mut at = bit / 8;
        let mut aligned = Vec::with_capacity(CHUNK_BYTES);
        loop {
            // One byte more, because of the shift; behind the end of the file are zeros.
            self.reach(at + CHUNK_BYTES as u64 + 1)?;
            let from = &self.bytes[(at - self.start) as usize..];
            let align = |byte: u8, next: u8| {
                let both = u16::from_be_bytes([byte, next]) << shift;
                both.to_be_bytes()[0]
            };
            aligned.clear();
            let pairs = from.windows(2).take(CHUNK_BYTES);
            aligned.extend(pairs.map(|pair| align(pair[0], pair[1])));
            if aligned.len() < CHUNK_BYTES {
                aligned.extend(from.last().map(|&last| align(last, 0)));
            }
            if aligned.is_empty() {
                return Err(cut_off());
            }
            let before = decoder.total_in();
            // Without room for output it stops when it has the block.
            decoder.decompress(&aligned, &mut []).map_err(damaged)?;
            let taken = decoder.total_in() - before;
            at += taken;
            if taken < aligned.len() as u64 {
                break;
            }
        }
        let last = at * 8 + shift;
        for end in (last.saturating_sub(LOOK_AHEAD_BITS).max(bit + 1)..=last).rev() {
            if matches!(self.bits(end, MARK_BITS)?, Some(BLOCK | END)) {
                return Ok((decoder, end));
            }
        }
        let what = "what follows a bzip2 block is neither another one nor the stream's end";
        Err(io::Error::new(ErrorKind::InvalidData, what))
    }
}

fn damaged(error: bzip2::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

fn cut_off() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "a bzip2 stream ends before its end")
}
