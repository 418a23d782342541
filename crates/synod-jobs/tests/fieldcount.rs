//! Lines per value of a field, against a naive count.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::BTreeMap;
use support::{Bench, joined, run, sorted_lines};
use synod_jobs::{JobError, JobSpec};

/// Random lines in which fields are missing, empty, long, or of bytes that are no text.
fn lines(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut text = Vec::new();
    while text.len() < bytes {
        for _ in 0..random.usize(..5) {
            let separators: [&[u8]; 6] = [b" ", b"\t", b"  ", b",", b", ", b" \t "];
            text.extend_from_slice(separators[random.usize(..separators.len())]);
            let alphabet = b"ab\xff\0\r.";
            let long = random.u8(..20) == 0;
            for _ in 0..random.usize(..if long { 60 } else { 4 }) {
                text.push(alphabet[random.usize(..alphabet.len())]);
            }
        }
        text.extend_from_slice(if random.u8(..9) == 0 { b"\n\n" } else { b"\n" });
    }
    // The last line has no line feed.
    text.extend_from_slice(b"last, one");
    text
}

fn naive(text: &[u8], field: impl Fn(&[u8]) -> Option<&[u8]>) -> (Vec<Vec<u8>>, u64) {
    let mut counts: BTreeMap<&[u8], u64> = BTreeMap::new();
    let mut without = 0;
    let lines = text.strip_suffix(b"\n").unwrap_or(text).split(|&byte| byte == b'\n');
    for line in lines {
        match field(line) {
            Some(value) => *counts.entry(value).or_default() += 1,
            None => without += 1,
        }
    }
    let line = |(value, count): (&[u8], u64)| [value, b"\t", count.to_string().as_bytes()].concat();
    let mut lines: Vec<_> = counts.into_iter().map(line).collect();
    lines.sort();
    (lines, without)
}

#[track_caller]
fn check(spec: &JobSpec, expected: &(Vec<Vec<u8>>, u64)) {
    let summary = run(spec).unwrap();
    assert_eq!(sorted_lines(&joined(&spec.output)), expected.0, "{spec:?}");
    let without = summary.manifest.counters.user.get("lines_without_field");
    assert_eq!(without.copied().unwrap_or(0), expected.1, "{spec:?}");
}

#[test]
fn lines_are_counted_by_the_words_that_blanks_separate() {
    let bench = Bench::new();
    let text = lines(41, 200_000);
    let path = bench.file("in", &text);
    for number in [1, 2, 4] {
        let expected = naive(&text, |line| {
            let words = line.split(|byte| matches!(byte, b' ' | b'\t'));
            words.filter(|word| !word.is_empty()).nth(number - 1)
        });
        for (split, reduces) in [(777, 3), (1 << 20, 1)] {
            let mut spec = bench.spec("fieldcount", &[&path]);
            spec.split_bytes = Some(split);
            spec.reduces = Some(reduces);
            if number > 1 {
                spec.options.insert("field".into(), number.to_string());
            }
            check(&spec, &expected);
        }
    }
}

#[test]
fn a_separator_separates_exactly() {
    let bench = Bench::new();
    let text = lines(42, 100_000);
    let path = bench.file("in", &text);
    for (name, separator) in
        [(",", &b","[..]), (r"\t", b"\t"), (r",\x20", b", "), (r"\xff", b"\xff")]
    {
        let expected = naive(&text, |line| {
            let mut rest = line;
            for _ in 1..2 {
                let at = rest.windows(separator.len()).position(|window| window == separator)?;
                rest = &rest[at + separator.len()..];
            }
            let end = rest.windows(separator.len()).position(|window| window == separator);
            Some(&rest[..end.unwrap_or(rest.len())])
        });
        let mut spec = bench.spec("fieldcount", &[&path]);
        spec.options.insert("field".into(), "2".into());
        spec.options.insert("separator".into(), name.into());
        check(&spec, &expected);
    }
}

#[test]
fn options_that_make_no_sense_are_refused_with_those_that_exist() {
    let bench = Bench::new();
    let path = bench.file("in", b"x");
    for (key, value, reason) in [
        ("field", "0", "a number from 1"),
        ("field", "-1", "a number from 1"),
        ("field", "two", "a number from 1"),
        ("separator", "", r"bytes, with \t"),
        ("separator", r"\n", "without the line feed"),
        ("separator", r"\q", r"bytes, with \t"),
        ("feild", "1", "no option `feild`"),
    ] {
        let mut spec = bench.spec("fieldcount", &[&path]);
        spec.options.insert(key.into(), value.into());
        let error = run(&spec).unwrap_err();
        assert!(matches!(error, JobError::BadSpec { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains(reason) && said.contains("field, separator"), "{said}");
        assert!(!spec.output.exists());
    }
}
