//! A cluster of one system: processes of this machine, on fresh folders, until dropped.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::generator::probe;
use super::requests::Requests;
use crate::bench::process::Process;
use crate::bench::workplace::Workplace;

/// Who is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum System {
    /// Synod.
    Synod,
    /// The etcd that is installed.
    Etcd,
}

impl System {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            System::Synod => "synod",
            System::Etcd => "etcd",
        }
    }
}

/// A running cluster.
pub struct Cluster {
    nodes: Vec<Process>,
    /// Where clients connect.
    pub endpoints: Vec<SocketAddr>,
}

impl Cluster {
    /// Starts `count` nodes on empty folders. Synod's say that they are ready before this returns.
    pub fn start(system: System, program: &Path, count: usize, work: &Workplace) -> Result<Self> {
        let folder = work.fresh(system.name())?;
        let addresses = free_addresses(2 * count)?;
        let (clients, peers) = addresses.split_at(count);
        let mut nodes = Vec::new();
        for number in 0..count {
            let arguments = match system {
                System::Synod => synod_arguments(number, &folder, clients, peers),
                System::Etcd => etcd_arguments(number, &folder, clients, peers),
            };
            let log = folder.join(format!("{}.log", name(number)));
            let stdout = if system == System::Synod { Stdio::piped() } else { Stdio::null() };
            nodes.push(Process::start(program, &arguments, log, stdout)?);
        }
        // etcd does not say so; see `serves`.
        if system == System::Synod {
            nodes.iter_mut().try_for_each(|node| node.wait_until_ready().map(drop))?;
        }
        Ok(Cluster { nodes, endpoints: clients.to_vec() })
    }

    /// Waits until each node has answered a linearizable get.
    pub async fn serves(&mut self, requests: &Requests) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        for (node, &endpoint) in self.nodes.iter_mut().zip(&self.endpoints) {
            loop {
                let answer = tokio::time::timeout(PROBE_TIMEOUT, probe(endpoint, requests)).await;
                if matches!(answer, Ok(Ok(()))) {
                    break;
                }
                if node.has_ended() || Instant::now() > deadline {
                    bail!("a node does not serve; it said: {}", node.last_words());
                }
                tokio::time::sleep(PROBE_PAUSE).await;
            }
        }
        Ok(())
    }

    /// Processor time of each node.
    pub fn cpu(&self) -> Vec<Duration> {
        self.nodes.iter().map(Process::cpu).collect()
    }

    /// Memory of each node now.
    pub fn resident_bytes(&self) -> Vec<u64> {
        self.nodes.iter().map(Process::resident_bytes).collect()
    }

    /// The most memory that each node ever had.
    pub fn max_resident_bytes(&self) -> Vec<u64> {
        self.nodes.iter().map(Process::max_resident_bytes).collect()
    }

    /// Fails if a node has ended, with what it said.
    pub fn check(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if node.has_ended() {
                bail!("a node has ended; it said: {}", node.last_words());
            }
        }
        Ok(())
    }
}

/// Addresses on loopback that nobody listens on, as far as can be known.
pub fn free_addresses(count: usize) -> Result<Vec<SocketAddr>> {
    // All are held until the last is found, so that they differ.
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port");
    let held: Vec<TcpListener> = (0..count).map(bind).collect::<Result<_>>()?;
    held.iter().map(|socket| Ok(socket.local_addr()?)).collect()
}

fn synod_arguments(
    number: usize,
    folder: &Path,
    clients: &[SocketAddr],
    peers: &[SocketAddr],
) -> Vec<String> {
    let cluster = peers.iter().enumerate().map(|(at, peer)| format!("{}={peer}", name(at)));
    strings(&[
        "server",
        "--name",
        &name(number),
        "--data",
        &path(folder, number),
        "--listen-client",
        &clients[number].to_string(),
        "--listen-peer",
        &peers[number].to_string(),
        "--initial-cluster",
        &cluster.collect::<Vec<_>>().join(","),
    ])
}

/// etcd as it comes, but quiet.
fn etcd_arguments(
    number: usize,
    folder: &Path,
    clients: &[SocketAddr],
    peers: &[SocketAddr],
) -> Vec<String> {
    let cluster = peers.iter().enumerate().map(|(at, peer)| format!("{}=http://{peer}", name(at)));
    let (client, peer) =
        (format!("http://{}", clients[number]), format!("http://{}", peers[number]));
    strings(&[
        "--name",
        &name(number),
        "--data-dir",
        &path(folder, number),
        "--listen-client-urls",
        &client,
        "--advertise-client-urls",
        &client,
        "--listen-peer-urls",
        &peer,
        "--initial-advertise-peer-urls",
        &peer,
        "--initial-cluster",
        &cluster.collect::<Vec<_>>().join(","),
        "--logger",
        "zap",
        "--log-level",
        "error",
    ])
}

fn name(number: usize) -> String {
    format!("n{}", number + 1)
}

fn path(folder: &Path, number: usize) -> String {
    let data: PathBuf = folder.join(name(number));
    data.to_string_lossy().into_owned()
}

fn strings(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|&argument| argument.to_owned()).collect()
}

const START_TIMEOUT: Duration = Duration::from_secs(30);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const PROBE_PAUSE: Duration = Duration::from_millis(20);
