//! Which record or group is blamed when a module fails, and bad records that are left out.

use crate::support::{Bench, joined, run, sorted_lines, take_quarantine};
use crate::{ECHO, WORDCOUNT, guest, guest_that, set, wasm};
use synod_jobs::JobError;

/// Fails on records that begin with `!`.
const TRAPS: &str = "(if (i32.and
        (i32.gt_u (local.get $length) (i32.const 0))
        (i32.eq (i32.load8_u (local.get $record)) (i32.const 33)))
    (then unreachable))";

/// The word count that fails like this on records that begin with `!`.
fn picky_wordcount(failing: &str) -> String {
    let sign = "(block $ended";
    assert_eq!(WORDCOUNT.matches(sign).count(), 1);
    let check = format!(
        "(if (i32.and
            (i32.lt_u (local.get $at) (local.get $record_end))
            (i32.eq (i32.load8_u (local.get $at)) (i32.const 33)))
        (then {failing})) {sign}"
    );
    WORDCOUNT.replace(sign, &check)
}

fn lines_with_bad_ones(bad: &[usize]) -> (Vec<u8>, Vec<u64>) {
    let (mut text, mut offsets) = (Vec::new(), Vec::new());
    for number in 0..20_000 {
        if bad.contains(&number) {
            offsets.push(text.len() as u64);
            text.push(b'!');
        }
        text.extend_from_slice(format!("line {number}\n").as_bytes());
    }
    (text, offsets)
}

#[test]
fn a_trap_is_traced_to_its_record_in_the_middle_of_a_batch() {
    let bench = Bench::new();
    let (text, offsets) = lines_with_bad_ones(&[7_000, 15_000]);
    let path = bench.file("in", &text);
    let mut spec = wasm(&bench, &guest_that(TRAPS), &[&path]);
    spec.slots = Some(1);
    let error = run(&spec).unwrap_err();
    assert!(
        matches!(error, JobError::Task { bad_record: Some(offset), .. } if offset == offsets[0]),
        "{error}"
    );
    let (said, offset) = (error.to_string(), offsets[0]);
    for part in [path.to_str().unwrap(), "record 7000 ", &format!("offset {offset};"), "(in one)"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn bad_records_are_left_out_up_to_the_limit_whatever_they_do() {
    let bench = Bench::new();
    let (text, offsets) = lines_with_bad_ones(&[0, 9_999, 19_999]);
    let path = bench.file("in", &text);
    let good: Vec<u8> = text
        .split_inclusive(|&byte| byte == b'\n')
        .filter(|line| line[0] != b'!')
        .flatten()
        .copied()
        .collect();
    let honest = bench.file("good", &good);
    let native = bench.spec("wordcount", &[&honest]);
    run(&native).unwrap();
    let wanted = sorted_lines(&joined(&native.output));
    for failing in ["unreachable", "(loop $forever (br $forever))"] {
        let mut spec = wasm(&bench, &picky_wordcount(failing), &[&path]);
        set(&mut spec, "timeout_ms", "100");
        spec.split_bytes = Some(60_000);
        spec.skip_bad_records = 2;
        let error = run(&spec).unwrap_err();
        assert!(matches!(error, JobError::TooManyBadRecords { limit: 2, .. }), "{error}");
        spec.skip_bad_records = 3;
        let counters = run(&spec).unwrap().manifest.counters;
        assert_eq!(counters.bad_records_skipped, 3);
        let mut kept: Vec<_> = take_quarantine(&spec.output).into_values().flatten().collect();
        kept.sort_by_key(|line| line[2].parse::<u64>().unwrap());
        assert_eq!(kept.len(), 3);
        for (line, (offset, number)) in kept.iter().zip(offsets.iter().zip([0, 9_999, 19_999])) {
            assert_eq!(line[0], path.to_str().unwrap());
            assert_eq!((&line[2], &line[4]), (&offset.to_string(), &format!("!line {number}")));
            assert!(line[3].contains("module "), "{line:?}");
        }
        assert!(sorted_lines(&joined(&spec.output)) == wanted);
    }
}

/// The word count whose reduce function fails on words that begin with `!`.
fn picky_reduce() -> String {
    let sign = "(local.set $at (i32.add (local.get $key) (local.get $key_length)))";
    assert_eq!(WORDCOUNT.matches(sign).count(), 1);
    let check = "(if (i32.eq (i32.load8_u (local.get $key)) (i32.const 33)) (then unreachable))";
    WORDCOUNT.replace(sign, &format!("{check} {sign}"))
}

#[test]
fn groups_that_a_module_fails_on_are_left_out_up_to_the_limit() {
    let bench = Bench::new();
    let path = bench.file("in", b"c !two a\n!one b !two\n");
    let mut spec = wasm(&bench, &picky_reduce(), &[&path]);
    spec.reduces = Some(1);
    let error = run(&spec).unwrap_err();
    assert!(matches!(error, JobError::Task { bad_record: Some(0), .. }), "{error}");
    assert!(error.to_string().contains("on key `!one` in partition 0; fix the module or allow"));
    spec.skip_bad_records = 1;
    let error = run(&spec).unwrap_err();
    assert!(matches!(error, JobError::TooManyBadRecords { limit: 1, .. }), "{error}");
    spec.skip_bad_records = 2;
    let counters = run(&spec).unwrap().manifest.counters;
    assert_eq!(counters.user["bad_groups_skipped"], 2);
    let kept = take_quarantine(&spec.output);
    let lines: Vec<_> =
        kept[".skipped-r-000000"].iter().map(|line| [&*line[2], &line[4]]).collect();
    assert_eq!(lines, [["0", "!one"], ["1", "!two"]]);
    assert_eq!(joined(&spec.output), b"a\t1\nb\t1\nc\t1\n");
}

#[test]
fn a_trap_that_depends_on_what_came_before_names_the_batch() {
    let bench = Bench::new();
    let (text, _) = lines_with_bad_ones(&[]);
    let path = bench.file("in", &text);
    // Fails on the 9,000th record that an instance sees, so on none that it sees alone.
    let counting = guest(
        "(global $seen (mut i32) (i32.const 0))
        (func $one (param i32 i32)
            (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
            (if (i32.eq (global.get $seen) (i32.const 9000)) (then unreachable)))",
    );
    let mut spec = wasm(&bench, &counting, &[&path]);
    spec.slots = Some(1);
    let error = run(&spec).unwrap_err();
    assert!(matches!(error, JobError::Task { bad_record: None, permanent: true, .. }), "{error}");
    let said = error.to_string();
    let range = said.split_once("in the records at offsets ").unwrap().1;
    let (first, rest) = range.split_once(" to ").unwrap();
    let last = rest.split_once(' ').unwrap().0;
    let offset = "line 1\n".len() * 10
        + "line 10\n".len() * 90
        + "line 100\n".len() * 900
        + "line 1000\n".len() * 7_999;
    let range = first.parse::<usize>().unwrap()..=last.parse().unwrap();
    assert!(range.contains(&offset), "{said}");
}

#[test]
fn a_failing_reduce_names_the_key_or_the_keys_of_the_batch() {
    let bench = Bench::new();
    let path = bench.file("in", b"alpha\nbeta\nbeta\ngamma\n");
    // Fails on a group whose key begins with `b`.
    let sign = "(loop $each";
    assert_eq!(ECHO.matches(sign).count(), 1);
    let picky = ECHO.replace(
        sign,
        &format!(
            "(if (i32.eq (i32.load8_u (local.get $key)) (i32.const 98)) (then unreachable)) {sign}"
        ),
    );
    let error = run(&wasm(&bench, &picky, &[&path])).unwrap_err();
    assert!(
        matches!(error, JobError::Task { bad_record: Some(1), permanent: false, .. }),
        "{error}"
    );
    let said = error.to_string();
    assert!(said.contains("synod_reduce stopped with") && said.contains("on key `beta`"), "{said}");
    // Fails on the third group of an instance.
    let counting = guest(
        r#"(global $seen (mut i32) (i32.const 0))
        (data (i32.const 0x20000) "\01\00\00\00\00\00\00\00a\01\00\00\00\00\00\00\00b\01\00\00\00\00\00\00\00c")
        (func (export "synod_map") (param i32 i32) (result i64) (i64.const 0x200000000001b))
        (func (export "synod_reduce") (param $at i32) (param i32) (result i64)
            (if (i32.gt_u (local.get 1) (i32.const 40)) (then unreachable))
            (i64.const 0))"#,
    );
    let said = run(&wasm(&bench, &counting, &[&path])).unwrap_err().to_string();
    assert!(said.contains("in the keys `a` to `c` of partition 0"), "{said}");
}
