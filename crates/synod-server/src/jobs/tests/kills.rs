//! Workers, the coordinator among them, are killed at random and others come: the output is that of a local
//! run, byte for byte, and nothing is counted twice.

use std::fs;
use std::path::Path;

use synod_jobs::cluster::{JobId, TaskKind, View};
use synod_jobs::{Counters, JobSpec, Progress, run_built_in};

use super::bench::{Bench, Kind, parts, text};

/// Clusters that run at the same time: mostly they wait for a lease to run out.
const AT_ONCE: usize = 5;

/// Lines in order, or words with their counts.
fn spec(folder: &Path, job: &str, output: &str) -> JobSpec {
    JobSpec {
        reduces: Some(3),
        split_bytes: Some(2_000),
        // So little that runs are spilled and fetched parts go to files.
        memory_bytes: 1 << 18,
        sync_output: false,
        ..JobSpec::new(job, [folder.join("in")], folder.join(output))
    }
}

/// What must be the same whoever runs the job: not how it was spilled, nor how well it combined.
fn comparable(job: &str, counters: &Counters) -> Counters {
    let mut counters = Counters { runs_written: 0, run_bytes_written: 0, ..counters.clone() };
    if job == "wordcount" {
        (counters.combined_pairs_out, counters.reduce_pairs_in) = (0, 0);
    }
    counters
}

/// How far a job is: a number that only grows.
fn events(view: &View, id: &JobId) -> u32 {
    let Some(job) = view.jobs.get(id) else { return 0 };
    if job.job.as_ref().is_some_and(|job| job.record.state.is_final()) {
        return u32::MAX;
    }
    let attempts = job.tasks.values().map(|task| task.record.attempts).sum::<u32>();
    attempts + job.done(TaskKind::Map) + job.done(TaskKind::Reduce)
}

/// One job with this many workers at a time, kills and arrivals as the seed has it.
async fn survive(workers: usize, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut bench = Bench::new(workers).await;
    if seed.is_multiple_of(3) {
        // And the store's answers are lost on the way, now and then.
        bench.workers.iter().for_each(|worker| worker.link.lose_answers(10, seed));
    }
    fs::write(bench.path("in"), text(30_000, seed)).unwrap();
    let job = if seed.is_multiple_of(2) { "sort" } else { "wordcount" };
    let local = run_built_in(&spec(bench.folder.path(), job, "local"), &Progress::new()).unwrap();
    let id = bench.submit(&spec(bench.folder.path(), job, "out")).await;
    let mut next = 0;
    for _ in 0..rng.u32(1..=4) {
        next += rng.u32(1..20);
        let reached = bench.wait("progress", |view| Some(events(view, &id)).filter(|e| *e >= next));
        if reached.await == u32::MAX {
            break;
        }
        let living: Vec<usize> =
            (0..bench.workers.len()).filter(|number| bench.workers[*number].is_alive()).collect();
        let victim = living[rng.usize(..living.len())];
        // Mostly the store hears of it at once; sometimes the lease has to run out.
        bench.kill(victim, rng.u32(..4) > 0).await;
        bench.add(Kind { slots: rng.u32(1..=2), ..Kind::default() }).await;
    }
    let summary = bench.finish(&id).await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let same = parts(&bench.path("out")) == parts(&bench.path("local"));
    assert!(same, "seed {seed} with {workers} workers gives another output");
    let [there, here] = [&summary.manifest, &local.manifest].map(|m| comparable(job, &m.counters));
    assert_eq!(there, here, "seed {seed} with {workers} workers counts otherwise");
    bench.wait_clean().await;
}

async fn survive_twenty_seeds(workers: usize) {
    for first in (0..20).step_by(AT_ONCE) {
        let some = first..first + AT_ONCE as u64;
        futures_util::future::join_all(some.map(|seed| survive(workers, seed))).await;
    }
}

#[tokio::test]
async fn one_worker_killed_at_random_changes_no_byte_in_twenty_seeds() {
    survive_twenty_seeds(1).await;
}

#[tokio::test]
async fn two_workers_killed_at_random_change_no_byte_in_twenty_seeds() {
    survive_twenty_seeds(2).await;
}

#[tokio::test]
async fn seven_workers_killed_at_random_change_no_byte_in_twenty_seeds() {
    survive_twenty_seeds(7).await;
}
