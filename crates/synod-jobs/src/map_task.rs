//! Map tasks: splits in, sorted and partitioned runs out.
//!
//! [`run_map_task`] leaves its runs where its store puts them, for reducers in the same process;
//! [`run_map_task_to_file`] merges them into one file that other processes can fetch from. Both
//! are plain functions: they start no thread and know no scheduler.

use crate::counters::Counters;
use crate::emit::Emitter;
use crate::error::{JobError, panic_message};
use crate::job::{Block, Job};
use crate::merge::limit_fan_in;
use crate::plan::JobPlan;
use crate::progress::Progress;
use crate::reader::{Lines, SplitReader};
use crate::run::store::{Run, RunStore, write_run_file};
use crate::run::writer::RunIndex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

/// Records to leave out: per split the offsets at which they start.
pub type Skips = BTreeMap<usize, BTreeSet<u64>>;

/// What a map task needs beside its splits.
pub struct MapContext<'a, J> {
    /// The functions.
    pub job: &'a J,
    /// The plan of the job.
    pub plan: &'a JobPlan,
    /// Where runs are kept.
    pub store: &'a RunStore,
    /// Memory for pairs that are not in a run yet.
    pub buffer_bytes: u64,
    /// Records to leave out.
    pub skips: &'a Skips,
    /// Told how many bytes were read; asked whether the job was cancelled.
    pub progress: &'a Progress,
}

/// Runs in emit order and what was counted.
#[derive(Debug)]
pub struct MapRuns {
    /// Runs; where a key is in several, the earlier run's pairs come first.
    pub runs: Vec<Run>,
    /// Counts of this task.
    pub counters: Counters,
}

/// A finished map output in one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapOutput {
    /// The file.
    pub path: PathBuf,
    /// Where each partition lies in it.
    pub index: RunIndex,
    /// Counts of this task.
    pub counters: Counters,
}

/// Maps every split that `next_split` gives, as indexes into the plan, into one set of runs.
///
/// Several splits in one task share its combine table; without a combiner the pairs of equal keys
/// keep the order in which the splits were given.
pub fn run_map_task<J: Job>(
    context: &MapContext<'_, J>,
    next_split: &mut dyn FnMut() -> Option<usize>,
) -> Result<MapRuns, JobError> {
    let plan = context.plan;
    let mut emitter = Emitter::new(
        context.job,
        plan.reduces,
        &plan.cuts,
        plan.table_seed,
        usize::try_from(context.buffer_bytes).unwrap_or(usize::MAX),
        context.store,
    );
    let mut bytes_read = 0;
    let mut splits_mapped = 0;
    let result = (|| {
        while let Some(split) = next_split() {
            map_split(context, split, &mut emitter, &mut bytes_read)?;
            splits_mapped += 1;
            context.progress.maps_done.fetch_add(1, Relaxed);
        }
        Ok(())
    })();
    let result = result.and_then(|()| {
        let before = emitter.spilled_bytes();
        let (runs, counters) = emitter.finish()?;
        context.progress.bytes_spilled.fetch_add(counters.run_bytes_written - before, Relaxed);
        Ok(MapRuns { runs, counters })
    });
    if result.is_err() {
        // What this attempt has mapped will be mapped again.
        context.progress.maps_done.fetch_sub(splits_mapped, Relaxed);
        context.progress.bytes_read.fetch_sub(bytes_read, Relaxed);
    }
    result
}

/// Maps one split into the run file at `output`, which is replaced if it exists. Runs beyond the
/// memory of the task go through the context's store; at most `fan_in` are merged at a time.
pub fn run_map_task_to_file<J: Job>(
    context: &MapContext<'_, J>,
    split: usize,
    output: &Path,
    fan_in: usize,
) -> Result<MapOutput, JobError> {
    let mut once = Some(split);
    let MapRuns { runs, mut counters } = run_map_task(context, &mut || once.take())?;
    let sources = |partition| {
        let sources = runs.iter().map(|run| run.source(partition)).collect();
        limit_fan_in(context.job, sources, fan_in, context.store)
    };
    let index = write_run_file(context.job, output, context.plan.reduces, sources)?;
    counters.combined_pairs_out = index.sections.iter().map(|section| section.pairs).sum();
    Ok(MapOutput { path: output.to_owned(), index, counters })
}

fn map_split<J: Job>(
    context: &MapContext<'_, J>,
    split: usize,
    emitter: &mut Emitter<'_, J>,
    bytes_read: &mut u64,
) -> Result<(), JobError> {
    let range = context.plan.splits[split];
    let input = &context.plan.inputs[range.input];
    let skips = context.skips.get(&split);
    let limit = context.plan.max_record_bytes;
    let mut reader = SplitReader::open(input, range.start, range.end, limit)?;
    let mut first_number = 0;
    while let Some(lines) = reader.next_block()? {
        context.progress.check_cancelled()?;
        let Lines { bytes, offset } = lines;
        let block = Block { bytes, offset, first_number, file: &input.path };
        emitter.stand_at(offset, first_number);
        let spilled_before = emitter.spilled_bytes();
        let mapped = catch_unwind(AssertUnwindSafe(|| match skips {
            None => context.job.map_block(block, emitter),
            Some(skips) => map_without(context.job, block, skips, emitter),
        }));
        if let Err(payload) = mapped {
            let (offset, record) = emitter.position;
            return Err(JobError::MapPanicked {
                path: input.path.clone(),
                split,
                offset,
                record,
                message: panic_message(&*payload),
            });
        }
        emitter.check()?;
        let records = count_records(bytes);
        first_number += records;
        emitter.counters.map_records_in += records;
        emitter.counters.map_bytes_in += bytes.len() as u64;
        *bytes_read += bytes.len() as u64;
        context.progress.bytes_read.fetch_add(bytes.len() as u64, Relaxed);
        let spilled = emitter.spilled_bytes() - spilled_before;
        context.progress.bytes_spilled.fetch_add(spilled, Relaxed);
    }
    Ok(())
}

/// Maps record by record and leaves out those that are known to be bad.
fn map_without<J: Job>(
    job: &J,
    block: Block<'_>,
    skips: &BTreeSet<u64>,
    emitter: &mut Emitter<'_, J>,
) {
    for record in block.records() {
        emitter.stand_at(record.offset, record.number);
        if skips.contains(&record.offset) {
            emitter.counters.bad_records_skipped += 1;
        } else {
            job.map(record, emitter);
        }
    }
}

fn count_records(bytes: &[u8]) -> u64 {
    let complete = memchr::memchr_iter(b'\n', bytes).count() as u64;
    complete + u64::from(bytes.last().is_some_and(|&byte| byte != b'\n'))
}
