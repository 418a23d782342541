//! The processes of one run: a node and three workers, or three nodes that work, and the job on them.

use std::ffi::OsStr;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::When;
use super::following::{Following, Phase};
use crate::bench::kv::cluster::free_addresses;
use crate::bench::mapreduce::answers::{Digest, Form, digest};
use crate::bench::process::Process;
use crate::bench::workplace::Workplace;

/// Who is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The first of three workers beside a node that only keeps the records.
    Worker,
    /// The node, of three, that coordinates; it works, too.
    Coordinator,
}

/// What a job is run on.
pub struct Bench<'a> {
    pub synod: &'a Path,
    pub work: &'a Workplace,
    pub input: PathBuf,
}

/// One run.
pub struct Once {
    pub seconds: f64,
    pub answer: Digest,
    /// How the kill was, if one was wanted.
    pub kill: Option<Killed>,
}

/// When a process was killed.
pub enum Killed {
    /// The job was in this phase, and somebody else has brought it to its end.
    Unfinished(Phase),
    /// The job was over, or somebody else coordinated it. Why it does not count.
    TooLate(String),
}

/// The process to be killed.
struct Target {
    process: usize,
    /// When it was elected, if it coordinates.
    epoch: i64,
}

impl Bench<'_> {
    /// One job on processes of its own. `kill` says when one of them is killed, and how many seconds a run
    /// takes otherwise.
    pub fn once(&self, victim: Victim, kill: Option<(When, f64)>) -> Result<Once> {
        let folder = self.work.fresh("kills")?;
        let (mut processes, endpoints) = match victim {
            Victim::Worker => self.workers(&folder)?,
            Victim::Coordinator => self.nodes(&folder)?,
        };
        self.warm_up(&endpoints, &folder)?;
        let output = folder.join("out");
        // Those that have worked stay registered and elected for some seconds.
        let target = match victim {
            Victim::Worker => Target { process: 1, epoch: 0 },
            Victim::Coordinator => self.coordinator(&endpoints)?,
        };
        let following = self.follow(&endpoints, &folder)?;
        let start = Instant::now();
        let mut job = self.job(&endpoints, &self.input, &output, &folder)?;
        let stdout = job.child().stdout.take().context("its output is piped")?;
        let (ended, has_ended) = mpsc::channel();
        // Its output ends with it, and it with this function.
        std::thread::spawn(move || {
            let read = std::io::copy(&mut BufReader::new(stdout), &mut std::io::sink());
            ended.send(read.map(|_| start.elapsed())).unwrap_or_default();
        });
        let mut seen = None;
        if let Some((when, calm_seconds)) = kill {
            match when {
                When::Share(share) => {
                    let then = Duration::from_secs_f64(calm_seconds * share);
                    following.wait_until_over(then.saturating_sub(start.elapsed()));
                }
                When::In(phase) => following.wait_for(phase, TIMEOUT)?,
            }
            let phase = following.phase();
            let unix_ms = unix_ms()?;
            processes[target.process].child().kill()?;
            seen = Some((phase, unix_ms));
        }
        let took = has_ended.recv_timeout(TIMEOUT).context("the job does not end")??;
        let status = job.child().wait()?;
        ensure!(status.success(), "the job failed: {}", job.last_words());
        let kill = match seen {
            None => None,
            Some(seen) => Some(self.judge(&endpoints, victim, &target, seen)?),
        };
        let answer = digest(&output, Form::Lines)?;
        Ok(Once { seconds: took.as_secs_f64(), answer, kill })
    }

    /// Whether a kill in this phase, as far as it was seen, and at this time has met an unfinished job.
    fn judge(
        &self,
        endpoints: &str,
        victim: Victim,
        target: &Target,
        (phase, killed_ms): (Phase, u64),
    ) -> Result<Killed> {
        let jobs = self.ask(&["jobs", "list", "--json"], endpoints)?;
        let id = jobs.last().and_then(|job| job["id"].as_str()).context("no job is known")?;
        let key = format!("synod/jobs/job/{id}/record");
        let record = self.ask(&["get", &key, "--values-only"], endpoints)?;
        let record = record.first().context("its record is there")?;
        let ended_ms = record["ended_ms"].as_u64().context("it says when it ended")?;
        let epoch = record["epoch"].as_i64().context("it says who ended it")?;
        if ended_ms <= killed_ms {
            return Ok(Killed::TooLate("the job was over before the kill".to_owned()));
        }
        if victim == Victim::Coordinator && epoch <= target.epoch {
            let why = "the one that was killed had ended the job, or coordinated no more";
            return Ok(Killed::TooLate(why.to_owned()));
        }
        Ok(Killed::Unfinished(phase))
    }

    /// Follows the records of the jobs that come after those that are known.
    fn follow(&self, endpoints: &str, folder: &Path) -> Result<Following> {
        let known = self.ask(&["get", "synod/jobs/", "--prefix", "--json"], endpoints)?;
        let newest = known.iter().filter_map(|kv| kv["mod_revision"].as_i64()).max().unwrap_or(0);
        let jobs = self.ask(&["jobs", "list", "--json"], endpoints)?;
        let last = jobs.last().and_then(|job| job["id"].as_str()).unwrap_or_default().to_owned();
        let from = (newest + 1).to_string();
        let words = ["watch", "synod/jobs/job/", "--prefix", "--json", "--rev", &from];
        let words = words.into_iter().chain(["--endpoints", endpoints]);
        let arguments: Vec<String> = words.map(str::to_owned).collect();
        let log = folder.join("watch.log");
        Following::start(Process::start(self.synod, &arguments, log, Stdio::piped())?, last)
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

    /// The node that coordinates: of the candidates the one that stood first.
    fn coordinator(&self, endpoints: &str) -> Result<Target> {
        let arguments = ["get", "synod/jobs/coordinator/", "--prefix", "--json"];
        let candidates = self.ask(&arguments, endpoints)?;
        let first = candidates.iter().min_by_key(|kv| kv["create_revision"].as_i64());
        let first = first.context("nobody coordinates")?;
        let worker = first["value"].as_str().context("it says who it is")?;
        let epoch = first["create_revision"].as_i64().context("it says since when")?;
        let record =
            self.ask(&["get", &format!("synod/jobs/worker/{worker}"), "--values-only"], endpoints)?;
        let name = record.first().and_then(|record| record["node"].as_str()).unwrap_or_default();
        let number = name.strip_prefix('n').and_then(|number| number.parse().ok());
        let process = number.with_context(|| format!("{worker} is no node: {record:?}"))?;
        Ok(Target { process, epoch })
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

fn unix_ms() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is set")?;
    Ok(u64::try_from(now.as_millis())?)
}

/// For one job.
const TIMEOUT: Duration = Duration::from_secs(1800);
