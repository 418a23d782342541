//! What a map function is given: a record, or a block of consecutive ones.
//!
//! Both borrow the reader's buffer: nothing is copied. How records are told apart is in `framing.rs`,
//! who cuts blocks in `reader.rs`.

use crate::framing::{Framing, LongRecords};
use crate::quarantine::LeftOut;
use std::path::Path;

/// One record of input.
#[derive(Debug, Clone, Copy)]
pub struct Record<'b> {
    /// Its key, if the input has keys; else empty.
    pub key: &'b [u8],
    /// The record without what ends it; a line without its line feed.
    pub bytes: &'b [u8],
    /// Offset of its first byte in the file, unpacked. In a split of a bzip2 file it is counted from the
    /// split's own, packed offset: what the blocks before it unpack to is not known. Two records of such a
    /// file may have the same one.
    pub offset: u64,
    /// Its number within its split, from 0.
    pub number: u64,
    /// The file it is in.
    pub file: &'b Path,
}

/// Consecutive records of one file.
#[derive(Debug, Clone, Copy)]
pub struct Block<'b> {
    /// The records with what ends them; the last one of a file may lack that.
    pub bytes: &'b [u8],
    /// Offset of the first byte in the file, unpacked.
    pub offset: u64,
    /// Number of the first record within its split.
    pub first_number: u64,
    /// The file they are in.
    pub file: &'b Path,
    /// What ends a record.
    pub framing: &'b Framing,
    /// Offsets of records to leave out. If there are none of it, it is to be mapped record by record all the
    /// same: an attempt has failed.
    pub skips: Option<&'b LeftOut>,
    /// What to do with records longer than so many bytes, if there are any.
    pub long: Option<(LongRecords, usize)>,
}

impl<'b> Block<'b> {
    /// Lines of a file, all of them meant.
    pub fn lines(bytes: &'b [u8], offset: u64, file: &'b Path) -> Block<'b> {
        let framing = &Framing::Line;
        Block { bytes, offset, first_number: 0, file, framing, skips: None, long: None }
    }

    /// Whether these are lines, and every one of them is meant.
    pub fn is_plain(&self) -> bool {
        *self.framing == Framing::Line && self.skips.is_none() && self.long.is_none()
    }

    /// The records one by one, without those that are to be left out.
    #[inline]
    pub fn records(&self) -> Records<'b> {
        Records { block: *self, at: 0, number: self.first_number }
    }
}

/// The records of a block.
#[derive(Debug, Clone)]
pub struct Records<'b> {
    block: Block<'b>,
    at: usize,
    number: u64,
}

impl<'b> Iterator for Records<'b> {
    type Item = Record<'b>;

    #[inline]
    fn next(&mut self) -> Option<Record<'b>> {
        if !self.block.is_plain() {
            return self.next_framed();
        }
        let block = &self.block;
        let rest = &block.bytes[self.at..];
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let offset = block.offset + self.at as u64;
        let (bytes, number) = (&rest[..end], self.number);
        let record = Record { key: &[], bytes, offset, number, file: block.file };
        self.at = (self.at + end + 1).min(block.bytes.len());
        self.number += 1;
        Some(record)
    }
}

impl<'b> Records<'b> {
    fn next_framed(&mut self) -> Option<Record<'b>> {
        let block = &self.block;
        while self.at < block.bytes.len() {
            // The reader cuts blocks at records, so nothing is malformed or left over.
            let found = block.framing.next(block.bytes, self.at, true).ok().flatten()?;
            let offset = block.offset + self.at as u64;
            let number = self.number;
            self.at = found.next;
            self.number += 1;
            let mut bytes = &block.bytes[found.content];
            match block.long {
                Some((LongRecords::Skip, limit)) if bytes.len() > limit => continue,
                Some((_, limit)) => bytes = &bytes[..bytes.len().min(limit)],
                None => {}
            }
            if block.skips.is_some_and(|skips| skips.contains_key(&offset)) {
                continue;
            }
            let key = &block.bytes[found.key];
            return Some(Record { key, bytes, offset, number, file: block.file });
        }
        None
    }
}
