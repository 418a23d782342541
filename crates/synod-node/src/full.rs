//! What a node without room does, besides refusing writes (`proposals.rs`, `requests.rs`): a leader hands
//! leadership on, because a cluster writes only as long as its leader can.
//!
//! The leader does not know who else is full. So it goes round: to the next voter that is alive and keeps
//! up, by id. Where all are full, each has led once after a few seconds, and then rests for a long time:
//! leadership does not wander. A member whose log finds no room answers nothing, so it is not alive here.
//!
//! While the leader's own log is stuck the others commit without it, but it applies nothing and so can
//! answer no renewal. The leases' time does not count then.

use std::time::Duration;

use synod_base::{Instant, NodeId};
use synod_consensus::Role;

use crate::node::Node;

/// A disk may find room again by itself: so long a leader waits for it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Between attempts: one that leads to nothing ends after an election timeout.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// A node that has handed leadership on and leads again, still full, keeps it for so long.
const REST: Duration = Duration::from_secs(600);

/// What is remembered of handing leadership on, until there is room.
#[derive(Debug, Default)]
pub(crate) struct Yielding {
    /// Leads and is full since then.
    since: Option<Instant>,
    /// Not (again) before.
    not_before: Instant,
    /// Who was asked to lead last, in this term of leadership.
    asked: Option<NodeId>,
}

impl Node {
    /// Whether the disk or the engine refuses writes now.
    pub(crate) fn is_full(&self) -> bool {
        self.disk_full || self.engine_retry.is_some() || self.is_moving_in()
    }

    /// Hands leadership on when there has been no room for a while.
    pub(crate) fn yield_when_full(&mut self, now: Instant) {
        if !self.is_full() {
            self.yielding = Yielding::default();
            return;
        }
        if self.view.role != Role::Leader {
            if self.yielding.asked.take().is_some() {
                self.yielding.not_before = now + REST;
            }
            self.yielding.since = None;
            return;
        }
        let since = *self.yielding.since.get_or_insert(now);
        if now < since + PATIENCE || now < self.yielding.not_before {
            return;
        }
        if let Some(heir) = self.next_heir() {
            self.yielding.asked = Some(heir);
            self.yielding.not_before = now + TRY_AGAIN_AFTER;
            self.core.transfer_leader(heir);
        }
    }

    /// The next voter in the round that is alive and has everything that is committed.
    fn next_heir(&self) -> Option<NodeId> {
        let committed = self.core.status().commit_index;
        let mut heirs = self.core.progress();
        heirs.retain(|p| {
            self.applied.membership.voters.contains(&p.node)
                && p.matched >= committed
                && self.is_alive(p.node)
        });
        let after = self.yielding.asked.unwrap_or(self.config.node);
        let next = heirs.iter().find(|p| p.node > after).or(heirs.first());
        next.map(|p| p.node)
    }

    /// Whether a write to the log has been under way for so long that it must have found no room. When the
    /// log is free again, every lease gets its whole time: nobody could renew it meanwhile.
    pub(crate) fn watch_log(&mut self, now: Instant) {
        let patience = self.config.timing.tick * self.config.timing.election_ticks;
        let stuck = self.oldest_write().is_some_and(|since| since + patience <= now);
        if std::mem::replace(&mut self.log_stuck, stuck) && !stuck && self.leading.is_some() {
            for (id, lease) in self.kv.leases() {
                self.lease_clock.start(now, id, lease.ttl_seconds);
            }
        }
    }
}
