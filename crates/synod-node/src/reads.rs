//! Read barriers: rounds that prove, for a batch of waiting requests, up to where this node must have
//! applied to answer them linearizably (Raft dissertation, section 6.4).
//!
//! One round is in flight at a time; what arrives meanwhile forms the next. A round's context is unique
//! for ever; a round that gets no answer is asked again under a *new* context, and an answer to an old
//! one is ignored (a reused context gives stale reads: etcd #20418).

use std::collections::VecDeque;
use std::time::Duration;

use synod_base::{Instant, LogIndex, NodeId};
use synod_consensus::ReadContext;

/// How long to wait for a round before asking again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(300);

/// One request at the barrier.
#[derive(Debug)]
pub struct Waiting<T> {
    /// Give up then.
    pub deadline: Instant,
    /// What to do once it is through.
    pub what: T,
}

#[derive(Debug)]
struct Round<T> {
    context: ReadContext,
    ask_again: Instant,
    requests: Vec<Waiting<T>>,
}

/// All requests that wait for a barrier or for the applied index it named.
#[derive(Debug)]
pub struct Barrier<T> {
    node: NodeId,
    start_number: u32,
    counter: u64,
    queued: Vec<Waiting<T>>,
    round: Option<Round<T>>,
    /// Proven, waiting until the index is applied.
    proven: VecDeque<(LogIndex, Vec<Waiting<T>>)>,
}

impl<T> Barrier<T> {
    /// No requests yet.
    #[must_use]
    pub fn new(node: NodeId, start_number: u32) -> Self {
        Barrier {
            node,
            start_number,
            counter: 0,
            queued: Vec::new(),
            round: None,
            proven: VecDeque::new(),
        }
    }

    /// A request joins the next round.
    pub fn push(&mut self, deadline: Instant, what: T) {
        self.queued.push(Waiting { deadline, what });
    }

    /// How many requests wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queued.len()
            + self.round.as_ref().map_or(0, |round| round.requests.len())
            + self.proven.iter().map(|(_, requests)| requests.len()).sum::<usize>()
    }

    /// Starts a round if one is due: `ask` tries to start it and says whether it could.
    pub fn start_round(&mut self, now: Instant, ask: impl FnOnce(ReadContext) -> bool) {
        if let Some(round) = &mut self.round {
            if now < round.ask_again {
                return;
            }
            // What waits in the unanswered round and what came since go on together.
            let mut requests = std::mem::take(&mut round.requests);
            requests.append(&mut self.queued);
            self.queued = requests;
            self.round = None;
        }
        if self.queued.is_empty() {
            return;
        }
        self.counter += 1;
        let context =
            ReadContext { node: self.node, start_number: self.start_number, counter: self.counter };
        if ask(context) {
            let requests = std::mem::take(&mut self.queued);
            self.round = Some(Round { context, ask_again: now + ASK_AGAIN_AFTER, requests });
        }
    }

    /// Leadership changed: what was asked is lost. The requests join the next round.
    pub fn on_term_change(&mut self) {
        if let Some(round) = &mut self.round {
            round.ask_again = Instant::ZERO;
        }
    }

    /// A round was answered.
    pub fn on_answer(&mut self, context: ReadContext, index: LogIndex) {
        if self.round.as_ref().is_some_and(|round| round.context == context)
            && let Some(round) = self.round.take()
        {
            self.proven.push_back((index, round.requests));
        }
    }

    /// Requests that may be answered now.
    pub fn take_ready(&mut self, applied: LogIndex) -> Vec<T> {
        let mut ready = Vec::new();
        // A later round never has a smaller index, except across a change of leader, where waiting a
        // little longer does no harm.
        while self.proven.front().is_some_and(|(index, _)| *index <= applied) {
            if let Some((_, requests)) = self.proven.pop_front() {
                ready.extend(requests.into_iter().map(|waiting| waiting.what));
            }
        }
        ready
    }

    /// Requests whose time is over.
    pub fn take_overdue(&mut self, now: Instant) -> Vec<T> {
        let mut overdue = Vec::new();
        let lists = std::iter::once(&mut self.queued)
            .chain(self.round.iter_mut().map(|round| &mut round.requests))
            .chain(self.proven.iter_mut().map(|(_, requests)| requests));
        for list in lists {
            overdue.extend(list.extract_if(.., |w| w.deadline <= now).map(|w| w.what));
        }
        overdue
    }

    /// When a round must be asked again.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.round.as_ref().map(|round| round.ask_again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn an_answer_to_an_older_round_releases_nothing() {
        let mut barrier = Barrier::new(NodeId(1), 1);
        let mut asked = Vec::new();
        barrier.push(at(5000), "read");
        barrier.start_round(at(0), |context| {
            asked.push(context);
            true
        });
        barrier.start_round(at(301), |context| {
            asked.push(context);
            true
        });
        assert_eq!(asked.len(), 2);
        assert_ne!(asked[0], asked[1]);
        barrier.on_answer(asked[0], LogIndex(5));
        assert!(barrier.take_ready(LogIndex(9)).is_empty());
        barrier.on_answer(asked[1], LogIndex(5));
        assert!(barrier.take_ready(LogIndex(4)).is_empty(), "not applied so far yet");
        assert_eq!(barrier.take_ready(LogIndex(5)), vec!["read"]);
    }

    #[test]
    fn requests_that_arrive_during_a_round_form_the_next() {
        let mut barrier = Barrier::new(NodeId(1), 1);
        let mut contexts = Vec::new();
        barrier.push(at(5000), 1);
        barrier.start_round(at(0), |c| {
            contexts.push(c);
            true
        });
        barrier.push(at(5000), 2);
        barrier.start_round(at(1), |_| panic!("one round at a time"));
        barrier.on_answer(contexts[0], LogIndex(1));
        assert_eq!(barrier.take_ready(LogIndex(1)), vec![1]);
        assert_eq!(barrier.take_overdue(at(5000)), vec![2]);
        assert_eq!(barrier.len(), 0);
    }
}
