//! What is committed, when, and how followers catch up.

use bytes::Bytes;
use raft::eraftpb::MessageType;
use synod_base::{Entry, EntryKind, HardState, LogIndex, NodeId, Term};

use super::cluster::Cluster;
use super::host::{Disk, Host, first_disk};
use super::messages::encoded;
use crate::core::*;
use crate::raft::start;

#[test]
fn what_the_leader_takes_is_applied_everywhere_in_its_order() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    let payloads: Vec<Bytes> = (0..100u8).map(|n| Bytes::from(vec![n; 3])).collect();
    cluster.host(1).core.propose(payloads.clone()).unwrap();
    cluster.settle();
    for id in 1..=3 {
        assert_eq!(cluster.host(id).payloads(), payloads);
    }
}

#[test]
fn many_payloads_make_one_message_to_each_follower() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    cluster.host(1).core.propose(vec![Bytes::from_static(b"x"); 500]).unwrap();
    cluster.host(1).pump();
    assert_eq!(cluster.host(1).outbox.len(), 2);
}

#[test]
fn nothing_commits_without_a_quorum() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3, 4, 5], 1);
    let before = cluster.status(1).commit_index;
    cluster.cut_off.extend([3, 4, 5].map(NodeId));
    cluster.propose(1, "held by two of five").unwrap();
    cluster.settle();
    assert_eq!(cluster.status(1).commit_index, before);
    cluster.cut_off.remove(&NodeId(3));
    cluster.run_ticks(2);
    assert!(cluster.status(1).commit_index > before);
}

#[test]
fn a_leaders_own_copy_counts_only_once_it_is_durable() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    cluster.cut_off.insert(NodeId(3));
    let before = cluster.status(1).commit_index;
    cluster.host(1).eager = false;
    cluster.propose(1, "on two disks").unwrap();
    cluster.settle();
    assert_eq!(cluster.status(1).commit_index, before);
    cluster.host(1).sync(1);
    assert!(cluster.status(1).commit_index > before);
}

/// Raft paper, figure 8: an entry of an older term on a majority may still be overwritten.
#[test]
fn no_entry_of_an_older_term_is_committed_by_counting() {
    let mut disk = first_disk(&[1, 2, 3, 4, 5]);
    disk.hard_state = HardState { term: Term(3), voted_for: NodeId::NONE };
    let payload = Bytes::from_static(b"of term 2");
    let (index, kind) = (LogIndex(11), EntryKind::Normal);
    disk.entries.push(Entry { index, term: Term(2), kind, payload });
    let mut leader = Host::new(NodeId(1), 1, disk);
    leader.core.campaign();
    leader.pump();
    for kind in [MessageType::MsgRequestPreVoteResponse, MessageType::MsgRequestVoteResponse] {
        for from in [2, 3] {
            leader.core.step(NodeId(from), encoded(kind, from, 1, 4, |_| {})).unwrap();
        }
        leader.pump();
    }
    assert_eq!(leader.core.status().role, Role::Leader);
    let ack = |leader: &mut Host, from: u64, index: u64| {
        let ack = encoded(MessageType::MsgAppendResponse, from, 1, 4, |m| m.index = index);
        leader.core.step(NodeId(from), ack).unwrap();
        leader.pump();
        leader.core.status().commit_index
    };
    for from in [2, 3, 4] {
        assert_eq!(ack(&mut leader, from, 11), LogIndex(10), "four of five hold it");
    }
    assert_eq!(ack(&mut leader, 2, 12), LogIndex(10));
    assert_eq!(ack(&mut leader, 3, 12), LogIndex(12), "with an entry of its own term");
}

#[test]
fn a_follower_that_is_far_behind_gets_the_state_instead_of_the_log() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    cluster.cut_off.insert(NodeId(3));
    for n in 0..20 {
        cluster.propose(1, &format!("{n}")).unwrap();
        cluster.settle();
    }
    let bytes = cluster.host(1).core.log_bytes();
    cluster.host(1).compact(LogIndex(25));
    assert!(cluster.host(1).core.log_bytes() < bytes);
    assert_eq!(cluster.host(1).core.term_at(LogIndex(24)), None);
    assert_eq!(cluster.host(1).core.term_at(LogIndex(25)), Some(Term(2)), "its start's term stays");
    cluster.cut_off.clear();
    cluster.run_ticks(8);
    let engine = cluster.host(1).engine.clone();
    assert_eq!(cluster.host(3).engine, engine);
    assert!(cluster.host(3).disk.start.index >= LogIndex(25), "the log starts after the snapshot");
    cluster.propose(1, "as usual").unwrap();
    cluster.settle();
    assert_eq!(cluster.host(3).payloads().len(), 21);
    let progress = cluster.host(1).core.progress();
    assert_eq!(progress.iter().map(|p| p.node).collect::<Vec<_>>(), [NodeId(2), NodeId(3)]);
    let last = cluster.status(1).last_index;
    assert!(progress.iter().all(|p| p.matched == last && p.recently_active));
}

#[test]
fn an_undelivered_snapshot_is_sent_again() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    cluster.cut_off.insert(NodeId(3));
    for n in 0..20 {
        cluster.propose(1, &format!("{n}")).unwrap();
    }
    cluster.settle();
    cluster.host(1).compact(LogIndex(25));
    cluster.cut_off.clear();
    let mut lost = 0;
    for _ in 0..40 {
        for host in cluster.hosts.values_mut() {
            host.core.tick();
        }
        cluster.pump_all();
        while let Some(parcel) = cluster.network.pop() {
            if parcel.engine.is_some() && lost < 2 {
                lost += 1;
                cluster.host(1).core.report_snapshot(NodeId(3), false);
            } else {
                cluster.deliver(parcel);
                cluster.pump_all();
            }
        }
    }
    assert_eq!(lost, 2);
    assert_eq!(cluster.host(3).payloads().len(), 20);
}

#[test]
fn a_stale_snapshot_does_not_leave_the_log_behind_the_engine() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    let (mut far, mut late) = (Vec::new(), Vec::new());
    cluster.cut_off.insert(NodeId(3));
    for n in 0..20 {
        cluster.propose(1, &format!("{n}")).unwrap();
        cluster.settle();
    }
    let at = cluster.host(1).engine.at;
    let engine = cluster.host(1).engine.clone();
    let message = cluster.host(1).core.snapshot_message(NodeId(3), at, &engine.membership);
    late.push((message.unwrap(), engine));
    // Meanwhile node 3 has heard of a later term.
    far.push(encoded(MessageType::MsgRequestVote, 2, 3, 9, |_| {}));
    cluster.run_ticks(12);
    for body in far {
        cluster.host(3).core.step(NodeId(2), body).unwrap();
    }
    cluster.host(3).pump();
    assert_eq!(cluster.status(3).term, Term(9));
    for (message, engine) in late {
        let parcel = super::host::Parcel { from: NodeId(1), message, engine: Some(engine) };
        cluster.host(3).receive(parcel).unwrap();
        cluster.host(3).pump();
    }
    assert_eq!(cluster.host(3).disk.start, at);
    assert_eq!(cluster.status(3).applied_index, at.index);
    cluster.crash(3, 0);
    cluster.heal();
}

#[test]
fn a_snapshot_of_what_the_log_already_holds_is_not_applied_twice() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    cluster.host(3).eager = false;
    for n in 0..5 {
        cluster.propose(1, &format!("{n}")).unwrap();
        cluster.settle();
    }
    assert!(cluster.host(3).payloads().is_empty(), "nothing is durable there yet");
    let engine = cluster.host(1).engine.clone();
    let to = NodeId(3);
    let core = &cluster.host(1).core;
    let message = core.snapshot_message(to, engine.at, &engine.membership).unwrap();
    let parcel = super::host::Parcel { from: NodeId(1), message, engine: Some(engine) };
    cluster.host(3).receive(parcel).unwrap();
    cluster.host(3).eager = true;
    cluster.propose(1, "next").unwrap();
    cluster.settle();
    assert_eq!(cluster.host(3).payloads().len(), 6);
}

#[test]
fn too_much_un_committed_is_refused_as_overload() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    cluster.cut_off.extend([NodeId(2), NodeId(3)]);
    let megabyte = Bytes::from(vec![0; 1 << 20]);
    let limit = start::MAX_UNCOMMITTED_BYTES >> 20;
    for taken in 0..limit {
        assert_eq!(cluster.host(1).core.proposal_room() as u64, (limit - taken) << 20);
        cluster.host(1).core.propose(vec![megabyte.clone()]).unwrap();
    }
    assert_eq!(cluster.host(1).core.proposal_room(), 0);
    assert_eq!(cluster.host(2).core.proposal_room(), 0, "it does not lead");
    let last = cluster.status(1).last_index;
    let refused = cluster.host(1).core.propose(vec![megabyte.clone()]);
    assert_eq!(refused, Err(ProposeError::Overloaded));
    assert_eq!(cluster.status(1).last_index, last, "a refused one is nowhere");
    cluster.cut_off.clear();
    cluster.run_ticks(6);
    assert_eq!(cluster.host(1).core.propose(vec![megabyte]), Ok(()));
    cluster.settle();
    assert_eq!(cluster.host(3).payloads().len() as u64, limit + 1);
}

#[test]
fn what_waits_for_a_full_disk_is_bounded_on_followers_and_on_the_leader() {
    let limit = start::MAX_UNDURABLE_BYTES >> 20;
    let megabyte = Bytes::from(vec![0; 1 << 20]);
    for stuck in [1, 3] {
        let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
        cluster.host(stuck).eager = false;
        let mut taken = 0;
        for _ in 0..2 * limit {
            taken += usize::from(cluster.host(1).core.propose(vec![megabyte.clone()]).is_ok());
            cluster.settle();
        }
        assert_eq!(taken, if stuck == 1 { limit } else { 2 * limit });
        let waiting = cluster.host(stuck).unsynced.iter().flat_map(|(write, _)| &write.entries);
        assert_eq!(waiting.map(|e| e.payload.len()).sum::<usize>() >> 20, limit);
        // Room again: it gets, and takes, what it missed.
        cluster.host(stuck).eager = true;
        cluster.run_ticks(10);
        assert_eq!(cluster.host(1).core.propose(vec![megabyte.clone()]), Ok(()));
        cluster.run_ticks(10);
        for id in 1..=3 {
            assert_eq!(cluster.host(id).payloads().len(), taken + 1, "at {id}");
        }
    }
}

#[test]
fn a_core_refuses_a_log_and_an_engine_that_do_not_fit() {
    let good = || {
        let mut disk = first_disk(&[1, 2, 3]);
        disk.hard_state.term = Term(2);
        let payload = Bytes::new();
        disk.entries.push(Entry {
            index: LogIndex(11),
            term: Term(2),
            kind: EntryKind::Normal,
            payload,
        });
        disk
    };
    let refused = |change: fn(&mut Disk)| {
        let mut disk = good();
        change(&mut disk);
        let start = super::host::core_start(NodeId(1), 1, &disk);
        crate::RaftCore::new(start).err().expect("it should be refused")
    };
    assert!(crate::RaftCore::new(super::host::core_start(NodeId(1), 1, &good())).is_ok());
    let lost = CoreStartError::LogLost { applied: LogIndex(12), last: LogIndex(11) };
    assert_eq!(refused(|d| d.engine.at.index = LogIndex(12)), lost);
    let lost = CoreStartError::StateLost { start: LogIndex(10), applied: LogIndex(9) };
    assert_eq!(refused(|d| d.engine.at.index = LogIndex(9)), lost);
    let lost = CoreStartError::VoteLost { term: Term(1), last_term: Term(2) };
    assert_eq!(refused(|d| d.hard_state.term = Term(1)), lost);
    let damaged = CoreStartError::LogDamaged { index: LogIndex(12) };
    assert_eq!(refused(|d| d.entries[0].index = LogIndex(12)), damaged);
    let damaged = CoreStartError::LogDamaged { index: LogIndex(11) };
    assert_eq!(refused(|d| d.entries[0].term = Term(0)), damaged);
    let twice = refused(|d| d.engine.membership.voters.push(NodeId(3)));
    assert!(matches!(twice, CoreStartError::Membership(_)));
    let mut start = super::host::core_start(NodeId(1), 1, &good());
    start.ticks = CoreTicks { heartbeat: 5, election: 5 };
    assert!(matches!(crate::RaftCore::new(start), Err(CoreStartError::Settings(_))));
}
