//! The world: hosts, network and time, moved on event by event, all from one seed.
//!
//! What a process does at an event is in `world/turns.rs`. The world knows nothing of clients or checks:
//! it delivers answers, watch messages and what replicas applied to whoever asks
//! ([`World::take_news`]), and it obeys the fault plan.

mod turns;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use synod_base::disk::Crash;
use synod_base::{NodeId, checksum};
use synod_node::{BootError, RequestToken, StopReason, StreamId, WatchRequest};
use synod_state::kv::Event;

use crate::etcd::{Call, WireAnswer, server};
use crate::history::{TrueTime, Violation};
use crate::host::{Host, Process};
use crate::network::{Network, Weather};

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
    /// An answer to a client's call.
    Answer(NodeId, RequestToken, WireAnswer),
    /// A message to a watch stream.
    Watch {
        /// From this host.
        host: NodeId,
        /// To this stream.
        stream: StreamId,
        /// The encoded message.
        message: Bytes,
        /// Its size as the node counts it; for [`World::drained`].
        bytes: usize,
    },
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
        if host.is_up() || host.retired {
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

    /// A client's call reaches a host; false when nobody is there.
    pub fn call(&mut self, id: NodeId, token: RequestToken, call: Call) -> bool {
        let mut refused = None;
        let reached =
            self.with_process(id, |process, now| match process.front.accept(token, call) {
                Ok(request) => process.node.on_request(now, token, request),
                Err(words) => refused = Some(words),
            });
        self.news.extend(refused.map(|words| News::Answer(id, token, Err(words))));
        reached
    }

    /// A watch stream's message reaches a host; false when nobody is there.
    pub fn watch(&mut self, id: NodeId, stream: StreamId, message: Bytes) -> bool {
        let mut refused = None;
        let reached =
            self.with_process(id, |process, now| match server::watch_request(stream, message) {
                Ok(request) => process.node.on_watch(now, request),
                Err(words) => refused = Some(words),
            });
        if let Some(words) = refused {
            let what = format!("{id} refuses a watch: {words}");
            self.violations.push(Violation { promise: "etcd-api", what });
        }
        reached
    }

    /// A client has taken messages of its watch stream.
    pub fn drained(&mut self, id: NodeId, stream: StreamId, bytes: usize) {
        self.with_process(id, |process, now| {
            process.node.on_watch(now, WatchRequest::Drained { stream, bytes });
        });
    }

    /// Takes a machine away for good.
    pub fn scrap(&mut self, id: NodeId) {
        self.crash(id, Crash::LoseUnsynced);
        self.hosts.remove(&id);
    }

    fn with_process(
        &mut self,
        id: NodeId,
        act: impl FnOnce(&mut Process, synod_base::Instant),
    ) -> bool {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&id) else { return false };
        let local = host.clock.at(now);
        let Some(process) = &mut host.process else { return false };
        act(process, local);
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
