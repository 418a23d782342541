//! Messages on their way out: appends to one follower become one, then all become bytes.
//!
//! In one turn a leader often sends a follower first the news of a commit and then new entries. The
//! raft crate can merge them, but merges entries also into an empty append of *another* position; so
//! that is switched off, and appends are merged here only where the second goes on exactly where the
//! first ends. Merged or not, an append fits a frame between nodes.

use std::collections::BTreeMap;

use raft::eraftpb::{self as pb, MessageType};

use super::{convert, wire};
use crate::core::Message;

/// Appends are not merged beyond this; a single larger entry still goes, alone.
const MAX_APPEND_BYTES: usize = 4 * 1024 * 1024;

const _: () = assert!(
    MAX_APPEND_BYTES + synod_base::limits::MAX_ENTRY_BYTES
        < synod_base::limits::MAX_PEER_FRAME_BYTES
);

pub(super) fn encode_all(messages: Vec<pb::Message>) -> Vec<Message> {
    merge_appends(messages).iter().map(wire::encode).collect()
}

/// The order is kept but for appends that move up to the one they continue.
fn merge_appends(messages: Vec<pb::Message>) -> Vec<pb::Message> {
    let mut merged: Vec<pb::Message> = Vec::with_capacity(messages.len());
    let mut last_append: BTreeMap<u64, usize> = BTreeMap::new();
    for mut message in messages {
        if message.get_msg_type() == MessageType::MsgAppend {
            if let Some(&at) = last_append.get(&message.to)
                && continues(&merged[at], &message)
            {
                let first = &mut merged[at];
                first.commit = first.commit.max(message.commit);
                first.mut_entries().extend(message.take_entries());
                continue;
            }
            last_append.insert(message.to, merged.len());
        }
        merged.push(message);
    }
    merged
}

/// Whether `second` goes on where `first` ends, and both together are not too long.
fn continues(first: &pb::Message, second: &pb::Message) -> bool {
    let end = match first.entries.last() {
        Some(entry) => (entry.index, entry.term),
        None => (first.index, first.log_term),
    };
    let bytes = |m: &pb::Message| m.entries.iter().map(convert::entry_bytes).sum::<usize>();
    first.term == second.term
        && end == (second.index, second.log_term)
        && bytes(first) + bytes(second) <= MAX_APPEND_BYTES
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn append(to: u64, after: (u64, u64), entries: &[(u64, u64)], commit: u64) -> pb::Message {
        let mut message = pb::Message::default();
        message.set_msg_type(MessageType::MsgAppend);
        (message.to, message.from, message.term, message.commit) = (to, 1, 5, commit);
        (message.index, message.log_term) = after;
        let entry = |&(index, term): &(u64, u64)| {
            let mut entry = pb::Entry::default();
            (entry.index, entry.term) = (index, term);
            entry
        };
        message.set_entries(entries.iter().map(entry).collect());
        message
    }

    #[test]
    fn appends_that_continue_each_other_become_one_for_each_follower() {
        let merged = merge_appends(vec![
            append(2, (10, 1), &[], 10),
            append(3, (10, 1), &[(11, 5)], 10),
            append(2, (10, 1), &[(11, 5), (12, 5)], 10),
            append(3, (11, 5), &[], 11),
            append(2, (12, 5), &[(13, 5)], 11),
        ]);
        let expected = [
            append(2, (10, 1), &[(11, 5), (12, 5), (13, 5)], 11),
            append(3, (10, 1), &[(11, 5)], 11),
        ];
        assert_eq!(merged, expected);
    }

    /// The raft crate's own merging puts the second into the first.
    #[test]
    fn an_append_of_another_position_stays_a_message_of_its_own() {
        let messages = vec![append(2, (12, 5), &[], 10), append(2, (10, 1), &[(11, 5)], 10)];
        assert_eq!(merge_appends(messages.clone()), messages);
        let messages = vec![append(2, (12, 5), &[(13, 5)], 10), append(2, (13, 4), &[], 10)];
        assert_eq!(merge_appends(messages.clone()), messages);
    }

    #[test]
    fn appends_are_not_merged_beyond_what_fits_a_frame() {
        let large = |index: u64| {
            let mut message = append(2, (index - 1, 5), &[(index, 5)], 10);
            message.mut_entries()[0].data = Bytes::from(vec![0; 1 << 20]);
            message
        };
        let merged = merge_appends((11..31).map(large).collect());
        assert_eq!(merged.iter().map(|m| m.entries.len()).sum::<usize>(), 20);
        for message in &merged {
            assert!(wire::encode(message).body.len() <= MAX_APPEND_BYTES);
        }
    }
}
