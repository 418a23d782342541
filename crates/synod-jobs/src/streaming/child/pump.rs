//! Moves bytes through the pipes of a command, on one thread that never blocks in one of them.
//!
//! Whatever the command does with its pipes (prints before it reads, reads and prints nothing, stops
//! reading, closes one, leaves one to a child of its own), the others keep moving. The thread writes
//! as long as the pipe takes bytes, so that most reads find a pipe full of output.
//!
//! Progress is a byte that moves in any pipe. Without any for the job's timeout the command is ended.
//! Time that this thread spends elsewhere, sorting or reading input, does not count.

use super::end::{Group, code_of, timespec};
use super::launch::Launch;
use crate::error::JobError;
use crate::streaming::report::Reports;
use crate::streaming::wire::reader::PairReader;
use crate::task::TaskContext;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

/// Between two looks at the cancel switch while nothing moves.
const TICK: Duration = Duration::from_millis(100);
/// How long output is waited for when the command has ended but somebody holds its pipes.
const ORPHANS_DELAY: Duration = Duration::from_millis(250);
/// Bytes of stderr taken at once.
const STDERR_BYTES: usize = 64 << 10;

/// Takes the pairs that a command prints.
pub type TakePair<'t> = dyn FnMut(&[u8], &[u8]) -> Result<(), JobError> + 't;

/// Whether bytes reached the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    /// All of them are in the pipe.
    All,
    /// The command does not read any more.
    Closed,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Its exit code; 128 and the number if a signal ended it.
    pub code: i32,
    /// Pairs that it printed.
    pub pairs: u64,
}

/// A running command.
pub struct Command<'a> {
    group: Group,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    reader: PairReader,
    reports: &'a mut Reports,
    task: &'a TaskContext<'a>,
    timeout: Option<Duration>,
    join_delay: Duration,
    /// Time spent waiting since the last byte moved.
    idle: Duration,
    pairs: u64,
    errors: Vec<u8>,
}

impl<'a> Command<'a> {
    /// Starts a command whose output `reader` takes apart.
    pub fn start(
        launch: &Launch,
        reader: PairReader,
        reports: &'a mut Reports,
        task: &'a TaskContext<'a>,
        (timeout, join_delay): (Option<Duration>, Option<Duration>),
    ) -> Result<Command<'a>, JobError> {
        let mut group = launch.start().map_err(|error| JobError::Task {
            permanent: error.is_permanent(),
            message: error.to_string(),
            bad_record: None,
        })?;
        let child = group.leader();
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        Ok(Command {
            group,
            stdin,
            stdout,
            stderr,
            reader,
            reports,
            task,
            timeout,
            join_delay: join_delay.unwrap_or(ORPHANS_DELAY),
            idle: Duration::ZERO,
            pairs: 0,
            errors: vec![0; STDERR_BYTES],
        })
    }

    /// Pairs that it has printed so far.
    pub fn pairs(&self) -> u64 {
        self.pairs
    }

    /// Gives it bytes to read, and takes what it prints meanwhile.
    pub fn feed(&mut self, bytes: &[u8], take: &mut TakePair<'_>) -> Result<Fed, JobError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(stdin) = &self.stdin else { return Ok(Fed::Closed) };
            match rustix::io::write(stdin, rest) {
                Ok(written) => {
                    rest = &rest[written..];
                    self.idle = Duration::ZERO;
                }
                Err(Errno::AGAIN) => {
                    self.turn(true, TICK, take)?;
                    if !self.idle.is_zero() && self.group.has_ended() {
                        // A child of it holds the pipe, and nobody reads.
                        self.stdin = None;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::PIPE) => self.stdin = None,
                Err(error) => return Err(self.broken("write to", error)),
            }
        }
        Ok(Fed::All)
    }

    /// Lets it see the end of its input, takes the rest of what it prints, and ends its group.
    pub fn finish(mut self, take: &mut TakePair<'_>) -> Result<Outcome, JobError> {
        self.stdin = None;
        let mut orphaned = Duration::ZERO;
        while self.stdout.is_some() || self.stderr.is_some() {
            let waited = self.turn_and_measure(false, TICK.min(self.join_delay), take)?;
            if self.group.has_ended() {
                orphaned += waited;
                if orphaned >= self.join_delay {
                    self.task.log.line(b"[a child of the command held its output; it was ended]");
                    break;
                }
            }
        }
        while !self.group.wait_for_end(TICK) {
            self.pass_idle(TICK)?;
        }
        let status = self.group.end().map_err(|error| JobError::Task {
            message: format!("the command's end was not seen: {error}"),
            permanent: false,
            bad_record: None,
        })?;
        // What was in the pipe is all there will be.
        self.reader.end();
        self.take_pairs(take)?;
        let log = self.task.log;
        self.reports.end(&mut |line| log.line(line));
        Ok(Outcome { code: code_of(status), pairs: self.pairs })
    }

    fn turn(
        &mut self,
        wants_to_write: bool,
        most: Duration,
        take: &mut TakePair<'_>,
    ) -> Result<(), JobError> {
        self.turn_and_measure(wants_to_write, most, take).map(drop)
    }

    /// Waits until a pipe moves, at most so long, and moves it. How long it has waited.
    fn turn_and_measure(
        &mut self,
        wants_to_write: bool,
        most: Duration,
        take: &mut TakePair<'_>,
    ) -> Result<Duration, JobError> {
        let mut fds = Vec::with_capacity(3);
        if let Some(stdin) = self.stdin.as_ref().filter(|_| wants_to_write) {
            fds.push(PollFd::new(stdin, PollFlags::OUT));
        }
        let stdout_at = self.stdout.as_ref().map(|stdout| {
            fds.push(PollFd::new(stdout, PollFlags::IN));
            fds.len() - 1
        });
        let stderr_at = self.stderr.as_ref().map(|stderr| {
            fds.push(PollFd::new(stderr, PollFlags::IN));
            fds.len() - 1
        });
        let before = Instant::now();
        match poll(&mut fds, Some(&timespec(most))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(self.broken("wait for", error)),
        }
        let waited = before.elapsed();
        let moves = |at: Option<usize>| at.is_some_and(|at| !fds[at].revents().is_empty());
        let (out, err) = (moves(stdout_at), moves(stderr_at));
        let any = fds.iter().any(|fd| !fd.revents().is_empty());
        drop(fds);
        if out {
            self.read_output(take)?;
        }
        if err {
            self.read_errors()?;
        }
        if any {
            self.idle = Duration::ZERO;
        } else {
            self.pass_idle(waited)?;
        }
        Ok(waited)
    }

    /// Nothing has moved for so long. Fails if that was too long, or the job is to stop.
    fn pass_idle(&mut self, waited: Duration) -> Result<(), JobError> {
        self.task.progress.check_cancelled()?;
        self.idle += waited;
        match self.timeout {
            Some(timeout) if self.idle >= timeout => Err(JobError::Task {
                message: format!(
                    "the command made no progress for {} s and was ended: let it print or report \
                     something, or raise mapreduce.task.timeout",
                    timeout.as_secs_f64()
                ),
                permanent: false,
                bad_record: None,
            }),
            _ => Ok(()),
        }
    }

    fn read_output(&mut self, take: &mut TakePair<'_>) -> Result<(), JobError> {
        let Some(stdout) = &self.stdout else { return Ok(()) };
        match rustix::io::read(stdout.as_fd(), self.reader.room()) {
            Ok(0) => self.stdout = None,
            Ok(read) => {
                self.reader.filled(read);
                self.take_pairs(take)?;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(self.broken("read from", error)),
        }
        Ok(())
    }

    fn take_pairs(&mut self, take: &mut TakePair<'_>) -> Result<(), JobError> {
        loop {
            match self.reader.next() {
                Ok(Some((key, value))) => {
                    take(key, value)?;
                    self.pairs += 1;
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    return Err(JobError::Task {
                        message: format!("the command printed what cannot be used: {error}"),
                        permanent: false,
                        bad_record: None,
                    });
                }
            }
        }
    }

    fn read_errors(&mut self) -> Result<(), JobError> {
        let Some(stderr) = &self.stderr else { return Ok(()) };
        match rustix::io::read(stderr.as_fd(), &mut self.errors[..]) {
            Ok(0) => self.stderr = None,
            Ok(read) => {
                let log = self.task.log;
                let mut keep = |line: &[u8]| log.line(line);
                self.reports.take(&self.errors[..read], Instant::now(), &mut keep);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(self.broken("read from", error)),
        }
        Ok(())
    }

    fn broken(&self, what: &str, error: Errno) -> JobError {
        JobError::Task {
            message: format!("cannot {what} the command: {}", std::io::Error::from(error)),
            permanent: false,
            bad_record: None,
        }
    }
}
