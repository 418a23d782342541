//! Full disks: what is refused, what is still taken, and that nothing is lost.

use std::time::Duration;

use synod_base::disk::Crash;
use synod_base::{LeaseId, NodeId};
use synod_node::{Request, RequestError, Response};
use synod_state::kv::Command;

use crate::world::World;
use crate::{delete, grant, put, put_with, seconds};

#[test]
fn a_full_leader_refuses_puts_through_any_node_at_once_and_takes_what_makes_room() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader().unwrap(), world.follower());
    world.write(follower, "k", "v");
    world.node_mut(leader).on_disk_full(true);
    for at in [leader, follower] {
        let before = world.now;
        assert_eq!(world.ask(at, put("l", "v")), Err(RequestError::DiskFull), "asked at {at}");
        assert!(world.now - before < seconds(1));
    }
    let revision = world.node(leader).kv().revision();
    world.ask(follower, Request::Write(Command::Compact { revision })).unwrap();
    world.ask(follower, delete("k")).unwrap();
    assert_eq!(world.read(leader, "k"), None);
    world.node_mut(leader).on_disk_full(false);
    world.write(follower, "l", "v");
}

#[test]
fn a_full_engine_keeps_what_was_applied_until_there_is_room() {
    let mut world = World::new(1);
    let node = NodeId(1);
    world.write(node, "a", "1");
    world.machines[&node].engine.set_full(true);
    world.write(node, "b", "2");
    assert_eq!(world.ask(node, put("c", "3")), Err(RequestError::DiskFull));
    assert_eq!(world.read(node, "b"), Some("2".into()), "applied, though not in the engine");
    let revision = world.node(node).kv().revision();
    world.ask(node, Request::Write(Command::Compact { revision })).unwrap();
    world.advance(seconds(1));
    world.machines[&node].engine.set_full(false);
    world.advance(seconds(1));
    world.write(node, "c", "3");
    world.crash(node, Crash::LoseUnsynced);
    world.start(node);
    for (key, value) in [("a", "1"), ("b", "2"), ("c", "3")] {
        assert_eq!(world.read(node, key), Some(value.into()));
    }
}

#[test]
fn a_crash_while_the_engine_is_full_loses_nothing() {
    let mut world = World::new(1);
    let node = NodeId(1);
    world.machines[&node].engine.set_full(true);
    for n in 0..5 {
        let token = world.request(node, put(&format!("k{n}"), "v"));
        world.wait_for(token).ok();
    }
    let written = world.node(node).kv().key_count();
    assert!(written > 0);
    world.crash(node, Crash::LoseUnsynced);
    world.start(node);
    world.read(node, "k0");
    assert_eq!(world.node(node).kv().key_count(), written);
}

#[test]
fn a_leader_that_stays_full_hands_leadership_to_one_that_has_room() {
    // Two are full; the third has room, whichever it is.
    for with_room in 1..=3 {
        let mut world = World::new(3);
        let with_room = NodeId(with_room);
        for node in (1..=3).map(NodeId).filter(|node| *node != with_room) {
            world.node_mut(node).on_disk_full(true);
        }
        world.advance(seconds(15));
        assert_eq!(world.leader(), Some(with_room));
        world.write(with_room, "k", "v");
    }
}

#[test]
fn a_disk_that_is_full_for_a_moment_moves_nothing() {
    let mut world = World::new(3);
    let leader = world.leader().unwrap();
    for _ in 0..10 {
        world.node_mut(leader).on_disk_full(true);
        world.advance(seconds(2));
        world.node_mut(leader).on_disk_full(false);
        world.advance(Duration::from_millis(100));
    }
    assert_eq!(world.leader(), Some(leader));
}

#[test]
fn leadership_goes_round_once_where_all_are_full_and_then_rests() {
    let mut world = World::new(3);
    for node in (1..=3).map(NodeId) {
        world.node_mut(node).on_disk_full(true);
    }
    let mut leaders = vec![world.leader().unwrap()];
    for _ in 0..3_000 {
        world.advance(Duration::from_millis(20));
        let now = world.leader();
        leaders.extend(now.filter(|now| leaders.last() != Some(now)));
    }
    assert_eq!(leaders.len(), 4, "{leaders:?}");
    for node in (1..=3).map(NodeId) {
        world.node_mut(node).on_disk_full(false);
    }
    world.write(NodeId(1), "k", "v");
}

#[test]
fn leases_live_on_while_the_leaders_log_is_stuck_and_nobody_can_renew_them() {
    let mut world = World::new(3);
    let leader = world.leader().unwrap();
    let lease = LeaseId(7);
    world.ask(leader, grant(lease.0, 4)).unwrap();
    world.ask(leader, put_with("k", "v", lease)).unwrap();
    world.machines.get_mut(&leader).unwrap().log_stuck = true;
    // The others commit it; the leader cannot apply it.
    let write = world.request(leader, put("l", "v"));
    world.advance(seconds(1));
    let renewal = world.request(leader, Request::LeaseKeepAlive { id: lease });
    world.advance(seconds(10));
    assert_eq!(world.reply(write), Some(&Err(RequestError::TimedOut)));
    assert_eq!(world.reply(renewal), Some(&Err(RequestError::ReadTimedOut)));
    world.machines.get_mut(&leader).unwrap().log_stuck = false;
    world.advance(seconds(1));
    assert_eq!(world.leader(), Some(leader));
    let renewed = world.ask(leader, Request::LeaseKeepAlive { id: lease });
    assert!(matches!(renewed, Ok((_, Response::LeaseKeepAlive { ttl_seconds: 4 }))), "{renewed:?}");
    assert_eq!(world.read(leader, "k"), Some("v".into()));
    world.advance(seconds(5));
    assert_eq!(world.read(leader, "k"), None);
}
