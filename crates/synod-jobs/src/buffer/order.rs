//! Sorts keys bytewise by eight bytes at a time.
//!
//! An entry caches the next eight bytes of its key as a big-endian word, so most comparisons touch
//! no key. Entries with equal words are sorted again by the following eight bytes; an explicit
//! stack keeps long common prefixes from using call depth. Equal keys keep the order of `at`,
//! which grows in emit order: this is what makes outputs independent of memory and threads. That the words
//! are not sorted by radix is a measurement: `docs/mapreduce.md`, "Sorting".

use std::cmp::Ordering;

/// A key in a sort buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// Eight bytes of the key, big-endian, zero behind its end.
    pub word: u64,
    /// Where the record is in its buffer.
    pub at: u32,
    /// Length of the key.
    pub len: u32,
}

/// Looks up the key of an entry.
pub(crate) trait Keys {
    fn key(&self, at: u32) -> &[u8];
}

/// Groups no larger are sorted by comparing keys directly.
const SMALL_GROUP: usize = 24;

/// The word of `key` that starts at `depth`.
#[inline]
pub(crate) fn word_at(key: &[u8], depth: usize) -> u64 {
    let rest = key.get(depth..).unwrap_or_default();
    if let Some(window) = rest.first_chunk::<8>() {
        u64::from_be_bytes(*window)
    } else {
        let mut window = [0; 8];
        window[..rest.len()].copy_from_slice(rest);
        u64::from_be_bytes(window)
    }
}

/// Sorts entries by key, then by `at`. Their words must be those at depth 0.
pub(crate) fn sort_entries(entries: &mut [Entry], keys: &impl Keys) {
    let mut work = vec![(0..entries.len(), 0_usize)];
    while let Some((range, depth)) = work.pop() {
        let base = range.start;
        let slice = &mut entries[range];
        if slice.len() <= SMALL_GROUP {
            slice.sort_unstable_by(|a, b| {
                a.word
                    .cmp(&b.word)
                    .then_with(|| compare_behind(keys, a, b, depth))
                    .then(a.at.cmp(&b.at))
            });
            continue;
        }
        slice.sort_unstable_by_key(|entry| entry.word);
        let mut start = 0;
        while start < slice.len() {
            let word = slice[start].word;
            let same = slice[start..].iter().take_while(|entry| entry.word == word).count();
            if same > 1 {
                let group = &mut slice[start..start + same];
                let ended = order_ended(group, depth);
                for entry in &mut group[ended..] {
                    entry.word = word_at(keys.key(entry.at), depth + 8);
                }
                if same - ended > 1 {
                    work.push((base + start + ended..base + start + same, depth + 8));
                }
            }
            start += same;
        }
    }
}

/// Compares two keys whose words at `depth` are equal.
fn compare_behind(keys: &impl Keys, a: &Entry, b: &Entry, depth: usize) -> Ordering {
    let behind = depth + 8;
    if a.len.min(b.len) as usize <= behind {
        // One of them ends within the word, so it is the beginning of the other one. That needs no look at
        // the keys, which would be a cache miss each.
        return a.len.cmp(&b.len);
    }
    keys.key(a.at)[behind..].cmp(&keys.key(b.at)[behind..])
}

/// Puts the keys that end within the word at `depth` first, shorter ones before longer ones and
/// equal ones in emit order, and returns how many they are.
fn order_ended(group: &mut [Entry], depth: usize) -> usize {
    let left = |entry: &Entry| (entry.len as usize).saturating_sub(depth).min(9) as u64;
    let ended = group.iter().filter(|entry| left(entry) <= 8).count();
    if ended > 0 {
        group.sort_unstable_by_key(|entry| left(entry) << 32 | u64::from(entry.at));
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    struct List(Vec<Vec<u8>>);

    impl Keys for List {
        fn key(&self, at: u32) -> &[u8] {
            &self.0[at as usize]
        }
    }

    fn check(keys: Vec<Vec<u8>>) {
        let list = List(keys);
        let mut entries: Vec<Entry> = (0..list.0.len() as u32)
            .map(|at| Entry { word: word_at(list.key(at), 0), at, len: list.key(at).len() as u32 })
            .collect();
        sort_entries(&mut entries, &list);
        let mut expected: Vec<u32> = (0..list.0.len() as u32).collect();
        expected.sort_by(|&a, &b| list.key(a).cmp(list.key(b)));
        let sorted: Vec<u32> = entries.iter().map(|entry| entry.at).collect();
        assert_eq!(sorted, expected);
    }

    #[test]
    fn keys_are_ordered_bytewise_and_equal_ones_stay_in_emit_order() {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..60 {
            let count = random.usize(..400);
            let longest = 1 + round % 30;
            let alphabet = 1 + (round % 3) as u8;
            let keys = (0..count)
                .map(|_| (0..random.usize(..=longest)).map(|_| random.u8(0..=alphabet)).collect())
                .collect();
            check(keys);
        }
    }

    #[test]
    fn keys_that_differ_only_after_a_long_common_prefix_are_ordered() {
        let mut random = fastrand::Rng::with_seed(8);
        let keys = (0..300)
            .map(|_| {
                let mut key = vec![b'x'; 5_000 + random.usize(..20)];
                key.push(random.u8(..));
                key
            })
            .collect();
        check(keys);
    }
}
