//! Moves bytes through the pipes of a command, on one thread that never blocks in one of them.
//!
//! Whatever the command does with its pipes (prints before it reads, reads and prints nothing, stops
//! reading, closes one, leaves one to a child of its own), the others keep moving. The thread writes
//! as long as the pipe takes bytes, so that most reads find a pipe full of output.
//!
//! A command with much to read gets a wide pipe, and the thread looks at the pipes less often. What is
//! in a pipe looks as if it had been read; so, lest a command that ends without reading its input go
//! unnoticed, a wide pipe is closed when no more is in it than an ordinary one holds.
//!
//! Progress is a byte that moves in any pipe: a counter or a status that is reported, too. Without any for
//! the job's timeout the command is ended. Time that this thread spends elsewhere, sorting or reading input,
//! does not count. As long as the timeout allows, the task moves, whatever the command does: who watches
//! tasks on a cluster must not be less
//! patient.

use super::end::{Group, code_of, timespec};
use super::launch::{Launch, PIPE_BYTES, WIDE_PIPE_BYTES, widen};
use super::pace::Pace;
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
/// Input after which a command gets a wide pipe.
const WIDE_AFTER_BYTES: u64 = 1 << 20;
/// Between the first two looks whether a command has read the rest of its input.
const DRAIN_PAUSE: Duration = Duration::from_millis(1);
/// Bytes of stderr taken at once.
const STDERR_BYTES: usize = 64 << 10;
/// Bytes of stdout taken before the other pipes have their turn.
const STDOUT_BYTES: usize = WIDE_PIPE_BYTES;

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
    /// Whether it ended, or closed the pipe, with more to read than an ordinary pipe holds.
    pub left_input: bool,
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
    /// Bytes that it was given.
    fed: u64,
    /// Whether it reads from a wide pipe; none before there is a reason to ask for one.
    wide: Option<bool>,
    pace: Pace,
    /// Bytes that were in the pipe when the command closed it.
    unread: u64,
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
        let mut group = launch.start().map_err(|error| JobError::NotStarted {
            permanent: error.is_permanent(task.on_cluster),
            message: error.to_string(),
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
            fed: 0,
            wide: None,
            pace: Pace::new(),
            unread: 0,
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
                    self.fed += written as u64;
                    self.pace.wrote(written);
                    if self.wide.is_none() && self.fed > WIDE_AFTER_BYTES {
                        self.wide = Some(widen(stdin));
                    }
                }
                Err(Errno::AGAIN) => {
                    self.turn(true, TICK, take)?;
                    self.let_go_if_orphaned();
                }
                Err(Errno::INTR) => {}
                Err(Errno::PIPE) => self.stdin = None,
                Err(error) => return Err(self.broken("write to", error)),
            }
        }
        Ok(Fed::All)
    }

    /// A pipe that a child of the command holds, and nobody reads from, is no pipe to it.
    fn let_go_if_orphaned(&mut self) {
        if !self.idle.is_zero() && self.group.has_ended() {
            self.let_go();
        }
    }

    fn let_go(&mut self) {
        if let Some(stdin) = self.stdin.take() {
            // What nobody has read stays in the pipe as long as one end is open.
            self.unread = rustix::io::ioctl_fionread(stdin).unwrap_or(0);
        }
    }

    /// Waits until a wide pipe holds no more than an ordinary one. Whether it came to that.
    fn drain(&mut self, take: &mut TakePair<'_>) -> Result<Fed, JobError> {
        let (mut before, mut pause) = (WIDE_PIPE_BYTES as u64, DRAIN_PAUSE);
        while self.wide == Some(true) {
            let Some(stdin) = &self.stdin else {
                // It may have read all of it, and ended without looking whether there is more.
                let rest = self.unread <= PIPE_BYTES as u64;
                return Ok(if rest { Fed::All } else { Fed::Closed });
            };
            // A system that does not tell has no wide pipes either.
            let unread = rustix::io::ioctl_fionread(stdin).unwrap_or(0);
            if unread <= PIPE_BYTES as u64 {
                break;
            }
            let read = before.saturating_sub(unread);
            if read > 0 {
                self.idle = Duration::ZERO;
            }
            if read < PIPE_BYTES as u64 {
                pause = (pause * 2).min(TICK);
            }
            before = unread;
            self.turn(false, pause, take)?;
            self.let_go_if_orphaned();
        }
        Ok(Fed::All)
    }

    /// Lets it see the end of its input, takes the rest of what it prints, and ends its group.
    pub fn finish(mut self, take: &mut TakePair<'_>) -> Result<Outcome, JobError> {
        let left_input = self.drain(take)? == Fed::Closed;
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
        self.pass_status_on();
        Ok(Outcome { code: code_of(status), pairs: self.pairs, left_input })
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
        let before = Instant::now();
        // Also of a command whose pipes never rest: one that prints for ever and reads nothing.
        self.task.progress.step()?;
        self.nap()?;
        let mut fds = Vec::with_capacity(3);
        let stdin_at = self.stdin.as_ref().map(|stdin| {
            // Without a flag it is looked at for its end alone.
            let flags = if wants_to_write { PollFlags::OUT } else { PollFlags::empty() };
            fds.push(PollFd::new(stdin, flags));
            fds.len() - 1
        });
        let stdout_at = self.stdout.as_ref().map(|stdout| {
            fds.push(PollFd::new(stdout, PollFlags::IN));
            fds.len() - 1
        });
        let stderr_at = self.stderr.as_ref().map(|stderr| {
            fds.push(PollFd::new(stderr, PollFlags::IN));
            fds.len() - 1
        });
        match poll(&mut fds, Some(&timespec(most))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(self.broken("wait for", error)),
        }
        let waited = before.elapsed();
        let moves = |at: Option<usize>| at.is_some_and(|at| !fds[at].revents().is_empty());
        let (out, err) = (moves(stdout_at), moves(stderr_at));
        let any = fds.iter().any(|fd| !fd.revents().is_empty());
        let closed = stdin_at.is_some_and(|at| fds[at].revents().contains(PollFlags::ERR));
        drop(fds);
        if closed {
            self.let_go();
        }
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

    /// Lets a command that has much to read go on for a moment, unless it closes a pipe.
    fn nap(&mut self) -> Result<(), JobError> {
        if self.wide != Some(true) {
            return Ok(());
        }
        let ends = PollFlags::empty();
        let stdin = self.stdin.as_ref().map(|pipe| PollFd::new(pipe, ends));
        let stdout = self.stdout.as_ref().map(|pipe| PollFd::new(pipe, ends));
        let mut fds: Vec<PollFd<'_>> = stdin.into_iter().chain(stdout).collect();
        match poll(&mut fds, Some(&timespec(self.pace.next_nap()))) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(self.broken("wait for", error)),
        }
    }

    /// Nothing has moved for so long. Fails if that was too long, or the job is to stop.
    fn pass_idle(&mut self, waited: Duration) -> Result<(), JobError> {
        self.task.progress.step()?;
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

    /// Reads what is in the pipe, a pipe full at most.
    fn read_output(&mut self, take: &mut TakePair<'_>) -> Result<(), JobError> {
        let mut taken = 0;
        while taken < STDOUT_BYTES
            && let Some(stdout) = &self.stdout
        {
            let room = self.reader.room();
            let offered = room.len();
            match rustix::io::read(stdout.as_fd(), room) {
                Ok(0) => self.stdout = None,
                Ok(read) => {
                    self.pace.read(read);
                    self.reader.filled(read);
                    self.take_pairs(take)?;
                    taken += read;
                    if read < offered {
                        break;
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(error) => return Err(self.broken("read from", error)),
            }
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
                self.pass_status_on();
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(self.broken("read from", error)),
        }
        Ok(())
    }

    fn pass_status_on(&mut self) {
        if let Some(status) = self.reports.take_status() {
            self.task.progress.say(&status);
        }
    }

    fn broken(&self, what: &str, error: Errno) -> JobError {
        JobError::Task {
            message: format!("cannot {what} the command: {}", std::io::Error::from(error)),
            permanent: false,
            bad_record: None,
        }
    }
}
