//! `-reducer aggregate`: Hadoop's ready-made reducers, chosen by the beginning of each key.
//!
//! A key is `LongValueSum:clicks`, for example; the reducer adds the values and writes `clicks` and
//! the sum. The same functions work as a combiner, which keeps the whole key and writes what a later
//! round can go on with. Longs wrap around, as Java's do.

use super::java_text::{self, compare, decode};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Bytes of distinct values that one key may have in memory.
const MAX_DISTINCT_BYTES: usize = 1 << 30;

/// What becomes of the values of one key.
#[derive(Debug, Clone, PartialEq)]
pub enum Aggregator {
    /// `LongValueSum`
    LongSum(i64),
    /// `LongValueMax`
    LongMax(i64),
    /// `LongValueMin`
    LongMin(i64),
    /// `DoubleValueSum`
    DoubleSum(f64),
    /// `StringValueMax`
    StringMax(Option<String>),
    /// `StringValueMin`
    StringMin(Option<String>),
    /// `UniqValueCount`
    Unique(Distinct),
    /// `ValueHistogram`
    Histogram(Distinct),
}

/// Distinct values and how often each was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distinct {
    counts: BTreeMap<Vec<u8>, i64>,
    bytes: usize,
    /// Values beyond this number are not kept.
    most: Option<usize>,
}

impl Aggregator {
    /// The aggregator that a key asks for, and the rest of the key. `most_unique` limits
    /// `UniqValueCount`.
    pub fn of_key(key: &[u8], most_unique: Option<usize>) -> Result<(Aggregator, &[u8]), String> {
        let Some(at) = memchr::memchr(b':', key) else {
            return Err(format!(
                "the key `{}` has no aggregator: it must begin with LongValueSum:, for example",
                shown(key)
            ));
        };
        let aggregator = match key[..at].to_ascii_lowercase().as_slice() {
            b"longvaluesum" => Aggregator::LongSum(0),
            b"longvaluemax" => Aggregator::LongMax(i64::MIN),
            b"longvaluemin" => Aggregator::LongMin(i64::MAX),
            b"doublevaluesum" => Aggregator::DoubleSum(0.0),
            b"stringvaluemax" => Aggregator::StringMax(None),
            b"stringvaluemin" => Aggregator::StringMin(None),
            b"uniqvaluecount" => {
                let most = most_unique.map(|most| most.saturating_add(1));
                Aggregator::Unique(Distinct { most, ..Distinct::default() })
            }
            b"valuehistogram" => Aggregator::Histogram(Distinct::default()),
            _ => {
                return Err(format!(
                    "`{}` is no aggregator: LongValueSum, LongValueMax, LongValueMin, \
                     DoubleValueSum, StringValueMax, StringValueMin, UniqValueCount and \
                     ValueHistogram are",
                    shown(&key[..at])
                ));
            }
        };
        Ok((aggregator, &key[at + 1..]))
    }

    /// Adds a value.
    pub fn add(&mut self, value: &[u8]) -> Result<(), String> {
        match self {
            Aggregator::LongSum(sum) => *sum = sum.wrapping_add(long(value)?),
            Aggregator::LongMax(max) => *max = long(value)?.max(*max),
            Aggregator::LongMin(min) => *min = long(value)?.min(*min),
            Aggregator::DoubleSum(sum) => {
                *sum += java_text::parse_double(value)
                    .ok_or_else(|| format!("`{}` is not a number", shown(value)))?;
            }
            Aggregator::StringMax(max) => keep(max, value, Ordering::Greater),
            Aggregator::StringMin(min) => keep(min, value, Ordering::Less),
            Aggregator::Unique(distinct) => distinct.add(value, 1)?,
            Aggregator::Histogram(distinct) => match memchr::memrchr(b'\t', value) {
                Some(at) => distinct.add(&value[..at], long(&value[at + 1..])?)?,
                None => distinct.add(value, 1)?,
            },
        }
        Ok(())
    }

    /// What the reducer writes behind the key.
    pub fn report(&self) -> String {
        match self {
            Aggregator::LongSum(number)
            | Aggregator::LongMax(number)
            | Aggregator::LongMin(number) => number.to_string(),
            Aggregator::DoubleSum(sum) => java_text::double(*sum),
            Aggregator::StringMax(text) | Aggregator::StringMin(text) => {
                text.clone().unwrap_or_default()
            }
            Aggregator::Unique(distinct) => distinct.counts.len().to_string(),
            Aggregator::Histogram(distinct) => distinct.histogram(),
        }
    }

    /// The values that a combiner writes in place of those it was given.
    pub fn combined(&self, write: &mut dyn FnMut(&[u8])) {
        match self {
            Aggregator::Unique(distinct) => distinct.counts.keys().for_each(|value| write(value)),
            Aggregator::Histogram(distinct) => {
                for (value, count) in &distinct.counts {
                    let mut both = value.clone();
                    both.push(b'\t');
                    both.extend_from_slice(count.to_string().as_bytes());
                    write(&both);
                }
            }
            _ => write(self.report().as_bytes()),
        }
    }
}

impl Distinct {
    fn add(&mut self, value: &[u8], count: i64) -> Result<(), String> {
        if let Some(seen) = self.counts.get_mut(value) {
            *seen = seen.wrapping_add(count);
            return Ok(());
        }
        if self.most.is_some_and(|most| self.counts.len() >= most) {
            return Ok(());
        }
        self.bytes += value.len();
        if self.bytes > MAX_DISTINCT_BYTES {
            return Err(format!(
                "more than {MAX_DISTINCT_BYTES} bytes of distinct values for one key: limit them \
                 by mapreduce.aggregate.max.num.unique.values"
            ));
        }
        self.counts.insert(value.to_vec(), count);
        Ok(())
    }

    /// How many distinct values, and of their counts the least, the median, the greatest, the
    /// average and the standard deviation.
    fn histogram(&self) -> String {
        let mut counts: Vec<i64> = self.counts.values().copied().collect();
        counts.sort_unstable();
        let (Some(least), Some(greatest)) = (counts.first(), counts.last()) else {
            return "0".to_owned();
        };
        let number = counts.len() as f64;
        let sum = counts.iter().fold(0i64, |sum, &count| sum.wrapping_add(count));
        let average = sum as f64 / number;
        let square = |&count: &i64| (count as f64 - average) * (count as f64 - average);
        let deviation = (counts.iter().map(square).sum::<f64>() / number).sqrt();
        format!(
            "{}\t{least}\t{}\t{greatest}\t{}\t{}",
            counts.len(),
            counts[counts.len() / 2],
            java_text::double(average),
            java_text::double(deviation)
        )
    }
}

fn keep(best: &mut Option<String>, value: &[u8], wanted: Ordering) {
    let text = match std::str::from_utf8(value) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(decode(value)),
    };
    if best.as_ref().is_none_or(|best| compare(&text, best) == wanted) {
        *best = Some(text.into_owned());
    }
}

fn long(value: &[u8]) -> Result<i64, String> {
    java_text::parse_long(value).ok_or_else(|| format!("`{}` is not a whole number", shown(value)))
}

/// A key or value for an error: short, and without control characters.
fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(64)].escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(kind: &str, values: &[&str]) -> Result<String, String> {
        let key = format!("{kind}:k:1");
        let (mut aggregator, rest) = Aggregator::of_key(key.as_bytes(), None)?;
        assert_eq!(rest, b"k:1");
        for value in values {
            aggregator.add(value.as_bytes())?;
        }
        Ok(aggregator.report())
    }

    #[test]
    fn each_aggregator_reports_what_hadoops_does() {
        for (kind, values, expected) in [
            ("LongValueSum", &["1", "-5", "10"] as &[&str], "6"),
            ("longvaluesum", &["9223372036854775807", "1"], "-9223372036854775808"),
            ("LongValueMax", &["1", "-5", "10"], "10"),
            ("LongValueMin", &["1", "-5", "10"], "-5"),
            ("DoubleValueSum", &["1", "0.5", "1e7"], "1.00000015E7"),
            ("StringValueMax", &["b", "a", "ab"], "b"),
            ("StringValueMin", &["b", "a", "ab"], "a"),
            ("UniqValueCount", &["b", "a", "b", ""], "3"),
            (
                "ValueHistogram",
                &["b", "a", "b", "c\t5"],
                "3\t1\t2\t5\t2.6666666666666665\t1.699673171197595",
            ),
        ] {
            assert_eq!(report(kind, values).unwrap(), expected, "{kind}");
        }
    }

    #[test]
    fn a_combiner_keeps_what_a_later_round_needs() {
        let combine = |kind: &str, values: &[&str]| {
            let key = format!("{kind}:k");
            let (mut aggregator, _) = Aggregator::of_key(key.as_bytes(), None).unwrap();
            for value in values {
                aggregator.add(value.as_bytes()).unwrap();
            }
            let mut out = Vec::new();
            aggregator.combined(&mut |value| out.push(String::from_utf8_lossy(value).into_owned()));
            out
        };
        assert_eq!(combine("LongValueSum", &["1", "2"]), ["3"]);
        assert_eq!(combine("UniqValueCount", &["b", "a", "b"]), ["a", "b"]);
        assert_eq!(combine("ValueHistogram", &["b", "a", "b\t2"]), ["a\t1", "b\t3"]);
    }

    #[test]
    fn distinct_values_may_be_limited() {
        let (mut aggregator, _) = Aggregator::of_key(b"UniqValueCount:k", Some(2)).unwrap();
        for value in ["a", "b", "c", "d", "a"] {
            aggregator.add(value.as_bytes()).unwrap();
        }
        // Hadoop looks before it adds, so that one more gets in.
        assert_eq!(aggregator.report(), "3");
    }

    #[test]
    fn bad_keys_and_values_are_named() {
        assert!(Aggregator::of_key(b"no colon", None).unwrap_err().contains("no colon"));
        assert!(Aggregator::of_key(b"Mean:x", None).unwrap_err().contains("Mean"));
        for (kind, value) in [("LongValueSum", "1.5"), ("DoubleValueSum", "x")] {
            assert!(report(kind, &[value]).unwrap_err().contains(value));
        }
    }
}
