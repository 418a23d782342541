//! Memory, threads, spills, failures: none of them may show in the output.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use support::{Bench, joined, parts, run, take_quarantine, zipf_text};
use synod_jobs::commit::OutputFolder;
use synod_jobs::{
    Emitter, Job, JobError, Phase, Progress, Record, Sink, Values, run_built_in, run_local,
};

#[test]
fn outputs_are_the_same_for_all_memories_threads_splits_and_table_seeds() {
    let bench = Bench::new();
    let path = bench.file("in", &zipf_text(5, 2 << 20, 30_000));
    for job in ["wordcount", "sort"] {
        let mut expected = None;
        for (memory, slots, split, seed) in [
            (1 << 30, 1, 64 << 20, 0),
            (1 << 30, 2, 100_000, 1),
            (1 << 30, 3, 777_777, 2),
            (256 << 10, 1, 64 << 20, 3),
            (256 << 10, 2, 300_000, 4),
            (1, 3, 50_000, 5),
        ] {
            let mut spec = bench.spec(job, &[&path]);
            spec.memory_bytes = memory;
            spec.max_record_bytes = Some(1 << 20);
            spec.slots = Some(slots);
            spec.split_bytes = Some(split);
            spec.table_seed = seed;
            spec.reduces = Some(4);
            let summary = run(&spec).unwrap();
            let spilled = summary.manifest.counters.runs_written > 0;
            assert_eq!(spilled, memory < 1 << 20, "a small budget spills, a large one does not");
            let parts = parts(&spec.output);
            assert_eq!(*expected.get_or_insert_with(|| parts.clone()), parts, "{job} {memory}");
        }
    }
}

#[test]
fn more_runs_than_one_merge_takes_are_merged_in_passes() {
    let bench = Bench::new();
    let path = bench.file("in", &zipf_text(6, 3 << 20, 100_000));
    let large = bench.spec("sort", &[&path]);
    run(&large).unwrap();
    let mut small = bench.spec("sort", &[&path]);
    small.memory_bytes = 1;
    small.max_record_bytes = Some(1 << 20);
    small.split_bytes = Some(20_000);
    let summary = run(&small).unwrap();
    assert!(summary.manifest.counters.runs_written > 8 * 8, "three passes are needed");
    assert_eq!(joined(&small.output), joined(&large.output));
}

#[test]
fn sorting_is_total_over_the_parts_and_keeps_every_line() {
    let bench = Bench::new();
    let mut random = fastrand::Rng::with_seed(9);
    let mut lines: Vec<Vec<u8>> = (0..40_000)
        .map(|_| {
            let indent = vec![b' '; random.usize(..20)];
            let text = (0..random.usize(..12)).map(|_| random.u8(b'\x0b'..)).collect();
            [indent, text].concat()
        })
        .collect();
    let path = bench.file("in", &lines.join(&b'\n'));
    lines.sort();
    let expected = [lines.join(&b'\n'), b"\n".to_vec()].concat();
    for reduces in [1, 2, 7] {
        let mut spec = bench.spec("sort", &[&path]);
        spec.reduces = Some(reduces);
        run(&spec).unwrap();
        let parts = parts(&spec.output);
        let newlines = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == b'\n').count();
        let records: Vec<usize> = parts.iter().map(|(_, bytes)| newlines(bytes)).collect();
        // No key is more than one in two hundred.
        let fair = lines.len() / reduces as usize;
        let is_fair = |count: &usize| count.abs_diff(fair) <= fair / 10;
        assert!(records.iter().all(is_fair), "{records:?}");
        assert!(joined(&spec.output) == expected);
    }
}

#[test]
fn one_key_for_everything_and_already_sorted_lines_are_no_special_case() {
    let bench = Bench::new();
    let same = b"the same line\n".repeat(50_000);
    let path = bench.file("same", &same);
    let mut spec = bench.spec("sort", &[&path]);
    spec.reduces = Some(5);
    run(&spec).unwrap();
    assert!(joined(&spec.output) == same);
    let mut spec = bench.spec("wordcount", &[&path]);
    spec.reduces = Some(5);
    run(&spec).unwrap();
    assert_eq!(joined(&spec.output).len(), "line\t50000\nsame\t50000\nthe\t50000\n".len());
    let ascending: String = (0..50_000).map(|number| format!("{number:09}\n")).collect();
    let descending: String = (0..50_000).rev().map(|number| format!("{number:09}\n")).collect();
    for text in [&ascending, &descending] {
        let path = bench.file("ordered", text.as_bytes());
        let mut spec = bench.spec("sort", &[&path]);
        spec.reduces = Some(3);
        run(&spec).unwrap();
        assert!(joined(&spec.output) == ascending.as_bytes());
    }
}

#[test]
fn a_combiner_that_does_not_reduce_is_bypassed_and_another_is_not_and_neither_shows_in_the_output()
{
    let bench = Bench::new();
    let word = |number: u32| format!("word-number-{number} ");
    let different: String = (0..200_000).map(word).collect();
    let repeated: String = (0..200_000).map(|number| word(number / 4)).collect();
    // What would have been combined shows that the table was given up, or kept; both by the first half alone.
    for (first, left) in [(different, 400_000), (repeated, 50_000)] {
        let text = first + &"word-number-7 ".repeat(200_000);
        let path = bench.file("in", text.as_bytes());
        let mut spec = bench.spec("wordcount", &[&path]);
        (spec.slots, spec.split_bytes) = (Some(1), Some(64 << 20));
        let counters = run(&spec).unwrap().manifest.counters;
        assert_eq!((counters.map_pairs_out, counters.combined_pairs_out), (400_000, left));
        let lines = support::sorted_lines(&joined(&spec.output));
        assert_eq!(lines, support::naive_word_count(text.as_bytes()));
    }
}

#[test]
fn an_output_that_exists_is_refused_and_left_alone() {
    let bench = Bench::new();
    let path = bench.file("in", b"a b");
    let spec = bench.spec("wordcount", &[&path]);
    fs::create_dir(&spec.output).unwrap();
    fs::write(spec.output.join("precious"), "x").unwrap();
    let error = run(&spec).unwrap_err();
    assert!(matches!(&error, JobError::OutputExists { path } if *path == spec.output), "{error}");
    assert_eq!(fs::read(spec.output.join("precious")).unwrap(), b"x");
    assert_eq!(fs::read_dir(&spec.output).unwrap().count(), 1);
}

#[test]
fn the_manifest_in_success_describes_the_parts() {
    let bench = Bench::new();
    let path = bench.file("in", b"b a b");
    let mut spec = bench.spec("wordcount", &[&path]);
    spec.sync_output = true;
    let progress = Progress::new();
    let summary = run_built_in(&spec, &progress).unwrap();
    let text = fs::read_to_string(spec.output.join("_SUCCESS")).unwrap();
    let manifest: synod_jobs::commit::Manifest = serde_json::from_str(&text).unwrap();
    assert_eq!(manifest, summary.manifest);
    let part = &manifest.parts[0];
    let bytes = fs::read(spec.output.join(&part.name)).unwrap();
    assert_eq!(bytes, b"a\t1\nb\t2\n");
    assert_eq!((part.bytes, part.records), (8, 2));
    assert_eq!(part.crc32c, crc32c::crc32c(&bytes));
    let snapshot = progress.snapshot();
    assert_eq!(snapshot.phase, Phase::Done);
    assert_eq!((snapshot.bytes_read, snapshot.bytes_written), (5, 8));
    assert_eq!((snapshot.maps_done, snapshot.reduces_done), (1, 1));
}

/// Counts lines by their first byte and panics where the test wants it to.
struct Fragile {
    /// Map calls that panic: a line with this text, that many times.
    map_panics: AtomicU64,
    reduce_panics: AtomicU64,
}

impl Fragile {
    fn new(map_panics: u64, reduce_panics: u64) -> Fragile {
        Fragile { map_panics: map_panics.into(), reduce_panics: reduce_panics.into() }
    }
}

fn once_less(counter: &AtomicU64) -> bool {
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
}

impl Job for Fragile {
    const COMBINED_VALUE_BYTES: Option<usize> = Some(8);

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        out.count("lines", 1);
        out.emit(&record.bytes[..1.min(record.bytes.len())], &1_u64.to_le_bytes());
        if record.bytes == b"bad" && once_less(&self.map_panics) {
            panic!("cannot take `bad`");
        }
    }

    fn combine(&self, total: &mut [u8], value: &[u8]) {
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        let sum = number(total) + number(value);
        total.copy_from_slice(&sum.to_le_bytes());
    }

    fn reduce(&self, key: &[u8], values: &mut Values<'_, Self>, out: &mut Sink) {
        if key == b"b" && once_less(&self.reduce_panics) {
            panic!("cannot reduce `b`");
        }
        let mut sum = 0;
        while let Some(value) = values.next() {
            sum += u64::from_le_bytes(value.try_into().unwrap());
        }
        out.bytes(key);
        out.decimal(sum);
        out.end_record();
    }
}

const FRAGILE_TEXT: &[u8] = b"a\nbx\nc\nbad\na\nc\n";

#[test]
fn a_map_function_that_always_panics_on_a_record_fails_the_job_with_its_position() {
    let bench = Bench::new();
    let path = bench.file("in", FRAGILE_TEXT);
    let before = bench.names();
    for split in [1, 4, 100] {
        let mut spec = bench.spec("fragile", &[&path]);
        spec.split_bytes = Some(split);
        let error = run_local(&spec, &Fragile::new(u64::MAX, 0), &Progress::new()).unwrap_err();
        let text = error.to_string();
        match error {
            JobError::MapPanicked { path: named, offset: 7, message, .. } => {
                assert_eq!((named, &*message), (path.clone(), "cannot take `bad`"));
            }
            other => panic!("{other}"),
        }
        assert!(text.contains(path.to_str().unwrap()) && text.contains("offset 7"), "{text}");
        assert_eq!(bench.names(), before, "no output and no temporary file is left");
    }
}

#[test]
fn a_panic_that_does_not_repeat_leaves_no_trace_in_output_or_counters() {
    let bench = Bench::new();
    let path = bench.file("in", FRAGILE_TEXT);
    for split in [1, 4, 100] {
        for job in [Fragile::new(0, 0), Fragile::new(1, 0), Fragile::new(0, 1)] {
            let mut spec = bench.spec("fragile", &[&path]);
            spec.split_bytes = Some(split);
            let progress = Progress::new();
            let summary = run_local(&spec, &job, &progress).unwrap();
            assert_eq!(joined(&spec.output), b"a2\nb2\nc2\n");
            assert_eq!(summary.manifest.counters.user["lines"], 6);
            assert_eq!(progress.snapshot().maps_done, summary.splits as u64);
            assert_eq!(progress.snapshot().bytes_read, FRAGILE_TEXT.len() as u64);
        }
    }
}

#[test]
fn bad_records_are_skipped_up_to_the_limit() {
    let bench = Bench::new();
    let path = bench.file("in", b"a\nbad\nb\nbad\nc\n");
    let mut spec = bench.spec("fragile", &[&path]);
    spec.skip_bad_records = 2;
    let summary = run_local(&spec, &Fragile::new(u64::MAX, 0), &Progress::new()).unwrap();
    assert_eq!(take_quarantine(&spec.output).len(), 1);
    assert_eq!(joined(&spec.output), b"a1\nb1\nc1\n");
    assert_eq!(summary.manifest.counters.bad_records_skipped, 2);
    let mut spec = bench.spec("fragile", &[&path]);
    spec.skip_bad_records = 1;
    let error = run_local(&spec, &Fragile::new(u64::MAX, 0), &Progress::new()).unwrap_err();
    assert!(matches!(error, JobError::TooManyBadRecords { limit: 1, .. }), "{error}");
    assert!(!spec.output.exists());
}

#[test]
fn a_reduce_function_that_always_panics_fails_the_job_with_its_key() {
    let bench = Bench::new();
    let path = bench.file("in", FRAGILE_TEXT);
    let spec = bench.spec("fragile", &[&path]);
    let error = run_local(&spec, &Fragile::new(0, u64::MAX), &Progress::new()).unwrap_err();
    assert!(matches!(&error, JobError::ReducePanicked { key, .. } if key == "b"), "{error}");
    assert!(!spec.output.exists());
}

/// Does something to its own input when it meets the line `now`.
struct Meddler<F>(F);

impl<F: Fn() + Send + Sync> Job for Meddler<F> {
    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        if record.bytes == b"now" {
            (self.0)();
        }
        out.emit(record.bytes, b"");
    }

    fn reduce(&self, key: &[u8], _: &mut Values<'_, Self>, out: &mut Sink) {
        out.bytes(key);
        out.end_record();
    }
}

/// Another file of the same length and with the same modification time.
fn replace(path: &std::path::Path) {
    let other = path.with_extension("new");
    let text = fs::read(path).unwrap();
    let old = fs::metadata(path).unwrap();
    fs::write(&other, &text).unwrap();
    // The kernel's clock for files ticks every few milliseconds.
    while fs::metadata(&other).unwrap().ctime_nsec() == old.ctime_nsec() {
        fs::write(&other, &text).unwrap();
    }
    let modified = old.modified().unwrap();
    fs::OpenOptions::new().write(true).open(&other).unwrap().set_modified(modified).unwrap();
    fs::rename(&other, path).unwrap();
}

#[test]
fn an_input_that_shrinks_grows_goes_or_is_replaced_during_the_job_fails_it_by_name() {
    let bench = Bench::new();
    let text = [b"now\n".to_vec(), b"line\n".repeat(1_000_000)].concat();
    let changes: [fn(&std::path::Path); 4] = [
        |path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(100).unwrap(),
        |path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(9 << 20).unwrap(),
        |path| fs::remove_file(path).unwrap(),
        replace,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let path = bench.file("in", &text);
        let mut spec = bench.spec("meddler", &[&path]);
        spec.split_bytes = Some(2 << 20);
        spec.slots = Some(1);
        let once = AtomicU64::new(1);
        let job = Meddler(|| {
            if once_less(&once) {
                change(&path)
            }
        });
        let error = run_local(&spec, &job, &Progress::new()).unwrap_err();
        let named = matches!(&error, JobError::InputChanged { path: named, .. } if *named == path);
        assert!(named, "{index}: {error}");
        assert!(!spec.output.exists());
    }
}

#[test]
fn a_cancelled_job_stops_and_leaves_nothing() {
    let bench = Bench::new();
    let text = [b"now\n".to_vec(), b"line\n".repeat(1_000_000)].concat();
    let path = bench.file("in", &text);
    let before = bench.names();
    let progress = Progress::new();
    let spec = bench.spec("meddler", &[&path]);
    let job = Meddler(|| progress.cancel());
    let error = run_local(&spec, &job, &progress).unwrap_err();
    assert!(matches!(error, JobError::Cancelled), "{error}");
    assert_eq!(bench.names(), before);
}

/// Cancels itself while it reduces.
struct Quitter<'p>(&'p Progress);

impl Job for Quitter<'_> {
    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        out.emit(record.bytes, b"");
    }

    fn reduce(&self, _: &[u8], values: &mut Values<'_, Self>, out: &mut Sink) {
        self.0.cancel();
        let mut seen = 0;
        while values.next().is_some() {
            seen += 1;
        }
        assert!(seen <= 1 << 16, "a cancelled group ends early");
        out.end_record();
    }
}

#[test]
fn a_job_that_is_cancelled_within_one_large_group_stops_there() {
    let bench = Bench::new();
    let path = bench.file("in", &b"line\n".repeat(300_000));
    let before = bench.names();
    let progress = Progress::new();
    let spec = bench.spec("quitter", &[&path]);
    let error = run_local(&spec, &Quitter(&progress), &progress).unwrap_err();
    assert!(matches!(error, JobError::Cancelled), "{error}");
    assert_eq!(bench.names(), before);
}

#[test]
fn of_two_jobs_with_one_output_the_second_is_refused() {
    let bench = Bench::new();
    let path = bench.path("out");
    let first = OutputFolder::create(&path).unwrap();
    let error = OutputFolder::create(&path).unwrap_err();
    assert!(matches!(error, JobError::OutputExists { .. }), "{error}");
    assert!(path.exists(), "the refused job leaves the other's folder alone");
    drop(first);
    assert!(!path.exists());
}

#[test]
fn two_jobs_may_spill_to_one_folder() {
    let bench = Bench::new();
    let path = bench.file("in", &zipf_text(7, 1 << 20, 50_000));
    let large = bench.spec("sort", &[&path]);
    run(&large).unwrap();
    let spill = bench.path("spill");
    let specs = ["one", "two"].map(|parent| {
        let mut spec = bench.spec("sort", &[&path]);
        spec.memory_bytes = 1;
        spec.max_record_bytes = Some(1 << 20);
        spec.spill_folder = Some(spill.clone());
        spec.output = bench.path(parent).join("out");
        spec
    });
    std::thread::scope(|scope| {
        for spec in &specs {
            scope.spawn(|| run(spec).unwrap());
        }
    });
    for spec in &specs {
        assert!(joined(&spec.output) == joined(&large.output));
    }
    assert_eq!(fs::read_dir(&spill).unwrap().count(), 0);
}

/// Fails at another record in every attempt; counts them.
struct Unstable(AtomicU64);

impl Job for Unstable {
    fn map(&self, record: Record<'_>, _: &mut Emitter<'_, Self>) {
        if record.number == 0 {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        assert!(record.number + 1 != self.0.load(Ordering::Relaxed), "again");
    }

    fn reduce(&self, _: &[u8], _: &mut Values<'_, Self>, _: &mut Sink) {}
}

#[test]
fn a_function_that_fails_elsewhere_every_time_fails_the_job_after_four_attempts() {
    let bench = Bench::new();
    let path = bench.file("in", &b"line\n".repeat(100));
    for skip_bad_records in [0, 50] {
        let mut spec = bench.spec("unstable", &[&path]);
        spec.skip_bad_records = skip_bad_records;
        let error = run_local(&spec, &Unstable(0.into()), &Progress::new()).unwrap_err();
        assert!(matches!(error, JobError::MapPanicked { record: 3, .. }), "{error}");
    }
}

#[test]
fn bad_specs_and_unknown_jobs_are_refused_with_what_is_possible() {
    let bench = Bench::new();
    let path = bench.file("in", b"x");
    let error = run(&bench.spec("wordcoutn", &[&path])).unwrap_err();
    assert!(error.to_string().contains("wordcount, fieldcount, "), "{error}");
    let mut spec = bench.spec("wordcount", &[&path]);
    spec.options.insert("colour".into(), "red".into());
    assert!(run(&spec).unwrap_err().to_string().contains("no option `colour`"));
    let changes: [fn(&mut synod_jobs::JobSpec); 6] = [
        |spec| spec.reduces = Some(0),
        |spec| spec.reduces = Some(1_000_000),
        |spec| spec.split_bytes = Some(0),
        |spec| spec.slots = Some(0),
        |spec| spec.max_record_bytes = Some(u64::MAX),
        |spec| spec.inputs.clear(),
    ];
    for change in changes {
        let mut spec = bench.spec("wordcount", &[&path]);
        change(&mut spec);
        let error = run(&spec).unwrap_err();
        assert!(matches!(error, JobError::BadSpec { .. }), "{error}");
    }
}
