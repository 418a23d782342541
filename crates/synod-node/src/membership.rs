//! Who takes part: asking for a change, proposing it, applying it.
//!
//! A change is checked twice: by the node that was asked, behind nothing but its own state, so that the
//! client gets a precise error, and by the leader when it makes the entry. The leader proposes one
//! change at a time, so what it checked is what every replica applies.

use bytes::Bytes;
use synod_base::{Decoder, Encoder, Entry, Instant, NodeId, ProposalId};
use synod_consensus::{MemberChange, MembershipChange, Role};

use crate::effects::StopReason;
use crate::frame::{Frame, decode_proposal_id, encode_proposal_id};
use crate::item::{ChangeOp, Item};
use crate::member::{Member, host_and_port};
use crate::node::Node;
use crate::request::{Request, RequestError, RequestToken, Response};

/// A learner may be promoted once it has this share of the leader's log (etcd's rule: 90 %).
const LEARNER_READY_PERCENT: u64 = 90;

/// Clients that wait for leadership to move; one more is refused.
const MAX_WAITING_MOVES: usize = 64;

/// A client waits until `to` leads.
#[derive(Debug)]
pub(crate) struct Move {
    pub token: RequestToken,
    pub to: NodeId,
    pub deadline: Instant,
}

impl Node {
    /// A client wants to change who takes part, or who leads.
    pub(crate) fn change_members(
        &mut self,
        deadline: Instant,
        token: RequestToken,
        request: Request,
    ) -> Result<(), RequestError> {
        let op = match request {
            Request::MemberAdd { peer_urls, learner } => {
                let id = self.new_member_id();
                let is_learner = learner;
                ChangeOp::Add(Member { id, peer_urls, is_learner, ..Member::default() })
            }
            Request::MemberRemove { id } => ChangeOp::Remove(id),
            Request::MemberPromote { id } => ChangeOp::Promote(id),
            Request::MemberUpdate { id, peer_urls } => {
                self.check_known(id)?;
                check_urls(&peer_urls)?;
                self.check_urls_free(&peer_urls, id)?;
                let item = Item::PeerUrls { member: id, peer_urls }.encode();
                return self.proposals.push(token, deadline, item, None);
            }
            Request::MoveLeader { to } => return self.move_leader(deadline, token, to),
            _ => return Err(RequestError::MemberNotFound),
        };
        self.check_change(&op)?;
        let leads = self.view.role == Role::Leader;
        if leads && self.change_in_progress.is_some() {
            return Err(RequestError::ChangeInProgress);
        }
        if self.view.leader == NodeId::NONE {
            return Err(RequestError::NoLeader);
        }
        let id = self.proposals.wait_for_change(token, deadline)?;
        if leads {
            if let Err(error) = self.propose_change(id, op) {
                self.proposals.finish(id);
                return Err(error);
            }
        } else {
            let item = Item::Change(op).encode();
            self.forward(self.view.leader, self.view.term, vec![(id, item)]);
        }
        Ok(())
    }

    /// Leader: makes the entry, if the change is still right here and now.
    pub(crate) fn propose_change(
        &mut self,
        id: ProposalId,
        op: ChangeOp,
    ) -> Result<(), RequestError> {
        if self.change_in_progress.is_some() {
            return Err(RequestError::ChangeInProgress);
        }
        self.check_change(&op)?;
        if op == ChangeOp::Remove(self.config.node) {
            self.hand_removal_over(id, op);
            return Ok(());
        }
        let change = match &op {
            ChangeOp::Add(member) if member.is_learner => MemberChange::AddLearner(member.id),
            ChangeOp::Add(member) => MemberChange::AddVoter(member.id),
            ChangeOp::Promote(node) => MemberChange::AddVoter(*node),
            ChangeOp::Remove(node) => MemberChange::Remove(*node),
        };
        let mut context = Encoder::new();
        encode_proposal_id(id, &mut context);
        op.encode(&mut context);
        let change = MembershipChange { changes: vec![change], context: context.into_bytes() };
        match self.core.propose_change(&change) {
            Ok(()) => {
                self.proposals.change_sent(id);
                let index = self.core.status().last_index;
                self.change_in_progress = Some((index, self.view.term, id));
                Ok(())
            }
            // Appended nowhere: this node no longer leads, or hands leadership over.
            Err(_) => Err(RequestError::ChangeInProgress),
        }
    }

    /// A leader does not remove itself: it would stop before the others know that the entry is committed,
    /// and of two voters the one that stays would then need the vote of the one that is gone. The next
    /// leader removes it.
    fn hand_removal_over(&mut self, id: ProposalId, op: ChangeOp) {
        let until = self.latest + self.config.timing.request_timeout;
        self.parked_removal = Some((id, op, until));
    }

    /// Moves leadership on, and sends the removal after it.
    pub(crate) fn pursue_removal(&mut self) {
        self.parked_removal.take_if(|(_, _, until)| *until <= self.latest);
        let Some((id, op, _)) = &self.parked_removal else { return };
        if self.view.role == Role::Leader {
            let mut progress = self.core.progress();
            progress.retain(|p| {
                self.applied.membership.voters.contains(&p.node) && self.is_alive(p.node)
            });
            if let Some(heir) = progress.iter().max_by_key(|p| p.matched) {
                self.core.transfer_leader(heir.node);
            }
        } else if self.view.leader != NodeId::NONE {
            let items = vec![(*id, Item::Change(op.clone()).encode())];
            self.parked_removal = None;
            self.forward(self.view.leader, self.view.term, items);
        }
    }

    /// A normal entry stands in the place of the change that this leader proposed: consensus refused
    /// the change, and whoever asked for it must hear so.
    pub(crate) fn forget_refused_change(&mut self, entry: &Entry) {
        let Some((index, term, id)) = self.change_in_progress else { return };
        if (index, term) != (entry.index, entry.term) {
            return;
        }
        self.change_in_progress = None;
        let items = vec![(id, RequestError::ChangeInProgress)];
        if id.node == self.config.node {
            self.on_refused(items);
        } else {
            self.send_frame(id.node, &Frame::Refuse { items });
        }
    }

    /// A committed change.
    pub(crate) fn apply_change(&mut self, entry: &Entry) {
        self.change_in_progress
            .take_if(|(index, term, _)| (*index, *term) == (entry.index, entry.term));
        let change = match MembershipChange::decode(&mut Decoder::new(entry.payload.clone())) {
            Ok(change) => change,
            Err(error) => return self.stop_on_entry(entry, &error),
        };
        self.applied.membership = self.core.apply_change(&change);
        let mut finished = None;
        // An empty context: consensus itself leaves a joint configuration.
        if !change.context.is_empty() {
            match decode_context(change.context) {
                Ok((id, op)) => {
                    let subject = self.record_change(op);
                    finished = Some((id, subject));
                }
                Err(error) => return self.stop_on_entry(entry, &error),
            }
        }
        self.applied.save_members(&mut self.batch);
        self.members_changed = true;
        // Who restarts with the members of before may need the vote of one that has gone for good, see
        // `showing.rs`.
        self.members_changed_at = entry.index;
        self.persist_now = true;
        if let Some((id, subject)) = finished
            && let Some(token) = self.proposals.finish(id)
        {
            let response = Response::Members { members: self.members(), subject };
            self.reply(token, Ok((self.header(), response)));
        }
        let me = self.config.node;
        if !self.applied.membership.contains(me) && !self.applied.members.contains_key(&me) {
            self.stop(StopReason::Removed);
        }
    }

    /// Names and addresses that arrived as ordinary items.
    pub(crate) fn apply_member_item(&mut self, id: ProposalId, item: Item) {
        let member = match &item {
            Item::Attributes { member, .. } | Item::PeerUrls { member, .. } => *member,
            Item::Kv(_) | Item::Change(_) => return,
        };
        let known = self.applied.members.get_mut(&member);
        let found = known.is_some();
        if let Some(known) = known {
            match item {
                Item::Attributes { name, client_urls, .. } => {
                    known.name = name;
                    known.client_urls = client_urls;
                }
                Item::PeerUrls { peer_urls, .. } => known.peer_urls = peer_urls,
                Item::Kv(_) | Item::Change(_) => {}
            }
            self.applied.save_members(&mut self.batch);
            self.members_changed = true;
        }
        if let Some(token) = self.proposals.finish(id) {
            let subject = self.applied.members.get(&member).cloned();
            let response = Response::Members { members: self.members(), subject };
            let header = self.header();
            let reply =
                if found { Ok((header, response)) } else { Err(RequestError::MemberNotFound) };
            self.reply(token, reply);
        }
    }

    /// Tells the others this node's name and client addresses, if they do not know them yet.
    pub(crate) fn publish_attributes(&mut self) {
        let me = self.config.node;
        let Some(known) = self.applied.members.get(&me) else {
            // Not brought up yet; the snapshot or the log will show this node itself.
            return;
        };
        let (name, client_urls) = (self.config.name.clone(), self.config.client_urls.clone());
        if known.name != name || known.client_urls != client_urls {
            let item = Item::Attributes { member: me, name, client_urls };
            self.proposals.push_own(item.encode());
        }
    }

    fn check_change(&self, op: &ChangeOp) -> Result<(), RequestError> {
        match op {
            ChangeOp::Add(member) => {
                check_urls(&member.peer_urls)?;
                self.check_urls_free(&member.peer_urls, member.id)?;
                if self.applied.members.contains_key(&member.id) {
                    return Err(RequestError::MemberExists);
                }
                Ok(())
            }
            ChangeOp::Remove(node) => {
                self.check_known(*node)?;
                let voters = &self.applied.membership.voters;
                if voters.contains(node) && !self.could_do_without(*node) {
                    return Err(RequestError::NotEnoughMembers);
                }
                Ok(())
            }
            ChangeOp::Promote(node) => {
                self.check_known(*node)?;
                if !self.applied.membership.learners.contains(node) {
                    return Err(RequestError::NotLearner);
                }
                self.check_caught_up(*node)
            }
        }
    }

    /// Whether the other voters are a group, and, as far as a leader knows, enough of them are alive.
    fn could_do_without(&self, voter: NodeId) -> bool {
        let others = self.applied.membership.voters.iter().filter(|id| **id != voter);
        let count = others.clone().count();
        let leads = self.view.role == Role::Leader;
        let alive = others.filter(|id| !leads || self.is_alive(**id)).count();
        count > 0 && alive > count / 2
    }

    /// The leader knows how far a learner is; elsewhere the question is left to it.
    fn check_caught_up(&self, learner: NodeId) -> Result<(), RequestError> {
        if self.view.role != Role::Leader {
            return Ok(());
        }
        let last = self.core.status().last_index.0;
        let progress = self.core.progress().into_iter().find(|p| p.node == learner);
        let matched = progress.map_or(0, |progress| progress.matched.0);
        if matched * 100 >= last * LEARNER_READY_PERCENT {
            Ok(())
        } else {
            Err(RequestError::LearnerNotReady)
        }
    }

    fn check_known(&self, node: NodeId) -> Result<(), RequestError> {
        let known = self.applied.members.contains_key(&node);
        if known { Ok(()) } else { Err(RequestError::MemberNotFound) }
    }

    fn check_urls_free(&self, urls: &[String], except: NodeId) -> Result<(), RequestError> {
        let taken = |url: &String| {
            self.applied.members.values().any(|member| {
                member.id != except
                    && member.peer_urls.iter().any(|u| host_and_port(u) == host_and_port(url))
            })
        };
        if urls.iter().any(taken) { Err(RequestError::MemberExists) } else { Ok(()) }
    }

    /// Writes a change into the member table; returns whom it was about.
    fn record_change(&mut self, op: ChangeOp) -> Option<Member> {
        let subject = match op {
            ChangeOp::Add(member) => {
                self.applied.members.insert(member.id, member.clone());
                Some(member)
            }
            ChangeOp::Remove(node) => self.applied.members.remove(&node),
            ChangeOp::Promote(node) => {
                let member = self.applied.members.get_mut(&node)?;
                member.is_learner = false;
                Some(member.clone())
            }
        };
        if let Some(gone) = subject.as_ref().filter(|m| !self.applied.members.contains_key(&m.id)) {
            self.outgoing.remove(&gone.id);
            self.installing.remove(&gone.id);
        }
        subject
    }

    fn new_member_id(&mut self) -> NodeId {
        loop {
            let id = NodeId(self.rng.u64(1..));
            if !self.applied.members.contains_key(&id) {
                return id;
            }
        }
    }

    fn move_leader(
        &mut self,
        deadline: Instant,
        token: RequestToken,
        to: NodeId,
    ) -> Result<(), RequestError> {
        if self.view.role != Role::Leader {
            return Err(RequestError::NotLeader);
        }
        if !self.applied.membership.voters.contains(&to) {
            return Err(RequestError::BadTransferee);
        }
        if self.moves.len() >= MAX_WAITING_MOVES {
            return Err(RequestError::Overloaded);
        }
        self.core.transfer_leader(to);
        self.moves.push(Move { token, to, deadline });
        Ok(())
    }

    /// Answers those who wanted the present leader to lead.
    pub(crate) fn finish_moves(&mut self) {
        let leader = self.view.leader;
        for moved in self.moves.extract_if(.., |m| m.to == leader).collect::<Vec<_>>() {
            self.reply(moved.token, Ok((self.header(), Response::Moved)));
        }
    }

    /// Hand-overs that did not happen in time.
    pub(crate) fn take_overdue_moves(&mut self, now: Instant) -> Vec<RequestToken> {
        self.moves.extract_if(.., |m| m.deadline <= now).map(|m| m.token).collect()
    }
}

fn decode_context(context: Bytes) -> Result<(ProposalId, ChangeOp), synod_base::DecodeError> {
    let mut input = Decoder::new(context);
    let id = decode_proposal_id(&mut input)?;
    let op = ChangeOp::decode(&mut input)?;
    input.finish()?;
    Ok((id, op))
}

fn check_urls(urls: &[String]) -> Result<(), RequestError> {
    let valid = |url: &String| {
        host_and_port(url)
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    if urls.is_empty() || !urls.iter().all(valid) {
        return Err(RequestError::MemberUrlInvalid);
    }
    Ok(())
}
