//! What workers fetch before their reduces need it: it is used, nobody relies on it, and damage is found.

use std::fs;
use std::time::{Duration, Instant};

use synod_jobs::cluster::{JobId, JobReport, TaskId, TaskKind};
use synod_jobs::{JobSpec, Progress, run_built_in};

use super::bench::{Bench, Kind, parts, text};
use super::cable::Damage;
use super::shuffle::{Gate, spec};
use crate::jobs::moments::Moment;

/// Three workers on machines of their own, and a job with a reduce for each.
struct Three {
    bench: Bench,
    id: JobId,
    /// At which the first map waits.
    first_map: Gate,
    /// At which all reduces wait.
    reduces: Gate,
}

/// No map begins before all workers are there: then each has its share once and for all.
async fn three(ahead_percent: u8, damage: Damage) -> Three {
    let mut bench = Bench::new(0).await;
    fs::write(bench.path("in"), text(30_000, 5)).unwrap();
    let spec = |output: &str| JobSpec { reduces: Some(3), ..spec(&bench, output) };
    run_built_in(&spec("local"), &Progress::new()).unwrap();
    let spec = spec("out");
    let (all_maps, first_map, reduces) = (Gate::default(), Gate::default(), Gate::default());
    for _ in 0..3 {
        let gates = [&all_maps, &first_map, &reduces].map(Gate::clone);
        let kind = Kind::acting(move |moment| {
            let Moment::AttemptBegins(held) = moment else { return };
            let [all_maps, first_map, reduces] = &gates;
            match held.task {
                TaskId { kind: TaskKind::Reduce, .. } => reduces.pass(),
                _ => all_maps.pass(),
            }
            if held.task == TaskId::map(0) {
                first_map.pass();
            }
        });
        let mut kind = Kind { slots: 1, ahead_percent, ..kind.unhurried() };
        // Nobody else begins the first map meanwhile.
        kind.limits.slow_after = Duration::from_secs(600);
        let number = bench.add(kind).await;
        bench.workers[number].cable.damage(damage);
    }
    let id = bench.submit(&spec).await;
    bench.wait("all workers", |view| (view.workers.len() == 3).then_some(())).await;
    all_maps.open();
    Three { bench, id, first_map, reduces }
}

/// Pieces that a worker has, of all its jobs.
fn pieces(bench: &Bench, number: usize) -> usize {
    let jobs = fs::read_dir(&bench.workers[number].folder).into_iter().flatten().flatten();
    let files = jobs.flat_map(|job| fs::read_dir(job.path()).into_iter().flatten().flatten());
    let name = |file: fs::DirEntry| file.file_name().to_string_lossy().into_owned();
    files.map(name).filter(|name| name.starts_with("ahead-") && name.ends_with(".run")).count()
}

async fn a_reduce_at_each(bench: &Bench, id: &JobId) {
    bench
        .wait("a reduce at each worker", |view| {
            let reduces = view.jobs.get(id)?.attempts();
            let reduces = reduces.filter(|(task, ..)| task.kind == TaskKind::Reduce);
            (reduces.count() == 3).then_some(())
        })
        .await;
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Cuts the workers off from each other when all maps but one are done and could be fetched, each from two
/// others; the one that is left can be had by all. How the job went.
async fn cut_off_before_the_last_map(ahead_percent: u8) -> JobReport {
    let Three { bench, id, first_map, reduces } = three(ahead_percent, Damage::None).await;
    let (maps, holder) = bench
        .wait("all maps but the first", |view| {
            let job = view.jobs.get(&id)?;
            let done = job.done(TaskKind::Map);
            let (.., claim) = job.attempts().find(|(task, ..)| *task == TaskId::map(0))?;
            let all = job.job.as_ref()?.record.totals.maps;
            (done > 0 && done == all - 1)
                .then(|| (job.outputs().clone(), view.node_of(&claim.record.worker)))
        })
        .await;
    if ahead_percent > 0 {
        let all: usize = maps.values().map(|maps| maps.len()).sum();
        let came = || (0..3).map(|number| pieces(&bench, number)).sum::<usize>();
        until("pieces of each map at both other workers", || came() == 2 * all).await;
    }
    for worker in bench.workers.iter().filter(|worker| worker.name != holder) {
        worker.cable.damage(Damage::Refuse);
    }
    first_map.open();
    a_reduce_at_each(&bench, &id).await;
    reduces.open();
    bench.finish(&id).await.unwrap();
    assert!(parts(&bench.path("out")) == parts(&bench.path("local")));
    bench.view().await.jobs[&id].report().unwrap()
}

#[tokio::test]
async fn what_was_fetched_while_maps_ran_is_not_fetched_again() {
    let report = cut_off_before_the_last_map(10).await;
    assert_eq!((report.lost_outputs, report.failed_attempts), (0, 0), "{:?}", report.failures);
    // Without it the same cut costs the outputs.
    let report = cut_off_before_the_last_map(0).await;
    assert!(report.lost_outputs > 0);
}

#[tokio::test]
async fn a_piece_that_breaks_off_or_has_a_turned_bit_changes_no_byte() {
    // The last one is in what every map has made, the others in the head of the answer or before it.
    for damage in [Damage::Refuse, Damage::CutAfter(50), Damage::Flip(20), Damage::Flip(300)] {
        let Three { bench, id, first_map, reduces } = three(10, damage).await;
        first_map.open();
        a_reduce_at_each(&bench, &id).await;
        let harmed = || bench.workers.iter().map(|worker| worker.cable.harmed()).sum::<u64>();
        let came = || (0..3).any(|number| pieces(&bench, number) > 0);
        match damage {
            Damage::Flip(300) => until("a damaged piece", || harmed() > 0 && came()).await,
            Damage::Refuse => {}
            _ => until("a harmed answer", || harmed() > 0).await,
        }
        // What did not come, or came damaged, is fetched by the reduces now: nothing is wrong with the
        // outputs.
        bench.workers.iter().for_each(|worker| worker.cable.damage(Damage::None));
        reduces.open();
        bench.finish(&id).await.unwrap();
        assert!(parts(&bench.path("out")) == parts(&bench.path("local")), "{damage:?}");
        let report = bench.view().await.jobs[&id].report().unwrap();
        let lost = (report.lost_outputs, report.failed_attempts);
        assert_eq!(lost, (0, 0), "{damage:?}: {:?}", report.failures);
    }
}
