//! Workers of one machine, and its cores.

use super::*;
use crate::cluster::room::slots_together;
use crate::cluster::shares::Shares;
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

/// The shares of these workers, of six partitions.
fn shares(desk: &Desk, workers: &[i64]) -> Vec<Range<u32>> {
    let shares = desk.store.view.shares(desk.job());
    workers.iter().map(|number| shares.of(&identity(*number).id)).collect()
}

#[test]
fn who_has_more_room_has_more_of_the_partitions_and_who_takes_no_tasks_has_none() {
    let mut desk = Desk::running(20, 6, 3);
    for (number, host) in (1..).zip(["a", "b", "c"]) {
        desk.register_as(number, sharing(number, host));
    }
    assert_eq!(shares(&desk, &[1, 2, 3]), [0..2, 2..4, 4..6]);
    desk.register_as(2, WorkerRecord { slots: 8, ..sharing(2, "b") });
    assert_eq!(shares(&desk, &[1, 2, 3]), [0..1, 1..5, 5..6]);
    desk.register_as(1, WorkerRecord { draining: true, ..sharing(1, "a") });
    assert_eq!(shares(&desk, &[1, 2, 3]), [0..0, 0..4, 4..6]);
    desk.register_as(3, WorkerRecord { build: "other".to_owned(), ..sharing(3, "c") });
    assert_eq!(shares(&desk, &[1, 2, 3]), [0..0, 0..6, 0..0]);
}

#[test]
fn every_partition_is_in_the_share_of_one_worker() {
    let workers: Vec<_> = (1..=4).map(|number| identity(number).id).collect();
    for weights in [[1, 1, 1, 1], [0, 1, 0, 0], [5, 0, 1, 3], [u32::MAX; 4]] {
        for partitions in [0, 1, 2, 3, 7, 10_000, u32::MAX] {
            let shares = Shares::new(workers.iter().zip(weights), partitions);
            let mut end = 0;
            for worker in &workers {
                let share = shares.of(worker);
                assert_eq!(share.start, end);
                end = share.end;
                for partition in [share.start, share.end.saturating_sub(1)] {
                    if share.contains(&partition) {
                        assert_eq!(shares.owner(partition), Some(worker));
                    }
                }
            }
            assert_eq!(end, partitions);
            assert_eq!(shares.owner(partitions), None);
        }
    }
    let nobody = Shares::new(workers.iter().map(|worker| (worker, 0)), 5);
    assert_eq!((nobody.of(&workers[0]), nobody.owner(2)), (0..0, None));
    assert!(Shares::new(workers.iter().take(1).zip([1]), 5).of(&workers[1]).is_empty());
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
    assert_eq!([1, 2, 2, 2].map(&mut reduces), [Some(0), Some(3), Some(4), Some(5)]);
    assert_eq!([2, 1, 1].map(&mut reduces), [Some(2), Some(1), None]);
}
