//! One seed: a world, clients, watchers, lease holders and faults; then healing, and the checks.

use std::collections::BTreeMap;

use bytes::Bytes;
use fastrand::Rng;
use synod_base::{LeaseId, NodeId, Revision};
use synod_node::BootError;
use synod_node::meta::MetaError;
use synod_node::{
    Reply, Request, RequestError, RequestToken, Response, Start, StopReason, StreamId,
    WatchDelivery, WatchKind, WatchRequest, WatchSpec,
};
use synod_state::kv::{Command, EventKind, KeyRange, OpenError, PutRequest, TxnOpResult};
use synod_storage::engine::EngineError;
use synod_storage::wal::WalError;

use crate::check;
use crate::check::leases::Watched;
use crate::faults::{Cure, FaultPlan, MILLIS};
use crate::history::{
    Answer, Applied, LeaseLog, Operation, TrueTime, Violation, WatchLog, WatchSeen,
};
use crate::host::{Clock, Host, members};
use crate::network::Weather;
use crate::world::{News, World};

/// A client that got no answer for this long gives up: unknown.
const CLIENT_PATIENCE: u64 = 8_000 * MILLIS;

/// How long after healing everything must work again and be equal.
const HEALING: u64 = 15_000 * MILLIS;

/// Clients rest this long at the very end, so that everything under way ends.
const REST: u64 = 9_000 * MILLIS;

/// After healing there is an undisturbed leader within this time.
const ELECTION: u64 = 5_000 * MILLIS;

/// A lease may stay this long after its time.
const LEASE_BOUND: u64 = 2_000 * MILLIS;

/// Lease holders are clients, too, from this number on.
const FIRST_LEASE_CLIENT: u32 = 1_000;

/// What one seed gave.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Checksum of everything that happened.
    pub trace: u32,
    /// Simulated time, nanoseconds.
    pub simulated: TrueTime,
    /// How often each fault struck, by name, and what the network did.
    pub counters: BTreeMap<&'static str, u64>,
    /// Broken promises.
    pub violations: Vec<Violation>,
}

#[derive(Clone, Copy, Debug)]
enum Alarm {
    Client(usize),
    GiveUp(usize, RequestToken),
    Watcher(usize),
    Drained(usize, StreamId, usize),
    Lease(usize),
    Fault,
    Cure(Cure),
}

#[derive(Debug)]
struct Client {
    host: NodeId,
    workload: crate::workload::Workload,
    pending: Option<(RequestToken, usize)>,
}

#[derive(Debug)]
struct Watcher {
    host: NodeId,
    stream: StreamId,
    open: bool,
    slow: bool,
    next: Revision,
    log: WatchLog,
}

#[derive(Debug)]
struct LeaseHolder {
    host: NodeId,
    pending: Option<(RequestToken, usize, LeaseStep)>,
    renewals_left: u32,
    /// How many of its keys are there.
    attached: usize,
    attempts: u32,
    log: LeaseLog,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LeaseStep {
    Grant,
    Attach,
    Renew,
    Revoke,
    Done,
}

/// The driver of one seed.
struct Run {
    seed: u64,
    world: World,
    rng: Rng,
    plan: FaultPlan,
    clients: Vec<Client>,
    watchers: Vec<Watcher>,
    leases: Vec<LeaseHolder>,
    operations: Vec<Operation>,
    applied: Applied,
    alarms: BTreeMap<u64, Alarm>,
    next_number: u64,
    next_stream: u64,
    heal_at: TrueTime,
    stop_at: TrueTime,
    answered_after_healing: u64,
}

/// Runs one seed from beginning to end.
#[must_use]
pub fn run(seed: u64) -> Report {
    let mut run = Run::new(seed);
    run.start();
    run.until(run.heal_at);
    run.heal();
    run.until(run.stop_at);
    let end = run.stop_at + REST;
    run.until(end);
    run.finish()
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut world = World::new(&mut rng, Weather::CALM);
        let count = [3, 3, 3, 3, 3, 5, 1][rng.usize(..7)];
        let retention = [2_000, 20_000, 1 << 30][rng.usize(..3)];
        for member in members(count) {
            // True time is the fastest clock's: a lease is promised in the leader's seconds.
            let clock = Clock::new(rng.u64(1..1 << 40), rng.i64(-200..=0));
            let first_start = Start::Bootstrap(members(count));
            let host = Host::new(member.id, rng.u64(..), clock, first_start, retention);
            world.hosts.insert(member.id, host);
        }
        let heal_at = rng.u64(10_000..30_000) * MILLIS;
        let plan = FaultPlan::new(rng.fork());
        Run {
            seed,
            world,
            plan,
            clients: Vec::new(),
            watchers: Vec::new(),
            leases: Vec::new(),
            operations: Vec::new(),
            applied: Applied::default(),
            alarms: BTreeMap::new(),
            next_number: 0,
            next_stream: 0,
            heal_at,
            stop_at: heal_at + HEALING,
            answered_after_healing: 0,
            rng,
        }
    }

    fn start(&mut self) {
        let ids: Vec<NodeId> = self.world.hosts.keys().copied().collect();
        for id in ids {
            self.start_host(id);
        }
        let compacts = self.rng.bool();
        for number in 0..self.rng.u32(3..8) {
            let workload = crate::workload::Workload::new(self.rng.fork(), number, compacts);
            let host = self.some_host();
            self.clients.push(Client { host, workload, pending: None });
            self.alarm_in(200, Alarm::Client(number as usize));
        }
        for number in 0..3 {
            let ranges = [KeyRange::prefix(""), KeyRange::one("k0"), KeyRange::prefix("k")];
            let start = Revision(self.rng.i64(2..40));
            let range = ranges[number].clone();
            let log = WatchLog { range, start, deliveries: Vec::new(), complete: false };
            let (host, slow) = (self.some_host(), self.rng.bool());
            let stream = StreamId(0);
            self.watchers.push(Watcher { host, stream, open: false, slow, next: start, log });
            self.alarm_in(3_000, Alarm::Watcher(number));
        }
        for number in 0..3 {
            let host = self.some_host();
            self.leases.push(LeaseHolder::new(host, number, &mut self.rng));
            self.alarm_in(10_000, Alarm::Lease(number as usize));
        }
        let at = self.plan.next_at(0);
        self.alarm_at(at, Alarm::Fault);
    }

    fn until(&mut self, end: TrueTime) {
        loop {
            let more = self.world.step(end);
            for news in self.world.take_news() {
                self.hear(news);
            }
            if !more || self.world.violations.len() > 20 {
                self.world.now = self.world.now.max(end);
                return;
            }
        }
    }

    fn heal(&mut self) {
        Cure::MendNetwork.apply(&mut self.world);
        for host in self.world.hosts.values_mut() {
            host.vote_crashes = 0;
        }
        let ids: Vec<NodeId> = self.world.hosts.keys().copied().collect();
        for id in ids {
            for cure in [Cure::MakeRoom(id), Cure::SpeedUp(id)] {
                cure.apply(&mut self.world);
            }
            self.world.pause(id, 0);
            self.start_host(id);
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Alarm(number) => {
                if let Some(alarm) = self.alarms.remove(&number) {
                    self.on_alarm(alarm);
                }
            }
            News::Reply(host, token, reply) => self.on_reply(host, token, *reply),
            News::Watch(host, delivery) => self.on_delivery(host, delivery),
            News::Applied(host, events) => self.on_applied(host, events),
            News::Ended(host, reason) => self.on_end(host, &reason),
            News::LostPower(host) => {
                self.connections_break(host);
                self.alarm_in(30, Alarm::Cure(Cure::Start(host)));
            }
        }
    }

    fn on_alarm(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Client(number) => self.client_goes_on(number),
            Alarm::GiveUp(number, token) => {
                if self.clients[number].pending.is_some_and(|(pending, _)| pending == token) {
                    self.clients[number].pending = None;
                    self.clients[number].host = self.some_host();
                    self.client_goes_on(number);
                }
            }
            Alarm::Watcher(number) => self.open_watch(number),
            Alarm::Drained(number, stream, bytes) => {
                let host = self.watchers[number].host;
                if self.watchers[number].stream == stream && self.watchers[number].open {
                    self.world.watch(host, WatchRequest::Drained { stream, bytes });
                }
            }
            Alarm::Lease(number) => self.lease_goes_on(number),
            Alarm::Fault => self.strike(),
            Alarm::Cure(cure) => {
                if let Some(host) = cure.apply(&mut self.world) {
                    self.start_host(host);
                }
            }
        }
    }

    fn strike(&mut self) {
        if self.world.now >= self.heal_at {
            return;
        }
        let (crashed, cures) = self.plan.strike(&mut self.world);
        for host in crashed {
            self.connections_break(host);
        }
        for (at, cure) in cures {
            self.alarm_at(at, Alarm::Cure(cure));
        }
        let at = self.plan.next_at(self.world.now);
        self.alarm_at(at, Alarm::Fault);
    }

    /// A process ended by itself: fine after an injected disk error, never otherwise.
    fn on_end(&mut self, host: NodeId, reason: &StopReason) {
        let what = format!("{host} stopped: {reason}");
        self.world.violations.push(Violation { promise: "stopped", what });
        self.connections_break(host);
        self.alarm_in(500, Alarm::Cure(Cure::Start(host)));
    }

    /// Whoever talks to this host notices that it is gone.
    fn connections_break(&mut self, host: NodeId) {
        for number in 0..self.clients.len() {
            if self.clients[number].host == host && self.clients[number].pending.take().is_some() {
                self.clients[number].host = self.some_host();
                self.alarm_in(100, Alarm::Client(number));
            }
        }
        for number in 0..self.watchers.len() {
            let watcher = &mut self.watchers[number];
            if watcher.host == host && watcher.open {
                watcher.open = false;
                watcher.log.deliveries.push(WatchSeen::Resumed(watcher.next));
                self.watchers[number].host = self.some_host();
                self.alarm_in(200, Alarm::Watcher(number));
            }
        }
        for number in 0..self.leases.len() {
            if self.leases[number].host == host && self.leases[number].pending.take().is_some() {
                self.leases[number].host = self.some_host();
                self.alarm_in(200, Alarm::Lease(number));
            }
        }
    }

    fn client_goes_on(&mut self, number: usize) {
        if self.world.now >= self.stop_at || self.clients[number].pending.is_some() {
            return;
        }
        let newest = self.applied.events.last_key_value().map_or(Revision(1), |(r, _)| *r);
        let request = self.clients[number].workload.next(newest);
        let token = RequestToken(self.number());
        let host = self.clients[number].host;
        if !self.world.request(host, token, request.clone()) {
            self.clients[number].host = self.some_host();
            return self.alarm_in(100, Alarm::Client(number));
        }
        let index = self.note_call(number as u32, host, request);
        self.clients[number].pending = Some((token, index));
        self.alarm_at(self.world.now + CLIENT_PATIENCE, Alarm::GiveUp(number, token));
    }

    fn note_call(&mut self, client: u32, node: NodeId, request: Request) -> usize {
        let called = self.world.now;
        self.operations.push(Operation { client, node, called, request, answer: None });
        self.operations.len() - 1
    }

    fn on_reply(&mut self, host: NodeId, token: RequestToken, reply: Reply) {
        let now = self.world.now;
        let client = self
            .clients
            .iter()
            .position(|c| c.host == host && c.pending.is_some_and(|(pending, _)| pending == token));
        if let Some(number) = client {
            if let Some((_, index)) = self.clients[number].pending.take() {
                let failed = reply.is_err();
                if !failed && now > self.heal_at + HEALING / 2 {
                    self.answered_after_healing += 1;
                }
                let answer =
                    reply.map(|(header, response)| Answer { revision: header.revision, response });
                if let Ok(answer) = &answer {
                    learn(&mut self.clients[number].workload, answer);
                }
                self.operations[index].answer = Some((now, answer));
                if failed && self.rng.bool() {
                    self.clients[number].host = self.some_host();
                }
                self.alarm_in(if failed { 300 } else { 40 }, Alarm::Client(number));
            }
            return;
        }
        let holder = self.leases.iter().position(|lease| {
            lease.host == host && lease.pending.is_some_and(|(pending, _, _)| pending == token)
        });
        if let Some(number) = holder {
            self.on_lease_reply(number, reply);
        }
    }

    fn open_watch(&mut self, number: usize) {
        if self.watchers[number].open {
            return;
        }
        self.next_stream += 1;
        let stream = StreamId(self.next_stream);
        let watcher = &mut self.watchers[number];
        watcher.stream = stream;
        let spec = WatchSpec {
            range: watcher.log.range.clone(),
            start_revision: watcher.next,
            prev_kv: true,
            ..WatchSpec::default()
        };
        let host = watcher.host;
        if self.world.watch(host, WatchRequest::Create { stream, spec }) {
            self.watchers[number].open = true;
            if self.rng.bool() {
                self.world.watch(host, WatchRequest::Progress { stream });
            }
        } else {
            self.watchers[number].host = self.some_host();
            self.alarm_in(200, Alarm::Watcher(number));
        }
    }

    fn on_delivery(&mut self, host: NodeId, delivery: WatchDelivery) {
        let found = self
            .watchers
            .iter()
            .position(|w| w.open && w.host == host && w.stream == delivery.stream);
        let Some(number) = found else { return };
        let watcher = &mut self.watchers[number];
        match &delivery.kind {
            WatchKind::Events { events, .. } => {
                if let Some(last) = events.last() {
                    watcher.next = last.event.kv.mod_revision.next();
                }
            }
            WatchKind::Canceled { compact_revision, .. } => {
                watcher.open = false;
                watcher.next = watcher.next.max(*compact_revision);
            }
            WatchKind::Progress => {
                watcher.next = watcher.next.max(delivery.header.revision.next());
            }
            WatchKind::Created => {}
        }
        let (stream, next, slow) = (watcher.stream, watcher.next, watcher.slow);
        let canceled = matches!(delivery.kind, WatchKind::Canceled { .. });
        watcher.log.deliveries.push(WatchSeen::Delivery(delivery.header.revision, delivery.kind));
        if canceled {
            self.watchers[number].log.deliveries.push(WatchSeen::Resumed(next));
            self.alarm_in(200, Alarm::Watcher(number));
        } else {
            let most = if slow { 3_000 } else { 2 };
            self.alarm_in(most, Alarm::Drained(number, stream, delivery.bytes));
        }
    }

    fn lease_goes_on(&mut self, number: usize) {
        let now = self.world.now;
        let holder = &mut self.leases[number];
        if holder.pending.is_some() {
            return;
        }
        let (step, request) = holder.next();
        let Some(request) = request else { return };
        let token = RequestToken(self.number());
        let holder = &mut self.leases[number];
        if step == LeaseStep::Revoke {
            holder.log.revoked = Some(now);
        }
        let host = holder.host;
        if self.world.request(host, token, request.clone()) {
            let client = FIRST_LEASE_CLIENT + number as u32;
            let index = self.note_call(client, host, request);
            self.leases[number].pending = Some((token, index, step));
        } else {
            self.leases[number].host = self.some_host();
            self.alarm_in(200, Alarm::Lease(number));
        }
    }

    fn on_lease_reply(&mut self, number: usize, reply: Reply) {
        let holder = &mut self.leases[number];
        let Some((_, index, step)) = holder.pending.take() else { return };
        let operation = &mut self.operations[index];
        operation.answer = Some((self.world.now, answer_of(reply.clone())));
        let next_in = holder.on_reply(operation.called, step, reply);
        if let Some(millis) = next_in {
            self.alarm_in(millis, Alarm::Lease(number));
        }
    }

    /// Replicas must agree on every revision, while it happens.
    fn on_applied(&mut self, host: NodeId, events: Vec<synod_state::kv::Event>) {
        let mut by_revision: BTreeMap<Revision, Vec<_>> = BTreeMap::new();
        for event in events {
            by_revision.entry(event.kv.mod_revision).or_default().push(event);
        }
        for (revision, events) in by_revision {
            match self.applied.events.get(&revision) {
                None => {
                    self.note_lease_ends(revision, &events);
                    self.applied.events.insert(revision, events);
                }
                Some(known) if *known == events => {}
                Some(known) => {
                    let what = format!("{host} has {events:?} at {revision}, another {known:?}");
                    self.world.violations.push(Violation { promise: "replicas-agree", what });
                }
            }
        }
    }

    fn note_lease_ends(&mut self, revision: Revision, events: &[synod_state::kv::Event]) {
        for holder in &mut self.leases {
            let ends = |event: &synod_state::kv::Event| {
                event.kind == EventKind::Delete && holder.log.keys.contains(&event.kv.key)
            };
            if holder.log.ended.is_none() && events.iter().any(ends) {
                holder.log.ended = Some((self.world.now, revision));
            }
        }
    }

    /// Starts a host. One without room on its disk says so and is started again later.
    fn start_host(&mut self, id: NodeId) {
        match self.world.start(id) {
            Ok(()) => {}
            Err(error) if is_no_space(&error) => {
                self.alarm_in(500, Alarm::Cure(Cure::Start(id)));
            }
            Err(error) => {
                let what = format!("{id} does not start: {error}");
                self.world.violations.push(Violation { promise: "start", what });
            }
        }
    }

    fn some_host(&mut self) -> NodeId {
        let ids: Vec<NodeId> = self.world.hosts.keys().copied().collect();
        ids[self.rng.usize(..ids.len())]
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn alarm_in(&mut self, most_millis: u64, alarm: Alarm) {
        let at = self.world.now + self.rng.u64(..=most_millis * MILLIS);
        self.alarm_at(at, alarm);
    }

    fn alarm_at(&mut self, at: TrueTime, alarm: Alarm) {
        let number = self.number();
        self.alarms.insert(number, alarm);
        self.world.set_alarm(at, number);
    }

    fn finish(mut self) -> Report {
        self.check_convergence();
        for watcher in &mut self.watchers {
            watcher.log.complete = watcher.open;
        }
        let mut violations = std::mem::take(&mut self.world.violations);
        let watches: Vec<WatchLog> = self.watchers.into_iter().map(|w| w.log).collect();
        // A lease without keys ends without a trace in the history: nothing to judge.
        let has_key = |log: &LeaseLog| {
            let mut events = self.applied.events.values().flatten();
            events.any(|event| event.kind == EventKind::Put && event.kv.lease == log.id)
        };
        let leases: Vec<LeaseLog> =
            self.leases.into_iter().map(|l| l.log).filter(|log| has_key(log)).collect();
        let watched =
            Watched { healed: self.heal_at + ELECTION, until: self.world.now, bound: LEASE_BOUND };
        violations.extend(check::everything_watched(
            &self.operations,
            &self.applied,
            &watches,
            &leases,
            Some(watched),
        ));
        let network = self.world.network.counts;
        let mut counters: BTreeMap<&'static str, u64> = BTreeMap::new();
        for fault in crate::faults::Fault::ALL {
            counters.insert(fault.name(), self.plan.struck.get(&fault).copied().unwrap_or(0));
        }
        let answered = self.operations.iter().filter(|op| matches!(op.answer, Some((_, Ok(_)))));
        counters.extend([
            ("frames_lost", network.lost),
            ("frames_duplicated", network.duplicated),
            ("frames_delayed", network.delayed),
            ("frames_reordered", network.reordered),
            ("frames_cut", network.cut),
            ("restarts", self.world.counts.restarts),
            ("log_full", self.world.counts.disk_full),
            ("operations", self.operations.len() as u64),
            ("answered", answered.count() as u64),
            ("revisions", self.applied.events.len() as u64),
        ]);
        Report {
            seed: self.seed,
            trace: self.world.trace(),
            simulated: self.world.now,
            counters,
            violations,
        }
    }

    /// After healing: everybody is there, equal, and serves.
    fn check_convergence(&mut self) {
        let mut states = BTreeMap::new();
        let mut broken = Vec::new();
        for (id, host) in &self.world.hosts {
            match &host.process {
                None => broken.push(format!("{id} is down after healing")),
                Some(process) => {
                    let kv = process.node.kv();
                    let hash = kv.state_hash().map_err(|error| error.to_string());
                    let state = (process.node.status().applied_index, kv.revision(), hash);
                    states.insert(*id, state);
                }
            }
        }
        let mut different: Vec<_> = states.values().collect();
        different.dedup();
        if different.len() > 1 {
            broken.push(format!("replicas differ after healing: {states:?}"));
        }
        if self.answered_after_healing == 0 {
            broken.push("no request was answered after healing".to_owned());
        }
        for what in broken {
            self.world.violations.push(Violation { promise: "convergence", what });
        }
    }
}

impl LeaseHolder {
    fn new(host: NodeId, number: i64, rng: &mut Rng) -> Self {
        let log = LeaseLog {
            id: LeaseId(1_000 + number),
            ttl_seconds: rng.i64(2..6),
            renewed: Vec::new(),
            revoked: None,
            ended: None,
            keys: vec![
                Bytes::from(format!("lease{number}/a")),
                Bytes::from(format!("lease{number}/b")),
            ],
        };
        LeaseHolder {
            host,
            pending: None,
            renewals_left: rng.u32(0..20),
            attached: 0,
            attempts: 0,
            log,
        }
    }

    /// What comes next: grant, attach two keys, renew a number of times, then let it run out or revoke.
    fn next(&mut self) -> (LeaseStep, Option<Request>) {
        let id = self.log.id;
        if self.log.renewed.is_empty() {
            let command = Command::LeaseGrant { id, ttl_seconds: self.log.ttl_seconds };
            return (LeaseStep::Grant, Some(Request::Write(command)));
        }
        if self.attached < self.log.keys.len() {
            let key = self.log.keys[self.attached].clone();
            self.attempts += 1;
            let value = Bytes::from(format!("lease-{}-{}", id.0, self.attempts));
            let put = PutRequest { key, value, lease: id, ..PutRequest::default() };
            return (LeaseStep::Attach, Some(Request::Write(Command::Put(put))));
        }
        if self.renewals_left > 0 {
            return (LeaseStep::Renew, Some(Request::LeaseKeepAlive { id }));
        }
        if id.0 % 2 == 0 && self.log.revoked.is_none() {
            return (LeaseStep::Revoke, Some(Request::Write(Command::LeaseRevoke { id })));
        }
        (LeaseStep::Done, None)
    }

    /// Notes an answer; in how many milliseconds at most to go on.
    fn on_reply(&mut self, called: TrueTime, step: LeaseStep, reply: Reply) -> Option<u64> {
        match (step, reply) {
            (LeaseStep::Grant, Ok(_)) => self.log.renewed.push(called),
            (LeaseStep::Attach, Ok(_)) => self.attached += 1,
            (LeaseStep::Renew, Ok((_, Response::LeaseKeepAlive { ttl_seconds }))) => {
                self.renewals_left -= 1;
                if ttl_seconds == 0 {
                    self.renewals_left = 0;
                    return None;
                }
                self.log.renewed.push(called);
                return Some(ttl_seconds.unsigned_abs() * 600);
            }
            // An unknown grant, or a lease that ran out meanwhile: this holder is through.
            (LeaseStep::Grant | LeaseStep::Attach, Err(_)) => return None,
            (_, Err(_)) => return Some(500),
            _ => {}
        }
        Some(50)
    }
}

fn is_no_space(error: &BootError) -> bool {
    let full = |error: &EngineError| matches!(error, EngineError::NoSpace(_));
    match error {
        BootError::Log(error) => matches!(error, WalError::NoSpace),
        BootError::Engine(error)
        | BootError::Meta(MetaError::Engine(error))
        | BootError::State(OpenError::Engine(error)) => full(error),
        _ => false,
    }
}

fn answer_of(reply: Reply) -> Result<Answer, RequestError> {
    reply.map(|(header, response)| Answer { revision: header.revision, response })
}

/// A client remembers what it saw, for its next guarded write.
fn learn(workload: &mut crate::workload::Workload, answer: &Answer) {
    let mut see = |range: &synod_state::kv::RangeResult| {
        for kv in &range.kvs {
            workload.saw(kv.key.clone(), kv.mod_revision);
        }
    };
    match &answer.response {
        Response::Range(range) => see(range),
        Response::Write(synod_state::kv::CommandResult::Txn(txn)) | Response::Txn(txn) => {
            for result in &txn.responses {
                if let TxnOpResult::Range(range) = result {
                    see(range);
                }
            }
        }
        _ => {}
    }
}
