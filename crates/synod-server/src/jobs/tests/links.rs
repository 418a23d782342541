//! Workers that the store hears late, or not at all, or that do not hear the store; answers that are lost.

use std::fs;
use std::time::Duration;

use synod_client::Embedded;
use synod_jobs::cluster::{JobState, TaskKind};
use synod_jobs::{Progress, run_built_in};

use super::bench::{Bench, Kind, parts, text};
use super::shuffle::spec;
use super::store::Traffic;
use crate::jobs::following::Following;

async fn started(workers: usize) -> Bench {
    let bench = Bench::new(workers).await;
    fs::write(bench.path("in"), text(60_000, 6)).unwrap();
    run_built_in(&spec(&bench, "local"), &Progress::new()).unwrap();
    bench
}

/// Cuts one worker's link like this in the middle of a job, and heals it when the job is over.
async fn cut_off(traffic: Traffic, is_coordinator: bool) {
    let case = format!("{traffic:?}, coordinator: {is_coordinator}");
    let mut bench = started(3).await;
    let id = bench.submit(&spec(&bench, "out")).await;
    bench
        .wait("some maps", |view| {
            let job = view.jobs.get(&id)?;
            (job.done(TaskKind::Map) > 2 || job.stored_report.is_some()).then_some(())
        })
        .await;
    let coordinator = bench.coordinator().await.unwrap_or(0);
    let victim = if is_coordinator { coordinator } else { (coordinator + 1) % 3 };
    bench.workers[victim].link.set(traffic);
    bench.finish(&id).await.unwrap_or_else(|error| panic!("{case}: {error}"));
    let done = parts(&bench.path("out"));
    assert!(done == parts(&bench.path("local")), "{case}");
    bench.workers[victim].link.set(Traffic::Open);
    // It comes back, as a new worker or the same one, and takes part.
    bench.run(&spec(&bench, "out2")).await.unwrap();
    assert!(parts(&bench.path("out2")) == done, "{case}");
    assert!(parts(&bench.path("out")) == done, "{case}: changed after the end");
    bench.wait_clean().await;
    for number in (0..3).filter(|number| *number != victim) {
        bench.kill(number, true).await;
    }
    bench.run(&spec(&bench, "out3")).await.unwrap_or_else(|error| panic!("{case}: {error}"));
}

#[tokio::test]
async fn a_worker_cut_off_from_the_store_loses_its_tasks_and_comes_back() {
    cut_off(Traffic::Cut, false).await;
}

#[tokio::test]
async fn the_coordinator_cut_off_from_the_store_is_replaced_and_comes_back() {
    cut_off(Traffic::Cut, true).await;
}

#[tokio::test]
async fn a_worker_that_is_heard_but_hears_nothing_does_no_harm_and_comes_back() {
    cut_off(Traffic::OneWay, false).await;
}

#[tokio::test]
async fn a_coordinator_that_is_heard_but_hears_nothing_is_replaced_and_comes_back() {
    cut_off(Traffic::OneWay, true).await;
}

#[tokio::test]
async fn lost_answers_of_the_store_change_no_byte_and_no_count() {
    let bench = started(3).await;
    for (number, worker) in (1..).zip(&bench.workers) {
        worker.link.lose_answers(4, number);
    }
    let summary = bench.run(&spec(&bench, "out")).await.unwrap();
    assert!(parts(&bench.path("out")) == parts(&bench.path("local")));
    let lines = fs::read_to_string(bench.path("in")).unwrap().lines().count() as u64;
    assert_eq!(summary.manifest.counters.map_records_in, lines);
    assert_eq!(summary.manifest.counters.reduce_records_out, lines);
}

#[tokio::test]
async fn all_workers_are_lost_and_new_ones_bring_the_job_to_its_end() {
    let mut bench = started(2).await;
    let id = bench.submit(&spec(&bench, "out")).await;
    let half = |view: &synod_jobs::cluster::View| {
        (view.jobs.get(&id)?.done(TaskKind::Map) > 4).then_some(())
    };
    bench.wait("some maps", half).await;
    bench.kill(0, true).await;
    bench.kill(1, true).await;
    assert!(bench.view().await.workers.is_empty());
    bench.add(Kind::default()).await;
    bench.finish(&id).await.unwrap();
    assert!(parts(&bench.path("out")) == parts(&bench.path("local")));
    let report = bench.view().await.jobs[&id].report().unwrap();
    assert!(report.lost_outputs > 0);
}

#[tokio::test]
async fn whoever_waits_for_a_job_that_no_worker_is_left_for_is_told_so() {
    let mut bench = started(1).await;
    let id = bench.submit(&spec(&bench, "out")).await;
    bench.wait_state(&id, "tasks", |state| *state == JobState::Running).await;
    bench.kill(0, true).await;
    let progress = Progress::new();
    let mut following = Following::new(&bench.kv, id.clone(), &progress);
    following.patience_without_workers = Duration::from_millis(100);
    let why = following.follow().await.unwrap_err().to_string();
    assert!(why.contains("no worker is left") && why.contains(&id.to_string()), "{why}");
    // The job is still there, and goes on with the next worker.
    bench.add(Kind::default()).await;
    bench.finish(&id).await.unwrap();
    assert!(parts(&bench.path("out")) == parts(&bench.path("local")));
}

#[tokio::test]
async fn whoever_waits_for_a_job_of_a_cluster_that_is_gone_is_told_so() {
    let bench = started(1).await;
    let id = bench.submit(&spec(&bench, "out")).await;
    let (handle, link) = bench.store.link();
    let progress = Progress::new();
    let kv = Embedded::new(handle);
    let mut following = Following::new(&kv, id.clone(), &progress);
    following.patience_without_workers = Duration::from_millis(50);
    following.patience_without_answers = Duration::from_millis(100);
    let goes = async {
        bench.wait_state(&id, "tasks", |state| *state != JobState::Submitted).await;
        link.set(Traffic::Cut);
    };
    let (followed, ()) = tokio::join!(following.follow(), goes);
    let why = followed.unwrap_err().to_string();
    assert!(why.contains("has not answered") && why.contains(&id.to_string()), "{why}");
    bench.finish(&id).await.unwrap();
}
