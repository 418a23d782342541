//! Runs a whole job in this process: one thread per slot, intermediate data handed over in memory.
//!
//! This is the only file of the crate that starts threads. Half of the memory budget is for the
//! buffers of running map tasks, half for finished runs; what exceeds either goes to disk.
//!
//! A map task of a job with a combiner takes one split after the other into one table. If its map
//! function panics, everything the task has absorbed is mapped again, split by split, so a pair is
//! never counted twice. The same record failing twice is a bad record: it is skipped if the spec
//! allows, else the job fails with its position.

use crate::commit::{Manifest, OutputFolder, part_name};
use crate::counters::Counters;
use crate::error::JobError;
use crate::job::Job;
use crate::map_task::{MapContext, Skips, run_map_task};
use crate::plan::{JobPlan, plan};
use crate::progress::{Phase, Progress};
use crate::reduce_task::{ReduceContext, ReduceOutput, run_reduce_task};
use crate::run::store::{MemoryBudget, Run, RunStore};
use crate::spec::{JobSpec, MAX_ATTEMPTS};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Memory that one source of a merge needs: its block, packed and unpacked, and its reader.
const BYTES_PER_SOURCE: u64 = 512 << 10;
const FAN_IN: std::ops::RangeInclusive<u64> = 8..=256;
/// A map task's buffer is never smaller.
pub(crate) const MIN_BUFFER_BYTES: u64 = 64 << 10;

/// How many sources a task with this much memory merges at once.
pub(crate) fn fan_in(bytes: u64) -> usize {
    (bytes / BYTES_PER_SOURCE).clamp(*FAN_IN.start(), *FAN_IN.end()) as usize
}

/// What a finished job has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSummary {
    /// Content of `_SUCCESS`.
    pub manifest: Manifest,
    /// Number of splits.
    pub splits: usize,
    /// Bytes of input.
    pub input_bytes: u64,
}

/// Runs `job` as `spec` says and returns when the output is complete, or removed.
pub fn run_local<J: Job>(
    spec: &JobSpec,
    job: &J,
    progress: &Progress,
) -> Result<JobSummary, JobError> {
    spec.check()?;
    if spec.output.symlink_metadata().is_ok() {
        return Err(JobError::OutputExists { path: spec.output.clone() });
    }
    progress.enter(Phase::Planning);
    let slots = spec.slots.unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
    });
    let plan = plan(job, spec, slots)?;
    progress.bytes_total.store(plan.input_bytes(), Relaxed);
    progress.maps_total.store(plan.splits.len() as u64, Relaxed);
    progress.reduces_total.store(plan.reduces.into(), Relaxed);
    progress.check_cancelled()?;
    let output = OutputFolder::create(&spec.output)?;
    let spill = SpillFolder::new(spec, &output)?;
    let local = Local {
        spec,
        job,
        plan: &plan,
        progress,
        slots,
        work: output.temporary(),
        spill: spill.path.clone(),
        budget: MemoryBudget::new(spec.memory_bytes / 2),
    };
    progress.enter(Phase::Map);
    let (runs, mut counters) = local.map()?;
    progress.enter(Phase::Reduce);
    let (outputs, files) = local.reduce(&runs)?;
    drop(runs);
    for part in &outputs {
        counters.add(&part.counters);
    }
    progress.enter(Phase::Commit);
    progress.check_cancelled()?;
    drop(spill);
    let manifest = output.publish(&spec.job, &outputs, &files, &counters, spec.sync_output)?;
    progress.enter(Phase::Done);
    Ok(JobSummary { manifest, splits: plan.splits.len(), input_bytes: plan.input_bytes() })
}

struct Local<'a, J> {
    spec: &'a JobSpec,
    job: &'a J,
    plan: &'a JobPlan,
    progress: &'a Progress,
    slots: u32,
    work: PathBuf,
    spill: PathBuf,
    budget: Arc<MemoryBudget>,
}

impl<J: Job> Local<'_, J> {
    fn map(&self) -> Result<(Vec<Run>, Counters), JobError> {
        let board = MapBoard::new(self.plan.splits.len(), self.spec.skip_bad_records);
        let slots = u64::from(self.slots).min(self.plan.splits.len().max(1) as u64);
        let buffer_bytes = (self.spec.memory_bytes / 2 / slots).max(MIN_BUFFER_BYTES);
        std::thread::scope(|scope| {
            for slot in 1..slots {
                let board = &board;
                scope.spawn(move || self.map_slot(board, slot, buffer_bytes));
            }
            self.map_slot(&board, 0, buffer_bytes);
        });
        board.finish()
    }

    fn map_slot(&self, board: &MapBoard, slot: u64, buffer_bytes: u64) {
        let mut attempt = 0;
        while let Some((first, alone)) = board.take() {
            let prefix = format!("map-{slot}-{attempt}");
            attempt += 1;
            let store = RunStore::new(&self.spill, prefix, Arc::clone(&self.budget));
            let skips = board.skips();
            let mut taken = Vec::new();
            let mut next = Some(first);
            let result = run_map_task(
                &MapContext {
                    job: self.job,
                    plan: self.plan,
                    store: &store,
                    buffer_bytes,
                    skips: &skips,
                    progress: self.progress,
                },
                &mut || {
                    let more = J::COMBINED_VALUE_BYTES.is_some() && !alone;
                    let split = next.take().or_else(|| if more { board.take_more() } else { None });
                    taken.extend(split);
                    split
                },
            );
            match result {
                Ok(output) => board.done(taken, output.runs, &output.counters),
                Err(error) => board.failed(taken, error),
            }
        }
    }

    fn reduce(&self, runs: &[Run]) -> Result<(Vec<ReduceOutput>, Vec<PathBuf>), JobError> {
        let next = Mutex::new((0, None::<JobError>));
        let outputs = Mutex::new(Vec::new());
        let slots = self.slots.min(self.plan.reduces);
        let slot = || {
            loop {
                let partition = {
                    let mut next = lock(&next);
                    if next.1.is_some() || next.0 == self.plan.reduces {
                        return;
                    }
                    next.0 += 1;
                    next.0 - 1
                };
                match self.reduce_partition(runs, partition, slots) {
                    Ok(output) => lock(&outputs).push(output),
                    Err(error) => {
                        lock(&next).1.get_or_insert(error);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..slots {
                scope.spawn(slot);
            }
            slot();
        });
        if let Some(error) = next.into_inner().unwrap_or_else(PoisonError::into_inner).1 {
            return Err(error);
        }
        let mut outputs = outputs.into_inner().unwrap_or_else(PoisonError::into_inner);
        outputs.sort_by_key(|(output, _): &(ReduceOutput, PathBuf)| output.partition);
        Ok(outputs.into_iter().unzip())
    }

    /// Reduces one partition; a panic gets one more attempt.
    fn reduce_partition(
        &self,
        runs: &[Run],
        partition: u32,
        slots: u32,
    ) -> Result<(ReduceOutput, PathBuf), JobError> {
        let file = self.work.join(part_name(partition));
        let fan_in = fan_in(self.spec.memory_bytes / 2 / u64::from(slots));
        let mut first_attempt = true;
        loop {
            let prefix = format!("reduce-{partition}-{}", u8::from(!first_attempt));
            let store = RunStore::new(&self.spill, prefix, MemoryBudget::new(0));
            let sources = runs
                .iter()
                .filter(|run| run.pairs(partition) > 0)
                .map(|run| run.source(partition))
                .collect();
            let context = ReduceContext {
                job: self.job,
                store: &store,
                fan_in,
                sync: self.spec.sync_output,
                progress: self.progress,
            };
            match run_reduce_task(&context, partition, sources, &file) {
                Ok(output) => return Ok((output, file)),
                Err(JobError::ReducePanicked { .. }) if first_attempt => first_attempt = false,
                Err(error) => return Err(error),
            }
        }
    }
}

/// Which splits are waiting, which are running and what has come of the rest.
struct MapBoard {
    state: Mutex<MapState>,
    changed: Condvar,
    skip_limit: u64,
}

#[derive(Default)]
struct MapState {
    waiting: VecDeque<usize>,
    /// Splits of failed attempts, to be mapped one at a time.
    again: VecDeque<usize>,
    /// Attempts that run now.
    running: usize,
    /// Per split, how often which record has failed.
    failures: BTreeMap<usize, BTreeMap<u64, u32>>,
    skips: Skips,
    skipped: u64,
    /// Runs by the first split of their task.
    runs: BTreeMap<usize, Vec<Run>>,
    counters: Counters,
    error: Option<JobError>,
}

impl MapBoard {
    fn new(splits: usize, skip_limit: u64) -> MapBoard {
        let state = MapState { waiting: (0..splits).collect(), ..MapState::default() };
        MapBoard { state: Mutex::new(state), changed: Condvar::new(), skip_limit }
    }

    /// The first split of a new attempt and whether it must stay alone. Waits while others may
    /// still fail and leave work.
    fn take(&self) -> Option<(usize, bool)> {
        let mut state = lock(&self.state);
        loop {
            if state.error.is_some() {
                return None;
            }
            let taken = match state.again.pop_front() {
                Some(split) => Some((split, true)),
                None => state.waiting.pop_front().map(|split| (split, false)),
            };
            if taken.is_some() {
                state.running += 1;
                return taken;
            }
            if state.running == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// One more split for a running attempt.
    fn take_more(&self) -> Option<usize> {
        let mut state = lock(&self.state);
        if state.error.is_some() { None } else { state.waiting.pop_front() }
    }

    fn skips(&self) -> Skips {
        lock(&self.state).skips.clone()
    }

    fn done(&self, splits: Vec<usize>, runs: Vec<Run>, counters: &Counters) {
        let mut state = lock(&self.state);
        state.counters.add(counters);
        if let Some(&first) = splits.first() {
            state.runs.insert(first, runs);
        }
        state.running -= 1;
        self.changed.notify_all();
    }

    fn failed(&self, splits: Vec<usize>, error: JobError) {
        let mut state = lock(&self.state);
        state.running -= 1;
        self.changed.notify_all();
        if let JobError::MapPanicked { split, offset, .. } = &error {
            let (split, offset) = (*split, *offset);
            let MapState { failures, skips, .. } = &mut *state;
            let records = failures.entry(split).or_default();
            let times = records.entry(offset).or_insert(0);
            *times += 1;
            let twice = *times >= 2;
            let skipped_here = skips.get(&split).map_or(0, |skips| skips.len() as u32);
            // A function that fails elsewhere every time is not a matter of bad records.
            let times_all: u32 = records.values().sum();
            let unstable = times_all - 2 * skipped_here >= MAX_ATTEMPTS;
            if !twice && !unstable {
                state.again.extend(splits);
                return;
            }
            if twice && !unstable && state.skipped < self.skip_limit {
                state.skipped += 1;
                state.skips.entry(split).or_default().insert(offset);
                state.again.extend(splits);
                return;
            }
            if twice && self.skip_limit > 0 {
                let last = Box::new(error);
                let limit = self.skip_limit;
                state.error.get_or_insert(JobError::TooManyBadRecords { limit, last });
                return;
            }
        }
        state.error.get_or_insert(error);
    }

    fn finish(self) -> Result<(Vec<Run>, Counters), JobError> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        match state.error {
            Some(error) => Err(error),
            None => Ok((state.runs.into_values().flatten().collect(), state.counters)),
        }
    }
}

/// The folder for spilled runs, removed at the end if it is not the output's own.
struct SpillFolder {
    path: PathBuf,
    own: bool,
}

impl SpillFolder {
    fn new(spec: &JobSpec, output: &OutputFolder) -> Result<SpillFolder, JobError> {
        let Some(folder) = &spec.spill_folder else {
            return Ok(SpillFolder { path: output.temporary().join("spill"), own: false });
        };
        std::fs::create_dir_all(folder).map_err(|error| JobError::io("create", folder, error))?;
        let name = spec.output.file_name().unwrap_or_default().to_string_lossy();
        let mut number = 0;
        loop {
            // Other jobs may spill to the same place: the first free name is ours.
            let path = folder.join(format!("synod-spill-{name}-{number}"));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(SpillFolder { path, own: true }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(JobError::io("create", &path, error)),
            }
        }
    }
}

impl Drop for SpillFolder {
    fn drop(&mut self) {
        if self.own {
            // What cannot be removed does not harm: the next job takes another name.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
