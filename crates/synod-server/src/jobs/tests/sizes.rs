//! Very many inputs, very many keys, very long records and values: with less memory than data.

use std::collections::BTreeMap;
use std::fs;

use synod_jobs::cluster::{TaskKind, View};
use synod_jobs::{JobSpec, JobSummary, Progress, run_built_in};

use super::bench::{Bench, parts, text};

#[tokio::test]
async fn thousands_of_small_files_are_as_many_tasks_and_nothing_gets_lost() {
    // Ten thousand take a minute and more of a program that is not optimized.
    let files = std::env::var("SYNOD_JOB_FILES").ok();
    let files: u32 = files.map_or(1_000, |files| files.parse().unwrap());
    let bench = Bench::new(2).await;
    fs::create_dir(bench.path("in")).unwrap();
    for number in 0..files {
        fs::write(bench.path(&format!("in/{number:05}")), format!("{number:05}\n")).unwrap();
    }
    let spec = JobSpec {
        reduces: Some(1),
        sync_output: false,
        ..JobSpec::new("sort", [bench.path("in")], bench.path("out"))
    };
    let id = bench.submit(&spec).await;
    // However many they are.
    let some = |view: &View, of: u32| {
        let job = view.jobs.get(&id)?;
        (job.done(TaskKind::Map) >= of || job.stored_report.is_some()).then_some(())
    };
    for of in (0..files).step_by(1_000) {
        bench.wait("more tasks", |view| some(view, of)).await;
    }
    bench.wait("all tasks", |view| some(view, files)).await;
    let summary = bench.finish(&id).await.unwrap();
    let expected: String = (0..files).map(|number| format!("{number:05}\n")).collect();
    assert!(parts(&bench.path("out"))["part-00000"] == expected.as_bytes());
    assert_eq!(summary.manifest.counters.map_records_in, u64::from(files));
    assert_eq!(summary.splits, files as usize);
    assert_eq!(summary.report.failed_attempts, 0, "{:?}", summary.report.failures);
}

/// The lines of a wordcount: words ascend within a part, each is there once.
fn counts(output: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for part in output.into_values() {
        let text = String::from_utf8(part).unwrap();
        let lines = text.lines().map(|line| line.split_once('\t').unwrap());
        assert!(lines.clone().is_sorted_by(|a, b| a.0 < b.0), "words ascend");
        for (word, count) in lines {
            let twice = counts.insert(word.to_owned(), count.parse().unwrap());
            assert_eq!(twice, None, "{word} is in two places");
        }
    }
    counts
}

/// Runs a job, however long all of it takes: only each task must come to an end in time.
async fn run_by_tasks(bench: &Bench, spec: &JobSpec) -> JobSummary {
    let id = bench.submit(spec).await;
    for kind in [TaskKind::Map, TaskKind::Reduce] {
        for done in 1.. {
            let over = bench.wait("one more task", |view| {
                let job = view.jobs.get(&id)?;
                let totals = job.job.as_ref()?.record.totals;
                let all = if kind == TaskKind::Map { totals.maps } else { totals.reduces };
                let over = job.stored_report.is_some() || (all > 0 && job.done(kind) == all);
                (over || job.done(kind) >= done).then_some(over)
            });
            if over.await {
                break;
            }
        }
    }
    bench.finish(&id).await.unwrap()
}

#[tokio::test]
async fn many_more_distinct_keys_than_fit_the_memory_are_each_counted_once() {
    // As ten million keys are for 64 MiB, and some more than that; SYNOD_JOB_KEYS says how many instead.
    let keys = std::env::var("SYNOD_JOB_KEYS").ok();
    let keys: u32 = keys.map_or(200_000, |keys| keys.parse().unwrap());
    let memory_bytes = (u64::from(keys) * (64 << 20) / 10_000_000).max(1 << 20);
    let bench = Bench::new(3).await;
    let once: String =
        (0..keys).map(|n| format!("k{:08x}\n", n.wrapping_mul(2_654_435_761))).collect();
    // Each a second time, in another order, so that runs of all maps share every key.
    let again: String =
        (0..keys).rev().map(|n| format!("k{:08x} ", n.wrapping_mul(2_654_435_761))).collect();
    fs::write(bench.path("in"), once + &again.replace("7 ", "7\n")).unwrap();
    let spec = JobSpec {
        reduces: Some(4),
        split_bytes: Some(1 << 20),
        memory_bytes,
        sync_output: false,
        ..JobSpec::new("wordcount", [bench.path("in")], bench.path("out"))
    };
    let summary = run_by_tasks(&bench, &spec).await;
    let counts = counts(parts(&bench.path("out")));
    assert_eq!(counts.len(), keys as usize);
    assert!(counts.values().all(|count| *count == 2));
    let counters = &summary.manifest.counters;
    assert!(counters.runs_written > 2 * summary.splits as u64, "it did not fit: {counters:?}");
}

#[tokio::test]
async fn two_hundred_and_fifty_six_reduces_give_the_same_with_little_memory() {
    let bench = Bench::new(3).await;
    fs::write(bench.path("in"), text(400_000, 7)).unwrap();
    let spec = |output: &str| JobSpec {
        reduces: Some(256),
        split_bytes: Some(200_000),
        memory_bytes: 1 << 18,
        sync_output: false,
        ..JobSpec::new("sort", [bench.path("in")], bench.path(output))
    };
    run_built_in(&spec("local"), &Progress::new()).unwrap();
    let summary = run_by_tasks(&bench, &spec("out")).await;
    let found = parts(&bench.path("out"));
    assert_eq!(found.len(), 256);
    assert!(found == parts(&bench.path("local")));
    let counters = &summary.manifest.counters;
    assert!(counters.runs_written > 2 * summary.splits as u64, "it did not fit: {counters:?}");
}

#[tokio::test]
async fn a_record_of_64_mebibytes_passes_between_short_ones() {
    const LONG: usize = 64 << 20;
    let bench = Bench::new(2).await;
    let long = vec![b'b'; LONG];
    fs::write(bench.path("in"), [&b"c\n"[..], &long, b"\na\n"].concat()).unwrap();
    let spec = JobSpec {
        reduces: Some(1),
        // The longest record is a quarter of it.
        memory_bytes: 4 * LONG as u64,
        sync_output: false,
        ..JobSpec::new("sort", [bench.path("in")], bench.path("out"))
    };
    bench.run(&spec).await.unwrap();
    assert!(parts(&bench.path("out"))["part-00000"] == [&b"a\n"[..], &long, b"\nc\n"].concat());
    let spec = JobSpec { memory_bytes: LONG as u64, output: bench.path("out2"), ..spec };
    let why = bench.run(&spec).await.unwrap_err().to_string();
    assert!(why.contains("at offset 2 is longer than 16777216 bytes"), "{why}");
}
