//! The records of one split, as a map task gets them.
//!
//! It counts what it hands out, tells the job's progress, and knows which records are to be left out.
//! The task reads it on one thread, which need not be the one that emits.

use crate::counters::Counters;
use crate::error::JobError;
use crate::framing::{Framing, LongRecords};
use crate::input::InputFile;
use crate::plan::JobPlan;
use crate::progress::Progress;
use crate::reader::SplitReader;
use crate::record::Block;
use crate::stores::Stores;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

/// Which part of which input a split is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputRange<'a> {
    /// The file, or the name with its scheme.
    pub file: &'a Path,
    /// Offset of the first byte.
    pub start: u64,
    /// Length as stored.
    pub bytes: u64,
    /// Index of the split in the plan.
    pub split: usize,
}

/// The records of a split.
pub struct MapInput<'a> {
    reader: SplitReader<'a>,
    plan: &'a JobPlan,
    file: &'a InputFile,
    split: usize,
    skips: Option<&'a BTreeSet<u64>>,
    progress: &'a Progress,
    next_number: u64,
    counters: Counters,
    stored_bytes: u64,
}

impl<'a> MapInput<'a> {
    /// Opens a split of the plan.
    pub(crate) fn open(
        plan: &'a JobPlan,
        stores: &'a Stores,
        split: usize,
        skips: Option<&'a BTreeSet<u64>>,
        progress: &'a Progress,
    ) -> Result<MapInput<'a>, JobError> {
        let range = plan.splits[split];
        let file = &plan.inputs[range.input];
        let store = stores.of(&file.path)?;
        let bounds = (range.start, range.end);
        let reader = SplitReader::open(store, file, &plan.format, bounds, plan.max_record_bytes)?;
        Ok(MapInput {
            reader,
            plan,
            file,
            split,
            skips,
            progress,
            next_number: 0,
            counters: Counters::default(),
            stored_bytes: 0,
        })
    }

    /// Which part of which input this is.
    pub fn range(&self) -> InputRange<'a> {
        let split = self.plan.splits[self.split];
        InputRange {
            file: &self.file.path,
            start: split.start,
            bytes: split.end - split.start,
            split: self.split,
        }
    }

    /// The next records; `None` after the last one. Fails if the job was cancelled.
    pub fn next_block(&mut self) -> Result<Option<Block<'_>>, JobError> {
        self.progress.check_cancelled()?;
        let plan = self.plan;
        let Some(lines) = self.reader.next_block()? else {
            self.counters.long_records_skipped += self.reader.long_skipped();
            return Ok(None);
        };
        let length = lines.length as u64;
        let within = lines.offset..lines.offset + length;
        let skips = self.skips.filter(|skips| skips.range(within.clone()).next().is_some());
        let stored = self.reader.stored_bytes(lines.length);
        self.stored_bytes += stored;
        self.progress.bytes_read.fetch_add(stored, Relaxed);
        let limit = usize::try_from(plan.max_record_bytes).unwrap_or(usize::MAX);
        let block = Block {
            bytes: self.reader.bytes(),
            offset: lines.offset,
            first_number: self.next_number,
            file: &self.file.path,
            framing: if lines.are_lines { &Framing::Line } else { &plan.format.framing },
            skips,
            long: lines.has_long.then_some((plan.format.long_records, limit)),
        };
        let records = count_records(&block);
        self.next_number += records;
        self.counters.map_records_in += records;
        self.counters.map_bytes_in += length;
        self.counters.bad_records_skipped +=
            skips.map_or(0, |skips| skips.range(within).count() as u64);
        if let Some((LongRecords::Skip, _)) = block.long {
            let kept = Block { skips: None, ..block }.records().count() as u64;
            self.counters.long_records_skipped += records - kept;
        }
        Ok(Some(block))
    }

    /// What was counted, and how many stored bytes the job's progress was told of.
    pub(crate) fn finish(self) -> (Counters, u64) {
        (self.counters, self.stored_bytes)
    }
}

/// Records of a block, those that are left out included.
fn count_records(block: &Block<'_>) -> u64 {
    if *block.framing == Framing::Line {
        let complete = memchr::memchr_iter(b'\n', block.bytes).count() as u64;
        return complete + u64::from(block.bytes.last().is_some_and(|&byte| byte != b'\n'));
    }
    Block { skips: None, long: None, ..*block }.records().count() as u64
}
