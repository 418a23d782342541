//! etcd's own command line client, against our nodes.
//!
//! `cargo test` must pass on a machine with only Rust and git: without etcdctl its tests say so and
//! pass, unless SYNOD_TEST_REQUIRE_ETCDCTL=1 (as in `.ci/run`).

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::process::Process;
use super::say_loudly;

/// `etcdctl`, pointed at endpoints.
#[derive(Clone, Debug)]
pub struct Etcdctl {
    endpoints: String,
}

impl Etcdctl {
    /// The installed etcdctl; `None` if the test is to be left out.
    pub fn find(endpoints: &str) -> Option<Etcdctl> {
        let wanted = |name: &str| std::env::var(name).is_ok_and(|value| value == "1");
        if wanted("SYNOD_TEST_WITHOUT_ETCDCTL") {
            say_loudly("SKIPPED: tests with etcdctl (SYNOD_TEST_WITHOUT_ETCDCTL=1)");
            return None;
        }
        if Command::new("etcdctl").arg("version").env("ETCDCTL_API", "3").output().is_ok() {
            return Some(Etcdctl { endpoints: endpoints.to_owned() });
        }
        assert!(!wanted("SYNOD_TEST_REQUIRE_ETCDCTL"), "etcdctl is not there: {INSTALL}");
        say_loudly(&format!("SKIPPED: tests with etcdctl, which is not there: {INSTALL}"));
        None
    }

    /// The same client of other endpoints.
    pub fn at(&self, endpoints: &str) -> Etcdctl {
        Etcdctl { endpoints: endpoints.to_owned() }
    }

    /// Runs it; it must succeed. Its standard output.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.run_with_input(arguments, "")
    }

    /// The same, with this on its standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> String {
        let output = self.output(arguments, input.as_bytes());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "etcdctl {arguments:?}: {}: {stderr}", output.status);
        String::from_utf8(output.stdout).expect("the output is text")
    }

    /// Runs it with `-w json`; the answer.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.run(&[arguments, &["-w", "json"]].concat());
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
    }

    /// Runs it; it must fail. What it says on standard error.
    pub fn fail(&self, arguments: &[&str]) -> String {
        self.fail_with_input(arguments, b"")
    }

    /// The same, with this on its standard input.
    pub fn fail_with_input(&self, arguments: &[&str], input: &[u8]) -> String {
        let output = self.output(arguments, input);
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "etcdctl {arguments:?} should fail: {stdout}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Starts it; its output goes to files in `folder`.
    pub fn start(&self, arguments: &[&str], folder: &Path) -> Process {
        let what = format!("etcdctl-{}", arguments.first().unwrap_or(&""));
        Process::start(&what, &mut self.command(arguments), folder)
    }

    fn output(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("etcdctl was there a moment ago");
        // It reads all its input before it answers, or none of it.
        drop(child.stdin.take().map(|mut stdin| stdin.write_all(input)));
        child.wait_with_output().expect("a child can be waited for")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").env_remove("ETCDCTL_ENDPOINTS");
        command.args(["--endpoints", &self.endpoints, "--command-timeout", "20s"]).args(arguments);
        command
    }
}

const INSTALL: &str = "install it with `apt-get install etcd-client` (Debian, Ubuntu), or from \
    etcd's releases";
