//! Programs of jobs on nodes and workers that other machines can reach: they run only where that was allowed.
//! Each test has a network of its own, so nobody else can reach anything.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::process::{Command, Stdio};

use support::process::Process;
use support::{PATIENCE, binary, leave_out, wait_for};
use tempfile::TempDir;

/// How `unshare` gets a network that nobody else is in, and how `nsenter` enters it.
fn way_to_a_network() -> Option<(&'static [&'static str], &'static [&'static str])> {
    let ways: [(&[&str], &[&str]); 2] =
        [(&["-n"], &["-n"]), (&["-rn"], &["-U", "-n", "--preserve-credentials"])];
    let works = |way: &&(&[&str], &[&str])| {
        let mut command = Command::new("unshare");
        let tried = command.args(way.0).args(["ip", "link", "set", "lo", "up"]).output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    let found = ways.iter().find(works).copied();
    if found.is_none() {
        leave_out(
            "a server that others can reach: no network of its own",
            "SYNOD_TEST_REQUIRE_NET",
        );
    }
    found
}

/// A network with one node in it.
struct Network {
    enter: &'static [&'static str],
    node: Process,
    folder: TempDir,
}

impl Network {
    /// The node listens there.
    fn with_node(listen: &str, more: &[&str]) -> Option<Network> {
        let (unshare, enter) = way_to_a_network()?;
        let folder = TempDir::new().unwrap();
        let mut node = Command::new("unshare");
        node.args(unshare).args(["sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""]);
        node.arg(binary()).args(["server", "--stop-with-stdin", "--name", "n1", "--insecure"]);
        node.arg("--data").arg(folder.path().join("n1")).args(["--listen-client", listen]);
        node.args(["--advertise-client", "127.0.0.1:2379", "--listen-peer", "127.0.0.1:2380"]);
        node.args(["--initial-cluster", "n1=http://127.0.0.1:2380"]).args(more);
        let mut node = Process::start("n1", &mut node, folder.path());
        node.wait_for_output(|output| output.contains(" ready"));
        Some(Network { enter, node, folder })
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// The binary, in the network.
    fn synod(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.node.id().to_string()]).args(self.enter).arg(binary());
        command.args(words).args(["--endpoints", "127.0.0.1:2379"]).stdin(Stdio::null());
        command
    }

    /// Submits a streaming job whose mapper leaves a trace, and looks whether it runs.
    fn check_programs(&self, allowed: bool) {
        fs::write(self.path("in"), "a\n").unwrap();
        let (ran, script) = (self.folder.path().join("ran"), self.path("mapper.sh"));
        fs::write(&script, format!("touch {}; cat\n", ran.display())).unwrap();
        let mapper = format!("sh {script}");
        let streaming = ["streaming", "-input", &self.path("in"), "-output", &self.path("out")];
        let streaming = [&streaming[..], &["-mapper", &mapper, "-numReduceTasks", "0"]].concat();
        let mut job =
            self.synod(&streaming).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if allowed {
            assert!(job.wait().unwrap().success());
            assert!(ran.exists());
            return;
        }
        wait_for("the job to be planned", PATIENCE, || {
            let listed = self.synod(&["jobs", "list", "--json"]).output().unwrap().stdout;
            String::from_utf8(listed).unwrap().contains(r#""state":"running""#).then_some(())
        });
        // The oldest job goes first: who runs this one has left the other alone.
        let (input, counts) = (self.path("in"), self.path("counts"));
        let native = ["run", "wordcount", &input, "--output", &counts, "--quiet"];
        assert!(self.synod(&native).status().unwrap().success());
        assert!(!ran.exists());
        let pid = rustix::process::Pid::from_child(&job);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert_eq!(job.wait().unwrap().code(), Some(130));
        assert!(!ran.exists() && !self.folder.path().join("out").exists());
    }
}

const ALLOW: [&str; 2] = ["--job-commands", "true"];

#[test]
fn a_server_that_other_machines_can_reach_runs_no_programs_of_jobs_unless_told_to() {
    for allowed in [false, true] {
        let more = if allowed { &ALLOW[..] } else { &[] };
        let Some(network) = Network::with_node("0.0.0.0:2379", more) else { return };
        network.check_programs(allowed);
    }
}

#[test]
fn a_worker_that_other_machines_can_reach_runs_no_programs_of_jobs_unless_told_to() {
    for (listen, more, allowed) in [
        ("0.0.0.0:2400", &[][..], false),
        ("0.0.0.0:2400", &ALLOW[..], true),
        ("127.0.0.1:2400", &[][..], true),
    ] {
        let jobs_elsewhere = ["--jobs", "false"];
        let Some(network) = Network::with_node("127.0.0.1:2379", &jobs_elsewhere) else { return };
        let data = network.path("w");
        let mut worker = network.synod(&["worker", "--name", "w", "--insecure", "--data", &data]);
        worker.args(["--listen", listen, "--advertise", "127.0.0.1:2400"]);
        worker.arg("--stop-with-stdin").args(more);
        let mut worker = Process::start("w", &mut worker, network.folder.path());
        worker.wait_for_output(|output| output.contains(" ready"));
        network.check_programs(allowed);
    }
}
