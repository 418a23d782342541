//! Jobs with more counters and files than their records can hold come to their end like others.

use std::fs;

use synod_jobs::counters::{MAX_USER_COUNTER_BYTES, MAX_USER_COUNTERS};
use synod_jobs::{JobSpec, Progress, run_built_in};

use super::bench::Bench;
use super::lost_maps::{published, with_program};
use crate::jobs::submit_job;

/// Counts under a thousand names of its own, of 115 bytes.
const MANY_NAMES: &str = "i=1000
    while [ $i -lt 2000 ]; do
        printf 'reporter:counter:G,%0105d-%02d-%d,1\\n' 0 $mapreduce_task_partition $i >&2
        i=$((i + 1))
    done";

/// Leaves so many side files with names of 150 bytes.
fn many_files(count: u32) -> String {
    format!(
        "long=$(printf '%0140d' $mapreduce_task_partition)
        i=100000
        while [ $i -lt {} ]; do
            : > \"$mapreduce_task_output_dir/side$i$long\"
            i=$((i + 1))
        done",
        100_000 + count
    )
}

#[tokio::test]
async fn a_job_of_a_thousand_long_counters_a_task_ends_and_counts_what_it_counts_in_one_process() {
    let bench = Bench::new(2).await;
    let spec = with_program(&bench, "out", MANY_NAMES, 12);
    let summary = bench.run(&spec).await.unwrap();
    let counters = &summary.manifest.counters;
    assert_eq!(counters.map_records_in, 12);
    let (kept, dropped) = (counters.user.len() as u64 - 1, counters.user["counters_dropped"]);
    assert_eq!(kept + dropped, 12_000);
    // As they are written.
    let bytes: usize = counters.user.keys().map(|name| name.len() + 24).sum();
    assert!(bytes > MAX_USER_COUNTER_BYTES - 200 && counters.user.len() < MAX_USER_COUNTERS);
    assert_eq!(summary.report.counters.user, counters.user);
    let (_, manifest) = published(&bench.path("out"));
    assert_eq!(summary.manifest, manifest);
    let here = JobSpec { output: bench.path("here"), ..spec };
    let ran = tokio::task::spawn_blocking(move || run_built_in(&here, &Progress::new()));
    assert_eq!(ran.await.unwrap().unwrap().manifest.counters.user, counters.user);
}

#[tokio::test]
async fn a_job_of_ten_thousand_side_files_ends_with_all_of_them_and_its_records_say_what_they_lack()
{
    let bench = Bench::new(2).await;
    let spec = with_program(&bench, "out", &many_files(2_500), 4);
    let summary = bench.run(&spec).await.unwrap();
    let (files, manifest) = published(&bench.path("out"));
    assert!(files.len() == 10_000 && manifest.cut.is_nothing());
    let (kept, cut) = (summary.manifest.side_files.len() as u64, summary.manifest.cut);
    assert!(kept > 1_000 && cut.side_files > 1_000 && cut.parts == 0, "{kept}, {cut:?}");
    assert_eq!(kept + cut.side_files, 10_000);
    assert_eq!(summary.manifest.counters, manifest.counters);
    bench.wait_clean().await;
}

#[tokio::test]
async fn a_task_of_more_side_files_than_its_record_can_hold_ends_its_job_at_once_and_says_so() {
    let bench = Bench::new(1).await;
    let spec = with_program(&bench, "out", &many_files(7_000), 1);
    let why = bench.run(&spec).await.unwrap_err().to_string();
    assert!(why.contains("7000 side files") && why.contains("attempt 0"), "{why}");
    assert!(!bench.path("out").exists());
}

#[tokio::test]
async fn a_job_whose_inputs_alone_are_too_much_for_its_record_is_refused_before_it_begins() {
    let bench = Bench::new(0).await;
    let inputs = (0..10_000).map(|number| format!("/{number:0>80}"));
    let spec = JobSpec::new("sort", inputs, bench.path("out"));
    let why = submit_job(&bench.kv, &spec).await.unwrap_err().to_string();
    assert!(why.contains("name folders or patterns"), "{why}");
    assert!(bench.view().await.jobs.is_empty() && fs::read_dir(bench.path("out")).is_err());
}
