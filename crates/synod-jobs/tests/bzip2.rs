//! bzip2 files in splits: every line once, whatever the split size, and no wrong answer from damage.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use support::{Bench, joined, zipf_text};
use synod_jobs::{
    Emitter, Framing, Job, JobError, JobSpec, Progress, Record, Sink, Values, run_local,
};

const BLOCK: u64 = 0x3141_5926_5359;

/// Writes every record in hexadecimal digits, in input order.
struct Show;

impl Job for Show {
    const WRITES_PAIRS: bool = true;

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        out.emit(hex(record.bytes).as_bytes(), b"");
    }

    fn reduce(&self, key: &[u8], values: &mut Values<'_, Self>, out: &mut Sink) {
        while let Some(value) = values.next() {
            self.write_pair(key, value, out);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn spec(bench: &Bench, path: &Path, split_bytes: u64) -> JobSpec {
    let mut spec = bench.spec("show", &[path]);
    spec.reduces = Some(0);
    spec.split_bytes = Some(split_bytes);
    spec.sync_output = false;
    spec
}

/// The records as hexadecimal digits, and how many splits there were.
fn shown(spec: &JobSpec) -> Result<(String, usize), JobError> {
    if spec.output.exists() {
        fs::remove_dir_all(&spec.output).unwrap();
    }
    let summary = run_local(spec, &Show, &Progress::new())?;
    Ok((String::from_utf8(joined(&spec.output)).unwrap(), summary.splits))
}

fn lines(text: &[u8]) -> String {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.split(|&byte| byte == b'\n').map(|line| hex(line) + "\n").collect()
}

/// In blocks of 100 kB.
fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn bits(bytes: &[u8]) -> Vec<bool> {
    bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect()
}

fn bytes(bits: &[bool]) -> Vec<u8> {
    let byte = |bits: &[bool]| {
        (0..8).fold(0, |byte, at| byte << 1 | u8::from(bits.get(at) == Some(&true)))
    };
    bits.chunks(8).map(byte).collect()
}

fn number(bits: &[bool]) -> u64 {
    bits.iter().fold(0, |number, &bit| number << 1 | u64::from(bit))
}

/// Bits at which something looks like a block.
fn marks(packed: &[u8]) -> Vec<usize> {
    let bits = bits(packed);
    let looks = |&at: &usize| number(&bits[at..at + 48]) == BLOCK;
    (0..bits.len().saturating_sub(47)).filter(looks).collect()
}

/// Packs `text`, which fits one block, such that the block has the mark of a block within: as selectors of
/// Huffman tables beyond those that are needed.
fn with_false_mark(text: &[u8]) -> Vec<u8> {
    let mut bits = bits(&packed(text));
    // The header, and of the block: its mark, checksum, one bit, the origin of the sort.
    let mut at = 32 + 48 + 32 + 1 + 24;
    let used = number(&bits[at..at + 16]).count_ones() as usize;
    at += 16 + used * 16;
    assert!(number(&bits[at..at + 3]) >= 3, "codes of two ones need three tables");
    let selectors = at + 3;
    let count = number(&bits[selectors..selectors + 15]) as usize;
    at = selectors + 15;
    for _ in 0..count {
        at += bits[at..].iter().position(|bit| !bit).unwrap() + 1;
    }
    // A selector ends with a zero.
    let mut more: Vec<bool> = (0..48).rev().map(|bit| BLOCK >> bit & 1 == 1).collect();
    more.push(false);
    let total = count + more.iter().filter(|&&bit| !bit).count();
    bits.splice(at..at, more);
    for bit in 0..15 {
        bits[selectors + bit] = total >> (14 - bit) & 1 == 1;
    }
    // What filled the last byte is at the end still; it must not become a byte of its own.
    let whole = bytes(&bits);
    let mut plain = Vec::new();
    for length in (whole.len() - 2..=whole.len()).rev() {
        let mut decoder = bzip2::read::MultiBzDecoder::new(&whole[..length]);
        plain.clear();
        if std::io::Read::read_to_end(&mut decoder, &mut plain).is_ok() {
            assert_eq!(plain, text);
            return whole[..length].to_vec();
        }
    }
    panic!("the block does not unpack");
}

#[test]
fn every_line_of_a_bzip2_file_is_read_once_for_every_split_size() {
    let bench = Bench::new();
    let text = zipf_text(51, 400_000, 3_000);
    let cut = 210_001;
    // A stream, two empty ones, one without a line feed at its end, and one of a single line.
    let ends = [b"no end" as &[u8], b"\r\nlast"];
    let parts = [&text[..cut], b"", b"", &text[cut..], ends[0], ends[1]];
    let all: Vec<u8> = parts.iter().flat_map(|part| packed(part)).collect();
    let path = bench.file("in.bz2", &all);
    let plain = parts.concat();
    let expected = lines(&plain);
    let marks = marks(&all);
    assert_eq!(marks.len(), 3 + 2 + 2);
    // Borders before, within and behind the mark of a block and, the fourth, a stream's header.
    let mut sizes: Vec<u64> = vec![997, 5_000, 30_000, all.len() as u64 - 1];
    for mark in [marks[1], marks[3]] {
        sizes.extend(mark as u64 / 8 - 5..mark as u64 / 8 + 8);
    }
    sizes.extend(marks[4..].iter().map(|&mark| mark as u64 / 8));
    for size in sizes {
        let (records, splits) = shown(&spec(&bench, &path, size)).unwrap();
        let (whole, rest) = (all.len() as u64 / size, all.len() as u64 % size);
        // A short rest goes with the split before it.
        let expected_splits = whole + u64::from(whole == 0 || rest > size / 10);
        assert_eq!(splits as u64, expected_splits);
        assert!(records == expected, "splits of {size} bytes give other lines");
    }
    // In splits of a byte almost all are empty.
    let small = packed(b"one\ntwo\n\nthree");
    let path = bench.file("small.bz2", &small);
    let (records, _) = shown(&spec(&bench, &path, 1)).unwrap();
    assert_eq!(records, lines(b"one\ntwo\n\nthree"));
}

#[test]
fn blocks_that_end_within_a_line_end_or_a_long_line_lose_nothing() {
    let bench = Bench::new();
    // A block has 100,000 bytes less 19, and a run of one byte takes less of it: there is none.
    let block = 100_000 - 19;
    for (ends, shift) in [("\r\n", 0), ("\r\n", 1), ("\r", 0), ("\n", 0), ("\n", 1)] {
        let mut text = zipf_text(52, 2 * block, 3_000);
        text.retain(|&byte| byte != b'\n');
        text.truncate(block - 1 - shift);
        text.extend_from_slice(ends.as_bytes());
        text.extend_from_slice(&zipf_text(53, 350_000, 3_000).replace_feeds(b' '));
        text.extend_from_slice(b"\nlast\r\n\nline");
        let all = packed(&text);
        let blocks = |length: usize| marks(&packed(&text[..length])).len();
        assert_eq!((blocks(block), blocks(block + 1)), (1, 2), "the first block ends elsewhere");
        let path = bench.file("in.bz2", &all);
        for framing in [Framing::Line, Framing::AnyLine] {
            let mut whole = spec(&bench, &path, u64::MAX);
            whole.format.framing = framing.clone();
            let (expected, splits) = shown(&whole).unwrap();
            assert_eq!(splits, 1);
            for size in [all.len() as u64 / 9, all.len() as u64 / 2] {
                whole.split_bytes = Some(size);
                let (records, splits) = shown(&whole).unwrap();
                assert!(splits > 1);
                assert!(records == expected, "{framing:?} {ends:?} {shift} {size}");
            }
        }
    }
}

trait ReplaceFeeds {
    fn replace_feeds(self, by: u8) -> Vec<u8>;
}

impl ReplaceFeeds for Vec<u8> {
    fn replace_feeds(mut self, by: u8) -> Vec<u8> {
        self.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = by);
        self
    }
}

#[test]
fn what_only_looks_like_a_block_is_part_of_the_one_it_lies_in() {
    let bench = Bench::new();
    let first = zipf_text(54, 50_000, 2_000);
    let second = zipf_text(55, 250_000, 2_000);
    let false_one = with_false_mark(&first);
    assert_eq!(marks(&false_one).len(), 2);
    let all = [&packed(&second)[..], &false_one, &packed(&second)].concat();
    let path = bench.file("in.bz2", &all);
    let expected = lines(&[&second[..], &first, &second].concat());
    let real = packed(&second).len() as u64 + 4;
    let looks = packed(&second).len() as u64 + marks(&false_one)[1] as u64 / 8;
    for size in [real + 1, real + 7, looks - 1, looks, looks + 1, 1_000, 10_000] {
        let (records, _) = shown(&spec(&bench, &path, size)).unwrap();
        assert!(records == expected, "splits of {size} bytes give other lines");
    }
}

#[test]
fn damage_in_a_split_file_fails_the_job_or_changes_nothing() {
    let bench = Bench::new();
    let text = zipf_text(56, 350_000, 2_000);
    let cut = 120_000;
    let all = [packed(&text[..cut]), packed(&text[cut..])].concat();
    let path = bench.file("in.bz2", &all);
    let expected = lines(&text);
    let mut random = fastrand::Rng::with_seed(57);
    let marks = marks(&all);
    let mut failed = 0;
    for round in 0..36 {
        let mut damaged = all.clone();
        match round {
            0..10 => damaged.truncate(random.usize(4..all.len())),
            10..30 => {
                // In a mark, or close behind it.
                let bit = marks[random.usize(..marks.len())] + random.usize(..100);
                damaged[bit / 8] ^= 0x80 >> (bit % 8);
            }
            _ => damaged[random.usize(..all.len())] ^= 1 << random.u8(..8),
        }
        fs::write(&path, &damaged).unwrap();
        for size in [damaged.len() as u64 / 2 + 1, 7_000] {
            match shown(&spec(&bench, &path, size)) {
                Ok((records, _)) => assert!(records == expected, "{round} {size}"),
                Err(JobError::BadCompression { path: named, .. }) if named == path => failed += 1,
                Err(other) => panic!("{round} {size}: {other}"),
            }
        }
    }
    assert!(failed > 60, "{failed}");
}

#[test]
fn other_records_than_lines_and_records_per_split_read_a_bzip2_file_as_one() {
    let bench = Bench::new();
    let text = zipf_text(58, 200_000, 2_000);
    let path = bench.file("in.bz2", &packed(&text));
    let mut whole = spec(&bench, &path, 1_000);
    whole.format.framing = Framing::Delimiter(b"\n".to_vec());
    let (records, splits) = shown(&whole).unwrap();
    assert_eq!((records == lines(&text), splits), (true, 1));
    let mut counted = spec(&bench, &path, 1_000);
    counted.format.lines_per_split = Some(10);
    let (records, splits) = shown(&counted).unwrap();
    assert_eq!((records == lines(&text), splits), (true, 1));
}
