//! A membership is durable before anything leaves this node that was made with it.
//!
//! Consensus starts with the membership that the engine holds. Whoever hears that a member was removed may
//! take its machine away; had this node forgotten the removal in a crash, it would need a vote that cannot
//! come any more. So a turn that applies a change makes the engine durable before its frames and answers
//! leave (`node/turn.rs`). Where the engine has no room for that, this node takes part in nothing until it
//! has: frames are lost as on a bad network, answers wait.

use synod_base::Instant;

use crate::node::Node;
use crate::request::{Reply, RequestError, RequestToken};

/// Answers of the turn that applied the change.
#[derive(Debug)]
pub(crate) struct Held {
    replies: Vec<(RequestToken, Reply)>,
    /// Then it is said that nobody knows.
    until: Instant,
}

impl Node {
    /// Whether this replica has a membership that it might forget.
    pub(crate) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Keeps back what a turn has made, if the engine could not be made durable.
    pub(crate) fn hold_back(&mut self, now: Instant) {
        if !self.persist_now || self.stopped.is_some() {
            return;
        }
        self.send.clear();
        let until = now + self.config.timing.request_timeout;
        self.held = Some(Held { replies: std::mem::take(&mut self.replies), until });
    }

    /// Tries the engine again; once it is durable the answers leave.
    pub(crate) fn go_on_holding(&mut self, now: Instant) {
        if !self.is_holding() {
            return;
        }
        self.write_engine(now);
        if self.stopped.is_some() {
            return;
        }
        if let Some(held) = &mut self.held
            && held.until <= now
        {
            for (_, reply) in &mut held.replies {
                *reply = Err(RequestError::TimedOut);
            }
            self.replies.append(&mut held.replies);
        }
        if !self.persist_now
            && let Some(held) = self.held.take()
        {
            self.replies.extend(held.replies);
        }
    }

    /// Whoever waits for an answer that is held back; it never leaves.
    pub(crate) fn take_held(&mut self) -> Vec<RequestToken> {
        let held = self.held.take().map(|held| held.replies).unwrap_or_default();
        held.into_iter().map(|(token, _)| token).collect()
    }
}
