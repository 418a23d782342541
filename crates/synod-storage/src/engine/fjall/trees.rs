//! The two trees of an engine, and which keys they hold for which space.

use std::borrow::Cow;

use fjall::{AbstractTree, Keyspace};

use crate::engine::Space;

/// fjall's keyspaces; cheap handles.
#[derive(Clone)]
pub(super) struct Trees {
    pub(super) history: Keyspace,
    pub(super) others: Keyspace,
}

impl Trees {
    /// One more than the newest batch's sequence number.
    pub(super) fn reached(&self) -> u64 {
        self.all()
            .filter_map(|tree| tree.tree.get_highest_seqno())
            .max()
            .map_or(0, |newest| newest + 1)
    }

    /// The newest batch that has left the journals for a table.
    pub(super) fn newest_in_tables(&self) -> Option<u64> {
        self.all().filter_map(|tree| tree.tree.get_highest_persisted_seqno()).max()
    }

    fn all(&self) -> impl Iterator<Item = &Keyspace> {
        [&self.history, &self.others].into_iter()
    }

    /// The tree of a space.
    pub(super) fn of(&self, space: Space) -> &Keyspace {
        if is_history(space) { &self.history } else { &self.others }
    }
}

/// Whether a space has a tree to itself.
pub(super) fn is_history(space: Space) -> bool {
    space == Space::History
}

/// The byte before the keys of a space in the shared tree: never changed.
pub(super) fn prefix(space: Space) -> u8 {
    match space {
        Space::Meta => 1,
        Space::History => 2,
        Space::Lease => 3,
        Space::Local => 4,
        Space::Staging => 5,
    }
}

/// A key as it stands in its tree.
pub(super) fn stored_key(space: Space, key: &[u8]) -> Cow<'_, [u8]> {
    if is_history(space) {
        return Cow::Borrowed(key);
    }
    let mut stored = Vec::with_capacity(key.len() + 1);
    stored.push(prefix(space));
    stored.extend_from_slice(key);
    Cow::Owned(stored)
}
