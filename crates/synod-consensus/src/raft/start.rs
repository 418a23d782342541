//! What a replica starts from, checked for fit, and the raft crate's settings with their reasons.

use raft::eraftpb as pb;
use raft::{Config, RawNode, ReadOnlyOption};
use synod_base::{EntryKind, HardState, LogIndex, LogStart, NodeId, Term};

use super::convert;
use super::log::MemoryLog;
use crate::core::{CoreStart, CoreStartError};

/// Entries in one append message, in bytes; one entry may be larger. 0, the default, means one each.
const MAX_APPEND_TARGET_BYTES: u64 = 1024 * 1024;

/// Append messages to one follower that may be unanswered.
const MAX_APPENDS_IN_FLIGHT: usize = 256;

/// Payload bytes a leader holds un-committed; proposals beyond are refused as overload.
pub(super) const MAX_UNCOMMITTED_BYTES: u64 = 64 * 1024 * 1024;

/// Payload bytes that wait on a follower to become durable, as behind a full disk: then appends are as good
/// as lost, and come again. (A leader hands on what is committed only once it is durable with itself, too,
/// so what waits there counts as un-committed.)
pub(super) const MAX_UNDURABLE_BYTES: usize = 64 * 1024 * 1024;

/// Committed bytes in one output; else a restart would hand out the whole log at once.
const MAX_COMMITTED_BYTES_PER_OUTPUT: u64 = 16 * 1024 * 1024;

const _: () = assert!(MAX_UNCOMMITTED_BYTES >= MAX_APPEND_TARGET_BYTES);

impl CoreStart {
    /// Finishes a snapshot's installation that a crash cut short between the engine and the log.
    ///
    /// The engine reaches the state of a snapshot before the log is told to begin after it. A host that
    /// finds its engine at a position `installed` by a snapshot calls this before `RaftCore::new`. If
    /// the log does not hold that entry (it ends before, or has another one that was never committed),
    /// the log now begins after it and is empty; `true` says that the host must make that durable too.
    /// Without it the core would refuse to start, or count the other entry as applied.
    pub fn follow_snapshot(&mut self, installed: LogStart) -> bool {
        let held = if installed.index <= self.start.index {
            true
        } else {
            let mut entries = self.entries.iter();
            entries.any(|e| e.index == installed.index && e.term == installed.term)
        };
        if !held {
            self.start = installed;
            self.entries.clear();
            self.committed = None;
            self.applied = self.applied.max(installed.index);
        }
        !held
    }
}

/// Builds the raft crate's node over our log. Returns also the hard state it stands at.
pub(super) fn node_from(
    start: CoreStart,
) -> Result<(RawNode<MemoryLog>, HardState), CoreStartError> {
    let hard_state = check(&start)?;
    let initial = pb::HardState {
        term: hard_state.term.0,
        vote: hard_state.voted_for.0,
        // Not stored: it is at least this, and the leader tells the rest.
        commit: surely_committed(&start).0,
        ..Default::default()
    };
    let conf_state = convert::membership_to_raft(&start.membership);
    let mut log = MemoryLog::new(start.start, (initial, conf_state));
    log.append(&start.entries);
    let term = log.term_of(start.applied).expect("applied lies in the log: it was checked");
    let applied_at = LogStart { index: start.applied, term };
    log.set_snapshot(Some((applied_at, start.membership.clone())));
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let node = RawNode::new(&settings(&start), log, &logger)
        .map_err(|e| CoreStartError::Settings(e.to_string()))?;
    Ok((node, hard_state))
}

/// What is committed for certain: what the engine applied, what the host has noted, and of changes of
/// membership in the log all but the last one, since nobody proposes one before the one before it is applied.
/// So a replica that has forgotten several changes, as with a full engine, campaigns with no membership that
/// is older than the last but one: two that follow each other have no two majorities without a common member.
///
/// The last one need not be committed, not even where this replica was one of two voters and so is in each
/// majority of theirs: the other voter may not know yet that a third one was removed, and lead with its vote.
fn surely_committed(start: &CoreStart) -> LogIndex {
    let changes = start.entries.iter().filter(|entry| entry.kind == EntryKind::Membership);
    let last_but_one = changes.rev().nth(1).map(|entry| entry.index);
    [last_but_one, start.committed].into_iter().flatten().fold(start.applied, LogIndex::max)
}

/// The table of decisions.
fn settings(start: &CoreStart) -> Config {
    Config {
        id: start.node.0,
        election_tick: start.ticks.election as usize,
        heartbeat_tick: start.ticks.heartbeat as usize,
        applied: start.applied.0,
        max_size_per_msg: MAX_APPEND_TARGET_BYTES,
        max_inflight_msgs: MAX_APPENDS_IN_FLIGHT,
        check_quorum: true,
        pre_vote: true,
        // A lease would answer without looking at any clock.
        read_only_option: ReadOnlyOption::Safe,
        // Followers would learn of the last commit only by the next append.
        skip_bcast_commit: false,
        // The crate merges an append into an empty one without comparing their positions, and so makes
        // appends with a gap. `outgoing` merges instead.
        batch_append: false,
        max_uncommitted_size: MAX_UNCOMMITTED_BYTES,
        max_committed_size_per_ready: MAX_COMMITTED_BYTES_PER_OUTPUT,
        ..Config::default()
    }
}

/// Whether log and engine fit together. The raft crate would panic on most of this.
fn check(start: &CoreStart) -> Result<HardState, CoreStartError> {
    if start.node == NodeId::NONE {
        return Err(CoreStartError::Settings("a node's id is not 0".to_owned()));
    }
    let (mut last, mut last_term) = (start.start.index, start.start.term);
    if (last.0 == 0) != (last_term == Term(0)) {
        return Err(CoreStartError::LogDamaged { index: last });
    }
    for entry in &start.entries {
        if entry.index != last.next() || entry.term < last_term || entry.term == Term(0) {
            return Err(CoreStartError::LogDamaged { index: entry.index });
        }
        (last, last_term) = (entry.index, entry.term);
    }
    if start.applied > last {
        return Err(CoreStartError::LogLost { applied: start.applied, last });
    }
    if let Some(committed) = start.committed.filter(|committed| *committed > last) {
        return Err(CoreStartError::CommitLost { committed, last });
    }
    if start.applied < start.start.index {
        let start_index = start.start.index;
        return Err(CoreStartError::StateLost { start: start_index, applied: start.applied });
    }
    check_membership(start)?;
    let mut hard_state = start.hard_state;
    if hard_state.term < last_term {
        if !start.entries.is_empty() {
            return Err(CoreStartError::VoteLost { term: hard_state.term, last_term });
        }
        // A new group: it begins in the term of its start, where nobody has voted.
        hard_state = HardState { term: last_term, voted_for: NodeId::NONE };
    }
    Ok(hard_state)
}

fn check_membership(start: &CoreStart) -> Result<(), CoreStartError> {
    let membership = &start.membership;
    if membership.all().is_empty() {
        return Ok(());
    }
    if membership.validate().is_err() {
        return Err(CoreStartError::Membership("it is none that a group can have"));
    }
    if start.start.index.0 == 0 {
        // Newcomers would get the log from its first entry on and so never hear of the first voters.
        return Err(CoreStartError::Membership("a log that starts at 0 has no members yet"));
    }
    Ok(())
}
