//! A process that cannot outlive the bench, and what the system knows of its cost.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::workplace::installed;

/// Killed when dropped. Where `setpriv` is installed it also dies with us however we end.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`; what it says goes to the file `log`, its standard output where `stdout` says.
    pub fn start(
        program: &Path,
        arguments: &[String],
        log: PathBuf,
        stdout: Stdio,
    ) -> Result<Self> {
        let mut command = match installed("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                // It becomes the program: the process id is the program's.
                command.args(["--pdeathsig", "KILL", "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        let child = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Process { child, log })
    }

    /// The process itself.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits until a Synod has said on its standard output, which must be piped, that it is ready: when.
    pub fn wait_until_ready(&mut self) -> Result<Instant> {
        let stdout = self.child.stdout.take().context("its output is piped")?;
        let (ready, is_ready) = mpsc::channel();
        // It ends with the process, when the pipe does.
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(std::io::Result::ok);
            if lines.any(|line| line.contains("ready")) {
                // Too late is as good as never.
                let _heard: Result<(), _> = ready.send(Instant::now());
            }
            // Read on, so that it never waits for us.
            lines.for_each(drop);
        });
        let heard = is_ready.recv_timeout(READY_TIMEOUT);
        heard.with_context(|| format!("it does not get ready; it said: {}", self.last_words()))
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// The last lines it said.
    pub fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(3)..].join("; ")
    }

    /// Processor time it has used.
    pub fn cpu(&self) -> Duration {
        cpu(&self.child.id().to_string())
    }

    /// Memory it has now, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most memory it ever had, in bytes.
    pub fn max_resident_bytes(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        status_bytes(&text.unwrap_or_default(), field)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Processor time of this process.
pub fn own_cpu() -> Duration {
    cpu("self")
}

fn cpu(process: &str) -> Duration {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    Duration::from_millis(stat_ticks(&text) * (1000 / TICKS_PER_SECOND))
}

/// User and system time. The program's name stands in brackets and may hold anything.
fn stat_ticks(text: &str) -> u64 {
    let after_name = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let fields = after_name.split(' ').skip(FIELDS_BEFORE_UTIME).take(2);
    fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

fn status_bytes(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// Between the name's bracket and the user time.
const FIELDS_BEFORE_UTIME: usize = 11;

/// What Linux tells user programs, on every architecture that Rust's standard library knows.
const TICKS_PER_SECOND: u64 = 100;

/// From the start until a Synod says that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a) b) 1 (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 9 1 1";
        assert_eq!(stat_ticks(stat), 300);
        assert_eq!(stat_ticks(""), 0);
    }

    #[test]
    fn memory_is_told_in_bytes() {
        let status = "VmPeak:\t  99 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(status_bytes(status, "VmHWM:"), 2048 * 1024);
        assert_eq!(status_bytes(status, "VmSwap:"), 0);
    }

    #[test]
    fn a_process_ends_with_its_owner() {
        let log = std::env::temp_dir().join(format!("xtask-process-{}", std::process::id()));
        let arguments = ["60".to_owned()];
        let program = installed("sleep").unwrap();
        let mut process = Process::start(&program, &arguments, log.clone(), Stdio::null()).unwrap();
        assert!(!process.has_ended());
        let own = PathBuf::from(format!("/proc/{}", process.child().id()));
        assert!(own.exists());
        drop(process);
        assert!(!own.exists());
        fs::remove_file(log).unwrap();
    }
}
