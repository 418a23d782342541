//! The node's side of snapshot transfers (`snapshot.rs`): when one starts, goes on, ends, is given up.

use std::time::Duration;

use bytes::Bytes;
use synod_base::{Instant, NodeId};
use synod_state::kv::Kv;
use synod_storage::engine::EngineError;

use crate::effects::StopReason;
use crate::frame::Frame;
use crate::meta::Applied;
use crate::node::{FrameError, Node};
use crate::snapshot::{self, Incoming, Outgoing, StageError, Step};

/// How long the log is kept for a follower that has been sent the whole state and moves it in.
const INSTALL_PATIENCE: Duration = Duration::from_secs(60);

impl Node {
    /// Consensus says that this follower needs the state.
    pub(crate) fn start_snapshot(&mut self, now: Instant, to: NodeId) {
        if self.outgoing.contains_key(&to) {
            return;
        }
        if !self.batch.is_empty() {
            // What was applied in this turn is not in the engine yet; consensus asks again.
            return self.core.report_snapshot(to, false);
        }
        self.installing.remove(&to);
        self.transfers += 1;
        let started = self
            .engine
            .snapshot()
            .map_err(Into::into)
            .and_then(|view| Outgoing::start(now, self.transfers, view));
        match started {
            Ok((outgoing, first)) => {
                self.outgoing.insert(to, outgoing);
                self.send_frame(to, &first);
            }
            Err(error) => self.stop(StopReason::Storage(error.to_string())),
        }
    }

    /// The follower has a piece.
    pub(crate) fn on_snapshot_ack(&mut self, now: Instant, from: NodeId, transfer: u64, next: u64) {
        let Some(outgoing) = self.outgoing.get_mut(&from) else { return };
        match outgoing.on_ack(now, transfer, next) {
            Ok(step) => self.take_step(now, from, step),
            Err(error) => self.stop_on(error),
        }
    }

    /// The follower will not take it (any more).
    pub(crate) fn on_snapshot_refused(&mut self, from: NodeId, transfer: u64) {
        if self.outgoing.get(&from).is_some_and(|outgoing| outgoing.is(transfer)) {
            self.outgoing.remove(&from);
            self.core.report_snapshot(from, false);
        }
    }

    /// Pieces that got no answer go out again.
    pub(crate) fn resend_snapshots(&mut self, now: Instant) {
        let followers: Vec<NodeId> = self.outgoing.keys().copied().collect();
        for to in followers {
            if let Some(outgoing) = self.outgoing.get_mut(&to) {
                let step = outgoing.on_time(now);
                self.take_step(now, to, step);
            }
        }
    }

    /// A piece of a state for this node.
    pub(crate) fn on_snapshot_chunk(
        &mut self,
        from: NodeId,
        transfer: u64,
        sequence: u64,
        body: Bytes,
    ) {
        let same_sender = self.incoming.as_ref().filter(|i| i.from == from);
        if same_sender.is_some_and(|i| transfer < i.transfer) {
            // A late frame of a transfer that its sender has given up.
            return;
        }
        if self.is_full() {
            return self.refuse_for_room(from, transfer);
        }
        let known = self.incoming.as_ref().filter(|i| i.from == from && i.transfer == transfer);
        let next = match known {
            Some(incoming) => incoming.next,
            None if sequence == 0 => {
                self.incoming = None;
                if let Err(error) = snapshot::clear_staging(&*self.engine) {
                    return self.refuse_piece(from, transfer, error);
                }
                self.incoming = Some(Incoming { from, transfer, next: 0, bytes: 0 });
                0
            }
            None => return self.send_frame(from, &Frame::SnapshotRefused { transfer }),
        };
        if sequence > next {
            return;
        }
        if sequence == next {
            let bytes = body.len() as u64;
            match snapshot::stage(&*self.engine, body) {
                Ok(()) => {}
                Err(StageError::Engine(error)) => {
                    return self.refuse_piece(from, transfer, error);
                }
                Err(StageError::Malformed(_)) => {
                    self.incoming = None;
                    return self.send_frame(from, &Frame::SnapshotRefused { transfer });
                }
            }
            if let Some(incoming) = &mut self.incoming {
                incoming.next = next + 1;
                incoming.bytes += bytes;
            }
            self.room_bytes = self.room_bytes.map(|room| room.saturating_sub(bytes));
        }
        self.send_frame(from, &Frame::SnapshotAck { transfer, next: sequence + 1 });
    }

    /// The engine did not take a piece. A full one will have room later: the leader asks again.
    fn refuse_piece(&mut self, from: NodeId, transfer: u64, error: EngineError) {
        self.incoming = None;
        if !matches!(error, EngineError::NoSpace(_)) {
            self.stop_on(error);
        }
        self.send_frame(from, &Frame::SnapshotRefused { transfer });
    }

    /// There is no room, and what has arrived of the state may be what fills the disk.
    fn refuse_for_room(&mut self, from: NodeId, transfer: u64) {
        if self.incoming.take().is_some() {
            match snapshot::clear_staging(&*self.engine) {
                Ok(()) | Err(EngineError::NoSpace(_)) => {}
                Err(error) => self.stop_on(error),
            }
        }
        self.send_frame(from, &Frame::SnapshotRefused { transfer });
    }

    /// Everything has arrived: the state is moved in, then consensus hears of it.
    pub(crate) fn on_snapshot_end(
        &mut self,
        from: NodeId,
        transfer: u64,
        sequence: u64,
        message: Bytes,
    ) -> Result<(), FrameError> {
        let complete = self
            .incoming
            .as_ref()
            .filter(|i| i.from == from && i.transfer == transfer && i.next == sequence);
        if let Some(incoming) = complete
            && self.room_bytes.is_some_and(|room| room < incoming.bytes)
        {
            // Once the old state is gone there is no way back; so before.
            self.refuse_for_room(from, transfer);
            return Ok(());
        }
        if complete.is_none() || !self.batch.is_empty() {
            self.send_frame(from, &Frame::SnapshotRefused { transfer });
            return Ok(());
        }
        self.incoming = None;
        let position = match snapshot::staged_position(&*self.engine) {
            Ok(Some(position)) if position.index > self.core.status().commit_index => position,
            Ok(_) => {
                self.send_frame(from, &Frame::SnapshotRefused { transfer });
                return Ok(());
            }
            Err(error) => {
                self.stop(StopReason::Storage(error.to_string()));
                return Ok(());
            }
        };
        self.move_in(from, position, message)
    }

    /// Reads everything anew from the engine.
    pub(crate) fn reopen(&mut self) {
        match Applied::load(&*self.engine) {
            Ok(applied) => self.applied = applied,
            Err(error) => return self.stop(StopReason::Storage(error.to_string())),
        }
        match Kv::open(self.engine.clone()) {
            Ok(kv) => self.kv = kv,
            Err(error) => return self.stop(StopReason::Storage(error.to_string())),
        }
        self.hub.on_store_replaced(self.kv.revision());
        self.members_changed = true;
    }

    fn take_step(&mut self, now: Instant, to: NodeId, step: Step) {
        match step {
            Step::Wait => {}
            Step::Send(frame) => self.send_frame(to, &frame),
            Step::Complete => self.end_snapshot(now, to),
            Step::GivenUp => {
                self.outgoing.remove(&to);
                self.core.report_snapshot(to, false);
            }
        }
    }

    /// Every piece has arrived: now the consensus message. Whether it arrives, and is taken, shows in the
    /// follower's next answer to consensus.
    fn end_snapshot(&mut self, now: Instant, to: NodeId) {
        let Some(mut outgoing) = self.outgoing.remove(&to) else { return };
        match self.core.snapshot_message(to, outgoing.at, &outgoing.membership) {
            Some(message) => {
                let end = outgoing.end(message.body);
                self.send_frame(to, &end);
                self.installing.insert(to, (outgoing.at.index, now + INSTALL_PATIENCE));
                self.core.report_snapshot(to, true);
            }
            None => self.core.report_snapshot(to, false),
        }
    }
}
