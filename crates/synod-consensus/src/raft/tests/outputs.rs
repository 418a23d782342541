//! What must wait for what, seen in single outputs.

use bytes::Bytes;
use raft::eraftpb::MessageType;
use synod_base::{LogStart, NodeId, Term};

use super::cluster::Cluster;
use super::host::{Host, first_disk};
use super::messages::encoded;
use crate::core::*;
use crate::raft::wire;

fn kinds(messages: &[Message]) -> Vec<MessageType> {
    messages.iter().map(|m| wire::decode(m.body.clone()).unwrap().get_msg_type()).collect()
}

#[test]
fn a_vote_leaves_only_after_the_write_that_holds_it() {
    let mut host = Host::new(NodeId(1), 1, first_disk(&[1, 2, 3]));
    let vote = encoded(MessageType::MsgRequestVote, 2, 1, 4, |m| (m.index, m.log_term) = (10, 1));
    host.core.step(NodeId(2), vote).unwrap();
    let output = host.core.take_output().unwrap();
    assert!(output.messages.is_empty());
    assert_eq!(kinds(&output.messages_after_write), [MessageType::MsgRequestVoteResponse]);
    let state = output.write.hard_state.unwrap();
    assert_eq!((state.term, state.voted_for), (Term(4), NodeId(2)));
}

#[test]
fn an_acknowledgement_leaves_only_after_the_write_that_holds_the_entries() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    cluster.propose(1, "x").unwrap();
    cluster.host(1).pump();
    let parcel = cluster.host(1).outbox.remove(0);
    let to = parcel.message.to.0;
    cluster.host(to).receive(parcel).unwrap();
    let output = cluster.host(to).core.take_output().unwrap();
    assert!(output.messages.is_empty());
    assert_eq!(kinds(&output.messages_after_write), [MessageType::MsgAppendResponse]);
    assert_eq!(output.write.entries.len(), 1);
    // An output without a write of its own still waits for the write before it.
    let (from, term) = (NodeId(1), cluster.status(1).term.0);
    let beat = encoded(MessageType::MsgHeartbeat, 1, to, term, |_| {});
    cluster.host(to).core.step(from, beat).unwrap();
    let second = cluster.host(to).core.take_output().unwrap();
    assert!(second.write.is_empty() && second.messages.is_empty());
    assert_eq!(kinds(&second.messages_after_write), [MessageType::MsgHeartbeatResponse]);
}

#[test]
fn a_leader_sends_entries_while_it_writes_them_itself() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    cluster.propose(1, "x").unwrap();
    let output = cluster.host(1).core.take_output().unwrap();
    assert_eq!(kinds(&output.messages), [MessageType::MsgAppend; 2]);
    assert_eq!(output.write.entries.len(), 1);
    assert!(output.messages_after_write.is_empty());
}

/// The raft crate would send at once: after a crash the same term could begin again, differently.
#[test]
fn a_lone_voter_sends_nothing_to_learners_before_its_term_is_durable() {
    let mut disk = first_disk(&[1]);
    disk.engine.membership.learners = vec![NodeId(2)];
    let mut host = Host::new(NodeId(1), 1, disk);
    host.core.campaign();
    assert_eq!(host.core.status().role, Role::Leader);
    let output = host.core.take_output().unwrap();
    assert_eq!(output.write.hard_state.unwrap().term, Term(2));
    assert!(output.messages.is_empty());
    assert_eq!(kinds(&output.messages_after_write), [MessageType::MsgAppend]);
    host.core.propose(vec![Bytes::from_static(b"x")]).unwrap();
    host.core.report_unreachable(NodeId(2));
    while let Some(output) = host.core.take_output() {
        assert!(output.messages.is_empty(), "still not durable");
    }
}

#[test]
fn a_load_of_reads_needs_no_write_and_no_acknowledgement() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    for _ in 0..100 {
        cluster.read(1).unwrap();
        while let Some(output) = cluster.host(1).core.take_output() {
            assert!(output.write.is_empty());
            assert!(output.messages_after_write.is_empty());
            let from = NodeId(1);
            cluster.network.extend(
                output.messages.into_iter().map(|message| super::host::Parcel {
                    from,
                    message,
                    engine: None,
                }),
            );
            cluster.host(1).reads.extend(output.reads);
        }
        for parcel in std::mem::take(&mut cluster.network) {
            cluster.deliver(parcel);
        }
        cluster.hosts.get_mut(&NodeId(2)).unwrap().pump();
        let answers = std::mem::take(&mut cluster.host(2).outbox);
        for parcel in answers {
            cluster.deliver(parcel);
        }
    }
    cluster.settle();
    assert_eq!(cluster.host(1).reads.len(), 100);
}

#[test]
fn a_late_acknowledgement_does_not_count_for_entries_that_replaced_its_own() {
    let mut host = Host::new(NodeId(1), 1, first_disk(&[1, 2, 3]));
    host.eager = false;
    let append = |from: u64, term: u64, entry_term: u64, commit: u64| {
        encoded(MessageType::MsgAppend, from, 1, term, |m| {
            (m.index, m.log_term, m.commit) = (10, 1, commit);
            let mut entry = raft::eraftpb::Entry::default();
            (entry.index, entry.term) = (11, entry_term);
            m.set_entries(vec![entry].into());
        })
    };
    // Written, replaced, and written again by a leader that has the first one.
    for (from, term, entry_term, commit) in [(2, 2, 2, 10), (3, 3, 3, 10), (2, 4, 2, 11)] {
        host.core.step(NodeId(from), append(from, term, entry_term, commit)).unwrap();
        host.pump();
    }
    host.sync(1);
    host.pump();
    assert!(host.engine.history.is_empty(), "a crash now could keep the second write alone");
    host.sync(1);
    host.pump();
    assert!(host.engine.history.is_empty());
    host.sync(1);
    host.pump();
    assert_eq!(host.engine.at, LogStart { index: synod_base::LogIndex(11), term: Term(2) });
}

#[test]
fn no_election_starts_while_a_snapshot_is_not_durable() {
    let mut host = Host::new(NodeId(1), 1, first_disk(&[1, 2, 3]));
    host.eager = false;
    let at = LogStart { index: synod_base::LogIndex(50), term: Term(3) };
    let membership = host.engine.membership.clone();
    let body = encoded(MessageType::MsgSnapshot, 2, 1, 3, |m| {
        m.set_snapshot(crate::raft::convert::snapshot_to_raft(at, &membership));
    });
    host.engine.at = at;
    host.core.step(NodeId(2), body).unwrap();
    for pumped in [false, true] {
        if pumped {
            host.pump();
        }
        host.core.step(NodeId(2), encoded(MessageType::MsgTimeoutNow, 2, 1, 3, |_| {})).unwrap();
        host.core.campaign();
        for _ in 0..50 {
            host.core.tick();
        }
        assert_eq!(host.core.status().role, Role::Follower);
    }
    host.sync(usize::MAX);
    host.core.tick();
    assert_eq!(host.core.status().role, Role::PreCandidate, "now it may");
    assert_eq!(host.core.status().applied_index, at.index);
}
