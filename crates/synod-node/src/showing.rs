//! A membership is remembered before anything leaves this node that was made with it.
//!
//! Consensus starts with the membership that the engine holds. Whoever hears that a member was removed may
//! take its machine away; had this node forgotten the removal in a crash, it could need a vote that cannot
//! come any more. So a turn that applies a change makes the engine durable before its frames and answers
//! leave (`node/turn.rs`). Where the engine has no room for that, the log has: this node notes there how far
//! the group has committed, and what it has made waits until that is durable. A start then applies the change
//! anew before it votes. A note is short, and lost frames come again, so what is made meanwhile is dropped.

use synod_base::Instant;
use synod_storage::wal::LogRecord;

use crate::effects::{Effects, LogBatch, StopReason};
use crate::frame::COORDINATION;
use crate::node::Node;
use crate::request::{Reply, RequestError, RequestToken, Response};

/// A note on its way to the log, and what waits for it.
#[derive(Debug)]
pub(crate) struct Note {
    /// Of its batch.
    number: u64,
    /// Each with the time at which it is said that nobody knows.
    replies: Vec<(RequestToken, Reply, Instant)>,
    members_changed: bool,
}

impl Node {
    /// Behind a turn: what may not be shown yet is kept back.
    pub(crate) fn show_members_late(&mut self, now: Instant, effects: &mut Effects) {
        match &self.stopped {
            None => {}
            // It has nothing to remember but that, and the others are to hear of it.
            Some(StopReason::Removed) => return,
            // What was to be applied may have been a change.
            Some(_) => return self.show_nothing(),
        }
        if !self.persist_now {
            return self.show();
        }
        if self.noted < self.members_changed_at {
            self.note(effects);
        } else if self.note.is_some() {
            self.send.clear();
        }
        let until = now + self.config.timing.request_timeout;
        let Some(note) = &mut self.note else { return };
        note.members_changed |= std::mem::take(&mut self.members_changed);
        let made = self.replies.extract_if(.., |(_, reply)| may_show_members(reply));
        note.replies.extend(made.map(|(token, reply)| (token, reply, until)));
        let overdue = note.replies.extract_if(.., |(_, _, until)| *until <= now);
        self.replies.extend(overdue.map(|(token, ..)| (token, Err(RequestError::TimedOut))));
    }

    /// Hands a note to the log; the frames of this turn leave behind it.
    fn note(&mut self, effects: &mut Effects) {
        let index = self.members_changed_at;
        self.noted = index;
        let number = self.next_log_number();
        let records = vec![LogRecord::Committed { group: COORDINATION, index }];
        let send_after = std::mem::take(&mut self.send);
        effects.log.push(LogBatch { number, records, send_after });
        let waiting = self.note.take().map(|note| note.replies).unwrap_or_default();
        self.note = Some(Note { number, replies: waiting, members_changed: true });
    }

    /// The log is durable up to this batch.
    pub(crate) fn on_note_durable(&mut self, number: u64) {
        if self.note.as_ref().is_some_and(|note| note.number <= number) {
            self.show();
        }
    }

    /// What was kept back leaves.
    fn show(&mut self) {
        if let Some(note) = self.note.take() {
            self.replies.extend(note.replies.into_iter().map(|(token, reply, _)| (token, reply)));
            self.members_changed |= note.members_changed;
        }
    }

    /// For a node that has stopped.
    pub(crate) fn show_nothing(&mut self) {
        self.send.clear();
        self.members_changed = false;
        for (_, reply) in self.replies.iter_mut().filter(|(_, reply)| may_show_members(reply)) {
            *reply = Err(RequestError::Stopped);
        }
        for token in self.take_noted() {
            self.reply(token, Err(RequestError::Stopped));
        }
    }

    /// Whoever waits for an answer that is kept back; it never leaves.
    pub(crate) fn take_noted(&mut self) -> Vec<RequestToken> {
        let replies = self.note.take().map(|note| note.replies).unwrap_or_default();
        replies.into_iter().map(|(token, ..)| token).collect()
    }
}

/// Whether it can be seen from an answer who is a member.
fn may_show_members(reply: &Reply) -> bool {
    use RequestError::{BadTransferee, MemberNotFound};
    match reply {
        Ok((_, response)) => !matches!(response, Response::Status(_)),
        Err(error) => matches!(error, MemberNotFound | BadTransferee),
    }
}
