//! Members that come, learn, vote and go; the leader among them.

use synod_base::NodeId;
use synod_base::disk::Crash;
use synod_node::frame::Frame;
use synod_node::{Request, RequestError, Response, Start, StopReason};

use crate::world::World;
use crate::{put, seconds};

fn add(number: u64, learner: bool) -> Request {
    Request::MemberAdd { peer_urls: vec![format!("http://10.0.0.{number}:2380")], learner }
}

/// Adds a member and starts its node.
fn join(world: &mut World, number: u64, learner: bool) -> NodeId {
    let leader = world.leader().unwrap();
    let Ok((_, Response::Members { subject: Some(member), .. })) =
        world.ask(leader, add(number, learner))
    else {
        panic!("the member was not added")
    };
    world.add_machine(member.id, Start::Join);
    member.id
}

fn names(world: &World, at: NodeId) -> Vec<String> {
    let mut names: Vec<_> = world.node(at).members().into_iter().map(|m| m.name).collect();
    names.sort();
    names
}

#[test]
fn one_node_grows_to_three_and_then_does_without_the_first() {
    let mut world = World::new(1);
    let first = NodeId(1);
    world.write(first, "k", "v");
    let second = join(&mut world, 2, true);
    world.until("the learner", |world| world.applied(second) == world.applied(first));
    assert!(world.node(second).status().is_learner);
    world.ask(second, Request::MemberPromote { id: second }).unwrap();
    let third = join(&mut world, 3, true);
    world.until("the learner", |world| world.applied(third) == world.applied(first));
    world.ask(first, Request::MemberPromote { id: third }).unwrap();
    world.advance(seconds(3));
    for node in [first, second, third] {
        let mut expected = [first, second, third].map(|id| format!("n{id}"));
        expected.sort();
        assert_eq!(names(&world, node), expected);
        assert!(!world.node(node).status().is_learner);
    }
    world.crash(first, Crash::LoseUnsynced);
    world.until("another leader", |world| world.leader().is_some());
    assert_eq!(world.read(second, "k"), Some("v".into()));
    world.write(third, "k", "w");
}

#[test]
fn a_leader_that_removes_itself_answers_and_the_others_go_on() {
    let mut world = World::new(3);
    let old = world.leader().unwrap();
    world.ask(old, Request::MemberRemove { id: old }).unwrap();
    assert_eq!(world.machines[&old].stopped, Some(StopReason::Removed));
    world.until("another leader", |world| world.leader().is_some());
    let leader = world.leader().unwrap();
    assert_eq!(world.node(leader).members().len(), 2);
    world.write(leader, "k", "v");
}

#[test]
fn a_follower_can_ask_for_the_leaders_removal() {
    let mut world = World::new(3);
    let (old, follower) = (world.leader().unwrap(), world.follower());
    let token = world.request(follower, Request::MemberRemove { id: old });
    let reply = world.wait_for(token);
    assert!(matches!(reply, Ok(_) | Err(RequestError::LeaderChanged)), "{reply:?}");
    world.until("the removal", |world| !world.is_up(old));
    world.until("another leader", |world| world.leader().is_some());
    assert_eq!(world.node(follower).members().len(), 2);
    world.write(follower, "k", "v");
}

#[test]
fn a_removed_member_stops_and_stops_again_when_it_is_restarted() {
    let mut world = World::new(3);
    let (leader, gone) = (world.leader().unwrap(), world.follower());
    world.ask(gone, Request::MemberRemove { id: gone }).unwrap();
    world.advance(seconds(1));
    assert_eq!(world.machines[&gone].stopped, Some(StopReason::Removed));
    assert_eq!(world.node(leader).members().len(), 2);
    world.crash(gone, Crash::KeepEverything);
    world.start(gone);
    world.advance(seconds(1));
    assert_eq!(world.machines[&gone].stopped, Some(StopReason::Removed));
}

#[test]
fn the_last_voter_stays() {
    let mut world = World::new(1);
    let reply = world.ask(NodeId(1), Request::MemberRemove { id: NodeId(1) });
    assert_eq!(reply, Err(RequestError::NotEnoughMembers));
}

#[test]
fn a_live_voter_stays_while_too_few_others_live() {
    let mut world = World::new(3);
    let (leader, dead) = (world.leader().unwrap(), world.follower());
    let live = *world.machines.keys().find(|id| **id != leader && **id != dead).unwrap();
    world.crash(dead, Crash::LoseUnsynced);
    world.advance(seconds(2));
    for at in [leader, live] {
        let reply = world.ask(at, Request::MemberRemove { id: live });
        assert_eq!(reply, Err(RequestError::NotEnoughMembers), "asked at {at}");
    }
    world.ask(live, Request::MemberRemove { id: dead }).unwrap();
    world.ask(live, Request::MemberRemove { id: live }).unwrap();
    assert_eq!(world.node(leader).members().len(), 1);
}

#[test]
fn a_learner_that_is_not_ready_is_not_promoted_and_any_node_says_so_at_once() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader().unwrap(), world.follower());
    let Ok((_, Response::Members { subject: Some(member), .. })) = world.ask(leader, add(4, true))
    else {
        panic!()
    };
    world.advance(seconds(1));
    for at in [leader, follower] {
        let before = world.now;
        let reply = world.ask(at, Request::MemberPromote { id: member.id });
        assert_eq!(reply, Err(RequestError::LearnerNotReady), "asked at {at}");
        assert!(world.now - before < seconds(1));
    }
}

#[test]
fn a_change_that_consensus_refuses_is_answered_at_once() {
    let mut world = World::new(1);
    let node = NodeId(1);
    world.write(node, "k", "v");
    world.crash(node, Crash::LoseUnsynced);
    world.start(node);
    // It leads again, but what the log holds is neither committed nor applied again yet.
    world.drive(node);
    world.until("leadership", |world| world.node(node).status().leader == node);
    world.crash(node, Crash::LoseUnsynced);
    world.start(node);
    world.machines.get_mut(&node).unwrap().log_stuck = false;
    let mut token = None;
    for _ in 0..200 {
        world.machines.get_mut(&node).unwrap().log_stuck = true;
        world.drive(node);
        let leads = world.node(node).status().leader == node;
        if leads && token.is_none() {
            token = Some(world.request(node, add(2, true)));
        }
        world.machines.get_mut(&node).unwrap().log_stuck = false;
        world.drive(node);
        world.now = world.now + std::time::Duration::from_millis(20);
        if token.is_some() {
            break;
        }
    }
    let before = world.now;
    let reply = world.wait_for(token.unwrap());
    assert!(matches!(reply, Ok(_) | Err(RequestError::ChangeInProgress)), "{reply:?}");
    assert!(world.now - before < seconds(1));
}

#[test]
fn two_changes_at_once_are_made_one_after_the_other_or_refused() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader().unwrap(), world.follower());
    world.passes = Some(Box::new(|_, _, frame| !matches!(frame, Frame::Propose { .. })));
    let late = world.request(follower, put("k", "v"));
    world.settle();
    world.passes = None;
    let first = world.request(leader, add(4, true));
    let second = world.request(leader, add(5, true));
    let third = world.request(follower, add(6, true));
    assert!(world.wait_for(first).is_ok());
    assert_eq!(world.wait_for(second), Err(RequestError::ChangeInProgress));
    let third = world.wait_for(third);
    assert!(matches!(third, Ok(_) | Err(RequestError::ChangeInProgress)), "{third:?}");
    assert_eq!(world.wait_for(late), Err(RequestError::TimedOut), "its frame was lost");
}

#[test]
fn the_last_member_of_a_shrunken_cluster_needs_no_vote_of_those_that_left() {
    let mut world = World::new(3);
    for _ in 0..2 {
        let (leader, gone) = (world.leader().unwrap(), world.follower());
        world.ask(leader, Request::MemberRemove { id: gone }).unwrap();
        world.advance(seconds(2));
        assert!(!world.is_up(gone));
    }
    let last = world.leader().unwrap();
    world.write(last, "k", "v");
    world.crash(last, Crash::LoseUnsynced);
    world.start(last);
    assert_eq!(world.read(last, "k"), Some("v".into()));
}

#[test]
fn of_two_voters_the_leader_can_leave_also_when_frames_are_lost() {
    for lost in 0..30 {
        let mut world = World::new(2);
        let old = world.leader().unwrap();
        let count = std::cell::Cell::new(0);
        world.passes = Some(Box::new(move |_, _, _| {
            count.set(count.get() + 1);
            count.get() != lost
        }));
        let token = world.request(old, Request::MemberRemove { id: old });
        world.advance(seconds(8));
        assert!(world.reply(token).is_some());
        world.passes = None;
        world.advance(seconds(5));
        let left = NodeId(3 - old.0);
        world.write(left, "k", "v");
    }
}

#[test]
fn a_dead_member_can_be_removed_though_the_engine_of_another_is_full() {
    let mut world = World::new(3);
    let (leader, full) = (world.leader().unwrap(), world.follower());
    let dead = *world.machines.keys().find(|id| **id != leader && **id != full).unwrap();
    world.crash(dead, Crash::LoseUnsynced);
    world.machines[&full].engine.set_full(true);
    world.write(leader, "a", "1");
    world.ask(leader, Request::MemberRemove { id: dead }).unwrap();
    world.write(leader, "b", "2");
    world.advance(seconds(3));
    assert_eq!(world.read(full, "b"), Some("2".into()), "applied, though not in the engine");
}

#[test]
fn who_stays_alone_with_a_full_engine_needs_no_vote_of_those_that_left() {
    for (removals, crash) in
        [(1, Crash::LoseUnsynced), (1, Crash::KeepEverything), (2, Crash::LoseUnsynced)]
    {
        let mut world = World::new(removals + 1);
        for engine in world.machines.values().map(|machine| &machine.engine) {
            engine.set_full(true);
        }
        for _ in 0..removals {
            let (leader, gone) = (world.leader().unwrap(), world.follower());
            world.ask(leader, Request::MemberRemove { id: gone }).unwrap();
            world.advance(seconds(1));
            assert!(!world.is_up(gone), "it has been told");
        }
        let stays = world.leader().unwrap();
        world.crash(stays, crash);
        world.start(stays);
        world.machines[&stays].engine.set_full(false);
        world.write(stays, "k", "v");
        assert_eq!(world.node(stays).members().len(), 1);
    }
}

#[test]
fn a_removal_is_not_shown_where_the_engine_breaks_before_it_remembers_it() {
    let mut world = World::new(2);
    let breaks = world.leader().unwrap();
    let gone = NodeId(3 - breaks.0);
    world.machines[&breaks].fragile.break_after(0);
    let reply = world.ask(breaks, Request::MemberRemove { id: gone });
    assert_eq!(reply, Err(RequestError::Stopped));
    assert!(matches!(world.machines[&breaks].stopped, Some(StopReason::Storage(_))));
    world.advance(seconds(3));
    assert!(world.is_up(gone), "it was not told, and is needed");
    world.machines[&breaks].fragile.mend();
    world.start(breaks);
    world.advance(seconds(8));
    world.write(breaks, "k", "v");
    assert!(!world.is_up(gone));
}
