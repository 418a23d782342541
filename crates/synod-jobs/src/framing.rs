//! How the bytes of an input become records.
//!
//! [`Framing::next`] is the one definition of where a record ends: the reader cuts blocks with it and
//! jobs walk blocks with it. It looks at whole records only, so the caller decides how much it reads.
//! How a job's spec names these things is in [`InputFormat`]; which split a record belongs to is in
//! `reader.rs`.

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What ends a record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// A line feed; a carriage return before it is content.
    #[default]
    Line,
    /// A line feed, a carriage return or both, as Hadoop's line reader has it.
    AnyLine,
    /// These bytes, at least one.
    Delimiter(Vec<u8>),
    /// Every record has this many bytes.
    Fixed(u32),
    /// A length of four bytes, big-endian, stands before every record.
    Prefixed,
    /// Pairs of key and value, each behind its length, as [`pair_into`] writes them.
    Pairs,
    /// A file is one record.
    Whole,
}

/// What becomes of a record that is longer than the job allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LongRecords {
    /// The job fails and names its place.
    #[default]
    Fail,
    /// It is left out and counted.
    Skip,
    /// Its first bytes, as many as are allowed, are the record.
    Truncate,
}

/// How inputs are read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InputFormat {
    /// What ends a record.
    pub framing: Framing,
    /// Records per split, in place of a size.
    pub lines_per_split: Option<u64>,
    /// What becomes of records beyond the record limit.
    pub long_records: LongRecords,
    /// Whether a UTF-8 byte order mark at the beginning of a file is left out.
    pub strip_bom: bool,
    /// Whether an empty file has a map task, too; one without records.
    pub tasks_for_empty_files: bool,
    /// Whether folders among the inputs stand for the files in all folders below them.
    pub recursive: bool,
    /// Whether compressed files are read as they are.
    pub keep_compressed: bool,
}

/// A record within a block: its parts as ranges, and where the next one begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Empty unless the framing is [`Framing::Pairs`].
    pub key: Range<usize>,
    pub content: Range<usize>,
    pub next: usize,
}

/// What is wrong with bytes that are not records.
pub(crate) type Malformed = &'static str;

impl Framing {
    /// Whether a reader that starts in the middle of a file finds out where records begin.
    pub(crate) fn is_splittable(&self) -> bool {
        match self {
            Framing::Line | Framing::AnyLine | Framing::Fixed(_) => true,
            // `aa` in `aaaa`: which occurrences end records depends on all that came before.
            Framing::Delimiter(bytes) => !overlaps_itself(bytes),
            Framing::Prefixed | Framing::Pairs | Framing::Whole => false,
        }
    }

    /// How many bytes before a split's start decide whether a record begins at it.
    pub(crate) fn look_back(&self) -> u64 {
        match self {
            Framing::Line | Framing::AnyLine => 1,
            Framing::Delimiter(bytes) => bytes.len() as u64,
            Framing::Fixed(_) | Framing::Prefixed | Framing::Pairs | Framing::Whole => 0,
        }
    }

    /// The record that begins at `at`, which lies within `bytes`. `None`: it does not end here;
    /// if `last`, nothing follows `bytes`, and what is left is a record or malformed.
    pub(crate) fn next(
        &self,
        bytes: &[u8],
        at: usize,
        last: bool,
    ) -> Result<Option<Found>, Malformed> {
        let rest = &bytes[at..];
        let ended = |length: usize, terminator: usize| {
            let content = at..at + length;
            Some(Found { key: at..at, next: content.end + terminator, content })
        };
        let found = match self {
            Framing::Line => memchr::memchr(b'\n', rest).and_then(|length| ended(length, 1)),
            Framing::AnyLine => match memchr::memchr2(b'\n', b'\r', rest) {
                Some(length) if rest[length] == b'\n' => ended(length, 1),
                Some(length) => match rest.get(length + 1) {
                    Some(b'\n') => ended(length, 2),
                    Some(_) => ended(length, 1),
                    None if last => ended(length, 1),
                    None => None,
                },
                None => None,
            },
            Framing::Delimiter(delimiter) => memchr::memmem::find(rest, delimiter)
                .and_then(|length| ended(length, delimiter.len())),
            Framing::Fixed(length) if rest.len() < *length as usize && last => {
                return Err("the last record is shorter than the others");
            }
            Framing::Fixed(length) => {
                if rest.len() < *length as usize {
                    None
                } else {
                    ended(*length as usize, 0)
                }
            }
            Framing::Prefixed => return prefixed(bytes, at, last),
            Framing::Pairs => return pair(bytes, at, last),
            Framing::Whole => None,
        };
        Ok(found.or_else(|| if last { ended(rest.len(), 0) } else { None }))
    }
}

fn prefixed(bytes: &[u8], at: usize, last: bool) -> Result<Option<Found>, Malformed> {
    let found = bytes[at..].first_chunk().and_then(|length| {
        let start = at + 4;
        let end = start + u32::from_be_bytes(*length) as usize;
        (end <= bytes.len()).then_some(Found { key: start..start, content: start..end, next: end })
    });
    if found.is_none() && last { Err("the last record is cut off") } else { Ok(found) }
}

fn pair(bytes: &[u8], at: usize, last: bool) -> Result<Option<Found>, Malformed> {
    let found = crate::run::record::read(bytes, at).map(|pair| Found {
        key: pair.key,
        next: pair.value.end,
        content: pair.value,
    });
    if found.is_none() && last { Err("the last pair is cut off") } else { Ok(found) }
}

/// Appends a pair as [`Framing::Pairs`] reads it: both lengths in base 128, little-endian, key, value.
pub fn pair_into(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    crate::run::record::put(out, key, value);
}

/// Whether an occurrence can begin within another one.
fn overlaps_itself(bytes: &[u8]) -> bool {
    (1..bytes.len()).any(|shift| bytes[shift..] == bytes[..bytes.len() - shift])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(framing: &Framing, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
        let mut records = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let found = framing.next(bytes, at, true)?.expect("what is left is a record");
            records.push(bytes[found.content].to_vec());
            at = found.next;
        }
        Ok(records)
    }

    #[test]
    fn records_are_cut_as_their_framing_says() {
        let text = |records: &[&str]| Ok(records.iter().map(|r| r.as_bytes().to_vec()).collect());
        let any = Framing::AnyLine;
        assert_eq!(cut(&Framing::Line, b"a\r\n\nb"), text(&["a\r", "", "b"]));
        assert_eq!(cut(&any, b"a\r\nb\rc\n\r\rd\r"), text(&["a", "b", "c", "", "", "d"]));
        let delimiter = |bytes: &[u8]| Framing::Delimiter(bytes.to_vec());
        assert_eq!(cut(&delimiter(b"--"), b"a--b---c"), text(&["a", "b", "-c"]));
        assert_eq!(cut(&delimiter(b"aa"), b"xaaaay"), text(&["x", "", "y"]));
        assert_eq!(cut(&Framing::Fixed(2), b"aabb"), text(&["aa", "bb"]));
        assert!(cut(&Framing::Fixed(2), b"aab").is_err());
        assert_eq!(cut(&Framing::Prefixed, b"\0\0\0\x02ab\0\0\0\0"), text(&["ab", ""]));
        assert!(cut(&Framing::Prefixed, b"\0\0\0\x03ab").is_err());
        assert_eq!(cut(&Framing::Whole, b"a\nb"), text(&["a\nb"]));
        let mut pairs = Vec::new();
        pair_into(&mut pairs, b"k", b"v1");
        pair_into(&mut pairs, b"", b"");
        assert_eq!(cut(&Framing::Pairs, &pairs), text(&["v1", ""]));
        pairs.pop();
        assert!(cut(&Framing::Pairs, &pairs).is_err());
    }

    #[test]
    fn a_carriage_return_at_the_end_of_a_block_waits_for_what_follows() {
        assert_eq!(Framing::AnyLine.next(b"a\r", 0, false), Ok(None));
        assert!(Framing::AnyLine.next(b"a\r", 0, true).unwrap().is_some());
    }

    #[test]
    fn only_a_delimiter_that_cannot_overlap_itself_is_found_from_the_middle() {
        for (bytes, splittable) in [("|", true), ("\r\n", true), ("aa", false), ("aba", false)] {
            let framing = Framing::Delimiter(bytes.as_bytes().to_vec());
            assert_eq!(framing.is_splittable(), splittable, "{bytes}");
        }
    }
}
