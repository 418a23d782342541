//! Jobs over the keys of a store, by the real binary: on the store's own cluster, here beside it, and with
//! the keys in a real etcd. A job over keys gives the bytes that the same job over the same lines gives.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use support::cluster::Cluster;
use support::etcd::Etcd;
use support::load::{remote, runtime};
use support::parts::{assert_same, parts};
use support::{refused, succeed};
use synod::client::{Consistency, Kv};
use synod::kv::{KeyRange, PutRequest, RangeRequest, TxnOp, TxnRequest};
use tempfile::TempDir;

/// Lines under keys that sort as the lines do.
fn lines(many: usize) -> BTreeMap<String, String> {
    (0..many)
        .map(|number| (format!("{number:05}"), format!("a{} b{}", number % 7, number)))
        .collect()
}

fn put(endpoints: &[String], prefix: &str, pairs: &BTreeMap<String, String>) {
    let pairs: Vec<_> = pairs.iter().collect();
    runtime().block_on(async {
        let kv = remote(endpoints);
        for some in pairs.chunks(100) {
            let put = |(key, value): &(&String, &String)| {
                let (key, value) = (format!("{prefix}{key}").into(), (*value).clone().into());
                TxnOp::Put(PutRequest { key, value, ..PutRequest::default() })
            };
            let success = some.iter().map(put).collect();
            kv.txn(TxnRequest { success, ..TxnRequest::default() }).await.unwrap();
        }
    });
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Counts words of files or keys, with these arguments beside.
fn count(input: &str, output: &Path, more: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let job = ["run", "wordcount", input, "--output", text(output), "--reduces", "3"];
    succeed(&[&job[..], more].concat());
    parts(output)
}

/// Counts the lines as a file and as keys, in every way there is.
fn check(endpoints: &[String], on_cluster: bool) {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let lines = lines(2_500);
    let all: String = lines.values().map(|line| format!("{line}\n")).collect();
    std::fs::write(path("lines"), &all).unwrap();
    put(endpoints, "lines/", &lines);
    put(endpoints, "other/", &lines);
    let expected = count(text(&path("lines")), &path("of-file"), &[]);

    let store = endpoints.join(",");
    let here = ["--store", &store, "--records-per-split", "300"];
    assert_same(&count("kv://lines/", &path("here"), &here), &expected);
    if on_cluster {
        let there = ["--endpoints", &store, "--records-per-split", "300"];
        assert_same(&count("kv://lines/", &path("there"), &there), &expected);
    }

    // A command gets key and value, whatever the job counts.
    let output = path("streamed");
    let job = ["streaming", "-store", &store, "-input", "kv://lines/", "-output", text(&output)];
    succeed(&[&job[..], &["-mapper", "cat", "-reducer", "NONE"]].concat());
    let found: Vec<u8> = parts(&output).into_values().flatten().collect();
    let pairs: String = lines.iter().map(|(key, line)| format!("lines/{key}\t{line}\n")).collect();
    assert!(found == pairs.as_bytes(), "{} bytes and not {}", found.len(), pairs.len());

    let error = refused(&["run", "wordcount", "kv://lines/", "--output", text(&path("no"))], 2);
    assert!(error.contains("--store"), "{error}");
    let error = refused(
        &[
            "run",
            "wordcount",
            "kv://lines/?revision=1000000",
            "--output",
            text(&path("no")),
            "--store",
            &store,
        ],
        1,
    );
    assert!(error.contains("revision"), "{error}");
    assert!(!path("no").exists());
}

/// The pairs under a prefix as lines, as a job has read them from part files.
fn pairs_in(endpoints: &[String], prefix: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut pairs = BTreeMap::new();
    runtime().block_on(async {
        let kv = remote(endpoints);
        let mut range = KeyRange::prefix(prefix.to_owned());
        loop {
            let request =
                RangeRequest { range: range.clone(), limit: 500, ..RangeRequest::default() };
            let (_, found) = kv.range(request, Consistency::Linearizable).await.unwrap();
            for kv in &found.kvs {
                let key = kv.key[prefix.len()..].to_vec();
                assert!(pairs.insert(key, kv.value.to_vec()).is_none());
            }
            let Some(last) = found.kvs.last().filter(|_| found.more) else { break };
            range.key = [&last.key[..], b"\0"].concat().into();
        }
    });
    pairs
}

/// The lines of part files as pairs.
fn pairs_of(parts: &BTreeMap<String, Vec<u8>>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let lines = parts.values().flat_map(|part| part.split_inclusive(|&byte| byte == b'\n'));
    let pairs = lines.map(|line| {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let tab = line.iter().position(|&byte| byte == b'\t').unwrap_or(line.len());
        (line[..tab].to_vec(), line.get(tab + 1..).unwrap_or_default().to_vec())
    });
    pairs.collect()
}

/// Counts words into files and into keys, in every way there is.
fn check_output(endpoints: &[String], on_cluster: bool) {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let all: String = lines(3_000).values().map(|line| format!("{line}\n")).collect();
    std::fs::write(path("lines"), &all).unwrap();
    let parts = count(text(&path("lines")), &path("of-file"), &[]);
    let expected = pairs_of(&parts);
    assert!(expected.len() > 3_000);

    let store = endpoints.join(",");
    let to_keys = |output: &str, more: &[&str]| {
        let lines = path("lines");
        let job =
            ["run", "wordcount", text(&lines), "--output", output, "--reduces", "3", "--quiet"];
        [&job[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let run = |output: &str, more: &[&str]| {
        let job = to_keys(output, more);
        succeed(&job.iter().map(String::as_str).collect::<Vec<_>>());
    };
    let fail = |output: &str, more: &[&str], code: i32| {
        let job = to_keys(output, more);
        refused(&job.iter().map(String::as_str).collect::<Vec<_>>(), code)
    };
    let staging = path("staging");
    let here = ["--store", &store, "--staging", text(&staging)];
    run("kv://here/", &here);
    assert_eq!(pairs_in(endpoints, "here/"), expected);
    // What one job has written the next one reads: the words and their counts, and nothing else.
    let again = count("kv://here/", &path("again"), &["--store", &store]);
    let numbers: u64 = pairs_of(&again)
        .values()
        .map(|count| std::str::from_utf8(count).unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(numbers, expected.len() as u64);

    let error = fail("kv://here/", &here, 1);
    assert!(error.contains("kv://here/ exists"), "{error}");
    assert_eq!(pairs_in(endpoints, "here/"), expected);
    let error = fail("kv://syn", &here, 2);
    assert!(error.contains("Synod's own"), "{error}");

    // Two records with one key would be one pair.
    let twice = path("twice");
    std::fs::write(&twice, "same\tone\nsame\ttwo\n".repeat(100)).unwrap();
    let job = ["run", "sort", text(&twice), "--output", "kv://twice/", "--quiet"];
    let error = refused(&[&job[..], &here].concat(), 1);
    assert!(error.contains("the key twice/same is there already"), "{error}");
    assert_eq!(pairs_in(endpoints, "twice/"), BTreeMap::new());
    assert_eq!(std::fs::read_dir(&staging).unwrap().count(), 0, "nothing is left there");

    // Programs write keys, too, and read what programs wrote.
    let words = path("words.awk");
    std::fs::write(&words, "{ for (n = 1; n <= NF; n++) print $n \"\\t1\" }\n").unwrap();
    let sums = path("sums.awk");
    std::fs::write(
        &sums,
        "{ sum[$1] += $2 } END { for (key in sum) print key \"\\t\" sum[key] }\n",
    )
    .unwrap();
    let (mapper, reducer) =
        (format!("awk -f {}", words.display()), format!("awk -f {}", sums.display()));
    let streamed = |input: &str, output: &str, programs: [&str; 2], place: &[&str]| {
        let job = ["streaming", "-numReduceTasks", "3", "-input", input, "-output", output];
        let [mapper, reducer] = programs;
        succeed(&[&job[..], &["-mapper", mapper, "-reducer", reducer], place].concat());
    };
    let there = ["--endpoints", &store, "--staging", text(&staging)];
    let places = [("h", &here), ("t", &there)];
    for (name, place) in places.into_iter().take(if on_cluster { 2 } else { 1 }) {
        let (first, second) = (format!("{name}1/"), format!("{name}2/"));
        let count = [mapper.as_str(), reducer.as_str()];
        streamed(text(&path("lines")), &format!("kv://{first}"), count, place);
        assert_eq!(pairs_in(endpoints, &first), expected);
        streamed(&format!("kv://{first}"), &format!("kv://{second}"), ["cat", "NONE"], place);
        assert_eq!(pairs_in(endpoints, &format!("{second}{first}")), expected);
        // A line without a tab is a key without a value; two of them are no two pairs.
        let output = format!("kv://{name}3/");
        let job = ["streaming", "-input", text(&twice), "-output", &output];
        let job = [&job[..], &["-mapper", "cut -f 1", "-reducer", "cat"], place].concat();
        let ran = support::synod(&job).stdin(std::process::Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(1), "{said}");
        assert!(said.contains("3/same is there already"), "{said}");
        assert_eq!(pairs_in(endpoints, &format!("{name}3/")), BTreeMap::new());
        assert_eq!(std::fs::read_dir(&staging).unwrap().count(), 0, "nothing is left there");
    }

    if on_cluster {
        let error = fail("kv://there/", &["--endpoints", &store], 2);
        assert!(error.contains("--staging"), "{error}");
        let there = ["--endpoints", &store, "--staging", text(&staging)];
        run("kv://there/", &there);
        assert_eq!(pairs_in(endpoints, "there/"), expected);
        let error = fail("kv://there/", &there, 1);
        assert!(error.contains("kv://there/ exists"), "{error}");
        let job = ["run", "sort", text(&twice), "--output", "kv://twice/", "--quiet"];
        let error = refused(&[&job[..], &there].concat(), 1);
        assert!(error.contains("the key twice/same is there already"), "{error}");
        assert_eq!(pairs_in(endpoints, "twice/"), BTreeMap::new());
        assert_eq!(std::fs::read_dir(&staging).unwrap().count(), 0, "nothing is left there");
    }
}

#[test]
fn a_job_over_keys_gives_what_it_gives_over_the_same_lines() {
    let cluster = Cluster::start(3);
    check(&cluster.clients(), true);
}

#[test]
fn a_job_reads_the_keys_of_a_real_etcd() {
    let folder = TempDir::new().unwrap();
    let Some(etcd) = Etcd::start(folder.path()) else { return };
    check(&[etcd.endpoint()], false);
}

#[test]
fn a_job_gives_to_keys_what_it_gives_to_files() {
    let cluster = Cluster::start(3);
    check_output(&cluster.clients(), true);
}

#[test]
fn a_job_writes_keys_to_a_real_etcd() {
    let folder = TempDir::new().unwrap();
    let Some(etcd) = Etcd::start(folder.path()) else { return };
    check_output(&[etcd.endpoint()], false);
}
