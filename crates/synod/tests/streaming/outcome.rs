//! What a job tells: exit codes, counters, messages.

use serde_json::Value;

use crate::bench::{Bench, CAT, MAPS, properties};

const COUNTS: &str = "while read -r line; do
    echo 'reporter:counter:My group,lines read,2' >&2
    echo \"$line\"
done
echo 'reporter:counter:My group,minus,-3' >&2
echo 'reporter:counter:two,fields' >&2
echo 'reporter:status:nearly done' >&2
echo 'a line of the log' >&2";

#[test]
fn counters_of_a_command_are_in_the_summary_and_in_json() {
    let bench = Bench::with_input("x\ny\n");
    let counts = bench.script("counts.sh", COUNTS);
    let words = ["-mapper", &counts, "-reducer", "cat", "--json"];
    let ran = bench.run(&words);
    assert_eq!(ran.counter("My group", "lines read"), Some(4));
    assert_eq!(ran.counter("My group", "minus"), Some(-3));
    // Recorded: these five are Hadoop's.
    for (name, amount) in [
        ("Map input records", 2),
        ("Map output records", 2),
        ("Reduce input groups", 2),
        ("Reduce input records", 2),
        ("Reduce output records", 2),
    ] {
        assert_eq!(ran.counter("Map-Reduce Framework", name), Some(amount), "{name}");
    }
    assert_eq!(ran.counter("File Input Format Counters", "Bytes Read"), Some(4));
    assert_eq!(ran.counter("File Output Format Counters", "Bytes Written"), Some(6));
    // What is no report is a line of the log, and what is a wrong one says so.
    assert!(ran.stderr.contains("a line of the log\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("reporter:counter:two,fields\n"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("nearly done"), "{}", ran.stderr);
    let done: Value = serde_json::from_str(&ran.stdout).unwrap();
    let success = std::fs::read(ran.output.join("_SUCCESS")).unwrap();
    assert_eq!(done["manifest"], serde_json::from_slice::<Value>(&success).unwrap());
    let user = &done["manifest"]["counters"]["user"];
    assert_eq!((&user["My group,lines read"], &user["My group,minus,-"]), (&4.into(), &3.into()));
    assert_eq!(done["name"], "streamjob");
    assert_eq!(done["report"]["tasks"].as_array().unwrap().len(), 2);
}

#[test]
fn a_command_that_fails_fails_the_job_unless_any_code_is_fine() {
    let bench = Bench::with_input("x\n");
    let fails = bench.script("fails.sh", "cat; echo last words >&2; exit 3");
    for words in [["-mapper", &fails, "-reducer", "cat"], ["-mapper", "cat", "-reducer", &fails]] {
        let said = bench.fail(&words);
        assert!(said.contains("code 3: last words"), "{said}");
        assert!(said.contains("attempt_"), "{said}");
        let fine = properties(&["stream.non.zero.exit.is.failure=false"]);
        assert_eq!(bench.run(&[&fine[..], &words].concat()).text(), "x\t\n");
    }
}

#[test]
fn a_command_that_fails_is_tried_again_as_often_as_the_job_says() {
    let bench = Bench::new();
    for number in 0..6 {
        bench.put(&format!("in/{number}"), format!("{number}\n"));
    }
    // Its first attempts fail, after they have printed and counted.
    let script = |good: &str| {
        format!(
            "cat; echo reporter:counter:G,lines,1 >&2
             case $mapred_task_id in *_{good}) exit 0;; esac
             exit 4"
        )
    };
    let (second, fourth) = (script("1"), script("3"));
    let second = bench.script("second.sh", &second);
    let fourth = bench.script("fourth.sh", &fourth);
    let expected = "0\t\n1\t\n2\t\n3\t\n4\t\n5\t\n";
    let four = properties(&["mapreduce.map.maxattempts=4", "mapreduce.reduce.maxattempts=4"]);
    for (settings, script) in [(&[][..], &second), (&four[..], &fourth)] {
        for (mapper, reducer, tasks) in
            [(&script[..], "NONE", 6), (script, "cat", 6), ("cat", script, 1)]
        {
            let words = [settings, &["-mapper", mapper, "-reducer", reducer]].concat();
            let ran = bench.run(&words);
            assert_eq!(ran.text(), expected, "{words:?}");
            assert_eq!(ran.counter("G", "lines"), Some(tasks), "{words:?}");
        }
    }
    let once = properties(&["mapreduce.map.maxattempts=1", "mapreduce.reduce.maxattempts=1"]);
    for (settings, script) in [(&[][..], &fourth), (&once[..], &second)] {
        for words in
            [["-mapper", script, "-reducer", "cat"], ["-mapper", "cat", "-reducer", script]]
        {
            let said = bench.fail(&[settings, &words].concat());
            assert!(said.contains("code 4"), "{said}");
        }
    }
}

#[test]
fn a_flood_of_messages_is_cut_and_does_no_harm() {
    let bench = Bench::with_input("x\n");
    let script = "yes 'noise that nobody wants' | head -c 30000000 >&2
        echo reporter:counter:G,after,1 >&2
        cat";
    let flood = bench.script("flood.sh", script);
    let ran = bench.run(&["-mapper", &flood, "-reducer", "cat"]);
    assert_eq!((ran.text().as_str(), ran.counter("G", "after")), ("x\t\n", Some(1)));
    assert!(ran.stderr.contains("lines of stderr were dropped"), "nothing was said of it");
    assert!(ran.stderr.len() < 20_000_000, "{} bytes", ran.stderr.len());
}

#[test]
fn the_shim_ends_with_hadoops_codes() {
    // Recorded.
    let bench = Bench::with_input("x\n");
    bench.put("there/file", "");
    for (words, code, last) in [
        (&["-input", "in", "-output", "a", "-mapper", "cat"][..], 0, "Output directory: a"),
        (&["-input", "in", "-output", "b", "-mapper", "false"], 1, "Streaming Command Failed!"),
        (&["-input", "gone", "-output", "c", "-mapper", "cat"], 5, "Streaming Command Failed!"),
        (&["-input", "in", "-output", "there", "-mapper", "cat"], 5, "Streaming Command Failed!"),
        (&["-output", "d", "-mapper", "cat"], 1, "Streaming Command Failed!"),
        (&["-nonsense", "-input", "in", "-output", "e"], 1, "Streaming Command Failed!"),
    ] {
        for front in
            [&["hadoop", "jar", "/x/hadoop-streaming-2.7.jar"][..], &["hadoop", "streaming"]]
        {
            std::fs::remove_dir_all(bench.path("a")).ok();
            let output = bench.command(&[front, words].concat()).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
            assert!(said.trim_end().ends_with(last), "{words:?}: {said}");
            assert!(output.stdout.is_empty());
        }
    }
    assert!(bench.path("there/file").exists());
    // Wrong use is the user's fault there, too; Synod's own front tells it by 2, on one line.
    let output = bench.command(&["streaming", "-nonsense"]).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.split(|b| *b == b'\n').count()), (Some(2), 2));
}

#[test]
fn what_a_launcher_reads_from_the_messages_is_in_them() {
    let bench = Bench::with_input("x\n");
    let words = ["hadoop", "jar", "hadoop-streaming.jar", "-input", "in", "-output", "o"];
    let output = bench.command(&[&words[..], CAT].concat()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let id = said.split("Running job: ").nth(1).unwrap().lines().next().unwrap();
    for line in [
        format!("mapreduce.Job: Job {id} completed successfully"),
        "mapreduce.Job:  map 100% reduce 100%".to_owned(),
        "mapreduce.Job: Counters: ".to_owned(),
        "\n\t\tMap input records=1\n".to_owned(),
        "streaming.StreamJob: Output directory: o\n".to_owned(),
    ] {
        assert!(said.contains(&line), "{line} is not in {said}");
    }
    // Each line but those of counters is one of a log with its time.
    let lines = said.lines().filter(|line| !line.starts_with('\t'));
    for line in lines {
        assert!(line.starts_with("20") && line.contains(" INFO "), "{line}");
    }
}

#[test]
fn a_mapper_may_leave_a_small_rest_unread_and_print_what_it_likes() {
    // Recorded.
    let bench = Bench::with_input("x\n");
    assert_eq!(bench.run(&["-mapper", "true", "-reducer", "cat"]).text(), "");
    let more = bench.script("more.sh", "echo first; cat; echo last; printf end");
    let ran = bench.run(&["-mapper", &more, "-reducer", "NONE"]);
    assert_eq!(ran.text(), "first\t\nx\t\nlast\t\nend\t\n");
    // A reducer is started without input, but what it prints then is dropped.
    let bench = Bench::with_input("");
    let seen = bench.script("seen.sh", "cat; echo seen; echo started >&2");
    let ran = bench.run(&["-mapper", "cat", "-reducer", &seen]);
    assert_eq!(ran.text(), "");
    assert!(ran.stderr.contains("started"), "{}", ran.stderr);
    let native = properties(&["synod.streaming.compatible=false"]);
    let ran = bench.run(&[&native[..], &["-mapper", "cat", "-reducer", &seen]].concat());
    assert_eq!(ran.text(), "seen\t\n");
}

#[test]
fn words_of_a_command_are_split_as_hadoop_does_and_no_shell_sees_them() {
    // Recorded.
    let bench = Bench::with_input("x\n");
    let mapper = "sh -c 'echo \"a b\" $0 $1; cat' c 'd e'";
    let ran = bench.run(&["-mapper", mapper, "-reducer", "NONE"]);
    assert_eq!(ran.text(), "a b c d e\t\nx\t\n");
    let said = bench.fail(&["-mapper", "cat | no-such-thing", "-reducer", "NONE"]);
    assert!(said.contains("cat"), "{said}");
    let ran = bench.run(&["-mapper", "echo $HOME * ~ a\\b", "-reducer", "NONE"]);
    assert_eq!(ran.text(), "$HOME * ~ a\\b\t\n");
    assert_eq!(bench.run(MAPS).text(), "x\t\n");
}
