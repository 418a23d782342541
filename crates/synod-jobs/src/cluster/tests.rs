//! Coordinator and workers against a store of a few lines: what they decide, one transaction at a time.

use super::attempt::{Attempt, AttemptError, Fetch, FetchError, MapLocation};
use super::coordinator::{Coordinator, Limits, Office, Step, Work};
use super::names::{JobId, JobKey, PREFIX, TaskId, TaskKind, WorkerId};
use super::output::{self, Winner};
use super::records::*;
use super::view::{JobView, View};
use super::worker::{self, Held, Identity};
use super::{Change, Stamped};
use crate::commit::{Manifest, SUCCESS};
use crate::counters::Counters;
use crate::error::JobError;
use crate::input::InputFile;
use crate::plan::{JobPlan, Split, plan};
use crate::progress::Progress;
use crate::reduce_task::ReduceOutput;
use crate::run::writer::Section;
use crate::spec::JobSpec;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use synod_base::{LeaseId, Revision};
use synod_state::kv::{CompareTarget, Event, EventKind, KeyValue, TxnOp};

const BUILD: &str = "1-ab";

/// Keys, and the view that follows them.
#[derive(Default)]
struct Store {
    keys: BTreeMap<Bytes, KeyValue>,
    revision: i64,
    view: View,
}

impl Store {
    /// Does the change if its guards hold.
    fn apply(&mut self, change: Change) -> bool {
        let txn = change.into_txn();
        let holds = txn.compare.iter().all(|compare| {
            let found = self.keys.get(&compare.range.key);
            match compare.target {
                CompareTarget::Mod(at) => found.map_or(Revision(0), |kv| kv.mod_revision) == at,
                CompareTarget::Create(at) => {
                    found.map_or(Revision(0), |kv| kv.create_revision) == at
                }
                _ => panic!("no change compares this"),
            }
        });
        if !holds {
            return false;
        }
        self.revision += 1;
        for op in txn.success {
            match op {
                TxnOp::Put(put) => self.put(put.key, put.value, put.lease),
                TxnOp::DeleteRange(delete) => {
                    self.delete(|kv| delete.range.contains(&kv.key));
                }
                _ => panic!("no change does this"),
            }
        }
        true
    }

    fn put(&mut self, key: Bytes, value: Bytes, lease: LeaseId) {
        let mod_revision = Revision(self.revision);
        let found = self.keys.get(&key);
        let create_revision = found.map_or(mod_revision, |kv| kv.create_revision);
        let kv = KeyValue {
            key: key.clone(),
            value,
            lease,
            create_revision,
            mod_revision,
            ..KeyValue::default()
        };
        self.view.apply(&Event { kind: EventKind::Put, kv: kv.clone() });
        self.keys.insert(key, kv);
    }

    fn delete(&mut self, gone: impl Fn(&KeyValue) -> bool) {
        let keys: Vec<Bytes> =
            self.keys.values().filter(|kv| gone(kv)).map(|kv| kv.key.clone()).collect();
        for key in keys {
            self.keys.remove(&key);
            let mod_revision = Revision(self.revision);
            let kv = KeyValue { key, mod_revision, ..KeyValue::default() };
            self.view.apply(&Event { kind: EventKind::Delete, kv });
        }
    }

    fn end_lease(&mut self, lease: LeaseId) {
        self.revision += 1;
        self.delete(|kv| kv.lease == lease);
    }
}

/// A store with a coordinator, workers and one job.
struct Desk {
    store: Store,
    coordinator: Coordinator,
    id: JobId,
    now: Duration,
}

fn limits() -> Limits {
    let seconds = Duration::from_secs;
    Limits { no_worker: seconds(30), stall: seconds(600), finished_kept: 2 }
}

fn office(store: &mut Store, lease: i64) -> Office {
    let key = Bytes::from(format!("{PREFIX}coordinator/{lease}"));
    assert!(store.apply(Change::new().put_leased(key.clone(), "", LeaseId(lease))));
    Office { key, epoch: Revision(store.revision) }
}

impl Desk {
    fn new(spec: JobSpec) -> Desk {
        let mut store = Store::default();
        let coordinator = Coordinator::new(office(&mut store, 100), limits());
        let id: JobId = "01".parse().unwrap();
        submit(&mut store, &id, spec);
        Desk { store, coordinator, id, now: Duration::ZERO }
    }

    /// A job with this many tasks that may be claimed by these many workers.
    fn running(maps: usize, reduces: u32, workers: i64) -> Desk {
        Desk::running_spec(JobSpec::new("wordcount", ["/in"], "/out"), maps, reduces, workers)
    }

    fn running_spec(spec: JobSpec, maps: usize, reduces: u32, workers: i64) -> Desk {
        let mut desk = Desk::new(spec);
        for number in 1..=workers {
            desk.register(number, BUILD);
        }
        assert_eq!(desk.next(), Some(Step::Work(Work::Check)));
        assert!(desk.store.apply(desk.coordinator.checked(&desk.id, desk.record(), None)));
        assert_eq!(desk.next(), Some(Step::Work(Work::Plan)));
        let changes =
            desk.coordinator.planned(&desk.id, desk.record(), &a_plan(maps, reduces), BUILD);
        for change in changes.unwrap() {
            assert!(desk.store.apply(change));
        }
        assert_eq!(desk.record().record.state, JobState::Running);
        desk
    }

    fn register(&mut self, number: i64, build: &str) -> Identity {
        let me = identity(number);
        let record = WorkerRecord {
            node: format!("n{number}"),
            address: format!("127.0.0.1:{number}"),
            slots: 1,
            build: build.to_owned(),
        };
        let change = Change::new().put_leased(me.id.key(), encode(&record).unwrap(), me.lease);
        assert!(self.store.apply(change));
        me
    }

    fn job(&self) -> &JobView {
        &self.store.view.jobs[&self.id]
    }

    fn record(&self) -> &Stamped<JobRecord> {
        self.job().job.as_ref().unwrap()
    }

    fn task(&self, task: TaskId) -> &TaskRecord {
        &self.job().tasks[&task].record
    }

    fn next(&mut self) -> Option<Step> {
        self.coordinator.next(&self.store.view, &self.id, self.now)
    }

    /// Lets the coordinator write what it wants to write.
    fn settle(&mut self) -> Option<Work> {
        loop {
            match self.next() {
                None => return None,
                Some(Step::Work(work)) => return Some(work),
                Some(Step::Change(change)) => assert!(self.store.apply(change)),
            }
        }
    }

    fn claim(&mut self, number: i64) -> Option<Held> {
        let me = identity(number);
        let claim = worker::next_claim(&self.store.view, &me, BUILD, &BTreeSet::new())?;
        assert!(self.store.apply(claim.change));
        let revision = Revision(self.store.revision);
        Some(Held { job: claim.job, task: claim.task, record: claim.record, revision })
    }

    fn finish(&mut self, number: i64, held: &Held) -> bool {
        let output = match held.task.kind {
            TaskKind::Map => TaskOutput::Map {
                sections: vec![(10, 1); 2],
                counters: Counters { map_bytes_in: 100, ..Counters::default() },
            },
            TaskKind::Reduce => TaskOutput::Reduce(ReduceOutput {
                partition: held.task.number,
                bytes: 0,
                records: 0,
                crc32c: 0,
                counters: Counters::default(),
            }),
        };
        self.store.apply(worker::done(held, &identity(number), output))
    }

    /// Claims and finishes every task that is waiting.
    fn finish_all(&mut self, number: i64) {
        while let Some(held) = self.claim(number) {
            assert!(self.finish(number, &held));
        }
    }

    fn fail(&mut self, number: i64, held: &Held, bad_record: Option<u64>) {
        let failure = AttemptFailure {
            attempt: held.attempt(),
            worker: identity(number).id,
            message: "it broke".to_owned(),
            bad_record,
            permanent: false,
        };
        let skips_allowed = self.record().record.spec.skip_bad_records > 0;
        assert!(self.store.apply(worker::failed(held, failure, skips_allowed)));
    }

    fn ended_why(&self) -> &str {
        match &self.record().record.state {
            JobState::Ending(Ended::Failed(why)) => why,
            other => panic!("{other:?}"),
        }
    }
}

fn identity(number: i64) -> Identity {
    Identity { id: format!("w{number}").parse().unwrap(), lease: LeaseId(number) }
}

fn submit(store: &mut Store, id: &JobId, spec: JobSpec) {
    let record = JobRecord {
        spec,
        state: JobState::Submitted,
        epoch: 0,
        build: String::new(),
        totals: Totals::default(),
    };
    let key = id.key(JobKey::Record);
    assert!(store.apply(Change::new().put(key, encode(&record).unwrap())));
}

fn a_plan(maps: usize, reduces: u32) -> JobPlan {
    let bytes = 100 * maps as u64;
    JobPlan {
        inputs: vec![InputFile { path: "/in".into(), bytes, modified: (0, 0) }],
        splits: (0..maps as u64)
            .map(|n| Split { input: 0, start: 100 * n, end: 100 * (n + 1) })
            .collect(),
        reduces,
        cuts: Vec::new(),
        max_record_bytes: 1,
        table_seed: 0,
    }
}

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
    let manifest =
        Manifest { job: "wordcount".to_owned(), parts: Vec::new(), counters: Counters::default() };
    let change = desk.coordinator.committed(&desk.id, desk.record(), manifest.clone());
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
    assert!(!desk.store.apply(worker::given_up(&held)));
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
    assert!(desk.store.apply(worker::unreadable(&reduce, map.task, &report)));
    // Nobody reads until the coordinator has decided.
    assert!(desk.claim(2).is_none());
    assert_eq!(desk.settle(), None);
    assert_eq!(desk.task(map.task).losses, 1);
    let map = desk.claim(1).unwrap();
    assert_eq!(map.attempt(), 1);
    assert!(desk.finish(1, &map));
    let reduce = desk.claim(2).unwrap();
    assert_eq!((reduce.attempt(), desk.task(reduce.task).failures.len()), (1, 0));
    // A report about an attempt that was replaced meanwhile changes nothing.
    assert!(desk.store.apply(worker::unreadable(&reduce, map.task, &report)));
    assert_eq!(desk.settle(), None);
    assert_eq!(desk.task(map.task).losses, 1);
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
    let change = desk.coordinator.cleaned(&desk.id, desk.record(), None);
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
            assert_eq!(desk.claim(1).unwrap().record.skips, [0]);
        } else {
            assert_eq!(desk.settle(), Some(Work::Clean));
        }
    }
}

#[test]
fn a_worker_that_fails_three_tasks_gets_no_more_and_without_another_the_job_ends() {
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
    assert_eq!(desk.settle(), Some(Work::Clean));
    assert!(desk.ended_why().contains("n1 failed too many tasks"), "{}", desk.ended_why());
}

#[test]
fn workers_with_another_program_are_left_out_and_named() {
    let mut desk = Desk::running(1, 1, 0);
    desk.register(3, "2-cd");
    let me = identity(3);
    let claim = worker::next_claim(&desk.store.view, &me, "2-cd", &BTreeSet::new());
    assert_eq!(claim, None);
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
    assert!(desk.store.apply(worker::refreshed(&moving, &identity(2), 7, 3)));
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
    assert!(desk.store.apply(desk.coordinator.cleaned(&desk.id, desk.record(), None)));
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
    let planned = desk.coordinator.planned(&desk.id, desk.record(), &a_plan(401, 10_000), BUILD);
    assert!(planned.unwrap_err().contains("larger splits"));
    let long = JobPlan { cuts: vec![vec![255; 20 << 20]], ..a_plan(1, 2) };
    let planned = desk.coordinator.planned(&desk.id, desk.record(), &long, BUILD);
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

/// Fetches from folders instead of from workers.
struct FromFolders<'a>(&'a Path);

impl Fetch for FromFolders<'_> {
    fn fetch(
        &self,
        _: &JobId,
        _: u32,
        from: &MapLocation,
        into: &mut dyn Write,
    ) -> Result<(), FetchError> {
        let name = super::attempt::map_file_name(from.map, from.attempt);
        let unreadable = |error: std::io::Error| FetchError::Unreadable(error.to_string());
        let bytes = fs::read(self.0.join(name)).map_err(unreadable)?;
        let Section { offset, bytes: length, .. } = from.section;
        into.write_all(&bytes[offset as usize..][..length as usize]).map_err(FetchError::Local)
    }
}

/// Runs one attempt as a worker does.
fn attempt(
    spec: &JobSpec,
    plan: &JobPlan,
    task: TaskId,
    folder: &Path,
    maps: &[MapLocation],
) -> Result<TaskOutput, AttemptError> {
    let attempt = Attempt {
        job: &"01".parse().unwrap(),
        task,
        number: 0,
        spec,
        plan,
        folder,
        slots: 2,
        skips: &[],
        maps,
        progress: &Progress::new(),
        activity: &Arc::new(AtomicU64::new(0)),
    };
    attempt.run(&FromFolders(folder))
}

#[test]
fn attempts_run_one_by_one_give_the_output_of_a_local_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text: String = (0..60_000u64).map(|n| format!("{} ", n * n % 7_919)).collect();
    fs::write(path("in"), text.replace("7 ", "7\n")).unwrap();
    // So little memory that fetched sections go to files.
    let spec = JobSpec {
        reduces: Some(2),
        split_bytes: Some(50_000),
        memory_bytes: 1 << 16,
        ..JobSpec::new("sort", [path("in")], path("local"))
    };
    crate::run_built_in(&spec, &Progress::new()).unwrap();
    let spec = JobSpec { output: path("out"), ..spec };
    let plan = plan(&crate::builtin::sort::Sort, &spec, 2).unwrap();
    let id: JobId = "01".parse().unwrap();
    output::create(&spec.output, &id).unwrap();
    // Another coordinator may have begun.
    output::create(&spec.output, &id).unwrap();
    fs::create_dir(path("work")).unwrap();
    let maps: Vec<TaskOutput> = (0..plan.splits.len() as u32)
        .map(|n| attempt(&spec, &plan, TaskId::map(n), &path("work"), &[]).unwrap())
        .collect();
    let mut winners = Vec::new();
    for partition in 0..plan.reduces {
        let locations: Vec<MapLocation> = (0u32..)
            .zip(&maps)
            .map(|(n, map)| MapLocation {
                map: TaskId::map(n),
                attempt: 0,
                worker: "w1".parse::<WorkerId>().unwrap(),
                // Every other one is this worker's own.
                address: n.is_multiple_of(2).then(|| "elsewhere".to_owned()),
                section: map.section(partition).unwrap(),
            })
            .collect();
        let task = TaskId::reduce(partition);
        let made = attempt(&spec, &plan, task, &path("work"), &locations).unwrap();
        let TaskOutput::Reduce(output) = made else { panic!("{made:?}") };
        winners.push(Winner { attempt: 0, output });

        // With one output gone, the reduce names it.
        let (kept, hidden) = (path("work/m000001-0.run"), path("hidden"));
        fs::rename(&kept, &hidden).unwrap();
        let mut lost = locations.clone();
        lost[1].section.pairs = lost[1].section.pairs.max(1);
        let scratch = JobSpec { output: path("scratch"), ..spec.clone() };
        fs::create_dir_all(path("scratch/_temporary/01")).unwrap();
        match attempt(&scratch, &plan, task, &path("work"), &lost) {
            Err(AttemptError::Unreadable(map, _)) => assert_eq!(map, TaskId::map(1)),
            other => panic!("{other:?}"),
        }
        fs::rename(&hidden, &kept).unwrap();
    }
    let left = fs::read_dir(path("work")).unwrap().count();
    assert_eq!(left, maps.len(), "only map outputs stay");
    let manifest = output::commit(&spec, &id, &winners, &Counters::default()).unwrap();
    // Publishing may be repeated by another coordinator.
    assert_eq!(output::commit(&spec, &id, &winners, &Counters::default()).unwrap(), manifest);
    for part in ["part-00000", "part-00001"] {
        let (here, there) = (path("local").join(part), path("out").join(part));
        assert!(fs::read(here).unwrap() == fs::read(there).unwrap(), "{part}");
    }
    assert!(path("out").join(SUCCESS).exists());
    assert_eq!(fs::read_dir(path("out")).unwrap().count(), 3);
}

#[test]
fn only_the_jobs_own_output_is_removed_and_an_attempt_cannot_bring_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let [mine, other]: [JobId; 2] = ["01", "02"].map(|id| id.parse().unwrap());
    output::check_absent(&out).unwrap();
    output::create(&out, &mine).unwrap();
    assert!(matches!(output::check_absent(&out), Err(JobError::OutputExists { .. })));
    assert!(matches!(output::create(&out, &other), Err(JobError::OutputExists { .. })));
    output::create_attempt(&out, &mine, TaskId::reduce(0), 0).unwrap();
    output::clean(&out, &other).unwrap();
    assert!(out.exists());
    output::clean(&out, &mine).unwrap();
    assert!(!out.exists());
    assert!(output::create_attempt(&out, &mine, TaskId::reduce(0), 0).is_err());
    assert!(!out.exists());
}
