//! The built-in jobs against naive answers in memory, over random lines with all that makes lines
//! awkward, and for several splits, memories and numbers of reduce tasks.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use support::{Bench, joined, parts, run, sorted_lines};
use synod_jobs::builtin::field::warning;
use synod_jobs::{BUILT_IN, JobError, JobSpec, JobSummary, Jobs, Progress, Stores};

/// Lines of few different words: empty ones, long ones, with bytes that are no text; the last one
/// has no line feed.
fn text(seed: u64, lines: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let words: [&[u8]; 9] =
        [b"a", b"B", b"ab", b"\xff\xfe", b"caf\xc3\xa9", b"x\0y", b"12", b"the-end", b"Ab\r"];
    let mut text = Vec::new();
    for _ in 0..lines {
        for at in 0..random.usize(..5) {
            if at > 0 || random.u8(..6) == 0 {
                text.extend_from_slice([&b" "[..], b"  ", b"\t", b","][random.usize(..4)]);
            }
            text.extend_from_slice(words[random.usize(..words.len())]);
        }
        if random.u16(..300) == 0 {
            text.extend(std::iter::repeat_n(b'z', 3_000));
        }
        text.push(b'\n');
    }
    text.extend_from_slice(b"ab last");
    text
}

fn lines_of(text: &[u8]) -> Vec<&[u8]> {
    text.strip_suffix(b"\n").unwrap_or(text).split(|&byte| byte == b'\n').collect()
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty())
}

fn with(mut spec: JobSpec, options: &[(&str, &str)]) -> JobSpec {
    spec.options = options.iter().map(|&(key, value)| (key.into(), value.into())).collect();
    spec
}

/// Runs the job for several splits, memories and numbers of reduce tasks, and hands over each output.
fn each_run(
    bench: &Bench,
    job: &str,
    inputs: &[&Path],
    options: &[(&str, &str)],
    mut check: impl FnMut(&JobSpec, &JobSummary),
) {
    for (split, memory, reduces) in [(500, 1 << 30, 3), (20_000, 1, 2), (1 << 20, 1 << 30, 1)] {
        let mut spec = with(bench.spec(job, inputs), options);
        spec.split_bytes = Some(split);
        spec.memory_bytes = memory;
        spec.max_record_bytes = Some(1 << 20);
        if job != "grep" {
            spec.reduces = Some(reduces);
        }
        let summary = run(&spec).unwrap();
        check(&spec, &summary);
    }
}

fn user(summary: &JobSummary, counter: &str) -> u64 {
    summary.manifest.counters.user.get(counter).copied().unwrap_or(0)
}

#[test]
fn grep_gives_the_lines_that_match_alone_in_the_order_of_the_input() {
    let bench = Bench::new();
    let text = text(51, 700);
    let path = bench.file("in", &text);
    for pattern in [
        "ab",
        "^a",
        "b$",
        "^$",
        "x*",
        r"\s",
        r"a\sb",
        r"a[^c]B",
        r"\bab\b",
        r"\Bb",
        r"\Aa",
        r"z\z",
        r"(?-u:\xff)",
        r"caf\w$",
        "(a|ab)(,|$)",
        r"\r$",
        "[^a-z]+a",
        "b\nB",
        "q",
        r"\x00",
    ] {
        // What the crate says of one line is the rule.
        let alone = regex::bytes::RegexBuilder::new(pattern).multi_line(true).build().unwrap();
        let caseless = regex::bytes::RegexBuilder::new(pattern)
            .multi_line(true)
            .case_insensitive(true)
            .build()
            .unwrap();
        let lines = lines_of(&text);
        let chosen = |is_chosen: &dyn Fn(&[u8]) -> bool| -> Vec<u8> {
            let chosen = lines.iter().filter(|line| is_chosen(line));
            chosen.flat_map(|line| [line, &b"\n"[..]].concat()).collect()
        };
        let matches: Vec<u8> = lines
            .iter()
            .flat_map(|line| alone.find_iter(line))
            .filter(|found| !found.is_empty())
            .flat_map(|found| [found.as_bytes(), b"\n"].concat())
            .collect();
        for (option, expected) in [
            (None, chosen(&|line| alone.is_match(line))),
            (Some("invert"), chosen(&|line| !alone.is_match(line))),
            (Some("ignore_case"), chosen(&|line| caseless.is_match(line))),
            (Some("only_matching"), matches),
        ] {
            let mut options = vec![("pattern", pattern)];
            options.extend(option.map(|option| (option, "true")));
            each_run(&bench, "grep", &[&path], &options, |spec, summary| {
                assert!(joined(&spec.output) == expected, "{options:?}");
                let lines = expected.iter().filter(|&&byte| byte == b'\n').count() as u64;
                if option != Some("only_matching") {
                    assert_eq!(user(summary, "matching_lines"), lines, "{options:?}");
                }
            });
        }
    }
}

#[test]
fn sort_keeps_the_order_of_records_whose_keys_are_equal() {
    let bench = Bench::new();
    let text = text(52, 3_000);
    let path = bench.file("in", &text);
    let mut lines: Vec<Vec<u8>> =
        lines_of(&text).iter().map(|line| [line, &b"\n"[..]].concat()).collect();
    let cut = |line: &Vec<u8>| line[..(line.len() - 1).min(2)].to_vec();
    lines.sort_by_key(cut);
    each_run(&bench, "sort", &[&path], &[("key", "2")], |spec, _| {
        assert!(joined(&spec.output) == lines.concat());
    });
    // Records of fixed length have nothing between them, and may hold line feeds.
    let mut random = fastrand::Rng::with_seed(53);
    let records: Vec<u8> = (0..7 * 3_000).map(|_| random.u8(8..12)).collect();
    let path = bench.file("records", &records);
    let mut sorted: Vec<&[u8]> = records.chunks(7).collect();
    sorted.sort_by_key(|record| &record[..3]);
    each_run(&bench, "sort", &[&path], &[("record", "7"), ("key", "3")], |spec, _| {
        assert!(joined(&spec.output) == sorted.concat());
    });
}

#[test]
fn distinct_gives_every_line_or_value_once() {
    let bench = Bench::new();
    let text = text(54, 3_000);
    let path = bench.file("in", &text);
    let lines = lines_of(&text);
    let all: BTreeSet<&[u8]> = lines.iter().copied().collect();
    let second: BTreeSet<&[u8]> = lines.iter().filter_map(|line| words(line).nth(1)).collect();
    let without = lines.iter().filter(|line| words(line).nth(1).is_none()).count() as u64;
    for (options, expected, without) in [(&[][..], all, 0), (&[("field", "2")], second, without)] {
        let expected: Vec<Vec<u8>> = expected.into_iter().map(<[u8]>::to_vec).collect();
        each_run(&bench, "distinct", &[&path], options, |spec, summary| {
            assert!(sorted_lines(&joined(&spec.output)) == expected, "{options:?}");
            assert_eq!(user(summary, "lines_without_field"), without);
        });
    }
}

#[test]
fn top_k_breaks_ties_by_the_value_and_writes_one_part() {
    let bench = Bench::new();
    let text = text(55, 4_000);
    let path = bench.file("in", &text);
    let mut counts: BTreeMap<&[u8], u64> = BTreeMap::new();
    let mut fields: BTreeMap<&[u8], u64> = BTreeMap::new();
    for line in lines_of(&text) {
        *counts.entry(line).or_default() += 1;
        if let Some(word) = words(line).next() {
            *fields.entry(word).or_default() += 1;
        }
    }
    for k in [1, 7, 150, 1_000_000] {
        for (field, counts) in [(None, &counts), (Some(("field", "1")), &fields)] {
            let mut best: Vec<(&[u8], u64)> = counts.iter().map(|(&key, &n)| (key, n)).collect();
            best.sort_by_key(|&(value, count)| (std::cmp::Reverse(count), value));
            best.truncate(k);
            let line =
                |(value, count): (&[u8], u64)| [value, format!("\t{count}\n").as_bytes()].concat();
            let expected: Vec<u8> = best.into_iter().flat_map(line).collect();
            let k = k.to_string();
            let mut options = vec![("k", k.as_str())];
            options.extend(field);
            each_run(&bench, "top-k", &[&path], &options, |spec, _| {
                let parts = parts(&spec.output);
                assert_eq!(parts.len(), 1);
                assert!(parts[0].1 == expected, "{options:?}");
            });
        }
    }
    // The passes before the last leave nothing behind.
    assert!(bench.names().iter().all(|name| !name.contains("passes")), "{:?}", bench.names());
}

#[test]
fn an_index_names_the_files_of_every_word_in_order() {
    let bench = Bench::new();
    let names = ["b", "a,:x", "c\\d"];
    let texts: Vec<Vec<u8>> = (0..3).map(|at| text(56 + at, 200 * at as usize)).collect();
    let paths: Vec<_> =
        names.iter().zip(&texts).map(|(name, text)| bench.file(name, text)).collect();
    let paths: Vec<&Path> = paths.iter().map(std::path::PathBuf::as_path).collect();
    for ignore_case in [false, true] {
        let mut index: BTreeMap<Vec<u8>, BTreeMap<&str, u64>> = BTreeMap::new();
        for (text, name) in texts.iter().zip(["b", r"a\x2c\x3ax", r"c\x5cd"]) {
            let is_word_byte = |byte: &u8| byte.is_ascii_alphanumeric() || *byte >= 0x80;
            let words = text.split(|byte| !is_word_byte(byte)).filter(|word| !word.is_empty());
            for word in words {
                let mut word = word.to_vec();
                if ignore_case {
                    word.make_ascii_lowercase();
                }
                *index.entry(word).or_default().entry(name).or_default() += 1;
            }
        }
        for counts in [false, true] {
            let line = |(word, files): (&Vec<u8>, &BTreeMap<&str, u64>)| {
                let folder = bench.path("").display().to_string();
                let files: Vec<String> = files
                    .iter()
                    .map(|(name, n)| match counts {
                        true => format!("{folder}{name}:{n}"),
                        false => format!("{folder}{name}"),
                    })
                    .collect();
                [word, &b"\t"[..], files.join(",").as_bytes()].concat()
            };
            let mut expected: Vec<Vec<u8>> = index.iter().map(line).collect();
            expected.sort();
            let flag = |flag| if flag { "true" } else { "false" };
            let options = [("counts", flag(counts)), ("ignore_case", flag(ignore_case))];
            each_run(&bench, "inverted-index", &paths, &options, |spec, _| {
                assert!(sorted_lines(&joined(&spec.output)) == expected);
            });
        }
    }
}

#[test]
fn a_join_pairs_the_lines_of_equal_keys_and_keeps_what_its_kind_says() {
    let bench = Bench::new();
    let (mut left, mut right) = (text(61, 150), text(62, 200));
    left.extend_from_slice(b"\nonly-left 1\n");
    right.extend_from_slice(b"\n2 only-right");
    let left_path = bench.file("left-1.txt", &left);
    let right_path = bench.file("right.txt", &right);
    // Input order is not what decides which side a line is on.
    let inputs = [right_path.as_path(), left_path.as_path()];
    let keyed = |lines: &[u8], number: usize| {
        let mut keyed: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        let mut without = 0;
        for line in lines_of(lines) {
            match words(line).nth(number - 1) {
                Some(key) => keyed.entry(key.to_vec()).or_default().push(line.to_vec()),
                None => without += 1,
            }
        }
        (keyed, without)
    };
    let (lefts, no_left) = keyed(&left, 1);
    let (rights, no_right) = keyed(&right, 2);
    // Both sides have keys that the other has not.
    assert!(lefts.contains_key(&b"only-left"[..]) && rights.contains_key(&b"only-right"[..]));
    for (kind, keeps_left, keeps_right) in [
        ("inner", false, false),
        ("left", true, false),
        ("right", false, true),
        ("outer", true, true),
    ] {
        let mut expected = Vec::new();
        let keys: BTreeSet<&Vec<u8>> = lefts.keys().chain(rights.keys()).collect();
        for key in keys {
            let empty = vec![Vec::new()];
            let side = |lines: Option<&Vec<Vec<u8>>>, keeps: bool| match lines {
                Some(lines) if !lines.is_empty() => lines.clone(),
                _ if keeps => empty.clone(),
                _ => Vec::new(),
            };
            // A left line without a partner is kept where the kind says so, and the other way round.
            for right in side(rights.get(key), keeps_left) {
                for left in side(lefts.get(key), keeps_right) {
                    if !(left.is_empty() && right.is_empty()) {
                        expected.push([key, &b"\t"[..], &left, b"\t", &right].concat());
                    }
                }
            }
        }
        expected.sort();
        let options = [("left", "left-*"), ("right_field", "2"), ("kind", kind)];
        each_run(&bench, "join", &inputs, &options, |spec, summary| {
            assert!(sorted_lines(&joined(&spec.output)) == expected, "{kind}");
            assert_eq!(user(summary, "lines_without_field"), no_left + no_right);
            assert_eq!(user(summary, "left_lines_without_field"), no_left);
            assert_eq!(user(summary, "right_lines_without_field"), no_right);
            let left_lines: usize = lefts.values().map(Vec::len).sum();
            assert_eq!(user(summary, "left_lines"), left_lines as u64);
        });
    }
}

#[test]
fn a_join_of_a_key_with_very_many_lines_on_the_left_keeps_them_on_disk_in_their_order() {
    let bench = Bench::new();
    let lefts: Vec<String> = (0..3_000).map(|n| format!("many {n:>1000}")).collect();
    let left = [lefts.join("\n").as_bytes(), b"\nfew 1\nalone 1\n"].concat();
    let left = bench.file("left", &left);
    let right = bench.file("right", b"many a\nfew b\nmany c\nother d\n");
    let joined_with = |right: &str| -> String {
        lefts.iter().map(|left| format!("many\t{left}\tmany {right}\n")).collect()
    };
    for (kind, alone, other) in
        [("inner", "", ""), ("outer", "alone\talone 1\t\n", "other\t\tother d\n")]
    {
        let options = [("left", "left"), ("kind", kind)];
        let mut spec = with(bench.spec("join", &[&left, &right]), &options);
        spec.reduces = Some(1);
        let summary = run(&spec).unwrap();
        let parts = [alone, "few\tfew 1\tfew b\n", &joined_with("a"), &joined_with("c"), other];
        assert!(joined(&spec.output) == parts.concat().as_bytes(), "{kind}");
        assert_eq!(user(&summary, "keys_with_left_lines_on_disk"), 1);
    }
}

#[test]
fn a_join_whose_files_are_all_on_one_side_is_refused_before_anything_is_made() {
    let bench = Bench::new();
    let (users, orders) = (bench.file("users", b"1 a\n"), bench.file("orders", b"1 b\n"));
    for (left, why) in [
        ("user", "`user`, which fits none of the 2 input files"),
        ("*rs", "`*rs`, which fits all 2 input files"),
    ] {
        let spec = with(bench.spec("join", &[&users, &orders]), &[("left", left)]);
        let planned = Jobs::built_in().plan(&spec, 1, &Stores::local(), &Progress::new());
        for error in [run(&spec).unwrap_err(), planned.unwrap_err()] {
            assert!(matches!(error, JobError::BadSpec { .. }), "{error}");
            let error = error.to_string();
            assert!(error.contains(why) && error.contains("(the first file is /"), "{error}");
        }
        assert!(!spec.output.exists());
    }
}

#[test]
fn a_field_that_no_line_has_is_counted_in_what_the_last_pass_says() {
    let bench = Bench::new();
    let path = bench.file("in", b"a b\nc d\n");
    for (job, reduces) in [("fieldcount", 2), ("distinct", 2), ("top-k", 1), ("top-k", 2)] {
        let mut spec = with(bench.spec(job, &[&path]), &[("field", "3")]);
        spec.reduces = Some(reduces);
        let summary = run(&spec).unwrap();
        assert_eq!((user(&summary, "lines_without_field"), joined(&spec.output).len()), (2, 0));
        let said = warning(&summary.manifest.counters).unwrap();
        assert!(said.starts_with("no line has the field"), "{job}: {said}");
    }
    let spec = with(bench.spec("fieldcount", &[&path]), &[("field", "2")]);
    assert_eq!(warning(&run(&spec).unwrap().manifest.counters), None);
}

#[test]
fn every_job_takes_an_empty_input_and_one_without_a_last_line_feed() {
    let bench = Bench::new();
    let (empty, none) = (bench.file("empty", b""), bench.file("no-one", b""));
    let one = bench.file("one", b"1 2");
    // What a module does is for the module to say: the tests of `wasm` have modules.
    for job in BUILT_IN.iter().filter(|job| job.is_shown && job.name != "wasm") {
        let options: &[(&str, &str)] = match job.name {
            "grep" => &[("pattern", ".")],
            "join" => &[("left", "*one"), ("kind", "outer")],
            "k-means" => &[("centres", "1,2")],
            _ => &[],
        };
        let spec = with(bench.spec(job.name, &[&empty, &none]), options);
        run(&spec).unwrap();
        assert_eq!(joined(&spec.output), b"", "{}", job.name);
        let spec = with(bench.spec(job.name, &[&empty, &one]), options);
        let summary = run(&spec).unwrap();
        let says = job.name == "loganalysis" || !joined(&spec.output).is_empty();
        assert!(says && summary.input_bytes > 0, "{}", job.name);
    }
}

#[test]
fn what_a_job_cannot_do_is_refused_before_anything_is_read() {
    let bench = Bench::new();
    let path = bench.file("in", b"x");
    for (job, options, reason) in [
        ("grep", &[][..], "needs option `pattern`"),
        ("grep", &[("pattern", "(")], "a regular expression"),
        ("grep", &[("pattern", "a"), ("invert", "yes")], "false or true"),
        ("grep", &[("pattern", "a"), ("invert", "true"), ("only_matching", "true")], "together"),
        ("sort", &[("key", "0")], "a number from 1"),
        ("sort", &[("record", "0")], "a number from 1"),
        ("top-k", &[("k", "0")], "a number from 1"),
        ("join", &[], "needs option `left`"),
        ("join", &[("left", "a"), ("kind", "cross")], "inner or left or right or outer"),
        ("k-means", &[], "needs option `k`"),
        ("k-means", &[("k", "2"), ("epsilon", "-1")], "a number from 0"),
        ("k-means", &[("centres", "1,2;3")], "cannot be clustered together"),
        ("k-means", &[("centres", "1;2"), ("k", "3")], "as many as centres"),
        ("distinct", &[("felt", "1")], "no option `felt`"),
    ] {
        let spec = with(bench.spec(job, &[&path]), options);
        let error = run(&spec).unwrap_err();
        assert!(matches!(error, JobError::BadSpec { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(!spec.output.exists());
    }
    let mut spec = with(bench.spec("grep", &[&path]), &[("pattern", "a")]);
    spec.reduces = Some(2);
    assert!(run(&spec).unwrap_err().to_string().contains("no reduce tasks"));
    assert_eq!(bench.names(), ["in"]);
}
