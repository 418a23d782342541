//! Tasks that a job goes on without, because they have failed for good and the job allows that.

use super::*;
use crate::given_up::GivenUp;

/// A job that may go on without so many of a hundred maps and reduces.
fn tolerant(maps: u32, reduces: u32) -> JobSpec {
    JobSpec {
        failed_maps_percent: maps,
        failed_reduces_percent: reduces,
        ..JobSpec::new("wordcount", ["/in"], "/out")
    }
}

/// Lets worker 1 do everything, of which these tasks fail; what the coordinator works on then.
fn go_on(desk: &mut Desk, bad: &[TaskId]) -> Option<Work> {
    loop {
        if let Some(work) = desk.settle() {
            return Some(work);
        }
        let held = desk.claim(1)?;
        if bad.contains(&held.task) {
            desk.fail(1, &held, None);
        } else {
            assert!(desk.finish(1, &held));
        }
    }
}

fn names(tasks: &[GivenUp]) -> Vec<TaskId> {
    tasks.iter().map(|one| one.task).collect()
}

#[test]
fn a_job_goes_on_without_as_many_failed_tasks_as_it_may_and_says_which() {
    let mut desk = Desk::running_spec(tolerant(50, 50), 4, 2, 1);
    let bad = [TaskId::map(1), TaskId::map(3), TaskId::reduce(0)];
    assert_eq!(go_on(&mut desk, &bad), Some(Work::Commit));
    for task in bad {
        let record = desk.task(task);
        assert_eq!((record.attempts, record.failures.len(), &record.done), (4, 4, &None));
        let why = record.given_up.as_ref().unwrap();
        assert!(
            why.contains("it broke") && why.contains(&format!("task {task}, attempt 3")),
            "{why}"
        );
    }
    let now = desk.job().snapshot();
    assert_eq!((now.maps_done, now.maps_given_up), (2, 2));
    let outputs = desk.job().map_outputs().unwrap();
    assert_eq!(outputs.iter().map(|(map, _)| map.number).collect::<Vec<_>>(), [0, 2]);
    assert_eq!((now.reduces_done, now.reduces_given_up, now.reduces_over()), (1, 1, 2));
    let report = JobReport::of(desk.job(), &desk.store.view.workers);
    assert_eq!(names(&report.given_up), bad);
    assert_eq!((report.counters.maps_given_up, report.counters.reduces_given_up), (2, 1));
    assert_eq!((report.failed_attempts, report.failed_map_attempts), (12, 8));
    assert_eq!(report.tasks.len(), 3);
    assert!(desk.claim(1).is_none());
}

#[test]
fn one_failed_task_more_than_may_ends_the_job_as_the_first_does_if_none_may() {
    let bad = [TaskId::map(0), TaskId::map(2)];
    let mut desk = Desk::running_spec(tolerant(49, 100), 4, 1, 1);
    assert_eq!(go_on(&mut desk, &bad), Some(Work::Clean));
    let why = desk.ended_why();
    assert!(why.starts_with("2 of 4 map tasks have failed, more than the 49 percent"), "{why}");
    assert!(why.contains("it broke"), "{why}");
    for (spec, bad) in [(tolerant(0, 100), TaskId::map(0)), (tolerant(100, 0), TaskId::reduce(0))] {
        let mut desk = Desk::running_spec(spec, 4, 1, 1);
        assert_eq!(go_on(&mut desk, &[bad]), Some(Work::Clean));
        assert!(desk.ended_why().starts_with("it broke (task "), "{}", desk.ended_why());
    }
}

#[test]
fn without_reduces_a_map_that_was_given_up_has_no_part_and_all_of_them_may_be() {
    for bad in [vec![TaskId::map(0)], vec![TaskId::map(0), TaskId::map(1)]] {
        let mut desk = Desk::running_spec(tolerant(100, 0), 2, 0, 1);
        assert_eq!(go_on(&mut desk, &bad), Some(Work::Commit));
        assert_eq!(desk.job().given_up(TaskKind::Map), bad.len() as u32);
    }
}

#[test]
fn a_failure_that_is_no_matter_of_one_task_ends_the_job_however_many_may_fail() {
    for (permanent, whole_job) in [(true, true), (false, true), (true, false)] {
        let mut desk = Desk::running_spec(tolerant(100, 0), 1, 1, 1);
        let held = desk.claim(1).unwrap();
        let failure = AttemptFailure {
            attempt: held.attempt(),
            worker: identity(1).id,
            node: String::new(),
            span: Span::default(),
            message: "nobody can".to_owned(),
            bad_record: None,
            permanent,
            whole_job,
            others: Vec::new(),
        };
        let change = worker::failed(&held, &desk.job().tasks[&held.task], failure, false);
        assert!(desk.store.apply(change));
        let given_up = |desk: &Desk| desk.task(held.task).given_up.is_some();
        match (permanent, whole_job) {
            // What its input alone is to blame for is not tried again.
            (true, false) => {
                assert_eq!(desk.settle(), None);
                assert!(given_up(&desk));
            }
            (true, true) => assert_eq!(desk.settle(), Some(Work::Clean)),
            // It is tried as often as anything else.
            (false, _) => {
                for _ in 0..3 {
                    assert_eq!(desk.settle(), None);
                    let held = desk.claim(1).unwrap();
                    let mut failure = desk.task(held.task).failures[0].clone();
                    failure.attempt = held.attempt();
                    let now = &desk.job().tasks[&held.task];
                    let change = worker::failed(&held, now, failure, false);
                    assert!(desk.store.apply(change));
                }
                assert_eq!(desk.settle(), Some(Work::Clean));
                assert!(!given_up(&desk));
            }
        }
    }
}

#[test]
fn a_task_that_takes_its_worker_down_each_time_is_given_up_if_one_may_be() {
    let mut desk = Desk::running_spec(tolerant(50, 0), 2, 1, 0);
    for number in 1..=12 {
        assert_eq!(desk.settle(), None);
        let me = desk.register(number, BUILD);
        let held = desk.claim(number).unwrap();
        assert_eq!(held.task, TaskId::map(0), "a new worker begins in front");
        desk.store.end_lease(me.lease);
    }
    desk.register(13, BUILD);
    assert_eq!(desk.settle(), None);
    let why = desk.task(TaskId::map(0)).given_up.clone().unwrap();
    assert!(why.contains("begun 12 times"), "{why}");
    assert_eq!(desk.claim(13).unwrap().task, TaskId::map(1));
}

#[test]
fn an_attempt_that_still_runs_may_save_the_task_and_its_end_decides() {
    for saves in [true, false] {
        let mut desk = Desk::running_spec(tolerant(100, 0), 1, 1, 2);
        for number in [1, 2, 1] {
            let held = desk.claim(number).unwrap();
            desk.fail(number, &held, None);
            assert_eq!(desk.settle(), None);
        }
        desk.register(3, BUILD);
        let first = desk.claim(3).unwrap();
        let mut record = desk.task(first.task).clone();
        record.slow = Some(first.attempt());
        let key = desk.id.key(JobKey::Task(first.task));
        assert!(desk.store.apply(Change::new().put(key, encode(&record).unwrap())));
        desk.register(4, BUILD);
        let second = desk.claim(4).unwrap();
        assert_eq!(second.task, first.task);
        desk.fail(3, &first, None);
        assert_eq!(desk.task(first.task).failures.len(), 4);
        assert_eq!(desk.settle(), None);
        assert_eq!(desk.task(first.task).given_up, None);
        if saves {
            assert!(desk.finish(4, &second));
            assert_eq!(go_on(&mut desk, &[]), Some(Work::Commit));
            assert!(desk.task(first.task).done.is_some());
        } else {
            desk.fail(4, &second, None);
            assert_eq!(go_on(&mut desk, &[]), Some(Work::Commit));
            assert!(desk.task(first.task).given_up.is_some());
        }
    }
}

#[test]
fn a_lost_map_that_cannot_be_made_again_is_given_up_only_if_no_reduce_may_have_read_it() {
    for read in [false, true] {
        let mut desk = Desk::running_spec(tolerant(50, 50), 2, 2, 2);
        let lost = desk.claim(1).unwrap();
        assert!(desk.finish(1, &lost));
        let other = desk.claim(2).unwrap();
        assert!(desk.finish(2, &other));
        if read {
            let reduce = desk.claim(2).unwrap();
            assert!(desk.finish(2, &reduce));
        }
        desk.store.end_lease(identity(1).lease);
        assert_eq!(desk.settle(), None);
        for _ in 0..4 {
            assert_eq!(desk.settle(), None);
            let held = desk.claim(2).unwrap();
            assert_eq!(held.task, lost.task);
            desk.fail(2, &held, None);
        }
        if read {
            assert_eq!(desk.settle(), Some(Work::Clean));
            assert!(
                desk.ended_why().contains("its output was there before"),
                "{}",
                desk.ended_why()
            );
        } else {
            assert_eq!(desk.settle(), None);
            assert!(desk.task(lost.task).given_up.is_some());
            assert_eq!(desk.claim(2).unwrap().task.kind, TaskKind::Reduce);
        }
    }
}

/// An attempt fails, and no other one of the task will do better.
fn fail_for_good(desk: &mut Desk, number: i64, held: &Held) {
    let failure = AttemptFailure {
        attempt: held.attempt(),
        worker: identity(number).id,
        node: String::new(),
        span: Span::default(),
        message: "what it reads has gone".to_owned(),
        bad_record: None,
        permanent: true,
        whole_job: false,
        others: Vec::new(),
    };
    let change = worker::failed(held, &desk.job().tasks[&held.task], failure, false);
    assert!(desk.store.apply(change));
}

/// A claim of a worker that has not heard of anything since `seen`.
fn claim_of_one_behind(desk: &Desk, number: i64, seen: &View) -> Claim {
    let me = identity(number);
    let (mine, busy) = (seen.workers[&me.id].record.clone(), BTreeSet::new());
    let (now, unix_ms) = (desk.now, desk.unix_ms);
    let ask = Asking { me: &me, mine: &mine, busy: &busy, running: 0, now, unix_ms };
    Chooser::default().next(seen, ask).unwrap()
}

#[test]
fn whoever_has_not_heard_of_a_loss_cannot_read_a_map_that_is_being_given_up() {
    // The claim comes before the coordinator has made sure, in the moment after, or when all is done.
    for comes in 0..3 {
        let mut desk = Desk::running_spec(tolerant(50, 0), 2, 2, 2);
        let lost = desk.claim(1).unwrap();
        assert!(desk.finish(1, &lost));
        let other = desk.claim(2).unwrap();
        assert!(desk.finish(2, &other));
        desk.register(3, BUILD);
        let seen = desk.store.view.clone();
        desk.store.end_lease(identity(1).lease);
        assert_eq!(desk.settle(), None);
        let held = desk.claim(2).unwrap();
        assert_eq!(held.task, lost.task);
        fail_for_good(&mut desk, 2, &held);
        let late = claim_of_one_behind(&desk, 3, &seen);
        assert_eq!(late.task.kind, TaskKind::Reduce);
        // What the coordinator decides on is the view before the claim each time.
        for step in 0..2 {
            let Some(Step::Change(change)) = desk.next() else { panic!("it has to act") };
            if comes == step {
                assert_eq!(desk.store.apply(late.change.clone()), step == 0);
            }
            assert!(desk.store.apply(change));
            assert_eq!(desk.task(lost.task).given_up.is_some(), step == 1 && comes > 0);
        }
        if comes == 0 {
            assert!(desk.ended_why().contains("its output was there before"));
            continue;
        }
        assert!(!desk.store.apply(late.change));
        // Those who know take it that the map has never been.
        let reduce = desk.claim(3).unwrap();
        assert!(reduce.task.kind == TaskKind::Reduce && desk.finish(3, &reduce));
    }
}

#[test]
fn a_worker_is_to_blame_for_tasks_that_others_do_and_not_for_those_that_nobody_can() {
    // One worker, three tasks that cannot be done: it is not left without tasks because of them.
    let mut desk = Desk::running_spec(tolerant(60, 0), 5, 1, 1);
    let bad = [0, 1, 2].map(TaskId::map);
    assert_eq!(go_on(&mut desk, &bad), Some(Work::Commit));
    // A worker that fails what another one can do gets no more after the third.
    let mut desk = Desk::running_spec(tolerant(60, 0), 5, 1, 2);
    for number in 0..3 {
        let held = desk.claim(1).unwrap();
        desk.fail(1, &held, None);
        assert_eq!(desk.store.view.eligible(desk.job()).len(), 2, "after {number}");
    }
    for _ in 0..5 {
        let held = desk.claim(2).unwrap();
        assert!(desk.finish(2, &held));
    }
    assert_eq!(desk.store.view.eligible(desk.job()), [&identity(2).id].into());
    assert!(desk.job().snapshot().maps_given_up == 0);
}

#[test]
fn records_of_a_program_that_gave_nothing_up_are_read_and_nothing_is_added_to_them() {
    let text = encode(&TaskRecord::default()).unwrap();
    assert!(!String::from_utf8(text.clone()).unwrap().contains("given_up"));
    assert_eq!(decode::<TaskRecord>(&text), Some(TaskRecord::default()));
    let spec = JobSpec::new("wordcount", ["/in"], "/out");
    let text = String::from_utf8(encode(&spec).unwrap()).unwrap();
    assert!(!text.contains("failed_"), "{text}");
    assert_eq!(decode::<JobSpec>(text.as_bytes()), Some(spec));
    let spec = tolerant(7, 100);
    assert_eq!(decode(&encode(&spec).unwrap()), Some(spec));
    assert!(tolerant(101, 0).check().is_err() && tolerant(0, 101).check().is_err());
}
