//! Three nodes and a client in network namespaces, joined by a bridge that nothing else is on. What a node
//! sends goes over a link of its own with a rate of its own. All is gone when dropped.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::bench::mapreduce::answers::{Digest, Form, digest};
use crate::bench::process::Process;
use crate::bench::workplace::{Workplace, installed};

/// The nodes' numbers, and the client's.
const NODES: [usize; 3] = [1, 2, 3];
const CLIENT: usize = 4;

/// Why there can be no such machines here, if there can be none.
pub fn impossible() -> Option<String> {
    if installed("ip").is_none() || installed("tc").is_none() {
        return Some("there is no ip and tc (iproute2)".to_owned());
    }
    // Who is not root may not have them either way.
    let name = format!("synod-try-{}", std::process::id());
    let made = ip(&["netns", "add", &name]).and_then(|()| ip(&["netns", "del", &name]));
    made.err().map(|error| format!("network namespaces cannot be made: {error:#}"))
}

/// The machines of one cluster.
pub struct Machines {
    // Dropped before the network.
    nodes: Vec<Process>,
    network: Network,
    synod: PathBuf,
    output: PathBuf,
}

impl Machines {
    /// A cluster whose nodes send at this rate, with these flags more. `name` is of a few letters.
    pub fn start(
        synod: &Path,
        work: &Workplace,
        name: &str,
        rate: Option<&str>,
        flags: &[&str],
    ) -> Result<Machines> {
        let folder = work.fresh(name)?;
        let network = Network::lay(name, rate)?;
        let cluster = NODES.map(|number| format!("n{number}={}:7002", host(number))).join(",");
        let mut nodes = Vec::new();
        for number in NODES {
            let data = folder.join(format!("n{number}"));
            let (client, peer) =
                (format!("{}:7001", host(number)), format!("{}:7002", host(number)));
            let mut arguments = network.within(number, synod);
            let own = ["server", "--name", &format!("n{number}"), "--insecure", "--data"];
            arguments.extend(own.map(str::to_owned));
            arguments.push(data.display().to_string());
            let own = ["--listen-client", &client, "--listen-peer", &peer];
            arguments.extend(own.map(str::to_owned));
            arguments.extend(["--initial-cluster".to_owned(), cluster.clone()]);
            arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
            let log = folder.join(format!("n{number}.log"));
            nodes.push(Process::start(Path::new("ip"), &arguments, log, Stdio::piped())?);
        }
        for node in &mut nodes {
            node.wait_until_ready()?;
        }
        Ok(Machines { nodes, network, synod: synod.to_owned(), output: folder.join("out") })
    }

    /// Sorts a file; seconds and the answer.
    pub fn sort(&mut self, input: &Path) -> Result<(f64, Digest)> {
        let endpoints = NODES.map(|number| format!("{}:7001", host(number))).join(",");
        let mut job = Command::new("ip");
        job.args(self.network.within(CLIENT, &self.synod));
        job.args(["run", "sort", "--quiet", "--no-sync", "--endpoints", &endpoints, "--output"]);
        job.arg(&self.output).arg(input).stdin(Stdio::null()).stdout(Stdio::null());
        let began = Instant::now();
        let status = job.status()?;
        let seconds = began.elapsed().as_secs_f64();
        let said = || self.nodes.iter().map(Process::last_words).collect::<Vec<_>>().join("; ");
        ensure!(status.success(), "the job failed: {status}; the nodes said: {}", said());
        let answer = digest(&self.output, Form::Lines)?;
        std::fs::remove_dir_all(&self.output).context("the output is there")?;
        Ok((seconds, answer))
    }
}

/// Namespaces and their bridge.
struct Network {
    name: String,
}

impl Network {
    fn lay(name: &str, rate: Option<&str>) -> Result<Network> {
        // Names of links have fifteen letters at most.
        let name = format!("{}{name}", std::process::id());
        let network = Network { name };
        let bridge = network.bridge();
        ip(&["link", "add", &bridge, "type", "bridge"])?;
        ip(&["link", "set", &bridge, "up"])?;
        for number in NODES.into_iter().chain([CLIENT]) {
            let (space, link) = (network.space(number), format!("{}{number}", network.name));
            ip(&["netns", "add", &space])?;
            ip(&["link", "add", &link, "type", "veth", "peer", "name", "net", "netns", &space])?;
            ip(&["link", "set", &link, "master", &bridge, "up"])?;
            let address = format!("{}/24", host(number));
            ip(&["-n", &space, "address", "add", &address, "dev", "net"])?;
            ip(&["-n", &space, "link", "set", "net", "up"])?;
            ip(&["-n", &space, "link", "set", "lo", "up"])?;
            if let Some(rate) = rate.filter(|_| number != CLIENT) {
                let limit = ["tbf", "rate", rate, "burst", "256k", "latency", "50ms"];
                run(Command::new("tc")
                    .args(["-n", &space, "qdisc", "add", "dev", "net", "root"])
                    .args(limit))?;
            }
        }
        Ok(network)
    }

    fn bridge(&self) -> String {
        format!("{}b", self.name)
    }

    fn space(&self, number: usize) -> String {
        format!("synod-{}-{number}", self.name)
    }

    /// What `ip` is told to become this program on a machine.
    fn within(&self, number: usize, program: &Path) -> Vec<String> {
        let program = program.display().to_string();
        vec!["netns".to_owned(), "exec".to_owned(), self.space(number), program]
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for number in NODES.into_iter().chain([CLIENT]) {
            // A namespace that still has dying processes in it goes later, and takes nothing along by then.
            drop(ip(&["link", "del", &format!("{}{number}", self.name)]));
            drop(ip(&["netns", "del", &self.space(number)]));
        }
        drop(ip(&["link", "del", &self.bridge()]));
    }
}

fn host(number: usize) -> String {
    format!("10.99.0.{number}")
}

fn ip(arguments: &[&str]) -> Result<()> {
    run(Command::new("ip").args(arguments))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(())
}
