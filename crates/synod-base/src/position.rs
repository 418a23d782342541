//! Positions: where in a log, an election history or a key-value history.

use std::fmt;

macro_rules! position {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl $name {
            /// The position after this one.
            #[must_use]
            pub fn next(self) -> Self {
                $name(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

position!(
    /// A position in one group's replicated log (Raft paper, section 5.3). The first entry of a new
    /// group is not 1 but follows its initial snapshot.
    LogIndex(u64)
);

position!(
    /// An election term (Raft paper, section 5.1).
    Term(u64)
);

position!(
    /// A position in the key-value history: one per committed write transaction. An empty store is
    /// at 1; the first write makes 2. Signed because etcd's API says so.
    Revision(i64)
);
