//! The records of one split, as a map task gets them.
//!
//! It counts what it hands out, tells the job's progress, and knows which records are to be left out: those
//! go to the quarantine.
//! The task reads it on one thread, which need not be the one that emits.

use crate::counters::Counters;
use crate::error::JobError;
use crate::framing::{Framing, LongRecords};
use crate::input::InputFile;
use crate::plan::JobPlan;
use crate::quarantine::{Bad, LeftOut, Quarantine};
use crate::reader::SplitReader;
use crate::record::Block;
use crate::stores::Stores;
use crate::task::TaskContext;
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
    skips: Option<&'a LeftOut>,
    quarantine: Quarantine<'a>,
    task: &'a TaskContext<'a>,
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
        skips: Option<&'a LeftOut>,
        task: &'a TaskContext<'a>,
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
            quarantine: Quarantine::new(task, split as u32),
            task,
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
        self.task.progress.check_cancelled()?;
        let plan = self.plan;
        let Some(lines) = self.reader.next_block()? else {
            self.counters.long_records_skipped += self.reader.long_skipped();
            return Ok(None);
        };
        let length = lines.length as u64;
        let within = lines.offset..lines.offset + length;
        let stored = self.reader.stored_bytes(lines.length);
        self.stored_bytes += stored;
        self.task.progress.bytes_read.fetch_add(stored, Relaxed);
        let limit = usize::try_from(plan.max_record_bytes).unwrap_or(usize::MAX);
        let block = Block {
            bytes: self.reader.bytes(),
            offset: lines.offset,
            first_number: self.next_number,
            file: &self.file.path,
            framing: if lines.are_lines { &Framing::Line } else { &plan.format.framing },
            skips: self.skips,
            long: lines.has_long.then_some((plan.format.long_records, limit)),
        };
        let records = count_records(&block);
        self.next_number += records;
        self.counters.map_records_in += records;
        self.counters.map_bytes_in += length;
        if let Some(skips) = self.skips.filter(|skips| skips.range(within).next().is_some()) {
            self.counters.bad_records_skipped += keep_bad(&mut self.quarantine, &block, skips)?;
        }
        if let Some((LongRecords::Skip, _)) = block.long {
            let kept = Block { skips: None, ..block }.records().count() as u64;
            self.counters.long_records_skipped += records - kept;
            self.counters.map_records_in -= records - kept;
        }
        Ok(Some(block))
    }

    /// What was counted, and how many stored bytes the job's progress was told of.
    pub(crate) fn finish(self) -> (Counters, u64) {
        (self.counters, self.stored_bytes)
    }
}

/// Keeps what is left out of a block; how many records that are.
fn keep_bad(
    quarantine: &mut Quarantine<'_>,
    block: &Block<'_>,
    skips: &LeftOut,
) -> Result<u64, JobError> {
    let mut kept = 0;
    for record in (Block { skips: None, ..*block }).records() {
        let Some(error) = skips.get(&record.offset) else { continue };
        let (file, place, all) =
            (Some(record.file), record.offset, [record.key, b"\t", record.bytes]);
        let bytes = if record.key.is_empty() { &all[2..] } else { &all[..] };
        quarantine.keep(&Bad { file, place, error, bytes })?;
        kept += 1;
    }
    Ok(kept)
}

/// Records of a block, those that are left out included.
fn count_records(block: &Block<'_>) -> u64 {
    if *block.framing == Framing::Line {
        let complete = memchr::memchr_iter(b'\n', block.bytes).count() as u64;
        return complete + u64::from(block.bytes.last().is_some_and(|&byte| byte != b'\n'));
    }
    Block { skips: None, long: None, ..*block }.records().count() as u64
}
