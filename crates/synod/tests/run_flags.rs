//! `synod run` with the flags that say how inputs are read and outputs written, and `synod pipeline`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{succeed, synod};
use tempfile::TempDir;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn written(folder: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

/// Runs a command that must fail; what it says on standard error, progress included.
fn fail(arguments: &[&str]) -> String {
    let output = synod(arguments).output().unwrap();
    assert!(!output.status.success(), "synod {arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn records_are_what_the_format_says_and_memory_is_given_in_sizes() {
    let folder = TempDir::new().unwrap();
    let input = written(&folder, "in", b"b;a;;c");
    let output = folder.path().join("out");
    succeed(&[
        "run",
        "sort",
        text(&input),
        "--output",
        text(&output),
        "--format",
        "delimiter:;",
        "--memory",
        "64M",
        "--quiet",
    ]);
    assert_eq!(fs::read(output.join("part-00000")).unwrap(), b"\na\nb\nc\n");
    let said = fail(&["run", "sort", text(&input), "--output", "out", "--format", "delimiter:"]);
    assert!(said.contains("delimiter of no bytes"), "{said}");
    let said = fail(&["run", "sort", text(&input), "--output", "out", "--memory", "much"]);
    assert!(said.contains("512M or 4G"), "{said}");
    let said = fail(&["run", "sort", text(&input), "--output", "out", "--memory", "1023K"]);
    assert!(said.contains("1M is the least"), "{said}");
    let help = succeed(&["run", "--help"]);
    let help: Vec<&str> = help.split_whitespace().collect();
    assert!(help.join(" ").contains("512M or 4G, 1M at least"), "{help:?}");
}

#[test]
fn a_job_goes_on_without_as_many_failed_maps_as_are_allowed_and_warns_of_it_however_quiet() {
    let folder = TempDir::new().unwrap();
    let good = written(&folder, "good", b"a b a\n");
    let torn = written(&folder, "torn.gz", b"\x1f\x8b\x08\x00 and no more");
    let run = |output: &str, more: &[&str]| {
        let output = folder.path().join(output);
        let job = ["run", "wordcount", text(&good), text(&torn), "--output", text(&output)];
        let ran = synod(&[&job, more].concat()).output().unwrap();
        let said = |bytes| String::from_utf8(bytes).unwrap();
        (ran.status.code(), said(ran.stdout), said(ran.stderr), output)
    };
    let (code, _, said, output) = run("none", &[]);
    assert!(code == Some(1) && said.contains("torn.gz") && !output.exists(), "{said}");
    let (code, _, said, output) = run("few", &["--allow-failed-maps", "49"]);
    assert!(code == Some(1) && !output.exists(), "{said}");
    assert!(said.contains("1 of 2 map tasks have failed, more than the 49 percent"), "{said}");
    let allowed = ["--allow-failed-maps", "50", "--allow-failed-reduces", "0"];
    let (code, shown, said, output) = run("half", &allowed);
    assert_eq!(code, Some(0), "{said}");
    let warning = "synod: warning: the job went on without 1 map task: ";
    assert!(
        said.lines().any(|line| line.starts_with(warning) && line.contains("torn.gz")),
        "{said}"
    );
    for part in
        ["trouble   1 maps given up, ", "given up  m000001: input ", "output    2 records, "]
    {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    let manifest = fs::read_to_string(output.join("_SUCCESS")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["given_up"][0]["task"], "m000001");
    assert_eq!(manifest["counters"]["maps_given_up"], 1);
    let (code, shown, said, _) = run("quiet", &["--allow-failed-maps", "100", "--quiet"]);
    assert!(code == Some(0) && shown.is_empty() && said.starts_with(warning), "{said}");
    let (code, _, said, _) = run("more", &["--allow-failed-maps", "101"]);
    assert!(code == Some(2) && said.contains("--help"), "{said}");
}

#[test]
fn chosen_map_tasks_run_here_and_nowhere_else() {
    let folder = TempDir::new().unwrap();
    let input = written(&folder, "in", b"a\nb\nc\n");
    let output = folder.path().join("out");
    succeed(&[
        "run",
        "wordcount",
        text(&input),
        "--output",
        text(&output),
        "--records-per-split",
        "1",
        "--only-maps",
        "0,2",
    ]);
    assert_eq!(fs::read(output.join("part-00000")).unwrap(), b"a\t1\nc\t1\n");
    let said = fail(&[
        "run",
        "wordcount",
        "in",
        "--output",
        "out",
        "--only-maps",
        "0",
        "--endpoints",
        "127.0.0.1:9",
    ]);
    assert!(said.contains("--endpoints"), "{said}");
}

#[test]
fn part_files_are_compressed_on_demand_and_read_again_as_they_are() {
    let folder = TempDir::new().unwrap();
    let input = written(&folder, "in", b"b a b\n");
    let packed = folder.path().join("packed");
    succeed(&["run", "wordcount", text(&input), "--output", text(&packed), "--compress", "gz"]);
    assert_eq!(fs::read(packed.join("part-00000.gz")).unwrap()[..2], [0x1f, 0x8b]);
    let output = folder.path().join("out");
    succeed(&["run", "sort", text(&packed), "--output", text(&output)]);
    assert_eq!(fs::read(output.join("part-00000")).unwrap(), b"a\t1\nb\t2\n");
}

#[test]
fn a_pipeline_hands_on_outputs_and_removes_those_that_were_steps_on_the_way() {
    let folder = TempDir::new().unwrap();
    let input = written(&folder, "in", b"b a b c b c\n");
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let stages = format!(
        "[[job]]\njob = \"wordcount\"\ninputs = [{:?}]\noutput = {:?}\ntemporary = true\nreduces = 3\n\
         [[job]]\njob = \"sort\"\ninputs = [{:?}]\noutput = {:?}\n",
        text(&input),
        path("counts"),
        path("counts"),
        path("sorted"),
    );
    let file = written(&folder, "pipeline.toml", stages.as_bytes());
    let said = succeed(&["pipeline", text(&file)]);
    assert!(said.contains("wordcount:") && said.contains("sort:"), "{said}");
    let sorted = fs::read(folder.path().join("sorted/part-00000")).unwrap();
    assert_eq!(sorted, b"a\t1\nb\t3\nc\t2\n");
    assert!(!folder.path().join("counts").exists());

    // If the second one fails, the output of the first stays.
    let said = fail(&["pipeline", text(&file)]);
    assert!(said.contains("sorted exists"), "{said}");
    assert!(folder.path().join("counts/_SUCCESS").is_file());
    let said = fail(&["pipeline", text(&input)]);
    assert!(said.contains("is no pipeline"), "{said}");
}

#[test]
fn a_stage_of_a_pipeline_goes_on_without_as_many_failed_maps_as_it_may() {
    let folder = TempDir::new().unwrap();
    let good = written(&folder, "good", b"a b a\n");
    let torn = written(&folder, "torn.gz", b"\x1f\x8b\x08\x00 and no more");
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let run = |fields: &str| {
        let stages = format!(
            "[[job]]\njob = \"wordcount\"\ninputs = [{:?}, {:?}]\noutput = {:?}\n{fields}\n\
             [[job]]\njob = \"sort\"\ninputs = [{:?}]\noutput = {:?}\n",
            text(&good),
            text(&torn),
            path("counts"),
            path("counts"),
            path("sorted"),
        );
        let file = written(&folder, "pipeline.toml", stages.as_bytes());
        let ran = synod(&["pipeline", text(&file)]).output().unwrap();
        (ran.status.code(), String::from_utf8(ran.stderr).unwrap())
    };
    let (code, said) = run("allow_failed_maps = 49");
    assert!(code == Some(1) && said.contains("more than the 49 percent"), "{said}");
    assert!(!folder.path().join("counts").exists() && !folder.path().join("sorted").exists());
    for (field, why) in [
        (
            "allow_failed_maps = 101",
            "101 percent of map tasks that may fail: 0 to 100 are possible",
        ),
        (
            "priority = \"urgent\"",
            "a priority is very-high, high, normal, low or very-low, or a number",
        ),
    ] {
        let (code, said) = run(field);
        assert!(code == Some(2) && said.contains(why), "{code:?}: {said}");
    }
    let (code, said) = run("allow_failed_maps = 50\npriority = 5");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("synod: warning: the job went on without 1 map task: "), "{said}");
    assert!(said.contains("synod: fields that have no effect here: priority"), "{said}");
    assert_eq!(fs::read(path("sorted/part-00000")).unwrap(), b"a\t2\nb\t1\n");
}
