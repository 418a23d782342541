//! The word count that one would write by hand for one machine with two cores, as a yardstick:
//! `cargo xtask by-hand wordcount INPUT OUTPUT`.
//!
//! Words are runs of bytes that are not ASCII whitespace. 64 bytes at a time become a mask of
//! whitespace; the places where it changes are starts and ends of words in turn. What is left out
//! to be fast, `lines.rs` says.

use std::io;
use std::path::Path;

use super::lines::{self, BLOCK, Cutter};

pub fn run(input: &Path, output: &Path) -> io::Result<()> {
    let is_blank = |byte: u8| byte.is_ascii_whitespace();
    lines::run(input, output, is_blank, count)
}

/// Counts the words of `bytes[..length]`, which end with whitespace.
fn count(bytes: &[u8], length: usize, Cutter { table, places }: &mut Cutter) {
    // Whether the byte before was whitespace, in bit 0.
    let mut before = 1;
    // The place where a word of the block before has begun.
    let mut kept = 0;
    for block in (0..length).step_by(BLOCK) {
        let end = (block + BLOCK).min(length);
        let mut found = kept;
        for (number, chunk) in
            bytes[block..].chunks_exact(64).take((end - block).div_ceil(64)).enumerate()
        {
            let chunk = chunk.first_chunk().expect("it has 64 bytes");
            let blank = whitespace(chunk);
            let changes = blank ^ (blank << 1 | before);
            before = blank >> 63;
            found = put_places(changes, (block + number * 64) as u32, places, found);
        }
        let whole = found & !1;
        table.add_all(bytes, places[..whole].as_chunks::<2>().0);
        kept = found - whole;
        if kept > 0 {
            places[0] = places[whole];
        }
    }
}

/// One bit per byte, set where the byte is whitespace.
#[inline]
fn whitespace(chunk: &[u8; 64]) -> u64 {
    gather(chunk, |byte| {
        // Tab, line feed, form feed and carriage return are 9 to 13 without 11.
        let control = byte.wrapping_sub(9) < 5 && byte != 11;
        (byte == b' ') | control
    })
}

/// One bit per byte, set where it is `wanted`.
#[inline]
fn gather(chunk: &[u8; 64], wanted: impl Fn(u8) -> bool) -> u64 {
    // Two loops, because the compiler does the first one with vectors.
    let flags = chunk.map(|byte| u8::from(wanted(byte)));
    let mut mask = 0;
    for (at, eight) in flags.as_chunks::<8>().0.iter().enumerate() {
        // Moves the lowest bit of each byte into the top byte of the product.
        let bits = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        mask |= bits << (8 * at);
    }
    mask
}

/// Appends the positions of the set bits to `places` at `count`, and returns the new count.
#[inline]
fn put_places(mut bits: u64, base: u32, places: &mut [u32], count: usize) -> usize {
    let total = bits.count_ones() as usize;
    let mut done = 0;
    while done < total {
        // Eight at a time, whether there are as many or not: a branch less for most of them.
        let Some(eight) =
            places.get_mut(count + done..).and_then(|rest| rest.first_chunk_mut::<8>())
        else {
            unreachable!("there is room for every byte of a block")
        };
        for place in eight {
            *place = base + bits.trailing_zeros();
            bits &= bits.wrapping_sub(1);
        }
        done += 8;
    }
    count + total
}
