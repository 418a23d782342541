//! Streaming jobs for engines that the user has: what Hadoop and Spark are started with, that what they
//! say and end with comes through, and that a real Spark gives the answers of a run of our own.
//!
//! The real one is PySpark in local mode, from the environment of the Python that SYNOD_TEST_PYTHON
//! names. Without it those tests say so and pass, unless SYNOD_TEST_REQUIRE_SPARK=1 (as in `.ci/run`).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{binary, leave_out, synod};
use tempfile::TempDir;

struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench { folder: TempDir::new().unwrap() };
        for name in ["bin", "tmp"] {
            fs::create_dir(bench.path(name)).unwrap();
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// A program for `sh` at this path.
    fn program(&self, name: &str, script: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Written under another name and by another process: a file that a thread of this one had open
        // for writing might be busy when it is started.
        let text = format!("#!/bin/sh\n{script}\n");
        let mut copy = Command::new("sh");
        copy.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]).arg(&path);
        let mut copy = copy.stdin(Stdio::piped()).spawn().unwrap();
        copy.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(copy.wait().unwrap().success());
        path
    }

    /// A command of ours in this folder, that finds programs in its `bin` first and no engine elsewhere.
    fn synod(&self, arguments: &[&str]) -> Command {
        self.in_place(synod(arguments))
    }

    fn in_place(&self, mut command: Command) -> Command {
        let path = std::env::join_paths([self.path("bin"), "/usr/bin".into(), "/bin".into()]);
        command.env("PATH", path.unwrap()).env("TMPDIR", self.path("tmp"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        for name in ["HADOOP_HOME", "SPARK_HOME", "VIRTUAL_ENV", "PYSPARK_PYTHON"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.synod(arguments).output().unwrap())
    }

    /// What lies about in the folder for temporary files.
    fn left_over(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("tmp")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: &Output) -> Ran {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// Writes its arguments into the file `words`, with a zero byte behind each.
const RECORD: &str = r#"printf '%s\0' "$@" >words"#;

fn recorded(bench: &Bench) -> Vec<String> {
    bench.read("words").split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn hadoop_gets_the_very_words_and_its_output_and_code_come_back() {
    let bench = Bench::new();
    let program = format!("{RECORD}; echo out; echo err >&2; exit 7");
    let mapred = bench.program("bin/mapred", &program);
    let job = ["-D", "a=b c", "-input", "x y", "", "-mapper", "awk '{print \"*\"}'", "-strange"];
    let words = [&["streaming", "--on", "hadoop"], &job[..]].concat();
    let ran = bench.run(&words);
    assert_eq!((ran.code, &ran.out[..]), (Some(7), "out\n"));
    assert_eq!(ran.err, format!("synod: handing the job to {}\nerr\n", mapred.display()));
    assert_eq!(recorded(&bench), [&["streaming"], &job[..]].concat());
    // Called by the name of the program that it stands for, and with the engine at its home.
    symlink(binary(), bench.path("bin/hadoop")).unwrap();
    bench.program("home/bin/mapred", &format!("{RECORD}; kill -TERM $$"));
    let mut shim = Command::new(bench.path("bin/hadoop"));
    shim.args(["jar", "hadoop-streaming.jar", "-input", "x", "--on=hadoop", "-output", "y"]);
    let mut shim = bench.in_place(shim);
    let status = shim.env("HADOOP_HOME", bench.path("home")).status().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    assert_eq!(recorded(&bench), ["streaming", "-input", "x", "-output", "y"]);
}

#[test]
fn synod_is_never_handed_the_job_in_hadoops_place() {
    let bench = Bench::new();
    let job = ["streaming", "--on", "hadoop", "-input", "x", "-output", "y", "-mapper", "cat"];
    let nothing = bench.run(&job);
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.err.contains("no program `mapred`"), "{}", nothing.err);
    assert!(nothing.err.contains("HADOOP_HOME (not set)"), "{}", nothing.err);
    let shim = bench.path("bin/mapred");
    symlink(binary(), &shim).unwrap();
    let only_us = bench.run(&job);
    assert_eq!(only_us.code, Some(1));
    let ours = format!("{} is Synod itself", shim.display());
    assert!(only_us.err.contains(&ours), "{}", only_us.err);
    // A script is another file; that it calls Synod is seen when it does.
    fs::remove_file(&shim).unwrap();
    bench.program("bin/mapred", &format!("exec '{}' hadoop \"$@\"", binary().display()));
    let circle = bench.run(&job);
    assert!(circle.code.is_some_and(|code| code != 0), "{circle:?}");
    assert!(circle.err.contains("calls Synod again"), "{}", circle.err);
    assert!(circle.err.contains("SYNOD_HANDED_TO"), "{}", circle.err);
    assert!(!bench.path("y").exists());
}

#[test]
fn what_an_engine_cannot_be_asked_for_is_refused_by_name() {
    let bench = Bench::new();
    for engine in ["mapred", "spark-submit"] {
        bench.program(&format!("bin/{engine}"), "touch called");
    }
    let of_both: &[(&[&str], &str)] = &[
        (&["--slots", "2"], "--slots"),
        (&["--endpoints=h:1"], "--endpoints"),
        (&["-input", "kv://a"], "kv://a"),
    ];
    let of_spark: &[(&[&str], &str)] = &[
        (&["-lazyOutput"], "-lazyOutput"),
        (&["-archives", "x.zip"], "-archives"),
        (&["-inputformat", "NLineInputFormat"], "-inputformat"),
        (&["-outputformat", "NullOutputFormat"], "-outputformat"),
        (&["-partitioner", "KeyFieldBasedPartitioner"], "-partitioner"),
        (&["-io", "typedbytes"], "-io"),
        (&["-reducer", "aggregate"], "-reducer aggregate"),
        (&["-D", "textinputformat.record.delimiter=;"], "-D textinputformat.record.delimiter"),
        (&["-D", "mapred.output.compress=true"], "-D mapreduce.output.fileoutputformat.compress"),
        (&["-D", "mapred.input.dir=z"], "-D mapreduce.input.fileinputformat.inputdir"),
        (&["-D", "num.key.fields.for.partition=1"], "-D num.key.fields.for.partition"),
    ];
    let mut cases: Vec<(&str, &[&str], &str)> = Vec::new();
    for engine in ["hadoop", "spark"] {
        cases.extend(of_both.iter().map(|(words, named)| (engine, *words, *named)));
    }
    cases.extend(of_spark.iter().map(|(words, named)| ("spark", *words, *named)));
    cases.push(("flink", &[], "--on flink: hadoop and spark are known"));
    for (engine, words, named) in cases {
        let job = ["streaming", "--on", engine, "-input", "x", "-output", "y", "-mapper", "cat"];
        let ran = bench.run(&[&job[..], words].concat());
        assert_eq!(ran.code, Some(2), "{words:?}: {}", ran.err);
        assert!(ran.err.contains(named), "{words:?}: {}", ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    }
    let identity = bench.run(&["streaming", "--on", "spark", "-input", "x", "-output", "y"]);
    assert!(identity.err.contains("-mapper"), "{}", identity.err);
    assert!(!bench.path("called").exists() && bench.left_over().is_empty());
}

#[test]
fn spark_gets_a_driver_and_the_job_and_both_are_gone_afterwards() {
    let bench = Bench::new();
    let keep = "for last; do :; done; cp \"$last\" job.json";
    let compiles = "python3 -m py_compile \"$(dirname \"$last\")/driver.py\" || exit 99";
    bench.program("bin/spark-submit", &format!("{RECORD}; {keep}; {compiles}; exit 3"));
    fs::write(bench.path("w.txt"), "words\n").unwrap();
    let job = [
        ["streaming", "--on", "spark"].as_slice(),
        &["-D", "mapred.reduce.tasks=4", "-D", "spark.executor.cores=2", "-D", "my.own=1"],
        &["-D", "stream.num.map.output.key.fields=2", "-D", "mapred.job.name=n 1"],
        &["-D", "mapred.task.timeout=5", "-files", "w.txt#w", "-cmdenv", "A=b c"],
        &["-input", "hdfs:///a/{b,c},d", "-input", "e", "-output", "s3a://f/g"],
        &["-mapper", "awk '{print}' -", "-combiner", "c", "-reducer", "r"],
    ]
    .concat();
    let ran = bench.run(&job);
    assert_eq!((ran.code, &ran.out[..]), (Some(3), ""), "{}", ran.err);
    for said in [
        "left to Spark's own settings: mapreduce.task.timeout",
        "properties not interpreted: my.own",
        "the combiner is not run on Spark",
    ] {
        assert!(ran.err.contains(said), "{said} is not in {}", ran.err);
    }
    let words = recorded(&bench);
    let start = ["--deploy-mode", "client", "--name", "n 1", "--conf", "spark.executor.cores=2"];
    assert_eq!(words[..6], start);
    assert!(words[6].ends_with("/driver.py") && words.len() == 8, "{words:?}");
    let told: Value = serde_json::from_str(&bench.read("job.json")).unwrap();
    assert_eq!(told["inputs"], serde_json::json!(["hdfs:///a/{b,c}", "d", "e"]));
    assert_eq!((&told["output"], &told["reduces"]), (&"s3a://f/g".into(), &4.into()));
    let mapper = &told["map"];
    assert_eq!(mapper["arguments"], serde_json::json!(["awk", "{print}", "-"]));
    assert_eq!((&mapper["key_fields"], &mapper["variables"]["A"]), (&2.into(), &"b c".into()));
    assert_eq!(told["files"][0]["name"], "w");
    let environment = &told["environment"];
    assert_eq!(
        (&environment["my_own"], &environment["mapred_reduce_tasks"]),
        (&"1".into(), &"4".into())
    );
    assert_eq!(environment["mapred_output_dir"], "s3a://f/g");
    assert_eq!(bench.left_over(), Vec::<String>::new());
}

#[test]
fn a_job_on_spark_that_is_told_to_stop_tells_spark() {
    let bench = Bench::new();
    // Short sleeps: one that has just been begun might miss a signal, and outlive the test.
    let waits = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done";
    bench.program("bin/spark-submit", waits);
    let job = ["streaming", "--on", "spark", "-input", "x", "-output", "y", "-mapper", "cat"];
    let mut running = bench.synod(&job).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(running.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap() == "ready"));
    kill_process(Pid::from_child(&running), Signal::TERM).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(9));
    assert!(bench.left_over().is_empty());
}

// ---- a real one

/// The bench with a real Spark on its path; `None` if there is none.
fn with_spark() -> Option<(Bench, PathBuf)> {
    let python = std::env::var_os("SYNOD_TEST_PYTHON").map(PathBuf::from);
    let folder = python.as_deref().and_then(Path::parent).map(Path::to_owned);
    match folder.filter(|folder| folder.join("spark-submit").is_file()) {
        Some(folder) => Some((Bench::new(), folder)),
        None => {
            let what = "jobs on a real Spark: SYNOD_TEST_PYTHON names no Python with pyspark";
            leave_out(what, "SYNOD_TEST_REQUIRE_SPARK");
            None
        }
    }
}

const ON_SPARK: &[&str] = &[
    "--on",
    "spark",
    "-D",
    "spark.master=local[2]",
    "-D",
    "spark.ui.enabled=false",
    "-D",
    "spark.driver.bindAddress=127.0.0.1",
    "-D",
    "spark.driver.host=127.0.0.1",
    // It starts in half the time.
    "-D",
    "spark.driver.extraJavaOptions=-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
];

fn run_on_spark(bench: &Bench, spark: &Path, job: &[&str]) -> Ran {
    let mut command = bench.synod(&[&["streaming"], ON_SPARK, job].concat());
    let path = std::env::join_paths([bench.path("bin"), spark.into(), "/usr/bin".into()]);
    let command = command.env("PATH", path.unwrap()).env("SPARK_LOCAL_IP", "127.0.0.1");
    Ran::of(&command.output().unwrap())
}

/// The lines of part files by their number; those without any are left out.
fn parts(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut parts = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(rest) = name.strip_prefix("part-") else { continue };
        let content = fs::read(folder.join(&name)).unwrap();
        if !content.is_empty() {
            assert_eq!(parts.insert(rest[..5].to_owned(), content), None, "{name}");
        }
    }
    parts
}

/// Names with bytes that are not text, ends of lines of all kinds, a mark at the beginning.
fn write_inputs(bench: &Bench) {
    fs::create_dir(bench.path("in")).unwrap();
    let mut lines = b"\xef\xbb\xbffirst 1\r\nab\xff\xfe 2\rlone 3\n\n\ttab 4\n".to_vec();
    for number in 0..3_000 {
        writeln!(lines, "key{} {number}", number * 7919 % 83).unwrap();
    }
    lines.extend_from_slice("größe 5\nno end 6".as_bytes());
    fs::write(bench.path("in/a.txt"), &lines).unwrap();
    fs::write(bench.path("in/b.txt"), "key1 again\n").unwrap();
    fs::write(bench.path("in/_hidden"), "hidden 1\n").unwrap();
    fs::write(bench.path("in/empty"), "").unwrap();
}

#[test]
fn spark_and_synod_give_equal_part_files() {
    let Some((bench, spark)) = with_spark() else { return };
    write_inputs(&bench);
    // Key fields of two kinds, what it is told, and a file of the job.
    let mapper = "while IFS= read -r line; do printf '%s\\n' \"$line\"; done | \
                  sed \"s/ /,$(cat w),$FLAG $mapred_job_name,/; s/$/,$mapreduce_task_ismap/\"";
    bench.program("map.sh", mapper);
    bench.program("reduce.sh", "sort | sed \"s/^/$mapred_task_is_map /\" | uniq -c");
    fs::write(bench.path("words"), "w-o-r-d").unwrap();
    let job = [
        ["-D", "mapred.job.name=counting", "-D", "stream.num.map.output.key.fields=2"].as_slice(),
        &["-D", "stream.map.output.field.separator=,", "-D", "mapreduce.job.reduces=5"],
        &["-D", "stream.reduce.input.field.separator=;", "-files", "map.sh,reduce.sh,words#w"],
        &["-cmdenv", "FLAG=a", "-input", "in", "-mapper", "map.sh", "-reducer", "reduce.sh"],
    ]
    .concat();
    let ours = bench.run(&[&["streaming"], &job[..], &["-output", "ours"]].concat());
    assert_eq!(ours.code, Some(0), "{}", ours.err);
    let theirs = run_on_spark(&bench, &spark, &[&job[..], &["-output", "theirs"]].concat());
    assert_eq!(theirs.code, Some(0), "{}", theirs.err);
    assert_eq!(theirs.out, "streaming: done on Spark, output in theirs\n");
    assert!(bench.path("theirs/_SUCCESS").is_file());
    let (ours, theirs) = (parts(&bench.path("ours")), parts(&bench.path("theirs")));
    assert!(ours.len() == 5 && ours.values().any(|part| part.contains(&0xff)), "{ours:?}");
    for (number, part) in &ours {
        let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(theirs.get(number).map(|part| show(part)), Some(show(part)), "part {number}");
    }
    assert_eq!(ours, theirs);
    assert!(!bench.left_over().iter().any(|name| name.starts_with("synod")));
}

/// What commands have counted, as it is said at the end: groups with names and amounts.
fn counters(said: &str) -> Vec<String> {
    let rows = said.lines().skip_while(|row| !row.starts_with("Counters: "));
    let rows = rows.take_while(|row| row.starts_with("Counters: ") || row.starts_with('\t'));
    let own = |row: &&str| ["\tGröße", "\tMy group"].contains(row);
    rows.skip_while(|row| !own(row)).map(str::to_owned).collect()
}

#[test]
fn what_commands_count_on_spark_is_added_up_and_shown_as_here() {
    let Some((bench, spark)) = with_spark() else { return };
    write_inputs(&bench);
    // By a prefix of its own, also in a line without an end; what is no counter counts nothing.
    let script = |kind: &str| {
        format!(
            "cat; echo 'count:counter:My group,{kind} tasks,1' >&2
            echo 'count:counter:My group,{kind} minus,-3' >&2
            echo 'count:counter:two,fields' >&2; echo 'count:status:nearly' >&2
            echo 'reporter:counter:not,mine,1' >&2; echo 'a line of the log' >&2
            printf 'count:counter: Größe,{kind} last,+40 ' >&2"
        )
    };
    bench.program("map.sh", &script("map"));
    bench.program("reduce.sh", &script("reduce"));
    let job = ["-D", "stream.stderr.reporter.prefix=count:", "-numReduceTasks", "3"];
    let job = [&job[..], &["-files", "map.sh,reduce.sh", "-input", "in/*.txt"]].concat();
    let job = [&job[..], &["-mapper", "map.sh", "-reducer", "reduce.sh", "-output"]].concat();
    let ours = bench.run(&[&["streaming"], &job[..], &["ours"]].concat());
    assert_eq!(ours.code, Some(0), "{}", ours.err);
    let theirs = run_on_spark(&bench, &spark, &[&job[..], &["theirs"]].concat());
    assert_eq!(theirs.code, Some(0), "{}", theirs.err);
    let found = counters(&theirs.err);
    assert_eq!(found, counters(&ours.err), "{}", theirs.err);
    for shown in ["map tasks=2", "reduce minus=-9", "map last=80"] {
        assert!(found.iter().any(|row| row == &format!("\t\t{shown}")), "{shown}: {found:?}");
    }
    assert!(theirs.err.contains("Counters: 6\n") && !theirs.err.contains("mine=1"));
    assert!(theirs.err.contains("a line of the log"), "{}", theirs.err);
    assert!(!theirs.err.contains("nearly"), "{}", theirs.err);
}

#[test]
fn without_reduce_tasks_spark_writes_what_the_mapper_prints() {
    let Some((bench, spark)) = with_spark() else { return };
    write_inputs(&bench);
    let job = ["-input", "in/*.txt", "-mapper", "tr a-z A-Z", "-reducer", "NONE"];
    let ours = bench.run(&[&["streaming"], &job[..], &["-output", "ours"]].concat());
    assert_eq!(ours.code, Some(0), "{}", ours.err);
    let theirs = run_on_spark(&bench, &spark, &[&job[..], &["-output", "theirs"]].concat());
    assert_eq!(theirs.code, Some(0), "{}", theirs.err);
    let lines = |name: &str| {
        let parts = parts(&bench.path(name));
        let all: Vec<u8> = parts.into_values().flatten().collect();
        let mut lines: Vec<Vec<u8>> = all.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        lines.sort_unstable();
        lines
    };
    assert!(lines("ours").len() > 3_000);
    assert_eq!(lines("ours"), lines("theirs"));
}

#[test]
fn a_command_that_fails_on_spark_fails_the_job_with_its_name_and_code() {
    let Some((bench, spark)) = with_spark() else { return };
    fs::write(bench.path("in"), "a\n").unwrap();
    let job = ["-input", "in", "-output", "out", "-mapper", "sh -c 'cat; exit 23'"];
    let ran = run_on_spark(&bench, &spark, &job);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let said = "synod: the job failed on Spark: mapper `sh` of task_";
    let line = ran.err.lines().find(|line| line.starts_with(said));
    assert!(line.is_some_and(|line| line.ends_with("it failed with code 23")), "{}", ran.err);
    assert!(!bench.path("out/_SUCCESS").exists());
}
