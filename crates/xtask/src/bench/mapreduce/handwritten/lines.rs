//! What the hand-written programs share: chunks of a file for two threads, and sorted part files.
//!
//! They are yardsticks, so this is written for speed on one machine and for nothing else: no
//! checksum, no budget, no retry, no sync, at most four billion of each key. Each thread has a table
//! (`table.rs`) and sorts what is in it; then each merges one half of what both have.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::table::{Pair, Table, bytes_of};

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
    let sorted: Vec<_> = std::thread::scope(|scope| {
        let work = || {
            let mut cutter = Cutter { table: Table::new(), places: vec![0; PLACES] };
            let mut reader = Reader { file: &file, length, ends, buffer: Vec::new() };
            loop {
                let start = next.fetch_add(CHUNK, Relaxed);
                if start >= length {
                    return Ok(cutter.table.into_sorted());
                }
                let (from, to) = reader.read(start)?;
                cut(&reader.buffer[from..], to - from, &mut cutter);
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|t| t.join().expect("no panic")).collect::<io::Result<_>>()
    })?;
    let counted = start.elapsed().as_secs_f64();
    write_parts(sorted, output)?;
    let seconds = start.elapsed().as_secs_f64();
    let rate = length as f64 / 1e6 / seconds;
    println!("{seconds:.3} s ({counted:.3} s until all is counted), {rate:.0} MB/s");
    Ok(())
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
/// Cut at once.
pub const BLOCK: usize = 4 << 10;

/// What one thread has counted: its keys, and those of them that are long.
type Sorted = (Vec<Pair>, BTreeMap<Vec<u8>, u32>);

/// Merges what the threads have counted: the lower half of the keys into one part, the upper half into
/// another.
fn write_parts(sorted: Vec<Sorted>, output: &Path) -> io::Result<()> {
    let mut longs: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    let mut pairs = Vec::new();
    for (own, own_longs) in sorted {
        pairs.push(own);
        for (key, count) in own_longs {
            *longs.entry(key).or_insert(0) += count;
        }
    }
    let middle = pairs[0].get(pairs[0].len() / 2).map_or(0, Pair::number);
    let mut room = [0; 16];
    let upper_longs = longs.split_off(bytes_of(middle, &mut room));
    let (mut lower, mut upper) = (Vec::new(), Vec::new());
    for own in &pairs {
        let (before, behind) = own.split_at(own.partition_point(|pair| pair.number() < middle));
        lower.push(before);
        upper.push(behind);
    }
    std::thread::scope(|scope| {
        let write = |part: usize, pairs, longs| {
            let path = output.join(format!("part-{part:05}"));
            scope.spawn(move || std::fs::write(path, merged(pairs, longs)))
        };
        let threads = [write(0, lower, longs), write(1, upper, upper_longs)];
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })
}

/// The lines of two sorted lists and of the long keys, in order.
fn merged(pairs: Vec<&[Pair]>, longs: BTreeMap<Vec<u8>, u32>) -> Vec<u8> {
    let most = pairs.iter().map(|pairs| pairs.len()).sum::<usize>();
    let mut out = Vec::with_capacity(most * 16);
    let mut longs = longs.into_iter().peekable();
    let mut lists: Vec<_> = pairs.iter().map(|pairs| pairs.iter().peekable()).collect();
    while let Some(number) = lists.iter_mut().filter_map(|list| Some(list.peek()?.number())).min() {
        let same = lists.iter_mut().filter_map(|list| list.next_if(|p| p.number() == number));
        let count = same.map(|pair| pair.count).sum();
        let mut room = [0; 16];
        let key = bytes_of(number, &mut room);
        while let Some((long, count)) = longs.next_if(|(long, _)| long.as_slice() < key) {
            put_line(&mut out, &long, count);
        }
        put_line(&mut out, key, count);
    }
    longs.for_each(|(long, count)| put_line(&mut out, &long, count));
    out
}

fn put_line(out: &mut Vec<u8>, key: &[u8], mut count: u32) {
    let mut tail = *b"\t0000000000\n";
    let mut at = tail.len() - 1;
    while count > 0 {
        at -= 1;
        tail[at] = b'0' + (count % 10) as u8;
        count /= 10;
    }
    tail[at - 1] = b'\t';
    out.extend_from_slice(key);
    out.extend_from_slice(&tail[at - 1..]);
}
