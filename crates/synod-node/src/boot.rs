//! Starting a node: what log and engine hold is brought together, or the start is refused.
//!
//! The order of durable steps is what makes every crash in between harmless:
//! - *Bootstrap*: first state and a note to the engine, durable; then the log's start, durable. A crash
//!   in between finds the note and an empty log, and goes on.
//! - *Installed snapshot*: the engine is durable at the snapshot before the log's new start is. A crash
//!   in between finds the engine ahead of the log at exactly the installed position, and goes on.
//! - Everything else where the engine is ahead of the log means that the log lost durable entries: the
//!   replica must not vote, so it does not start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use synod_base::disk::Disk;
use synod_base::{ClusterId, HardState, Instant, LogIndex, LogStart, NodeId, Term};
use synod_consensus::{CoreStart, CoreStartError, CoreTicks, Membership, RaftCore};
use synod_state::kv::{Kv, OpenError};
use synod_storage::engine::{Engine, EngineError, WriteBatch};
use synod_storage::wal::{
    LogRecord, Recovered, RecoveredGroup, Wal, WalError, WalIdentity, WalLimits,
};
use thiserror::Error;

use crate::frame::COORDINATION;
use crate::member::Member;
use crate::meta::{Applied, MetaError, Notes};
use crate::node::{Node, NodeParts};
use crate::snapshot;

/// A new group's log begins after this position, so that a later member, whose log begins at 0, is
/// brought up by a snapshot and does not miss the first members.
const BOOTSTRAP: LogStart = LogStart { index: LogIndex(10), term: Term(1) };

/// Folder of the log on the node's disk.
const WAL_DIR: &str = "wal";

/// A node's clockwork. The defaults: heartbeats every 100 ms, elections after 0.8 to 1.6 s.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Length of a consensus tick.
    pub tick: Duration,
    /// Leader's heartbeat, in ticks.
    pub heartbeat_ticks: u32,
    /// Shortest election timeout, in ticks; the longest is just under twice that.
    pub election_ticks: u32,
    /// A request that has no answer by then gets an error.
    pub request_timeout: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            tick: Duration::from_millis(20),
            heartbeat_ticks: 5,
            election_ticks: 40,
            request_timeout: Duration::from_secs(5),
        }
    }
}

/// How much log a node keeps.
#[derive(Clone, Copy, Debug)]
pub struct LogRetention {
    /// Once the log holds more payload than this, in bytes, the engine is made durable and the older
    /// three quarters of the applied entries are forgotten. A follower that needs them gets a snapshot.
    pub compact_above_bytes: usize,
}

impl Default for LogRetention {
    fn default() -> Self {
        LogRetention { compact_above_bytes: 32 * 1024 * 1024 }
    }
}

/// What a node is told at its start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its id.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its name, published to the others.
    pub name: String,
    /// Where clients reach it, published to the others.
    pub client_urls: Vec<String>,
    /// Seeds election timeouts and lease ids.
    pub seed: u64,
    /// Its clockwork.
    pub timing: Timing,
    /// How much log it keeps.
    pub log_retention: LogRetention,
    /// The write-ahead log's sizes.
    pub wal_limits: WalLimits,
}

/// What kind of start this is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Start {
    /// The first start of a new cluster; all of its first members, with equal lists everywhere. Does
    /// nothing where it was done before.
    Bootstrap(Vec<Member>),
    /// The first start of a member that was added to a running cluster. Does nothing where it was done
    /// before.
    Join,
    /// Any later start; refused when the log is not there. (A first start that a crash cut short is asked
    /// for again as what it was.)
    Restart,
}

/// Why a node does not start. Nothing on disk was changed that a later start would miss.
#[derive(Debug, Error)]
pub enum BootError {
    /// The log does not open.
    #[error(transparent)]
    Log(#[from] WalError),
    /// The engine fails.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine's notes are damaged.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// The key-value state does not open.
    #[error(transparent)]
    State(#[from] OpenError),
    /// Log and engine do not fit together.
    #[error(
        "{0}. This replica must not vote again: remove the member, empty its folder, add it anew"
    )]
    Consensus(#[from] CoreStartError),
    /// A restart without a log: it was there when the first start ended.
    #[error(
        "the log is gone (the state has applied up to {applied}). This replica must not vote again: \
         remove the member, empty its folder, add it anew"
    )]
    LogGone {
        /// Engine's applied index.
        applied: LogIndex,
    },
    /// A bootstrap or join over existing state.
    #[error("the folder already holds a member's state")]
    NotEmpty,
    /// This node is not among the first members.
    #[error("this node is not among the initial members")]
    NotAMember,
}

/// Opens log and state and makes a node of them.
pub fn boot(
    disk: Arc<dyn Disk>,
    engine: Arc<dyn Engine>,
    config: NodeConfig,
    start: Start,
    now: Instant,
) -> Result<(Node, Wal), BootError> {
    let identity = WalIdentity { cluster: config.cluster, node: config.node };
    let (mut wal, recovered) = Wal::open(disk, WAL_DIR, identity, config.wal_limits)?;
    let notes = Notes::load(&*engine)?;
    match notes.installing {
        Some(position) => snapshot::install(&*engine, position)?,
        // A transfer that ended early: nobody goes on with it.
        None => match snapshot::clear_staging(&*engine) {
            // The next transfer tries again.
            Ok(()) | Err(EngineError::NoSpace(_)) => {}
            Err(error) => return Err(error.into()),
        },
    }
    let applied = Applied::load(&*engine)?;
    let mut records = Vec::new();
    match start {
        Start::Bootstrap(members) => bootstrap(&*engine, &config, members, &recovered)?,
        Start::Join => join(&applied, &recovered, &mut records)?,
        Start::Restart if !recovered.groups.contains_key(&COORDINATION) => {
            return Err(BootError::LogGone { applied: applied.position.index });
        }
        Start::Restart => {}
    }
    // Read again: a bootstrap has just written them.
    let notes = Notes::load(&*engine)?;
    let applied = Applied::load(&*engine)?;
    let group = reconcile(&applied, &notes, recovered.groups.get(&COORDINATION), &mut records);
    let start_number = recovered.start_number + 1;
    records.push(LogRecord::NodeStart { start_number });
    wal.append(&records)?;
    wal.sync()?;

    let log_start = group.start.index;
    let core = RaftCore::new(CoreStart {
        node: config.node,
        seed: config.seed,
        hard_state: group.hard_state,
        start: group.start,
        entries: group.entries,
        committed: group.committed,
        membership: applied.membership.clone(),
        applied: applied.position.index,
        ticks: CoreTicks {
            heartbeat: config.timing.heartbeat_ticks,
            election: config.timing.election_ticks,
        },
    })?;
    let kv = Kv::open(Arc::clone(&engine))?;
    let parts =
        NodeParts { config, start_number, core: Box::new(core), engine, kv, applied, log_start };
    let mut node = Node::new(parts, now);
    node.on_log_bytes(wal.disk_bytes());
    Ok((node, wal))
}

fn bootstrap(
    engine: &dyn Engine,
    config: &NodeConfig,
    members: Vec<Member>,
    recovered: &Recovered,
) -> Result<(), BootError> {
    if recovered.groups.contains_key(&COORDINATION) {
        // The log's start is written last: an earlier bootstrap was complete.
        return Ok(());
    }
    let applied = Applied::load(engine)?;
    if applied != Applied::default() && !Notes::load(engine)?.bootstrapping {
        return Err(BootError::NotEmpty);
    }
    if !members.iter().any(|member| member.id == config.node) {
        return Err(BootError::NotAMember);
    }
    let members: BTreeMap<NodeId, Member> = members.into_iter().map(|m| (m.id, m)).collect();
    let membership = Membership::of_voters(members.keys().copied().collect());
    let applied = Applied { position: BOOTSTRAP, membership, members };
    let mut batch = WriteBatch::default();
    applied.save_position(&mut batch);
    applied.save_members(&mut batch);
    Notes { bootstrapping: true, ..Notes::default() }.save(&mut batch);
    engine.write(batch)?;
    engine.persist()?;
    Ok(())
}

/// An empty log that says so: from here on, an empty log folder is a lost one.
fn join(
    applied: &Applied,
    recovered: &Recovered,
    records: &mut Vec<LogRecord>,
) -> Result<(), BootError> {
    if recovered.groups.contains_key(&COORDINATION) {
        return Ok(());
    }
    if *applied != Applied::default() {
        return Err(BootError::NotEmpty);
    }
    records.push(LogRecord::Start { group: COORDINATION, start: LogStart::default() });
    Ok(())
}

/// The group's log as consensus shall see it; adds the records that bring the stored log in line.
fn reconcile(
    applied: &Applied,
    notes: &Notes,
    recovered: Option<&RecoveredGroup>,
    records: &mut Vec<LogRecord>,
) -> RecoveredGroup {
    let mut group = recovered.cloned().unwrap_or_default();
    let last = group.entries.last().map_or(group.start.index, |entry| entry.index);
    let fresh = recovered.is_none();
    let restart_at = if fresh && notes.bootstrapping && applied.position == BOOTSTRAP {
        Some(BOOTSTRAP)
    } else {
        // Only the very position of an installed snapshot may lie past the log.
        notes.installed.filter(|installed| {
            applied.position.index >= installed.index
                && (last < installed.index
                    || term_at(&group, installed.index).is_some_and(|t| t != installed.term))
        })
    };
    if let Some(start) = restart_at {
        let term = group.hard_state.term.max(start.term);
        if term != group.hard_state.term {
            group.hard_state = HardState { term, voted_for: NodeId::NONE };
        }
        group.start = start;
        group.entries.clear();
        group.committed = None;
        records.push(LogRecord::Start { group: COORDINATION, start });
        records.push(LogRecord::HardState { group: COORDINATION, state: group.hard_state });
    }
    group
}

fn term_at(group: &RecoveredGroup, index: LogIndex) -> Option<Term> {
    if index == group.start.index {
        return Some(group.start.term);
    }
    let first = group.entries.first()?.index;
    let offset = usize::try_from(index.0.checked_sub(first.0)?).ok()?;
    group.entries.get(offset).map(|entry| entry.term)
}
