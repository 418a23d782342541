//! What can go wrong in a job, each condition with its evidence and what to do about it.
//!
//! Every message names the file (and where it is known the byte offset and the record) and ends
//! with the next step for a person. Unless a variant says otherwise the job has left no output.

use crate::task::TaskKind;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Why a plan, a task or a whole job failed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The job description contradicts itself or a limit.
    #[error("bad job description: {what}")]
    BadSpec {
        /// What is wrong and what would be right.
        what: String,
    },
    /// No job that this program knows has this name.
    #[error("unknown job `{name}`: the built-in jobs are {known}")]
    UnknownJob {
        /// The name that was asked for.
        name: String,
        /// The names that exist, separated by commas: the built-in ones, then the program's own.
        known: String,
    },
    /// An input does not exist.
    #[error("input {} does not exist: check the path", .path.display())]
    InputMissing {
        /// The path as given.
        path: PathBuf,
    },
    /// Within a folder that is an input there is another folder.
    #[error(
        "input {} is a folder within a folder: name its files, or have folders read with all below \
         them",
        .path.display()
    )]
    InputIsFolder {
        /// The path as given.
        path: PathBuf,
    },
    /// A link within a folder leads to another folder.
    #[error("input {} is a link to a folder: name that folder itself", .path.display())]
    InputIsLinkToFolder {
        /// The link.
        path: PathBuf,
    },
    /// A compressed input cannot be unpacked.
    #[error(
        "input {} cannot be unpacked: {what}; make it anew, or name it without its extension",
        .path.display()
    )]
    BadCompression {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The bytes of an input are not records of the format that the job says.
    #[error("input {} at offset {offset}: {what}; check the input format", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A job that runs a program failed there.
    #[error("{message}")]
    Task {
        /// What happened, and what to do.
        message: String,
        /// Whether every other attempt must fail the same way.
        permanent: bool,
        /// Offset of the record that it failed on, or the number of the group, if that is known.
        bad_record: Option<u64>,
    },
    /// The program of a task could not be started. That says nothing about the records it was to read.
    #[error("{message}")]
    NotStarted {
        /// What happened, and what to do.
        message: String,
        /// Whether every other attempt must fail the same way.
        permanent: bool,
    },
    /// An input is neither a regular file nor a folder.
    #[error("input {} is not a regular file: copy its content to a file first", .path.display())]
    InputNotRegular {
        /// The path as given.
        path: PathBuf,
    },
    /// A name that is not UTF-8 would have to be kept in the records of a cluster.
    #[error(
        "{path:?}: this name is not UTF-8, and a cluster keeps names as text: rename it, or run the job \
         without a cluster"
    )]
    NameNotUtf8 {
        /// The file or folder.
        path: PathBuf,
    },
    /// A pattern matched no file.
    #[error("no file matches {}: check the pattern", .pattern.display())]
    NothingMatches {
        /// The pattern as given.
        pattern: PathBuf,
    },
    /// An input may not be read by this user.
    #[error("input {} cannot be read: {source}; check its permissions", .path.display())]
    InputUnreadable {
        /// The path as given.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// An input is not what it was when the job was planned.
    #[error(
        "input {} changed while the job ran ({what}): run the job again when nobody writes to it",
        .path.display()
    )]
    InputChanged {
        /// The file that changed.
        path: PathBuf,
        /// What differs from the frozen state.
        what: String,
    },
    /// A record is longer than the job allows.
    #[error(
        "input {}: the record at offset {offset} is longer than {limit_bytes} bytes: \
         raise the record limit (and the memory budget to at least four times that)",
        .path.display()
    )]
    RecordTooLong {
        /// The file it is in.
        path: PathBuf,
        /// Where the record starts.
        offset: u64,
        /// The limit it breaks.
        limit_bytes: u64,
    },
    /// The job's map function panicked.
    #[error(
        "the map function panicked on record {record} of split {split}, input {} offset {offset}: \
         {message}; fix the function or allow bad records to be skipped",
        .path.display()
    )]
    MapPanicked {
        /// The file it was reading.
        path: PathBuf,
        /// Index of the split in the plan.
        split: usize,
        /// Offset of the record's first byte.
        offset: u64,
        /// The record's number within its split, from 0.
        record: u64,
        /// The panic's message.
        message: String,
        /// What it panicked on behind that record, if the attempt went on to find out.
        others: Vec<PanickedRecord>,
    },
    /// The job's reduce function panicked.
    #[error(
        "the reduce function panicked in partition {partition} on key `{key}`: {message}; \
         fix the function or allow bad records to be skipped"
    )]
    ReducePanicked {
        /// The partition it was reducing.
        partition: u32,
        /// The group's number in it, from 0.
        group: u64,
        /// The group's key, shortened and escaped.
        key: String,
        /// The panic's message.
        message: String,
    },
    /// More records and groups had to be skipped than the job allows.
    #[error("more than {limit} bad records: the last one was {last}")]
    TooManyBadRecords {
        /// The limit of the job.
        limit: u64,
        /// The failure that broke it.
        last: Box<JobError>,
    },
    /// More tasks have failed than the job may go on without.
    #[error("{failed} of {total} {} tasks have failed, more than the {percent} percent that may: the last \
             one with: {last}", .kind.name())]
    TooManyFailedTasks {
        /// Map or reduce.
        kind: TaskKind,
        /// Those that have failed.
        failed: u64,
        /// All of the job.
        total: u64,
        /// How many of a hundred may.
        percent: u32,
        /// The failure that was one too many.
        last: Box<JobError>,
    },
    /// The output folder is there already. Nothing was read or written.
    #[error(
        "output {} exists: choose another folder or remove it first (nothing was done)",
        .path.display()
    )]
    OutputExists {
        /// The folder.
        path: PathBuf,
    },
    /// The output folder cannot be made.
    #[error(
        "output {} cannot be made: {source}; choose a place below a folder that whoever runs the job may \
         write to",
        .path.display()
    )]
    OutputNotMade {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no room left where a file was being written.
    #[error("no space left while writing {}: free some or use another disk", .path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// Any other failure of the file system.
    #[error("cannot {action} {}: {source}{}", .path.display(), advice(.source))]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Intermediate data failed its checksum or does not parse. The map task that wrote it can
    /// run again; the data must not be used.
    #[error("intermediate data {origin} is damaged: {what}; run its map task again")]
    DamagedRun {
        /// The file or the remote source it came from.
        origin: String,
        /// What does not fit.
        what: &'static str,
    },
    /// The job failed on a cluster; the text is the error that ended it there.
    #[error("{message}")]
    OnCluster {
        /// That error.
        message: String,
    },
    /// A store that an input or the output is in cannot do what is needed.
    #[error("{}: {what}", .name.display())]
    Store {
        /// The name with its scheme.
        name: PathBuf,
        /// What happened, and what to do.
        what: String,
        /// Whether every other attempt must fail the same way.
        permanent: bool,
    },
    /// Somebody asked the job to stop.
    #[error("the job was cancelled")]
    Cancelled,
}

/// A record that a map function panicked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PanickedRecord {
    /// Offset of its first byte.
    pub offset: u64,
    /// Its number within its split, from 0.
    pub record: u64,
    /// The panic's message.
    pub message: String,
}

impl JobError {
    /// Wraps a failed file operation and tells a full disk from the rest. An error that was a
    /// [`JobError`] before, as stores give it through [`JobError::into_io`], stays what it is.
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> JobError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                JobError::DiskFull { path: path.to_owned() }
            }
            _ => match source.downcast::<JobError>() {
                Ok(error) => error,
                Err(source) => JobError::Io { action, path: path.to_owned(), source },
            },
        }
    }

    /// Why an output folder, or one above it, could not be made.
    pub(crate) fn output(path: &Path, source: io::Error) -> JobError {
        match JobError::io("create", path, source) {
            JobError::Io { path, source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                JobError::OutputExists { path }
            }
            JobError::Io { path, source, .. } if is_about_the_place(source.kind()) => {
                JobError::OutputNotMade { path, source }
            }
            other => other,
        }
    }

    /// For readers of stores: [`JobError::io`] finds it again.
    pub fn into_io(self) -> io::Error {
        io::Error::other(self)
    }

    /// The same error for each record that a map function panicked on, in their order.
    pub(crate) fn each_panic(&self) -> Vec<(u64, JobError)> {
        let JobError::MapPanicked { path, split, offset, record, message, others } = self else {
            return Vec::new();
        };
        let first = PanickedRecord { offset: *offset, record: *record, message: message.clone() };
        let all = std::iter::once(first).chain(others.iter().cloned());
        let alone = |one: PanickedRecord| JobError::MapPanicked {
            path: path.clone(),
            split: *split,
            offset: one.offset,
            record: one.record,
            message: one.message,
            others: Vec::new(),
        };
        all.map(|one| (one.offset, alone(one))).collect()
    }

    /// The group of a partition, by its number, that a reduce function failed on.
    pub(crate) fn bad_group(&self) -> Option<u64> {
        match self {
            JobError::ReducePanicked { group, .. } => Some(*group),
            JobError::Task { bad_record, .. } => *bad_record,
            _ => None,
        }
    }

    /// Whether this process, or this machine, lacks what it takes, see [`is_lack`].
    pub fn is_lack(&self) -> bool {
        match self {
            JobError::DiskFull { .. } => true,
            JobError::Io { source, .. } => is_lack(source),
            _ => false,
        }
    }

    /// Whether another attempt, also on another machine, must fail the same way.
    pub fn is_permanent(&self) -> bool {
        matches!(
            self,
            JobError::BadSpec { .. }
                | JobError::UnknownJob { .. }
                | JobError::InputChanged { .. }
                | JobError::RecordTooLong { .. }
                | JobError::BadCompression { .. }
                | JobError::Malformed { .. }
                | JobError::InputIsLinkToFolder { .. }
                | JobError::NameNotUtf8 { .. }
                | JobError::Task { permanent: true, .. }
                | JobError::NotStarted { permanent: true, .. }
                | JobError::Store { permanent: true, .. }
        )
    }

    /// Whether it is no matter of one task: every other one must fail the same way, or the job as a whole
    /// is not what it should be. A job that may go on without some of its tasks does not go on then.
    pub fn is_of_whole_job(&self) -> bool {
        let of_one_input = matches!(
            self,
            JobError::RecordTooLong { .. }
                | JobError::BadCompression { .. }
                | JobError::Malformed { .. }
        );
        self.is_permanent() && !of_one_input
            || matches!(
                self,
                JobError::TooManyBadRecords { .. }
                    | JobError::TooManyFailedTasks { .. }
                    | JobError::OutputExists { .. }
                    | JobError::OnCluster { .. }
                    | JobError::Cancelled
            )
    }
}

/// Whether an error of the system says that this process, or this machine, lacks what it takes: file
/// descriptors, memory, room. It says nothing about the file or the other side that was asked for, and it
/// may pass.
pub fn is_lack(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let lacks =
        [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::NOSPC, Errno::DQUOT];
    error.raw_os_error().is_some_and(|raw| lacks.iter().any(|lack| lack.raw_os_error() == raw))
}

/// Whether a folder cannot be made for where it is to be: at another place it may be.
fn is_about_the_place(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(kind, PermissionDenied | ReadOnlyFilesystem | NotADirectory | NotFound)
}

/// What to do about an error of the file system, if that is not to be seen from it.
fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) {
        true => "; raise the limit of open files (`ulimit -n`), or run fewer tasks at a time",
        false => "",
    }
}

/// Runs a part of a task that is at work on no one record or group. A panic there is a failure of the task:
/// it must not take the thread along, which others may wait for.
pub(crate) fn without_panic<T>(part: impl FnOnce() -> Result<T, JobError>) -> Result<T, JobError> {
    catch_unwind(AssertUnwindSafe(part)).unwrap_or_else(|payload| Err(panicked_aside(&*payload)))
}

/// The error of a panic that no one record or group is to blame for.
pub(crate) fn panicked_aside(payload: &(dyn std::any::Any + Send)) -> JobError {
    let message = format!(
        "the task panicked on no one record: {}; look at what the job does to keys and values, as \
         `partition`, `group` and its combiner",
        panic_message(payload)
    );
    JobError::Task { message, permanent: false, bad_record: None }
}

/// The text of a caught panic.
pub(crate) fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "no message".to_owned()
    }
}
