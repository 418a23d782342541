//! `synod run wordcount` over real text: the sources that cargo has downloaded, against a naive count. And a
//! sort with very few open files.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use support::text::Text;
use support::{binary, succeed};
use tempfile::TempDir;

const REDUCES: usize = 3;

#[test]
fn a_word_count_over_real_text_equals_a_naive_count_however_it_is_split() {
    let folder = TempDir::new().unwrap();
    let text = Text::write(folder.path());

    let parts = word_count(&text.inputs, &folder.path().join("at-once"), &[]);
    assert_eq!(parts.len(), REDUCES);
    text.check_count(parts.iter().map(Vec::as_slice));

    // Many small splits, one at a time, with so little memory that it has to go to disk.
    let piecemeal =
        ["--split-mib", "1", "--slots", "1", "--memory-mib", "8", "--max-record-mib", "1"];
    let again = word_count(&text.inputs, &folder.path().join("piecemeal"), &piecemeal);
    assert!(parts == again, "the part files do not depend on how the work was cut");
}

/// What a shell says to a program about the files that it may open.
const LIMITS: [&str; 2] = [
    // Less than eight merges of eight files would take, and no more to be had.
    "ulimit -n 48",
    // Less than eight tasks can do with; but more may be had.
    "ulimit -S -n 24",
];

#[test]
fn a_sort_of_many_runs_gets_along_with_the_open_files_that_it_may_have() {
    let folder = TempDir::new().unwrap();
    let mut random = 1_u64;
    let lines: String = (0..200_000)
        .map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("{random:016x} {random}\n")
        })
        .collect();
    let input = folder.path().join("in");
    fs::write(&input, lines).unwrap();
    let sort = |output: &str, shell: &str| {
        let output = folder.path().join(output);
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{shell}; exec \"$0\" \"$@\"")])
            .arg(binary())
            .args(["run", "sort", "--slots", "8", "--reduces", "8", "--memory-mib", "2"])
            .args(["--split-mib", "1", "--output"])
            .args([&output, &input])
            .stdin(Stdio::null());
        let ended = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{shell}: {stderr}");
        (0..8)
            .map(|part| fs::read(output.join(format!("part-{part:05}"))).unwrap())
            .collect::<Vec<_>>()
    };
    let plenty = sort("plenty", "true");
    assert!(plenty.iter().all(|part| part.len() > 100_000), "each has many runs");
    for (number, limit) in LIMITS.iter().enumerate() {
        assert!(sort(&number.to_string(), limit) == plenty, "{limit}");
    }
}

/// Runs the job; its part files in order.
fn word_count(inputs: &[String], output: &Path, more: &[&str]) -> Vec<Vec<u8>> {
    let reduces = REDUCES.to_string();
    let output_name = output.to_str().unwrap();
    let mut arguments = vec!["run", "wordcount", "--output", output_name, "--reduces", &reduces];
    arguments.extend(inputs.iter().map(String::as_str));
    arguments.extend(more);
    print!("{}", succeed(&arguments));
    assert!(output.join("_SUCCESS").is_file());
    let part = |number: usize| output.join(format!("part-{number:05}"));
    let parts = (0..).map(part).take_while(|path| path.exists());
    parts.map(|path| fs::read(path).expect("a part file can be read")).collect()
}
