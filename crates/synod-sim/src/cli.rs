//! `cargo xtask sim`: runs seeds, prints what broke and how to see it again, and one summary line.
//!
//! A seed runs on one thread and shares nothing with others, so each processor runs one at a time; what is
//! printed comes in the order of the seeds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;

use crate::history::Violation;
use crate::run::{Kind, Report, run};

/// What to run.
#[derive(Clone, Debug)]
pub struct SimArgs {
    /// Who uses the clusters.
    pub kind: Kind,
    /// How many seeds.
    pub seeds: u64,
    /// The first of them; the others follow.
    pub first: u64,
    /// A line per seed.
    pub verbose: bool,
    /// Stop after the first seed that broke a promise.
    pub until_failure: bool,
}

/// Nanoseconds in an hour.
const HOUR: f64 = 3.6e12;

/// Violations printed per seed.
const SHOWN: usize = 5;

/// In so many seeds everything that can happen has happened.
const ENOUGH_FOR_ALL: u64 = 100;

/// Runs the seeds; the exit code is 1 if any promise was broken.
#[must_use]
pub fn run_seeds(args: &SimArgs) -> i32 {
    let mut counters: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut simulated = 0.0;
    let mut violations = 0;
    let mut seeds = 0;
    if !is_deterministic(args.kind, args.first) {
        violations += 1;
    }
    in_order(args, |report| {
        simulated += report.simulated as f64 / HOUR;
        for (name, count) in &report.counters {
            *counters.entry(name).or_default() += count;
        }
        violations += report.violations.len();
        show(args, &report);
        seeds += 1;
        !(args.until_failure && violations > 0)
    });
    if seeds >= ENOUGH_FOR_ALL {
        for (name, _) in counters.iter().filter(|(_, count)| **count == 0) {
            println!("sim: in {seeds} seeds there was not one {name}: nothing was learnt about it");
            violations += 1;
        }
    }
    let counters: Vec<String> = counters.iter().map(|(name, n)| format!("{name}={n}")).collect();
    println!(
        "sim: seeds={seeds} simulated_hours={simulated:.2} {} violations={violations}",
        counters.join(" ")
    );
    i32::from(violations > 0)
}

/// Runs the seeds, as many at a time as there are processors, and tells of each in their order until the
/// answer is that no more are wanted.
fn in_order(args: &SimArgs, mut tell: impl FnMut(Report) -> bool) {
    let SimArgs { kind, first, seeds, .. } = *args;
    let next = AtomicU64::new(first);
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    thread::scope(|scope| {
        let (ended, reports) = mpsc::channel();
        for _ in 0..threads.min(seeds) {
            let (next, ended) = (&next, ended.clone());
            scope.spawn(move || {
                let seeds =
                    || Some(next.fetch_add(1, Relaxed)).filter(|seed| *seed < first + seeds);
                while let Some(seed) = seeds() {
                    if ended.send(run_or_panic(kind, seed)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(ended);
        let mut early = BTreeMap::new();
        let mut due = first;
        for report in reports {
            early.insert(report.seed, report);
            while let Some(report) = early.remove(&due) {
                if !tell(report) {
                    return;
                }
                due += 1;
            }
        }
    });
}

/// Runs a seed; a panic in it is a broken promise, as any other, and does not end the seeds after it.
fn run_or_panic(kind: Kind, seed: u64) -> Report {
    std::panic::catch_unwind(|| run(kind, seed)).unwrap_or_else(|cause| {
        let words = cause.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| cause.downcast_ref::<&str>().copied());
        let what = words.unwrap_or("with a cause that is no text").to_owned();
        let violations = vec![Violation { promise: "panic", what }];
        Report { seed, trace: 0, simulated: 0, counters: BTreeMap::new(), violations }
    })
}

/// Runs one seed twice: every event at the same time, in the same order, or nothing here is worth much.
fn is_deterministic(kind: Kind, seed: u64) -> bool {
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| run_or_panic(kind, seed));
        (run_or_panic(kind, seed), first.join().expect("a panic is a report"))
    });
    let same = first.trace == second.trace && first.counters == second.counters;
    if same {
        println!("sim: seed {seed} twice: same trace {:08x}", first.trace);
    } else {
        println!("sim: seed {seed} twice: traces {:08x} and {:08x}", first.trace, second.trace);
    }
    same
}

fn show(args: &SimArgs, report: &Report) {
    if args.verbose {
        println!(
            "sim: seed {} trace {:08x} operations {} revisions {} violations {}",
            report.seed,
            report.trace,
            report.counters.get("operations").unwrap_or(&0),
            report.counters.get("revisions").unwrap_or(&0),
            report.violations.len()
        );
    }
    for violation in report.violations.iter().take(SHOWN) {
        println!("sim: seed {}: {}: {}", report.seed, violation.promise, violation.what);
    }
    if !report.violations.is_empty() {
        let jobs = if args.kind == Kind::Jobs { " --jobs" } else { "" };
        let seed = report.seed;
        println!("sim: replay with: cargo xtask sim{jobs} --seeds 1 --first {seed} --verbose");
    }
}
