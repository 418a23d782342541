//! Workers of one machine, and its cores.

use super::*;
use crate::cluster::room::slots_together;

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
