//! What goes back to the waiting tasks: outputs that are lost or unreadable, attempts that do not move. And
//! what does so no more: tasks that the job goes on without.

use super::{Coordinator, Step, put_task};
use crate::cluster::change::Change;
use crate::cluster::names::{JobId, JobKey, TaskId, WorkerId};
use crate::cluster::records::{AttemptFailure, JobRecord, Span, TaskDone, TaskRecord};
use crate::cluster::view::{JobView, Stamped, View};
use std::time::Duration;

impl Coordinator {
    /// Tasks whose result is lost, or whose attempt does not move, wait again.
    pub(super) fn send_back(
        &self,
        view: &View,
        id: &JobId,
        job: &JobView,
        now: Duration,
    ) -> Option<Change> {
        let mut change = self.guarded();
        let mut any = false;
        for (task, report) in &job.unreadable {
            change = change.delete(id.key(JobKey::Unreadable(*task)));
            any = true;
            let Some(found) = job.tasks.get(task) else { continue };
            let done = found.record.done.as_ref();
            if done.is_some_and(|done| done.attempt == report.record.attempt) {
                let at = done.map(|done| &done.worker);
                change = lost(change, id, *task, found, at);
            }
            if change.is_full() {
                return Some(change);
            }
        }
        let gone = job.outputs().iter().filter(|(worker, _)| !view.workers.contains_key(worker));
        let maps = gone.flat_map(|(_, maps)| maps).filter(|map| !job.unreadable.contains_key(map));
        for task in maps {
            let Some(found) = job.tasks.get(task) else { continue };
            change = lost(change, id, *task, found, None);
            any = true;
            if change.is_full() {
                return Some(change);
            }
        }
        let limit = self.limits.stall;
        // Of two attempts of one task one at a time: each writes the task's record.
        let mut before = None;
        for (task, seat, claim) in self.paces.unmoved(id, job, now, limit) {
            if before.replace(task) == Some(task) {
                continue;
            }
            let Some(found) = job.tasks.get(&task) else { continue };
            let failure = AttemptFailure {
                attempt: claim.record.attempt,
                worker: claim.record.worker.clone(),
                node: view.node_of(&claim.record.worker),
                span: Span { started_ms: claim.record.started_ms, ended_ms: self.unix_ms },
                message: format!("no progress for {} s", limit.as_secs()),
                bad_record: None,
                permanent: false,
                whole_job: false,
                others: Vec::new(),
            };
            let key = id.key(seat.key(task));
            change = change.if_created_at(key.clone(), claim.created).delete(key);
            change = put_task(change, id, task, found, &found.record.failed(failure, false));
            any = true;
            if change.is_full() {
                return Some(change);
            }
        }
        any.then_some(change)
    }

    /// The job goes on without a task that nobody works on: whoever claims it meanwhile writes its record.
    ///
    /// Of a map that was done once, a worker that is behind may still believe that it is, and claim a reduce
    /// to read what it has made. Every claim names the job's record as its worker has seen it. So that is
    /// written anew first: claims from before are in the view then, and whoever comes after knows that the
    /// map is lost.
    pub(super) fn give_up(
        &self,
        id: &JobId,
        (view, job): (&JobView, &Stamped<JobRecord>),
        task: TaskId,
        why: String,
    ) -> Option<Step> {
        let found = view.tasks.get(&task)?;
        if found.record.losses > 0 && job.modified < found.modified {
            return Some(Step::Change(self.moved(id, job, job.record.state.clone())));
        }
        // What it had made once is not the job's any more, its counts and side files neither.
        let record =
            TaskRecord { given_up: Some(why), lost: None, slow: None, ..found.record.clone() };
        Some(Step::Change(put_task(self.guarded(), id, task, found, &record)))
    }
}

/// The task waits again. `at` is the worker that still lives, but whose output cannot be read.
fn lost(
    change: Change,
    id: &JobId,
    task: TaskId,
    found: &Stamped<TaskRecord>,
    at: Option<&WorkerId>,
) -> Change {
    let mut record = found.record.clone();
    record.lost = record.done.take().map(TaskDone::without_sections);
    record.losses += 1;
    if let Some(worker) = at.filter(|worker| !record.lost_at.contains(worker)) {
        record.lost_at.push(worker.clone());
    }
    put_task(change, id, task, found, &record)
}
