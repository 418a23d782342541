//! Who has won each task when a job is committed: every task counts once, also a map whose output was lost
//! when nobody needed it any more.

use super::*;
use crate::commit::Manifest;
use crate::side_files::SideFile;

/// A map's end: `bytes` read, and a side file of that name.
fn finish_map(desk: &mut Desk, number: i64, held: &Held, bytes: u64, side: &str) -> bool {
    let output = TaskOutput::Map {
        sections: vec![(10, 1)],
        index_crc32c: 0,
        counters: Counters { map_bytes_in: bytes, ..Counters::default() },
        side_files: vec![SideFile { name: side.to_owned(), bytes: 1 }],
    };
    let made = Made { output, ended_ms: desk.unix_ms, work: bytes };
    let change = worker::done(held, &identity(number), &desk.job().tasks[&held.task], made);
    desk.store.apply(change)
}

/// A map of worker 1 is lost while worker 2 runs the reduce, which has its pairs: both of them.
fn lost_while_reduced() -> (Desk, Held, Held) {
    let mut desk = Desk::running(1, 1, 2);
    let map = desk.claim(1).unwrap();
    assert!(finish_map(&mut desk, 1, &map, 70, "first"));
    let reduce = desk.claim(2).unwrap();
    desk.store.end_lease(identity(1).lease);
    assert_eq!(desk.settle(), None);
    assert_eq!(desk.task(map.task).losses, 1);
    assert_eq!((desk.job().done(TaskKind::Map), desk.job().snapshot().bytes_read), (0, 0));
    (desk, map, reduce)
}

fn won(desk: &Desk, task: TaskId) -> (u32, u64) {
    let winner = desk.task(task).winner().unwrap();
    (winner.attempt, winner.output.counters().map_bytes_in)
}

/// Commits, and what is kept of the tasks then.
fn report(desk: &mut Desk) -> JobReport {
    assert_eq!(desk.settle(), Some(Work::Commit));
    let manifest = Manifest::default();
    let change = desk.coordinator.committed(&desk.id, &desk.store.view, desk.record(), manifest);
    assert!(desk.store.apply(change));
    desk.job().report().unwrap()
}

#[test]
fn a_map_that_is_lost_when_its_pairs_are_needed_no_more_has_won_all_the_same() {
    let (mut desk, map, reduce) = lost_while_reduced();
    assert!(desk.finish(2, &reduce));
    assert_eq!(desk.settle(), Some(Work::Commit));
    assert_eq!(won(&desk, map.task), (0, 70));
    let report = report(&mut desk);
    assert_eq!((report.counters.map_bytes_in, report.lost_outputs), (70, 1));
    assert_eq!((report.tasks.len(), report.nodes[0].as_str()), (2, "n1"));
}

#[test]
fn a_map_that_is_lost_and_made_again_is_counted_once_as_the_second_time() {
    let (mut desk, map, reduce) = lost_while_reduced();
    desk.register(3, BUILD);
    let again = desk.claim(3).unwrap();
    assert_eq!((again.task, again.attempt()), (map.task, 1));
    // While it is being made the first one is all there is.
    assert_eq!(won(&desk, map.task), (0, 70));
    assert!(finish_map(&mut desk, 3, &again, 90, "second"));
    assert_eq!((won(&desk, map.task), desk.task(map.task).lost.clone()), ((1, 90), None));
    assert!(desk.finish(2, &reduce));
    let report = report(&mut desk);
    assert_eq!((report.counters.map_bytes_in, report.tasks.len()), (90, 2));
}

#[test]
fn nothing_that_still_runs_when_a_job_is_committed_ends_or_begins_any_more() {
    let (mut desk, map, reduce) = lost_while_reduced();
    desk.register(3, BUILD);
    let again = desk.claim(3).unwrap();
    assert!(desk.finish(2, &reduce));
    assert_eq!(desk.settle(), Some(Work::Commit));
    assert!(!worker::still_held(Some(desk.job()), &again));
    assert!(!finish_map(&mut desk, 3, &again, 90, "second"));
    assert!(!desk.store.apply(worker::given_back(&again, &desk.job().tasks[&again.task])));
    assert!([1, 2, 3].into_iter().all(|number| desk.claim(number).is_none()));
    assert_eq!(won(&desk, map.task), (0, 70), "what is published does not change under way");
}

#[test]
fn an_output_that_is_lost_twice_has_the_newest_winner_and_failures_leave_it() {
    let (mut desk, map, _reduce) = lost_while_reduced();
    desk.register(3, BUILD);
    let again = desk.claim(3).unwrap();
    assert!(finish_map(&mut desk, 3, &again, 90, "second"));
    desk.store.end_lease(identity(3).lease);
    assert_eq!(desk.settle(), None);
    desk.register(4, BUILD);
    let third = desk.claim(4).unwrap();
    assert_eq!((third.task, third.attempt()), (map.task, 2));
    desk.fail(4, &third, None);
    assert_eq!(won(&desk, map.task), (1, 90));
}

#[test]
fn records_of_tasks_that_know_of_no_lost_winner_are_read_and_written_as_ever() {
    let text = r#"{"attempts":2,"losses":1,"failures":[],"skips":[],"done":null,"slow":null}"#;
    let record: TaskRecord = decode(text.as_bytes()).unwrap();
    assert_eq!((record.winner(), record.losses), (None, 1));
    assert_eq!(encode(&record).unwrap(), text.as_bytes());
}
