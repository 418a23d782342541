//! `Engine`: an ordered key-value store on this machine, in which replicated machines keep their
//! state. fjall in production, an ordered map in the simulator; one conformance suite for both.

mod fjall;
mod memory;

#[cfg(test)]
mod conformance;

pub use self::fjall::{FjallEngine, FjallOptions};
pub use self::memory::MemoryEngine;

use std::ops::ControlFlow;

use bytes::Bytes;
use thiserror::Error;

/// A named part of an engine; keys of different spaces never meet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Space {
    /// Applied index, membership, format version, counters: small and few.
    Meta,
    /// Key-value history by revision.
    History,
    /// Leases.
    Lease,
    /// This replica's own notes; never part of a snapshot.
    Local,
    /// A snapshot on its way in: keys of other spaces behind the space's number.
    Staging,
}

impl Space {
    /// All spaces.
    pub const ALL: [Space; 5] =
        [Space::Meta, Space::History, Space::Lease, Space::Local, Space::Staging];

    /// The spaces that replicas agree on, in the order snapshots send them.
    pub const REPLICATED: [Space; 3] = [Space::Meta, Space::History, Space::Lease];
}

/// One change in a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WriteOp {
    /// Sets a key.
    Put(Space, Bytes, Bytes),
    /// Removes a key; fine if it is not there.
    Delete(Space, Bytes),
}

/// Changes that become visible, and survive a crash, together or not at all.
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    /// Applied in order; of two changes to one key the later wins.
    pub ops: Vec<WriteOp>,
}

impl WriteBatch {
    /// Adds a put.
    pub fn put(&mut self, space: Space, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.ops.push(WriteOp::Put(space, key.into(), value.into()));
    }

    /// Adds a removal.
    pub fn delete(&mut self, space: Space, key: impl Into<Bytes>) {
        self.ops.push(WriteOp::Delete(space, key.into()));
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// What goes wrong below an engine. None of it is the caller's input: the replica must stop, or
/// (`NoSpace`) stop writing until there is room.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The disk is full. Nothing of the batch is visible.
    #[error("no space left for the engine: {0}")]
    NoSpace(String),
    /// Stored bytes do not check out.
    #[error("the engine's files are damaged: {0}")]
    Damaged(String),
    /// The operating system refused.
    #[error("the engine cannot reach its files: {0}")]
    Io(String),
}

/// Called with each key and value of a scan; `Break` ends it.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Reading, from the engine itself or from a snapshot of it.
pub trait EngineRead {
    /// The value of a key.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// Visits keys `>= from` and, if given, `< to`, in bytewise order.
    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), EngineError>;
}

/// An ordered store. All methods take `&self`: `persist` and snapshot reads may run on other threads
/// while the owner writes.
pub trait Engine: EngineRead + Send + Sync {
    /// Makes a batch visible, atomically, after all earlier ones. *Not durable* when it returns: a crash
    /// may lose it, together with every batch after it, never one before it.
    fn write(&self, batch: WriteBatch) -> Result<(), EngineError>;

    /// Makes every batch written before the call durable.
    fn persist(&self) -> Result<(), EngineError>;

    /// A consistent view of all spaces as they are now, unmoved by later writes.
    fn snapshot(&self) -> Result<Box<dyn EngineRead + Send>, EngineError>;

    /// Bytes on disk, roughly.
    fn disk_bytes(&self) -> u64;

    /// Removes every key of a space, in batches of bounded size: *not atomic*, so a caller that
    /// installs a snapshot first writes a marker that says so.
    fn clear(&self, space: Space) -> Result<(), EngineError> {
        let mut from = Vec::new();
        loop {
            let mut batch = WriteBatch::default();
            self.scan(space, &from, None, &mut |key, _| {
                batch.delete(space, Bytes::copy_from_slice(key));
                if batch.ops.len() < CLEAR_BATCH_KEYS {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
            // The next scan starts behind this batch, not at all the removals before it.
            let Some(WriteOp::Delete(_, last)) = batch.ops.last() else {
                return Ok(());
            };
            from.clear();
            from.extend_from_slice(last);
            from.push(0);
            self.write(batch)?;
        }
    }
}

/// Keys that one batch of [`Engine::clear`] removes: some 100 KB of memory.
const CLEAR_BATCH_KEYS: usize = 1024;
