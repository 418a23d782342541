//! Workers of one machine, and its cores.

use super::*;
use crate::cluster::room::{Room, slots_together};
use std::ops::Range;

const CORES: u32 = 2;

/// A worker that was not told how many tasks to run.
fn sharing(number: i64, host: &str) -> WorkerRecord {
    let host = host.to_owned();
    WorkerRecord { slots: CORES, shares_cores: true, host, ..registration(number, BUILD) }
}

/// A job of many maps, and these workers.
fn desk(hosts: &[&str]) -> Desk {
    let mut desk = Desk::running(20, 1, hosts.len() as i64);
    for (number, host) in (1..).zip(hosts) {
        desk.register_as(number, sharing(number, host));
    }
    desk
}

#[test]
fn workers_of_one_machine_have_each_a_part_of_its_cores_rounded_up() {
    let mut desk = desk(&["a", "a", "a"]);
    for number in [1, 2, 3] {
        desk.claim(number).unwrap();
        assert!(desk.claim(number).is_none(), "the other core is for others");
    }
    let slots =
        |desk: &Desk| slots_together(desk.store.view.workers.values().map(|worker| &worker.record));
    assert_eq!(slots(&desk), 3);
    // Two have a core each, and one alone has both.
    desk.store.end_lease(identity(1).lease);
    assert_eq!(slots(&desk), CORES);
    assert!([2, 3].into_iter().all(|number| desk.claim(number).is_none()));
    desk.store.end_lease(identity(2).lease);
    assert_eq!(slots(&desk), CORES);
    desk.claim(3).unwrap();
    assert!(desk.claim(3).is_none());
}

#[test]
fn a_worker_shares_with_nobody_on_other_machines_nor_with_those_that_have_slots_of_their_own() {
    let mut desk = desk(&["a", "b", "a"]);
    let own = WorkerRecord { slots: 3, shares_cores: false, ..sharing(3, "a") };
    desk.register_as(3, own);
    for number in [3, 3, 3, 1, 1, 2, 2] {
        desk.claim(number).unwrap();
    }
    assert!(desk.claim(1).is_none());
    assert!(desk.claim(2).is_none());
    let all = desk.store.view.workers.values().map(|worker| &worker.record);
    assert_eq!(slots_together(all), CORES + CORES + 3);
}

#[test]
fn who_may_not_take_tasks_of_the_job_has_no_part() {
    let mut desk = desk(&["a", "a", "a"]);
    desk.register_as(2, WorkerRecord { draining: true, ..sharing(2, "a") });
    desk.register_as(3, WorkerRecord { build: "other".to_owned(), ..sharing(3, "a") });
    desk.claim(1).unwrap();
    desk.claim(1).unwrap();
    assert!(desk.claim(1).is_none());
}

#[test]
fn workers_that_have_taken_their_parts_have_no_room_although_they_have_slots() {
    let mut desk = desk(&["a", "a", "a"]);
    assert!(desk.store.view.has_room_for(desk.job()));
    desk.claim(1).unwrap();
    assert!(desk.store.view.has_room_for(desk.job()));
    desk.claim(2).unwrap();
    desk.claim(3).unwrap();
    assert!(!desk.store.view.has_room_for(desk.job()));
}

#[test]
fn a_record_of_an_older_program_has_slots_of_its_own() {
    let text = String::from_utf8(encode(&sharing(1, "a")).unwrap()).unwrap();
    let old = text.replace("\"shares_cores\":true,", "");
    assert!(old.len() < text.len(), "{text}");
    assert!(!decode::<WorkerRecord>(old.as_bytes()).unwrap().shares_cores);
}

/// The shares of these workers of so many partitions.
fn shares(desk: &Desk, workers: &[i64], partitions: u32) -> Vec<Range<u32>> {
    let room = Room::of(&desk.store.view, desk.job());
    workers.iter().map(|number| room.share_of(&identity(*number).id, partitions)).collect()
}

#[test]
fn every_partition_is_in_the_share_of_one_worker_and_who_has_more_room_has_more() {
    let mut desk = desk(&["a", "b", "c"]);
    assert_eq!(shares(&desk, &[1, 2, 3], 6), [0..2, 2..4, 4..6]);
    assert_eq!(shares(&desk, &[1, 2, 3], 1), [0..0, 0..0, 0..1]);
    let large = WorkerRecord { slots: 6, shares_cores: false, ..sharing(2, "b") };
    desk.register_as(2, large);
    assert_eq!(shares(&desk, &[1, 2, 3], 10), [0..2, 2..8, 8..10]);
    for partitions in [0, 1, 2, 3, 7, 10_000, u32::MAX] {
        let shares = shares(&desk, &[1, 2, 3], partitions);
        let mut end = 0;
        for share in shares {
            assert_eq!(share.start, end);
            end = share.end;
        }
        assert_eq!(end, partitions);
    }
    // Who takes no tasks of the job has no share, and the others have all of it.
    desk.register_as(1, WorkerRecord { draining: true, ..sharing(1, "a") });
    assert_eq!(shares(&desk, &[1, 2, 3], 8), [0..0, 0..6, 6..8]);
    desk.register_as(3, WorkerRecord { build: "other".to_owned(), ..sharing(3, "c") });
    assert_eq!(shares(&desk, &[2, 3], 8)[0], 0..8);
    assert!(shares(&desk, &[3], 8)[0].is_empty());
}

#[test]
fn a_worker_begins_with_its_share_and_comes_to_those_of_others_from_behind() {
    let mut desk = Desk::running(2, 6, 2);
    for number in [1, 2] {
        let record = WorkerRecord { slots: 9, ..registration(number, BUILD) };
        desk.register_as(number, record);
        let held = desk.claim(number).unwrap();
        assert!(desk.finish(number, &held));
    }
    let mut reduces = |number: i64| desk.claim(number).map(|held| held.task.number);
    assert_eq!([1, 2, 1, 2].map(&mut reduces), [Some(0), Some(3), Some(1), Some(4)]);
    assert_eq!([1, 1, 1].map(&mut reduces), [Some(2), Some(5), None]);
}
