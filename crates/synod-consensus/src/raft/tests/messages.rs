//! Messages as bytes: what comes back, and what is refused.

use bytes::Bytes;
use proptest::prelude::*;
use raft::eraftpb::{self as pb, MessageType};
use synod_base::{LogIndex, LogStart, NodeId, Term};

use super::cluster::Cluster;
use super::host::{Disk, Host};
use crate::core::*;
use crate::raft::{convert, wire};

/// A message of this kind as a peer would send it.
pub(super) fn encoded(
    kind: MessageType,
    from: u64,
    to: u64,
    term: u64,
    fill: impl FnOnce(&mut pb::Message),
) -> Bytes {
    wire::encode(&message(kind, from, to, term, fill)).body
}

fn message(
    kind: MessageType,
    from: u64,
    to: u64,
    term: u64,
    fill: impl FnOnce(&mut pb::Message),
) -> pb::Message {
    let mut message = pb::Message::default();
    message.set_msg_type(kind);
    (message.from, message.to, message.term) = (from, to, term);
    fill(&mut message);
    message
}

fn context(node: u64) -> Bytes {
    ReadContext { node: NodeId(node), start_number: 3, counter: 9 }.to_bytes()
}

fn entry(index: u64, term: u64, data: &'static [u8]) -> pb::Entry {
    let mut entry = pb::Entry::default();
    (entry.index, entry.term, entry.data) = (index, term, Bytes::from_static(data));
    entry
}

fn membership_entry(index: u64, term: u64) -> pb::Entry {
    let mut entry = entry(index, term, b"");
    entry.set_entry_type(pb::EntryType::EntryConfChangeV2);
    entry.context = MembershipChange::of(vec![MemberChange::Remove(NodeId(4))]).to_payload();
    entry
}

/// One message of every kind, with every field set that the kind has.
fn every_kind() -> Vec<pb::Message> {
    use MessageType as M;
    let membership = Membership::of_voters(vec![NodeId(1), NodeId(2)]);
    let at = LogStart { index: LogIndex(12), term: Term(3) };
    let read = |m: &mut pb::Message| m.set_entries(vec![entry(0, 0, b"")].into());
    vec![
        message(M::MsgAppend, 2, 1, 5, |m| {
            (m.index, m.log_term, m.commit) = (10, 1, 9);
            let entries = vec![entry(11, 2, b"a"), membership_entry(12, 5), entry(13, 5, b"")];
            m.set_entries(entries.into());
        }),
        message(M::MsgAppend, 2, 1, 5, |m| (m.index, m.log_term, m.commit) = (10, 1, 10)),
        message(M::MsgAppendResponse, 2, 1, 5, |m| (m.index, m.commit) = (11, 10)),
        message(M::MsgAppendResponse, 2, 1, 5, |m| {
            (m.index, m.reject, m.reject_hint, m.log_term) = (11, true, 9, 4);
        }),
        message(M::MsgRequestVote, 2, 1, 5, |m| {
            (m.index, m.log_term, m.commit, m.commit_term) = (11, 4, 10, 1);
            m.context = Bytes::from_static(raft::CAMPAIGN_TRANSFER);
        }),
        message(M::MsgRequestPreVote, 2, 1, 5, |m| (m.index, m.log_term) = (11, 4)),
        message(M::MsgRequestVoteResponse, 2, 1, 5, |m| {
            (m.reject, m.commit, m.commit_term) = (true, 10, 1);
        }),
        message(M::MsgRequestPreVoteResponse, 2, 1, 5, |_| {}),
        message(M::MsgSnapshot, 2, 1, 5, |m| {
            m.set_snapshot(convert::snapshot_to_raft(at, &membership));
        }),
        message(M::MsgHeartbeat, 2, 1, 5, |m| (m.commit, m.context) = (10, context(2))),
        message(M::MsgHeartbeatResponse, 2, 1, 5, |m| m.commit = 10),
        message(M::MsgTimeoutNow, 2, 1, 5, |_| {}),
        message(M::MsgReadIndex, 2, 1, 0, |m| {
            read(m);
            m.mut_entries()[0].data = context(2);
        }),
        message(M::MsgReadIndexResp, 2, 1, 5, |m| {
            read(m);
            (m.index, m.mut_entries()[0].data) = (10, context(1));
        }),
    ]
}

fn body_of(message: &pb::Message) -> Bytes {
    let encoded = wire::encode(message);
    assert_eq!(encoded.to, NodeId(message.to));
    encoded.body
}

/// A follower in term 5 whose log is 11..=12 after a start at 10.
fn follower() -> Host {
    let mut cluster = Cluster::new(1, &[1, 2, 3]);
    let append = encoded(MessageType::MsgAppend, 2, 1, 5, |m| {
        (m.index, m.log_term, m.commit) = (10, 1, 11);
        m.set_entries(vec![entry(11, 2, b"a"), entry(12, 2, b"b")].into());
    });
    cluster.host(1).core.step(NodeId(2), append).unwrap();
    let mut host = cluster.hosts.remove(&NodeId(1)).unwrap();
    host.pump();
    host
}

#[test]
fn every_kind_of_message_comes_back_as_it_went_in() {
    for message in every_kind() {
        assert_eq!(wire::decode(body_of(&message)), Ok(message));
    }
}

#[test]
fn payloads_are_slices_of_the_received_frame() {
    let body = body_of(&every_kind()[0]);
    let decoded = wire::decode(body.clone()).unwrap();
    let data = &decoded.entries[0].data;
    assert!(body.as_ptr_range().contains(&data.as_ptr()));
}

#[test]
fn a_message_cut_anywhere_is_refused() {
    for message in every_kind() {
        let body = body_of(&message);
        for cut in 0..body.len() {
            let refused = wire::decode(body.slice(..cut));
            assert!(refused.is_err(), "{:?} cut at {cut}", message.get_msg_type());
        }
        let longer = Bytes::from([&body[..], &[0]].concat());
        assert!(wire::decode(longer).is_err());
    }
}

#[test]
fn kinds_that_a_replica_sends_only_to_itself_are_refused_from_peers() {
    let body = body_of(&every_kind()[0]);
    for kind in [0u8, 1, 2, 10, 11, 12, 13] {
        let mut forged = body.to_vec();
        forged[0] = kind;
        assert!(matches!(wire::decode(forged.into()), Err(StepError::Forbidden(_))), "{kind}");
    }
    let mut unknown = body.to_vec();
    unknown[0] = 19;
    assert!(matches!(wire::decode(unknown.into()), Err(StepError::Malformed(_))));
}

#[test]
fn a_wrong_sender_or_receiver_is_refused_and_changes_nothing() {
    let mut host = follower();
    let before = host.core.status();
    let vote = |from, to| {
        encoded(MessageType::MsgRequestVote, from, to, 9, |m| (m.index, m.log_term) = (99, 9))
    };
    for (peer, from, to) in [(3, 2, 1), (2, 2, 3), (1, 1, 1), (2, 0, 1), (2, 2, 0)] {
        let refused = host.core.step(NodeId(peer), vote(from, to));
        assert!(matches!(refused, Err(StepError::Forbidden(_))), "{peer} {from} {to}");
    }
    assert_eq!(host.core.status(), before);
    assert!(host.core.take_output().is_none());
}

#[test]
fn messages_that_would_panic_the_raft_crate_are_refused_and_change_nothing() {
    use MessageType as M;
    let append = |fill: fn(&mut pb::Message)| encoded(M::MsgAppend, 2, 1, 5, fill);
    let snapshot = |membership: Membership, index, term| {
        let at = LogStart { index: LogIndex(index), term: Term(term) };
        encoded(M::MsgSnapshot, 2, 1, 5, |m| {
            m.set_snapshot(convert::snapshot_to_raft(at, &membership));
        })
    };
    let good = Membership::of_voters(vec![NodeId(1), NodeId(2)]);
    let none = Membership::default();
    let wrong = [
        ("without a term", encoded(M::MsgHeartbeat, 2, 1, 0, |_| {})),
        (
            "a read with a term",
            encoded(M::MsgReadIndex, 2, 1, 5, |m| {
                m.set_entries(vec![entry(0, 0, b"")].into());
                m.mut_entries()[0].data = context(2);
            }),
        ),
        ("past the end, no term", append(|m| m.index = 40)),
        (
            "gap",
            append(|m| {
                (m.index, m.log_term) = (12, 2);
                m.set_entries(vec![entry(14, 5, b"")].into());
            }),
        ),
        (
            "falling terms",
            append(|m| {
                (m.index, m.log_term) = (12, 2);
                m.set_entries(vec![entry(13, 1, b"")].into());
            }),
        ),
        (
            "a term to come",
            append(|m| {
                (m.index, m.log_term) = (12, 2);
                m.set_entries(vec![entry(13, 6, b"")].into());
            }),
        ),
        ("a term without end", encoded(M::MsgRequestVote, 2, 1, u64::MAX, |_| {})),
        ("an index without end", append(|m| (m.index, m.log_term) = (u64::MAX, 2))),
        ("no voters", snapshot(none, 20, 2)),
        ("position 0", snapshot(good.clone(), 0, 0)),
        ("snapshot of a later term", snapshot(good, 20, 6)),
        (
            "hint past index",
            encoded(M::MsgAppendResponse, 2, 1, 5, |m| {
                (m.index, m.reject, m.reject_hint) = (5, true, 6);
            }),
        ),
        (
            "another's read",
            encoded(M::MsgReadIndex, 2, 1, 0, |m| {
                m.set_entries(vec![entry(0, 0, b"")].into());
                m.mut_entries()[0].data = context(3);
            }),
        ),
        (
            "an odd read context",
            encoded(M::MsgHeartbeat, 2, 1, 5, |m| {
                m.context = Bytes::from_static(b"odd");
            }),
        ),
    ];
    let mut host = follower();
    let before = host.core.status();
    for (name, body) in wrong {
        assert!(host.core.step(NodeId(2), body).is_err(), "{name}");
        assert_eq!(host.core.status(), before, "{name}");
        assert!(host.core.take_output().is_none(), "{name}");
    }
}

#[test]
fn a_heartbeat_past_the_end_of_the_log_tells_the_host_that_entries_were_lost() {
    let mut host = follower();
    let beat = encoded(MessageType::MsgHeartbeat, 2, 1, 5, |m| m.commit = 13);
    let lost = StepError::LogLost { commit: LogIndex(13), last: LogIndex(12) };
    assert_eq!(host.core.step(NodeId(2), beat), Err(lost));
    let old = encoded(MessageType::MsgHeartbeat, 2, 1, 4, |m| m.commit = 13);
    assert_eq!(host.core.step(NodeId(2), old), Ok(()), "an old leader's word does not count");
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_refused() {
    let mut cluster = Cluster::led_by(3, &[1, 2, 3], 1);
    let (term, last) = (cluster.status(1).term, cluster.status(1).last_index);
    let ack = encoded(MessageType::MsgAppendResponse, 2, 1, term.0, |m| m.index = last.0 + 1);
    let refused = cluster.host(1).core.step(NodeId(2), ack);
    assert!(matches!(refused, Err(StepError::Forbidden(_))));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn arbitrary_bytes_never_panic_a_decoder(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = wire::decode(Bytes::from(bytes));
    }

    #[test]
    fn a_damaged_message_never_panics_a_replica(
        which in 0usize..14,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        newcomer in any::<bool>(),
    ) {
        let mut body = body_of(&every_kind()[which]).to_vec();
        for (at, byte) in damage {
            // Addresses stay: damage there is refused at once.
            let at = at.index(body.len());
            if at == 0 || at > 16 {
                body[at] = byte;
            }
        }
        let mut host = if newcomer { Host::new(NodeId(1), 1, Disk::default()) } else { follower() };
        if let Ok(message) = wire::decode(body.clone().into())
            && message.get_msg_type() == MessageType::MsgSnapshot
        {
            let (at, membership) = convert::snapshot_from_raft(message.get_snapshot());
            if at.index > host.engine.at.index {
                (host.engine.at, host.engine.membership) = (at, membership);
            }
        }
        let _ = host.core.step(NodeId(2), body.into());
        host.core.check();
        while let Some(output) = host.core.take_output() {
            host.core.on_persisted(output.write.number);
        }
        for _ in 0..40 {
            host.core.tick();
            while let Some(output) = host.core.take_output() {
                host.core.on_persisted(output.write.number);
            }
        }
    }
}
