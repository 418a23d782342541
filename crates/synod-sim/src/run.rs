//! One seed: a world, clients, watchers, lease holders, an operator and faults; then healing, and the
//! checks.
//!
//! Here is the loop that hands to each what concerns it; who they are is a file each in `run/`.

mod jobs;
mod kv_clients;
mod lease_holders;
mod operator;
mod report;
mod watchers;

use std::collections::BTreeMap;

use fastrand::Rng;
use synod_base::NodeId;
use synod_node::meta::MetaError;
use synod_node::{BootError, RequestToken, Start, StopReason, StreamId};
use synod_state::kv::OpenError;
use synod_storage::engine::EngineError;
use synod_storage::wal::WalError;

use crate::etcd::WireAnswer;
use crate::faults::{Cure, FaultPlan, MILLIS};
use crate::history::{Applied, Operation, TrueTime, Violation};
use crate::host::{Clock, Host, members};
use crate::network::Weather;
use crate::world::{News, World};

use jobs::{JobAlarm, Jobs};
use kv_clients::KvClient;
use lease_holders::LeaseHolder;
use operator::Operator;
use watchers::Watcher;

/// How long after healing everything must work again and be equal.
const HEALING: u64 = 15_000 * MILLIS;

/// A worker leaves a task that it has failed to others for two minutes, after each of at most four failures
/// anew, if these have room by the records: a run with jobs goes on for so long.
const LEFT: u64 = 500_000 * MILLIS;

/// Clients rest this long at the very end, so that everything under way ends.
const REST: u64 = 9_000 * MILLIS;

/// A change of members whose answer got lost happens within this time after healing, or never: leaders keep
/// their own removal for the next leader, and frames were under way.
const LATE_CHANGES: u64 = 10_000 * MILLIS;

/// After healing there is an undisturbed leader within this time.
const ELECTION: u64 = 5_000 * MILLIS;

/// A lease may stay this long after its time.
const LEASE_BOUND: u64 = 2_000 * MILLIS;

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

/// What the driver wants to be reminded of.
#[derive(Clone, Copy, Debug)]
enum Alarm {
    Client(usize),
    GiveUp(usize, RequestToken),
    Watcher(usize),
    Drained(usize, StreamId, usize),
    Lease(usize),
    Operator,
    OperatorLooksAgain,
    OperatorGivesUp(RequestToken),
    Jobs(JobAlarm),
    Scrap(NodeId),
    Fault,
    Cure(Cure),
}

/// The driver of one seed.
struct Run {
    seed: u64,
    world: World,
    rng: Rng,
    plan: FaultPlan,
    clients: Vec<KvClient>,
    watchers: Vec<Watcher>,
    leases: Vec<LeaseHolder>,
    operator: Operator,
    jobs: Jobs,
    kind: Kind,
    /// Each host's log is compacted above so many bytes.
    retention: usize,
    operations: Vec<Operation>,
    applied: Applied,
    alarms: BTreeMap<u64, Alarm>,
    next_number: u64,
    next_stream: u64,
    heal_at: TrueTime,
    stop_at: TrueTime,
    answered_after_healing: u64,
}

/// Who uses the simulated cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Clients of keys, watchers, lease holders, an operator.
    Keys,
    /// Workers, and clients that submit jobs.
    Jobs,
}

/// Runs one seed from beginning to end.
#[must_use]
pub fn run(kind: Kind, seed: u64) -> Report {
    let mut run = Run::new(kind, seed);
    run.start();
    run.until(run.heal_at);
    run.heal();
    run.until(run.stop_at);
    let end = run.stop_at + REST;
    run.until(end);
    run.finish()
}

impl Run {
    fn new(kind: Kind, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut world = World::new(&mut rng, Weather::CALM);
        let count = [3, 3, 3, 3, 3, 5, 1][rng.usize(..7)];
        let retention = [2_000, 20_000, 1 << 30][rng.usize(..3)];
        for member in members(count) {
            let clock = some_clock(&mut rng);
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
            operator: Operator::default(),
            jobs: Jobs::default(),
            kind,
            retention,
            operations: Vec::new(),
            applied: Applied::default(),
            alarms: BTreeMap::new(),
            next_number: 0,
            next_stream: 0,
            heal_at,
            stop_at: heal_at + HEALING + if kind == Kind::Jobs { LEFT } else { 0 },
            answered_after_healing: 0,
            rng,
        }
    }

    fn start(&mut self) {
        let ids: Vec<NodeId> = self.world.hosts.keys().copied().collect();
        for id in ids {
            self.start_host(id);
        }
        match self.kind {
            Kind::Keys => {
                self.add_clients();
                self.add_watchers();
                self.add_lease_holders();
                self.add_operator();
            }
            Kind::Jobs => self.add_jobs(),
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
        self.alarm_at(self.world.now + LATE_CHANGES, Alarm::OperatorLooksAgain);
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Alarm(number) => {
                if let Some(alarm) = self.alarms.remove(&number) {
                    self.on_alarm(alarm);
                }
            }
            News::Answer(host, token, answer) => self.on_answer(host, token, answer),
            News::Watch { host, stream, message, bytes } => {
                if !self.on_job_watch(host, stream, &message, bytes) {
                    self.on_watch_message(host, stream, message, bytes);
                }
            }
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
            Alarm::GiveUp(number, token) => self.client_gives_up(number, token),
            Alarm::Watcher(number) => self.open_watch(number),
            Alarm::Drained(number, stream, bytes) => self.watcher_takes(number, stream, bytes),
            Alarm::Lease(number) => self.lease_goes_on(number),
            Alarm::Operator => self.operator_goes_on(),
            Alarm::OperatorLooksAgain => self.operator_looks_again(),
            Alarm::OperatorGivesUp(token) => self.operator_gives_up(token),
            Alarm::Jobs(alarm) => self.on_job_alarm(alarm),
            Alarm::Scrap(host) => {
                self.world.scrap(host);
                self.connections_break(host);
            }
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

    fn on_answer(&mut self, host: NodeId, token: RequestToken, answer: WireAnswer) {
        if let Some(number) = self.client_of(host, token) {
            self.on_client_answer(number, answer);
        } else if let Some(number) = self.lease_holder_of(host, token) {
            self.on_lease_answer(number, answer);
        } else if self.operator_waits_for(host, token) {
            self.on_operator_answer(answer);
        } else {
            self.on_job_answer(token, answer);
        }
    }

    /// A process ended by itself: fine for a removed member, never otherwise.
    fn on_end(&mut self, host: NodeId, reason: &StopReason) {
        self.connections_break(host);
        if *reason == StopReason::Removed && self.removal_was_asked(host) {
            return self.retire(host);
        }
        let what = format!("{host} stopped: {reason}");
        self.world.violations.push(Violation { promise: "stopped", what });
        self.alarm_in(500, Alarm::Cure(Cure::Start(host)));
    }

    /// Whoever talks to this host notices that it is gone.
    fn connections_break(&mut self, host: NodeId) {
        self.clients_lose(host);
        self.watchers_lose(host);
        self.lease_holders_lose(host);
        self.operator_loses(host);
        self.job_workers_lose(host);
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

/// A clock that runs a little slow: true time is the fastest clock's, because a lease is promised in
/// the leader's seconds.
fn some_clock(rng: &mut Rng) -> Clock {
    Clock::new(rng.u64(1..1 << 40), rng.i64(-200..=0))
}
