//! The plan of a job: frozen inputs, splits, partitions.
//!
//! A plan is data: whoever coordinates the job stores it, and every task, wherever it runs, works
//! from the same one. What appears in the output (the number of partitions and their cut points)
//! depends only on the inputs and the spec, never on how many slots there are.

use crate::error::JobError;
use crate::framing::{Framing, InputFormat};
use crate::input::codec::{Codec, codec_named};
use crate::input::{InputFile, check_name};
use crate::job::Job;
use crate::progress::Progress;
use crate::reader::SplitReader;
use crate::sample::{Sampled, cut_points};
use crate::spec::{BYTES_PER_REDUCE, DEFAULT_SPLIT_BYTES, JobSpec};
use crate::split_size::{MAX_SECTIONS, split_bytes};
use crate::stores::Stores;
use serde::{Deserialize, Serialize};

/// Splits of a job with a combiner that runs in one process are no larger, unless it says how large they are.
const COMBINED_SPLIT_BYTES: u64 = 32 << 20;
/// A rest up to this part of a split's size is no split of its own.
const SLOP: u64 = 10;
const MOST_AUTO_REDUCES: u64 = 2_000;

/// Part of an input file: the lines that start in `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Index into the plan's inputs.
    pub input: usize,
    /// Offset of the first byte.
    pub start: u64,
    /// Offset behind the last byte.
    pub end: u64,
}

/// Everything that tasks need to know beside the job's functions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPlan {
    /// The inputs as they are now.
    pub inputs: Vec<InputFile>,
    /// The map tasks, in input order.
    pub splits: Vec<Split>,
    /// How inputs are read.
    #[serde(default)]
    pub format: InputFormat,
    /// The number of reduce tasks; with none, map tasks write the part files.
    pub reduces: u32,
    /// Cut points of a total order, ascending, one less than `reduces`; else empty.
    pub cuts: Vec<Vec<u8>>,
    /// The longest record.
    pub max_record_bytes: u64,
    /// Seed of the combine tables.
    pub table_seed: u64,
}

impl JobPlan {
    /// Bytes of all inputs.
    pub fn input_bytes(&self) -> u64 {
        self.inputs.iter().map(|input| input.bytes).sum()
    }
}

/// Plans a job for a number of slots. It can be cancelled, and notes what it looks at as moves.
pub fn plan<J: Job>(
    job: &J,
    spec: &JobSpec,
    slots: u32,
    stores: &Stores,
    progress: &Progress,
) -> Result<JobPlan, JobError> {
    plan_with(job, spec, (slots, DEFAULT_SPLIT_BYTES), stores, progress, |_| Ok(()))
}

/// The same for one process, in which a task takes one split after the other into one table if the job has a
/// combiner: a split costs next to nothing there, and with small ones the slots come to their ends together.
pub(crate) fn plan_for_process<J: Job>(
    job: &J,
    spec: &JobSpec,
    slots: u32,
    stores: &Stores,
    progress: &Progress,
) -> Result<JobPlan, JobError> {
    let usual_bytes = match J::COMBINED_VALUE_BYTES {
        Some(_) => COMBINED_SPLIT_BYTES,
        None => DEFAULT_SPLIT_BYTES,
    };
    plan_with(job, spec, (slots, usual_bytes), stores, progress, |_| Ok(()))
}

/// The same for the records of a cluster, which hold text: every file must have a name that is UTF-8.
pub(crate) fn plan_for_records<J: Job>(
    job: &J,
    spec: &JobSpec,
    slots: u32,
    stores: &Stores,
    progress: &Progress,
) -> Result<JobPlan, JobError> {
    let check = |inputs: &[InputFile]| inputs.iter().try_for_each(|input| check_name(&input.path));
    plan_with(job, spec, (slots, DEFAULT_SPLIT_BYTES), stores, progress, check)
}

/// `check` is asked as soon as the inputs are known, before any of them is read.
fn plan_with<J: Job>(
    job: &J,
    spec: &JobSpec,
    slots: (u32, u64),
    stores: &Stores,
    progress: &Progress,
    check: impl Fn(&[InputFile]) -> Result<(), JobError>,
) -> Result<JobPlan, JobError> {
    spec.check()?;
    if spec.reduces == Some(0) && !J::WRITES_PAIRS {
        let what = format!("job `{}` needs at least one reduce task", spec.job);
        return Err(JobError::BadSpec { what });
    }
    let format = stores.format_of(&spec.inputs, &spec.format)?;
    let inputs = stores.expand(&spec.inputs, &format, progress)?;
    check(&inputs)?;
    job.check_inputs(&inputs)?;
    let total: u64 = inputs.iter().map(|input| input.bytes).sum();
    let split_bytes = split_bytes(spec, total, slots);
    let max_record_bytes = spec.max_record();
    let splits = match format.lines_per_split {
        Some(records) => {
            let bounds = (records, max_record_bytes);
            cut_by_records(&inputs, &format, bounds, stores, progress)?
        }
        None => cut(&inputs, &format, split_bytes),
    };
    let reduces = spec.reduces.unwrap_or_else(|| auto_reduces(total, splits.len() as u64));
    let cuts = if job.total_order() && reduces > 1 {
        let sampled =
            Sampled { stores, inputs: &inputs, format: &format, max_record_bytes, progress };
        cut_points(job, sampled, reduces)?
    } else {
        Vec::new()
    };
    let table_seed = spec.table_seed;
    Ok(JobPlan { inputs, splits, format, reduces, cuts, max_record_bytes, table_seed })
}

/// Reduce tasks for so much input in so many splits: what each map leaves for each reduce must be found.
fn auto_reduces(total: u64, splits: u64) -> u32 {
    let by_sections = MAX_SECTIONS / splits.max(1);
    let reduces = total.div_ceil(BYTES_PER_REDUCE).min(MOST_AUTO_REDUCES).min(by_sections).max(1);
    u32::try_from(reduces).unwrap_or(1)
}

/// Whether a file can be read from anywhere.
pub(crate) fn is_seekable(input: &InputFile, format: &InputFormat) -> bool {
    input.codec.is_none() && !input.whole && format.framing.is_splittable()
}

/// Whether a file is empty though its name says that it is compressed: what is compressed has a few bytes at
/// least, so most likely something is missing. Its task has no records, and says so.
pub(crate) fn lacks_its_packing(input: &InputFile, format: &InputFormat) -> bool {
    input.bytes == 0 && !format.keep_compressed && codec_named(&input.path).is_some()
}

/// Whether several tasks can share a file: also one of bzip2, at its blocks, if it has lines. Other records
/// need to know what stands before the block.
fn is_splittable(input: &InputFile, format: &InputFormat) -> bool {
    let lines = matches!(format.framing, Framing::Line | Framing::AnyLine);
    is_seekable(input, format) || (input.codec == Some(Codec::Bz2) && !input.whole && lines)
}

/// Cuts files into splits of equal size; the last one of a file is what is left, and up to a tenth longer
/// than the others, as Hadoop cuts them (`FileInputFormat`).
fn cut(inputs: &[InputFile], format: &InputFormat, split_bytes: u64) -> Vec<Split> {
    let mut splits = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        let size = if is_splittable(input, format) { split_bytes } else { u64::MAX };
        // Those of fixed length begin at a record.
        let size = match format.framing {
            Framing::Fixed(length) if size < u64::MAX => {
                size.next_multiple_of(u64::from(length.max(1)))
            }
            _ => size,
        };
        if input.bytes == 0 && (format.tasks_for_empty_files || lacks_its_packing(input, format)) {
            splits.push(Split { input: index, start: 0, end: 0 });
        }
        let mut start = 0;
        while start < input.bytes {
            let left = input.bytes - start;
            let end =
                if left <= size.saturating_add(size / SLOP) { input.bytes } else { start + size };
            splits.push(Split { input: index, start, end });
            start = end;
        }
    }
    splits
}

/// Cuts files into splits of so many records.
fn cut_by_records(
    inputs: &[InputFile],
    format: &InputFormat,
    (records, max_record_bytes): (u64, u64),
    stores: &Stores,
    progress: &Progress,
) -> Result<Vec<Split>, JobError> {
    let mut splits = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        if !is_seekable(input, format) || lacks_its_packing(input, format) {
            splits.extend(
                cut(std::slice::from_ref(input), format, u64::MAX)
                    .into_iter()
                    .map(|split| Split { input: index, ..split }),
            );
            continue;
        }
        let store = stores.of(&input.path)?;
        let bounds = (0, input.bytes);
        let mut reader = SplitReader::open(store, input, format, bounds, max_record_bytes)?;
        let (mut start, mut held) = (0, 0);
        while let Some(lines) = reader.next_block()? {
            progress.step()?;
            let bytes = reader.bytes();
            let mut at = 0;
            while at < bytes.len() {
                let found = format.framing.next(bytes, at, true).ok().flatten();
                at = found.map_or(bytes.len(), |found| found.next);
                held += 1;
                if held == records.max(1) {
                    let end = lines.offset + at as u64;
                    splits.push(Split { input: index, start, end });
                    (start, held) = (end, 0);
                }
            }
        }
        if start < input.bytes {
            splits.push(Split { input: index, start, end: input.bytes });
        }
    }
    Ok(splits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::sort::Sort;
    use crate::builtin::wordcount::WordCount;
    use crate::split_size::SPLITS_PER_SLOT;

    #[test]
    fn in_one_process_much_input_is_split_alike_for_any_number_of_slots() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        let file = std::fs::File::create(&path).unwrap();
        let spec = JobSpec::new("wordcount", [path], folder.path().join("out"));
        let planned = |slots, (combines, plain): (u64, u64)| {
            let (stores, progress) = (Stores::local(), Progress::new());
            let of_words = plan_for_process(&WordCount, &spec, slots, &stores, &progress).unwrap();
            let of_lines = plan_for_process(
                &Sort::default(),
                &JobSpec { reduces: Some(1), ..spec.clone() },
                slots,
                &stores,
                &progress,
            )
            .unwrap();
            assert_eq!(of_words.splits.len() as u64, combines);
            assert_eq!(of_lines.splits.len() as u64, plain);
            of_words.reduces
        };
        file.set_len(4 << 30).unwrap();
        assert_eq!(planned(1, (128, 64)), planned(8, (128, 64)));
        // Small ones are no reason for more than there are to be.
        file.set_len(4 << 40).unwrap();
        assert_eq!(planned(1, (20_000, 20_000)), planned(8, (20_000, 20_000)));
    }

    #[test]
    fn any_amount_of_input_is_planned_so_that_a_cluster_takes_it() {
        let spec = JobSpec::new("sort", ["in"], "out");
        for (gib, most_splits) in
            [(0, 1), (1, 64), (125, 2_000), (1 << 10, 16_384), (1 << 20, 20_000)]
        {
            for slots in [1, 8, 1_000] {
                let total: u64 = gib << 30;
                let splits =
                    total.div_ceil(split_bytes(&spec, total, (slots, DEFAULT_SPLIT_BYTES))).max(1);
                let reduces = u64::from(auto_reduces(total, splits));
                assert!(
                    splits <= most_splits.max(u64::from(slots) * SPLITS_PER_SLOT),
                    "{gib} GiB: {splits}"
                );
                assert!(
                    splits * reduces <= MAX_SECTIONS && reduces >= 1,
                    "{splits} times {reduces}"
                );
            }
        }
        assert_eq!(auto_reduces(1 << 30, 16), 16);
        assert_eq!(auto_reduces(1 << 40, 16_384), 244);
        assert_eq!(auto_reduces(1 << 40, 10_000_000), 1, "by lines, into very many splits");
    }

    #[test]
    fn a_rest_of_a_tenth_goes_with_the_split_before_it() {
        let sizes = |bytes| {
            let path = std::path::PathBuf::from("in");
            let input = InputFile {
                path,
                bytes,
                modified: (0, 0),
                codec: None,
                version: None,
                whole: false,
            };
            let splits = cut(&[input], &InputFormat::default(), 100);
            splits.iter().map(|split| split.end - split.start).collect::<Vec<_>>()
        };
        assert_eq!(sizes(200), [100, 100]);
        assert_eq!(sizes(210), [100, 110]);
        assert_eq!(sizes(211), [100, 100, 11]);
        assert_eq!(sizes(9), [9]);
    }
}
