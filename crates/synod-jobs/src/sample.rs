//! Finds the cut points of a range partition by sampling the input.
//!
//! Places are spread evenly over all inputs together, so the cut points depend on the inputs and
//! the number of partitions alone. At each place a few whole lines are mapped and their keys kept.

use crate::emit::Emitter;
use crate::error::JobError;
use crate::input::InputFile;
use crate::job::{Block, Job};
use crate::reader::SplitReader;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Places that are looked at, at most.
const PLACES: u64 = 2_000;
/// Bytes in which the lines of one place start.
const BYTES_PER_PLACE: u64 = 2_048;

/// One cut point less than `partitions`, ascending. Fewer different keys than that give equal cut
/// points and empty partitions.
pub(crate) fn cut_points<J: Job>(
    job: &J,
    inputs: &[InputFile],
    partitions: u32,
    max_record_bytes: u64,
) -> Result<Vec<Vec<u8>>, JobError> {
    let total: u64 = inputs.iter().map(|input| input.bytes).sum();
    let step = (total / PLACES).max(BYTES_PER_PLACE);
    let mut emitter = Emitter::sampling(job);
    // Start of the current file and of the next place, counted over all files.
    let mut base = 0;
    let mut place = 0;
    for input in inputs {
        while place < base + input.bytes {
            let start = place - base;
            let end = (start + BYTES_PER_PLACE).min(input.bytes);
            sample_lines(job, input, start, end, max_record_bytes, &mut emitter)?;
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

fn sample_lines<J: Job>(
    job: &J,
    input: &InputFile,
    start: u64,
    end: u64,
    max_record_bytes: u64,
    emitter: &mut Emitter<'_, J>,
) -> Result<(), JobError> {
    let mut reader = SplitReader::open(input, start, end, max_record_bytes)?;
    while let Some(lines) = reader.next_block()? {
        let block =
            Block { bytes: lines.bytes, offset: lines.offset, first_number: 0, file: &input.path };
        for record in block.records() {
            // A record that the map function cannot take is not a reason to fail here: the map
            // task that meets it reports it, or skips it if the job allows that.
            let _ = catch_unwind(AssertUnwindSafe(|| job.map(record, emitter)));
        }
    }
    Ok(())
}
