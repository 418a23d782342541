//! Attempts and output folders on a real file system.

use crate::cluster::attempt::{Attempt, AttemptError, WorkMeter};
use crate::cluster::names::{JobId, TaskId, WorkerId};
use crate::cluster::output::{self, Winner};
use crate::cluster::records::TaskOutput;
use crate::cluster::shuffle::{Fetch, FetchError, MapLocation};
use crate::commit::SUCCESS;
use crate::counters::Counters;
use crate::error::JobError;
use crate::plan::{JobPlan, plan};
use crate::progress::Progress;
use crate::reduce_task::ReduceOutput;
use crate::run::writer::Section;
use crate::side_files::SideFile;
use crate::spec::JobSpec;
use crate::stores::Stores;
use crate::task::{NoLog, TaskContext, TaskKind};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Fetches from folders instead of from workers.
struct FromFolders<'a>(&'a Path);

impl Fetch for FromFolders<'_> {
    fn fetch(
        &self,
        _: &JobId,
        _: u32,
        from: &MapLocation,
        into: &mut dyn Write,
    ) -> Result<(), FetchError> {
        let name = crate::cluster::shuffle::map_file_name(from.map, from.attempt);
        let unreadable = |error: std::io::Error| FetchError::Unreadable(error.to_string());
        let bytes = fs::read(self.0.join(name)).map_err(unreadable)?;
        let Section { offset, bytes: length, .. } = from.section;
        into.write_all(&bytes[offset as usize..][..length as usize]).map_err(FetchError::Local)
    }
}

/// Runs one attempt as a worker does.
fn attempt(
    spec: &JobSpec,
    plan: &JobPlan,
    task: TaskId,
    folder: &Path,
    maps: &[MapLocation],
) -> Result<TaskOutput, AttemptError> {
    attempt_from(spec, plan, task, folder, maps, &FromFolders(folder))
}

fn attempt_from(
    spec: &JobSpec,
    plan: &JobPlan,
    task: TaskId,
    folder: &Path,
    maps: &[MapLocation],
    fetch: &dyn Fetch,
) -> Result<TaskOutput, AttemptError> {
    let attempt = Attempt {
        job: &"01".parse().unwrap(),
        task,
        number: 0,
        spec,
        plan,
        folder,
        slots: 2,
        skips: &[],
        maps,
        stores: &Stores::local(),
        log: &NoLog,
        progress: &Progress::new(),
        work: &Arc::new(WorkMeter::default()),
    };
    attempt.run(fetch)
}

#[test]
fn attempts_run_one_by_one_give_the_output_of_a_local_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text: String = (0..60_000u64).map(|n| format!("{} ", n * n % 7_919)).collect();
    fs::write(path("in"), text.replace("7 ", "7\n")).unwrap();
    // So little memory that fetched sections go to files.
    let spec = JobSpec {
        reduces: Some(2),
        split_bytes: Some(50_000),
        memory_bytes: 1 << 16,
        ..JobSpec::new("sort", [path("in")], path("local"))
    };
    crate::run_built_in(&spec, &Progress::new()).unwrap();
    let spec = JobSpec { output: path("out"), ..spec };
    let plan = plan(&crate::builtin::sort::Sort::default(), &spec, 2, &Stores::local()).unwrap();
    let id: JobId = "01".parse().unwrap();
    output::create(&spec.output, &id).unwrap();
    // Another coordinator may have begun.
    output::create(&spec.output, &id).unwrap();
    fs::create_dir(path("work")).unwrap();
    let maps: Vec<TaskOutput> = (0..plan.splits.len() as u32)
        .map(|n| attempt(&spec, &plan, TaskId::map(n), &path("work"), &[]).unwrap())
        .collect();
    let mut winners = Vec::new();
    for partition in 0..plan.reduces {
        let locations: Vec<MapLocation> = (0u32..)
            .zip(&maps)
            .map(|(n, map)| MapLocation {
                map: TaskId::map(n),
                attempt: 0,
                worker: "w1".parse::<WorkerId>().unwrap(),
                // Every other one is this worker's own.
                address: n.is_multiple_of(2).then(|| "elsewhere".to_owned()),
                file: None,
                section: map.section(partition).unwrap(),
                index_crc32c: map.index_crc32c(),
            })
            .collect();
        let task = TaskId::reduce(partition);
        let made = attempt(&spec, &plan, task, &path("work"), &locations).unwrap();
        let TaskOutput::Reduce(output) = made else { panic!("{made:?}") };
        winners.push(Winner { task, attempt: 0, part: Some(output), side_files: Vec::new() });

        // With one output gone, the reduce names it.
        let (kept, hidden) = (path("work/m000001-0.run"), path("hidden"));
        fs::rename(&kept, &hidden).unwrap();
        let mut lost = locations.clone();
        lost[1].section.pairs = lost[1].section.pairs.max(1);
        let scratch = JobSpec { output: path("scratch"), ..spec.clone() };
        fs::create_dir_all(path("scratch/_temporary/01")).unwrap();
        match attempt(&scratch, &plan, task, &path("work"), &lost) {
            Err(AttemptError::Unreadable(map, _)) => assert_eq!(map, TaskId::map(1)),
            other => panic!("{other:?}"),
        }
        fs::rename(&hidden, &kept).unwrap();
    }
    let left = fs::read_dir(path("work")).unwrap().count();
    assert_eq!(left, maps.len(), "only map outputs stay");
    let manifest =
        output::commit(&spec, &id, &winners, &Counters::default(), &Progress::new()).unwrap();
    // Publishing may be repeated by another coordinator.
    assert_eq!(
        output::commit(&spec, &id, &winners, &Counters::default(), &Progress::new()).unwrap(),
        manifest
    );
    for part in ["part-00000", "part-00001"] {
        let (here, there) = (path("local").join(part), path("out").join(part));
        assert!(fs::read(here).unwrap() == fs::read(there).unwrap(), "{part}");
    }
    assert!(path("out").join(SUCCESS).exists());
    assert_eq!(fs::read_dir(path("out")).unwrap().count(), 3);
}

#[test]
fn only_the_jobs_own_output_is_removed_and_an_attempt_cannot_bring_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let [mine, other]: [JobId; 2] = ["01", "02"].map(|id| id.parse().unwrap());
    output::check_absent(&out).unwrap();
    output::create(&out, &mine).unwrap();
    assert!(matches!(output::check_absent(&out), Err(JobError::OutputExists { .. })));
    assert!(matches!(output::create(&out, &other), Err(JobError::OutputExists { .. })));
    output::create_attempt(&out, &mine, TaskId::reduce(0), 0).unwrap();
    output::clean(&out, &other, &Progress::new()).unwrap();
    assert!(out.exists());
    // Two jobs that were looked at in the same moment may have one output within the other.
    let within = out.join("within");
    output::create(&within, &other).unwrap();
    fs::write(within.join("part-00000"), "theirs").unwrap();
    fs::write(out.join("part-00000"), "mine").unwrap();
    output::clean(&out, &mine, &Progress::new()).unwrap();
    assert!(!out.join("part-00000").exists() && !out.join("_temporary").exists());
    assert_eq!(fs::read_to_string(within.join("part-00000")).unwrap(), "theirs");
    output::clean(&within, &other, &Progress::new()).unwrap();
    output::clean(&out, &mine, &Progress::new()).unwrap();
    assert!(!out.exists());
    assert!(output::create_attempt(&out, &mine, TaskId::reduce(0), 0).is_err());
    // Nor one that writes files beside its part file.
    let side = output::side_folder(&output::attempt_path(&out, &mine, TaskId::map(0), 1));
    let (progress, folders) = (Progress::new(), (folder.path().join("scratch"), side.clone()));
    let task = TaskContext::new("01", TaskKind::Map, 0, (1, 4), (1, 1), &progress, &NoLog, folders);
    assert!(task.side_folder().is_err());
    assert!(!out.exists());
    output::create(&out, &mine).unwrap();
    for _ in 0..2 {
        assert_eq!(task.side_folder().unwrap(), side);
    }
    assert!(side.is_dir());
}

/// Fails at once: whoever asks it was to read a file.
struct FromNowhere;

impl Fetch for FromNowhere {
    fn fetch(
        &self,
        _: &JobId,
        _: u32,
        from: &MapLocation,
        _: &mut dyn Write,
    ) -> Result<(), FetchError> {
        Err(FetchError::Unreadable(format!("asked for {}", from.map)))
    }
}

#[test]
fn an_output_on_the_same_machine_is_read_where_it_is_if_it_is_the_one_of_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("in"), "b\na\nc\n").unwrap();
    let spec = JobSpec { reduces: Some(1), ..JobSpec::new("sort", [path("in")], path("out")) };
    let plan = plan(&crate::builtin::sort::Sort::default(), &spec, 2, &Stores::local()).unwrap();
    let id: JobId = "01".parse().unwrap();
    output::create(&spec.output, &id).unwrap();
    fs::create_dir(path("theirs")).unwrap();
    fs::create_dir(path("mine")).unwrap();
    let map = attempt(&spec, &plan, TaskId::map(0), &path("theirs"), &[]).unwrap();
    let file = path("theirs/m000000-0.run");
    let there = MapLocation {
        map: TaskId::map(0),
        attempt: 0,
        worker: "w2".parse().unwrap(),
        address: Some("elsewhere".to_owned()),
        file: Some(file.clone()),
        section: map.section(0).unwrap(),
        index_crc32c: map.index_crc32c(),
    };
    let reduce = |there: &MapLocation| {
        let maps = std::slice::from_ref(there);
        attempt_from(&spec, &plan, TaskId::reduce(0), &path("mine"), maps, &FromNowhere)
    };
    reduce(&there).unwrap();
    let part = output::attempt_path(&spec.output, &id, TaskId::reduce(0), 0).join("part-00000");
    assert_eq!(fs::read(part).unwrap(), b"a\nb\nc\n");
    let asked = |there: &MapLocation| match reduce(there) {
        Err(AttemptError::Unreadable(_, report)) => report.message == "asked for m000000",
        other => panic!("{other:?}"),
    };
    // Another file than the record's, or none: the worker is asked.
    assert!(asked(&MapLocation { index_crc32c: map.index_crc32c() ^ 1, ..there.clone() }));
    assert!(asked(&MapLocation { file: Some(path("nothing")), ..there.clone() }));
    assert!(asked(&MapLocation { file: Some(path("theirs")), ..there.clone() }));
    fs::write(path("short"), "x").unwrap();
    assert!(asked(&MapLocation { file: Some(path("short")), ..there.clone() }));
    // A bit that has turned over: it is the map output's fault, and nothing wrong comes out.
    let mut bytes = fs::read(&file).unwrap();
    bytes[14] ^= 1;
    fs::write(&file, bytes).unwrap();
    match reduce(&there) {
        Err(AttemptError::Unreadable(map, report)) => {
            assert_eq!(map, TaskId::map(0));
            assert!(report.message.contains("checksum"), "{}", report.message);
        }
        other => panic!("{other:?}"),
    }
}

/// A job with two part files and a side file that are about to be published.
fn about_to_commit(folder: &Path) -> (JobSpec, JobId, Vec<Winner>) {
    let spec = JobSpec { sync_output: false, ..JobSpec::new("sort", ["/in"], folder.join("out")) };
    let id: JobId = "01".parse().unwrap();
    output::create(&spec.output, &id).unwrap();
    let winners = (0..2u32).map(|partition| {
        let task = TaskId::reduce(partition);
        let own = output::create_attempt(&spec.output, &id, task, 1).unwrap();
        fs::write(own.join(format!("part-{partition:05}")), format!("{partition}\n")).unwrap();
        // What a loser has left.
        output::create_attempt(&spec.output, &id, task, 0).unwrap();
        let side = output::side_folder(&own);
        fs::create_dir(&side).unwrap();
        fs::write(side.join(format!("beside-{partition}")), "x").unwrap();
        let side_files = vec![SideFile { name: format!("beside-{partition}"), bytes: 1 }];
        let part = ReduceOutput {
            partition,
            bytes: 2,
            records: 1,
            crc32c: 7,
            counters: Counters::default(),
            side_files: side_files.clone(),
        };
        Winner { task, attempt: 1, part: Some(part), side_files }
    });
    let winners = winners.collect();
    (spec, id, winners)
}

fn contents(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap_or_else(|_| "a folder".to_owned()))
    };
    entries.map(read).collect()
}

#[test]
fn a_commit_that_was_cut_short_after_any_step_is_brought_to_its_end_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (spec, id, winners) = about_to_commit(folder.path());
    let counters = Counters { map_records_in: 5, ..Counters::default() };
    let manifest = output::commit(&spec, &id, &winners, &counters, &Progress::new()).unwrap();
    let whole = contents(&spec.output);
    assert_eq!(whole.len(), 5, "{whole:?}");
    // The steps in their order: what a crash after the first so many of them leaves.
    type Step = fn(&Path);
    let attempt = |partition: u32, name: &str| format!("_temporary/01/r00000{partition}-1/{name}");
    let moves = [
        (attempt(0, "part-00000"), "part-00000"),
        (attempt(0, "side/beside-0"), "beside-0"),
        (attempt(1, "part-00001"), "part-00001"),
        (attempt(1, "side/beside-1"), "beside-1"),
    ];
    let rest: [Step; 5] = [
        |out| fs::write(out.join("_temporary/_SUCCESS"), "{\"hal").unwrap(),
        |out| fs::write(out.join("_temporary/_SUCCESS"), fs::read(kept(out)).unwrap()).unwrap(),
        |out| fs::rename(out.join("_temporary/_SUCCESS"), out.join("_SUCCESS")).unwrap(),
        |out| fs::remove_dir_all(out.join("_temporary/01")).unwrap(),
        |out| fs::remove_dir(out.join("_temporary")).unwrap(),
    ];
    fn kept(out: &Path) -> PathBuf {
        out.parent().unwrap().join("kept")
    }
    fs::rename(spec.output.join(SUCCESS), kept(&spec.output)).unwrap();
    fs::remove_dir_all(&spec.output).unwrap();
    for steps in 0..=moves.len() + rest.len() {
        about_to_commit(folder.path());
        for (from, to) in moves.iter().take(steps) {
            fs::rename(spec.output.join(from), spec.output.join(to)).unwrap();
        }
        for step in rest.iter().take(steps.saturating_sub(moves.len())) {
            step(&spec.output);
        }
        let again = output::commit(&spec, &id, &winners, &counters, &Progress::new()).unwrap();
        assert_eq!(again, manifest, "after {steps} steps");
        assert_eq!(contents(&spec.output), whole, "after {steps} steps");
        fs::remove_dir_all(&spec.output).unwrap();
    }
}

#[test]
fn a_commit_can_be_cancelled_until_success_is_there_and_not_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let counters = Counters::default();
    let cancelled = Progress::new();
    cancelled.cancel();
    // Whatever was moved already: readers must not take it for the output.
    for moved in [false, true] {
        let (spec, id, winners) = about_to_commit(folder.path());
        if moved {
            let from = spec.output.join("_temporary/01/r000000-1/part-00000");
            fs::rename(from, spec.output.join("part-00000")).unwrap();
        }
        let error = output::commit(&spec, &id, &winners, &counters, &cancelled).unwrap_err();
        assert!(matches!(error, JobError::Cancelled), "{error}");
        assert!(!spec.output.join(SUCCESS).exists());
        let progress = Progress::new();
        output::clean(&spec.output, &id, &progress).unwrap();
        assert!(!spec.output.exists());
        assert!(progress.moves() > 0, "whoever watches sees that it moves");
    }
    let (spec, id, winners) = about_to_commit(folder.path());
    let progress = Progress::new();
    let manifest = output::commit(&spec, &id, &winners, &counters, &progress).unwrap();
    assert!(progress.moves() >= 4, "each file is a move");
    // A coordinator that died between the last two steps.
    fs::create_dir_all(spec.output.join("_temporary/01")).unwrap();
    for _ in 0..2 {
        let again = output::commit(&spec, &id, &winners, &counters, &cancelled).unwrap();
        assert_eq!(again, manifest);
        assert_eq!(contents(&spec.output).len(), 5);
    }
}

#[test]
fn a_coordinator_that_wakes_up_late_does_not_publish_into_what_is_somebody_elses_now() {
    let folder = tempfile::tempdir().unwrap();
    let (spec, id, winners) = about_to_commit(folder.path());
    let counters = Counters::default();
    output::commit(&spec, &id, &winners, &counters, &Progress::new()).unwrap();
    // The user has removed the output, and another job writes there.
    fs::remove_dir_all(&spec.output).unwrap();
    assert!(output::commit(&spec, &id, &winners, &counters, &Progress::new()).is_err());
    let other: JobId = "02".parse().unwrap();
    output::create(&spec.output, &other).unwrap();
    fs::write(spec.output.join("part-00000"), "2\n").unwrap();
    assert!(output::commit(&spec, &id, &winners, &counters, &Progress::new()).is_err());
    fs::write(spec.output.join(SUCCESS), "{\"job\":\"sort\"}").unwrap();
    assert!(output::commit(&spec, &id, &winners, &counters, &Progress::new()).is_err());
    output::clean(&spec.output, &id, &Progress::new()).unwrap();
    assert!(spec.output.join("_temporary/02").is_dir(), "the other job's mark stays");
    assert_eq!(contents(&spec.output)["part-00000"], "2\n");
}

#[test]
fn a_removal_that_was_cut_short_anywhere_is_brought_to_its_end_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let removals: [&[&str]; 5] = [
        &[],
        &["_temporary/01/r000000-1"],
        &["part-00000", "_temporary/_SUCCESS"],
        // The mark goes behind everything else.
        &["part-00000", "_temporary/_SUCCESS", "_temporary/01"],
        &["part-00000", "_temporary"],
    ];
    for removed in removals {
        let (_, id, _) = about_to_commit(folder.path());
        fs::write(out.join("part-00000"), "0\n").unwrap();
        fs::write(out.join("_temporary/_SUCCESS"), "").unwrap();
        for name in removed {
            let path = out.join(name);
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
        output::clean(&out, &id, &Progress::new()).unwrap();
        assert!(!out.exists(), "{removed:?}");
        output::clean(&out, &id, &Progress::new()).unwrap();
    }
}
