//! Planning over inputs that are many, or whose store is slow, stands still, or is told to stop.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use synod_jobs::cluster::{JobId, JobState};
use synod_jobs::framing::InputFormat;
use synod_jobs::input::{InputFile, InputStore};
use synod_jobs::{JobError, JobSpec, Progress};

use super::bench::{Bench, Kind, parts, text};
use super::commits::{Passing, STALL, end_of, wait_until};
use crate::jobs::moments::Moments;
use crate::jobs::{Cancelling, cancel_job, submit_job};

type Looking = dyn Fn(&Progress) -> Result<(), JobError> + Send + Sync;

/// `disk:///FILE`, found as a test says.
struct Scripted {
    looking: Box<Looking>,
    looks: AtomicU32,
}

fn file_of(name: &Path) -> PathBuf {
    PathBuf::from(name.to_str().unwrap().strip_prefix("disk://").unwrap())
}

impl InputStore for Scripted {
    fn list(
        &self,
        name: &Path,
        _: &InputFormat,
        progress: &Progress,
    ) -> Result<Vec<InputFile>, JobError> {
        self.looks.fetch_add(1, SeqCst);
        (self.looking)(progress)?;
        Ok(vec![InputFile {
            path: name.to_owned(),
            bytes: fs::metadata(file_of(name)).unwrap().len(),
            modified: (0, 0),
            codec: None,
            version: None,
            whole: false,
        }])
    }

    fn open(&self, input: &InputFile, range: Range<u64>) -> Result<Box<dyn Read + Send>, JobError> {
        let mut file = File::open(file_of(&input.path)).unwrap();
        file.seek(SeekFrom::Start(range.start)).unwrap();
        Ok(Box::new(file))
    }

    fn check_unchanged(&self, _: &InputFile) -> Result<(), JobError> {
        Ok(())
    }
}

/// A worker that looks for inputs like this, and a job.
async fn with_job(
    passing: &Passing,
    looking: impl Fn(&Progress) -> Result<(), JobError> + Send + Sync + 'static,
) -> (Bench, JobId, Arc<Scripted>) {
    let mut bench = Bench::new(0).await;
    fs::write(bench.path("in"), text(10_000, 3)).unwrap();
    let store = Arc::new(Scripted { looking: Box::new(looking), looks: AtomicU32::new(0) });
    let mut kind = Kind::default();
    kind.limits.stall = STALL;
    let passed_ms = passing.0.clone();
    kind.moments = Moments { disk: Some(store.clone()), passed_ms, ..Moments::default() };
    bench.add(kind).await;
    let input = format!("disk://{}", bench.path("in").display());
    let spec = JobSpec { sync_output: false, ..JobSpec::new("sort", [input], bench.path("out")) };
    let id = bench.submit(&spec).await;
    (bench, id, store)
}

#[tokio::test]
async fn planning_that_moves_may_take_longer_than_anything_may_stand_still() {
    let passing = Passing::default();
    let passes = passing.clone();
    let looking = move |progress: &Progress| passes.moving(|| progress.step());
    let (bench, id, store) = with_job(&passing, looking).await;
    let state = end_of(&bench, &id).await;
    assert!(matches!(state, JobState::Done(_)), "{state:?}");
    parts(&bench.path("out"));
    assert_eq!(store.looks.load(SeqCst), 1);
}

#[tokio::test]
async fn planning_that_stands_still_fails_the_job_and_leaves_nothing() {
    let passing = Passing::default();
    let passes = passing.clone();
    let looking = move |progress: &Progress| Err(passes.still(progress));
    let (bench, id, _) = with_job(&passing, looking).await;
    let state = end_of(&bench, &id).await;
    let JobState::Failed(why) = state else { panic!("{state:?}") };
    assert_eq!(why, "planning did not move for 60 s");
    assert!(!bench.path("out").exists());
}

#[tokio::test]
async fn a_job_can_be_cancelled_while_it_is_planned() {
    let (bench, id, store) = with_job(&Passing::default(), |progress| {
        wait_until("it is told to end", || progress.step().is_err());
        Err(JobError::Cancelled)
    })
    .await;
    let wait = move || wait_until("it plans", || store.looks.load(SeqCst) > 0);
    tokio::task::spawn_blocking(wait).await.unwrap();
    assert_eq!(cancel_job(&bench.kv, &id).await.unwrap(), Cancelling::Asked);
    assert_eq!(end_of(&bench, &id).await, JobState::Cancelled);
    assert!(!bench.path("out").exists());
}

#[tokio::test]
async fn a_job_whose_planning_does_not_even_end_when_it_is_cancelled_is_cancelled_all_the_same() {
    let passing = Passing::default();
    let let_go = Arc::new(AtomicBool::new(false));
    let (passes, released) = (passing.clone(), let_go.clone());
    let (bench, id, store) = with_job(&passing, move |progress| {
        wait_until("it is let go", || {
            // Time passes once it has been told to end.
            if progress.check_cancelled().is_err() {
                passes.some();
            }
            released.load(SeqCst)
        });
        Ok(())
    })
    .await;
    let looks = store.clone();
    let wait = move || wait_until("it plans", || looks.looks.load(SeqCst) > 0);
    tokio::task::spawn_blocking(wait).await.unwrap();
    assert_eq!(cancel_job(&bench.kv, &id).await.unwrap(), Cancelling::Asked);
    assert_eq!(end_of(&bench, &id).await, JobState::Cancelled);
    let_go.store(true, SeqCst);
}

#[tokio::test]
async fn a_name_that_is_no_text_is_refused_by_name_before_anything_is_made() {
    let bench = Bench::new(1).await;
    let odd = |folder: &str| bench.path(folder).join(OsStr::from_bytes(b"b\xffd"));
    fs::create_dir(bench.path("in")).unwrap();
    fs::write(bench.path("in/a"), text(100, 3)).unwrap();
    fs::write(odd("in"), text(100, 3)).unwrap();
    for input in [bench.path("in"), bench.path("in/*")] {
        let id = bench.submit(&JobSpec::new("sort", [input], bench.path("out"))).await;
        let state = end_of(&bench, &id).await;
        let JobState::Failed(why) = state else { panic!("{state:?}") };
        assert!(why.contains("/in/b\\xFFd\": this name is not UTF-8"), "{why}");
        assert!(!bench.path("out").exists());
    }
    let by_name = JobSpec::new("sort", [odd("in")], bench.path("out"));
    let output = JobSpec::new("sort", [bench.path("in/a")], odd("out"));
    let store = JobSpec::new("sort", [OsStr::from_bytes(b"kv://b\xffd")], bench.path("out"));
    for spec in [by_name, output, store] {
        let refused = submit_job(&bench.kv, &spec).await.unwrap_err().to_string();
        assert!(refused.contains("b\\xFFd\": this name is not UTF-8"), "{refused}");
    }
}
