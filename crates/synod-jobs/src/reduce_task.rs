//! Reduce tasks: one partition of every run in, one part file out.
//!
//! The sources may be memory of this process, local files or other workers. How pairs reach the
//! reduce function is in `reduce_input.rs`.

use crate::counters::Counters;
use crate::error::{JobError, panic_message, without_panic};
use crate::input::codec::Codec;
use crate::job::Job;
use crate::merge::limit_fan_in;
use crate::quarantine::LeftOut;
use crate::reduce_input::ReduceInput;
use crate::run::RunSource;
use crate::run::store::RunStore;
use crate::side_files::{SideFile, side_files};
use crate::sink::{Sink, Written};
use crate::task::TaskContext;
use serde::{Deserialize, Serialize};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

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
    /// How the part file is compressed.
    pub codec: Option<Codec>,
    /// Groups to leave out.
    pub skips: &'a LeftOut,
    /// The attempt.
    pub task: &'a TaskContext<'a>,
}

/// A part file and what was counted for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReduceOutput {
    /// The partition; without reduce tasks, the split.
    pub partition: u32,
    /// Bytes of the part file.
    pub bytes: u64,
    /// Records in it.
    pub records: u64,
    /// CRC32C of its bytes.
    pub crc32c: u32,
    /// Counts of this task.
    pub counters: Counters,
    /// Files beside the part file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub side_files: Vec<SideFile>,
}

/// Reduces one partition into the file at `output`. `sources` are the partition's part of every
/// run, ordered by map task and emit sequence.
pub fn run_reduce_task<J: Job>(
    context: &ReduceContext<'_, J>,
    partition: u32,
    sources: Vec<Box<dyn RunSource>>,
    output: &Path,
) -> Result<ReduceOutput, JobError> {
    let &ReduceContext { job, store, fan_in, task, .. } = context;
    let sources = without_panic(|| limit_fan_in(job, sources, fan_in, store, task.progress))?;
    let mut input = ReduceInput::new(context.job, task.progress, sources)?;
    input.leave_out(task, context.skips);
    let mut sink = Sink::create(output, context.codec)?;
    let reduced = catch_unwind(AssertUnwindSafe(|| {
        context.job.reduce_partition(task, &mut input, &mut sink)
    }));
    match reduced {
        Ok(result) => result?,
        Err(payload) => {
            let shown = &input.group[..input.group.len().min(SHOWN_KEY_BYTES)];
            return Err(JobError::ReducePanicked {
                partition,
                group: input.number,
                key: shown.escape_ascii().to_string(),
                message: panic_message(&*payload),
            });
        }
    }
    let (written, counted) = sink.finish(context.sync)?;
    let mut counters = input.counters;
    counters.add(&counted);
    let output = part_of(context.task, partition, written, counters)?;
    task.progress.reduces_done.fetch_add(1, Relaxed);
    Ok(output)
}

/// What a task says of the part file that it has written.
pub(crate) fn part_of(
    task: &TaskContext<'_>,
    partition: u32,
    written: Written,
    mut counters: Counters,
) -> Result<ReduceOutput, JobError> {
    let Written { bytes, records, crc32c } = written;
    counters.reduce_records_out = records;
    counters.reduce_bytes_out = bytes;
    task.progress.bytes_written.fetch_add(bytes, Relaxed);
    let side_files = side_files(task.side_path())?;
    Ok(ReduceOutput { partition, bytes, records, crc32c, counters, side_files })
}
