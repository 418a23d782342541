//! Full disks: what is refused, what is still taken, and that nothing is lost.

use synod_base::NodeId;
use synod_base::disk::Crash;
use synod_node::{Request, RequestError};
use synod_state::kv::Command;

use crate::world::World;
use crate::{delete, put, seconds};

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
