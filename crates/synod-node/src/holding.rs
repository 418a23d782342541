//! A leader's new membership is durable before anything leaves that was made with it.
//!
//! Consensus starts with the membership that the engine holds. Whoever hears that a member was removed may
//! take its machine away; had the leader, who knows it first, forgotten the removal in a crash, it could need
//! a vote that cannot come any more. So a turn that applies a change makes the engine durable before its
//! frames and answers leave (`node/turn.rs`). Where a leader's engine has no room for that, it takes part in
//! nothing until it has, or others have elected another one: what it has made waits. A leader that knows of
//! its lack proposes no change (`membership.rs`). A follower goes on: whoever told it has made the change
//! durable, and the group may need its acknowledgements.

use bytes::Bytes;
use synod_base::{Instant, NodeId};

use crate::node::Node;
use crate::request::{Reply, RequestError, RequestToken};

/// What the turn that applied the change has made.
#[derive(Debug)]
pub(crate) struct Held {
    send: Vec<(NodeId, Bytes)>,
    replies: Vec<(RequestToken, Reply)>,
    members_changed: bool,
    /// Then it is said that nobody knows.
    until: Instant,
}

impl Node {
    /// Whether this replica has a membership that it might forget and must not show.
    pub(crate) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Keeps back what a turn has made, if the engine could not be made durable. (Acknowledgements that wait
    /// for the log leave: a leader learns nothing from them that it has not told itself.)
    pub(crate) fn hold_back(&mut self, now: Instant) {
        self.first_to_know &= self.persist_now;
        if !self.first_to_know || self.stopped.is_some() {
            return;
        }
        self.held = Some(Held {
            send: std::mem::take(&mut self.send),
            // What was refused has changed nothing.
            replies: self.replies.extract_if(.., |(_, reply)| reply.is_ok()).collect(),
            members_changed: std::mem::take(&mut self.members_changed),
            until: now + self.config.timing.request_timeout,
        });
    }

    /// Tries the engine again; once it is durable everything leaves, late.
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
            let overdue = held.replies.drain(..).map(|(token, _)| token);
            self.replies.extend(overdue.map(|token| (token, Err(RequestError::TimedOut))));
        }
        if !self.persist_now
            && let Some(held) = self.held.take()
        {
            self.send.extend(held.send);
            self.replies.extend(held.replies);
            self.members_changed |= held.members_changed;
            self.renew_leases(now);
        }
    }

    /// Whoever waits for an answer that is held back; it never leaves.
    pub(crate) fn take_held(&mut self) -> Vec<RequestToken> {
        let held = self.held.take().map(|held| held.replies).unwrap_or_default();
        held.into_iter().map(|(token, _)| token).collect()
    }
}
