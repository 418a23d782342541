//! Our types to those of the raft crate and back, without copying a payload.
//!
//! A membership entry carries our encoding of the change in the raft entry's *context*; its data,
//! which the raft crate would want as protobuf, stays empty. The raft crate looks only at the type of
//! such entries, except when it is asked to propose one: that part we do ourselves (`membership`).

use bytes::Bytes;
use raft::eraftpb::{self as pb, ConfChangeType, ConfChangeV2, ConfState, EntryType, Snapshot};
use synod_base::{Entry, EntryKind, HardState, LogIndex, LogStart, NodeId, Term};

use crate::core::{MemberChange, Membership, MembershipChange, Role};

/// What an entry counts for beyond its payload when messages are filled up to a size.
pub(super) const ENTRY_OVERHEAD_BYTES: usize = 16;

/// What an entry counts for in a message.
pub(super) fn entry_bytes(entry: &pb::Entry) -> usize {
    entry.data.len() + entry.context.len() + ENTRY_OVERHEAD_BYTES
}

pub(super) fn entry_to_raft(entry: &Entry) -> pb::Entry {
    let (index, term) = (entry.index.0, entry.term.0);
    let mut out = pb::Entry { index, term, ..Default::default() };
    match entry.kind {
        EntryKind::Normal => out.data = entry.payload.clone(),
        EntryKind::Membership => {
            out.set_entry_type(EntryType::EntryConfChangeV2);
            out.context = entry.payload.clone();
        }
    }
    out
}

pub(super) fn entry_from_raft(entry: &pb::Entry) -> Entry {
    let (kind, payload) = match entry.get_entry_type() {
        EntryType::EntryNormal => (EntryKind::Normal, entry.data.clone()),
        // The raft crate's own proposal to leave a joint configuration has no context.
        _ if entry.context.is_empty() => (EntryKind::Membership, leave_joint_payload()),
        _ => (EntryKind::Membership, entry.context.clone()),
    };
    Entry { index: LogIndex(entry.index), term: Term(entry.term), kind, payload }
}

pub(super) fn leave_joint_payload() -> Bytes {
    MembershipChange::default().to_payload()
}

pub(super) fn hard_state_from_raft(state: &pb::HardState) -> HardState {
    HardState { term: Term(state.term), voted_for: NodeId(state.vote) }
}

pub(super) fn membership_to_raft(membership: &Membership) -> ConfState {
    let raw = |nodes: &[NodeId]| nodes.iter().map(|n| n.0).collect::<Vec<u64>>();
    let mut out = ConfState::default();
    out.set_voters(raw(&membership.voters));
    out.set_voters_outgoing(raw(&membership.voters_outgoing));
    out.set_learners(raw(&membership.learners));
    out.set_learners_next(raw(&membership.learners_next));
    out.auto_leave = membership.auto_leave;
    out
}

/// Sorted, because the raft crate keeps its lists in hash sets.
pub(super) fn membership_from_raft(state: &ConfState) -> Membership {
    let sorted = |nodes: &[u64]| {
        let mut nodes: Vec<NodeId> = nodes.iter().copied().map(NodeId).collect();
        nodes.sort_unstable();
        nodes
    };
    Membership {
        voters: sorted(state.get_voters()),
        voters_outgoing: sorted(state.get_voters_outgoing()),
        learners: sorted(state.get_learners()),
        learners_next: sorted(state.get_learners_next()),
        auto_leave: state.auto_leave,
    }
}

/// Several changes are joint and leave by themselves; one is simple; none leaves a joint one.
pub(super) fn change_to_raft(change: &MembershipChange) -> ConfChangeV2 {
    let mut out = ConfChangeV2::default();
    for change in &change.changes {
        let (kind, node) = match change {
            MemberChange::AddVoter(node) => (ConfChangeType::AddNode, node),
            MemberChange::AddLearner(node) => (ConfChangeType::AddLearnerNode, node),
            MemberChange::Remove(node) => (ConfChangeType::RemoveNode, node),
        };
        let mut single = pb::ConfChangeSingle::default();
        single.set_change_type(kind);
        single.node_id = node.0;
        out.mut_changes().push(single);
    }
    out
}

pub(super) fn snapshot_to_raft(at: LogStart, membership: &Membership) -> Snapshot {
    let mut out = Snapshot::default();
    let metadata = out.mut_metadata();
    metadata.index = at.index.0;
    metadata.term = at.term.0;
    metadata.set_conf_state(membership_to_raft(membership));
    out
}

pub(super) fn snapshot_from_raft(snapshot: &Snapshot) -> (LogStart, Membership) {
    let metadata = snapshot.get_metadata();
    let at = LogStart { index: LogIndex(metadata.index), term: Term(metadata.term) };
    (at, membership_from_raft(metadata.get_conf_state()))
}

pub(super) fn role_from_raft(role: raft::StateRole) -> Role {
    match role {
        raft::StateRole::Follower => Role::Follower,
        raft::StateRole::PreCandidate => Role::PreCandidate,
        raft::StateRole::Candidate => Role::Candidate,
        raft::StateRole::Leader => Role::Leader,
    }
}
