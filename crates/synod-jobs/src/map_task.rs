//! Map tasks: splits in, sorted and partitioned runs out; or, without reduce tasks, a part file.
//!
//! [`run_map_task`] leaves its runs where its store puts them, for reducers in the same process;
//! [`run_map_task_to_file`] merges them into one file that other processes can fetch from;
//! [`run_map_only_task`] writes what the job emits. All are plain functions: they start no thread and
//! know no scheduler.

use crate::counters::Counters;
use crate::emit::Emitter;
use crate::error::{JobError, PanickedRecord, panic_message, panicked_aside, without_panic};
use crate::input::codec::Codec;
use crate::job::Job;
use crate::map_input::MapInput;
use crate::merge::limit_fan_in;
use crate::plan::{JobPlan, lacks_its_packing};
use crate::quarantine::LeftOut;
use crate::reduce_task::{ReduceOutput, part_of};
use crate::run::store::{Run, RunStore, write_run_file};
use crate::run::writer::RunIndex;
use crate::side_files::{SideFile, side_files};
use crate::sink::Sink;
use crate::stores::Stores;
use crate::survey::Survey;
use crate::task::TaskContext;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

/// Records to leave out, per split. A split that is here has failed on one of its records: it is mapped
/// record by record, even if none is known to be bad, because of a block nobody knows which it was.
pub type Skips = BTreeMap<usize, LeftOut>;

/// What a map task needs beside its splits.
pub struct MapContext<'a, J> {
    /// The functions.
    pub job: &'a J,
    /// The plan of the job.
    pub plan: &'a JobPlan,
    /// Where inputs are read from.
    pub stores: &'a Stores,
    /// Where runs are kept.
    pub store: &'a RunStore,
    /// Memory for pairs that are not in a run yet.
    pub buffer_bytes: u64,
    /// Records to leave out.
    pub skips: &'a Skips,
    /// How many records the job may leave out; 0: an attempt ends at the first that it fails on.
    pub may_leave_out: u64,
    /// The attempt.
    pub task: &'a TaskContext<'a>,
}

/// Runs in emit order and what was counted.
#[derive(Debug)]
pub struct MapRuns {
    /// Runs; where a key is in several, the earlier run's pairs come first.
    pub runs: Vec<Run>,
    /// Counts of this task.
    pub counters: Counters,
    /// Files to be published beside the part files.
    pub side_files: Vec<SideFile>,
}

/// The counter of inputs that have no bytes though by their names they are compressed; as a command of
/// streaming jobs would name it.
pub const EMPTY_PACKED: &str = "Warnings,compressed inputs of 0 bytes";

/// A finished map output in one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapOutput {
    /// The file.
    pub path: PathBuf,
    /// Where each partition lies in it.
    pub index: RunIndex,
    /// Counts of this task.
    pub counters: Counters,
    /// Files to be published beside the part files.
    #[serde(default)]
    pub side_files: Vec<SideFile>,
}

/// Maps every split that `next_split` gives, as indexes into the plan, into one set of runs.
///
/// Several splits in one task share its combine table; without a combiner the pairs of equal keys
/// keep the order in which the splits were given.
pub fn run_map_task<J: Job>(
    context: &MapContext<'_, J>,
    next_split: &mut dyn FnMut() -> Option<usize>,
) -> Result<MapRuns, JobError> {
    map_to_runs(context, next_split, None)
}

/// With `again`, a combiner that runs over whole runs does so over several of them, too, as many as that at
/// most.
fn map_to_runs<J: Job>(
    context: &MapContext<'_, J>,
    next_split: &mut dyn FnMut() -> Option<usize>,
    again: Option<usize>,
) -> Result<MapRuns, JobError> {
    let plan = context.plan;
    let mut emitter = Emitter::new(
        context.job,
        plan.reduces,
        &plan.cuts,
        plan.table_seed,
        usize::try_from(context.buffer_bytes).unwrap_or(usize::MAX),
        (context.task, context.store),
    );
    let mut told = Told::default();
    let result = without_panic(|| {
        map_splits(context, next_split, &mut emitter, &mut told)?;
        if let Some(fan_in) = again {
            emitter.combine_again(fan_in);
        }
        let (runs, counters) = emitter.finish()?;
        Ok(MapRuns { runs, counters, side_files: side_files(context.task.side_path())? })
    });
    if result.is_err() {
        told.take_back(context.task);
    }
    result
}

/// Maps one split of a job without reduce tasks into the part file at `output`.
pub fn run_map_only_task<J: Job>(
    context: &MapContext<'_, J>,
    split: usize,
    output: &Path,
    codec: Option<Codec>,
    sync: bool,
) -> Result<ReduceOutput, JobError> {
    let sink = Sink::create(output, codec)?;
    let mut emitter = Emitter::writing(context.job, sink, context.task.progress);
    let mut told = Told::default();
    let mut once = Some(split);
    let result = without_panic(|| {
        map_splits(context, &mut || once.take(), &mut emitter, &mut told)?;
        let (sink, mut counters) = emitter.into_sink();
        let sink = sink.expect("it was made with one");
        let (written, counted) = sink.finish(sync)?;
        counters.add(&counted);
        part_of(context.task, split as u32, written, counters)
    });
    if result.is_err() {
        told.take_back(context.task);
    }
    result
}

/// What the job's progress was told of an attempt.
#[derive(Default)]
struct Told {
    bytes_read: u64,
    splits_mapped: u64,
}

impl Told {
    /// What a failed attempt has mapped will be mapped again.
    fn take_back(&self, task: &TaskContext<'_>) {
        task.progress.maps_done.fetch_sub(self.splits_mapped, Relaxed);
        task.progress.bytes_read.fetch_sub(self.bytes_read, Relaxed);
    }
}

fn map_splits<J: Job>(
    context: &MapContext<'_, J>,
    next_split: &mut dyn FnMut() -> Option<usize>,
    emitter: &mut Emitter<'_, J>,
    told: &mut Told,
) -> Result<(), JobError> {
    while let Some(split) = next_split() {
        map_split(context, split, emitter, told)?;
        told.splits_mapped += 1;
        context.task.progress.maps_done.fetch_add(1, Relaxed);
    }
    Ok(())
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
    let mapped = map_to_runs(context, &mut || once.take(), Some(fan_in))?;
    let MapRuns { runs, mut counters, side_files } = mapped;
    let progress = context.task.progress;
    let sources = |partition| {
        let sources = runs.iter().map(|run| run.source(partition)).collect();
        limit_fan_in(context.job, sources, fan_in, context.store, progress)
    };
    let index = without_panic(|| {
        write_run_file(context.job, output, context.plan.reduces, progress, sources)
    })?;
    counters.combined_pairs_out = index.sections.iter().map(|section| section.pairs).sum();
    Ok(MapOutput { path: output.to_owned(), index, counters, side_files })
}

fn map_split<J: Job>(
    context: &MapContext<'_, J>,
    split: usize,
    emitter: &mut Emitter<'_, J>,
    told: &mut Told,
) -> Result<(), JobError> {
    let skips = context.skips.get(&split);
    let task = context.task;
    let mut input = MapInput::open(context.plan, context.stores, split, skips, task)?;
    emitter.expect(input.range().bytes);
    let looks_on = skips.is_some() && context.may_leave_out > 0;
    emitter.survey = looks_on.then(|| Survey::up_to(context.may_leave_out));
    warn_of_what_is_missing(context, split, emitter);
    let mapped =
        catch_unwind(AssertUnwindSafe(|| context.job.map_split(task, &mut input, emitter)));
    let (counters, stored_bytes) = input.finish();
    told.bytes_read += stored_bytes;
    match mapped {
        Ok(result) => result?,
        // The record at hand has only filled the buffer.
        Err(payload) if emitter.is_sealing() => return Err(panicked_aside(&*payload)),
        Err(payload) => {
            let (offset, record) = emitter.position;
            let bad = PanickedRecord { offset, record, message: panic_message(&*payload) };
            return Err(panicked(context.plan, split, bad, Vec::new()));
        }
    }
    if let Some((first, others)) = emitter.survey.take().and_then(Survey::end) {
        return Err(panicked(context.plan, split, first, others));
    }
    emitter.check()?;
    emitter.counters.add(&counters);
    Ok(())
}

fn panicked(
    plan: &JobPlan,
    split: usize,
    first: PanickedRecord,
    others: Vec<PanickedRecord>,
) -> JobError {
    let path = plan.inputs[plan.splits[split].input].path.clone();
    let PanickedRecord { offset, record, message } = first;
    JobError::MapPanicked { path, split, offset, record, message, others }
}

/// An input that is empty where it should be compressed is no error, but nobody should overlook it.
fn warn_of_what_is_missing<J: Job>(
    context: &MapContext<'_, J>,
    split: usize,
    emitter: &mut Emitter<'_, J>,
) {
    let plan = context.plan;
    let input = &plan.inputs[plan.splits[split].input];
    if lacks_its_packing(input, &plan.format) {
        let what =
            "has no bytes, though by its name it is compressed: read as a file without records";
        context.task.log.line(format!("[{} {what}]", input.path.display()).as_bytes());
        emitter.count(EMPTY_PACKED, 1);
    }
}
