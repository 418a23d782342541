//! Modules that would keep the compiler busy for minutes, or have it take all the memory there is, are
//! refused before it sees them, by the limit that they break.

use crate::support::{Bench, run};
use crate::{guest, set, wasm};
use synod_jobs::JobError;

/// What is said about a module with these parts.
fn refusal(parts: &str) -> String {
    refusal_of(guest(parts).as_bytes())
}

fn refusal_of(module: &[u8]) -> String {
    let bench = Bench::new();
    let mut spec = wasm(&bench, "", &[&bench.file("in", b"a\n")]);
    set(&mut spec, "module", bench.file("module", module).to_str().unwrap());
    let error = run(&spec).unwrap_err();
    assert!(matches!(error, JobError::BadSpec { .. }) && !spec.output.exists(), "{error:?}");
    error.to_string()
}

fn i32s(count: usize) -> String {
    "i32 ".repeat(count)
}

#[test]
fn functions_with_too_much_of_something_are_refused_by_their_index_and_the_limit() {
    // Functions are numbered with the imported ones first.
    let before = r#"(import "synod" "log" (func (param i32 i32))) (func)"#;
    for (function, limit) in [
        (format!("(func {})", "nop ".repeat(600_000)), "bytes of code in function 2"),
        (
            format!("(func (local {}))", i32s(10_001)),
            "has 10001 local variables in function 2: 10000",
        ),
        (format!("(func {})", "(loop)".repeat(1_001)), "has 1001 loops in function 2: 1000"),
        (
            format!("(func {}{})", "(loop ".repeat(1_001), ")".repeat(1_001)),
            "has 1001 loops in function 2: 1000",
        ),
        (
            format!("(func {})", "(block)".repeat(20_001)),
            "has 20001 blocks and targets of branches in function 2: 20000",
        ),
        (
            // A target that is there many times is one.
            format!(
                "(func (param i32) {} (br_table {}(local.get 0)) {})",
                "(block ".repeat(10_001),
                (0..10_001).chain(0..10_001).map(|label| format!("{label} ")).collect::<String>(),
                ")".repeat(10_001)
            ),
            "has 20002 blocks and targets of branches in function 2: 20000",
        ),
    ] {
        let said = refusal(&format!("{before}{function}"));
        assert!(said.contains(limit), "{limit}: {said}");
    }
}

#[test]
fn functions_whose_parts_are_few_but_cost_much_together_are_refused() {
    for function in [
        // A hundred values for each of the calls, blocks, branches.
        format!(
            "(type $t (func (param {0}) (result {0}))) (func $f (type $t) {1} {2})",
            i32s(60),
            (0..60).map(|n| format!("(local.get {n})")).collect::<String>(),
            "(call $f)".repeat(5_000),
        ),
        format!(
            "(type $t (func (param {0}) (result {0}))) (func (type $t) {1} {2})",
            i32s(60),
            (0..60).map(|n| format!("(local.get {n})")).collect::<String>(),
            "(block (type $t) (br_if 0 (i32.const 1)))".repeat(3_000),
        ),
        // Each branch may bring along every variable.
        format!(
            "(func (local {}) {})",
            i32s(5_000),
            "(block (br_if 0 (i32.const 1)) (local.set 7 (i32.const 1)))".repeat(2_000)
        ),
        // Long code for one byte each.
        format!("(func (param f64) (result f64) (local.get 0) {})", "f64.sqrt ".repeat(200_000)),
        format!(
            "(table 1 funcref) (type $t (func)) (func {})",
            "(call_indirect (type $t) (i32.const 0))".repeat(40_000)
        ),
    ] {
        let said = refusal(&function);
        assert!(said.contains("units of work for the compiler in function 0"), "{said}");
    }
}

#[test]
fn modules_with_too_much_of_something_are_refused() {
    let types = |count: u32| {
        let ty = |n: u32| -> String {
            (0..8)
                .map(|digit| ["i32 ", "i64 ", "f32 ", "f64 "][(n >> (2 * digit)) as usize & 3])
                .collect()
        };
        (0..count).map(|n| format!("(type (func (param {})))", ty(n))).collect::<String>()
    };
    let import = r#"(import "synod" "log" (func (param i32 i32)))"#;
    for (parts, limit) in [
        ("(func)".repeat(50_001), "functions: 50000 are allowed"),
        (types(10_001), "types of functions: 10000 are allowed"),
        (format!("(func (param {}))", i32s(129)), "129 parameters and results in type"),
        (import.repeat(1_001), "it has 1001 imports: 1000"),
        ("(global i32 (i32.const 0))".repeat(10_001), "it has 10001 global variables: 10000"),
        (
            format!("(table 1 funcref) (func $f) (elem func {})", "$f ".repeat(100_001)),
            "it has 100001 elements of tables: 100000",
        ),
        // Each of them is small enough.
        (
            format!("(func {})", "(loop)".repeat(900)).repeat(500),
            "units of work for the compiler in functions 0 to",
        ),
        (
            format!(
                "(func (param i32) (local {}) {})",
                i32s(200),
                "(if (local.get 0) (then (local.set 7 (i32.load (local.get 0)))))".repeat(2_000)
            )
            .repeat(25),
            "units of work for the compiler in functions 0 to",
        ),
    ] {
        let said = refusal(&parts);
        assert!(said.contains(limit), "{limit}: {said}");
    }
}

#[test]
fn modules_that_are_as_large_as_compilers_write_them_are_not_refused() {
    let bench = Bench::new();
    let path = bench.file("in", b"a\n");
    // Large for a function of a program: a table of opcodes, a block for each, loops, a variable for all.
    let (count, opcodes) = (300, 0..300);
    let cases: String = opcodes
        .map(|n| {
            let (one, other) = (n % 40, (n + 7) % 40);
            format!(
                "(local.set {one} (i32.add (local.get {other}) (i32.const {n})))
                (if (i32.eqz (local.get {one})) (then (br $next))) (br $next))"
            )
        })
        .collect();
    let labels: String = (0..count).map(|label| format!("{label} ")).collect();
    let interpreter = format!(
        "(func (param i32) (local {}) (block $end (loop $next (br_if $end (local.get 3))
            {} (block (br_table {labels} {count} (local.get 0))) {cases})))",
        i32s(40),
        "(block ".repeat(count),
    );
    let ordinary = format!(
        "(func (param i32 i32) (result i32) {} (local.get 0))",
        "(if (local.get 1) (then (i32.store (local.get 0) (i32.add (local.get 1) (i32.const 1)))))"
            .repeat(20)
    );
    let module = guest(&format!("{interpreter}{}", ordinary.repeat(100)));
    run(&wasm(&bench, &module, &[&path])).unwrap();
}
