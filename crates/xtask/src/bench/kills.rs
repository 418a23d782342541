//! What it costs a word count if a process that works on it is killed: one of three workers when half of the
//! time is over, and the coordinator's node of three in each quarter of it.
//!
//! Each killed run is compared with the undisturbed one before it, on processes started anew. The answers
//! must be the same. The time that counts is that of `synod run` as a user sees it.

use std::ffi::OsStr;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::kv::cluster::free_addresses;
use super::mapreduce::answers::{Digest, Form, digest};
use super::mapreduce::input::Input;
use super::process::Process;
use super::statistics::Spread;
use super::table::Table;
use super::targets::{AFTER_COORDINATOR_SECONDS, AFTER_WORKER};
use super::workplace::Workplace;

/// How long the job is, and how often.
#[derive(clap::Args)]
pub struct KillOptions {
    /// Size of the killed job's input, in millions of bytes.
    #[arg(long, default_value_t = 6_000, value_parser = at_least_ten())]
    kill_input_mb: u64,
    /// Pairs of runs, undisturbed and killed.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    kill_runs: u32,
}

fn at_least_ten() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(10..=1_000_000)
}

/// Who is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// The first of three workers beside a node that only keeps the records.
    Worker,
    /// The node, of three, that coordinates; it works, too.
    Coordinator,
}

/// Measures, prints a table, and returns the figures.
pub fn run(options: &KillOptions, synod: &Path, work: &Workplace) -> Result<Value> {
    let bench = Bench { synod, work, input: input(options.kill_input_mb, work)? };
    let mut table = Table::new(1, &["killed", "undisturbed s", "killed s", "more s", "ratio", ""]);
    let mut figures = Vec::new();
    let coordinator = [0.1, 0.3, 0.5, 0.7, 0.9].map(|when| (Victim::Coordinator, when));
    for (victim, when) in [(Victim::Worker, 0.5)].into_iter().chain(coordinator) {
        let mut pairs = Vec::new();
        let mut phases = Vec::new();
        for _ in 0..options.kill_runs {
            let calm = bench.once(victim, None)?;
            let killed = bench.once(victim, Some(calm.seconds * when))?;
            ensure!(killed.answer == calm.answer, "another answer after a kill");
            pairs.push((calm.seconds, killed.seconds));
            phases.push(killed.phase);
        }
        let spread = |of: fn(&(f64, f64)) -> f64| {
            Spread::of(pairs.iter().map(of)).context("there is a pair")
        };
        let (calm, killed) = (spread(|pair| pair.0)?, spread(|pair| pair.1)?);
        let (more, ratio) = (spread(|(calm, killed)| killed - calm)?, spread(|(c, k)| k / c)?);
        let (name, verdict, judged) = match victim {
            Victim::Worker => {
                ("a worker", AFTER_WORKER.verdict(ratio.median), AFTER_WORKER.json(ratio.median))
            }
            Victim::Coordinator => (
                "the coordinator's node",
                AFTER_COORDINATOR_SECONDS.verdict(more.median),
                AFTER_COORDINATOR_SECONDS.json(more.median),
            ),
        };
        phases.sort_unstable();
        phases.dedup();
        let what = format!("{name} at {:.0} % ({})", when * 100.0, phases.join(", "));
        eprintln!("bench: kills: {what}: {:.2} s, then {:.2} s", calm.median, killed.median);
        let cells = [calm, killed, more, ratio]
            .map(|spread| format!("{:.2} ({:.2}..{:.2})", spread.median, spread.min, spread.max));
        table.row([vec![what.clone()], cells.to_vec(), vec![verdict]].concat());
        figures.push(json!({
            "killed": what, "undisturbed": calm.json(), "with_kill": killed.json(),
            "more_seconds": more.json(), "ratio": ratio.json(), "target": judged,
        }));
    }
    println!("\nkills: a word count of {} MB", options.kill_input_mb);
    println!("{table}");
    Ok(Value::Array(figures))
}

/// A folder of links to one file: much to read, and little on the disk.
fn input(megabytes: u64, work: &Workplace) -> Result<PathBuf> {
    let one = megabytes.min(FILE_MB);
    let file = Input::ZipfText.file(&work.kept, one * 1_000_000)?;
    let folder = work.fresh("kill-input")?;
    for number in 0..megabytes / one {
        std::fs::hard_link(&file, folder.join(format!("{number:05}")))?;
    }
    Ok(folder)
}

struct Bench<'a> {
    synod: &'a Path,
    work: &'a Workplace,
    input: PathBuf,
}

struct Once {
    seconds: f64,
    answer: Digest,
    /// Of the job, when the process was killed.
    phase: String,
}

impl Bench<'_> {
    /// One job on processes of its own, with a kill so many seconds after it was submitted.
    fn once(&self, victim: Victim, kill_after: Option<f64>) -> Result<Once> {
        let folder = self.work.fresh("kills")?;
        let (mut processes, endpoints) = match victim {
            Victim::Worker => self.workers(&folder)?,
            Victim::Coordinator => self.nodes(&folder)?,
        };
        self.warm_up(&endpoints, &folder)?;
        let output = folder.join("out");
        let start = Instant::now();
        let mut job = self.job(&endpoints, &self.input, &output, &folder)?;
        let stdout = job.child().stdout.take().context("its output is piped")?;
        let (ended, has_ended) = mpsc::channel();
        // Its output ends with it, and it with this function.
        std::thread::spawn(move || {
            let read = std::io::copy(&mut BufReader::new(stdout), &mut std::io::sink());
            ended.send(read.map(|_| start.elapsed())).unwrap_or_default();
        });
        let mut phase = String::new();
        let mut took = None;
        if let Some(seconds) = kill_after {
            let until_then = Duration::from_secs_f64(seconds).saturating_sub(start.elapsed());
            took = has_ended.recv_timeout(until_then).ok();
            phase = self.phase(&endpoints)?;
            let at = match victim {
                Victim::Worker => 1,
                Victim::Coordinator => self.coordinator(&endpoints)?,
            };
            processes[at].child().kill()?;
        }
        let took = match took {
            Some(took) => took,
            None => has_ended.recv_timeout(TIMEOUT).context("the job does not end")?,
        }?;
        let status = job.child().wait()?;
        ensure!(status.success(), "the job failed: {}", job.last_words());
        let answer = digest(&output, Form::Lines)?;
        Ok(Once { seconds: took.as_secs_f64(), answer, phase })
    }

    fn job(&self, endpoints: &str, input: &Path, output: &Path, folder: &Path) -> Result<Process> {
        let words = ["run", "wordcount", "--quiet", "--no-sync", "--endpoints", endpoints];
        let mut arguments: Vec<String> = words.map(str::to_owned).to_vec();
        let paths = [input.as_os_str(), OsStr::new("--output"), output.as_os_str()];
        arguments.extend(paths.map(|path| path.to_string_lossy().into_owned()));
        Process::start(self.synod, &arguments, folder.join("job.log"), Stdio::piped())
    }

    /// A small job, which waits until there are workers.
    fn warm_up(&self, endpoints: &str, folder: &Path) -> Result<()> {
        let (input, output) = (folder.join("small"), folder.join("small-out"));
        std::fs::write(&input, "one word")?;
        let mut job = self.job(endpoints, &input, &output, folder)?;
        let status = job.child().wait()?;
        ensure!(status.success(), "a small job failed: {}", job.last_words());
        Ok(())
    }

    /// A node, and three workers after it.
    fn workers(&self, folder: &Path) -> Result<(Vec<Process>, String)> {
        let addresses = free_addresses(2)?;
        let (client, peer) = (addresses[0].to_string(), addresses[1].to_string());
        let cluster = format!("n0={peer}");
        let data = folder.join("n0").to_string_lossy().into_owned();
        let mut node = vec!["server", "--name", "n0", "--data", &data, "--jobs", "false"];
        node.extend(["--listen-client", &client, "--listen-peer", &peer]);
        node.extend(["--initial-cluster", &cluster]);
        let mut processes = vec![self.start(folder, "n0", &node)?];
        processes[0].wait_until_ready()?;
        for number in 1..=3 {
            let name = format!("w{number}");
            let data = folder.join(&name).to_string_lossy().into_owned();
            let worker = ["worker", "--name", &name, "--data", &data, "--endpoints", &client];
            processes.push(self.start(folder, &name, &worker)?);
        }
        Ok((processes, client))
    }

    /// Three nodes that work.
    fn nodes(&self, folder: &Path) -> Result<(Vec<Process>, String)> {
        let addresses = free_addresses(6)?;
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let (clients, peers) = addresses.split_at(3);
        let cluster = format!("n0={},n1={},n2={}", peers[0], peers[1], peers[2]);
        let mut processes = Vec::new();
        for (number, (client, peer)) in clients.iter().zip(peers).enumerate() {
            let name = format!("n{number}");
            let data = folder.join(&name).to_string_lossy().into_owned();
            let mut node = vec!["server", "--name", &name, "--data", &data];
            node.extend(["--listen-client", client, "--listen-peer", peer]);
            node.extend(["--initial-cluster", &cluster]);
            processes.push(self.start(folder, &name, &node)?);
        }
        for node in &mut processes {
            node.wait_until_ready()?;
        }
        Ok((processes, clients.join(",")))
    }

    fn start(&self, folder: &Path, name: &str, arguments: &[&str]) -> Result<Process> {
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        Process::start(self.synod, &arguments, folder.join(format!("{name}.log")), Stdio::piped())
    }

    /// Position of the node that coordinates: of the candidates the one that stood first.
    fn coordinator(&self, endpoints: &str) -> Result<usize> {
        let arguments = ["get", "synod/jobs/coordinator/", "--prefix", "--json"];
        let candidates = self.ask(&arguments, endpoints)?;
        let first = candidates.iter().min_by_key(|kv| kv["create_revision"].as_u64());
        let worker = first.and_then(|kv| kv["value"].as_str()).context("nobody coordinates")?;
        let record =
            self.ask(&["get", &format!("synod/jobs/worker/{worker}"), "--values-only"], endpoints)?;
        let name = record.first().and_then(|record| record["node"].as_str()).unwrap_or_default();
        let number = name.strip_prefix('n').and_then(|number| number.parse().ok());
        number.with_context(|| format!("{worker} is no node: {record:?}"))
    }

    /// How far the newest job is.
    fn phase(&self, endpoints: &str) -> Result<String> {
        let jobs = self.ask(&["jobs", "list", "--json"], endpoints)?;
        let job = jobs.last().context("no job is known")?;
        Ok(job["phase"].as_str().unwrap_or("unknown").to_owned())
    }

    /// A command of the client that prints a JSON object per line.
    fn ask(&self, arguments: &[&str], endpoints: &str) -> Result<Vec<Value>> {
        let said =
            Command::new(self.synod).args(arguments).args(["--endpoints", endpoints]).output()?;
        if !said.status.success() {
            bail!("{arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
        }
        let text = String::from_utf8(said.stdout)?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

/// Size of the file that all inputs are links to.
const FILE_MB: u64 = 200;
/// For one job.
const TIMEOUT: Duration = Duration::from_secs(1800);
