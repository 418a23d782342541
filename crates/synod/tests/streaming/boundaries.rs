//! Ends of records at, before and behind the places where a reader's buffer or a split ends.
//!
//! What a record is does not depend on them: each text must give the records of a reader that has
//! neither. Reasoned; Hadoop's own readers have other buffers.

use crate::bench::{Bench, MAPS, properties};
use crate::records::naive;

/// The smallest buffer of a reader, and what it is when it has grown once.
const SMALL: [usize; 2] = [512, 1_024];
/// The largest buffer; also what is handed to a program at once.
const LARGE: usize = 1 << 20;

/// What ends a record; whether the job names it, or it is one of Hadoop's own ends of lines.
const ENDS: &[(&str, bool)] = &[
    ("\n", false),
    ("\r\n", false),
    ("\r", false),
    ("\r\n", true),
    (";", true),
    ("||", true),
    ("ÄÖ", true),
    ("--end--", true),
];

/// Texts in which the first end of a record begins at each place from well before `edge` to just behind
/// it, so that it lies before, across and behind the edge. More records follow, an empty one among them.
fn texts(end: &str, edge: usize) -> Vec<String> {
    let before = (edge - end.len() - 1..=edge + 1).map(|at| "x".repeat(at));
    let whole = before.map(|first| format!("{first}{end}b{end}{end}last"));
    // The edge lies in what only begins like an end; with a line's there is no such thing.
    let begins = end.char_indices().skip(1).map(|(at, _)| &end[..at]);
    let begins = begins.filter(|_| !end.contains('\n'));
    let almost = begins.map(|part| {
        let first = "x".repeat(edge - part.len());
        format!("{first}{part}y{end}{part}{end}last")
    });
    whole.chain(almost).collect()
}

/// Runs one job over all these texts, each a file, with splits of one size. The records come in the order
/// of the files.
fn check(end: &str, named: bool, texts: &[String], split_bytes: usize) {
    let bench = Bench::new();
    let mut expected = String::new();
    for (number, text) in texts.iter().enumerate() {
        bench.put(&format!("in/{number:03}"), text);
        expected.extend(naive(text, end).iter().map(|record| format!("{record}\t\n")));
    }
    let least = format!("mapreduce.input.fileinputformat.split.minsize={split_bytes}");
    let most = format!("mapreduce.input.fileinputformat.split.maxsize={split_bytes}");
    let delimiter = format!("textinputformat.record.delimiter={end}");
    let mut settings = vec![&*least, &*most];
    if named {
        settings.push(&delimiter);
    }
    let ran = bench.run(&[&properties(&settings)[..], MAPS].concat());
    let found = ran.text();
    let place = found.bytes().zip(expected.bytes()).position(|(found, expected)| found != expected);
    assert!(found == expected, "`{}` in splits of {split_bytes}: {place:?}", end.escape_debug());
    let records = expected.lines().count() as i64;
    assert_eq!(ran.counter("Map-Reduce Framework", "Map input records"), Some(records));
}

#[test]
fn ends_of_records_around_the_smallest_buffer_and_the_end_of_a_split_are_found_once() {
    for (end, named) in ENDS {
        let texts: Vec<String> = SMALL.iter().flat_map(|edge| texts(end, *edge)).collect();
        // Smaller splits than the buffer, those that end around its end, and one split for each file.
        for split_bytes in [100, 511, 512, 513, 1_023, 1_024, 1_025, 1 << 30] {
            check(end, *named, &texts, split_bytes);
        }
    }
}

#[test]
fn ends_of_records_around_the_largest_buffer_are_found_once() {
    for (end, named) in ENDS {
        let mut texts = texts(end, LARGE);
        // Behind a short record the buffer ends elsewhere in what is left.
        let second: Vec<String> =
            texts.iter().take(3).map(|text| format!("a{end}{text}")).collect();
        texts.extend(second);
        for split_bytes in [LARGE, 1 << 30] {
            check(end, *named, &texts, split_bytes);
        }
    }
}
