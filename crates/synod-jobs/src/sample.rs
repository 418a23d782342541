//! Finds the cut points of a range partition by sampling the input.
//!
//! Places are spread evenly over all inputs together, so the cut points depend on the inputs and
//! the number of partitions alone. At each place a few whole records are mapped and their keys kept.
//! An input that can only be read from its beginning is sampled there.

use crate::emit::Emitter;
use crate::error::JobError;
use crate::framing::InputFormat;
use crate::input::InputFile;
use crate::job::Job;
use crate::plan::is_seekable;
use crate::progress::Progress;
use crate::reader::SplitReader;
use crate::record::Block;
use crate::stores::Stores;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Places that are looked at, at most.
const PLACES: u64 = 2_000;
/// Bytes in which the records of one place start.
const BYTES_PER_PLACE: u64 = 2_048;
/// Blocks read of an input that can only be read from its beginning; of its records..
const BLOCKS_FROM_BEGINNING: usize = 8;
/// ..one in so many is mapped.
const RECORD_STEP: usize = 64;

/// What is sampled, and how it is read.
#[derive(Clone, Copy)]
pub(crate) struct Sampled<'a> {
    pub stores: &'a Stores,
    pub inputs: &'a [InputFile],
    pub format: &'a InputFormat,
    pub max_record_bytes: u64,
    pub progress: &'a Progress,
}

/// One cut point less than `partitions`, ascending. Fewer different keys than that give equal cut
/// points and empty partitions.
pub(crate) fn cut_points<J: Job>(
    job: &J,
    sampled: Sampled<'_>,
    partitions: u32,
) -> Result<Vec<Vec<u8>>, JobError> {
    let inputs = sampled.inputs;
    let total: u64 = inputs.iter().map(|input| input.bytes).sum();
    let step = (total / PLACES).max(BYTES_PER_PLACE);
    let mut emitter = Emitter::sampling(job);
    // Start of the current file and of the next place, counted over all files.
    let mut base = 0;
    let mut place = 0;
    for input in inputs {
        if !is_seekable(input, sampled.format) {
            let whole = (0, input.bytes);
            let (blocks, step) = (BLOCKS_FROM_BEGINNING, RECORD_STEP);
            sample_records(job, sampled, input, whole, (blocks, step), &mut emitter)?;
            place = place.max(base + input.bytes);
        }
        while place < base + input.bytes {
            let start = place - base;
            let end = (start + BYTES_PER_PLACE).min(input.bytes);
            sample_records(job, sampled, input, (start, end), (usize::MAX, 1), &mut emitter)?;
            place += step;
        }
        base += input.bytes;
    }
    let mut samples = emitter.into_samples();
    samples.sort_unstable();
    let cut = |number: usize| {
        samples.get(number * samples.len() / partitions as usize).cloned().unwrap_or_default()
    };
    Ok((1..partitions as usize).map(cut).collect())
}

fn sample_records<J: Job>(
    job: &J,
    sampled: Sampled<'_>,
    input: &InputFile,
    bounds: (u64, u64),
    (blocks, step): (usize, usize),
    emitter: &mut Emitter<'_, J>,
) -> Result<(), JobError> {
    let Sampled { stores, format, max_record_bytes, progress, .. } = sampled;
    let store = stores.of(&input.path)?;
    let mut reader = SplitReader::open(store, input, format, bounds, max_record_bytes)?;
    let limit = usize::try_from(max_record_bytes).unwrap_or(usize::MAX);
    for _ in 0..blocks {
        progress.step()?;
        let Some(lines) = reader.next_block()? else { break };
        let block = Block {
            framing: &format.framing,
            long: lines.has_long.then_some((format.long_records, limit)),
            ..Block::lines(reader.bytes(), lines.offset, &input.path)
        };
        for record in block.records().step_by(step) {
            // A record that the map function cannot take is not a reason to fail here: the map
            // task that meets it reports it, or skips it if the job allows that.
            let _ = catch_unwind(AssertUnwindSafe(|| job.sample(record, emitter)));
        }
    }
    Ok(())
}
