//! Records and groups that a job goes on without: what is kept of them, and how many there may be.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use support::{Bench, joined, take_quarantine};
use synod_jobs::{
    Block, Emitter, Framing, Job, JobError, JobSpec, JobSummary, MapInput, Progress, Record,
    ReduceInput, Sink, TaskContext, Values, run_local,
};

/// Gives every record back, but fails on those that hold `bad`; its reduce function on keys that hold `evil`,
/// after it has read and written something.
struct Picky<const COMBINES: bool>;

impl<const COMBINES: bool> Job for Picky<COMBINES> {
    const COMBINED_VALUE_BYTES: Option<usize> = if COMBINES { Some(0) } else { None };
    const WRITES_PAIRS: bool = true;

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        out.emit(record.bytes, b"");
        assert!(!holds(record.bytes, b"bad"), "not\tthis one");
    }

    fn reduce(&self, key: &[u8], values: &mut Values<'_, Self>, out: &mut Sink) {
        assert!(values.next().is_some());
        out.bytes(key);
        out.end_record();
        assert!(!holds(key, b"evil"), "no such key");
    }
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

fn run(spec: &JobSpec, combines: bool) -> Result<JobSummary, JobError> {
    match combines {
        true => run_local(spec, &Picky::<true>, &Progress::new()),
        false => run_local(spec, &Picky::<false>, &Progress::new()),
    }
}

#[test]
fn a_record_that_is_left_out_is_kept_with_its_place_its_error_and_its_bytes() {
    let bench = Bench::new();
    let a = bench.file("a", b"one;bad\\and\nmore\t\xff;two;");
    let b = bench.file("b", b"three;bad;four;bad again");
    for (combines, reduces, split) in
        [(true, 2, 1), (true, 1, 7), (true, 2, 99), (false, 2, 1), (false, 1, 99), (false, 0, 7)]
    {
        let mut spec = bench.spec("picky", &[&a, &b]);
        spec.format.framing = Framing::Delimiter(b";".to_vec());
        (spec.reduces, spec.split_bytes, spec.skip_bad_records) = (Some(reduces), Some(split), 3);
        let summary = run(&spec, combines).unwrap();
        let counters = &summary.manifest.counters;
        assert_eq!((counters.map_records_in, counters.bad_records_skipped), (7, 3));
        assert_eq!(summary.report.failed_attempts, 0);
        // Bytes that are no text are as they were.
        let kept = kept_bytes(&spec.output);
        let place = |path: &Path, number: u64, offset: u64| {
            format!("{}\t{number}\t{offset}\t", path.display())
        };
        let number = |offset: u64| offset / split;
        let splits_of_a = 23_u64.div_ceil(split);
        for (path, split, offset, record) in [
            (&a, number(4), 4, &b"bad\\\\and\\nmore\t\xff"[..]),
            (&b, splits_of_a + number(6), 6, b"bad"),
            (&b, splits_of_a + number(15), 15, b"bad again"),
        ] {
            let line =
                kept.iter().find(|line| line.starts_with(place(path, split, offset).as_bytes()));
            let line = line.unwrap_or_else(|| panic!("{path:?} {offset}: {kept:?}"));
            assert!(line.ends_with(&[b"\t", record].concat()), "{}", line.escape_ascii());
            let error = line.split(|&byte| byte == b'\t').nth(3).unwrap();
            assert!(holds(error, b"not\\tthis one"), "{}", line.escape_ascii());
        }
        assert_eq!(kept.len(), 3, "{kept:?}");
        let named = summary.manifest.side_files.iter().map(|file| file.name.clone());
        assert!(named.clone().all(|name| name.starts_with(".skipped-m-")) && named.count() > 0);
        let files = fs::read_dir(&spec.output).unwrap().map(|entry| entry.unwrap().path());
        for file in files.filter(|path| path.to_str().unwrap().contains(".skipped-")) {
            fs::remove_file(file).unwrap();
        }
        let mut lines = support::sorted_lines(&joined(&spec.output));
        for line in &mut lines {
            line.truncate(line.strip_suffix(b"\t").map_or(line.len(), <[u8]>::len));
        }
        assert_eq!(lines, [b"four".to_vec(), b"one".into(), b"three".into(), b"two".into()]);
    }
}

/// All lines of all files of what was left out.
fn kept_bytes(output: &Path) -> Vec<Vec<u8>> {
    let files = fs::read_dir(output).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.to_str().unwrap().contains(".skipped-m-"));
    files.flat_map(|path| support::sorted_lines(&fs::read(path).unwrap())).collect()
}

#[test]
fn a_group_that_fails_twice_is_left_out_and_its_key_is_kept() {
    let bench = Bench::new();
    let path = bench.file("in", b"c\nan evil key\na\n\\evil\na\n\\evil\nz evil\nd\n");
    for combines in [false, true] {
        let mut spec = bench.spec("picky", &[&path]);
        (spec.reduces, spec.split_bytes, spec.skip_bad_records) = (Some(1), Some(4), 3);
        let summary = run(&spec, combines).unwrap();
        let counters = &summary.manifest.counters;
        assert_eq!((counters.user["bad_groups_skipped"], counters.reduce_groups_in), (3, 6));
        assert_eq!(counters.combined_pairs_out, counters.reduce_pairs_in);
        assert_eq!(summary.report.failed_attempts, 0);
        let kept = take_quarantine(&spec.output);
        assert_eq!(kept.keys().collect::<Vec<_>>(), [".skipped-r-000000"]);
        // In the order of keys: the backslash comes before the letters.
        for (line, (number, key)) in kept[".skipped-r-000000"].iter().zip([
            ("0", "\\\\evil"),
            ("2", "an evil key"),
            ("5", "z evil"),
        ]) {
            assert_eq!((&*line[0], &*line[1], &*line[2], &*line[4]), ("-", "0", number, key));
            assert!(line[3].contains("no such key"), "{line:?}");
        }
        assert_eq!(joined(&spec.output), b"a\nc\nd\n");
    }
}

#[test]
fn records_and_groups_are_left_out_under_one_limit() {
    let bench = Bench::new();
    let path = bench.file("in", b"bad\nevil\ngood\n");
    let mut spec = bench.spec("picky", &[&path]);
    (spec.reduces, spec.skip_bad_records) = (Some(2), 1);
    match run(&spec, false).unwrap_err() {
        JobError::TooManyBadRecords { limit: 1, last } => {
            assert!(
                matches!(&*last, JobError::ReducePanicked { key, .. } if key == "evil"),
                "{last}"
            );
        }
        other => panic!("{other}"),
    }
    assert!(!spec.output.exists());
    spec.skip_bad_records = 2;
    run(&spec, false).unwrap();
    let kept = take_quarantine(&spec.output);
    assert_eq!(kept.values().map(Vec::len).sum::<usize>(), 2, "{kept:?}");
    assert_eq!(joined(&spec.output), b"good\n");
}

/// Fails on the record and on the group `evil`, and once in each task that is to go on without them.
#[derive(Default)]
struct Troubled {
    maps: AtomicU64,
    reduces: AtomicU64,
}

fn fails_once(begun: &AtomicU64) -> Result<(), JobError> {
    // Two attempts have failed before.
    match begun.fetch_add(1, Relaxed) {
        2 => {
            let message = "the machine was busy".to_owned();
            Err(JobError::Task { message, permanent: false, bad_record: None })
        }
        _ => Ok(()),
    }
}

impl Job for Troubled {
    fn map_split(
        &self,
        _: &TaskContext<'_>,
        input: &mut MapInput<'_>,
        out: &mut Emitter<'_, Self>,
    ) -> Result<(), JobError> {
        fails_once(&self.maps)?;
        while let Some(block) = input.next_block()? {
            for record in block.records() {
                out.stand_at(record.offset, record.number);
                self.map(record, out);
            }
            out.check()?;
        }
        Ok(())
    }

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        assert!(record.bytes != b"bad", "no such record");
        out.emit(record.bytes, b"");
    }

    fn reduce_partition(
        &self,
        _: &TaskContext<'_>,
        input: &mut ReduceInput<'_, Self>,
        out: &mut Sink,
    ) -> Result<(), JobError> {
        fails_once(&self.reduces)?;
        input.reduce_groups(out)
    }

    fn reduce(&self, key: &[u8], _: &mut Values<'_, Self>, out: &mut Sink) {
        assert!(key != b"evil", "no such key");
        out.bytes(key);
        out.end_record();
    }
}

#[test]
fn a_task_that_goes_on_without_something_is_tried_as_often_as_others_when_it_fails_otherwise() {
    let bench = Bench::new();
    let path = bench.file("in", b"good\nbad\nevil\n");
    let mut spec = bench.spec("troubled", &[&path]);
    (spec.reduces, spec.skip_bad_records) = (Some(1), 2);
    let job = Troubled::default();
    let summary = run_local(&spec, &job, &Progress::new()).unwrap();
    // Two for what is left out, one that fails, one more.
    assert_eq!((job.maps.into_inner(), job.reduces.into_inner()), (4, 4));
    assert_eq!(summary.report.failed_attempts, 2);
    take_quarantine(&spec.output);
    assert_eq!(joined(&spec.output), b"good\n");
}

/// Its reduce function fails on a group of its own choice each time, so often.
struct Unsteady(AtomicU64, u64);

impl Job for Unsteady {
    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        out.emit(record.bytes, b"");
    }

    fn reduce(&self, key: &[u8], _: &mut Values<'_, Self>, out: &mut Sink) {
        let failed = self.0.load(Relaxed);
        if failed < self.1 && key == failed.to_string().as_bytes() {
            self.0.fetch_add(1, Relaxed);
            panic!("this time on {failed}");
        }
        out.bytes(key);
        out.end_record();
    }
}

#[test]
fn a_reduce_function_that_fails_elsewhere_every_time_fails_the_job_and_one_that_recovers_does_not()
{
    let bench = Bench::new();
    let path = bench.file("in", b"0\n1\n2\n3\n4\n5\n");
    let mut spec = bench.spec("unsteady", &[&path]);
    (spec.reduces, spec.skip_bad_records) = (Some(1), 50);
    let error = run_local(&spec, &Unsteady(0.into(), 9), &Progress::new()).unwrap_err();
    assert!(matches!(&error, JobError::ReducePanicked { group: 3, .. }), "{error}");
    run_local(&spec, &Unsteady(0.into(), 3), &Progress::new()).unwrap();
    assert_eq!(joined(&spec.output), b"0\n1\n2\n3\n4\n5\n", "nothing is left out, no file is left");
}

/// Maps many lines at once, and fails on those that hold `bad`; which one it was it does not say.
struct InBlocks<const COMBINES: bool>;

impl<const COMBINES: bool> Job for InBlocks<COMBINES> {
    const COMBINED_VALUE_BYTES: Option<usize> = if COMBINES { Some(0) } else { None };
    const WRITES_PAIRS: bool = true;

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        out.emit(record.bytes, b"");
        assert!(!holds(record.bytes, b"bad"), "it says {}", record.bytes.escape_ascii());
    }

    fn map_block(&self, block: Block<'_>, out: &mut Emitter<'_, Self>) {
        for record in block.records() {
            self.map(record, out);
        }
    }

    fn reduce(&self, key: &[u8], _: &mut Values<'_, Self>, out: &mut Sink) {
        out.bytes(key);
        out.end_record();
    }
}

#[test]
fn of_a_job_that_maps_blocks_the_records_are_left_out_that_it_fails_on_and_no_other() {
    let bench = Bench::new();
    let path = bench.file("in", b"one\ntwo\nbad one\nthree\nfour\nfive\nbad two\nsix\n");
    // All in one block; in blocks of their own that one attempt takes on; in the second of two.
    for (split, slots) in [(1_000, 1), (4, 1), (4, 3), (20, 1)] {
        for (combines, reduces) in [(true, 1), (false, 1), (false, 0)] {
            let mut spec = bench.spec("in-blocks", &[&path]);
            (spec.slots, spec.split_bytes, spec.reduces) =
                (Some(slots), Some(split), Some(reduces));
            spec.skip_bad_records = 2;
            let case = format!("{split} {slots} {combines} {reduces}");
            let progress = Progress::new();
            let ran = match combines {
                true => run_local(&spec, &InBlocks::<true>, &progress),
                false => run_local(&spec, &InBlocks::<false>, &progress),
            };
            let counters = ran.unwrap_or_else(|error| panic!("{case}: {error}")).manifest.counters;
            assert_eq!((counters.map_records_in, counters.bad_records_skipped), (8, 2), "{case}");
            let kept = take_quarantine(&spec.output);
            let kept: Vec<_> = kept.values().flatten().collect();
            assert_eq!(kept.len(), 2, "{case}: {kept:?}");
            for (line, (offset, record)) in kept.iter().zip([("8", "bad one"), ("32", "bad two")]) {
                assert_eq!((&*line[2], &*line[4]), (offset, record), "{case}");
                assert!(line[3].contains(&format!("it says {record}")), "{case}: {line:?}");
            }
            let mut lines = support::sorted_lines(&joined(&spec.output));
            lines.sort();
            let expected = ["five", "four", "one", "six", "three", "two"];
            assert!(lines.iter().map(Vec::as_slice).eq(expected.map(str::as_bytes)), "{case}");
        }
    }
}

/// Fails on records that hold `bad`, and the first time on those that hold `once`; counts its calls.
#[derive(Default)]
struct Often {
    calls: AtomicU64,
    seen: Mutex<BTreeSet<u64>>,
}

impl Job for Often {
    const WRITES_PAIRS: bool = true;

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        self.calls.fetch_add(1, Relaxed);
        // Of one that fails nothing stays, whatever it has emitted and counted before.
        out.emit(record.bytes, b"");
        out.count("calls", 1);
        assert!(!holds(record.bytes, b"bad"), "it says {}", record.bytes.escape_ascii());
        let is_new =
            holds(record.bytes, b"once") && self.seen.lock().unwrap().insert(record.offset);
        assert!(!is_new, "only once");
    }

    fn reduce(&self, key: &[u8], _: &mut Values<'_, Self>, out: &mut Sink) {
        out.bytes(key);
        out.end_record();
    }
}

#[test]
fn however_many_bad_records_a_split_has_it_is_mapped_four_times_at_most() {
    const RECORDS: u64 = 2_000;
    let bench = Bench::new();
    let text = |number| match number % 5 {
        2 => format!("bad {number:04}\n"),
        4 if number % 3 == 0 => format!("once {number:04}\n"),
        _ => format!("good {number:04}\n"),
    };
    let lines: Vec<String> = (0..RECORDS).map(text).collect();
    let path = bench.file("in", lines.concat().as_bytes());
    let bad = RECORDS / 5;
    for (reduces, split) in [(1, 1 << 20), (0, 1 << 20), (1, 4_000)] {
        let mut spec = bench.spec("often", &[&path]);
        (spec.reduces, spec.split_bytes) = (Some(reduces), Some(split));
        spec.skip_bad_records = 2 * bad;
        let job = Often::default();
        let summary = run_local(&spec, &job, &Progress::new()).unwrap();
        let counters = &summary.manifest.counters;
        let case = format!("{reduces} {split}");
        assert_eq!(
            (counters.map_records_in, counters.bad_records_skipped),
            (RECORDS, bad),
            "{case}"
        );
        assert_eq!(counters.user["calls"], RECORDS - bad, "{case}");
        let calls = job.calls.into_inner();
        assert!(calls <= 4 * RECORDS, "{case}: {calls}");
        let kept = take_quarantine(&spec.output);
        let kept: Vec<_> = kept.values().flatten().collect();
        assert_eq!(kept.len() as u64, bad, "{case}");
        // Each with its own error.
        assert!(
            kept.iter().all(|line| line[3].contains(&format!("it says {}", line[4]))),
            "{case}"
        );
        let mut written = support::sorted_lines(&joined(&spec.output));
        for line in &mut written {
            line.truncate(line.strip_suffix(b"\t").map_or(line.len(), <[u8]>::len));
        }
        let mut expected: Vec<_> = lines.iter().filter(|line| !line.starts_with("bad")).collect();
        expected.sort();
        assert!(written.iter().map(Vec::as_slice).eq(expected.iter().map(|l| l.trim().as_bytes())));
        std::fs::remove_dir_all(&spec.output).unwrap();
    }
    // One too many, and the error names a record that has failed twice.
    let mut spec = bench.spec("often", &[&path]);
    (spec.reduces, spec.skip_bad_records) = (Some(1), bad - 1);
    match run_local(&spec, &Often::default(), &Progress::new()).unwrap_err() {
        JobError::TooManyBadRecords { limit, last } => {
            assert_eq!(limit, bad - 1);
            assert!(last.to_string().contains("it says bad 1997"), "{last}");
        }
        other => panic!("{other}"),
    }
}
