//! Jobs on a cluster of real processes, over real text (`support/text.rs`): the output equals a naive
//! count and a local run, byte for byte, whoever is killed and whatever is lost half way. What is refused
//! or cancelled leaves nothing.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use support::cluster::Cluster;
use support::load::{remote, runtime};
use support::parts::{assert_same, parts};
use support::text::Text;
use support::{PATIENCE, refused, succeed, synod, wait_for};
use synod::Revision;
use synod::client::{ClientError, Consistency, Kv, WatchSpec, election};
use synod::jobs::cluster::names::{ELECTION, JobId, PREFIX, TaskId, WorkerId};
use synod::jobs::cluster::{JobView, TaskKind, View};
use synod::kv::{KeyRange, RangeRequest};
use tempfile::TempDir;

/// A cluster, an input for it, and where outputs go.
struct Bench {
    cluster: Cluster,
    text: Text,
    folder: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let folder = TempDir::new().unwrap();
        let text = Text::write(folder.path());
        Bench { cluster: Cluster::start(3), text, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text_of(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A word count of the text in splits of a MiB, here or on the cluster.
    fn count(&self, output: &str, endpoints: &[&str]) -> Vec<String> {
        let output = self.text_of(output);
        let job = ["run", "wordcount", "--output", &output, "--split-mib", "1", "--reduces", "4"];
        let words = [&job[..], endpoints].concat().into_iter().map(str::to_owned);
        words.chain(self.text.inputs.iter().cloned()).collect()
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
    fn records(&self) -> Result<(View, Option<String>), ClientError> {
        runtime().block_on(async {
            let kv = remote(&self.cluster.clients());
            let range = KeyRange::prefix(PREFIX);
            let request = RangeRequest { range, ..RangeRequest::default() };
            let (header, found) = kv.range(request, Consistency::Linearizable).await?;
            let view = View::load(&found.kvs, header.revision);
            let (_, leader) = election::leader(&kv, ELECTION.as_bytes()).await?;
            let worker = leader.and_then(|leader| {
                let name = String::from_utf8(leader.value.to_vec()).ok()?;
                view.workers.get(&name.parse().ok()?).map(|worker| worker.record.node.clone())
            });
            Ok((view, worker))
        })
    }

    /// Waits until `look` finds something in the records of the running job.
    fn wait_for_job<T>(&self, what: &str, look: impl Fn(&View, &JobView, &str) -> Option<T>) -> T {
        wait_for(what, PATIENCE, || {
            let (view, coordinator) = self.records().unwrap();
            let (_, job, _) = view.active().next()?;
            look(&view, job, &coordinator?)
        })
    }

    fn node(&self, name: &str) -> usize {
        self.cluster.nodes.iter().position(|node| node.name == name).unwrap()
    }
}

#[test]
fn a_word_count_on_three_nodes_equals_a_naive_one_and_a_local_run() {
    let bench = Bench::new();
    assert!(bench.start_on_cluster("out").wait().unwrap().success());
    let found = parts(&bench.path("out"));
    bench.text.check_count(found.values().map(Vec::as_slice));
    assert_same(&found, &bench.count_here("local"));
    for node in &bench.cluster.nodes {
        wait_for("map outputs to be removed", PATIENCE, || {
            let left = fs::read_dir(node.data().join("jobs")).map_or(0, Iterator::count);
            (left == 0).then_some(())
        });
    }
}

#[test]
fn an_index_of_all_words_made_on_three_nodes_is_the_one_of_a_local_run() {
    let bench = Bench::new();
    let endpoints = bench.cluster.endpoints();
    let index = |output: &str, endpoints: &[&str]| {
        let output_text = bench.text_of(output);
        let inputs: Vec<&str> = bench.text.inputs.iter().map(String::as_str).collect();
        let job = ["run", "inverted-index", "--output", &output_text, "--set", "counts=true"];
        let shape = ["--split-mib", "1", "--reduces", "4"];
        succeed(&[&job[..], &shape, endpoints, &inputs].concat());
        parts(&bench.path(output))
    };
    let there = index("out", &["--endpoints", &endpoints]);
    assert_same(&there, &index("local", &[]));
    // Each word with its files, and all words of the text in them.
    let all = there.values().flat_map(|part| part.split(|byte| *byte == b'\n'));
    let lines: Vec<&[u8]> = all.filter(|line| !line.is_empty()).collect();
    let several = lines.iter().filter(|line| line.contains(&b','));
    assert!(lines.len() > 1_000 && several.count() > 100, "{} words", lines.len());
}

#[test]
fn what_is_refused_or_cancelled_leaves_nothing() {
    let bench = Bench::new();
    let endpoints = bench.cluster.endpoints();
    let [missing, out, out2] = ["missing", "out", "out2"].map(|name| bench.text_of(name));
    let text = &bench.text.inputs[0];
    let run = |job: &str, input: &str, output: &str, code| {
        refused(&["run", job, input, "--output", output, "--endpoints", &endpoints], code)
    };
    fs::create_dir(bench.path("out")).unwrap();
    fs::write(bench.path("out/mine"), "mine").unwrap();
    assert!(run("wordcount", text, &out, 1).contains("exists"));
    assert_eq!(fs::read(bench.path("out/mine")).unwrap(), b"mine");
    assert!(run("wordcount", &missing, &out2, 1).contains(&missing));
    assert!(run("no-such-job", text, &out2, 2).contains("wordcount"));
    assert!(!bench.path("out2").exists());

    let mut job = bench.start_on_cluster("out2");
    bench.wait_for_job("a map to be done", |_, job, _| (job.done(TaskKind::Map) > 0).then_some(()));
    let pid = rustix::process::Pid::from_child(&job);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(job.wait().unwrap().code(), Some(130));
    assert!(!bench.path("out2").exists());
}

#[test]
fn whoever_waits_for_a_cluster_that_is_gone_can_leave() {
    let mut bench = Bench::new();
    let mut job = bench.start_on_cluster("out");
    bench.wait_for_job("a map to be done", |_, job, _| (job.done(TaskKind::Map) > 0).then_some(()));
    bench.cluster.nodes.iter_mut().for_each(|node| node.kill());
    let pid = rustix::process::Pid::from_child(&job);
    // The first one is a wish to end the job; the second one does not wait for an answer.
    let ended = wait_for("the end of the client", PATIENCE, || {
        let ended = job.try_wait().unwrap();
        if ended.is_none() {
            rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        }
        ended
    });
    assert_eq!(ended.code(), Some(130));
}

#[test]
fn a_pipeline_runs_on_a_cluster_and_ends_with_the_job_that_fails() {
    let cluster = Cluster::start(1);
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("in"), "b a b c b c\n").unwrap();
    let stages = format!(
        "[[job]]\njob = \"wordcount\"\ninputs = [{:?}]\noutput = {:?}\ntemporary = true\nreduces = 3\n\
         priority = \"low\"\n\
         [[job]]\njob = \"sort\"\ninputs = [{:?}]\noutput = {:?}\n",
        path("in"),
        path("counts"),
        path("counts"),
        path("sorted"),
    );
    let file = path("pipeline.toml");
    fs::write(&file, stages).unwrap();
    let endpoints = cluster.endpoints();
    let pipeline = ["pipeline", &file, "--endpoints", &endpoints];
    succeed(&pipeline);
    assert_eq!(fs::read(path("sorted/part-00000")).unwrap(), b"a\t1\nb\t3\nc\t2\n");
    assert!(!folder.path().join("counts").exists(), "it was a step on the way");
    let states = || {
        let listed = succeed(&["jobs", "list", "--json", "--endpoints", &endpoints]);
        let job = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let jobs = listed.lines().map(job);
        jobs.map(|job| format!("{} {} {}", job["job"], job["priority"], job["state"]))
            .collect::<Vec<_>>()
    };
    let done = [r#""wordcount" "low" "done""#, r#""sort" "normal" "done""#];
    assert_eq!(states(), done);
    // The second job fails now: what the first one has made stays.
    let ended = synod(&pipeline).stdin(Stdio::null()).output().unwrap();
    let why = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(1) && why.contains("sorted exists"), "{why}");
    assert!(folder.path().join("counts/_SUCCESS").is_file());
    assert_eq!(states()[..3], [done[0], done[1], done[0]]);
}

/// A worker that was killed, and what was known of its job just before.
struct Killed {
    worker: WorkerId,
    job: JobId,
    before: View,
}

/// Kills the node of a worker that has finished maps, once a quarter of all maps are done; `fits` is
/// asked whether it may be this node, and told the coordinator's.
fn kill_half_way(bench: &mut Bench, fits: impl Fn(&str, &str) -> bool) -> Killed {
    let (node, killed) = bench.wait_for_job("a worker with finished maps", |view, job, leads| {
        let (id, _, record) = view.active().next()?;
        let maps = record.record.totals.maps;
        let half_way = maps > 0 && job.done(TaskKind::Map) * 4 >= maps;
        let winners = job.tasks_of(TaskKind::Map).filter_map(|(_, task)| task.record.done.as_ref());
        let mut workers =
            winners.filter_map(|done| Some((&done.worker, view.workers.get(&done.worker)?)));
        let (worker, node) = workers.find(|(_, worker)| fits(&worker.record.node, leads))?;
        let killed = Killed { worker: worker.clone(), job: id.clone(), before: view.clone() };
        half_way.then(|| (node.record.node.clone(), killed))
    });
    let node = bench.node(&node);
    bench.cluster.nodes[node].kill();
    // Without a leader for a moment nobody may be able to answer; the job stands still then, too.
    let after = wait_for("the records after the kill", PATIENCE, || bench.records().ok());
    let job = &after.0.jobs[&killed.job];
    let unfinished = job.tasks.values().filter(|task| task.record.done.is_none()).count();
    assert!(unfinished > 0, "the job was over before its worker was killed");
    killed
}

/// Every map output that died with the worker was made again by another, in a later attempt.
fn check_what_ran_again(bench: &Bench, killed: &Killed) {
    let maps = killed.before.jobs[&killed.job].tasks_of(TaskKind::Map);
    let mut lost: BTreeMap<TaskId, u32> = maps
        .filter_map(|(id, task)| Some((id, task.record.done.as_ref()?)))
        .filter(|(_, done)| done.worker == killed.worker)
        .map(|(id, done)| (id, done.attempt))
        .collect();
    assert!(!lost.is_empty(), "it had finished maps");
    // Not the records as they are now: at the end of a job its tasks are forgotten.
    each_state_since(bench, killed, |job| {
        lost.retain(|id, attempt| {
            let done = job.tasks.get(id).and_then(|task| task.record.done.as_ref());
            done.is_none_or(|done| done.worker == killed.worker || done.attempt <= *attempt)
        });
    });
    assert!(lost.is_empty(), "never made again: {lost:?}");
}

/// Shows `look` the job's records after every change since the kill, up to the job's end.
fn each_state_since(bench: &Bench, killed: &Killed, mut look: impl FnMut(&JobView)) {
    runtime().block_on(async {
        let kv = remote(&bench.cluster.clients());
        let mut view = killed.before.clone();
        let start_revision = Revision(view.revision().0 + 1);
        let range = KeyRange::prefix(PREFIX);
        let spec = WatchSpec { range, start_revision, ..WatchSpec::default() };
        let mut watcher = kv.watch(spec).await.unwrap();
        loop {
            for event in watcher.next().await.unwrap().events {
                view.apply(&event.event);
                let job = &view.jobs[&killed.job];
                look(job);
                if job.job.as_ref().is_some_and(|job| job.record.state.is_final()) {
                    return;
                }
            }
        }
    });
}

#[test]
fn a_worker_killed_half_way_changes_no_byte() {
    let mut bench = Bench::new();
    let undisturbed = bench.count_here("local");
    let mut job = bench.start_on_cluster("out");
    let killed = kill_half_way(&mut bench, |node, coordinator| node != coordinator);
    assert!(job.wait().unwrap().success());
    check_what_ran_again(&bench, &killed);
    assert_same(&undisturbed, &parts(&bench.path("out")));
}

#[test]
fn the_coordinators_node_killed_half_way_changes_no_byte() {
    let mut bench = Bench::new();
    let undisturbed = bench.count_here("local");
    let mut job = bench.start_on_cluster("out");
    let killed = kill_half_way(&mut bench, |node, coordinator| node == coordinator);
    assert!(job.wait().unwrap().success());
    check_what_ran_again(&bench, &killed);
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
