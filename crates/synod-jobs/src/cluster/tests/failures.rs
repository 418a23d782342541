//! What becomes of a task that fails, or whose output cannot be read: who tries again, how often, and when
//! the job ends.

use super::*;
use crate::cluster::attempt::failure_of;
use crate::error::JobError;
use crate::task::MAX_ATTEMPTS;

#[test]
fn an_unreadable_output_is_made_again_and_is_no_failure_of_the_reader() {
    let mut desk = Desk::running(1, 1, 2);
    let map = desk.claim(1).unwrap();
    assert!(desk.finish(1, &map));
    let reduce = desk.claim(2).unwrap();
    let report =
        UnreadableRecord { attempt: 0, worker: identity(1).id, message: "gone".to_owned() };
    assert!(desk.store.apply(worker::unreadable(
        &reduce,
        &desk.job().tasks[&reduce.task],
        map.task,
        &report
    )));
    // Nobody reads until the coordinator has decided.
    assert!(desk.claim(2).is_none());
    assert_eq!(desk.settle(), None);
    assert_eq!(desk.task(map.task).losses, 1);
    // Whoever cannot be read from would only make it in vain again.
    assert!(desk.claim(1).is_none());
    let map = desk.claim(2).unwrap();
    assert_eq!(map.attempt(), 1);
    assert!(desk.finish(2, &map));
    let reduce = desk.claim(2).unwrap();
    assert_eq!((reduce.attempt(), desk.task(reduce.task).failures.len()), (1, 0));
    // A report about an attempt that was replaced meanwhile changes nothing.
    assert!(desk.store.apply(worker::unreadable(
        &reduce,
        &desk.job().tasks[&reduce.task],
        map.task,
        &report
    )));
    assert_eq!(desk.settle(), None);
    assert_eq!(desk.task(map.task).losses, 1);
}

#[test]
fn an_output_that_could_be_read_nowhere_is_made_by_anyone_until_it_was_lost_too_often() {
    let mut desk = Desk::running(1, 1, 2);
    for (attempt, maker) in [1, 2, 1, 2, 1, 2, 1, 2, 1].into_iter().enumerate() {
        assert_eq!(desk.settle(), None);
        let map = desk.claim(maker).unwrap();
        assert_eq!(map.task, TaskId::map(0), "before attempt {attempt}");
        assert!(desk.finish(maker, &map));
        let reduce = desk.claim(3 - maker).unwrap();
        let report = UnreadableRecord {
            attempt: map.attempt(),
            worker: identity(maker).id,
            message: "gone".to_owned(),
        };
        assert!(desk.store.apply(worker::unreadable(
            &reduce,
            &desk.job().tasks[&reduce.task],
            map.task,
            &report
        )));
    }
    assert_eq!(desk.settle(), Some(Work::Clean));
    assert_eq!(desk.ended_why(), "the output of task m000000 was lost 9 times");
}

#[test]
fn a_worker_that_others_cannot_read_from_makes_a_map_again_if_all_others_are_busy() {
    let mut desk = Desk::running(1, 1, 2);
    let map = desk.claim(1).unwrap();
    assert!(desk.finish(1, &map));
    let reduce = desk.claim(2).unwrap();
    let worker = identity(1).id;
    let report = UnreadableRecord { attempt: 0, worker, message: "gone".to_owned() };
    assert!(desk.store.apply(worker::unreadable(
        &reduce,
        &desk.job().tasks[&reduce.task],
        map.task,
        &report
    )));
    assert_eq!(desk.settle(), None);
    assert!(desk.claim(1).is_none(), "worker 2 has room, and its outputs can be read");
    // For who knows how long, by another job.
    occupy(&mut desk, 2);
    assert_eq!(desk.claim(1).unwrap().task, map.task);
}

#[test]
fn a_task_fails_as_often_as_its_job_says_and_may_take_workers_along_three_times_as_often() {
    for (attempts, kind) in [(1, TaskKind::Map), (2, TaskKind::Reduce), (6, TaskKind::Map)] {
        // What is said of the other kind does not matter.
        let said = match kind {
            TaskKind::Map => Attempts { map: attempts, reduce: 9 },
            TaskKind::Reduce => Attempts { map: 9, reduce: attempts },
        };
        let program = Program { attempts: said, ..PROGRAM };
        let spec = JobSpec::new("wordcount", ["/in"], "/out");
        let mut desk = Desk::running_program(spec, 1, 1, 2, program);
        if kind == TaskKind::Reduce {
            let map = desk.claim(1).unwrap();
            assert!(desk.finish(1, &map));
        }
        for number in 0..attempts as i64 {
            assert_eq!(desk.settle(), None, "{attempts}: after {number} failures");
            let held = desk.claim(1 + number % 2).unwrap();
            desk.fail(1 + number % 2, &held, None);
        }
        // The coordinator has not looked yet.
        assert!([1, 2].into_iter().all(|number| desk.claim(number).is_none()), "{attempts}");
        assert_eq!(desk.settle(), Some(Work::Clean), "{attempts}");
        let last = attempts - 1;
        assert!(desk.ended_why().contains(&format!("attempt {last} on")), "{}", desk.ended_why());
    }
    for (attempts, begun) in [(1, 12), (6, 18)] {
        let program = Program { attempts: Attempts::both(attempts), ..PROGRAM };
        let spec = JobSpec::new("wordcount", ["/in"], "/out");
        let mut desk = Desk::running_program(spec, 1, 1, 0, program);
        for number in 1..=begun {
            desk.register(number, BUILD);
            assert_eq!(desk.settle(), None, "{attempts}: after {number} lost workers");
            desk.claim(number).unwrap();
            desk.store.end_lease(LeaseId(number));
        }
        assert_eq!(desk.settle(), Some(Work::Clean), "{attempts}");
        assert!(desk.ended_why().contains(&format!("begun {begun} times")), "{}", desk.ended_why());
    }
}

#[test]
fn the_fourth_failure_of_a_task_ends_the_job_with_its_error() {
    let mut desk = Desk::running(1, 1, 2);
    for number in 0..4 {
        assert_eq!(desk.settle(), None);
        let held = desk.claim(1 + number % 2).unwrap();
        desk.fail(1 + number % 2, &held, None);
    }
    assert_eq!(desk.settle(), Some(Work::Clean));
    assert_eq!(desk.ended_why(), "it broke (task m000000, attempt 3 on w2)");
    let change = desk.coordinator.cleaned(&desk.id, &desk.store.view, desk.record(), None);
    assert!(desk.store.apply(change));
    assert!(matches!(desk.record().record.state, JobState::Failed(_)));
}

#[test]
fn the_same_bad_record_twice_is_skipped_if_the_job_allows_it_and_fatal_if_not() {
    for (allowed, bad, skipped) in [(0, 1, false), (1, 1, true), (1, 2, false)] {
        let spec =
            JobSpec { skip_bad_records: allowed, ..JobSpec::new("wordcount", ["/in"], "/out") };
        let mut desk = Desk::running_spec(spec, 1, 1, 1);
        for offset in 0..bad {
            for _ in 0..2 {
                let held = desk.claim(1).unwrap();
                desk.fail(1, &held, Some(offset));
            }
        }
        if skipped {
            assert_eq!(desk.settle(), None);
            let skips = desk.claim(1).unwrap().record.skips;
            assert!(skips.len() == 1 && skips[0].place == 0, "{skips:?}");
            assert!(!skips[0].error.is_empty());
        } else {
            assert_eq!(desk.settle(), Some(Work::Clean));
        }
    }
}

#[test]
fn a_task_that_leaves_out_very_much_is_not_taken_for_lost_and_its_record_stays_small() {
    let allowed = 60;
    let spec = JobSpec { skip_bad_records: allowed, ..JobSpec::new("wordcount", ["/in"], "/out") };
    let mut desk = Desk::running_spec(spec, 1, 1, 1);
    for offset in 0..allowed {
        for _ in 0..2 {
            let held = desk.claim(1).unwrap();
            desk.fail_saying(1, &held, Some(offset), "it broke, as always, ".repeat(90));
        }
        assert_eq!(desk.settle(), None, "after {offset}");
    }
    let skips = desk.task(TaskId::map(0)).skips.clone();
    let text: usize = skips.iter().map(|skip| skip.error.len()).sum();
    assert!(skips.len() == 60 && !skips[0].error.is_empty() && text < 80 << 10, "{text}");
    let held = desk.claim(1).unwrap();
    assert!(desk.finish(1, &held));
}

#[test]
fn a_group_that_fails_twice_is_left_out_or_else_tried_as_often_as_anything_that_fails() {
    let error = JobError::ReducePanicked {
        partition: 0,
        group: 7,
        key: "k".to_owned(),
        message: "it broke".to_owned(),
    };
    for (skips_allowed, tries) in [(false, 4), (true, 2)] {
        let mut desk = Desk::running(1, 1, 1);
        let map = desk.claim(1).unwrap();
        assert!(desk.finish(1, &map));
        let held = desk.claim(1).unwrap();
        assert_eq!(held.task, TaskId::reduce(0));
        let mut task = TaskRecord::default();
        for _ in 0..tries {
            assert_eq!(task.fatal_failure(MAX_ATTEMPTS), None);
            let failure = failure_of(&error, &held, &identity(1), Span::default(), skips_allowed);
            task = task.failed(failure, skips_allowed);
        }
        let skips: Vec<u64> = task.skips.iter().map(|skip| skip.place).collect();
        assert_eq!(skips, if skips_allowed { vec![7] } else { vec![] });
        assert_eq!(task.fatal_failure(MAX_ATTEMPTS).is_some(), !skips_allowed);
    }
}

#[test]
fn a_worker_that_fails_three_tasks_gets_no_more_while_there_is_another() {
    let mut desk = Desk::running(5, 1, 2);
    let held: Vec<Held> = (0..3).map(|_| desk.claim(1).unwrap()).collect();
    for held in &held {
        desk.fail(1, held, None);
    }
    assert!(desk.claim(1).is_none());
    assert!(desk.claim(2).is_some());
    desk.store.end_lease(identity(2).lease);
    assert_eq!(desk.settle(), None);
    desk.now += limits().no_worker;
    assert_eq!(desk.settle(), None);
    // Nobody is better: it goes on until a task has failed too often, and the end says why.
    let stubborn = desk.claim(1).unwrap();
    desk.fail(1, &stubborn, None);
    while desk.settle().is_none() {
        let again = desk.claim(1).unwrap();
        desk.fail(1, &again, None);
    }
    assert!(desk.ended_why().contains("it broke"), "{}", desk.ended_why());
}

#[test]
fn bad_records_that_may_be_left_out_say_nothing_about_a_worker_nor_what_it_has_done_since() {
    for skip_bad_records in [0, 100] {
        let spec = JobSpec { skip_bad_records, ..JobSpec::new("wordcount", ["/in"], "/out") };
        let mut desk = Desk::running_spec(spec, 8, 1, 2);
        let held: Vec<Held> = (0..3).map(|_| desk.claim(1).unwrap()).collect();
        for held in &held {
            desk.fail(1, held, Some(7));
        }
        assert_eq!(desk.claim(1).is_some(), skip_bad_records > 0);
    }
    for does_them_again in [false, true] {
        let mut desk = Desk::running(4, 1, 1);
        let failed: Vec<Held> = (0..3).map(|_| desk.claim(1).unwrap()).collect();
        for held in &failed {
            desk.fail(1, held, None);
        }
        let other = desk.claim(1).unwrap();
        for _ in 0..3 {
            let again = desk.claim(1).unwrap();
            assert!(!does_them_again || desk.finish(1, &again));
        }
        desk.register(2, "1-ab");
        let now = desk.job().tasks[&other.task].clone();
        assert!(desk.store.apply(worker::given_back(&other, &now)));
        assert_eq!(desk.claim(1).is_some(), does_them_again);
    }
}

#[test]
fn a_task_that_takes_its_worker_down_each_time_ends_the_job() {
    let mut desk = Desk::running(1, 1, 0);
    for number in 1..=12 {
        assert_eq!(desk.settle(), None);
        let me = desk.register(number, BUILD);
        desk.claim(number).unwrap();
        desk.store.end_lease(me.lease);
    }
    desk.register(13, BUILD);
    assert_eq!(desk.settle(), Some(Work::Clean));
    assert!(desk.ended_why().contains("begun 12 times"), "{}", desk.ended_why());
}

#[test]
fn a_reduce_that_finds_output_after_output_unreadable_is_not_taken_for_one_that_kills_its_workers()
{
    let mut desk = Desk::running(20, 1, 2);
    for _ in 0..20 {
        let map = desk.claim(2).unwrap();
        assert!(desk.finish(2, &map));
    }
    for number in 0..20 {
        let reduce = desk.claim(1).unwrap();
        let map = TaskId::map(number);
        let done = desk.task(map).done.clone().unwrap();
        let message = "it is gone".to_owned();
        let report = UnreadableRecord { attempt: done.attempt, worker: done.worker, message };
        let now = desk.job().tasks[&reduce.task].clone();
        assert!(desk.store.apply(worker::unreadable(&reduce, &now, map, &report)));
        assert_eq!(desk.settle(), None, "after {number}");
        let again = desk.claim(1).unwrap();
        assert_eq!(again.task, map);
        assert!(desk.finish(1, &again));
        assert_eq!(desk.settle(), None, "after {number}");
    }
    let reduce = desk.claim(1).unwrap();
    assert!(desk.finish(1, &reduce));
    assert_eq!(desk.settle(), Some(Work::Commit));
}
