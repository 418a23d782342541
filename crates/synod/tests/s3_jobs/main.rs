//! Jobs over the objects of a real server of S3's protocol, by the real binary: in this process and on a
//! cluster, and what is left when the network, the server or the process fails. A job gives the bytes that
//! the same job over the same files gives. What one node, one answer or one name does is in `faults.rs`.

#![cfg_attr(not(feature = "s3"), allow(dead_code, unused_imports, reason = "those need it"))]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[cfg(feature = "s3")]
mod faults;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::Path;

use support::cluster::Cluster;
use support::parts::{assert_same, parts};
use support::process::Process;
use support::proxy::{Fault, Proxy};
use support::s3::S3;
use support::{PATIENCE, wait_for};
use tempfile::TempDir;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Lines of words, so many bytes or a little more.
fn lines(bytes: usize, seed: u64) -> Vec<u8> {
    let mut lines = Vec::new();
    let mut state = seed;
    while lines.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let end = if state >> 60 == 0 { '\n' } else { ' ' };
        lines.extend(format!("w{}{end}", (state >> 33) % 5_000).bytes());
    }
    lines
}

/// Runs a job that must succeed.
fn succeed(address: &str, arguments: &[&str]) {
    let output = S3::command(address, arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a job that must fail; what it says.
fn fail(address: &str, arguments: &[&str]) -> String {
    let output = S3::command(address, arguments).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {stderr}");
    stderr
}

/// What a job gives whose input and output are files.
fn expected(folder: &TempDir, job: &[&str], files: &[(&str, &[u8])]) -> BTreeMap<String, Vec<u8>> {
    let inputs = folder.path().join("inputs");
    std::fs::create_dir_all(&inputs).unwrap();
    for (name, bytes) in files {
        std::fs::write(inputs.join(name), bytes).unwrap();
    }
    let output = folder.path().join("expected");
    support::succeed(&[&["run"], job, &[text(&inputs), "--output", text(&output)]].concat());
    parts(&output)
}

/// The part files of an output in the store. It is complete and holds nothing else.
fn parts_in(s3: &S3, output: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = format!("{output}/");
    let mut names: Vec<String> = s3.keys(&folder);
    assert_eq!(names.remove(0), format!("{folder}_SUCCESS"));
    let part = |key: String| (key[folder.len()..].to_owned(), s3.get(&key));
    let parts: BTreeMap<_, _> = names.into_iter().map(part).collect();
    assert!(parts.keys().all(|name| name.starts_with("part-")), "{:?}", parts.keys());
    parts
}

const COUNT: &[&str] = &["wordcount", "--reduces", "3", "--quiet", "--split-mib", "1"];

#[test]
#[cfg(feature = "s3")]
fn a_job_over_objects_gives_what_it_gives_over_the_same_files() {
    let folder = TempDir::new().unwrap();
    let Some(s3) = S3::start(folder.path()) else { return };
    let packed = gzip_of(&lines(300_000, 3));
    let files: &[(&str, &[u8])] = &[
        ("a", &lines(9 << 20, 1)),
        ("b", b""),
        ("c.log", &lines(70_000, 2)),
        ("d.gz", &packed),
        ("e", b"the last line without an end"),
    ];
    for (name, bytes) in files {
        s3.put(&format!("in/{name}"), bytes);
    }
    s3.put("in/_hidden", b"not data");
    s3.put("in/.hidden/x", b"not data");
    s3.put("inside", b"not in the folder");
    let expected = expected(&folder, COUNT, files);
    let at = s3.address();
    let run = |input: &str, output: &str| {
        succeed(&at, &[&["run"], COUNT, &[input, "--output", output]].concat());
    };
    run("s3://jobs/in", "s3://jobs/out/folder");
    assert_same(&parts_in(&s3, "out/folder"), &expected);
    run("s3://jobs/{in,none}/[a-e]*", "s3://jobs/out/pattern/");
    assert_same(&parts_in(&s3, "out/pattern"), &expected);
    run("s3://jobs/i*/", text(&folder.path().join("out")));
    assert_same(&parts(&folder.path().join("out")), &expected);

    // Large part files go in several requests, whose parts are not seen before all are there.
    let output = folder.path().join("sorted");
    let sort = ["run", "sort", "--quiet", "--reduces", "1", "s3://jobs/in", "--output"];
    succeed(&at, &[&sort[..], &[text(&output)]].concat());
    succeed(&at, &[&sort[..], &["s3://jobs/sorted"]].concat());
    assert_same(&parts_in(&s3, "sorted"), &parts(&output));
    assert!(parts(&output)["part-00000"].len() > 8 << 20);
    assert_eq!(s3.uploads(), Vec::<String>::new());

    // Streaming jobs, with the scheme that Hadoop has for it.
    let log = folder.path().join("inputs/c.log");
    let output = folder.path().join("streamed");
    for (input, output) in
        [(text(&log), text(&output)), ("s3a://jobs/in/c.log", "s3a://jobs/streamed")]
    {
        let job = ["streaming", "-input", input, "-output", output];
        succeed(&at, &[&job[..], &["-mapper", "cat", "-reducer", "NONE"]].concat());
    }
    assert_same(&parts_in(&s3, "streamed"), &parts(&output));

    let cluster = Cluster::start_within(2, |_| env(&at), &[]);
    let endpoints = cluster.endpoints();
    let staging = cluster.folder().join("staging");
    let on_cluster = ["--endpoints", &endpoints, "s3://jobs/in", "--output", "s3://jobs/clustered"];
    let job = [&["run"], COUNT, &on_cluster].concat();
    let error = fail(&at, &job);
    assert!(error.contains("--staging"), "{error}");
    succeed(&at, &[&job[..], &["--staging", text(&staging)]].concat());
    assert_same(&parts_in(&s3, "clustered"), &expected);
    assert_eq!(std::fs::read_dir(&staging).unwrap().count(), 0, "nothing is left there");
}

/// What starts a program that finds a store at this address.
fn env(address: &str) -> Vec<String> {
    [vec!["env".to_owned()], S3::variables(address)].concat()
}

fn gzip_of(bytes: &[u8]) -> Vec<u8> {
    let mut packer = std::process::Command::new("gzip")
        .arg("-c")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = packer.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut input, &bytes).unwrap());
    let output = packer.wait_with_output().unwrap();
    writer.join().unwrap();
    output.stdout
}

#[test]
#[cfg(feature = "s3")]
fn more_objects_than_one_listing_gives_are_all_read() {
    let folder = TempDir::new().unwrap();
    let Some(s3) = S3::start(folder.path()) else { return };
    for number in 0..1_050 {
        s3.put(&format!("many/{number:04}"), format!("n{number}\n").as_bytes());
    }
    let output = folder.path().join("out");
    let job = ["run", "sort", "--quiet", "--reduces", "1", "s3://jobs/many", "--output"];
    succeed(&s3.address(), &[&job[..], &[text(&output)]].concat());
    let mut expected: Vec<String> = (0..1_050).map(|number| format!("n{number}\n")).collect();
    expected.sort();
    assert!(parts(&output)["part-00000"] == expected.concat().as_bytes());
}

#[test]
#[cfg(feature = "s3")]
fn what_cannot_be_read_or_written_is_named_with_the_reason() {
    let folder = TempDir::new().unwrap();
    let Some(s3) = S3::start(folder.path()) else { return };
    s3.put("in/a", b"a line\n");
    s3.put("taken/x", b"x");
    s3.put("packed/a.lzo", b"x");
    s3.put("packed/not.gz", b"x");
    let at = s3.address();
    let out = folder.path().join("out");
    let run = |input: &str, output: &str| {
        fail(&at, &["run", "wordcount", "--quiet", input, "--output", output])
    };
    for (input, output, why) in [
        ("s3://nobody/in", text(&out), "s3://nobody/in: there is no such bucket"),
        ("s3://jobs/none", text(&out), "s3://jobs/none"),
        ("s3://jobs/none*", text(&out), "s3://jobs/none*"),
        ("s3://jobs/packed/a.lzo", text(&out), "does not unpack lzo"),
        ("s3://jobs/packed/not.gz", text(&out), "s3://jobs/packed/not.gz"),
        ("s3://jobs/in", "s3://nobody/out", "s3://nobody/out: there is no such bucket"),
        ("s3://jobs/in", "s3://jobs/taken", "s3://jobs/taken exists"),
        ("s3://jobs/in", "s3://jobs/in/a", "s3://jobs/in/a exists"),
    ] {
        let error = run(input, output);
        assert!(error.contains(why), "{error}");
    }
    let job = ["run", "wordcount", "s3://jobs/in", "--output", text(&out)];
    let output = S3::command(&at, &job).env_remove("AWS_ALLOW_HTTP").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("AWS_ALLOW_HTTP=true"), "{error}");
    s3.forbid_everything();
    let error = run("s3://jobs/in", text(&out));
    assert!(error.contains("s3://jobs/in: access is denied"), "{error}");
    let file = folder.path().join("file");
    std::fs::write(&file, "a line\n").unwrap();
    let error = run(text(&file), "s3://jobs/out");
    assert!(error.contains("s3://jobs/out: access is denied"), "{error}");
    assert!(!out.exists());
}

#[test]
#[cfg(feature = "s3")]
fn an_object_that_is_changed_after_planning_fails_the_job_by_name() {
    let folder = TempDir::new().unwrap();
    let Some(s3) = S3::start(folder.path()) else { return };
    s3.put("in/a", b"first\n");
    s3.put("in/b", b"second\n");
    let (began, go) = (folder.path().join("began"), folder.path().join("go"));
    // The first task says that it runs and waits; the second one opens its object later.
    let (began_at, go_at) = (began.display(), go.display());
    let mapper = folder.path().join("mapper");
    let script =
        format!("#!/bin/sh\n: >{began_at}\nwhile [ ! -e {go_at} ]; do sleep 0.05; done\ncat\n");
    std::fs::write(&mapper, script).unwrap();
    let mapper = format!("sh {}", mapper.display());
    let output = folder.path().join("out");
    let mut command = S3::command(
        &s3.address(),
        &[
            "streaming",
            "-slots",
            "1",
            "-input",
            "s3://jobs/in",
            "-output",
            text(&output),
            "-mapper",
            &mapper,
            "-reducer",
            "NONE",
        ],
    );
    let mut job = Process::start("job", &mut command, folder.path());
    wait_for("the first task", PATIENCE, || began.exists().then_some(()));
    s3.put("in/b", b"third!\n");
    std::fs::write(&go, "").unwrap();
    assert!(!job.wait(PATIENCE).success());
    let error = job.stderr();
    assert!(error.contains("s3://jobs/in/b") && error.contains("ETag"), "{error}");
    assert!(!output.exists());
}

#[test]
#[cfg(feature = "s3")]
fn an_answer_that_breaks_off_is_asked_for_again_and_a_server_that_is_gone_ends_the_job() {
    let folder = TempDir::new().unwrap();
    let Some(s3) = S3::start(folder.path()) else { return };
    let big = lines(5 << 20, 9);
    s3.put("in/big", &big);
    let expected = expected(&folder, COUNT, &[("big", &big)]);
    let run = ["s3://jobs/in", "--output", "s3://jobs/out"];
    let run = [&["run"], COUNT, &run].concat();
    let proxy = Proxy::start(&s3.address(), Fault::Break("GET /jobs/in/big", 200_000));
    succeed(proxy.address(), &run);
    assert!(proxy.has_happened());
    assert_same(&parts_in(&s3, "out"), &expected);

    let output = folder.path().join("out");
    let proxy = Proxy::start(&s3.address(), Fault::Vanish("GET /jobs/in/big"));
    let run = ["run", "wordcount", "--quiet", "s3://jobs/in", "--output", text(&output)];
    let error = fail(proxy.address(), &run);
    assert!(proxy.has_happened());
    assert!(error.contains("s3://jobs/in/big: the store cannot be used"), "{error}");
    assert!(!output.exists());
}

#[test]
#[cfg(feature = "s3")]
fn a_job_that_cannot_publish_all_of_its_output_publishes_none() {
    let folder = TempDir::new().unwrap();
    let Some(s3) = S3::start(folder.path()) else { return };
    let big = lines(20 << 20, 5);
    let file = folder.path().join("file");
    std::fs::write(&file, &big).unwrap();
    let run = |reduces: &str, fault: Fault| {
        let proxy = Proxy::start(&s3.address(), fault);
        let run = ["run", "sort", "--quiet", "--reduces", reduces, text(&file), "--output"];
        let error = fail(proxy.address(), &[&run[..], &["s3://jobs/out"]].concat());
        assert!(proxy.has_happened());
        assert!(error.contains("s3://jobs/out: access is denied"), "{error}");
        assert_eq!(s3.keys("out"), Vec::<String>::new());
        assert_eq!(s3.uploads(), Vec::<String>::new());
    };
    run("4", Fault::Forbid("PUT /jobs/out/part-00002"));
    run("1", Fault::Forbid("partNumber=2"));
    run("2", Fault::Forbid("PUT /jobs/out/_SUCCESS"));
}

#[test]
#[cfg(feature = "s3")]
fn a_job_that_is_killed_while_it_publishes_leaves_no_success_and_runs_again_once_that_is_removed() {
    let folder = TempDir::new().unwrap();
    let Some(s3) = S3::start(folder.path()) else { return };
    let input = lines(200_000, 7);
    let expected = expected(&folder, COUNT, &[("file", &input)]);
    s3.put("in/file", &input);
    let run = ["s3://jobs/in", "--output", "s3://jobs/out", "--staging"];
    let staging = folder.path().join("staging");
    let run = [&["run"], COUNT, &run[..], &[text(&staging)]].concat();
    let proxy = Proxy::start(&s3.address(), Fault::Hold("PUT /jobs/out/part-00002"));
    let mut job = Process::start("job", &mut S3::command(proxy.address(), &run), folder.path());
    wait_for("the third part", PATIENCE, || proxy.has_happened().then_some(()));
    job.kill();
    let left = ["out/_temporary", "out/part-00000", "out/part-00001"];
    assert_eq!(s3.keys("out"), left);
    // Nobody can know that it will not go on.
    let error = fail(&s3.address(), &run);
    assert!(error.contains("s3://jobs/out exists"), "{error}");
    assert_eq!(s3.keys("out"), left);
    left.iter().for_each(|key| s3.remove(key));
    succeed(&s3.address(), &run);
    assert_same(&parts_in(&s3, "out"), &expected);
}

#[test]
#[cfg(feature = "s3")]
fn an_output_whose_coordinator_dies_while_it_publishes_is_finished_by_the_next_one() {
    let folder = TempDir::new().unwrap();
    let Some(s3) = S3::start(folder.path()) else { return };
    let input = lines(200_000, 8);
    let expected = expected(&folder, COUNT, &[("file", &input)]);
    s3.put("in/file", &input);
    // Each node has a way of its own to the store, so that is seen who publishes.
    let hold = Fault::Hold("PUT /jobs/out/part-00002");
    let ways: Vec<Proxy> = (0..3).map(|_| Proxy::start(&s3.address(), hold)).collect();
    let mut cluster = Cluster::start_within(3, |node| env(ways[node].address()), &[]);
    let (endpoints, staging) = (cluster.endpoints(), cluster.folder().join("staging"));
    let run = ["s3://jobs/in", "--output", "s3://jobs/out", "--endpoints", &endpoints];
    let run = [&["run"], COUNT, &run[..], &["--staging", text(&staging)]].concat();
    let mut job = Process::start("job", &mut S3::command(&s3.address(), &run), folder.path());
    let dead = wait_for("the third part", PATIENCE, || ways.iter().position(Proxy::has_happened));
    assert_eq!(s3.keys("out"), ["out/_temporary", "out/part-00000", "out/part-00001"]);
    ways.iter().for_each(Proxy::tame);
    cluster.nodes[dead].kill();
    let status = job.wait(2 * PATIENCE);
    assert!(status.success(), "{}", job.stderr());
    assert_same(&parts_in(&s3, "out"), &expected);
    assert_eq!(std::fs::read_dir(&staging).unwrap().count(), 0, "nothing is left there");
}

#[test]
#[cfg(not(feature = "s3"))]
fn a_binary_without_the_feature_says_what_it_can_read_and_write() {
    let folder = TempDir::new().unwrap();
    let (file, out) = (folder.path().join("file"), folder.path().join("out"));
    std::fs::write(&file, "a line\n").unwrap();
    let job = ["run", "wordcount", "s3://jobs/in", "--output", text(&out)];
    let error = support::refused(&job, 2);
    assert!(error.contains("s3://jobs/in cannot be read here"), "{error}");
    let job = ["run", "wordcount", text(&file), "--output", "s3://jobs/out"];
    let error = support::refused(&job, 2);
    assert!(error.contains("s3://jobs/out cannot be written here"), "{error}");
    support::say_loudly("SKIPPED: jobs over objects: built without the feature s3");
}
