//! Records stay as small as the store wants them, whatever a job counts, names and says; what is cut is
//! told. That no change is larger is seen to by the store of these tests, in each of them.

use super::*;
use crate::cluster::bounds::{MAX_END_BYTES, MAX_TASK_BYTES};
use crate::commit::{Cut, Manifest, Part};
use crate::counters::{MAX_USER_COUNTER_BYTES, MAX_USER_COUNTERS};
use crate::side_files::SideFile;

/// Counts under so many names of 115 bytes, which belong to one task.
fn counters(task: u32, names: u32) -> Counters {
    let mut counters = Counters { map_records_in: 1, ..Counters::default() };
    for name in 0..names {
        counters.count(&format!("{task:06}-{name:0>108}"), 1);
    }
    counters
}

fn side_files(count: usize) -> Vec<SideFile> {
    (0..count).map(|number| SideFile { name: format!("{number:0>120}"), bytes: 1 }).collect()
}

fn map_with(counters: Counters, side_files: Vec<SideFile>) -> TaskOutput {
    TaskOutput::Map { sections: vec![(10, 1); 2], index_crc32c: 0, counters, side_files }
}

fn finish_with(desk: &mut Desk, number: i64, held: &Held, output: TaskOutput) -> bool {
    let made = Made { output, ended_ms: desk.unix_ms, work: 1 };
    let change = worker::done(held, &identity(number), &desk.job().tasks[&held.task], made);
    desk.store.apply(change)
}

/// A job of twelve maps with a thousand names each, about to be committed; what it has counted.
fn counted() -> (Desk, Counters) {
    let mut desk = Desk::running(12, 1, 1);
    let mut all = Counters::default();
    for task in 0..12 {
        let held = desk.claim(1).unwrap();
        let counters = counters(task, 1_000);
        all.add(&counters);
        assert!(finish_with(&mut desk, 1, &held, map_with(counters, Vec::new())));
    }
    desk.finish_all(1);
    assert_eq!(desk.settle(), Some(Work::Commit));
    (desk, all)
}

fn manifest(counters: &Counters, files: usize) -> Manifest {
    let part = |number| Part { name: format!("part-{number:05}"), bytes: 9, records: 1, crc32c: 7 };
    Manifest {
        parts: (0..files).map(part).collect(),
        side_files: side_files(files),
        counters: counters.clone(),
        ..Manifest::default()
    }
}

fn commit(desk: &mut Desk, manifest: Manifest) -> (Manifest, JobReport) {
    let change = desk.coordinator.committed(&desk.id, &desk.store.view, desk.record(), manifest);
    assert!(desk.store.apply(change));
    let JobState::Done(kept) = desk.record().record.state.clone() else { panic!("it is done") };
    (kept, desk.job().report().unwrap())
}

#[test]
fn a_job_with_as_many_counters_and_files_as_are_usual_keeps_all_of_them_in_its_records() {
    let (mut desk, all) = counted();
    assert!(all.user.len() > 3_000 && all.user["counters_dropped"] > 0, "{}", all.user.len());
    let whole = manifest(&all, 1_000);
    let (kept, report) = commit(&mut desk, whole.clone());
    assert_eq!(kept, whole);
    assert_eq!((report.counters, report.counters_left_out), (all, 0));
    assert_eq!(report.tasks.len(), 13);
}

#[test]
fn a_job_with_more_files_than_its_records_can_name_says_how_many_are_missing_there() {
    let (mut desk, all) = counted();
    let whole = manifest(&all, 30_000);
    let (kept, report) = commit(&mut desk, whole.clone());
    let Cut { parts, side_files, counters } = kept.cut;
    assert!(parts > 10_000 && side_files == 30_000 && counters == 0, "{:?}", kept.cut);
    assert!(kept.parts.iter().eq(whole.parts.iter().take(30_000 - parts as usize)));
    assert!(kept.parts.len() > 1_000, "there was room: {}", kept.parts.len());
    assert_eq!((kept.counters, report.counters, report.counters_left_out), (all.clone(), all, 0));
}

#[test]
fn a_store_that_takes_less_gets_less_until_it_takes_it() {
    let (mut desk, all) = counted();
    let mut before = usize::MAX;
    for _ in 0..8 {
        let manifest = manifest(&all, 3_000);
        let change =
            desk.coordinator.committed(&desk.id, &desk.store.view, desk.record(), manifest);
        let bytes = Store::bytes_of(&change);
        assert!(bytes < before && bytes <= MAX_END_BYTES + 1_000, "{bytes} after {before}");
        before = bytes;
        desk.coordinator.told_too_large();
    }
    let (kept, report) = commit(&mut desk, manifest(&all, 3_000));
    assert_eq!(kept.counters.user.len() as u64 + kept.cut.counters, all.user.len() as u64);
    assert_eq!(report.counters_left_out, kept.cut.counters);
    assert_eq!(kept.counters.map_records_in, 12);
}

#[test]
fn a_job_that_fails_with_many_counters_tasks_and_words_comes_to_its_end_too() {
    let (mut desk, all) = counted();
    // Each of these takes six bytes when it is written.
    let why = "\u{1}".repeat(100_000);
    let change = desk.coordinator.not_committed(&desk.id, desk.record(), why);
    assert!(desk.store.apply(change));
    for _ in 0..2 {
        desk.coordinator.told_too_large();
    }
    let left = Some("\u{1}".repeat(100_000));
    let change = desk.coordinator.cleaned(&desk.id, &desk.store.view, desk.record(), left);
    assert!(desk.store.apply(change));
    assert!(matches!(&desk.record().record.state, JobState::Failed(why) if why.ends_with('…')));
    let report = desk.job().report().unwrap();
    let kept = report.counters.user.len() as u64;
    assert!(kept > 100 && report.counters_left_out > 100, "{kept}");
    assert_eq!(kept + report.counters_left_out, all.user.len() as u64);
}

#[test]
fn an_attempt_with_more_to_tell_than_its_record_can_hold_fails_for_good_and_says_so() {
    let mut desk = Desk::running(2, 1, 2);
    let held = desk.claim(1).unwrap();
    let output = map_with(Counters::default(), side_files(5_000));
    assert!(finish_with(&mut desk, 1, &held, output), "so many it can hold");
    let held = desk.claim(1).unwrap();
    let output = map_with(counters(0, 3), side_files(10_000));
    assert!(finish_with(&mut desk, 1, &held, output));
    let task = desk.task(held.task);
    assert!(task.done.is_none() && task.failures.len() == 1);
    assert!(!desk.job().is_claimed(held.task));
    assert_eq!(desk.settle(), Some(Work::Clean));
    let why = desk.ended_why();
    assert!(why.contains("10000 side files and counted under 3 names"), "{why}");
}

#[test]
fn a_task_with_more_failures_than_its_record_can_hold_ends_the_job() {
    let bad = |place| BadRecord { place, error: String::new() };
    let full = TaskRecord { skips: (0..60_000).map(bad).collect(), ..TaskRecord::default() };
    let failure = AttemptFailure {
        attempt: 3,
        worker: identity(1).id,
        node: "n1".to_owned(),
        span: Span::default(),
        message: "it broke".to_owned(),
        bad_record: Some(7),
        permanent: false,
        whole_job: false,
        others: Vec::new(),
    };
    let after = TaskRecord::default().failed(failure.clone(), true);
    assert_eq!((after.fatal_failure(MANY), after.failures.len()), (None, 1));
    let after = full.failed(failure, true);
    assert!(encode(&after).unwrap().len() <= MAX_TASK_BYTES);
    let why = &after.fatal_failure(MANY).unwrap().message;
    assert!(why.contains("60000 records left out") && why.ends_with("it broke"), "{why}");
}

/// More than any task is tried here.
const MANY: u32 = 100;

#[test]
fn tasks_with_large_records_that_are_lost_together_wait_again_one_after_the_other() {
    let mut desk = Desk::running(12, 1, 2);
    for task in 0..12 {
        let held = desk.claim(1).unwrap();
        let output = map_with(counters(task, MAX_USER_COUNTERS as u32), Vec::new());
        assert!(output.counters().user.len() * (115 + 24) > MAX_USER_COUNTER_BYTES - 1_000);
        assert!(finish_with(&mut desk, 1, &held, output));
    }
    desk.store.end_lease(identity(1).lease);
    assert_eq!(desk.settle(), None);
    assert_eq!(
        (desk.job().done(TaskKind::Map), desk.job().waiting(TaskKind::Map).count()),
        (0, 12)
    );
}
