//! The plan of a job: frozen inputs, splits, partitions.
//!
//! A plan is data: whoever coordinates the job stores it, and every task, wherever it runs, works
//! from the same one. What appears in the output (the number of partitions and their cut points)
//! depends only on the inputs and the spec, never on how many slots there are.

use crate::error::JobError;
use crate::input::{InputFile, expand};
use crate::job::Job;
use crate::sample::cut_points;
use crate::spec::{
    BYTES_PER_REDUCE, DEFAULT_SPLIT_BYTES, JobSpec, MAX_REDUCES, MIN_AUTO_SPLIT_BYTES,
};
use serde::{Deserialize, Serialize};

/// A job without a split size in its spec gets at least this many splits per slot.
const SPLITS_PER_SLOT: u64 = 4;

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
    /// The number of reduce tasks.
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

/// Plans a job for a number of slots.
pub fn plan<J: Job>(job: &J, spec: &JobSpec, slots: u32) -> Result<JobPlan, JobError> {
    spec.check()?;
    let inputs = expand(&spec.inputs)?;
    let total: u64 = inputs.iter().map(|input| input.bytes).sum();
    let split_bytes = spec.split_bytes.unwrap_or_else(|| {
        total
            .div_ceil(u64::from(slots.max(1)) * SPLITS_PER_SLOT)
            .clamp(MIN_AUTO_SPLIT_BYTES, DEFAULT_SPLIT_BYTES)
    });
    let reduces = spec.reduces.unwrap_or_else(|| {
        u32::try_from(total.div_ceil(BYTES_PER_REDUCE)).unwrap_or(MAX_REDUCES).clamp(1, MAX_REDUCES)
    });
    let max_record_bytes = spec.max_record();
    let cuts = if J::TOTAL_ORDER && reduces > 1 {
        cut_points(job, &inputs, reduces, max_record_bytes)?
    } else {
        Vec::new()
    };
    let splits = cut(&inputs, split_bytes);
    Ok(JobPlan { inputs, splits, reduces, cuts, max_record_bytes, table_seed: spec.table_seed })
}

/// Cuts files into splits of equal size; the last one of a file is what is left.
fn cut(inputs: &[InputFile], split_bytes: u64) -> Vec<Split> {
    let mut splits = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        let mut start = 0;
        while start < input.bytes {
            let end = start.saturating_add(split_bytes).min(input.bytes);
            splits.push(Split { input: index, start, end });
            start = end;
        }
    }
    splits
}
