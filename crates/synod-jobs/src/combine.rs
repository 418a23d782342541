//! Combines sorted runs by [`Job::combine_run`], for jobs whose combiner is a program, or whose values have
//! any length.
//!
//! What a combiner gives is sorted again, in a buffer of bounded size: a combiner may give more than it got.
//! When runs are combined `emit.rs` decides.

use crate::buffer::pairs::Pairs;
use crate::counters::Counters;
use crate::error::JobError;
use crate::job::Job;
use crate::reduce_input::ReduceInput;
use crate::run::memory::MemoryRun;
use crate::run::{RunSource, record};
use crate::task::TaskContext;

/// The sources of one partition: those of equal keys that come first are of earlier runs.
pub(crate) type Sources = Vec<Box<dyn RunSource>>;

/// Has the job combine what the sources of each partition hold, and gives the result to `keep`: in one run,
/// if it takes no more than the bytes of `size`, which says the number of partitions, too.
pub(crate) fn combine_runs<J: Job>(
    job: &J,
    task: &TaskContext<'_>,
    size: (u32, usize),
    sources: impl Fn(u32) -> Sources,
    counters: &mut Counters,
    keep: &mut dyn FnMut(MemoryRun) -> Result<(), JobError>,
) -> Result<(), JobError> {
    let (partitions, limit_bytes) = size;
    let mut pairs = Pairs::new(partitions);
    for partition in 0..partitions {
        let sources = sources(partition);
        if sources.is_empty() {
            continue;
        }
        let mut input = ReduceInput::new(job, task.progress, sources)?;
        let (pairs, keep, counters) = (&mut pairs, &mut *keep, &mut *counters);
        let mut out = PairSink { pairs, partition, limit_bytes, keep, counters };
        job.combine_run(task, &mut input, &mut out)?;
    }
    if pairs.count() > 0 { keep(pairs.seal()) } else { Ok(()) }
}

/// Takes the pairs of a combiner that runs over whole runs.
pub struct PairSink<'a> {
    pairs: &'a mut Pairs,
    partition: u32,
    limit_bytes: usize,
    keep: &'a mut dyn FnMut(MemoryRun) -> Result<(), JobError>,
    counters: &'a mut Counters,
}

impl PairSink<'_> {
    /// Adds to a counter of the job's own.
    pub fn count(&mut self, name: &str, amount: u64) {
        self.counters.count(name, amount);
    }

    /// Takes a pair. Its order among the others does not matter.
    ///
    /// # Errors
    ///
    /// If there is no more room in memory, and none on disk.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), JobError> {
        if !self.pairs.push(self.partition, key, value) {
            let need = record::encoded_len(key.len(), value.len());
            if !self.pairs.grow(need, self.limit_bytes) {
                // The combiner gives more than it got.
                (self.keep)(self.pairs.seal())?;
                assert!(self.pairs.grow(need, self.limit_bytes), "an empty buffer takes any pair");
            }
            assert!(self.pairs.push(self.partition, key, value), "room was made");
        }
        Ok(())
    }
}
