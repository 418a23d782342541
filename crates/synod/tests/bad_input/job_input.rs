//! Inputs and outputs of `synod run` that are not as they should be.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::cluster::wrapped;
use crate::support::{permissions, synod};

fn job(job: &str, more: &[&str]) -> Command {
    let mut command = synod(&["run", job, "--output", "out"]);
    command.args(more);
    command
}

fn run(folder: &Path, mut command: Command) -> Output {
    command.current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

/// Runs a word count that must fail, and leave no output folder; the last line of what it says.
fn fails(folder: &Path, more: &[&str]) -> String {
    failed(folder, job("wordcount", more))
}

fn failed(folder: &Path, command: Command) -> String {
    let output = run(folder, command);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(!folder.join("out").join("_SUCCESS").exists());
    // Lines of progress may come first.
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("synod: ")).collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    assert_eq!(stderr.lines().last(), Some(errors[0]), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    errors[0].to_owned()
}

/// Runs a job that must succeed; all its part files in order.
fn succeeds(folder: &Path, name: &str, more: &[&str]) -> Vec<u8> {
    let output = run(folder, job(name, more));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{more:?}: {stderr}");
    let out = folder.join("out");
    assert!(out.join("_SUCCESS").is_file());
    let mut parts: Vec<_> =
        fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
    parts.retain(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("part-")));
    parts.sort();
    let all = parts.iter().flat_map(|path| fs::read(path).unwrap()).collect();
    fs::remove_dir_all(out).unwrap();
    all
}

#[test]
fn a_name_with_a_line_feed_or_by_way_of_the_folder_above_is_read_like_any_other() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("li\nne"), "b\n").unwrap();
    fs::write(folder.path().join("sub/a"), "a\n").unwrap();
    let inputs = ["sub/../li\nne", "sub/../sub/./a", "./sub/../*\n*"];
    assert_eq!(succeeds(folder.path(), "sort", &inputs), b"a\nb\nb\n");
    // A streaming job's command is told the name as it is.
    fs::write(
        folder.path().join("says.sh"),
        "cat; printf %s \"$mapreduce_map_input_file\" | wc -l\n",
    )
    .unwrap();
    for (input, mapped) in inputs.iter().zip(["b\t\n1\t\n", "a\t\n0\t\n", "b\t\n1\t\n"]) {
        let words = ["streaming", "-input", input, "-output", "out", "-reducer", "NONE"];
        let mut command = synod(&words);
        command.args(["-file", "says.sh", "-mapper", "sh says.sh"]);
        let output = run(folder.path(), command);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let out = folder.path().join("out");
        assert_eq!(fs::read_to_string(out.join("part-00000")).unwrap(), mapped, "{input:?}");
        fs::remove_dir_all(out).unwrap();
    }
    // What cannot be read is named so that the name can be found, in one line.
    let line = fails(folder.path(), &["sub/../mis\nsing"]);
    assert!(line.contains("sub/../mis") && line.contains("does not exist"), "{line}");
}

/// Runs a job whose input is replaced, by a file of the same length and time, as soon as it is planned.
fn replaced_while(folder: &Path, mut command: Command) -> Output {
    let (input, other, out) = (folder.join("in"), folder.join("other"), folder.join("out"));
    let text = "some words of a line that many others are like\n".repeat(700_000);
    for _ in 0..10 {
        fs::write(&input, &text).unwrap();
        fs::write(&other, &text).unwrap();
        let modified = fs::metadata(&input).unwrap().modified().unwrap();
        fs::File::options().write(true).open(&other).unwrap().set_modified(modified).unwrap();
        command.current_dir(folder).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // The folder is made when the inputs are frozen.
        while !out.exists() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        fs::rename(&other, &input).unwrap();
        let ended = child.wait_with_output().unwrap();
        if !ended.status.success() {
            return ended;
        }
        // It was over before the file was replaced.
        fs::remove_dir_all(&out).unwrap();
    }
    panic!("ten jobs did not notice that their input was replaced");
}

#[test]
fn an_input_that_is_replaced_during_the_job_fails_it_though_length_and_time_are_the_same() {
    let folder = TempDir::new().unwrap();
    let native = job("wordcount", &["in", "--slots", "1"]);
    let streaming = synod(&["streaming", "-input", "in", "-output", "out", "-mapper", "cat"]);
    for command in [native, streaming] {
        let output = replaced_while(folder.path(), command);
        let stderr = String::from_utf8(output.stderr).unwrap();
        let line = stderr.lines().last().unwrap_or_default();
        assert!(line.contains("changed while the job ran (another file stands in its"), "{stderr}");
        assert!(!folder.path().join("out").exists());
    }
}

#[test]
fn an_input_that_is_missing_or_a_folder_within_a_folder_is_named_and_nothing_is_made() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("good"), "a b\n").unwrap();
    fs::create_dir_all(folder.path().join("folder/inner")).unwrap();
    let line = fails(folder.path(), &["good", "missing"]);
    assert!(line.contains("missing does not exist"), "{line}");
    let line = fails(folder.path(), &["good", "folder"]);
    assert!(line.contains("folder/inner is a folder within a folder"), "{line}");
    assert!(!folder.path().join("out").exists());
    let counted = succeeds(folder.path(), "wordcount", &["good", "folder", "--recursive"]);
    assert_eq!(counted, b"a\t1\nb\t1\n", "a folder stands for its files, of which it has none");
}

#[test]
fn an_input_that_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let Some(wrapper) = permissions::enforced() else { return };
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, "a b\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    let command = synod(&["run", "wordcount", "--output", "out", "secret"]);
    let line = failed(folder.path(), wrapped(&wrapper, command));
    assert!(line.contains("secret cannot be read") && line.contains("permissions"), "{line}");
}

#[test]
fn an_input_that_is_no_file_is_named() {
    let folder = TempDir::new().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    let line = fails(folder.path(), &["socket"]);
    assert!(line.contains("socket is not a regular file"), "{line}");
    fs::write(folder.path().join("good"), "a b\n").unwrap();
    let line = fails(folder.path(), &["good/below"]);
    assert!(line.contains("good/below cannot be read"), "{line}");
}

#[test]
fn an_output_folder_that_exists_is_left_alone() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("good"), "a b\n").unwrap();
    fs::create_dir(folder.path().join("out")).unwrap();
    fs::write(folder.path().join("out/mine"), "kept").unwrap();
    let line = fails(folder.path(), &["good"]);
    assert!(line.contains("out exists"), "{line}");
    let names: Vec<_> = fs::read_dir(folder.path().join("out")).unwrap().collect();
    assert_eq!(names.len(), 1);
    assert_eq!(fs::read_to_string(folder.path().join("out/mine")).unwrap(), "kept");
}

#[test]
fn a_long_line_is_counted_or_refused_by_the_limit_that_was_set() {
    let folder = TempDir::new().unwrap();
    let mib = 1 << 20;
    let long: Vec<u8> = b"word ".iter().copied().cycle().take(8 * mib).collect();
    fs::write(folder.path().join("long"), &long).unwrap();
    let line = fails(folder.path(), &["long", "--max-record-mib", "4"]);
    assert!(line.contains("offset 0") && line.contains("4194304 bytes"), "{line}");
    let limits = ["--max-record-mib", "16", "--memory-mib", "64", "--split-mib", "1"];
    let counts = succeeds(folder.path(), "wordcount", &[&["long"][..], &limits].concat());
    // The last of its 8 MiB is the middle of a word.
    let whole = long.len() / 5;
    let rest = &"word"[..long.len() % 5];
    assert_eq!(String::from_utf8(counts).unwrap(), sorted_counts(&[("word", whole), (rest, 1)]));
}

/// Lines of a word count in one part file.
fn sorted_counts(counts: &[(&str, usize)]) -> String {
    let mut lines: Vec<String> = counts
        .iter()
        .filter(|(word, _)| !word.is_empty())
        .map(|(word, count)| format!("{word}\t{count}\n"))
        .collect();
    lines.sort();
    lines.concat()
}

#[test]
fn a_last_line_without_its_newline_counts() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("one"), "a b\nb c").unwrap();
    fs::write(folder.path().join("two"), "c").unwrap();
    let one_part = ["one", "two", "--reduces", "1"];
    let counts = succeeds(folder.path(), "wordcount", &one_part);
    assert_eq!(String::from_utf8(counts).unwrap(), "a\t1\nb\t2\nc\t2\n");
    let sorted = succeeds(folder.path(), "sort", &one_part);
    assert_eq!(String::from_utf8(sorted).unwrap(), "a b\nb c\nc\n");
}

#[test]
fn words_are_bytes_and_need_not_be_utf_8() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("bytes"), b"\xff\xfe a\0b \xff\xfe\n\x80\n").unwrap();
    let counts = succeeds(folder.path(), "wordcount", &["bytes", "--reduces", "1"]);
    assert_eq!(counts, b"a\0b\t1\n\x80\t1\n\xff\xfe\t2\n");
}

#[test]
fn an_empty_file_is_an_input_without_words() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("empty"), "").unwrap();
    fs::write(folder.path().join("blank"), "\n\n  \n").unwrap();
    for job in ["wordcount", "sort", "loganalysis"] {
        assert!(succeeds(folder.path(), job, &["empty"]).is_empty(), "{job}");
    }
    assert!(succeeds(folder.path(), "wordcount", &["empty", "blank", "empty"]).is_empty());
}
