//! Identifiers: who and which, never where.

use std::fmt;

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident($inner:ty), $format:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "(", $format, ")"), self.0)
            }
        }
    };
}

identifier!(
    /// One member of a cluster. Never 0 for a real member (0 means "nobody" to Raft), never reused:
    /// a node that lost its disk comes back under a new id.
    NodeId(u64),
    "{:x}"
);

identifier!(
    /// One cluster. Frames and log files carry it, so that nodes of two clusters never mix.
    ClusterId(u64),
    "{:x}"
);

identifier!(
    /// One consensus group. A node takes part in many; all of them share its write-ahead log.
    GroupId(u32),
    "{}"
);

identifier!(
    /// A lease, as etcd numbers them: positive, 0 means "no lease".
    LeaseId(i64),
    "{:x}"
);

impl NodeId {
    /// No node: Raft's "no leader" and "no vote".
    pub const NONE: NodeId = NodeId(0);
}

impl LeaseId {
    /// A key without a lease.
    pub const NONE: LeaseId = LeaseId(0);
}

/// Names one proposal for ever: the node that made it, that node's start number, a counter.
///
/// The proposing node answers its client when *it* applies the entry that carries this id, so the id
/// is never reused, also not after a restart (the start number is durable).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ProposalId {
    /// The node whose client asked.
    pub node: NodeId,
    /// How often that node has been started; from 1.
    pub start_number: u32,
    /// Counts proposals since that start.
    pub counter: u64,
}
