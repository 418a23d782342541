//! `synod run wordcount` over real text: the sources that cargo has downloaded, against a naive count.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::path::Path;

use support::succeed;
use support::text::Text;
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
