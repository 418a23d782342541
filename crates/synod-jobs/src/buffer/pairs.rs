//! The sort buffer: emitted pairs in emit order, one list of entries per partition.
//!
//! The arena holds the pairs exactly as a run stores them, so a sealed buffer is read, written and
//! handed over without being rewritten.

use crate::buffer::order::{Entry, Keys, sort_entries, word_at};
use crate::run::memory::MemoryRun;
use crate::run::record;

/// Room is given in steps: positions of pairs take memory, too.
const STEP_BYTES: usize = 256 << 10;
/// A list of entries that is expected to take no more grows by itself.
const SMALL_LIST_BYTES: usize = 8 << 20;

/// Pairs that wait to be sorted.
pub(crate) struct Pairs {
    arena: Vec<u8>,
    /// Bytes that the arena may hold now; its capacity may be more.
    room: usize,
    /// Bytes of pairs that will come, as far as one can guess.
    expected: usize,
    entries: Vec<Vec<Entry>>,
    count: usize,
}

impl Pairs {
    /// An empty buffer for this many partitions.
    pub(crate) fn new(partitions: u32) -> Pairs {
        let entries = vec![Vec::new(); partitions as usize];
        Pairs { arena: Vec::new(), room: 0, expected: 0, entries, count: 0 }
    }

    /// Says how many bytes of pairs will come. Memory that is set aside for them and not written to
    /// costs nothing; memory that must grow is copied, and the system has to clear it twice.
    pub(crate) fn expect(&mut self, bytes: usize) {
        self.expected = bytes;
    }

    /// Appends a pair, unless the buffer is full: then it returns `false` and is unchanged.
    #[inline]
    pub(crate) fn push(&mut self, partition: u32, key: &[u8], value: &[u8]) -> bool {
        if self.arena.len() + record::encoded_len(key.len(), value.len()) > self.room {
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
        let step = STEP_BYTES.min(limit_bytes / 16);
        let arena = self.arena.len() + need.max(step);
        // Entry lists grow by doubling.
        let entries = self.count * size_of::<Entry>() * 3 / 2;
        if self.count > 0 && (arena + entries > limit_bytes || arena > u32::MAX as usize) {
            return false;
        }
        if arena > self.arena.capacity() {
            let ahead = if self.count == 0 { self.expected } else { self.arena.len() * 3 / 2 };
            let capacity = arena.max(ahead.min(limit_bytes).min(u32::MAX as usize));
            self.arena.reserve_exact(capacity - self.arena.len());
            let entries = self.expected.min(limit_bytes) / self.entries.len();
            if self.count == 0 && entries > SMALL_LIST_BYTES {
                for list in &mut self.entries {
                    list.reserve_exact(entries / size_of::<Entry>());
                }
            }
        }
        self.room = arena;
        true
    }

    /// Turns the content into a sorted, partitioned run and leaves the buffer empty.
    pub(crate) fn seal(&mut self) -> MemoryRun {
        let arena = std::mem::take(&mut self.arena);
        let keys = Arena(&arena);
        let mut sealed = Vec::with_capacity(self.entries.len());
        for list in &mut self.entries {
            let mut list = std::mem::take(list);
            sort_entries(&mut list, &keys);
            sealed.push(list.iter().map(|entry| entry.at).collect());
        }
        (self.count, self.room) = (0, 0);
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
