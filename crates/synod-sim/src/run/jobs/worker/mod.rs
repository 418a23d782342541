//! One simulated worker process: its copy of the records, its lease, its place among the workers. What it
//! decides comes from the same functions that real workers ask; what it does itself follows
//! `synod-server/src/jobs/service/`, with one change of records under way at a time. Its attempts are in
//! `tasks.rs`, the coordinator that it may be in `coordinating.rs`.

mod coordinating;
mod tasks;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use fastrand::Rng;
use synod_base::{LeaseId, NodeId, Revision};
use synod_jobs::cluster::names::{ELECTION, PREFIX};
use synod_jobs::cluster::records::encode;
use synod_jobs::cluster::worker::{Held, Identity};
use synod_jobs::cluster::{
    Change, Chooser, Coordinator, JobId, TaskId, View, WorkerId, WorkerRecord,
};
use synod_node::{Request, RequestToken, StreamId};
use synod_state::kv::{Command, Event, EventKind, KeyRange, KeyValue, RangeRequest};

use crate::faults::MILLIS;
use crate::history::TrueTime;

pub(super) use coordinating::{Worked, Working};
pub(super) use tasks::{Outcome, Running, Wanted};

/// A worker's lease.
pub(super) const LEASE_SECONDS: i64 = 3;
/// How long the view may be behind a change of the worker's own.
const VIEW_PATIENCE: u64 = 1_000 * MILLIS;
const SLOTS: usize = 2;
const BUILD: &str = "sim";

/// What a call of the worker is for.
#[derive(Debug)]
pub(super) enum Purpose {
    Follow,
    Grant(LeaseId),
    Register,
    Stand,
    Change,
    Claim(Box<Wanted>),
    KeepAlive,
}

/// A call without an answer yet.
#[derive(Debug)]
pub(super) struct Calling {
    pub host: NodeId,
    pub token: RequestToken,
    pub request: Request,
    pub purpose: Purpose,
    pub called: TrueTime,
}

/// Its place among the workers.
#[derive(Debug)]
struct Member {
    identity: Identity,
    record: WorkerRecord,
    /// When it was registered; 0 before that is known.
    since: Revision,
    standing: bool,
    /// It may not believe in its lease any longer than this.
    until: TrueTime,
    coordinator: Option<Coordinator>,
}

/// Something that takes time and has just begun.
#[derive(Debug)]
pub(super) enum Begun {
    Attempt(u64),
    Work(u64),
}

/// A worker process, alive or not.
#[derive(Debug)]
pub(super) struct Worker {
    pub id: WorkerId,
    pub life: u64,
    pub alive: bool,
    /// Whether it shares the cores of its machine with the other one that does.
    shares_cores: bool,
    pub host: NodeId,
    pub service: Option<Calling>,
    pub session: Option<Calling>,
    pub stream: Option<StreamId>,
    pub running: BTreeMap<(JobId, TaskId), Running>,
    pub working: BTreeMap<JobId, Working>,
    pub discards: Vec<(JobId, TaskId, u32)>,
    /// Folders that planning has made here and the records do not know of.
    pub made: BTreeSet<JobId>,
    /// Folders of these that are to go, because their jobs have ended without them.
    pub removals: Vec<JobId>,
    pub begun: Vec<Begun>,
    view: Option<View>,
    candidates: BTreeMap<Bytes, Revision>,
    member: Option<Member>,
    chooser: Chooser,
    ended: VecDeque<(Held, Outcome)>,
    worked: VecDeque<(JobId, Worked)>,
    /// Of one decision, to be written in this order.
    changes: VecDeque<Change>,
    /// The job whose plan the records know when these are written.
    planned: Option<JobId>,
    last_change: (Revision, TrueTime),
    /// Nothing is decided before something has changed, or some time has passed.
    rests: bool,
    numbers: u64,
    failed_commits: BTreeMap<JobId, u32>,
}

impl Worker {
    pub(super) fn new(place: usize, life: u64, host: NodeId) -> Worker {
        Worker {
            id: format!("w-{place}-{life}").parse().expect("letters, digits and dashes"),
            life,
            alive: true,
            shares_cores: place < 2 && life.is_multiple_of(2),
            host,
            service: None,
            session: None,
            stream: None,
            running: BTreeMap::new(),
            working: BTreeMap::new(),
            discards: Vec::new(),
            made: BTreeSet::new(),
            removals: Vec::new(),
            begun: Vec::new(),
            view: None,
            candidates: BTreeMap::new(),
            member: None,
            chooser: Chooser::default(),
            ended: VecDeque::new(),
            worked: VecDeque::new(),
            changes: VecDeque::new(),
            planned: None,
            last_change: (Revision(0), 0),
            rests: false,
            numbers: 0,
            failed_commits: BTreeMap::new(),
        }
    }

    /// What it asks next on its main line; `None`: it waits.
    pub(super) fn next(&mut self, now: TrueTime, rng: &mut Rng) -> Option<(Purpose, Request)> {
        if self.rests {
            return None;
        }
        let Some(view) = &self.view else {
            let range = KeyRange::prefix(PREFIX);
            let request = RangeRequest { range, ..RangeRequest::default() };
            return Some((Purpose::Follow, Request::Range { request, linearizable: true }));
        };
        let idle = view.active().next().is_none();
        self.leave_if_lost(now);
        self.remove_late_folders();
        let Some(member) = &mut self.member else {
            return (!idle).then(|| {
                let id = LeaseId(rng.i64(1 << 20..1 << 40));
                let command = Command::LeaseGrant { id, ttl_seconds: LEASE_SECONDS };
                (Purpose::Grant(id), Request::Write(command))
            });
        };
        if member.since == Revision(0) {
            let value = encode(&member.record).expect("text and numbers");
            let lease = member.identity.lease;
            let change = Change::new().put_leased(self.id.key(), value, lease);
            return Some((Purpose::Register, txn(change)));
        }
        let (key, lease) = (election_key(member.identity.lease), member.identity.lease);
        // If nobody could tell what came of its candidacy, the records do.
        if !member.standing && !self.candidates.contains_key(key.as_bytes()) {
            let change = Change::new().if_created_at(key.clone(), Revision(0));
            return Some((Purpose::Stand, txn(change.put_leased(key, "", lease))));
        }
        self.heed_election();
        let behind = self.view.as_ref().is_some_and(|view| view.revision() < self.last_change.0);
        if behind && now < self.last_change.1 + VIEW_PATIENCE {
            return None;
        }
        if let Some(change) = self.changes.pop_front() {
            return Some((Purpose::Change, txn(change)));
        }
        if let Some(change) = self.coordinate(now).or_else(|| self.report_ended(now)) {
            return Some((Purpose::Change, txn(change)));
        }
        if let Some(change) = self.mind_running(now) {
            return Some((Purpose::Change, txn(change)));
        }
        let wanted = self.claim(now)?;
        let request = txn(wanted.claim.change.clone());
        Some((Purpose::Claim(Box::new(wanted)), request))
    }

    /// Its lease is over, or its registration is gone: its tasks are others'.
    fn leave_if_lost(&mut self, now: TrueTime) {
        let Some(member) = &self.member else { return };
        let gone = member.since > Revision(0)
            && self.view.as_ref().is_some_and(|view| {
                view.revision() >= member.since && !view.workers.contains_key(&self.id)
            });
        if now >= member.until || gone {
            self.member = None;
            self.running.values_mut().for_each(|running| running.cancelled = true);
            self.stop_work();
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Takes the answer to a change: the revision if it took effect, and whether that is known.
    pub(super) fn on_changed(&mut self, purpose: Purpose, effect: Effect, now: TrueTime) {
        let Effect::Yes(revision) = effect else {
            self.changes.clear();
            self.planned = None;
            self.rests = true;
            if matches!(purpose, Purpose::Register) {
                // It begins anew; the lease ends by itself.
                self.member = None;
            }
            return;
        };
        match purpose {
            Purpose::Register => {
                if let Some(member) = &mut self.member {
                    member.since = revision;
                }
            }
            Purpose::Stand => {
                if let Some(member) = &mut self.member {
                    member.standing = true;
                }
            }
            Purpose::Claim(wanted) => self.start(*wanted, revision, now),
            Purpose::Change if self.changes.is_empty() => {
                if let Some(job) = self.planned.take() {
                    self.made.remove(&job);
                }
            }
            _ => {}
        }
        self.last_change = (self.last_change.0.max(revision), now);
    }

    /// The lease was granted, as of a call made then.
    pub(super) fn on_lease(&mut self, lease: LeaseId, called: TrueTime) {
        let (id, node) = (self.id.clone(), format!("node-of-{}", self.id));
        let record = WorkerRecord {
            node: node.clone(),
            address: String::new(),
            slots: SLOTS as u32,
            shares_cores: self.shares_cores,
            build: BUILD.to_owned(),
            host: if self.shares_cores { "machine".to_owned() } else { String::new() },
            folder: String::new(),
            runs_commands: false,
            draining: false,
        };
        self.member = Some(Member {
            identity: Identity { id, lease, node },
            record,
            since: Revision(0),
            standing: false,
            until: called + LEASE_SECONDS as u64 * 1_000 * MILLIS,
            coordinator: None,
        });
    }

    /// The lease that is to be kept alive.
    pub(super) fn lease(&self) -> Option<LeaseId> {
        self.member.as_ref().map(|member| member.identity.lease)
    }

    /// The lease was renewed by a call made then, or is gone.
    pub(super) fn on_keep_alive(&mut self, lease: LeaseId, ttl_seconds: i64, called: TrueTime) {
        if let Some(member) = self.member.as_mut().filter(|m| m.identity.lease == lease) {
            member.until = called + ttl_seconds.unsigned_abs() * 1_000 * MILLIS;
        }
    }

    /// The records as of a revision.
    pub(super) fn on_records(&mut self, keys: &[KeyValue], revision: Revision) {
        self.candidates.clear();
        for kv in keys.iter().filter(|kv| is_candidate(&kv.key)) {
            self.candidates.insert(kv.key.clone(), kv.create_revision);
        }
        self.view = Some(View::load(keys, revision));
        self.rests = false;
    }

    /// The revision from which on it wants to hear of changes.
    pub(super) fn follows_from(&self) -> Revision {
        self.view.as_ref().map_or(Revision(0), |view| view.revision().next())
    }

    pub(super) fn on_event(&mut self, event: &Event) {
        if is_candidate(&event.kv.key) {
            match event.kind {
                EventKind::Put => {
                    self.candidates.insert(event.kv.key.clone(), event.kv.create_revision);
                }
                EventKind::Delete => drop(self.candidates.remove(&event.kv.key)),
            }
        }
        if let Some(view) = &mut self.view {
            view.apply(event);
        }
        self.rests = false;
    }

    /// The stream of changes has ended: everything is read anew.
    pub(super) fn unfollow(&mut self) {
        self.view = None;
        self.stream = None;
    }

    /// Some time has passed.
    pub(super) fn on_tick(&mut self) {
        self.rests = false;
    }
}

/// What became of a change.
#[derive(Clone, Copy, Debug)]
pub(super) enum Effect {
    Yes(Revision),
    NoOrUnknown,
}

fn election_key(lease: LeaseId) -> String {
    format!("{ELECTION}/{:x}", lease.0)
}

fn is_candidate(key: &[u8]) -> bool {
    key.starts_with(ELECTION.as_bytes())
}

fn txn(change: Change) -> Request {
    Request::Write(Command::Txn(change.into_txn()))
}
