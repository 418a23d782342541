//! The hash table of the hand-written programs: counts of short keys, and of longer ones in a map beside it.
//!
//! A key of less than sixteen bytes is two words, the last byte of which is its length. What costs time is
//! waiting for the cache, so few lines of it are touched: keys of up to eight bytes have slots of sixteen,
//! the others lie in threes in buckets that are a line each. Only a full bucket has keys in the next one.

use std::collections::BTreeMap;

/// A key of up to eight bytes.
#[derive(Clone, Copy)]
struct Short {
    key: u64,
    /// Length of the key, 0 for a free slot.
    len: u32,
    count: u32,
}

/// As many longer keys as a line of the cache has room for.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Bucket {
    keys: [Key; IN_BUCKET],
    counts: [u32; IN_BUCKET],
    /// How many there are.
    taken: u32,
}

/// A key of less than sixteen bytes, padded with zeros, and its length in the last byte.
type Key = [u64; 2];

const IN_BUCKET: usize = 3;
const NO_SHORT: Short = Short { key: 0, len: 0, count: 0 };
const NO_KEYS: Bucket = Bucket { keys: [[0; 2]; IN_BUCKET], counts: [0; IN_BUCKET], taken: 0 };
const FIRST_SLOTS: usize = 1 << 12;
/// Keys in a bucket, on average, when there come to be twice as many buckets.
const FULL: usize = 2;
/// Keys whose slots are fetched together.
const AHEAD: usize = 64;

/// Counts keys of at least one byte.
pub struct Table {
    shorts: Vec<Short>,
    short_keys: usize,
    buckets: Vec<Bucket>,
    bucket_keys: usize,
    /// Keys of sixteen bytes and more, which are not what this is made for.
    longs: BTreeMap<Vec<u8>, u32>,
}

/// A key of less than sixteen bytes as a number that sorts as its bytes do, and how often it was.
pub struct Pair {
    high: u64,
    low: u64,
    pub count: u32,
}

impl Pair {
    /// What it sorts by.
    pub fn number(&self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }
}

/// The key that a pair's number stands for.
pub fn bytes_of(number: u128, room: &mut [u8; 16]) -> &[u8] {
    *room = number.to_be_bytes();
    &room[..room[15] as usize]
}

impl Table {
    /// With no key.
    pub fn new() -> Table {
        let (shorts, buckets) = (vec![NO_SHORT; FIRST_SLOTS], vec![NO_KEYS; FIRST_SLOTS]);
        Table { shorts, short_keys: 0, buckets, bucket_keys: 0, longs: BTreeMap::new() }
    }

    /// Adds to the counts of keys that lie between these places of the buffer. The slots of some are
    /// fetched before any is looked at: each may miss the cache, and together they hardly take longer.
    #[inline]
    pub fn add_all(&mut self, buffer: &[u8], keys: &[[u32; 2]]) {
        let mut found = [([0; 2], 0, 0); AHEAD];
        for some in keys.chunks(AHEAD) {
            let mut fetched = 0;
            for (found, &[start, end]) in found.iter_mut().zip(some) {
                let rest = buffer.get(start as usize..);
                let Some(window) = rest.and_then(|rest| rest.first_chunk::<16>()) else {
                    unreachable!("the padding is as long as a window")
                };
                let len = (end - start) as usize;
                let key = key_of(u128::from_le_bytes(*window), len);
                *found = (key, hash(key), len);
            }
            for &(_, hash, len) in &found[..some.len()] {
                fetched ^= if len <= 8 {
                    self.shorts[hash as usize & (self.shorts.len() - 1)].len
                } else {
                    self.buckets[hash as usize & (self.buckets.len() - 1)].taken
                };
            }
            std::hint::black_box(fetched);
            for (&(key, hash, len), &[start, end]) in found.iter().zip(some) {
                if len <= 8 {
                    self.count_short(key[0], hash, len as u32);
                } else if len < 16 {
                    self.count(key, hash);
                } else {
                    self.count_long(&buffer[start as usize..end as usize]);
                }
            }
        }
    }

    #[inline]
    fn count_short(&mut self, key: u64, hash: u64, len: u32) {
        let mask = self.shorts.len() - 1;
        let mut index = hash as usize;
        loop {
            let slot = &mut self.shorts[index & mask];
            if slot.key == key && slot.len == len {
                slot.count += 1;
                return;
            }
            if slot.len == 0 {
                return self.add_short(Short { key, len, count: 1 });
            }
            index += 1;
        }
    }

    #[inline]
    fn count(&mut self, key: Key, hash: u64) {
        let mask = self.buckets.len() - 1;
        let mut index = hash as usize;
        loop {
            let bucket = &mut self.buckets[index & mask];
            // All are compared, whichever it is: nothing for the processor to guess wrong.
            let mut same = 0_u32;
            for at in 0..IN_BUCKET {
                same |= u32::from(bucket.keys[at] == key) << at;
            }
            if same != 0 {
                bucket.counts[same.trailing_zeros() as usize] += 1;
                return;
            }
            if (bucket.taken as usize) < IN_BUCKET {
                return self.add(key, 1);
            }
            index += 1;
        }
    }

    #[inline(never)]
    fn count_long(&mut self, key: &[u8]) {
        if let Some(count) = self.longs.get_mut(key) {
            *count += 1;
        } else {
            self.longs.insert(key.to_vec(), 1);
        }
    }

    /// A key that is not there.
    #[inline(never)]
    fn add_short(&mut self, short: Short) {
        if self.short_keys * 4 >= self.shorts.len() {
            let larger = vec![NO_SHORT; self.shorts.len() * 2];
            self.short_keys = 0;
            let old = std::mem::replace(&mut self.shorts, larger);
            old.into_iter().filter(|slot| slot.len > 0).for_each(|slot| self.add_short(slot));
        }
        let mask = self.shorts.len() - 1;
        let mut index = hash(short.whole()) as usize & mask;
        while self.shorts[index].len > 0 {
            index = (index + 1) & mask;
        }
        self.shorts[index] = short;
        self.short_keys += 1;
    }

    /// A key that is not there.
    #[inline(never)]
    fn add(&mut self, key: Key, count: u32) {
        if self.bucket_keys >= self.buckets.len() * FULL {
            let larger = vec![NO_KEYS; self.buckets.len() * 2];
            self.bucket_keys = 0;
            for bucket in std::mem::replace(&mut self.buckets, larger) {
                bucket.each(|key, count| self.add(key, count));
            }
        }
        let mask = self.buckets.len() - 1;
        let mut index = hash(key) as usize & mask;
        while self.buckets[index].taken as usize == IN_BUCKET {
            index = (index + 1) & mask;
        }
        let bucket = &mut self.buckets[index];
        let at = bucket.taken as usize;
        (bucket.keys[at], bucket.counts[at]) = (key, count);
        bucket.taken += 1;
        self.bucket_keys += 1;
    }

    /// Every key with its count, sorted, the long ones apart.
    pub fn into_sorted(self) -> (Vec<Pair>, BTreeMap<Vec<u8>, u32>) {
        let mut pairs = Vec::with_capacity(self.short_keys + self.bucket_keys);
        let mut push = |key: Key, count| {
            pairs.push(Pair { high: key[0].swap_bytes(), low: key[1].swap_bytes(), count });
        };
        for short in self.shorts.iter().filter(|slot| slot.len > 0) {
            push(short.whole(), short.count);
        }
        self.buckets.iter().for_each(|bucket| bucket.each(&mut push));
        pairs.sort_unstable_by_key(Pair::number);
        (pairs, self.longs)
    }
}

impl Short {
    #[inline]
    fn whole(&self) -> Key {
        [self.key, u64::from(self.len) << 56]
    }
}

impl Bucket {
    #[inline]
    fn each(&self, mut f: impl FnMut(Key, u32)) {
        for at in 0..self.taken as usize {
            f(self.keys[at], self.counts[at]);
        }
    }
}

/// The key that a window begins with, if it is shorter than that.
#[inline]
fn key_of(window: u128, len: usize) -> Key {
    let [low, high] = MASKS[len.min(16)];
    [window as u64 & low, (window >> 64) as u64 & high | (len as u64) << 56]
}

/// For each length up to fifteen, the bits of a window that belong to the key.
const MASKS: [Key; 17] = {
    let mut masks = [[0; 2]; 17];
    let mut len = 1;
    while len < 16 {
        masks[len] = if len <= 8 {
            [u64::MAX >> (64 - 8 * len), 0]
        } else {
            [u64::MAX, u64::MAX >> (128 - 8 * len)]
        };
        len += 1;
    }
    masks
};

#[inline]
fn hash(key: Key) -> u64 {
    let product =
        u128::from(key[0] ^ 0x243f_6a88_85a3_08d3) * u128::from(key[1] ^ 0x9e37_79b9_7f4a_7c15);
    product as u64 ^ (product >> 64) as u64
}
