//! What people and programs are shown of jobs: by `synod jobs`, and by the status page and its JSON
//! (`docs/formats/jobs-api.md`).
//!
//! Everything is made from a [`View`] and has a bound, whatever a job is made of: texts are cut, of
//! lists the beginning is shown and the rest counted. Nothing here is escaped: that is the matter of
//! whoever shows it.

use crate::cluster::names::{JobId, TaskId, TaskKind};
use crate::cluster::records::{Ended, JobRecord, JobState};
use crate::cluster::report::{JobReport, TaskRow};
use crate::cluster::seat::Seat;
use crate::cluster::view::{JobView, View};
use crate::counters::Counters;
use crate::outlook::Pace;
use crate::progress::{Phase, Snapshot};
use crate::spec::JobSpec;
use serde::Serialize;
use std::collections::BTreeMap;

/// Running attempts, workers and names of counters that are shown.
pub const MAX_ROWS: usize = 1_000;
/// Inputs, options and earlier jobs that are shown.
const MAX_SETTINGS: usize = 50;
/// Characters of a text that are shown.
const MAX_CHARS: usize = 1_000;

/// A job as a list shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobRow {
    /// Its name on the cluster.
    pub id: JobId,
    /// What people call it.
    pub name: String,
    /// What it runs.
    pub job: String,
    /// `submitted`, `waiting`, `preparing`, `running`, `committing`, `ending`, `done`, `failed` or
    /// `cancelled`.
    pub state: &'static str,
    /// `very-low`, `low`, `normal`, `high` or `very-high`.
    pub priority: &'static str,
    /// Somebody wants it to end, and it has not yet.
    pub cancelling: bool,
    /// Why it failed or is about to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Its output folder.
    pub output: String,
    /// When it was submitted, milliseconds since 1970; this and the next two are 0 if unknown.
    pub submitted_ms: u64,
    /// When its tasks might be claimed.
    pub started_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
    /// How far it is.
    #[serde(flatten)]
    pub progress: Progressed,
    /// How fast it is, if somebody has looked for long enough.
    #[serde(flatten)]
    pub pace: PaceRow,
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progressed {
    /// `planning`, `map`, `reduce`, `commit` or `done`; `ended` without success.
    pub phase: &'static str,
    /// Bytes of input.
    pub bytes_total: u64,
    /// Bytes of input that were read.
    pub bytes_read: u64,
    /// Bytes of intermediate data written to disks.
    pub bytes_spilled: u64,
    /// Bytes of output.
    pub bytes_written: u64,
    /// Map tasks.
    pub maps_total: u64,
    /// Those that are done.
    pub maps_done: u64,
    /// Those that the job went on without.
    pub maps_given_up: u64,
    /// Reduce tasks.
    pub reduces_total: u64,
    /// Those that are done.
    pub reduces_done: u64,
    /// Those that the job went on without.
    pub reduces_given_up: u64,
    /// Attempts that run now.
    pub attempts_running: u64,
    /// Attempts that have failed.
    pub attempts_failed: u64,
}

/// How fast a job is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PaceRow {
    /// Bytes per second over the last seconds: read while it maps, written while it reduces.
    pub rate: Option<u64>,
    /// Milliseconds until its phase ends, if it goes on like this.
    pub left_ms: Option<u64>,
}

/// Everything about one job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobDetail {
    /// What a list shows.
    #[serde(flatten)]
    pub row: JobRow,
    /// What was asked for.
    pub spec: SpecRow,
    /// Attempts that run now, maps first.
    pub running: Vec<RunningRow>,
    /// Those that are not among them.
    pub running_left_out: u64,
    /// What has ended until now, or was kept at the end.
    pub report: JobReport,
}

/// What was asked for, as far as it is of interest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SpecRow {
    /// The inputs as given, the first of them.
    pub inputs: Vec<String>,
    /// Inputs that are not among them.
    pub inputs_left_out: u64,
    /// Options of the job.
    pub options: BTreeMap<String, String>,
    /// Jobs that had to be done before.
    pub after: Vec<JobId>,
    /// Memory per node, bytes.
    pub memory_bytes: u64,
    /// Records that may be left out.
    pub skip_bad_records: u64,
    /// How many of a hundred map tasks may be given up.
    pub failed_maps_percent: u32,
    /// And of a hundred reduce tasks.
    pub failed_reduces_percent: u32,
    /// The program that planned it.
    pub build: String,
}

/// An attempt that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunningRow {
    /// Of which task.
    pub task: TaskId,
    /// Its number.
    pub attempt: u32,
    /// Whether it was begun beside a slow one.
    pub backup: bool,
    /// Whether it was found slow itself.
    pub slow: bool,
    /// Name of its node; empty if that has gone.
    pub node: String,
    /// `host:port` where its log can be asked for.
    pub address: String,
    /// When it began, by its worker's clock.
    pub started_ms: u64,
    /// Bytes of its work that are done, as it has told last.
    pub work_done: u64,
    /// Bytes of its work; 0 if it has not told yet.
    pub work_total: u64,
    /// What its program has said last of how it does, as it has told last; empty if nothing.
    pub status: String,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerRow {
    /// Name of its node.
    pub node: String,
    /// `host:port`.
    pub address: String,
    /// Tasks at a time.
    pub slots: u32,
    /// Attempts that it runs now.
    pub running: u32,
    /// It takes nothing new.
    pub draining: bool,
}

impl JobRow {
    /// A job as it is now; `None` if its record is not there or not readable.
    pub fn of(id: &JobId, view: &JobView, pace: Option<Pace>) -> Option<JobRow> {
        let record = &view.job.as_ref()?.record;
        let (state, message) = state_of(&record.state);
        Some(JobRow {
            id: id.clone(),
            name: cut(if record.name.is_empty() { record.spec.shown_name() } else { &record.name }),
            job: cut(&record.spec.job),
            state,
            priority: record.spec.priority.name(),
            cancelling: view.cancel && !record.state.is_final(),
            message: message.map(cut),
            output: cut(&record.spec.output.display().to_string()),
            submitted_ms: record.submitted_ms,
            started_ms: record.started_ms,
            ended_ms: record.ended_ms,
            progress: Progressed::of(view, record),
            pace: pace.map(PaceRow::of).unwrap_or_default(),
        })
    }

    /// How long it has run, or ran, milliseconds; `None` if it never did.
    pub fn millis(&self, now_ms: u64) -> Option<u64> {
        let end = if self.ended_ms > 0 { self.ended_ms } else { now_ms };
        (self.started_ms > 0).then(|| end.saturating_sub(self.started_ms))
    }
}

impl Progressed {
    fn of(view: &JobView, record: &JobRecord) -> Progressed {
        let now = shown_snapshot(view, record);
        // The tasks' records are gone when the job has ended.
        let failed = match view.stored_report {
            Some(_) => view.report().map_or(0, |report| report.failed_attempts),
            None => view.troubled().map(|(_, task)| task.record.failures.len() as u32).sum(),
        };
        Progressed {
            phase: match record.state {
                JobState::Failed(_) | JobState::Cancelled => "ended",
                _ => phase_name(now.phase),
            },
            bytes_total: now.bytes_total,
            bytes_read: now.bytes_read,
            bytes_spilled: now.bytes_spilled,
            bytes_written: now.bytes_written,
            maps_total: now.maps_total,
            maps_done: now.maps_done,
            maps_given_up: now.maps_given_up,
            reduces_total: now.reduces_total,
            reduces_done: now.reduces_done,
            reduces_given_up: now.reduces_given_up,
            attempts_running: view.attempts().count() as u64,
            attempts_failed: failed.into(),
        }
    }
}

impl PaceRow {
    fn of(pace: Pace) -> PaceRow {
        let millis =
            |left: std::time::Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        PaceRow { rate: pace.rate.map(|rate| rate as u64), left_ms: pace.left.map(millis) }
    }
}

impl JobDetail {
    /// A job as it is now, in a view that knows the workers, too; `None` as [`JobRow::of`].
    pub fn of(id: &JobId, view: &View, pace: Option<Pace>) -> Option<JobDetail> {
        let job = view.jobs.get(id)?;
        let row = JobRow::of(id, job, pace)?;
        let record = &job.job.as_ref()?.record;
        let mut running: Vec<RunningRow> = job
            .attempts()
            .take(MAX_ROWS)
            .map(|(task, seat, _)| running(view, job, task, seat))
            .collect();
        running.sort_by_key(|row| (row.task, row.attempt));
        let left_out = row.progress.attempts_running.saturating_sub(running.len() as u64);
        let report = job.report().unwrap_or_else(|| JobReport::of(job, &view.workers));
        Some(JobDetail {
            row,
            spec: SpecRow::of(&record.spec, &record.build),
            running,
            running_left_out: left_out,
            report: bounded(report),
        })
    }
}

fn running(view: &View, job: &JobView, task: TaskId, seat: Seat) -> RunningRow {
    let claim = &seat.claims(job)[&task].record;
    let found = job.tasks.get(&task).map(|task| &task.record);
    let worker = view.workers.get(&claim.worker).map(|worker| &worker.record);
    RunningRow {
        task,
        attempt: claim.attempt,
        backup: found.is_some_and(|task| task.backups.contains(&claim.attempt)),
        slow: found.is_some_and(|task| task.slow == Some(claim.attempt)),
        node: worker.map(|worker| cut(&worker.node)).unwrap_or_default(),
        address: worker.map(|worker| cut(&worker.address)).unwrap_or_default(),
        started_ms: claim.started_ms,
        work_done: claim.work_done,
        work_total: claim.work_total,
        status: cut(&claim.status),
    }
}

impl SpecRow {
    fn of(spec: &JobSpec, build: &str) -> SpecRow {
        let inputs = spec.inputs.iter().take(MAX_SETTINGS);
        let inputs: Vec<String> = inputs.map(|path| cut(&path.display().to_string())).collect();
        let options = spec.options.iter().take(MAX_SETTINGS);
        SpecRow {
            inputs_left_out: (spec.inputs.len() - inputs.len()) as u64,
            inputs,
            options: options.map(|(name, value)| (cut(name), cut(value))).collect(),
            after: spec.after.iter().take(MAX_SETTINGS).cloned().collect(),
            memory_bytes: spec.memory_bytes,
            skip_bad_records: spec.skip_bad_records,
            failed_maps_percent: spec.failed_maps_percent,
            failed_reduces_percent: spec.failed_reduces_percent,
            build: cut(build),
        }
    }
}

/// The workers that are registered.
pub fn workers(view: &View) -> Vec<WorkerRow> {
    let running = view.running_on();
    let row =
        |(id, worker): (&_, &crate::cluster::Stamped<crate::cluster::WorkerRecord>)| WorkerRow {
            node: cut(&worker.record.node),
            address: cut(&worker.record.address),
            slots: worker.record.slots,
            running: running.get(id).copied().unwrap_or(0),
            draining: worker.record.draining,
        };
    view.workers.iter().take(MAX_ROWS).map(row).collect()
}

/// How far a job is, also one that has ended and of whose tasks only the sums are left.
pub fn shown_snapshot(view: &JobView, record: &JobRecord) -> Snapshot {
    let now = view.snapshot();
    let ended = |phase, counted: &Counters| Snapshot {
        phase,
        bytes_read: counted.map_bytes_in.min(now.bytes_total),
        bytes_spilled: counted.run_bytes_written,
        bytes_written: counted.reduce_bytes_out,
        maps_given_up: counted.maps_given_up,
        reduces_given_up: counted.reduces_given_up,
        ..now
    };
    match &record.state {
        JobState::Done(manifest) => {
            let ended = ended(Phase::Done, &manifest.counters);
            let is_whole = ended.maps_given_up == 0;
            Snapshot {
                bytes_read: if is_whole { now.bytes_total } else { ended.bytes_read },
                maps_done: now.maps_total.saturating_sub(ended.maps_given_up),
                reduces_done: now.reduces_total.saturating_sub(ended.reduces_given_up),
                ..ended
            }
        }
        state if state.is_final() => match view.report() {
            Some(report) => {
                // A report tells of a part of many tasks only. No reduce ends before all maps have.
                let kept = report.tasks.len() as u64;
                let is_map = |row: &&TaskRow| row.task.kind == TaskKind::Map;
                let reduces = kept - report.tasks.iter().filter(is_map).count() as u64;
                let done = kept + u64::from(report.tasks_left_out);
                let maps_done = (done - reduces).min(now.maps_total);
                Snapshot {
                    maps_done,
                    reduces_done: done - maps_done,
                    ..ended(now.phase, &report.counters)
                }
            }
            None => now,
        },
        _ => now,
    }
}

/// What a state is called, and what was said when it came to that.
pub fn state_of(state: &JobState) -> (&'static str, Option<&str>) {
    match state {
        JobState::Submitted => ("submitted", None),
        JobState::Waiting => ("waiting", None),
        JobState::Preparing => ("preparing", None),
        JobState::Running => ("running", None),
        JobState::Committing => ("committing", None),
        JobState::Ending(Ended::Failed(why)) => ("ending", Some(why)),
        JobState::Ending(Ended::Cancelled) => ("ending", None),
        JobState::Done(_) => ("done", None),
        JobState::Failed(why) => ("failed", Some(why)),
        JobState::Cancelled => ("cancelled", None),
    }
}

/// What a phase is called.
pub fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Planning => "planning",
        Phase::Map => "map",
        Phase::Reduce => "reduce",
        Phase::Commit => "commit",
        Phase::Done => "done",
    }
}

/// A report has its own bounds; only names and messages are the jobs'.
fn bounded(mut report: JobReport) -> JobReport {
    let user = std::mem::take(&mut report.counters.user);
    report.counters_left_out += user.len().saturating_sub(MAX_ROWS) as u64;
    let user = user.into_iter().take(MAX_ROWS).map(|(name, amount)| (cut(&name), amount));
    report.counters.user = user.collect();
    for row in &mut report.failures {
        row.failure.message = cut(&row.failure.message);
    }
    report.given_up.truncate(MAX_ROWS);
    report
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
