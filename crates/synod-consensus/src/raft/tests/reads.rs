//! Read barriers: one round to a quorum, never an old answer.

use synod_base::NodeId;

use super::cluster::Cluster;
use super::host::{Host, TICKS, first_disk};
use crate::core::*;

#[test]
fn a_leaders_read_is_answered_after_one_round() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    cluster.propose(1, "x").unwrap();
    cluster.settle();
    let context = cluster.read(1).unwrap();
    cluster.host(1).pump();
    assert!(cluster.host(1).reads.is_empty(), "not before a quorum has answered");
    cluster.settle();
    let commit = cluster.status(1).commit_index;
    assert_eq!(cluster.host(1).reads, [(context, commit)]);
}

#[test]
fn a_followers_read_goes_to_the_leader_and_back() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    cluster.propose(1, "x").unwrap();
    cluster.settle();
    let context = cluster.read(2).unwrap();
    cluster.settle();
    let commit = cluster.status(1).commit_index;
    assert_eq!(cluster.host(2).reads, [(context, commit)]);
    assert!(cluster.host(1).reads.is_empty());
}

#[test]
fn no_read_starts_before_the_leader_has_committed_in_its_term() {
    let mut cluster = Cluster::new(3, &[1, 2, 3]);
    cluster.host(1).core.campaign();
    while cluster.status(1).role != Role::Leader {
        cluster.pump_all();
        for parcel in std::mem::take(&mut cluster.network) {
            cluster.deliver(parcel);
        }
    }
    assert_eq!(cluster.read(1), Err(ReadRefused::NotYet));
    assert!(!cluster.status(1).committed_in_term);
    cluster.settle();
    assert!(cluster.read(1).is_ok());
}

#[test]
fn without_a_leader_there_is_no_read() {
    let mut cluster = Cluster::new(3, &[1, 2, 3]);
    assert_eq!(cluster.read(1), Err(ReadRefused::NoLeader));
    cluster.host(1).core.campaign();
    assert_eq!(cluster.read(1), Err(ReadRefused::NoLeader), "a candidate has none either");
}

#[test]
fn a_lone_voter_answers_at_once() {
    let mut host = Host::new(NodeId(1), 3, first_disk(&[1]));
    host.core.campaign();
    assert_eq!(host.read(), Err(ReadRefused::NotYet), "its first entry is not durable");
    host.pump();
    let context = host.read().unwrap();
    let output = host.core.take_output().unwrap();
    assert_eq!(output.reads, [(context, host.core.status().commit_index)]);
}

#[test]
fn a_leader_that_lost_its_leadership_answers_no_read() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    cluster.cut_off.insert(NodeId(1));
    cluster.read(1).unwrap();
    cluster.run_ticks(4 * TICKS.election as usize);
    let leader = cluster.leader().unwrap();
    cluster.propose(leader.0, "not seen by the old leader").unwrap();
    cluster.settle();
    cluster.heal();
    assert!(cluster.host(1).reads.is_empty());
}

#[test]
fn a_read_whose_round_was_lost_is_answered_by_a_later_heartbeat() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    cluster.read(1).unwrap();
    cluster.host(1).pump();
    cluster.host(1).outbox.clear();
    cluster.run_ticks(TICKS.heartbeat as usize);
    assert_eq!(cluster.host(1).reads.len(), 1);
}
