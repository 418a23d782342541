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
use synod::client::Kv;
use synod::kv::{PutRequest, TxnOp, TxnRequest};
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
