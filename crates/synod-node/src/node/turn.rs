//! One turn, step by step, in the only order that is right: time, what changed hands, what is to be
//! proposed, everything consensus asks for, the engine, and at last the answers.

use std::time::Duration;

use synod_base::{Instant, NodeId};
use synod_consensus::{MessageKind, Role};
use synod_storage::engine::EngineError;
use synod_storage::wal::LogRecord;

use super::{Node, View};
use crate::effects::{Effects, LogBatch, StopReason};
use crate::frame::{COORDINATION, Frame};

/// Ticks made up for at most after a pause; more would only start needless elections.
const MAX_TICKS_PER_TURN: u32 = 10;

/// Keys looked at per turn while compacted history is being removed.
const SCRUB_KEYS_PER_TURN: usize = 512;

/// How long a full engine is left alone before it is tried again.
const ENGINE_RETRY_AFTER: Duration = Duration::from_millis(100);

/// How often a node looks whether the others know its name and addresses.
const PUBLICATION_INTERVAL: Duration = Duration::from_secs(1);

impl Node {
    pub(super) fn run(&mut self, now: Instant, effects: &mut Effects) {
        self.latest = now;
        self.tick(now);
        self.watch_view(now);
        self.watch_log(now);
        self.expire_leases(now);
        self.pursue_removal();
        self.yield_when_full(now);
        self.propose(now);
        self.start_read_round(now);
        self.ask_about_leases(now);
        self.obey_consensus(now, effects);
        self.write_engine(now);
        self.watch_view(now);
        self.finish_reads(now);
        self.step_hash();
        self.answer_overdue(now);
        self.resend_snapshots(now);
        self.compact_log(effects);
        let header = self.header();
        if let Err(error) = self.hub.turn(now, header, &self.kv, &mut self.deliveries) {
            self.stop_on(error);
        }
    }

    fn tick(&mut self, now: Instant) {
        let mut ticks = 0;
        while self.next_tick <= now {
            self.next_tick = self.next_tick + self.config.timing.tick;
            ticks += 1;
            if ticks <= MAX_TICKS_PER_TURN {
                self.core.tick();
            } else if ticks > 10 * MAX_TICKS_PER_TURN {
                // A long pause: count from here.
                self.next_tick = now + self.config.timing.tick;
            }
        }
    }

    /// Notices a change of term, leader or role, and what is lost with the old one.
    fn watch_view(&mut self, now: Instant) {
        let status = self.core.status();
        let view = View { term: status.term, leader: status.leader, role: status.role };
        if view != self.view {
            let same_leadership = view.term == self.view.term && view.leader == self.view.leader;
            if !same_leadership {
                self.lease_clock.forget_holds();
                for (token, error) in self.proposals.on_leadership_change() {
                    self.reply(token, Err(error));
                }
                self.barrier.on_term_change();
                self.questions.on_leadership_change();
            }
            if view.role != Role::Leader {
                self.leading = None;
                self.lease_clock.clear();
                self.outgoing.clear();
                self.installing.clear();
            }
            if view.term != self.view.term {
                self.duplicates.clear();
                self.change_in_progress = None;
            }
            self.view = view;
        }
        self.finish_moves();
        let leads = view.role == Role::Leader && self.applied.position.term == view.term;
        if leads && self.leading != Some(view.term) {
            self.leading = Some(view.term);
            let leases = self.kv.leases().map(|(id, lease)| (id, lease.ttl_seconds));
            self.lease_clock.restart(now, leases);
        }
        // A node that joins waits for nothing once it has been brought up to its own membership.
        let is_member = self.applied.members.contains_key(&self.config.node);
        if is_member && view.leader != NodeId::NONE && self.next_publication <= now {
            self.next_publication = now + PUBLICATION_INTERVAL;
            self.publish_attributes();
        }
    }

    fn expire_leases(&mut self, now: Instant) {
        if self.leading.is_some() && !self.log_stuck {
            for id in self.lease_clock.expired(now) {
                self.proposals.push_expiry(id);
            }
        }
    }

    fn start_read_round(&mut self, now: Instant) {
        let core = &mut self.core;
        self.barrier.start_round(now, |context| core.read_index(context).is_ok());
    }

    /// Takes what consensus wants done, until it wants nothing.
    fn obey_consensus(&mut self, now: Instant, effects: &mut Effects) {
        let mut records = Vec::new();
        let mut send_after = Vec::new();
        let mut last_write = None;
        records.extend(self.forgotten.take());
        while let Some(output) = self.core.take_output() {
            for message in output.messages {
                match message.kind {
                    MessageKind::Ordinary => {
                        let frame = Frame::Consensus(message.body);
                        self.send_frame(message.to, &frame);
                    }
                    MessageKind::Snapshot { .. } => self.start_snapshot(now, message.to),
                }
            }
            if let Some((start, _)) = output.write.snapshot {
                self.log_start = start.index;
                records.push(LogRecord::Start { group: COORDINATION, start });
            }
            if let Some(state) = output.write.hard_state {
                records.push(LogRecord::HardState { group: COORDINATION, state });
            }
            if !output.write.entries.is_empty() {
                let entries = output.write.entries;
                records.push(LogRecord::Entries { group: COORDINATION, entries });
            }
            last_write = Some(output.write.number);
            send_after.extend(
                output
                    .messages_after_write
                    .into_iter()
                    .map(|message| (message.to, Frame::Consensus(message.body).encode())),
            );
            self.apply(now, output.committed);
            for (context, index) in output.reads {
                self.barrier.on_answer(context, index);
            }
            if self.stopped.is_some() {
                return;
            }
        }
        // Frames that wait for an earlier batch wait behind it in order, also without a record of their own.
        if records.is_empty() && send_after.is_empty() {
            return;
        }
        let number = self.next_log_number();
        if let Some(core_number) = last_write {
            self.writes.push_back((number, core_number, now));
        }
        effects.log.push(LogBatch { number, records, send_after });
    }

    /// Writes what was applied to the engine, in one batch.
    fn write_engine(&mut self, now: Instant) {
        if self.stopped.as_ref().is_some_and(|reason| *reason != StopReason::Removed) {
            // The batch is half made, and its position that of what was not applied.
            return;
        }
        if self.kv.needs_scrub()
            && self.engine_retry.is_none()
            && let Err(error) = self.kv.scrub(SCRUB_KEYS_PER_TURN, &mut self.batch)
        {
            return self.stop_on(error);
        }
        if self.engine_retry.is_some_and(|at| now < at) {
            return;
        }
        if std::mem::take(&mut self.position_moved) {
            self.applied.save_position(&mut self.batch);
        }
        if self.batch.is_empty() {
            self.engine_retry = None;
            return self.persist_if_needed(now);
        }
        // A full engine leaves nothing of the batch behind, so it can be offered again.
        match self.engine.write(self.batch.clone()) {
            Ok(()) => {
                self.batch.ops.clear();
                self.engine_retry = None;
                self.kv.on_committed();
                self.persist_if_needed(now);
            }
            Err(EngineError::NoSpace(_)) => self.engine_retry = Some(now + ENGINE_RETRY_AFTER),
            Err(error) => self.stop_on(error),
        }
    }

    fn persist_if_needed(&mut self, now: Instant) {
        if !self.persist_now {
            return;
        }
        match self.engine.persist() {
            Ok(()) => self.persist_now = false,
            Err(EngineError::NoSpace(_)) => self.engine_retry = Some(now + ENGINE_RETRY_AFTER),
            Err(error) => self.stop_on(error),
        }
    }
}
