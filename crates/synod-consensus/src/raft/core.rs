//! The machine: one replica of one group, driving the raft crate turn by turn.
//!
//! Every output is handed out with its entries already readable in the log in memory; durability is
//! reported later (`on_persisted`), so several writes may be under way. Invariants:
//!
//! - A message leaves at once only from a leader whose term is durable. The raft crate would let a
//!   lone voter that just elected itself send entries before its term is on disk; after a crash it
//!   could lead the same term again with other entries.
//! - An output that asks for no write, with none under way, is acknowledged here and all its messages
//!   leave at once: a load of reads costs the host no round trip. Other empty writes are durable with
//!   the ones before them.
//! - Committed entries that the engine already holds by a snapshot are not handed out again.
//!
//! The host must call `on_persisted` before (or in the same turn as) it sends the messages that waited.

use bytes::Bytes;
use raft::eraftpb::{self as pb, MessageType};
use raft::{RawNode, SnapshotStatus, StateRole};
use synod_base::{Entry, EntryKind, HardState, LogIndex, LogStart, NodeId, Term};

use super::admission::{self, Admission};
use super::in_flight::{WriteRecord, WritesInFlight};
use super::log::MemoryLog;
use super::start::{MAX_UNCOMMITTED_BYTES, MAX_UNDURABLE_BYTES};
use super::timeout::ElectionTimeout;
use super::{convert, membership, outgoing, start, wire};
use crate::core::{
    Core, CoreStart, CoreStartError, CoreStatus, Membership, MembershipChange, Message, Output,
    Progress, ProposeError, ReadContext, ReadRefused, StepError, Write,
};

/// One replica's Raft. See [`Core`] for the order of calls.
pub struct RaftCore {
    node: RawNode<MemoryLog>,
    timeout: ElectionTimeout,
    writes: WritesInFlight,
    /// As last handed out to be written.
    hard_state: HardState,
    /// How far the engine is: by applied entries or by a snapshot.
    applied: LogIndex,
    /// Up to where committed entries were handed out (or taken in for a snapshot).
    handed_out: LogIndex,
    /// As of the last change the host applied, or the last snapshot.
    membership: Membership,
}

impl RaftCore {
    /// A replica that goes on from what its log and its engine hold.
    ///
    /// A new group: each first member starts with the same voters, an empty log and a `start` above 0
    /// (index and term of an agreed first snapshot). A newcomer to a group starts with everything at 0
    /// and no members; it learns them from its first snapshot.
    pub fn new(start: CoreStart) -> Result<Self, CoreStartError> {
        let (seed, election_ticks) = (start.seed, start.ticks.election as usize);
        let (applied, membership) = (start.applied, start.membership.clone());
        let (node, hard_state) = start::node_from(start)?;
        let mut core = RaftCore {
            node,
            timeout: ElectionTimeout::new(seed, election_ticks),
            writes: WritesInFlight::default(),
            hard_state,
            applied,
            handed_out: applied,
            membership,
        };
        core.timeout.settle(&mut core.node);
        Ok(core)
    }

    /// The membership as of the last applied change.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    fn may_propose(&self) -> Result<(), ProposeError> {
        if !self.leads() {
            return Err(ProposeError::NotLeader);
        }
        if self.node.raft.lead_transferee.is_some() {
            return Err(ProposeError::Transferring);
        }
        Ok(())
    }

    /// The host has brought the engine to the snapshot's position; now the log follows. The state of a
    /// snapshot is committed whatever the term of its message, so the log follows in any case: an
    /// engine ahead of its log could not be restarted.
    fn step_snapshot(&mut self, message: pb::Message) {
        let (at, membership) = convert::snapshot_from_raft(message.get_snapshot());
        let snapshot = message.get_snapshot().clone();
        if message.term >= self.node.raft.term {
            self.step_raft(message);
        }
        let raft = &mut self.node.raft;
        let accepted = raft.snap().is_some_and(|s| s.get_metadata().index == at.index.0);
        if !accepted && raft.raft_log.committed < at.index.0 {
            if raft.raft_log.match_term(at.index.0, at.term.0) {
                raft.raft_log.commit_to(at.index.0);
            } else if membership.contains(NodeId(raft.id)) {
                let term = raft.term;
                if raft.state != StateRole::Follower {
                    raft.become_follower(term, raft::INVALID_ID);
                }
                raft.restore(snapshot);
            } else {
                return;
            }
        }
        self.applied = self.applied.max(at.index);
    }

    fn step_raft(&mut self, message: pb::Message) {
        // The only error is an answer from a node that is no member (any more): as if it were lost.
        let _ = self.node.step(message);
    }

    /// Takes the entries that the engine does not hold yet. Of the others, changes of members must
    /// still reach the raft crate.
    fn take_committed(&mut self, committed: Vec<pb::Entry>) -> Vec<Entry> {
        let mut out = Vec::with_capacity(committed.len());
        for entry in committed.iter().map(convert::entry_from_raft) {
            self.handed_out = entry.index;
            if entry.index > self.applied {
                out.push(entry);
            } else if entry.kind == EntryKind::Membership
                && let Ok(change) = MembershipChange::from_payload(entry.payload)
            {
                self.membership = membership::apply(&mut self.node, &change);
            }
        }
        self.advance_applied();
        out
    }

    /// What a far-behind follower is sent: the engine's position with the membership of that position.
    fn refresh_snapshot(&mut self) {
        let index = LogIndex(self.node.raft.raft_log.applied);
        let Some(term) = self.node.store().term_of(index) else { return };
        let snapshot = (LogStart { index, term }, self.membership.clone());
        self.node.mut_store().set_snapshot(Some(snapshot));
    }

    fn advance_applied(&mut self) {
        let before = self.node.raft.raft_log.applied;
        membership::advance_applied(&mut self.node, self.applied.min(self.handed_out));
        if self.node.raft.raft_log.applied == before {
            return;
        }
        let changed = self.node.store().snapshot_is_withheld();
        self.refresh_snapshot();
        if changed && self.leads() {
            // New members wait for a snapshot that just became possible.
            self.node.raft.bcast_append();
        }
    }

    fn acknowledge(&mut self, number: u64) {
        if let Some(durable) = self.writes.acknowledge(number) {
            self.node.on_persist_ready(durable);
            self.advance_applied();
        }
    }

    /// Moves one Ready of the raft crate into an output.
    fn turn(&mut self) -> Output {
        let mut ready = self.node.ready();
        let number = ready.number();
        let snapshot =
            (!ready.snapshot().is_empty()).then(|| convert::snapshot_from_raft(ready.snapshot()));
        if let Some((at, membership)) = &snapshot {
            self.node.mut_store().reset(*at);
            self.membership = membership.clone();
            self.handed_out = at.index;
            self.node.mut_store().set_snapshot(None);
        }
        let entries: Vec<Entry> =
            ready.take_entries().iter().map(convert::entry_from_raft).collect();
        let replaces = self.node.mut_store().append(&entries) || snapshot.is_some();
        let hard_state =
            ready.hs().map(convert::hard_state_from_raft).filter(|state| *state != self.hard_state);
        self.hard_state = hard_state.unwrap_or(self.hard_state);
        let write = Write { number, entries, hard_state, snapshot };
        let (empty, has_hard_state) = (write.is_empty(), write.hard_state.is_some());
        let bytes = write.entries.iter().map(|entry| entry.payload.len()).sum();

        let at_once = outgoing::encode_all(ready.take_messages());
        let after_write = outgoing::encode_all(ready.take_persisted_messages());
        let committed = ready.take_committed_entries();
        let reads = ready.take_read_states();
        self.node.advance_append_async(ready);

        let acknowledged_here = empty && self.writes.is_empty();
        let record = WriteRecord { number, bytes, empty, hard_state: has_hard_state, replaces };
        self.writes.push(record);
        let (mut messages, mut messages_after_write) = (at_once, after_write);
        if acknowledged_here {
            messages.append(&mut messages_after_write);
            self.acknowledge(number);
        } else if self.writes.has_hard_state() {
            messages.append(&mut messages_after_write);
            messages_after_write = std::mem::take(&mut messages);
        }
        Output {
            messages,
            write,
            messages_after_write,
            committed: self.take_committed(committed),
            reads: reads.into_iter().filter_map(own_read(self.node.raft.id)).collect(),
        }
    }
}

impl Core for RaftCore {
    fn tick(&mut self) {
        // An election that may not start now starts as soon as it may.
        let due_but_forbidden = !self.leads()
            && self.node.raft.election_elapsed + 1 >= self.node.raft.randomized_election_timeout()
            && !admission::may_campaign(&self.node);
        if !due_but_forbidden {
            self.node.tick();
        }
        self.timeout.settle(&mut self.node);
    }

    fn step(&mut self, from: NodeId, body: Bytes) -> Result<(), StepError> {
        let message = wire::decode(body)?;
        let appends =
            message.get_msg_type() == MessageType::MsgAppend && !message.entries.is_empty();
        if admission::admit(&self.node, from, &message)? == Admission::Drop
            || (appends && self.writes.bytes() >= MAX_UNDURABLE_BYTES)
        {
            return Ok(());
        }
        if message.get_msg_type() == MessageType::MsgSnapshot {
            self.step_snapshot(message);
        } else {
            self.step_raft(message);
        }
        self.timeout.settle(&mut self.node);
        Ok(())
    }

    fn propose(&mut self, payloads: Vec<Bytes>) -> Result<(), ProposeError> {
        self.may_propose()?;
        if payloads.is_empty() {
            return Ok(());
        }
        let mut message = pb::Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.node.raft.id;
        let entry = |data| pb::Entry { data, ..Default::default() };
        message.set_entries(payloads.into_iter().map(entry).collect());
        // A leader that is not handing over drops proposals for one reason only.
        self.node.step(message).map_err(|_| ProposeError::Overloaded)
    }

    fn proposal_room(&self) -> usize {
        if self.may_propose().is_err() {
            return 0;
        }
        (MAX_UNCOMMITTED_BYTES as usize).saturating_sub(self.node.raft.uncommitted_size())
    }

    fn propose_change(&mut self, change: &MembershipChange) -> Result<(), ProposeError> {
        self.may_propose()?;
        membership::propose(&mut self.node, change);
        Ok(())
    }

    fn read_index(&mut self, context: ReadContext) -> Result<(), ReadRefused> {
        let raft = &self.node.raft;
        match raft.state {
            StateRole::Leader if !raft.commit_to_current_term() => return Err(ReadRefused::NotYet),
            StateRole::Leader => {}
            StateRole::Follower if raft.leader_id != raft::INVALID_ID => {}
            _ => return Err(ReadRefused::NoLeader),
        }
        self.node.read_index(context.to_bytes().to_vec());
        Ok(())
    }

    fn campaign(&mut self) {
        if !self.leads() && admission::may_campaign(&self.node) {
            // The only errors are for proposals.
            let _ = self.node.campaign();
            self.timeout.settle(&mut self.node);
        }
    }

    fn transfer_leader(&mut self, to: NodeId) {
        // A follower of the raft crate would pass the request on; ours go to the leader by the host.
        if self.leads() {
            self.node.transfer_leader(to.0);
        }
    }

    fn report_unreachable(&mut self, peer: NodeId) {
        self.node.report_unreachable(peer.0);
    }

    fn report_snapshot(&mut self, peer: NodeId, delivered: bool) {
        let status = if delivered { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.node.report_snapshot(peer.0, status);
    }

    fn snapshot_message(
        &self,
        to: NodeId,
        at: LogStart,
        membership: &Membership,
    ) -> Option<Message> {
        if !self.leads() {
            return None;
        }
        let mut message = pb::Message::default();
        message.set_msg_type(MessageType::MsgSnapshot);
        message.to = to.0;
        message.from = self.node.raft.id;
        message.term = self.node.raft.term;
        message.set_snapshot(convert::snapshot_to_raft(at, membership));
        Some(wire::encode(&message))
    }

    fn on_persisted(&mut self, number: u64) {
        self.acknowledge(number);
        self.timeout.settle(&mut self.node);
    }

    fn on_applied(&mut self, index: LogIndex) {
        assert!(
            index.0 <= self.node.raft.raft_log.committed,
            "applied {index}, which is not committed"
        );
        self.applied = self.applied.max(index);
        self.advance_applied();
    }

    fn apply_change(&mut self, change: &MembershipChange) -> Membership {
        self.node.mut_store().set_snapshot(None);
        self.membership = membership::apply(&mut self.node, change);
        self.timeout.settle(&mut self.node);
        self.membership.clone()
    }

    fn take_output(&mut self) -> Option<Output> {
        membership::leave_joint_if_due(&mut self.node);
        while self.node.has_ready() {
            let output = self.turn();
            self.timeout.settle(&mut self.node);
            if !is_void(&output) {
                return Some(output);
            }
        }
        None
    }

    fn compact(&mut self, upto: LogIndex) -> Option<LogStart> {
        let upto = upto.min(LogIndex(self.node.raft.raft_log.applied));
        if upto <= self.node.store().start().index {
            return None;
        }
        self.node.mut_store().forget(upto);
        Some(self.node.store().start())
    }

    fn log_bytes(&self) -> usize {
        self.node.store().payload_bytes()
    }

    fn term_at(&self, index: LogIndex) -> Option<Term> {
        let log = &self.node.raft.raft_log;
        if index.0 + 1 < log.first_index() || index.0 > log.last_index() {
            return None;
        }
        log.term(index.0).ok().map(Term)
    }

    fn status(&self) -> CoreStatus {
        let raft = &self.node.raft;
        CoreStatus {
            role: convert::role_from_raft(raft.state),
            term: Term(raft.term),
            leader: NodeId(raft.leader_id),
            commit_index: LogIndex(raft.raft_log.committed),
            applied_index: self.applied,
            last_index: LogIndex(raft.raft_log.last_index()),
            committed_in_term: self.leads() && raft.commit_to_current_term(),
        }
    }

    fn progress(&self) -> Vec<Progress> {
        if !self.leads() {
            return Vec::new();
        }
        let raft = &self.node.raft;
        let mut progress: Vec<Progress> = raft
            .prs()
            .iter()
            .filter(|(id, _)| **id != raft.id)
            .map(|(id, p)| Progress {
                node: NodeId(*id),
                matched: LogIndex(p.matched),
                recently_active: p.recent_active,
            })
            .collect();
        progress.sort_unstable_by_key(|p| p.node);
        progress
    }

    fn check(&self) {
        let raft = &self.node.raft;
        let log = &raft.raft_log;
        let (store, start) = (self.node.store(), self.node.store().start());
        store.check();
        self.writes.check();
        assert!(log.applied <= log.committed, "applied before it was committed");
        assert!(log.applied <= log.persisted, "applied before it was durable");
        assert!(log.committed <= log.last_index(), "committed past the log's end");
        assert!(log.persisted <= log.last_index(), "durable past the log's end");
        assert!(start.index.0 <= log.committed, "the start is not committed");
        assert!(self.applied.0 <= log.committed, "the engine is ahead of the commit");
        assert!(start.index <= self.applied, "the engine is behind the log's start");
        assert!(log.last_term() <= raft.term, "an entry of a term to come");
        assert!(self.hard_state.term.0 <= raft.term, "the term fell");
        assert!(!self.leads() || raft.leader_id == raft.id, "a leader that follows another");
        assert!(!self.leads() || raft.promotable(), "a leader that is no voter");
        assert!(self.membership.all().is_empty() || self.membership.validate().is_ok());
    }
}

/// Reads are matched by their bytes alone: those that are not this node's are not answered here.
fn own_read(node: u64) -> impl Fn(raft::ReadState) -> Option<(ReadContext, LogIndex)> {
    move |state| {
        let context = ReadContext::from_bytes(&Bytes::from(state.request_ctx)).ok()?;
        (context.node.0 == node).then_some((context, LogIndex(state.index)))
    }
}

/// Nothing for the host to do; a bare number is acknowledged with the writes before it.
fn is_void(output: &Output) -> bool {
    output.write.is_empty()
        && output.messages.is_empty()
        && output.messages_after_write.is_empty()
        && output.committed.is_empty()
        && output.reads.is_empty()
}
