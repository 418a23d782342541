//! What the hand-written programs share: chunks of a file for two threads, a small hash table for
//! short keys, and sorted part files.
//!
//! They are yardsticks, so this is written for speed on one machine and for nothing else: no
//! checksum, no budget, no retry, no sync, at most four billion of each key. The table is open
//! addressing over slots of 32 bytes, which hold the first sixteen bytes of their key, so a hit on
//! a short key touches one cache line and compares two words.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

const THREADS: usize = 2;
/// Read at once: what was copied out of the page cache is still in the core's cache when it is cut.
const CHUNK: u64 = 256 << 10;
/// Bytes behind every chunk that may be read as part of a window, and belong to no key.
pub const PADDING: usize = 64;

/// Counts the keys of one file into a folder of part files. `cut` is given pieces that begin where
/// a key or a line begins and end behind `ends`, padded by [`PADDING`] bytes of `ends`.
pub fn run(
    input: &Path,
    output: &Path,
    ends: fn(u8) -> bool,
    cut: fn(&[u8], usize, &mut Cutter),
) -> io::Result<()> {
    let start = Instant::now();
    std::fs::create_dir(output)?;
    let file = File::open(input)?;
    let length = file.metadata()?.len();
    let next = AtomicU64::new(0);
    let tables: Vec<Table> = std::thread::scope(|scope| {
        let work = || {
            let mut cutter = Cutter { table: Table::new(), places: vec![0; PLACES] };
            let mut reader = Reader { file: &file, length, ends, buffer: Vec::new() };
            loop {
                let start = next.fetch_add(CHUNK, Relaxed);
                if start >= length {
                    return Ok(cutter.table);
                }
                let (from, to) = reader.read(start)?;
                cut(&reader.buffer[from..], to - from, &mut cutter);
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|t| t.join().expect("no panic")).collect::<io::Result<_>>()
    })?;
    let counted = start.elapsed().as_secs_f64();
    std::thread::scope(|scope| {
        let shards: Vec<_> = (0..THREADS)
            .map(|shard| {
                let path = output.join(format!("part-{shard:05}"));
                let tables = &tables;
                scope.spawn(move || write_shard(tables, shard, &path))
            })
            .collect();
        shards.into_iter().try_for_each(|shard| shard.join().expect("no panic"))
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let rate = length as f64 / 1e6 / seconds;
    println!("{seconds:.3} s ({counted:.3} s counting), {rate:.0} MB/s");
    // The system takes memory back faster than it is freed piece by piece.
    std::process::exit(0)
}

struct Reader<'f> {
    file: &'f File,
    length: u64,
    ends: fn(u8) -> bool,
    buffer: Vec<u8>,
}

impl Reader<'_> {
    /// Reads the chunk at `start`, and returns where in the buffer its keys begin and end: what
    /// began before the chunk belongs to the chunk before, what it ends with is read whole.
    fn read(&mut self, start: u64) -> io::Result<(usize, usize)> {
        let Reader { file, length, ends, buffer } = self;
        let end = (start + CHUNK).min(*length);
        let before = start.saturating_sub(1);
        buffer.resize(CHUNK as usize + 1 + 2 * PADDING, 0);
        let mut filled = (end - before) as usize;
        file.read_exact_at(&mut buffer[..filled], before)?;
        let mut from = 0;
        if start > 0 {
            let first = buffer[..filled].iter().position(|&byte| ends(byte));
            from = first.map_or(filled, |at| at + 1);
        }
        while from < filled && before + (filled as u64) < *length && !ends(buffer[filled - 1]) {
            let more = (*length - before - filled as u64).min(PADDING as u64) as usize;
            buffer.resize(buffer.len().max(filled + more + PADDING), 0);
            let tail = &mut buffer[filled..filled + more];
            file.read_exact_at(tail, before + filled as u64)?;
            filled += tail.iter().position(|&byte| ends(byte)).map_or(more, |at| at + 1);
        }
        buffer[filled..filled + PADDING].fill(b'\n');
        Ok((from, filled))
    }
}

/// A table, and room for the places at which a block is cut before its keys are counted: the two
/// loops run faster one after the other than as one, because neither surprises the processor.
pub struct Cutter {
    pub table: Table,
    pub places: Vec<u32>,
}

/// Places for one block of [`BLOCK`] bytes, and some that are written before it is known that they
/// are none.
const PLACES: usize = BLOCK + 64;
/// Keys whose slots are fetched together.
const AHEAD: usize = 64;
/// Cut at once.
pub const BLOCK: usize = 4 << 10;

/// A key of up to eight bytes.
#[derive(Clone, Copy)]
struct Short {
    key: u64,
    /// Length of the key, 0 for a free slot.
    len: u32,
    count: u32,
}

/// A longer key.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Long {
    head: [u64; 2],
    /// Where the arena has the whole key, if it is longer than a head.
    at: u32,
    /// Length of the key, 0 for a free slot.
    len: u32,
    count: u32,
}

const NO_SHORT: Short = Short { key: 0, len: 0, count: 0 };
const NO_LONG: Long = Long { head: [0; 2], at: 0, len: 0, count: 0 };
const FIRST_SLOTS: usize = 1 << 12;

/// Counts keys of at least one byte.
pub struct Table {
    shorts: Vec<Short>,
    short_keys: usize,
    longs: Vec<Long>,
    long_keys: usize,
    arena: Vec<u8>,
}

impl Table {
    fn new() -> Table {
        let (shorts, longs) = (vec![NO_SHORT; FIRST_SLOTS], vec![NO_LONG; FIRST_SLOTS]);
        Table { shorts, short_keys: 0, longs, long_keys: 0, arena: Vec::new() }
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
                let window = u128::from_le_bytes(*window);
                let len = (end - start) as usize;
                let mask = MASKS[len.min(16)];
                let head = [window as u64 & mask[0], (window >> 64) as u64 & mask[1]];
                *found = (head, hash(head), len);
            }
            for &(_, hash, len) in &found[..some.len()] {
                fetched ^= if len <= 8 {
                    self.shorts[hash as usize & (self.shorts.len() - 1)].len
                } else {
                    self.longs[hash as usize & (self.longs.len() - 1)].len
                };
            }
            std::hint::black_box(fetched);
            for (&(head, hash, len), &[start, end]) in found.iter().zip(some) {
                if len <= 8 {
                    self.count_short(head[0], hash, len);
                } else {
                    self.count_long(head, hash, &buffer[start as usize..end as usize]);
                }
            }
        }
    }

    #[inline]
    fn count_short(&mut self, key: u64, hash: u64, len: usize) {
        let mut index = hash as usize;
        loop {
            let mask = self.shorts.len() - 1;
            let slot = &mut self.shorts[index & mask];
            if slot.key == key && slot.len == len as u32 {
                slot.count += 1;
                return;
            }
            if slot.len == 0 {
                return self.add_short(key, len as u32, 1);
            }
            index += 1;
        }
    }

    #[inline]
    fn count_long(&mut self, head: [u64; 2], hash: u64, key: &[u8]) {
        if key.len() <= 16 {
            let mut index = hash as usize;
            loop {
                let mask = self.longs.len() - 1;
                let slot = &mut self.longs[index & mask];
                if slot.head == head && slot.len as usize == key.len() {
                    slot.count += 1;
                    return;
                }
                if slot.len == 0 {
                    break;
                }
                index += 1;
            }
        }
        self.add_long(head, key, 1);
    }

    #[inline(never)]
    fn add_short(&mut self, key: u64, len: u32, count: u32) {
        if self.short_keys * 4 > self.shorts.len() {
            let larger = vec![NO_SHORT; self.shorts.len() * 4];
            self.short_keys = 0;
            for slot in std::mem::replace(&mut self.shorts, larger) {
                if slot.len > 0 {
                    self.add_short(slot.key, slot.len, slot.count);
                }
            }
        }
        let mask = self.shorts.len() - 1;
        let mut index = hash([key, 0]) as usize & mask;
        while self.shorts[index].len > 0 {
            if self.shorts[index].key == key && self.shorts[index].len == len {
                self.shorts[index].count += count;
                return;
            }
            index = (index + 1) & mask;
        }
        self.shorts[index] = Short { key, len, count };
        self.short_keys += 1;
    }

    #[inline(never)]
    fn add_long(&mut self, head: [u64; 2], key: &[u8], count: u32) {
        if self.long_keys * 8 > self.longs.len() * 5 {
            self.grow();
        }
        let mask = self.longs.len() - 1;
        let mut index = hash_of(head, key) as usize & mask;
        loop {
            let slot = &mut self.longs[index];
            if slot.len == 0 {
                let at = self.arena.len() as u32;
                *slot = Long { head, at, len: key.len() as u32, count };
                if key.len() > 16 {
                    self.arena.extend_from_slice(key);
                }
                self.long_keys += 1;
                return;
            }
            let same = slot.head == head && slot.len as usize == key.len();
            if same && (key.len() <= 16 || self.arena[slot.at as usize..][..key.len()] == *key) {
                slot.count += count;
                return;
            }
            index = (index + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let larger = vec![NO_LONG; self.longs.len() * 2];
        let old = std::mem::replace(&mut self.longs, larger);
        let mask = self.longs.len() - 1;
        for slot in old.iter().filter(|slot| slot.len > 0) {
            let mut bytes = [0; 16];
            let mut index = hash_of(slot.head, self.long_key(slot, &mut bytes)) as usize & mask;
            while self.longs[index].len > 0 {
                index = (index + 1) & mask;
            }
            self.longs[index] = *slot;
        }
    }

    fn long_key<'s>(&'s self, slot: &Long, bytes: &'s mut [u8; 16]) -> &'s [u8] {
        let len = slot.len as usize;
        if len > 16 {
            return &self.arena[slot.at as usize..][..len];
        }
        bytes[..8].copy_from_slice(&slot.head[0].to_le_bytes());
        bytes[8..].copy_from_slice(&slot.head[1].to_le_bytes());
        &bytes[..len]
    }

    /// Every key with its count.
    fn each(&self, mut f: impl FnMut(&[u8], u32)) {
        let mut bytes = [0; 16];
        for slot in self.shorts.iter().filter(|slot| slot.len > 0) {
            f(&slot.key.to_le_bytes()[..slot.len as usize], slot.count);
        }
        for slot in self.longs.iter().filter(|slot| slot.len > 0) {
            f(self.long_key(slot, &mut bytes), slot.count);
        }
    }
}

/// For each length up to sixteen, the bits of a window that belong to the key.
const MASKS: [[u64; 2]; 17] = {
    let mut masks = [[0; 2]; 17];
    let mut len = 1;
    while len <= 16 {
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
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[inline]
fn hash(head: [u64; 2]) -> u64 {
    fold(head[0] ^ 0x243f_6a88_85a3_08d3, head[1] ^ 0x9e37_79b9_7f4a_7c15)
}

fn hash_of(head: [u64; 2], key: &[u8]) -> u64 {
    let rest = key.get(16..).unwrap_or_default();
    rest.iter().fold(hash(head), |hash, &byte| fold(hash ^ u64::from(byte), 0x9e37_79b9_7f4a_7c15))
}

/// A key of the output: its first sixteen bytes so that they sort as numbers, and where it is.
struct Pair {
    prefix: u128,
    at: u32,
    len: u32,
    count: u32,
}

/// Merges the shard of every table, sorts it and writes it.
fn write_shard(tables: &[Table], shard: usize, path: &Path) -> io::Result<()> {
    let mut arena = Vec::new();
    let mut pairs = Vec::new();
    for table in tables {
        table.each(|key, count| {
            let mut window = [0; 16];
            let len = key.len().min(16);
            window[..len].copy_from_slice(&key[..len]);
            let prefix = u128::from_be_bytes(window);
            if hash([prefix as u64, (prefix >> 64) as u64]) >> 40 & 1 == shard as u64 {
                pairs.push(Pair { prefix, at: arena.len() as u32, len: key.len() as u32, count });
                arena.extend_from_slice(key);
            }
        });
    }
    let key = |pair: &Pair| &arena[pair.at as usize..][..pair.len as usize];
    pairs.sort_unstable_by(|a, b| a.prefix.cmp(&b.prefix).then_with(|| key(a).cmp(key(b))));
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for same in pairs.chunk_by(|a, b| a.prefix == b.prefix && key(a) == key(b)) {
        let mut count = same.iter().map(|pair| pair.count).sum::<u32>();
        let mut tail = *b"\t0000000000\n";
        let mut at = tail.len() - 1;
        while count > 0 {
            at -= 1;
            tail[at] = b'0' + (count % 10) as u8;
            count /= 10;
        }
        tail[at - 1] = b'\t';
        out.write_all(key(&same[0]))?;
        out.write_all(&tail[at - 1..])?;
    }
    out.flush()
}
