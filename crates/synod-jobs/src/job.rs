//! The trait that a job implements.
//!
//! Keys and values are bytes: nothing is parsed, copied or allocated on the way unless the job
//! does it. Every call is monomorphised for the job. Functions must be deterministic, then a job
//! gives byte-identical output whatever the number of threads, splits, spills and failures.

use crate::emit::Emitter;
use crate::hash::partition_of;
use crate::reduce_task::Values;
use crate::sink::Sink;
use std::path::Path;

/// A MapReduce job.
///
/// `map` sees every record once and emits pairs; pairs are grouped by key, keys ascend bytewise
/// within a partition; `reduce` sees every group once and writes output records.
pub trait Job: Send + Sync + Sized {
    /// Length of every value if the job has a combiner, `None` if it has none.
    ///
    /// A combiner must be associative and commutative. It may run any number of times, also never.
    const COMBINED_VALUE_BYTES: Option<usize> = None;

    /// Whether keys ascend over all part files together, not only within each. Partitions are then
    /// ranges found by sampling the input, and [`Job::partition`] is not asked.
    const TOTAL_ORDER: bool = false;

    /// Whether its functions run programs of the user: workers may forbid that.
    const RUNS_COMMANDS: bool = false;

    /// Emits the pairs of one record.
    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>);

    /// Emits the pairs of many records. A job whose records need no boundaries may do better than
    /// the loop over [`Job::map`] that is given; it must emit the same pairs.
    fn map_block(&self, block: Block<'_>, out: &mut Emitter<'_, Self>) {
        for record in block.records() {
            out.stand_at(record.offset, record.number);
            self.map(record, out);
        }
    }

    /// Adds `value` to `total`, both of [`Job::COMBINED_VALUE_BYTES`] bytes.
    fn combine(&self, total: &mut [u8], value: &[u8]) {
        let _ = (total, value);
    }

    /// The part of a key that groups pairs, a prefix of it. Pairs of one group go to one call of
    /// [`Job::reduce`], in the order of their whole keys: a secondary sort. Keys of different
    /// groups must not interleave in bytewise order.
    fn group<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        key
    }

    /// The partition of a key, below `partitions`, equal for all keys of a group.
    fn partition(&self, key: &[u8], partitions: u32) -> u32 {
        partition_of(self.group(key), partitions)
    }

    /// Writes the output of one group. Values that are not asked for are skipped.
    fn reduce(&self, key: &[u8], values: &mut Values<'_, Self>, out: &mut Sink);
}

/// One line of input.
#[derive(Debug, Clone, Copy)]
pub struct Record<'b> {
    /// The line without its line feed.
    pub bytes: &'b [u8],
    /// Offset of its first byte in the file.
    pub offset: u64,
    /// Its number within its split, from 0.
    pub number: u64,
    /// The file it is in.
    pub file: &'b Path,
}

/// Consecutive lines of one file.
#[derive(Debug, Clone, Copy)]
pub struct Block<'b> {
    /// The lines with their line feeds; the last line of a file may have none.
    pub bytes: &'b [u8],
    /// Offset of the first byte in the file.
    pub offset: u64,
    /// Number of the first line within its split.
    pub first_number: u64,
    /// The file they are in.
    pub file: &'b Path,
}

impl<'b> Block<'b> {
    /// The lines one by one.
    #[inline]
    pub fn records(&self) -> impl Iterator<Item = Record<'b>> + use<'b> {
        let block = *self;
        let mut at = 0;
        let mut number = block.first_number;
        std::iter::from_fn(move || {
            let rest = &block.bytes[at..];
            if rest.is_empty() {
                return None;
            }
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let record = Record {
                bytes: &rest[..end],
                offset: block.offset + at as u64,
                number,
                file: block.file,
            };
            at = (at + end + 1).min(block.bytes.len());
            number += 1;
            Some(record)
        })
    }
}
