//! What coordinator and workers decide, one transaction at a time.

use super::*;
use crate::cluster::worker::Pace;
use crate::commit::Manifest;

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
