//! What can go wrong between a reducer and the worker that has a map output: the output is made again, and
//! the reducer has not failed.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use synod_jobs::cluster::{JobId, JobReport, TaskKind};
use synod_jobs::{JobSpec, Progress, run_built_in};

use super::bench::{Bench, Kind, parts, text};
use super::cable::Damage;
use crate::jobs::moments::Moment;

const HELD_AT_MOST: Duration = Duration::from_secs(60);

/// A gate that threads wait at until it is opened.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn pass(&self) {
        let (open, changed) = &*self.0;
        let guard = open.lock().unwrap();
        // A test that has failed opens nothing any more.
        drop(changed.wait_timeout_while(guard, HELD_AT_MOST, |open| !*open).unwrap());
    }

    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

pub fn spec(bench: &Bench, output: &str) -> JobSpec {
    JobSpec {
        reduces: Some(2),
        split_bytes: Some(4_000),
        sync_output: false,
        ..JobSpec::new("sort", [bench.path("in")], bench.path(output))
    }
}

/// Workers whose reduces wait at the gate, an input, and what must come out.
pub async fn at_the_gate(machines: &[&str]) -> (Bench, Gate) {
    let mut bench = Bench::new(0).await;
    fs::write(bench.path("in"), text(30_000, 5)).unwrap();
    run_built_in(&spec(&bench, "local"), &Progress::new()).unwrap();
    let gate = Gate::default();
    for machine in machines {
        let gate = gate.clone();
        let kind = Kind::acting(move |moment| {
            if let Moment::AttemptBegins(held) = moment
                && held.task.kind == TaskKind::Reduce
            {
                gate.pass();
            }
        });
        // What was fetched ahead would not be missed: see `ahead.rs`.
        let machine = (*machine).to_owned();
        bench.add(Kind { machine, slots: 1, ahead_percent: 0, ..kind }).await;
    }
    (bench, gate)
}

/// Submits, and waits until each worker that can have a reduce stands at the gate with one; the job, and who
/// has map outputs that another one needs: if possible, who has no reduce.
pub async fn shuffling(bench: &Bench) -> (JobId, usize) {
    let id = bench.submit(&spec(bench, "out")).await;
    let standing = bench.workers.len().min(2);
    let giver = bench
        .wait("reduces", |view| {
            let job = view.jobs.get(&id)?;
            // A map's worker is none of them: it may be asked for the next reduce before the others are.
            let reduces = job.attempts().filter(|(task, ..)| task.kind == TaskKind::Reduce);
            let takers: BTreeMap<_, _> =
                reduces.map(|(task, _, claim)| (task, &claim.record.worker)).collect();
            let mut givers = job.outputs().keys().collect::<Vec<_>>();
            givers.sort_by_key(|worker| takers.values().any(|taker| taker == worker));
            (takers.len() == standing).then(|| view.node_of(givers[0]))
        })
        .await;
    let number = bench.workers.iter().position(|worker| worker.name == giver).unwrap();
    (id, number)
}

async fn check(bench: &Bench, id: &JobId) -> JobReport {
    bench.finish(id).await.unwrap();
    assert!(parts(&bench.path("out")) == parts(&bench.path("local")));
    bench.view().await.jobs[id].report().unwrap()
}

/// The run files of a worker for a job.
fn outputs(bench: &Bench, number: usize, id: &JobId) -> Vec<PathBuf> {
    let folder = bench.workers[number].folder.join(id.to_string());
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|kind| kind == "run")).collect()
}

#[tokio::test]
async fn a_worker_that_others_cannot_reach_but_the_store_can_has_its_maps_made_again() {
    let (bench, gate) = at_the_gate(&["a", "b", "c"]).await;
    let (id, giver) = shuffling(&bench).await;
    bench.workers[giver].cable.damage(Damage::Refuse);
    gate.open();
    let report = check(&bench, &id).await;
    assert!(report.lost_outputs > 0);
    assert_eq!(report.failed_attempts, 0, "no reduce has failed for it: {:?}", report.failures);
}

#[tokio::test]
async fn an_answer_that_breaks_off_and_a_bit_that_turns_over_on_the_way_change_no_byte() {
    let mut noticed = 0;
    for damage in [Damage::CutAfter(200), Damage::Flip(300), Damage::Flip(20)] {
        let (bench, gate) = at_the_gate(&["a", "b", "c"]).await;
        let (id, giver) = shuffling(&bench).await;
        bench.workers[giver].cable.damage(damage);
        gate.open();
        bench
            .wait("a report of it, or the end", |view| {
                let job = view.jobs.get(&id)?;
                let lost = job.troubled().any(|(_, task)| task.record.losses > 0);
                (lost || job.stored_report.is_some()).then_some(())
            })
            .await;
        // What was made again lies elsewhere, or here: then it is damaged again, for a while.
        bench.workers[giver].cable.damage(Damage::None);
        let report = check(&bench, &id).await;
        // Whether anything of it went over that cable is up to who was first.
        if bench.workers[giver].cable.harmed() > 0 {
            assert!(report.lost_outputs > 0, "{damage:?} was noticed");
            noticed += 1;
        }
        assert_eq!(report.failed_attempts, 0, "{damage:?}: {:?}", report.failures);
    }
    assert!(noticed > 0, "no answer was harmed");
}

#[tokio::test]
async fn a_turned_bit_a_cut_end_a_missing_file_and_one_that_cannot_be_read_are_made_again() {
    type Harm = fn(&PathBuf);
    let harms: [(&str, Harm); 5] = [
        ("a turned bit", |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[20] ^= 4;
            fs::write(path, bytes).unwrap();
        }),
        ("a cut end", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("nothing left", |path| fs::write(path, "").unwrap()),
        ("gone", |path| fs::remove_file(path).unwrap()),
        ("errors of the disk", |path| {
            // Long enough, and no byte of it can be read: nothing is at the beginning of a process's memory.
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/proc/self/mem", path).unwrap();
        }),
    ];
    for (what, harm) in harms {
        // Read by the worker itself, by a neighbour that opens the file, and over the network.
        for machines in [&["a"][..], &["a", "a", "a"], &["a", "b", "c"]] {
            let (bench, gate) = at_the_gate(machines).await;
            let (id, giver) = shuffling(&bench).await;
            let files = outputs(&bench, giver, &id);
            assert!(!files.is_empty());
            files.iter().for_each(harm);
            gate.open();
            let report = check(&bench, &id).await;
            assert!(report.lost_outputs > 0, "{what} on {machines:?} was noticed");
            assert_eq!(report.failed_attempts, 0, "{what} on {machines:?}: {:?}", report.failures);
        }
    }
}

#[tokio::test]
async fn a_worker_is_lost_after_its_maps_before_while_and_after_others_fetch_from_it() {
    // Before: every reduce still stands at the gate.
    let (mut bench, gate) = at_the_gate(&["a", "b", "c"]).await;
    let (id, giver) = shuffling(&bench).await;
    bench.kill(giver, true).await;
    gate.open();
    assert!(check(&bench, &id).await.lost_outputs > 0);

    // While: its answers have begun to come, and break off.
    let (mut bench, gate) = at_the_gate(&["a", "b", "c"]).await;
    let (id, giver) = shuffling(&bench).await;
    bench.workers[giver].cable.damage(Damage::CutAfter(100));
    let before = bench.workers[giver].cable.connections();
    gate.open();
    let asked = || bench.workers[giver].cable.connections() > before;
    let began = std::time::Instant::now();
    while !asked() {
        assert!(began.elapsed() < HELD_AT_MOST, "somebody fetches");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bench.kill(giver, false).await;
    assert!(check(&bench, &id).await.lost_outputs > 0);

    // After: whoever has fetched needs it no more.
    let fetched = Arc::new(AtomicBool::new(false));
    let mut bench = Bench::new(0).await;
    fs::write(bench.path("in"), text(30_000, 5)).unwrap();
    run_built_in(&spec(&bench, "local"), &Progress::new()).unwrap();
    let gate = Gate::default();
    for _ in 0..3 {
        let (gate, fetched) = (gate.clone(), fetched.clone());
        let kind = Kind::acting(move |moment| {
            if let Moment::AttemptEnded(held) = moment
                && held.task.kind == TaskKind::Reduce
            {
                fetched.store(true, Ordering::Relaxed);
                gate.pass();
            }
        });
        bench.add(Kind { slots: 1, ..kind }).await;
    }
    let (id, giver) = shuffling(&bench).await;
    let began = std::time::Instant::now();
    while !fetched.load(Ordering::Relaxed) {
        assert!(began.elapsed() < HELD_AT_MOST, "a reduce ends");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bench.kill(giver, true).await;
    gate.open();
    check(&bench, &id).await;
}

#[tokio::test]
async fn neighbours_on_one_machine_read_files_and_ask_nobody() {
    let (bench, gate) = at_the_gate(&["a", "a", "a"]).await;
    let (id, _) = shuffling(&bench).await;
    gate.open();
    let report = check(&bench, &id).await;
    assert_eq!(report.lost_outputs, 0);
    assert!(bench.workers.iter().all(|worker| worker.cable.connections() == 0));

    let (bench, gate) = at_the_gate(&["a", "b", "c"]).await;
    let (id, _) = shuffling(&bench).await;
    gate.open();
    check(&bench, &id).await;
    assert!(bench.workers.iter().any(|worker| worker.cable.connections() > 0));
}
