//! The sort buffer: emitted pairs in emit order, one list of entries per partition.
//!
//! The arena holds the pairs exactly as a run stores them, so a sealed buffer is read, written and
//! handed over without being rewritten.

use crate::buffer::order::{Entry, Keys, sort_entries, word_at};
use crate::run::memory::MemoryRun;
use crate::run::record;

/// Pairs that wait to be sorted.
pub(crate) struct Pairs {
    arena: Vec<u8>,
    entries: Vec<Vec<Entry>>,
    count: usize,
}

impl Pairs {
    /// An empty buffer for this many partitions.
    pub(crate) fn new(partitions: u32) -> Pairs {
        Pairs { arena: Vec::new(), entries: vec![Vec::new(); partitions as usize], count: 0 }
    }

    /// Appends a pair, unless the buffer is full: then it returns `false` and is unchanged.
    #[inline]
    pub(crate) fn push(&mut self, partition: u32, key: &[u8], value: &[u8]) -> bool {
        if self.arena.len() + record::encoded_len(key.len(), value.len()) > self.arena.capacity() {
            return false;
        }
        let at = self.arena.len() as u32;
        record::put(&mut self.arena, key, value);
        let entry = Entry { word: word_at(key, 0), at, len: key.len() as u32 };
        self.entries[partition as usize].push(entry);
        self.count += 1;
        true
    }

    /// Number of pairs.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Makes room for one more pair of `need` encoded bytes if the buffer then stays within
    /// `limit_bytes`, or if it is empty. Returns whether it did.
    pub(crate) fn grow(&mut self, need: usize, limit_bytes: usize) -> bool {
        let arena = self.arena.len() + need;
        let arena = arena.max(self.arena.capacity() * 3 / 2).max(64 << 10);
        // Entry lists grow by doubling.
        let entries = self.count * size_of::<Entry>() * 3 / 2;
        if self.count > 0 && (arena + entries > limit_bytes || arena > u32::MAX as usize) {
            return false;
        }
        self.arena.reserve_exact(arena - self.arena.len());
        true
    }

    /// Turns the content into a sorted, partitioned run and leaves the buffer empty.
    pub(crate) fn seal(&mut self) -> MemoryRun {
        let mut arena = std::mem::take(&mut self.arena);
        arena.shrink_to_fit();
        let keys = Arena(&arena);
        let mut sealed = Vec::with_capacity(self.entries.len());
        for list in &mut self.entries {
            let mut list = std::mem::take(list);
            sort_entries(&mut list, &keys);
            sealed.push(list.iter().map(|entry| entry.at).collect());
        }
        self.count = 0;
        MemoryRun::by_position(arena, sealed)
    }
}

struct Arena<'a>(&'a [u8]);

impl Keys for Arena<'_> {
    #[inline]
    fn key(&self, at: u32) -> &[u8] {
        let pair = record::read(self.0, at as usize).expect("the arena holds what push wrote");
        &self.0[pair.key]
    }
}
