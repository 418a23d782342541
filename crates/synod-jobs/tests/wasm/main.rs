//! Jobs in WebAssembly: whole jobs in this process and on a worker, beside the same jobs in Rust, and
//! modules that lie in every way. The guests are in `guests/`, or built here from a few lines of text.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod cancelled;
mod costs;
mod equal;
mod hostile;
mod inputs;
mod interface;
mod modules;
mod records;
mod rust;
mod worker;

use std::path::Path;
use support::Bench;
use synod_jobs::{JobError, JobSpec, Progress, run_passes};

/// Counts words; its values are counts that the engine adds up.
pub const WORDCOUNT: &str = include_str!("guests/wordcount.wat");
/// Gives every record back.
pub const ECHO: &str = include_str!("guests/echo.wat");

/// What a module has if its text does not say otherwise. The map function calls `$one` for every record.
const DEFAULTS: [(&str, &str); 5] = [
    ("\"memory\"", r#"(memory (export "memory") 4)"#),
    ("\"synod_abi\"", r#"(func (export "synod_abi") (result i32) (i32.const 1))"#),
    (
        "\"synod_buffer\"",
        r#"(func (export "synod_buffer") (param $length i32) (result i32)
            (local $pages i32)
            (local.set $pages (i32.sub
                (i32.add (i32.shr_u (local.get $length) (i32.const 16)) (i32.const 3))
                (memory.size)))
            (if (i32.gt_s (local.get $pages) (i32.const 0))
                (then (if (i32.lt_s (memory.grow (local.get $pages)) (i32.const 0))
                    (then (return (i32.const 0))))))
            (i32.const 0x10000))"#,
    ),
    (
        "\"synod_map\"",
        r#"(func (export "synod_map") (param $at i32) (param $length i32) (result i64)
            (local $end i32) (local $record i32)
            (local.set $end (i32.add (local.get $at) (local.get $length)))
            (block $done (loop $next
                (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
                (local.set $record (i32.add (i32.add (local.get $at) (i32.const 16))
                    (i32.load offset=8 align=1 (local.get $at))))
                (local.set $length (i32.load offset=12 align=1 (local.get $at)))
                (call $one (local.get $record) (local.get $length))
                (local.set $at (i32.add (local.get $record) (local.get $length)))
                (br $next)))
            (i64.const 0))"#,
    ),
    (
        "\"synod_reduce\"",
        r#"(func (export "synod_reduce") (param i32 i32) (result i64) (i64.const 0))"#,
    ),
];

/// A module of these parts, completed by what they do not have.
pub fn guest(parts: &str) -> String {
    let mut text = format!("(module {parts}\n");
    for (sign, part) in DEFAULTS {
        if !parts.contains(sign) {
            text += part;
        }
    }
    if !parts.contains("$one") {
        text += "(func $one (param $record i32) (param $length i32))";
    }
    text + ")"
}

/// A module whose first function is `$one`: this.
pub fn guest_that(body: &str) -> String {
    guest(&format!("(func $one (param $record i32) (param $length i32) {body})"))
}

/// A job of this module.
pub fn wasm(bench: &Bench, module: &str, inputs: &[&Path]) -> JobSpec {
    let mut spec = bench.spec("wasm", inputs);
    let name = format!("{}.wat", spec.output.file_name().unwrap().to_str().unwrap());
    let path = bench.file(&name, module.as_bytes());
    set(&mut spec, "module", path.to_str().unwrap());
    spec
}

/// Sets an option of a job.
pub fn set(spec: &mut JobSpec, name: &str, value: &str) {
    spec.options.insert(name.to_owned(), value.to_owned());
}

/// The spec as it is submitted: with the whole path of its module, and the hash.
pub fn prepared(spec: &JobSpec) -> Result<JobSpec, JobError> {
    let mut prepared = None;
    let stopped = run_passes(spec, &Progress::new(), |pass| {
        prepared = Some(pass.clone());
        Err(JobError::Cancelled)
    });
    prepared.ok_or_else(|| stopped.unwrap_err())
}
