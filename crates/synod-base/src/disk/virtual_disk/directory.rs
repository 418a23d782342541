//! The names in one directory: as they are now, as of the last sync, and the changes between.

use std::collections::BTreeMap;

use fastrand::Rng;

/// One file, whatever its names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct InodeId(pub(super) u64);

/// Splits a path into its directory and the name in it.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// One directory.
#[derive(Default)]
pub(super) struct Directory {
    names: BTreeMap<String, InodeId>,
    synced: BTreeMap<String, InodeId>,
    /// What happened since `synced`, in order.
    unsynced: Vec<NameChange>,
}

enum NameChange {
    Link(String, InodeId),
    Unlink(String),
    Rename(String, String, InodeId),
}

impl Directory {
    /// The names as a reader sees them.
    pub(super) fn names(&self) -> &BTreeMap<String, InodeId> {
        &self.names
    }

    pub(super) fn link(&mut self, name: &str, inode: InodeId) {
        self.change(NameChange::Link(name.to_owned(), inode));
    }

    pub(super) fn unlink(&mut self, name: &str) {
        self.change(NameChange::Unlink(name.to_owned()));
    }

    pub(super) fn rename(&mut self, from: &str, to: &str, inode: InodeId) {
        self.change(NameChange::Rename(from.to_owned(), to.to_owned(), inode));
    }

    pub(super) fn sync(&mut self) {
        if !self.unsynced.is_empty() {
            self.unsynced.clear();
            self.synced.clone_from(&self.names);
        }
    }

    pub(super) fn lose_unsynced(&mut self) {
        self.unsynced.clear();
        self.names.clone_from(&self.synced);
    }

    pub(super) fn keep_random_subset(&mut self, rng: &mut Rng) {
        for change in std::mem::take(&mut self.unsynced) {
            if rng.bool() {
                change.apply(&mut self.synced);
            }
        }
        self.names.clone_from(&self.synced);
    }

    /// Whether a name leads to this inode, or may lead to it after a crash.
    pub(super) fn refers_to(&self, inode: InodeId) -> bool {
        self.names.values().any(|id| *id == inode)
            || self.synced.values().any(|id| *id == inode)
            || self.unsynced.iter().any(|change| match change {
                NameChange::Link(_, id) | NameChange::Rename(_, _, id) => *id == inode,
                NameChange::Unlink(_) => false,
            })
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced.push(change);
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, InodeId>) {
        match self {
            NameChange::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Unlink(name) => {
                names.remove(name);
            }
            NameChange::Rename(from, to, inode) => {
                // A rename is one step of the file system's journal: it may survive without the
                // creation before it, and never leaves the file under both names.
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
        }
    }
}
