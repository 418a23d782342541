//! The node's loop: the one place that drives a `Node` on real sockets, disk and clock.
//!
//! ```text
//! wait      for a request, a peer's frame, a timer, a finished persist
//! take      everything else that is waiting, up to a bound
//! settle    turn the node; send; append and sync, right here; tell it; send; answer; until quiet
//! ```
//!
//! Requests that arrive while the disk syncs gather in the inbox and become the next batch: that is all
//! there is to group commit. The loop shares its thread with the sockets, so before it turns the node
//! it lets the connections' tasks run once.

mod clock;
mod disk_room;
mod hand_over;
mod log_writer;
mod request_kind;
mod streams;
mod waiting;

pub(crate) use clock::Clock;
pub(crate) use request_kind::RequestKind;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use synod_base::NodeId;
use synod_client::Inbound;
use synod_node::{Effects, LogBatch, Node, Request};
use synod_storage::engine::{Engine, EngineError};
use synod_storage::wal::Wal;
use tokio::sync::{mpsc, watch};

use crate::error::ServerError;
use crate::log_limit::LogLimit;
use crate::metrics::Metrics;
use crate::peer::{JoinAnswer, PeerEvent, Transport};
use disk_room::DiskRoom;
use log_writer::LogWriter;
use streams::Streams;
use waiting::{Waiting, WaitingRequest};

/// What the loop is made of.
pub(crate) struct LoopParts {
    pub(crate) node: Node,
    pub(crate) wal: Wal,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) transport: Transport,
    pub(crate) inbox: mpsc::Receiver<Inbound>,
    pub(crate) peer_events: mpsc::Receiver<PeerEvent>,
    pub(crate) metrics: Arc<Metrics>,
    /// Whose file system must have room, and how many bytes of it.
    pub(crate) data: PathBuf,
    pub(crate) disk_reserve_bytes: u64,
    /// Turns true when the server is to stop.
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) clock: Clock,
}

/// Drives one node.
pub(crate) struct NodeLoop {
    node: Node,
    engine: Arc<dyn Engine>,
    log: LogWriter,
    transport: Transport,
    inbox: mpsc::Receiver<Inbound>,
    peer_events: mpsc::Receiver<PeerEvent>,
    persisted: mpsc::UnboundedReceiver<Persisted>,
    /// At most one persist is under way, so this holds at most one.
    persist_done: mpsc::UnboundedSender<Persisted>,
    stop: watch::Receiver<bool>,
    waiting: Waiting,
    streams: Streams,
    room: DiskRoom,
    metrics: Arc<Metrics>,
    clock: Clock,
    effects: Effects,
    leader: NodeId,
    /// The next log file is ready, as far as is known.
    spare_ready: bool,
    /// Under steady load there is no idle time to prepare it in.
    writes_since_prepare: u32,
    bad_frames: LogLimit,
}

/// A persist of the engine ended.
struct Persisted {
    ticket: u64,
    result: Result<(), EngineError>,
}

/// What ended a wait.
enum Wake {
    Inbound(Inbound),
    Peer(PeerEvent),
    Persisted(Persisted),
    Timer,
    Idle,
    Stop,
}

impl NodeLoop {
    /// Ready to run.
    pub(crate) fn new(parts: LoopParts) -> Self {
        let (persist_done, persisted) = mpsc::unbounded_channel();
        let mut transport = parts.transport;
        transport.add_members(&parts.node.members());
        let now = parts.clock.now();
        NodeLoop {
            node: parts.node,
            engine: parts.engine,
            log: LogWriter::new(parts.wal),
            transport,
            inbox: parts.inbox,
            peer_events: parts.peer_events,
            persisted,
            persist_done,
            stop: parts.stop,
            waiting: Waiting::default(),
            streams: Streams::new(parts.metrics.watch_streams.clone()),
            room: DiskRoom::new(parts.data, parts.disk_reserve_bytes, now),
            metrics: parts.metrics,
            clock: parts.clock,
            effects: Effects::default(),
            leader: NodeId::NONE,
            spare_ready: false,
            writes_since_prepare: 0,
            bad_frames: LogLimit::new(),
        }
    }

    /// Runs until told to stop, or until the node cannot go on.
    pub(crate) async fn run(mut self) -> Result<(), ServerError> {
        let timer = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(timer);
        loop {
            self.watch_the_disk()?;
            self.settle()?;
            let deadline = self.node.next_deadline().min(self.room.next_check());
            if deadline <= self.clock.now() {
                // More to do at once; but everybody else gets a turn first.
                tokio::task::yield_now().await;
                if *self.stop.borrow() {
                    break;
                }
                self.take_waiting()?;
                continue;
            }
            let deadline = self.clock.at(deadline);
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            match self.wait(timer.as_mut()).await {
                Wake::Stop => break,
                Wake::Timer => {}
                Wake::Idle => self.rest()?,
                Wake::Persisted(persisted) => self.on_persisted(persisted)?,
                Wake::Peer(event) => self.on_peer(event),
                Wake::Inbound(inbound) => {
                    self.on_inbound(inbound);
                    // Let the connections hand in what their clients have sent meanwhile.
                    tokio::task::yield_now().await;
                }
            }
            self.take_waiting()?;
        }
        self.hand_over().await?;
        self.log.witness()?;
        // A restart is quicker from here; what was acknowledged is in the log anyway.
        self.engine.persist()?;
        Ok(())
    }

    /// The next thing to do. With the next log file not ready and nothing else to do, some of that.
    async fn wait(&mut self, timer: std::pin::Pin<&mut tokio::time::Sleep>) -> Wake {
        let spare_wanted = !self.spare_ready && !self.room.is_full();
        tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop) => Wake::Stop,
            Some(event) = self.peer_events.recv() => Wake::Peer(event),
            Some(inbound) = self.inbox.recv() => Wake::Inbound(inbound),
            Some(persisted) = self.persisted.recv() => Wake::Persisted(persisted),
            () = timer => Wake::Timer,
            () = tokio::time::sleep(IDLE), if spare_wanted => Wake::Idle,
        }
    }

    /// Nothing to do: what makes later log writes quick, and a rotten last record recognizable.
    fn rest(&mut self) -> Result<(), ServerError> {
        self.spare_ready = self.log.prepare()?;
        if self.spare_ready {
            self.log.witness()?;
        }
        self.node.on_log_bytes(self.log.disk_bytes());
        Ok(())
    }

    /// Everything that has come meanwhile, up to a bound: then the node must turn.
    fn take_waiting(&mut self) -> Result<(), ServerError> {
        // Also while the node is never idle: until it hears of its persist it keeps all of its log.
        if let Ok(persisted) = self.persisted.try_recv() {
            self.on_persisted(persisted)?;
        }
        for _ in 0..MAX_INPUTS_PER_TURN {
            let Ok(event) = self.peer_events.try_recv() else { break };
            self.on_peer(event);
        }
        for _ in 0..MAX_INPUTS_PER_TURN {
            let Ok(inbound) = self.inbox.try_recv() else { break };
            self.on_inbound(inbound);
        }
        Ok(())
    }

    fn on_inbound(&mut self, inbound: Inbound) {
        let since = std::time::Instant::now();
        let now = self.clock.node_time(since);
        match inbound {
            Inbound::Request(request, reply) => {
                let kind = RequestKind::of(&request);
                if matches!(request, Request::Write(_)) {
                    self.metrics.proposals.inc();
                }
                let token = self.waiting.insert(WaitingRequest { reply, kind, since });
                self.node.on_request(now, token, request);
            }
            Inbound::OpenStream(stream, deliveries) => self.streams.open(stream, deliveries),
            Inbound::Watch(request) => {
                self.streams.on_request(&request);
                self.node.on_watch(now, request);
            }
        }
    }

    fn on_peer(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::Frame { from, body, connection, room } => {
                self.metrics.peer_frames_received.inc();
                if let Err(error) = self.node.on_frame(self.clock.now(), from, body) {
                    if let Some(suppressed) = self.bad_frames.pass() {
                        tracing::warn!(%from, suppressed, "malformed frame, closing: {error}");
                    }
                    connection.close();
                }
                drop(room);
            }
            PeerEvent::Greeted { from, peer_url } => self.transport.learn(from, &peer_url),
            PeerEvent::Unreachable(peer) => self.node.on_peer_unreachable(peer),
            PeerEvent::Join(answer) => {
                let cluster = self.node.header().cluster;
                // The one who asked may have gone; then nobody is told.
                drop(answer.send(JoinAnswer { cluster, members: self.node.members() }));
            }
        }
    }

    fn on_persisted(&mut self, persisted: Persisted) -> Result<(), ServerError> {
        match persisted.result {
            Ok(()) => self.node.on_engine_persisted(persisted.ticket),
            Err(EngineError::NoSpace(why)) => {
                tracing::warn!("the store found no room: {why}");
                self.room.retry_persist(persisted.ticket);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Turns the node, and does what it wants, until it wants nothing.
    fn settle(&mut self) -> Result<(), ServerError> {
        loop {
            self.node.turn(self.clock.now(), &mut self.effects);
            if self.effects.is_empty() {
                let waiting = i64::try_from(self.waiting.len()).unwrap_or(i64::MAX);
                self.metrics.requests_waiting.set(waiting);
                return Ok(());
            }
            self.metrics.turns.inc();
            let mut effects = std::mem::take(&mut self.effects);
            self.do_effects(&mut effects)?;
            // Its buffers are used again.
            self.effects = effects;
        }
    }

    /// In the order that `Effects` demands.
    fn do_effects(&mut self, effects: &mut Effects) -> Result<(), ServerError> {
        let members_changed = std::mem::take(&mut effects.members_changed);
        if members_changed {
            self.transport.add_members(&self.node.members());
        }
        self.send(effects.send.drain(..));
        if !effects.log.is_empty() {
            self.write_log(effects.log.drain(..))?;
        }
        if members_changed {
            // Only now: the last frames to a removed member are on their way.
            self.transport.drop_removed(&self.node.members());
        }
        let now = std::time::Instant::now();
        for (token, reply) in effects.replies.drain(..) {
            let request = self.waiting.take(token).expect("the node answers each request once");
            let took = now.saturating_duration_since(request.since);
            self.metrics.answered(request.kind, took, reply.is_err());
            // A client that has gone needs no answer.
            drop(request.reply.send(reply));
        }
        for delivery in effects.watch.drain(..) {
            if let Some(close) = self.streams.deliver(delivery) {
                self.node.on_watch(self.clock.now(), close);
            }
        }
        if let Some(ticket) = effects.persist_engine.take() {
            self.persist(ticket);
        }
        match effects.stopped.take() {
            Some(reason) => Err(reason.into()),
            None => Ok(()),
        }
    }

    fn send(&mut self, frames: impl ExactSizeIterator<Item = (NodeId, bytes::Bytes)>) {
        if frames.len() == 0 {
            return;
        }
        self.metrics.peer_frames_sent.inc_by(frames.len() as u64);
        for peer in self.transport.send(frames) {
            self.metrics.peer_frames_dropped.inc();
            self.node.on_peer_unreachable(peer);
        }
    }

    fn write_log(&mut self, batches: impl Iterator<Item = LogBatch>) -> Result<(), ServerError> {
        let start = std::time::Instant::now();
        let written = self.log.write(batches)?;
        if written.records > 0 {
            self.metrics.log_write_seconds.observe(start.elapsed().as_secs_f64());
            self.metrics.log_records.inc_by(written.records as u64);
            self.spare_ready = false;
            self.writes_since_prepare += 1;
            if self.writes_since_prepare >= PREPARE_EVERY_WRITES {
                self.writes_since_prepare = 0;
                self.log.prepare()?;
            }
        }
        self.node.on_log_bytes(self.log.disk_bytes());
        let now = self.clock.now();
        for batch in written.durable {
            self.node.on_log_durable(batch.number);
            self.send(batch.send_after.into_iter());
        }
        if self.room.on_log(self.log.is_full(), now) {
            self.tell_room();
        }
        Ok(())
    }

    /// Once a second, more often while the log waits for room.
    fn watch_the_disk(&mut self) -> Result<(), ServerError> {
        let now = self.clock.now();
        if !self.room.is_due(now) {
            return Ok(());
        }
        if self.log.is_full() {
            self.write_log(std::iter::empty())?;
        }
        if self.room.check(now) {
            self.tell_room();
        }
        if let Some(bytes) = self.room.room_bytes() {
            self.node.on_disk_room(bytes);
        }
        if let Some(ticket) = self.room.take_persist_retry() {
            self.persist(ticket);
        }
        let leader = self.node.status().leader;
        if leader != self.leader {
            self.leader = leader;
            self.metrics.leader_changes.inc();
            tracing::info!(%leader, "leader");
        }
        Ok(())
    }

    fn tell_room(&mut self) {
        let full = self.room.is_full();
        if full {
            tracing::warn!("the disk is full: writes are refused until there is room");
        } else {
            tracing::info!("the disk has room again: writes are taken");
        }
        self.node.on_disk_full(full);
    }

    fn persist(&mut self, ticket: u64) {
        let engine = self.engine.clone();
        let done = self.persist_done.clone();
        tokio::task::spawn_blocking(move || {
            let result = engine.persist();
            // Nobody listens when the loop has ended.
            drop(done.send(Persisted { ticket, result }));
        });
    }
}

/// Requests, and frames, that the node takes before it must turn.
const MAX_INPUTS_PER_TURN: usize = 4096;

/// Nothing to do for this long is idle: a lone client that asks again at once shall not wait for what
/// is done then.
const IDLE: Duration = Duration::from_millis(2);

/// A loop that is never idle prepares the next log file by a step after this many writes.
const PREPARE_EVERY_WRITES: u32 = 16;

#[cfg(test)]
mod tests;
