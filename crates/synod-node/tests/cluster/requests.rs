//! Writes, reads and their errors: forwarded, overdue, unknown, moved.

use synod_base::disk::Crash;
use synod_base::{LeaseId, NodeId, Revision};
use synod_node::frame::Frame;
use synod_node::{
    Effects, Request, RequestError, Response, StreamId, WatchKind, WatchRequest, WatchSpec,
};
use synod_state::kv::Command;

use crate::world::World;
use crate::{get, put, seconds};

#[test]
fn a_lone_node_serves_and_shows_after_a_power_loss_all_that_it_acknowledged() {
    let mut world = World::new(1);
    let node = NodeId(1);
    for n in 0..50 {
        world.write(node, &format!("k{n}"), format!("v{n}"));
    }
    // The engine forgets all it was not told to keep; the log has it.
    world.crash(node, Crash::LoseUnsynced);
    world.start(node);
    // The first thing asked, and without a barrier: a node never shows less than before.
    let token = world.request(node, get("k49", false));
    let Ok((_, Response::Range(range))) = world.wait_for(token) else { panic!() };
    assert_eq!(range.kvs[0].value, "v49");
    for n in 0..50 {
        assert_eq!(world.read(node, &format!("k{n}")), Some(format!("v{n}").into()));
    }
}

#[test]
fn every_node_takes_writes_and_every_node_reads_them() {
    let mut world = World::new(3);
    for at in 1..=3 {
        world.write(NodeId(at), &format!("from{at}"), "here");
        for reader in 1..=3 {
            assert_eq!(world.read(NodeId(reader), &format!("from{at}")), Some("here".into()));
        }
    }
}

#[test]
fn without_a_leader_each_request_is_answered_once_at_its_deadline() {
    let mut world = World::new(3);
    let alone = world.follower();
    world.cut.insert(alone);
    world.advance(seconds(3));
    let before = world.now;
    let write = world.request(alone, put("k", "v"));
    let read = world.request(alone, get("k", true));
    let lease = world.request(alone, Request::LeaseKeepAlive { id: LeaseId(1) });
    for token in [write, read, lease] {
        assert_eq!(world.wait_for(token), Err(RequestError::NoLeader));
    }
    assert!(world.now - before < seconds(6));
    world.cut.clear();
    world.advance(seconds(10));
    assert_eq!(world.read(alone, "k"), None, "it was said not to have happened");
}

#[test]
fn thousands_of_overdue_writes_are_refused_and_none_of_them_happens() {
    let mut world = World::new(3);
    let alone = world.follower();
    world.cut.insert(alone);
    world.advance(seconds(3));
    let tokens: Vec<_> =
        (0..16_384).map(|n| world.request(alone, put(&format!("k{n}"), "v"))).collect();
    let one_more = world.request(alone, put("k", "v"));
    assert_eq!(world.wait_for(one_more), Err(RequestError::Overloaded));
    world.advance(seconds(6));
    world.cut.clear();
    for token in tokens {
        assert_eq!(world.reply(token), Some(&Err(RequestError::NoLeader)));
    }
    world.advance(seconds(5));
    assert_eq!(world.node(alone).kv().key_count(), 0);
}

#[test]
fn large_writes_wait_up_to_a_bound_of_bytes_and_the_rest_is_refused() {
    let mut world = World::with_sizes(3, 256 << 20, 8 << 20);
    let alone = world.follower();
    world.cut.insert(alone);
    world.advance(seconds(3));
    let large = vec![7u8; 1 << 20];
    let ask = |world: &mut World, at, n| world.request(at, put(&format!("k{n}"), large.clone()));
    let tokens: Vec<_> = (0..80).map(|n| ask(&mut world, alone, n)).collect();
    world.settle();
    for (n, token) in tokens.iter().enumerate() {
        let refused = (n >= 63).then_some(&Err(RequestError::Overloaded));
        assert_eq!(world.reply(*token), refused, "write {n}");
    }
    // A leader that cannot commit takes more, once into its log and once into its queue.
    let leader = world.leader().unwrap();
    world.passes = Some(Box::new(move |_, to, _| to != leader));
    for n in 0..80 {
        ask(&mut world, leader, n);
        world.settle();
    }
    world.passes = None;
    world.cut.clear();
    world.advance(seconds(3));
    for n in 0..80 {
        assert!(world.read(alone, &format!("k{n}")).is_some(), "write {n}");
    }
}

#[test]
fn a_write_under_way_over_a_change_of_leader_is_unknown() {
    let mut world = World::new(3);
    let old = world.leader().unwrap();
    world.cut.insert(old);
    let token = world.request(old, put("k", "v"));
    world.advance(seconds(4));
    world.cut.clear();
    assert_eq!(world.wait_for(token), Err(RequestError::LeaderChanged));
    world.advance(seconds(3));
    let leader = world.leader().unwrap();
    assert_ne!(leader, old);
    assert_eq!(world.read(old, "k"), None, "its entry was replaced");
}

#[test]
fn leadership_has_moved_when_it_is_said_to_have_moved() {
    let mut world = World::new(3);
    let (old, to) = (world.leader().unwrap(), world.follower());
    // The heir is behind: it must be brought up first.
    world.passes = Some(Box::new(move |_, receiver, _| receiver != to));
    world.write(old, "k", "v");
    let token = world.request(old, Request::MoveLeader { to });
    world.settle();
    assert_eq!(world.reply(token), None);
    world.passes = None;
    assert!(matches!(world.wait_for(token), Ok((_, Response::Moved))));
    assert_eq!(world.node(old).status().leader, to);
    world.write(old, "k", "w");
    assert_eq!(world.read(to, "k"), Some("w".into()));
}

#[test]
fn a_hand_over_to_a_dead_member_ends_with_an_error_and_writes_go_on() {
    let mut world = World::new(3);
    let (old, to) = (world.leader().unwrap(), world.follower());
    world.crash(to, Crash::LoseUnsynced);
    let token = world.request(old, Request::MoveLeader { to });
    let write = world.request(old, put("k", "v"));
    assert_eq!(world.wait_for(token), Err(RequestError::TimedOut));
    world.wait_for(write).unwrap();
    assert_eq!(world.leader(), Some(old));
}

#[test]
fn a_forwarded_write_that_the_network_repeats_happens_once() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader().unwrap(), world.follower());
    world.record_frames = true;
    world.write(follower, "k", "v");
    let before = world.node(leader).kv().revision();
    for (from, to, frame) in std::mem::take(&mut world.sent) {
        if matches!(Frame::decode(frame.clone()).unwrap(), Frame::Propose { .. }) {
            world.deliver(from, to, frame);
        }
    }
    world.advance(seconds(1));
    assert_eq!(world.node(leader).kv().revision(), before);
}

#[test]
fn a_long_hash_is_made_beside_other_work_and_few_may_wait() {
    let mut world = World::with_sizes(3, 256 << 20, 8 << 20);
    for n in 0..8 {
        world.write(NodeId(1), &format!("k{n}"), vec![n; 1 << 20]);
    }
    world.advance(seconds(1));
    let ask = || Request::HashKv { revision: Revision(0) };
    let tokens: Vec<_> = (0..8).map(|_| world.request(NodeId(1), ask())).collect();
    let one_more = world.request(NodeId(1), ask());
    let read = world.request(NodeId(1), get("k1", false));
    let mut effects = Effects::default();
    let now = world.now;
    world.node_mut(NodeId(1)).turn(now, &mut effects);
    // The refusal and the read; no hash yet, and more to do at once.
    let answered: Vec<_> = effects.replies.iter().map(|(token, _)| *token).collect();
    assert_eq!(answered, [one_more, read]);
    assert_eq!(effects.replies[0].1, Err(RequestError::Overloaded));
    assert!(world.node(NodeId(1)).next_deadline() <= now);
    let hash = |reply| match reply {
        Ok((_, Response::HashKv { hash, .. })) => hash,
        other => panic!("{other:?}"),
    };
    let first = hash(world.wait_for(tokens[0]));
    for token in tokens {
        assert_eq!(hash(world.wait_for(token)), first);
    }
    assert_eq!(hash(world.ask(NodeId(2), ask())), first);
}

#[test]
fn a_watch_that_keeps_up_is_not_ended_by_a_compaction_in_the_turn_of_its_events() {
    let mut world = World::new(1);
    let node = NodeId(1);
    let range = crate::range("k");
    let spec = WatchSpec { range, ..WatchSpec::default() };
    world.watch(node, WatchRequest::Create { stream: StreamId(1), spec });
    world.settle();
    let revision = Revision(world.node(node).kv().revision().0 + 3);
    for value in ["1", "2", "3"] {
        world.request(node, put("k", value));
    }
    let compaction = world.request(node, Request::Write(Command::Compact { revision }));
    world.wait_for(compaction).unwrap();
    let mut events = 0;
    for delivery in &world.deliveries {
        match &delivery.kind {
            WatchKind::Events { events: some, .. } => events += some.len(),
            WatchKind::Canceled { reason, .. } => panic!("{reason}"),
            WatchKind::Created | WatchKind::Progress => {}
        }
    }
    assert_eq!(events, 3);
}
