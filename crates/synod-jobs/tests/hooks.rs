//! Jobs that decide themselves where a key goes, which keys are one group, and what runs on which thread.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread::ThreadId;
use std::time::Duration;
use support::{Bench, joined, parts};
use synod_jobs::{
    Emitter, Job, JobError, JobSpec, LocalOptions, NoLog, PairSink, Progress, Record, ReduceInput,
    Sink, Stores, TaskContext, Values, run_local, run_local_with,
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
fn chosen_maps_and_all_reduces_run_on_the_calling_thread_one_after_the_other() {
    let bench = Bench::new();
    let path = bench.file("in", b"0\n1\n2\n3\n4\n");
    let run = |only: &BTreeSet<u32>| {
        let mut spec = bench.spec("where", &[Path::new(&path)]);
        (spec.slots, spec.split_bytes, spec.reduces) = (Some(4), Some(2), Some(1));
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

#[test]
fn a_chosen_map_has_the_split_that_it_has_in_the_whole_job() {
    let bench = Bench::new();
    // Four splits for each of two slots. One slot would have four larger ones.
    let lines: Vec<String> = (0..8 << 10).map(|number| format!("{number:01023}\n")).collect();
    let path = bench.file("in", lines.concat().as_bytes());
    let mut spec = bench.spec("where", &[Path::new(&path)]);
    (spec.slots, spec.reduces) = (Some(2), Some(1));
    let job = Where::default();
    let only = [7].into();
    let options = LocalOptions { stores: &Stores::local(), log: &NoLog, only_maps: Some(&only) };
    run_local_with(&spec, &job, &Progress::new(), &options).unwrap();
    let noted = job.0.into_inner().unwrap();
    let mapped: Vec<_> = noted.iter().filter(|(_, what)| what.len() == 1023).collect();
    assert_eq!(mapped.len(), 1 << 10);
    assert!(mapped[0].1.ends_with(b"7168"));
}

/// Panics on the word `bad`, but not in its map function.
struct Fragile<const COMBINES: bool>(In);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum In {
    Partition,
    Group,
    CombineRun,
}

impl<const COMBINES: bool> Fragile<COMBINES> {
    fn look(&self, place: In, key: &[u8]) {
        assert!(place != self.0 || key != b"bad", "no place for this key");
    }
}

impl<const COMBINES: bool> Job for Fragile<COMBINES> {
    const COMBINED_VALUE_BYTES: Option<usize> = if COMBINES { Some(0) } else { None };
    const COMBINES_RUNS: bool = !COMBINES;

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        out.emit(record.bytes, b"");
    }

    fn group<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        self.look(In::Group, key);
        key
    }

    fn partition(&self, key: &[u8], partitions: u32) -> u32 {
        self.look(In::Partition, key);
        self.group(key).len() as u32 % partitions
    }

    fn combine_run(
        &self,
        _: &TaskContext<'_>,
        input: &mut ReduceInput<'_, Self>,
        out: &mut PairSink<'_>,
    ) -> Result<(), JobError> {
        while let Some((key, value)) = input.next_pair()? {
            self.look(In::CombineRun, key);
            out.push(key, value)?;
        }
        Ok(())
    }

    fn reduce(&self, _: &[u8], _: &mut Values<'_, Self>, _: &mut Sink) {}
}

/// Runs a job on a thread of its own: one that hangs fails the test all the same.
fn error_of<J: Job + 'static>(job: J, spec: &JobSpec) -> JobError {
    let (tell, told) = channel();
    let spec = spec.clone();
    std::thread::spawn(move || {
        let ran = run_local(&spec, &job, &Progress::new());
        // A test that has failed hears nothing any more.
        drop(tell.send(ran.map(drop)));
    });
    let ended = told.recv_timeout(Duration::from_secs(60));
    ended.expect("the job comes to an end").unwrap_err()
}

#[test]
fn a_panic_between_map_and_reduce_fails_the_job_stops_no_other_thread_and_blames_no_record() {
    let bench = Bench::new();
    // More than the smallest buffer holds: it is full, and sorted, in the middle of a split.
    let many: String = (0..20_000).map(|number| format!("word-{number}\n")).collect();
    let inputs = [("a\nbad\nb\nc\n".to_owned(), 2), (format!("bad\n{many}"), 1 << 20)];
    for (number, (text, split)) in inputs.into_iter().enumerate() {
        let path = bench.file(&format!("in-{number}"), text.as_bytes());
        for (place, combines) in [(In::Partition, true), (In::Group, true), (In::CombineRun, false)]
        {
            let mut spec = bench.spec("fragile", &[&path]);
            (spec.reduces, spec.split_bytes, spec.slots) = (Some(2), Some(split), Some(3));
            (spec.memory_bytes, spec.max_record_bytes) = (1, Some(1 << 10));
            // Not a matter of bad records, however many may be left out.
            spec.skip_bad_records = 100;
            let error = match combines {
                true => error_of(Fragile::<true>(place), &spec),
                false => error_of(Fragile::<false>(place), &spec),
            };
            let said = error.to_string();
            assert!(matches!(error, JobError::Task { bad_record: None, .. }), "{place:?}: {said}");
            assert!(said.contains("on no one record: no place for this key"), "{place:?}: {said}");
            assert!(!spec.output.exists());
        }
    }
}
