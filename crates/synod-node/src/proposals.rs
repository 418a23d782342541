//! Writes under way: queued until there is a leader, then proposed or forwarded, then waited for until
//! their entry is applied here.
//!
//! A write that was never sent anywhere did not happen (`NoLeader`). One that was sent and whose
//! leader is gone may have happened (`LeaderChanged`), as may one without an answer (`TimedOut`). None
//! is ever sent twice.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use synod_base::limits::{MAX_ENTRY_BYTES, MAX_WAITING_PROPOSALS};
use synod_base::{Instant, LeaseId, NodeId, ProposalId, Term};
use synod_consensus::{ProposeError, Role};
use synod_state::kv::Command;

use crate::frame::Frame;
use crate::item::{self, Item};
use crate::node::Node;
use crate::queue::{ITEM_OVERHEAD_BYTES, Queue, Queued, Source};
use crate::request::{RequestError, RequestToken};

/// Bytes of items that wait to be proposed or forwarded; a write more is refused as overload.
const MAX_QUEUED_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of items per forwarded frame.
const FORWARD_FRAME_BYTES: usize = MAX_ENTRY_BYTES;

#[derive(Debug)]
struct Waiter {
    token: RequestToken,
    deadline: Instant,
}

/// All proposals of one node that are not finished.
#[derive(Debug)]
pub struct Proposals {
    node: NodeId,
    start_number: u32,
    counter: u64,
    queue: Queue,
    /// Clients' proposals by counter; deadlines ascend with it.
    waiting: BTreeMap<u64, Waiter>,
    /// Own proposals up to this counter have been proposed or forwarded.
    sent_through: u64,
}

impl Proposals {
    /// None yet.
    #[must_use]
    pub fn new(node: NodeId, start_number: u32) -> Self {
        Proposals {
            node,
            start_number,
            counter: 0,
            queue: Queue::default(),
            waiting: BTreeMap::new(),
            sent_through: 0,
        }
    }

    /// A client's write; `grants` names the lease if it is a grant.
    pub fn push(
        &mut self,
        token: RequestToken,
        deadline: Instant,
        item: Bytes,
        grants: Option<LeaseId>,
    ) -> Result<(), RequestError> {
        if self.waiting.len() >= MAX_WAITING_PROPOSALS || !self.has_room_for(&item) {
            return Err(RequestError::Overloaded);
        }
        let id = self.next_id();
        self.waiting.insert(id.counter, Waiter { token, deadline });
        self.queue.push(Queued { id, item, source: Source::Own, grants });
        Ok(())
    }

    /// The node's own, nobody waits for it.
    pub fn push_own(&mut self, item: Bytes) {
        let id = self.next_id();
        self.queue.push(Queued { id, item, source: Source::Own, grants: None });
    }

    /// A lease's time is over.
    pub fn push_expiry(&mut self, lease: LeaseId) {
        let id = self.next_id();
        let item = Item::Kv(Command::LeaseRevoke { id: lease }).encode();
        self.queue.push(Queued { id, item, source: Source::Expiry, grants: None });
    }

    /// A follower's, for this leader in this term.
    pub fn push_forwarded(
        &mut self,
        id: ProposalId,
        item: Bytes,
        grants: Option<LeaseId>,
    ) -> Result<(), RequestError> {
        if self.queue.len() >= MAX_WAITING_PROPOSALS || !self.has_room_for(&item) {
            return Err(RequestError::Overloaded);
        }
        self.queue.push(Queued { id, item, source: Source::Forwarded, grants });
        Ok(())
    }

    /// A client's membership change: waits like a write, but its entry is made elsewhere.
    pub fn wait_for_change(
        &mut self,
        token: RequestToken,
        deadline: Instant,
    ) -> Result<ProposalId, RequestError> {
        if self.waiting.len() >= MAX_WAITING_PROPOSALS {
            return Err(RequestError::Overloaded);
        }
        let id = self.next_id();
        self.waiting.insert(id.counter, Waiter { token, deadline });
        Ok(id)
    }

    /// A membership change has been proposed.
    pub fn change_sent(&mut self, id: ProposalId) {
        self.mark_sent(std::iter::once(id));
    }

    /// The entry with this proposal was applied: who waits for it here.
    pub fn finish(&mut self, id: ProposalId) -> Option<RequestToken> {
        if id.node != self.node || id.start_number != self.start_number {
            return None;
        }
        self.waiting.remove(&id.counter).map(|waiter| waiter.token)
    }

    /// The leader or the term changed: everything sent is uncertain.
    pub fn on_leadership_change(&mut self) -> Vec<(RequestToken, RequestError)> {
        self.queue.retain(|queued| queued.source == Source::Own);
        let unsent = self.waiting.split_off(&(self.sent_through + 1));
        let sent = std::mem::replace(&mut self.waiting, unsent);
        sent.into_values().map(|waiter| (waiter.token, RequestError::LeaderChanged)).collect()
    }

    /// Writes whose time is over.
    pub fn take_overdue(&mut self, now: Instant) -> Vec<(RequestToken, RequestError)> {
        let mut overdue = Vec::new();
        let mut unsent = BTreeSet::new();
        while let Some(first) = self.waiting.first_entry() {
            if first.get().deadline > now {
                break;
            }
            let (counter, waiter) = first.remove_entry();
            if counter <= self.sent_through {
                overdue.push((waiter.token, RequestError::TimedOut));
            } else {
                unsent.insert(counter);
                overdue.push((waiter.token, RequestError::NoLeader));
            }
        }
        if !unsent.is_empty() {
            self.queue.retain(|q| q.source != Source::Own || !unsent.contains(&q.id.counter));
        }
        overdue
    }

    /// Everybody who waits; the node stops.
    pub fn take_all(&mut self) -> Vec<RequestToken> {
        self.queue = Queue::default();
        std::mem::take(&mut self.waiting).into_values().map(|waiter| waiter.token).collect()
    }

    fn has_room_for(&self, item: &Bytes) -> bool {
        self.queue.bytes() + item.len() <= MAX_QUEUED_BYTES
    }

    fn next_id(&mut self) -> ProposalId {
        self.counter += 1;
        ProposalId { node: self.node, start_number: self.start_number, counter: self.counter }
    }

    /// Expiries are not counted: they overtake.
    fn mark_queued_sent(&mut self, taken: &[Queued]) {
        self.mark_sent(taken.iter().filter(|q| q.source != Source::Expiry).map(|q| q.id));
    }

    fn mark_sent(&mut self, ids: impl Iterator<Item = ProposalId>) {
        for id in ids {
            if id.node == self.node && id.start_number == self.start_number {
                self.sent_through = self.sent_through.max(id.counter);
            }
        }
    }
}

impl Node {
    /// Proposes or forwards what is queued.
    pub(crate) fn propose(&mut self, _now: Instant) {
        if self.proposals.queue.is_empty() {
            return;
        }
        if self.view.role == Role::Leader {
            self.propose_here();
        } else if self.view.leader != NodeId::NONE && self.view.leader != self.config.node {
            self.forward_to(self.view.leader);
        }
    }

    /// Proposals that a follower forwarded.
    pub(crate) fn on_forwarded(
        &mut self,
        from: NodeId,
        term: Term,
        items: Vec<(ProposalId, Bytes)>,
    ) {
        if self.view.role != Role::Leader || term != self.view.term {
            return;
        }
        let mut refused = Vec::new();
        for (id, bytes) in items {
            // What does not decode must never become an entry: every replica would stop on it.
            let Ok(item) = Item::decode(bytes.clone()) else { continue };
            if !self.duplicates.first_time(id) {
                continue;
            }
            let taken = match item {
                Item::Change(op) => self.propose_change(id, op),
                Item::Kv(command) if self.is_full() && !makes_room(&command) => {
                    Err(RequestError::DiskFull)
                }
                Item::Kv(command) => {
                    self.proposals.push_forwarded(id, bytes, granted_lease(&command))
                }
                _ => self.proposals.push_forwarded(id, bytes, None),
            };
            if let Err(error) = taken {
                refused.push((id, error));
            }
        }
        if !refused.is_empty() {
            self.send_frame(from, &Frame::Refuse { items: refused });
        }
    }

    /// The leader did not take these proposals of this node, and never will.
    pub(crate) fn on_refused(&mut self, items: Vec<(ProposalId, RequestError)>) {
        for (id, error) in items {
            if let Some(token) = self.proposals.finish(id) {
                self.reply(token, Err(error));
            }
        }
    }

    fn propose_here(&mut self) {
        // The rest stays as it is: what is made into payloads is proposed.
        let taken = self.proposals.queue.take_front(self.core.proposal_room());
        if taken.is_empty() {
            return;
        }
        let items: Vec<_> = taken.iter().map(|q| (q.id, q.item.clone())).collect();
        match self.core.propose(item::pack(&items)) {
            Ok(()) => {
                self.proposals.mark_queued_sent(&taken);
                for queued in taken {
                    if let Some(lease) = queued.grants {
                        self.lease_clock.hold(lease, queued.id);
                    }
                }
            }
            // They were appended nowhere: another turn, another leader, or their deadline.
            Err(
                ProposeError::Overloaded | ProposeError::Transferring | ProposeError::NotLeader,
            ) => self.proposals.queue.put_back(taken),
        }
    }

    fn forward_to(&mut self, leader: NodeId) {
        let term = self.view.term;
        let taken = self.proposals.queue.take_front(usize::MAX);
        self.proposals.mark_queued_sent(&taken);
        let mut items = Vec::new();
        let mut bytes = 0;
        for queued in taken {
            if bytes + queued.item.len() > FORWARD_FRAME_BYTES && !items.is_empty() {
                let items = std::mem::take(&mut items);
                self.send_frame(leader, &Frame::Propose { term, items });
                bytes = 0;
            }
            bytes += queued.item.len() + ITEM_OVERHEAD_BYTES;
            items.push((queued.id, queued.item));
        }
        self.send_frame(leader, &Frame::Propose { term, items });
    }

    /// Sends proposals to the leader of `term`.
    pub(crate) fn forward(&mut self, leader: NodeId, term: Term, items: Vec<(ProposalId, Bytes)>) {
        self.proposals.mark_sent(items.iter().map(|(id, _)| *id));
        self.send_frame(leader, &Frame::Propose { term, items });
    }
}

/// The lease that a command grants.
pub(crate) fn granted_lease(command: &Command) -> Option<LeaseId> {
    match command {
        Command::LeaseGrant { id, .. } => Some(*id),
        _ => None,
    }
}

/// A full disk still takes what makes room, as etcd does.
pub(crate) fn makes_room(command: &Command) -> bool {
    matches!(
        command,
        Command::DeleteRange(_) | Command::Compact { .. } | Command::LeaseRevoke { .. }
    )
}
