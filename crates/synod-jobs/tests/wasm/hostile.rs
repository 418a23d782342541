//! Modules that lie, hang, grow, recurse and trap: every one ends as an error that says what it did, and
//! the process goes on.

use crate::support::{Bench, run};
use crate::{ECHO, guest, guest_that, set, wasm};
use synod_jobs::{JobError, JobSpec};

/// Runs a job of this module over three lines, which must fail, and gives the message.
fn failure(module: &str) -> String {
    failure_with(module, &|_| {})
}

fn failure_with(module: &str, shape: &dyn Fn(&mut JobSpec)) -> String {
    let bench = Bench::new();
    let path = bench.file("in", b"one\ntwo\nthree\n");
    let mut spec = wasm(&bench, module, &[&path]);
    set(&mut spec, "timeout_ms", "200");
    shape(&mut spec);
    let error = run(&spec).unwrap_err();
    assert!(matches!(error, JobError::Task { .. }), "{error:?}");
    assert!(!spec.output.exists());
    // Nothing is left of it that would disturb the next one.
    let mut honest = wasm(&bench, ECHO, &[&path]);
    honest.split_bytes = Some(4);
    assert_eq!(run(&honest).unwrap().manifest.counters.reduce_records_out, 3);
    error.to_string()
}

#[track_caller]
fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// A map function with this answer.
fn answering(body: &str) -> String {
    guest(&format!(r#"(func (export "synod_map") (param i32 i32) (result i64) {body})"#))
}

/// A map function that writes these bytes at 0x20000 and answers with them.
fn giving(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let answer = 0x20000_u64 << 32 | bytes.len() as u64;
    guest(&format!(
        r#"(data (i32.const 0x20000) "{text}")
        (func (export "synod_map") (param i32 i32) (result i64) (i64.const {answer}))"#
    ))
}

#[test]
fn answers_beyond_memory_are_refused() {
    for (start, length) in [
        (0x40000_u64, 1_u64),
        (0x3ffff, 2),
        (0, 0x7fff_ffff),
        (0xffff_ffff, 0x7fff_ffff),
        (0xffff_ffff, 0),
        (0x8000_0000, 1),
    ] {
        let said = failure(&answering(&format!("(i64.const {})", start << 32 | length)));
        let what = format!("synod_map gave {length} bytes at {start}, beyond its memory");
        assert_says(&said, &[&what, "on record 0", "offset 0"]);
    }
}

#[test]
fn lengths_that_lie_within_an_answer_are_refused() {
    let lengths = |key: u32, value: u32| [key.to_le_bytes(), value.to_le_bytes()].concat();
    for bytes in [
        lengths(1, 0),
        lengths(0, 1),
        lengths(u32::MAX, 0),
        lengths(0, u32::MAX),
        lengths(u32::MAX, u32::MAX),
        lengths(1 << 31, 1 << 31),
        vec![0; 7],
        [lengths(0, 0), vec![1]].concat(),
    ] {
        assert_says(&failure(&giving(&bytes)), &["the pair that it gave at address", "bytes left"]);
    }
    let (length, rest) = (
        "(i32.add (local.get $key_length) (local.get $value)))",
        "\n          (local.set $out (i32.add (local.get $out) (i32.const 4)))",
    );
    let longer = ECHO.replace(&format!("{length}{rest}"), &format!("(i32.const -1)){rest}"));
    assert_ne!(longer, ECHO);
    let said = failure(&longer);
    assert_says(&said, &["the record that it gave at address", "on key `one`", "partition 0"]);
}

#[test]
fn an_answer_may_overlap_the_batch_or_be_the_same_every_time() {
    // The batch itself, read as pairs: an offset of 0 is a pair of nothing, the rest does not fit.
    let said = failure(&answering(
        "(i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32))
            (i64.extend_i32_u (local.get 1)))",
    ));
    assert_says(&said, &["the pair that it gave"]);
    let bench = Bench::new();
    let path = bench.file("in", &b"x\n".repeat(30_000));
    let module = giving(&[&3_u32.to_le_bytes()[..], &0_u32.to_le_bytes(), b"key"].concat());
    let counters = run(&wasm(&bench, &module, &[&path])).unwrap().manifest.counters;
    // One for every batch of 64 KiB, a record with its header takes 17 bytes.
    assert_eq!(counters.map_pairs_out, 30_000_u64.div_ceil((64 << 10) / 17));
}

#[test]
fn endless_loops_end_wherever_they_are() {
    let forever = "(loop $forever (br $forever))";
    let then = |result: &str| format!("{forever} {result}");
    for (module, function) in [
        (guest_that(forever), "synod_map"),
        (guest(&format!(r#"(func (export "synod_init") (param i32) {forever})"#)), "synod_init"),
        (guest(&format!(r#"(func (export "_initialize") {forever})"#)), "_initialize"),
        (guest(&format!("(func $start {forever}) (start $start)")), "its start"),
        (
            guest(&format!(
                r#"(func (export "synod_abi") (result i32) {})"#,
                then("(i32.const 1)")
            )),
            "synod_abi",
        ),
        (
            guest(&format!(
                r#"(func (export "synod_buffer") (param i32) (result i32) {})"#,
                then("(i32.const 0)")
            )),
            "synod_buffer",
        ),
        (
            guest(&format!(
                r#"(func (export "synod_finish") (result i64) {})"#,
                then("(i64.const 0)")
            )),
            "synod_finish",
        ),
        (
            guest(
                r#"(func (export "synod_map") (param i32 i32) (result i64) (i64.const 0x80000000))
                (func (export "synod_more") (result i64) (i64.const 0x80000000))"#,
            ),
            "synod_more",
        ),
    ] {
        let said = failure(&module);
        assert_says(&said, &[&format!("{function} took longer than its time"), "timeout_ms"]);
    }
}

#[test]
fn instructions_that_do_much_at_once_do_not_stretch_the_time() {
    // 60 MiB each turn: counted as instructions, this would be allowed to run for hours.
    let said = failure_with(
        &guest_that(
            "(drop (memory.grow (i32.const 956)))
            (loop $forever
                (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x3c00000))
                (br $forever))",
        ),
        &|spec| set(spec, "timeout_ms", "50"),
    );
    assert_says(&said, &["synod_map took longer than its time"]);
}

#[test]
fn memory_ends_at_the_limit_and_a_module_that_wants_more_at_once_does_not_start() {
    // Counts the pages that it gets, and traps with that number in the log.
    let greedy = guest(
        r#"(import "synod" "log" (func $log (param i32 i32)))
        (func $one (param i32 i32)
            (loop $more (br_if $more (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0))))
            (i32.store8 (i32.const 0)
                (i32.add (i32.const 48) (i32.shr_u (memory.size) (i32.const 4))))
            (call $log (i32.const 0) (i32.const 1))
            unreachable)"#,
    );
    let said = failure_with(&greedy, &|spec| set(spec, "memory_mb", "8"));
    // 128 pages are 8 MiB.
    assert_says(&said, &["the last line it logged: 8"]);
    let said = failure(&guest(r#"(memory (export "memory") 1025)"#));
    assert_says(&said, &["its start failed", "memory"]);
    // Two tables that are too large together are found out at the start, one before it.
    let said = failure(&guest("(table 60000 funcref) (table 60000 funcref)"));
    assert_says(&said, &["its start failed", "table", "fix the module"]);
}

#[test]
fn a_machine_without_room_for_an_instance_is_to_blame_and_not_the_module() {
    const INSIDE: &str = "SYNOD_TEST_WITHOUT_ROOM";
    if std::env::var_os(INSIDE).is_some() {
        let bench = Bench::new();
        let error = run(&wasm(&bench, ECHO, &[&bench.file("in", b"one\n")])).unwrap_err();
        eprintln!("permanent: {}: {error}", error.is_permanent());
        return;
    }
    // An instance reserves 4 GiB of addresses: here another process of this program has 3.
    let name = "hostile::a_machine_without_room_for_an_instance_is_to_blame_and_not_the_module";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -v 3000000 && exec \"$0\" \"$@\""]);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", name, "--nocapture"]);
    let output = command.env(INSIDE, "1").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert_says(&said, &["permanent: false", "there is no room", "mmap", "run it where there is"]);
}

#[test]
fn what_the_host_does_with_answers_is_not_the_modules_time() {
    // 2 Mi empty pairs in each of two pieces, which lie there from the start: all that takes time is to
    // write a line for each.
    let (start, bytes) = (0x10000_u64, 16_u64 << 20);
    let (more, last) = (start << 32 | 1 << 31 | bytes, start << 32 | bytes);
    let module = guest(&format!(
        r#"(memory (export "memory") 300)
        (func (export "synod_buffer") (param i32) (result i32) (i32.const 0x1100000))
        (func (export "synod_map") (param i32 i32) (result i64) (i64.const {more}))
        (func (export "synod_more") (result i64) (i64.const {last}))"#
    ));
    let bench = Bench::new();
    let mut spec = wasm(&bench, &module, &[&bench.file("in", b"one\n")]);
    spec.reduces = Some(0);
    set(&mut spec, "timeout_ms", "50");
    let manifest = run(&spec).unwrap().manifest;
    assert_eq!(manifest.parts[0].records, 4 << 20);
}

#[test]
fn deep_recursion_and_other_traps_are_named_with_their_function() {
    for (body, what) in [
        ("(call $one (i32.const 0) (i32.const 0))", "call stack exhausted"),
        ("unreachable", "unreachable"),
        ("(drop (i32.load (i32.const -1)))", "out of bounds memory access"),
        ("(i32.store8 (i32.const 0x40000) (i32.const 0))", "out of bounds memory access"),
        ("(drop (i32.div_s (i32.const 1) (i32.const 0)))", "integer divide by zero"),
        ("(memory.fill (i32.const 1) (i32.const 0) (i32.const -1))", "out of bounds memory access"),
    ] {
        assert_says(&failure(&guest_that(body)), &["synod_map stopped with", what, "(in one)"]);
    }
    let start = guest("(func $bad unreachable) (start $bad)");
    assert_says(&failure(&start), &["its start stopped with", "unreachable"]);
}

#[test]
fn buffers_that_are_not_there_are_refused() {
    for start in ["0x3fff0", "-1", "0x80000000"] {
        let said = failure(&guest(&format!(
            r#"(func (export "synod_buffer") (param i32) (result i32) (i32.const {start}))"#
        )));
        assert_says(&said, &["synod_buffer gave", "beyond its memory"]);
    }
    let said =
        failure(&guest(r#"(func (export "synod_buffer") (param i32) (result i32) (i32.const 0))"#));
    assert_says(&said, &["synod_buffer has no room for a batch of 19 bytes", "on record 0"]);
}

#[test]
fn imports_do_not_reach_beyond_memory() {
    for (call, what) in [
        ("(call $log (i32.const 0x3ffff) (i32.const 2))", "log was given 2 bytes at 262143"),
        ("(call $log (i32.const -1) (i32.const -1))", "log was given"),
        (
            "(call $count (i32.const 0x40001) (i32.const 0) (i64.const 1))",
            "count was given 0 bytes",
        ),
        ("(call $count (i32.const 0) (i32.const 257) (i64.const 1))", "a counter has 257 bytes"),
        (
            "(drop (call $config (i32.const -1) (i32.const 1) (i32.const 0) (i32.const 0)))",
            "config was given 1 bytes",
        ),
        (
            "(drop (call $config (i32.const 0) (i32.const 1) (i32.const 0x3ffff) (i32.const 2)))",
            "config was given room for 2 bytes at 262143",
        ),
    ] {
        let said = failure(&guest(&format!(
            r#"(import "synod" "log" (func $log (param i32 i32)))
            (import "synod" "count" (func $count (param i32 i32 i64)))
            (import "synod" "config" (func $config (param i32 i32 i32 i32) (result i32)))
            (func $one (param i32 i32) {call})"#
        )));
        assert_says(&said, &["synod_map failed:", what]);
    }
}

#[test]
fn more_is_asked_for_only_where_it_can_be_had_and_only_up_to_a_limit() {
    let said = failure(&answering("(i64.const 0x80000000)"));
    assert_says(&said, &["says that there is more, but synod_more is missing"]);
    // A pair of 16 MiB, again and again.
    let endless = guest(
        r#"(data (i32.const 0x20000) "\00\00\00\00\00\00\00\01")
        (func (export "synod_map") (param i32 i32) (result i64)
            (drop (memory.grow (i32.const 300)))
            (call $more))
        (func $more (export "synod_more") (result i64)
            (i64.const 0x2000081000008))"#,
    );
    let said = failure_with(&endless, &|spec| {
        spec.memory_bytes = 64 << 20;
        set(spec, "timeout_ms", "60000");
    });
    assert_says(&said, &["one batch gave more than"]);
}

#[test]
fn a_task_gives_no_more_than_its_limit_or_many_times_what_it_is_handed() {
    // For each batch a pair whose value is the 64 KiB before the batch; 17 of them are a MiB and more.
    let gives = guest(
        r#"(func (export "synod_map") (param i32 i32) (result i64)
            (i32.store (i32.const 0) (i32.const 0))
            (i32.store (i32.const 4) (i32.const 0xfff8))
            (i64.const 0x10000))"#,
    );
    let bench = Bench::new();
    let few = bench.file(
        "few",
        &b"x
"
        .repeat(3_000),
    );
    let spread = |times: usize| {
        [
            &vec![b'x'; 60_000][..],
            b"
",
        ]
        .concat()
        .repeat(times)
    };
    let (many, more) = (bench.file("many", &spread(16)), bench.file("more", &spread(17)));
    let shape = |path: &std::path::Path| {
        let mut spec = wasm(&bench, &gives, &[path]);
        set(&mut spec, "given_mb", "1");
        spec
    };
    run(&shape(&few)).unwrap();
    run(&shape(&many)).unwrap();
    // As much as it is handed is never too much.
    run(&shape(&more)).unwrap();
    let endless = guest(
        r#"(data (i32.const 0x20000) "\00\00\00\00\f8\ff\00\00")
        (func (export "synod_map") (param i32 i32) (result i64) (call $more))
        (func $more (export "synod_more") (result i64) (i64.const 0x2000080010000))"#,
    );
    let said = failure_with(&endless, &|spec| {
        set(spec, "given_mb", "1");
        set(spec, "timeout_ms", "60000");
    });
    assert_says(
        &said,
        &[
            "it has given 1114112 bytes for the 59 bytes that it was handed",
            "a task may give 1048576, or 16 times",
            "given_mb",
        ],
    );
}

#[test]
fn another_version_of_the_interface_is_refused() {
    for version in [0, 2, -1] {
        let said = failure(&guest(&format!(
            r#"(func (export "synod_abi") (result i32) (i32.const {version}))"#
        )));
        assert_says(&said, &["of the interface, this is 1"]);
    }
}

#[test]
fn counts_that_are_not_eight_bytes_and_combiners_that_change_keys_are_refused() {
    let marker = r#"(func (export "synod_combine_add_u64"))"#;
    let pair = |value: usize| {
        let mut bytes = [1_u32.to_le_bytes(), (value as u32).to_le_bytes()].concat();
        bytes.extend(std::iter::repeat_n(b'k', value + 1));
        bytes
    };
    for length in [0, 7, 9] {
        let module = giving(&pair(length)).replacen("(module", &format!("(module {marker}"), 1);
        let said = failure(&module);
        assert_says(&said, &[&format!("a value of {length} bytes; a count has 8"), "on record 0"]);
    }
    let combiner = r#"(data (i32.const 16) "\05\00\00\00\00\00\00\00other")
        (func (export "synod_combine") (param i32 i32) (result i64) (i64.const 0x100000000d))"#;
    let module = ECHO.replacen("(module", &format!("(module {combiner}"), 1);
    let said = failure_with(&module, &|spec| spec.reduces = Some(1_000));
    assert_says(&said, &["the combiner gave key `other` of another partition"]);
}
