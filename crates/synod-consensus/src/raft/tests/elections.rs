//! Who leads, and who does not disturb.

use synod_base::{LogIndex, NodeId, Term};

use super::cluster::Cluster;
use super::host::TICKS;
use crate::core::*;

#[test]
fn groups_of_one_three_and_five_elect_one_leader_and_commit_in_its_term() {
    for voters in [&[1][..], &[1, 2, 3], &[1, 2, 3, 4, 5]] {
        let mut cluster = Cluster::new(11, voters);
        cluster.run_ticks(3 * TICKS.election as usize);
        let leader = cluster.leader().expect("somebody leads");
        for &id in voters {
            let status = cluster.status(id);
            assert_eq!(status.leader, leader);
            assert_eq!(status.role == Role::Leader, NodeId(id) == leader);
            assert_eq!(status.applied_index, LogIndex(11), "the leader's first entry");
        }
        assert!(cluster.status(leader.0).committed_in_term);
    }
}

#[test]
fn a_lone_voter_leads_as_soon_as_it_campaigns() {
    let cluster = Cluster::led_by(1, &[7], 7);
    assert_eq!(cluster.status(7).term, Term(2), "the group began in term 1");
}

#[test]
fn a_node_that_was_cut_off_comes_back_without_disturbing_the_leader() {
    let mut cluster = Cluster::led_by(5, &[1, 2, 3], 1);
    let term = cluster.status(1).term;
    cluster.cut_off.insert(NodeId(3));
    cluster.run_ticks(10 * TICKS.election as usize);
    assert_eq!(cluster.status(3).term, term, "asking first does not raise the term");
    assert_eq!(cluster.status(3).role, Role::PreCandidate);
    cluster.cut_off.clear();
    cluster.run_ticks(TICKS.election as usize);
    assert_eq!(cluster.status(1).role, Role::Leader);
    assert_eq!(cluster.status(1).term, term);
    assert_eq!(cluster.status(3).leader, NodeId(1));
}

#[test]
fn a_leader_without_a_quorum_steps_down_and_another_is_elected() {
    let mut cluster = Cluster::led_by(5, &[1, 2, 3], 1);
    cluster.cut_off.insert(NodeId(1));
    cluster.run_ticks(4 * TICKS.election as usize);
    assert_ne!(cluster.status(1).role, Role::Leader);
    let leader = cluster.leader().expect("the other two elect one");
    assert_ne!(leader, NodeId(1));
    cluster.heal();
    assert_eq!(cluster.status(1).leader, cluster.leader().unwrap());
}

#[test]
fn leadership_moves_to_the_named_node_and_proposals_wait_meanwhile() {
    let mut cluster = Cluster::led_by(5, &[1, 2, 3], 1);
    cluster.host(1).core.transfer_leader(NodeId(2));
    assert_eq!(cluster.propose(1, "too early"), Err(ProposeError::Transferring));
    let change = MembershipChange::of(vec![MemberChange::AddLearner(NodeId(4))]);
    assert_eq!(cluster.host(1).core.propose_change(&change), Err(ProposeError::Transferring));
    cluster.settle();
    assert_eq!(cluster.leader(), Some(NodeId(2)));
    assert_eq!(cluster.propose(1, "too late"), Err(ProposeError::NotLeader));
    assert_eq!(cluster.propose(2, "now"), Ok(()));
}

#[test]
fn election_timeouts_depend_on_the_seed_alone() {
    let first_candidates = |seed| {
        let mut cluster = Cluster::new(seed, &[1, 2, 3, 4, 5]);
        (0..40).find_map(|tick| {
            cluster.run_ticks(1);
            cluster.leader().map(|leader| (tick, leader))
        })
    };
    let outcomes: Vec<_> = (0..20).map(first_candidates).collect();
    assert_eq!(outcomes, (0..20).map(first_candidates).collect::<Vec<_>>());
    let different: std::collections::BTreeSet<_> = outcomes.iter().collect();
    assert!(different.len() > 5, "seeds differ: {different:?}");
}

#[test]
fn a_learner_never_campaigns() {
    let mut cluster = Cluster::led_by(5, &[1, 2], 1);
    cluster.add_newcomer(3);
    cluster.change(1, &[MemberChange::AddLearner(NodeId(3))]);
    cluster.cut_off.extend([NodeId(1), NodeId(2)]);
    cluster.run_ticks(10 * TICKS.election as usize);
    cluster.host(3).core.campaign();
    assert_eq!(cluster.status(3).role, Role::Follower);
}
