//! Values of no bytes beside one that is huge, through a job in Rust; with `SYNOD_JOB_VALUE_MB=1023` it is
//! almost 1 GiB, the largest record that there may be. Its file has a hole and takes no room.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use support::{Bench, joined};
use synod_jobs::{Emitter, Job, Progress, Record, Sink, Values, run_local};

/// The first byte of a line is its key, the rest its value; gives the lengths of a key's values.
struct Lengths;

impl Job for Lengths {
    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        let (key, value) = record.bytes.split_at(1);
        out.emit(key, value);
    }

    fn reduce(&self, key: &[u8], values: &mut Values<'_, Self>, out: &mut Sink) {
        out.bytes(key);
        while let Some(value) = values.next() {
            assert!(value.len() < 10 || value.iter().all(|&byte| byte == 0), "its bytes are zeros");
            out.bytes(b" ");
            out.decimal(value.len() as u64);
        }
        out.end_record();
    }
}

#[test]
fn values_of_no_bytes_and_one_that_is_huge_pass_together() {
    let large = std::env::var("SYNOD_JOB_VALUE_MB").map_or(24, |text| text.parse().unwrap()) << 20;
    let bench = Bench::new();
    let path = bench.path("in");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"a\nb\nbxyz\nb").unwrap();
    file.seek(SeekFrom::Current(large as i64)).unwrap();
    file.write_all(b"\nb\nc\n").unwrap();
    // Once all of it stays in memory, once the budget is as small as the record allows; whole runs on disk.
    for (memory, split) in [(5 * large, 64 << 20), (4 * large, 5)] {
        let mut spec = bench.spec("lengths", &[&path]);
        (spec.memory_bytes, spec.max_record_bytes) = (memory, Some(large + 1));
        (spec.split_bytes, spec.reduces) = (Some(split), Some(1));
        // Splits without end within the hole would be as many tasks.
        if split == 5 {
            spec.format.lines_per_split = Some(1);
        }
        let counters = run_local(&spec, &Lengths, &Progress::new()).unwrap().manifest.counters;
        assert_eq!((counters.map_pairs_out, counters.reduce_pairs_in), (6, 6));
        let lengths = format!("a 0\nb 0 3 {large} 0\nc 0\n");
        assert_eq!(String::from_utf8(joined(&spec.output)).unwrap(), lengths);
    }
}
