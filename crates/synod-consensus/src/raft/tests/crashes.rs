//! Power cuts, bad networks, and that a seed tells the whole story.

use synod_base::{Entry, EntryKind, HardState, LogIndex, NodeId, Term};

use super::cluster::Cluster;
use super::host::{Host, first_disk};
use crate::core::*;

#[test]
fn a_restart_keeps_the_vote_the_term_and_the_entries() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    cluster.propose(1, "kept").unwrap();
    cluster.settle();
    let before = cluster.status(2);
    let hard_state = cluster.host(2).disk.hard_state;
    assert_eq!((hard_state.term, hard_state.voted_for), (Term(2), NodeId(1)));
    cluster.crash(2, 0);
    let after = cluster.status(2);
    assert_eq!((after.term, after.last_index), (before.term, before.last_index));
    // It still refuses another candidate of that term.
    let vote = super::messages::encoded(raft::eraftpb::MessageType::MsgRequestVote, 3, 2, 2, |m| {
        (m.index, m.log_term) = (99, 2)
    });
    cluster.host(2).core.step(NodeId(3), vote).unwrap();
    cluster.host(2).pump();
    assert_eq!(cluster.host(2).disk.hard_state, hard_state);
    cluster.heal();
    assert_eq!(cluster.host(2).payloads().len(), 2);
}

#[test]
fn a_power_cut_of_all_nodes_keeps_everything_that_was_applied() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    for n in 0..50 {
        cluster.propose(1, &format!("{n}")).unwrap();
        cluster.settle();
    }
    cluster.propose(1, "perhaps").unwrap();
    cluster.host(1).eager = false;
    cluster.host(1).pump();
    for id in 1..=3 {
        cluster.crash(id, 0);
        cluster.host(id).eager = true;
    }
    cluster.heal();
    assert!(cluster.host(1).payloads().len() >= 51);
}

#[test]
fn bad_networks_and_power_cuts_lose_no_committed_entry() {
    for seed in 0..60 {
        let voters: &[u64] = [&[1, 2, 3][..], &[1, 2, 3, 4, 5], &[1]][seed as usize % 3];
        let mut cluster = Cluster::new(seed, voters);
        cluster.stir(1500);
        cluster.heal();
    }
}

#[test]
fn bad_networks_and_power_cuts_do_no_harm_while_members_change() {
    for seed in 0..40 {
        let mut cluster = Cluster::new(seed, &[1, 2, 3]);
        cluster.run_ticks(30);
        cluster.add_newcomer(4);
        cluster.add_newcomer(5);
        for _ in 0..12 {
            cluster.stir(120);
            let Some(leader) = cluster.leader() else { continue };
            // Nodes 1 to 3 stay voters; 4 and 5 come as learners or voters, alone or together.
            let mut changes = Vec::new();
            for _ in 0..cluster.rng.u64(1..=2) {
                let node = NodeId(cluster.rng.u64(4..=5));
                changes.push(match cluster.rng.bool() {
                    true => MemberChange::AddVoter(node),
                    false => MemberChange::AddLearner(node),
                });
            }
            let _ = cluster.host(leader.0).core.propose_change(&MembershipChange::of(changes));
        }
        cluster.heal();
    }
}

#[test]
fn one_seed_gives_one_trace() {
    for seed in 0..5 {
        let run = || {
            let mut cluster = Cluster::new(seed, &[1, 2, 3]);
            cluster.stir(2000);
            cluster.trace
        };
        assert_eq!(run(), run());
    }
}

/// With a membership of two changes ago it could win an election that those of today do not hear of.
#[test]
fn who_has_forgotten_several_changes_knows_all_but_the_last_before_it_campaigns() {
    let five = &[1, 2, 3, 4, 5][..];
    for (voters, entries, expected) in [
        (five, vec![normal(11), normal(12)], five),
        (five, vec![normal(11), removed(12, 5), normal(13)], five),
        (five, vec![removed(11, 5), normal(12), removed(13, 4)], &[1, 2, 3, 4]),
        (five, vec![removed(11, 5), removed(12, 4), removed(13, 3), normal(14)], &[1, 2, 3]),
        // 1 may not know that 3 was removed, and have another entry in this one's place with 3's help.
        (&[1, 2, 3], vec![removed(11, 3), removed(12, 1)], &[1, 2]),
        (&[1, 2], vec![removed(11, 1)], &[1, 2]),
    ] {
        assert_eq!(known_at_start(voters, entries), expected);
    }
}

fn normal(index: u64) -> Entry {
    let payload = bytes::Bytes::new();
    Entry { index: LogIndex(index), term: Term(2), kind: EntryKind::Normal, payload }
}

fn removed(index: u64, node: u64) -> Entry {
    changed(index, MemberChange::Remove(NodeId(node)))
}

fn changed(index: u64, change: MemberChange) -> Entry {
    let payload = MembershipChange::of(vec![change]).to_payload();
    Entry { index: LogIndex(index), term: Term(2), kind: EntryKind::Membership, payload }
}

/// The voters that node 2 knows before anybody has told it anything.
fn known_at_start(voters: &[u64], entries: Vec<Entry>) -> Vec<u64> {
    let mut disk = first_disk(voters);
    disk.hard_state = HardState { term: Term(2), voted_for: NodeId::NONE };
    disk.entries = entries;
    let mut host = Host::new(NodeId(2), 1, disk);
    host.eager = false;
    host.pump();
    host.engine.membership.voters.iter().map(|id| id.0).collect()
}
