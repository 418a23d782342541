//! What a record of the input is, through programs: delimiters of several bytes, and records that are longer
//! than they may be.

use crate::bench::{Bench, MAPS, properties};

/// What a reader without splits and buffers finds: the leftmost delimiter ends a record.
pub fn naive<'t>(mut text: &'t str, delimiter: &str) -> Vec<&'t str> {
    let mut records = Vec::new();
    while let Some(at) = text.find(delimiter) {
        records.push(&text[..at]);
        text = &text[at + delimiter.len()..];
    }
    if !text.is_empty() {
        records.push(text);
    }
    records
}

#[test]
fn delimiters_of_several_bytes_end_records_wherever_splits_end() {
    for (delimiter, text) in [
        ("||", "one||two|three||||four|||five"),
        ("aa", "xaaayaaaaza aaaa"),
        ("aba", "1ababa2abab3aba"),
        ("ÄÖ", "xÄÖyÄzÖÄÖÄÖÄÄÖ"),
        ("--end--", "a--end-b--end--end--c--end----end--"),
    ] {
        let bench = Bench::with_input(text);
        let expected: String =
            naive(text, delimiter).iter().map(|record| format!("{record}\t\n")).collect();
        for bytes in [1, 2, 3, 4, 5, 7, 11, text.len(), 1_000] {
            let size = format!("mapreduce.input.fileinputformat.split.maxsize={bytes}");
            let ends = format!("textinputformat.record.delimiter={delimiter}");
            let found = bench.run(&[&properties(&[&size, &ends])[..], MAPS].concat()).text();
            assert_eq!(found, expected, "`{delimiter}` in splits of {bytes} bytes");
        }
    }
}

#[test]
fn longer_records_are_left_out_cut_or_refused_as_the_job_says_wherever_splits_end() {
    let text = "12345\n123456\n\n1234567890123\nab\n123456";
    let bench = Bench::with_input(text);
    let left_out = "12345\t\n\t\nab\t\n";
    let cut = "12345\t\n12345\t\n\t\n12345\t\nab\t\n12345\t\n";
    for bytes in [1, 2, 3, 5, 6, 7, 13, 100] {
        let size = format!("mapreduce.input.fileinputformat.split.maxsize={bytes}");
        let limit = "mapreduce.input.linerecordreader.line.maxlength=5";
        let run = |more: &[&'static str], expected: &str| {
            let words = [&properties(&[&size, limit])[..], &properties(more), MAPS].concat();
            let ran = bench.run(&words);
            assert_eq!(ran.text(), expected, "{more:?}, splits of {bytes}");
            ran
        };
        let ran = run(&[], left_out);
        assert_eq!(ran.counter("Map-Reduce Framework", "Skipped long records"), Some(3));
        run(&["synod.streaming.long.records=skip"], left_out);
        run(&["synod.streaming.long.records=truncate"], cut);
        let fail = properties(&[&size, limit, "synod.streaming.long.records=fail"]);
        let said = bench.fail(&[&fail[..], MAPS].concat());
        assert!(said.contains("/in") && said.contains("is longer than"), "{said}");
    }
    let wrong = properties(&["synod.streaming.long.records=cut"]);
    let (_, done) = bench.try_run(&[&wrong[..], MAPS].concat());
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.code() == Some(2) && said.contains("fail, skip or truncate"), "{said}");
}
