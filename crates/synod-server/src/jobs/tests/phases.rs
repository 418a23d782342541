//! The coordinator stops in each of its phases, before and after its work on files, and another one goes on.
//! When the first one's thread wakes up later, it changes nothing any more.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use synod_jobs::cluster::{JobId, JobState, TaskKind, Work};
use synod_jobs::{JobSpec, Progress, run_built_in};

use super::bench::{Bench, Kind, parts, text};
use super::shuffle::Gate;
use crate::jobs::moments::Moment;
use crate::jobs::{Cancelling, cancel_job};

/// Nothing takes this long, but a thread that is never let go.
const HELD_AT_MOST: Duration = Duration::from_secs(60);

/// Before the work, or after it while nobody knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Beginning,
    End,
}

/// Holds the first thread that comes to this work, until it is let go.
struct Hold {
    reached: Receiver<()>,
    release: Sender<()>,
}

fn hold_at(work: Work, at: At) -> (Kind, Hold) {
    hold_when(move |moment| match moment {
        Moment::WorkBegins(begun) => at == At::Beginning && begun == work,
        Moment::WorkEnded(ended) => at == At::End && ended == work,
        _ => false,
    })
}

fn hold_when(is_it: impl Fn(Moment<'_>) -> bool + Send + Sync + 'static) -> (Kind, Hold) {
    let (tell, reached) = channel();
    let (release, released) = channel();
    let once = Arc::new(Mutex::new(Some((tell, released))));
    let kind = Kind::acting(move |moment| {
        let first = if is_it(moment) { once.lock().unwrap().take() } else { None };
        if let Some((tell, released)) = first {
            tell.send(()).unwrap();
            // If the test has failed meanwhile there is nobody to let it go.
            let _released = released.recv_timeout(HELD_AT_MOST);
        }
    });
    (kind, Hold { reached, release })
}

impl Hold {
    async fn wait_reached(self) -> Sender<()> {
        let reached = self.reached;
        let wait = move || reached.recv_timeout(HELD_AT_MOST);
        tokio::task::spawn_blocking(wait).await.unwrap().expect("the coordinator comes to it");
        self.release
    }
}

fn spec(bench: &Bench, output: &str) -> JobSpec {
    JobSpec {
        reduces: Some(3),
        split_bytes: Some(4_000),
        sync_output: false,
        ..JobSpec::new("sort", [bench.path("in")], bench.path(output))
    }
}

/// How the coordinator leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Loss {
    /// For ever.
    Killed,
    /// It stands still, loses its lease, and wakes up when the job is over.
    Paused,
}

async fn coordinator_lost(work: Work, at: At, loss: Loss) {
    let case = format!("{work:?} {at:?} {loss:?}");
    let mut bench = Bench::new(0).await;
    fs::write(bench.path("in"), text(30_000, 7)).unwrap();
    run_built_in(&spec(&bench, "local"), &Progress::new()).unwrap();
    let (kind, hold) = hold_at(work, at);
    let first = bench.add(kind).await;
    let id = bench.submit(&spec(&bench, "out")).await;
    let release = hold.wait_reached().await;
    assert_eq!(bench.coordinator().await, Some(first), "{case}");
    bench.add(Kind::default()).await;
    bench.add(Kind::default()).await;
    // One of them is next: the first one would be it again if it came back before they have come.
    bench.wait_candidates(3).await;
    match loss {
        Loss::Killed => bench.kill(first, true).await,
        Loss::Paused => bench.end_lease(first).await,
    }
    let summary = bench.finish(&id).await.unwrap_or_else(|error| panic!("{case}: {error}"));
    let done = parts(&bench.path("out"));
    assert!(done == parts(&bench.path("local")), "{case}: another output");
    assert_eq!(summary.manifest.counters.map_records_in, lines(&bench), "{case}");
    // The first one wakes up and does what it was about to do, or to say.
    release.send(()).unwrap();
    if loss == Loss::Paused {
        bench.wait_clean().await;
    }
    let again = bench.run(&spec(&bench, "out3")).await.unwrap();
    assert_eq!(again.manifest.parts, summary.manifest.parts, "{case}");
    assert!(done == parts(&bench.path("out")), "{case}: changed after the end");
    let state = bench.view().await.jobs[&id].job.clone().unwrap().record.state;
    assert!(matches!(state, JobState::Done(_)), "{case}: {state:?}");
}

fn lines(bench: &Bench) -> u64 {
    fs::read_to_string(bench.path("in")).unwrap().lines().count() as u64
}

#[tokio::test]
async fn the_coordinator_is_killed_in_each_phase_and_the_next_one_goes_on() {
    for work in [Work::Check, Work::Plan, Work::Commit] {
        for at in [At::Beginning, At::End] {
            coordinator_lost(work, at, Loss::Killed).await;
        }
    }
}

#[tokio::test]
async fn a_coordinator_that_stands_still_in_a_phase_and_wakes_up_later_changes_nothing() {
    for work in [Work::Check, Work::Plan, Work::Commit] {
        for at in [At::Beginning, At::End] {
            coordinator_lost(work, at, Loss::Paused).await;
        }
    }
}

/// Workers of which one attempt of this kind gets through, and all others wait at the gate; a job that has
/// come so far that one task of the kind is done and another one runs.
async fn in_the_middle(kind: TaskKind, workers: usize) -> (Bench, Gate, JobId) {
    let mut bench = Bench::new(0).await;
    fs::write(bench.path("in"), text(60_000, 8)).unwrap();
    let (gate, passed) = (Gate::default(), Arc::new(AtomicBool::new(false)));
    for _ in 0..workers {
        let (gate, passed) = (gate.clone(), passed.clone());
        let acting = Kind::acting(move |moment| {
            if let Moment::AttemptBegins(held) = moment
                && held.task.kind == kind
                && passed.swap(true, Ordering::SeqCst)
            {
                gate.pass();
            }
        });
        bench.add(acting).await;
    }
    let id = bench.submit(&spec(&bench, "out")).await;
    let half = |view: &synod_jobs::cluster::View| {
        let job = view.jobs.get(&id)?;
        let runs = job.attempts().any(|(task, ..)| task.kind == kind);
        (job.done(kind) > 0 && runs).then_some(())
    };
    bench.wait("a task of the kind that is done, and one that runs", half).await;
    (bench, gate, id)
}

#[tokio::test]
async fn the_coordinator_is_killed_while_maps_run_and_while_reduces_run() {
    for kind in [TaskKind::Map, TaskKind::Reduce] {
        let (mut bench, gate, id) = in_the_middle(kind, 3).await;
        run_built_in(&spec(&bench, "local"), &Progress::new()).unwrap();
        let coordinator = bench.coordinator().await.expect("somebody coordinates a running job");
        bench.kill(coordinator, true).await;
        let before = bench.view().await.jobs[&id].job.clone().unwrap().record;
        assert_eq!(before.state, JobState::Running, "{kind:?}: nothing was over");
        gate.open();
        bench.finish(&id).await.unwrap();
        assert!(parts(&bench.path("out")) == parts(&bench.path("local")), "{kind:?}");
        let after = bench.view().await.jobs[&id].job.clone().unwrap().record;
        assert!(after.epoch > before.epoch, "{kind:?}: another one has brought it to its end");
    }
}

/// Asks to cancel while the coordinator is held at this moment; what must hold afterwards.
async fn cancelled_at(work: Work, at: At) {
    let case = format!("{work:?} {at:?}");
    let mut bench = Bench::new(0).await;
    fs::write(bench.path("in"), text(10_000, 9)).unwrap();
    let (kind, hold) = hold_at(work, at);
    bench.add(kind).await;
    let id = bench.submit(&spec(&bench, "out")).await;
    let release = hold.wait_reached().await;
    assert_eq!(cancel_job(&bench.kv, &id).await.unwrap(), Cancelling::Asked, "{case}");
    release.send(()).unwrap();
    bench.wait_state(&id, "an end", JobState::is_final).await;
    let state = bench.view().await.jobs[&id].job.clone().unwrap().record.state;
    // A commit has ended, or hears of the wish in time.
    let published = work == Work::Commit && matches!(state, JobState::Done(_));
    assert!(published || at == At::Beginning || work != Work::Commit, "{case}: {state:?}");
    ended_without_output(&bench, &id, &case, published).await;
}

async fn ended_without_output(bench: &Bench, id: &JobId, case: &str, published: bool) {
    let state = bench.view().await.jobs[id].job.clone().unwrap().record.state;
    if published {
        // What readers have seen cannot be taken back.
        assert!(matches!(state, JobState::Done(_)), "{case}: {state:?}");
        parts(&bench.path("out"));
    } else {
        assert_eq!(state, JobState::Cancelled, "{case}");
        assert!(!bench.path("out").exists(), "{case}");
    }
    assert_eq!(cancel_job(&bench.kv, id).await.unwrap(), Cancelling::Ended, "{case}");
    bench.wait_clean().await;
    let left = bench.view().await.jobs[id].clone();
    assert!(left.tasks.is_empty() && left.plan.is_empty() && !left.cancel, "{case}");
}

#[tokio::test]
async fn a_job_cancelled_in_any_phase_leaves_nothing_unless_it_was_published() {
    for work in [Work::Check, Work::Plan, Work::Commit] {
        for at in [At::Beginning, At::End] {
            cancelled_at(work, at).await;
        }
    }
    for kind in [TaskKind::Map, TaskKind::Reduce] {
        let (bench, gate, id) = in_the_middle(kind, 2).await;
        assert_eq!(cancel_job(&bench.kv, &id).await.unwrap(), Cancelling::Asked);
        bench.wait_state(&id, "an end", JobState::is_final).await;
        gate.open();
        ended_without_output(&bench, &id, &format!("{kind:?}"), false).await;
    }
    let bench = Bench::new(1).await;
    let nobody: JobId = "99".parse().unwrap();
    assert_eq!(cancel_job(&bench.kv, &nobody).await.unwrap(), Cancelling::Unknown);
}

#[tokio::test]
async fn the_coordinator_is_killed_while_it_removes_what_a_job_has_left() {
    for at in [At::Beginning, At::End] {
        let mut bench = Bench::new(0).await;
        fs::write(bench.path("in"), text(30_000, 7)).unwrap();
        let (kind, hold) = hold_at(Work::Clean, at);
        let first = bench.add(kind).await;
        let id = bench.submit(&spec(&bench, "out")).await;
        let running = |state: &JobState| *state == JobState::Running;
        bench.wait_state(&id, "tasks", running).await;
        cancel_job(&bench.kv, &id).await.unwrap();
        let release = hold.wait_reached().await;
        bench.kill(first, true).await;
        bench.add(Kind::default()).await;
        bench.wait_state(&id, "an end", |state| *state == JobState::Cancelled).await;
        assert!(!bench.path("out").exists());
        // Another job may have the folder now; who wakes up late leaves it alone.
        bench.run(&spec(&bench, "out")).await.unwrap();
        release.send(()).unwrap();
        bench.run(&spec(&bench, "out2")).await.unwrap();
        parts(&bench.path("out"));
    }
}

#[tokio::test]
async fn a_folder_made_by_a_coordinator_that_wakes_up_after_the_end_goes_again() {
    let mut bench = Bench::new(0).await;
    fs::write(bench.path("in"), text(10_000, 7)).unwrap();
    let (held, hold) = hold_when(|moment| matches!(moment, Moment::Makes));
    let (made, was_made) = channel();
    let out = bench.path("out");
    let act = held.moments.act.clone().unwrap();
    let kind = Kind::acting(move |moment| {
        act(moment);
        if matches!(moment, Moment::WorkEnded(Work::Plan)) {
            // The test may have heard enough.
            let _heard: Result<(), _> = made.send(out.exists());
        }
    });
    let first = bench.add(kind).await;
    let id = bench.submit(&spec(&bench, "out")).await;
    let release = hold.wait_reached().await;
    bench.add(Kind::default()).await;
    bench.wait_candidates(2).await;
    bench.end_lease(first).await;
    cancel_job(&bench.kv, &id).await.unwrap();
    bench.wait_state(&id, "an end", |state| *state == JobState::Cancelled).await;
    assert!(!bench.path("out").exists());
    release.send(()).unwrap();
    let wait = move || was_made.recv_timeout(HELD_AT_MOST);
    let was_made = tokio::task::spawn_blocking(wait).await.unwrap().unwrap();
    assert!(was_made, "it woke up and made the folder");
    let began = std::time::Instant::now();
    while bench.path("out").exists() {
        assert!(began.elapsed() < HELD_AT_MOST, "the folder stays");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
