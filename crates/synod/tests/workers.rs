//! `synod worker`: processes that take tasks without being nodes, with the jobs' records in an etcd or in
//! a Synod cluster. The output equals a local run, byte for byte, also if a worker is killed or told to
//! leave half way.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::cluster::Cluster;
use support::etcd::Etcd;
use support::load::{remote, runtime};
use support::mount::way_to_mount;
use support::parts::{assert_same, parts};
use support::process::Process;
use support::text::Text;
use support::{PATIENCE, refused, succeed, synod, wait_for};
use synod::client::{Consistency, Kv};
use synod::jobs::cluster::names::PREFIX;
use synod::jobs::cluster::{JobState, JobView, TaskKind, View};
use synod::kv::{KeyRange, RangeRequest};
use tempfile::TempDir;

/// Workers of one cluster, an input for them, and where outputs go.
struct Bench {
    workers: Vec<Process>,
    endpoints: String,
    text: Text,
    folder: TempDir,
}

impl Bench {
    fn new(workers: usize, endpoints: String, folder: TempDir) -> Bench {
        let text = Text::write(folder.path());
        let mut bench = Bench { workers: Vec::new(), endpoints, text, folder };
        for number in 1..=workers {
            bench.add_worker(&format!("w{number}"), &[]);
        }
        bench
    }

    fn add_worker(&mut self, name: &str, more: &[&str]) {
        let command = self.worker(name, more);
        self.start(name, command);
    }

    fn worker(&self, name: &str, more: &[&str]) -> Command {
        let mut command = synod(&["worker", "--stop-with-stdin", "--name", name, "--slots", "1"]);
        command.args(["--endpoints", &self.endpoints]).args(more);
        command.arg("--data").arg(self.folder.path().join(name));
        command
    }

    /// A worker whose folder is on a disk of its own, of so many KiB; `false` if there can be none here.
    fn add_worker_on_small_disk(&mut self, name: &str, kib: u32) -> bool {
        let data = self.path(name);
        fs::create_dir(&data).unwrap();
        let data = data.to_str().unwrap();
        let Some((unshare, _)) = way_to_mount(data) else { return false };
        let worker = self.worker(name, &[]);
        let script = format!("mount -t tmpfs -o size={kib}k none '{data}' && exec \"$0\" \"$@\"");
        let mut command = Command::new("unshare");
        command.args(unshare).args(["sh", "-c", &script]).arg(worker.get_program());
        command.args(worker.get_args());
        self.start(name, command);
        true
    }

    fn start(&mut self, name: &str, mut command: Command) {
        let mut worker = Process::start(name, &mut command, self.folder.path());
        worker.wait_for_output(|output| output.contains(" ready"));
        self.workers.push(worker);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A word count in small splits, here or on the workers.
    fn count(&self, output: &str, on_workers: bool) -> Vec<String> {
        self.job("wordcount", output, on_workers)
    }

    fn job(&self, job: &str, output: &str, on_workers: bool) -> Vec<String> {
        let output = self.path(output).to_str().unwrap().to_owned();
        let job = ["run", job, "--output", &output, "--split-mib", "1", "--reduces", "4"];
        let endpoints = ["--endpoints", &self.endpoints];
        let words = job.iter().chain(endpoints.iter().filter(|_| on_workers));
        words.map(|word| (*word).to_owned()).chain(self.text.inputs.iter().cloned()).collect()
    }

    fn count_here(&self) -> BTreeMap<String, Vec<u8>> {
        let arguments = self.count("local", false);
        succeed(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        parts(&self.path("local"))
    }

    fn start_count(&self) -> Child {
        self.start_count_to("out")
    }

    fn start_count_to(&self, output: &str) -> Child {
        let arguments = self.count(output, true);
        let mut command = synod(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        command.spawn().unwrap()
    }

    fn view(&self) -> View {
        runtime().block_on(async {
            let kv = remote(std::slice::from_ref(&self.endpoints));
            let request =
                RangeRequest { range: KeyRange::prefix(PREFIX), ..RangeRequest::default() };
            let (header, found) = kv.range(request, Consistency::Linearizable).await.unwrap();
            View::load(&found.kvs, header.revision)
        })
    }

    /// Waits until `look` finds something in the records of the running job.
    fn wait_for_job<T>(&self, what: &str, look: impl Fn(&View, &JobView) -> Option<T>) -> T {
        wait_for(what, PATIENCE, || {
            let view = self.view();
            let (_, job, _) = view.active().next()?;
            look(&view, job)
        })
    }

    /// Names of the workers that a map of the running job is finished by, once it is half way.
    fn wait_half_way(&self) {
        self.wait_for_job("half of the maps", |_, job| {
            let maps = job.job.as_ref()?.record.totals.maps;
            (maps > 0 && job.done(TaskKind::Map) * 2 >= maps).then_some(())
        });
    }
}

/// Workers on an etcd; `None` if there is no etcd to test with.
fn on_etcd(workers: usize) -> Option<(Etcd, Bench)> {
    let folder = TempDir::new().unwrap();
    let etcd = Etcd::start(folder.path())?;
    let bench = Bench::new(workers, etcd.endpoint(), folder);
    Some((etcd, bench))
}

/// Nodes whose attempts have won a task of the only job, as its report says.
fn winners(bench: &Bench) -> BTreeSet<String> {
    let view = bench.view();
    let job = view.jobs.values().next().unwrap();
    assert!(matches!(job.job.as_ref().unwrap().record.state, JobState::Done(_)));
    let report = job.report().unwrap();
    let nodes = report.tasks.iter().map(|task| report.nodes[task.node as usize].clone());
    nodes.collect()
}

#[test]
fn a_job_runs_on_two_workers_with_its_records_in_etcd() {
    let Some((_etcd, bench)) = on_etcd(2) else { return };
    assert!(bench.start_count().wait().unwrap().success());
    let found = parts(&bench.path("out"));
    bench.text.check_count(found.values().map(Vec::as_slice));
    assert_same(&found, &bench.count_here());
    assert_eq!(winners(&bench), BTreeSet::from(["w1".to_owned(), "w2".to_owned()]));
}

/// A streaming job whose files are gone, and whose folder with them, before there is a worker.
#[test]
fn workers_run_a_script_that_they_never_saw() {
    let cluster = Cluster::start_with(1, &["--jobs", "false"]);
    let mut bench = Bench::new(0, cluster.endpoints(), TempDir::new().unwrap());
    let theirs = TempDir::new().unwrap();
    let path = |name: &str| theirs.path().join(name);
    fs::write(path("m.sh"), "#!/bin/sh\ncat w data/inner/text side/x\nexec cat\n").unwrap();
    fs::write(path("words.txt"), "words\n").unwrap();
    fs::create_dir(path("side")).unwrap();
    fs::write(path("side/x"), "of a folder\n").unwrap();
    let mut archive = tar::Builder::new(fs::File::create(path("data.tar")).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(7);
    header.set_mode(0o644);
    archive.append_data(&mut header, "inner/text", &b"packed\n"[..]).unwrap();
    archive.finish().unwrap();
    fs::write(bench.path("in"), "a line\n").unwrap();
    let (input, output) = (bench.path("in"), bench.path("out"));
    let words = ["streaming", "--endpoints", &bench.endpoints.clone(), "-background"];
    let mut command = synod(&words);
    command.args(["-files", "m.sh,words.txt#w", "-file", "side", "-archives", "data.tar#data"]);
    command.args(["-mapper", "m.sh", "-reducer", "NONE"]);
    command.arg("-input").arg(&input).arg("-output").arg(&output);
    let submitted = command.current_dir(theirs.path()).output().unwrap();
    let said = String::from_utf8_lossy(&submitted.stderr).into_owned();
    assert!(submitted.status.success(), "{said}");
    theirs.close().unwrap();
    for name in ["w1", "w2"] {
        bench.add_worker(name, &[]);
    }
    wait_for("the job", PATIENCE, || {
        let view = bench.view();
        let job = view.jobs.values().next()?.job.as_ref()?;
        job.record.state.is_final().then_some(())
    });
    let all: Vec<u8> = parts(&output).into_values().flatten().collect();
    let text = String::from_utf8(all).unwrap();
    assert_eq!(text, "words\t\npacked\t\nof a folder\t\na line\t\n");
}

#[test]
fn a_worker_that_is_killed_half_way_changes_no_byte_with_the_records_in_etcd() {
    let Some((_etcd, mut bench)) = on_etcd(3) else { return };
    let undisturbed = bench.count_here();
    let mut job = bench.start_count();
    bench.wait_half_way();
    bench.workers[0].kill();
    assert!(job.wait().unwrap().success());
    assert_same(&undisturbed, &parts(&bench.path("out")));
}

/// How far the running job is: a number that only grows; 0 if none runs.
fn events(bench: &Bench) -> u32 {
    let view = bench.view();
    let Some((_, job, _)) = view.active().next() else { return 0 };
    let attempts = job.tasks.values().map(|task| task.record.attempts).sum::<u32>();
    attempts + job.done(TaskKind::Map) + job.done(TaskKind::Reduce)
}

/// A job during which workers are killed, and others come, as the seed has it; how many were while it ran.
fn survive(bench: &mut Bench, seed: u64, undisturbed: &BTreeMap<String, Vec<u8>>) -> u32 {
    let mut state = seed;
    let mut draw = |below: u32| {
        // Knuth's generator; its upper bits are the good ones.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32 % below
    };
    let output = format!("out-{seed}");
    let mut job = bench.start_count_to(&output);
    let (mut next, mut killed) = (0, 0);
    for number in 0..=draw(3) {
        next += 1 + draw(4);
        let reached = wait_for("progress", PATIENCE, || {
            let ended = job.try_wait().unwrap().is_some();
            (ended || events(bench) >= next).then_some(!ended)
        });
        if !reached {
            break;
        }
        let victim = draw(bench.workers.len() as u32) as usize;
        bench.workers.swap_remove(victim).kill();
        killed += u32::from(bench.view().active().next().is_some());
        bench.add_worker(&format!("w-{seed}-{number}"), &[]);
    }
    assert!(job.wait().unwrap().success(), "seed {seed}");
    assert_same(undisturbed, &parts(&bench.path(&output)));
    killed
}

/// Five seeds, or as many as SYNOD_JOB_KILL_SEEDS says.
#[test]
fn workers_killed_at_random_change_no_byte() {
    let seeds = std::env::var("SYNOD_JOB_KILL_SEEDS").map_or(5, |seeds| seeds.parse().unwrap());
    let cluster = Cluster::start_with(1, &["--jobs", "false"]);
    let mut bench = Bench::new(3, cluster.endpoints(), TempDir::new().unwrap());
    bench.text.inputs.truncate(1);
    let undisturbed = bench.count_here();
    let killed: u32 = (0..seeds).map(|seed| survive(&mut bench, seed, &undisturbed)).sum();
    // On a very fast machine some jobs may be over before anybody is killed.
    assert!(u64::from(killed) * 2 >= seeds, "{killed} were killed during {seeds} jobs");
}

#[test]
fn a_worker_that_is_told_to_leave_serves_its_outputs_first() {
    let cluster = Cluster::start_with(1, &["--jobs", "false"]);
    let mut bench = Bench::new(2, cluster.endpoints(), TempDir::new().unwrap());
    let undisturbed = bench.count_here();
    let mut job = bench.start_count();
    bench.wait_for_job("a map of w1", |_, job| {
        let done = job.tasks.values().filter_map(|task| task.record.done.as_ref());
        done.into_iter().find(|done| done.node == "w1").map(drop)
    });
    let pid = Pid::from_raw(bench.workers[0].id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(job.wait().unwrap().success());
    assert!(bench.workers[0].wait(PATIENCE).success());
    assert_same(&undisturbed, &parts(&bench.path("out")));
    let view = bench.view();
    let report = view.jobs.values().next().unwrap().report().unwrap();
    assert_eq!((report.lost_outputs, report.failed_attempts), (0, 0));
    assert!(winners(&bench).contains("w1"));
}

#[test]
fn a_worker_whose_disk_is_full_leaves_the_job_to_the_others() {
    let cluster = Cluster::start_with(1, &["--jobs", "false"]);
    let mut bench = Bench::new(1, cluster.endpoints(), TempDir::new().unwrap());
    if !bench.add_worker_on_small_disk("small", 900) {
        return;
    }
    for (output, on_workers) in [("here", false), ("out", true)] {
        let arguments = bench.job("sort", output, on_workers);
        succeed(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }
    assert_same(&parts(&bench.path("here")), &parts(&bench.path("out")));
    let view = bench.view();
    let report = view.jobs.values().next().unwrap().report().unwrap();
    let on_small = report.failures.iter().filter(|failure| failure.failure.node == "small");
    let messages: Vec<&String> = on_small.map(|failure| &failure.failure.message).collect();
    assert!(!messages.is_empty(), "it had room for everything");
    assert!(messages.iter().all(|why| why.contains("no space left")), "{messages:?}");
    assert!(bench.workers.iter_mut().all(Process::is_running));
}

#[test]
fn a_job_whose_only_worker_has_a_full_disk_fails_with_that_and_leaves_nothing() {
    let cluster = Cluster::start_with(1, &["--jobs", "false"]);
    let mut bench = Bench::new(0, cluster.endpoints(), TempDir::new().unwrap());
    if !bench.add_worker_on_small_disk("small", 900) {
        return;
    }
    let mut arguments = bench.job("sort", "out", true);
    arguments.push("--quiet".to_owned());
    let why = refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), 1);
    assert!(why.contains("no space left"), "{why}");
    assert!(!bench.path("out").exists());
    // The worker itself goes on: a job that fits is done.
    let small = bench.path("a-small-input");
    fs::write(&small, "two words\n").unwrap();
    let (small, out) = (small.to_str().unwrap(), bench.path("out").to_str().unwrap().to_owned());
    succeed(&["run", "sort", small, "--output", &out, "--endpoints", &bench.endpoints]);
    assert_eq!(parts(&bench.path("out")).values().map(Vec::len).sum::<usize>(), 10);
}

#[test]
fn a_worker_says_what_is_wrong_with_its_arguments() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("w").to_str().unwrap().to_owned();
    let world = refused(&["worker", "--listen", "0.0.0.0:0", "--data", &data], 2);
    assert!(world.contains("--insecure"), "{world}");
    let odd = refused(&["worker", "--endpoints", "nonsense", "--data", &data], 2);
    assert!(odd.contains("host:port"), "{odd}");
    // Of two workers with one folder the second one is refused.
    let cluster = Cluster::start(1);
    let mut bench = Bench::new(1, cluster.endpoints(), folder);
    let taken = bench.path("w1").to_str().unwrap().to_owned();
    let taken = refused(&["worker", "--data", &taken, "--endpoints", &bench.endpoints.clone()], 1);
    assert!(taken.contains("used by another process"), "{taken}");
    assert!(bench.workers[0].interrupt().success());
}
