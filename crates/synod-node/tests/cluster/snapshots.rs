//! Snapshots on their way to members that are new or too far behind, with everything that can happen
//! in between.

use std::time::Duration;

use bytes::Bytes;
use synod_base::NodeId;
use synod_base::disk::Crash;
use synod_base::limits::MAX_REQUEST_BYTES;
use synod_node::RequestError;
use synod_node::frame::Frame;
use synod_storage::engine::{Engine, EngineRead, Space, WriteBatch};

use crate::world::World;
use crate::{get, put, seconds};

const RETENTION: usize = 16 << 10;

/// Three nodes, one of them cut off so long that the others have forgotten what it needs.
fn with_one_behind() -> (World, NodeId) {
    with_one_behind_by(1024)
}

/// The same, behind by 200 values of a size.
fn with_one_behind_by(value_bytes: usize) -> (World, NodeId) {
    let mut world = World::with_sizes(3, RETENTION, 256 << 10);
    let behind = world.follower();
    world.cut.insert(behind);
    let leader = world.leader().unwrap();
    world.advance(seconds(2));
    for n in 0..200 {
        world.write(leader, &format!("k{n}"), vec![b'v'; value_bytes]);
    }
    world.advance(seconds(2));
    (world, behind)
}

/// Lets the one that is behind catch up.
fn catch_up(world: &mut World, behind: NodeId) {
    world.until("the one behind", |world| {
        let leader = world.leader();
        leader.is_some_and(|leader| {
            world.is_up(behind) && world.applied(behind) == world.applied(leader)
        })
    });
    assert_eq!(world.node(behind).kv().key_count(), 200);
    assert!(world.read(behind, "k199").is_some());
    let leader = world.leader().unwrap();
    assert_eq!(
        world.node(behind).kv().hash(synod_base::Revision(0)).unwrap(),
        world.node(leader).kv().hash(synod_base::Revision(0)).unwrap()
    );
}

fn keys_in(engine: &dyn EngineRead, space: Space) -> usize {
    let mut count = 0;
    engine
        .scan(space, &[], None, &mut |_, _| {
            count += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    count
}

#[test]
fn a_follower_that_needs_forgotten_entries_gets_the_state() {
    let (mut world, behind) = with_one_behind();
    world.record_frames = true;
    world.cut.clear();
    catch_up(&mut world, behind);
    let ends = |(_, _, frame): &&(NodeId, NodeId, Bytes)| {
        matches!(Frame::decode(frame.clone()).unwrap(), Frame::SnapshotEnd { .. })
    };
    assert_eq!(world.sent.iter().filter(ends).count(), 1);
    assert_eq!(keys_in(&world.machines[&behind].engine, Space::Staging), 0);
}

#[test]
fn an_installation_that_breaks_at_any_step_is_finished_at_the_next_start() {
    for crash in [Crash::LoseUnsynced, Crash::KeepEverything] {
        for steps in 0..40 {
            let (mut world, behind) = with_one_behind();
            world.machines[&behind].fragile.break_after(steps);
            world.cut.clear();
            world.until("the break or the end", |world| {
                let there = world.leader().is_some_and(|leader| {
                    world.is_up(behind) && world.applied(behind) == world.applied(leader)
                });
                there || !world.is_up(behind)
            });
            let broke = !world.is_up(behind);
            world.machines[&behind].fragile.mend();
            world.crash(behind, crash);
            world.start(behind);
            catch_up(&mut world, behind);
            assert_eq!(keys_in(&world.machines[&behind].engine, Space::Staging), 0);
            if !broke {
                assert!(steps > 6, "it takes some steps");
                break;
            }
            assert!(steps < 39, "it takes less steps");
        }
    }
}

#[test]
fn what_a_transfer_that_ended_early_left_is_gone_after_a_restart() {
    let (mut world, behind) = with_one_behind();
    world.passes = Some(Box::new(|_, _, frame| !matches!(frame, Frame::SnapshotEnd { .. })));
    world.cut.clear();
    world.advance(seconds(1));
    assert!(keys_in(&world.machines[&behind].engine, Space::Staging) > 0);
    world.crash(behind, Crash::KeepEverything);
    world.start(behind);
    assert_eq!(keys_in(&world.machines[&behind].engine, Space::Staging), 0);
    world.passes = None;
    catch_up(&mut world, behind);
}

#[test]
fn a_full_follower_refuses_the_state_and_gets_it_once_there_is_room() {
    let (mut world, behind) = with_one_behind();
    let engine = world.machines[&behind].engine.clone();
    let mut leftover = WriteBatch::default();
    leftover.put(Space::Staging, Bytes::from_static(b"\x00left"), Bytes::from_static(b"over"));
    engine.write(leftover).unwrap();
    engine.set_full(true);
    world.cut.clear();
    world.advance(seconds(5));
    assert!(world.is_up(behind), "stopped: {:?}", world.machines[&behind].stopped);
    engine.set_full(false);
    catch_up(&mut world, behind);
}

#[test]
fn an_installation_that_finds_no_room_at_any_step_goes_on_once_there_is_some() {
    for crash in [false, true] {
        let mut half_way = 0;
        for steps in 0.. {
            let (mut world, behind) = with_one_behind();
            world.machines[&behind].fragile.fill_after(steps);
            world.cut.clear();
            world.advance(seconds(3));
            assert!(world.is_up(behind), "stopped: {:?}", world.machines[&behind].stopped);
            let leader = world.leader().unwrap();
            let is_full = world.node(behind).status().disk_full;
            if is_full && world.applied(behind) < world.applied(leader) {
                half_way += 1;
                for request in [get("k0", false), get("k0", true)] {
                    assert_eq!(world.ask(behind, request), Err(RequestError::NoLeader));
                }
                assert_eq!(world.ask(behind, put("k0", "v")), Err(RequestError::DiskFull));
            }
            let filled = world.machines[&behind].fragile.is_used_up();
            world.machines[&behind].fragile.mend();
            if crash {
                world.crash(behind, Crash::LoseUnsynced);
                world.start(behind);
            }
            catch_up(&mut world, behind);
            if !filled {
                break;
            }
            assert!(steps < 40, "it takes less steps");
        }
        assert!(half_way > 4, "it takes some steps: {half_way}");
    }
}

#[test]
fn an_installation_goes_on_where_it_found_no_room_and_meanwhile_takes_part_in_nothing() {
    // Some pieces long.
    let (mut world, behind) = with_one_behind_by(24 << 10);
    let engine = world.machines[&behind].fragile.clone();
    world.passes = Some(Box::new(move |_, _, frame| {
        if matches!(frame, Frame::SnapshotEnd { .. }) {
            // All of it is staged.
            engine.fill_after(0);
        }
        true
    }));
    world.cut.clear();
    let leader = world.leader().unwrap();
    let half_way = |world: &World| world.node(behind).status().disk_full;
    world.until("the installation", half_way);
    world.passes = None;
    world.record_frames = true;
    let piece =
        Frame::SnapshotChunk { transfer: u64::MAX, sequence: 0, body: Bytes::from_static(b"\x00") };
    world.deliver(leader, behind, piece.encode());
    world.advance(seconds(1));
    assert!(world.sent.iter().all(|(from, _, _)| *from != behind), "it answers nothing");
    // A little room at a time; each attempt keeps what it has done.
    let mut attempts = 0;
    while half_way(&world) {
        world.machines[&behind].fragile.fill_after(3);
        world.advance(seconds(1));
        attempts += 1;
        assert!(attempts < 20, "it does not come to an end");
    }
    assert!(attempts > 2, "{attempts}");
    world.machines[&behind].fragile.mend();
    catch_up(&mut world, behind);
}

#[test]
fn a_state_that_does_not_fit_is_refused_while_the_old_one_is_whole() {
    let (mut world, behind) = with_one_behind();
    world.record_frames = true;
    let before = world.applied(behind);
    // Enough to stage it, not to move it in beside that.
    world.node_mut(behind).on_disk_room(300_000);
    world.cut.clear();
    world.advance(seconds(2));
    assert!(world.sent.iter().any(|(from, _, frame)| {
        *from == behind
            && matches!(Frame::decode(frame.clone()).unwrap(), Frame::SnapshotRefused { .. })
    }));
    assert_eq!(world.applied(behind), before);
    assert_eq!(keys_in(&world.machines[&behind].engine, Space::Staging), 0);
    world.node_mut(behind).on_disk_room(u64::MAX);
    catch_up(&mut world, behind);
}

#[test]
fn a_member_below_its_reserve_takes_no_piece_of_a_state() {
    let (mut world, behind) = with_one_behind();
    let before = world.applied(behind);
    world.node_mut(behind).on_disk_full(true);
    world.cut.clear();
    world.advance(seconds(2));
    assert_eq!(world.applied(behind), before);
    assert_eq!(keys_in(&world.machines[&behind].engine, Space::Staging), 0);
    world.node_mut(behind).on_disk_full(false);
    catch_up(&mut world, behind);
}

#[test]
fn a_late_first_piece_of_an_older_transfer_does_not_disturb_a_newer_one() {
    let (mut world, behind) = with_one_behind_by(12 << 10);
    world.record_frames = true;
    world.passes = Some(Box::new(|_, _, frame| !matches!(frame, Frame::SnapshotAck { .. })));
    world.cut.clear();
    // Given up after ten seconds without an answer, then started anew.
    world.advance(seconds(13));
    let first = |(_, _, frame): &&(NodeId, NodeId, Bytes)| {
        matches!(Frame::decode(frame.clone()).unwrap(), Frame::SnapshotChunk { sequence: 0, .. })
    };
    let (from, to, oldest) = world.sent.iter().find(first).unwrap().clone();
    let (_, _, newest) = world.sent.iter().rev().find(first).unwrap().clone();
    assert_ne!(oldest, newest, "there were two transfers");
    // The newer one gets to its second piece.
    world.passes = Some(Box::new(
        |_, _, frame| !matches!(frame, Frame::SnapshotAck { next, .. } if *next > 1),
    ));
    world.advance(seconds(1));
    world.sent.clear();
    world.deliver(from, to, oldest);
    world.passes = None;
    catch_up(&mut world, behind);
    let refused = |(_, _, frame): &(NodeId, NodeId, Bytes)| {
        matches!(Frame::decode(frame.clone()).unwrap(), Frame::SnapshotRefused { .. })
    };
    assert!(!world.sent.iter().any(refused));
}

#[test]
fn a_new_leader_in_the_middle_of_a_transfer_brings_it_to_its_end() {
    let (mut world, behind) = with_one_behind();
    let old = world.leader().unwrap();
    world.passes = Some(Box::new(|_, _, frame| !matches!(frame, Frame::SnapshotAck { .. })));
    world.cut.clear();
    world.advance(seconds(1));
    world.passes = None;
    world.crash(old, Crash::LoseUnsynced);
    world.until("another leader", |world| world.leader().is_some_and(|new| new != old));
    catch_up(&mut world, behind);
    world.start(old);
    catch_up(&mut world, old);
}

#[test]
fn pieces_and_acknowledgements_that_are_lost_are_sent_again() {
    let (mut world, behind) = with_one_behind_by(12 << 10);
    let rng = std::cell::RefCell::new(fastrand::Rng::with_seed(4));
    world.passes = Some(Box::new(move |_, _, frame| {
        let piece = matches!(frame, Frame::SnapshotChunk { .. } | Frame::SnapshotAck { .. });
        !piece || rng.borrow_mut().u32(..3) > 0
    }));
    world.cut.clear();
    catch_up(&mut world, behind);
}

#[test]
fn the_largest_values_there_are_fit_the_pieces() {
    let mut world = World::with_sizes(3, RETENTION, 8 << 20);
    let behind = world.follower();
    world.cut.insert(behind);
    let leader = world.leader().unwrap();
    let large = vec![7u8; MAX_REQUEST_BYTES - 1024];
    for n in 0..8 {
        world.write(leader, &format!("k{n}"), large.clone());
    }
    world.cut.clear();
    world.until("the one behind", |world| world.applied(behind) == world.applied(leader));
    assert_eq!(world.read(behind, "k7"), Some(large.into()));
}

#[test]
fn the_log_waits_for_a_transfer_that_is_slower_than_the_writes() {
    let (mut world, behind) = with_one_behind();
    let leader = world.leader().unwrap();
    world.record_frames = true;
    world.passes = Some(Box::new(|_, _, frame| !matches!(frame, Frame::SnapshotAck { .. })));
    world.cut.clear();
    world.advance(seconds(2));
    // Meanwhile twice as much is written as the log keeps.
    for n in 0..32 {
        world.write(leader, &format!("k{n}"), vec![b'v'; 1024]);
    }
    world.passes = None;
    catch_up(&mut world, behind);
    let ends = |(_, _, frame): &&(NodeId, NodeId, Bytes)| {
        matches!(Frame::decode(frame.clone()).unwrap(), Frame::SnapshotEnd { .. })
    };
    assert_eq!(world.sent.iter().filter(ends).count(), 1, "one transfer was enough");
}

#[test]
fn a_follower_that_was_sent_the_state_gets_the_log_after_it_also_when_that_is_long() {
    let (mut world, behind) = with_one_behind();
    let leader = world.leader().unwrap();
    world.record_frames = true;
    world.passes = Some(Box::new(|_, _, frame| !matches!(frame, Frame::SnapshotAck { .. })));
    world.cut.clear();
    world.advance(seconds(2));
    // More than is kept for the sake of those who merely lag.
    for n in 0..100 {
        world.write(leader, &format!("k{n}"), vec![b'v'; 1024]);
    }
    // It moves in, and more is written before it has heard of any of that.
    world.passes =
        Some(Box::new(move |_, to, frame| to != behind || !matches!(frame, Frame::Consensus(_))));
    world.advance(Duration::from_millis(600));
    for n in 0..50 {
        world.write(leader, &format!("k{n}"), vec![b'v'; 1024]);
    }
    world.passes = None;
    catch_up(&mut world, behind);
    let ends = |(_, _, frame): &&(NodeId, NodeId, Bytes)| {
        matches!(Frame::decode(frame.clone()).unwrap(), Frame::SnapshotEnd { .. })
    };
    assert_eq!(world.sent.iter().filter(ends).count(), 1, "one transfer was enough");
}

#[test]
fn the_log_does_not_grow_for_ever_for_a_follower_that_does_not_take_the_state() {
    let (mut world, _) = with_one_behind();
    let leader = world.leader().unwrap();
    world.passes = Some(Box::new(|_, _, frame| !matches!(frame, Frame::SnapshotAck { .. })));
    world.cut.clear();
    for n in 0..3_000 {
        world.write(leader, &format!("k{}", n % 200), vec![b'v'; 1024]);
    }
    // Sixteen times what it keeps otherwise, and the files that it has begun.
    let bytes = world.log_bytes(leader);
    assert!(bytes < 17 * RETENTION as u64 + (1 << 20), "{bytes}");
}
