//! What the jobs read. All of it is made here from fixed seeds, so that a figure can be measured again.
//!
//! - Zipf text: 32,768 words of a made-up vocabulary, the n-th about 1/n as often as the first, ten or so
//!   to a line; a token is some six bytes long with what follows it.
//! - An access log in the combined format: addresses and URLs are drawn with a skew, times ascend.
//! - Distinct keys: tokens of eight letters and digits, drawn evenly from ten million for every GB.
//! - Records for sorting, much as gensort prints them (`-a`): 100 bytes with the line feed at the end, a
//!   random key of ten printable bytes first, then the record's number.
//! - Such records by ascending keys, in order, in the opposite order and mixed, and one of them over and
//!   over; text in which 99 of 100 words are the same one, or all.
//! - Zipf text of as many words that differ only behind their first 64 bytes, or that all have the same hash
//!   in a combine table of seed 0; and beside each the text of the same length, word by word, without that.
//! - Nothing.
//!
//! Files are kept for the next run of the same size.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Result as IoResult, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fastrand::Rng;

/// A kind of input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    ZipfText,
    AccessLog,
    DistinctKeys,
    SortRecords,
    OrderedRecords,
    ReversedRecords,
    /// The same ones as these two.
    MixedRecords,
    EqualRecords,
    HotWord,
    OneWord,
    LateWords,
    /// As many words, as long, as often.
    EarlyWords,
    CraftedWords,
    /// As many words, as long, as often.
    UncraftedWords,
    /// An empty file.
    Nothing,
}

type Generator = fn(&mut dyn Write, u64) -> IoResult<()>;

impl Input {
    /// The file of about this many bytes, made first if it is not there; never half made.
    pub fn file(self, folder: &Path, bytes: u64) -> Result<PathBuf> {
        let (name, write): (_, Generator) = match self {
            Input::ZipfText => ("zipf-text", |out, bytes| write_zipf_text(out, bytes, |word| word)),
            Input::AccessLog => ("access-log", write_log),
            Input::DistinctKeys => ("distinct-keys", write_distinct_keys),
            Input::SortRecords => ("sort-records", write_sort_records),
            Input::OrderedRecords => {
                ("ordered-records", |out, bytes| write_records(out, bytes, |place, _| place))
            }
            Input::ReversedRecords => ("reversed-records", |out, bytes| {
                write_records(out, bytes, |place, all| all - 1 - place)
            }),
            Input::MixedRecords => ("mixed-records", |out, bytes| {
                write_records(out, bytes, |place, all| place * stride(all) % all)
            }),
            Input::EqualRecords => {
                ("equal-records", |out, bytes| write_records(out, bytes, |_, _| 7))
            }
            Input::HotWord => ("hot-word", |out, bytes| write_one_word(out, bytes, true)),
            Input::OneWord => ("one-word", |out, bytes| write_one_word(out, bytes, false)),
            Input::LateWords => {
                ("late-words", |out, bytes| write_zipf_text(out, bytes, |word| late(&word)))
            }
            Input::EarlyWords => {
                ("early-words", |out, bytes| write_zipf_text(out, bytes, |word| early(&word)))
            }
            Input::CraftedWords => {
                ("crafted-words", |out, bytes| write_zipf_text(out, bytes, |word| crafted(&word)))
            }
            Input::UncraftedWords => ("uncrafted-words", |out, bytes| {
                write_zipf_text(out, bytes, |word| uncrafted(&word))
            }),
            Input::Nothing => ("nothing", |_, _| Ok(())),
        };
        let path = folder.join(format!("{name}-{bytes}"));
        if !path.is_file() {
            let unfinished = path.with_extension("unfinished");
            let file =
                File::create(&unfinished).with_context(|| unfinished.display().to_string())?;
            let mut out = BufWriter::with_capacity(1 << 20, file);
            write(&mut out, bytes)?;
            out.flush()?;
            fs::rename(&unfinished, &path)?;
        }
        Ok(path)
    }
}

fn write_zipf_text(
    out: &mut dyn Write,
    bytes: u64,
    change: fn(Vec<u8>) -> Vec<u8>,
) -> IoResult<()> {
    let mut random = Rng::with_seed(SEED);
    let words: Vec<Vec<u8>> = vocabulary(&mut random).into_iter().map(change).collect();
    let draws = zipf_draws(VOCABULARY);
    let mut written = 0;
    while written < bytes {
        let word = &words[draws[random.usize(..draws.len())] as usize];
        out.write_all(word)?;
        out.write_all(if random.u8(..10) == 0 { b"\n" } else { b" " })?;
        written += word.len() as u64 + 1;
    }
    out.write_all(b"\n")
}

/// A word of which a sort looks at no byte that tells it from another before the 65th.
fn late(word: &[u8]) -> Vec<u8> {
    [&[b'k'; 64], word].concat()
}

/// As long as a late word, and told from others by its first bytes.
fn early(word: &[u8]) -> Vec<u8> {
    [word, &[b'k'; 64]].concat()
}

/// A word of 16 bytes whose hash is 0 under seed 0, whatever its second half: the first half is what that
/// seed mixes it with, see `TableHash` in `synod-jobs`.
fn crafted(word: &[u8]) -> Vec<u8> {
    const SEED_0: [u8; 8] = [0xaa, 0xa4, 0xb7, 0xab, 0x86, 0xed, 0x52, 0xe0];
    let mut crafted = [SEED_0, [b'.'; 8]].concat();
    for (to, from) in crafted[SEED_0.len()..].iter_mut().zip(word) {
        *to = *from;
    }
    crafted
}

/// The same sixteen bytes, of which the hash sees both halves.
fn uncrafted(word: &[u8]) -> Vec<u8> {
    let mut word = crafted(word);
    word.rotate_left(8);
    word
}

/// Different words, the first ones short.
fn vocabulary(random: &mut Rng) -> Vec<Vec<u8>> {
    let mut taken = BTreeSet::new();
    let mut words = Vec::new();
    while words.len() < VOCABULARY {
        let length = 1 + random.usize(..2) + words.len().checked_ilog2().unwrap_or(0) as usize / 2;
        let word: Vec<u8> = (0..length).map(|_| random.u8(b'a'..=b'z')).collect();
        if taken.insert(word.clone()) {
            words.push(word);
        }
    }
    words
}

/// Ranks, each as often as a Zipf distribution has it, at least once.
fn zipf_draws(ranks: usize) -> Vec<u32> {
    let harmonic: f64 = (1..=ranks).map(|rank| 1.0 / rank as f64).sum();
    let mut draws = Vec::with_capacity(DRAWS + ranks);
    for rank in 0..ranks {
        let times = DRAWS as f64 / harmonic / (rank + 1) as f64;
        draws.extend(std::iter::repeat_n(rank as u32, (times.round() as usize).max(1)));
    }
    draws
}

fn write_log(out: &mut dyn Write, bytes: u64) -> IoResult<()> {
    let mut random = Rng::with_seed(SEED);
    let mut written = 0;
    let mut second = 0_u64;
    let mut line = Vec::new();
    while written < bytes {
        let address = skewed(&mut random, ADDRESSES);
        let url = skewed(&mut random, URLS);
        let (day, rest) = (second / 86_400, second % 86_400);
        line.clear();
        writeln!(
            line,
            "10.{}.{}.{} - - [{:02}/Oct/2025:{:02}:{:02}:{:02} +0000] \"GET /shop/item/{url} \
             HTTP/1.1\" 200 {} \"-\" \"Mozilla/5.0 (X11; Linux x86_64)\"",
            address >> 16,
            address >> 8 & 255,
            address & 255,
            day % 31 + 1,
            rest / 3600,
            rest / 60 % 60,
            rest % 60,
            random.u32(200..50_000),
        )?;
        out.write_all(&line)?;
        written += line.len() as u64;
        // A month's seconds, so that the times never start over.
        second = (second + u64::from(random.u8(..4) == 0)).min(31 * 86_400 - 1);
    }
    Ok(())
}

/// Small numbers often, large ones seldom.
fn skewed(random: &mut Rng, count: u32) -> u32 {
    let uniform = random.f64();
    (f64::from(count) * uniform * uniform * uniform) as u32
}

fn write_distinct_keys(out: &mut dyn Write, bytes: u64) -> IoResult<()> {
    let mut random = Rng::with_seed(SEED);
    let keys = (bytes / BYTES_PER_DISTINCT_KEY).max(1);
    let mut token = [b' '; TOKEN_BYTES + 1];
    for number in 0..bytes / token.len() as u64 {
        // An odd factor gives different tokens for different keys, far from each other.
        let mut left = random.u64(..keys).wrapping_mul(SCATTER) % TOKENS;
        for byte in &mut token[..TOKEN_BYTES] {
            *byte = DIGITS[(left % 32) as usize];
            left /= 32;
        }
        token[TOKEN_BYTES] = if number % 8 == 7 { b'\n' } else { b' ' };
        out.write_all(&token)?;
    }
    out.write_all(b"\n")
}

fn write_sort_records(out: &mut dyn Write, bytes: u64) -> IoResult<()> {
    let mut random = Rng::with_seed(SEED);
    for number in 0..(bytes / 100).max(1) {
        let mut record = record(number)?;
        record[..10].fill_with(|| random.u8(b' '..=b'~'));
        out.write_all(&record)?;
    }
    Ok(())
}

/// Records whose keys are numbers, by the place of each among all.
fn write_records(
    out: &mut dyn Write,
    bytes: u64,
    number: impl Fn(u64, u64) -> u64,
) -> IoResult<()> {
    let all = (bytes / 100).max(1);
    for place in 0..all {
        let number = number(place, all);
        let mut record = record(number)?;
        write!(&mut record[..10], "{number:010}")?;
        out.write_all(&record)?;
    }
    Ok(())
}

/// Without its key.
fn record(number: u64) -> IoResult<[u8; 100]> {
    let mut record = [b' '; 100];
    write!(&mut record[12..44], "{number:032X}")?;
    for (at, byte) in record[46..98].iter_mut().enumerate() {
        *byte = b'A' + ((number as usize + at / 4) % 26) as u8;
    }
    record[99] = b'\n';
    Ok(record)
}

/// A step that comes by every number below `all` once: it has no divisor in common with it.
fn stride(all: u64) -> u64 {
    // A prime: it divides `all`, or has nothing in common with it.
    if all.is_multiple_of(MIX) { 1 } else { MIX }
}

/// The same word, and between them a hundredth of others if it is to be.
fn write_one_word(out: &mut dyn Write, bytes: u64, with_others: bool) -> IoResult<()> {
    let mut random = Rng::with_seed(SEED);
    let words = vocabulary(&mut random);
    let mut written = 0;
    while written < bytes {
        let is_other = with_others && random.u8(..100) == 0;
        let word: &[u8] = if is_other { &words[random.usize(..words.len())] } else { b"always" };
        out.write_all(word)?;
        out.write_all(if random.u8(..10) == 0 { b"\n" } else { b" " })?;
        written += word.len() as u64 + 1;
    }
    out.write_all(b"\n")
}

const VOCABULARY: usize = 32_768;
const DRAWS: usize = 1 << 20;
const ADDRESSES: u32 = 200_000;
const URLS: u32 = 50_000;
const TOKEN_BYTES: usize = 8;
/// How many tokens there can be: 32 to the power of their length.
const TOKENS: u64 = 1 << 40;
const SCATTER: u64 = 0x9e37_79b9_7f4a_7c15;
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const BYTES_PER_DISTINCT_KEY: u64 = 100;
/// A prime.
const MIX: u64 = 1_000_003;
const SEED: u64 = 7;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn made(write: fn(&mut dyn Write, u64) -> IoResult<()>, bytes: u64) -> String {
        let mut out = Vec::new();
        write(&mut out, bytes).unwrap();
        assert!((bytes..bytes + 200).contains(&(out.len() as u64)), "{}", out.len());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_log_has_its_size_and_whole_lines() {
        let log = made(write_log, 10_000);
        assert!(log.ends_with('\n') && log.lines().all(|line| line.contains("] \"GET /")));
    }

    #[test]
    fn words_of_nasty_texts_differ_only_where_they_should() {
        let words = vocabulary(&mut Rng::with_seed(SEED));
        let lates: BTreeSet<Vec<u8>> = words.iter().map(|word| late(word)).collect();
        assert_eq!(lates.len(), VOCABULARY);
        assert!(lates.iter().all(|word| word[..64] == [b'k'; 64]));
        let chosen: BTreeSet<Vec<u8>> = words.iter().map(|word| crafted(word)).collect();
        let first = chosen.first().unwrap()[..8].to_vec();
        assert!(chosen.len() > VOCABULARY / 2 && !first.iter().any(u8::is_ascii_whitespace));
        assert!(chosen.iter().all(|word| word.len() == 16 && word.starts_with(&first)));
    }

    #[test]
    fn an_even_text_has_as_many_words_as_the_nasty_one_beside_it_word_by_word_as_long() {
        type Change = fn(Vec<u8>) -> Vec<u8>;
        let pairs: [(Change, Change); 2] =
            [(|word| late(&word), |word| early(&word)), (|word| crafted(&word), |w| uncrafted(&w))];
        for (nasty, even) in pairs {
            let texts = [nasty, even].map(|change| {
                let mut text = Vec::new();
                write_zipf_text(&mut text, 200_000, change).unwrap();
                text
            });
            let words = texts.each_ref().map(|text| {
                let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
                words.collect::<Vec<_>>()
            });
            let lengths = words.each_ref().map(|words| words.iter().map(|word| word.len()));
            assert!(words[0].len() > 2_000 && lengths[0].clone().eq(lengths[1].clone()));
            let beginnings = words
                .each_ref()
                .map(|words| words.iter().map(|word| &word[..8]).collect::<BTreeSet<_>>().len());
            let [nasty, even] = words.map(|words| words.into_iter().collect::<BTreeSet<_>>());
            assert!(nasty.len() == even.len() && nasty.is_disjoint(&even));
            assert!(beginnings[0] == 1 && beginnings[1] > 1_000, "{beginnings:?}");
        }
    }

    #[test]
    fn the_second_word_is_half_as_often_as_the_first_and_no_word_is_missing_from_the_draws() {
        let text = made(|out, bytes| write_zipf_text(out, bytes, |word| word), 3_000_000);
        let mut counts = BTreeMap::new();
        for word in text.split_ascii_whitespace() {
            *counts.entry(word).or_insert(0_u32) += 1;
        }
        let mut counts: Vec<u32> = counts.into_values().collect();
        counts.sort_by_key(|count| std::cmp::Reverse(*count));
        let ratio = f64::from(counts[0]) / f64::from(counts[1]);
        assert!((1.8..2.2).contains(&ratio), "{ratio}");
        let drawn: BTreeSet<u32> = zipf_draws(VOCABULARY).into_iter().collect();
        assert_eq!(drawn.len(), VOCABULARY);
    }

    #[test]
    fn distinct_keys_are_one_for_every_hundred_bytes() {
        let text = made(write_distinct_keys, 1_000_000);
        let keys: BTreeSet<&str> = text.split_ascii_whitespace().collect();
        assert!((9_900..=10_000).contains(&keys.len()), "{}", keys.len());
    }

    #[test]
    fn records_are_a_hundred_bytes_and_number_themselves() {
        let text = made(write_sort_records, 1_000);
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        assert_eq!(lines.len(), 10);
        assert!(lines.iter().all(|line| line.len() == 100));
        assert_eq!(&lines[9][12..44], format!("{:032X}", 9));
    }

    #[test]
    fn mixed_records_are_those_that_are_in_order() {
        for count in [1, 2, 1_000, 1_000_003] {
            let mut numbers: Vec<u64> =
                (0..count).map(|place| place * stride(count) % count).collect();
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(0..count), "{count}");
        }
        let made = |input: fn(u64, u64) -> u64| {
            let mut out = Vec::new();
            write_records(&mut out, 1_000, input).unwrap();
            let lines = String::from_utf8(out).unwrap();
            lines.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let ordered = made(|place, _| place);
        let mut mixed = made(|place, all| place * stride(all) % all);
        assert!(ordered.is_sorted() && ordered != mixed);
        mixed.sort();
        assert_eq!(ordered, mixed);
        assert!(ordered.iter().all(|line| line.len() == 99));
    }

    #[test]
    fn the_hot_word_is_99_of_100() {
        let mut out = Vec::new();
        write_one_word(&mut out, 100_000, true).unwrap();
        let text = String::from_utf8(out).unwrap();
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let hot = words.iter().filter(|word| **word == "always").count() * 100 / words.len();
        assert!((97..100).contains(&hot), "{hot}");
    }
}
