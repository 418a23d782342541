//! A job that is cancelled while its programs run, in each phase, here and on a cluster: no program is left,
//! no output, no file.

use std::fs;

use serde_json::Value;

use crate::bench::{Bench, wait_until_gone};
use crate::support::cluster::Cluster;
use crate::support::process::Process;
use crate::support::{PATIENCE, succeed, wait_for};

/// Jobs that hang as a mapper, a combiner and a reducer.
fn hanging(program: &str) -> [Vec<&str>; 3] {
    [
        vec!["-mapper", program, "-reducer", "cat"],
        vec!["-mapper", "cat", "-combiner", program, "-reducer", "cat"],
        vec!["-mapper", "cat", "-reducer", program],
    ]
}

/// A folder with a program that ends for nobody's asking, and a place for temporary files.
fn bench() -> (Bench, String) {
    let bench = Bench::with_input("x\n");
    fs::create_dir(bench.path("tmp")).unwrap();
    let hangs = bench.stubborn("hangs.sh", "");
    (bench, hangs)
}

#[test]
fn a_job_that_is_interrupted_ends_its_programs_and_leaves_nothing() {
    for phase in 0..3 {
        let (bench, hangs) = bench();
        let words = bench.words(&hanging(&hangs)[phase], "out");
        let mut command = bench.command(&[&["streaming"], &words[..]].concat());
        command.env("TMPDIR", bench.path("tmp"));
        let mut synod = Process::start("synod", &mut command, &bench.path(""));
        let pids = bench.wait_for_pids(2);
        assert_eq!(synod.interrupt().code(), Some(130), "{}", synod.stderr());
        wait_until_gone(&pids);
        assert!(!bench.path("out").exists());
        let left = fs::read_dir(bench.path("tmp")).unwrap().count();
        assert_eq!(left, 0, "temporary files in phase {phase}");
    }
}

#[test]
fn a_job_that_is_cancelled_on_a_cluster_ends_its_programs_and_leaves_nothing() {
    let cluster = Cluster::start(1);
    let endpoints = cluster.endpoints();
    let jobs = |arguments: &[&str]| {
        succeed(&[&["jobs"], arguments, &["--endpoints", &endpoints, "--json"]].concat())
    };
    let state = |id: &str| -> String {
        let shown: Value = serde_json::from_str(jobs(&["show", id]).trim()).unwrap();
        shown["state"].as_str().unwrap().to_owned()
    };
    for phase in 0..3 {
        for by_client in [true, false] {
            let (bench, hangs) = bench();
            let words = bench.words(&hanging(&hangs)[phase], "out");
            let words = [&["streaming", "--endpoints", &endpoints], &words[..]].concat();
            let mut client = Process::start("client", &mut bench.command(&words), &bench.path(""));
            let pids = bench.wait_for_pids(2);
            let rows = jobs(&["list"]);
            let rows = rows.lines().map(|row| serde_json::from_str::<Value>(row).unwrap());
            let mut running = rows.filter(|row| row["state"] == "running");
            let id = running.next().unwrap()["id"].as_str().unwrap().to_owned();
            let status = if by_client {
                client.interrupt()
            } else {
                succeed(&["jobs", "cancel", &id, "--endpoints", &endpoints]);
                client.wait(PATIENCE)
            };
            assert_eq!(status.code(), Some(130), "{}", client.stderr());
            wait_for("the end of the job", PATIENCE, || (state(&id) == "cancelled").then_some(()));
            wait_until_gone(&pids);
            assert!(!bench.path("out").exists());
            // What the node keeps of the job is its log.
            let kept = cluster.folder().join("n1/jobs").join(&id);
            wait_for("the node to clear up", PATIENCE, || {
                let left = fs::read_dir(&kept).into_iter().flatten().flatten();
                left.map(|entry| entry.file_name()).all(|name| name == "logs").then_some(())
            });
        }
    }
}
