//! `synod jobs list|show|wait|logs|cancel|retry` on a node of the real binary, with jobs that are done, that
//! failed, that are cancelled, and whose names are not meant for a terminal.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use support::cluster::Cluster;
use support::process::Process;
use support::{PATIENCE, refused, succeed, synod, wait_for};

struct Bench {
    cluster: Cluster,
    client: String,
}

impl Bench {
    fn new() -> Bench {
        let cluster = Cluster::start(1);
        let client = cluster.nodes[0].client();
        Bench { cluster, client }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.cluster.folder().join(name)
    }

    fn text_of(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn jobs(&self, arguments: &[&str]) -> String {
        succeed(&[&["jobs"], arguments, &["--endpoints", &self.client]].concat())
    }

    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let printed = self.jobs(&[arguments, &["--json"]].concat());
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn refused(&self, arguments: &[&str]) -> String {
        refused(&[&["jobs"], arguments, &["--endpoints", &self.client]].concat(), 1)
    }

    /// A word count of a text of a few lines; its name on the cluster.
    fn count(&self, output: &str) -> String {
        let input = self.text_of("in");
        fs::write(&input, "to be or not\nto be\n").unwrap();
        let output = self.text_of(output);
        let run = ["run", "wordcount", &input, "--output", &output, "--reduces", "2", "--json"];
        let done = succeed(&[&run[..], &["--endpoints", &self.client]].concat());
        let done: Value = serde_json::from_str(&done).unwrap();
        done["id"].as_str().unwrap().to_owned()
    }

    /// A word count that fails on a record that is too long; what it said.
    fn fail(&self, output: &str) -> String {
        let input = self.text_of("long");
        fs::write(&input, [&b"short\n"[..], &vec![b'x'; 3 << 20]].concat()).unwrap();
        let output = self.text_of(output);
        let run = ["run", "wordcount", &input, "--output", &output, "--max-record-mib", "1"];
        let run = [&run[..], &["--endpoints", &self.client]].concat();
        let ran = synod(&run).stdin(Stdio::null()).output().unwrap();
        assert_eq!(ran.status.code(), Some(1));
        String::from_utf8(ran.stderr).unwrap()
    }
}

#[test]
fn jobs_that_are_done_and_that_failed_are_listed_and_shown() {
    let bench = Bench::new();
    assert_eq!(bench.jobs(&["list"]).lines().count(), 1, "a heading");
    let done = bench.count("out");
    let said = bench.fail("none");
    for part in ["long: the record at offset 6 is longer", "task m000000, attempt 0", "(job "] {
        assert!(said.contains(part), "{part} is not in {said}");
    }

    let rows = bench.json(&["list"]);
    let states: Vec<&str> = rows.iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["done", "failed"]);
    assert_eq!(rows[0]["id"], Value::from(done.clone()));
    let failed = rows[1]["id"].as_str().unwrap();
    let table = bench.jobs(&["list"]);
    assert!(table.starts_with("ID ") && table.contains(&done) && table.contains(failed), "{table}");
    assert!(table.lines().any(|line| line.contains("done") && line.contains("2/2")), "{table}");

    let shown = bench.jobs(&["show", &done]);
    for part in ["state     done", "  map       6 pairs", "written   4 records", "slowest   "] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    let shown = bench.jobs(&["show", failed]);
    for part in ["state     failed: input ", "offset 6", "failed    m000000 attempt 0 on n1: "] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    let said = bench.jobs(&["logs", failed, "m0"]);
    assert!(said.starts_with("==> m000000 attempt 0 on n1 <==\n"), "{said}");
    assert!(said.contains("the record at offset 6"), "{said}");
    let detail = &bench.json(&["show", failed])[0];
    assert_eq!(detail["report"]["failures"][0]["task"], "m000000");
    assert_eq!(detail["report"]["failed_attempts"], 1);
}

#[test]
fn a_job_that_went_on_without_a_task_says_so_wherever_it_is_shown() {
    let bench = Bench::new();
    let (input, long, output) = (bench.text_of("in"), bench.text_of("long"), bench.text_of("out"));
    fs::write(&input, "to be or not\nto be\n").unwrap();
    fs::write(&long, vec![b'x'; 3 << 20]).unwrap();
    let run = ["run", "wordcount", &input, &long, "--output", &output, "--max-record-mib", "1"];
    let more = ["--reduces", "1", "--split-mib", "8", "--allow-failed-maps", "50"];
    let run = [&run[..], &more, &["--endpoints", &bench.client]].concat();
    let ran = synod(&run).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.success(), "{said}");
    assert!(said.contains("synod: warning: the job went on without 1 map task: "), "{said}");
    let row = &bench.json(&["list"])[0];
    assert_eq!((&row["state"], &row["maps_given_up"]), (&"done".into(), &1.into()));
    assert_eq!((&row["maps_done"], &row["maps_total"]), (&1.into(), &2.into()));
    let table = bench.jobs(&["list"]);
    assert!(table.contains("done, 1 given up") && table.contains("1/2"), "{table}");
    let id = row["id"].as_str().unwrap();
    let shown = bench.jobs(&["show", id]);
    for part in [
        "tasks     1 of 2 maps, 1 of 1 reduces; 0 running; 1 maps and 0 reduces given up",
        "trouble   1 maps given up, 1 failed attempts",
        "given up  m000001: input ",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    let detail = &bench.json(&["show", id])[0];
    assert_eq!(detail["report"]["given_up"][0]["task"], "m000001");
    assert_eq!(detail["report"]["counters"]["maps_given_up"], 1);
    assert_eq!(detail["spec"]["failed_maps_percent"], 50);
    assert!(bench.refused(&["retry", id]).contains("although without 1 of its tasks"));
}

#[test]
fn a_priority_is_shown_and_of_no_use_without_a_cluster() {
    let bench = Bench::new();
    let (input, output) = (bench.text_of("in"), bench.text_of("out"));
    fs::write(&input, "to be or not\n").unwrap();
    let run = ["run", "wordcount", &input, "--output", &output, "--priority"];
    succeed(&[&run[..], &["VERY_HIGH", "--endpoints", &bench.client, "--quiet"]].concat());
    let row = &bench.json(&["list"])[0];
    assert_eq!(row["priority"], "very-high");
    let table = bench.jobs(&["list"]);
    assert!(table.contains("PRIORITY") && table.contains(" very-high "), "{table}");
    let shown = bench.jobs(&["show", row["id"].as_str().unwrap()]);
    assert!(shown.contains("priority  very-high"), "{shown}");
    assert!(refused(&[&run[..], &["high"]].concat(), 2).contains("--endpoints"));
    let odd = [&run[..], &["urgent", "--endpoints", &bench.client]].concat();
    assert!(refused(&odd, 2).contains("very-high, high, normal, low"));
}

#[test]
fn a_job_that_failed_is_tried_again_as_a_new_one_and_others_are_not() {
    let bench = Bench::new();
    let done = bench.count("out");
    bench.fail("none");
    let failed = bench.json(&["list"])[1]["id"].as_str().unwrap().to_owned();
    let again = bench.json(&["retry", &failed]);
    let again = again[0]["id"].as_str().unwrap();
    assert_ne!(again, failed);
    wait_for("the end of the second try", PATIENCE, || {
        (bench.json(&["show", again])[0]["state"] == "failed").then_some(())
    });
    for (arguments, why) in [
        (["retry", &done], "is done"),
        (["cancel", &done], "has ended before"),
        (["cancel", "none-such"], "there is no job"),
        (["show", "none-such"], "there is no job"),
    ] {
        let said = bench.refused(&arguments);
        assert!(said.contains(why), "{said}");
    }
    let odd = ["jobs", "show", "../x", "--endpoints", &bench.client];
    assert!(refused(&odd, 2).contains("is not a name"));
}

#[test]
fn a_running_job_shows_its_attempts_and_can_be_cancelled() {
    let bench = Bench::new();
    let input = bench.text_of("in");
    fs::write(&input, "some words on a line\n".repeat(4_000_000)).unwrap();
    let output = bench.text_of("out");
    let run = ["run", "wordcount", &input, "--output", &output, "--split-mib", "1"];
    let run = [&run[..], &["--endpoints", &bench.client]].concat();
    let mut client = synod(&run);
    client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut client = client.spawn().unwrap();
    let id = wait_for("a running attempt", PATIENCE, || {
        let rows = bench.json(&["list"]);
        let row = rows.first().filter(|row| row["attempts_running"].as_u64() > Some(0))?;
        Some(row["id"].as_str().unwrap().to_owned())
    });
    let shown = wait_for("the attempt in a table", PATIENCE, || {
        let shown = bench.jobs(&["show", &id]);
        shown.contains("  TASK ").then_some(shown)
    });
    assert!(shown.contains("state     running"), "{shown}");
    assert!(shown.lines().any(|line| line.starts_with("  m0") && line.contains(" n1 ")), "{shown}");
    assert!(bench.jobs(&["cancel", &id]).contains("told to end"));
    assert_eq!(client.wait().unwrap().code(), Some(130));
    wait_for("the end of the job", PATIENCE, || {
        (bench.json(&["show", &id])[0]["state"] == "cancelled").then_some(())
    });
    assert!(!bench.path("out").exists());
}

#[test]
fn the_logs_of_attempts_are_fetched_from_where_they_ran_and_silence_is_no_error() {
    let bench = Bench::new();
    let done = bench.count("out");
    assert_eq!(bench.jobs(&["logs", &done]), "");
    assert_eq!(bench.jobs(&["logs", &done, "m0", "--attempt", "0"]), "");
    assert!(bench.refused(&["logs", &done, "m7"]).contains("no such attempt"));
    let logs = bench.path("n1/jobs").join(&done).join("logs");
    fs::create_dir_all(&logs).unwrap();
    fs::write(logs.join("m000000-0.log"), "one\n\u{1b}[2Jtwo").unwrap();
    let printed = bench.jobs(&["logs", &done]);
    assert_eq!(printed, "==> m000000 attempt 0 on n1 <==\none\n\u{1b}[2Jtwo\n");
    let lines = bench.json(&["logs", &done, "m0"]);
    assert_eq!((&lines[0]["task"], &lines[0]["node"]), (&"m000000".into(), &"n1".into()));
}

#[test]
fn a_job_in_the_background_is_named_at_once_and_can_be_waited_for_by_anybody() {
    let bench = Bench::new();
    let (input, long) = (bench.text_of("in"), bench.text_of("long"));
    fs::write(&input, "to be or not\nto be\n").unwrap();
    fs::write(&long, vec![b'x'; 3 << 20]).unwrap();
    let leave = |input: &str, output: &str, more: &[&str]| {
        let output = bench.text_of(output);
        let run = ["run", "wordcount", input, "--output", &output, "--max-record-mib", "1"];
        succeed(&[&run[..], &["--background", "--endpoints", &bench.client], more].concat())
    };
    let printed = leave(&input, "out", &[]);
    let id = printed.trim();
    assert_eq!(printed, format!("{id}\n"), "its name and nothing else");
    // Whether it runs still, or has ended long ago.
    for _ in 0..2 {
        let done = &bench.json(&["wait", id])[0];
        assert_eq!((&done["id"], &done["name"]), (&id.into(), &"wordcount".into()));
        assert_eq!(done["output"], bench.text_of("out"));
        assert_eq!(done["manifest"]["counters"]["map_pairs_out"], 6);
    }
    assert!(bench.path("out/_SUCCESS").is_file());
    let shown = bench.jobs(&["wait", id]);
    assert!(shown.starts_with("wordcount: ") && shown.contains("  map       6 pairs"), "{shown}");
    assert_eq!(bench.jobs(&["wait", id, "--quiet"]), "");
    let failing: Value = serde_json::from_str(&leave(&long, "none", &["--json"])).unwrap();
    let failing = failing["id"].as_str().unwrap();
    let said = bench.refused(&["wait", failing, "--quiet"]);
    assert!(said.contains("offset 0 is longer") && said.contains(failing), "{said}");
    assert!(bench.refused(&["wait", "none-such"]).contains("there is no job"));
    let run = ["run", "wordcount", &input, "--output", &bench.text_of("here"), "--background"];
    assert!(refused(&run, 2).contains("--endpoints"));
    let passes = ["run", "top-k", &input, "--output", &bench.text_of("top"), "--background"];
    let said = refused(&[&passes[..], &["--endpoints", &bench.client]].concat(), 2);
    assert!(said.contains("takes several passes"), "{said}");
}

#[test]
fn whoever_waits_for_a_job_can_go_away_and_hears_that_it_was_cancelled() {
    let bench = Bench::new();
    let (input, output) = (bench.text_of("in"), bench.text_of("out"));
    let pause = "sh -c \"cat; sleep 600\"";
    fs::write(&input, "a\n").unwrap();
    let job = ["streaming", "-input", &input, "-output", &output, "-mapper", pause];
    let job = [&job[..], &["-reducer", "NONE", "-background", "--endpoints", &bench.client]];
    succeed(&job.concat());
    let id = bench.json(&["list"])[0]["id"].as_str().unwrap().to_owned();
    let wait = ["jobs", "wait", &id, "--endpoints", &bench.client];
    let start = || Process::start("wait", &mut synod(&wait), &bench.path(""));
    let mut waits = start();
    // It says how far the job is once there is a plan.
    wait_for("a line of progress", PATIENCE, || waits.stderr().contains("map: ").then_some(()));
    assert_eq!(waits.interrupt().code(), Some(130));
    assert!(waits.stderr().contains(&format!("job {id} goes on")), "{}", waits.stderr());
    assert_eq!(bench.json(&["show", &id])[0]["state"], "running");
    let mut waits = start();
    bench.jobs(&["cancel", &id]);
    assert_eq!(waits.wait(PATIENCE).code(), Some(130));
    assert!(waits.stderr().contains("was cancelled"), "{}", waits.stderr());
    assert!(!bench.path("out").exists());
}

#[test]
fn the_jobs_of_a_pipeline_in_the_background_run_one_after_the_other() {
    let bench = Bench::new();
    let path = |name: &str| bench.text_of(name);
    fs::write(path("in"), "b a b c b c\n").unwrap();
    let stage = |job: &str, input: &str, output: &str, more: &str| {
        let (input, output) = (path(input), path(output));
        format!("[[job]]\njob = {job:?}\ninputs = [{input:?}]\noutput = {output:?}\n{more}\n")
    };
    let pipeline = |first: &str| {
        let last = stage("sort", "counts", "sorted", "");
        fs::write(path("stages.toml"), stage("wordcount", "in", "counts", first) + &last).unwrap();
    };
    let file = path("stages.toml");
    let run = ["pipeline", &file, "--background", "--endpoints", &bench.client];
    pipeline("temporary = true");
    assert!(refused(&run, 2).contains("is temporary"));
    assert!(bench.json(&["list"]).is_empty());
    pipeline("reduces = 3");
    let printed = succeed(&run);
    let ids: Vec<&str> = printed.lines().collect();
    let rows = bench.json(&["list"]);
    assert_eq!(ids, rows.iter().map(|row| row["id"].as_str().unwrap()).collect::<Vec<_>>());
    bench.jobs(&["wait", ids[1], "--quiet"]);
    assert_eq!(fs::read(path("sorted/part-00000")).unwrap(), b"a\t1\nb\t3\nc\t2\n");
    // What the first one writes is there already: the second one is not even tried.
    let printed = succeed(&run);
    let said = bench.refused(&["wait", printed.lines().nth(1).unwrap(), "--quiet"]);
    assert!(said.contains(printed.lines().next().unwrap()), "{said}");
}
