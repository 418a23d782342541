//! Programs that treat their pipes badly: what they have printed is taken, they are ended in time, and Synod
//! needs no more memory for them than for others.

use std::fs;
use std::path::Path;

use crate::bench::{Bench, is_alive, properties, wait_until_gone};
use crate::support::process::Process;
use crate::support::{PATIENCE, wait_for};

/// More than pipes and buffers hold, one split.
fn much() -> (Bench, [&'static str; 2]) {
    let lines: String = (0..400_000).map(|number| format!("{number}\n")).collect();
    let one_split = "mapreduce.input.fileinputformat.split.minsize=100000000";
    (Bench::with_input(lines), ["-D", one_split])
}

#[test]
fn a_program_that_closes_its_stdout_and_goes_on_reading_has_given_what_it_printed_before() {
    let (bench, one_split) = much();
    let all = bench.script("all.sh", "echo first; exec >&-; exec cat >/dev/null");
    let both = bench.script("both.sh", "echo first; exec >&- 2>&-; exec cat >/dev/null");
    for closes in [&all, &both] {
        for (mapper, reducer) in [(&closes[..], "NONE"), (&closes[..], "cat"), ("cat", closes)] {
            let words = [&one_split[..], &["-mapper", mapper, "-reducer", reducer]].concat();
            assert_eq!(bench.run(&words).text(), "first\t\n", "{words:?}");
        }
    }
    // How it ends counts all the same.
    let fails = bench.script("fails.sh", "echo first; exec >&-; cat >/dev/null; exit 6");
    for (mapper, reducer) in [(&fails[..], "NONE"), ("cat", &fails)] {
        let said =
            bench.fail(&[&one_split[..], &["-mapper", mapper, "-reducer", reducer]].concat());
        assert!(said.contains("code 6"), "{said}");
    }
}

#[test]
fn a_program_that_closes_its_stdin_has_not_read_it_whatever_it_prints() {
    let (bench, one_split) = much();
    let closes = bench.script("closes.sh", "exec <&-; echo one; echo two");
    let allowed = properties(&["synod.streaming.unread.input.is.failure=false"]);
    for (mapper, reducer) in [(&closes[..], "NONE"), ("cat", &closes)] {
        let words = [&one_split[..], &["-mapper", mapper, "-reducer", reducer]].concat();
        let said = bench.fail(&words);
        assert!(said.contains("before it had read all its input"), "{said}");
        assert_eq!(bench.run(&[&allowed[..], &words].concat()).text(), "one\t\ntwo\t\n");
    }
}

#[test]
fn a_mapper_that_has_printed_enough_may_leave_its_input_and_a_reducer_may_not() {
    let (bench, one_split) = much();
    let closes = bench.script("closes.sh", "exec <&-; echo one; echo two");
    for (enough, is_enough) in [("2", true), ("3", false)] {
        let setting = format!("stream.minRecWrittenToEnableSkip_={enough}");
        let settings = [&properties(&[&setting])[..], &one_split].concat();
        let mapper = [&settings[..], &["-mapper", &closes, "-reducer", "NONE"]].concat();
        let reducer = [&settings[..], &["-mapper", "cat", "-reducer", &closes]].concat();
        let unread = "before it had read all its input";
        match is_enough {
            true => assert_eq!(bench.run(&mapper).text(), "one\t\ntwo\t\n"),
            false => assert!(bench.fail(&mapper).contains(unread)),
        }
        assert!(bench.fail(&reducer).contains(unread));
    }
}

/// It has ended and has left a child that holds its output, and prints later.
fn leaves_a_child(seconds: u32) -> String {
    format!("cat; {{ sleep {seconds}; echo late; }} & exit 0")
}

#[test]
fn the_output_of_a_child_that_a_program_leaves_is_waited_for_as_long_as_is_said() {
    let bench = Bench::with_input("x\n");
    let held = "[a child of the command held its output; it was ended]";
    // The test takes no minute: the child is gone long before.
    let long = properties(&["stream.joindelay.milli=60000"]);
    let short = properties(&["stream.joindelay.milli=1"]);
    for (settings, seconds, late) in
        [(&[][..], 600, ""), (&short[..], 600, ""), (&long[..], 1, "late\t\n")]
    {
        let leaves = bench.script("leaves.sh", &leaves_a_child(seconds));
        let ran = bench.run(&[settings, &["-mapper", &leaves, "-reducer", "NONE"]].concat());
        assert_eq!(ran.text(), format!("x\t\n{late}"), "{settings:?}");
        assert_eq!(ran.stderr.contains(held), late.is_empty(), "{}", ran.stderr);
    }
}

#[test]
fn a_program_that_hangs_is_ended_after_the_tasks_timeout_wherever_it_hangs() {
    let settings = properties(&[
        "mapreduce.task.timeout=300",
        "mapreduce.map.maxattempts=1",
        "mapreduce.reduce.maxattempts=1",
    ]);
    // It reads nothing; it reads everything; it has closed all its pipes.
    for (index, before) in ["", "cat >/dev/null", "exec <&- >&- 2>&-"].into_iter().enumerate() {
        let (bench, one_split) = much();
        let hangs = bench.stubborn("hangs.sh", before);
        for (stage, words) in [
            ("mapper", ["-mapper", &hangs, "-reducer", "NONE"].as_slice()),
            ("combiner", &["-mapper", "cat", "-combiner", &hangs, "-reducer", "cat"]),
            ("reducer", &["-mapper", "cat", "-reducer", &hangs]),
        ] {
            let said = bench.fail(&[&settings[..], &one_split, words].concat());
            let named = said.contains(&format!("{stage} `{hangs}`"));
            assert!(named && said.contains("no progress for 0.3 s"), "{index}: {said}");
            let pids = bench.wait_for_pids(2);
            wait_until_gone(&pids);
            fs::remove_dir_all(bench.path("pids")).unwrap();
            fs::create_dir(bench.path("pids")).unwrap();
        }
    }
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_below(&entry.path()),
        _ => entry.metadata().map_or(0, |metadata| metadata.len()),
    });
    bytes.sum()
}

#[test]
fn a_mapper_that_prints_for_ever_and_never_reads_fills_no_memory_and_can_be_stopped() {
    const MEMORY_MIB: u64 = 32;
    for reducer in ["NONE", "cat"] {
        let (bench, one_split) = much();
        fs::create_dir(bench.path("pids")).unwrap();
        let pids = bench.path("pids").display().to_string();
        let prints = bench.script(
            "prints.sh",
            &format!(
                "echo $$ > '{pids}/one'\nexec awk 'BEGIN {{ for (;;) print ++n \"\\t\" n * n }}'"
            ),
        );
        let memory = ["--memory-mib", &MEMORY_MIB.to_string(), "--slots", "1"];
        let words = [&one_split[..], &["-mapper", &prints, "-reducer", reducer], &memory].concat();
        let words = [&["streaming"], &bench.words(&words, "out")[..]].concat();
        let mut synod = Process::start("synod", &mut bench.command(&words), &bench.path(""));
        wait_for("output beyond all memory", PATIENCE, || {
            assert!(synod.is_running(), "{}", synod.stderr());
            (bytes_below(&bench.path("out")) > MEMORY_MIB << 20).then_some(())
        });
        let resident = synod.resident_bytes();
        assert!(resident < (MEMORY_MIB + 96) << 20, "{resident} bytes with {reducer}");
        let pids = bench.wait_for_pids(1);
        assert!(is_alive(&pids[0]));
        assert_eq!(synod.interrupt().code(), Some(130), "{}", synod.stderr());
        wait_until_gone(&pids);
        assert!(!bench.path("out").exists());
    }
}

/// Reports for more than twice as long as it may be silent, then reads.
const REPORTS: &str = "turn=0
    until [ $turn = 45 ]; do
        case $mapreduce_task_partition in
        0) echo reporter:status:turn $turn >&2 ;;
        1) echo reporter:counter:G,turns,1 >&2 ;;
        esac
        sleep 0.1
        turn=$((turn + 1))
    done
    cat";

#[test]
fn a_program_that_reports_a_status_or_counts_is_making_progress() {
    let bench = Bench::new();
    bench.put("in/a", "a\n");
    bench.put("in/b", "b\n");
    let reports = bench.script("reports.sh", REPORTS);
    let settings = properties(&["mapreduce.task.timeout=2000", "mapreduce.map.maxattempts=1"]);
    let words = ["-mapper", &reports, "-reducer", "NONE", "--slots", "3"];
    let ran = bench.run(&[&settings[..], &words].concat());
    assert_eq!(ran.text(), "a\t\nb\t\n");
    assert_eq!(ran.counter("G", "turns"), Some(45));
    // One that says nothing in that time is not.
    bench.put("in/c", "c\n");
    let said = bench.fail(&[&settings[..], &words].concat());
    assert!(said.contains("m_000002") && said.contains("no progress for 2 s"), "{said}");
}
