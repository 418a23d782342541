//! The options of built-in jobs on the command line, and jobs of several passes on a cluster.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::path::Path;

use support::cluster::Cluster;
use support::{refused, succeed};
use tempfile::TempDir;

/// Every file of an output but `_SUCCESS`, names and contents.
fn files(output: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(output)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with("_SUCCESS"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn options_reach_the_job_and_wrong_ones_are_refused_with_those_that_exist() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("in"), "a,x\nb,x\na,y\n").unwrap();
    let run = |output: &str, options: &[&str]| -> Vec<String> {
        let input = path("in");
        let job = ["run", "fieldcount", &input, "--no-sync", "--output", output];
        let arguments = [&job[..], options].concat();
        arguments.into_iter().map(str::to_owned).collect()
    };
    // The flag's former name goes on working.
    for (number, flag) in ["--set", "--option"].into_iter().enumerate() {
        let output = path(&format!("out-{number}"));
        let arguments = run(&output, &[flag, "field=2", flag, r"separator=\x2c"]);
        succeed(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(files(Path::new(&output))[0].1, b"x\t2\ny\t1\n");
    }
    for (options, reason) in [
        (&["--set", "feild=2"][..], "has no option `feild`: it has field, separator"),
        (&["--set", "field=0"], "not a number from 1"),
        (&["--set", "field"], "not KEY=VALUE"),
        (&["--set", "field=1", "--set", "field=2"], "--set field is given twice"),
    ] {
        let arguments = run(&path("none"), options);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let line = refused(&arguments, 2);
        assert!(line.contains(reason), "{line}");
        assert!(!Path::new(&path("none")).exists());
    }
}

#[test]
fn jobs_of_several_passes_or_without_reduces_give_the_same_on_a_cluster() {
    let cluster = Cluster::start(3);
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut points = String::new();
    for number in 0..100_000_u32 {
        let number = number.wrapping_mul(2_654_435_761) >> 8;
        points += &format!("{} {}\n", number % 1_000, number / 1_000 % 500);
    }
    fs::write(path("points"), points).unwrap();
    let endpoints = cluster.endpoints();
    for (number, job) in [
        &["k-means", "--set", "k=4", "--set", "iterations=3"][..],
        &["k-means", "--set", "k=4", "--set", "iterations=2", "--set", "assign=true"],
        &["top-k", "--set", "k=20", "--set", "field=1", "--reduces", "3"],
        &["grep", "--set", "pattern=^99"],
    ]
    .into_iter()
    .enumerate()
    {
        let (here, there) = (path(&format!("here-{number}")), path(&format!("there-{number}")));
        let input = path("points");
        let common = [&["run"][..], job, &[&input, "--split-mib", "1", "--output"]].concat();
        succeed(&[&common[..], &[&here]].concat());
        succeed(&[&common[..], &[&there, "--endpoints", &endpoints]].concat());
        let (here, there) = (files(Path::new(&here)), files(Path::new(&there)));
        assert!(!here.is_empty() && here == there, "{job:?}");
    }
    // What passes wrote for the next is gone.
    let left = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("passes")));
}
