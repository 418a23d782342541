//! Jobs that wait for others or for their program, and where reduces go.

use super::*;
use crate::cluster::coordinator::Planner;
use crate::commit::Manifest;
use crate::priority::Priority;

/// A second job beside the desk's own; what the coordinator wants to do with it.
fn next_of(desk: &mut Desk, id: &JobId) -> Option<Step> {
    desk.coordinator.next(&desk.store.view, id, desk.now)
}

fn state_of(desk: &Desk, id: &JobId) -> JobState {
    desk.store.view.jobs[id].job.as_ref().unwrap().record.state.clone()
}

fn after(first: &JobId) -> JobSpec {
    JobSpec { after: vec![first.clone()], ..JobSpec::new("sort", ["/out"], "/out2") }
}

fn do_change(desk: &mut Desk, id: &JobId) {
    let Some(Step::Change(change)) = next_of(desk, id) else { panic!("a change is due") };
    assert!(desk.store.apply(change));
}

fn end_first(desk: &mut Desk, state: &str) {
    let manifest = Manifest { job: "wordcount".to_owned(), ..Manifest::default() };
    let change = match state {
        "done" => desk.coordinator.committed(&desk.id, &desk.store.view, desk.record(), manifest),
        "failed" => desk.coordinator.checked(&desk.id, desk.record(), Some("it broke".into())),
        _ => {
            let cancel = Change::new().put(desk.id.key(JobKey::Cancel), "");
            assert!(desk.store.apply(cancel));
            let Some(Step::Change(change)) = desk.next() else { panic!("it ends") };
            change
        }
    };
    assert!(desk.store.apply(change));
}

#[test]
fn a_job_waits_until_the_one_before_it_is_done() {
    let mut desk = Desk::running(1, 1, 1);
    let second: JobId = "02".parse().unwrap();
    let spec = after(&desk.id);
    submit(&mut desk.store, &second, spec);
    do_change(&mut desk, &second);
    assert_eq!(state_of(&desk, &second), JobState::Waiting);
    desk.now += limits().stall * 3;
    assert_eq!(next_of(&mut desk, &second), None, "it may wait as long as the first one lives");
    desk.finish_all(1);
    assert_eq!(desk.settle(), Some(Work::Commit));
    assert_eq!(next_of(&mut desk, &second), None);
    end_first(&mut desk, "done");
    assert_eq!(next_of(&mut desk, &second), Some(Step::Work(Work::Check)));
    let record = desk.store.view.jobs[&second].job.clone().unwrap();
    assert!(desk.store.apply(desk.coordinator.checked(&second, &record, None)));
    assert_eq!(next_of(&mut desk, &second), Some(Step::Work(Work::Plan)));
}

#[test]
fn a_job_after_one_that_fails_or_is_cancelled_fails_with_its_reason_and_so_on() {
    for (state, why) in [("failed", "failed: it broke"), ("cancelled", "was cancelled")] {
        let mut desk = Desk::new(JobSpec::new("wordcount", ["/in"], "/out"));
        let [second, third]: [JobId; 2] = ["02", "03"].map(|id| id.parse().unwrap());
        let spec = after(&desk.id);
        submit(&mut desk.store, &second, spec);
        submit(&mut desk.store, &third, after(&second));
        do_change(&mut desk, &second);
        do_change(&mut desk, &third);
        end_first(&mut desk, state);
        do_change(&mut desk, &second);
        do_change(&mut desk, &third);
        for job in [&second, &third] {
            let JobState::Failed(reason) = state_of(&desk, job) else { panic!("it fails") };
            assert!(reason.contains(why), "{reason}");
        }
    }
}

#[test]
fn a_job_after_one_that_nobody_knows_is_refused_and_one_that_waits_can_be_cancelled() {
    let mut desk = Desk::new(JobSpec::new("wordcount", ["/in"], "/out"));
    let [second, third, nobody]: [JobId; 3] = ["02", "03", "99"].map(|id| id.parse().unwrap());
    submit(&mut desk.store, &second, after(&nobody));
    do_change(&mut desk, &second);
    assert!(matches!(state_of(&desk, &second), JobState::Failed(why) if why.contains("99")));
    let spec = after(&desk.id);
    submit(&mut desk.store, &third, spec);
    do_change(&mut desk, &third);
    assert!(desk.store.apply(Change::new().put(third.key(JobKey::Cancel), "")));
    do_change(&mut desk, &third);
    assert_eq!(state_of(&desk, &third), JobState::Cancelled);
}

#[test]
fn a_job_of_another_program_is_planned_by_that_one_and_ends_if_nobody_runs_it() {
    let mut desk = Desk::new(JobSpec::new("mine", ["/in"], "/out"));
    let own = JobRecord { build: "other".into(), ..desk.record().record.clone() };
    let put = Change::new().put(desk.id.key(JobKey::Record), encode(&own).unwrap());
    assert!(desk.store.apply(put));
    assert!(desk.store.apply(desk.coordinator.checked(&desk.id, desk.record(), None)));
    assert_eq!(desk.next(), Some(Step::Work(Work::Plan)));
    let planner = |desk: &mut Desk, build| {
        desk.coordinator.planner(&desk.store.view, &desk.id, build, desk.now)
    };
    desk.register(1, BUILD);
    assert_eq!(planner(&mut desk, "other"), Planner::This);
    assert_eq!(planner(&mut desk, BUILD), Planner::Nobody(None));
    desk.now += limits().no_worker / 2;
    let another = desk.register(2, "other");
    assert_eq!(planner(&mut desk, BUILD), Planner::Another);
    let leaves = WorkerRecord { draining: true, ..registration(2, "other") };
    desk.register_as(2, leaves);
    // Its time begins anew.
    desk.now += limits().no_worker;
    assert_eq!(planner(&mut desk, BUILD), Planner::Nobody(None));
    desk.store.end_lease(another.lease);
    desk.now += limits().no_worker;
    let Planner::Nobody(Some(end)) = planner(&mut desk, BUILD) else { panic!("it ends") };
    assert!(desk.store.apply(end));
    let why = "no worker can take the job: n1 runs another program (1-ab, not other)";
    assert_eq!(desk.ended_why(), why);
    assert_eq!(desk.settle(), Some(Work::Clean));
}

#[test]
fn a_job_that_others_wait_for_is_not_forgotten() {
    let mut desk = Desk::new(JobSpec::new("wordcount", ["/in"], "/out"));
    end_first(&mut desk, "failed");
    for number in 2..=5 {
        let id: JobId = format!("0{number}").parse().unwrap();
        submit(&mut desk.store, &id, JobSpec::new("sort", ["/in"], "/out"));
        let record = desk.store.view.jobs[&id].job.clone().unwrap();
        assert!(desk.store.apply(desk.coordinator.checked(&id, &record, Some("no".to_owned()))));
    }
    let last: JobId = "06".parse().unwrap();
    let spec = after(&desk.id);
    submit(&mut desk.store, &last, spec);
    let change = desk.coordinator.prune(&desk.store.view).unwrap();
    assert!(desk.store.apply(change));
    let left: Vec<String> = desk.store.view.jobs.keys().map(ToString::to_string).collect();
    assert_eq!(left, ["01", "04", "05", "06"]);
}

/// A further job with a map and a reduce that may be claimed.
fn open_job(desk: &mut Desk, id: &str, priority: Priority) -> JobId {
    let id: JobId = id.parse().unwrap();
    let spec = JobSpec { priority, ..JobSpec::new("wordcount", ["/in"], format!("/out-{id}")) };
    submit(&mut desk.store, &id, spec);
    let record = |desk: &Desk| desk.store.view.jobs[&id].job.clone().unwrap();
    assert!(desk.store.apply(desk.coordinator.checked(&id, &record(desk), None)));
    let changes = desk.coordinator.planned(&id, &record(desk), &a_plan(1, 1), PROGRAM).unwrap();
    assert!(changes.into_iter().all(|change| desk.store.apply(change)));
    id
}

#[test]
fn tasks_of_a_higher_priority_are_claimed_first_and_of_one_priority_those_of_the_oldest_job() {
    let mut desk = Desk::running(2, 1, 2);
    let running = desk.claim(1).unwrap();
    for (id, priority) in [
        ("02", Priority::Low),
        ("03", Priority::High),
        ("04", Priority::VeryLow),
        ("05", Priority::High),
        ("06", Priority::VeryHigh),
        ("07", Priority::Normal),
    ] {
        open_job(&mut desk, id, priority);
    }
    let mut order = Vec::new();
    while let Some(held) = desk.claim(2) {
        order.push(held.job.to_string());
        assert!(desk.finish(2, &held));
    }
    // Of the first job there is a map; its reduce waits for the one that runs, and that is not stopped.
    assert_eq!(
        order,
        ["06", "06", "03", "03", "05", "05", "01", "07", "07", "02", "02", "04", "04"]
    );
    assert!(worker::still_held(Some(desk.job()), &running));
    assert!(desk.finish(1, &running));
    assert_eq!(desk.claim(2).unwrap().task, TaskId::reduce(0));
}

#[test]
fn a_job_of_a_low_priority_takes_what_those_above_it_have_no_use_for_and_waits_as_long_as_they_run()
{
    let mut desk = Desk::running(1, 1, 2);
    let high = open_job(&mut desk, "02", Priority::VeryHigh);
    let first = desk.claim(1).unwrap();
    assert_eq!(first.job, high);
    // Its reduce waits for its map: meanwhile the other worker does something else.
    let other = desk.claim(2).unwrap();
    assert_eq!(other.job, desk.id);
    assert!(desk.finish(2, &other));
    occupy(&mut desk, 2);
    for _ in 0..5 {
        desk.now += limits().stall - Duration::from_secs(1);
        assert_eq!(desk.next(), None, "nobody has room");
    }
    assert_eq!(desk.record().record.state, JobState::Running);
}

#[test]
fn a_spec_without_a_priority_is_a_normal_one_and_says_nothing_of_it() {
    let mut spec = JobSpec::new("wordcount", ["/in"], "/out");
    let text = String::from_utf8(encode(&spec).unwrap()).unwrap();
    assert!(!text.contains("priority"), "{text}");
    assert_eq!(decode::<JobSpec>(text.as_bytes()).unwrap().priority, Priority::Normal);
    spec.priority = Priority::VeryLow;
    assert_eq!(decode(&encode(&spec).unwrap()), Some(spec));
}

/// Workers 1 and 2 on machine `a`, worker 3 on `b`, each with a finished map; `b` has most of partition 1.
fn on_two_machines() -> Desk {
    let mut desk = Desk::running(3, 2, 0);
    for (number, host) in [(1, "a"), (2, "a"), (3, "b")] {
        let record = WorkerRecord { host: host.to_owned(), ..registration(number, BUILD) };
        desk.register_as(number, record);
        let held = desk.claim(number).unwrap();
        let sections = if host == "a" { vec![(50, 5), (1, 1)] } else { vec![(10, 1), (90, 9)] };
        let output = map_output(sections);
        let made = Made { output, ended_ms: 0, work: 1 };
        let change = worker::done(&held, &identity(number), &desk.job().tasks[&held.task], made);
        assert!(desk.store.apply(change));
    }
    desk
}

#[test]
fn a_reduce_goes_to_the_machine_that_holds_most_of_its_input() {
    let mut desk = on_two_machines();
    assert_eq!(desk.claim(3).unwrap().task, TaskId::reduce(1));
    assert_eq!(desk.claim(1).unwrap().task, TaskId::reduce(0));
}

#[test]
fn a_reduce_does_not_wait_for_a_machine_without_room_nor_longer_than_a_second() {
    let mut desk = on_two_machines();
    assert_eq!(desk.claim(1).unwrap().task, TaskId::reduce(0));
    assert!(desk.claim(2).is_none(), "worker 3 is nearer, and has room");
    desk.now += Duration::from_secs(1);
    assert_eq!(desk.claim(2).unwrap().task, TaskId::reduce(1));

    let mut desk = on_two_machines();
    assert_eq!(desk.claim(3).unwrap().task, TaskId::reduce(1));
    assert!(desk.claim(3).is_none(), "machine a is nearer");
    let first = desk.claim(1).unwrap();
    desk.fail(1, &first, None);
    // Both workers there are busy now, with another job.
    occupy(&mut desk, 1);
    occupy(&mut desk, 2);
    assert_eq!(desk.claim(3).unwrap().task, TaskId::reduce(0));
}

#[test]
fn a_reduce_is_left_to_the_worker_whose_share_it_is_in_for_a_second_while_that_one_is_at_it() {
    let started = || {
        let mut desk = Desk::running(2, 4, 0);
        for (number, host) in [(1, "a"), (2, "b")] {
            let record = WorkerRecord { host: host.to_owned(), ..registration(number, BUILD) };
            desk.register_as(number, record);
        }
        for number in [1, 2] {
            let held = desk.claim(number).unwrap();
            let made = Made { output: map_output(vec![(50, 5); 4]), ended_ms: 0, work: 1 };
            let change =
                worker::done(&held, &identity(number), &desk.job().tasks[&held.task], made);
            assert!(desk.store.apply(change));
        }
        for reduce in [0, 1] {
            assert_eq!(desk.claim(1).unwrap().task, TaskId::reduce(reduce));
        }
        desk
    };
    let mut desk = started();
    assert!(desk.claim(1).is_none(), "worker 2 has room");
    assert_eq!(desk.claim(2).unwrap().task, TaskId::reduce(2));
    desk.now += Duration::from_millis(999);
    assert!(desk.claim(1).is_none());
    desk.now += Duration::from_millis(1);
    assert_eq!(desk.claim(1).unwrap().task, TaskId::reduce(3));

    // It has no room, but works on one: the next one is soon its turn.
    let mut desk = started();
    assert!(desk.claim(2).is_some());
    assert!(desk.claim(1).is_none());

    // It is busy with something else.
    let mut desk = started();
    occupy(&mut desk, 2);
    assert_eq!(desk.claim(1).unwrap().task, TaskId::reduce(3));
}

#[test]
fn what_a_worker_has_failed_waits_for_one_that_has_not() {
    let mut desk = Desk::running(1, 1, 2);
    let held = desk.claim(1).unwrap();
    desk.fail(1, &held, None);
    // The other one has room.
    assert!(desk.claim(1).is_none());
    let held = desk.claim(2).unwrap();
    assert_eq!(held.attempt(), 1);
    desk.fail(2, &held, None);
    // Now it is the same with everybody.
    let held = desk.claim(1).unwrap();
    desk.fail(1, &held, None);
    desk.store.end_lease(identity(2).lease);
    assert_eq!(desk.claim(1).unwrap().attempt(), 3);
}

#[test]
fn half_the_attempts_are_kept_for_workers_that_are_busy_and_have_not_tried() {
    let slots = registration(2, BUILD).slots;
    let mut desk = Desk::running(1 + slots as usize, 1, 2);
    let busy: Vec<Held> = (0..slots).map(|_| desk.claim(2).unwrap()).collect();
    for _ in 0..2 {
        // Without a right, say, it would fail all the attempts there are.
        let held = desk.claim(1).unwrap();
        desk.fail(1, &held, None);
    }
    assert!(desk.claim(1).is_none());
    assert_eq!(desk.settle(), None);
    assert!(desk.finish(2, &busy[0]));
    assert_eq!(desk.claim(2).unwrap().attempt(), 2);
}

#[test]
fn a_task_with_half_its_attempts_waits_two_minutes_for_workers_that_another_job_keeps_busy() {
    let mut desk = Desk::running(1, 1, 2);
    for task in 0..registration(2, BUILD).slots {
        occupy_with(&mut desk, 2, task);
    }
    for _ in 0..2 {
        let held = desk.claim(1).unwrap();
        desk.fail(1, &held, None);
    }
    assert!(desk.claim(1).is_none());
    desk.now += Duration::from_secs(119);
    assert!(desk.claim(1).is_none());
    // The other job may take hours.
    desk.now += Duration::from_secs(1);
    assert_eq!(desk.claim(1).unwrap().attempt(), 2);
}

#[test]
fn a_task_is_left_for_two_minutes_to_workers_that_seem_to_have_room_and_do_not_take_it() {
    let mut desk = Desk::running(1, 1, 2);
    for attempt in 0..3 {
        let held = desk.claim(1).unwrap();
        assert_eq!(held.attempt(), attempt);
        desk.fail(1, &held, None);
        assert!(desk.claim(1).is_none());
        desk.now += Duration::from_secs(119);
        assert!(desk.claim(1).is_none());
        desk.now += Duration::from_secs(1);
    }
    assert_eq!(desk.claim(1).unwrap().attempt(), 3);
}

#[test]
fn a_job_may_wait_behind_another_for_any_time_but_not_for_workers_that_have_room() {
    let mut desk = Desk::running(1, 1, 1);
    for task in 0..registration(1, BUILD).slots {
        occupy_with(&mut desk, 1, task);
    }
    for _ in 0..10 {
        assert_eq!(desk.settle(), None);
        desk.now += limits().stall;
    }
    assert!(desk.job().waiting(TaskKind::Map).next().is_some());
    desk.store.delete(|kv| kv.key.starts_with(b"synod/jobs/job/00/"));
    desk.now += limits().stall / 2;
    assert_eq!(desk.settle(), None, "there was room for five minutes");
    desk.now += limits().stall * 2;
    desk.settle();
    assert!(desk.ended_why().contains("no worker takes a task"), "{}", desk.ended_why());
}

/// Two jobs with these outputs, as far as both can be before either knows of the other.
fn both_preparing(first: &str, second: &str) -> (Desk, JobId) {
    let mut desk = Desk::new(JobSpec::new("wordcount", ["/in"], first));
    let id: JobId = "02".parse().unwrap();
    submit(&mut desk.store, &id, JobSpec::new("wordcount", ["/in"], second));
    assert_eq!(desk.next(), Some(Step::Work(Work::Check)));
    assert_eq!(next_of(&mut desk, &id), Some(Step::Work(Work::Check)));
    for job in [desk.id.clone(), id.clone()] {
        let record = desk.store.view.jobs[&job].job.clone().unwrap();
        assert!(desk.store.apply(desk.coordinator.checked(&job, &record, None)));
    }
    (desk, id)
}

#[test]
fn an_output_within_the_output_of_a_running_job_is_refused_whichever_was_first() {
    for (first, second) in [
        ("/out", "/out/sub"),
        ("/out/sub", "/out"),
        ("kv://out/", "kv://out/sub/"),
        ("s3://jobs/out/sub", "s3://jobs/out/"),
        ("/out", "/out/"),
    ] {
        let mut desk = Desk::running_spec(JobSpec::new("wordcount", ["/in"], first), 1, 1, 1);
        let id: JobId = "02".parse().unwrap();
        submit(&mut desk.store, &id, JobSpec::new("wordcount", ["/in"], second));
        do_change(&mut desk, &id);
        let JobState::Failed(why) = state_of(&desk, &id) else { panic!("it is refused") };
        assert!(why.contains(first) && why.contains("01"), "{why}");

        let (mut desk, id) = both_preparing(first, second);
        assert_eq!(desk.next(), Some(Step::Work(Work::Plan)), "the first one goes on");
        do_change(&mut desk, &id);
        assert!(matches!(state_of(&desk, &id), JobState::Ending(_)), "{first} {second}");
    }
    let (mut desk, id) = both_preparing("/out/a", "/out/ab");
    assert_eq!(desk.next(), Some(Step::Work(Work::Plan)));
    assert_eq!(next_of(&mut desk, &id), Some(Step::Work(Work::Plan)));
}
