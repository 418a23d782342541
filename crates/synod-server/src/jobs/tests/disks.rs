//! Inputs whose disk answers with errors: of one worker, of all, of the coordinator. Disks that are full
//! where something is written: `/dev/full` takes the place of the file. One that keeps nothing: `/dev/null`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use synod_jobs::cluster::{JobState, TaskId, TaskKind, View, Work};
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
        let eligible = view.eligible(view.jobs.get(&id)?);
        // Before the job is planned nobody is.
        let mut others = view.workers.keys().filter(|worker| !eligible.contains(worker));
        others.next().filter(|_| !eligible.is_empty()).map(|worker| view.node_of(worker))
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
    let by_bad = report
        .tasks
        .iter()
        .filter(|task| report.nodes[task.node as usize] == "w0" && task.task.kind == TaskKind::Map);
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

#[tokio::test]
async fn a_disk_that_loses_what_a_reduce_has_fetched_fails_that_reduce_and_no_map_output_is_blamed()
{
    let mut bench = Bench::new(0).await;
    let mut random = fastrand::Rng::with_seed(8);
    let lines: String = (0..40_000).map(|_| format!("{:016x}\n", random.u64(..))).collect();
    fs::write(bench.path("in"), lines).unwrap();
    // Most of what a reduce fetches does not fit into its memory.
    let spec = |output: &str| JobSpec {
        reduces: Some(2),
        split_bytes: Some(50_000),
        memory_bytes: 1 << 18,
        sync_output: false,
        ..JobSpec::new("sort", [bench.path("in")], bench.path(output))
    };
    let (here, there) = (spec("local"), spec("out"));
    run_built_in(&here, &Progress::new()).unwrap();
    let (begun, maps, reduces) = (Gate::default(), Gate::default(), Gate::default());
    for number in 0..2 {
        let (begun, maps, reduces) = (begun.clone(), maps.clone(), reduces.clone());
        let folder = bench.path(&format!("w{number}")).join("jobs");
        let kind = Kind::acting(move |moment| {
            let Moment::AttemptBegins(held) = moment else { return };
            let is_reduce = held.task.kind == TaskKind::Reduce;
            match (number, is_reduce) {
                // It makes one map, the other worker the rest, and a reduce is left for it.
                (0, false) => {
                    begun.open();
                    maps.pass();
                }
                (1, false) => begun.pass(),
                (1, true) => reduces.pass(),
                (0, true) => {
                    let folder = folder.join(held.job.to_string());
                    fs::create_dir_all(&folder).unwrap();
                    for map in 0..20 {
                        let (task, attempt) = (held.task, held.attempt());
                        let copy = format!("tmp-{task}-{attempt}-from-{}.run", TaskId::map(map));
                        std::os::unix::fs::symlink("/dev/null", folder.join(copy)).unwrap();
                    }
                }
                _ => unreachable!("there are two"),
            }
        });
        let mut kind = Kind { slots: 1, ahead_percent: 0, ..kind.unhurried() };
        kind.limits.slow_after = Duration::from_secs(600);
        bench.add(kind).await;
    }
    let id = bench.submit(&there).await;
    let all_but_one = |view: &View| {
        let job = view.jobs.get(&id)?;
        let all = job.job.as_ref()?.record.totals.maps;
        (all > 4 && job.done(TaskKind::Map) == all - 1).then_some(())
    };
    bench.wait("all maps but one", all_but_one).await;
    maps.open();
    let failed = |view: &View| {
        let mut tasks = view.jobs.get(&id)?.tasks.values();
        tasks.any(|task| !task.record.failures.is_empty()).then_some(())
    };
    bench.wait("a reduce that has failed", failed).await;
    reduces.open();
    bench.finish(&id).await.unwrap();
    assert!(parts(&bench.path("out")) == parts(&bench.path("local")));
    let report = bench.view().await.jobs[&id].report().unwrap();
    assert_eq!(report.lost_outputs, 0);
    assert!(!report.failures.is_empty());
    for row in &report.failures {
        assert_eq!(row.failure.node, "w0");
        assert!(row.failure.message.contains("-from-m0000"), "{}", row.failure.message);
    }
}

/// Where an attempt writes: its worker's folder for the job, and its own folder in the output.
type Place = fn(&Path, &Path) -> PathBuf;

/// The first attempt of this task finds no room there. The job's output, and the failures it knows of.
async fn without_room(task: &'static str, place: Place) -> Vec<String> {
    let mut bench = Bench::new(0).await;
    fs::write(bench.path("in"), text(40_000, 6)).unwrap();
    // A task that has something to say.
    fs::write(bench.path("empty.gz"), "").unwrap();
    let spec = |output: &str| JobSpec {
        reduces: Some(2),
        // More runs than one merge takes.
        split_bytes: Some(500),
        memory_bytes: 1 << 18,
        sync_output: false,
        ..JobSpec::new("sort", ["empty.gz", "in"].map(|name| bench.path(name)), bench.path(output))
    };
    let (here, there) = (spec("local"), spec("out"));
    run_built_in(&here, &Progress::new()).unwrap();
    let hit = Arc::new(AtomicBool::new(false));
    for number in 0..2 {
        let (out, hit) = (bench.path("out"), hit.clone());
        let folder = bench.path(&format!("w{number}")).join("jobs");
        let kind = Kind::acting(move |moment| {
            if let Moment::AttemptBegins(held) = moment
                && held.task.to_string() == task
                && held.attempt() == 0
            {
                let job = held.job.to_string();
                let own = out.join("_temporary").join(&job).join(format!("{task}-0"));
                let file = place(&folder.join(job), &own);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::os::unix::fs::symlink("/dev/full", file).unwrap();
                hit.store(true, Ordering::SeqCst);
            }
        });
        bench.add(Kind { slots: 1, ..kind }).await;
    }
    let id = bench.submit(&there).await;
    bench.finish(&id).await.unwrap();
    assert!(parts(&bench.path("out")) == parts(&bench.path("local")));
    assert!(hit.load(Ordering::SeqCst));
    let report = bench.view().await.jobs[&id].report().unwrap();
    report.failures.into_iter().map(|row| row.failure.message).collect()
}

#[tokio::test]
async fn a_full_disk_at_a_merge_or_a_part_file_is_a_failed_attempt_and_named() {
    let merge: Place = |folder, _| folder.join("tmp-r000000-0-0.run");
    let part: Place = |_, own| own.join("part-00000");
    for (place, name) in [(merge, "tmp-r000000-0-0.run"), (part, "r000000-0/part-00000")] {
        let failures = without_room("r000000", place).await;
        assert_eq!(failures.len(), 1, "{failures:?}");
        assert!(
            failures[0].contains("no space left") && failures[0].contains(name),
            "{failures:?}"
        );
    }
}

#[tokio::test]
async fn a_job_that_asks_for_more_memory_than_a_node_gives_runs_with_less_and_its_logs_say_so() {
    let mut random = fastrand::Rng::with_seed(9);
    let lines: String = (0..100_000).map(|_| format!("{:016x}\n", random.u64(..))).collect();
    for (memory_bytes, is_less) in [(Some(2 << 20), true), (None, false)] {
        let mut bench = Bench::new(0).await;
        fs::write(bench.path("in"), &lines).unwrap();
        let spec = |output: &str| JobSpec {
            reduces: Some(2),
            split_bytes: Some(1 << 30),
            memory_bytes: 64 << 20,
            sync_output: false,
            ..JobSpec::new("sort", [bench.path("in")], bench.path(output))
        };
        let (here, there) = (spec("local"), spec("out"));
        run_built_in(&here, &Progress::new()).unwrap();
        let folder = bench.path("w0").join("jobs");
        // It meets a full disk if it has to spill.
        let kind = Kind::acting(move |moment| {
            if let Moment::AttemptBegins(held) = moment
                && (held.task, held.attempt()) == (TaskId::map(0), 0)
            {
                let spill = folder.join(held.job.to_string()).join("tmp-m000000-0-0.run");
                fs::create_dir_all(spill.parent().unwrap()).unwrap();
                std::os::unix::fs::symlink("/dev/full", spill).unwrap();
            }
        });
        bench.add(Kind { slots: 1, memory_bytes, ..kind }).await;
        let id = bench.submit(&there).await;
        bench.finish(&id).await.unwrap();
        assert!(parts(&bench.path("out")) == parts(&bench.path("local")));
        let failures = bench.view().await.jobs[&id].report().unwrap().failures;
        let spills = failures.iter().filter(|row| row.failure.message.contains("-0-0.run"));
        assert_eq!((spills.count(), failures.len()), (is_less.into(), is_less.into()));
        let attempt = u32::from(is_less);
        let log = bench.workers[0].folder.join(format!("{id}/logs/m000000-{attempt}.log"));
        let log = fs::read_to_string(log).unwrap_or_default();
        let says = "gives jobs 2 MiB of memory, this one asks for 64";
        assert_eq!(log.contains(says), is_less, "{log}");
    }
}

#[tokio::test]
async fn a_full_disk_under_a_tasks_log_costs_the_log_and_nothing_else() {
    let log: Place = |folder, _| folder.join("logs").join("m000000-0.log");
    assert_eq!(without_room("m000000", log).await, [""; 0]);
}

const DRAFT_SEED: u64 = 4;

#[tokio::test]
async fn a_full_disk_at_success_is_tried_again_and_fails_the_job_only_if_it_stays_full() {
    for full_for in [1, 2, u32::MAX] {
        let mut bench = Bench::new(0).await;
        fs::write(bench.path("in"), text(10_000, 6)).unwrap();
        let (out, tries) = (bench.path("out"), AtomicU32::new(0));
        let act = move |moment: Moment<'_>| {
            if !matches!(moment, Moment::WorkBegins(Work::Commit)) {
                return;
            }
            let own = fs::read_dir(out.join("_temporary")).unwrap().next().unwrap().unwrap();
            // The name that this thread will draw for its draft.
            let drawn = fastrand::Rng::with_seed(DRAFT_SEED).u64(..);
            fastrand::seed(DRAFT_SEED);
            let draft = own.path().join(format!("_SUCCESS-{drawn:016x}"));
            // What has failed is removed.
            if tries.fetch_add(1, Ordering::SeqCst) < full_for {
                std::os::unix::fs::symlink("/dev/full", draft).unwrap();
            }
        };
        bench.add(Kind::acting(act)).await;
        let input = bench.path("in").to_str().unwrap().to_owned();
        let id = bench.submit(&spec(&bench, input, "out")).await;
        let ended = bench.finish(&id).await;
        if full_for == u32::MAX {
            let why = ended.unwrap_err().to_string();
            assert!(why.contains("no space left") && why.contains("_SUCCESS"), "{why}");
            assert!(!bench.path("out").exists());
        } else {
            ended.unwrap();
            parts(&bench.path("out"));
        }
    }
}
