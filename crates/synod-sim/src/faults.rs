//! The fault plan: which faults a seed has, when they strike, how they end.
//!
//! Each seed draws its own mix (some have crashes only, others only a bad network), so that rare
//! combinations come up. Faults stop at the end of the plan; then everything is healed.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use synod_base::NodeId;
use synod_base::disk::Crash;

use crate::history::TrueTime;
use crate::network::Weather;
use crate::world::World;

/// Milliseconds in nanoseconds.
pub const MILLIS: u64 = 1_000_000;

/// Every kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// Two sides that do not hear each other.
    Partition,
    /// One host hears nobody and is heard by nobody.
    Isolation,
    /// One direction between two hosts is dead.
    OneWay,
    /// Some frames are lost, doubled, late.
    BadWeather,
    /// A machine loses power; un-synced writes are lost or half kept.
    PowerLoss,
    /// A process dies; its writes survive.
    ProcessCrash,
    /// For a while, machines lose power right after they have handed a vote or a new term to the log,
    /// and are back within milliseconds.
    VoteCrash,
    /// All machines lose power at once.
    Blackout,
    /// A process is stopped for a while, then goes on as if nothing had been.
    Pause,
    /// The leader is.
    LeaderPause,
    /// A follower's clock jumps ahead.
    ClockJump,
    /// A disk has no room for a while.
    DiskFull,
    /// An engine has no room for a while.
    EngineFull,
    /// Syncs take up to a hundred times as long for a while.
    SlowDisk,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 14] = [
        Fault::Partition,
        Fault::Isolation,
        Fault::OneWay,
        Fault::BadWeather,
        Fault::PowerLoss,
        Fault::ProcessCrash,
        Fault::VoteCrash,
        Fault::Blackout,
        Fault::Pause,
        Fault::LeaderPause,
        Fault::ClockJump,
        Fault::DiskFull,
        Fault::EngineFull,
        Fault::SlowDisk,
    ];

    /// Its name in the summary.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fault::Partition => "partition",
            Fault::Isolation => "isolation",
            Fault::OneWay => "one_way",
            Fault::BadWeather => "bad_weather",
            Fault::PowerLoss => "power_loss",
            Fault::ProcessCrash => "process_crash",
            Fault::VoteCrash => "vote_crash",
            Fault::Blackout => "blackout",
            Fault::Pause => "pause",
            Fault::LeaderPause => "leader_pause",
            Fault::ClockJump => "clock_jump",
            Fault::DiskFull => "disk_full",
            Fault::EngineFull => "engine_full",
            Fault::SlowDisk => "slow_disk",
        }
    }
}

/// What to do at a later moment.
#[derive(Clone, Copy, Debug)]
pub enum Cure {
    /// Start this host again.
    Start(NodeId),
    /// End partitions and bad weather.
    MendNetwork,
    /// Give this host's disk and engine room.
    MakeRoom(NodeId),
    /// Let this host's disk be fast again.
    SpeedUp(NodeId),
}

/// One seed's faults.
#[derive(Debug)]
pub struct FaultPlan {
    rng: Rng,
    enabled: Vec<Fault>,
    /// Longest pause between two faults, nanoseconds.
    pub max_gap: u64,
    /// How often each struck.
    pub struck: BTreeMap<Fault, u64>,
}

impl FaultPlan {
    /// Draws a mix.
    #[must_use]
    pub fn new(mut rng: Rng) -> Self {
        let mut enabled: Vec<Fault> = Fault::ALL.into_iter().filter(|_| rng.u8(..) < 100).collect();
        if enabled.is_empty() {
            enabled.push(Fault::PowerLoss);
        }
        let max_gap = rng.u64(300..6_000) * MILLIS;
        FaultPlan { rng, enabled, max_gap, struck: BTreeMap::new() }
    }

    /// When the next fault strikes.
    pub fn next_at(&mut self, now: TrueTime) -> TrueTime {
        now + self.rng.u64(50 * MILLIS..=self.max_gap)
    }

    /// Strikes; returns the hosts that crashed and what ends the fault, when.
    pub fn strike(&mut self, world: &mut World) -> (Vec<NodeId>, Vec<(TrueTime, Cure)>) {
        let fault = self.enabled[self.rng.usize(..self.enabled.len())];
        let hosts: Vec<NodeId> = world.hosts.keys().copied().collect();
        let victim = hosts[self.rng.usize(..hosts.len())];
        let leader = hosts.iter().copied().find(|id| world.hosts[id].believes_it_leads());
        let end = world.now + self.rng.u64(100 * MILLIS..5_000 * MILLIS);
        *self.struck.entry(fault).or_default() += 1;
        match fault {
            Fault::Partition => self.partition(world, &hosts),
            Fault::Isolation => isolate(world, &hosts, leader.unwrap_or(victim)),
            Fault::OneWay => {
                for other in hosts.iter().filter(|id| **id != victim) {
                    if self.rng.bool() {
                        world.network.cut(victim, *other);
                    } else {
                        world.network.cut(*other, victim);
                    }
                }
            }
            Fault::BadWeather => world.network.weather = self.weather(),
            Fault::PowerLoss | Fault::ProcessCrash => {
                let crash = self.crash_mode(fault);
                world.crash(victim, crash);
                return (vec![victim], vec![(end, Cure::Start(victim))]);
            }
            Fault::VoteCrash => {
                // A new election, with late frames, so that more than one candidate asks in a term.
                world.network.weather = self.weather();
                for host in world.hosts.values_mut() {
                    host.vote_crashes = self.rng.u32(0..4);
                }
                world.pause(leader.unwrap_or(victim), end - world.now);
            }
            Fault::Blackout => {
                let mut cures = Vec::new();
                for id in &hosts {
                    let crash = self.crash_mode(Fault::PowerLoss);
                    world.crash(*id, crash);
                    cures.push((world.now + self.rng.u64(1..3_000) * MILLIS, Cure::Start(*id)));
                }
                return (hosts, cures);
            }
            Fault::Pause => world.pause(victim, end - world.now),
            Fault::LeaderPause => world.pause(leader.unwrap_or(victim), end - world.now),
            Fault::ClockJump => {
                if !world.hosts[&victim].believes_it_leads() {
                    world.jump_clock(victim, Duration::from_millis(self.rng.u64(100..20_000)));
                }
            }
            Fault::DiskFull => {
                let disk = &world.hosts[&victim].disk;
                disk.set_capacity(Some(disk.used_bytes()));
                return (Vec::new(), vec![(end, Cure::MakeRoom(victim))]);
            }
            Fault::EngineFull => {
                world.hosts[&victim].engine.set_full(true);
                return (Vec::new(), vec![(end, Cure::MakeRoom(victim))]);
            }
            Fault::SlowDisk => {
                if let Some(host) = world.hosts.get_mut(&victim) {
                    host.sync_nanos = self.rng.u64(1..200) * MILLIS;
                }
                return (Vec::new(), vec![(end, Cure::SpeedUp(victim))]);
            }
        }
        (Vec::new(), vec![(end, Cure::MendNetwork)])
    }

    fn crash_mode(&mut self, fault: Fault) -> Crash {
        if fault == Fault::ProcessCrash {
            Crash::KeepEverything
        } else if self.rng.bool() {
            Crash::LoseUnsynced
        } else {
            Crash::KeepRandomSubset
        }
    }

    fn partition(&mut self, world: &mut World, hosts: &[NodeId]) {
        let sides: Vec<bool> = hosts.iter().map(|_| self.rng.bool()).collect();
        for (a, side_a) in hosts.iter().zip(&sides) {
            for (b, side_b) in hosts.iter().zip(&sides) {
                if side_a != side_b {
                    world.network.cut(*a, *b);
                }
            }
        }
    }

    fn weather(&mut self) -> Weather {
        let mut sometimes = |most: u32| if self.rng.bool() { self.rng.u32(0..most) } else { 0 };
        let (loss, duplicates, stragglers) = (sometimes(3_000), sometimes(3_000), sometimes(2_000));
        let max_delay = self.rng.u64(1..40) * MILLIS;
        Weather { loss, duplicates, min_delay: 100_000, max_delay, stragglers }
    }
}

impl Cure {
    /// Does it; a host that is to be started is left to the caller.
    pub fn apply(self, world: &mut World) -> Option<NodeId> {
        match self {
            Cure::Start(id) => return Some(id),
            Cure::MendNetwork => {
                world.network.mend();
                world.network.weather = Weather::CALM;
            }
            Cure::MakeRoom(id) => {
                if let Some(host) = world.hosts.get(&id) {
                    host.disk.set_capacity(None);
                    host.engine.set_full(false);
                }
            }
            Cure::SpeedUp(id) => {
                if let Some(host) = world.hosts.get_mut(&id) {
                    host.sync_nanos = 200_000;
                }
            }
        }
        None
    }
}

fn isolate(world: &mut World, hosts: &[NodeId], one: NodeId) {
    for other in hosts.iter().filter(|id| **id != one) {
        world.network.cut(one, *other);
        world.network.cut(*other, one);
    }
}
