//! Publishing and removing an output folder: cut short anywhere, done again, by one that was replaced.

use crate::cluster::names::{JobId, TaskId};
use crate::cluster::output::{self, Winner};
use crate::commit::{Account, SUCCESS};
use crate::counters::Counters;
use crate::error::JobError;
use crate::progress::Progress;
use crate::reduce_task::ReduceOutput;
use crate::side_files::SideFile;
use crate::spec::JobSpec;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where `_SUCCESS` is written.
const DRAFT: &str = "_temporary/01/_SUCCESS-0123456789abcdef";

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
    let account = Account::from(counters.clone());
    let manifest = output::commit(&spec, &id, &winners, &account, &Progress::new()).unwrap();
    output::tidy(&spec.output, &id, &Progress::new()).unwrap();
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
        |out| fs::write(out.join(DRAFT), "{\"hal").unwrap(),
        |out| fs::write(out.join(DRAFT), fs::read(kept(out)).unwrap()).unwrap(),
        |out| fs::rename(out.join(DRAFT), out.join("_SUCCESS")).unwrap(),
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
        let again = output::commit(&spec, &id, &winners, &account, &Progress::new()).unwrap();
        assert_eq!(again, manifest, "after {steps} steps");
        output::tidy(&spec.output, &id, &Progress::new()).unwrap();
        assert_eq!(contents(&spec.output), whole, "after {steps} steps");
        fs::remove_dir_all(&spec.output).unwrap();
    }
}

#[test]
fn a_commit_can_be_cancelled_until_success_is_there_and_not_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let account = Account::default();
    let cancelled = Progress::new();
    cancelled.cancel();
    // Whatever was moved already: readers must not take it for the output.
    for moved in [false, true] {
        let (spec, id, winners) = about_to_commit(folder.path());
        if moved {
            let from = spec.output.join("_temporary/01/r000000-1/part-00000");
            fs::rename(from, spec.output.join("part-00000")).unwrap();
        }
        let error = output::commit(&spec, &id, &winners, &account, &cancelled).unwrap_err();
        assert!(matches!(error, JobError::Cancelled), "{error}");
        assert!(!spec.output.join(SUCCESS).exists());
        let progress = Progress::new();
        output::clean(&spec.output, &id, &progress).unwrap();
        assert!(!spec.output.exists());
        assert!(progress.moves() > 0, "whoever watches sees that it moves");
    }
    let (spec, id, winners) = about_to_commit(folder.path());
    let progress = Progress::new();
    let manifest = output::commit(&spec, &id, &winners, &account, &progress).unwrap();
    assert!(progress.moves() >= 4, "each file is a move");
    // A coordinator that died between the last two steps.
    fs::create_dir_all(spec.output.join("_temporary/01")).unwrap();
    for _ in 0..2 {
        let again = output::commit(&spec, &id, &winners, &account, &cancelled).unwrap();
        assert_eq!(again, manifest);
        output::tidy(&spec.output, &id, &cancelled).unwrap();
        assert_eq!(contents(&spec.output).len(), 5);
    }
}

#[test]
fn a_coordinator_that_wakes_up_late_does_not_publish_into_what_is_somebody_elses_now() {
    let folder = tempfile::tempdir().unwrap();
    let (spec, id, winners) = about_to_commit(folder.path());
    let account = Account::default();
    output::commit(&spec, &id, &winners, &account, &Progress::new()).unwrap();
    output::tidy(&spec.output, &id, &Progress::new()).unwrap();
    // The user has removed the output, and another job writes there.
    fs::remove_dir_all(&spec.output).unwrap();
    assert!(output::commit(&spec, &id, &winners, &account, &Progress::new()).is_err());
    let other: JobId = "02".parse().unwrap();
    output::create(&spec.output, &other).unwrap();
    fs::write(spec.output.join("part-00000"), "2\n").unwrap();
    assert!(output::commit(&spec, &id, &winners, &account, &Progress::new()).is_err());
    fs::write(spec.output.join(SUCCESS), "{\"job\":\"sort\"}").unwrap();
    assert!(output::commit(&spec, &id, &winners, &account, &Progress::new()).is_err());
    output::clean(&spec.output, &id, &Progress::new()).unwrap();
    assert!(spec.output.join("_temporary/02").is_dir(), "the other job's mark stays");
    assert_eq!(contents(&spec.output)["part-00000"], "2\n");
}

#[test]
fn a_removal_that_was_cut_short_anywhere_is_brought_to_its_end_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let removals: [&[&str]; 6] = [
        &[],
        &["_temporary/01"],
        &["_temporary/01.ended/r000000-1"],
        &["part-00000", "_temporary/01.ended/_SUCCESS-0123456789abcdef"],
        // The mark goes behind everything else.
        &["part-00000", "_temporary/01.ended"],
        &["part-00000", "_temporary"],
    ];
    for removed in removals {
        let (_, id, _) = about_to_commit(folder.path());
        fs::write(out.join("part-00000"), "0\n").unwrap();
        fs::write(out.join(DRAFT), "").unwrap();
        if !removed.is_empty() {
            fs::rename(out.join("_temporary/01"), out.join("_temporary/01.ended")).unwrap();
            // And one that knows nothing of it has made the folder anew.
            fs::create_dir(out.join("_temporary/01")).unwrap();
        }
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

#[test]
fn a_replaced_coordinator_publishes_before_the_end_of_its_job_or_never() {
    let folder = tempfile::tempdir().unwrap();
    let (account, progress, wish) = (Account::default(), Progress::new(), Progress::new());
    wish.cancel();
    for is_first in [true, false] {
        // The old one stands right before the last step; the new one has heard of a wish to cancel.
        let (spec, id, winners) = about_to_commit(folder.path());
        let manifest = output::commit(&spec, &id, &winners, &account, &progress).unwrap();
        let (draft, marker) = (spec.output.join(DRAFT), spec.output.join(SUCCESS));
        fs::rename(&marker, &draft).unwrap();
        let error = output::commit(&spec, &id, &winners, &account, &wish).unwrap_err();
        assert!(matches!(error, JobError::Cancelled), "{error}");
        if is_first {
            fs::rename(&draft, &marker).unwrap();
            for crash in ["no", "before it was tidied up", "before anybody knew of it"] {
                if crash == "before it was tidied up" {
                    fs::create_dir_all(spec.output.join("_temporary/01.ended")).unwrap();
                }
                let ended = output::clean(&spec.output, &id, &progress).unwrap();
                assert_eq!(ended.as_ref(), Some(&manifest), "it has succeeded, crash: {crash}");
                output::tidy(&spec.output, &id, &progress).unwrap();
                let whole = contents(&spec.output);
                assert_eq!(whole.len(), 5, "{whole:?}");
            }
            let other: JobId = "02".parse().unwrap();
            assert_eq!(output::clean(&spec.output, &other, &progress).unwrap(), None);
            assert_eq!(contents(&spec.output).len(), 5, "nobody else removes it");
            fs::remove_dir_all(&spec.output).unwrap();
        } else {
            assert_eq!(output::clean(&spec.output, &id, &progress).unwrap(), None);
            assert!(fs::rename(&draft, &marker).is_err(), "what it would rename has gone");
            assert!(!spec.output.exists());
        }
    }
    // Half way through the removal there is nothing left either that it could publish.
    let (spec, id, winners) = about_to_commit(folder.path());
    fs::rename(spec.output.join("_temporary/01"), spec.output.join("_temporary/01.ended")).unwrap();
    output::commit(&spec, &id, &winners, &account, &progress).unwrap_err();
    assert_eq!(output::clean(&spec.output, &id, &progress).unwrap(), None);
    assert!(!spec.output.exists());
}

#[test]
fn an_output_of_which_nobody_can_tell_whether_it_is_complete_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (spec, id, winners) = about_to_commit(folder.path());
    output::commit(&spec, &id, &winners, &Account::default(), &Progress::new()).unwrap();
    // Reading it fails, and not because it is absent.
    fs::remove_file(spec.output.join(SUCCESS)).unwrap();
    fs::create_dir(spec.output.join(SUCCESS)).unwrap();
    let before = contents(&spec.output);
    let why = output::clean(&spec.output, &id, &Progress::new()).unwrap_err().to_string();
    assert!(why.contains(SUCCESS), "{why}");
    assert_eq!(contents(&spec.output), before);
}

#[test]
fn what_cannot_be_tidied_up_is_named_and_the_output_stays_complete() {
    let folder = tempfile::tempdir().unwrap();
    let (spec, id, winners) = about_to_commit(folder.path());
    let (account, progress) = (Account::default(), Progress::new());
    let manifest = output::commit(&spec, &id, &winners, &account, &progress).unwrap();
    // Entries that nobody can remove: the kernel's own.
    let own = spec.output.join("_temporary/01");
    fs::remove_dir_all(&own).unwrap();
    std::os::unix::fs::symlink("/proc/self/fdinfo", &own).unwrap();
    let why = output::tidy(&spec.output, &id, &progress).unwrap_err().to_string();
    assert!(why.contains("_temporary/01/"), "{why}");
    fs::remove_file(&own).unwrap();
    // Whoever publishes again finds the same.
    let again = output::commit(&spec, &id, &winners, &account, &progress).unwrap();
    assert_eq!(again, manifest);
    output::tidy(&spec.output, &id, &progress).unwrap();
    assert_eq!(contents(&spec.output).len(), 5);
}

#[test]
fn a_side_file_of_a_record_is_published_within_the_output_folder_under_a_name_of_its_own_or_not() {
    for name in
        ["../mine", "../../mine", "/mine", "a/b", "a/", "..", ".", "", "part-00007", "_SUCCESS"]
    {
        let folder = tempfile::tempdir().unwrap();
        // So that two steps up are still the test's own.
        let home = folder.path().join("home");
        fs::create_dir(&home).unwrap();
        let (spec, id, mut winners) = about_to_commit(&home);
        for mine in [folder.path().join("mine"), home.join("mine")] {
            fs::write(mine, "mine").unwrap();
        }
        // What the name would lead to from the attempt's folder.
        let own = spec.output.join("_temporary/01/r000001-1");
        for theirs in ["mine", "../mine", "side/part-00007", "side/_SUCCESS"] {
            fs::write(own.join(theirs), "theirs").unwrap();
        }
        fs::create_dir(own.join("side/a")).unwrap();
        fs::write(own.join("side/a/b"), "theirs").unwrap();
        winners[1].side_files.push(SideFile { name: name.to_owned(), bytes: 6 });
        let account = Account::default();
        let error = output::commit(&spec, &id, &winners, &account, &Progress::new()).unwrap_err();
        let why = error.to_string();
        assert!(why.contains(&format!("side file {name}: ")) && error.is_permanent(), "{why}");
        for mine in [folder.path().join("mine"), home.join("mine")] {
            assert_eq!(fs::read_to_string(mine).unwrap(), "mine", "{name}");
        }
        let there = contents(&spec.output);
        assert!(there.keys().eq(["_temporary"]), "nothing is published before: {there:?}");
    }
}

#[test]
fn who_publishes_again_does_not_take_names_from_a_manifest_that_the_records_do_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let (spec, id, winners) = about_to_commit(folder.path());
    let (account, progress) = (Account::default(), Progress::new());
    let manifest = output::commit(&spec, &id, &winners, &account, &progress).unwrap();
    output::tidy(&spec.output, &id, &progress).unwrap();
    assert_eq!(output::commit(&spec, &id, &winners, &account, &progress).unwrap(), manifest);
    let mut part = manifest.clone();
    part.parts[0].name = "../mine".to_owned();
    let mut side = manifest.clone();
    side.side_files[1].name = "../mine".to_owned();
    for other in [part, side] {
        fs::write(spec.output.join(SUCCESS), serde_json::to_vec(&other).unwrap()).unwrap();
        assert!(output::commit(&spec, &id, &winners, &account, &progress).is_err());
    }
}
