//! The lease clock: when each lease runs out. Only the leader has one, over its own monotonic time.
//!
//! Invariants: a lease never expires before its granted time has passed since the last renewal that was
//! answered; a new leader starts every lease in full (`restart`), because what its predecessor answered
//! is not known; an expired lease is reported once, and stays expired until its replicated revoke has
//! removed it. Once is enough: a leader never loses a proposal while it leads, and twice would be wrong,
//! because the second revoke could hit a later lease of the same id. For the same reason a lease is not
//! reported while a grant of its id is in the log and not yet applied: behind that grant the revoke
//! would hit the new lease. Renewals are answered after a read barrier (`reads.rs`): a leader that was
//! deposed without knowing it cannot promise time that its successor does not grant.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use synod_base::{Instant, LeaseId, ProposalId};

/// Leases reported as expired in one turn at most.
const MAX_EXPIRED_PER_TURN: usize = 256;

/// Deadlines of all leases.
#[derive(Debug, Default)]
pub struct LeaseClock {
    deadline: BTreeMap<LeaseId, Instant>,
    /// The same, by time; without the leases that were reported or are held.
    queue: BTreeSet<(Instant, LeaseId)>,
    /// Reported as expired; their revoke is under way.
    reported: BTreeSet<LeaseId>,
    /// Grants that this leader has put into its log and not yet seen applied.
    held: BTreeMap<LeaseId, BTreeSet<ProposalId>>,
}

impl LeaseClock {
    /// Gives the lease its whole time from `now` on. A lease that was already reported as expired stays
    /// expired (its revoke is under way): returns false.
    pub fn start(&mut self, now: Instant, id: LeaseId, ttl_seconds: i64) -> bool {
        if self.reported.contains(&id) {
            return false;
        }
        let deadline = now + Duration::from_secs(ttl_seconds.max(0).unsigned_abs());
        if let Some(old) = self.deadline.insert(id, deadline) {
            self.queue.remove(&(old, id));
        }
        self.enqueue(id);
        true
    }

    /// A grant of this id is in the log: until it is applied the lease does not expire.
    pub fn hold(&mut self, id: LeaseId, grant: ProposalId) {
        self.held.entry(id).or_default().insert(grant);
        if let Some(deadline) = self.deadline.get(&id) {
            self.queue.remove(&(*deadline, id));
        }
    }

    /// The grant was applied, whatever came of it.
    pub fn release(&mut self, id: LeaseId, grant: ProposalId) {
        let Some(grants) = self.held.get_mut(&id) else { return };
        grants.remove(&grant);
        if grants.is_empty() {
            self.held.remove(&id);
            self.enqueue(id);
        }
    }

    /// Another leader, or another term: what was in the log may never be applied.
    pub fn forget_holds(&mut self) {
        for id in std::mem::take(&mut self.held).into_keys() {
            self.enqueue(id);
        }
    }

    /// The lease is gone.
    pub fn remove(&mut self, id: LeaseId) {
        if let Some(deadline) = self.deadline.remove(&id) {
            self.reported.remove(&id);
            self.queue.remove(&(deadline, id));
        }
    }

    /// A new leader: every lease starts in full. What it has proposed already stays held.
    pub fn restart(&mut self, now: Instant, leases: impl Iterator<Item = (LeaseId, i64)>) {
        self.clear();
        for (id, ttl_seconds) in leases {
            self.start(now, id, ttl_seconds);
        }
    }

    /// No longer leader.
    pub fn clear(&mut self) {
        let held = std::mem::take(&mut self.held);
        *self = LeaseClock { held, ..LeaseClock::default() };
    }

    /// Leases whose time is over: revoke them.
    pub fn expired(&mut self, now: Instant) -> Vec<LeaseId> {
        let mut expired = Vec::new();
        while expired.len() < MAX_EXPIRED_PER_TURN {
            match self.queue.first() {
                Some(&(at, id)) if at <= now => {
                    self.queue.remove(&(at, id));
                    self.reported.insert(id);
                    expired.push(id);
                }
                _ => break,
            }
        }
        expired
    }

    /// Whole seconds left, rounded down; `None` for a lease this clock does not know.
    #[must_use]
    pub fn remaining_seconds(&self, now: Instant, id: LeaseId) -> Option<i64> {
        let deadline = *self.deadline.get(&id)?;
        Some(i64::try_from(deadline.saturating_since(now).as_secs()).unwrap_or(i64::MAX))
    }

    /// When to look again.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.queue.first().map(|&(at, _)| at)
    }

    fn enqueue(&mut self, id: LeaseId) {
        if let Some(deadline) = self.deadline.get(&id)
            && !self.held.contains_key(&id)
            && !self.reported.contains(&id)
        {
            self.queue.insert((*deadline, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_base::NodeId;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_expires_when_its_time_has_passed_and_not_before() {
        let mut clock = LeaseClock::default();
        clock.start(at(0), LeaseId(1), 10);
        assert!(clock.expired(at(9)).is_empty());
        assert_eq!(clock.remaining_seconds(at(9), LeaseId(1)), Some(1));
        assert_eq!(clock.expired(at(10)), vec![LeaseId(1)]);
    }

    #[test]
    fn a_renewal_moves_the_deadline() {
        let mut clock = LeaseClock::default();
        clock.start(at(0), LeaseId(1), 10);
        assert!(clock.start(at(9), LeaseId(1), 10));
        assert!(clock.expired(at(18)).is_empty());
        assert_eq!(clock.expired(at(19)), vec![LeaseId(1)]);
    }

    #[test]
    fn an_expired_lease_is_reported_once_and_cannot_be_renewed() {
        let mut clock = LeaseClock::default();
        clock.start(at(0), LeaseId(1), 1);
        assert_eq!(clock.expired(at(1)), vec![LeaseId(1)]);
        assert!(clock.expired(at(1)).is_empty());
        assert!(!clock.start(at(1), LeaseId(1), 1));
        assert!(clock.expired(at(99)).is_empty());
        clock.remove(LeaseId(1));
        assert_eq!(clock.next_deadline(), None);
        assert!(clock.start(at(2), LeaseId(1), 1), "the id is free again");
    }

    #[test]
    fn a_lease_waits_for_every_grant_of_its_id_in_the_log_and_then_expires() {
        let grant = |counter| ProposalId { node: NodeId(1), start_number: 1, counter };
        let mut clock = LeaseClock::default();
        clock.hold(LeaseId(1), grant(1));
        clock.start(at(0), LeaseId(1), 1);
        clock.hold(LeaseId(1), grant(2));
        clock.release(LeaseId(1), grant(9));
        clock.release(LeaseId(1), grant(1));
        assert!(clock.expired(at(5)).is_empty());
        assert_eq!(clock.next_deadline(), None, "nothing to wake for");
        // The second was refused, so the old lease is still the one.
        clock.release(LeaseId(1), grant(2));
        assert_eq!(clock.expired(at(5)), vec![LeaseId(1)]);
        clock.hold(LeaseId(1), grant(3));
        clock.forget_holds();
        assert!(clock.expired(at(9)).is_empty(), "reported once");
    }
}
