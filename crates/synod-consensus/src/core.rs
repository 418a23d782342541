//! The contract between a replica's host and its consensus protocol.
//!
//! One turn of the host, in this order: [`Core::tick`], [`Core::step`] per message and
//! [`Core::on_persisted`]; then at most one [`Core::propose`] with all queued payloads and one
//! [`Core::read_index`]; then [`Core::take_output`] until it returns `None`. The host obeys what each
//! output says:
//!
//! 1. `messages` may leave at once, before anything is written.
//! 2. `write` goes to the log. When it is durable the host calls `on_persisted(write.number)`. Writes
//!    become durable in order; one call covers all earlier numbers. A write that is empty needs no
//!    call: it is durable with the ones before it (a call for it does no harm).
//! 3. `messages_after_write` leave only after *that* write (and so all earlier ones) is durable:
//!    votes and acknowledgements. Sent earlier they lose acknowledged writes. The host calls
//!    `on_persisted` before it sends them.
//! 4. `committed` entries are applied in order, each membership change by [`Core::apply_change`]; then
//!    the host calls [`Core::on_applied`].
//! 5. `reads` may be answered once the host has applied up to their index.
//!
//! A failed or impossible step of the protocol is a typed error or a panic inside the raft crate; the
//! host treats a panic as "this replica stops".

use bytes::Bytes;
use synod_base::{
    DecodeError, Decoder, Encoder, Entry, HardState, LogIndex, LogStart, NodeId, Term,
};
use thiserror::Error;

/// Who takes part in a group. During a joint change both majorities count (Raft dissertation,
/// section 4.3).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Membership {
    /// Voters, ascending.
    pub voters: Vec<NodeId>,
    /// Voters of the outgoing configuration while joint; else empty.
    pub voters_outgoing: Vec<NodeId>,
    /// Receive the log, do not vote; ascending.
    pub learners: Vec<NodeId>,
    /// Voters that become learners when the joint configuration is left.
    pub learners_next: Vec<NodeId>,
    /// Leave the joint configuration as soon as it is committed.
    pub auto_leave: bool,
}

impl Membership {
    /// A fresh group of these voters.
    #[must_use]
    pub fn of_voters(mut voters: Vec<NodeId>) -> Self {
        voters.sort_unstable();
        voters.dedup();
        Membership { voters, ..Self::default() }
    }

    /// Whether this node takes any part.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        [&self.voters, &self.voters_outgoing, &self.learners, &self.learners_next]
            .into_iter()
            .any(|list| list.contains(&node))
    }

    /// All nodes that take any part, ascending, each once.
    #[must_use]
    pub fn all(&self) -> Vec<NodeId> {
        let mut all: Vec<NodeId> =
            [&self.voters, &self.voters_outgoing, &self.learners, &self.learners_next]
                .into_iter()
                .flatten()
                .copied()
                .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Appends the five fields.
    pub fn encode(&self, out: &mut Encoder) {
        for list in [&self.voters, &self.voters_outgoing, &self.learners, &self.learners_next] {
            out.var(list.len() as u64);
            for node in list {
                out.u64(node.0);
            }
        }
        out.bool(self.auto_leave);
    }

    /// Reads what [`Membership::encode`] wrote.
    pub fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        let mut lists: [Vec<NodeId>; 4] = Default::default();
        for list in &mut lists {
            for _ in 0..input.count("membership size")? {
                list.push(NodeId(input.u64("member id")?));
            }
        }
        let [voters, voters_outgoing, learners, learners_next] = lists;
        let auto_leave = input.bool("auto leave")?;
        Ok(Membership { voters, voters_outgoing, learners, learners_next, auto_leave })
    }
}

/// One step of a membership change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberChange {
    /// A new voter, or a learner promoted.
    AddVoter(NodeId),
    /// A new learner, or a voter demoted.
    AddLearner(NodeId),
    /// Out.
    Remove(NodeId),
}

/// A membership change as it is proposed and as it stands in an entry's payload. Several changes go
/// through a joint configuration; none leaves it. `context` belongs to the host (its proposal id, the new
/// member's addresses) and comes back when the entry is applied.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MembershipChange {
    /// What changes.
    pub changes: Vec<MemberChange>,
    /// The host's own bytes.
    pub context: Bytes,
}

/// Whether a message carries state instead of log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageKind {
    /// Everything but a snapshot.
    Ordinary,
    /// The receiver needs the state at this position: the host must bring its engine's state to the
    /// receiver first and only then deliver the message. It must answer with
    /// [`Core::report_snapshot`], or the follower stays paused.
    Snapshot {
        /// The position the snapshot must have reached at least; the host may send a newer state by
        /// re-making the message with [`Core::snapshot_message`].
        at: LogStart,
    },
}

/// A protocol message between two replicas of one group, already encoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Receiver.
    pub to: NodeId,
    /// What the host must know of it.
    pub kind: MessageKind,
    /// The whole message, sender and term included, in this crate's own encoding.
    pub body: Bytes,
}

/// A read's name: unique for ever (node, its start number, a counter), because answers are matched by
/// these bytes alone over all nodes. Reuse gives stale reads (etcd #20418).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReadContext {
    /// The node that asks.
    pub node: NodeId,
    /// Its start number.
    pub start_number: u32,
    /// Counts reads since then.
    pub counter: u64,
}

/// What a replica is right now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Follows a leader, or looks for one.
    Follower,
    /// Asks whether it could win before it disturbs anybody (Raft dissertation, section 9.6).
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads its term.
    Leader,
}

/// A replica's view of its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoreStatus {
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader it knows, or `NodeId::NONE`.
    pub leader: NodeId,
    /// Highest position known to be committed.
    pub commit_index: LogIndex,
    /// Last position the host reported as applied.
    pub applied_index: LogIndex,
    /// Last position in the log, durable or not.
    pub last_index: LogIndex,
    /// This leader has committed an entry of its own term, so it may serve reads and count leases.
    pub committed_in_term: bool,
}

/// How far a follower is, as the leader knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Who.
    pub node: NodeId,
    /// Highest position known to be durable there.
    pub matched: LogIndex,
    /// Heard from since the last check of the quorum.
    pub recently_active: bool,
}

/// What must reach the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// Ascending without order gaps in time; given back to [`Core::on_persisted`].
    pub number: u64,
    /// New entries; the first may replace older ones.
    pub entries: Vec<Entry>,
    /// Set when term or vote changed.
    pub hard_state: Option<HardState>,
    /// A snapshot was accepted: the host has installed (or now installs) the engine state of this
    /// position, and the log begins after it.
    pub snapshot: Option<(LogStart, Membership)>,
}

impl Write {
    /// Whether nothing needs to be written; such a write still has a number to be acknowledged, after
    /// the writes before it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.hard_state.is_none() && self.snapshot.is_none()
    }
}

/// What one call of [`Core::take_output`] asks of the host.
#[derive(Clone, Debug)]
pub struct Output {
    /// Send now.
    pub messages: Vec<Message>,
    /// Make durable.
    pub write: Write,
    /// Send once `write` is durable.
    pub messages_after_write: Vec<Message>,
    /// Apply, in order.
    pub committed: Vec<Entry>,
    /// Reads that are safe once the index is applied.
    pub reads: Vec<(ReadContext, LogIndex)>,
}

/// Why a proposal was not taken. In every case it was *not* appended anywhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ProposeError {
    /// Another node leads, or none does.
    #[error("this replica does not lead")]
    NotLeader,
    /// Too much is un-committed already.
    #[error("too much is waiting to be committed")]
    Overloaded,
    /// Leadership is being handed over.
    #[error("leadership is being transferred")]
    Transferring,
}

/// Why a read was not started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ReadRefused {
    /// The leader has not yet committed an entry of its own term; ask again in the next turn.
    #[error("the leader has not committed in its term yet")]
    NotYet,
    /// No leader is known.
    #[error("no leader is known")]
    NoLeader,
}

/// Why a message from a peer was not taken. The sender is wrong or damaged; nothing changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum StepError {
    /// It does not decode.
    #[error("malformed consensus message: {0}")]
    Malformed(#[from] DecodeError),
    /// It is of a kind a peer must never send, or names another sender or receiver.
    #[error("a peer may not send this: {0}")]
    Forbidden(&'static str),
    /// The leader counts on entries that this replica no longer has: its log lost durable entries, and
    /// with them perhaps a vote. The replica must stop for good; its node comes back under a new id.
    #[error(
        "the leader says {commit} is committed here but the log ends at {last}: it lost entries"
    )]
    LogLost {
        /// What the leader's heartbeat says this replica holds and has committed.
        commit: LogIndex,
        /// Where this replica's log ends.
        last: LogIndex,
    },
}

/// What a core starts from.
#[derive(Clone, Debug)]
pub struct CoreStart {
    /// This replica.
    pub node: NodeId,
    /// Seeds the election timeouts.
    pub seed: u64,
    /// From the log.
    pub hard_state: HardState,
    /// From the log.
    pub start: LogStart,
    /// From the log: everything after `start`, without a gap.
    pub entries: Vec<Entry>,
    /// From the log: an entry that the host had noted as committed.
    pub committed: Option<LogIndex>,
    /// From the engine: membership as of `applied`.
    pub membership: Membership,
    /// From the engine. Not before `start`, not past the last entry.
    pub applied: LogIndex,
    /// Timing, in ticks.
    pub ticks: CoreTicks,
}

/// Timing of a core, in ticks of the host.
#[derive(Clone, Copy, Debug)]
pub struct CoreTicks {
    /// Leader's heartbeat interval.
    pub heartbeat: u32,
    /// Shortest election timeout; the longest is just under twice that.
    pub election: u32,
}

/// Why a core cannot start: what the log and the engine hold does not fit together.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum CoreStartError {
    /// The engine has applied more than the log holds: the log lost durable entries.
    #[error("the engine has applied up to {applied} but the log ends at {last}")]
    LogLost {
        /// Engine's applied index.
        applied: LogIndex,
        /// Log's last index.
        last: LogIndex,
    },
    /// An entry that was noted as committed is not there: the log lost durable entries.
    #[error("{committed} was committed but the log ends at {last}")]
    CommitLost {
        /// The entry.
        committed: LogIndex,
        /// Log's last index.
        last: LogIndex,
    },
    /// The log begins after what the engine has applied.
    #[error("the log begins after {start} but the engine has applied only up to {applied}")]
    StateLost {
        /// Log's start.
        start: LogIndex,
        /// Engine's applied index.
        applied: LogIndex,
    },
    /// An entry is not where, or of no term, that the one before it allows.
    #[error("the log is damaged at {index}")]
    LogDamaged {
        /// The entry (or the start).
        index: LogIndex,
    },
    /// The log holds entries of a later term than the hard state: a vote was lost.
    #[error("the log reaches term {last_term} but the hard state is at {term}: it lost a vote")]
    VoteLost {
        /// The hard state's term.
        term: Term,
        /// The last entry's term.
        last_term: Term,
    },
    /// A group starts above 0 (see `RaftCore::new`), and its membership is one a group can have.
    #[error("invalid membership: {0}")]
    Membership(&'static str),
    /// The raft crate refused the settings.
    #[error("invalid consensus settings: {0}")]
    Settings(String),
}

/// One replica's consensus. See the module's text for the order of calls.
pub trait Core {
    /// One tick of time has passed.
    fn tick(&mut self);

    /// A message from `from` arrived. `from` must be the authenticated peer.
    ///
    /// A snapshot message is stepped only once the engine holds the state of its position (or a later
    /// one) and everything handed out before has been applied. The log then follows the engine, even if
    /// the message has become stale meanwhile; entries that the engine holds already are not handed
    /// out again. A crash between the two: see [`CoreStart::follow_snapshot`].
    fn step(&mut self, from: NodeId, body: Bytes) -> Result<(), StepError>;

    /// Leader only: appends one entry per payload, all in one message per follower.
    fn propose(&mut self, payloads: Vec<Bytes>) -> Result<(), ProposeError>;

    /// How many payload bytes [`Core::propose`] would take now; 0 where it would refuse any. So the host
    /// need not make payloads that are refused.
    fn proposal_room(&self) -> usize;

    /// Leader only: appends a membership change, at `status().last_index` after the call. One that may
    /// not run now (another is in flight, or it does not fit the membership) comes back as an empty
    /// normal entry of that index and term.
    fn propose_change(&mut self, change: &MembershipChange) -> Result<(), ProposeError>;

    /// Starts one round that proves leadership. Followers ask the leader; the request may be lost:
    /// the host asks again with a *new* context.
    fn read_index(&mut self, context: ReadContext) -> Result<(), ReadRefused>;

    /// Starts an election now, without waiting for the timeout (a lone voter after its start).
    fn campaign(&mut self);

    /// Leader only: hands leadership over.
    fn transfer_leader(&mut self, to: NodeId);

    /// The connection to a peer broke.
    fn report_unreachable(&mut self, peer: NodeId);

    /// A snapshot that this leader was asked to send was delivered, or was not.
    fn report_snapshot(&mut self, peer: NodeId, delivered: bool);

    /// Remakes a snapshot message for the state at `at` (leader only; `None` if it no longer leads).
    fn snapshot_message(
        &self,
        to: NodeId,
        at: LogStart,
        membership: &Membership,
    ) -> Option<Message>;

    /// The write of this number, and all before it, are durable.
    fn on_persisted(&mut self, number: u64);

    /// The host has applied everything up to `index`.
    fn on_applied(&mut self, index: LogIndex);

    /// A committed membership change is applied (before `on_applied` of its index); returns the
    /// membership from here on. A leader that is no voter any more steps down.
    fn apply_change(&mut self, change: &MembershipChange) -> Membership;

    /// What to do now; `None` when there is nothing.
    fn take_output(&mut self) -> Option<Output>;

    /// Forgets the log up to and including `upto`; the engine holds that state durably. Returns the
    /// new start of the log, or `None` if nothing was forgotten.
    fn compact(&mut self, upto: LogIndex) -> Option<LogStart>;

    /// Bytes of entry payloads held in memory after the start.
    fn log_bytes(&self) -> usize;

    /// The term of an entry that is still in the log (or of its start).
    fn term_at(&self, index: LogIndex) -> Option<Term>;

    /// Its view of the group.
    fn status(&self) -> CoreStatus;

    /// Leader only: its followers; empty elsewhere.
    fn progress(&self) -> Vec<Progress>;

    /// Asserts what must always hold; the simulator calls it after every step.
    fn check(&self);
}
