//! What `synod run` shows of a job: a bar on a real terminal, lines elsewhere, a summary at the end, or
//! JSON, or nothing.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use support::pty::{OnTerminal, frames};
use support::text::Text;
use support::{succeed, synod};
use tempfile::TempDir;

struct Bench {
    folder: TempDir,
    text: Text,
}

impl Bench {
    fn new() -> Bench {
        let folder = TempDir::new().unwrap();
        let text = Text::write(folder.path());
        Bench { folder, text }
    }

    fn output(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A word count of the text, a few times if that is said, so that it takes a while.
    fn count(&self, output: &str, times: usize, more: &[&str]) -> Vec<String> {
        let output = self.output(output).to_str().unwrap().to_owned();
        let job = ["run", "wordcount", "--output", &output, "--reduces", "2", "--split-mib", "1"];
        let words = [&job, more].concat().into_iter().map(str::to_owned);
        let inputs = std::iter::repeat_n(&self.text.inputs, times).flatten().cloned();
        words.chain(inputs).collect()
    }
}

fn arguments(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

#[test]
fn on_a_terminal_a_bar_shows_phase_bytes_rate_and_time_left_and_goes_at_the_end() {
    let bench = Bench::new();
    // Of a job that is over within a second there is no rate to be shown: then a longer one.
    let (shown, frames) = [5, 20, 80]
        .into_iter()
        .find_map(|times| {
            let count = bench.count(&format!("out-{times}"), times, &["--slots", "1"]);
            let (shown, status) = OnTerminal::start(&mut synod(&arguments(&count)), 110).finish();
            assert!(status.success(), "{shown}");
            let frames = frames(&shown);
            let has_rate = frames.iter().filter(|frame| frame.ends_with("iB/s")).count() > 3;
            (has_rate || times == 80).then_some((shown, frames))
        })
        .unwrap();
    let maps: Vec<&String> = frames.iter().filter(|frame| frame.starts_with("map ")).collect();
    let first = maps.first().unwrap();
    assert!(first.contains("[") && first.contains("] ") && first.contains(" % "), "{first}");
    assert!(first.contains(" of ") && first.ends_with("iB"), "{first}");
    assert!(!first.contains(" left"), "nothing was there to go by: {first}");
    let has_both = |frame: &&&String| frame.contains(" left  ") && frame.ends_with("iB/s");
    assert!(maps.iter().any(|frame| has_both(&frame)), "{frames:#?}");
    assert!(maps.last().unwrap().contains("=="), "{frames:#?}");
    assert!(maps.iter().all(|frame| frame.chars().count() <= 110), "{frames:#?}");
    let summary = frames.iter().position(|frame| frame.starts_with("wordcount: ")).unwrap();
    assert!(frames[summary..].iter().any(|frame| frame.starts_with("  output ")), "{frames:#?}");
    assert!(frames[summary..].len() <= 24, "{frames:#?}");
    // The bar's line was cleared before: only then does the summary begin a line of its own.
    let before = shown.find("wordcount: ").unwrap();
    assert!(shown[..before].ends_with("\u{1b}[2K"), "{:?}", &shown[..before]);
}

#[test]
fn a_narrow_terminal_is_not_overrun() {
    let bench = Bench::new();
    let count = bench.count("out", 1, &[]);
    let (shown, status) = OnTerminal::start(&mut synod(&arguments(&count)), 50).finish();
    assert!(status.success(), "{shown}");
    let frames = frames(&shown);
    let bars = frames.iter().filter(|frame| frame.contains("] "));
    assert!(bars.clone().count() > 0 && bars.clone().all(|bar| bar.chars().count() <= 50));
}

#[test]
fn without_a_terminal_progress_is_lines_on_stderr_and_quiet_is_quiet() {
    let bench = Bench::new();
    let run = |output: &str, more: &[&str]| {
        let count = bench.count(output, 1, more);
        let output = synod(&arguments(&count)).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success());
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (summary, lines) = run("loud", &[]);
    assert!(summary.starts_with("wordcount: "), "{summary}");
    for part in ["  input ", "  map ", "  reduce ", "  output ", "  slowest   m", " records"] {
        assert!(summary.contains(part), "{part} is not in\n{summary}");
    }
    assert!(lines.lines().all(|line| line.contains(": ") && !line.contains('\u{1b}')), "{lines}");
    assert_eq!(run("quiet", &["--quiet"]), (String::new(), String::new()));
}

#[test]
fn the_json_of_a_job_is_its_manifest_and_the_report_of_its_tasks() {
    let bench = Bench::new();
    let printed = succeed(&arguments(&bench.count("out", 1, &["--json", "--quiet"])));
    assert_eq!(printed.lines().count(), 1);
    let done: Value = serde_json::from_str(&printed).unwrap();
    let success = std::fs::read(bench.output("out").join("_SUCCESS")).unwrap();
    assert_eq!(done["manifest"], serde_json::from_slice::<Value>(&success).unwrap());
    assert_eq!(done["report"]["counters"], done["manifest"]["counters"]);
    let (splits, tasks) = (done["splits"].as_u64().unwrap(), &done["report"]["tasks"]);
    assert_eq!(tasks.as_array().unwrap().len() as u64, splits + 2);
    assert!(tasks[0]["e"].as_u64() >= tasks[0]["s"].as_u64());
    assert_eq!((&done["name"], &done["id"]), (&Value::from("wordcount"), &Value::Null));
}

#[test]
fn names_that_are_no_text_are_read_and_written_and_shown_as_far_as_they_are_text() {
    let folder = TempDir::new().unwrap();
    let odd = |name: &[u8]| folder.path().join(OsStr::from_bytes(name));
    fs::create_dir(odd(b"in")).unwrap();
    fs::write(odd(b"in/w\xff"), "to be\n").unwrap();
    for (output, more) in [(&b"o\xff"[..], &["--json"][..]), (b"p\xff", &[])] {
        let mut run = synod(&["run", "wordcount", "--reduces", "1"]);
        run.args(more).arg(odd(b"in/*")).arg("--output").arg(odd(output));
        let ran = run.stdin(Stdio::null()).output().unwrap();
        let (said, shown) = (String::from_utf8_lossy(&ran.stderr), ran.stdout);
        assert!(ran.status.success(), "{said}");
        let shown = String::from_utf8(shown).unwrap();
        let name =
            output[..1].iter().map(|&byte| char::from(byte)).collect::<String>() + "\u{fffd}";
        assert!(shown.contains(&name), "{shown}");
        assert_eq!(fs::read(odd(output).join("part-00000")).unwrap(), b"be\t1\nto\t1\n");
    }
}
