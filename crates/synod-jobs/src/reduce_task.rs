//! Reduce tasks: one partition of every run in, one part file out.
//!
//! The sources may be memory of this process, local files or other workers; values stream through,
//! so one key with all the pairs of a job runs in constant memory.

use crate::counters::Counters;
use crate::error::{JobError, panic_message};
use crate::job::Job;
use crate::merge::{Merge, limit_fan_in};
use crate::progress::Progress;
use crate::run::RunSource;
use crate::run::store::RunStore;
use crate::sink::Sink;
use serde::{Deserialize, Serialize};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

/// Groups between two looks at the sink and the cancel switch.
const GROUPS_PER_CHECK: u64 = 1_024;
/// Pairs of one group between two looks at the cancel switch.
const PAIRS_PER_CHECK: u64 = 1 << 16;
/// Bytes of a key that an error shows.
const SHOWN_KEY_BYTES: usize = 64;

/// What a reduce task needs beside its sources.
pub struct ReduceContext<'a, J> {
    /// The functions.
    pub job: &'a J,
    /// Where runs go that are merged before the final merge.
    pub store: &'a RunStore,
    /// Sources that may be merged at once; each holds a block of some 128 KiB.
    pub fan_in: usize,
    /// Whether the part file is synced.
    pub sync: bool,
    /// Told how many bytes were written; asked whether the job was cancelled.
    pub progress: &'a Progress,
}

/// A part file and what was counted for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReduceOutput {
    /// The partition.
    pub partition: u32,
    /// Bytes of the part file.
    pub bytes: u64,
    /// Records in it.
    pub records: u64,
    /// CRC32C of its bytes.
    pub crc32c: u32,
    /// Counts of this task.
    pub counters: Counters,
}

/// Reduces one partition into the file at `output`. `sources` are the partition's part of every
/// run, ordered by map task and emit sequence.
pub fn run_reduce_task<J: Job>(
    context: &ReduceContext<'_, J>,
    partition: u32,
    sources: Vec<Box<dyn RunSource>>,
    output: &Path,
) -> Result<ReduceOutput, JobError> {
    let sources = limit_fan_in(context.job, sources, context.fan_in, context.store)?;
    let mut merge = Merge::new(sources)?;
    let mut sink = Sink::create(output)?;
    let mut key = Vec::new();
    let mut counters = Counters::default();
    let reduced = catch_unwind(AssertUnwindSafe(|| {
        reduce_groups(context, &mut merge, &mut sink, &mut key, &mut counters)
    }));
    match reduced {
        Ok(result) => result?,
        Err(payload) => {
            let shown = &key[..key.len().min(SHOWN_KEY_BYTES)];
            return Err(JobError::ReducePanicked {
                partition,
                key: shown.escape_ascii().to_string(),
                message: panic_message(&*payload),
            });
        }
    }
    let (written, counted) = sink.finish(context.sync)?;
    counters.add(&counted);
    counters.reduce_records_out = written.records;
    counters.reduce_bytes_out = written.bytes;
    context.progress.bytes_written.fetch_add(written.bytes, Relaxed);
    context.progress.reduces_done.fetch_add(1, Relaxed);
    Ok(ReduceOutput {
        partition,
        bytes: written.bytes,
        records: written.records,
        crc32c: written.crc32c,
        counters,
    })
}

fn reduce_groups<J: Job>(
    context: &ReduceContext<'_, J>,
    merge: &mut Merge,
    sink: &mut Sink,
    group: &mut Vec<u8>,
    counters: &mut Counters,
) -> Result<(), JobError> {
    let job = context.job;
    while let Some((key, _)) = merge.head() {
        group.clear();
        group.extend_from_slice(job.group(key));
        let (progress, state) = (context.progress, State::Fresh);
        let mut values = Values { merge, job, progress, group, state, failure: None, pairs: 0 };
        job.reduce(group, &mut values, sink);
        while values.advance() {}
        counters.reduce_pairs_in += values.pairs;
        if let Some(failure) = values.failure {
            return Err(failure);
        }
        counters.reduce_groups_in += 1;
        if counters.reduce_groups_in.is_multiple_of(GROUPS_PER_CHECK) {
            sink.check()?;
            context.progress.check_cancelled()?;
        }
    }
    Ok(())
}

/// The pairs of one group, in order of their keys, then of map task and emit sequence.
pub struct Values<'m, J> {
    merge: &'m mut Merge,
    job: &'m J,
    progress: &'m Progress,
    group: &'m [u8],
    state: State,
    failure: Option<JobError>,
    pairs: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The merge stands on the first pair, which nobody has seen.
    Fresh,
    /// The merge stands on the pair that was given last.
    Given,
    /// The merge stands behind the group.
    Ended,
}

impl<J: Job> Values<'_, J> {
    /// The next value. It is gone at the next call.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend its items")]
    pub fn next(&mut self) -> Option<&[u8]> {
        if self.advance() { self.merge.head().map(|(_, value)| value) } else { None }
    }

    /// The next pair, with its whole key.
    #[inline]
    pub fn next_pair(&mut self) -> Option<(&[u8], &[u8])> {
        if self.advance() { self.merge.head() } else { None }
    }

    /// Moves to the next pair of the group.
    #[inline]
    fn advance(&mut self) -> bool {
        match self.state {
            State::Ended => return false,
            State::Fresh => self.state = State::Given,
            State::Given => {
                let mut moved = self.merge.advance();
                if moved.is_ok() && self.pairs.is_multiple_of(PAIRS_PER_CHECK) {
                    moved = self.progress.check_cancelled();
                }
                if let Err(failure) = moved {
                    self.failure = Some(failure);
                    self.state = State::Ended;
                    return false;
                }
                let same = |(key, _)| self.job.group(key) == self.group;
                if !self.merge.head().is_some_and(same) {
                    self.state = State::Ended;
                    return false;
                }
            }
        }
        self.pairs += 1;
        true
    }
}
