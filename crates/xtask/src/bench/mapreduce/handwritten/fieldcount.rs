//! The count of lines per value of their first field that one would write by hand for one machine
//! with two cores, as a yardstick:
//! `cargo xtask by-hand fieldcount INPUT OUTPUT`.
//!
//! Fields are separated by spaces and tabs, as awk has it; lines of nothing else are left out. The
//! first field is found by its first blank in the sixteen bytes where a line begins, and only
//! longer ones by a search. What is left out to be fast, `lines.rs` says.

use std::io;
use std::path::Path;

use super::lines::{self, Cutter};

pub fn run(input: &Path, output: &Path) -> io::Result<()> {
    let is_end = |byte: u8| byte == b'\n';
    lines::run(input, output, is_end, count)
}

/// Counts the first fields of the lines in `bytes[..length]`, the last of which is ended.
fn count(bytes: &[u8], length: usize, Cutter { table, places }: &mut Cutter) {
    let mut start = 0;
    let mut ends = memchr::memchr_iter(b'\n', &bytes[..length]);
    while start < length {
        let mut found = 0;
        while found < BATCH && start < length {
            let window = bytes[start..].first_chunk().expect("the padding is longer");
            let len = first_small(u128::from_le_bytes(*window));
            // A line that begins with a blank, or has none soon, is looked at byte by byte.
            let field = if (1..16).contains(&len) && is_end_of_field(window[len as usize]) {
                Some((start, start + len as usize))
            } else {
                first_field(bytes, start)
            };
            if let Some((from, to)) = field {
                places[found] = from as u32;
                places[found + 1] = to as u32;
                found += 2;
            }
            start = ends.next().map_or(length, |end| end + 1);
        }
        table.add_all(bytes, places[..found].as_chunks::<2>().0);
    }
}

/// Starts and ends of fields that are found before they are counted.
const BATCH: usize = 1024;

fn is_end_of_field(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n')
}

fn first_field(bytes: &[u8], start: usize) -> Option<(usize, usize)> {
    let from = start + bytes[start..].iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
    let len = bytes[from..].iter().position(|&byte| is_end_of_field(byte))?;
    (len > 0).then_some((from, from + len))
}

/// Where the first byte is that is no larger than a space, if that is within this window.
#[inline]
fn first_small(window: u128) -> u32 {
    const LOW: u128 = u128::MAX / 255;
    // A byte below 33 borrows; what is above the first of them may be wrong.
    let small = window.wrapping_sub(LOW * 33) & !window & (LOW << 7);
    small.trailing_zeros() / 8
}
