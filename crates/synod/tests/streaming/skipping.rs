//! Records that a command fails on, left out and kept beside the output; tasks that it fails, gone on
//! without.

use std::fs;
use std::path::Path;

use crate::bench::{Bench, properties};

/// Dies of a line that begins with `bad`, whatever it has printed before.
pub const DIES: &str = "while read -r line; do
    case $line in bad*) exit 9;; esac
    echo \"$line\"
done";

/// The same, but tells how far it has come.
const TELLS: &str = "while read -r line; do
    case $line in bad*) exit 9;; esac
    echo \"$line\"
    echo \"reporter:counter:SkippingTaskCounters,$1,1\" >&2
done";

pub const SKIP: &[&str] =
    &["mapreduce.map.skip.maxrecords=1", "mapreduce.task.skip.start.attempts=1"];

pub fn input() -> (String, String) {
    let (mut all, mut good) = (String::new(), String::new());
    for number in 0..300 {
        if number % 100 == 37 {
            all += &format!("bad {number}\n");
        } else {
            all += &format!("{number}\n");
            good += &format!("{number}\t\n");
        }
    }
    (all, good)
}

/// The files of left out records, by name; each line without its error, which names the command.
pub fn skipped(output: &Path) -> Vec<(String, String)> {
    let files = fs::read_dir(output).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|file| file.file_name().to_string_lossy().starts_with(".skipped-"));
    let content = |path| {
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|line| {
            let fields: Vec<&str> = line.splitn(5, '\t').collect();
            assert!(fields[3].contains("code 9"), "{line}");
            format!("{}\t{}\n", fields[..3].join("\t"), fields[4])
        });
        lines.collect()
    };
    let mut found: Vec<_> =
        files.map(|file| (file.file_name().into_string().unwrap(), content(file.path()))).collect();
    found.sort();
    found
}

#[test]
fn a_mapper_that_dies_of_a_record_goes_on_without_it_if_that_is_asked_for() {
    let (all, good) = input();
    let bench = Bench::with_input(&all);
    let offset = |line: &str| all.find(line).unwrap();
    let expected: String = ["bad 37", "bad 137", "bad 237"]
        .iter()
        .map(|line| format!("{}\t0\t{}\t{line}\n", bench.path("in").display(), offset(line)))
        .collect();
    let dies = bench.script("dies.sh", DIES);
    let tells = format!("{} MapProcessedRecords", bench.script("tells.sh", TELLS));
    for mapper in [&dies, &tells] {
        let words = [&properties(SKIP)[..], &["-mapper", mapper, "-reducer", "NONE"]].concat();
        let ran = bench.run(&words);
        assert!(ran.text() == good, "{mapper}: {}", ran.text());
        assert_eq!(skipped(&ran.output), [(".skipped-m-000000".to_owned(), expected.clone())]);
        assert_eq!(ran.counter("Synod", "bad_records_skipped"), Some(3));
    }
    // Without being asked it fails, and says where it was.
    let said = bench.fail(&["-mapper", &dies, "-reducer", "NONE"]);
    assert!(said.contains("code 9") && said.contains("/in"), "{said}");
}

#[test]
fn too_many_bad_records_fail_the_job() {
    let (all, _) = input();
    let bench = Bench::with_input(all);
    let dies = bench.script("dies.sh", DIES);
    let limit = properties(&["synod.streaming.skip.limit=2"]);
    let words = [&properties(SKIP)[..], &limit, &["-mapper", &dies, "-reducer", "NONE"]].concat();
    let said = bench.fail(&words);
    assert!(said.contains("more than 2 bad records in one task"), "{said}");
}

#[test]
fn a_reducer_goes_on_without_a_group_it_dies_of() {
    let bench = Bench::with_input("a\t1\nbad\t2\nbad\t3\nc\t4\n");
    let dies = bench.script("dies.sh", DIES);
    let tells = format!("{} ReduceProcessedGroups", bench.script("tells.sh", TELLS));
    let settings = ["mapreduce.reduce.skip.maxgroups=1", "mapreduce.task.skip.start.attempts=1"];
    for reducer in [&dies, &tells] {
        let words = [&properties(&settings)[..], &["-mapper", "cat", "-reducer", reducer]].concat();
        let ran = bench.run(&words);
        assert_eq!(ran.text(), "a\t1\nc\t4\n");
        let expected = (".skipped-r-000000".to_owned(), "-\t0\t1\tbad\t2\n".to_owned());
        assert_eq!(skipped(&ran.output), [expected]);
        assert_eq!(ran.counter("Synod", "bad_groups_skipped"), Some(1));
    }
}

#[test]
fn as_many_tasks_may_fail_as_the_properties_say_and_the_log_and_the_counters_tell_of_them() {
    let bench = Bench::new();
    for (name, text) in [("in/a", "1\n2\n"), ("in/b", "3\nbad\n"), ("in/c", "4\n")] {
        bench.put(name, text);
    }
    let dies = bench.script("dies.sh", DIES);
    let job = ["-input", "in", "-mapper", &dies, "-reducer", "cat"];
    let some = properties(&["mapred.max.map.failures.percent=34", "mapreduce.map.maxattempts=3"]);
    let ran = bench.run(&[&some[..], &job].concat());
    assert_eq!(ran.text(), "1\t\n2\t\n4\t\n");
    let warning = "synod: the job went on without 1 map task: ";
    let said: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with(warning)).collect();
    assert!(
        said.len() == 1 && said[0].contains("m000001") && said[0].contains("code 9"),
        "{said:?}"
    );
    assert!(!ran.stderr.contains("no effect here"), "{}", ran.stderr);
    for (name, number) in [
        ("Failed map tasks", Some(3)),
        ("Map tasks given up", Some(1)),
        ("Failed reduce tasks", None),
    ] {
        assert_eq!(ran.counter("Job Counters", name), number, "{name}: {}", ran.stderr);
    }
    let fewer = properties(&["mapreduce.map.failures.maxpercent=33"]);
    let said = bench.fail(&[&fewer[..], &job].concat());
    assert!(said.contains("1 of 3 map tasks have failed, more than the 33 percent"), "{said}");

    let job = ["-input", "in", "-mapper", "cat", "-reducer", &dies, "-numReduceTasks", "8"];
    let some = properties(&["mapreduce.reduce.failures.maxpercent=20"]);
    let ran = bench.run(&[&some[..], &job].concat());
    assert_eq!(ran.parts.len(), 7, "{:?}", ran.parts.keys());
    assert_eq!(ran.counter("Job Counters", "Reduce tasks given up"), Some(1));
    // Attempts that have failed, as Hadoop counts them: two in one process.
    assert_eq!(ran.counter("Job Counters", "Failed reduce tasks"), Some(2));
    assert!(ran.stderr.contains("went on without 1 reduce task: the part files"), "{}", ran.stderr);
}

#[test]
fn a_bad_record_costs_a_process_for_each_time_that_its_window_can_be_halved() {
    const LINES: usize = 4_096;
    let line = |number: &usize| match number {
        // At the ends, side by side, and alone.
        0 | 1_000 | 1_001 | 2_345 | 4_095 => format!("bad {number:04}\n"),
        _ => format!("good {number:04}\n"),
    };
    let all: String = (0..LINES).map(|number| line(&number)).collect();
    let bench = Bench::with_input(&all);
    let starts = bench.path("starts");
    let dies =
        format!("printf x >> '{}'; exec awk '/^bad/ {{ exit 9 }} {{ print }}'", starts.display());
    let dies = bench.script("dies.sh", &dies);
    let words = [&properties(SKIP)[..], &["-mapper", &dies, "-reducer", "NONE"]].concat();
    let ran = bench.run(&words);
    let good: String =
        all.lines().filter(|line| line.starts_with('g')).map(|l| format!("{l}\t\n")).collect();
    assert!(ran.text() == good);
    assert_eq!(ran.counter("Synod", "bad_records_skipped"), Some(5));
    // The attempt that fails, the window, and for each record its halves, itself, and what follows it.
    let starts = fs::read(&starts).unwrap().len();
    assert!(starts <= 2 + 5 * (12 + 2), "{starts} processes");
}
