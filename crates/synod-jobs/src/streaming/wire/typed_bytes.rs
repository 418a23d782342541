//! Typed bytes: values that begin with a code for their type.
//!
//! | code | type | content |
//! |---|---|---|
//! | 0, 50 to 200 | bytes, an application's own | length, bytes |
//! | 1 | byte | 1 byte |
//! | 2 | boolean | 1 byte |
//! | 3, 4 | integer | 4, 8 bytes |
//! | 5, 6 | floating point | 4, 8 bytes |
//! | 7 | string | length, UTF-8 |
//! | 8 | vector | count, values |
//! | 9 | list | values, 255 |
//! | 10 | map | count, keys and values in turn |
//!
//! All numbers are big-endian, lengths and counts have four bytes. Values pass through a job
//! untouched; [`length`] finds where one ends and [`text`] is how it looks in a part file.

use crate::streaming::java_text;
use std::cmp::Ordering;

/// How deep values may lie within values.
const MAX_DEPTH: usize = 64;

const MARKER: u8 = 255;

/// Why bytes are not a typed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTyped {
    /// No type has this code.
    #[error("there is no type with the code {code}")]
    Code {
        /// The code.
        code: u8,
    },
    /// A length or count is below 0.
    #[error("a length below 0")]
    Length,
    /// Values lie in values beyond the limit.
    #[error("values within values, more than {MAX_DEPTH} deep")]
    Depth,
}

/// Length of the value that `bytes` begins with; `None` if it does not end in them. A marker, which
/// ends a list, counts as a value of one byte.
pub fn length(bytes: &[u8]) -> Result<Option<usize>, NotTyped> {
    let mut at = 0;
    Ok(skip(bytes, &mut at, 0)?.then_some(at))
}

/// Whether the value is the marker, which outside a list means the end of everything.
pub fn is_marker(value: &[u8]) -> bool {
    value.first() == Some(&MARKER)
}

/// Moves `at` behind the value there; `false` if it does not end within `bytes`.
fn skip(bytes: &[u8], at: &mut usize, depth: usize) -> Result<bool, NotTyped> {
    if depth > MAX_DEPTH {
        return Err(NotTyped::Depth);
    }
    let Some(&code) = bytes.get(*at) else { return Ok(false) };
    *at += 1;
    let fixed = match code {
        MARKER => 0,
        1 | 2 => 1,
        3 | 5 => 4,
        4 | 6 => 8,
        0 | 7 | 50..=200 => match count(bytes, at)? {
            Some(length) => length,
            None => return Ok(false),
        },
        8 | 10 => {
            let Some(mut values) = count(bytes, at)? else { return Ok(false) };
            if code == 10 {
                values = values.saturating_mul(2);
            }
            for _ in 0..values {
                if !skip(bytes, at, depth + 1)? {
                    return Ok(false);
                }
            }
            0
        }
        9 => {
            loop {
                let start = *at;
                if !skip(bytes, at, depth + 1)? {
                    return Ok(false);
                }
                if bytes[start] == MARKER {
                    break;
                }
            }
            0
        }
        _ => return Err(NotTyped::Code { code }),
    };
    *at = at.saturating_add(fixed);
    Ok(*at <= bytes.len())
}

fn count(bytes: &[u8], at: &mut usize) -> Result<Option<usize>, NotTyped> {
    let Some(number) = bytes.get(*at..).and_then(|rest| rest.first_chunk()) else {
        return Ok(None);
    };
    *at += 4;
    usize::try_from(i32::from_be_bytes(*number)).map(Some).map_err(|_| NotTyped::Length)
}

/// A value as the text that Java makes of it. It must be one that [`length`] has measured.
pub fn text(value: &[u8]) -> String {
    read(value, &mut 0).text()
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Bytes(Vec<u8>),
    Bool(bool),
    Number(i64),
    Float(f32),
    Double(f64),
    Text(String),
    Many(Vec<Value>),
    Map(Vec<(Value, Value)>),
    /// A marker, or bytes that end too early.
    Nothing,
}

impl Value {
    fn text(&self) -> String {
        match self {
            Value::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            Value::Bool(value) => value.to_string(),
            Value::Number(value) => value.to_string(),
            Value::Float(value) => java_text::float(*value),
            Value::Double(value) => java_text::double(*value),
            Value::Text(text) => text.clone(),
            Value::Many(values) => {
                let texts: Vec<String> = values.iter().map(Value::text).collect();
                format!("[{}]", texts.join(", "))
            }
            Value::Map(pairs) => {
                let pair =
                    |(key, value): &(Value, Value)| format!("{}={}", key.text(), value.text());
                format!("{{{}}}", pairs.iter().map(pair).collect::<Vec<_>>().join(", "))
            }
            Value::Nothing => "null".to_owned(),
        }
    }

    /// The order of keys in a Java map, as far as they are of one type.
    fn order(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Number(a), Value::Number(b)) => a.cmp(b),
            (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
            (Value::Double(a), Value::Double(b)) => a.total_cmp(b),
            (Value::Text(a), Value::Text(b)) => java_text::compare(a, b),
            _ => Ordering::Equal,
        }
    }
}

fn read(bytes: &[u8], at: &mut usize) -> Value {
    let Some(&code) = bytes.get(*at) else { return Value::Nothing };
    *at += 1;
    match code {
        1 => Value::Number(i64::from(fixed::<1>(bytes, at)[0] as i8)),
        2 => Value::Bool(fixed::<1>(bytes, at)[0] != 0),
        3 => Value::Number(i64::from(i32::from_be_bytes(fixed(bytes, at)))),
        4 => Value::Number(i64::from_be_bytes(fixed(bytes, at))),
        5 => Value::Float(f32::from_be_bytes(fixed(bytes, at))),
        6 => Value::Double(f64::from_be_bytes(fixed(bytes, at))),
        7 => Value::Text(java_text::decode(counted(bytes, at))),
        8 => {
            let count = count(bytes, at).ok().flatten().unwrap_or(0);
            Value::Many((0..count).map(|_| read(bytes, at)).collect())
        }
        9 => {
            let mut values = Vec::new();
            while bytes.get(*at).is_some_and(|&code| code != MARKER) {
                values.push(read(bytes, at));
            }
            *at += 1;
            Value::Many(values)
        }
        10 => {
            let count = count(bytes, at).ok().flatten().unwrap_or(0);
            let mut pairs: Vec<(Value, Value)> = Vec::new();
            for _ in 0..count {
                let key = read(bytes, at);
                pairs.push((key, read(bytes, at)));
            }
            // A later value of a key replaces the earlier one: it stands in front, so it is kept.
            pairs.reverse();
            pairs.sort_by(|(a, _), (b, _)| a.order(b));
            pairs.dedup_by(|(later, _), (kept, _)| later == kept);
            Value::Map(pairs)
        }
        MARKER => Value::Nothing,
        _ => Value::Bytes(counted(bytes, at).to_vec()),
    }
}

fn fixed<const N: usize>(bytes: &[u8], at: &mut usize) -> [u8; N] {
    let found = bytes.get(*at..).and_then(|rest| rest.first_chunk()).copied();
    *at += N;
    found.unwrap_or([0; N])
}

fn counted<'b>(bytes: &'b [u8], at: &mut usize) -> &'b [u8] {
    let length = count(bytes, at).ok().flatten().unwrap_or(0);
    let start = (*at).min(bytes.len());
    *at = start.saturating_add(length).min(bytes.len());
    &bytes[start..*at]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MANY: &[(&[u8], &str)] = &[
        (b"\x00\0\0\0\x02\x0a\xff", "0aff"),
        (b"\x01\xff", "-1"),
        (b"\x02\x01", "true"),
        (b"\x03\xff\xff\xff\xfe", "-2"),
        (b"\x04\0\0\0\0\0\0\x01\0", "256"),
        (b"\x05\x3f\x80\0\0", "1.0"),
        (b"\x06\x3f\xe0\0\0\0\0\0\0", "0.5"),
        (b"\x07\0\0\0\x03a\tb", "a\tb"),
        (b"\x07\0\0\0\0", ""),
        (b"\x08\0\0\0\x02\x01\x01\x07\0\0\0\x01x", "[1, x]"),
        (b"\x09\x01\x01\x09\xff\xff", "[1, []]"),
        (b"\x0a\0\0\0\x02\x07\0\0\0\x01b\x01\x02\x07\0\0\0\x01a\x01\x01", "{a=1, b=2}"),
        (b"\x0a\0\0\0\x02\x01\x01\x01\x01\x01\x01\x01\x02", "{1=2}"),
        (b"\x64\0\0\0\x01\x07", "07"),
    ];

    #[test]
    fn values_are_measured_and_printed() {
        for (bytes, expected) in MANY {
            assert_eq!(length(bytes), Ok(Some(bytes.len())), "{expected}");
            assert_eq!(text(bytes), *expected);
            for cut in 0..bytes.len() {
                assert_eq!(length(&bytes[..cut]), Ok(None), "{expected} cut at {cut}");
            }
            let more = [bytes, b"\x01\x02" as &[u8]].concat();
            assert_eq!(length(&more), Ok(Some(bytes.len())), "{expected} and more");
        }
    }

    #[test]
    fn what_is_no_typed_value_is_refused() {
        assert_eq!(length(b"\x0b"), Err(NotTyped::Code { code: 11 }));
        assert_eq!(length(b"\x07\xff\xff\xff\xff"), Err(NotTyped::Length));
        assert_eq!(length(&[9; 100]), Err(NotTyped::Depth));
        assert!(is_marker(b"\xff") && !is_marker(b"\x01\x01"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_measured_within_themselves(
            bytes in proptest::collection::vec(any::<u8>(), 0..64)
        ) {
            if let Ok(Some(length)) = length(&bytes) {
                prop_assert!(length <= bytes.len());
                text(&bytes[..length]);
            }
        }
    }
}
