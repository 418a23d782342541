//! Why a job cannot succeed, read off its records and put into words.

use crate::cluster::names::JobId;
use crate::cluster::records::{JobRecord, JobState, TaskRecord, WorkerRecord, sentence};
use crate::cluster::view::{JobView, Stamped, View};
use crate::output_store::are_nested;
use crate::task::MAX_ATTEMPTS;

/// Attempts of one task that may begin for each that may fail, beside one for each lost output: a task that
/// takes its worker down with it leaves no failure behind.
const BEGUN_PER_ATTEMPT: u32 = 3;
/// Outputs of one map task that may be lost.
const MAX_LOSSES: u32 = 8;

/// Why the records of a job's tasks say that it cannot succeed.
pub(super) fn verdict(view: &JobView, job: &JobRecord) -> Option<String> {
    let limit = job.spec.skip_bad_records;
    let mut skipped = 0;
    for (id, task) in view.troubled() {
        let task = &task.record;
        if let Some(failure) = task.fatal_failure(job.attempts) {
            return Some(sentence(id, failure));
        }
        skipped += task.skips.len() as u64;
        if skipped > limit {
            let last = task.skips.last().map_or("", |bad| &bad.error);
            return Some(format!(
                "more than {limit} bad records: the last one was {last} (task {id})"
            ));
        }
        if task.losses > MAX_LOSSES {
            return Some(format!("the output of task {id} was lost {} times", task.losses));
        }
        if task.done.is_none()
            && task.attempts >= most_begun(job) + explained(task)
            && !view.is_claimed(id)
        {
            let begun = task.attempts;
            return Some(format!(
                "task {id} was begun {begun} times and its worker was lost each time"
            ));
        }
    }
    None
}

/// Attempts of a task of which the records know what became of them, beside failures.
fn explained(task: &TaskRecord) -> u32 {
    // What is left out has failed two of them.
    let skips = task.skips.len() as u32;
    task.losses + task.given_back + task.backups.len() as u32 + skips.saturating_mul(2)
}

fn most_begun(job: &JobRecord) -> u32 {
    job.attempts.max(MAX_ATTEMPTS).saturating_mul(BEGUN_PER_ATTEMPT)
}

/// Why there is nobody who could run a job's tasks.
pub(super) fn no_worker(view: &View, job: &JobRecord) -> String {
    if view.workers.is_empty() {
        return "no worker is alive: start nodes that take jobs".to_owned();
    }
    let build = &job.build;
    let each = view.workers.values().map(|worker| {
        let WorkerRecord { node, build: its, draining, .. } = &worker.record;
        if *its != *build {
            format!("{node} runs another program ({its}, not {build})")
        } else if *draining {
            format!("{node} is about to leave")
        } else {
            format!("{node} does not run commands (start it with --job-commands true to allow it)")
        }
    });
    format!("no worker can take the job: {}", each.collect::<Vec<_>>().join(", "))
}

/// What the jobs that must be done first mean for this one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Precedence {
    /// All of them are done.
    Done,
    /// Some are not at their end.
    Pending,
    /// One will never be done.
    Never(String),
}

/// How far the jobs are that must be done before this one.
pub(super) fn precedence(view: &View, job: &JobRecord) -> Precedence {
    let mut all = Precedence::Done;
    for first in &job.spec.after {
        let record = view.jobs.get(first).and_then(|job| job.job.as_ref());
        let why = match record.map(|job| &job.record.state) {
            Some(JobState::Done(_)) => continue,
            Some(JobState::Failed(why)) => format!("failed: {why}"),
            Some(JobState::Cancelled) => "was cancelled".to_owned(),
            Some(_) => {
                all = Precedence::Pending;
                continue;
            }
            None => "is not known: it was never submitted, or is forgotten".to_owned(),
        };
        return Precedence::Never(format!("job {first}, which must be done first, {why}"));
    }
    all
}

/// Why a job may not write its output: another one writes there, above it or within it. Of two that are
/// found out only when both prepare, the one that was submitted first goes on.
pub(super) fn output_in_use(view: &View, id: &JobId, job: &Stamped<JobRecord>) -> Option<String> {
    let ours = &job.record.spec.output;
    let preparing = job.record.state == JobState::Preparing;
    let (other, theirs) = view.active().find_map(|(other, _, record)| {
        let is_ahead = match record.record.state {
            JobState::Submitted | JobState::Waiting => false,
            JobState::Preparing => !preparing || other < id,
            _ => true,
        };
        let theirs = &record.record.spec.output;
        (other != id && is_ahead && are_nested(ours, theirs)).then_some((other, theirs))
    })?;
    let (ours, shown) = (ours.display(), theirs.display());
    Some(match job.record.spec.output == *theirs {
        true => format!("output {ours} is being written by job {other}"),
        false => format!(
            "output {ours} and {shown}, which job {other} is writing, lie one within the other: choose one \
             that is apart from it"
        ),
    })
}
