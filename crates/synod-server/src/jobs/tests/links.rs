//! Workers that the store hears late, or not at all, or that do not hear the store; answers that are lost.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use synod_client::Embedded;
use synod_jobs::cluster::{JobId, JobState, TaskId, TaskKind};
use synod_jobs::{Progress, run_built_in};

use super::bench::{Bench, Kind, parts, text};
use super::shuffle::{Gate, spec};
use super::store::Traffic;
use crate::jobs::following::Following;
use crate::jobs::moments::Moment;
use crate::jobs::wait_for_job;

async fn started(workers: usize) -> Bench {
    let bench = Bench::new(workers).await;
    fs::write(bench.path("in"), text(60_000, 6)).unwrap();
    run_built_in(&spec(&bench, "local"), &Progress::new()).unwrap();
    bench
}

/// Three workers of which each has an output and stands at the gate with two further maps, and the job.
async fn mapping() -> (Bench, Gate, JobId) {
    let mut bench = started(0).await;
    let gate = Gate::default();
    for _ in 0..3 {
        let (gate, passed) = (gate.clone(), AtomicBool::new(false));
        let acting = Kind::acting(move |moment| {
            if let Moment::AttemptBegins(held) = moment
                && held.task.kind == TaskKind::Map
                && passed.swap(true, Ordering::SeqCst)
            {
                gate.pass();
            }
        });
        bench.add(acting).await;
    }
    let id = bench.submit(&spec(&bench, "out")).await;
    bench
        .wait("an output and two attempts of each", |view| {
            let job = view.jobs.get(&id)?;
            let all = job.outputs().len() == 3 && job.attempts().count() == 6;
            all.then_some(())
        })
        .await;
    (bench, gate, id)
}

/// Cuts one worker's link like this in the middle of a job, so that it is taken for lost, and heals it when
/// the job is over.
async fn cut_off(traffic: Traffic, is_coordinator: bool) {
    let case = format!("{traffic:?}, coordinator: {is_coordinator}");
    let (mut bench, gate, id) = mapping().await;
    let coordinator = bench.coordinator().await.expect("somebody coordinates a running job");
    let victim = if is_coordinator { coordinator } else { (coordinator + 1) % 3 };
    let name = bench.id_of(victim).await.unwrap();
    let before = bench.view().await.jobs[&id].clone();
    let record = before.job.clone().unwrap().record;
    assert_eq!(record.state, JobState::Running, "{case}: the cut comes before the end");
    let its_own = before.attempts().filter(|(_, _, claim)| claim.record.worker == name);
    let its_own: BTreeSet<TaskId> = its_own.map(|(task, ..)| task).collect();
    bench.workers[victim].link.set(traffic);
    bench.wait("its loss", |view| (!view.workers.contains_key(&name)).then_some(())).await;
    gate.open();
    bench.finish(&id).await.unwrap_or_else(|error| panic!("{case}: {error}"));
    let done = parts(&bench.path("out"));
    assert!(done == parts(&bench.path("local")), "{case}");
    let job = bench.view().await.jobs[&id].clone();
    let report = job.report().unwrap();
    assert!(report.lost_outputs > 0, "{case}: what it had done was lost");
    let lost = report.tasks.iter().filter(|row| its_own.contains(&row.task));
    let begun: Vec<u32> = lost.map(|row| row.attempt).collect();
    assert!(begun.len() == 2 && !begun.contains(&0), "{case}: begun anew elsewhere, {begun:?}");
    let epoch = job.job.unwrap().record.epoch;
    assert_eq!(epoch > record.epoch, is_coordinator, "{case}: who has brought it to its end");
    bench.workers[victim].link.set(Traffic::Open);
    let stale: u32 = bench.workers.iter().map(|worker| worker.link.stale_reads()).sum();
    assert_eq!(
        stale, 0,
        "{case}: nobody decides on records that may be older than those it has seen"
    );
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
async fn a_job_that_nobody_takes_is_taken_back_by_its_owner_and_not_by_those_who_look_on() {
    let mut bench = started(0).await;
    let progress = Progress::new();
    let (left, own) =
        (bench.submit(&spec(&bench, "out")).await, bench.submit(&spec(&bench, "own")).await);
    let mut looking_on = Following::new(&bench.kv, left.clone(), &progress).looking_on();
    looking_on.patience_until_taken = Duration::from_millis(100);
    let why = looking_on.follow().await.unwrap_err().to_string();
    assert!(why.contains("no node has taken job") && why.contains(&left.to_string()), "{why}");
    let mut owner = Following::new(&bench.kv, own.clone(), &progress);
    owner.patience_until_taken = Duration::from_millis(100);
    let why = owner.follow().await.unwrap_err().to_string();
    assert!(why.contains("nothing was done"), "{why}");
    assert!(!bench.view().await.jobs.contains_key(&own));
    bench.add(Kind::default()).await;
    wait_for_job(&bench.kv, left, &progress).await.unwrap();
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
