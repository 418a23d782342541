//! Jobs that decide themselves where a key goes, which keys are one group, and what runs on which thread.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::thread::ThreadId;
use support::{Bench, joined, parts};
use synod_jobs::{
    Emitter, Job, LocalOptions, NoLog, Progress, Record, Sink, Stores, Values, run_local,
    run_local_with,
};

/// Lines `station#time#value`: for each station its values in the order of time.
struct Stations;

impl Job for Stations {
    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        let end = record.bytes.iter().rposition(|&byte| byte == b'#').unwrap();
        out.emit(&record.bytes[..end], &record.bytes[end + 1..]);
    }

    fn group<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        &key[..=key.iter().position(|&byte| byte == b'#').unwrap()]
    }

    fn reduce(&self, key: &[u8], values: &mut Values<'_, Self>, out: &mut Sink) {
        out.bytes(key);
        while let Some((key, value)) = values.next_pair() {
            assert!(key.contains(&b'#'), "the whole key");
            out.bytes(value);
        }
        out.end_record();
    }
}

#[test]
fn a_group_is_a_prefix_of_keys_and_its_values_come_in_the_order_of_whole_keys() {
    let bench = Bench::new();
    let mut lines: Vec<String> = (0..5_000)
        .map(|n| format!("s{}#{:04}#{}\n", n % 7, n / 7, (b'a' + (n / 7 % 26) as u8) as char))
        .collect();
    let expected: Vec<Vec<u8>> = (0..7)
        .map(|station| {
            let count = (5_000 - station + 6) / 7;
            let values = (0..count).map(|n| b'a' + (n % 26) as u8);
            [format!("s{station}#").into_bytes(), values.collect(), b"\n".to_vec()].concat()
        })
        .collect();
    fastrand::Rng::with_seed(7).shuffle(&mut lines);
    let path = bench.file("in", lines.concat().as_bytes());
    for (reduces, memory, split) in [(1, 1 << 30, 1 << 20), (3, 1 << 30, 10_000), (4, 1, 5_000)] {
        let mut spec = bench.spec("stations", &[&path]);
        (spec.reduces, spec.split_bytes) = (Some(reduces), Some(split));
        (spec.memory_bytes, spec.max_record_bytes) = (memory, Some(1 << 10));
        let counters = run_local(&spec, &Stations, &Progress::new()).unwrap().manifest.counters;
        assert_eq!(counters.runs_written > 0, memory == 1);
        assert_eq!((counters.reduce_groups_in, counters.reduce_pairs_in), (7, 5_000));
        let mut found: Vec<Vec<u8>> =
            joined(&spec.output).split_inclusive(|&byte| byte == b'\n').map(Vec::from).collect();
        found.sort();
        assert!(found == expected, "{reduces} {memory} {split}");
    }
}

/// Words by their length: all those of a length are in one part.
struct ByLength<const COMBINES: bool>;

impl<const COMBINES: bool> Job for ByLength<COMBINES> {
    const COMBINED_VALUE_BYTES: Option<usize> = if COMBINES { Some(0) } else { None };

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        out.emit(record.bytes, b"");
    }

    fn partition(&self, key: &[u8], partitions: u32) -> u32 {
        key.len() as u32 % partitions
    }

    fn reduce(&self, key: &[u8], _: &mut Values<'_, Self>, out: &mut Sink) {
        out.bytes(key);
        out.end_record();
    }
}

#[test]
fn a_job_that_says_where_keys_go_finds_them_there_sorted_with_and_without_a_combiner() {
    let bench = Bench::new();
    let mut random = fastrand::Rng::with_seed(8);
    let words: BTreeSet<String> = (0..3_000)
        .map(|_| (0..random.usize(0..20)).map(|_| random.lowercase()).collect())
        .collect();
    let path = bench
        .file("in", words.iter().map(|word| format!("{word}\n")).collect::<String>().as_bytes());
    for (reduces, memory) in [(1, 1 << 30), (5, 1 << 30), (5, 1)] {
        let part = |number: u32| -> Vec<u8> {
            let mine = words.iter().filter(|word| word.len() as u32 % reduces == number);
            mine.flat_map(|word| format!("{word}\n").into_bytes()).collect()
        };
        for combines in [false, true] {
            let mut spec = bench.spec("by-length", &[&path]);
            (spec.reduces, spec.split_bytes) = (Some(reduces), Some(4_000));
            (spec.memory_bytes, spec.max_record_bytes) = (memory, Some(1 << 10));
            match combines {
                true => run_local(&spec, &ByLength::<true>, &Progress::new()).unwrap(),
                false => run_local(&spec, &ByLength::<false>, &Progress::new()).unwrap(),
            };
            for (number, (name, content)) in parts(&spec.output).into_iter().enumerate() {
                assert!(content == part(number as u32), "{name} of {reduces}, {combines}");
            }
        }
    }
}

/// Notes which thread maps what, and reduces.
#[derive(Default)]
struct Where(Mutex<Vec<(ThreadId, Vec<u8>)>>);

impl Job for Where {
    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        self.0.lock().unwrap().push((std::thread::current().id(), record.bytes.to_vec()));
        out.emit(record.bytes, b"");
    }

    fn reduce(&self, key: &[u8], _: &mut Values<'_, Self>, _: &mut Sink) {
        self.0.lock().unwrap().push((std::thread::current().id(), [b"reduce ", key].concat()));
    }
}

#[test]
fn with_one_slot_chosen_maps_and_all_reduces_run_on_the_calling_thread_one_after_the_other() {
    let bench = Bench::new();
    let path = bench.file("in", b"0\n1\n2\n3\n4\n");
    let run = |only: &BTreeSet<u32>| {
        let mut spec = bench.spec("where", &[Path::new(&path)]);
        (spec.slots, spec.split_bytes, spec.reduces) = (Some(1), Some(2), Some(1));
        let job = Where::default();
        let options = LocalOptions { stores: &Stores::local(), log: &NoLog, only_maps: Some(only) };
        run_local_with(&spec, &job, &Progress::new(), &options).unwrap();
        job.0.into_inner().unwrap()
    };
    let said = |noted: &[(ThreadId, Vec<u8>)]| -> Vec<String> {
        noted.iter().map(|(_, what)| String::from_utf8(what.clone()).unwrap()).collect()
    };
    let noted = run(&[4, 1, 3].into());
    assert_eq!(said(&noted), ["1", "3", "4", "reduce 1", "reduce 3", "reduce 4"]);
    let here = std::thread::current().id();
    assert!(noted.iter().all(|(thread, _)| *thread == here));
}
