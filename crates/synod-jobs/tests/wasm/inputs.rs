//! Nasty inputs, through a module that gives everything back, beside a native job that does the same.

use crate::support::{Bench, parts, run, take_quarantine, zipf_text};
use crate::{ECHO, WORDCOUNT, set, wasm};
use std::io::Write;
use std::path::Path;
use synod_jobs::framing::pair_into;
use synod_jobs::{
    Emitter, Framing, Job, JobError, JobSpec, LongRecords, Progress, Record, Sink, Values,
    run_local,
};

/// What `guests/echo.wat` does.
struct Echo;

impl Job for Echo {
    const WRITES_PAIRS: bool = true;

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        out.emit(record.bytes, &[&record.offset.to_le_bytes(), record.key].concat());
    }

    fn reduce(&self, key: &[u8], values: &mut Values<'_, Self>, out: &mut Sink) {
        while let Some(value) = values.next() {
            out.bytes(key);
            out.bytes(value);
            out.end_bare_record();
        }
    }

    fn write_pair(&self, key: &[u8], value: &[u8], out: &mut Sink) {
        out.bytes(key);
        out.bytes(value);
        out.end_bare_record();
    }
}

/// Runs both and compares every byte; gives the number of records.
fn same(bench: &Bench, inputs: &[&Path], shape: &dyn Fn(&mut JobSpec)) -> u64 {
    let mut native = bench.spec("echo", inputs);
    shape(&mut native);
    let wanted = run_local(&native, &Echo, &Progress::new()).unwrap();
    let mut spec = wasm(bench, ECHO, inputs);
    set(&mut spec, "output", "bare");
    shape(&mut spec);
    let is = run(&spec).unwrap();
    assert!(parts(&spec.output) == parts(&native.output), "{inputs:?} {:?}", spec.format);
    let (is, wanted) = (is.manifest.counters, wanted.manifest.counters);
    assert_eq!(is.map_records_in, wanted.map_records_in);
    assert_eq!(is.long_records_skipped, wanted.long_records_skipped);
    assert_eq!(is.reduce_records_out, wanted.reduce_records_out);
    is.reduce_records_out
}

/// Texts that have broken readers before.
fn texts() -> Vec<Vec<u8>> {
    let utf16: Vec<u8> =
        "\u{feff}a\nb\u{20ac}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        b"".to_vec(),
        b"\n".to_vec(),
        b"\n\n\n\n".to_vec(),
        b"no end".to_vec(),
        b"a\n\nb\nc".to_vec(),
        b"crlf\r\nlone\rmixed\n\r\n\r\r\n\n".to_vec(),
        b"\xef\xbb\xbfbom\nnul\0nul\n\xff\xfe\xc0\x80\n".to_vec(),
        b"key\twith\ttabs\n\tempty key\nempty value\t\n".to_vec(),
        utf16,
    ]
}

#[test]
fn odd_texts_come_through_whole_for_every_split_size() {
    let bench = Bench::new();
    for (number, text) in texts().into_iter().enumerate() {
        let path = bench.file(&format!("in-{number}"), &text);
        for framing in [Framing::Line, Framing::AnyLine] {
            for split in 1..=text.len().max(1) as u64 {
                same(&bench, &[&path], &|spec| {
                    spec.format.framing = framing.clone();
                    spec.split_bytes = Some(split);
                });
            }
        }
    }
}

#[test]
fn records_at_the_edges_of_a_batch_come_through_once_each() {
    let bench = Bench::new();
    // A batch is 64 KiB, with 16 bytes before each record.
    let edge = (64 << 10) - 16;
    let mut text = Vec::new();
    for length in [edge - 1, edge, edge + 1, 0, edge / 2 - 8, edge / 2 - 8, edge / 2 - 7, 0, 0] {
        text.extend(std::iter::repeat_n(b'x', length));
        text.push(b'\n');
    }
    let path = bench.file("in", &text);
    assert_eq!(same(&bench, &[&path], &|_| {}), 9);
    let zipf = bench.file("zipf", &zipf_text(32, 500_000, 1_000));
    same(&bench, &[&zipf, &path], &|spec| spec.split_bytes = Some(99_991));
}

#[test]
fn every_framing_reaches_the_module_with_keys_and_offsets() {
    let bench = Bench::new();
    let delimited = bench.file("delimited", b"aa--b---c----d");
    let fixed = bench.file("fixed", &(0..=255).collect::<Vec<u8>>());
    let mut prefixed = Vec::new();
    let mut pairs = Vec::new();
    for (key, value) in [("", ""), ("tab\tin", "line\nfeed"), ("nul\0", ""), ("", "value")] {
        prefixed.extend_from_slice(&(value.len() as u32).to_be_bytes());
        prefixed.extend_from_slice(value.as_bytes());
        pair_into(&mut pairs, key.as_bytes(), value.as_bytes());
    }
    let long_key = vec![b'k'; 16 << 20];
    pair_into(&mut pairs, &long_key, b"beside it");
    pair_into(&mut pairs, b"beside it", &long_key);
    let (prefixed, pairs) = (bench.file("prefixed", &prefixed), bench.file("pairs", &pairs));
    for (framing, path, records) in [
        (Framing::Delimiter(b"--".to_vec()), &delimited, 5),
        (Framing::Fixed(16), &fixed, 16),
        (Framing::Prefixed, &prefixed, 4),
        (Framing::Pairs, &pairs, 6),
        (Framing::Whole, &fixed, 1),
    ] {
        for reduces in [0, 1, 3] {
            let written = same(&bench, &[path], &|spec| {
                spec.format.framing = framing.clone();
                spec.reduces = Some(reduces);
                set(spec, "memory_mb", "128");
            });
            assert_eq!(written, records, "{framing:?}");
        }
    }
}

#[test]
fn compressed_and_empty_files_are_read_as_everywhere() {
    let bench = Bench::new();
    let gz = |text: &[u8]| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(text).unwrap();
        packed.finish().unwrap()
    };
    let members = bench.file("members.gz", &[gz(b"one\ntw"), gz(b"o\nthree")].concat());
    let empty = bench.file("empty", b"");
    let nothing = bench.file("nothing.gz", b"");
    assert_eq!(same(&bench, &[&members, &empty, &nothing], &|_| {}), 3);
    assert_eq!(same(&bench, &[&empty], &|spec| spec.format.tasks_for_empty_files = true), 0);
}

#[test]
fn long_records_fail_are_skipped_or_cut_before_a_module_sees_them() {
    let bench = Bench::new();
    let text = [b"short\n".to_vec(), vec![b'x'; 300_000], b"\nshort again\n".to_vec()].concat();
    let path = bench.file("in", &text);
    for (long, records) in [(LongRecords::Skip, 2), (LongRecords::Truncate, 3)] {
        let written = same(&bench, &[&path], &|spec| {
            spec.max_record_bytes = Some(100_000);
            spec.format.long_records = long;
        });
        assert_eq!(written, records);
    }
}

#[test]
fn a_record_that_has_no_room_in_the_module_is_named_and_can_be_skipped() {
    let bench = Bench::new();
    let text = [b"short\n".to_vec(), vec![b'x'; 3 << 20], b"\nshort again\n".to_vec()].concat();
    let path = bench.file("in", &text);
    let mut spec = wasm(&bench, ECHO, &[&path]);
    set(&mut spec, "memory_mb", "2");
    let error = run(&spec).unwrap_err();
    assert!(matches!(error, JobError::Task { bad_record: Some(6), .. }), "{error}");
    assert!(error.to_string().contains("synod_buffer has no room for a batch of 31"), "{error}");
    spec.skip_bad_records = 1;
    let counters = run(&spec).unwrap().manifest.counters;
    assert_eq!((counters.bad_records_skipped, counters.reduce_records_out), (1, 2));
    let kept = take_quarantine(&spec.output);
    assert!(kept[".skipped-m-000000"][0][4] == "x".repeat(3 << 20));
}

#[test]
fn skewed_and_crafted_keys_give_what_the_native_job_gives() {
    let bench = Bench::new();
    let mut random = fastrand::Rng::with_seed(33);
    let prefix = "p".repeat(70);
    let late: Vec<u8> =
        (0..20_000).flat_map(|_| format!("{prefix}{}\n", random.u16(..)).into_bytes()).collect();
    let hot: Vec<u8> = (0..100_000)
        .flat_map(|n| if n % 100 == 0 { format!("rare{n}\n") } else { "hot\n".into() }.into_bytes())
        .collect();
    let sorted: Vec<u8> = (0..30_000).flat_map(|n| format!("{n:08}\n").into_bytes()).collect();
    let reverse: Vec<u8> =
        (0..30_000).rev().flat_map(|n| format!("{n:08}\n").into_bytes()).collect();
    let mixed: Vec<u8> = (0..60)
        .flat_map(|n| [vec![b'v'; if n % 7 == 0 { 500_000 } else { 0 }], b"\n".to_vec()].concat())
        .collect();
    for (name, text) in
        [("late", late), ("hot", hot), ("sorted", sorted), ("reverse", reverse), ("mixed", mixed)]
    {
        let path = bench.file(name, &text);
        same(&bench, &[&path], &|spec| {
            spec.reduces = Some(2);
            spec.split_bytes = Some(200_000);
            spec.memory_bytes = 8 << 20;
        });
        let native = bench.spec("wordcount", &[&path]);
        run(&native).unwrap();
        let spec = wasm(&bench, WORDCOUNT, &[&path]);
        run(&spec).unwrap();
        assert!(parts(&spec.output) == parts(&native.output), "{name}");
    }
}
