//! Inputs that break naive readers, through whole jobs; outputs that cannot be made.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{
    Bench, joined, leave_out, naive_word_count, parts, run, run_again, sorted_lines, zipf_text,
};
use synod_jobs::plan::Split;
use synod_jobs::reader::{CHUNK_BYTES, SplitReader};
use synod_jobs::{InputFormat, JobError, JobSpec, Progress, Stores};

/// The lines that all splits of a size read, each with its offset.
fn read_in_splits(path: &Path, split_bytes: u64) -> Vec<(u64, Vec<u8>)> {
    let (stores, format) = (Stores::local(), InputFormat::default());
    let input = stores.expand(&[path.to_owned()], &format, &Progress::new()).unwrap().remove(0);
    let store = stores.of(path).unwrap();
    let mut lines = Vec::new();
    let mut start = 0;
    while start < input.bytes {
        let split = Split { input: 0, start, end: (start + split_bytes).min(input.bytes) };
        let bounds = (split.start, split.end);
        let mut reader = SplitReader::open(store, &input, &format, bounds, 1 << 30).unwrap();
        while let Some(block) = reader.next_block().unwrap() {
            let mut offset = block.offset;
            for line in reader.bytes().split_inclusive(|&byte| byte == b'\n') {
                assert!(
                    (split.start..split.end).contains(&offset),
                    "a line is read where it starts"
                );
                lines.push((offset, line.to_vec()));
                offset += line.len() as u64;
            }
        }
        start = split.end;
    }
    lines
}

fn naive_lines(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut offset = 0;
    bytes
        .split_inclusive(|&byte| byte == b'\n')
        .map(|line| {
            offset += line.len() as u64;
            (offset - line.len() as u64, line.to_vec())
        })
        .collect()
}

#[test]
fn every_line_is_read_exactly_once_for_every_split_size() {
    let bench = Bench::new();
    for (index, text) in [
        &b"one\ntwo\n\nthree four\r\n\0\xff\xfe\n\n\nlast without end"[..],
        b"\n",
        b"\n\n\n\n",
        b"no line feed at all",
        b"a\n",
        b"a\nbb\nccc\ndddd\neeeee\nffffff\n",
        b"\xef\xbb\xbfbom\r\rlone\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let path = bench.file(&format!("in-{index}"), text);
        for split_bytes in 1..=text.len() as u64 + 1 {
            assert_eq!(read_in_splits(&path, split_bytes), naive_lines(text), "{split_bytes}");
        }
    }
}

#[test]
fn lines_that_end_at_around_and_far_behind_a_read_are_whole() {
    let bench = Bench::new();
    let mut text = Vec::new();
    for (index, length) in [-2, -1, 0, 1, 2, 700_000, 5, -1].into_iter().enumerate() {
        let length = (CHUNK_BYTES as i64 + length) as usize;
        text.extend(std::iter::repeat_n(b'a' + index as u8, length - 1));
        text.push(b'\n');
    }
    text.extend_from_slice(b"end");
    let path = bench.file("in", &text);
    let chunk = CHUNK_BYTES as u64;
    for split_bytes in [chunk / 3, chunk - 1, chunk, chunk + 1, 3 * chunk, u64::MAX / 2] {
        assert!(read_in_splits(&path, split_bytes) == naive_lines(&text), "{split_bytes}");
    }
}

#[test]
fn a_word_count_is_the_naive_one_for_every_split_size() {
    let bench = Bench::new();
    let text = b"b a b\n\n  a\x0bc\tb\r\n\xff\xfe a \0 b\nlast";
    let path = bench.file("in", text);
    for split_bytes in 1..=text.len() as u64 {
        let mut spec = bench.spec("wordcount", &[&path]);
        spec.split_bytes = Some(split_bytes);
        run(&spec).unwrap();
        assert_eq!(sorted_lines(&joined(&spec.output)), naive_word_count(text));
    }
}

#[test]
fn sorted_lines_are_those_of_the_input_for_every_split_size() {
    let bench = Bench::new();
    let text = b"pear\napple\n\nfig\r\napple\n\xff\n\0\nlast without end";
    let path = bench.file("in", text);
    let mut expected: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    expected.sort();
    let expected = [expected.join(&b'\n'), b"\n".to_vec()].concat();
    for split_bytes in 1..=text.len() as u64 {
        for reduces in [1, 3, 20] {
            let mut spec = bench.spec("sort", &[&path]);
            spec.split_bytes = Some(split_bytes);
            spec.reduces = Some(reduces);
            run(&spec).unwrap();
            assert_eq!(joined(&spec.output), expected);
        }
    }
}

#[test]
fn empty_files_are_fine_and_no_records_give_empty_parts() {
    let bench = Bench::new();
    let empty = bench.file("empty", b"");
    let blank = bench.file("blank", b" \n\n\t\n");
    for inputs in [vec![&*empty], vec![&empty, &empty], vec![&blank]] {
        let mut spec = bench.spec("wordcount", &inputs);
        spec.reduces = Some(3);
        let summary = run(&spec).unwrap();
        assert_eq!(summary.manifest.parts.len(), 3);
        assert!(parts(&spec.output).iter().all(|(_, bytes)| bytes.is_empty()));
    }
    let word = bench.file("word", b"word");
    let spec = bench.spec("wordcount", &[&empty, &word, &empty]);
    run(&spec).unwrap();
    assert_eq!(joined(&spec.output), b"word\t1\n");
}

#[test]
fn a_compressed_file_of_no_bytes_has_no_records_and_is_warned_of() {
    let bench = Bench::new();
    let word = bench.file("word", b"word");
    let packed = ["a.gz", "b.zst", "c.bz2"].map(|name| bench.file(name, b""));
    let warnings = |spec: &JobSpec| {
        let user = run(spec).unwrap().manifest.counters.user;
        user.get("Warnings,compressed inputs of 0 bytes").copied().unwrap_or(0)
    };
    let mut spec = bench.spec("wordcount", &[&packed[0], &word, &packed[1], &packed[2]]);
    assert_eq!(warnings(&spec), 3);
    assert_eq!(joined(&spec.output), b"word\t1\n");
    spec = bench.spec("wordcount", &[&packed[0]]);
    spec.format.lines_per_split = Some(1);
    assert_eq!(warnings(&spec), 1);
    assert_eq!(joined(&spec.output), b"");
    // Read as it is, or under another name, there is nothing to say.
    spec = bench.spec("wordcount", &[&packed[0]]);
    spec.format.keep_compressed = true;
    assert_eq!(warnings(&spec), 0);
    assert_eq!(warnings(&bench.spec("wordcount", &[&bench.file("empty", b""), &word])), 0);
}

#[test]
fn a_line_of_a_hundred_megabytes_is_counted_and_sorted() {
    let bench = Bench::new();
    let mut text = b"short\n".to_vec();
    text.extend(std::iter::repeat_n(b'x', 100 << 20));
    text.extend_from_slice(b"\nshort\n");
    let path = bench.file("in", &text);
    let spec = bench.spec("wordcount", &[&path]);
    run(&spec).unwrap();
    let output = joined(&spec.output);
    assert_eq!(output.len(), (100 << 20) + "\t1\nshort\t2\n".len());
    let spec = bench.spec("sort", &[&path]);
    run(&spec).unwrap();
    let output = joined(&spec.output);
    assert!(output.len() == text.len() && output.starts_with(b"short\nshort\nxxx"));
}

#[test]
fn a_record_over_the_limit_fails_with_its_file_and_offset_wherever_reads_end() {
    let bench = Bench::new();
    for (before, length) in [(0, 101), (5, 101), (CHUNK_BYTES - 50, 101), (7, 3 * CHUNK_BYTES)] {
        let mut text = b"ok\n".repeat(before / 3);
        let offset = text.len() as u64;
        text.extend(std::iter::repeat_n(b'x', length));
        text.extend_from_slice(b"\nok\n");
        let path = bench.file("in", &text);
        let mut spec = bench.spec("wordcount", &[&path]);
        spec.max_record_bytes = Some(100);
        match run(&spec) {
            Err(JobError::RecordTooLong { path: named, offset: at, limit_bytes: 100 }) => {
                assert_eq!((named, at), (path.clone(), offset));
            }
            other => panic!("{other:?}"),
        }
        assert!(!spec.output.exists());
        spec.max_record_bytes = Some(length as u64);
        run(&spec).unwrap();
    }
}

#[test]
fn missing_folder_and_unreadable_inputs_are_named_before_anything_is_created() {
    let bench = Bench::new();
    let folder = bench.path("folder");
    fs::create_dir(&folder).unwrap();
    let good = bench.file("good", b"x");
    let missing = bench.path("missing");
    let before = bench.names();
    let refused = |input: &Path| run(&bench.spec("wordcount", &[&good, input])).unwrap_err();
    let error = refused(&missing);
    assert!(matches!(&error, JobError::InputMissing { path } if *path == missing), "{error}");
    let inner = folder.join("inner");
    fs::create_dir(&inner).unwrap();
    let error = refused(&folder);
    assert!(matches!(&error, JobError::InputIsFolder { path } if *path == inner), "{error}");
    let error = refused(Path::new("/dev/null"));
    assert!(matches!(&error, JobError::InputNotRegular { .. }), "{error}");
    let error = refused(&folder.join("*.log"));
    assert!(matches!(&error, JobError::NothingMatches { .. }), "{error}");
    // A path through a file cannot be read by anybody, root included.
    let error = refused(&good.join("below"));
    assert!(matches!(&error, JobError::InputUnreadable { .. }), "{error}");
    assert_eq!(bench.names(), before);
}

/// A folder that may not be entered, though perhaps listed, is an error of every pattern that leads into it.
fn no_folder_is_left_out_for_want_of_a_right(bench: &Bench) {
    let logs = bench.path("logs");
    for name in ["a", "b"] {
        fs::create_dir_all(logs.join(name).join("deep")).unwrap();
        fs::write(logs.join(name).join("deep/x.log"), "x").unwrap();
    }
    for mode in [0o000, 0o444] {
        fs::set_permissions(logs.join("b"), fs::Permissions::from_mode(mode)).unwrap();
        for pattern in ["*/deep/*.log", "*/deep/x.log", "*/*/x.log", "**/x.log", "*/deep/"] {
            let result = run(&bench.spec("wordcount", &[&logs.join(pattern)]));
            let is_said = matches!(&result, Err(JobError::InputUnreadable { .. }));
            assert!(is_said, "{mode:o} {pattern}: {result:?}");
        }
    }
    fs::set_permissions(logs.join("b"), fs::Permissions::from_mode(0o755)).unwrap();
    run(&bench.spec("wordcount", &[&logs.join("*/deep/")])).unwrap();
}

/// Root passes over permissions: it runs this once more without the capabilities for that.
#[test]
fn a_file_without_read_permission_is_unreadable() {
    let bench = Bench::new();
    let path = bench.file("secret", b"x");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&path).is_err() {
        let result = run(&bench.spec("wordcount", &[&path]));
        assert!(matches!(result, Err(JobError::InputUnreadable { .. })), "{result:?}");
        no_folder_is_left_out_for_want_of_a_right(&bench);
        return;
    }
    let bound = "--bounding-set=-dac_override,-dac_read_search";
    let tried = Command::new("setpriv").args([bound, "cat"]).arg(&path).output();
    match tried {
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("cat: ") => {
            let test = "a_file_without_read_permission_is_unreadable";
            run_again(Command::new("setpriv").arg(bound), test);
        }
        refused => leave_out(
            &format!("what may not be read: root may read all, and setpriv says {refused:?}"),
            "SYNOD_TEST_REQUIRE_SETPRIV",
        ),
    }
}

#[test]
fn a_pattern_takes_the_files_that_fit_in_order_and_leaves_hidden_ones() {
    let bench = Bench::new();
    let folder = bench.path("logs");
    fs::create_dir_all(folder.join("deeper.log")).unwrap();
    for (name, text) in [("b.log", "b"), ("a.log", "a"), (".h.log", "x"), ("_t.log", "x")] {
        fs::write(folder.join(name), text).unwrap();
    }
    fs::write(folder.join("with space\nand # in it.log"), "c").unwrap();
    let spec = bench.spec("sort", &[&folder.join("*.log")]);
    run(&spec).unwrap();
    assert_eq!(joined(&spec.output), b"a\nb\nc\n");
}

#[test]
fn a_big_text_is_counted_as_naively() {
    let bench = Bench::new();
    let text = zipf_text(11, 3 << 20, 20_000);
    let path = bench.file("in", &text);
    let mut spec = bench.spec("wordcount", &[&path]);
    spec.reduces = Some(5);
    spec.split_bytes = Some(300_001);
    let summary = run(&spec).unwrap();
    assert_eq!(sorted_lines(&joined(&spec.output)), naive_word_count(&text));
    let counters = &summary.manifest.counters;
    assert_eq!(counters.map_bytes_in, text.len() as u64);
    assert_eq!(counters.map_records_in, naive_lines(&text).len() as u64);
    let words = text.split(|b| b.is_ascii_whitespace()).filter(|word| !word.is_empty()).count();
    assert_eq!(counters.map_pairs_out, words as u64);
    for (_, part) in parts(&spec.output) {
        let words = part
            .split_inclusive(|&byte| byte == b'\n')
            .map(|line| line.split(|&byte| byte == b'\t').next().unwrap());
        assert!(words.is_sorted(), "words ascend within a part");
    }
}

/// Root passes over permissions: it runs this once more without the capabilities for that.
#[test]
fn an_output_is_made_with_the_folders_above_it_or_what_is_in_the_way_is_said() {
    let bench = Bench::new();
    let path = bench.file("in", b"a\n");
    let to = |job: &str, output: PathBuf| JobSpec { output, ..bench.spec(job, &[&path]) };
    for job in ["wordcount", "top-k"] {
        run(&to(job, bench.path(&format!("{job}/new/folder")))).unwrap();
        for below in ["in/out", "in/deeper/out"] {
            let refused = run(&to(job, bench.path(below))).unwrap_err().to_string();
            let names = refused.contains(&format!("{below} cannot be made: "));
            assert!(names && refused.contains("; choose a place below"), "{refused}");
        }
    }
    let locked = bench.path("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    let is_root = fs::create_dir(locked.join("probe")).is_ok();
    if is_root {
        let bound = "--bounding-set=-dac_override,-dac_read_search";
        match Command::new("setpriv").args([bound, "mkdir"]).arg(locked.join("other")).output() {
            Ok(tried) if !tried.status.success() && !locked.join("other").exists() => {
                let test =
                    "an_output_is_made_with_the_folders_above_it_or_what_is_in_the_way_is_said";
                run_again(Command::new("setpriv").arg(bound), test);
            }
            refused => leave_out(
                &format!("where nobody may write: root may, and setpriv says {refused:?}"),
                "SYNOD_TEST_REQUIRE_SETPRIV",
            ),
        }
        return;
    }
    for (job, below) in [("wordcount", "out"), ("wordcount", "deeper/out"), ("top-k", "out")] {
        let refused = run(&to(job, locked.join(below))).unwrap_err().to_string();
        assert!(refused.contains("Permission denied") && refused.contains("; choose"), "{refused}");
    }
}
