//! Sees to it that no command outlives this process, even if that is killed without a chance to act.
//!
//! A shell of its own group reads the numbers of running groups from a pipe that only this process can
//! write to: `+123` when a group was started, `-123` before its leader is waited for. When this
//! process is gone the pipe ends, and the shell kills the groups that are left. As long as a leader has
//! not been waited for, its number belongs to nobody else. What a command puts into a session of
//! its own escapes, as does one that was started in the very moment of the kill; and without a
//! `/bin/sh` nobody watches.

use rustix::process::Pid;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Keeps the numbers; `kill` gets them all, and what has ended in the meantime is no failure.
const SCRIPT: &str = "groups=' '
while read -r word; do
    group=${word#?}
    case $word in
    +*) groups=\"$groups$group \" ;;
    -*) groups=\"${groups%% $group *} ${groups#* $group }\" ;;
    esac
done
for group in $groups; do kill -KILL \"-$group\"; done";

/// The pipe to the guard of this process, once it has been started.
static GUARD: Mutex<Option<Guard>> = Mutex::new(None);

enum Guard {
    Reads(ChildStdin),
    /// It could not be started, or has ended.
    Gone,
}

/// Starts the guard, if nobody has yet. To be called before a command is started, so that little time
/// passes before its group can be watched.
pub fn prepare() {
    GUARD.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(start);
}

/// From now on the group ends when this process does.
pub fn watch(group: Pid) {
    tell('+', group);
}

/// The group is as good as gone. To be called before its leader is waited for.
pub fn forget(group: Pid) {
    tell('-', group);
}

fn tell(sign: char, group: Pid) {
    let mut guard = GUARD.lock().unwrap_or_else(PoisonError::into_inner);
    let guard = guard.get_or_insert_with(start);
    if let Guard::Reads(pipe) = guard {
        let line = format!("{sign}{}\n", group.as_raw_nonzero());
        // So short a write is whole or fails.
        if pipe.write_all(line.as_bytes()).is_err() {
            *guard = Guard::Gone;
        }
    }
}

/// Starts the shell. It is not waited for: it ends after this process.
fn start() -> Guard {
    let shell = Command::new("/bin/sh")
        .args(["-c", SCRIPT])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A signal for this process from a terminal is none for the guard.
        .process_group(0)
        .spawn();
    match shell.ok().and_then(|mut shell| shell.stdin.take()) {
        Some(pipe) => Guard::Reads(pipe),
        None => Guard::Gone,
    }
}
