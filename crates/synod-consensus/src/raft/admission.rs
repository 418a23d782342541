//! Which messages of peers may reach the raft crate: the checks that depend on this replica's state.
//!
//! The raft crate trusts its peers and panics on what a correct one would never send. A peer that
//! lost its disk, runs another version or is damaged must not stop this replica.

use raft::eraftpb::{self as pb, MessageType};
use raft::{RawNode, StateRole};
use synod_base::{LogIndex, NodeId};

use super::log::MemoryLog;
use crate::core::{ReadContext, StepError};

/// What to do with a well-formed message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    /// Hand it to the raft crate.
    Step,
    /// A correct peer may have sent it, but here and now it asks for nothing: as if it were lost.
    Drop,
}

pub(super) fn admit(
    node: &RawNode<MemoryLog>,
    from: NodeId,
    message: &pb::Message,
) -> Result<Admission, StepError> {
    let raft = &node.raft;
    if message.from != from.0 {
        return Err(StepError::Forbidden("a message that names another sender"));
    }
    if message.to != raft.id {
        return Err(StepError::Forbidden("a message for another receiver"));
    }
    if message.from == raft.id {
        return Err(StepError::Forbidden("a message from the receiver itself"));
    }
    let last = raft.raft_log.last_index();
    match message.get_msg_type() {
        MessageType::MsgHeartbeat if message.term >= raft.term && message.commit > last => {
            Err(StepError::LogLost { commit: LogIndex(message.commit), last: LogIndex(last) })
        }
        MessageType::MsgAppendResponse
            if message.term == raft.term
                && raft.state == StateRole::Leader
                && message.index > last =>
        {
            Err(StepError::Forbidden("an acknowledgement of entries that were never sent"))
        }
        MessageType::MsgReadIndex => {
            if read_context(message)?.node != from {
                return Err(StepError::Forbidden("a read in the name of another node"));
            }
            // A follower would pass it on in the sender's name, which the leader must refuse.
            let leads = raft.state == StateRole::Leader;
            Ok(if leads { Admission::Step } else { Admission::Drop })
        }
        MessageType::MsgReadIndexResp if read_context(message)?.node.0 != raft.id => {
            Err(StepError::Forbidden("an answer to a read of another node"))
        }
        MessageType::MsgTimeoutNow if !may_campaign(node) => Ok(Admission::Drop),
        _ => Ok(Admission::Step),
    }
}

/// Whether an election may start here. Two things forbid it, and the raft crate panics on both: a
/// snapshot that is accepted but not durable, and, where this voter alone makes a quorum and would
/// lead at once, entries that are not durable.
pub(super) fn may_campaign(node: &RawNode<MemoryLog>) -> bool {
    let log = &node.raft.raft_log;
    node.raft.promotable()
        && log.unstable_snapshot().is_none()
        && log.applied >= node.store().start().index.0
        && (log.persisted == log.last_index() || !decides_alone(node))
}

fn decides_alone(node: &RawNode<MemoryLog>) -> bool {
    node.raft.prs().has_quorum(&[node.raft.id].into_iter().collect())
}

fn read_context(message: &pb::Message) -> Result<ReadContext, StepError> {
    Ok(ReadContext::from_bytes(&message.entries[0].data)?)
}
