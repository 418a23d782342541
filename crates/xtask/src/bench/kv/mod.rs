//! The key-value store beside a real etcd: the same generator, load, disk and number of nodes, in turns.
//!
//! A round is: a cluster of one system on fresh folders, filled with every key, then each load in turn;
//! then the same with the other system. Who is first alternates. Ratios are of rounds, so that a slow
//! minute of the machine hits both.

pub mod cluster;
mod generator;
mod grpc;
mod report;
pub mod requests;
mod start_up;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::targets;
use super::workplace::{Workplace, installed};
use cluster::{Cluster, System};
use generator::Crowd;
use report::{Measured, Report};
use requests::{Load, Requests};

/// The load.
#[derive(clap::Args)]
pub struct LoadOptions {
    /// Time per load and system, over all rounds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Into how many rounds that time is cut; 1 holds the load all the time.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Clients, each with one request under way.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Connections that they share, spread over all nodes.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Cluster sizes.
    #[arg(long, value_delimiter = ',', default_value = "1,3", value_name = "N,..",
        value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: Vec<u8>,
    /// Size of a value.
    #[arg(long, default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    value_bytes: u32,
    /// Number of different keys.
    #[arg(long, default_value_t = 100_000,
        value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    keys: u32,
    /// Which loads.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "LOAD,..",
        default_value = "put,get,sget,mixed"
    )]
    loads: Vec<Load>,
    /// Only this system.
    #[arg(long)]
    only: Option<System>,
}

impl LoadOptions {
    /// Whether the targets are about this load.
    fn is_as_demanded(&self) -> bool {
        let targets::Demanded { clients, value_bytes, .. } = targets::DEMANDED;
        self.clients == clients && self.value_bytes == value_bytes
    }

    /// What makes this load another one than the targets are about.
    fn note_on_targets(&self) -> Option<String> {
        let targets::Demanded { clients, value_bytes, held_seconds } = targets::DEMANDED;
        if !self.is_as_demanded() {
            let load = format!("{clients} clients and {value_bytes}-byte values");
            return Some(format!("ratios are not judged: the targets are for {load}"));
        }
        let held = self.seconds / u64::from(self.rounds);
        (held < held_seconds).then(|| {
            format!(
                "the targets are for a load that is held for {held_seconds} s, here it was {held} s: \
                 --seconds {held_seconds} --rounds 1"
            )
        })
    }
}

/// Measures, prints tables, and returns the figures.
pub fn run(options: &LoadOptions, synod: &Path, work: &Workplace) -> Result<Value> {
    let systems = systems(options, synod)?;
    let mut start_up = None;
    if options.only != Some(System::Etcd) {
        let spread = start_up::measure(synod, work)?;
        let target = targets::UP_MILLISECONDS;
        let verdict = target.verdict(spread.median);
        println!("\nsynod up, empty folder, until ready: {spread:.0} ms, {verdict}");
        let mut figures = spread.json();
        figures["target"] = target.json(spread.median);
        start_up = Some(figures);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let requests = Rc::new(Requests::new(options.keys, options.value_bytes as usize));
    let mut figures = Vec::new();
    for &nodes in &options.nodes {
        let mut report = Report::of_nodes(nodes, options.is_as_demanded());
        for round in 0..options.rounds {
            let mut order = systems.clone();
            if round % 2 == 1 {
                order.reverse();
            }
            for (system, program) in &order {
                let cluster = Cluster::start(*system, program, usize::from(nodes), work)?;
                let turn = Turn { options, system: *system, round, requests: &requests };
                runtime
                    .block_on(turn.measure(cluster, &mut report))
                    .with_context(|| format!("{} with {nodes} nodes", system.name()))?;
            }
        }
        println!("\n{}", heading(options, nodes));
        print!("{report}");
        if let Some(note) = options.note_on_targets() {
            println!("{note}");
        }
        figures.push(json!({ "nodes": nodes, "results": report.json() }));
    }
    Ok(json!({
        "seconds": options.seconds,
        "rounds": options.rounds,
        "clients": options.clients,
        "connections": options.connections,
        "value_bytes": options.value_bytes,
        "keys": options.keys,
        "up_milliseconds": start_up,
        "clusters": figures,
    }))
}

/// One system's turn in one round.
struct Turn<'a> {
    options: &'a LoadOptions,
    system: System,
    round: u32,
    requests: &'a Rc<Requests>,
}

impl Turn<'_> {
    async fn measure(&self, mut cluster: Cluster, report: &mut Report) -> Result<()> {
        cluster.serves(self.requests).await?;
        if self.round == 0 {
            tokio::time::sleep(IDLE).await;
            report.idle(self.system, cluster.resident_bytes());
        }
        generator::fill(&cluster.endpoints, self.requests).await?;
        let crowd = Crowd {
            clients: self.options.clients as usize,
            connections: self.options.connections as usize,
        };
        let held = Duration::from_secs(self.options.seconds) / self.options.rounds;
        for &load in &self.options.loads {
            let before = cluster.cpu();
            let times = (WARM_UP, held);
            let run = generator::run(&cluster.endpoints, crowd, self.requests, load, times);
            let outcome = run.await.context(load.name())?;
            cluster.check()?;
            let used = cluster.cpu().into_iter().zip(before);
            let cpu: Vec<Duration> = used.map(|(now, then)| now.saturating_sub(then)).collect();
            let max_resident_bytes = cluster.max_resident_bytes();
            let (system, round) = (self.system, self.round);
            let measured = Measured { system, load, outcome, cpu, max_resident_bytes };
            eprintln!("bench: round {}: {}", round + 1, measured.line());
            report.add(measured);
        }
        Ok(())
    }
}

/// Who takes part, with their programs.
fn systems(options: &LoadOptions, synod: &Path) -> Result<Vec<(System, PathBuf)>> {
    let mut systems = Vec::new();
    if options.only != Some(System::Etcd) {
        systems.push((System::Synod, synod.to_path_buf()));
    }
    if options.only != Some(System::Synod) {
        match installed("etcd") {
            Some(etcd) => systems.push((System::Etcd, etcd)),
            None if options.only.is_none() => {
                println!("bench: etcd is not installed (Debian package etcd-server): Synod alone");
            }
            None => anyhow::bail!("etcd is not installed (Debian package etcd-server)"),
        }
    }
    Ok(systems)
}

fn heading(options: &LoadOptions, nodes: u8) -> String {
    let LoadOptions { clients, connections, value_bytes, keys, rounds, seconds, .. } = options;
    let each = *seconds as f64 / f64::from(*rounds);
    format!(
        "nodes: {nodes}; {clients} clients over {connections} connections, {keys} keys, \
         {value_bytes}-byte values, {rounds} rounds of {each:.0} s"
    )
}

/// After the start, before the memory of a node that does nothing is looked at.
const IDLE: Duration = Duration::from_secs(5);

/// Before a load counts.
const WARM_UP: Duration = Duration::from_secs(1);
