//! The trait that a job implements.
//!
//! Keys and values are bytes: nothing is parsed, copied or allocated on the way unless the job
//! does it. Every call is monomorphised for the job. Functions must be deterministic, then a job
//! gives byte-identical output whatever the number of threads, splits, spills and failures.

use crate::emit::{Emitter, PairSink};
use crate::error::JobError;
use crate::framing::{Framing, LongRecords};
use crate::hash::partition_of;
use crate::map_input::MapInput;
use crate::reduce_input::{ReduceInput, Values};
use crate::sink::Sink;
use crate::spec::MAX_ATTEMPTS;
use crate::task::TaskContext;
use std::collections::BTreeSet;
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

    /// Whether the job may run without reduce tasks. Then [`Job::write_pair`] writes what it emits.
    const WRITES_PAIRS: bool = false;

    /// Whether [`Job::combine_run`] is to be asked: a combiner whose values have any length.
    const COMBINES_RUNS: bool = false;

    /// How often a task is tried in one process whose function panics or whose program fails.
    fn attempts(&self) -> u32 {
        2
    }

    /// The same on a cluster, where another worker may do better.
    fn attempts_on_cluster(&self) -> u32 {
        MAX_ATTEMPTS
    }

    /// Whether keys ascend over all part files, for jobs that know it only from their options.
    fn total_order(&self) -> bool {
        Self::TOTAL_ORDER
    }

    /// Whether runs are to be combined, for jobs that know it only from their options.
    fn combines_runs(&self) -> bool {
        Self::COMBINES_RUNS
    }

    /// Emits the pairs of one record.
    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>);

    /// Emits the pairs of many lines. A job whose records need no boundaries may do better than
    /// the loop over [`Job::map`] that is given; it must emit the same pairs. Not asked for records
    /// that are no lines, or when some are to be left out.
    fn map_block(&self, block: Block<'_>, out: &mut Emitter<'_, Self>) {
        for record in block.records() {
            out.stand_at(record.offset, record.number);
            self.map(record, out);
        }
    }

    /// Emits the keys by which the cut points of a total order are found.
    fn sample(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        self.map(record, out);
    }

    /// Maps a whole split. For jobs that keep something open for as long: a program, an instance. It
    /// reads `input` to its end, on this thread or another.
    fn map_split(
        &self,
        task: &TaskContext<'_>,
        input: &mut MapInput<'_>,
        out: &mut Emitter<'_, Self>,
    ) -> Result<(), JobError> {
        let _ = task;
        while let Some(block) = input.next_block()? {
            out.stand_at(block.offset, block.first_number);
            if block.is_plain() {
                self.map_block(block, out);
            } else {
                for record in block.records() {
                    out.stand_at(record.offset, record.number);
                    self.map(record, out);
                }
            }
            out.check()?;
        }
        Ok(())
    }

    /// Adds `value` to `total`, both of [`Job::COMBINED_VALUE_BYTES`] bytes.
    fn combine(&self, total: &mut [u8], value: &[u8]) {
        let _ = (total, value);
    }

    /// Combines one partition of a sorted run: reads all its pairs and gives others, in any order, with
    /// keys of the same partition. It may run once for each run, or never.
    fn combine_run(
        &self,
        task: &TaskContext<'_>,
        input: &mut ReduceInput<'_, Self>,
        out: &mut PairSink<'_>,
    ) -> Result<(), JobError> {
        let _ = task;
        while let Some((key, value)) = input.next_pair()? {
            out.push(key, value)?;
        }
        Ok(())
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

    /// Reduces a whole partition; for jobs that keep something open for as long.
    fn reduce_partition(
        &self,
        task: &TaskContext<'_>,
        input: &mut ReduceInput<'_, Self>,
        out: &mut Sink,
    ) -> Result<(), JobError> {
        let _ = task;
        input.reduce_groups(out)
    }

    /// Writes a pair of a job without reduce tasks: `key`, or `key<TAB>value`, as a line.
    fn write_pair(&self, key: &[u8], value: &[u8], out: &mut Sink) {
        out.bytes(key);
        if !value.is_empty() {
            out.bytes(b"\t");
            out.bytes(value);
        }
        out.end_record();
    }
}

/// One record of input.
#[derive(Debug, Clone, Copy)]
pub struct Record<'b> {
    /// Its key, if the input has keys; else empty.
    pub key: &'b [u8],
    /// The record without what ends it; a line without its line feed.
    pub bytes: &'b [u8],
    /// Offset of its first byte in the file, unpacked.
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
    /// Offsets of records to leave out.
    pub skips: Option<&'b BTreeSet<u64>>,
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
            if block.skips.is_some_and(|skips| skips.contains(&offset)) {
                continue;
            }
            let key = &block.bytes[found.key];
            return Some(Record { key, bytes, offset, number, file: block.file });
        }
        None
    }
}
