//! What the tests of the real binary share: processes that never outlive their test, ports that no
//! two tests use at once, a cluster, `etcdctl`, and waiting with a bound.
//!
//! Nothing here waits for a length of time to pass: it looks again until something has happened, and
//! fails the test with a sentence if it does not happen in time.

#![allow(dead_code, reason = "each test program uses a part of this")]

pub mod cluster;
pub mod etcd;
pub mod etcdctl;
pub mod http;
pub mod load;
pub mod mount;
pub mod parts;
pub mod permissions;
pub mod port;
pub mod process;
pub mod proxy;
pub mod pty;
pub mod s3;
pub mod text;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The binary under test: SYNOD_BIN (a release build, say), or the one cargo built for this test.
pub fn binary() -> PathBuf {
    std::env::var_os("SYNOD_BIN").map_or_else(|| env!("CARGO_BIN_EXE_synod").into(), PathBuf::from)
}

/// The binary with these arguments, without the caller's settings.
pub fn synod(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env_remove("SYNOD_ENDPOINTS").env_remove("SYNOD_LOG");
    command
}

/// Runs a command of the binary that must succeed; its standard output.
pub fn succeed(arguments: &[&str]) -> String {
    let output = synod(arguments).stdin(Stdio::null()).output().expect("the binary can be run");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "synod {arguments:?}: {}: {stderr}", output.status);
    String::from_utf8(output.stdout).expect("the output is text")
}

/// Runs a command of the binary that must fail with this exit code and one line; the line.
pub fn refused(arguments: &[&str], code: i32) -> String {
    let output = synod(arguments).stdin(Stdio::null()).output().expect("the binary can be run");
    let stderr = String::from_utf8(output.stderr).expect("errors are text");
    assert_eq!(output.status.code(), Some(code), "synod {arguments:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "synod {arguments:?}: {stderr}");
    assert!(stderr.starts_with("synod: "), "synod {arguments:?}: {stderr}");
    stderr
}

/// Looks until `look` finds something; fails the test if that takes longer than `patience`.
pub fn wait_for<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < patience, "waited {patience:?} in vain for {what}");
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Says something that is seen although the test passes: the test harness shows what is printed only
/// when a test fails.
pub fn say_loudly(line: &str) {
    use std::io::Write;
    // If nobody can read it, nothing is to be done.
    drop(writeln!(std::io::stderr(), "\n*** {line}"));
}

/// Leaves a check out where it cannot be done, and says so; fails if this variable is 1.
pub fn leave_out(what: &str, variable: &str) {
    let demanded = std::env::var(variable).is_ok_and(|value| value == "1");
    assert!(!demanded, "{variable}=1, but this cannot be done here: {what}");
    say_loudly(&format!("SKIPPED: {what}"));
}

/// Nothing that a test waits for takes this long on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

const LOOK_INTERVAL: Duration = Duration::from_millis(10);
