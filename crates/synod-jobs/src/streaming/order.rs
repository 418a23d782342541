//! KeyFieldBasedComparator as bytes: keys are turned into sort keys whose bytewise order is the
//! comparator's order.
//!
//! The engine compares bytes and nothing else, eight at a time; so a comparator is not
//! called, it is compiled into the key. Per specification the sort key holds
//!
//! - whether the key has that field at all: one that lacks it comes first (last if reversed);
//! - text: its bytes, `00` as `00 ff`, ended by `00 00`;
//! - a number: its sign, the count of digits before the point, the digits, those behind the point
//!   without trailing zeros, ended by `00`; all of it complemented if it is negative;
//! - all of that complemented if the order is reversed.
//!
//! What is no number counts as 0, and what follows a number does not matter: `-0`, `0.00`, `abc`
//! and the empty field are equal. (Hadoop tells apart some of those, such as `5` and `05`, but not
//! in the same way in every comparison, so that no order fits it.) Keys with equal sort keys stay in
//! the order in which they were emitted.

use super::key_fields::{KeyFields, KeySpec};

const ABSENT: u8 = 0x00;
const PRESENT: u8 = 0x01;

const NEGATIVE: u8 = 0x01;
const ZERO: u8 = 0x02;
const POSITIVE: u8 = 0x03;

/// Digit counts below it take one byte.
const LONG_NUMBER_DIGITS: usize = 0xff;

/// Makes sort keys.
#[derive(Debug, Clone)]
pub struct SortKeys {
    fields: KeyFields,
}

impl SortKeys {
    /// For the order that these specifications say. Without any it is the order of the bytes.
    pub fn new(fields: KeyFields) -> SortKeys {
        SortKeys { fields }
    }

    /// Whether a key is its own sort key.
    pub fn is_plain(&self) -> bool {
        self.fields.specs().is_empty()
    }

    /// Appends the sort key of `key`. `lengths` is scratch memory.
    pub fn append(&self, key: &[u8], lengths: &mut Vec<usize>, out: &mut Vec<u8>) {
        if self.is_plain() {
            out.extend_from_slice(key);
            return;
        }
        self.fields.cut(key, lengths);
        let specs = self.fields.specs();
        for (at, spec) in specs.iter().enumerate() {
            let start = out.len();
            match self.fields.range(spec, key, lengths) {
                None => out.push(ABSENT),
                Some(range) => {
                    out.push(PRESENT);
                    append_field(spec, &key[range], at + 1 == specs.len(), out);
                }
            }
            if spec.reverse {
                complement(&mut out[start..]);
            }
        }
    }
}

fn append_field(spec: &KeySpec, field: &[u8], is_last: bool, out: &mut Vec<u8>) {
    if spec.numeric {
        append_number(field, out);
    } else if is_last && !spec.reverse {
        // Nothing follows: the end of the sort key ends the field.
        out.extend_from_slice(field);
    } else {
        append_text(field, out);
    }
}

fn append_text(field: &[u8], out: &mut Vec<u8>) {
    let mut rest = field;
    while let Some(at) = memchr::memchr(0, rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[0x00, 0xff]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0x00, 0x00]);
}

fn append_number(field: &[u8], out: &mut Vec<u8>) {
    let (negative, digits) = match field.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, field),
    };
    let count = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (whole, rest) = digits.split_at(count(digits));
    let fraction = match rest.strip_prefix(b".") {
        Some(rest) => &rest[..count(rest)],
        None => &[],
    };
    let zeros = whole.iter().take_while(|&&byte| byte == b'0').count();
    let whole = &whole[zeros..];
    let fraction_len = fraction.iter().rposition(|&byte| byte != b'0').map_or(0, |last| last + 1);
    let fraction = &fraction[..fraction_len];
    if whole.is_empty() && fraction.is_empty() {
        out.push(ZERO);
        return;
    }
    out.push(if negative { NEGATIVE } else { POSITIVE });
    let start = out.len();
    match u8::try_from(whole.len()) {
        Ok(count) if whole.len() < LONG_NUMBER_DIGITS => out.push(count),
        _ => {
            out.push(LONG_NUMBER_DIGITS as u8);
            out.extend_from_slice(&(whole.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(whole);
    out.extend_from_slice(fraction);
    out.push(0);
    if negative {
        complement(&mut out[start..]);
    }
}

fn complement(bytes: &mut [u8]) {
    for byte in bytes {
        *byte = !*byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Ordering;

    fn sort_key(options: &str, key: &[u8]) -> Vec<u8> {
        let keys = SortKeys::new(KeyFields::parse(Some(options), "\t").unwrap());
        let mut out = Vec::new();
        keys.append(key, &mut Vec::new(), &mut out);
        out
    }

    #[track_caller]
    fn assert_ascending(options: &str, keys: &[&str]) {
        for pair in keys.windows(2) {
            let [low, high] = [pair[0], pair[1]].map(|key| sort_key(options, key.as_bytes()));
            assert!(low < high, "{options}: {} before {}", pair[0], pair[1]);
        }
    }

    #[track_caller]
    fn assert_equal(options: &str, keys: &[&str]) {
        for key in keys {
            assert_eq!(
                sort_key(options, key.as_bytes()),
                sort_key(options, keys[0].as_bytes()),
                "{options}: {key} and {}",
                keys[0]
            );
        }
    }

    #[test]
    fn numbers_ascend_by_value() {
        let long = "1".repeat(300);
        let longer = "1".repeat(301);
        let ascending = [
            "-100",
            "-12.5",
            "-12.05",
            "-12",
            "-2",
            "-0.5",
            "0",
            "0.0001",
            "0.5",
            "1",
            "1.0001",
            "1.5",
            "2",
            "9",
            "10",
            "99",
            "100",
            "1000000000000000000000",
            &long,
            &longer,
        ];
        assert_ascending("-n", &ascending);
        let descending: Vec<&str> = ascending.iter().rev().copied().collect();
        assert_ascending("-nr", &descending);
        assert_equal("-n", &["0", "-0", "0.00", "-.0", "abc", "-", "000", " 5"]);
        assert_equal("-n", &["5", "05", "5.0", "5.000", "5abc", "5."]);
    }

    #[test]
    fn text_ascends_bytewise_and_may_be_reversed_per_field() {
        assert_ascending("-k1", &["\t", "a", "a\0", "a\0\0", "a\u{1}", "ab", "b"]);
        assert_ascending("-k1,1 -k2,2", &["a\tz", "a\0\ta", "ab\ta", "b\ta", "b\tb"]);
        assert_ascending("-k1,1r -k2,2", &["b\ta", "b\tb", "ab\ta", "a\0\ta", "a\tz"]);
        assert_ascending("-k2,2nr -k1,1", &["x\t10", "a\t9", "b\t9", "a\t-1"]);
        assert_ascending("-r", &["b", "a\0", "a"]);
    }

    #[test]
    fn a_key_without_the_field_comes_first_or_last_if_reversed() {
        assert_ascending("-k2,2", &["z", "a\ta"]);
        assert_ascending("-k2,2r", &["a\ta", "z"]);
        assert_ascending("-k2,2n -k1", &["a", "a\t-5", "a\t1"]);
    }

    proptest! {
        #[test]
        fn sort_keys_of_two_texts_compare_like_the_texts(
            a in (proptest::collection::vec(0u8..3, 0..6), proptest::collection::vec(0u8..3, 1..6)),
            b in (proptest::collection::vec(0u8..3, 0..6), proptest::collection::vec(0u8..3, 1..6)),
        ) {
            let join = |(first, second): &(Vec<u8>, Vec<u8>)| {
                [first.as_slice(), b"\t", second.as_slice()].concat()
            };
            let keys = |options: &str| (sort_key(options, &join(&a)), sort_key(options, &join(&b)));
            let (x, y) = keys("-k1,1 -k2,2");
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            let (x, y) = keys("-k1,1r -k2,2");
            prop_assert_eq!(x.cmp(&y), b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        }

        #[test]
        fn sort_keys_of_two_numbers_compare_like_the_numbers(
            a in -1_000_000i64..1_000_000, b in -1_000_000i64..1_000_000, scale in 0usize..5,
        ) {
            let text = |number: i64| {
                let digits = format!("{:0width$}", number.unsigned_abs(), width = scale + 1);
                let (whole, fraction) = digits.split_at(digits.len() - scale);
                let sign = if number < 0 { "-" } else { "" };
                if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
            };
            let (x, y) = (text(a), text(b));
            let expected = a.cmp(&b);
            prop_assert_eq!(sort_key("-n", x.as_bytes()).cmp(&sort_key("-n", y.as_bytes())), expected);
            let reversed = sort_key("-nr", x.as_bytes()).cmp(&sort_key("-nr", y.as_bytes()));
            prop_assert_eq!(reversed, if a == b { Ordering::Equal } else { expected.reverse() });
        }
    }
}
