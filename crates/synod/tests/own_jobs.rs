//! Jobs of one's own on a cluster: the example `own_job` is worker and client, beside workers of other
//! programs, with the jobs' records in a node that takes no jobs itself.
//!
//! The example is built by `cargo test` unless that is told to build one test only (`--test`).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use support::cluster::Cluster;
use support::load::{remote, runtime};
use support::parts::{assert_same, parts};
use support::process::Process;
use support::{PATIENCE, refused, succeed, synod, wait_for};
use synod::client::{Consistency, Kv};
use synod::jobs::cluster::names::PREFIX;
use synod::jobs::cluster::{JobRecord, JobState, JobView, View};
use synod::kv::{KeyRange, RangeRequest};

/// The example that cargo has built beside this test.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/own_job");
    let make = "cargo build -p synod --example own_job";
    assert!(path.is_file(), "{} is not there: `{make}` makes it", path.display());
    path
}

/// Another program with the same code.
fn another_example(folder: &Path) -> PathBuf {
    let path = folder.join("another_own_job");
    fs::copy(example(), &path).unwrap();
    // What stands behind a program's end is not looked at when it is run.
    File::options().append(true).open(&path).unwrap().write_all(b"another").unwrap();
    path
}

/// A node that holds records, and workers.
struct Bench {
    workers: Vec<Process>,
    endpoint: String,
    text: String,
    cluster: Cluster,
}

impl Bench {
    fn new() -> Bench {
        let cluster = Cluster::start_with(1, &["--jobs", "false"]);
        let (endpoint, text) = (cluster.endpoints(), path_in(&cluster, "text"));
        let mut lines = Vec::new();
        for number in 0..120_000_u64 {
            // Some digits and blanks, different ones in each line.
            writeln!(lines, "{} {:b}  {number:x}", number * number % 7_919, number % 1_021)
                .unwrap();
        }
        fs::write(&text, lines).unwrap();
        Bench { workers: Vec::new(), endpoint, text, cluster }
    }

    fn path(&self, name: &str) -> String {
        path_in(&self.cluster, name)
    }

    fn start(&mut self, what: &str, mut command: Command) {
        let mut worker = Process::start(what, &mut command, self.cluster.folder());
        worker.wait_for_output(|output| output.contains("ready"));
        self.workers.push(worker);
    }

    /// A worker of the stock program.
    fn start_stock(&mut self) {
        let mut worker = synod(&["worker", "--stop-with-stdin", "--name", "stock"]);
        worker.args(["--endpoints", &self.endpoint, "--data", &self.path("stock")]);
        self.start("stock", worker);
    }

    /// A worker of a program with jobs of its own.
    fn start_own(&mut self, program: &Path, folder: &str) {
        let mut worker = Command::new(program);
        worker.args(["worker", &self.endpoint, &self.path(folder)]);
        self.start(folder, worker);
    }

    /// The stock worker is elected: it was alone with a job of its own.
    fn have_stock_elected(&self) {
        let (text, output) = (self.text.as_str(), self.path("words"));
        succeed(&["run", "wordcount", text, "--output", &output, "--endpoints", &self.endpoint]);
    }

    fn submit(&self, program: &Path, output: &str, words: &[&str]) -> Child {
        let mut command = Command::new(program);
        command.args(["submit", &self.endpoint, &self.path(output)]).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Jobs of the program's own, with how they have ended.
    fn own_jobs(&self) -> Vec<(String, JobView, JobRecord)> {
        let view = runtime().block_on(async {
            let kv = remote(std::slice::from_ref(&self.endpoint));
            let request =
                RangeRequest { range: KeyRange::prefix(PREFIX), ..RangeRequest::default() };
            let (header, found) = kv.range(request, Consistency::Linearizable).await.unwrap();
            View::load(&found.kvs, header.revision)
        });
        let jobs = view.jobs.into_iter().filter_map(|(id, job)| {
            let record = job.job.as_ref()?.record.clone();
            Some((id.to_string(), job, record))
        });
        jobs.filter(|(_, _, record)| record.spec.job == "word-lengths").collect()
    }
}

fn path_in(cluster: &Cluster, name: &str) -> String {
    cluster.folder().join(name).to_str().unwrap().to_owned()
}

/// Has it succeed.
fn finish(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What it says when it fails.
fn complaint(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

fn local(program: &Path, output: &str, words: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let mut command = Command::new(program);
    command.args(["local", output]).args(words).stdin(Stdio::null()).stderr(Stdio::piped());
    finish(command.spawn().unwrap());
    parts(Path::new(output))
}

/// Nodes whose attempts have won a task.
fn winners(job: &JobView) -> BTreeSet<String> {
    let report = job.report().unwrap();
    report.tasks.iter().map(|task| report.nodes[task.node as usize].clone()).collect()
}

fn naive_lengths(text: &str, least: usize) -> String {
    let mut counts = BTreeMap::new();
    for word in text.split_ascii_whitespace().filter(|word| word.len() >= least) {
        *counts.entry(word.len()).or_insert(0) += 1;
    }
    counts.iter().map(|(length, count)| format!("{length:06}\t{count}\n")).collect()
}

#[test]
fn a_job_of_ones_own_runs_on_workers_of_its_program_alone_and_gives_what_a_local_run_gives() {
    let mut bench = Bench::new();
    bench.start_stock();
    bench.have_stock_elected();
    let program = example();
    bench.start_own(&program, "own1");
    bench.start_own(&program, "own2");
    let words = ["least=3", &bench.text];
    finish(bench.submit(&program, "out", &words));
    let found = parts(Path::new(&bench.path("out")));
    assert_same(&found, &local(&program, &bench.path("local"), &words));
    let lines: String = found.values().map(|part| String::from_utf8_lossy(part)).collect();
    assert_eq!(lines, naive_lengths(&fs::read_to_string(&bench.text).unwrap(), 3));
    let jobs = bench.own_jobs();
    let [(_, job, record)] = jobs.as_slice() else { panic!("{} jobs", jobs.len()) };
    assert!(matches!(record.state, JobState::Done(_)));
    let own: Vec<String> =
        bench.workers[1..].iter().map(|worker| format!("own-{}", worker.id())).collect();
    let winners = winners(job);
    assert!(!winners.is_empty() && winners.iter().all(|node| own.contains(node)), "{winners:?}");
}

#[test]
fn what_a_program_does_not_know_is_refused_by_name_and_tried_again_by_the_one_that_does() {
    let mut bench = Bench::new();
    let program = example();
    bench.start_own(&program, "own1");
    let (text, output, endpoint) =
        (bench.text.as_str(), bench.path("out"), bench.endpoint.as_str());
    let run = ["run", "word-lengths", text, "--output", &output, "--endpoints", endpoint];
    let line = refused(&run, 2);
    assert!(line.contains("unknown job `word-lengths`: the built-in jobs are wordcount"), "{line}");
    let complaint = complaint(bench.submit(&program, "out", &["least=0", text]));
    assert!(complaint.contains("option `least` of job `word-lengths` is `0`"), "{complaint}");
    finish_missing(&bench, &program);
    let failed = bench.own_jobs();
    let [(id, ..)] = failed.as_slice() else { panic!("{} jobs", failed.len()) };
    succeed(&["jobs", "retry", id, "--endpoints", endpoint]);
    let why = wait_for("the end of the second try", PATIENCE, || {
        let mut again = bench.own_jobs().into_iter().filter(|(other, ..)| other != id);
        let (.., record) = again.next()?;
        assert_eq!(record.build, failed[0].2.build);
        match record.state {
            JobState::Failed(why) => Some(why),
            state if state.is_final() => panic!("{state:?}"),
            _ => None,
        }
    });
    assert!(why.contains("missing does not exist"), "{why}");
}

/// A job whose input is not there: planning says so.
fn finish_missing(bench: &Bench, program: &Path) {
    let why = complaint(bench.submit(program, "out", &[&bench.path("missing")]));
    assert!(why.contains("missing does not exist"), "{why}");
}

#[test]
fn programs_with_jobs_of_their_own_hand_the_office_round_until_all_are_planned() {
    let mut bench = Bench::new();
    bench.start_stock();
    bench.have_stock_elected();
    let programs = [example(), another_example(bench.cluster.folder())];
    for (number, program) in programs.iter().enumerate() {
        bench.start_own(program, &format!("own{number}"));
    }
    let words = [bench.text.as_str()];
    let submit =
        |number: usize| bench.submit(&programs[number % 2], &format!("out{number}"), &words);
    let jobs: Vec<Child> = (0..4).map(submit).collect();
    jobs.into_iter().for_each(finish);
    let here = local(&programs[0], &bench.path("local"), &words);
    for number in 0..4 {
        assert_same(&parts(Path::new(&bench.path(&format!("out{number}")))), &here);
    }
    let jobs = bench.own_jobs();
    let builds: BTreeSet<&String> = jobs.iter().map(|(.., record)| &record.build).collect();
    assert_eq!((jobs.len(), builds.len()), (4, 2));
    for (_, job, record) in &jobs {
        let winners = winners(job);
        assert_eq!(winners.len(), 1, "{winners:?} for {}", record.build);
    }
}
