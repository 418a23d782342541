//! The trait that a job implements.
//!
//! Keys and values are bytes: nothing is parsed, copied or allocated on the way unless the job
//! does it. Every call is monomorphised for the job. Functions must be deterministic, then a job
//! gives byte-identical output whatever the number of threads, splits, spills and failures.

use crate::combine::PairSink;
use crate::emit::Emitter;
use crate::error::JobError;
use crate::hash::partition_of;
use crate::input::InputFile;
use crate::map_input::MapInput;
use crate::record::{Block, Record};
use crate::reduce_input::{ReduceInput, Values};
use crate::sink::Sink;
use crate::task::{Attempts, MAX_ATTEMPTS, TaskContext};

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
    fn attempts(&self) -> Attempts {
        Attempts::both(2)
    }

    /// The same on a cluster, where another worker may do better.
    fn attempts_on_cluster(&self) -> Attempts {
        Attempts::both(MAX_ATTEMPTS)
    }

    /// Whether keys ascend over all part files, for jobs that know it only from their options.
    fn total_order(&self) -> bool {
        Self::TOTAL_ORDER
    }

    /// Whether runs are to be combined, for jobs that know it only from their options.
    fn combines_runs(&self) -> bool {
        Self::COMBINES_RUNS
    }

    /// Looks at what the inputs are, before any of them is read: refuses those that cannot be what was meant.
    fn check_inputs(&self, inputs: &[InputFile]) -> Result<(), JobError> {
        let _ = inputs;
        Ok(())
    }

    /// Emits the pairs of one record.
    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>);

    /// Emits the pairs of many lines. A job whose records need no boundaries may do better than
    /// the loop over [`Job::map`] that is given; it must emit the same pairs. Not asked for records
    /// that are no lines, or when some are to be left out, or after an attempt has failed on one: in a
    /// block nobody knows which it was.
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
                    let place = (record.offset, record.number);
                    out.map_record(place, |out| self.map(record, out));
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

    /// Combines one partition of sorted runs: reads all its pairs and gives others, in any order, with
    /// keys of the same partition. It may run on the pairs of one run, again on what it gave for several, or
    /// never.
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
