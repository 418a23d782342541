//! The same jobs on a cluster of real processes: nasty inputs give what they give here, byte for byte, or
//! the same error; and a task that fails is tried on another node, as often as the job says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::bench::{Bench, CAT, MAPS, properties};
use crate::formats::gz;
use crate::inputs::NASTY;
use crate::skipping::{DIES, SKIP, input, skipped};
use crate::support::cluster::Cluster;
use crate::support::load::{remote, runtime};
use crate::support::{PATIENCE, wait_for};
use synod::client::{Consistency, Kv};
use synod::jobs::cluster::names::PREFIX;
use synod::kv::{KeyRange, RangeRequest};

/// Three nodes that run a task at a time each.
struct Nodes {
    cluster: Cluster,
    endpoints: String,
}

impl Nodes {
    fn start() -> Nodes {
        let cluster = Cluster::start_with(3, &["--job-slots", "1"]);
        cluster.wait_for_leader();
        let endpoints = cluster.endpoints();
        Nodes { cluster, endpoints }
    }

    /// Runs a job whose scripts wait until all nodes take part.
    fn with_all<T>(&self, bench: &Bench, job: impl FnOnce() -> T) -> T {
        // Before the first job, and some time after the last one, no node takes part.
        let go = bench.path("go");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                wait_for("three workers", PATIENCE, || (self.workers() == 3).then_some(()));
                fs::write(&go, "").unwrap();
            });
            let result = job();
            // The next one waits anew.
            wait_for("all to take part", PATIENCE, || go.exists().then_some(()));
            fs::remove_file(&go).unwrap();
            result
        })
    }

    fn workers(&self) -> usize {
        runtime().block_on(async {
            let range = KeyRange::prefix(format!("{PREFIX}worker/"));
            let request = RangeRequest { range, ..RangeRequest::default() };
            let kv = remote(&self.cluster.clients());
            let found = kv.range(request, Consistency::Linearizable).await;
            found.map_or(0, |(_, found)| found.kvs.len())
        })
    }

    fn words<'w>(&'w self, words: &[&'w str]) -> Vec<&'w str> {
        [words, &["--endpoints", &self.endpoints]].concat()
    }
}

/// Runs it here and there; equal part files.
#[track_caller]
fn assert_equal(bench: &Bench, nodes: &Nodes, what: &str, words: &[&str]) -> Vec<u8> {
    let here = bench.run(words);
    let there = bench.run(&nodes.words(words));
    assert!(here.parts == there.parts, "{what}, {words:?}: {}", there.all().escape_ascii());
    there.all()
}

#[test]
fn nasty_inputs_give_on_a_cluster_what_they_give_here() {
    let nodes = Nodes::start();
    let split = properties(&["mapreduce.input.fileinputformat.split.maxsize=3"]);
    for (what, input, mapped, reduced) in NASTY {
        let bench = Bench::with_input(input);
        assert!(assert_equal(&bench, &nodes, what, MAPS) == *mapped, "{what}");
        // Records that begin and end anywhere, on any node.
        let all = assert_equal(&bench, &nodes, what, &[&split[..], CAT].concat());
        assert!(all == *reduced, "{what}: {}", all.escape_ascii());
    }
}

#[test]
fn packed_long_and_uneven_inputs_give_on_a_cluster_what_they_give_here() {
    let nodes = Nodes::start();
    let two = properties(&["mapreduce.job.reduces=2"]);
    let two_members = [gz(b"b\t1\na"), gz(b"\t2\n")].concat();
    let long = format!("{}\nk\t{}\nshort\n", "x".repeat(1 << 20), "y".repeat(16 << 20));
    let hot: String =
        (0..60_000).map(|n| format!("{}\t{n}\n", if n % 100 == 0 { n } else { 7 })).collect();
    let sorted: String = (0..20_000).map(|n| format!("{n:08}\n")).collect();
    let reversed: String = (0..20_000).rev().map(|n| format!("{n:08}\n")).collect();
    let alike = format!("{}\n", "a".repeat(70));
    let late = (0..500).map(|n| format!("{}{n}\n", "a".repeat(70))).collect::<String>();
    for (name, content) in [
        ("two-members.gz", two_members),
        ("nothing-in-it.gz", gz(b"")),
        ("nothing.gz", Vec::new()),
        ("long", long.into_bytes()),
        ("a-hot-key", hot.into_bytes()),
        ("sorted", sorted.into_bytes()),
        ("reversed", reversed.into_bytes()),
        ("all-alike", alike.repeat(10_000).into_bytes()),
        ("keys-that-differ-late", late.into_bytes()),
    ] {
        let bench = Bench::new();
        bench.put(name, content);
        assert_equal(&bench, &nodes, name, &[&two[..], &["-input", name], CAT].concat());
    }
    let bench = Bench::new();
    for name in ["b", "a", "_hidden", ".dot", "with blank", "#hash", "c,d", "e{f"] {
        bench.put(&format!("in/{name}"), format!("{name}\n"));
    }
    let all = assert_equal(&bench, &nodes, "odd names", CAT);
    assert_eq!(all, b"#hash\t\na\t\nb\t\nc,d\t\ne{f\t\nwith blank\t\n");
}

#[test]
fn inputs_that_cannot_be_read_fail_on_a_cluster_with_the_error_that_they_fail_with_here() {
    let nodes = Nodes::start();
    let packed =
        gz(&(0..2_000_u32).flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect::<Vec<_>>());
    let too_long = [&b"a\n"[..], &vec![b'z'; 17 << 20], b"\nb\n"].concat();
    for (name, content, reason) in [
        ("cut.gz", packed[..packed.len() - 9].to_vec(), "cannot be unpacked"),
        ("garbage.gz", [gz(b"a\n"), b"garbage".to_vec()].concat(), "cannot be unpacked"),
        ("plain.gz", b"plain text\n".to_vec(), "its first bytes do not"),
        ("a.snappy", b"whatever".to_vec(), "Synod does not unpack snappy"),
        ("too-long", too_long, "offset 2 is longer than"),
    ] {
        let bench = Bench::new();
        bench.put(name, content);
        let words = [&["-input", name, "--memory-mib", "64"][..], MAPS].concat();
        for words in [words.clone(), nodes.words(&words)] {
            let said = bench.fail(&words);
            assert!(said.contains(name) && said.contains(reason), "{words:?}: {said}");
        }
    }
}

/// Appends who it is, and the folder of its node, to a file, and waits for another one: a minute at most.
const SAYS_WHERE: &str =
    "echo \"$mapreduce_task_attempt_id $mapreduce_job_local_dir\" >> FOLDER/seen
n=0
while [ ! -e FOLDER/go ] && [ $n -lt 3000 ]; do sleep 0.02; n=$((n+1)); done";

/// The attempts that have said where they are: the last part of their names, and their nodes.
fn attempts(bench: &Bench) -> BTreeMap<String, String> {
    let seen = fs::read_to_string(bench.path("seen")).unwrap();
    let lines = seen.lines().map(|line| line.split_once(' ').unwrap());
    lines
        .map(|(attempt, folder)| {
            let node = folder.split('/').find(|name| ["n1", "n2", "n3"].contains(name));
            let node = node.unwrap_or_else(|| panic!("{folder} is in no node's folder"));
            (attempt.rsplit_once('_').unwrap().1.to_owned(), node.to_owned())
        })
        .collect()
}

/// A script that says where it is and goes on like this.
fn script(bench: &Bench, name: &str, text: &str) -> String {
    let folder = bench.path("");
    let says = SAYS_WHERE.replace("FOLDER/", folder.to_str().unwrap());
    bench.script(name, &format!("{says}\n{text}"))
}

#[test]
fn bad_records_are_left_out_by_another_node_and_kept_as_they_are_here() {
    let nodes = Nodes::start();
    let (all, good) = input();
    let bench = Bench::with_input(&all);
    let dies = script(&bench, "dies.sh", DIES);
    let words = [&properties(SKIP)[..], &["-mapper", &dies, "-reducer", "NONE"]].concat();
    let there = nodes.with_all(&bench, || bench.run(&nodes.words(&words)));
    assert!(there.text() == good, "{}", there.text());
    assert_eq!(there.counter("Synod", "bad_records_skipped"), Some(3));
    // The first attempt failed of a bad record, the second one looked for them.
    let seen = attempts(&bench);
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["0", "1"], "{seen:?}");
    assert_ne!(seen["0"], seen["1"], "the others had room");
    // What is here runs beside no node; it only writes to the same file.
    fs::remove_file(bench.path("seen")).unwrap();
    fs::write(bench.path("go"), "").unwrap();
    let here = bench.run(&words);
    assert!(here.parts == there.parts);
    let kept = skipped(&there.output);
    assert_eq!((kept.len(), &kept), (1, &skipped(&here.output)));
    let limit = properties(&["synod.streaming.skip.limit=2"]);
    let said = bench.fail(&nodes.words(&[&limit[..], &words].concat()));
    assert!(said.contains("more than 2 bad records in one task"), "{said}");
}

#[test]
fn a_task_is_tried_on_a_cluster_as_often_as_the_job_says_and_its_program_is_told_so() {
    let nodes = Nodes::start();
    let asks = "echo $mapreduce_map_maxattempts $mapred_reduce_max_attempts; cat";
    for (settings, told) in [
        (&[][..], ["4", "4"]),
        (&["mapreduce.map.maxattempts=1"][..], ["1", "4"]),
        (&["mapreduce.map.maxattempts=6", "mapred.reduce.max.attempts=2"][..], ["6", "2"]),
    ] {
        let most: usize = told[0].parse().unwrap();
        let settings = properties(settings);
        let bench = Bench::with_input("x\n");
        let asks = bench.script("asks.sh", asks);
        let words = [&settings[..], &["-mapper", &asks, "-reducer", "NONE"]].concat();
        assert_eq!(bench.run(&nodes.words(&words)).text(), format!("{}\t\nx\t\n", told.join(" ")));
        // The last one is good, or none is.
        let last = format!("cat; case $mapred_task_id in *_{}) exit 0;; esac; exit 4", most - 1);
        for (text, is_good) in [(&last[..], true), ("exit 4", false)] {
            let script = script(&bench, "fails.sh", text);
            let words = [&settings[..], &["-mapper", &script, "-reducer", "NONE"]].concat();
            let words = nodes.words(&words);
            nodes.with_all(&bench, || {
                if is_good {
                    assert_eq!(bench.run(&words).text(), "x\t\n");
                } else {
                    let said = bench.fail(&words);
                    assert!(said.contains("code 4"), "{said}");
                }
            });
            let seen = attempts(&bench);
            assert_eq!(seen.len(), most, "{seen:?}");
            let on: BTreeSet<&String> = seen.values().collect();
            assert_eq!(on.len(), most.min(3), "every node gets its chance: {seen:?}");
            fs::remove_file(bench.path("seen")).unwrap();
        }
    }
}

#[test]
fn reduces_are_tried_as_often_as_is_said_of_them_whatever_is_said_of_maps() {
    let settings = properties(&["mapreduce.map.maxattempts=1", "mapreduce.reduce.maxattempts=3"]);
    let nodes = Nodes::start();
    for (last, is_good) in [(2, true), (3, false)] {
        let bench = Bench::with_input("x\n");
        let tries = bench.path("tries");
        let says = format!("echo $mapred_task_id >> {}", tries.display());
        let text = format!("{says}; cat; case $mapred_task_id in *_{last}) exit 0;; esac; exit 4");
        let fails = bench.script("fails.sh", &text);
        let words = [&settings[..], &["-mapper", "cat", "-reducer", &fails]].concat();
        for words in [words.clone(), nodes.words(&words)] {
            match is_good {
                true => assert_eq!(bench.run(&words).text(), "x\t\n"),
                false => assert!(bench.fail(&words).contains("code 4")),
            }
            let seen = fs::read_to_string(&tries).unwrap();
            assert_eq!(seen.lines().count(), 3, "{seen}");
            fs::remove_file(&tries).unwrap();
        }
    }
}
