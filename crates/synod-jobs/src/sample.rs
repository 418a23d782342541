//! Finds the cut points of a range partition by sampling the input.
//!
//! Places are spread evenly over all inputs together, so the cut points depend on the inputs and
//! the number of partitions alone. At each place a few whole records are mapped and their keys kept.
//! An input that can only be read from its beginning is sampled there.
//!
//! With n samples for each partition the share of uniform keys that one gets is off by 1/sqrt(n) as a rule
//! (one standard deviation). Of long records there are few in a place, so a few places are tried first, and
//! as many bytes are then looked at in each as the samples take.

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
/// Bytes in which the records of one place start, at least..
const BYTES_PER_PLACE: u64 = 2_048;
/// ..and at most,..
const MOST_BYTES_PER_PLACE: u64 = 32 << 10;
/// ..if that is no more than this part of the input.
const LARGEST_PART: u64 = 8;
/// Samples that each partition should have: 1/sqrt(1,250) is 2.8 %, and a tenth is 3.5 times that.
const SAMPLES_PER_PARTITION: u64 = 1_250;
/// No more bytes are looked at for the sake of more samples than these.
const ENOUGH_SAMPLES: u64 = 100_000;
/// One place in so many is tried to find out how many records it has.
const TRIED: u64 = 64;
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
    let total: u64 = sampled.inputs.iter().map(|input| input.bytes).sum();
    let step = (total / PLACES).max(BYTES_PER_PLACE);
    let mut places = Places { step, bytes: BYTES_PER_PLACE };
    if step > BYTES_PER_PLACE {
        let tried = Places { step: step * TRIED, ..places };
        let found = samples_at(job, sampled, tried, false)?.len() as u64 * TRIED;
        let wanted = (SAMPLES_PER_PARTITION * u64::from(partitions)).min(ENOUGH_SAMPLES);
        places.bytes = bytes_per_place(step, found, wanted);
    }
    let mut samples = samples_at(job, sampled, places, true)?;
    samples.sort_unstable();
    let cut = |number: usize| {
        samples.get(number * samples.len() / partitions as usize).cloned().unwrap_or_default()
    };
    Ok((1..partitions as usize).map(cut).collect())
}

/// Where samples are taken.
#[derive(Debug, Clone, Copy)]
struct Places {
    /// Bytes from the beginning of one to that of the next.
    step: u64,
    /// Bytes in which the records of one start.
    bytes: u64,
}

/// Bytes of a place, where the fewest give `found` samples in all.
fn bytes_per_place(step: u64, found: u64, wanted: u64) -> u64 {
    let most = (step / LARGEST_PART).clamp(BYTES_PER_PLACE, MOST_BYTES_PER_PLACE);
    let times = wanted.div_ceil(found.max(1));
    BYTES_PER_PLACE.saturating_mul(times).clamp(BYTES_PER_PLACE, most)
}

/// The samples of all places, and, if wanted, of the beginnings of inputs that have no other place.
fn samples_at<J: Job>(
    job: &J,
    sampled: Sampled<'_>,
    places: Places,
    of_beginnings: bool,
) -> Result<Vec<Vec<u8>>, JobError> {
    let mut emitter = Emitter::sampling(job);
    // Start of the current file and of the next place, counted over all files.
    let mut base = 0;
    let mut place = 0;
    for input in sampled.inputs {
        if !is_seekable(input, sampled.format) {
            if of_beginnings {
                let whole = (0, input.bytes);
                let (blocks, step) = (BLOCKS_FROM_BEGINNING, RECORD_STEP);
                sample_records(job, sampled, input, whole, (blocks, step), &mut emitter)?;
            }
            place = place.max(base + input.bytes);
        }
        while place < base + input.bytes {
            let start = place - base;
            let end = (start + places.bytes).min(input.bytes);
            sample_records(job, sampled, input, (start, end), (usize::MAX, 1), &mut emitter)?;
            place += places.step;
        }
        base += input.bytes;
    }
    Ok(emitter.into_samples())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::sort::Sort;
    use std::fmt::Write;

    /// The largest part of the partitions that a file of such records falls into, and the smallest one, each
    /// in hundredths of a fair part.
    fn parts(records: usize, length: usize, partitions: u32) -> (usize, usize) {
        let folder = tempfile::tempdir().unwrap();
        let mut random = fastrand::Rng::with_seed(31);
        let mut text = String::with_capacity(records * length);
        let mut keys = Vec::with_capacity(records);
        for _ in 0..records {
            let key = format!("{:016x}", random.u64(..));
            writeln!(text, "{key}{:.<1$}", "", length - 17).unwrap();
            keys.push(key.into_bytes());
        }
        let path = folder.path().join("in");
        std::fs::write(&path, &text).unwrap();
        let (stores, format, progress) = (Stores::local(), InputFormat::default(), Progress::new());
        let inputs = stores.expand(&[path], &format, &progress).unwrap();
        let sampled = Sampled {
            stores: &stores,
            inputs: &inputs,
            format: &format,
            max_record_bytes: 1 << 20,
            progress: &progress,
        };
        let cuts = cut_points(&Sort::default(), sampled, partitions).unwrap();
        let mut held = vec![0; partitions as usize];
        for key in &keys {
            held[cuts.partition_point(|cut| cut[..16.min(cut.len())] <= key[..])] += 1;
        }
        let hundredths = |count: &usize| count * 100 * partitions as usize / records;
        (hundredths(held.iter().max().unwrap()), hundredths(held.iter().min().unwrap()))
    }

    #[test]
    fn uniform_keys_fall_into_partitions_that_are_a_tenth_from_fair_at_most() {
        // Short and long records, of which all, many or few are sampled.
        for (records, length, partitions) in [
            (30_000, 30, 7),
            (400_000, 20, 64),
            (300_000, 100, 2),
            (300_000, 100, 32),
            (64_000, 1_000, 5),
            (60_000, 2_048, 10),
        ] {
            let (most, least) = parts(records, length, partitions);
            let found = format!("{records} of {length} bytes in {partitions}: {least} to {most} %");
            assert!(most <= 110 && least >= 90, "{found}");
        }
    }

    #[test]
    fn a_place_is_as_large_as_the_samples_take_and_the_input_allows() {
        const MB: u64 = 1_000_000;
        for (step, found, wanted, expected) in [
            (MB, 50_000, 2_500, BYTES_PER_PLACE),
            (MB, 50_000, 100_000, 2 * BYTES_PER_PLACE),
            (MB, 4_000, 20_000, 5 * BYTES_PER_PLACE),
            (MB, 0, 2_500, MOST_BYTES_PER_PLACE),
            (MB, 1, u64::MAX, MOST_BYTES_PER_PLACE),
            (40_000, 4_000, 20_000, 5_000),
            (3_000, 100, 20_000, BYTES_PER_PLACE),
        ] {
            assert_eq!(bytes_per_place(step, found, wanted), expected, "{step} {found} {wanted}");
        }
    }
}
