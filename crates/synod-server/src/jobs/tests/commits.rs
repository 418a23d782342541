//! Publishing and removing outputs in a store that is slow, stands still, hangs, or is told to stop.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use synod_jobs::cluster::{JobId, JobState};
use synod_jobs::commit::Manifest;
use synod_jobs::{JobError, JobSpec, OutputStore, Progress, Publication};

use super::bench::{Bench, Kind, parts, text};
use crate::jobs::moments::{Moment, Moments};
use crate::jobs::{Cancelling, cancel_job};

/// Nothing takes this long.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long work may stand still here: longer than any machine does. It passes when a test says so.
pub const STALL: Duration = Duration::from_secs(60);

/// Time that passes for a coordinator without being waited for.
#[derive(Clone, Default)]
pub struct Passing(pub Arc<AtomicU64>);

impl Passing {
    /// A fraction of the time that work may stand still.
    pub fn some(&self) {
        self.0.fetch_add(STALL.as_millis() as u64 / 10, SeqCst);
    }

    /// Stands still until it is told to end.
    pub fn still(&self, progress: &Progress) -> JobError {
        wait_until("standing still is noticed", || {
            let told = progress.check_cancelled().is_err();
            if !told {
                self.some();
            }
            told
        });
        JobError::Cancelled
    }

    /// Moves for much longer than anything may stand still; `step` is one move.
    pub fn moving(&self, step: impl Fn() -> Result<(), JobError>) -> Result<(), JobError> {
        for _ in 0..30 {
            step()?;
            self.some();
            // Meanwhile the coordinator looks.
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

type Publishing = dyn Fn(u32, &Progress) -> Result<(), JobError> + Send + Sync;

/// A store that publishes as a test says, and notes who does what.
struct Scripted {
    /// What is done by each try to publish, by its number.
    publishing: Box<Publishing>,
    tries: AtomicU32,
    /// Threads inside that change something, and whether two ever met.
    inside: AtomicU32,
    met: AtomicBool,
    cleaned: AtomicU32,
    manifest: Mutex<Option<Manifest>>,
    /// A try that fails has published all the same, as one of a coordinator that was replaced may have.
    publishes_failing: AtomicBool,
    /// Looking for an output waits for this.
    looked: AtomicBool,
}

impl Scripted {
    fn new(
        publishing: impl Fn(u32, &Progress) -> Result<(), JobError> + Send + Sync + 'static,
    ) -> Arc<Scripted> {
        Arc::new(Scripted {
            publishing: Box::new(publishing),
            tries: AtomicU32::new(0),
            inside: AtomicU32::new(0),
            met: AtomicBool::new(false),
            cleaned: AtomicU32::new(0),
            manifest: Mutex::new(None),
            publishes_failing: AtomicBool::new(false),
            looked: AtomicBool::new(true),
        })
    }

    fn change<T>(&self, body: impl FnOnce() -> T) -> T {
        if self.inside.fetch_add(1, SeqCst) > 0 {
            self.met.store(true, SeqCst);
        }
        let result = body();
        self.inside.fetch_sub(1, SeqCst);
        result
    }

    fn counts(&self) -> (u32, u32) {
        assert!(!self.met.load(SeqCst), "two threads worked on one output at the same time");
        (self.tries.load(SeqCst), self.cleaned.load(SeqCst))
    }
}

impl OutputStore for Scripted {
    fn check(&self, _: &JobSpec) -> Result<(), JobError> {
        Ok(())
    }

    fn check_absent(&self, _: &Path) -> Result<(), JobError> {
        wait_until("it may be looked for", || self.looked.load(SeqCst));
        Ok(())
    }

    fn claim(&self, _: &Path, job: Option<&JobId>) -> Result<String, JobError> {
        Ok(job.expect("a job on a cluster has a name").to_string())
    }

    fn publish(&self, files: &Publication<'_>, progress: &Progress) -> Result<(), JobError> {
        self.change(|| {
            let done = (self.publishing)(self.tries.fetch_add(1, SeqCst), progress);
            if done.is_ok() || self.publishes_failing.load(SeqCst) {
                *self.manifest.lock().unwrap() = Some(files.manifest.clone());
            }
            done
        })
    }

    fn published(&self, _: &Path, _: &str) -> Result<Option<Manifest>, JobError> {
        Ok(self.manifest.lock().unwrap().clone())
    }

    fn clean(&self, out: &Path, mark: &str, _: &Progress) -> Result<Option<Manifest>, JobError> {
        self.change(|| self.cleaned.fetch_add(1, SeqCst));
        self.published(out, mark)
    }
}

/// Waits on a thread that may block.
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn wait_cancelled(progress: &Progress) -> JobError {
    wait_until("it is told to end", || progress.check_cancelled().is_err());
    JobError::Cancelled
}

/// A worker over that store, and a job with its output there.
async fn with_job(store: &Arc<Scripted>, passing: &Passing) -> (Bench, JobId) {
    let mut bench = Bench::new(0).await;
    fs::write(bench.path("in"), text(10_000, 3)).unwrap();
    let mut kind = Kind::default();
    kind.limits.stall = STALL;
    let passed_ms = passing.0.clone();
    kind.moments = Moments { slow: Some(store.clone()), passed_ms, ..Moments::default() };
    bench.add(kind).await;
    let spec = JobSpec {
        staging_folder: Some(bench.path("staging")),
        sync_output: false,
        ..JobSpec::new("sort", [bench.path("in")], "slow://out")
    };
    let id = bench.submit(&spec).await;
    (bench, id)
}

pub async fn end_of(bench: &Bench, id: &JobId) -> JobState {
    bench.wait_state(id, "an end", JobState::is_final).await;
    bench.view().await.jobs[id].job.clone().unwrap().record.state
}

#[tokio::test]
async fn a_job_whose_output_is_still_looked_for_is_seen_to_be_looked_after() {
    let passing = Passing::default();
    let store = Scripted::new(|_, _| Ok(()));
    store.looked.store(false, SeqCst);
    let (bench, id) = with_job(&store, &passing).await;
    passing.some();
    bench.wait_state(&id, "that it is noticed", |state| *state == JobState::Waiting).await;
    store.looked.store(true, SeqCst);
    let state = end_of(&bench, &id).await;
    assert!(matches!(state, JobState::Done(_)), "{state:?}");
}

#[tokio::test]
async fn a_commit_that_moves_may_take_longer_than_anything_may_stand_still() {
    let passing = Passing::default();
    let passes = passing.clone();
    let store = Scripted::new(move |_, progress| {
        passes.moving(|| {
            progress.note_move();
            progress.check_cancelled()
        })
    });
    let (bench, id) = with_job(&store, &passing).await;
    let state = end_of(&bench, &id).await;
    assert!(matches!(state, JobState::Done(_)), "{state:?}");
    assert_eq!(store.counts(), (1, 0));
}

#[tokio::test]
async fn a_commit_that_stands_still_is_begun_again_only_when_it_has_ended() {
    let passing = Passing::default();
    let passes = passing.clone();
    let store = Scripted::new(move |number, progress| match number {
        0 => {
            let told = passes.still(progress);
            // On its way out it is still at work.
            std::thread::sleep(Duration::from_millis(500));
            Err(told)
        }
        _ => Ok(()),
    });
    let (bench, id) = with_job(&store, &passing).await;
    let state = end_of(&bench, &id).await;
    assert!(matches!(state, JobState::Done(_)), "{state:?}");
    assert_eq!(store.counts(), (2, 0));
}

#[tokio::test]
async fn what_is_left_is_removed_only_when_the_last_commit_has_ended() {
    let passing = Passing::default();
    let passes = passing.clone();
    let store = Scripted::new(move |_, progress| {
        let told = passes.still(progress);
        std::thread::sleep(Duration::from_millis(500));
        Err(told)
    });
    let (bench, id) = with_job(&store, &passing).await;
    let state = end_of(&bench, &id).await;
    let JobState::Failed(why) = state else { panic!("{state:?}") };
    assert_eq!(why, "publishing the output did not move for 60 s");
    assert_eq!(store.counts(), (3, 1));
}

#[tokio::test]
async fn an_output_that_a_hanging_commit_may_still_write_is_left_alone_and_named() {
    let let_go = Arc::new(AtomicBool::new(false));
    let (passing, released) = (Passing::default(), let_go.clone());
    let passes = passing.clone();
    let store = Scripted::new(move |_, _| {
        wait_until("it is let go", || {
            passes.some();
            released.load(SeqCst)
        });
        Ok(())
    });
    let (bench, id) = with_job(&store, &passing).await;
    let state = end_of(&bench, &id).await;
    let JobState::Failed(why) = &state else { panic!("{state:?}") };
    assert!(why.contains("neither moves nor ends") && why.contains("slow://out"), "{why}");
    assert_eq!(store.counts(), (1, 0));
    let_go.store(true, SeqCst);
    let ended = store.clone();
    let wait = move || wait_until("it has ended", || ended.inside.load(SeqCst) == 0);
    tokio::task::spawn_blocking(wait).await.unwrap();
    // What it says comes too late; another job is run as ever.
    let other = JobSpec::new("sort", [bench.path("in")], bench.path("out"));
    bench.run(&other).await.unwrap();
    assert_eq!(end_of(&bench, &id).await, state);
    assert_eq!(store.counts(), (1, 0));
}

#[tokio::test]
async fn a_job_can_be_cancelled_while_it_is_published_and_what_is_there_is_removed_then() {
    for too_late in [false, true] {
        let store = Scripted::new(move |_, progress| {
            let told = wait_cancelled(progress);
            if too_late { Ok(()) } else { Err(told) }
        });
        let (bench, id) = with_job(&store, &Passing::default()).await;
        let begun = store.clone();
        let wait = move || wait_until("it publishes", || begun.tries.load(SeqCst) > 0);
        tokio::task::spawn_blocking(wait).await.unwrap();
        assert_eq!(cancel_job(&bench.kv, &id).await.unwrap(), Cancelling::Asked);
        let state = end_of(&bench, &id).await;
        if too_late {
            assert!(matches!(state, JobState::Done(_)), "{state:?}");
            assert_eq!(store.counts(), (1, 0));
        } else {
            assert_eq!(state, JobState::Cancelled);
            assert_eq!(store.counts(), (1, 1));
        }
    }
}

#[tokio::test]
async fn a_job_that_is_published_in_the_moment_in_which_it_is_cancelled_has_succeeded() {
    let store = Scripted::new(|_, progress| Err(wait_cancelled(progress)));
    store.publishes_failing.store(true, SeqCst);
    let (bench, id) = with_job(&store, &Passing::default()).await;
    let begun = store.clone();
    let wait = move || wait_until("it publishes", || begun.tries.load(SeqCst) > 0);
    tokio::task::spawn_blocking(wait).await.unwrap();
    assert_eq!(cancel_job(&bench.kv, &id).await.unwrap(), Cancelling::Asked);
    let state = end_of(&bench, &id).await;
    let JobState::Done(manifest) = state else { panic!("{state:?}") };
    assert_eq!(Some(manifest), store.manifest.lock().unwrap().clone());
}

#[tokio::test]
async fn a_job_whose_output_is_complete_has_succeeded_though_the_rest_cannot_be_removed() {
    let (let_go, passing) = (Arc::new(AtomicBool::new(false)), Passing::default());
    let (released, passes) = (let_go.clone(), passing.clone());
    let mut kind = Kind::acting(move |moment| {
        if let Moment::Published = moment {
            wait_until("it is let go", || {
                passes.some();
                released.load(SeqCst)
            });
        }
    });
    kind.limits.stall = STALL;
    kind.moments.passed_ms = passing.0;
    let mut bench = Bench::new(0).await;
    fs::write(bench.path("in"), text(10_000, 3)).unwrap();
    bench.add(kind).await;
    let id = bench
        .submit(&JobSpec {
            sync_output: false,
            ..JobSpec::new("sort", [bench.path("in")], bench.path("out"))
        })
        .await;
    // The thread stands still for as long as nobody lets it go.
    let state = end_of(&bench, &id).await;
    assert!(matches!(state, JobState::Done(_)), "{state:?}");
    assert!(bench.path("out/_SUCCESS").exists() && bench.path("out/_temporary").exists());
    let_go.store(true, SeqCst);
    let tidied = bench.path("out/_temporary");
    let wait = move || wait_until("the rest is gone", || !tidied.exists());
    tokio::task::spawn_blocking(wait).await.unwrap();
    assert_eq!(end_of(&bench, &id).await, state);
    parts(&bench.path("out"));
}
