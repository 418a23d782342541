//! Names of jobs, tasks and workers, and the keys of their records.
//!
//! ```text
//! synod/jobs/coordinator/<lease>            who coordinates: an election, etcd's recipe
//! synod/jobs/worker/<worker>                one worker, with its lease
//! synod/jobs/job/<job>/record               spec, state, epoch
//! synod/jobs/job/<job>/cancel               somebody wants it to end
//! synod/jobs/job/<job>/plan/<number>        pieces of the plan
//! synod/jobs/job/<job>/task/<task>          attempts, failures, winner
//! synod/jobs/job/<job>/claim/<task>         who runs it now, with the worker's lease
//! synod/jobs/job/<job>/backup/<task>        who runs it beside, because the first one is slow
//! synod/jobs/job/<job>/unreadable/<task>    a map output that a reducer could not read
//! synod/jobs/job/<job>/report               what is kept of the tasks of a job that has ended
//! ```
//!
//! Everything lies under one prefix, so one watch sees all of it in the order it happened. But for the files
//! that come with a job (`sent.rs`): every node watches the records, only some need the files.
//!
//! ```text
//! synod/job-files/<job>/<number>            pieces of the files that came with it
//! ```

pub use crate::task::TaskKind;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Every record of every job lies under it.
pub const PREFIX: &str = "synod/jobs/";
/// The files that came with jobs lie under it.
pub const FILES: &str = "synod/job-files/";
/// Under which workers are registered.
pub const WORKERS: &str = "synod/jobs/worker/";
/// Name of the coordinators' election.
pub const ELECTION: &str = "synod/jobs/coordinator";
/// Longest name of a job or a worker, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Name of a submitted job. Safe as a file name: lower-case letters, digits and dashes only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

/// Name of a worker: one life of one process. Same letters as [`JobId`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkerId(String);

/// The text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name of a job, task or worker")]
pub struct BadName(String);

fn checked(text: &str) -> Result<String, BadName> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty() || text.len() > MAX_NAME_BYTES || !text.bytes().all(fits) {
        return Err(BadName(text.chars().take(MAX_NAME_BYTES).collect()));
    }
    Ok(text.to_owned())
}

macro_rules! name {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                checked(text).map($name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                checked(&text).map($name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(JobId);
name!(WorkerId);

/// One task of a job, written `m000012` or `r000003`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId {
    /// Map or reduce.
    pub kind: TaskKind,
    /// Index of the split, or the partition.
    pub number: u32,
}

impl TaskId {
    /// The map task of a split.
    pub fn map(number: u32) -> TaskId {
        TaskId { kind: TaskKind::Map, number }
    }

    /// The reduce task of a partition.
    pub fn reduce(number: u32) -> TaskId {
        TaskId { kind: TaskKind::Reduce, number }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            TaskKind::Map => 'm',
            TaskKind::Reduce => 'r',
        };
        write!(f, "{kind}{:06}", self.number)
    }
}

impl TryFrom<String> for TaskId {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<TaskId> for String {
    fn from(task: TaskId) -> String {
        task.to_string()
    }
}

impl FromStr for TaskId {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName(text.chars().take(MAX_NAME_BYTES).collect());
        let (kind, digits) = match text.split_at_checked(1) {
            Some(("m", digits)) => (TaskKind::Map, digits),
            Some(("r", digits)) => (TaskKind::Reduce, digits),
            _ => return Err(bad()),
        };
        if digits.len() < 6 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad());
        }
        Ok(TaskId { kind, number: digits.parse().map_err(|_| bad())? })
    }
}

/// What a key under [`PREFIX`] names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// A worker's registration.
    Worker(WorkerId),
    /// Part of a job.
    Job(JobId, JobKey),
}

/// A key within a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKey {
    /// Spec and state.
    Record,
    /// The wish that it ends.
    Cancel,
    /// A piece of the plan.
    Plan(u32),
    /// A task.
    Task(TaskId),
    /// Who runs a task.
    Claim(TaskId),
    /// Who runs it beside the first one.
    Backup(TaskId),
    /// A report about a map task's output.
    Unreadable(TaskId),
    /// What is kept of the tasks at the end.
    Report,
}

impl Key {
    /// Reads a key; `None` for keys of others, the election's among them.
    pub fn parse(key: &[u8]) -> Option<Key> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(PREFIX)?;
        if let Some(worker) = rest.strip_prefix("worker/") {
            return worker.parse().ok().map(Key::Worker);
        }
        let (job, rest) = rest.strip_prefix("job/")?.split_once('/')?;
        let what = match rest.split_once('/') {
            None if rest == "record" => JobKey::Record,
            None if rest == "cancel" => JobKey::Cancel,
            None if rest == "report" => JobKey::Report,
            Some(("plan", number)) => JobKey::Plan(number.parse().ok()?),
            Some(("task", task)) => JobKey::Task(task.parse().ok()?),
            Some(("claim", task)) => JobKey::Claim(task.parse().ok()?),
            Some(("backup", task)) => JobKey::Backup(task.parse().ok()?),
            Some(("unreadable", task)) => JobKey::Unreadable(task.parse().ok()?),
            _ => return None,
        };
        Some(Key::Job(job.parse().ok()?, what))
    }
}

impl WorkerId {
    /// Key of the registration.
    pub fn key(&self) -> String {
        format!("{WORKERS}{self}")
    }
}

impl JobId {
    /// Under which everything about this job lies.
    pub fn prefix(&self) -> String {
        format!("{PREFIX}job/{self}/")
    }

    /// Under which the files lie that came with this job.
    pub fn files_prefix(&self) -> String {
        format!("{FILES}{self}/")
    }

    /// One key of the job.
    pub fn key(&self, what: JobKey) -> String {
        let prefix = self.prefix();
        match what {
            JobKey::Record => format!("{prefix}record"),
            JobKey::Cancel => format!("{prefix}cancel"),
            JobKey::Plan(number) => format!("{prefix}plan/{number:06}"),
            JobKey::Task(task) => format!("{prefix}task/{task}"),
            JobKey::Claim(task) => format!("{prefix}claim/{task}"),
            JobKey::Backup(task) => format!("{prefix}backup/{task}"),
            JobKey::Unreadable(task) => format!("{prefix}unreadable/{task}"),
            JobKey::Report => format!("{prefix}report"),
        }
    }

    /// The prefixes of what says who runs a task.
    pub fn claim_prefixes(&self) -> [String; 2] {
        ["claim/", "backup/"].map(|what| format!("{}{what}", self.prefix()))
    }

    /// The prefixes of everything that a finished job leaves behind beside its record and its report.
    pub fn working_prefixes(&self) -> [String; 6] {
        ["cancel", "plan/", "task/", "claim/", "backup/", "unreadable/"]
            .map(|what| format!("{}{what}", self.prefix()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read_back_as_what_it_names() {
        let job: JobId = "0f-1".parse().unwrap();
        for what in [
            JobKey::Record,
            JobKey::Cancel,
            JobKey::Plan(7),
            JobKey::Task(TaskId::map(0)),
            JobKey::Claim(TaskId::reduce(1_234_567)),
            JobKey::Backup(TaskId::map(3)),
            JobKey::Report,
            JobKey::Unreadable(TaskId::map(9)),
        ] {
            let key = job.key(what);
            assert_eq!(Key::parse(key.as_bytes()), Some(Key::Job(job.clone(), what)), "{key}");
        }
        let worker: WorkerId = "n1-ab".parse().unwrap();
        assert_eq!(Key::parse(worker.key().as_bytes()), Some(Key::Worker(worker)));
    }

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for name in ["", "..", "a/b", "a.b", "A", "ü", &"a".repeat(65)] {
            assert!(name.parse::<JobId>().is_err(), "{name}");
            assert!(name.parse::<WorkerId>().is_err(), "{name}");
        }
        for task in ["", "m", "m1", "x000001", "m-00001", "m+00001", "m0000000000001", "ü00001"] {
            let parsed = task.parse::<TaskId>();
            assert!(parsed.is_err() || task == "m0000000000001", "{task}");
        }
        for key in ["synod/jobs/coordinator/1", "synod/jobs/job/x/", "synod/jobs/job/../record"] {
            assert_eq!(Key::parse(key.as_bytes()), None, "{key}");
        }
    }
}
