//! Compaction: at once for readers, in bounded steps for the disk.
//!
//! `Compact` only moves the compacted revision. `scrub` then walks the index in key order, a few keys a
//! call, and removes what no reader at or above that revision can see. It is local to a replica: it
//! changes no answer and no hash, so replicas need not scrub in step. A finished walk is noted in
//! `Space::Meta`; after a crash an unfinished one starts over and finds less to do.

use bytes::Bytes;
use synod_base::Revision;
use synod_storage::engine::{EngineError, Space, WriteBatch};

use super::machine::Kv;
use super::open;
use super::{CommandResult, Refusal};

/// How far the walk over the keys has got.
#[derive(Debug)]
pub(super) struct ScrubState {
    /// The compacted revision that all keys have been scrubbed to.
    done: Revision,
    /// The walk under way: every key is scrubbed to at least this revision when it ends.
    walk: Option<Walk>,
}

#[derive(Debug)]
struct Walk {
    compacted: Revision,
    /// The last key visited.
    cursor: Option<Bytes>,
}

impl ScrubState {
    /// With nothing under way.
    pub fn after_open(done: Revision) -> Self {
        ScrubState { done, walk: None }
    }
}

impl Kv {
    /// Moves the compacted revision; what is below it is unreadable from now on.
    pub(super) fn compact(
        &mut self,
        revision: Revision,
        batch: &mut WriteBatch,
    ) -> Result<CommandResult, Refusal> {
        if revision <= self.compacted {
            return Err(Refusal::Compacted { compacted: self.compacted });
        }
        if revision > self.revision {
            return Err(Refusal::FutureRevision { current: self.revision });
        }
        self.compacted = revision;
        open::put_compacted(revision, batch);
        Ok(CommandResult::Compact)
    }

    /// Whether compacted history waits to be removed.
    #[must_use]
    pub fn needs_scrub(&self) -> bool {
        self.scrub.done < self.compacted
    }

    /// Removes compacted history of the next `max_keys` keys. Returns whether there is more to do.
    /// Commits like `apply` does, in the same batch or in one of its own.
    pub fn scrub(&mut self, max_keys: usize, batch: &mut WriteBatch) -> Result<bool, EngineError> {
        if !self.needs_scrub() || max_keys == 0 {
            return Ok(self.needs_scrub());
        }
        let compacted = self.compacted;
        let walk = self.scrub.walk.get_or_insert(Walk { compacted, cursor: None });
        walk.cursor = self.index.compact(walk.cursor.as_ref(), max_keys, compacted, |event| {
            batch.delete(Space::History, Bytes::copy_from_slice(&event.to_key()));
        });
        if walk.cursor.is_none() {
            self.scrub.done = walk.compacted;
            self.scrub.walk = None;
            open::put_scrubbed(self.scrub.done, batch);
        }
        Ok(self.needs_scrub())
    }
}
