//! Leases: expiry, renewal from anywhere, and what a change of leader or a restart must not do to them.

use std::time::Duration;

use bytes::Bytes;
use synod_base::disk::Crash;
use synod_base::{LeaseId, NodeId};
use synod_node::frame::Frame;
use synod_node::{LeaseTimeToLive, Request, RequestError, Response};
use synod_state::kv::{Command, Refusal};

use crate::world::World;
use crate::{grant, put_with, seconds};

const LEASE: LeaseId = LeaseId(7);

fn keep_alive(world: &mut World, at: NodeId) -> i64 {
    match world.ask(at, Request::LeaseKeepAlive { id: LEASE }) {
        Ok((_, Response::LeaseKeepAlive { ttl_seconds })) => ttl_seconds,
        other => panic!("{other:?}"),
    }
}

fn with_a_leased_key(nodes: u64, ttl_seconds: i64) -> World {
    let mut world = World::new(nodes);
    let leader = world.leader().unwrap();
    world.ask(leader, grant(LEASE.0, ttl_seconds)).unwrap();
    world.ask(leader, put_with("k", "v", LEASE)).unwrap();
    world
}

#[test]
fn a_lease_takes_its_keys_along_everywhere_when_its_time_is_over_and_not_before() {
    let mut world = with_a_leased_key(3, 10);
    world.advance(seconds(9));
    assert_eq!(world.read(NodeId(1), "k"), Some("v".into()));
    world.advance(seconds(2));
    for node in 1..=3 {
        assert_eq!(world.read(NodeId(node), "k"), None);
    }
}

#[test]
fn a_renewal_through_a_follower_counts() {
    let mut world = with_a_leased_key(3, 10);
    let follower = world.follower();
    for _ in 0..5 {
        world.advance(seconds(8));
        assert_eq!(keep_alive(&mut world, follower), 10);
    }
    assert_eq!(world.read(follower, "k"), Some("v".into()));
    world.advance(seconds(11));
    assert_eq!(keep_alive(&mut world, follower), 0);
}

#[test]
fn a_grant_of_an_id_in_use_is_refused_and_renews_nothing() {
    let mut world = with_a_leased_key(3, 10);
    world.advance(seconds(8));
    let follower = world.follower();
    let again = world.ask(follower, grant(LEASE.0, 100));
    assert_eq!(again, Err(RequestError::Refused(Refusal::LeaseExists)));
    world.advance(seconds(3));
    assert_eq!(world.read(follower, "k"), None);
}

#[test]
fn the_longest_lease_there_is_does_not_overflow_the_clock() {
    let mut world = with_a_leased_key(1, 9_000_000_000);
    world.advance(seconds(5));
    assert_eq!(keep_alive(&mut world, NodeId(1)), 9_000_000_000);
    let too_long = world.ask(NodeId(1), grant(8, i64::MAX));
    assert_eq!(too_long, Err(RequestError::Refused(Refusal::LeaseTtlTooLarge)));
}

#[test]
fn a_new_leader_gives_every_lease_its_whole_time() {
    let mut world = with_a_leased_key(3, 10);
    world.advance(seconds(9));
    let old = world.leader().unwrap();
    world.crash(old, Crash::LoseUnsynced);
    world.until("another leader", |world| world.leader().is_some_and(|new| new != old));
    world.advance(seconds(8));
    let leader = world.leader().unwrap();
    assert_eq!(world.read(leader, "k"), Some("v".into()));
    world.advance(seconds(3));
    assert_eq!(world.read(leader, "k"), None);
}

#[test]
fn a_lease_that_ended_and_was_granted_anew_lives_its_new_time() {
    let mut world = with_a_leased_key(3, 10);
    let leader = world.leader().unwrap();
    world.advance(seconds(5));
    world.ask(leader, Request::Write(Command::LeaseRevoke { id: LEASE })).unwrap();
    world.ask(leader, grant(LEASE.0, 10)).unwrap();
    world.ask(leader, put_with("k", "w", LEASE)).unwrap();
    world.advance(seconds(8));
    assert_eq!(world.read(leader, "k"), Some("w".into()));
}

#[test]
fn an_expiry_does_not_hit_the_lease_that_a_grant_under_way_makes() {
    let mut world = with_a_leased_key(3, 2);
    let leader = world.leader().unwrap();
    let follower = world.follower();
    world.advance(Duration::from_millis(1_800));
    // Nothing is committed for a while, and in it the old lease's time ends.
    world.passes = Some(Box::new(move |_, to, _| to != leader));
    let revoke = world.request(leader, Request::Write(Command::LeaseRevoke { id: LEASE }));
    let granted = world.request(leader, grant(LEASE.0, 60));
    world.advance(Duration::from_millis(400));
    assert_eq!(world.reply(granted), None);
    world.passes = None;
    world.wait_for(revoke).unwrap();
    world.wait_for(granted).unwrap();
    world.ask(leader, put_with("k", "w", LEASE)).unwrap();
    world.advance(seconds(30));
    assert_eq!(world.read(follower, "k"), Some("w".into()));
    world.advance(seconds(31));
    assert_eq!(world.read(follower, "k"), None);
}

#[test]
fn an_answer_to_a_question_from_before_a_restart_answers_no_later_question() {
    let mut world = World::new(3);
    let (leader, follower) = (world.leader().unwrap(), world.follower());
    world.crash(follower, Crash::LoseUnsynced);
    world.start(follower);
    world.advance(seconds(3));
    world.passes = Some(Box::new(|_, _, frame| !matches!(frame, Frame::AskLease { .. })));
    let token = world.request(follower, Request::LeaseKeepAlive { id: LEASE });
    world.settle();
    // The first question of the earlier start was about another lease, which lives.
    for question in 0..4 {
        let late = Frame::AnswerLease { question, answer: Some((10, 10)) };
        world.deliver(leader, follower, late.encode());
    }
    world.passes = None;
    let Ok((_, Response::LeaseKeepAlive { ttl_seconds })) = world.wait_for(token) else { panic!() };
    assert_eq!(ttl_seconds, 0, "there is no such lease");
}

#[test]
fn the_keys_of_a_lease_are_all_there_also_through_a_follower_that_lags() {
    let mut world = with_a_leased_key(3, 60);
    let (leader, follower) = (world.leader().unwrap(), world.follower());
    world.passes =
        Some(Box::new(move |_, to, frame| to != follower || !matches!(frame, Frame::Consensus(_))));
    world.ask(leader, put_with("l", "v", LEASE)).unwrap();
    let token = world.request(follower, Request::LeaseTimeToLive { id: LEASE, keys: true });
    world.settle();
    assert_eq!(world.reply(token), None);
    world.passes = None;
    let answer = world.wait_for(token);
    let Ok((_, Response::LeaseTimeToLive(LeaseTimeToLive { keys, .. }))) = answer else { panic!() };
    assert_eq!(keys, [Bytes::from("k"), Bytes::from("l")]);
}
