//! A process of a test: what it prints goes to files, and it ends with the value that stands for it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, wait_for};

/// A running process. Dropped, it is killed, also when the test panics; if the test process itself is
/// killed, its standard input ends.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts it, its output in new files in `folder`.
    pub fn start(what: &str, command: &mut Command, folder: &Path) -> Process {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let stdout = folder.join(format!("{what}-{number}.out"));
        let stderr = folder.join(format!("{what}-{number}.err"));
        let create = |path: &Path| File::create(path).expect("a file for output can be made");
        let child = command
            .stdin(Stdio::piped())
            .stdout(create(&stdout))
            .stderr(create(&stderr))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Process { what: what.to_owned(), child, stdout, stderr }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stdout).unwrap_or_default()).into_owned()
    }

    /// What it has complained of.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }

    /// Waits until what it has printed satisfies `enough`; that output.
    pub fn wait_for_output(&mut self, enough: impl Fn(&str) -> bool) -> String {
        let what = format!("output of {}", self.what);
        wait_for(&what, PATIENCE, || {
            let ended = self.child.try_wait().expect("a child can be waited for");
            let output = self.stdout();
            if enough(&output) {
                return Some(output);
            }
            if let Some(status) = ended {
                panic!("{} ended ({status}): {}{}", self.what, output, self.stderr());
            }
            None
        })
    }

    /// Waits until it ends of itself.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.what);
        wait_for(&what, patience, || self.child.try_wait().expect("a child can be waited for"))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Ctrl-C; waits until it has ended.
    pub fn interrupt(&mut self) -> ExitStatus {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).expect("a child can be interrupted");
        self.wait(PATIENCE)
    }

    /// Resident memory, bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))
            .expect("the process runs and this is Linux");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.expect("the resident size is in there") * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- {} printed:\n{}{}", self.what, self.stdout(), self.stderr());
        }
    }
}
