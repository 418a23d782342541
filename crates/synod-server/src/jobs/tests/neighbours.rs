//! Workers whose processes end, and workers whose ports refuse although they live: the one is noticed long
//! before a lease ends, the other does no harm.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use synod_base::Revision;
use synod_jobs::cluster::{JobId, TaskKind};
use synod_jobs::{Progress, run_built_in};

use super::bench::{Bench, Kind, parts, text};
use super::shuffle::{Gate, spec};
use crate::jobs::moments::Moment;

/// Much longer than a test waits: no lease ends by itself.
const LEASE_SECONDS: i64 = 600;

/// Who could not be reached by whom, as registered when, and how often.
type Misses = Arc<Mutex<BTreeMap<(usize, String, Revision), u32>>>;

/// Workers whose maps wait at a gate, and a job whose first maps stand there. Each worker has a connection
/// to its neighbour.
async fn mapping(workers: usize) -> (Bench, Gate, JobId, Misses) {
    let mut bench = Bench::new(0).await;
    fs::write(bench.path("in"), text(30_000, 5)).unwrap();
    run_built_in(&spec(&bench, "local"), &Progress::new()).unwrap();
    let gate = Gate::default();
    let minded = Arc::new(Mutex::new(vec![BTreeSet::new(); workers]));
    let misses = Misses::default();
    for number in 0..workers {
        let (gate, minded, misses) = (gate.clone(), minded.clone(), misses.clone());
        let kind = Kind::acting(move |moment| match moment {
            Moment::AttemptBegins(held) if held.task.kind == TaskKind::Map => gate.pass(),
            Moment::Minds(node) => drop(minded.lock().unwrap()[number].insert(node.to_owned())),
            Moment::Misses(node, registered) => {
                let whom = (number, node.to_owned(), registered);
                *misses.lock().unwrap().entry(whom).or_default() += 1;
            }
            _ => {}
        });
        bench.add(Kind { slots: 1, lease_seconds: LEASE_SECONDS, ..kind }).await;
    }
    let id = bench.submit(&spec(&bench, "out")).await;
    bench
        .wait("a map on each worker", |view| {
            let all = view.workers.len() == workers;
            (all && view.jobs.get(&id)?.attempts().count() == workers).then_some(())
        })
        .await;
    let view = bench.view().await;
    let node =
        |number: usize| view.workers.values().nth(number % workers).unwrap().record.node.clone();
    let stands = |place: usize| {
        let number = bench.workers.iter().position(|worker| worker.name == node(place)).unwrap();
        let minded = &minded.lock().unwrap()[number];
        minded.contains(&node(place + 1)) && minded.contains(&node(place + 2))
    };
    let began = Instant::now();
    while !(0..workers).all(stands) {
        assert!(began.elapsed() < Duration::from_secs(60), "{minded:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (bench, gate, id, misses)
}

#[tokio::test]
async fn a_process_that_ends_is_noticed_long_before_its_lease_ends_be_it_the_coordinators_or_two() {
    let (mut bench, gate, id, _) = mapping(4).await;
    let coordinator = bench.coordinator().await.unwrap();
    for number in [coordinator, (coordinator + 1) % 4] {
        bench.workers[number].cable.unplug();
        bench.kill(number, false).await;
    }
    bench.wait("the dead to be left out", |view| (view.workers.len() == 2).then_some(())).await;
    gate.open();
    bench.finish(&id).await.unwrap();
    assert!(parts(&bench.path("out")) == parts(&bench.path("local")));
}

#[tokio::test]
async fn a_worker_that_lives_behind_a_port_that_refuses_comes_back_and_is_let_be() {
    let (bench, gate, id, misses) = mapping(3).await;
    let registered = bench.id_of(1).await.unwrap();
    let first = bench.view().await.workers[&registered].created;
    bench.workers[1].cable.unplug();
    let came_back = bench
        .wait("its return", |view| {
            let created = view.workers.get(&registered)?.created;
            (created > first).then_some(created)
        })
        .await;
    // Whoever took two refusals for its end would not meet a third one of this registration.
    let missed = |by: usize| {
        let whom = (by, "w1".to_owned(), came_back);
        misses.lock().unwrap().get(&whom).is_some_and(|times| *times > 2)
    };
    let began = Instant::now();
    while !(missed(0) && missed(2)) {
        assert!(began.elapsed() < Duration::from_secs(60), "{misses:?} of {came_back:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    gate.open();
    bench.finish(&id).await.unwrap();
    assert!(parts(&bench.path("out")) == parts(&bench.path("local")));
    let still = bench.view().await.workers[&registered].created;
    assert_eq!(still, came_back, "a port that has never answered proves nothing");
}
