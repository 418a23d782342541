//! The word count of `guests/wordcount.wat` beside the native one, with every way to combine.

use crate::support::{Bench, naive_word_count, parts, run, sorted_lines, zipf_text};
use crate::{WORDCOUNT, wasm};

/// The guest with a combiner of its own: `synod_combine` is `synod_reduce` that gives pairs.
const COMBINER: &str = r#"
  (func (export "synod_combine") (param $at i32) (param $length i32) (result i64)
    (local $batch_end i32) (local $key i32) (local $key_length i32) (local $flags i32)
    (local $values i32) (local $answer i32) (local $out i32)
    (local.set $batch_end (i32.add (local.get $at) (local.get $length)))
    (local.set $answer (local.get $batch_end))
    (local.set $out (local.get $answer))
    (block $done
      (loop $group
        (br_if $done (i32.ge_u (local.get $at) (local.get $batch_end)))
        (local.set $key_length (i32.load align=1 (local.get $at)))
        (local.set $flags (i32.load offset=4 align=1 (local.get $at)))
        (local.set $values (i32.load offset=8 align=1 (local.get $at)))
        (local.set $key (i32.add (local.get $at) (i32.const 12)))
        (local.set $at (i32.add (local.get $key) (local.get $key_length)))
        (if (i32.eqz (i32.and (local.get $flags) (i32.const 1)))
          (then (global.set $sum (i64.const 0))))
        (loop $value
          (global.set $sum
            (i64.add (global.get $sum) (i64.load offset=4 align=1 (local.get $at))))
          (local.set $at (i32.add (local.get $at) (i32.const 12)))
          (local.set $values (i32.sub (local.get $values) (i32.const 1)))
          (br_if $value (local.get $values)))
        (if (i32.eqz (i32.and (local.get $flags) (i32.const 2)))
          (then
            (call $reach
              (i32.add (i32.add (local.get $out) (local.get $key_length)) (i32.const 64)))
            (i32.store align=1 (local.get $out) (local.get $key_length))
            (i32.store offset=4 align=1 (local.get $out) (i32.const 8))
            (local.set $out (i32.add (local.get $out) (i32.const 8)))
            (memory.copy (local.get $out) (local.get $key) (local.get $key_length))
            (local.set $out (i32.add (local.get $out) (local.get $key_length)))
            (i64.store align=1 (local.get $out) (global.get $sum))
            (local.set $out (i32.add (local.get $out) (i32.const 8)))))
        (br $group)))
    (call $answered (local.get $answer) (local.get $out)))
"#;

const MARKER: &str = "(func (export \"synod_combine_add_u64\"))";

/// The same guest three times: added up by the engine, combined by itself, not combined.
fn guests() -> [(&'static str, String); 3] {
    assert!(WORDCOUNT.contains(MARKER));
    [
        ("added", WORDCOUNT.to_owned()),
        ("combined", WORDCOUNT.replace(MARKER, COMBINER)),
        ("plain", WORDCOUNT.replace(MARKER, "")),
    ]
}

#[test]
fn words_are_counted_as_the_native_job_does_for_every_split_slot_and_memory() {
    let bench = Bench::new();
    let path = bench.file("in", &zipf_text(31, 2 << 20, 30_000));
    for (split_bytes, slots, memory_bytes, reduces) in
        [(None, 1, None, 1), (Some(100_000), 2, None, 3), (Some(700_001), 2, Some(300_000), 2)]
    {
        let shape = |spec: &mut synod_jobs::JobSpec| {
            spec.split_bytes = split_bytes;
            spec.slots = Some(slots);
            spec.reduces = Some(reduces);
            if let Some(bytes) = memory_bytes {
                spec.memory_bytes = bytes;
            }
        };
        let mut native = bench.spec("wordcount", &[&path]);
        shape(&mut native);
        let wanted = run(&native).unwrap().manifest.counters;
        for (name, guest) in guests() {
            let mut spec = wasm(&bench, &guest, &[&path]);
            shape(&mut spec);
            let is = run(&spec).unwrap().manifest.counters;
            assert!(parts(&spec.output) == parts(&native.output), "{name} {split_bytes:?}");
            assert_eq!(is.map_records_in, wanted.map_records_in);
            assert_eq!(is.map_pairs_out, wanted.map_pairs_out, "{name}");
            assert_eq!(is.reduce_records_out, wanted.reduce_records_out);
            if memory_bytes.is_some() {
                assert!(is.runs_written > 0, "{name} spills");
            }
            let combined = is.reduce_pairs_in < is.map_pairs_out;
            assert_eq!(combined, name != "plain", "{name}");
        }
    }
}

#[test]
fn one_word_in_a_million_lines_is_one_group_over_many_batches() {
    let bench = Bench::new();
    let text = b"word word\n".repeat(200_000);
    let path = bench.file("in", &text);
    let mut outputs = Vec::new();
    for (_, guest) in guests() {
        let mut spec = wasm(&bench, &guest, &[&path]);
        spec.memory_bytes = 1 << 20;
        let counters = run(&spec).unwrap().manifest.counters;
        assert_eq!(counters.reduce_groups_in, 1);
        outputs.push(sorted_lines(&parts(&spec.output)[0].1));
    }
    assert!(outputs.iter().all(|lines| *lines == naive_word_count(&text)), "{outputs:?}");
}
