//! What a streaming job shows while it runs: a bar on a terminal, Hadoop's lines elsewhere and for scripts.

use crate::bench::{Bench, MAPS};
use crate::support::process::Process;
use crate::support::pty::{OnTerminal, frames};
use crate::support::{PATIENCE, wait_for};

/// Says something, and goes on when it may.
const WAITS: &str = "cat
    echo 'a line of the log' >&2
    until [ -e 'GO' ]; do sleep 0.02; done";

/// Runs a job on a terminal as `program`, and lets it go on when it shows `sign`; all that it has shown.
fn on_terminal(bench: &Bench, program: &str, sign: &str) -> String {
    let go = format!("go-{program}");
    let waits = WAITS.replace("GO", bench.path(&go).to_str().unwrap());
    let mapper = bench.script("waits.sh", &waits);
    let jar: &[&str] = if program == "hadoop" { &["jar", "hadoop-streaming.jar"] } else { &[] };
    let words = ["-mapper", &mapper, "-reducer", "NONE", "-input", "in", "-output", program];
    let words = [&[program], jar, &words].concat();
    let mut job = OnTerminal::start(&mut bench.command(&words), 100);
    job.wait_for("a line of the log");
    job.wait_for(sign);
    bench.put(&go, "");
    let (shown, status) = job.finish();
    assert!(status.success(), "{shown}");
    shown
}

#[test]
fn on_a_terminal_a_bar_makes_room_for_the_lines_of_commands_and_goes_at_the_end() {
    let bench = Bench::with_input("x\ny\n");
    let shown = on_terminal(&bench, "streaming", "map [");
    let frames = frames(&shown);
    let bar = |frame: &&String| frame.starts_with("map [") && frame.contains(" of 4 B");
    assert!(frames.iter().any(|frame| bar(&frame)), "{frames:#?}");
    assert!(frames.iter().any(|frame| frame == "a line of the log"), "{frames:#?}");
    assert!(!shown.contains("reduce 0%"), "{frames:#?}");
    let counters = shown.find("Counters: ").unwrap();
    assert!(shown[..counters].ends_with("\u{1b}[2K"), "{:?}", &shown[..counters]);
    assert!(frames.last().unwrap().starts_with("streaming: 1 splits, 2 records"), "{frames:#?}");
}

#[test]
fn elsewhere_it_says_hadoops_percentages_line_by_line_and_hadoop_does_so_everywhere() {
    let bench = Bench::with_input("x\ny\n");
    let ran = bench.run(MAPS);
    assert!(!ran.stderr.contains('\u{1b}') && !ran.stderr.contains('['), "{}", ran.stderr);
    let lines: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("% reduce ")).collect();
    for line in &lines {
        let (id, said) = line.split_once(": map ").unwrap();
        let digits = said.replace("% reduce ", "").replace('%', "");
        assert!(id.starts_with("job_") && digits.parse::<u32>().is_ok(), "{line}");
    }
    assert!(lines.last().unwrap().ends_with(": map 100% reduce 100%"), "{lines:?}");

    let shown = on_terminal(&bench, "hadoop", "map 99% reduce 0%");
    assert!(shown.contains("INFO mapreduce.Job:  map 100% reduce 100%\r\n"), "{shown}");
    assert!(!shown.contains("map [") && !shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn what_a_task_says_of_itself_is_seen_on_a_terminal_and_with_verbose() {
    let bench = Bench::with_input("x\ny\n");
    let go = bench.path("go");
    let says = format!(
        "cat; echo 'reporter:status:half way' >&2; until [ -e '{}' ]; do sleep 0.02; done",
        go.display()
    );
    let mapper = bench.script("says.sh", &says);
    let words = |output: &str| {
        let words =
            ["streaming", "-mapper", &mapper, "-reducer", "NONE", "-verbose", "-input", "in"];
        [&words[..], &["-output", output]]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let command = |output: &str| {
        let words = words(output);
        bench.command(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let mut job = OnTerminal::start(&mut command("shown"), 120);
    job.wait_for("map [");
    job.wait_for("  half way");
    std::fs::write(&go, "").unwrap();
    let (shown, status) = job.finish();
    assert!(status.success() && !shown.contains(": half way"), "{shown}");

    std::fs::remove_file(&go).unwrap();
    let mut job = Process::start("the job", &mut command("said"), &bench.path(""));
    wait_for("the status", PATIENCE, || job.stderr().contains(": half way\n").then_some(()));
    std::fs::write(&go, "").unwrap();
    assert!(job.wait(PATIENCE).success());
    assert_eq!(job.stderr().matches("half way").count(), 1, "{}", job.stderr());
}
