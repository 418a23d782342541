//! Why a job cannot succeed, read off its records and put into words.

use crate::cluster::names::JobId;
use crate::cluster::records::{JobRecord, JobState, WorkerRecord, sentence};
use crate::cluster::view::{JobView, Stamped, View};
use crate::spec::MAX_ATTEMPTS;

/// Attempts of one task that may begin, beside one for each lost output: a task that takes its
/// worker down with it leaves no failure behind.
const MAX_BEGUN: u32 = 12;
/// Outputs of one map task that may be lost.
const MAX_LOSSES: u32 = 8;

/// Why the records of a job's tasks say that it cannot succeed.
pub(super) fn verdict(view: &JobView, job: &JobRecord) -> Option<String> {
    let limit = job.spec.skip_bad_records;
    let mut skipped = 0;
    for (id, task) in &view.tasks {
        let task = &task.record;
        if let Some(failure) = task.fatal_failure(MAX_ATTEMPTS) {
            return Some(sentence(*id, failure));
        }
        skipped += task.skips.len() as u64;
        if skipped > limit {
            let offset = task.skips.last().copied().unwrap_or_default();
            return Some(format!(
                "more than {limit} bad records: the last one is at offset {offset} of the input \
                 of task {id}"
            ));
        }
        if task.losses > MAX_LOSSES {
            return Some(format!("the output of task {id} was lost {} times", task.losses));
        }
        if task.done.is_none()
            && task.attempts >= MAX_BEGUN + task.losses
            && !view.claims.contains_key(id)
        {
            let begun = task.attempts;
            return Some(format!(
                "task {id} was begun {begun} times and its worker was lost each time"
            ));
        }
    }
    None
}

/// Why there is nobody who could run a job's tasks.
pub(super) fn no_worker(view: &View, job_view: &JobView, job: &JobRecord) -> String {
    if view.workers.is_empty() {
        return "no worker is alive: start nodes that take jobs".to_owned();
    }
    let build = &job.build;
    let excluded = job_view.excluded();
    let each = view.workers.iter().map(|(id, worker)| {
        let WorkerRecord { node, build: its, draining, .. } = &worker.record;
        if excluded.contains(id) {
            format!("{node} failed too many tasks")
        } else if *its != *build {
            format!("{node} runs another program ({its}, not {build})")
        } else if *draining {
            format!("{node} is about to leave")
        } else {
            format!("{node} does not run commands (start it with --job-commands true to allow it)")
        }
    });
    format!("no worker can take the job: {}", each.collect::<Vec<_>>().join(", "))
}

/// Another job that writes to the same folder.
pub(super) fn same_output<'v>(
    view: &'v View,
    id: &JobId,
    job: &Stamped<JobRecord>,
) -> Option<&'v JobId> {
    let started = |state: &JobState| !matches!(state, JobState::Submitted);
    view.active()
        .find(|(other, _, theirs)| {
            *other != id
                && started(&theirs.record.state)
                && theirs.record.spec.output == job.record.spec.output
        })
        .map(|(other, ..)| other)
}
