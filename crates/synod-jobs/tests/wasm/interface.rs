//! What a module may ask of its host, and the parts of the interface that are not a matter of course.

use crate::support::{Bench, joined, parts, run};
use crate::{ECHO, WORDCOUNT, guest, set, wasm};
use std::sync::Mutex;
use synod_jobs::local::{LocalOptions, run_local_with};
use synod_jobs::{Job, JobSpec, JobSummary, JobVisitor, Progress, Stores, TaskLog, with_job};

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl TaskLog for Lines {
    fn line(&self, bytes: &[u8]) {
        self.0.lock().unwrap().push(String::from_utf8_lossy(bytes).into_owned());
    }
}

/// Runs a job and gives what its tasks have logged.
fn run_logged(spec: &JobSpec) -> (JobSummary, Vec<String>) {
    struct Run<'a>(&'a JobSpec, &'a Lines);
    impl JobVisitor for Run<'_> {
        type Output = JobSummary;
        fn visit<J: Job>(self, job: &J) -> JobSummary {
            let options = LocalOptions { stores: &Stores::local(), log: self.1, only_maps: None };
            run_local_with(self.0, job, &Progress::new(), &options).unwrap()
        }
    }
    let lines = Lines::default();
    let summary = with_job(spec, &Progress::new(), Run(spec, &lines)).unwrap();
    (summary, lines.0.into_inner().unwrap())
}

const IMPORTS: &str = r#"
    (import "synod" "log" (func $log (param i32 i32)))
    (import "synod" "count" (func $count (param i32 i32 i64)))
    (import "synod" "config" (func $config (param i32 i32 i32 i32) (result i32)))"#;

#[test]
fn counters_add_up_saturate_and_do_not_fall() {
    let bench = Bench::new();
    let path = bench.file("in", &b"x\n".repeat(1_000));
    let module = guest(&format!(
        r#"{IMPORTS} (data (i32.const 0) "seen\ff\c3huge\00")
        (func $one (param i32 i32)
            (call $count (i32.const 0) (i32.const 4) (i64.const 2))
            (call $count (i32.const 4) (i32.const 2) (i64.const 1))
            (call $count (i32.const 6) (i32.const 4) (i64.const 0x7fffffffffffffff))
            (call $count (i32.const 0) (i32.const 4) (i64.const -5)))"#
    ));
    let mut spec = wasm(&bench, &module, &[&path]);
    spec.split_bytes = Some(300);
    let (summary, lines) = run_logged(&spec);
    let user = summary.manifest.counters.user;
    assert_eq!(user["seen"], 2_000);
    assert_eq!(user["huge"], u64::MAX);
    assert_eq!(user["\u{fffd}\u{fffd}"], 1_000, "{user:?}");
    assert_eq!(lines.len(), 1_000);
    assert_eq!(lines[0], "counter seen cannot fall by -5: ignored");
}

#[test]
fn more_counters_than_a_job_may_have_are_dropped_and_that_is_counted() {
    let bench = Bench::new();
    let path = bench.file("in", b"x\n");
    let module = guest(&format!(
        r#"{IMPORTS}
        (func $one (param i32 i32) (local $n i32)
            (loop $next
                (i32.store8 (i32.const 0)
                    (i32.or (i32.const 64) (i32.and (local.get $n) (i32.const 63))))
                (i32.store8 (i32.const 1)
                    (i32.or (i32.const 64)
                        (i32.and (i32.shr_u (local.get $n) (i32.const 6)) (i32.const 63))))
                (i32.store8 (i32.const 2)
                    (i32.or (i32.const 64) (i32.shr_u (local.get $n) (i32.const 12))))
                (call $count (i32.const 0) (i32.const 3) (i64.const 1))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $next (i32.lt_u (local.get $n) (i32.const 20000)))))"#
    ));
    let counters = run(&wasm(&bench, &module, &[&path])).unwrap().manifest.counters;
    assert_eq!(counters.user.len(), 10_001);
    assert_eq!(counters.user["counters_dropped"], 10_000);
}

#[test]
fn a_flood_of_log_lines_is_cut_and_the_job_is_not_disturbed() {
    let bench = Bench::new();
    let path = bench.file("in", b"x\ny\n");
    let module = guest(&format!(
        r#"{IMPORTS} (data (i32.const 0) "a line")
        (func $one (param i32 i32) (local $n i32)
            (call $log (i32.const 0) (i32.const 6))
            (call $log (i32.const 0) (i32.const 0x10000))
            (loop $next
                (call $log (i32.const 0) (i32.const 0))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $next (i32.lt_u (local.get $n) (i32.const 1000000)))))"#
    ));
    let (_, lines) = run_logged(&wasm(&bench, &module, &[&path]));
    assert_eq!(lines[0], "a line");
    assert_eq!(lines[1].len(), 4_096);
    assert!(lines.len() < 100_000, "{}", lines.len());
    let last = lines.last().unwrap();
    assert!(last.ends_with("more lines were dropped: too many for a batch"), "{last}");
}

#[test]
fn settings_are_read_by_name_and_the_engine_tells_where_a_task_is() {
    let bench = Bench::new();
    let path = bench.file("in", b"x\n");
    // Logs the setting of each name; a missing one as nothing.
    let names = ["greeting", "empty", "synod.split", "synod.reduces", "missing", "synod.attempt"];
    let data: String = names.concat();
    let mut calls = String::new();
    let mut at = 0;
    for name in names {
        calls += &format!(
            "(local.set $n (call $config
                (i32.const {at}) (i32.const {}) (i32.const 512) (i32.const 3)))
            (if (i32.lt_s (local.get $n) (i32.const 0)) (then (local.set $n (i32.const 0))))
            (call $log (i32.const 512) (local.get $n))
            (memory.fill (i32.const 512) (i32.const 46) (i32.const 64))",
            name.len()
        );
        at += name.len();
    }
    let module = guest(&format!(
        r#"{IMPORTS} (data (i32.const 0) "{data}")
        (func $one (param i32 i32) (local $n i32)
            (memory.fill (i32.const 512) (i32.const 46) (i32.const 64)) {calls})"#
    ));
    let mut spec = wasm(&bench, &module, &[&path]);
    spec.reduces = Some(7);
    set(&mut spec, "arg.greeting", "hello");
    set(&mut spec, "arg.empty", "");
    let (_, lines) = run_logged(&spec);
    // There was room for three bytes; the length is told in full.
    assert_eq!(lines, ["hel..", "", "0", "7", "", ""]);
}

#[test]
fn what_is_kept_until_the_end_of_a_task_is_emitted_there_in_pieces() {
    let bench = Bench::new();
    let path = bench.file("in", &b"x\n".repeat(10_000));
    // Counts records, and gives the count at the end twice, through synod_more.
    let module = guest(
        r#"(global $seen (mut i64) (i64.const 0))
        (global $left (mut i32) (i32.const 2))
        (data (i32.const 0) "\04\00\00\00\08\00\00\00seen")
        (func (export "synod_combine_add_u64"))
        (func $one (param i32 i32) (global.set $seen (i64.add (global.get $seen) (i64.const 1))))
        (func $more (export "synod_more") (result i64)
            (i64.store (i32.const 12) (global.get $seen))
            (global.set $left (i32.sub (global.get $left) (i32.const 1)))
            (if (result i64) (global.get $left)
                (then (i64.const 0x80000014))
                (else (i64.const 0x14))))
        (global $task (mut i32) (i32.const -1))
        (func (export "synod_init") (param i32) (global.set $task (local.get 0)))
        (func (export "synod_finish") (result i64)
            (if (result i64) (i32.eqz (global.get $task))
                (then (call $more))
                (else (i64.const 0))))
        (func (export "synod_reduce") (param $at i32) (param i32) (result i64)
            ;; The only group: a key of four bytes, one value of eight.
            (i32.store (i32.const 64) (i32.const 8))
            (i64.store (i32.const 68) (i64.load offset=20 align=1 (local.get $at)))
            (i64.const 0x400000000c))"#,
    );
    let mut spec = wasm(&bench, &module, &[&path]);
    set(&mut spec, "output", "bare");
    spec.reduces = Some(1);
    run(&spec).unwrap();
    assert_eq!(joined(&spec.output), 20_000_u64.to_le_bytes());
}

#[test]
fn numbers_that_are_none_have_the_same_bits_everywhere() {
    let bench = Bench::new();
    let path = bench.file("in", b"x\n");
    // Zero by zero, and the root of a number below zero; both with a sign and without.
    let module = guest(
        r#"(data (i32.const 0) "\00\00\00\00\10\00\00\00")
        (global $zero (mut f64) (f64.const 0))
        (func (export "synod_map") (param i32 i32) (result i64)
            (f64.store (i32.const 8) (f64.div (global.get $zero) (global.get $zero)))
            (f64.store (i32.const 16)
                (f64.neg (f64.add (f64.const nan:0x4000000000001)
                    (f64.sqrt (f64.sub (global.get $zero) (f64.const 1))))))
            (i64.const 24))"#,
    );
    let mut spec = wasm(&bench, &module, &[&path]);
    spec.reduces = Some(0);
    set(&mut spec, "output", "bare");
    run(&spec).unwrap();
    let nan = 0x7ff8_0000_0000_0000_u64;
    let negative = nan | 1 << 63;
    assert_eq!(joined(&spec.output), [nan.to_le_bytes(), negative.to_le_bytes()].concat());
}

#[test]
fn without_reduce_tasks_every_split_writes_its_pairs() {
    let bench = Bench::new();
    let path = bench.file("in", b"a a\nb\n");
    for guest in [WORDCOUNT.to_owned(), ECHO.replace("synod_reduce", "reduce")] {
        let mut spec = wasm(&bench, &guest, &[&path]);
        spec.reduces = Some(0);
        spec.split_bytes = Some(4);
        run(&spec).unwrap();
        let one = 1_u64.to_le_bytes();
        let pair = |key: &[u8], value: [u8; 8]| [key, b"\t", &value, b"\n"].concat();
        let wanted = if guest == WORDCOUNT {
            [[pair(b"a", one), pair(b"a", one)].concat(), pair(b"b", one)]
        } else {
            [pair(b"a a", [0; 8]), pair(b"b", 4_u64.to_le_bytes())]
        };
        let parts: Vec<Vec<u8>> = parts(&spec.output).into_iter().map(|part| part.1).collect();
        assert_eq!(parts, wanted);
    }
}
