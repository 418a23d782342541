//! Counts words: the maximal runs of bytes that are not ASCII whitespace, case kept.
//!
//! Whitespace is what [`u8::is_ascii_whitespace`] says: space, tab, line feed, form feed, carriage
//! return. An output line is `word<TAB>count`.
//!
//! A line feed separates words like any other whitespace, so a whole block is cut at once: 64
//! bytes become a mask with one bit per byte, and the places where the class changes are the
//! starts and ends of words.

use crate::builtin::options::{NamedJob, Options};
use crate::builtin::sums::{self, ONE, number};
use crate::emit::Emitter;
use crate::error::JobError;
use crate::job::Job;
use crate::record::{Block, Record};
use crate::reduce_input::Values;
use crate::sink::Sink;

/// The job.
#[derive(Debug, Clone, Copy, Default)]
pub struct WordCount;

impl NamedJob for WordCount {
    const NAME: &'static str = "wordcount";
    const ABOUT: &'static str = "how often each word occurs: word, count";

    fn from_options(_: &Options<'_>) -> Result<Self, JobError> {
        Ok(WordCount)
    }
}

impl Job for WordCount {
    const COMBINED_VALUE_BYTES: Option<usize> = Some(8);

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        for_words(record.bytes, |words| out.emit_each(record.bytes, words, &ONE));
    }

    fn map_block(&self, block: Block<'_>, out: &mut Emitter<'_, Self>) {
        for_words(block.bytes, |words| out.emit_each(block.bytes, words, &ONE));
    }

    #[inline]
    fn combine(&self, total: &mut [u8], value: &[u8]) {
        sums::add(total, value);
    }

    fn reduce(&self, word: &[u8], counts: &mut Values<'_, Self>, out: &mut Sink) {
        let mut sum = 0_u64;
        while let Some(count) = counts.next() {
            sum = sum.saturating_add(number(count));
        }
        out.bytes(word);
        out.bytes(b"\t");
        out.decimal(sum);
        out.end_record();
    }
}

/// Bytes whose words are cut before any of them is counted: two short loops, one after the other,
/// surprise the processor less often than one long one.
const PIECE: usize = 4 << 10;

/// Calls `take` with the starts and ends of all words, some at a time.
#[inline]
fn for_words(bytes: &[u8], mut take: impl FnMut(&[[u32; 2]])) {
    // Starts and ends of words in turn. A word may have begun in the piece before.
    let mut places = [0_u32; PIECE + 1 + AT_ONCE];
    let mut found = 0;
    // Whether the byte before the current chunk was whitespace, in bit 0.
    let mut before = 1_u64;
    for base in (0..bytes.len()).step_by(PIECE) {
        let piece = &bytes[base..bytes.len().min(base + PIECE)];
        let (chunks, rest) = piece.as_chunks::<64>();
        let mut last = [b' '; 64];
        last[..rest.len()].copy_from_slice(rest);
        let last = (!rest.is_empty()).then_some(&last);
        for (index, chunk) in chunks.iter().chain(last).enumerate() {
            let blank = whitespace_mask(chunk);
            let changes = blank ^ (blank << 1 | before);
            before = blank >> 63;
            put_places(changes, (base + index * 64) as u32, &mut places, &mut found);
        }
        let (words, begun) = places[..found].as_chunks::<2>();
        take(words);
        found = begun.len();
        if let [start] = *begun {
            places[0] = start;
        }
    }
    if found == 1 {
        take(&[[places[0], bytes.len() as u32]]);
    }
}

/// Places that are written together.
const AT_ONCE: usize = 8;

/// Appends the position of every set bit.
#[inline]
fn put_places(
    mut bits: u64,
    base: u32,
    places: &mut [u32; PIECE + 1 + AT_ONCE],
    found: &mut usize,
) {
    let end = *found + bits.count_ones() as usize;
    let mut at = *found;
    while at < end {
        // Whether there are as many or not: a branch less for most of them.
        let room = places[at..].first_chunk_mut::<AT_ONCE>().expect("a piece has as many places");
        for place in room {
            *place = base + bits.trailing_zeros();
            bits &= bits.wrapping_sub(1);
        }
        at += AT_ONCE;
    }
    *found = end;
}

/// One bit per byte, set where the byte is whitespace.
#[inline]
fn whitespace_mask(chunk: &[u8; 64]) -> u64 {
    // Written so that the compiler compares sixteen bytes or more at a time.
    let mut flags = [0_u8; 64];
    for (flag, byte) in flags.iter_mut().zip(chunk) {
        let control = byte.wrapping_sub(b'\t') < 5 && *byte != 0x0b;
        *flag = u8::from((*byte == b' ') | control);
    }
    let mut mask = 0;
    let (groups, _) = flags.as_chunks::<8>();
    for (index, group) in groups.iter().enumerate() {
        // Gathers the lowest bit of each of eight bytes into the top byte of the product.
        let bits = u64::from_le_bytes(*group).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        mask |= bits << (8 * index);
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_naive_split_for_every_length_and_byte() {
        let mut random = fastrand::Rng::with_seed(3);
        for length in (0..300).chain(PIECE - 70..PIECE + 70).chain([3 * PIECE, 3 * PIECE + 1]) {
            let alphabet: &[u8] = b"ab \t\n\x0b\x0c\r\0\xff\x80\x20\x08\x0e";
            let bytes: Vec<u8> =
                (0..length).map(|_| alphabet[random.usize(..alphabet.len())]).collect();
            let mut words = Vec::new();
            for_words(&bytes, |some| {
                words.extend(some.iter().map(|word| &bytes[word[0] as usize..word[1] as usize]));
            });
            let naive: Vec<&[u8]> = bytes
                .split(|byte| byte.is_ascii_whitespace())
                .filter(|word| !word.is_empty())
                .collect();
            assert_eq!(words, naive);
        }
    }

    #[test]
    fn the_mask_agrees_with_the_definition_on_all_bytes() {
        for base in [0_u8, 64, 128, 192] {
            let chunk: [u8; 64] = std::array::from_fn(|index| base + index as u8);
            for (index, byte) in chunk.iter().enumerate() {
                let bit = whitespace_mask(&chunk) >> index & 1;
                assert_eq!(bit == 1, byte.is_ascii_whitespace(), "{byte}");
            }
        }
    }
}
