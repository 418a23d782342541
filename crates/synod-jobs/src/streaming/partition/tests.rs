//! Partitions as Hadoop 3.3.4 computes them on Java 17.

use super::*;

const PARTITIONS: u32 = 1_000_003;

/// The key in hexadecimal; then its partition by HashPartitioner and by KeyFieldBasedPartitioner with
/// each of [`OPTIONS`], with `num.key.fields.for.partition` = 2, and with `-k2,2` and the separators
/// `l` and `th`.
const GOLDEN: &str = include_str!("golden.txt");

const OPTIONS: [Option<&str>; 6] =
    [None, Some("-k1,1"), Some("-k2,2"), Some("-k1.2,2.1"), Some("-k2,2 -k1,1"), Some("-k3")];

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = hex.trim_start_matches('-').as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn keys_go_where_hadoop_sends_them() {
    let fields = |options, separator| KeyFields::parse(options, separator).unwrap();
    let mut all: Vec<KeyFields> = OPTIONS.iter().map(|options| fields(*options, "\t")).collect();
    all.push(KeyFields::first(2, "\t"));
    all.push(fields(Some("-k2,2"), "l"));
    all.push(fields(Some("-k2,2"), "th"));
    for line in GOLDEN.lines() {
        let mut words = line.split(' ');
        let key = bytes_of(words.next().unwrap());
        let golden: Vec<u32> = words.map(|word| word.parse().unwrap()).collect();
        assert_eq!(golden.len(), all.len() + 1);
        assert_eq!(by_bytes(&key, PARTITIONS), golden[0], "{line}");
        for (at, (fields, golden)) in all.iter().zip(&golden[1..]).enumerate() {
            let found = by_fields(fields, &key, &mut Vec::new(), PARTITIONS);
            assert_eq!(found, *golden, "options {at} of {line}");
        }
    }
}

#[test]
fn numbers_go_by_their_low_half() {
    for (key, partition) in [
        (0, 0),
        (1, 1),
        (-1, 477_206),
        (1 << 32, 0),
        (123_456_789_012_345, 572_170),
        (i64::MIN, 0),
        (1 << 31, 0),
    ] {
        assert_eq!(by_number(key, PARTITIONS), partition, "{key}");
    }
}
