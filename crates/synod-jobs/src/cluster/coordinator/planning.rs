//! A plan in the records: its pieces, and a record for each task. And whose program may make it.

use super::{Coordinator, Program, stored};
use crate::cluster::change::Change;
use crate::cluster::names::{JobId, JobKey, TaskId};
use crate::cluster::records::{Ended, JobRecord, JobState, TaskRecord, Totals, encode};
use crate::cluster::verdict::no_worker;
use crate::cluster::view::{Stamped, View};
use crate::plan::JobPlan;
use crate::split_size::MAX_SECTIONS;
use crate::task::Attempts;
use bytes::Bytes;
use std::time::Duration;

/// Bytes of one piece of a stored plan.
const PIECE_BYTES: usize = 256 << 10;
/// Bytes of a stored plan.
const MAX_PLAN_BYTES: usize = 64 << 20;

/// Whose program may plan a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planner {
    /// The coordinator's.
    This,
    /// That of a living worker: it must be elected.
    Another,
    /// No living worker's. With the change that ends the job, if that has been so for long enough.
    Nobody(Option<Change>),
}

impl Coordinator {
    /// Before [`Work::Plan`](super::Work::Plan): whether this coordinator, of this build, may do it. A
    /// job that is not built in names the build that has its code from its submission on.
    pub fn planner(&mut self, view: &View, id: &JobId, build: &str, now: Duration) -> Planner {
        let job = view.jobs.get(id).and_then(|job| job.job.as_ref());
        let Some(job) = job else { return Planner::Nobody(None) };
        let its = &job.record.build;
        let mut others = view.workers.values().map(|worker| &worker.record);
        let planner = match () {
            () if its.is_empty() || its == build => Planner::This,
            () if others.any(|other| other.build == *its && !other.draining) => Planner::Another,
            () => {
                let since = *self.without_worker.entry(id.clone()).or_insert(now);
                let is_over = now.saturating_sub(since) >= self.limits.no_worker;
                let end = || {
                    let why = no_worker(view, &job.record);
                    self.moved(id, job, JobState::Ending(Ended::Failed(why)))
                };
                return Planner::Nobody(is_over.then(end));
            }
        };
        self.without_worker.remove(id);
        planner
    }

    /// After [`Work::Plan`]: the changes that store the plan and its tasks, then let them run.
    pub fn planned(
        &self,
        id: &JobId,
        job: &Stamped<JobRecord>,
        plan: &JobPlan,
        program: Program<'_>,
    ) -> Result<Vec<Change>, String> {
        let maps = plan.splits.len() as u64;
        if maps * u64::from(plan.reduces) > MAX_SECTIONS {
            let reduces = plan.reduces;
            return Err(format!(
                "{maps} splits times {reduces} reduce tasks are more than {MAX_SECTIONS} pieces \
                 for a cluster: use larger splits or fewer reduce tasks"
            ));
        }
        let text = encode(plan).map_err(|error| format!("the plan cannot be stored: {error}"))?;
        if text.len() > MAX_PLAN_BYTES {
            let bytes = text.len();
            return Err(format!(
                "the plan takes {bytes} bytes, at most {MAX_PLAN_BYTES} can be stored: name fewer \
                 inputs, or use larger splits"
            ));
        }
        let text = Bytes::from(text);
        let guarded = || self.guarded().if_unchanged(id.key(JobKey::Record), job.modified);
        let [_, working @ ..] = id.working_prefixes();
        // What another coordinator has begun to write may be longer than this.
        let mut changes = vec![working.into_iter().fold(guarded(), Change::delete_prefix)];
        let mut plan_pieces = 0;
        for start in (0..text.len()).step_by(PIECE_BYTES) {
            let piece = text.slice(start..text.len().min(start + PIECE_BYTES));
            changes.push(guarded().put(id.key(JobKey::Plan(plan_pieces)), piece));
            plan_pieces += 1;
        }
        let totals = Totals {
            maps: maps as u32,
            reduces: plan.reduces,
            input_bytes: plan.input_bytes(),
            plan_pieces,
        };
        let fresh = stored(&TaskRecord::default());
        let mut change = guarded();
        let maps = (0..totals.maps).map(TaskId::map);
        for task in maps.chain((0..totals.reduces).map(TaskId::reduce)) {
            change = change.put(id.key(JobKey::Task(task)), fresh.clone());
            if change.is_full() {
                changes.push(std::mem::replace(&mut change, guarded()));
            }
        }
        let Attempts { map, reduce } = program.attempts;
        let running = JobRecord {
            state: JobState::Running,
            build: program.build.to_owned(),
            runs_commands: program.runs_commands,
            attempts: map,
            reduce_attempts: (reduce != map).then_some(reduce),
            totals,
            started_ms: self.unix_ms,
            ..self.signed(job)
        };
        changes.push(change.put(id.key(JobKey::Record), stored(&running)));
        Ok(changes)
    }
}
