//! What goes wrong at one place only: a node without rights, an answer that stops, a name that cannot be,
//! an output within another.

use std::path::Path;

use tempfile::TempDir;

use crate::support::cluster::Cluster;
use crate::support::parts::{assert_same, parts};
use crate::support::process::Process;
use crate::support::proxy::{Fault, Proxy};
use crate::support::s3::S3;
use crate::support::{PATIENCE, wait_for};
use crate::{COUNT, env, expected, fail, lines, parts_in, succeed, text};

/// A program that says that it runs, and passes its lines on once `go` is there.
fn patient_mapper(folder: &Path, go: &Path) -> String {
    let script = folder.join("mapper");
    let text = format!("while [ ! -e {} ]; do sleep 0.05; done\ncat\n", go.display());
    std::fs::write(&script, text).unwrap();
    format!("sh {}", script.display())
}

#[test]
fn one_node_that_may_not_read_leaves_the_tasks_to_the_others() {
    let folder = TempDir::new().unwrap();
    let Some(s3) = S3::start(folder.path()) else { return };
    let (go, output) = (folder.path().join("go"), folder.path().join("out"));
    for number in 0..4 {
        s3.put(&format!("in/{number}"), format!("line {number}\n").as_bytes());
    }
    let mut ways = vec![Proxy::start(&s3.address(), Fault::Forbid("GET /jobs/in/"))];
    ways.push(Proxy::start(&s3.address(), Fault::Forbid("nothing is")));
    let at = |node: usize| env(ways[node].address());
    let cluster = Cluster::start_within(2, at, &["--job-slots", "1"]);
    let (endpoints, mapper) = (cluster.endpoints(), patient_mapper(folder.path(), &go));
    let job = ["streaming", "-endpoints", &endpoints, "-input", "s3://jobs/in", "-output"];
    let job = [&job[..], &[text(&output), "-mapper", &mapper, "-reducer", "NONE"]].concat();
    let mut job = Process::start("job", &mut S3::command(&s3.address(), &job), folder.path());
    // The other node can do one of the four until then.
    wait_for("the node without rights", PATIENCE, || ways[0].has_happened().then_some(()));
    std::fs::write(&go, "").unwrap();
    let status = job.wait(PATIENCE);
    assert!(status.success(), "{}", job.stderr());
    let lines: Vec<u8> = parts(&output).into_values().flatten().collect();
    assert_eq!(lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count(), 4);

    // Where nobody may, the job fails after some attempts, with the reason.
    let way = Proxy::start(&s3.address(), Fault::Forbid("GET /jobs/in/"));
    let cluster = Cluster::start_within(1, |_| env(way.address()), &[]);
    let endpoints = cluster.endpoints();
    let output = folder.path().join("none");
    let job = ["run", "wordcount", "s3://jobs/in/0", "--quiet", "--output", text(&output)];
    let error = fail(&s3.address(), &[&job[..], &["--endpoints", &endpoints]].concat());
    assert!(error.contains("access is denied"), "{error}");
    assert!(error.contains("attempt 3") && !output.exists(), "{error}");
}

#[test]
fn an_answer_that_stops_in_the_middle_is_asked_for_again() {
    let folder = TempDir::new().unwrap();
    let Some(s3) = S3::start(folder.path()) else { return };
    let big = lines(9 << 20, 11);
    s3.put("in/big", &big);
    let counted = expected(&folder, COUNT, &[("big", &big)]);
    let sort = ["sort", "--reduces", "1", "--quiet"];
    let sorted = expected_again(&folder, &sort);
    // Each waits until it is found out, so they do so together.
    std::thread::scope(|scope| {
        for (number, chosen) in [
            "GET /jobs?list-type=2",
            "GET /jobs/in/big",
            "GET /jobs/out-2/_temporary",
            "GET /jobs/out-3/_SUCCESS",
        ]
        .into_iter()
        .enumerate()
        {
            let (s3, counted) = (&s3, &counted);
            scope.spawn(move || {
                let output = format!("s3://jobs/out-{number}");
                let proxy = Proxy::start(&s3.address(), Fault::Stall(chosen));
                let run = ["s3://jobs/in", "--output", &output];
                succeed(proxy.address(), &[&["run"], COUNT, &run].concat());
                assert!(proxy.has_happened(), "{chosen}");
                assert_same(&parts_in(s3, &output["s3://jobs/".len()..]), counted);
            });
        }
        // The upload is complete by then, and who asks again is told that there is none.
        let (s3, sorted) = (&s3, &sorted);
        scope.spawn(move || {
            let proxy =
                Proxy::start(&s3.address(), Fault::Stall("POST /jobs/sorted/part-00000?uploadId"));
            let run = ["s3://jobs/in", "--output", "s3://jobs/sorted"];
            succeed(proxy.address(), &[&["run"], &sort[..], &run].concat());
            assert!(proxy.has_happened());
            assert_same(&parts_in(s3, "sorted"), sorted);
            assert_eq!(s3.uploads(), Vec::<String>::new());
        });
    });
}

/// What a job gives over the files of [`expected`].
fn expected_again(folder: &TempDir, job: &[&str]) -> std::collections::BTreeMap<String, Vec<u8>> {
    let (inputs, output) = (folder.path().join("inputs"), folder.path().join("expected-again"));
    let run = [text(&inputs), "--output", text(&output)];
    crate::support::succeed(&[&["run"], job, &run].concat());
    parts(&output)
}

#[test]
fn a_name_that_no_object_can_have_is_refused_and_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let Some(s3) = S3::start(folder.path()) else { return };
    let file = folder.path().join("file");
    std::fs::write(&file, "a line\n").unwrap();
    let at = s3.address();
    let cluster = Cluster::start_within(1, |_| env(&at), &[]);
    let (endpoints, staging) = (cluster.endpoints(), folder.path().join("staging"));
    let there = ["--endpoints", &endpoints, "--staging", text(&staging)];
    for output in ["s3://jobs/out//", "s3://jobs//out", "s3://jobs/a//b", "s3://jobs/../a"] {
        for more in [&[][..], &there] {
            let job = ["run", "wordcount", "--quiet", text(&file), "--output", output];
            let error = fail(&at, &[&job[..], more].concat());
            assert!(error.contains(output) && !error.contains("panicked"), "{error}");
        }
    }
    let jobs = crate::support::succeed(&["jobs", "list", "--endpoints", &endpoints]);
    assert!(!jobs.contains("wordcount"), "they were refused before they were jobs: {jobs}");

    // A task chooses the names of its side files.
    let script = folder.path().join("side");
    let text_of_it = "printf x >\"$mapreduce_task_output_dir/a\u{7f}b\"\ncat\n";
    std::fs::write(&script, text_of_it).unwrap();
    let mapper = format!("sh {}", script.display());
    let job = ["streaming", "-input", text(&file), "-output", "s3://jobs/side"];
    let error = fail(&at, &[&job[..], &["-mapper", &mapper, "-reducer", "NONE"]].concat());
    assert!(error.contains("no object can be named") && !error.contains("panicked"), "{error}");
    assert_eq!(s3.keys(""), Vec::<String>::new());
}

#[test]
fn an_output_within_that_of_a_running_job_is_refused() {
    let folder = TempDir::new().unwrap();
    let Some(s3) = S3::start(folder.path()) else { return };
    let file = folder.path().join("file");
    std::fs::write(&file, "a line\n").unwrap();
    let (at, go) = (s3.address(), folder.path().join("go"));
    let mapper = patient_mapper(folder.path(), &go);
    let job = ["streaming", "-input", text(&file), "-output", "s3://jobs/a/out"];
    let job = [&job[..], &["-mapper", &mapper, "-reducer", "NONE"]].concat();
    let mut first = Process::start("job", &mut S3::command(&at, &job), folder.path());
    let mark = ["a/out/_temporary".to_owned()];
    wait_for("its mark", PATIENCE, || (s3.keys("") == mark).then_some(()));
    for (output, why) in [
        ("s3://jobs/a/out/sub", "it lies within s3://jobs/a/out,"),
        ("s3://jobs/a/out/sub/sub/", "it lies within s3://jobs/a/out,"),
        ("s3://jobs/a", "exists"),
        ("s3://jobs/", "exists"),
        ("s3://jobs/a/out", "exists"),
    ] {
        let job = ["run", "wordcount", "--quiet", text(&file), "--output", output];
        let error = fail(&at, &job);
        assert!(error.contains(output) && error.contains(why), "{error}");
        assert_eq!(s3.keys(""), mark);
    }
    let beside = ["run", "wordcount", "--quiet", text(&file), "--output", "s3://jobs/a/out2"];
    succeed(&at, &beside);
    std::fs::write(&go, "").unwrap();
    let status = first.wait(PATIENCE);
    assert!(status.success(), "{}", first.stderr());
    assert_eq!(s3.keys("a/out/"), ["a/out/_SUCCESS", "a/out/part-00000"]);
}
