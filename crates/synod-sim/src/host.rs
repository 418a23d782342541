//! One virtual machine: a node, its log on a virtual disk, its engine, its own clock.
//!
//! The host does what the real executor does, in the same order, but every step that takes time (a
//! sync, making the engine durable) ends at a later moment, and a crash may come in between.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use synod_base::disk::{Crash, VirtualDisk};
use synod_base::{ClusterId, Instant, NodeId, Revision};
use synod_node::{
    BootError, Effects, LogBatch, LogRetention, Member, Node, NodeConfig, Start, Timing, boot,
};
use synod_storage::engine::MemoryEngine;
use synod_storage::wal::{Wal, WalError, WalLimits};

use crate::etcd::server::Front;
use crate::history::TrueTime;

/// The cluster all simulated hosts belong to.
pub const CLUSTER: ClusterId = ClusterId(0x5ee0);

/// A host's monotonic clock against true time: starts anywhere, runs a little fast or slow, may jump
/// ahead (never back).
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    offset: u64,
    /// Parts per million.
    drift: i64,
    since: TrueTime,
}

impl Clock {
    /// A clock with this start and drift.
    #[must_use]
    pub fn new(offset: u64, drift: i64) -> Self {
        Clock { offset, drift, since: 0 }
    }

    /// What it shows.
    #[must_use]
    pub fn at(&self, now: TrueTime) -> Instant {
        let elapsed = i128::from(now - self.since);
        let skewed = elapsed + elapsed * i128::from(self.drift) / 1_000_000;
        Instant::from_nanos(self.offset + u64::try_from(skewed.max(0)).unwrap_or(0))
    }

    /// True time at which it will show `instant`, at the earliest `now`.
    #[must_use]
    pub fn when(&self, now: TrueTime, instant: Instant) -> TrueTime {
        let ahead = instant.as_nanos().saturating_sub(self.at(now).as_nanos());
        // A slow clock needs longer; one microsecond more makes up for rounding.
        now + ahead + ahead / 1_000 + u64::from(ahead > 0) * 1_000
    }

    /// Jumps ahead.
    pub fn jump(&mut self, now: TrueTime, by: Duration) {
        self.offset = self.at(now).as_nanos() + u64::try_from(by.as_nanos()).unwrap_or(0);
        self.since = now;
    }
}

/// A running node and its open log.
pub struct Process {
    /// The node.
    pub node: Node,
    /// Its client port.
    pub front: Front,
    /// Its log.
    pub wal: Wal,
    /// Appended, not yet synced; in order.
    pub syncing: VecDeque<LogBatch>,
    /// Not even appended: the disk was full.
    pub refused: VecDeque<LogBatch>,
}

/// One virtual machine.
pub struct Host {
    /// Its node's id.
    pub id: NodeId,
    /// Its disk.
    pub disk: VirtualDisk,
    /// Its engine.
    pub engine: MemoryEngine,
    /// Its clock.
    pub clock: Clock,
    /// What runs on it; `None` while it is down.
    pub process: Option<Process>,
    /// Counts its starts; things under way for an older process are void.
    pub generation: u32,
    /// Sleeps until then.
    pub paused_until: TrueTime,
    /// The earliest wake-up that is scheduled.
    pub wake_at: Option<TrueTime>,
    /// A sync takes up to this long.
    pub sync_nanos: u64,
    /// When the sync under way ends.
    pub sync_ends: TrueTime,
    /// How many more times it loses power right after a vote was handed to the log.
    pub vote_crashes: u32,
    /// Last revision of this host that the oracle has seen.
    pub seen: Revision,
    /// How it starts for the first time.
    pub first_start: Start,
    /// It was started at least once with success.
    pub started: bool,
    /// Its member was removed from the cluster: it is not started again.
    pub retired: bool,
    seed: u64,
    retention: LogRetention,
}

impl Host {
    /// A machine that has never run.
    #[must_use]
    pub fn new(id: NodeId, seed: u64, clock: Clock, first_start: Start, retention: usize) -> Self {
        Host {
            id,
            disk: VirtualDisk::new(seed),
            engine: MemoryEngine::new(),
            clock,
            process: None,
            generation: 0,
            paused_until: 0,
            wake_at: None,
            sync_nanos: 200_000,
            sync_ends: 0,
            vote_crashes: 0,
            seen: Revision(0),
            first_start,
            started: false,
            retired: false,
            seed,
            retention: LogRetention { compact_above_bytes: retention },
        }
    }

    /// Starts the node; the error says why it does not start.
    pub fn start(&mut self, now: TrueTime) -> Result<(), BootError> {
        assert!(self.process.is_none(), "one process at a time");
        self.generation += 1;
        let config = NodeConfig {
            node: self.id,
            cluster: CLUSTER,
            name: format!("n{}", self.id.0),
            client_urls: vec![format!("http://10.0.0.{}:2379", self.id.0)],
            seed: self.seed,
            timing: Timing::default(),
            log_retention: self.retention,
            wal_limits: WalLimits { segment_bytes: 64 * 1024, max_spares: 1 },
        };
        let start = if self.started { Start::Restart } else { self.first_start.clone() };
        let disk = Arc::new(self.disk.clone());
        let engine = Arc::new(self.engine.clone());
        let (node, wal) = boot(disk, engine, config, start, self.clock.at(now))?;
        self.started = true;
        self.seen = node.kv().revision();
        let (syncing, refused) = (VecDeque::new(), VecDeque::new());
        let front = Front::default();
        self.process = Some(Process { node, front, wal, syncing, refused });
        self.wake_at = None;
        self.sync_ends = now;
        Ok(())
    }

    /// The machine stops where it stands.
    pub fn crash(&mut self, crash: Crash, rng: &mut fastrand::Rng) {
        self.process = None;
        self.disk.crash(crash);
        self.engine.crash(crash, rng);
    }

    /// Whether a process runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Whether this node counts leases now (its clock must then not jump).
    #[must_use]
    pub fn believes_it_leads(&self) -> bool {
        self.process.as_ref().is_some_and(|p| p.node.status().leader == self.id)
    }
}

impl Process {
    /// One turn of the node.
    pub fn turn(&mut self, now: Instant) -> Effects {
        let mut effects = Effects::default();
        self.node.turn(now, &mut effects);
        effects
    }

    /// Appends a batch, unless earlier ones still wait for room. Whether it was appended.
    pub fn append(&mut self, batch: LogBatch) -> Result<bool, WalError> {
        if !self.refused.is_empty() {
            self.refused.push_back(batch);
            return Ok(false);
        }
        match self.wal.append(&batch.records) {
            Ok(()) => {
                self.syncing.push_back(batch);
                Ok(true)
            }
            Err(WalError::NoSpace) => {
                self.refused.push_back(batch);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// The members of a cluster of `count`.
#[must_use]
pub fn members(count: u64) -> Vec<Member> {
    let member = |number: u64| Member {
        id: NodeId(number),
        peer_urls: vec![peer_url(number)],
        ..Member::default()
    };
    (1..=count).map(member).collect()
}

/// Where the machine with this number listens for peers. (Frames travel by id; a URL just names.)
#[must_use]
pub fn peer_url(number: u64) -> String {
    format!("http://10.0.0.{number}:2380")
}
