//! Second attempts of slow tasks: when they are allowed, who takes them, and that one of two wins.

use super::*;
use crate::cluster::seat::Seat;
use crate::cluster::worker::Pace;

const SECOND: Duration = Duration::from_secs(1);

impl Desk {
    /// Time passes for everybody.
    fn pass(&mut self, seconds: u32) {
        self.now += SECOND * seconds;
        self.unix_ms += u64::from(seconds) * 1_000;
    }

    /// The attempt has done this much of its 100 bytes.
    pub(super) fn tell(&mut self, number: i64, held: &Held, work_done: u64) {
        self.tell_moves(number, held, work_done, work_done);
    }

    fn tell_moves(&mut self, number: i64, held: &Held, work_done: u64, activity: u64) {
        let pace = Pace { activity, work_done, work_total: 100, ..Pace::default() };
        assert!(self.store.apply(worker::refreshed(held, &identity(number), pace)));
    }

    fn marked(&self) -> Vec<TaskId> {
        self.job().slow().collect()
    }
}

/// Three workers finish a map each in two seconds; the fourth, on `n4`, has done a tenth of its own
/// after ten.
fn straggler(spec: JobSpec) -> (Desk, Held) {
    let mut desk = Desk::running_spec(spec, 4, 1, 4);
    let slow = desk.claim(4).unwrap();
    let others = [1, 2, 3].map(|number| (number, desk.claim(number).unwrap()));
    assert_eq!(desk.settle(), None);
    desk.pass(2);
    for (number, held) in others {
        assert!(desk.finish(number, &held));
    }
    assert_eq!(desk.settle(), None);
    desk.pass(7);
    assert_eq!(desk.settle(), None);
    assert!(desk.marked().is_empty(), "nine seconds are too few");
    desk.pass(1);
    desk.tell(4, &slow, 10);
    (desk, slow)
}

/// The same with four reduces of one map.
fn slow_reduce(spec: JobSpec) -> (Desk, Held) {
    let mut desk = Desk::running_spec(spec, 1, 4, 4);
    let map = desk.claim(1).unwrap();
    assert!(desk.finish(1, &map));
    assert_eq!(desk.settle(), None);
    let slow = desk.claim(4).unwrap();
    let others = [1, 2, 3].map(|number| (number, desk.claim(number).unwrap()));
    assert_eq!(slow.task.kind, TaskKind::Reduce);
    assert_eq!(desk.settle(), None);
    desk.pass(2);
    for (number, held) in others {
        assert!(desk.finish(number, &held));
    }
    assert_eq!(desk.settle(), None);
    desk.pass(8);
    desk.tell(4, &slow, 10);
    (desk, slow)
}

fn count() -> JobSpec {
    JobSpec::new("wordcount", ["/in"], "/out")
}

#[test]
fn a_slow_attempt_gets_company_and_the_first_to_commit_wins_for_both() {
    for straggler_wins in [false, true] {
        let (mut desk, slow) = straggler(count());
        assert!(desk.claim(1).is_none(), "nobody has found it slow yet");
        assert_eq!(desk.settle(), None);
        assert_eq!(desk.marked(), [slow.task]);
        assert!(desk.claim(4).is_none(), "not beside itself");
        let second = desk.claim(1).unwrap();
        assert_eq!((second.task, second.seat, second.attempt()), (slow.task, Seat::Second, 1));
        assert!(desk.claim(2).is_none(), "two are enough");
        assert_eq!(desk.task(slow.task).backups, [1]);
        let (winner, loser) =
            if straggler_wins { ((4, &slow), (1, &second)) } else { ((1, &second), (4, &slow)) };
        assert!(desk.finish(winner.0, winner.1));
        assert!(!worker::still_held(Some(desk.job()), loser.1), "it is told to stop");
        assert!(!desk.finish(loser.0, loser.1));
        assert_eq!(desk.task(slow.task).done.as_ref().unwrap().attempt, winner.1.attempt());
        assert_eq!(desk.job().snapshot().bytes_read, 400, "counted once");
        assert!(desk.job().attempts().next().is_none());
        desk.finish_all(2);
        assert_eq!(desk.settle(), Some(Work::Commit));
        let report = JobReport::of(desk.job(), &desk.store.view.workers);
        assert_eq!(report.backup_attempts, 1);
        let was_backup = |task| report.tasks.iter().find(|row| row.task == task).unwrap().backup;
        assert_eq!(was_backup(slow.task), !straggler_wins);
    }
}

/// Seed 5138 of jobs in the simulator: the second attempt would have gone without the map, and won.
#[test]
fn a_slow_reduce_gets_no_company_while_a_map_is_lost() {
    let (mut desk, slow) = slow_reduce(count());
    assert_eq!(desk.settle(), None);
    assert_eq!(desk.marked(), [slow.task]);
    let map = TaskId::map(0);
    assert!(desk.job().map_outputs().is_some());
    desk.store.end_lease(identity(1).lease);
    assert!(desk.claim(2).is_none(), "its output is not there, though nobody has said so");
    assert_eq!(desk.settle(), None);
    assert!(desk.task(map).done.is_none());
    assert_eq!(desk.job().map_outputs(), None, "a reduce would go without it");
    let again = desk.claim(2).unwrap();
    assert_eq!(again.task, map);
    assert!(desk.claim(3).is_none(), "its output is being made");
    assert!(desk.finish(2, &again));
    assert_eq!(desk.settle(), None);
    assert_eq!(desk.claim(2).map(|held| (held.task, held.seat)), Some((slow.task, Seat::Second)));
}

#[test]
fn an_attempt_with_little_or_no_input_left_that_does_not_come_to_an_end_gets_company() {
    for work_done in [99, 100] {
        let (mut desk, slow) = straggler(count());
        desk.tell(4, &slow, work_done);
        assert_eq!(desk.settle(), None);
        let ends_soon = work_done == 99;
        assert_eq!(desk.marked().is_empty(), ends_soon, "it has ten seconds behind it");
        // Twice the time of the others without any work done, though it moves.
        for activity in 1..=4 {
            desk.pass(1);
            desk.tell_moves(4, &slow, work_done, activity);
            assert_eq!(desk.settle(), None);
        }
        assert_eq!(desk.marked(), [slow.task]);
    }
}

#[test]
fn two_ends_in_the_same_moment_are_one_win_and_one_loss() {
    let (mut desk, slow) = straggler(count());
    assert_eq!(desk.settle(), None);
    let second = desk.claim(1).unwrap();
    // Both look at the same records, and both write.
    let made = |worker| {
        let sections = vec![(10, 1); 2];
        let output = map_output(sections);
        worker::done(
            if worker == 1 { &second } else { &slow },
            &identity(worker),
            &desk.job().tasks[&slow.task],
            Made { output, ended_ms: 1, work: 1 },
        )
    };
    let (first, late) = (made(1), made(4));
    assert!(desk.store.apply(first));
    assert!(!desk.store.apply(late));
    assert_eq!(desk.task(slow.task).done.as_ref().unwrap().attempt, second.attempt());
}

#[test]
fn an_attempt_that_goes_on_alone_is_still_one_to_be_helped() {
    let (mut desk, slow) = straggler(count());
    assert_eq!(desk.settle(), None);
    let second = desk.claim(1).unwrap();
    // The first one's worker is lost: the second one goes on, and nobody begins anew.
    desk.store.end_lease(identity(4).lease);
    assert_eq!(desk.settle(), None);
    assert!(desk.claim(2).is_none());
    desk.pass(100);
    assert_eq!(desk.settle(), None);
    assert_eq!(desk.marked(), [slow.task]);
    let third = desk.claim(2).unwrap();
    assert_eq!((third.task, third.seat), (slow.task, Seat::First));
    // One fails, the other one wins.
    desk.fail(1, &second, None);
    assert!(desk.finish(2, &third));
    assert_eq!(desk.task(slow.task).failures.len(), 1);
}

#[test]
fn jobs_whose_functions_must_not_run_twice_get_no_second_attempts() {
    let (mut desk, _) = straggler(JobSpec { speculative: false, ..count() });
    assert_eq!(desk.settle(), None);
    assert!(desk.marked().is_empty());
    assert!(desk.claim(1).is_none());
}

#[test]
fn of_a_job_whose_reduces_must_not_run_twice_only_maps_get_second_attempts_and_the_other_way_round()
{
    let but = |kind| JobSpec { not_speculative: Some(kind), ..count() };
    let (mut desk, slow) = straggler(but(TaskKind::Reduce));
    assert_eq!(desk.settle(), None);
    assert_eq!(desk.marked(), [slow.task]);
    let (mut desk, _) = straggler(but(TaskKind::Map));
    assert_eq!(desk.settle(), None);
    assert!(desk.marked().is_empty());
    for (spec, is_helped) in [(but(TaskKind::Map), true), (but(TaskKind::Reduce), false)] {
        let (mut desk, slow) = slow_reduce(spec);
        assert_eq!(desk.settle(), None);
        assert_eq!(desk.marked(), if is_helped { vec![slow.task] } else { Vec::new() });
    }
}

#[test]
fn a_spec_that_says_nothing_of_kinds_of_tasks_lets_both_run_twice() {
    let mut spec = count();
    let text = String::from_utf8(encode(&spec).unwrap()).unwrap();
    assert!(!text.contains("not_speculative"), "{text}");
    assert_eq!(decode::<JobSpec>(text.as_bytes()), Some(spec.clone()));
    spec.not_speculative = Some(TaskKind::Reduce);
    assert_eq!(decode(&encode(&spec).unwrap()), Some(spec));
}

#[test]
fn what_is_slow_because_it_is_large_is_left_alone() {
    let (mut desk, slow) = straggler(count());
    // A hundred times the work of the others: at ten bytes a second it is as fast as they are.
    let pace = Pace { activity: 1, work_done: 500, work_total: 10_000, ..Pace::default() };
    assert!(desk.store.apply(worker::refreshed(&slow, &identity(4), pace)));
    assert_eq!(desk.settle(), None);
    assert!(desk.marked().is_empty());
}

#[test]
fn second_attempts_wait_for_first_ones_and_are_one_in_ten_slots_at_most() {
    // Twenty workers, two of twenty tasks hang.
    let mut desk = Desk::running_spec(count(), 20, 1, 20);
    let held: Vec<Held> = (1..=20).map(|number| desk.claim(number).unwrap()).collect();
    assert_eq!(desk.settle(), None);
    desk.pass(2);
    for (number, held) in (1..).zip(&held).skip(4) {
        assert!(desk.finish(number, held));
    }
    assert_eq!(desk.settle(), None);
    desk.pass(30);
    for (number, held) in (1..).zip(&held).take(4) {
        desk.tell(number, held, number as u64);
    }
    assert_eq!(desk.settle(), None);
    // Those with the longest way to go first: they did least.
    assert_eq!(desk.marked(), [held[0].task, held[1].task]);
    let helped = [desk.claim(10).unwrap(), desk.claim(11).unwrap()];
    assert_eq!(desk.settle(), None);
    assert!(desk.claim(12).is_none());
    assert!(desk.finish(10, &helped[0]));
    assert_eq!(desk.settle(), None);
    assert_eq!(desk.claim(12).unwrap().task, held[2].task);
    // A map that waits goes first.
    desk.store.end_lease(identity(20).lease);
    assert_eq!(desk.settle(), None);
    assert_eq!(desk.claim(13).unwrap().task, held[19].task);
}

#[test]
fn the_slowest_quarter_of_the_workers_helps_nobody() {
    let mut desk = Desk::running_spec(count(), 9, 1, 5);
    // Four workers do two tasks each; the fourth takes four times as long. The fifth one hangs.
    let hung = desk.claim(5).unwrap();
    assert_eq!(desk.settle(), None);
    for _ in 0..2 {
        let held = [1, 2, 3, 4].map(|number| (number, desk.claim(number).unwrap()));
        desk.pass(1);
        for (number, held) in &held[..3] {
            assert!(desk.finish(*number, held));
        }
        desk.pass(3);
        assert!(desk.finish(4, &held[3].1));
    }
    desk.pass(20);
    assert_eq!(desk.settle(), None);
    assert_eq!(desk.marked(), [hung.task]);
    assert!(desk.claim(4).is_none());
    assert!(desk.claim(3).is_some());
}

#[test]
fn a_new_coordinator_watches_for_a_while_before_it_finds_anything_slow() {
    let (mut desk, slow) = straggler(count());
    desk.store.end_lease(LeaseId(100));
    let office = office(&mut desk.store, 101);
    desk.coordinator = Coordinator::new(office, limits());
    assert_eq!(desk.settle(), None);
    assert!(desk.marked().is_empty());
    desk.pass(10);
    assert_eq!(desk.settle(), None);
    assert_eq!(desk.marked(), [slow.task]);
}
