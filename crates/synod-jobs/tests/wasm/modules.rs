//! Which modules are refused before any work, and what the error says.

use crate::support::{Bench, run};
use crate::{ECHO, guest, prepared, set, wasm};
use synod_jobs::{JobError, JobSpec};

fn refusal(spec: &JobSpec) -> String {
    let error = run(spec).unwrap_err();
    assert!(matches!(error, JobError::BadSpec { .. }), "{error:?}");
    assert!(error.is_permanent() && !spec.output.exists(), "{error}");
    error.to_string()
}

#[test]
fn a_module_that_does_not_speak_the_interface_is_refused_by_the_name_of_what_is_wrong() {
    let bench = Bench::new();
    let path = bench.file("in", b"a\n");
    let memory64 = guest(r#"(memory (export "memory") i64 1)"#);
    let shared = guest(r#"(memory (export "memory") 1 1 shared)"#);
    let two = guest(r#"(memory (export "memory") 1) (memory $second 1)"#);
    let relaxed = guest(
        r#"(func $relaxed (result v128) (i32x4.relaxed_trunc_f32x4_s (v128.const i64x2 0 0)))"#,
    );
    for (module, named) in [
        ("(module)".to_owned(), "memory"),
        ("(mod".to_owned(), "neither WebAssembly nor its text"),
        (r#"(module (memory (export "memory") 1))"#.to_owned(), "synod_abi is missing"),
        (ECHO.replace("synod_map", "map"), "synod_map is missing"),
        (ECHO.replace("synod_reduce", "reduce"), "does not export synod_reduce"),
        (guest(r#"(func (export "synod_redcue"))"#), "export synod_redcue has no meaning"),
        (guest(r#"(func (export "synod_finish"))"#), "synod_finish is not a function () -> (i64)"),
        (guest(r#"(global (export "synod_init") i32 (i32.const 0))"#), "synod_init is not"),
        (
            guest(
                r#"(func (export "synod_combine_add_u64"))
                (func (export "synod_combine") (param i32 i32) (result i64) (i64.const 0))"#,
            ),
            "one of them is enough",
        ),
        (memory64, "memory64"),
        (shared, "threads"),
        (two, "multiple memories"),
        (relaxed, "relaxed SIMD"),
        (guest("(func $tail (return_call $tail))"), "tail calls"),
        (guest("(tag $exception)"), "exceptions"),
        (guest("(type (struct))"), "without the gc feature"),
        (guest("(type $t (func)) (func (param (ref $t)))"), "function references"),
        (guest("(table i64 1 funcref)"), "memory64"),
        (guest(r#"(memory (export "memory") 1 (pagesize 1))"#), "custom page sizes"),
        (guest("(table 100001 funcref)"), "the largest with 100001 elements"),
        (guest(&"(table 1 funcref)".repeat(17)), "it has 17 tables"),
        (
            guest(r#"(import "wasi_snapshot_preview1" "fd_write" (func))"#),
            "it imports wasi_snapshot_preview1.fd_write",
        ),
        (guest(r#"(import "env" "log" (func (param i32 i32)))"#), "it imports env.log"),
        (guest(r#"(import "synod" "now" (func (result i64)))"#), "it imports synod.now"),
        (guest(r#"(import "synod" "log" (func (param i32)))"#), "import synod.log is a function"),
        (guest(r#"(import "synod" "log" (global i32))"#), "import synod.log is a function"),
    ] {
        let said = refusal(&wasm(&bench, &module, &[&path]));
        assert!(said.contains(named), "{named}: {said}");
    }
}

#[test]
fn what_a_binary_is_cut_to_is_refused_at_every_length() {
    let bench = Bench::new();
    let path = bench.file("in", b"a\n");
    let binary = wat::parse_str(ECHO).unwrap();
    let mut spec = wasm(&bench, "", &[&path]);
    for length in (0..binary.len()).step_by(13) {
        let module = bench.file("cut.wasm", &binary[..length]);
        set(&mut spec, "module", module.to_str().unwrap());
        refusal(&spec);
    }
    let module = bench.file("whole.wasm", &binary);
    set(&mut spec, "module", module.to_str().unwrap());
    run(&spec).unwrap();
}

#[test]
fn options_are_checked_and_a_module_that_is_not_there_is_named() {
    let bench = Bench::new();
    let path = bench.file("in", b"a\n");
    for (option, value, named) in [
        ("memory_mb", "0", "a number from 1 to 1024"),
        ("memory_mb", "1025", "a number from 1 to 1024"),
        ("timeout_ms", "9", "a number from 10 to 600000"),
        ("output", "json", "lines or bare"),
        ("argument", "x", "module, hash, memory_mb"),
        ("given_mb", "0", "a number from 1 to 1048576"),
        ("hash", "00", "its SHA-256 is"),
    ] {
        let mut spec = wasm(&bench, ECHO, &[&path]);
        set(&mut spec, option, value);
        let said = refusal(&spec);
        assert!(said.contains(named), "{named}: {said}");
    }
    let mut spec = wasm(&bench, ECHO, &[&path]);
    spec.options.remove("module");
    assert!(refusal(&spec).contains("needs option `module`"));
    set(&mut spec, "module", bench.path("").to_str().unwrap());
    assert!(refusal(&spec).contains("not a regular file"));
    // Nobody writes to this one: whoever opened it would wait.
    let pipe = bench.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    set(&mut spec, "module", pipe.to_str().unwrap());
    assert!(refusal(&spec).contains("not a regular file"));
    set(&mut spec, "module", bench.file("long", &vec![0; (16 << 20) + 1]).to_str().unwrap());
    assert!(refusal(&spec).contains("longer than 16777216 bytes"));
    set(&mut spec, "module", "/nowhere/x.wasm");
    let error = run(&spec).unwrap_err().to_string();
    assert!(error.contains("read module /nowhere/x.wasm"), "{error}");
}

#[test]
fn a_submitted_job_is_held_to_the_module_that_was_there() {
    let bench = Bench::new();
    let path = bench.file("in", b"a\n");
    let mut spec = prepared(&wasm(&bench, ECHO, &[&path])).unwrap();
    assert_eq!(spec.options["hash"].len(), 64);
    run(&spec).unwrap();
    bench.file("out-1.wat", guest("").as_bytes());
    spec.output = bench.path("out-after");
    let said = refusal(&spec);
    assert!(said.contains("its SHA-256 is") && said.contains(&spec.options["hash"]), "{said}");
}
