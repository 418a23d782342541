//! Tasks that a job in one process goes on without.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::path::PathBuf;
use support::{Bench, joined, parts, sorted_lines};
use synod_jobs::cluster::TaskId;
use synod_jobs::commit::Manifest;
use synod_jobs::{
    Emitter, Job, JobError, JobSpec, JobSummary, Progress, Record, Sink, Values, run_local,
};

/// Gives every record back, but fails on `bad`; its reduce function on keys that hold `evil`.
struct Picky<const COMBINES: bool>;

impl<const COMBINES: bool> Job for Picky<COMBINES> {
    const COMBINED_VALUE_BYTES: Option<usize> = if COMBINES { Some(0) } else { None };
    const WRITES_PAIRS: bool = true;

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        out.emit(record.bytes, b"");
        assert!(record.bytes != b"bad", "not this one");
    }

    fn reduce(&self, key: &[u8], values: &mut Values<'_, Self>, out: &mut Sink) {
        assert!(values.next().is_some());
        assert!(!key.ends_with(b"evil"), "no such key");
        out.bytes(key);
        out.end_record();
    }
}

fn run(spec: &JobSpec, combines: bool, progress: &Progress) -> Result<JobSummary, JobError> {
    match combines {
        true => run_local(spec, &Picky::<true>, progress),
        false => run_local(spec, &Picky::<false>, progress),
    }
}

/// Four files of a split each; two of them hold a bad record behind a good one.
fn inputs(bench: &Bench) -> Vec<PathBuf> {
    let files = [("a", "one\n"), ("b", "two\nbad\n"), ("c", "three\n"), ("d", "four\nbad\n")];
    files.into_iter().map(|(name, text)| bench.file(name, text.as_bytes())).collect()
}

fn spec(bench: &Bench) -> JobSpec {
    let inputs = inputs(bench);
    let inputs: Vec<_> = inputs.iter().map(PathBuf::as_path).collect();
    JobSpec { reduces: Some(2), ..bench.spec("picky", &inputs) }
}

#[test]
fn a_job_goes_on_without_maps_that_fail_and_nothing_of_them_is_in_its_output() {
    let bench = Bench::new();
    for (combines, reduces, slots) in
        [(true, 2, 1), (true, 1, 3), (false, 2, 1), (false, 2, 4), (false, 0, 2)]
    {
        let mut spec = JobSpec { failed_maps_percent: 50, ..spec(&bench) };
        (spec.reduces, spec.slots) = (Some(reduces), Some(slots));
        let progress = Progress::new();
        let JobSummary { manifest, report, .. } = run(&spec, combines, &progress).unwrap();
        let lines = sorted_lines(&joined(&spec.output));
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.trim_ascii_end()).collect();
        assert_eq!(lines, [b"one".as_slice(), b"three"], "{combines} {reduces} {slots}");
        let counters = &manifest.counters;
        assert_eq!((counters.maps_given_up, counters.reduces_given_up), (2, 0));
        assert_eq!((counters.map_records_in, counters.map_pairs_out), (2, 2));
        let tasks: Vec<TaskId> = manifest.given_up.iter().map(|one| one.task).collect();
        assert_eq!(tasks, [TaskId::map(1), TaskId::map(3)]);
        assert!(manifest.given_up[0].error.contains("/b offset 4: not this one"), "{manifest:?}");
        assert_eq!((&report.given_up, &report.counters), (&manifest.given_up, counters));
        assert!(
            report.failed_attempts >= 4 && report.failed_attempts == report.failed_map_attempts
        );
        let stored = fs::read(spec.output.join("_SUCCESS")).unwrap();
        assert_eq!(serde_json::from_slice::<Manifest>(&stored).unwrap(), manifest);
        let seen = progress.snapshot();
        assert_eq!((seen.maps_done, seen.maps_given_up, seen.maps_total), (2, 2, 4));
        assert_eq!(seen.bytes_read, "one\nthree\n".len() as u64);
        if reduces == 0 {
            let names = parts(&spec.output).into_iter().map(|(name, _)| name);
            assert!(names.eq(["part-00000", "part-00002"]));
        }
    }
}

#[test]
fn one_map_more_than_may_fail_ends_the_job_and_leaves_no_output() {
    let bench = Bench::new();
    for combines in [false, true] {
        for (percent, why) in
            [(49, "2 of 4 map tasks have failed, more than the 49"), (0, "the map")]
        {
            let spec = JobSpec { failed_maps_percent: percent, ..spec(&bench) };
            let said = run(&spec, combines, &Progress::new()).unwrap_err().to_string();
            assert!(said.starts_with(why) && said.contains("not this one"), "{said}");
            assert!(!spec.output.exists());
        }
    }
}

#[test]
fn a_reduce_that_fails_has_no_part_file_and_the_others_have_theirs() {
    let bench = Bench::new();
    let input = bench.file("in", b"a\nb\nc\nd\ne\nf\nevil\n");
    for slots in [1, 3] {
        let whole = JobSpec { reduces: Some(3), ..bench.spec("picky", &[&input]) };
        assert!(run(&whole, false, &Progress::new()).is_err());
        let spec = JobSpec { failed_reduces_percent: 34, slots: Some(slots), ..whole };
        let progress = Progress::new();
        let JobSummary { manifest, report, .. } = run(&spec, false, &progress).unwrap();
        let [lost] = &manifest.given_up[..] else { panic!("{:?}", manifest.given_up) };
        assert!(lost.error.contains("`evil`: no such key"), "{lost:?}");
        assert_eq!((manifest.counters.maps_given_up, manifest.counters.reduces_given_up), (0, 1));
        assert_eq!((report.failed_map_attempts, &report.given_up), (0, &manifest.given_up));
        assert!(report.failed_attempts > 0);
        let seen = progress.snapshot();
        assert_eq!((seen.reduces_done, seen.reduces_given_up, seen.reduces_over()), (2, 1, 3));
        let names: Vec<String> = parts(&spec.output).into_iter().map(|(name, _)| name).collect();
        let expected = (0..3).filter(|number| *number != lost.task.number);
        assert!(names.iter().cloned().eq(expected.map(|number| format!("part-{number:05}"))));
        assert_eq!(manifest.parts.len(), 2);
        let less = JobSpec { failed_reduces_percent: 33, ..spec };
        let less = JobSpec { output: bench.path(&format!("less-{slots}")), ..less };
        let said = run(&less, false, &Progress::new()).unwrap_err().to_string();
        assert!(said.starts_with("1 of 3 reduce tasks have failed, more than the 33"), "{said}");
    }
}

#[test]
fn an_input_that_is_broken_is_given_up_and_what_all_tasks_share_is_not() {
    let bench = Bench::new();
    let good = bench.file("good", b"a b\nc\n");
    let long = bench.file("long", &[b"short\n".to_vec(), vec![b'x'; 2 << 20]].concat());
    let torn = bench.file("torn.gz", b"\x1f\x8b\x08\x00 and no more");
    let mut spec = bench.spec("wordcount", &[&good, &long, &torn]);
    (spec.failed_maps_percent, spec.max_record_bytes) = (70, Some(1 << 20));
    spec.split_bytes = Some(64 << 20);
    let manifest = support::run(&spec).unwrap().manifest;
    let errors: Vec<&str> = manifest.given_up.iter().map(|one| one.error.as_str()).collect();
    assert!(
        errors[0].contains("offset 6 is longer") && errors[1].contains("torn.gz"),
        "{errors:?}"
    );
    assert_eq!(sorted_lines(&joined(&spec.output)), [&b"a\t1"[..], b"b\t1", b"c\t1"]);

    // What bears the name of no task.
    let spec = JobSpec { output: bench.path("twice"), failed_maps_percent: 100, ..spec };
    fs::create_dir(&spec.output).unwrap();
    assert!(matches!(support::run(&spec), Err(JobError::OutputExists { .. })));
    let spec = JobSpec { output: bench.path("cancelled"), ..spec };
    let progress = Progress::new();
    progress.cancel();
    assert!(matches!(run(&spec, false, &progress), Err(JobError::Cancelled)));
    // A record of its own limit is not a task's failure.
    let inputs = inputs(&bench);
    let spec = JobSpec { inputs, skip_bad_records: 1, output: bench.path("limit"), ..spec };
    let said = run(&spec, false, &Progress::new()).unwrap_err().to_string();
    assert!(said.starts_with("more than 1 bad records"), "{said}");
}

#[test]
fn a_job_of_several_passes_is_refused_before_it_begins() {
    let bench = Bench::new();
    let input = bench.file("in", b"a b a\n");
    for (maps, reduces) in [(50, 0), (0, 1)] {
        let mut spec = bench.spec("top-k", &[&input]);
        (spec.failed_maps_percent, spec.failed_reduces_percent) = (maps, reduces);
        let said = support::run(&spec).unwrap_err().to_string();
        assert!(said.contains("takes several passes"), "{said}");
        assert_eq!(bench.names(), ["in"]);
        spec.reduces = Some(1);
        assert_eq!(support::run(&spec).unwrap().manifest.counters.map_records_in, 1);
        fs::remove_dir_all(&spec.output).unwrap();
    }
}
