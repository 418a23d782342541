//! Changes of members: proposing one without protobuf, applying one, leaving a joint configuration.
//!
//! The raft crate wants to read a proposed change from protobuf bytes to decide whether it may run
//! now. The same decision is made here instead, from its public state: one change at a time, none but
//! "leave" while joint, "leave" only while joint; and, stricter than the crate, only one that can be
//! applied. As in the crate, a refused change becomes an empty normal entry.

use raft::eraftpb::{self as pb, EntryType};
use raft::{Changer, RawNode, StateRole};
use synod_base::LogIndex;

use super::convert;
use super::log::MemoryLog;
use crate::core::{Membership, MembershipChange};

/// Appends the change, or an empty entry in its place, and sends it on. Only on a leader that is not
/// handing over.
pub(super) fn propose(node: &mut RawNode<MemoryLog>, change: &MembershipChange) {
    let raft = &mut node.raft;
    assert_eq!(raft.state, StateRole::Leader, "only a leader proposes");
    let mut entry = pb::Entry::default();
    if !raft.has_pending_conf() && applies(node, change) {
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        entry.context = change.to_payload();
        let raft = &mut node.raft;
        raft.pending_conf_index = raft.raft_log.last_index() + 1;
    }
    let raft = &mut node.raft;
    assert!(raft.append_entry(&mut [entry]), "entries without data are never over a limit");
    raft.bcast_append();
}

/// Whether the change can be applied to the membership as it is now.
fn applies(node: &RawNode<MemoryLog>, change: &MembershipChange) -> bool {
    let change = convert::change_to_raft(change);
    let mut changer = Changer::new(node.raft.prs());
    let result = if change.leave_joint() {
        changer.leave_joint()
    } else if let Some(auto_leave) = change.enter_joint() {
        changer.enter_joint(auto_leave, change.get_changes())
    } else {
        changer.simple(change.get_changes())
    };
    result.is_ok()
}

/// Applies a committed change. One that cannot be applied changes nothing, on every replica alike.
pub(super) fn apply(node: &mut RawNode<MemoryLog>, change: &MembershipChange) -> Membership {
    let change = convert::change_to_raft(change);
    let state = match node.apply_conf_change(&change) {
        Ok(state) => state,
        Err(_) => node.raft.prs().conf().to_conf_state(),
    };
    let raft = &mut node.raft;
    if raft.state == StateRole::Leader && !raft.promotable() {
        // The raft crate lets a leader that was removed go on, and panics at its next commit.
        let term = raft.term;
        raft.become_follower(term, raft::INVALID_ID);
    }
    convert::membership_from_raft(&state)
}

/// A leader that stands in a joint configuration it should leave by itself, and has no change under
/// way, proposes to leave: over a change of leader the crate's own proposal may be forgotten.
pub(super) fn leave_joint_if_due(node: &mut RawNode<MemoryLog>) {
    let raft = &node.raft;
    let due = raft.state == StateRole::Leader
        && *raft.prs().conf().auto_leave()
        && !raft.has_pending_conf()
        && raft.lead_transferee.is_none();
    if due {
        propose(node, &MembershipChange::default());
    }
}

/// Tells the raft crate how far the engine is, as far as it may know already.
pub(super) fn advance_applied(node: &mut RawNode<MemoryLog>, applied: LogIndex) {
    let log = &node.raft.raft_log;
    let reachable = applied.0.min(log.committed).min(log.persisted);
    if reachable <= log.applied {
        return;
    }
    let last = log.last_index();
    node.advance_apply_to(reachable);
    if node.raft.raft_log.last_index() > last {
        // It left a joint configuration by itself, but tells its followers only at the next heartbeat.
        node.raft.bcast_append();
    }
}
