//! Tests of jobs on a cluster, and the desk they work at: a store of a few lines, a coordinator, workers.

mod attempts;
mod bounds;
mod decisions;
mod failures;
mod files;
mod given_up;
mod own_trouble;
mod publishing;
mod queue;
mod room;
mod shown;
mod slowness;
mod winners;

use super::change::Change;
use super::claim::{Asking, Chooser, Claim};
use super::coordinator::{Coordinator, Limits, Office, Program, Step, Work};
use super::names::{JobId, JobKey, PREFIX, TaskId, TaskKind};
use super::records::*;
use super::report::JobReport;
use super::view::{JobView, Stamped, View};
use super::worker::{self, Held, Identity, Made};
use crate::counters::Counters;
use crate::framing::InputFormat;
use crate::input::InputFile;
use crate::plan::{JobPlan, Split};
use crate::reduce_task::ReduceOutput;
use crate::spec::JobSpec;
use crate::task::Attempts;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use synod_base::limits::MAX_REQUEST_BYTES;
use synod_base::{LeaseId, Revision};
use synod_state::kv::{CompareTarget, Event, EventKind, KeyValue, TxnOp};

const BUILD: &str = "1-ab";
const PROGRAM: Program<'_> =
    Program { build: BUILD, runs_commands: false, attempts: Attempts::both(4) };

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
        let bytes = Store::bytes_of(&change);
        assert!(bytes < MAX_REQUEST_BYTES * 9 / 10, "no store takes a change of {bytes} bytes");
        self.apply_any(change)
    }

    /// Also one that is too large.
    fn apply_any(&mut self, change: Change) -> bool {
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

    /// Bytes of what a change writes.
    fn bytes_of(change: &Change) -> usize {
        let puts = change.clone().into_txn().success.into_iter().map(|op| match op {
            TxnOp::Put(put) => put.key.len() + put.value.len(),
            _ => 0,
        });
        puts.sum()
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
    /// What every clock says.
    unix_ms: u64,
    choosers: BTreeMap<i64, Chooser>,
}

fn limits() -> Limits {
    let seconds = Duration::from_secs;
    Limits {
        no_worker: seconds(30),
        stall: seconds(600),
        slow_after: seconds(10),
        finished_kept: 2,
    }
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
        let choosers = BTreeMap::new();
        Desk { store, coordinator, id, now: Duration::ZERO, unix_ms: 2_000, choosers }
    }

    /// A job with this many tasks that may be claimed by these many workers.
    fn running(maps: usize, reduces: u32, workers: i64) -> Desk {
        Desk::running_spec(JobSpec::new("wordcount", ["/in"], "/out"), maps, reduces, workers)
    }

    fn running_spec(spec: JobSpec, maps: usize, reduces: u32, workers: i64) -> Desk {
        Desk::running_program(spec, maps, reduces, workers, PROGRAM)
    }

    fn running_program(
        spec: JobSpec,
        maps: usize,
        reduces: u32,
        workers: i64,
        program: Program<'_>,
    ) -> Desk {
        let mut desk = Desk::new(spec);
        for number in 1..=workers {
            desk.register(number, BUILD);
        }
        assert_eq!(desk.next(), Some(Step::Work(Work::Check)));
        assert!(desk.store.apply(desk.coordinator.checked(&desk.id, desk.record(), None)));
        assert_eq!(desk.next(), Some(Step::Work(Work::Plan)));
        let changes =
            desk.coordinator.planned(&desk.id, desk.record(), &a_plan(maps, reduces), program);
        for change in changes.unwrap() {
            assert!(desk.store.apply(change));
        }
        assert_eq!(desk.record().record.state, JobState::Running);
        desk
    }

    fn register(&mut self, number: i64, build: &str) -> Identity {
        self.register_as(number, registration(number, build))
    }

    fn register_as(&mut self, number: i64, record: WorkerRecord) -> Identity {
        let me = identity(number);
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
        self.coordinator.tell_time(self.unix_ms);
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
        let mine = self.store.view.workers.get(&me.id)?.record.clone();
        let (now, unix_ms, busy) = (self.now, self.unix_ms, BTreeSet::new());
        let running = self.store.view.running_on().get(&me.id).copied().unwrap_or(0);
        let ask = Asking { me: &me, mine: &mine, busy: &busy, running, now, unix_ms };
        let claim = self.choosers.entry(number).or_default().next(&self.store.view, ask)?;
        assert!(self.store.apply(claim.change));
        let revision = Revision(self.store.revision);
        let Claim { job, task, seat, record, started_ms, .. } = claim;
        Some(Held { job, task, seat, record, revision, started_ms })
    }

    fn finish(&mut self, number: i64, held: &Held) -> bool {
        let output = match held.task.kind {
            TaskKind::Map => TaskOutput::Map {
                sections: vec![(10, 1); 2],
                index_crc32c: 0,
                counters: Counters { map_bytes_in: 100, ..Counters::default() },
                side_files: Vec::new(),
            },
            TaskKind::Reduce => TaskOutput::Reduce(ReduceOutput {
                partition: held.task.number,
                bytes: 0,
                records: 0,
                crc32c: 0,
                counters: Counters::default(),
                side_files: Vec::new(),
            }),
        };
        let job = self.store.view.jobs.get(&held.job);
        let Some(now) = job.and_then(|job| job.tasks.get(&held.task)) else { return false };
        let made = Made { output, ended_ms: self.unix_ms, work: 100 };
        let change = worker::done(held, &identity(number), now, made);
        self.store.apply(change)
    }

    /// Claims and finishes every task that is waiting.
    fn finish_all(&mut self, number: i64) {
        while let Some(held) = self.claim(number) {
            assert!(self.finish(number, &held));
        }
    }

    fn fail(&mut self, number: i64, held: &Held, bad_record: Option<u64>) {
        self.fail_saying(number, held, bad_record, "it broke".to_owned());
    }

    fn fail_saying(&mut self, number: i64, held: &Held, bad_record: Option<u64>, message: String) {
        let failure = AttemptFailure {
            attempt: held.attempt(),
            worker: identity(number).id,
            node: identity(number).node,
            span: Span { started_ms: held.started_ms, ended_ms: self.unix_ms },
            message,
            bad_record,
            permanent: false,
            whole_job: false,
            others: Vec::new(),
        };
        let skips_allowed = self.record().record.spec.skip_bad_records > 0;
        let change = worker::failed(held, &self.job().tasks[&held.task], failure, skips_allowed);
        assert!(self.store.apply(change));
    }

    fn ended_why(&self) -> &str {
        match &self.record().record.state {
            JobState::Ending(Ended::Failed(why)) => why,
            other => panic!("{other:?}"),
        }
    }
}

/// Takes a slot of a worker for another job.
fn occupy(desk: &mut Desk, number: i64) {
    occupy_with(desk, number, number as u32);
}

/// By one of the other job's map tasks.
fn occupy_with(desk: &mut Desk, number: i64, task: u32) {
    let me = identity(number);
    let other: JobId = "00".parse().unwrap();
    let claim = ClaimRecord {
        worker: me.id,
        attempt: 0,
        activity: 0,
        bytes_read: 0,
        started_ms: 0,
        work_done: 0,
        work_total: 0,
        status: String::new(),
    };
    let key = other.key(JobKey::Claim(TaskId::map(task)));
    let change = Change::new().put_leased(key, encode(&claim).unwrap(), me.lease);
    assert!(desk.store.apply(change));
}

fn map_output(sections: Vec<(u64, u64)>) -> TaskOutput {
    let counters = Counters::default();
    TaskOutput::Map { sections, index_crc32c: 0, counters, side_files: Vec::new() }
}

fn identity(number: i64) -> Identity {
    let (id, node) = (format!("w{number}").parse().unwrap(), format!("n{number}"));
    Identity { id, lease: LeaseId(number), node }
}

fn registration(number: i64, build: &str) -> WorkerRecord {
    WorkerRecord {
        node: format!("n{number}"),
        address: format!("127.0.0.1:{number}"),
        slots: 1,
        shares_cores: false,
        build: build.to_owned(),
        host: String::new(),
        folder: String::new(),
        runs_commands: false,
        draining: false,
    }
}

fn submit(store: &mut Store, id: &JobId, spec: JobSpec) {
    let record = JobRecord {
        name: spec.job.clone(),
        runs_commands: false,
        attempts: 4,
        reduce_attempts: None,
        submitted_ms: 1_000,
        started_ms: 0,
        ended_ms: 0,
        spec,
        state: JobState::Submitted,
        epoch: 0,
        build: String::new(),
        totals: Totals::default(),
    };
    let key = id.key(JobKey::Record);
    assert!(store.apply_any(Change::new().put(key, encode(&record).unwrap())));
}

fn a_plan(maps: usize, reduces: u32) -> JobPlan {
    let bytes = 100 * maps as u64;
    JobPlan {
        inputs: vec![InputFile {
            path: "/in".into(),
            bytes,
            modified: (0, 0),
            codec: None,
            version: None,
            whole: false,
        }],
        format: InputFormat::default(),
        splits: (0..maps as u64)
            .map(|n| Split { input: 0, start: 100 * n, end: 100 * (n + 1) })
            .collect(),
        reduces,
        cuts: Vec::new(),
        max_record_bytes: 1,
        table_seed: 0,
    }
}
