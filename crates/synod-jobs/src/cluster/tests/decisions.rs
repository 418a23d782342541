//! What coordinator and workers decide, one transaction at a time.

use super::*;
use crate::cluster::attempt::failure_of;
use crate::cluster::worker::Pace;
use crate::commit::Manifest;
use crate::error::JobError;
use crate::task::MAX_ATTEMPTS;

#[test]
fn a_job_goes_from_submission_to_its_manifest() {
    let mut desk = Desk::running(250, 2, 2);
    assert_eq!(desk.job().tasks.len(), 252);
    assert_eq!(desk.job().snapshot().bytes_total, 25_000);
    let stored: Vec<u8> = desk.job().plan.values().flatten().copied().collect();
    assert_eq!(decode::<JobPlan>(&stored), Some(a_plan(250, 2)));
    // Two workers want different tasks.
    let (first, second) = (desk.claim(1).unwrap(), desk.claim(2).unwrap());
    assert!(second.task.number - first.task.number > 100);
    assert!(desk.finish(1, &first) && desk.finish(2, &second));
    desk.finish_all(1);
    assert_eq!(desk.job().snapshot().bytes_read, 25_000);
    assert_eq!(desk.settle(), Some(Work::Commit));
    let manifest = Manifest { job: "wordcount".to_owned(), ..Manifest::default() };
    let change =
        desk.coordinator.committed(&desk.id, &desk.store.view, desk.record(), manifest.clone());
    assert!(desk.store.apply(change));
    assert_eq!(desk.record().record.state, JobState::Done(manifest));
    assert!(desk.job().tasks.is_empty() && desk.job().plan.is_empty());
    assert_eq!(desk.next(), None);
}

#[test]
fn of_two_ends_of_one_attempt_one_takes_effect() {
    let mut desk = Desk::running(1, 1, 2);
    let held = desk.claim(1).unwrap();
    assert!(desk.claim(2).is_none());
    assert!(desk.finish(1, &held));
    assert!(!desk.finish(1, &held));
    assert!(!desk.store.apply(worker::given_back(&held, &desk.job().tasks[&held.task])));
}

#[test]
fn reduces_wait_for_every_map() {
    let mut desk = Desk::running(2, 1, 1);
    let first = desk.claim(1).unwrap();
    let second = desk.claim(1).unwrap();
    assert!(desk.claim(1).is_none());
    assert!(desk.finish(1, &first));
    assert!(desk.claim(1).is_none());
    assert!(desk.finish(1, &second));
    assert_eq!(desk.claim(1).unwrap().task, TaskId::reduce(0));
}

#[test]
fn a_lost_workers_tasks_wait_again_also_its_finished_maps() {
    let mut desk = Desk::running(2, 1, 2);
    let done = desk.claim(1).unwrap();
    assert!(desk.finish(1, &done));
    let under_way = desk.claim(1).unwrap();
    desk.store.end_lease(identity(1).lease);
    // Its claim went with its lease, and it cannot end what it began.
    assert!(!desk.finish(1, &under_way));
    let again = desk.claim(2).unwrap();
    assert_eq!((again.task, again.attempt()), (under_way.task, 1));
    assert!(desk.finish(2, &again));
    // The reduce does not start before the lost output is there again.
    assert!(desk.claim(2).is_none());
    assert_eq!(desk.settle(), None);
    assert_eq!(desk.task(done.task).losses, 1);
    let again = desk.claim(2).unwrap();
    assert_eq!((again.task, again.attempt()), (done.task, 1));
    assert!(desk.finish(2, &again));
    assert_eq!(desk.claim(2).unwrap().task, TaskId::reduce(0));
}

#[test]
fn finished_reduces_need_no_maps_any_more() {
    let mut desk = Desk::running(1, 1, 2);
    desk.finish_all(1);
    desk.store.end_lease(identity(1).lease);
    assert_eq!(desk.settle(), Some(Work::Commit));
}

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
fn workers_with_another_program_are_left_out_and_named() {
    let mut desk = Desk::running(1, 1, 0);
    desk.register(3, "2-cd");
    assert!(desk.claim(3).is_none());
    assert_eq!(desk.settle(), None);
    desk.now += limits().no_worker;
    assert_eq!(desk.settle(), Some(Work::Clean));
    assert!(desk.ended_why().contains("n3 runs another program (2-cd, not 1-ab)"));
}

#[test]
fn an_attempt_that_does_not_move_fails_and_one_that_does_goes_on() {
    let mut desk = Desk::running(2, 1, 2);
    let (stuck, moving) = (desk.claim(1).unwrap(), desk.claim(2).unwrap());
    assert_eq!(desk.settle(), None);
    desk.now += limits().stall;
    assert!(desk.store.apply(worker::refreshed(
        &moving,
        &identity(2),
        Pace { activity: 7, ..Pace::default() }
    )));
    assert_eq!(desk.settle(), None);
    assert!(!worker::still_held(Some(desk.job()), &stuck));
    assert!(worker::still_held(Some(desk.job()), &moving));
    assert_eq!(desk.task(stuck.task).failures.len(), 1);
    assert!(desk.finish(2, &moving));
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
fn a_wish_to_cancel_ends_the_job_unless_it_is_being_committed() {
    let mut desk = Desk::running(1, 1, 1);
    let held = desk.claim(1).unwrap();
    assert!(desk.store.apply(Change::new().put(desk.id.key(JobKey::Cancel), "")));
    assert!(desk.claim(1).is_none());
    assert_eq!(desk.settle(), Some(Work::Clean));
    assert!(desk.store.apply(desk.coordinator.cleaned(
        &desk.id,
        &desk.store.view,
        desk.record(),
        None
    )));
    assert_eq!(desk.record().record.state, JobState::Cancelled);
    assert!(!desk.finish(1, &held));

    let mut desk = Desk::running(1, 1, 1);
    desk.finish_all(1);
    assert_eq!(desk.settle(), Some(Work::Commit));
    assert!(desk.store.apply(Change::new().put(desk.id.key(JobKey::Cancel), "")));
    assert_eq!(desk.settle(), Some(Work::Commit));
}

#[test]
fn a_deposed_coordinator_changes_nothing_and_the_next_one_goes_on() {
    let mut desk = Desk::running(1, 1, 1);
    desk.finish_all(1);
    let Some(Step::Change(late)) = desk.next() else { panic!("it wants to commit") };
    desk.store.end_lease(LeaseId(100));
    let office = office(&mut desk.store, 101);
    assert!(!desk.store.apply(late));
    let epoch = office.epoch.0;
    desk.coordinator = Coordinator::new(office, limits());
    assert_eq!(desk.settle(), Some(Work::Commit));
    assert_eq!(desk.record().record.epoch, epoch);
}

#[test]
fn two_jobs_do_not_write_to_one_folder() {
    let mut desk = Desk::running(1, 1, 1);
    let second: JobId = "02".parse().unwrap();
    submit(&mut desk.store, &second, JobSpec::new("sort", ["/in"], "/out"));
    let step = desk.coordinator.next(&desk.store.view, &second, desk.now);
    let Some(Step::Change(change)) = step else { panic!("{step:?}") };
    assert!(desk.store.apply(change));
    let state = &desk.store.view.jobs[&second].job.as_ref().unwrap().record.state;
    assert!(matches!(state, JobState::Failed(why) if why.contains("/out")), "{state:?}");
}

#[test]
fn plans_that_are_too_large_for_the_store_are_refused() {
    let desk = Desk::new(JobSpec::new("wordcount", ["/in"], "/out"));
    let planned = desk.coordinator.planned(&desk.id, desk.record(), &a_plan(401, 10_000), PROGRAM);
    assert!(planned.unwrap_err().contains("larger splits"));
    let long = JobPlan { cuts: vec![vec![255; 20 << 20]], ..a_plan(1, 2) };
    let planned = desk.coordinator.planned(&desk.id, desk.record(), &long, PROGRAM);
    assert!(planned.unwrap_err().contains("bytes"));
}

#[test]
fn only_the_latest_finished_jobs_are_remembered() {
    let mut desk = Desk::running(1, 1, 1);
    for number in 2..=5 {
        let id: JobId = format!("0{number}").parse().unwrap();
        submit(&mut desk.store, &id, JobSpec::new("sort", ["/in"], "/out"));
        let record = desk.store.view.jobs[&id].job.clone().unwrap();
        let change = desk.coordinator.checked(&id, &record, Some("no".to_owned()));
        assert!(desk.store.apply(change));
    }
    let change = desk.coordinator.prune(&desk.store.view).unwrap();
    assert!(desk.store.apply(change));
    let left: Vec<String> = desk.store.view.jobs.keys().map(ToString::to_string).collect();
    assert_eq!(left, ["01", "04", "05"]);
    assert_eq!(desk.coordinator.prune(&desk.store.view), None);
}

#[test]
fn a_claim_that_nobody_remembers_is_given_back() {
    let mut desk = Desk::running(1, 1, 1);
    let held = desk.claim(1).unwrap();
    let known = BTreeSet::from([(held.job.clone(), held.task)]);
    let me = identity(1);
    assert_eq!(worker::stray_claim(&desk.store.view, &me, &known), None);
    let change = worker::stray_claim(&desk.store.view, &me, &BTreeSet::new()).unwrap();
    assert!(desk.store.apply(change));
    assert_eq!(desk.claim(1).unwrap().attempt(), 1);
}

#[test]
fn a_job_that_has_ended_leaves_a_report_in_the_place_of_its_tasks() {
    let mut desk = Desk::running(3, 1, 2);
    let failing = desk.claim(1).unwrap();
    desk.fail(1, &failing, None);
    desk.unix_ms += 500;
    let slow = desk.claim(2).unwrap();
    desk.unix_ms += 7_000;
    assert!(desk.finish(2, &slow));
    desk.finish_all(1);
    // What one has failed the other one does.
    desk.finish_all(2);
    assert_eq!(desk.settle(), Some(Work::Commit));
    let manifest = Manifest { job: "wordcount".to_owned(), ..Manifest::default() };
    desk.coordinator.tell_time(10_000);
    let change = desk.coordinator.committed(&desk.id, &desk.store.view, desk.record(), manifest);
    assert!(desk.store.apply(change));
    let JobRecord { submitted_ms, started_ms, ended_ms, .. } = desk.record().record;
    assert_eq!((submitted_ms, started_ms, ended_ms), (1_000, 2_000, 10_000));
    assert!(desk.job().tasks.is_empty());
    let report = desk.job().report().unwrap();
    assert_eq!((report.tasks.len(), report.tasks_left_out), (4, 0));
    let slowest = report.slowest(1)[0];
    assert_eq!((slowest.task, slowest.millis(), slowest.bytes), (slow.task, 7_000, 100));
    assert_eq!(report.nodes[slowest.node as usize], "n2");
    let workers = &desk.store.view.workers;
    let registered = workers.values().find(|worker| worker.record.node == "n2").unwrap();
    assert_eq!(report.addresses[slowest.node as usize], registered.record.address);
    assert_eq!((report.failed_attempts, report.failures[0].task), (1, failing.task));
    assert_eq!(report.failures[0].failure.message, "it broke");
    assert_eq!(report.counters.map_bytes_in, 300);
    assert_eq!(report.skew.unwrap().largest, 0);
}

#[test]
fn a_report_of_very_many_tasks_keeps_those_that_ran_longest() {
    let mut desk = Desk::running(2_100, 1, 1);
    for number in 0..2_100 {
        let held = desk.claim(1).unwrap();
        desk.unix_ms += number;
        assert!(desk.finish(1, &held));
    }
    desk.finish_all(1);
    let report = JobReport::of(desk.job(), &desk.store.view.workers);
    assert_eq!((report.tasks.len(), report.tasks_left_out), (2_000, 101));
    assert!(report.tasks.iter().all(|row| row.millis() >= 100));
    assert!(report.tasks.is_sorted_by_key(|row| row.task));
    assert!(encode(&report).unwrap().len() < 200_000);
}

#[test]
fn a_job_that_runs_commands_goes_to_workers_that_allow_it_and_without_one_it_ends() {
    let mut desk = Desk::new(JobSpec::new("wordcount", ["/in"], "/out"));
    desk.register(1, BUILD);
    let plan = a_plan(1, 1);
    assert!(desk.store.apply(desk.coordinator.checked(&desk.id, desk.record(), None)));
    let program = Program { runs_commands: true, ..PROGRAM };
    let changes = desk.coordinator.planned(&desk.id, desk.record(), &plan, program).unwrap();
    assert!(changes.into_iter().all(|change| desk.store.apply(change)));
    assert!(desk.claim(1).is_none());
    assert_eq!(desk.settle(), None);
    desk.now += limits().no_worker / 2;
    let willing = WorkerRecord { runs_commands: true, ..registration(2, BUILD) };
    let willing = desk.register_as(2, willing);
    assert!(desk.claim(2).is_some());
    desk.now += limits().no_worker;
    assert_eq!(desk.settle(), None);
    desk.store.end_lease(willing.lease);
    assert_eq!(desk.settle(), None);
    desk.now += limits().no_worker;
    assert_eq!(desk.settle(), Some(Work::Clean));
    assert!(desk.ended_why().contains("n1 does not run commands"), "{}", desk.ended_why());
}

#[test]
fn a_worker_that_is_about_to_leave_takes_nothing_new_and_its_outputs_still_count() {
    let mut desk = Desk::running(2, 1, 2);
    let map = desk.claim(1).unwrap();
    assert!(desk.finish(1, &map));
    desk.register_as(1, WorkerRecord { draining: true, ..registration(1, BUILD) });
    assert!(desk.claim(1).is_none());
    desk.finish_all(2);
    assert_eq!(desk.settle(), Some(Work::Commit));
    assert_eq!(desk.task(map.task).losses, 0);
}

#[test]
fn maps_without_reduces_are_the_output_and_outlive_their_worker() {
    let mut desk = Desk::running(2, 0, 2);
    let held = desk.claim(1).unwrap();
    let part = ReduceOutput {
        partition: held.task.number,
        bytes: 1,
        records: 1,
        crc32c: 0,
        counters: Counters::default(),
        side_files: Vec::new(),
    };
    let made = Made { output: TaskOutput::Reduce(part), ended_ms: 0, work: 1 };
    let change = worker::done(&held, &identity(1), &desk.job().tasks[&held.task], made);
    assert!(desk.store.apply(change));
    assert!(!desk.job().has_outputs_of(&identity(1).id));
    desk.store.end_lease(identity(1).lease);
    assert_eq!(desk.settle(), None);
    assert_eq!(desk.task(held.task).losses, 0);
    desk.finish_all(2);
    assert_eq!(desk.settle(), Some(Work::Commit));
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
