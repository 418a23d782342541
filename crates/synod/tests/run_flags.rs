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
