//! What goes on without whoever submitted it: nothing, unless that was asked for.

use std::fs;

use crate::bench::{Bench, CAT, is_alive, properties};
use crate::support::cluster::Cluster;
use crate::support::process::Process;
use crate::support::{PATIENCE, wait_for};

#[test]
fn a_command_that_hangs_does_not_outlive_synod_even_if_that_is_killed() {
    let bench = Bench::with_input("x\n");
    let place = bench.path("").display().to_string();
    let script = format!(
        "trap '' TERM HUP; sleep 300 & echo $! >'{place}/child'; echo $$ >'{place}/leader'
         echo ready >&2; wait"
    );
    let hangs = bench.script("hangs.sh", &script);
    let words = bench.words(&["-mapper", &hangs, "-reducer", "NONE"], "out");
    let mut command = bench.command(&[&["streaming"], &words[..]].concat());
    let mut synod = Process::start("synod", &mut command, &bench.path(""));
    // What it says is passed on by who has started it and has set everything up for its end.
    wait_for("the command", PATIENCE, || synod.stderr().contains("ready").then_some(()));
    let leader = fs::read_to_string(bench.path("leader")).unwrap();
    let child = fs::read_to_string(bench.path("child")).unwrap();
    assert!(is_alive(&leader) && is_alive(&child) && synod.is_running());
    synod.kill();
    wait_for("the command and its child to be gone", PATIENCE, || {
        (!is_alive(&leader) && !is_alive(&child)).then_some(())
    });
}

#[test]
fn a_job_in_the_background_of_a_cluster_goes_on_and_can_be_asked_for() {
    let cluster = Cluster::start(1);
    let endpoints = cluster.endpoints();
    let bench = Bench::with_input("b\na\n");
    let ran = |front: &[&str], output: &str| {
        let words = bench.words(CAT, output);
        let own = ["--endpoints", &endpoints, "-background"];
        let done = bench.command(&[front, &own, &words].concat()).output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.success(), "{said}");
        wait_for("the job", PATIENCE, || {
            bench.path(output).join("_SUCCESS").exists().then_some(())
        });
        let part = fs::read_to_string(bench.path(output).join("part-00000")).unwrap();
        assert_eq!(part, "a\t\nb\t\n");
        (String::from_utf8(done.stdout).unwrap(), said)
    };
    let (told, said) = ran(&["streaming"], "here");
    assert!(!said.contains("no effect"), "{said}");
    let ask: Vec<&str> = told.trim().rsplit(": synod ").next().unwrap().split(' ').collect();
    let shown = bench.command(&[&ask[..], &["--endpoints", &endpoints]].concat());
    let shown = { shown }.output().unwrap();
    assert!(String::from_utf8(shown.stdout).unwrap().contains("streamjob"), "{told}");
    let (told, said) = ran(&["hadoop", "streaming"], "there");
    assert!(told.is_empty() && said.contains("Job is running in background."), "{said}");
}

#[test]
fn what_is_accepted_and_does_nothing_is_said_once() {
    let bench = Bench::with_input("x\n");
    let settings = properties(&["io.sort.factor=5", "io.sort.mb=9", "queue=x", "my.own=1"]);
    let success = properties(&["mapreduce.fileoutputcommitter.marksuccessfuljobs=false"]);
    let words = [&settings[..], &success, &["-fs", "local", "-background"], CAT].concat();
    let ran = bench.run(&words);
    assert_eq!(ran.text(), "x\t\n");
    for line in [
        "synod: options that have no effect here: -fs, -background",
        "synod: properties that have no effect here: \
         mapreduce.fileoutputcommitter.marksuccessfuljobs, mapreduce.task.io.sort.factor, \
         mapreduce.task.io.sort.mb",
        "synod: properties not interpreted: my.own, queue",
    ] {
        let times = ran.stderr.lines().filter(|found| *found == line).count();
        assert_eq!(times, 1, "{line}: {}", ran.stderr);
    }
    assert!(!bench.run(CAT).stderr.contains("effect"));
}
