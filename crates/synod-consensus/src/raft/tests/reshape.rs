//! Changes of members.

use synod_base::{EntryKind, NodeId};

use super::cluster::Cluster;
use super::host::TICKS;
use crate::core::MemberChange::{AddLearner, AddVoter, Remove};
use crate::core::*;

fn ids(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

#[test]
fn one_voter_grows_to_three_by_learners_that_are_promoted() {
    let mut cluster = Cluster::led_by(3, &[1], 1);
    for n in 0..10 {
        cluster.propose(1, &format!("{n}")).unwrap();
    }
    cluster.settle();
    for newcomer in [2, 3] {
        cluster.add_newcomer(newcomer);
        let membership = cluster.change(1, &[AddLearner(NodeId(newcomer))]);
        assert_eq!(membership.learners, ids(&[newcomer]));
        assert_eq!(cluster.host(newcomer).payloads().len(), 10, "it was sent the state");
        assert_eq!(cluster.host(newcomer).engine.membership, membership);
        cluster.change(1, &[AddVoter(NodeId(newcomer))]);
    }
    assert_eq!(cluster.host(1).engine.membership, Membership::of_voters(ids(&[1, 2, 3])));
    cluster.cut_off.insert(NodeId(1));
    cluster.run_ticks(4 * TICKS.election as usize);
    let leader = cluster.leader().expect("the other two go on");
    assert_ne!(leader, NodeId(1));
    cluster.propose(leader.0, "without the first").unwrap();
    cluster.heal();
}

#[test]
fn a_newcomer_may_become_a_voter_at_once() {
    let mut cluster = Cluster::led_by(3, &[1], 1);
    cluster.add_newcomer(2);
    cluster.change(1, &[AddVoter(NodeId(2))]);
    cluster.propose(1, "on both").unwrap();
    cluster.settle();
    assert_eq!(cluster.host(2).payloads().len(), 1);
    cluster.heal();
}

#[test]
fn several_changes_go_through_a_joint_configuration_and_leave_it_by_themselves() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    cluster.add_newcomer(4);
    cluster.add_newcomer(5);
    let changes = [AddVoter(NodeId(4)), AddVoter(NodeId(5)), Remove(NodeId(2)), Remove(NodeId(3))];
    let membership = cluster.change(1, &changes);
    assert_eq!(membership, Membership::of_voters(ids(&[1, 4, 5])));
    let history = &cluster.host(5).engine.history;
    let kinds: Vec<_> = history.values().map(|e| e.kind).collect();
    assert_eq!(kinds.iter().filter(|k| **k == EntryKind::Membership).count(), 2, "in and out");
    cluster.cut_off.extend(ids(&[2, 3]));
    cluster.propose(1, "by the new majority").unwrap();
    cluster.settle();
    assert_eq!(cluster.host(4).payloads().len(), 1);
}

#[test]
fn while_joint_both_majorities_are_needed() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    for id in [4, 5] {
        cluster.add_newcomer(id);
        cluster.change(1, &[AddLearner(NodeId(id))]);
    }
    // The followers are cut off once the joint configuration is applied on the leader.
    let changes = vec![AddVoter(NodeId(4)), AddVoter(NodeId(5)), Remove(NodeId(2))];
    cluster.host(1).core.propose_change(&MembershipChange::of(changes)).unwrap();
    for _ in 0..20 {
        if cluster.host(1).engine.membership.is_joint() {
            break;
        }
        cluster.pump_all();
        for parcel in std::mem::take(&mut cluster.network) {
            cluster.deliver(parcel);
        }
    }
    assert!(cluster.host(1).engine.membership.is_joint());
    cluster.network.clear();
    cluster.cut_off.extend(ids(&[2, 3]));
    let commit = cluster.status(1).commit_index;
    cluster.propose(1, "only the new majority holds it").unwrap();
    cluster.settle();
    cluster.run_ticks(4);
    assert_eq!(cluster.status(1).commit_index, commit);
    cluster.cut_off.clear();
    cluster.run_ticks(4 * TICKS.election as usize);
    assert!(!cluster.host(1).engine.membership.is_joint());
    cluster.heal();
}

#[test]
fn a_new_leader_leaves_the_joint_configuration_that_the_old_one_began() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    cluster.add_newcomer(4);
    let changes = vec![AddVoter(NodeId(4)), Remove(NodeId(3))];
    cluster.host(1).core.propose_change(&MembershipChange::of(changes)).unwrap();
    while !cluster.host(1).engine.membership.is_joint() {
        cluster.pump_all();
        for parcel in std::mem::take(&mut cluster.network) {
            cluster.deliver(parcel);
        }
    }
    cluster.network.clear();
    cluster.cut_off.insert(NodeId(1));
    cluster.host(1).outbox.clear();
    cluster.run_ticks(6 * TICKS.election as usize);
    let leader = cluster.leader().expect("a new leader");
    cluster.cut_off.clear();
    cluster.run_ticks(2 * TICKS.election as usize);
    let membership = cluster.host(leader.0).engine.membership.clone();
    assert_eq!(membership, Membership::of_voters(ids(&[1, 2, 4])));
}

#[test]
fn a_leader_that_removes_itself_steps_down_and_the_others_go_on() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    let remove = MembershipChange::of(vec![Remove(NodeId(1))]);
    cluster.host(1).core.propose_change(&remove).unwrap();
    // More is under way behind the change: the raft crate would panic when it commits.
    cluster.propose(1, "behind the change").unwrap();
    cluster.settle();
    assert_eq!(cluster.status(1).role, Role::Follower);
    cluster.run_ticks(4 * TICKS.election as usize);
    let leader = cluster.leader().expect("one of the others");
    assert_ne!(leader, NodeId(1));
    cluster.heal();
    assert_eq!(cluster.host(2).engine.membership, Membership::of_voters(ids(&[2, 3])));
    assert_eq!(cluster.host(2).payloads().len(), 2);
}

#[test]
fn a_removed_node_that_does_not_know_it_disturbs_nobody() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    cluster.cut_off.insert(NodeId(3));
    cluster.change(1, &[Remove(NodeId(3))]);
    cluster.cut_off.clear();
    let term = cluster.status(1).term;
    cluster.run_ticks(10 * TICKS.election as usize);
    assert_eq!(cluster.status(1).role, Role::Leader);
    assert_eq!(cluster.status(1).term, term);
}

#[test]
fn a_change_that_may_not_run_comes_back_as_an_empty_normal_entry() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    let before = cluster.host(1).engine.membership.clone();
    let refused = [vec![], vec![Remove(NodeId(1)), Remove(NodeId(2)), Remove(NodeId(3))]];
    for changes in refused {
        cluster.host(1).core.propose_change(&MembershipChange::of(changes)).unwrap();
        let at = cluster.status(1).last_index;
        cluster.settle();
        let entry = cluster.host(2).engine.history[&at].clone();
        assert_eq!((entry.kind, entry.payload.len()), (EntryKind::Normal, 0));
    }
    // Of two at a time the second is refused.
    for id in [8, 9] {
        let change = MembershipChange::of(vec![AddLearner(NodeId(id))]);
        cluster.host(1).core.propose_change(&change).unwrap();
    }
    let at = cluster.status(1).last_index;
    cluster.settle();
    assert_eq!(cluster.host(2).engine.history[&at].kind, EntryKind::Normal);
    let membership = cluster.host(1).engine.membership.clone();
    assert_eq!(membership, Membership { learners: ids(&[8]), ..before });
}

#[test]
fn the_hosts_context_comes_back_with_the_change() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    let change = MembershipChange {
        changes: vec![AddLearner(NodeId(9))],
        context: bytes::Bytes::from_static(b"host:port of 9"),
    };
    cluster.host(1).core.propose_change(&change).unwrap();
    let at = cluster.status(1).last_index;
    cluster.settle();
    let payload = cluster.host(3).engine.history[&at].payload.clone();
    assert_eq!(MembershipChange::from_payload(payload), Ok(change));
}

#[test]
fn a_restart_in_a_joint_configuration_goes_on_from_there() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    let changes = vec![AddLearner(NodeId(2)), AddLearner(NodeId(3))];
    cluster.host(1).core.propose_change(&MembershipChange::of(changes)).unwrap();
    while !cluster.host(1).engine.membership.is_joint() {
        cluster.pump_all();
        for parcel in std::mem::take(&mut cluster.network) {
            cluster.deliver(parcel);
        }
    }
    assert_eq!(cluster.host(1).engine.membership.learners_next, ids(&[2, 3]));
    cluster.host(1).compact(synod_base::LogIndex(0));
    cluster.network.clear();
    for id in 1..=3 {
        cluster.crash(id, usize::MAX);
    }
    cluster.run_ticks(6 * TICKS.election as usize);
    let expected = Membership { learners: ids(&[2, 3]), ..Membership::of_voters(ids(&[1])) };
    for id in 1..=3 {
        assert_eq!(cluster.host(id).engine.membership, expected);
    }
}
