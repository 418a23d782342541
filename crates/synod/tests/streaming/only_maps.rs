//! `--only-maps`: chosen map tasks alone, to look at one with a debugger.

use std::fs;

use crate::bench::{Bench, MAPS, properties};

/// Eight splits of a line each.
fn bench() -> Bench {
    Bench::with_input("0\n1\n2\n3\n4\n5\n6\n7\n")
}

const SPLITS: &str = "mapreduce.input.fileinputformat.split.maxsize=2";

#[test]
fn chosen_map_tasks_run_one_after_the_other_and_the_reduces_get_what_they_give() {
    let bench = bench();
    let place = bench.path("told").display().to_string();
    let tells = bench.script(
        "tells.sh",
        &format!(
            "echo begin $mapreduce_task_partition $mapreduce_job_maps >> '{place}'
             cat
             echo end $mapreduce_task_partition >> '{place}'"
        ),
    );
    let splits = properties(&[SPLITS]);
    // Whatever slots there are.
    let only = ["--slots", "4", "--only-maps", "5,1,1", "--only-maps", "6"];
    for (reducer, expected) in [("NONE", "1\t\n5\t\n6\t\n"), ("tac", "6\t\n5\t\n1\t\n")] {
        let words = [&splits[..], &only, &["-mapper", &tells, "-reducer", reducer]].concat();
        let ran = bench.run(&words);
        assert_eq!(ran.text(), expected);
        assert_eq!(ran.counter("Map-Reduce Framework", "Map input records"), Some(3));
        let told = fs::read_to_string(&place).unwrap();
        assert_eq!(told, "begin 1 8\nend 1\nbegin 5 8\nend 5\nbegin 6 8\nend 6\n");
        fs::remove_file(&place).unwrap();
    }
}

#[test]
fn what_is_no_map_task_or_is_asked_of_a_cluster_is_refused() {
    let bench = bench();
    let splits = properties(&[SPLITS]);
    for (more, reason) in [
        (&["--only-maps", "8"][..], "no map task 8"),
        (&["--only-maps", "one"], "numbers of map tasks"),
        (&["--only-maps", "-1"], "numbers of map tasks"),
        (&["--only-maps", "1", "--endpoints", "127.0.0.1:1"], "leave --endpoints out"),
        (&["--only-maps", "1", "--on", "spark"], "--only-maps is for jobs that Synod runs"),
    ] {
        let (output, done) = bench.try_run(&[&splits[..], more, MAPS].concat());
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(2), "{more:?}: {said}");
        assert!(said.contains(reason) && !output.exists(), "{more:?}: {said}");
    }
}
