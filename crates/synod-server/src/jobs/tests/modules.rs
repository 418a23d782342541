//! Jobs in WebAssembly on several workers: nasty inputs give what they give in one process, or its error;
//! and modules that count, log and compute without end do harm to nobody.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use synod_jobs::cluster::JobState;
use synod_jobs::framing::pair_into;
use synod_jobs::{
    Framing, JobError, JobSpec, JobSummary, LongRecords, Progress, run_built_in, run_passes,
};

use super::bench::{Bench, Kind, parts, text};
use super::commits::wait_until;
use crate::jobs::moments::Moment;
use crate::jobs::{Cancelling, cancel_job};

/// Gives every record back, with its offset and its key: the tests of modules compare it with a job in Rust.
const ECHO: &str = include_str!("../../../../synod-jobs/tests/wasm/guests/echo.wat");
/// Counts words; its values are counts that the engine adds up.
const WORDCOUNT: &str = include_str!("../../../../synod-jobs/tests/wasm/guests/wordcount.wat");

/// Three nodes that run a task at a time each.
async fn three() -> Bench {
    let mut bench = Bench::new(0).await;
    for _ in 0..3 {
        bench.add(Kind { slots: 1, ..Kind::default() }.unhurried()).await;
    }
    bench
}

/// The kind of a worker of which one alone is enough.
fn acting(act: impl Fn(Moment<'_>) + Send + Sync + 'static) -> Kind {
    Kind::acting(act).unhurried()
}

fn file(bench: &Bench, name: &str, bytes: &[u8]) -> PathBuf {
    let path = bench.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// A job of this module.
fn job(bench: &Bench, module: &str, inputs: &[PathBuf], output: &str) -> JobSpec {
    let path = file(bench, &format!("{output}.wat"), module.as_bytes());
    let mut spec = JobSpec {
        sync_output: false,
        speculative: false,
        ..JobSpec::new("wasm", inputs, bench.path(output))
    };
    spec.options.insert("module".to_owned(), path.to_str().unwrap().to_owned());
    spec.options.insert("output".to_owned(), "bare".to_owned());
    spec
}

/// As the command line does, which notes what the module is.
fn prepared(spec: &JobSpec) -> JobSpec {
    let mut prepared = None;
    let stopped = run_passes(spec, &Progress::new(), |pass| {
        prepared = Some(pass.clone());
        Err(JobError::Cancelled)
    });
    prepared.unwrap_or_else(|| panic!("{stopped:?}"))
}

async fn run_here(spec: &JobSpec) -> Result<JobSummary, JobError> {
    let here = JobSpec { output: spec.output.with_extension("here"), ..spec.clone() };
    tokio::task::spawn_blocking(move || run_built_in(&here, &Progress::new())).await.unwrap()
}

/// Runs it here and there, compares every byte and every count of records; what was counted there.
async fn same(bench: &Bench, spec: &JobSpec) -> synod_jobs::Counters {
    let here = run_here(spec).await.unwrap().manifest.counters;
    let there = bench.run(&prepared(spec)).await.unwrap().manifest.counters;
    let what = (&spec.inputs, &spec.format);
    assert!(parts(&spec.output) == parts(&spec.output.with_extension("here")), "{what:?}");
    assert_eq!(there.map_records_in, here.map_records_in, "{what:?}");
    assert_eq!(there.reduce_records_out, here.reduce_records_out, "{what:?}");
    assert_eq!(there.long_records_skipped, here.long_records_skipped, "{what:?}");
    assert_eq!(there.user, here.user, "{what:?}");
    there
}

#[tokio::test]
async fn odd_texts_give_on_several_nodes_what_they_give_here() {
    let bench = three().await;
    let utf16: Vec<u8> =
        "\u{feff}a\nb\u{20ac}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, text) in [
        ("empty", &b""[..]),
        ("a-newline", b"\n"),
        ("newlines", b"\n\n\n\n"),
        ("no-end", b"no end"),
        ("empty-lines", b"a\n\nb\nc"),
        ("crlf", b"crlf\r\nlone\rmixed\n\r\n\r\r\n\n"),
        ("bytes", b"\xef\xbb\xbfbom\nnul\0nul\n\xff\xfe\xc0\x80\n"),
        ("tabs", b"key\twith\ttabs\n\tempty key\nempty value\t\n"),
        ("utf16", &utf16),
        ("_hidden", b"hidden\n"),
        (".dot", b"dot\n"),
        ("with blank", b"blank\n"),
        ("#hash", b"hash\n"),
        ("c,d", b"comma\n"),
        ("line\nfeed", b"line feed\n"),
    ] {
        file(&bench, &format!("in/{name}"), text);
    }
    for (framing, split) in [(Framing::Line, 3), (Framing::AnyLine, 4), (Framing::AnyLine, 1 << 20)]
    {
        let output = format!("{framing:?}-{split}");
        let mut spec = job(&bench, ECHO, &[bench.path("in")], &output);
        spec.format.framing = framing;
        spec.split_bytes = Some(split);
        spec.reduces = Some(2);
        let counters = same(&bench, &spec).await;
        let all = parts(&spec.output).into_values().flatten().collect::<Vec<u8>>();
        let has = |line: &[u8]| all.windows(line.len()).any(|window| window == line);
        assert!(has(b"line feed") && !has(b"hidden") && !has(b"dot"), "{counters:?}");
    }
}

#[tokio::test]
async fn every_framing_and_records_of_any_length_give_on_several_nodes_what_they_give_here() {
    let bench = three().await;
    let mut prefixed = Vec::new();
    let mut pairs = Vec::new();
    for (key, value) in [("", ""), ("tab\tin", "line\nfeed"), ("nul\0", ""), ("", "value")] {
        prefixed.extend_from_slice(&(value.len() as u32).to_be_bytes());
        prefixed.extend_from_slice(value.as_bytes());
        pair_into(&mut pairs, key.as_bytes(), value.as_bytes());
    }
    let long_key = vec![b'k'; 16 << 20];
    pair_into(&mut pairs, &long_key, b"beside it");
    pair_into(&mut pairs, b"beside it", &long_key);
    // A batch is 64 KiB, with 16 bytes before each record.
    let edge = (64 << 10) - 16;
    let lengths = [edge - 1, edge, edge + 1, 0, edge / 2 - 8, edge / 2 - 8, edge / 2 - 7, 0, 0];
    let edges: Vec<u8> =
        lengths.iter().flat_map(|&n| [&vec![b'x'; n][..], b"\n"].concat()).collect();
    let bytes: Vec<u8> = (0..=255).collect();
    for (name, content, framing, records) in [
        ("delimited", &b"aa--b---c----d"[..], Framing::Delimiter(b"--".to_vec()), 5),
        ("fixed", &bytes, Framing::Fixed(16), 16),
        ("prefixed", &prefixed, Framing::Prefixed, 4),
        ("pairs", &pairs, Framing::Pairs, 6),
        ("whole", &bytes, Framing::Whole, 1),
        ("edges", &edges, Framing::Line, 9),
    ] {
        let mut spec = job(&bench, ECHO, &[file(&bench, name, content)], &format!("out-{name}"));
        spec.format.framing = framing;
        spec.options.insert("memory_mb".to_owned(), "128".to_owned());
        if name == "delimited" || name == "edges" {
            spec.split_bytes = Some(content.len() as u64 / 3 + 1);
        }
        assert_eq!(same(&bench, &spec).await.reduce_records_out, records, "{name}");
    }
    let long = [b"short\n".to_vec(), vec![b'x'; 300_000], b"\nshort again\n".to_vec()].concat();
    let long = file(&bench, "long", &long);
    for (what, long_records, records) in
        [("skipped", LongRecords::Skip, 2), ("cut", LongRecords::Truncate, 3)]
    {
        let mut spec = job(&bench, ECHO, std::slice::from_ref(&long), what);
        spec.max_record_bytes = Some(100_000);
        spec.format.long_records = long_records;
        assert_eq!(same(&bench, &spec).await.reduce_records_out, records, "{what}");
    }
}

#[tokio::test]
async fn packed_and_uneven_inputs_give_on_several_nodes_what_they_give_here() {
    let bench = three().await;
    let hot: String = (0..50_000)
        .map(|n| if n % 100 == 0 { format!("rare{n}\n") } else { "hot\n".into() })
        .collect();
    let sorted: String = (0..20_000).map(|n| format!("{n:08}\n")).collect();
    let reversed: String = (0..20_000).rev().map(|n| format!("{n:08}\n")).collect();
    let late: String = (0..5_000).map(|n| format!("{}{}\n", "p".repeat(70), n % 499)).collect();
    let mixed: String = (0..30)
        .map(|n| format!("{}\n", "v".repeat(if n % 7 == 0 { 300_000 } else { 0 })))
        .collect();
    let inputs = [
        file(&bench, "members.gz", &[gz(b"one\ntw"), gz(b"o\nthree")].concat()),
        file(&bench, "nothing-in-it.gz", &gz(b"")),
        file(&bench, "nothing.gz", b""),
        file(&bench, "hot", hot.as_bytes()),
        file(&bench, "sorted", sorted.as_bytes()),
        file(&bench, "reversed", reversed.as_bytes()),
        file(&bench, "alike", "a".repeat(70).as_bytes()),
        file(&bench, "late", late.as_bytes()),
        file(&bench, "mixed", mixed.as_bytes()),
    ];
    for (module, output) in [(ECHO, "echo"), (WORDCOUNT, "wordcount")] {
        let mut spec = job(&bench, module, &inputs, output);
        spec.options.remove("output");
        spec.reduces = Some(2);
        spec.split_bytes = Some(200_000);
        spec.memory_bytes = 8 << 20;
        let counters = same(&bench, &spec).await;
        assert!(counters.map_records_in > 90_000, "{counters:?}");
    }
}

#[tokio::test]
async fn inputs_that_cannot_be_read_fail_on_several_nodes_with_the_error_that_they_fail_with_here()
{
    let bench = three().await;
    let packed =
        gz(&(0..2_000_u32).flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect::<Vec<_>>());
    let mut bad_sum = packed.clone();
    let sum = bad_sum.len() - 8;
    bad_sum[sum] ^= 1;
    let too_long = [&b"a\n"[..], &vec![b'z'; 300_000], b"\nb\n"].concat();
    for (name, content, reason) in [
        ("cut.gz", packed[..packed.len() - 9].to_vec(), "cannot be unpacked"),
        ("bad-sum.gz", bad_sum, "cannot be unpacked"),
        ("garbage.gz", [gz(b"a\n"), b"garbage".to_vec()].concat(), "cannot be unpacked"),
        ("plain.gz", b"plain text\n".to_vec(), "its first bytes do not"),
        ("a.snappy", b"whatever".to_vec(), "Synod does not unpack snappy"),
        ("too-long", too_long, "offset 2 is longer than"),
    ] {
        let mut spec = job(&bench, ECHO, &[file(&bench, name, &content)], &format!("out-{name}"));
        spec.max_record_bytes = Some(100_000);
        let here = run_here(&spec).await.unwrap_err().to_string();
        let there = bench.run(&prepared(&spec)).await.unwrap_err().to_string();
        for said in [here, there] {
            assert!(said.contains(name) && said.contains(reason), "{reason}: {said}");
        }
        assert!(!spec.output.exists(), "{name}");
    }
}

type Change = fn(&Path);

#[tokio::test]
async fn an_input_that_changes_while_modules_read_it_fails_the_job_by_name() {
    let changes: [(&str, Change); 4] = [
        ("shrinks", |path| fs::write(path, "1\n").unwrap()),
        ("grows", |path| {
            fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"more\n").unwrap();
        }),
        ("is removed", |path| fs::remove_file(path).unwrap()),
        ("is another one", |path| {
            fs::write(path.with_extension("new"), "another\n").unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        }),
    ];
    for (what, change) in changes {
        let mut bench = Bench::new(0).await;
        let path = file(&bench, "in", text(100_000, 3).as_bytes());
        let done = Arc::new(AtomicBool::new(false));
        let changed = path.clone();
        // Before the first attempt has read anything.
        let act = move |moment: Moment<'_>| {
            if matches!(moment, Moment::AttemptBegins(_)) && !done.swap(true, SeqCst) {
                change(&changed);
            }
        };
        bench.add(Kind { slots: 1, ..acting(act) }).await;
        let mut spec = job(&bench, ECHO, std::slice::from_ref(&path), "out");
        spec.split_bytes = Some(20_000);
        let said = bench.run(&prepared(&spec)).await.unwrap_err().to_string();
        assert!(said.contains(path.to_str().unwrap()), "{what}: {said}");
        assert!(!spec.output.exists(), "{what}");
    }
}

/// A module whose map function does this for each record; memory begins with `text`.
fn each(text: &str, body: &str) -> String {
    format!(
        r#"(module
        (import "synod" "log" (func $log (param i32 i32)))
        (import "synod" "count" (func $count (param i32 i32 i64)))
        (memory (export "memory") 8)
        (data (i32.const 0) "{text}")
        (func (export "synod_abi") (result i32) (i32.const 1))
        (func (export "synod_buffer") (param i32) (result i32) (i32.const 0x10000))
        (func (export "synod_reduce") (param i32 i32) (result i64) (i64.const 0))
        (func (export "synod_map") (param $at i32) (param $length i32) (result i64)
            (local $end i32) (local $n i32)
            (local.set $end (i32.add (local.get $at) (local.get $length)))
            (block $done (loop $next
                (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
                {body}
                (local.set $at (i32.add (i32.add (local.get $at) (i32.const 16))
                    (i32.load offset=12 align=1 (local.get $at))))
                (br $next)))
            (i64.const 0)))"#
    )
}

#[tokio::test]
async fn counters_add_up_over_nodes_saturate_and_do_not_fall() {
    let bench = three().await;
    let module = each(
        "onebadbig",
        "(call $count (i32.const 0) (i32.const 3) (i64.const 1))
        (call $count (i32.const 3) (i32.const 3) (i64.const -5))
        (call $count (i32.const 6) (i32.const 3) (i64.const 0x7fffffffffffffff))",
    );
    let mut spec = job(&bench, &module, &[file(&bench, "in", &b"a\n".repeat(100))], "out");
    spec.split_bytes = Some(40);
    let counters = same(&bench, &spec).await;
    assert_eq!(counters.user["one"], 100);
    assert_eq!(counters.user["big"], u64::MAX);
    assert!(!counters.user.contains_key("bad"), "{counters:?}");
}

#[tokio::test]
async fn a_job_that_counts_under_very_many_long_names_ends_and_says_how_many_there_was_no_room_for()
{
    let bench = three().await;
    // 12,000 names of 250 bytes, which begin with their number.
    let module = each(
        "",
        "(loop $names
            (memory.fill (i32.const 0) (i32.const 120) (i32.const 250))
            (i32.store8 (i32.const 0)
                (i32.add (i32.const 33) (i32.rem_u (local.get $n) (i32.const 90))))
            (i32.store8 (i32.const 1)
                (i32.add (i32.const 33)
                    (i32.rem_u (i32.div_u (local.get $n) (i32.const 90)) (i32.const 90))))
            (i32.store8 (i32.const 2)
                (i32.add (i32.const 33) (i32.div_u (local.get $n) (i32.const 8100))))
            (call $count (i32.const 0) (i32.const 250) (i64.const 1))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $names (i32.lt_u (local.get $n) (i32.const 12000))))",
    );
    let mut spec = job(&bench, &module, &[file(&bench, "in", b"a\nb\n")], "out");
    spec.split_bytes = Some(2);
    let counters = bench.run(&prepared(&spec)).await.unwrap().manifest.counters;
    let dropped = counters.user["counters_dropped"];
    assert!(dropped > 2_000 && counters.user.len() > 1_000, "{dropped} {}", counters.user.len());
    assert!(counters.user.iter().filter(|(name, _)| name.len() == 250).all(|(_, n)| *n == 2));
}

#[tokio::test]
async fn a_module_that_logs_without_end_fills_no_disk_and_its_job_succeeds() {
    let bench = three().await;
    // A line of 4,000 bytes a thousand times for each record: 64 KiB of it for each batch.
    let module = each(
        "",
        "(local.set $n (i32.const 1000))
        (loop $lines
            (call $log (i32.const 0) (i32.const 4000))
            (br_if $lines (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))",
    );
    let input = format!("{}\n", "x".repeat(60_000)).repeat(60);
    let mut spec = job(&bench, &module, &[file(&bench, "in", input.as_bytes())], "out");
    // One map task.
    spec.split_bytes = Some(input.len() as u64);
    let counters = bench.run(&prepared(&spec)).await.unwrap().manifest.counters;
    assert_eq!(counters.map_records_in, 60);
    let mut logged = 0;
    for worker in &bench.workers {
        for job in fs::read_dir(&worker.folder).into_iter().flatten() {
            for log in fs::read_dir(job.unwrap().path().join("logs")).into_iter().flatten() {
                logged += log.unwrap().metadata().unwrap().len();
            }
        }
    }
    // What would be 3.8 MB is what a task's log may have.
    assert!((1 << 19..=(1 << 20) + 100).contains(&logged), "{logged}");
}

#[tokio::test]
async fn a_module_that_computes_without_end_ends_when_its_job_is_cancelled() {
    let mut bench = Bench::new(0).await;
    let begun = Arc::new(AtomicBool::new(false));
    let begins = begun.clone();
    let act = move |moment: Moment<'_>| {
        if matches!(moment, Moment::AttemptBegins(_)) {
            begins.store(true, SeqCst);
        }
    };
    bench.add(acting(act)).await;
    let mut spec = job(&bench, &each("", "(br $next)"), &[file(&bench, "in", b"a\n")], "out");
    spec.options.insert("timeout_ms".to_owned(), "600000".to_owned());
    let id = bench.submit(&prepared(&spec)).await;
    let wait = move || wait_until("its attempt begins", || begun.load(SeqCst));
    tokio::task::spawn_blocking(wait).await.unwrap();
    assert_eq!(cancel_job(&bench.kv, &id).await.unwrap(), Cancelling::Asked);
    bench.wait_state(&id, "its end", |state| *state == JobState::Cancelled).await;
    // An attempt that went on would keep its folder.
    bench.wait_clean().await;
    assert!(!spec.output.exists());
}

fn gz(text: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text).unwrap();
    packed.finish().unwrap()
}
