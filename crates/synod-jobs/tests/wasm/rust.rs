//! The guest in Rust of `docs/examples/wasm`, where the compiler has the target for it.

use crate::support::{
    Bench, joined, leave_out, parts, run, sorted_lines, take_quarantine, zipf_text,
};
use crate::{set, wasm};
use std::path::Path;
use std::process::Command;
use synod_jobs::JobError;

const TARGET: &str = "wasm32-unknown-unknown";
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/wasm");

/// Compiles a guest as its name-plate says; `None` where the target is not installed.
fn compile(bench: &Bench, source: &Path) -> Option<String> {
    let shown =
        Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    let shown = shown.unwrap();
    let folder = String::from_utf8(shown.stdout).unwrap();
    if !Path::new(folder.trim()).is_dir() {
        leave_out(
            &format!("guests in Rust: rustc has no {TARGET}"),
            "SYNOD_TEST_REQUIRE_WASM_TARGET",
        );
        return None;
    }
    let module = bench.path("guest.wasm");
    let compiled = Command::new("rustc")
        .args(["--edition", "2024", "-O", "--target", TARGET, "--crate-type", "cdylib"])
        .args(["-D", "warnings", "-o"])
        .args([&module, source])
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    Some(module.to_str().unwrap().to_owned())
}

#[test]
fn the_word_count_in_rust_counts_as_the_native_one() {
    let bench = Bench::new();
    let Some(module) = compile(&bench, &Path::new(EXAMPLES).join("wordcount.rs")) else { return };
    let path = bench.file("in", &zipf_text(34, 1 << 20, 20_000));
    let mut native = bench.spec("wordcount", &[&path]);
    let mut spec = wasm(&bench, "", &[&path]);
    for spec in [&mut native, &mut spec] {
        spec.reduces = Some(2);
        spec.split_bytes = Some(123_456);
    }
    set(&mut spec, "module", &module);
    run(&native).unwrap();
    run(&spec).unwrap();
    assert!(parts(&spec.output) == parts(&native.output));
}

#[test]
fn a_panic_in_rust_fails_its_record_with_its_message() {
    let bench = Bench::new();
    let sdk = std::fs::read(Path::new(EXAMPLES).join("synod_guest.rs")).unwrap();
    bench.file("synod_guest.rs", &sdk);
    let source = bench.file(
        "picky.rs",
        br#"mod synod_guest;
use synod_guest::{Job, Pairs, Record, Records};

#[derive(Default)]
pub struct Picky;

impl Job for Picky {
    fn map(&mut self, record: Record<'_>, out: &mut Pairs) {
        assert!(record.bytes != b"bad", "what a record");
        synod_guest::count("good", 1);
        let greeting = synod_guest::config("greeting").unwrap();
        out.emit(record.bytes, greeting.as_bytes());
    }

    fn value(&mut self, key: &[u8], value: &[u8], out: &mut Records) {
        out.write(&[key, b" ", value]);
    }

    fn end(&mut self, _: &[u8], _: &mut Records) {}
}

synod_guest::job!(Picky);
"#,
    );
    let Some(module) = compile(&bench, &source) else { return };
    let path = bench.file("in", b"one\nbad\ntwo\n");
    let mut spec = wasm(&bench, "", &[&path]);
    set(&mut spec, "module", &module);
    let greeting = "a greeting that is longer than any that came before it";
    set(&mut spec, "arg.greeting", greeting);
    let error = run(&spec).unwrap_err();
    assert!(matches!(error, JobError::Task { bad_record: Some(4), .. }), "{error}");
    assert!(error.to_string().contains("what a record"), "{error}");
    spec.skip_bad_records = 1;
    let counters = run(&spec).unwrap().manifest.counters;
    assert_eq!(counters.user["good"], 2);
    assert_eq!(take_quarantine(&spec.output)[".skipped-m-000000"][0][4], "bad");
    let wanted = format!("one {greeting}\ntwo {greeting}\n");
    assert!(sorted_lines(&joined(&spec.output)) == sorted_lines(wanted.as_bytes()));
}
