//! What a local run reports of its tasks: one row for each, the failed attempts, how even the parts are.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};

use support::{Bench, run};
use synod_jobs::cluster::{JobReport, TaskId};
use synod_jobs::{Emitter, Job, Progress, Record, Sink, Values, run_local};

fn numbers(report: &JobReport) -> Vec<TaskId> {
    report.tasks.iter().map(|row| row.task).collect()
}

fn all(maps: u32, reduces: u32) -> Vec<TaskId> {
    (0..maps).map(TaskId::map).chain((0..reduces).map(TaskId::reduce)).collect()
}

#[test]
fn every_task_of_a_local_run_has_a_row_with_its_time_its_bytes_and_its_pairs() {
    let bench = Bench::new();
    let text = support::zipf_text(7, 300_000, 500);
    let path = bench.file("text", &text);
    // With a combiner one attempt maps several splits; without one each split is an attempt.
    for job in ["wordcount", "sort"] {
        let mut spec = bench.spec(job, &[&path]);
        (spec.split_bytes, spec.reduces) = (Some(20_000), Some(3));
        let summary = run(&spec).unwrap();
        let report = &summary.report;
        assert_eq!(numbers(report), all(summary.splits as u32, 3), "{job}");
        assert_eq!(report.nodes.len(), 1);
        assert_eq!(report.counters, summary.manifest.counters);
        assert!(report.tasks.iter().all(|row| row.started_ms > 1_600_000_000_000));
        assert!(report.tasks.iter().all(|row| row.started_ms <= row.ended_ms));
        let (maps, reduces) = report.tasks.split_at(summary.splits);
        let sum = |rows: &[synod_jobs::cluster::report::TaskRow]| {
            let bytes: u64 = rows.iter().map(|row| row.bytes).sum();
            (bytes, rows.iter().map(|row| row.pairs).sum::<u64>())
        };
        let counted = &summary.manifest.counters;
        assert_eq!(sum(maps), (text.len() as u64, counted.combined_pairs_out), "{job}");
        assert_eq!(sum(reduces), (counted.reduce_bytes_out, counted.reduce_pairs_in), "{job}");
        let skew = report.skew.unwrap();
        let largest = &reduces[skew.largest as usize];
        assert_eq!(largest.pairs, skew.largest_pairs);
        assert!(reduces.iter().all(|row| row.pairs <= skew.largest_pairs));
        assert!((1..=skew.largest_pairs).contains(&skew.median_pairs));
    }
}

/// Writes every record as it is, without a reduce task.
struct Copy;

impl Job for Copy {
    const WRITES_PAIRS: bool = true;

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        out.emit(record.bytes, b"");
    }

    fn reduce(&self, _: &[u8], _: &mut Values<'_, Self>, _: &mut Sink) {}
}

#[test]
fn a_job_without_reduces_reports_its_maps_and_no_skew() {
    let bench = Bench::new();
    let path = bench.file("in", b"a\nb\nc\nd\n");
    let mut spec = bench.spec("copy", &[&path]);
    (spec.split_bytes, spec.reduces) = (Some(4), Some(0));
    let report = run_local(&spec, &Copy, &Progress::new()).unwrap().report;
    assert_eq!(numbers(&report), all(2, 0));
    assert_eq!(report.tasks.iter().map(|row| row.bytes).collect::<Vec<_>>(), [4, 4]);
    assert_eq!(report.skew, None);
}

/// Panics so often on lines that say `bad`.
struct Fragile(AtomicU64);

impl Job for Fragile {
    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        out.emit(record.bytes, b"");
        let less = |left: u64| left.checked_sub(1);
        let panics = || self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        assert!(record.bytes != b"bad" || !panics(), "cannot take `bad`");
    }

    fn reduce(&self, key: &[u8], _: &mut Values<'_, Self>, out: &mut Sink) {
        out.bytes(key);
        out.end_record();
    }
}

#[test]
fn a_failed_attempt_is_reported_with_its_task_and_its_record_unless_it_is_forgiven() {
    let bench = Bench::new();
    let path = bench.file("in", b"a\nbad\nb\n");
    let mut spec = bench.spec("fragile", &[&path]);
    spec.split_bytes = Some(100);
    let once = run_local(&spec, &Fragile(1.into()), &Progress::new()).unwrap().report;
    assert_eq!((once.failed_attempts, once.failures.len()), (1, 1));
    let failed = &once.failures[0];
    assert_eq!((failed.task, failed.failure.bad_record), (TaskId::map(0), Some(2)));
    assert!(failed.failure.message.contains("offset 2"), "{}", failed.failure.message);
    assert!(failed.failure.span.started_ms <= failed.failure.span.ended_ms);

    let mut spec = bench.spec("fragile", &[&path]);
    spec.skip_bad_records = 1;
    let skipped = run_local(&spec, &Fragile(u64::MAX.into()), &Progress::new()).unwrap().report;
    assert_eq!((skipped.failed_attempts, skipped.failures.len()), (0, 0));
    assert_eq!(skipped.counters.bad_records_skipped, 1);
}
