//! What a client can ask of a node and what it gets back. Any node takes any request: it forwards to
//! the leader what only the leader can decide.

use synod_base::{ClusterId, LeaseId, LogIndex, NodeId, Revision, Term};
use synod_state::kv::{
    Command, CommandResult, RangeRequest, RangeResult, Refusal, TxnRequest, TxnResult,
};
use thiserror::Error;

use crate::member::Member;

/// Names a request between the executor and the node; the executor picks it and gets it back with the
/// reply, exactly once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestToken(pub u64);

/// A client's request. Watches go by [`crate::WatchRequest`].
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// A replicated change. A `LeaseGrant` with id 0 gets an id from the node.
    Write(Command),
    /// A read.
    Range {
        /// What to read.
        request: RangeRequest,
        /// Wait for a read barrier (strictly serializable), or answer at once from this node.
        linearizable: bool,
    },
    /// A transaction that cannot write ([`TxnRequest::is_read_only`]).
    ReadTxn {
        /// What to read.
        request: TxnRequest,
        /// As for `Range`.
        linearizable: bool,
    },
    /// Starts the lease's time to live anew.
    LeaseKeepAlive {
        /// Which.
        id: LeaseId,
    },
    /// How long a lease has left.
    LeaseTimeToLive {
        /// Which.
        id: LeaseId,
        /// Answer with its keys, too.
        keys: bool,
    },
    /// All leases (linearizable).
    LeaseList,
    /// A hash of the key-value state of this node up to a revision (0: the latest).
    HashKv {
        /// Up to here.
        revision: Revision,
    },
    /// What this node knows of itself; never waits.
    Status,
    /// Who takes part.
    MemberList {
        /// As for `Range`.
        linearizable: bool,
    },
    /// A new member. Its id is made by the node that takes the request.
    MemberAdd {
        /// Where it will listen for peers: `host:port` or `http://host:port`.
        peer_urls: Vec<String>,
        /// As a learner.
        learner: bool,
    },
    /// A member leaves.
    MemberRemove {
        /// Which.
        id: NodeId,
    },
    /// A member moves.
    MemberUpdate {
        /// Which.
        id: NodeId,
        /// Where it listens for peers from now on.
        peer_urls: Vec<String>,
    },
    /// A learner becomes a voter.
    MemberPromote {
        /// Which.
        id: NodeId,
    },
    /// Leadership goes to another member.
    MoveLeader {
        /// To whom.
        to: NodeId,
    },
}

/// Where an answer comes from (etcdserverpb.ResponseHeader).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node that answers.
    pub member: NodeId,
    /// The store's revision when the answer was made.
    pub revision: Revision,
    /// The node's term then.
    pub term: Term,
}

/// A successful answer.
#[derive(Clone, PartialEq, Debug)]
pub enum Response {
    /// To `Write`.
    Write(CommandResult),
    /// To `Range`.
    Range(RangeResult),
    /// To `ReadTxn`.
    Txn(TxnResult),
    /// To `LeaseKeepAlive`: the full time to live, or 0 if there is no such lease.
    LeaseKeepAlive {
        /// Seconds.
        ttl_seconds: i64,
    },
    /// To `LeaseTimeToLive`.
    LeaseTimeToLive(LeaseTimeToLive),
    /// To `LeaseList`, ascending.
    LeaseList(Vec<LeaseId>),
    /// To `HashKv`.
    HashKv {
        /// CRC32C over the logical state.
        hash: u32,
        /// History begins here.
        compact_revision: Revision,
        /// Hashed up to here.
        hash_revision: Revision,
    },
    /// To `Status`.
    Status(NodeStatus),
    /// To `MemberList`, and to every change of membership: the members afterwards.
    Members {
        /// All of them, by id.
        members: Vec<Member>,
        /// The one that was added, changed or removed, for a change.
        subject: Option<Member>,
    },
    /// To `MoveLeader`.
    Moved,
}

/// How long a lease has left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseTimeToLive {
    /// Whole seconds left, rounded down; -1 if there is no such lease.
    pub remaining_seconds: i64,
    /// As granted.
    pub granted_seconds: i64,
    /// Its keys, if asked for.
    pub keys: Vec<bytes::Bytes>,
}

/// A node's view of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeStatus {
    /// The leader it knows, or `NodeId::NONE`.
    pub leader: NodeId,
    /// Its term.
    pub term: Term,
    /// Highest position known to be committed.
    pub commit_index: LogIndex,
    /// Highest position applied.
    pub applied_index: LogIndex,
    /// It does not vote.
    pub is_learner: bool,
    /// Bytes of state and log on disk, roughly: of the log, as far as the executor has told.
    pub disk_bytes: u64,
    /// The state's part of them.
    pub state_bytes: u64,
    /// Keys alive now.
    pub key_count: u64,
    /// First readable revision.
    pub compact_revision: Revision,
    /// For want of disk it takes no writes now, but those that make room.
    pub disk_full: bool,
}

/// Whether a refused request happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Happened {
    /// It did not and will not.
    No,
    /// It may have, or may yet.
    Unknown,
}

/// Why there is no answer. [`RequestError::happened`] says what the caller may conclude.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RequestError {
    /// The state refused it. Fix the request.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Larger than `MAX_REQUEST_BYTES`. Fix the request.
    #[error("request is too large")]
    TooLarge,
    /// No leader was found in time; never proposed. Retry, also elsewhere.
    #[error("no leader")]
    NoLeader,
    /// The leader changed while the write was under way. Read before you retry.
    #[error("leader changed")]
    LeaderChanged,
    /// No answer in time. Read before you retry.
    #[error("request timed out")]
    TimedOut,
    /// A read that found no quorum in time. Retry.
    #[error("request timed out")]
    ReadTimedOut,
    /// Too many requests wait. Retry later.
    #[error("too many requests")]
    Overloaded,
    /// The disk is full. Make room, then retry.
    #[error("database space exceeded")]
    DiskFull,
    /// The node is stopping, or has stopped on an error; it says which in its log. Go elsewhere.
    #[error("server stopped")]
    Stopped,
    /// No such member. Fix the request.
    #[error("member not found")]
    MemberNotFound,
    /// A member with that id or peer address is there already. Fix the request.
    #[error("peer urls already exist")]
    MemberExists,
    /// Not a usable peer address. Fix the request.
    #[error("given member URLs are invalid")]
    MemberUrlInvalid,
    /// The last voter cannot leave, or too few would be left alive. Fix the cluster first.
    #[error("re-configuration failed due to not enough started members")]
    NotEnoughMembers,
    /// Another change of membership is under way. Retry.
    #[error("another membership change is under way")]
    ChangeInProgress,
    /// Promotion of a member that is no learner.
    #[error("can only promote a learner member")]
    NotLearner,
    /// Promotion of a learner that is still behind. Wait.
    #[error("can only promote a learner member which is in sync with leader")]
    LearnerNotReady,
    /// Leadership can only be moved by the leader. Go to it.
    #[error("not leader")]
    NotLeader,
    /// Leadership goes only to a voter.
    #[error("bad leader transferee")]
    BadTransferee,
}

impl RequestError {
    /// Whether the request happened.
    #[must_use]
    pub fn happened(&self) -> Happened {
        match self {
            RequestError::LeaderChanged | RequestError::TimedOut | RequestError::Stopped => {
                Happened::Unknown
            }
            _ => Happened::No,
        }
    }
}

/// What a request gets, exactly once.
pub type Reply = Result<(Header, Response), RequestError>;
