//! Runs a whole job in this process: one thread per slot, intermediate data handed over in memory.
//!
//! Of the memory budget a part is kept back for reading and writing; half of the rest is for the buffers
//! of running map tasks, half for finished runs. What exceeds either goes to disk.
//!
//! A map task of a job with a combiner takes one split after the other into one table. If its map
//! function panics, everything the task has absorbed is mapped again, split by split, so a pair is
//! never counted twice; `board.rs` keeps track of that. Reduce tasks are in `reduces.rs`. What
//! happened when is in `diary.rs`.

mod allowance;
mod board;
mod diary;
mod reduces;
mod target;

use crate::cluster::JobReport;
use crate::cluster::names::TaskId;

use crate::commit::{Account, Manifest, Naming, OutputFolder, Publish, private};
use crate::counters::Counters;
use crate::error::JobError;
use crate::given_up::kept;
use crate::job::Job;
use crate::map_task::{MapContext, MapRuns, run_map_only_task, run_map_task};
use crate::plan::{JobPlan, plan_for_process};
use crate::progress::{Phase, Progress};
use crate::run::store::{MemoryBudget, Run, RunStore};
use crate::spec::JobSpec;
use crate::stores::Stores;
use crate::task::{NoLog, TaskContext, TaskKind, TaskLog};
use allowance::{Allowance, Tolerance};
use board::{MapBoard, MapDone, Outcome, Taken, bad_record};
use diary::{Begun, Diary};
use reduces::Reduced;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use target::Target;

/// A map task's buffer is never smaller.
pub(crate) const MIN_BUFFER_BYTES: u64 = 64 << 10;

/// What a finished job has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSummary {
    /// Content of `_SUCCESS`.
    pub manifest: Manifest,
    /// Number of splits.
    pub splits: usize,
    /// Bytes of input.
    pub input_bytes: u64,
    /// What ran when, what was slow, uneven or failed.
    pub report: JobReport,
}

/// What a local run may be given beside its spec.
pub struct LocalOptions<'a> {
    /// Where inputs are read from.
    pub stores: &'a Stores,
    /// Where the lines go that tasks say.
    pub log: &'a dyn TaskLog,
    /// The only map tasks to run, to look at one with a debugger; the reduce tasks get what they give. All
    /// run on the calling thread, and the splits are those of the whole job.
    pub only_maps: Option<&'a BTreeSet<u32>>,
}

/// Runs `job` as `spec` says and returns when the output is complete, or removed.
pub fn run_local<J: Job>(
    spec: &JobSpec,
    job: &J,
    progress: &Progress,
) -> Result<JobSummary, JobError> {
    let options = LocalOptions { stores: &Stores::local(), log: &NoLog, only_maps: None };
    run_local_with(spec, job, progress, &options)
}

/// The seed of the combine tables that was asked for, or a new one: an input whose keys were chosen to
/// collide does not know it.
fn seed(asked: u64) -> u64 {
    if asked == 0 { fastrand::u64(1..) } else { asked }
}

/// Runs `job` as `spec` and `options` say. With one slot every task runs on the calling thread.
pub fn run_local_with<J: Job>(
    spec: &JobSpec,
    job: &J,
    progress: &Progress,
    options: &LocalOptions<'_>,
) -> Result<JobSummary, JobError> {
    spec.check()?;
    let target = Target::find(spec, options.stores)?;
    progress.enter(Phase::Planning);
    let slots = spec.slots.unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
    });
    let mut plan = plan_for_process(job, spec, slots, options.stores, progress)?;
    let slots = if options.only_maps.is_some() { 1 } else { slots };
    plan.table_seed = seed(spec.table_seed);
    let maps = chosen_maps(&plan, options)?;
    let input_bytes = maps.iter().map(|&map| plan.splits[map].end - plan.splits[map].start).sum();
    progress.bytes_total.store(input_bytes, Relaxed);
    progress.maps_total.store(maps.len() as u64, Relaxed);
    progress.reduces_total.store(plan.reduces.into(), Relaxed);
    progress.check_cancelled()?;
    let (claimed, mut output) = target.claim(spec)?;
    let spill = SpillFolder::new(spec, &output)?;
    let local = Local {
        spec,
        job,
        plan: &plan,
        progress,
        options,
        slots,
        work: output.temporary(),
        spill: spill.path.clone(),
        budget: MemoryBudget::new(spec.data_bytes() / 2),
        allowance: Allowance::new(spec.skip_bad_records),
        of_maps: Tolerance::new(TaskKind::Map, spec.failed_maps_percent, maps.len() as u64),
        of_reduces: Tolerance::new(
            TaskKind::Reduce,
            spec.failed_reduces_percent,
            plan.reduces.into(),
        ),
        diary: Diary::begin(),
    };
    progress.enter(Phase::Map);
    let mut mapped = local.map(&maps)?;
    progress.enter(Phase::Reduce);
    let runs: Vec<Run> =
        mapped.iter_mut().flat_map(|done| std::mem::take(&mut done.runs)).collect();
    let reduced = local.reduce(&runs)?;
    drop(runs);
    progress.enter(Phase::Commit);
    progress.check_cancelled()?;
    drop(spill);
    let mut account = local.given_up();
    let counters = &mut account.counters;
    let mut tasks = Vec::with_capacity(mapped.len() + reduced.len());
    for MapDone { part, side: (side, folder), counters: counted, .. } in &mapped {
        counters.add(counted);
        let part = part.as_ref().map(|(output, file)| (output, file.clone()));
        tasks.push(Publish { part, side: (side, folder.clone()) });
    }
    for Reduced { output, file, side } in &reduced {
        counters.add(&output.counters);
        let part = Some((output, file.clone()));
        tasks.push(Publish { part, side: (&output.side_files, side.clone()) });
    }
    let report = local.diary.report(&account);
    let sync = spec.sync_output;
    let naming = Naming::of(spec);
    let manifest = output.publish(&spec.job, naming, &tasks, &account, sync, progress)?;
    if let Err(left) = output.tidy() {
        options.log.line(format!("the output is complete, but something stays: {left}").as_bytes());
    }
    claimed.publish(&manifest, progress)?;
    progress.enter(Phase::Done);
    Ok(JobSummary { manifest, splits: maps.len(), input_bytes, report })
}

/// The splits that are mapped.
fn chosen_maps(plan: &JobPlan, options: &LocalOptions<'_>) -> Result<Vec<usize>, JobError> {
    let all = plan.splits.len();
    let Some(only) = options.only_maps else { return Ok((0..all).collect()) };
    match only.iter().find(|&&map| map as usize >= all) {
        Some(map) => {
            let what = format!("there is no map task {map}: the job has {all}, counted from 0");
            Err(JobError::BadSpec { what })
        }
        None => Ok(only.iter().map(|&map| map as usize).collect()),
    }
}

struct Local<'a, J> {
    spec: &'a JobSpec,
    job: &'a J,
    plan: &'a JobPlan,
    progress: &'a Progress,
    options: &'a LocalOptions<'a>,
    slots: u32,
    work: PathBuf,
    spill: PathBuf,
    budget: Arc<MemoryBudget>,
    /// What may still be left out.
    allowance: Allowance,
    /// The map tasks that the job goes on without.
    of_maps: Tolerance,
    /// And the reduce tasks.
    of_reduces: Tolerance,
    diary: Diary,
}

impl<J: Job> Local<'_, J> {
    /// The tasks that the job has gone on without, and their number.
    fn given_up(&self) -> Account {
        let tasks = [self.of_maps.take(), self.of_reduces.take()].concat();
        let mut counters = Counters::default();
        tasks.iter().for_each(|(task, _)| counters.count_given_up(task.kind));
        let given_up = kept(tasks.iter().map(|(task, error)| (*task, error.as_str())));
        Account { counters, given_up }
    }

    fn map(&self, maps: &[usize]) -> Result<Vec<MapDone>, JobError> {
        let splits = maps.iter().copied();
        let board = MapBoard::new(splits, &self.allowance, &self.of_maps, self.job.attempts().map);
        let slots = u64::from(self.slots).min(maps.len().max(1) as u64);
        let buffer_bytes = (self.spec.data_bytes() / 2 / slots).max(MIN_BUFFER_BYTES);
        std::thread::scope(|scope| {
            for _ in 1..slots {
                scope.spawn(|| self.map_slot(&board, buffer_bytes));
            }
            self.map_slot(&board, buffer_bytes);
        });
        board.finish()
    }

    fn map_slot(&self, board: &MapBoard<'_>, buffer_bytes: u64) {
        while let Some(next) = board.take() {
            let mut taken = Vec::new();
            match self.map_attempt(board, &next, buffer_bytes, &mut taken) {
                Ok(done) => {
                    self.diary.mapped(&taken, self.plan, &done.counters);
                    board.done(next.first, done);
                }
                Err(error) => self.map_failed(board, &taken, error),
            }
        }
    }

    fn map_failed(&self, board: &MapBoard<'_>, taken: &[Begun], error: JobError) {
        let splits: Vec<usize> = taken.iter().map(|begun| begun.task.number as usize).collect();
        let found = bad_record(&error, &splits);
        if let Some(&begun) = taken.last() {
            let begun = found.map_or(begun, |(split, _)| begun.of(TaskId::map(split as u32)));
            self.diary.failed(begun, &error, found.map(|(_, offset)| offset));
        }
        match board.failed(splits, error) {
            Outcome::AgainOrEnd => {}
            Outcome::LeftOut(split, offsets) => {
                let task = TaskId::map(split as u32);
                offsets.into_iter().for_each(|offset| self.diary.forgive(task, offset));
            }
            Outcome::GivenUp => {
                self.progress.maps_given_up.fetch_add(1, Relaxed);
            }
        }
    }

    /// `taken` gets the splits that it has begun.
    fn map_attempt(
        &self,
        board: &MapBoard<'_>,
        &Taken { first, alone, attempt }: &Taken,
        buffer_bytes: u64,
        taken: &mut Vec<Begun>,
    ) -> Result<MapDone, JobError> {
        let begins = |split| self.diary.begins(TaskId::map(split as u32), attempt);
        taken.push(begins(first));
        let task = self.task(TaskKind::Map, first as u32, attempt);
        let prefix = format!("map-{first}-{attempt}");
        let store = RunStore::new(&self.spill, prefix, Arc::clone(&self.budget));
        let skips = board.skips();
        let context = MapContext {
            job: self.job,
            plan: self.plan,
            stores: self.options.stores,
            store: &store,
            buffer_bytes,
            skips: &skips,
            may_leave_out: self.spec.skip_bad_records,
            task: &task,
        };
        let side = task.side_path().to_owned();
        if self.plan.reduces == 0 {
            let (codec, sync) = (self.spec.output_codec, self.spec.sync_output);
            let file = self.work.join(format!("map-{first}"));
            let mut output = run_map_only_task(&context, first, &file, codec, sync)?;
            let counters = std::mem::take(&mut output.counters);
            let side = (std::mem::take(&mut output.side_files), side);
            return Ok(MapDone {
                part: Some((output, file)),
                side,
                counters,
                ..MapDone::default()
            });
        }
        let mut next = Some(first);
        let output = run_map_task(&context, &mut || {
            let more = J::COMBINED_VALUE_BYTES.is_some() && !alone;
            next.take().or_else(|| {
                let split = if more { board.take_more() } else { None };
                taken.extend(split.map(begins));
                split
            })
        })?;
        let MapRuns { runs, counters, side_files } = output;
        Ok(MapDone { runs, part: None, side: (side_files, side), counters })
    }

    fn task(&self, kind: TaskKind, number: u32, attempt: u32) -> TaskContext<'_> {
        let tasks = (self.plan.splits.len() as u32, self.plan.reduces);
        let letter = if kind == TaskKind::Map { 'm' } else { 'r' };
        let scratch = self.spill.join(format!("scratch-{letter}{number:06}-{attempt}"));
        let side = self.work.join(format!("side-{letter}{number:06}-{attempt}"));
        let (progress, log) = (self.progress, self.options.log);
        let attempt = (attempt, self.job.attempts());
        TaskContext::new("local", kind, number, attempt, tasks, progress, log, (scratch, side))
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
            match private().create(&path) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_run_has_a_table_seed_of_its_own_unless_one_is_asked_for() {
        let seeds: BTreeSet<u64> = (0..8).map(|_| seed(0)).chain([0]).collect();
        assert_eq!(seeds.len(), 9, "{seeds:?}");
        assert_eq!(seed(7), 7);
    }
}
