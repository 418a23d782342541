//! The word count that one would write by hand for one machine with two cores, as a yardstick:
//! `cargo run --release -p synod-jobs --example handwritten_wordcount -- INPUT OUTPUT`.
//!
//! Two threads take chunks of the file from a shared counter, read them with positioned reads, cut
//! words with a byte table and count them in a hash table over an arena. The tables are merged in
//! two shards at once, each shard is sorted, and two part files are written. There is no
//! checksum, no budget, no retry and no sync: whoever is faster with those is fast.

use hashbrown::HashTable;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

const THREADS: usize = 2;
const CHUNK: u64 = 4 << 20;

/// For each byte whether it ends a word.
const BLANK: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_whitespace();
        byte += 1;
    }
    table
};

#[derive(Clone, Copy)]
struct Entry {
    hash: u64,
    at: u32,
    len: u32,
    count: u64,
}

#[derive(Default)]
struct Table {
    entries: HashTable<Entry>,
    arena: Vec<u8>,
}

impl Table {
    #[inline]
    fn add(&mut self, hash: u64, word: &[u8], count: u64) {
        let Table { entries, arena } = self;
        let same = |entry: &Entry| {
            entry.len as usize == word.len() && arena[entry.at as usize..][..word.len()] == *word
        };
        if let Some(entry) = entries.find_mut(hash, same) {
            entry.count += count;
        } else {
            let at = arena.len() as u32;
            arena.extend_from_slice(word);
            let entry = Entry { hash, at, len: word.len() as u32, count };
            entries.insert_unique(hash, entry, |entry| entry.hash);
        }
    }

    fn word(&self, entry: &Entry) -> &[u8] {
        &self.arena[entry.at as usize..][..entry.len as usize]
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[inline]
fn hash(word: &[u8]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let len = word.len();
    let eight = |at: usize| word[at..].first_chunk::<8>().map_or(0, |w| u64::from_le_bytes(*w));
    let four = |at: usize| word[at..].first_chunk::<4>().map_or(0, |w| u32::from_le_bytes(*w));
    if len >= 8 {
        let mut hash = K;
        let mut at = 0;
        while at + 8 < len {
            hash = fold(hash ^ eight(at), K);
            at += 8;
        }
        fold(hash ^ eight(len - 8), K ^ len as u64)
    } else if len >= 4 {
        fold(u64::from(four(0)) << 32 | u64::from(four(len - 4)), K ^ len as u64)
    } else {
        let bytes = u64::from(word[0]) << 16 | u64::from(word[len / 2]) << 8;
        fold(bytes | u64::from(word[len - 1]), K ^ len as u64)
    }
}

fn count(file: &File, length: u64, next: &AtomicU64) -> std::io::Result<Table> {
    let mut table = Table::default();
    let mut buffer = Vec::new();
    loop {
        let start = next.fetch_add(CHUNK, Relaxed);
        if start >= length {
            return Ok(table);
        }
        let end = (start + CHUNK).min(length);
        // One byte before tells whether a word started earlier; the word at the end is read whole.
        let from = start.saturating_sub(1);
        buffer.resize((end - from) as usize, b' ');
        file.read_exact_at(&mut buffer, from)?;
        let mut stop = end;
        while stop < length && !BLANK[buffer[buffer.len() - 1] as usize] {
            let more = (length - stop).min(256);
            let old = buffer.len();
            buffer.resize(old + more as usize, b' ');
            file.read_exact_at(&mut buffer[old..], stop)?;
            stop += more;
            if let Some(at) = buffer[old..].iter().position(|&byte| BLANK[byte as usize]) {
                buffer.truncate(old + at + 1);
            }
        }
        let mut at = 0;
        if start > 0 {
            // A word that starts before the chunk belongs to the chunk before.
            while at < buffer.len() && !BLANK[buffer[at] as usize] {
                at += 1;
            }
        }
        let limit = (end - from) as usize;
        loop {
            while at < buffer.len() && BLANK[buffer[at] as usize] {
                at += 1;
            }
            if at >= limit {
                break;
            }
            let begin = at;
            while at < buffer.len() && !BLANK[buffer[at] as usize] {
                at += 1;
            }
            let word = &buffer[begin..at];
            table.add(hash(word), word, 1);
        }
    }
}

fn write_shard(tables: &[Table], shard: u64, path: &Path) -> std::io::Result<()> {
    let mut merged = Table::default();
    for table in tables {
        for entry in table.entries.iter().filter(|entry| entry.hash >> 40 & 1 == shard) {
            merged.add(entry.hash, table.word(entry), entry.count);
        }
    }
    let mut sorted: Vec<(u64, Entry)> = merged
        .entries
        .iter()
        .map(|entry| {
            let word = merged.word(entry);
            let mut prefix = [0; 8];
            let len = word.len().min(8);
            prefix[..len].copy_from_slice(&word[..len]);
            (u64::from_be_bytes(prefix), *entry)
        })
        .collect();
    sorted.sort_unstable_by(|a, b| {
        a.0.cmp(&b.0).then_with(|| merged.word(&a.1).cmp(merged.word(&b.1)))
    });
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for (_, entry) in &sorted {
        out.write_all(merged.word(entry))?;
        writeln!(out, "\t{}", entry.count)?;
    }
    out.flush()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: handwritten_wordcount INPUT OUTPUT";
    let (input, output) = (arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?);
    let start = Instant::now();
    std::fs::create_dir(&output)?;
    let file = File::open(input)?;
    let length = file.metadata()?.len();
    let next = AtomicU64::new(0);
    let tables: Vec<Table> = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..THREADS).map(|_| scope.spawn(|| count(&file, length, &next))).collect();
        workers.into_iter().map(|w| w.join().expect("no panic")).collect::<Result<_, _>>()
    })?;
    let mapped = start.elapsed().as_secs_f64();
    std::thread::scope(|scope| {
        let shards: Vec<_> = (0..THREADS as u64)
            .map(|shard| {
                let path = Path::new(&output).join(format!("part-{shard:05}"));
                let tables = &tables;
                scope.spawn(move || write_shard(tables, shard, &path))
            })
            .collect();
        shards.into_iter().try_for_each(|shard| shard.join().expect("no panic"))
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let rate = length as f64 / 1e6 / seconds;
    println!("{seconds:.3} s ({mapped:.3} s counting), {rate:.0} MB/s");
    std::mem::forget(tables);
    Ok(())
}
