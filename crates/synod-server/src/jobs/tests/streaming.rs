//! Programs of streaming jobs on workers: of an attempt that nobody needs any more no process is left, and
//! what it has counted counts for nothing; how long one may be silent is for the job to say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use synod_jobs::JobSpec;
use synod_jobs::cluster::{JobState, TaskId};
use synod_jobs::streaming::arguments::Arguments;
use synod_jobs::streaming::arguments::submission::{Outside, Submission};
use synod_jobs::streaming::locations::Locations;

use super::bench::{Bench, Kind, parts};
use super::commits::{Passing, STALL};
use super::shuffle::Gate;
use crate::jobs::cancel_job;
use crate::jobs::moments::Moment;

const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of the input, of 100 bytes.
const LINES: u64 = 100_000;
/// A program is offered a mebibyte at a time: of the rest of its split it is known that it has not read it.
const SPLIT_BYTES: u64 = 2_500_000;
const MAPS: u64 = LINES * 100 / SPLIT_BYTES;
const REDUCES: u64 = 2;

/// A streaming job over these lines.
fn spec(bench: &Bench, output: &str, more: &[&str]) -> JobSpec {
    let lines: String = (0..LINES).map(|number| format!("{number:0>99}\n")).collect();
    fs::write(bench.path("in"), lines).unwrap();
    let splits = format!("mapreduce.input.fileinputformat.split.maxsize={SPLIT_BYTES}");
    let splits = ["-D", &splits];
    let reduces = REDUCES.to_string();
    let words = ["-input", "in", "-output", output, "-numReduceTasks", &reduces];
    spec_of(bench, &[&splits[..], more, &words].concat())
}

/// The streaming job of these arguments, as if given in the folder of the bench.
pub fn spec_of(bench: &Bench, words: &[&str]) -> JobSpec {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let outside = Outside {
        read: &|path| fs::read_to_string(path),
        look: &|path| path.metadata().map(drop),
        variable: &|_| None,
        locations: Locations::default(),
        folder: bench.folder.path().to_owned(),
        job_id: "job_1700000000000_0001".to_owned(),
        user: "nobody".to_owned(),
    };
    let submission = Submission::new(&Arguments::parse(&words).unwrap(), &outside).unwrap();
    JobSpec { sync_output: false, ..submission.spec }
}

/// A program that counts and passes its input on, but as attempts with such names says who it and its child
/// are, takes no hint, and waits for ever.
fn script(bench: &Bench, hangs: &str) -> String {
    let pids = bench.path("pids");
    fs::create_dir_all(&pids).unwrap();
    let text = format!(
        "#!/bin/sh
         echo reporter:counter:G,begun,1 >&2
         case $mapreduce_task_attempt_id in
         {hangs})
             trap '' TERM HUP INT
             sleep 600 &
             echo $! > '{pids}/child-'$$
             echo $$ > '{pids}/leader-'$$
             wait ;;
         esac
         exec cat\n",
        pids = pids.display()
    );
    program(bench, &text)
}

/// A program with this text.
fn program(bench: &Bench, text: &str) -> String {
    let path = bench.path("program.sh");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Looks until something is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The processes that have said who they are.
fn pids(bench: &Bench) -> Vec<PathBuf> {
    let files = fs::read_dir(bench.path("pids")).unwrap().map(|file| file.unwrap().path());
    let texts = files.map(|file| fs::read_to_string(file).unwrap());
    // One that is being written has no end yet.
    let done = texts.filter(|text| text.ends_with('\n'));
    done.map(|text| PathBuf::from(format!("/proc/{}/stat", text.trim()))).collect()
}

fn is_alive(process: &PathBuf) -> bool {
    let stat = fs::read_to_string(process).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Of these nothing is taken for dead or hanging, but for slow, and soon.
fn helpful() -> Kind {
    let slow_after = Kind::default().limits.slow_after;
    let mut kind = Kind::default().unhurried();
    kind.limits.slow_after = slow_after;
    kind
}

#[tokio::test]
async fn the_program_of_an_attempt_that_lost_to_a_backup_is_ended_and_counts_for_nothing() {
    for (hangs, task) in [("*_m_000000_0", TaskId::map(0)), ("*_r_000000_0", TaskId::reduce(0))] {
        let mut bench = Bench::new(0).await;
        let program = script(&bench, hangs);
        bench.add(Kind { slots: 1, ..helpful() }).await;
        let spec = spec(&bench, "out", &["-mapper", &program, "-reducer", &program]);
        let id = bench.submit(&spec).await;
        until("the program that hangs", || pids(&bench).len() == 2).await;
        let processes = pids(&bench);
        assert!(processes.iter().all(is_alive));
        bench.add(helpful()).await;
        let summary = bench.finish(&id).await.unwrap();
        let report = bench.view().await.jobs[&id].report().unwrap();
        let winner = report.tasks.iter().find(|row| row.task == task).unwrap();
        assert_eq!((winner.attempt, report.nodes[winner.node as usize].as_str()), (1, "w1"));
        until("the loser's programs to be gone", || !processes.iter().any(is_alive)).await;
        bench.wait_clean().await;
        // It was no failure, but company; on a slow machine another task may have had some, too.
        assert_eq!(report.failed_attempts, 0);
        assert!(winner.backup && report.backup_attempts >= 1);
        assert_eq!(summary.manifest.counters.reduce_records_out, LINES);
        assert_eq!(summary.manifest.counters.user["G,begun"], MAPS + REDUCES);
        assert_eq!(parts(&bench.path("out")).len() as u64, REDUCES);
    }
}

#[tokio::test]
async fn a_worker_that_is_far_slower_than_another_gets_help_and_what_it_does_counts_once_at_most() {
    let mut bench = Bench::new(0).await;
    // The first worker takes twenty seconds for a split, the other one moments.
    let program = program(
        &bench,
        "#!/bin/sh
         echo reporter:counter:G,begun,1 >&2
         case $PWD in
         */w0/*) exec awk '{ print } NR % 250 == 0 { fflush(); system(\"sleep 0.2\") }' ;;
         esac
         exec cat\n",
    );
    bench.add(Kind { slots: 1, ..helpful() }).await;
    let spec = spec(&bench, "out", &["-mapper", &program, "-reducer", "cat"]);
    let id = bench.submit(&spec).await;
    let taken = |view: &synod_jobs::cluster::View| {
        let (task, claim) = view.jobs.get(&id)?.claims.first_key_value()?;
        // It has begun to read, and moves all the time.
        (claim.record.work_done > 0).then_some(*task)
    };
    let slow = bench.wait("the slow worker to be at work", taken).await;
    bench.add(helpful()).await;
    let summary = bench.finish(&id).await.unwrap();
    let report = bench.view().await.jobs[&id].report().unwrap();
    let winner = report.tasks.iter().find(|row| row.task == slow).unwrap();
    assert!(winner.backup && report.nodes[winner.node as usize] == "w1", "{winner:?}");
    assert_eq!(report.failed_attempts, 0);
    let counters = &summary.manifest.counters;
    assert_eq!((counters.map_records_in, counters.reduce_records_out), (LINES, LINES));
    assert_eq!(counters.user["G,begun"], MAPS);
    bench.wait_clean().await;
    // Without the slow one.
    bench.kill(0, true).await;
    let again = JobSpec { output: bench.path("out2"), ..spec };
    bench.run(&again).await.unwrap();
    assert!(parts(&bench.path("out")) == parts(&bench.path("out2")));
}

/// Where a task finds `tools/program.sh` of its worker, from the folder that it works in.
const TOOL: &str = "../../../../tools/program.sh";

/// Two workers, of which the first has no tools. It waits until the other one has a task, and that one begins
/// nothing before the gate is open.
async fn one_without_tools() -> (Bench, Gate) {
    let mut bench = Bench::new(0).await;
    let (gate, there) = (Gate::default(), Gate::default());
    for number in 0..2 {
        let (gate, there) = (gate.clone(), there.clone());
        let kind = Kind::acting(move |moment| match (number, moment) {
            (0, Moment::AttemptBegins(_)) => there.pass(),
            (_, Moment::AttemptBegins(_)) => {
                there.open();
                gate.pass();
            }
            _ => {}
        });
        bench.add(Kind { slots: 1, ..kind }.unhurried()).await;
    }
    (bench, gate)
}

#[tokio::test]
async fn a_program_that_one_worker_lacks_is_run_by_another() {
    let (bench, gate) = one_without_tools().await;
    fs::create_dir_all(bench.path("w1/tools")).unwrap();
    fs::rename(program(&bench, "#!/bin/sh\nexec cat\n"), bench.path("w1/tools/program.sh"))
        .unwrap();
    let spec = spec(&bench, "out", &["-mapper", TOOL, "-reducer", TOOL]);
    let id = bench.submit(&spec).await;
    let failed = |view: &synod_jobs::cluster::View| {
        let mut tasks = view.jobs.get(&id)?.tasks.values();
        tasks.any(|task| !task.record.failures.is_empty()).then_some(())
    };
    bench.wait("an attempt where the program is not", failed).await;
    gate.open();
    let summary = bench.finish(&id).await.unwrap();
    assert_eq!(summary.manifest.counters.reduce_records_out, LINES);
    let report = bench.view().await.jobs[&id].report().unwrap();
    assert!(!report.failures.is_empty());
    for row in &report.failures {
        assert_eq!(row.failure.node, "w0");
        assert!(row.failure.message.contains("there is no program"), "{}", row.failure.message);
    }
}

#[tokio::test]
async fn a_program_that_no_worker_has_fails_the_job_as_soon_as_all_attempts_have_failed() {
    let (bench, gate) = one_without_tools().await;
    gate.open();
    let spec = spec(&bench, "out", &["-mapper", TOOL, "-reducer", "NONE"]);
    let id = bench.submit(&spec).await;
    let said = bench.finish(&id).await.unwrap_err().to_string();
    assert!(said.contains("there is no program") && said.contains("-files"), "{said}");
    let report = bench.view().await.jobs[&id].report().unwrap();
    let nodes: BTreeSet<_> = report.failures.iter().map(|row| row.failure.node.clone()).collect();
    assert_eq!(nodes.len(), 2, "both have tried: {:?}", report.failures);
    bench.wait_clean().await;
    assert!(!bench.path("out").exists());
}

#[tokio::test]
async fn the_programs_of_a_cancelled_job_are_ended_on_every_worker() {
    let mut bench = Bench::new(0).await;
    let program = script(&bench, "*");
    for _ in 0..2 {
        bench.add(Kind::default()).await;
    }
    let spec = spec(&bench, "out", &["-mapper", &program, "-reducer", "NONE"]);
    let id = bench.submit(&spec).await;
    // Two workers with two slots each.
    until("four programs and their children", || pids(&bench).len() == 8).await;
    let processes = pids(&bench);
    cancel_job(&bench.kv, &id).await.unwrap();
    bench.wait_state(&id, "the end", |state| *state == JobState::Cancelled).await;
    until("all programs to be gone", || !processes.iter().any(is_alive)).await;
    bench.wait_clean().await;
    assert!(!bench.path("out").exists());
}

#[tokio::test]
async fn a_program_that_prints_or_reports_or_may_be_silent_is_not_given_up_however_long_it_takes() {
    let passing = Passing::default();
    let mut bench = Bench::new(0).await;
    let mut kind = Kind { slots: 3, ..Kind::default() }.unhurried();
    kind.limits.stall = STALL;
    kind.moments.passed_ms = passing.0.clone();
    bench.add(kind).await;
    for input in ["in0", "in1", "in2"] {
        fs::write(bench.path(input), "a line of the input\n").unwrap();
    }
    // They read nothing, nor do they end, before they are told to.
    let told = bench.path("told");
    let text = format!(
        "#!/bin/sh
         until [ -e '{told}' ]; do
             case $mapreduce_task_attempt_id in
             *_m_000000_*) echo printed ;;
             *_m_000001_*) echo reporter:status:at work >&2 ;;
             esac
             sleep 0.02
         done
         exec cat\n",
        told = told.display()
    );
    let mapper = program(&bench, &text);
    let words = ["-D", "mapreduce.task.timeout=0", "-input", "in0", "-input", "in1", "-input"];
    let more = ["in2", "-output", "out", "-mapper", &mapper, "-reducer", "NONE"];
    let spec = JobSpec { speculative: false, ..spec_of(&bench, &[&words[..], &more].concat()) };
    let id = bench.submit(&spec).await;
    let mut seen = BTreeMap::new();
    // Twice as long as anything may stand still, and a half.
    for _ in 0..25 {
        let moved = bench.wait("each attempt to have moved", |view| {
            let attempts = view.jobs.get(&id)?.attempts();
            let now: BTreeMap<TaskId, _> =
                attempts.map(|(task, _, claim)| (task, claim.modified)).collect();
            let moved = now.iter().all(|(task, at)| seen.get(task).is_none_or(|was| was < at));
            (now.len() == 3 && moved).then_some(now)
        });
        seen = moved.await;
        passing.some();
    }
    fs::write(told, "").unwrap();
    let summary = bench.finish(&id).await.unwrap();
    let report = bench.view().await.jobs[&id].report().unwrap();
    assert_eq!(report.failures, [], "nothing was given up");
    assert!(report.tasks.iter().all(|row| row.attempt == 0));
    assert!(summary.manifest.counters.reduce_records_out > 3, "one has printed");
}

#[tokio::test]
async fn a_program_that_is_silent_for_longer_than_its_job_allows_is_given_up_on_a_worker_too() {
    let mut bench = Bench::new(0).await;
    bench.add(Kind::default().unhurried()).await;
    let mapper = program(&bench, "#!/bin/sh\ntrap '' TERM\nexec sleep 600\n");
    let limits = ["-D", "mapreduce.task.timeout=300", "-D", "mapreduce.map.maxattempts=1"];
    let more = [&limits[..], &["-mapper", &mapper, "-reducer", "NONE"]].concat();
    let said = bench.run(&spec(&bench, "out", &more)).await.unwrap_err().to_string();
    assert!(said.contains("no progress for 0.3 s"), "{said}");
    assert!(said.contains("raise mapreduce.task.timeout"), "{said}");
    bench.wait_clean().await;
}
