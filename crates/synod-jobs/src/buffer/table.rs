//! The combine table: open addressing over slots of 32 bytes.
//!
//! A slot holds the first sixteen bytes of its key and a value of up to eight bytes, so a hit on a
//! short key touches one cache line. Longer keys and values live in an arena beside the slots;
//! nothing is allocated per key. The table never decides to grow: it reports that it is full and
//! its owner either gives it room or seals it.

use crate::buffer::order::{Entry, Keys, sort_entries, word_at};
use crate::hash::{HEAD_BYTES, Head, TableHash, head_within, words};
use crate::run::memory::MemoryRun;
use crate::run::record;

/// Values no longer are kept in the slot.
const INLINE_VALUE_BYTES: usize = 8;
/// Marks a slot without a key.
const EMPTY: u32 = u32::MAX;
const FIRST_SLOTS: usize = 1 << 12;
/// Slots that are fetched at once when they are read in sorted order.
const AHEAD_SLOTS: usize = 32;
/// What sealing takes for each slot of a full table: five slots in eight have an entry of the sort
/// and a pair of some 26 bytes, beside what lies in the arena.
const SEAL_BYTES_PER_SLOT: usize = (size_of::<Entry>() + 26) * 5 / 8;

/// Keys of one buffer that are looked for together.
const BATCH: usize = 64;

/// A key that is looked for: its head, its length, and the slot where the search begins.
#[derive(Clone, Copy)]
struct Wanted {
    head: Head,
    len: u32,
    home: u32,
}

#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
struct Slot {
    head: [u8; HEAD_BYTES],
    value: [u8; INLINE_VALUE_BYTES],
    /// Arena position: of the value if it is long, then of the whole key if it is long.
    at: u32,
    /// Length of the key, or `EMPTY`.
    len: u32,
}

const EMPTY_SLOT: Slot =
    Slot { head: [0; HEAD_BYTES], value: [0; INLINE_VALUE_BYTES], at: 0, len: EMPTY };

impl Slot {
    /// Whether it holds this key, which is no longer than a head.
    #[inline]
    fn is(&self, wanted: &Wanted) -> bool {
        let head = words(&self.head);
        // One comparison, so that the processor has less to guess.
        let differs = (head[0] ^ wanted.head[0]) | (head[1] ^ wanted.head[1]);
        differs | u64::from(self.len ^ wanted.len) == 0
    }
}

/// What became of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upsert {
    /// Combined into the value that was there, or inserted as a new key.
    Done,
    /// The table is full and unchanged.
    Full,
}

/// Keys with one combined value each.
pub(crate) struct CombineTable {
    slots: Vec<Slot>,
    arena: Vec<u8>,
    keys: usize,
    value_len: usize,
    hash: TableHash,
}

impl CombineTable {
    /// An empty table for values of exactly `value_len` bytes.
    pub(crate) fn new(value_len: usize, seed: u64) -> CombineTable {
        CombineTable {
            slots: vec![EMPTY_SLOT; FIRST_SLOTS],
            arena: Vec::new(),
            keys: 0,
            value_len,
            hash: TableHash::new(seed),
        }
    }

    /// Combines a value into its key's.
    #[inline]
    pub(crate) fn upsert(
        &mut self,
        head: Head,
        key: &[u8],
        value: &[u8],
        combine: impl FnOnce(&mut [u8], &[u8]),
    ) -> Upsert {
        let home = home(self.hash.hash(head, key), self.slots.len());
        self.upsert_from(home, head, key, value, combine)
    }

    /// Combines one value into each key's, where the keys are ranges of a buffer. Returns how many keys
    /// it took: all, or those before the one that found it full.
    ///
    /// The slots of some keys are fetched before any is looked at: each is a cache miss, together they
    /// take hardly longer than one.
    #[inline]
    pub(crate) fn upsert_each(
        &mut self,
        buffer: &[u8],
        keys: &[[u32; 2]],
        value: &[u8],
        combine: impl Fn(&mut [u8], &[u8]),
    ) -> usize {
        let key_at = |&[start, end]: &[u32; 2]| (start as usize, end as usize);
        let mut batch = [Wanted { head: Head::default(), len: 0, home: 0 }; BATCH];
        for (number, keys) in keys.chunks(BATCH).enumerate() {
            for (wanted, key) in batch.iter_mut().zip(keys) {
                let (start, end) = key_at(key);
                let head = head_within(buffer, start, end);
                let hash = if end - start <= HEAD_BYTES {
                    self.hash.hash_head(head)
                } else {
                    self.hash.hash(head, &buffer[start..end])
                };
                let home = home(hash, self.slots.len()) as u32;
                *wanted = Wanted { head, len: (end - start) as u32, home };
            }
            let batch = &batch[..keys.len()];
            let slots = batch.iter().map(|wanted| self.slots[wanted.home as usize].len);
            std::hint::black_box(slots.fold(0, |sum, len| sum ^ len));
            for (at, wanted) in batch.iter().enumerate() {
                if value.len() <= INLINE_VALUE_BYTES
                    && wanted.len as usize <= HEAD_BYTES
                    && let Some(slot) = self.find_short(wanted)
                {
                    combine(&mut slot.value[..value.len()], value);
                    continue;
                }
                let (start, end) = key_at(&keys[at]);
                let (home, key) = (wanted.home as usize, &buffer[start..end]);
                // New keys move no other ones.
                if self.upsert_from(home, wanted.head, key, value, &combine) == Upsert::Full {
                    return number * BATCH + at;
                }
            }
        }
        keys.len()
    }

    /// The slot of a key that is no longer than a head, if it is there.
    #[inline]
    fn find_short(&mut self, wanted: &Wanted) -> Option<&mut Slot> {
        let slots = &mut self.slots[..];
        let mask = slots.len() - 1;
        let mut index = wanted.home as usize;
        loop {
            let slot = &slots[index & mask];
            if slot.is(wanted) {
                return Some(&mut slots[index & mask]);
            }
            if slot.len == EMPTY {
                return None;
            }
            index += 1;
        }
    }

    /// Looks for the key from this slot on.
    #[inline]
    fn upsert_from(
        &mut self,
        home: usize,
        head: Head,
        key: &[u8],
        value: &[u8],
        combine: impl FnOnce(&mut [u8], &[u8]),
    ) -> Upsert {
        debug_assert_eq!(value.len(), self.value_len, "all values are of one length");
        let mask = self.slots.len() - 1;
        let mut index = home;
        loop {
            let slot = &mut self.slots[index & mask];
            if slot.len as usize == key.len() && words(&slot.head) == head {
                let inline = value.len() <= INLINE_VALUE_BYTES;
                let key_at = slot.at as usize + if inline { 0 } else { value.len() };
                if key.len() <= HEAD_BYTES || self.arena[key_at..key_at + key.len()] == *key {
                    let total = if inline {
                        &mut slot.value[..value.len()]
                    } else {
                        &mut self.arena[slot.at as usize..slot.at as usize + value.len()]
                    };
                    combine(total, value);
                    return Upsert::Done;
                }
            } else if slot.len == EMPTY {
                return self.insert(index & mask, head, key, value);
            }
            index += 1;
        }
    }

    #[inline(never)]
    fn insert(&mut self, index: usize, head: Head, key: &[u8], value: &[u8]) -> Upsert {
        let arena_need = self.arena_need(key.len());
        if (self.keys + 1) * 8 > self.slots.len() * 5
            || self.arena.len() + arena_need > self.arena.capacity()
        {
            return Upsert::Full;
        }
        let head = head_bytes(head);
        let mut slot = Slot { head, value: [0; 8], at: self.arena.len() as u32, len: 0 };
        slot.len = key.len() as u32;
        if self.value_len <= INLINE_VALUE_BYTES {
            slot.value[..self.value_len].copy_from_slice(value);
        } else {
            self.arena.extend_from_slice(value);
        }
        if key.len() > HEAD_BYTES {
            self.arena.extend_from_slice(key);
        }
        self.slots[index] = slot;
        self.keys += 1;
        Upsert::Done
    }

    fn arena_need(&self, key_len: usize) -> usize {
        let value = if self.value_len > INLINE_VALUE_BYTES { self.value_len } else { 0 };
        value + if key_len > HEAD_BYTES { key_len } else { 0 }
    }

    /// Number of different keys.
    pub(crate) fn keys(&self) -> usize {
        self.keys
    }

    /// Makes room for one more key of `key_len` bytes if the table then stays within
    /// `limit_bytes`, or if it is empty. Returns whether it did.
    pub(crate) fn grow(&mut self, key_len: usize, limit_bytes: usize) -> bool {
        let more_slots = (self.keys + 1) * 8 > self.slots.len() * 5;
        let arena_want = self.arena.len() + self.arena_need(key_len);
        let more_arena = arena_want > self.arena.capacity();
        let slots = if more_slots { self.slots.len() * 2 } else { self.slots.len() };
        let arena = if more_arena {
            arena_want.max(self.arena.capacity() * 3 / 2).max(64 << 10)
        } else {
            self.arena.capacity()
        };
        let slot_bytes = size_of::<Slot>();
        // While it moves, a larger array stands beside the old one; when it is sealed, what it
        // becomes stands beside the table.
        let moving = if more_slots { self.slots.len() * slot_bytes } else { 0 };
        let beside = moving.max(slots * SEAL_BYTES_PER_SLOT + arena);
        let within = slots * slot_bytes + arena + beside <= limit_bytes;
        if self.keys > 0 && (!within || arena > u32::MAX as usize || slots > u32::MAX as usize) {
            return false;
        }
        if more_arena {
            self.arena.reserve_exact(arena - self.arena.len());
        }
        if more_slots {
            self.rehash(slots);
        }
        true
    }

    fn rehash(&mut self, slots: usize) {
        let old = std::mem::replace(&mut self.slots, vec![EMPTY_SLOT; slots]);
        for slot in old.iter().filter(|slot| slot.len != EMPTY) {
            let key = self.key_of(slot);
            let mut index = home(self.hash.hash(words(&slot.head), key), slots);
            while self.slots[index].len != EMPTY {
                index = (index + 1) & (slots - 1);
            }
            self.slots[index] = *slot;
        }
    }

    fn key_of<'s>(&'s self, slot: &'s Slot) -> &'s [u8] {
        let len = slot.len as usize;
        if len <= HEAD_BYTES {
            return &slot.head[..len];
        }
        let at = slot.at as usize + self.arena_need(0);
        &self.arena[at..at + len]
    }

    fn value_of<'s>(&'s self, slot: &'s Slot) -> &'s [u8] {
        if self.value_len <= INLINE_VALUE_BYTES {
            &slot.value[..self.value_len]
        } else {
            &self.arena[slot.at as usize..slot.at as usize + self.value_len]
        }
    }

    /// Turns the content into a sorted, partitioned run and leaves the table empty and small.
    pub(crate) fn seal(&mut self, partitions: u32, partition: impl Fn(&[u8]) -> u32) -> MemoryRun {
        let mut entries: Vec<Vec<Entry>> = vec![Vec::new(); partitions as usize];
        let mut bytes = 0;
        for (at, slot) in self.slots.iter().enumerate().filter(|(_, slot)| slot.len != EMPTY) {
            let key = self.key_of(slot);
            let entry = Entry { word: word_at(key, 0), at: at as u32, len: slot.len };
            entries[partition(key) as usize].push(entry);
            bytes += record::encoded_len(key.len(), self.value_len);
        }
        let mut encoded = Vec::with_capacity(bytes);
        let mut ends = Vec::with_capacity(entries.len());
        for mut list in entries {
            sort_entries(&mut list, self);
            for some in list.chunks(AHEAD_SLOTS) {
                // Each is a cache miss; together they take hardly longer than one.
                let slots = some.iter().map(|entry| self.slots[entry.at as usize].len);
                std::hint::black_box(slots.fold(0, |sum, len| sum ^ len));
                for entry in some {
                    let slot = &self.slots[entry.at as usize];
                    record::put(&mut encoded, self.key_of(slot), self.value_of(slot));
                }
            }
            ends.push((encoded.len(), list.len() as u64));
        }
        self.slots = vec![EMPTY_SLOT; FIRST_SLOTS];
        self.arena = Vec::new();
        self.keys = 0;
        MemoryRun::in_order(encoded, ends)
    }
}

impl Keys for CombineTable {
    fn key(&self, at: u32) -> &[u8] {
        self.key_of(&self.slots[at as usize])
    }
}

/// Where a key of this hash belongs, or behind it.
#[inline]
fn home(hash: u64, slots: usize) -> usize {
    hash as usize & (slots - 1)
}

#[inline]
fn head_bytes(head: Head) -> [u8; HEAD_BYTES] {
    (u128::from(head[0]) | u128::from(head[1]) << 64).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn add(total: &mut [u8], value: &[u8]) {
        total.iter_mut().zip(value).for_each(|(total, value)| *total = total.wrapping_add(*value));
    }

    /// What a table holds, by key.
    fn content(table: &CombineTable) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let taken = table.slots.iter().filter(|slot| slot.len != EMPTY);
        taken.map(|slot| (table.key_of(slot).to_vec(), table.value_of(slot).to_vec())).collect()
    }

    #[test]
    fn many_keys_at_once_are_what_they_are_one_by_one_however_full_the_table_gets() {
        for value_len in [0, 3, 8, 9, 24] {
            let mut random = fastrand::Rng::with_seed(value_len as u64);
            let buffer: Vec<u8> = (0..200_000).map(|_| random.u8(b'a'..b'd')).collect();
            let (mut table, mut naive) = (CombineTable::new(value_len, 7), BTreeMap::new());
            let (mut keys, mut start, mut filled) = (Vec::new(), 0, 0);
            while start < buffer.len() {
                // Most are short, some end where the buffer does.
                let longest = if random.u8(..4) == 0 { 40 } else { 9 };
                let end = (start + random.usize(..longest)).min(buffer.len());
                keys.push([start as u32, end as u32]);
                start = end.max(start + 1);
            }
            for some in keys.chunks(1000) {
                let value: Vec<u8> = (0..value_len).map(|_| random.u8(..)).collect();
                for &[start, end] in some {
                    let key = buffer[start as usize..end as usize].to_vec();
                    add(naive.entry(key).or_insert(vec![0; value_len]), &value);
                }
                let mut rest = some;
                loop {
                    rest = &rest[table.upsert_each(&buffer, rest, &value, add)..];
                    let Some(&[start, end]) = rest.first() else { break };
                    filled += 1;
                    assert!(table.grow((end - start) as usize, usize::MAX), "it may grow");
                }
            }
            assert!(filled > 1 && table.keys() > FIRST_SLOTS, "it was full before it was large");
            assert_eq!((table.keys(), content(&table)), (naive.len(), naive));
        }
    }
}
