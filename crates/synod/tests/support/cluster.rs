//! Servers of the real binary: one process per node, killed and started again at will.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::port::Ports;
use super::process::Process;
use super::{PATIENCE, synod, wait_for};

/// A node: its name, its ports, its folder, and the process if one runs.
#[derive(Debug)]
pub struct Node {
    pub name: String,
    /// What is said at every start beside name, folder and addresses.
    pub arguments: Vec<String>,
    /// A program, with arguments, that is to become the server: `nsenter`, say.
    pub wrapper: Vec<String>,
    /// Client port, and above it the peer port.
    ports: Ports,
    folder: PathBuf,
    process: Option<Process>,
}

impl Node {
    /// A node that was never started, with its data and output in `folder`.
    pub fn new(name: &str, folder: &Path) -> Node {
        Node {
            name: name.to_owned(),
            arguments: Vec::new(),
            wrapper: Vec::new(),
            ports: Ports::claim(2),
            folder: folder.to_owned(),
            process: None,
        }
    }

    /// Where clients connect.
    pub fn client(&self) -> String {
        self.ports.address(0)
    }

    /// Where peers connect.
    pub fn peer(&self) -> String {
        self.ports.address(1)
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// What starts it.
    pub fn command(&self) -> Command {
        let server = synod(&["server", "--stop-with-stdin", "--name", &self.name]);
        let mut command = wrapped(&self.wrapper, server);
        command.arg("--data").arg(self.data());
        command.args(["--listen-client", &self.client(), "--listen-peer", &self.peer()]);
        command.args(&self.arguments);
        command
    }

    /// Starts it; it may not serve yet.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        self.process = Some(Process::start(&self.name, &mut self.command(), &self.folder));
    }

    /// Waits until it has said that it serves.
    pub fn wait_ready(&mut self) {
        self.process().wait_for_output(|output| output.contains(" ready"));
    }

    /// The running process.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it was started")
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.take().expect("it was started").kill();
    }
}

/// `wrapper` with the program and arguments of `command` behind its own.
pub fn wrapped(wrapper: &[String], command: Command) -> Command {
    let Some((program, arguments)) = wrapper.split_first() else { return command };
    let mut outer = Command::new(program);
    outer.args(arguments).arg(command.get_program()).args(command.get_args());
    outer.env_remove("SYNOD_ENDPOINTS").env_remove("SYNOD_LOG");
    outer
}

/// Nodes that were founded together, and their folder.
#[derive(Debug)]
pub struct Cluster {
    pub nodes: Vec<Node>,
    /// Last, so that it goes after the processes that write to it.
    folder: TempDir,
}

impl Cluster {
    /// Founds a cluster of this many nodes, and waits until all serve.
    pub fn start(nodes: usize) -> Cluster {
        Cluster::start_with(nodes, &[])
    }

    /// The same with more arguments.
    pub fn start_with(nodes: usize, arguments: &[&str]) -> Cluster {
        Cluster::start_within(nodes, |_| Vec::new(), arguments)
    }

    /// The same, each node started by another program, `env` say: that of its number, from 0.
    pub fn start_within(
        nodes: usize,
        wrapper: impl Fn(usize) -> Vec<String>,
        arguments: &[&str],
    ) -> Cluster {
        let folder = TempDir::new().expect("a folder can be made");
        let mut nodes: Vec<Node> =
            (1..=nodes).map(|number| Node::new(&format!("n{number}"), folder.path())).collect();
        let members: Vec<String> =
            nodes.iter().map(|node| format!("{}=http://{}", node.name, node.peer())).collect();
        for (number, node) in nodes.iter_mut().enumerate() {
            node.wrapper = wrapper(number);
            node.arguments = vec!["--initial-cluster".to_owned(), members.join(",")];
            node.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
            node.start();
        }
        nodes.iter_mut().for_each(Node::wait_ready);
        Cluster { nodes, folder }
    }

    /// Where clients connect, one entry per node.
    pub fn clients(&self) -> Vec<String> {
        self.nodes.iter().map(Node::client).collect()
    }

    /// The same with commas in between.
    pub fn endpoints(&self) -> String {
        self.clients().join(",")
    }

    /// A folder for files of the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Number of the node that leads, once `synod status` shows one.
    pub fn wait_for_leader(&self) -> usize {
        let endpoints = self.endpoints();
        wait_for("a leader", PATIENCE, || {
            let mut status = synod(&["status", "--timeout", "1s", "--endpoints", &endpoints]);
            let status = String::from_utf8(status.output().ok()?.stdout).ok()?;
            let leads = |row: &&str| row.split_whitespace().any(|cell| cell == "leader");
            let mut leaders = status.lines().filter(leads);
            let (leader, another) = (leaders.next()?, leaders.next());
            let name = leader.split_whitespace().next()?;
            let number = self.nodes.iter().position(|node| node.name == name);
            number.filter(|_| another.is_none())
        })
    }
}
