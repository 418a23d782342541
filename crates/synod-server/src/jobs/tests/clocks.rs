//! Clocks that are set an hour forward or back in the middle of a job, of the coordinator and of workers:
//! nothing times out too early, and nothing that hangs is forgotten.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use synod_jobs::cluster::{JobId, JobReport, Limits, TaskKind, View};
use synod_jobs::{JobSpec, Progress, run_built_in};

use super::bench::{Bench, Kind, parts, text};
use super::shuffle::{Gate, spec};
use crate::jobs::moments::Moment;

const HOUR_MS: i64 = 3_600_000;

/// Three workers with a slot each, each with its own clock, whose reduces wait at the gate.
async fn with_clocks() -> (Bench, Gate, Vec<Arc<AtomicI64>>) {
    let mut bench = Bench::new(0).await;
    fs::write(bench.path("in"), text(30_000, 8)).unwrap();
    run_built_in(&spec(&bench, "local"), &Progress::new()).unwrap();
    let gate = Gate::default();
    let mut clocks = Vec::new();
    for _ in 0..3 {
        let held = gate.clone();
        let mut kind = Kind::acting(move |moment| {
            if let Moment::AttemptBegins(task) = moment
                && task.task.kind == TaskKind::Reduce
            {
                held.pass();
            }
        });
        // Longer than anything takes on the slowest machine, and much less than an hour.
        kind.limits.stall = Duration::from_secs(60);
        kind.limits.no_worker = Duration::from_secs(60);
        kind.limits.slow_after = Duration::from_secs(60);
        kind.slots = 1;
        clocks.push(kind.moments.clock_error_ms.clone());
        bench.add(kind).await;
    }
    (bench, gate, clocks)
}

fn reduces_run(view: &View, id: &JobId) -> Option<()> {
    let job = view.jobs.get(id)?;
    job.attempts().any(|(task, ..)| task.kind == TaskKind::Reduce).then_some(())
}

fn nothing_was_noticed(report: &JobReport, case: &str) {
    let JobReport { failed_attempts, backup_attempts, lost_outputs, .. } = report;
    assert_eq!((*failed_attempts, *backup_attempts, *lost_outputs), (0, 0, 0), "{case}");
    for task in &report.tasks {
        assert_eq!(task.attempt, 0, "{case}");
        let millis = task.ended_ms.checked_sub(task.started_ms);
        assert!(millis.is_some_and(|millis| millis < HOUR_MS as u64 / 2), "{case}: {task:?}");
    }
}

#[tokio::test]
async fn a_clock_that_is_set_an_hour_forward_or_back_ends_nothing_and_makes_no_task_slow() {
    for hours in [1, -1] {
        // The coordinator's clock, one worker's, those of all.
        for whose in ["the coordinator", "a worker", "all"] {
            let case = format!("{hours} h, {whose}");
            let (bench, gate, clocks) = with_clocks().await;
            let id = bench.submit(&spec(&bench, "out")).await;
            bench.wait("a reduce", |view| reduces_run(view, &id)).await;
            let coordinator = bench.coordinator().await.unwrap();
            for (number, clock) in clocks.iter().enumerate() {
                if whose == "all" || (whose == "the coordinator") == (number == coordinator) {
                    clock.store(hours * HOUR_MS, SeqCst);
                }
            }
            gate.open();
            bench.finish(&id).await.unwrap_or_else(|error| panic!("{case}: {error}"));
            assert!(parts(&bench.path("out")) == parts(&bench.path("local")), "{case}");
            nothing_was_noticed(&bench.view().await.jobs[&id].report().unwrap(), &case);
            // A job that begins with clocks that far apart.
            let id = bench.submit(&spec(&bench, "out2")).await;
            bench.finish(&id).await.unwrap_or_else(|error| panic!("{case}: {error}"));
            assert!(parts(&bench.path("out2")) == parts(&bench.path("local")), "{case}");
            nothing_was_noticed(&bench.view().await.jobs[&id].report().unwrap(), &case);
        }
    }
}

#[tokio::test]
async fn an_attempt_that_hangs_is_given_up_in_time_whatever_the_clocks_say() {
    for hours in [1, -1] {
        let mut bench = Bench::new(0).await;
        fs::write(bench.path("in"), text(30_000, 8)).unwrap();
        run_built_in(&spec(&bench, "local"), &Progress::new()).unwrap();
        let (gate, once) = (Gate::default(), Arc::new(AtomicU32::new(0)));
        let clock = Arc::new(AtomicI64::new(0));
        for _ in 0..2 {
            let (held, once, set) = (gate.clone(), once.clone(), clock.clone());
            let mut kind = Kind::acting(move |moment| {
                if matches!(moment, Moment::AttemptBegins(_)) && once.fetch_add(1, SeqCst) == 0 {
                    // Both machines' clocks jump while it hangs.
                    set.store(hours * HOUR_MS, SeqCst);
                    held.pass();
                }
            });
            kind.moments.clock_error_ms = clock.clone();
            kind.limits = Limits { stall: Duration::from_secs(1), ..kind.limits };
            bench.add(kind).await;
        }
        let job = JobSpec { speculative: false, ..spec(&bench, "out") };
        let id = bench.submit(&job).await;
        bench.finish(&id).await.unwrap();
        assert!(parts(&bench.path("out")) == parts(&bench.path("local")));
        let report = bench.view().await.jobs[&id].report().unwrap();
        let messages = report.failures.iter().map(|row| row.failure.message.as_str());
        assert!(messages.into_iter().any(|message| message.contains("no progress")), "{hours} h");
        gate.open();
        bench.wait_clean().await;
    }
}
