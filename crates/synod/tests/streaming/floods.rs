//! Programs that say far too much: counters without number, and several processes that flood one stderr.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::bench::{Bench, Ran, properties};
use crate::support::cluster::Cluster;
use crate::support::succeed;

const SPLITS: &str = "mapreduce.input.fileinputformat.split.maxsize=2";

/// Here, and on a cluster.
fn here_and_there(bench: &Bench, words: &[&str]) -> (Cluster, Ran, Ran) {
    let cluster = Cluster::start(1);
    let here = bench.run(words);
    let endpoints = cluster.endpoints();
    let there = bench.run(&[words, &["--endpoints", &endpoints]].concat());
    (cluster, here, there)
}

#[test]
fn ten_thousand_counters_are_added_up_and_more_are_counted_as_dropped() {
    let bench = Bench::with_input("0\n1\n");
    let counts = bench.script(
        "counts.sh",
        "awk 'BEGIN { for (n = 0; n < MANY; n++) print \"reporter:counter:G,n\" n \",\" n > \"/dev/stderr\" }
              { print }'",
    );
    let splits = properties(&[SPLITS]);
    for (many, kept) in [(9_000, 9_000), (10_500, 10_000)] {
        let text = std::fs::read_to_string(&counts).unwrap();
        bench.script("now.sh", &text.replace("MANY", &many.to_string()));
        let now = bench.path("now.sh").display().to_string();
        let words = [&splits[..], &["-mapper", &now, "-reducer", "NONE", "--json"]].concat();
        let (_cluster, here, there) = here_and_there(&bench, &words);
        for ran in [&here, &there] {
            assert_eq!(ran.text(), "0\t\n1\t\n");
            let done: Value = serde_json::from_str(&ran.stdout).unwrap();
            let user = done["manifest"]["counters"]["user"].as_object().unwrap();
            let ours: BTreeMap<&str, u64> = user
                .iter()
                .filter_map(|(name, amount)| Some((name.strip_prefix("G,n")?, amount.as_u64()?)))
                .collect();
            assert_eq!(ours.len(), kept, "{many}");
            // Both maps have counted: twice the number that is in the name.
            let wrong =
                ours.iter().find(|(name, amount)| name.parse::<u64>().unwrap() * 2 != **amount);
            assert_eq!(wrong, None, "{many}");
        }
    }
}

#[test]
fn a_stderr_that_several_processes_flood_at_once_is_cut_and_harms_no_task() {
    let bench = Bench::with_input("0\n1\n2\n3\n");
    let flood = "for n in 1 2 3 4; do
            yes \"noise of $n that nobody wants\" | head -c 5000000 >&2 &
        done
        wait
        echo >&2
        echo reporter:counter:G,after,1 >&2
        cat";
    let flood = bench.script("flood.sh", flood);
    let splits = properties(&[SPLITS]);
    let words = [&splits[..], &["-mapper", &flood, "-reducer", "cat"]].concat();
    let (cluster, here, there) = here_and_there(&bench, &words);
    for ran in [&here, &there] {
        assert_eq!(ran.text(), "0\t\n1\t\n2\t\n3\t\n");
        assert_eq!(ran.counter("G", "after"), Some(4));
    }
    assert!(here.stderr.contains("lines of stderr were dropped"), "nothing was said of it");
    assert!(here.stderr.len() < 40_000_000, "{} of 80,000,000 bytes", here.stderr.len());
    let endpoints = cluster.endpoints();
    let listed = succeed(&["jobs", "list", "--json", "--endpoints", &endpoints]);
    let row: Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    let id = row["id"].as_str().unwrap();
    for task in ["m0", "m1", "m2", "m3"] {
        let log = succeed(&["jobs", "logs", id, task, "--endpoints", &endpoints]);
        assert!(log.contains("lines of stderr were dropped"), "{task}: {} bytes", log.len());
        assert!(log.len() < 10_000_000, "{task}: {} of 20,000,000 bytes", log.len());
    }
}
