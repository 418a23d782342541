//! Combiners that run over whole runs: the answer is the same, with fewer pairs, and they run again over what
//! they gave for several runs only where that is worth it: where a map's output goes to other processes.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use support::{Bench, joined, sorted_lines};
use synod_jobs::counters::Counters;
use synod_jobs::map_task::{MapContext, Skips, run_map_task_to_file};
use synod_jobs::quarantine::LeftOut;
use synod_jobs::reduce_task::{ReduceContext, run_reduce_task};
use synod_jobs::run::file::open_section;
use synod_jobs::run::store::{MemoryBudget, RunStore};
use synod_jobs::{
    Attempts, Emitter, Job, JobError, JobSpec, NoLog, PairSink, Progress, Record, ReduceInput,
    Sink, Stores, TaskContext, TaskKind, Values, plan, run_local,
};

/// Emits the words of a line behind its first, which is their key; the answer is the largest of a key.
#[derive(Default)]
struct Largest {
    /// The combiner gives every pair that it gets.
    passes_on: bool,
    /// Pairs that the combiner has got.
    pairs: AtomicU64,
}

impl Job for Largest {
    const COMBINES_RUNS: bool = true;

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        let mut words = record.bytes.split(|&byte| byte == b' ');
        let key = words.next().unwrap();
        words.for_each(|word| out.emit(key, word));
    }

    fn combine_run(
        &self,
        _: &TaskContext<'_>,
        input: &mut ReduceInput<'_, Self>,
        out: &mut PairSink<'_>,
    ) -> Result<(), JobError> {
        let mut held: Option<(Vec<u8>, Vec<u8>)> = None;
        while let Some((key, value)) = input.next_pair()? {
            self.pairs.fetch_add(1, Relaxed);
            match &mut held {
                Some((last, largest)) if last == key && !self.passes_on => {
                    if value > &largest[..] {
                        *largest = value.to_vec();
                    }
                }
                _ => {
                    if let Some((key, value)) = held.replace((key.to_vec(), value.to_vec())) {
                        out.push(&key, &value)?;
                    }
                }
            }
        }
        held.map_or(Ok(()), |(key, value)| out.push(&key, &value))
    }

    fn reduce(&self, key: &[u8], values: &mut Values<'_, Self>, out: &mut Sink) {
        let mut largest = Vec::new();
        while let Some(value) = values.next() {
            if value > &largest[..] {
                largest = value.to_vec();
            }
        }
        self.write_pair(key, &largest, out);
    }
}

const PAIRS: u64 = 20_000;
const KEYS: u64 = 50;

/// Lines of random pairs, and the answer for them.
fn input() -> (String, Vec<Vec<u8>>) {
    let mut random = fastrand::Rng::with_seed(43);
    let mut text = String::new();
    let mut expected = BTreeMap::new();
    for _ in 0..PAIRS {
        let (key, value) = (format!("k{}", random.u64(..KEYS)), format!("v{}", random.u16(..)));
        text.push_str(&format!("{key} {value}\n"));
        let largest: &mut String = expected.entry(key).or_default();
        *largest = value.clone().max(std::mem::take(largest));
    }
    let lines = expected.iter().map(|(key, value)| format!("{key}\t{value}").into_bytes());
    (text, lines.collect())
}

fn spec(bench: &Bench, text: &str) -> JobSpec {
    let path = bench.file("in", text.as_bytes());
    let mut spec = bench.spec("largest", &[&path]);
    (spec.reduces, spec.slots, spec.split_bytes) = (Some(3), Some(1), Some(1 << 30));
    spec
}

/// Maps it into one file with so much memory and reduces that, as workers of a cluster do.
fn by_tasks(job: &Largest, buffer_bytes: u64) -> Counters {
    let (bench, (text, expected)) = (Bench::new(), input());
    let plan = plan(job, &spec(&bench, &text), 1, &Stores::local(), &Progress::new()).unwrap();
    let progress = Progress::new();
    let task = |kind, number| {
        let folders = (bench.path("scratch"), bench.path("side"));
        TaskContext::new(
            "job",
            kind,
            number,
            (0, Attempts::both(2)),
            (1, 3),
            &progress,
            &NoLog,
            folders,
        )
    };
    let store = RunStore::new(bench.path("spill"), "m", MemoryBudget::new(0));
    let context = MapContext {
        job,
        plan: &plan,
        stores: &Stores::local(),
        store: &store,
        buffer_bytes,
        skips: &Skips::new(),
        may_leave_out: 0,
        task: &task(TaskKind::Map, 0),
    };
    let mapped = run_map_task_to_file(&context, 0, &bench.path("map"), 4).unwrap();
    let mut lines = Vec::new();
    for (partition, &section) in (0..).zip(&mapped.index.sections) {
        let context = ReduceContext {
            job,
            store: &store,
            fan_in: 2,
            sync: false,
            codec: None,
            skips: &LeftOut::new(),
            task: &task(TaskKind::Reduce, partition),
        };
        let source = open_section(&mapped.path, section).unwrap();
        let part = bench.path(&format!("part-{partition}"));
        run_reduce_task(&context, partition, vec![Box::new(source)], &part).unwrap();
        lines.extend(std::fs::read(part).unwrap());
    }
    assert_eq!(sorted_lines(&lines), expected);
    assert_eq!(mapped.counters.map_pairs_out, PAIRS);
    mapped.counters
}

#[test]
fn a_combiner_over_runs_leaves_the_answer_and_fewer_pairs() {
    for (memory_bytes, runs) in [(1 << 24, 1..=1), (1 << 18, 8..=50)] {
        let (bench, (text, expected)) = (Bench::new(), input());
        let mut spec = spec(&bench, &text);
        spec.memory_bytes = memory_bytes;
        let job = Largest::default();
        let summary = run_local(&spec, &job, &Progress::new()).unwrap();
        assert_eq!(sorted_lines(&joined(&spec.output)), expected);
        let counters = summary.manifest.counters;
        assert_eq!(counters.map_pairs_out, PAIRS);
        assert!(runs.contains(&(counters.combined_pairs_out / KEYS)), "{counters:?}");
        assert_eq!(job.pairs.into_inner(), PAIRS, "nothing is combined twice");
    }
}

#[test]
fn several_runs_of_a_map_output_are_combined_together_once_more() {
    let job = Largest::default();
    // Each run has all keys; four are taken together, as many as may be merged.
    let counters = by_tasks(&job, 128 << 10);
    let runs = (job.pairs.into_inner() - PAIRS) / KEYS;
    assert!(runs > 8, "{runs} runs");
    assert_eq!(counters.combined_pairs_out, runs.div_ceil(4) * KEYS);
    // Two are not worth it.
    let job = Largest::default();
    let counters = by_tasks(&job, 1 << 20);
    assert_eq!(counters.combined_pairs_out, 2 * KEYS);
    assert_eq!(job.pairs.into_inner(), PAIRS);
}

#[test]
fn what_a_combiner_makes_no_less_it_does_not_get_again() {
    let job = Largest { passes_on: true, ..Largest::default() };
    let counters = by_tasks(&job, 128 << 10);
    assert!(counters.runs_written > 8, "{counters:?}");
    assert_eq!(counters.combined_pairs_out, PAIRS);
    assert_eq!(job.pairs.into_inner(), PAIRS);
}
