//! Why a job cannot succeed, read off its records and put into words.

use crate::cluster::failures::sentence;
use crate::cluster::names::{JobId, TaskId, TaskKind};
use crate::cluster::records::{JobRecord, JobState, TaskRecord, WorkerRecord};
use crate::cluster::view::{JobView, Stamped, View};
use crate::given_up::may_go_on;
use crate::output_store::are_nested;
use crate::task::MAX_ATTEMPTS;

/// Attempts of one task that may begin for each that may fail, beside one for each lost output: a task that
/// takes its worker down with it leaves no failure behind.
const BEGUN_PER_ATTEMPT: u32 = 3;
/// Outputs of one map task that may be lost.
const MAX_LOSSES: u32 = 8;

/// What has to be done about a job whose tasks fail.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It cannot succeed, for this reason.
    Ends(String),
    /// It goes on without this task, which has failed for this reason.
    Without(TaskId, String),
}

/// What the records of a job's tasks say about it; `None`: nothing is to be done.
pub(super) fn verdict(view: &JobView, job: &JobRecord) -> Option<Verdict> {
    let limit = job.spec.skip_bad_records;
    let mut skipped = 0;
    for (id, task) in view.troubled().filter(|(_, task)| task.record.given_up.is_none()) {
        let task = &task.record;
        if let Some(failure) = task.fatal_failure(job.attempts_of(id.kind)) {
            let why = sentence(id, failure);
            if failure.whole_job {
                return Some(Verdict::Ends(why));
            }
            if let Some(verdict) = without(view, job, (id, task), why) {
                return Some(verdict);
            }
        }
        skipped += task.skips.len() as u64;
        if skipped > limit {
            let last = task.skips.last().map_or("", |bad| &bad.error);
            let why = format!("more than {limit} bad records: the last one was {last} (task {id})");
            return Some(Verdict::Ends(why));
        }
        let is_lost = task.done.is_none()
            && task.attempts >= most_begun(job.attempts_of(id.kind)) + explained(task)
            && !view.is_claimed(id);
        let why = if task.losses > MAX_LOSSES {
            format!("the output of task {id} was lost {} times", task.losses)
        } else if is_lost {
            let begun = task.attempts;
            format!("task {id} was begun {begun} times and its worker was lost each time")
        } else {
            continue;
        };
        if let Some(verdict) = without(view, job, (id, task), why) {
            return Some(verdict);
        }
    }
    None
}

/// A task has failed for good. The job goes on if it may go on without so many, and if what it makes is then
/// the same as if the task had never been. Another attempt that still runs, or has won, may save the task.
fn without(
    view: &JobView,
    job: &JobRecord,
    (id, task): (TaskId, &TaskRecord),
    why: String,
) -> Option<Verdict> {
    let percent = job.spec.failed_percent(id.kind);
    if percent == 0 {
        return Some(Verdict::Ends(why));
    }
    if task.done.is_some() || view.is_claimed(id) {
        return None;
    }
    let total = match id.kind {
        TaskKind::Map => job.totals.maps,
        TaskKind::Reduce => job.totals.reduces,
    };
    let failed = view.given_up(id.kind) + 1;
    if !may_go_on(percent, failed.into(), total.into()) {
        let kind = id.kind.name();
        return Some(Verdict::Ends(format!(
            "{failed} of {total} {kind} tasks have failed, more than the {percent} percent that may: the \
             last one with: {why}"
        )));
    }
    if task.losses > 0 && id.kind == TaskKind::Map && may_have_read(view) {
        return Some(Verdict::Ends(format!(
            "{why}; its output was there before, and going on without it would leave its records in some \
             part files and not in others"
        )));
    }
    Some(Verdict::Without(id, why))
}

/// Whether a reduce has, or may have, what earlier attempts of maps have made.
fn may_have_read(view: &JobView) -> bool {
    let mut running = view.attempts();
    view.done(TaskKind::Reduce) > 0 || running.any(|(task, ..)| task.kind == TaskKind::Reduce)
}

/// Attempts of a task of which the records know what became of them, beside failures.
fn explained(task: &TaskRecord) -> u32 {
    task.losses + task.given_back + task.backups.len() as u32 + task.forgiven
}

fn most_begun(attempts: u32) -> u32 {
    attempts.max(MAX_ATTEMPTS).saturating_mul(BEGUN_PER_ATTEMPT)
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
