//! The log analysis on a log written for this test.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use support::{Bench, joined, run, sorted_lines};

const LOG: &str = r#"10.0.0.1 - - [31/Dec/2023:23:59:58 +0000] "GET / HTTP/1.1" 200 100 "-" "reader/1"
10.0.0.2 - alice [01/Jan/2024:01:00:00 +0100] "GET /a HTTP/1.1" 404 7 "-" "reader/1"
10.0.0.1 - - [01/Jan/2024:02:00:00 +0300] "POST /form HTTP/1.1" 302 - "http://x/" "say \"hi\""
this is no log line
10.0.0.1 - - [01/Jan/2024:00:00:05 +0000] "GET / HTTP/1.1" 304 0 "-" "reader/1"
2001:db8::7 - - [29/Feb/2024:12:00:00 -0930] "GET /%22 HTTP/2.0" 200 18446744073709551615 "-" "-"

10.0.0.2 - - [32/Jan/2024:01:00:00 +0100] "GET /a HTTP/1.1" 200 7 "-" "reader/1"
10.0.0.2 - Bob B. [01/Jan/2024:00:30:00 +0100] "GET /a HTTP/1.1" 200 13 "-" "reader/1""#;

/// First and last are by the moment: 23:00 UTC written as 02:00 +0300 is before 23:59:58 UTC.
const EXPECTED: [&str; 3] = [
    "10.0.0.1\t3\t100\t2\t01/Jan/2024:02:00:00 +0300\t01/Jan/2024:00:00:05 +0000",
    "10.0.0.2\t2\t20\t1\t01/Jan/2024:00:30:00 +0100\t01/Jan/2024:01:00:00 +0100",
    "2001:db8::7\t1\t18446744073709551615\t1\t29/Feb/2024:12:00:00 -0930\t29/Feb/2024:12:00:00 -0930",
];

#[test]
fn addresses_are_summed_up_for_every_split_and_memory() {
    let bench = Bench::new();
    let path = bench.file("access.log", LOG.as_bytes());
    for (split, memory) in [(1, 1 << 30), (50, 1), (97, 1 << 30), (10_000, 1)] {
        let mut spec = bench.spec("loganalysis", &[&path]);
        spec.split_bytes = Some(split);
        spec.memory_bytes = memory;
        spec.max_record_bytes = Some(1 << 20);
        let summary = run(&spec).unwrap();
        let lines = sorted_lines(&joined(&spec.output));
        assert_eq!(lines, EXPECTED.map(|line| line.as_bytes().to_vec()));
        assert_eq!(summary.manifest.counters.user["malformed_lines"], 3);
    }
}

#[test]
fn many_addresses_and_urls_are_counted_as_naively() {
    let bench = Bench::new();
    let mut random = fastrand::Rng::with_seed(31);
    let mut log = String::new();
    let mut naive: BTreeMap<String, (u64, u64, BTreeSet<u32>)> = BTreeMap::new();
    for second in 0..30_000_u32 {
        let address = format!("192.168.{}.{}", random.u8(..4), random.u8(..50));
        let (url, bytes) = (random.u32(..300), random.u64(..10_000));
        let (minute, second) = (second / 60 % 60, second % 60);
        log += &format!(
            "{address} - - [05/May/2024:10:{minute:02}:{second:02} +0000] \
             \"GET /page/{url} HTTP/1.1\" 200 {bytes} \"-\" \"agent\"\n"
        );
        let entry = naive.entry(address).or_default();
        entry.0 += 1;
        entry.1 += bytes;
        entry.2.insert(url);
    }
    let path = bench.file("access.log", log.as_bytes());
    let mut spec = bench.spec("loganalysis", &[&path]);
    spec.reduces = Some(3);
    spec.split_bytes = Some(200_000);
    run(&spec).unwrap();
    let lines = sorted_lines(&joined(&spec.output));
    assert_eq!(lines.len(), naive.len());
    for (line, (address, (requests, bytes, urls))) in lines.iter().zip(naive) {
        let expected = format!("{address}\t{requests}\t{bytes}\t{}\t", urls.len());
        assert!(line.starts_with(expected.as_bytes()), "{}", String::from_utf8_lossy(line));
    }
}
