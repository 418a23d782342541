//! What is kept of the tasks of a job that has ended: enough to draw their timeline and to say what
//! was slow, uneven or lost.
//!
//! It takes the place of the task records in the same transaction that ends the job. Its size has a
//! bound: of a job with more tasks those that ran longest are kept.

use crate::cluster::names::{TaskId, TaskKind};
use crate::cluster::records::{AttemptFailure, Span, TaskOutput};
use crate::cluster::view::JobView;
use crate::counters::Counters;
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
    /// Map outputs that were lost with their worker, or could not be read.
    #[serde(default)]
    pub lost_outputs: u32,
    /// What the winning attempts have counted, also of a job that has no output.
    #[serde(default)]
    pub counters: Counters,
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
    /// The report of a job as it is now.
    pub fn of(view: &JobView) -> JobReport {
        let mut report = JobReport::default();
        let mut nodes = BTreeMap::new();
        for (id, task) in &view.tasks {
            let task = &task.record;
            report.lost_outputs = report.lost_outputs.saturating_add(task.losses);
            report.failed_attempts += task.failures.len() as u32;
            let room = MAX_FAILURES.saturating_sub(report.failures.len());
            let failures = task.failures.iter().take(room);
            let row = |failure: &AttemptFailure| FailureRow { task: *id, failure: failure.clone() };
            report.failures.extend(failures.map(row));
            let Some(done) = &task.done else { continue };
            report.counters.add(done.output.counters());
            let (bytes, pairs) = load(&done.output);
            let next = nodes.len() as u32;
            let node = *nodes.entry(done.node.clone()).or_insert_with(|| {
                report.nodes.push(done.node.clone());
                next
            });
            let Span { started_ms, ended_ms } = done.span;
            let attempt = done.attempt;
            let row = TaskRow { task: *id, attempt, node, started_ms, ended_ms, bytes, pairs };
            report.tasks.push(row);
        }
        report.skew = skew(&report.tasks);
        if report.tasks.len() > MAX_TASKS {
            report.tasks_left_out = (report.tasks.len() - MAX_TASKS) as u32;
            report.tasks.sort_by_key(|row| std::cmp::Reverse(row.millis()));
            report.tasks.truncate(MAX_TASKS);
            report.tasks.sort_by_key(|row| row.task);
        }
        report
    }

    /// The tasks that took longest, the longest first.
    pub fn slowest(&self, count: usize) -> Vec<&TaskRow> {
        let mut tasks: Vec<&TaskRow> = self.tasks.iter().collect();
        tasks.sort_by_key(|row| std::cmp::Reverse(row.millis()));
        tasks.truncate(count);
        tasks
    }
}

fn load(output: &TaskOutput) -> (u64, u64) {
    match output {
        TaskOutput::Map { sections, counters, .. } => {
            (counters.map_bytes_in, sections.iter().map(|(_, pairs)| pairs).sum())
        }
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
