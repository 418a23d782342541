//! The reduce tasks of a local job: one partition after the other on each slot.
//!
//! A panic or a failed program gets one more attempt. If the spec allows it, a group that fails twice is
//! left out, as records are in `board.rs`. A partition that fails for good ends the job, or the job goes on
//! without its part file, if it may.

use super::{Local, lock};
use crate::cluster::names::TaskId;
use crate::error::JobError;
use crate::fan_in::fan_in;
use crate::job::Job;
use crate::quarantine::{LeftOut, reason};
use crate::reduce_task::{ReduceContext, ReduceOutput, run_reduce_task};
use crate::run::store::{MemoryBudget, Run, RunStore};
use crate::task::{MAX_ATTEMPTS, TaskKind};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

/// What a reduce task has made.
pub(super) struct Reduced {
    pub output: ReduceOutput,
    pub file: PathBuf,
    /// The folder of its side files.
    pub side: PathBuf,
}

/// How often which group of a partition has failed.
#[derive(Default)]
struct Failures {
    attempts: u32,
    groups: BTreeMap<u64, u32>,
    skips: LeftOut,
}

impl<J: Job> Local<'_, J> {
    pub(super) fn reduce(&self, runs: &[Run]) -> Result<Vec<Reduced>, JobError> {
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
                    Err(error) => match self.of_reduces.give_up(partition, error) {
                        Ok(()) => {
                            self.progress.reduces_given_up.fetch_add(1, Relaxed);
                        }
                        Err(error) => {
                            lock(&next).1.get_or_insert(error);
                        }
                    },
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
        outputs.sort_by_key(|reduced: &Reduced| reduced.output.partition);
        Ok(outputs)
    }

    fn reduce_partition(
        &self,
        runs: &[Run],
        partition: u32,
        slots: u32,
    ) -> Result<Reduced, JobError> {
        let file = self.work.join(format!("reduce-{partition}"));
        let fan_in = fan_in(self.spec.data_bytes() / 2 / u64::from(slots), slots);
        let mut failures = Failures::default();
        loop {
            let attempt = failures.attempts;
            let prefix = format!("reduce-{partition}-{attempt}");
            let store = RunStore::new(&self.spill, prefix, MemoryBudget::new(0));
            let sources = runs
                .iter()
                .filter(|run| run.pairs(partition) > 0)
                .map(|run| run.source(partition))
                .collect();
            let task = self.task(TaskKind::Reduce, partition, attempt);
            let context = ReduceContext {
                job: self.job,
                store: &store,
                fan_in,
                sync: self.spec.sync_output,
                codec: self.spec.output_codec,
                skips: &failures.skips,
                task: &task,
            };
            let side = task.side_path().to_owned();
            let begun = self.diary.begins(TaskId::reduce(partition), attempt);
            match run_reduce_task(&context, partition, sources, &file) {
                Ok(output) => {
                    self.diary.reduced(begun, &output);
                    return Ok(Reduced { output, file, side });
                }
                Err(error) => {
                    self.diary.failed(begun, &error, error.bad_group());
                    if let Some(bad) = self.judge(&mut failures, error)? {
                        self.diary.forgive(begun.task, bad);
                    }
                }
            }
        }
    }

    /// Whether a partition is to be tried again after a failure, and without which group.
    fn judge(&self, failures: &mut Failures, error: JobError) -> Result<Option<u64>, JobError> {
        failures.attempts += 1;
        // Those that a group was left out for are paid for.
        let others = failures.attempts - 2 * failures.skips.len() as u32;
        if let Some(group) = error.bad_group().filter(|_| self.allowance.is_some()) {
            let times = failures.groups.entry(group).or_insert(0);
            *times += 1;
            let twice = *times >= 2;
            // A function that fails elsewhere every time is not a matter of bad groups.
            return match (twice, others < MAX_ATTEMPTS) {
                (_, false) => Err(error),
                (false, true) => Ok(None),
                (true, true) if self.allowance.take() => {
                    failures.skips.insert(group, reason(&error.to_string()));
                    Ok(Some(group))
                }
                (true, true) => Err(self.allowance.exceeded(error)),
            };
        }
        let may_pass = matches!(
            error,
            JobError::ReducePanicked { .. }
                | JobError::Task { permanent: false, .. }
                | JobError::NotStarted { permanent: false, .. }
        );
        if may_pass && others < self.job.attempts().reduce { Ok(None) } else { Err(error) }
    }
}
