//! What happened to the tasks of a local run, and when: its report is made of this.
//!
//! The clock here is for people. Nothing is decided by it, and it moves forward with the time that
//! passes even if somebody sets the machine's clock meanwhile.

use super::lock;
use crate::cluster::JobReport;
use crate::cluster::names::{TaskId, WorkerId};
use crate::cluster::records::{AttemptFailure, Span, shortened};
use crate::cluster::report::{FailureRow, TaskRow};
use crate::commit::Account;
use crate::counters::Counters;
use crate::error::JobError;
use crate::plan::JobPlan;
use crate::reduce_task::ReduceOutput;
use crate::task::TaskKind;
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What the only node of a local run is called.
const NODE: &str = "this process";
/// The only worker.
const WORKER: &str = "local";

/// The notes of one run.
pub(super) struct Diary {
    begun: Instant,
    begun_ms: u64,
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    tasks: Vec<TaskRow>,
    failures: Vec<FailureRow>,
}

/// An attempt that runs.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    /// The task.
    pub task: TaskId,
    attempt: u32,
    started_ms: u64,
}

impl Diary {
    /// Of a run that begins now.
    pub fn begin() -> Diary {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let begun_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        Diary { begun: Instant::now(), begun_ms, pages: Mutex::default() }
    }

    /// Now, milliseconds since 1970.
    fn now_ms(&self) -> u64 {
        let passed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.begun_ms.saturating_add(passed)
    }

    /// An attempt begins.
    pub fn begins(&self, task: TaskId, attempt: u32) -> Begun {
        Begun { task, attempt, started_ms: self.now_ms() }
    }

    /// An attempt has mapped these splits, one after the other. What it has left for the reduces is
    /// told of the last one: they shared its table, and then it was emptied.
    pub fn mapped(&self, splits: &[Begun], plan: &JobPlan, counters: &Counters) {
        let ends = splits.iter().skip(1).map(|next| next.started_ms).chain([self.now_ms()]);
        let rows = splits.iter().zip(ends).enumerate().map(|(index, (split, ended_ms))| {
            let range = plan.splits[split.task.number as usize];
            let is_last = index + 1 == splits.len();
            let pairs = if is_last { counters.combined_pairs_out } else { 0 };
            split.row(ended_ms, range.end - range.start, pairs)
        });
        lock(&self.pages).tasks.extend(rows);
    }

    /// An attempt has reduced its partition.
    pub fn reduced(&self, begun: Begun, output: &ReduceOutput) {
        let row = begun.row(self.now_ms(), output.bytes, output.counters.reduce_pairs_in);
        lock(&self.pages).tasks.push(row);
    }

    /// An attempt has failed, on this record if that is known.
    pub fn failed(&self, begun: Begun, error: &JobError, bad_record: Option<u64>) {
        let span = Span { started_ms: begun.started_ms, ended_ms: self.now_ms() };
        let failure = AttemptFailure {
            attempt: begun.attempt,
            worker: worker(),
            node: NODE.to_owned(),
            span,
            message: shortened(&error.to_string()),
            bad_record,
            permanent: error.is_permanent(),
            whole_job: error.is_of_whole_job(),
            others: Vec::new(),
        };
        lock(&self.pages).failures.push(FailureRow { task: begun.task, failure });
    }

    /// A record or a group is left out from now on: the failures on it do not count.
    pub fn forgive(&self, task: TaskId, bad: u64) {
        let counts = |row: &FailureRow| row.task != task || row.failure.bad_record != Some(bad);
        lock(&self.pages).failures.retain(counts);
    }

    /// The report of a run of which this is the account.
    pub fn report(&self, account: &Account) -> JobReport {
        let Pages { mut tasks, mut failures } = std::mem::take(&mut *lock(&self.pages));
        tasks.sort_by_key(|row| row.task);
        failures.sort_by_key(|row| (row.task, row.failure.attempt));
        let of_map = |row: &&FailureRow| row.task.kind == TaskKind::Map;
        let report = JobReport {
            nodes: vec![NODE.to_owned()],
            failed_attempts: failures.len() as u32,
            failed_map_attempts: failures.iter().filter(of_map).count() as u32,
            given_up: account.given_up.clone(),
            tasks,
            failures,
            counters: account.counters.clone(),
            ..JobReport::default()
        };
        report.closed()
    }
}

impl Begun {
    /// The same attempt, seen as one of another task that it has taken on.
    pub fn of(self, task: TaskId) -> Begun {
        Begun { task, ..self }
    }

    fn row(self, ended_ms: u64, bytes: u64, pairs: u64) -> TaskRow {
        let Begun { task, attempt, started_ms } = self;
        TaskRow { task, attempt, backup: false, node: 0, started_ms, ended_ms, bytes, pairs }
    }
}

fn worker() -> WorkerId {
    WORKER.parse().expect("it holds letters only")
}
