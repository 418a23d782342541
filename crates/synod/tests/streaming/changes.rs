//! Inputs that change while a job reads them: it fails by the file's name, and no output is there.

use std::fs;

use crate::bench::{Bench, properties};
use crate::support::cluster::Cluster;

/// What a mapper does to the input of its own job.
const CHANGES: &[(&str, &str)] = &[
    ("shrinks", "truncate -s 100 PLACE/in"),
    ("shrinks to nothing", ": > PLACE/in"),
    ("grows", "echo more >> PLACE/in"),
    ("is removed", "rm PLACE/in"),
    ("is replaced by another one", "echo another > PLACE/new; mv PLACE/new PLACE/in"),
    ("becomes a folder", "rm PLACE/in; mkdir PLACE/in"),
];

#[test]
fn an_input_that_changes_while_programs_read_it_fails_the_job_by_name() {
    let cluster = Cluster::start(1);
    let endpoints = cluster.endpoints();
    let text: String = (0..40_000).map(|number| format!("{number}\n")).collect();
    let splits = properties(&["mapreduce.input.fileinputformat.split.maxsize=50000"]);
    for where_ in [&[][..], &["--endpoints", &endpoints]] {
        for (what, change) in CHANGES {
            let bench = Bench::with_input(&text);
            bench.put("flag", "");
            let place = bench.path("").display().to_string();
            let change = change.replace("PLACE/", &place);
            // The first one to find the flag does it, before it has read anything.
            let changes = format!("if rm '{place}flag' 2>/dev/null; then {change}; fi; exec cat");
            let changes = bench.script("changes.sh", &changes);
            let words = [&splits[..], &["-mapper", &changes, "-reducer", "cat"], where_].concat();
            let said = bench.fail(&words);
            let path = bench.path("in").display().to_string();
            assert!(said.contains(&path) && !bench.path("flag").exists(), "{what}: {said}");
            fs::read_dir(bench.path("")).unwrap().for_each(|entry| {
                let name = entry.unwrap().file_name();
                assert!(!name.to_string_lossy().starts_with("out"), "{what} has left {name:?}");
            });
        }
    }
}
