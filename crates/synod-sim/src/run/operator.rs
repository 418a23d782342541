//! The operator: adds machines to the cluster, promotes them, removes members (the leader, too), moves
//! leadership, while everything else goes wrong. It does what a careful person does: one change at a
//! time, and after an answer that leaves open what happened, a look at the members before the next.
//!
//! A removed machine runs on for a while before it is taken away: it may not know yet.

use std::collections::BTreeSet;

use synod_base::NodeId;
use synod_node::{Happened, Member, Request, RequestError, RequestToken, Response, Start};

use super::{Alarm, Run, some_clock};
use crate::etcd::WireAnswer;
use crate::faults::MILLIS;
use crate::history::Answer;
use crate::host::{Host, peer_url};

/// More machines than this are not added.
const MOST_HOSTS: usize = 6;

/// Attempts at a promotion before the operator lets the learner be.
const PROMOTION_TRIES: u32 = 20;

/// An answer that takes longer than this is not waited for.
const PATIENCE: u64 = 8_000 * MILLIS;

/// A removed machine is taken away within this time.
const GRACE_MILLIS: u64 = 6_000;

#[derive(Debug, Default)]
pub(super) struct Operator {
    /// What it is at; `None` between two tasks.
    task: Option<Task>,
    pending: Option<(NodeId, RequestToken, Request)>,
    /// Nobody knows whether the last change happened.
    unsure: bool,
    next_machine: u64,
    /// Members it ever asked to remove.
    removals: BTreeSet<NodeId>,
    /// What it did, for the summary.
    pub(super) counts: Counts,
}

/// Changes that were acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) added: u64,
    pub(super) promoted: u64,
    pub(super) removed: u64,
    pub(super) moved: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Task {
    Look,
    Add { learner: bool },
    Promote { id: NodeId, tries: u32 },
    Remove { id: NodeId },
    Move { to: NodeId },
}

impl Run {
    /// Half of the seeds have an operator.
    pub(super) fn add_operator(&mut self) {
        self.operator.next_machine = self.world.hosts.len() as u64 + 1;
        if self.rng.bool() {
            self.alarm_in(5_000, Alarm::Operator);
        }
    }

    pub(super) fn operator_goes_on(&mut self) {
        if self.operator.pending.is_some() {
            return;
        }
        if self.operator.task.is_none() {
            if self.world.now >= self.heal_at && !self.operator.unsure {
                return;
            }
            self.operator.task = self.next_task();
        }
        let Some(task) = self.operator.task else {
            return self.alarm_in(1_000, Alarm::Operator);
        };
        // Only a leader hands leadership over; anyone takes the rest.
        let host = match task {
            Task::Move { .. } => self.some_leader(),
            _ => self.some_host(),
        };
        let request = match task {
            Task::Look => Request::MemberList { linearizable: true },
            Task::Add { learner } => {
                let number = self.operator.next_machine;
                self.operator.next_machine += 1;
                Request::MemberAdd { peer_urls: vec![peer_url(number)], learner }
            }
            Task::Promote { id, .. } => Request::MemberPromote { id },
            Task::Remove { id } => {
                self.operator.removals.insert(id);
                Request::MemberRemove { id }
            }
            Task::Move { to } => Request::MoveLeader { to },
        };
        if let Some(token) = self.call(host, &request) {
            self.operator.pending = Some((host, token, request));
            self.alarm_at(self.world.now + PATIENCE, Alarm::OperatorGivesUp(token));
        } else {
            self.alarm_in(300, Alarm::Operator);
        }
    }

    /// A member may have left later than the operator has looked, and its machine need not know: nobody
    /// talks to it any more.
    pub(super) fn operator_looks_again(&mut self) {
        if self.operator.pending.is_some() {
            // What is under way may have looked too early.
            let soon = self.world.now + 1_000 * MILLIS;
            return self.alarm_at(soon, Alarm::OperatorLooksAgain);
        }
        if !self.operator.removals.is_empty() {
            self.operator.unsure = true;
            self.operator_goes_on();
        }
    }

    fn some_leader(&mut self) -> NodeId {
        let leader = self.world.hosts.values().find(|host| host.believes_it_leads());
        leader.map(|host| host.id).unwrap_or_else(|| self.some_host())
    }

    fn next_task(&mut self) -> Option<Task> {
        if self.operator.unsure {
            return Some(Task::Look);
        }
        let members: Vec<NodeId> =
            self.world.hosts.values().filter(|h| !h.retired).map(|h| h.id).collect();
        let someone = members[self.rng.usize(..members.len())];
        match self.rng.u32(..10) {
            0..5 if members.len() < MOST_HOSTS => {
                // A voter that never comes must not cost the cluster its quorum.
                let learner = members.len() < 3 || self.rng.u32(..4) > 0;
                Some(Task::Add { learner })
            }
            5..8 if members.len() > 1 => Some(Task::Remove { id: someone }),
            8 => Some(Task::Move { to: someone }),
            9 => Some(Task::Look),
            _ => None,
        }
    }

    /// Whether this is the answer that the operator waits for.
    pub(super) fn operator_waits_for(&self, host: NodeId, token: RequestToken) -> bool {
        let pending = self.operator.pending.as_ref();
        pending.is_some_and(|(asked, number, _)| (*asked, *number) == (host, token))
    }

    pub(super) fn operator_loses(&mut self, host: NodeId) {
        if self.operator.pending.as_ref().is_some_and(|(asked, _, _)| *asked == host) {
            self.operator_knows_nothing();
        }
    }

    pub(super) fn operator_gives_up(&mut self, token: RequestToken) {
        if self.operator.pending.as_ref().is_some_and(|(_, pending, _)| *pending == token) {
            self.operator_knows_nothing();
        }
    }

    fn operator_knows_nothing(&mut self) {
        self.operator.pending = None;
        self.operator.unsure = true;
        self.operator.task = None;
        self.alarm_in(500, Alarm::Operator);
    }

    pub(super) fn on_operator_answer(&mut self, answer: WireAnswer) {
        let Some((host, _, request)) = self.operator.pending.take() else { return };
        let Some(answer) = self.read_answer(host, &request, answer) else { return };
        let Some(task) = self.operator.task.take() else { return };
        match answer {
            Ok(Answer { response, .. }) => self.task_done(task, response),
            Err(error) => self.task_failed(task, &error),
        }
        self.alarm_in(1_500, Alarm::Operator);
    }

    fn task_done(&mut self, task: Task, response: Response) {
        let counts = &mut self.operator.counts;
        match (task, response) {
            (Task::Add { learner }, Response::Members { subject: Some(member), .. }) => {
                counts.added += 1;
                let id = member.id;
                self.add_host(id);
                if learner {
                    self.operator.task = Some(Task::Promote { id, tries: PROMOTION_TRIES });
                }
            }
            (Task::Promote { .. }, _) => counts.promoted += 1,
            (Task::Remove { id }, _) => {
                counts.removed += 1;
                self.retire(id);
            }
            (Task::Move { .. }, _) => counts.moved += 1,
            (Task::Look, Response::Members { members, .. }) => self.tidy_up(&members),
            _ => {}
        }
    }

    fn task_failed(&mut self, task: Task, error: &RequestError) {
        self.operator.unsure |= error.happened() == Happened::Unknown;
        if let Task::Promote { id, tries } = task
            && tries > 0
            && !self.operator.unsure
        {
            self.operator.task = Some(Task::Promote { id, tries: tries - 1 });
        }
    }

    /// The operator sees all members: a member without a machine leaves, a machine that is no member is
    /// taken away.
    fn tidy_up(&mut self, members: &[Member]) {
        self.operator.unsure = false;
        let is_member = |id: NodeId| members.iter().any(|member| member.id == id);
        let hosts: Vec<NodeId> = self.world.hosts.keys().copied().collect();
        for id in hosts.iter().copied().filter(|id| !is_member(*id)) {
            self.retire(id);
        }
        let has_no_machine = |member: &&Member| !hosts.contains(&member.id);
        if let Some(ghost) = members.iter().find(has_no_machine) {
            self.operator.task = Some(Task::Remove { id: ghost.id });
        } else if let Some(learner) = members.iter().find(|member| member.is_learner) {
            self.operator.task = Some(Task::Promote { id: learner.id, tries: PROMOTION_TRIES });
        }
    }

    fn add_host(&mut self, id: NodeId) {
        let clock = some_clock(&mut self.rng);
        let host = Host::new(id, self.rng.u64(..), clock, Start::Join, self.retention);
        self.world.hosts.insert(id, host);
        self.start_host(id);
    }

    /// A machine whose member was removed: it is not started any more, and soon gone.
    pub(super) fn retire(&mut self, id: NodeId) {
        if let Some(host) = self.world.hosts.get_mut(&id)
            && !host.retired
        {
            host.retired = true;
            self.alarm_in(GRACE_MILLIS, Alarm::Scrap(id));
        }
    }

    /// Whether the operator ever asked to remove this member, answered or not.
    pub(super) fn removal_was_asked(&self, id: NodeId) -> bool {
        self.operator.removals.contains(&id)
    }
}
