//! Jobs on a cluster of real processes: the output equals a naive count and a local run, byte for byte,
//! whoever is killed and whatever is lost half way. What is refused or cancelled leaves nothing.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use support::cluster::Cluster;
use support::{PATIENCE, refused, succeed, synod, wait_for};
use synod::client::{Consistency, Kv, Remote, RemoteOptions, election};
use synod::jobs::cluster::names::{ELECTION, PREFIX};
use synod::jobs::cluster::{JobView, TaskKind, View};
use synod::kv::{KeyRange, RangeRequest};
use tempfile::TempDir;

const TEXT_BYTES: usize = 20 << 20;

/// A cluster, an input for it, and where outputs go.
struct Bench {
    cluster: Cluster,
    folder: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench { cluster: Cluster::start(3), folder: TempDir::new().unwrap() };
        fs::write(bench.path("text"), words(TEXT_BYTES)).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text_of(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A word count of the text in twenty splits, here or on the cluster.
    fn count(&self, output: &str, endpoints: &[&str]) -> Vec<String> {
        let [input, output] = ["text", output].map(|name| self.text_of(name));
        let job = ["run", "wordcount", &input, "--output", &output];
        let sizes = ["--split-mib", "1", "--reduces", "4"];
        [&job[..], &sizes, endpoints].concat().into_iter().map(str::to_owned).collect()
    }

    fn count_here(&self, output: &str) -> BTreeMap<String, Vec<u8>> {
        let arguments = self.count(output, &[]);
        succeed(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        parts(&self.path(output))
    }

    fn start_on_cluster(&self, output: &str) -> Child {
        let endpoints = self.cluster.endpoints();
        let arguments = self.count(output, &["--endpoints", &endpoints]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = synod(&arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    /// The records as they are now, and the name of the coordinator's node.
    fn records(&self) -> (View, Option<String>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let kv = Remote::new(&self.cluster.clients(), RemoteOptions::default()).unwrap();
            let range = KeyRange::prefix(PREFIX);
            let request = RangeRequest { range, ..RangeRequest::default() };
            let (header, found) = kv.range(request, Consistency::Linearizable).await.unwrap();
            let view = View::load(&found.kvs, header.revision);
            let (_, leader) = election::leader(&kv, ELECTION.as_bytes()).await.unwrap();
            let worker = leader.and_then(|leader| {
                let name = String::from_utf8(leader.value.to_vec()).ok()?;
                view.workers.get(&name.parse().ok()?).map(|worker| worker.record.node.clone())
            });
            (view, worker)
        })
    }

    /// Waits until `look` finds something in the records of the running job.
    fn wait_for_job<T>(&self, what: &str, look: impl Fn(&View, &JobView, &str) -> Option<T>) -> T {
        wait_for(what, PATIENCE, || {
            let (view, coordinator) = self.records();
            let (_, job, _) = view.active().next()?;
            look(&view, job, &coordinator?)
        })
    }

    fn node(&self, name: &str) -> usize {
        self.cluster.nodes.iter().position(|node| node.name == name).unwrap()
    }
}

/// Lines of words, some frequent and most rare, always the same.
fn words(bytes: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes + 64);
    let mut state: u64 = 42;
    while text.len() < bytes {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let draw = state >> 33;
        let rank = (draw % 1_000) * (draw / 1_000 % 40) % 20_000;
        text.extend_from_slice(format!("w{rank:x}").as_bytes());
        text.push(if draw.is_multiple_of(11) { b'\n' } else { b' ' });
    }
    text
}

/// The part files by name. The output is complete and holds nothing else.
fn parts(output: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut parts = BTreeMap::new();
    for entry in fs::read_dir(output).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        parts.insert(name, fs::read(path).unwrap());
    }
    assert!(parts.remove("_SUCCESS").is_some(), "{:?}", parts.keys());
    assert!(parts.keys().all(|name| name.starts_with("part-")), "{:?}", parts.keys());
    parts
}

/// Compares without printing megabytes.
fn assert_same(left: &BTreeMap<String, Vec<u8>>, right: &BTreeMap<String, Vec<u8>>) {
    assert!(left.keys().eq(right.keys()));
    for (name, bytes) in left {
        assert!(*bytes == right[name], "{name} differs");
    }
}

#[test]
fn a_word_count_on_three_nodes_equals_a_naive_one_and_a_local_run() {
    let bench = Bench::new();
    assert!(bench.start_on_cluster("out").wait().unwrap().success());
    let found = parts(&bench.path("out"));
    let mut counts: BTreeMap<&[u8], u64> = BTreeMap::new();
    let text = fs::read(bench.path("text")).unwrap();
    for word in text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
        *counts.entry(word).or_default() += 1;
    }
    let mut lines: Vec<&[u8]> =
        found.values().flat_map(|part| part.split(|&b| b == b'\n')).collect();
    lines.retain(|line| !line.is_empty());
    lines.sort_unstable();
    let count = |(word, count): (&&[u8], &u64)| [*word, format!("\t{count}").as_bytes()].concat();
    let mut naive: Vec<Vec<u8>> = counts.iter().map(count).collect();
    naive.sort_unstable();
    assert!(lines.iter().eq(naive.iter()), "{} and {} lines", lines.len(), naive.len());
    assert_same(&found, &bench.count_here("local"));
    for node in &bench.cluster.nodes {
        wait_for("map outputs to be removed", PATIENCE, || {
            let left = fs::read_dir(node.data().join("jobs")).map_or(0, Iterator::count);
            (left == 0).then_some(())
        });
    }
}

#[test]
fn what_is_refused_or_cancelled_leaves_nothing() {
    let bench = Bench::new();
    let endpoints = bench.cluster.endpoints();
    let [text, missing, out, out2] = ["text", "missing", "out", "out2"].map(|n| bench.text_of(n));
    let run = |job: &str, input: &str, output: &str, code| {
        refused(&["run", job, input, "--output", output, "--endpoints", &endpoints], code)
    };
    fs::create_dir(bench.path("out")).unwrap();
    fs::write(bench.path("out/mine"), "mine").unwrap();
    assert!(run("wordcount", &text, &out, 1).contains("exists"));
    assert_eq!(fs::read(bench.path("out/mine")).unwrap(), b"mine");
    assert!(run("wordcount", &missing, &out2, 1).contains(&missing));
    assert!(run("no-such-job", &text, &out2, 2).contains("wordcount"));
    assert!(!bench.path("out2").exists());

    let mut job = bench.start_on_cluster("out2");
    bench.wait_for_job("a map to be done", |_, job, _| (job.done(TaskKind::Map) > 0).then_some(()));
    let pid = rustix::process::Pid::from_child(&job);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(job.wait().unwrap().code(), Some(130));
    assert!(!bench.path("out2").exists());
}

#[test]
fn a_worker_killed_half_way_changes_no_byte() {
    let mut bench = Bench::new();
    let undisturbed = bench.count_here("local");
    let mut job = bench.start_on_cluster("out");
    let victim = bench.wait_for_job("a worker with finished maps", |view, job, coordinator| {
        let enough = job.done(TaskKind::Map) >= 5;
        let winners = job.tasks_of(TaskKind::Map).filter_map(|(_, task)| task.record.done.as_ref());
        let mut nodes = winners.filter_map(|done| view.workers.get(&done.worker));
        let node = nodes.find(|worker| worker.record.node != coordinator)?.record.node.clone();
        enough.then_some(node)
    });
    let victim = bench.node(&victim);
    bench.cluster.nodes[victim].kill();
    assert!(job.wait().unwrap().success());
    assert_same(&undisturbed, &parts(&bench.path("out")));
}

#[test]
fn the_coordinators_node_killed_half_way_changes_no_byte() {
    let mut bench = Bench::new();
    let undisturbed = bench.count_here("local");
    let mut job = bench.start_on_cluster("out");
    let victim = bench.wait_for_job("five maps to be done", |_, job, coordinator| {
        (job.done(TaskKind::Map) >= 5).then(|| coordinator.to_owned())
    });
    let victim = bench.node(&victim);
    bench.cluster.nodes[victim].kill();
    assert!(job.wait().unwrap().success());
    assert_same(&undisturbed, &parts(&bench.path("out")));
}

#[test]
fn a_map_output_that_cannot_be_read_is_made_again() {
    let bench = Bench::new();
    let undisturbed = bench.count_here("local");
    let mut job = bench.start_on_cluster("out");
    let lost = bench.wait_for_job("a map output", |view, job, _| {
        let (map, task) =
            job.tasks_of(TaskKind::Map).find(|(_, task)| task.record.done.is_some())?;
        let done = task.record.done.as_ref()?;
        let (id, ..) = view.active().next()?;
        let node = &view.workers.get(&done.worker)?.record.node;
        let file = format!("jobs/{id}/{map}-{}.run", done.attempt);
        Some(bench.cluster.nodes[bench.node(node)].data().join(file))
    });
    fs::remove_file(&lost).unwrap();
    let losses = |job: &JobView| job.tasks.values().map(|task| task.record.losses).sum::<u32>();
    bench.wait_for_job("the loss to be noticed", |_, job, _| (losses(job) > 0).then_some(()));
    assert!(job.wait().unwrap().success());
    assert_same(&undisturbed, &parts(&bench.path("out")));
}
