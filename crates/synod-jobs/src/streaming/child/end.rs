//! Ends processes: a whole group, politely and then not, and leaves no zombie.
//!
//! The leader of the group is not waited for until the group has been signalled for the last time. As
//! long as it is a zombie its number cannot belong to another group.

use super::guard;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// Between the request to end and the end.
const GRACE: Duration = Duration::from_millis(250);
/// Between two looks where the system does not tell of an exit.
const LOOK: Duration = Duration::from_millis(5);

/// The leader of a process group that this process has started.
#[derive(Debug)]
pub struct Group {
    leader: Child,
    pid: Pid,
    #[cfg(target_os = "linux")]
    exit: Option<std::os::fd::OwnedFd>,
    reaped: Option<ExitStatus>,
}

impl Group {
    /// For a child that was started as the leader of a group of its own.
    pub fn new(leader: Child) -> Group {
        let pid = Pid::from_child(&leader);
        guard::watch(pid);
        Group {
            #[cfg(target_os = "linux")]
            exit: rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok(),
            leader,
            pid,
            reaped: None,
        }
    }

    /// The child, for its pipes.
    pub fn leader(&mut self) -> &mut Child {
        &mut self.leader
    }

    /// Whether the leader has ended. Its status is not taken.
    pub fn has_ended(&self) -> bool {
        if self.reaped.is_some() {
            return true;
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error means that somebody else has waited for it: it is gone.
        !matches!(waitid(WaitId::Pid(self.pid), options), Ok(None))
    }

    /// Waits until the leader has ended, or so long. Whether it has.
    pub fn wait_for_end(&self, most: Duration) -> bool {
        let start = Instant::now();
        loop {
            if self.has_ended() {
                return true;
            }
            let passed = start.elapsed();
            if passed >= most {
                return false;
            }
            self.pause(most - passed);
        }
    }

    /// Waits for a sign of the leader's end, at most so long.
    fn pause(&self, most: Duration) {
        #[cfg(target_os = "linux")]
        if let Some(exit) = &self.exit {
            // Interrupted or not: the caller looks again.
            let _ = poll(&mut [PollFd::new(exit, PollFlags::IN)], Some(&timespec(most)));
            return;
        }
        let _ = poll(&mut [], Some(&timespec(most.min(LOOK))));
    }

    /// Ends what is left of the group, and says how the leader ended. A leader that still runs is asked
    /// first.
    pub fn end(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.reaped {
            return Ok(status);
        }
        if !self.has_ended() {
            let _ = kill_process_group(self.pid, Signal::TERM);
            self.wait_for_end(GRACE);
        }
        // Without anybody left in the group there is nothing to do for it.
        let _ = kill_process_group(self.pid, Signal::KILL);
        guard::forget(self.pid);
        let status = self.leader.wait()?;
        self.reaped = Some(status);
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// For a call that waits.
pub fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// How a process ended as one number: its code, or 128 and the signal's number.
pub fn code_of(status: ExitStatus) -> i32 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => -1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    fn start(script: &str) -> (Group, BufReader<std::process::ChildStdout>) {
        let mut child = Command::new("/bin/sh")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        (Group::new(child), out)
    }

    fn is_alive(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    }

    /// Waits until the process is gone: it closes its pipes a moment before.
    fn assert_gone(pid: &str) {
        let start = Instant::now();
        while is_alive(pid) {
            assert!(start.elapsed() < Duration::from_secs(60), "process {pid} is still there");
            std::thread::yield_now();
        }
    }

    fn first_line(out: &mut impl BufRead) -> String {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    #[test]
    fn a_group_that_ignores_the_request_is_killed_with_its_children() {
        let script = "trap '' TERM; sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done'";
        let (mut group, mut out) = start(script);
        let child = first_line(&mut out);
        assert!(is_alive(&child));
        let status = group.end().unwrap();
        assert_eq!(code_of(status), 137);
        // Its pipe is closed when the last of the group is gone.
        assert_eq!(first_line(&mut out), "");
        assert_gone(&child);
    }

    #[test]
    fn a_leader_that_ended_keeps_its_status_and_its_orphans_are_killed() {
        let (mut group, mut out) = start("sleep 1000 & echo $!; exit 7");
        let orphan = first_line(&mut out);
        assert!(group.wait_for_end(Duration::from_secs(60)));
        assert!(is_alive(&orphan));
        assert_eq!(code_of(group.end().unwrap()), 7);
        assert_eq!(first_line(&mut out), "");
        assert_gone(&orphan);
        assert_eq!(code_of(group.end().unwrap()), 7);
    }
}
