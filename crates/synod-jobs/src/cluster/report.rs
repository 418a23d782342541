//! What is kept of the tasks of a job that has ended: enough to draw their timeline and to say what
//! was slow, uneven or lost.
//!
//! On a cluster it takes the place of the task records in the same transaction that ends the job. A
//! local run makes the same (`local/diary.rs`). Its size has a bound: of a job with more tasks those
//! that ran longest are kept.

use crate::cluster::names::{TaskId, TaskKind, WorkerId};
use crate::cluster::records::{AttemptFailure, Span, TaskOutput, WorkerRecord};
use crate::cluster::view::{JobView, Stamped};
use crate::counters::Counters;
use crate::given_up::GivenUp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Tasks that a report tells of.
pub const MAX_TASKS: usize = 2_000;
/// Failed attempts that a report tells of.
pub const MAX_FAILURES: usize = 20;

/// How a job went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    /// Names of nodes; tasks refer to them by position.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// Their `host:port`, where logs can be asked for; empty if it is not known.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// The winning attempts, maps first, by number; see [`MAX_TASKS`].
    #[serde(default)]
    pub tasks: Vec<TaskRow>,
    /// Finished tasks that are not among them.
    #[serde(default)]
    pub tasks_left_out: u32,
    /// The first failed attempts, those that were forgiven not among them.
    #[serde(default)]
    pub failures: Vec<FailureRow>,
    /// All failed attempts.
    #[serde(default)]
    pub failed_attempts: u32,
    /// Those of map tasks among them.
    #[serde(default)]
    pub failed_map_attempts: u32,
    /// Attempts that were begun beside a slow one.
    #[serde(default)]
    pub backup_attempts: u32,
    /// Map outputs that were lost with their worker, or could not be read.
    #[serde(default)]
    pub lost_outputs: u32,
    /// Tasks that the job went on without, the first [`MAX_NAMED`](crate::given_up::MAX_NAMED) of them; all
    /// are counted in [`JobReport::counters`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_up: Vec<GivenUp>,
    /// What the winning attempts have counted, also of a job that has no output.
    #[serde(default)]
    pub counters: Counters,
    /// Counters of the job's own that are not among them.
    #[serde(default)]
    pub counters_left_out: u64,
    /// How evenly the reduce tasks were loaded; `None` if none was done.
    #[serde(default)]
    pub skew: Option<Skew>,
}

/// The winning attempt of a task. Its field names are short because there are many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRow {
    /// Kind and number.
    #[serde(rename = "t")]
    pub task: TaskId,
    /// The attempt that won.
    #[serde(rename = "a")]
    pub attempt: u32,
    /// Whether it was begun beside a slow one.
    #[serde(rename = "k", default, skip_serializing_if = "is_false")]
    pub backup: bool,
    /// Position of its node in [`JobReport::nodes`].
    #[serde(rename = "n")]
    pub node: u32,
    /// When it began, by its worker's clock, milliseconds since 1970.
    #[serde(rename = "s")]
    pub started_ms: u64,
    /// When it ended.
    #[serde(rename = "e")]
    pub ended_ms: u64,
    /// Bytes that a map has read, or that a reduce has written.
    #[serde(rename = "b")]
    pub bytes: u64,
    /// Pairs that a map has left for the reduces, or that a reduce was given.
    #[serde(rename = "p")]
    pub pairs: u64,
}

impl TaskRow {
    /// How long it took.
    pub fn millis(&self) -> u64 {
        Span { started_ms: self.started_ms, ended_ms: self.ended_ms }.millis()
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRow {
    /// Of which task.
    pub task: TaskId,
    /// What happened.
    #[serde(flatten)]
    pub failure: AttemptFailure,
}

/// How evenly the pairs were spread over the reduce tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skew {
    /// Pairs of the task in the middle.
    pub median_pairs: u64,
    /// Pairs of the largest task.
    pub largest_pairs: u64,
    /// Partition of that task.
    pub largest: u32,
}

impl JobReport {
    /// The report of a job as it is now; `workers` are those that are registered.
    pub fn of<'v>(
        view: &'v JobView,
        workers: &'v BTreeMap<WorkerId, Stamped<WorkerRecord>>,
    ) -> JobReport {
        let mut report = JobReport::default();
        let mut places = Places { of: BTreeMap::new(), workers };
        for (id, task) in &view.tasks {
            let task = &task.record;
            report.lost_outputs = report.lost_outputs.saturating_add(task.losses);
            let failed = task.failures.len() as u32;
            report.failed_attempts += failed;
            report.failed_map_attempts += if id.kind == TaskKind::Map { failed } else { 0 };
            let room = MAX_FAILURES.saturating_sub(report.failures.len());
            for failure in task.failures.iter().take(room) {
                // Its log can be asked for, too.
                places.place(&mut report, &failure.worker, &failure.node);
                // A report tells of the first record; all that are left out are in the quarantine.
                let failure = AttemptFailure { others: Vec::new(), ..failure.clone() };
                report.failures.push(FailureRow { task: *id, failure });
            }
            report.backup_attempts =
                report.backup_attempts.saturating_add(task.backups.len() as u32);
            if task.given_up.is_some() {
                report.counters.count_given_up(id.kind);
            }
            let Some(done) = task.winner() else { continue };
            report.counters.add(done.output.counters());
            let (bytes, pairs) = load(id.kind, &done.output);
            let node = places.place(&mut report, &done.worker, &done.node);
            let Span { started_ms, ended_ms } = done.span;
            let attempt = done.attempt;
            let backup = task.backups.contains(&attempt);
            let row =
                TaskRow { task: *id, attempt, backup, node, started_ms, ended_ms, bytes, pairs };
            report.tasks.push(row);
        }
        report.given_up = view.tasks_given_up();
        report.closed()
    }

    /// This report, all its tasks being there, with what follows from them, and within its bound.
    pub(crate) fn closed(mut self) -> JobReport {
        self.skew = skew(&self.tasks);
        self.failures.truncate(MAX_FAILURES);
        self.keep_longest(MAX_TASKS);
        self
    }

    /// Of so many tasks those that ran longest, and of the nodes those that ran them.
    fn keep_longest(&mut self, tasks: usize) {
        let surplus = self.tasks.len().saturating_sub(tasks);
        if surplus == 0 {
            return;
        }
        self.tasks_left_out += surplus as u32;
        self.tasks.sort_by_key(|row| std::cmp::Reverse(row.millis()));
        self.tasks.truncate(tasks);
        self.tasks.sort_by_key(|row| row.task);
        let mut places = BTreeMap::new();
        for row in &mut self.tasks {
            let next = places.len() as u32;
            row.node = *places.entry(row.node).or_insert(next);
        }
        let mut places: Vec<(u32, u32)> = places.into_iter().collect();
        places.sort_by_key(|(_, now)| *now);
        let at = |texts: &[String], (before, _): &(u32, u32)| {
            texts.get(*before as usize).cloned().unwrap_or_default()
        };
        self.nodes = places.iter().map(|place| at(&self.nodes, place)).collect();
        self.addresses = places.iter().map(|place| at(&self.addresses, place)).collect();
    }

    /// Tells of half as many tasks and failures; false if there is nothing left to leave out.
    pub(super) fn halve(&mut self) -> bool {
        let before = self.tasks.len() + self.failures.len();
        self.keep_longest(self.tasks.len() / 2);
        self.failures.truncate(self.failures.len() / 2);
        before > 0
    }

    /// The tasks that took longest, the longest first.
    pub fn slowest(&self, count: usize) -> Vec<&TaskRow> {
        let mut tasks: Vec<&TaskRow> = self.tasks.iter().collect();
        tasks.sort_by_key(|row| std::cmp::Reverse(row.millis()));
        tasks.truncate(count);
        tasks
    }
}

/// Where in the report's list of nodes each worker is.
struct Places<'v> {
    of: BTreeMap<&'v WorkerId, u32>,
    workers: &'v BTreeMap<WorkerId, Stamped<WorkerRecord>>,
}

impl<'v> Places<'v> {
    /// The position of a worker's node, which is noted if it is not there.
    fn place(&mut self, report: &mut JobReport, worker: &'v WorkerId, node: &str) -> u32 {
        let next = self.of.len() as u32;
        *self.of.entry(worker).or_insert_with(|| {
            report.nodes.push(node.to_owned());
            let found = self.workers.get(worker);
            report.addresses.push(found.map_or_else(String::new, |w| w.record.address.clone()));
            next
        })
    }
}

fn load(kind: TaskKind, output: &TaskOutput) -> (u64, u64) {
    match output {
        TaskOutput::Map { sections, counters, .. } => {
            (counters.map_bytes_in, sections.iter().map(|(_, pairs)| pairs).sum())
        }
        // Without reduces a map writes its part file itself.
        TaskOutput::Reduce(output) if kind == TaskKind::Map => (output.counters.map_bytes_in, 0),
        TaskOutput::Reduce(output) => (output.bytes, output.counters.reduce_pairs_in),
    }
}

fn skew(rows: &[TaskRow]) -> Option<Skew> {
    let reduces = rows.iter().filter(|row| row.task.kind == TaskKind::Reduce);
    let mut reduces: Vec<(u64, u32)> = reduces.map(|row| (row.pairs, row.task.number)).collect();
    reduces.sort_unstable();
    let &(largest_pairs, largest) = reduces.last()?;
    let (median_pairs, _) = reduces[reduces.len() / 2];
    Some(Skew { median_pairs, largest_pairs, largest })
}
