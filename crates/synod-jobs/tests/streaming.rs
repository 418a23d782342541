//! Streaming jobs from their argument list to their part files, against what Hadoop 3.3.4 wrote for the
//! same arguments (its local runner, recorded once), and what becomes of commands that misbehave.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;
use synod_jobs::streaming::arguments::Arguments;
use synod_jobs::streaming::arguments::submission::{Outside, Submission};
use synod_jobs::streaming::locations::Locations;
use synod_jobs::{JobError, JobSummary, Progress, run_built_in};

const INPUT: &[u8] = b"b 1\r\na\t2\nb 3\n\nc\td\re\tf\tg\nlast";

const COMPARATOR: &str = "mapreduce.job.output.key.comparator.class=\
                          org.apache.hadoop.mapred.lib.KeyFieldBasedComparator";

const MAPS: &[&str] = &["-mapper", "cat", "-reducer", "NONE"];

/// Runs a job over `in.txt` in `folder`.
fn run(folder: &Path, more: &[&str]) -> Result<JobSummary, JobError> {
    let words = [more, &["-input", "in.txt", "-output", "out"]].concat();
    let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    let outside = Outside {
        read: &|path| std::fs::read_to_string(path),
        look: &|path| path.metadata().map(drop),
        variable: &|_| None,
        locations: Locations::default(),
        folder: folder.to_owned(),
        job_id: "job_1700000000000_0001".to_owned(),
        user: "nobody".to_owned(),
    };
    let submission = Submission::new(&Arguments::parse(&words).unwrap(), &outside)?;
    run_built_in(&submission.spec, &Progress::new())
}

fn parts(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder.join("out"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("part-"))
        .collect();
    names.sort();
    names.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

#[track_caller]
fn assert_parts(arguments: &[&str], expected: &[&str]) {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("in.txt"), INPUT).unwrap();
    run(place.path(), arguments).unwrap();
    assert_eq!(parts(place.path()), expected, "{arguments:?}");
}

#[track_caller]
fn failure(input: &[u8], arguments: &[&str]) -> String {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("in.txt"), input).unwrap();
    let error = run(place.path(), arguments).unwrap_err().to_string();
    assert!(!place.path().join("out").exists(), "a failed job has left output");
    error
}

#[test]
fn part_files_are_hadoops_byte_for_byte() {
    assert_parts(
        &["-mapper", "cat", "-reducer", "cat"],
        &["\t\na\t2\nb 1\t\nb 3\t\nc\td\ne\tf\tg\nlast\t\n"],
    );
    assert_parts(
        &[
            "-D",
            "mapreduce.job.reduces=3",
            "-D",
            "stream.num.map.output.key.fields=2",
            "-mapper",
            "cat",
            "-reducer",
            "cat",
        ],
        &["b 1\t\ne\tf\tg\n", "\t\na\t2\t\n", "b 3\t\nc\td\t\nlast\t\n"],
    );
    assert_parts(
        &["-mapper", "cat", "-reducer", "NONE"],
        &["b 1\t\na\t2\nb 3\t\n\t\nc\td\ne\tf\tg\nlast\t\n"],
    );
    assert_parts(
        &[
            "-inputformat",
            "org.apache.hadoop.mapred.KeyValueTextInputFormat",
            "-mapper",
            "cat",
            "-reducer",
            "cat",
        ],
        &["\t\na\t2\nb 1\t\nb 3\t\nc\td\ne\tf\tg\nlast\t\n"],
    );
    assert_parts(
        &[
            "-D",
            COMPARATOR,
            "-D",
            "mapreduce.partition.keycomparator.options=-r",
            "-mapper",
            "cat",
            "-reducer",
            "cat",
        ],
        &["last\t\ne\tf\tg\nc\td\nb 3\t\nb 1\t\na\t2\n\t\n"],
    );
    assert_parts(
        &["-mapper", "org.apache.hadoop.mapred.lib.IdentityMapper"],
        &["0\tb 1\n5\ta\t2\n9\tb 3\n13\t\n14\tc\td\n18\te\tf\tg\n24\tlast\n"],
    );
}

#[test]
fn a_command_that_fails_or_hangs_fails_the_job_and_says_why() {
    let sh = |script: &str| format!("sh -c \"{script}\"");
    let code =
        failure(INPUT, &["-mapper", &sh("cat; echo oh dear >&2; exit 3"), "-reducer", "cat"]);
    assert!(code.contains("code 3: oh dear"), "{code}");
    let killed = failure(INPUT, &["-mapper", &sh("kill -9 $$"), "-reducer", "cat"]);
    assert!(killed.contains("code 137"), "{killed}");
    let timeout = ["-D", "mapreduce.task.timeout=300"];
    let hung = sh("trap '' TERM; while :; do sleep 1; done");
    let hung = failure(INPUT, &[&timeout[..], &["-mapper", &hung, "-reducer", "cat"]].concat());
    assert!(hung.contains("no progress"), "{hung}");
    let none = failure(INPUT, &["-mapper", "no-such-program-here", "-reducer", "cat"]);
    assert!(none.contains("-files no-such-program-here"), "{none}");
    // One that cannot be started has failed on no record, also in a job that may leave some out.
    let skips =
        ["-D", "mapreduce.map.skip.maxrecords=5", "-mapper", "/dev/null/x", "-reducer", "cat"];
    let unstarted = failure(INPUT, &skips);
    assert!(unstarted.contains("/dev/null/x cannot be started"), "{unstarted}");
    assert!(!unstarted.contains("bad record"), "{unstarted}");
    let large = b"a line\n".repeat(100_000);
    let early = failure(&large, &["-mapper", "head -n 1", "-reducer", "cat"]);
    assert!(early.contains("all its input"), "{early}");
}

#[test]
fn splits_are_as_large_and_as_many_as_the_properties_say() {
    let place = tempfile::tempdir().unwrap();
    let line = b"seven!\n";
    std::fs::write(place.path().join("in.txt"), line.repeat(10_000_000 / line.len())).unwrap();
    let splits = |pairs: &[(&str, u64)]| {
        let mut words = vec!["--slots".to_owned(), "2".to_owned()];
        for (name, value) in pairs {
            words.extend(["-D".to_owned(), format!("{name}={value}")]);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let summary = run(place.path(), &[&words, MAPS].concat()).unwrap();
        let counters = &summary.manifest.counters;
        assert_eq!(counters.reduce_records_out, 10_000_000 / line.len() as u64, "{pairs:?}");
        std::fs::remove_dir_all(place.path().join("out")).unwrap();
        summary.splits
    };
    let least = "mapreduce.input.fileinputformat.split.minsize";
    let most = "mapreduce.input.fileinputformat.split.maxsize";
    let maps = "mapreduce.job.maps";
    for (pairs, expected) in [
        // What there is in any case: four for each slot.
        (&[] as &[(&str, u64)], 8),
        (&[(least, 0)], 8),
        (&[(least, 1_000_000)], 8),
        (&[(least, 3_000_000)], 4),
        (&[(least, 5_000_000)], 2),
        (&[("mapred.min.split.size", 60_000_000)], 1),
        (&[(least, 100_000_000)], 1),
        (&[(most, 500_000)], 20),
        (&[(most, 5_000_000)], 8),
        (&[(least, 2_500_000), (most, 500_000)], 4),
        // What is wanted is fewer, or more, but for a minimum.
        (&[(maps, 1)], 1),
        (&[(maps, 3)], 3),
        (&[("mapred.map.tasks", 40)], 40),
        (&[(maps, 40), (least, 5_000_000)], 2),
        (&[(maps, 1), (most, 2_000_000)], 5),
    ] {
        assert_eq!(splits(pairs), expected, "{pairs:?}");
    }
}

#[test]
fn a_command_that_leaves_input_in_a_wide_pipe_fails_like_any_other() {
    let place = tempfile::tempdir().unwrap();
    let line = b"seven!\n";
    std::fs::write(place.path().join("in.txt"), line.repeat(3_000_000 / line.len())).unwrap();
    let one_split = ["-D", "mapreduce.input.fileinputformat.split.minsize=100000000"];
    // Of 3 MB it leaves a half: more than an ordinary pipe holds, and less than it was given room for.
    let early = [&one_split[..], &["-mapper", "head -c 2500000", "-reducer", "NONE"]].concat();
    let error = run(place.path(), &early).unwrap_err().to_string();
    assert!(error.contains("all its input"), "{error}");
    // One that takes its time, and its input by the byte, reads all of it.
    let script = "sh -c \"head -c 2999000; read line; echo $line; cat\"";
    let slow = [&one_split[..], &["-mapper", script, "-reducer", "NONE"]].concat();
    let summary = run(place.path(), &slow).unwrap();
    assert_eq!(summary.manifest.counters.reduce_records_out, 3_000_000 / line.len() as u64);
    // So does one that knows how much there is, and never looks for the end.
    let exact = (3_000_000 / line.len() * line.len()).to_string();
    let knows = format!("head -c {exact}");
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("in.txt"), line.repeat(3_000_000 / line.len())).unwrap();
    let knowing = [&one_split[..], &["-mapper", &knows, "-reducer", "NONE"]].concat();
    let summary = run(place.path(), &knowing).unwrap();
    assert_eq!(summary.manifest.counters.reduce_records_out, 3_000_000 / line.len() as u64);
}

#[test]
fn a_command_may_print_before_it_reads_or_leave_its_pipe_to_a_child() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("in.txt"), b"x\n".repeat(300_000)).unwrap();
    let script = "sh -c \"seq 300000; cat >/dev/null; sleep 1000 & exit 0\"";
    let summary = run(place.path(), &["-mapper", script, "-reducer", "NONE"]).unwrap();
    let splits = summary.splits as u64;
    assert_eq!(summary.manifest.counters.reduce_records_out, 300_000 * splits);
}
