//! Inputs whose disk answers with errors: of one worker, of all, of the coordinator.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use synod_jobs::cluster::{JobState, View};
use synod_jobs::framing::InputFormat;
use synod_jobs::input::{InputFile, InputStore};
use synod_jobs::{JobError, JobSpec, Progress, run_built_in};

use super::bench::{Bench, Kind, parts, text};
use super::shuffle::Gate;
use crate::jobs::moments::{Moment, Moments};

/// What the operating system calls an error of a disk.
const EIO: i32 = 5;

/// `disk:///FILE`, as one machine sees it: from some byte of each read on nothing comes but errors.
struct Disk {
    good_bytes: u64,
}

fn file_of(name: &Path) -> PathBuf {
    PathBuf::from(name.to_str().unwrap().strip_prefix("disk://").unwrap())
}

impl InputStore for Disk {
    fn list(&self, name: &Path, _: &InputFormat, _: &Progress) -> Result<Vec<InputFile>, JobError> {
        let bytes = fs::metadata(file_of(name)).unwrap().len();
        Ok(vec![InputFile {
            path: name.to_owned(),
            bytes,
            modified: (0, 0),
            codec: None,
            version: None,
            whole: false,
        }])
    }

    fn open(&self, input: &InputFile, range: Range<u64>) -> Result<Box<dyn Read + Send>, JobError> {
        let file = File::open(file_of(&input.path)).unwrap();
        Ok(Box::new(Reading { file, at: range.start, good_bytes: self.good_bytes }))
    }

    fn check_unchanged(&self, _: &InputFile) -> Result<(), JobError> {
        Ok(())
    }
}

struct Reading {
    file: File,
    at: u64,
    good_bytes: u64,
}

impl Read for Reading {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.good_bytes == 0 {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let most = into.len().min(usize::try_from(self.good_bytes).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut into[..most], self.at)?;
        self.at += read as u64;
        self.good_bytes -= read as u64;
        Ok(read)
    }
}

async fn add(bench: &mut Bench, good_bytes: u64) {
    let moments = Moments { disk: Some(Arc::new(Disk { good_bytes })), ..Moments::default() };
    bench.add(Kind { moments, slots: 1, ..Kind::default() }).await;
}

fn spec(bench: &Bench, input: String, output: &str) -> JobSpec {
    JobSpec {
        reduces: Some(2),
        split_bytes: Some(4_000),
        sync_output: false,
        ..JobSpec::new("wordcount", [input], bench.path(output))
    }
}

#[tokio::test]
async fn a_worker_whose_disk_fails_leaves_its_tasks_to_the_others() {
    let mut bench = Bench::new(0).await;
    fs::write(bench.path("in"), text(40_000, 6)).unwrap();
    let input = bench.path("in").to_str().unwrap().to_owned();
    run_built_in(&spec(&bench, input.clone(), "local"), &Progress::new()).unwrap();
    add(&mut bench, 1_000).await;
    // The other one waits until this one has failed so many tasks that it gets no more.
    let gate = Gate::default();
    let held = gate.clone();
    let waits = Kind::acting(move |moment| {
        if let Moment::AttemptBegins(_) = moment {
            held.pass();
        }
    });
    let disk: Option<Arc<dyn InputStore>> = Some(Arc::new(Disk { good_bytes: u64::MAX }));
    let moments = Moments { disk, ..waits.moments };
    bench.add(Kind { moments, slots: 1, ..Kind::default() }).await;
    let id = bench.submit(&spec(&bench, format!("disk://{input}"), "out")).await;
    let left_out = |view: &View| {
        let excluded = view.jobs.get(&id)?.excluded();
        excluded.first().map(|worker| view.node_of(worker))
    };
    assert_eq!(bench.wait("one that gets no more tasks", left_out).await, "w0");
    gate.open();
    bench.finish(&id).await.unwrap();
    assert!(parts(&bench.path("out")) == parts(&bench.path("local")));
    let report = bench.view().await.jobs[&id].report().unwrap();
    assert!(report.failed_attempts >= 3, "{:?}", report.failures);
    for row in &report.failures {
        assert_eq!(row.failure.node, "w0");
        let message = &row.failure.message;
        assert!(message.contains(&input) && message.contains("os error 5"), "{message}");
    }
    let by_bad = report.tasks.iter().filter(|task| {
        report.nodes[task.node as usize] == "w0"
            && task.task.kind == synod_jobs::cluster::TaskKind::Map
    });
    assert_eq!(by_bad.count(), 0, "what it could not read was not counted as read");
}

#[tokio::test]
async fn an_input_that_nobody_can_read_fails_the_job_by_name_and_leaves_nothing() {
    let mut bench = Bench::new(0).await;
    fs::write(bench.path("in"), text(9_000, 6)).unwrap();
    let input = bench.path("in").to_str().unwrap().to_owned();
    for _ in 0..2 {
        add(&mut bench, 100).await;
    }
    let id = bench.submit(&spec(&bench, format!("disk://{input}"), "out")).await;
    let why = bench.finish(&id).await.unwrap_err().to_string();
    assert!(why.contains(&input) && why.contains("os error 5"), "{why}");
    assert!(!bench.path("out").exists());
    bench.wait_clean().await;
}

#[tokio::test]
async fn an_input_that_the_coordinator_cannot_read_fails_the_job_before_it_has_touched_anything() {
    let bench = Bench::new(1).await;
    // A regular file that opens and has no byte that can be read: nothing is at the beginning of a
    // process's memory.
    let input = "/proc/self/mem".to_owned();
    let local = run_built_in(&spec(&bench, input.clone(), "local"), &Progress::new()).unwrap_err();
    let id = bench.submit(&spec(&bench, input.clone(), "out")).await;
    let why = bench.finish(&id).await.unwrap_err().to_string();
    for why in [why, local.to_string()] {
        assert!(why.contains(&input) && why.contains("os error 5"), "{why}");
    }
    assert!(!bench.path("out").exists() && !bench.path("local").exists());
    let state = bench.view().await.jobs[&id].job.clone().unwrap().record.state;
    assert!(matches!(state, JobState::Failed(_)), "{state:?}");
}
