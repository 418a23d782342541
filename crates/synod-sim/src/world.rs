//! The world: hosts, network and time, moved on event by event, all from one seed.
//!
//! The world knows nothing of clients or checks: it delivers replies, watch deliveries and what replicas
//! applied to whoever asks ([`World::take_news`]), and it obeys the fault plan.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use synod_base::disk::Crash;
use synod_base::{NodeId, checksum};
use synod_node::{
    BootError, LogBatch, Reply, Request, RequestToken, StopReason, WatchDelivery, WatchRequest,
};
use synod_state::kv::Event;
use synod_storage::engine::Engine;
use synod_storage::wal::LogRecord;

use crate::history::{TrueTime, Violation};
use crate::host::Host;
use crate::network::{Network, Weather};

/// Turns of one node without time passing after which it is called a livelock.
const MAX_TURNS: u32 = 10_000;

/// The node's own invariants are checked at every so many events: a check walks the whole log.
const CHECK_EVERY: u64 = 64;

/// How long making the engine durable takes.
const PERSIST_NANOS: u64 = 5_000_000;

/// How long until a full disk is tried again.
const RETRY_NANOS: u64 = 100_000_000;

/// Something that will happen.
#[derive(Debug)]
enum Happening {
    Frame { from: NodeId, to: NodeId, frame: Bytes },
    Wake { host: NodeId, generation: u32 },
    Synced { host: NodeId, generation: u32 },
    Persisted { host: NodeId, generation: u32, ticket: u64 },
    RetryLog { host: NodeId, generation: u32 },
    Alarm { number: u64 },
}

/// What came out of the hosts.
#[derive(Debug)]
pub enum News {
    /// An answer to a client's request.
    Reply(NodeId, RequestToken, Box<Reply>),
    /// To a watch stream.
    Watch(NodeId, WatchDelivery),
    /// A replica applied these events; whole revisions.
    Applied(NodeId, Vec<Event>),
    /// An alarm that the driver set.
    Alarm(u64),
    /// A host lost power by [`Host::vote_crashes`].
    LostPower(NodeId),
    /// A process ended by itself.
    Ended(NodeId, StopReason),
}

/// What the world did to the hosts.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorldCounts {
    /// Crashes.
    pub crashes: u64,
    /// Starts after the first.
    pub restarts: u64,
    /// Pauses.
    pub pauses: u64,
    /// Clock jumps.
    pub clock_jumps: u64,
    /// Writes to a full log.
    pub disk_full: u64,
    /// Events.
    pub events: u64,
}

/// Everything there is.
pub struct World {
    /// True time.
    pub now: TrueTime,
    /// The machines.
    pub hosts: BTreeMap<NodeId, Host>,
    /// Between them.
    pub network: Network,
    /// What happened to them.
    pub counts: WorldCounts,
    /// Promises that were broken while it ran.
    pub violations: Vec<Violation>,
    rng: Rng,
    queue: BTreeMap<(TrueTime, u64), Happening>,
    sequence: u64,
    news: Vec<News>,
    trace: u32,
}

impl World {
    /// A world without hosts.
    #[must_use]
    pub fn new(rng: &mut Rng, weather: Weather) -> Self {
        World {
            now: 0,
            hosts: BTreeMap::new(),
            network: Network::new(rng.fork(), weather),
            counts: WorldCounts::default(),
            violations: Vec::new(),
            rng: rng.fork(),
            queue: BTreeMap::new(),
            sequence: 0,
            news: Vec::new(),
            trace: 0,
        }
    }

    /// A checksum over everything that has happened, in order: equal for equal seeds.
    #[must_use]
    pub fn trace(&self) -> u32 {
        self.trace
    }

    /// What came out since the last call.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Moves on by one event, not beyond `end`; false when nothing happens until then.
    pub fn step(&mut self, end: TrueTime) -> bool {
        match self.queue.first_key_value() {
            Some((&(at, _), _)) if at <= end => {}
            _ => {
                self.now = end;
                return false;
            }
        }
        if let Some(((at, _), happening)) = self.queue.pop_first() {
            self.now = self.now.max(at);
            self.counts.events += 1;
            self.happen(happening);
        }
        true
    }

    /// Asks for a [`News::Alarm`] at a later time.
    pub fn set_alarm(&mut self, at: TrueTime, number: u64) {
        self.schedule(at, Happening::Alarm { number });
    }

    /// Starts a host's node.
    pub fn start(&mut self, id: NodeId) -> Result<(), BootError> {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
        if host.is_up() {
            return Ok(());
        }
        if host.started {
            self.counts.restarts += 1;
        }
        host.start(now)?;
        self.note(b"start", id.0);
        self.drive(id);
        Ok(())
    }

    /// Stops a host where it stands.
    pub fn crash(&mut self, id: NodeId, crash: Crash) {
        if let Some(host) = self.hosts.get_mut(&id)
            && host.is_up()
        {
            host.crash(crash, &mut self.rng);
            self.counts.crashes += 1;
            self.note(b"crash", id.0);
        }
    }

    /// Lets a host sleep for a while; what arrives meanwhile waits for it.
    pub fn pause(&mut self, id: NodeId, nanos: u64) {
        if let Some(host) = self.hosts.get_mut(&id) {
            host.paused_until = self.now + nanos;
            self.counts.pauses += 1;
        }
    }

    /// Moves a host's clock ahead.
    pub fn jump_clock(&mut self, id: NodeId, by: Duration) {
        if let Some(host) = self.hosts.get_mut(&id) {
            host.clock.jump(self.now, by);
            self.counts.clock_jumps += 1;
            self.wake_soon(id);
        }
    }

    /// A client's request reaches a host; false when nobody is there.
    pub fn request(&mut self, id: NodeId, token: RequestToken, request: Request) -> bool {
        self.with_node(id, |node, now| node.on_request(now, token, request))
    }

    /// A watch stream's request reaches a host; false when nobody is there.
    pub fn watch(&mut self, id: NodeId, request: WatchRequest) -> bool {
        self.with_node(id, |node, now| node.on_watch(now, request))
    }

    /// Tells a host's node whether its disk is full.
    pub fn set_disk_full(&mut self, id: NodeId, full: bool) {
        self.with_node(id, |node, _| node.on_disk_full(full));
    }

    fn with_node(
        &mut self,
        id: NodeId,
        act: impl FnOnce(&mut synod_node::Node, synod_base::Instant),
    ) -> bool {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&id) else { return false };
        let local = host.clock.at(now);
        let Some(process) = &mut host.process else { return false };
        act(&mut process.node, local);
        self.wake_soon(id);
        true
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Frame { from, to, frame } => self.deliver(from, to, frame),
            Happening::Wake { host: id, generation } => {
                // An earlier wake-up may have taken this one's place.
                if self.is_current(id, generation)
                    && let Some(host) = self.hosts.get_mut(&id)
                    && host.wake_at == Some(self.now)
                {
                    host.wake_at = None;
                    self.drive(id);
                }
            }
            Happening::Synced { host, generation } => {
                if self.is_current(host, generation) {
                    self.synced(host);
                }
            }
            Happening::Persisted { host, generation, ticket } => {
                if self.is_current(host, generation) {
                    self.persisted(host, ticket);
                }
            }
            Happening::RetryLog { host, generation } => {
                if self.is_current(host, generation) {
                    self.retry_log(host);
                }
            }
            Happening::Alarm { number } => self.news.push(News::Alarm(number)),
        }
    }

    /// Puts a happening off while its host sleeps; true if it was put off.
    fn put_off(&mut self, id: NodeId, happening: &mut Option<Happening>) -> bool {
        let until = self.hosts.get(&id).map_or(0, |host| host.paused_until);
        if until <= self.now {
            return false;
        }
        if let Some(happening) = happening.take() {
            self.schedule(until, happening);
        }
        true
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, frame: Bytes) {
        let mut again = Some(Happening::Frame { from, to, frame: frame.clone() });
        if self.put_off(to, &mut again) {
            return;
        }
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&to) else { return };
        let local = host.clock.at(now);
        let Some(process) = &mut host.process else { return };
        let length = frame.len() as u64;
        if let Err(error) = process.node.on_frame(local, from, frame) {
            let what = format!("{to} does not take a frame of {from}: {error}");
            self.violations.push(Violation { promise: "frames", what });
        }
        self.network.counts.delivered += 1;
        self.note(b"frame", from.0 ^ (to.0 << 16) ^ (length << 32));
        self.drive(to);
    }

    fn synced(&mut self, id: NodeId) {
        let generation = self.hosts.get(&id).map_or(0, |host| host.generation);
        if self.put_off(id, &mut Some(Happening::Synced { host: id, generation })) {
            return;
        }
        let mut frames = Vec::new();
        if let Some(process) = self.hosts.get_mut(&id).and_then(|host| host.process.as_mut()) {
            if let Err(error) = process.wal.sync() {
                let reason = StopReason::Storage(error.to_string());
                return self.end(id, reason);
            }
            for batch in process.syncing.drain(..) {
                process.node.on_log_durable(batch.number);
                frames.extend(batch.send_after);
            }
            if let Err(error) = process.wal.prepare_spare(16 * 1024)
                && !matches!(error, synod_storage::wal::WalError::NoSpace)
            {
                let reason = StopReason::Storage(error.to_string());
                return self.end(id, reason);
            }
        }
        self.note(b"sync", id.0);
        self.send(id, frames);
        self.drive(id);
    }

    fn persisted(&mut self, id: NodeId, ticket: u64) {
        if let Some(host) = self.hosts.get_mut(&id)
            && let Some(process) = &mut host.process
            && host.engine.persist().is_ok()
        {
            process.node.on_engine_persisted(ticket);
            self.wake_soon(id);
        }
    }

    fn retry_log(&mut self, id: NodeId) {
        let Some(process) = self.hosts.get_mut(&id).and_then(|host| host.process.as_mut()) else {
            return;
        };
        let refused = std::mem::take(&mut process.refused);
        self.append(id, refused.into());
        self.drive(id);
    }

    /// Turns of a node until it wants nothing more now.
    fn drive(&mut self, id: NodeId) {
        for _ in 0..MAX_TURNS {
            let now = self.now;
            let Some(host) = self.hosts.get_mut(&id) else { return };
            if host.paused_until > now {
                let until = host.paused_until;
                return self.wake_at(id, until);
            }
            let local = host.clock.at(now);
            let Some(process) = &mut host.process else { return };
            let mut effects = process.turn(local);
            if self.counts.events.is_multiple_of(CHECK_EVERY) {
                process.node.check();
            }
            let idle = effects.is_empty();
            let busy = process.node.next_deadline() <= local;
            let generation = host.generation;
            self.watch_applied(id);
            self.send(id, std::mem::take(&mut effects.send));
            for (token, reply) in effects.replies {
                self.note(b"reply", token.0 ^ u64::from(reply.is_ok()) << 63);
                self.news.push(News::Reply(id, token, Box::new(reply)));
            }
            self.news.extend(effects.watch.into_iter().map(|d| News::Watch(id, d)));
            if let Some(ticket) = effects.persist_engine {
                let done = Happening::Persisted { host: id, generation, ticket };
                self.schedule(now + PERSIST_NANOS, done);
            }
            self.append(id, effects.log);
            if let Some(reason) = effects.stopped {
                return self.end(id, reason);
            }
            if idle && !busy {
                return self.schedule_wake(id);
            }
        }
        let what = format!("{id} turned {MAX_TURNS} times without time passing");
        self.violations.push(Violation { promise: "progress", what });
    }

    fn append(&mut self, id: NodeId, batches: Vec<LogBatch>) {
        let now = self.now;
        for batch in batches {
            let Some(host) = self.hosts.get_mut(&id) else { return };
            let Some(process) = &mut host.process else { return };
            let generation = host.generation;
            let votes = batch.records.iter().any(|r| matches!(r, LogRecord::HardState { .. }));
            if votes && host.vote_crashes > 0 {
                host.vote_crashes -= 1;
                self.news.push(News::LostPower(id));
                return self.crash(id, Crash::LoseUnsynced);
            }
            match process.append(batch) {
                Ok(true) => {
                    process.node.on_disk_full(false);
                    let nanos = self.rng.u64(host.sync_nanos / 4..=host.sync_nanos);
                    host.sync_ends = host.sync_ends.max(now) + nanos;
                    let at = host.sync_ends;
                    self.schedule(at, Happening::Synced { host: id, generation });
                }
                Ok(false) => {
                    process.node.on_disk_full(true);
                    if process.refused.len() == 1 {
                        self.counts.disk_full += 1;
                        let again = Happening::RetryLog { host: id, generation };
                        self.schedule(now + RETRY_NANOS, again);
                    }
                }
                Err(error) => {
                    return self.end(id, StopReason::Storage(error.to_string()));
                }
            }
        }
    }

    /// A process ends by itself: as a crash of the process alone.
    fn end(&mut self, id: NodeId, reason: StopReason) {
        if let Some(host) = self.hosts.get_mut(&id) {
            host.crash(Crash::KeepEverything, &mut self.rng);
        }
        self.note(b"end", id.0);
        self.news.push(News::Ended(id, reason));
    }

    /// Hands out what the replica has applied since the last look.
    fn watch_applied(&mut self, id: NodeId) {
        let Some(host) = self.hosts.get_mut(&id) else { return };
        let Some(process) = &host.process else { return };
        let kv = process.node.kv();
        let revision = kv.revision();
        if revision < host.seen {
            let what = format!("{id} went from revision {} back to {revision}", host.seen);
            self.violations.push(Violation { promise: "revision-back", what });
        }
        if revision == host.seen {
            return;
        }
        // A replay after a restart may hold a compaction, too. Clients compact only what the oracle has
        // seen long since, so what is left of the history is all that can be new.
        let from = host.seen.next().max(kv.compacted_revision());
        match kv.history(from, usize::MAX) {
            Ok(Ok(page)) => self.news.push(News::Applied(id, page.events)),
            refused => {
                let what = format!("{id} does not show its history from {from}: {refused:?}");
                self.violations.push(Violation { promise: "history", what });
            }
        }
        host.seen = revision;
        self.note(b"applied", revision.0.unsigned_abs());
    }

    fn send(&mut self, from: NodeId, frames: Vec<(NodeId, Bytes)>) {
        for (to, frame) in frames {
            for at in self.network.arrivals(self.now, from, to) {
                self.schedule(at, Happening::Frame { from, to, frame: frame.clone() });
            }
        }
    }

    fn schedule_wake(&mut self, id: NodeId) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&id) else { return };
        let Some(process) = &host.process else { return };
        let at = host.clock.when(now, process.node.next_deadline());
        self.wake_at(id, at);
    }

    fn wake_soon(&mut self, id: NodeId) {
        self.wake_at(id, self.now);
    }

    /// Wakes a host then, unless it is woken earlier anyway.
    fn wake_at(&mut self, id: NodeId, at: TrueTime) {
        let Some(host) = self.hosts.get_mut(&id) else { return };
        if host.wake_at.is_none_or(|wake| at < wake) {
            host.wake_at = Some(at);
            let generation = host.generation;
            self.schedule(at, Happening::Wake { host: id, generation });
        }
    }

    fn is_current(&self, id: NodeId, generation: u32) -> bool {
        self.hosts.get(&id).is_some_and(|host| host.is_up() && host.generation == generation)
    }

    fn schedule(&mut self, at: TrueTime, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((at.max(self.now), self.sequence), happening);
    }

    fn note(&mut self, what: &[u8], number: u64) {
        self.trace = checksum::crc32c_append(self.trace, what);
        self.trace = checksum::crc32c_append(self.trace, &number.to_le_bytes());
        self.trace = checksum::crc32c_append(self.trace, &self.now.to_le_bytes());
    }
}
