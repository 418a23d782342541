//! The node: consensus, state, clocks and clients' requests brought together, one turn at a time.
//!
//! Inputs (`on_…`) only note what happened; [`Node::turn`] does the work: ticks, proposals, read rounds,
//! then everything consensus asks for, then answers. All commands that arrived since the last turn
//! become one log entry, one message per follower and one sync.
//!
//! Invariants: an answer to a write leaves only after its entry was applied here; nothing is applied
//! before consensus called it committed; what must be durable before a frame may leave travels in the
//! same [`LogBatch`](crate::LogBatch) as the frame; every request is answered exactly once, at the
//! latest at its deadline.
//!
//! The parts: `node/turn.rs` (the steps of a turn), `requests.rs` (what each request needs),
//! `proposals.rs` (writes under way), `reads.rs` (read barriers), `apply.rs` (committed entries),
//! `membership.rs`, `showing.rs` (not before it is remembered), `lease_clock.rs`, `full.rs` (no room),
//! `transfer.rs` (snapshots), `watch/`.

mod turn;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use synod_base::{DecodeError, Instant, LogIndex, NodeId, ProposalId, Term};
use synod_consensus::{Core, Role, StepError};
use synod_state::kv::Kv;
use synod_storage::engine::{Engine, EngineError, WriteBatch};
use synod_storage::wal::LogRecord;
use thiserror::Error;

use crate::boot::NodeConfig;
use crate::duplicates::Duplicates;
use crate::effects::{Effects, StopReason};
use crate::frame::Frame;
use crate::full::Yielding;
use crate::hashes::Hashing;
use crate::item::ChangeOp;
use crate::lease_clock::LeaseClock;
use crate::member::Member;
use crate::membership::Move;
use crate::meta::Applied;
use crate::moving_in::MovingIn;
use crate::proposals::Proposals;
use crate::questions::Questions;
use crate::reads::Barrier;
use crate::request::{Header, NodeStatus, Reply, RequestError, RequestToken};
use crate::requests::Read;
use crate::showing::Note;
use crate::snapshot::{Incoming, Outgoing};
use crate::watch::{WatchDelivery, WatchHub, WatchRequest};

/// What a frame from a peer did wrong. The node is unharmed; the connection should be closed.
#[derive(Debug, Error)]
pub enum FrameError {
    /// It does not decode.
    #[error("malformed frame: {0}")]
    Malformed(#[from] DecodeError),
    /// Consensus does not take it.
    #[error(transparent)]
    Consensus(StepError),
}

/// What a node is made of at its start (`boot.rs`).
pub struct NodeParts {
    /// What it was told.
    pub config: NodeConfig,
    /// How often it has been started, this time included.
    pub start_number: u32,
    /// Its consensus.
    pub core: Box<dyn Core + Send>,
    /// Where its state lives.
    pub engine: Arc<dyn Engine>,
    /// Its state.
    pub kv: Kv,
    /// How far it has applied, and who takes part.
    pub applied: Applied,
    /// Where its log begins.
    pub log_start: LogIndex,
}

/// Who leads, as this replica saw it in its last turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct View {
    pub term: Term,
    pub leader: NodeId,
    pub role: Role,
}

/// One node. See the module's text.
pub struct Node {
    pub(crate) config: NodeConfig,
    pub(crate) core: Box<dyn Core + Send>,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) kv: Kv,
    pub(crate) applied: Applied,
    pub(crate) rng: fastrand::Rng,
    pub(crate) view: View,

    pub(crate) proposals: Proposals,
    pub(crate) duplicates: Duplicates,
    pub(crate) barrier: Barrier<Read>,
    pub(crate) questions: Questions,
    pub(crate) hashes: VecDeque<Hashing>,
    pub(crate) lease_clock: LeaseClock,
    /// The term in which this node counts leases: it leads and has applied an entry of that term.
    pub(crate) leading: Option<Term>,
    pub(crate) hub: WatchHub,
    pub(crate) outgoing: BTreeMap<NodeId, Outgoing>,
    pub(crate) incoming: Option<Incoming>,
    pub(crate) moving_in: Option<MovingIn>,
    pub(crate) transfers: u64,
    /// Where the log ended at the start, if the engine was not that far (see `requests.rs`).
    pub(crate) behind_itself: Option<LogIndex>,
    /// The change of membership that this leader has proposed and not yet seen applied.
    pub(crate) change_in_progress: Option<(LogIndex, Term, ProposalId)>,
    /// This leader's own removal, for the next leader, and when it is given up.
    pub(crate) parked_removal: Option<(ProposalId, ChangeOp, Instant)>,
    /// The engine, or a note in the log, must be durable before anything more leaves this node.
    pub(crate) persist_now: bool,
    /// The last change of membership that was applied, and the last one that was noted in the log.
    pub(crate) members_changed_at: LogIndex,
    pub(crate) noted: LogIndex,
    pub(crate) note: Option<Note>,
    /// Clients that wait until another member leads.
    pub(crate) moves: Vec<Move>,
    /// When a frame of each peer last came.
    pub(crate) heard: BTreeMap<NodeId, Instant>,
    /// When the last input came.
    pub(crate) latest: Instant,
    /// Followers that were sent the whole state: its position, and how long to keep the log for them.
    pub(crate) installing: BTreeMap<NodeId, (LogIndex, Instant)>,

    /// Applied in memory, not yet in the engine; longer than a turn only while the engine is full.
    pub(crate) batch: WriteBatch,
    pub(crate) position_moved: bool,
    pub(crate) engine_retry: Option<Instant>,
    pub(crate) disk_full: bool,
    pub(crate) room_bytes: Option<u64>,
    pub(crate) yielding: Yielding,
    /// Since too long a write to the log does not become durable.
    pub(crate) log_stuck: bool,
    log_bytes: u64,
    /// Engine made durable: the ticket and what was applied when it was asked for.
    pub(crate) persisting: Option<(u64, LogIndex)>,
    pub(crate) persist_tickets: u64,
    /// Log batches on their way: our number, consensus' number, since when.
    writes: VecDeque<(u64, u64, Instant)>,
    log_numbers: u64,
    /// Where this replica's log begins.
    pub(crate) log_start: LogIndex,
    /// Says so in the log, with the next batch.
    pub(crate) forgotten: Option<LogRecord>,
    next_tick: Instant,
    next_publication: Instant,

    pub(crate) send: Vec<(NodeId, Bytes)>,
    pub(crate) replies: Vec<(RequestToken, Reply)>,
    pub(crate) deliveries: Vec<WatchDelivery>,
    pub(crate) members_changed: bool,
    pub(crate) stopped: Option<StopReason>,
    stop_reported: bool,
}

impl Node {
    /// A node at the start of its life; a lone voter campaigns at once.
    #[must_use]
    pub fn new(parts: NodeParts, now: Instant) -> Self {
        let NodeParts { config, start_number, mut core, engine, kv, applied, log_start } = parts;
        if applied.membership.voters == [config.node] {
            core.campaign();
        }
        let last_index = core.status().last_index;
        // Nobody talks to a removed member any more, so it must remember by itself. A member that joins
        // has applied nothing yet.
        let removed = applied.position.index.0 > 0
            && !applied.members.contains_key(&config.node)
            && !applied.membership.contains(config.node);
        let seed = config.seed ^ u64::from(start_number).rotate_left(32);
        Node {
            rng: fastrand::Rng::with_seed(seed),
            view: View { term: Term(0), leader: NodeId::NONE, role: Role::Follower },
            proposals: Proposals::new(config.node, start_number),
            duplicates: Duplicates::default(),
            barrier: Barrier::new(config.node, start_number),
            questions: Questions::new(start_number),
            hashes: VecDeque::new(),
            lease_clock: LeaseClock::default(),
            leading: None,
            hub: WatchHub::new(kv.revision()),
            outgoing: BTreeMap::new(),
            incoming: None,
            moving_in: None,
            transfers: u64::from(start_number) << 32,
            behind_itself: Some(last_index).filter(|last| *last > applied.position.index),
            change_in_progress: None,
            parked_removal: None,
            persist_now: false,
            members_changed_at: LogIndex(0),
            noted: LogIndex(0),
            note: None,
            moves: Vec::new(),
            heard: BTreeMap::new(),
            latest: now,
            installing: BTreeMap::new(),
            batch: WriteBatch::default(),
            position_moved: false,
            engine_retry: None,
            disk_full: false,
            room_bytes: None,
            yielding: Yielding::default(),
            log_stuck: false,
            log_bytes: 0,
            persisting: None,
            persist_tickets: 0,
            writes: VecDeque::new(),
            log_numbers: 0,
            log_start,
            forgotten: None,
            next_tick: now + config.timing.tick,
            next_publication: now,
            send: Vec::new(),
            replies: Vec::new(),
            deliveries: Vec::new(),
            members_changed: true,
            stopped: removed.then_some(StopReason::Removed),
            stop_reported: false,
            config,
            core,
            engine,
            kv,
            applied,
        }
    }

    /// A frame from a peer, whose identity the connection has established.
    pub fn on_frame(&mut self, now: Instant, from: NodeId, frame: Bytes) -> Result<(), FrameError> {
        if self.stopped.is_some() {
            return Ok(());
        }
        self.latest = now;
        self.heard.insert(from, now);
        if self.is_moving_in() {
            return Ok(());
        }
        match Frame::decode(frame)? {
            Frame::Consensus(body) => self.step(from, body)?,
            Frame::Propose { term, items } => self.on_forwarded(from, term, items),
            Frame::Refuse { items } => self.on_refused(items),
            Frame::AskLease { question, ask } => self.on_lease_asked(now, from, question, ask),
            Frame::AnswerLease { question, answer } => self.on_lease_answered(question, answer),
            Frame::SnapshotChunk { transfer, sequence, body } => {
                self.on_snapshot_chunk(from, transfer, sequence, body);
            }
            Frame::SnapshotEnd { transfer, sequence, message } => {
                self.on_snapshot_end(from, transfer, sequence, message)?;
            }
            Frame::SnapshotAck { transfer, next } => {
                self.on_snapshot_ack(now, from, transfer, next);
            }
            Frame::SnapshotRefused { transfer } => self.on_snapshot_refused(from, transfer),
        }
        Ok(())
    }

    /// A watch stream asks.
    pub fn on_watch(&mut self, now: Instant, request: WatchRequest) {
        let header = self.header();
        self.hub.on_request(now, header, request, &mut self.deliveries);
    }

    /// The log batch of this number, and all before it, are durable.
    pub fn on_log_durable(&mut self, number: u64) {
        while let Some(&(ours, core_number, _)) = self.writes.front() {
            if ours > number {
                break;
            }
            self.writes.pop_front();
            self.core.on_persisted(core_number);
        }
        self.on_note_durable(number);
    }

    /// The disk has filled up (writes are refused from now on) or has room again.
    pub fn on_disk_full(&mut self, full: bool) {
        self.disk_full = full;
    }

    /// The log's files have this size now: the executor owns them, the node only tells it on.
    pub fn on_log_bytes(&mut self, bytes: u64) {
        self.log_bytes = bytes;
    }

    /// The connection to a peer broke, or frames to it were dropped.
    pub fn on_peer_unreachable(&mut self, peer: NodeId) {
        self.core.report_unreachable(peer);
    }

    /// Does everything there is to do now; the executor does what `effects` says and calls again until
    /// there is nothing left.
    pub fn turn(&mut self, now: Instant, effects: &mut Effects) {
        if self.stopped.is_none() && self.is_moving_in() {
            self.latest = now;
            self.go_on_moving_in(now);
            self.answer_overdue(now);
        }
        if self.stopped.is_none() && !self.is_moving_in() {
            self.run(now, effects);
            self.show_members_late(now, effects);
        }
        if let Some(reason) = self.stopped.clone()
            && !self.stop_reported
        {
            if reason != StopReason::Removed && self.persist_now {
                self.show_nothing();
            }
            self.stop_reported = true;
            self.refuse_everything();
            effects.stopped = Some(reason);
        }
        effects.send.append(&mut self.send);
        effects.replies.append(&mut self.replies);
        effects.watch.append(&mut self.deliveries);
        effects.members_changed |= std::mem::take(&mut self.members_changed);
    }

    /// When the node wants its next turn, if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        if let Some(next_try) = self.next_move_in() {
            return next_try;
        }
        let mut next = self.next_tick;
        let scrubs = self.kv.needs_scrub() && self.engine_retry.is_none();
        if self.hub.is_busy() || scrubs || !self.hashes.is_empty() {
            return Instant::ZERO;
        }
        let others = [
            self.lease_clock.next_deadline().filter(|_| self.leading.is_some() && !self.log_stuck),
            self.barrier.next_deadline(),
            self.engine_retry,
        ];
        for deadline in others.into_iter().flatten() {
            next = next.min(deadline);
        }
        next
    }

    /// All members, by id.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.applied.members.values().cloned().collect()
    }

    /// The header an answer made now carries.
    #[must_use]
    pub fn header(&self) -> Header {
        Header {
            cluster: self.config.cluster,
            member: self.config.node,
            revision: self.kv.revision(),
            term: self.view.term,
        }
    }

    /// What this node knows of itself.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let status = self.core.status();
        let state_bytes = self.engine.disk_bytes();
        NodeStatus {
            leader: status.leader,
            term: status.term,
            commit_index: status.commit_index,
            applied_index: self.applied.position.index,
            is_learner: self.applied.membership.learners.contains(&self.config.node),
            disk_bytes: state_bytes + self.log_bytes,
            state_bytes,
            key_count: self.kv.key_count() as u64,
            compact_revision: self.kv.compacted_revision(),
            disk_full: self.is_full(),
        }
    }

    /// The state, for checks and metrics.
    #[must_use]
    pub fn kv(&self) -> &Kv {
        &self.kv
    }

    /// How many watches there are.
    #[must_use]
    pub fn watch_count(&self) -> usize {
        self.hub.len()
    }

    /// Asserts what must always hold.
    pub fn check(&self) {
        self.core.check();
        let status = self.core.status();
        assert!(self.applied.position.index <= status.commit_index, "applied beyond commit");
        assert!(self.applied.position.term <= status.term, "applied an entry of a later term");
    }

    /// Since when the oldest write to the log that is not durable is under way.
    pub(crate) fn oldest_write(&self) -> Option<Instant> {
        self.writes.front().map(|(_, _, since)| *since)
    }

    /// Of the next batch to the log.
    pub(crate) fn next_log_number(&mut self) -> u64 {
        self.log_numbers += 1;
        self.log_numbers
    }

    pub(crate) fn stop(&mut self, reason: StopReason) {
        self.stopped.get_or_insert(reason);
    }

    pub(crate) fn stop_on(&mut self, error: EngineError) {
        self.stop(StopReason::Storage(error.to_string()));
    }

    pub(crate) fn step(&mut self, from: NodeId, body: Bytes) -> Result<(), FrameError> {
        match self.core.step(from, body) {
            Ok(()) => Ok(()),
            Err(error @ StepError::LogLost { .. }) => {
                self.stop(StopReason::LogLost(error.to_string()));
                Ok(())
            }
            Err(error) => Err(FrameError::Consensus(error)),
        }
    }

    pub(crate) fn send_frame(&mut self, to: NodeId, frame: &Frame) {
        self.send.push((to, frame.encode()));
    }

    pub(crate) fn reply(&mut self, token: RequestToken, reply: Reply) {
        self.replies.push((token, reply));
    }

    fn refuse_everything(&mut self) {
        let end_of_time = Instant::from_nanos(u64::MAX);
        let tokens = self.proposals.take_all().into_iter();
        let tokens = tokens.chain(self.questions.take_all());
        let tokens = tokens.chain(self.take_overdue_hashes(end_of_time));
        let tokens = tokens.chain(self.take_noted());
        let tokens = tokens.chain(self.moves.drain(..).map(|m| m.token));
        for token in tokens.collect::<Vec<_>>() {
            self.reply(token, Err(RequestError::Stopped));
        }
        for read in self.barrier.take_overdue(end_of_time) {
            if let Some(token) = read.token() {
                self.reply(token, Err(RequestError::Stopped));
            }
        }
    }
}
