//! How much log a node keeps: when older entries are forgotten, and for whom they are kept longer.
//!
//! Invariant: nothing is forgotten before the engine holds it durably.

use synod_base::{LogIndex, NodeId};
use synod_storage::wal::LogRecord;

use crate::effects::Effects;
use crate::frame::COORDINATION;
use crate::node::Node;

/// So many times its limit the log may grow for the sake of followers that are alive but behind.
const LAGGING_LOG_LIMITS: usize = 4;

/// So many times, for those that are sent the whole state, until they have caught up after it: forgotten
/// sooner, they would need it again, and under load never catch up. The log is in memory, so there is a
/// limit also for them.
const INSTALLING_LOG_LIMITS: usize = 16;

impl Node {
    /// The engine is durable as of the ticket's time.
    pub fn on_engine_persisted(&mut self, ticket: u64) {
        let Some((expected, applied)) = self.persisting else { return };
        if expected != ticket {
            return;
        }
        self.persisting = None;
        if let Some(upto) = self.forgettable(applied)
            && let Some(start) = self.core.compact(upto)
        {
            self.log_start = start.index;
            self.forgotten = Some(LogRecord::Start { group: COORDINATION, start });
        }
    }

    /// Asks for a durable engine once the log has grown enough to forget a part of it.
    pub(crate) fn compact_log(&mut self, effects: &mut Effects) {
        self.forget_caught_up();
        let limit = self.config.log_retention.compact_above_bytes;
        if self.persisting.is_some() || !self.batch.is_empty() || self.core.log_bytes() <= limit {
            return;
        }
        let applied = self.applied.position.index;
        if self.forgettable(applied).is_some() {
            self.persist_tickets += 1;
            self.persisting = Some((self.persist_tickets, applied));
            effects.persist_engine = Some(self.persist_tickets);
        }
    }

    /// Up to where the log may be forgotten once the engine is durable at `applied`: three quarters of
    /// it, but, while the log is not far over its limit, nothing that a live follower still needs: it
    /// would be sent the whole state instead, and under load be too late again when it has it. `None` if
    /// that is too little to be worth a durable engine.
    fn forgettable(&self, applied: LogIndex) -> Option<LogIndex> {
        let first = self.log_start.0;
        let count = applied.0.saturating_sub(first);
        let mut upto = first + count * 3 / 4;
        let limit = self.config.log_retention.compact_above_bytes;
        let bytes = self.core.log_bytes();
        if bytes <= limit.saturating_mul(LAGGING_LOG_LIMITS) {
            let progress = self.core.progress();
            let alive = progress.iter().filter(|p| self.is_alive(p.node)).map(|p| p.matched);
            let reachable = alive.filter(|matched| *matched >= self.log_start);
            upto = reachable.map(|index| index.0).fold(upto, u64::min);
        }
        if bytes <= limit.saturating_mul(INSTALLING_LOG_LIMITS) {
            let sending = self.outgoing.values().map(|outgoing| outgoing.at.index);
            let needed = sending.chain(self.needed_after_the_state());
            upto = needed.map(|index| index.0).fold(upto, u64::min);
        }
        let gain = upto.saturating_sub(first);
        (gain > 0 && gain * 8 >= count).then_some(LogIndex(upto))
    }

    /// From where on each follower that was sent the state needs the log: it may still move in, or has
    /// done so and is alive.
    fn needed_after_the_state(&self) -> Vec<LogIndex> {
        if self.installing.is_empty() {
            return Vec::new();
        }
        let progress = self.core.progress();
        let needed = self.installing.iter().filter_map(|(node, (index, until))| {
            let matched = progress.iter().find(|p| p.node == *node).map(|p| p.matched);
            match matched.filter(|matched| matched >= index) {
                Some(matched) => self.is_alive(*node).then_some(matched),
                None => (self.latest < *until).then_some(*index),
            }
        });
        needed.collect()
    }

    /// A follower that stands where nothing is forgotten anyway is like any other from then on.
    fn forget_caught_up(&mut self) {
        if self.installing.is_empty() {
            return;
        }
        let first = self.log_start.0;
        let recent = first + (self.applied.position.index.0.saturating_sub(first)) * 3 / 4;
        let progress = self.core.progress();
        let caught_up = |node: NodeId, index: LogIndex| {
            let matched = progress.iter().find(|p| p.node == node).map_or(0, |p| p.matched.0);
            matched >= index.0.max(recent)
        };
        self.installing.retain(|node, (index, _)| !caught_up(*node, *index));
    }

    /// Whether a member is this one, or was heard of within an election timeout.
    pub(crate) fn is_alive(&self, node: NodeId) -> bool {
        let timeout = self.config.timing.tick * self.config.timing.election_ticks;
        let heard = self.heard.get(&node);
        node == self.config.node || heard.is_some_and(|at| *at + timeout >= self.latest)
    }
}
