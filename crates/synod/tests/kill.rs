//! `kill -9` under load, on the real binary: of the leader, of all nodes, of a follower, in turns.
//!
//! SYNOD_KILL_CYCLES says how often (2 if it is not set; 50 by hand or by night).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use support::cluster::{Cluster, Node};
use support::load::{Fate, Load, Stored, check_against, read_all, round_prefix, value_of};
use support::{PATIENCE, wait_for};
use synod::Revision;

/// Who is killed in a cycle.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Leader,
    All,
    Follower,
}

#[test]
fn no_acknowledged_write_is_lost_by_kills_and_writes_resume() {
    let cycles = std::env::var("SYNOD_KILL_CYCLES").map_or(2, |n| n.parse().expect("a number"));
    let mut cluster = Cluster::start(3);
    let load = Load::start(CLIENTS, &cluster.clients());
    let mut within_promise = 0;
    for cycle in 0..cycles {
        let victim = [Victim::Leader, Victim::All, Victim::Follower][cycle as usize % 3];
        load.begin_round(cycle);
        wait_for_writes(&load, cycle, WRITES_BEFORE_KILL);
        let resumed = kill_and_restart(&mut cluster, victim, &load);
        wait_for_writes(&load, cycle, WRITES_BEFORE_KILL + load.acknowledged(cycle));
        load.begin_round(cycle + 1);
        // The fates first: what is acknowledged while the read is under way need not be in it.
        let fates = load.fates(cycle);
        let stored = read_all(&cluster.clients(), &round_prefix(cycle));
        assert_eq!(check_against(&fates, &stored), Ok(()), "after cycle {cycle}, {victim:?}");
        let first = resumed.iter().min().copied().unwrap_or_default();
        let last = resumed.iter().max().copied().unwrap_or_default();
        within_promise += u32::from(first <= PROMISE);
        println!(
            "cycle {cycle}: {victim:?} killed; a write acknowledged after {first:.1?}, every client \
             served after {last:.1?}; {} writes checked",
            fates.len()
        );
    }
    println!("writes resumed within {PROMISE:?} in {within_promise} of {cycles} cycles");
    let fates = load.stop();
    for node in &cluster.nodes {
        let stored = read_all(&[node.client()], "load/");
        assert_eq!(check_against(&fates, &stored), Ok(()), "at the end, {}", node.name);
    }
}

#[test]
fn the_check_of_this_test_notices_what_it_is_there_for() {
    let key = "load/0000/a".to_owned();
    let stored = |value: String, revision| {
        let mod_revision = Revision(revision);
        BTreeMap::from([(key.clone(), Stored { value, mod_revision })])
    };
    let fates = |fate| BTreeMap::from([(key.clone(), fate)]);
    let acknowledged = fates(Fate::Acknowledged(Revision(7)));
    assert!(check_against(&acknowledged, &stored(value_of(&key), 7)).is_ok());
    for (fates, stored) in [
        (&acknowledged, BTreeMap::new()),
        (&acknowledged, stored(value_of(&key), 8)),
        (&acknowledged, stored("another value".to_owned(), 7)),
        (&fates(Fate::NotDone), stored(value_of(&key), 7)),
    ] {
        assert!(check_against(fates, &stored).is_err(), "{fates:?} {stored:?}");
    }
}

fn wait_for_writes(load: &Load, round: u32, writes: usize) {
    wait_for("acknowledged writes", PATIENCE, || {
        (load.acknowledged(round) >= writes).then_some(())
    });
}

/// Kills, waits until every client is served again, and until all nodes run; how long the clients
/// were not served.
fn kill_and_restart(cluster: &mut Cluster, victim: Victim, load: &Load) -> Vec<Duration> {
    let leader = cluster.wait_for_leader();
    let follower = (leader + 1) % cluster.nodes.len();
    let victims: Vec<usize> = match victim {
        Victim::Leader => vec![leader],
        Victim::Follower => vec![follower],
        Victim::All => (0..cluster.nodes.len()).collect(),
    };
    load.expect_pause();
    victims.iter().for_each(|&number| cluster.nodes[number].kill());
    if matches!(victim, Victim::All) {
        cluster.nodes.iter_mut().for_each(Node::start);
    }
    let first = wait_for("a write after the kill", HARD_BOUND, || {
        load.resumed().into_iter().flatten().min()
    });
    assert!(first <= HARD_BOUND);
    let resumed = wait_for("a write of every client", PATIENCE, || {
        load.resumed().into_iter().collect::<Option<Vec<_>>>()
    });
    if !matches!(victim, Victim::All) {
        victims.iter().for_each(|&number| cluster.nodes[number].start());
    }
    victims.iter().for_each(|&number| cluster.nodes[number].wait_ready());
    resumed
}

const CLIENTS: usize = 6;

/// In each cycle, so that the kill comes in the middle of a busy time.
const WRITES_BEFORE_KILL: usize = 200;

/// Writes resume within this at default settings (design.md, promises). Measured and counted; a busy
/// test machine may take longer.
const PROMISE: Duration = Duration::from_secs(3);

/// Longer than this is a fault on any machine.
const HARD_BOUND: Duration = Duration::from_secs(10);
