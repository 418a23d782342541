//! Questions about leases, on their way to the leader, whose clock alone counts.
//!
//! Asking twice does no harm (a renewal renews, a look looks), so a question goes out again until it is
//! answered or its time is over.

use std::collections::BTreeMap;
use std::time::Duration;

use synod_base::{Instant, NodeId};
use synod_consensus::Role;

use crate::frame::{Frame, LeaseAnswer, LeaseAsk};
use crate::node::Node;
use crate::request::RequestToken;
use crate::requests::{LeaseAsker, Read};

/// How long to wait for an answer before asking again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(300);

/// What a client of this node asked about a lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseQuestion {
    /// Who.
    pub token: RequestToken,
    /// What.
    pub ask: LeaseAsk,
    /// The client wants the lease's keys, too.
    pub keys: bool,
    /// Give up then.
    pub deadline: Instant,
}

#[derive(Debug)]
struct Pending {
    question: LeaseQuestion,
    ask_again: Instant,
}

/// All questions without an answer.
#[derive(Debug)]
pub struct Questions {
    counter: u64,
    pending: BTreeMap<u64, Pending>,
}

impl Questions {
    /// None yet. An answer to a question from before a restart must not be taken for one from after it,
    /// so the numbers of each start are its own.
    #[must_use]
    pub fn new(start_number: u32) -> Self {
        Questions { counter: u64::from(start_number) << 32, pending: BTreeMap::new() }
    }

    /// A new question.
    pub fn push(&mut self, question: LeaseQuestion) {
        self.counter += 1;
        let pending = Pending { question, ask_again: Instant::ZERO };
        self.pending.insert(self.counter, pending);
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// The answer came.
    pub fn finish(&mut self, question: u64) -> Option<LeaseQuestion> {
        self.pending.remove(&question).map(|pending| pending.question)
    }

    /// Another leader: ask at once.
    pub fn on_leadership_change(&mut self) {
        for pending in self.pending.values_mut() {
            pending.ask_again = Instant::ZERO;
        }
    }

    /// Questions whose time is over.
    pub fn take_overdue(&mut self, now: Instant) -> Vec<RequestToken> {
        self.pending
            .extract_if(.., |_, pending| pending.question.deadline <= now)
            .map(|(_, pending)| pending.question.token)
            .collect()
    }

    /// Everybody who waits; the node stops.
    pub fn take_all(&mut self) -> Vec<RequestToken> {
        let all = std::mem::take(&mut self.pending);
        all.into_values().map(|pending| pending.question.token).collect()
    }
}

impl Node {
    /// Sends what has not been answered; a node that leads answers its own.
    pub(crate) fn ask_about_leases(&mut self, now: Instant) {
        if self.questions.pending.is_empty() || self.view.leader == NodeId::NONE {
            return;
        }
        if self.view.role == Role::Leader {
            let all = std::mem::take(&mut self.questions.pending);
            for pending in all.into_values() {
                let asker = LeaseAsker::Here(pending.question);
                let read = Read::Lease { asker, ask: pending.question.ask };
                self.barrier.push(pending.question.deadline, read);
            }
            return;
        }
        let leader = self.view.leader;
        let mut frames = Vec::new();
        for (question, pending) in &mut self.questions.pending {
            if pending.ask_again <= now {
                pending.ask_again = now + ASK_AGAIN_AFTER;
                frames.push(Frame::AskLease { question: *question, ask: pending.question.ask });
            }
        }
        for frame in frames {
            self.send_frame(leader, &frame);
        }
    }

    /// A follower asks. Only an answer that went through a read barrier here counts.
    pub(crate) fn on_lease_asked(
        &mut self,
        now: Instant,
        from: NodeId,
        question: u64,
        ask: LeaseAsk,
    ) {
        if self.view.role == Role::Leader && self.has_room_for_reads() {
            let deadline = now + self.config.timing.request_timeout;
            let asker = LeaseAsker::Peer { node: from, question };
            self.barrier.push(deadline, Read::Lease { asker, ask });
        }
    }

    /// The leader answered.
    pub(crate) fn on_lease_answered(&mut self, question: u64, answer: LeaseAnswer) {
        let Some(question) = self.questions.finish(question) else { return };
        if question.keys && answer.is_some() {
            self.barrier.push(question.deadline, Read::LeaseKeys(question, answer));
        } else {
            self.answer_lease(question, answer);
        }
    }
}
