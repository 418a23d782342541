//! Takes what a command prints, in pieces of any size, and gives pairs.
//!
//! The bytes lie in one buffer that grows with the longest record and no further than the job
//! allows; pairs are slices of it. Nothing is allocated per line, and no byte is searched twice.

use super::{Wire, typed_bytes};
use crate::reduce_input::KeyValue;
use memchr::memmem::Finder;
use std::ops::Range;

/// Room offered to a read, at least. The pipes hold up to 1 MiB.
const ROOM_BYTES: usize = 256 << 10;

/// Why what a command printed is not pairs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOutput {
    /// A record is longer than the job allows.
    #[error("a record of its output is longer than {limit_bytes} bytes: raise the record limit")]
    TooLong {
        /// The limit.
        limit_bytes: usize,
    },
    /// The bytes break the format.
    #[error("its output is not {format}: {what}")]
    Malformed {
        /// The format's name.
        format: &'static str,
        /// How.
        what: String,
    },
}

/// Where key and value lie.
type Halves = (Range<usize>, Range<usize>);

/// Makes pairs of a command's output.
#[derive(Debug)]
pub struct PairReader {
    wire: Wire,
    separator: Finder<'static>,
    /// Separators before the one that ends the key.
    fields_before: usize,
    /// Whether a carriage return ends a line, too.
    any_line: bool,
    max_record_bytes: usize,
    buffer: Vec<u8>,
    /// Where the next record begins.
    start: usize,
    /// Bytes from there on that are known to hold no end of a line.
    searched: usize,
    filled: usize,
    /// The last line ended with a carriage return; a line feed that follows belongs to it.
    skip_feed: bool,
    ended: bool,
}

impl PairReader {
    /// Lines are split at the `key_fields`-th `separator`.
    pub fn new(
        wire: Wire,
        separator: &str,
        key_fields: usize,
        any_line: bool,
        max_record_bytes: usize,
    ) -> PairReader {
        PairReader {
            wire,
            separator: Finder::new(separator.as_bytes()).into_owned(),
            fields_before: key_fields.max(1) - 1,
            any_line,
            max_record_bytes,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            filled: 0,
            skip_feed: false,
            ended: false,
        }
    }

    /// Memory for the next bytes; tell [`PairReader::filled`] how many there are.
    pub fn room(&mut self) -> &mut [u8] {
        if self.buffer.len() - self.filled < ROOM_BYTES {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.filled, 0);
                self.filled -= self.start;
                self.start = 0;
            }
            let needed = self.filled + ROOM_BYTES;
            if self.buffer.len() < needed {
                self.buffer.resize(needed.max(self.buffer.len() * 2), 0);
            }
        }
        &mut self.buffer[self.filled..]
    }

    /// So many bytes were put into the room.
    pub fn filled(&mut self, bytes: usize) {
        self.filled += bytes;
    }

    /// Nothing more will come: what is left is the last record.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The next pair; `None` if it has not come as a whole yet.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend its items")]
    pub fn next(&mut self) -> Result<Option<KeyValue<'_>>, BadOutput> {
        let found = match self.wire {
            Wire::Text => self.next_line().map(|line| self.split(line)),
            Wire::KeyOnly => self.next_line().map(|line| (line.clone(), line.end..line.end)),
            Wire::RawBytes => self.next_raw()?,
            Wire::TypedBytes => self.next_typed()?,
        };
        match found {
            Some((key, value)) if value.end - key.start <= self.max_record_bytes => {
                Ok(Some((&self.buffer[key], &self.buffer[value])))
            }
            None if self.filled - self.start <= self.max_record_bytes => Ok(None),
            _ => Err(BadOutput::TooLong { limit_bytes: self.max_record_bytes }),
        }
    }

    #[inline]
    fn next_line(&mut self) -> Option<Range<usize>> {
        if self.skip_feed && self.start < self.filled {
            self.skip_feed = false;
            self.start += usize::from(self.buffer[self.start] == b'\n');
        }
        let rest = &self.buffer[self.start + self.searched..self.filled];
        let found = if self.any_line {
            memchr::memchr2(b'\n', b'\r', rest)
        } else {
            memchr::memchr(b'\n', rest)
        };
        let Some(at) = found else {
            if self.ended && self.start < self.filled {
                let line = self.start..self.filled;
                (self.start, self.searched) = (self.filled, 0);
                return Some(line);
            }
            self.searched = self.filled - self.start;
            return None;
        };
        let end = self.start + self.searched + at;
        let line = self.start..end;
        self.skip_feed = self.buffer[end] == b'\r';
        (self.start, self.searched) = (end + 1, 0);
        Some(line)
    }

    /// Splits a line into key and value.
    #[inline]
    fn split(&self, line: Range<usize>) -> Halves {
        let bytes = &self.buffer[line.clone()];
        let needle = self.separator.needle();
        let find = |from: usize| match needle {
            [byte] => memchr::memchr(*byte, &bytes[from..]).map(|at| from + at),
            [] => None,
            _ => self.separator.find(&bytes[from..]).map(|at| from + at),
        };
        let mut found = find(0);
        for _ in 0..self.fields_before {
            found = found.and_then(|at| find(at + needle.len()));
        }
        match found {
            Some(at) => {
                let key = line.start..line.start + at;
                let value = key.end + needle.len()..line.end;
                (key, value)
            }
            None => (line.clone(), line.end..line.end),
        }
    }

    fn next_raw(&mut self) -> Result<Option<Halves>, BadOutput> {
        let Some(key) = self.raw_half(self.start)? else {
            // An end within the length of a key is how Hadoop sees the end of the output.
            let left = self.filled - self.start;
            return self.unless_cut_off(self.ended && left >= 4, "raw bytes");
        };
        match self.raw_half(key.end)? {
            Some(value) => {
                self.start = value.end;
                Ok(Some((key, value)))
            }
            None => self.unless_cut_off(self.ended, "raw bytes"),
        }
    }

    fn raw_half(&self, at: usize) -> Result<Option<Range<usize>>, BadOutput> {
        let bytes = &self.buffer[..self.filled];
        let Some(length) = bytes.get(at..).and_then(|rest| rest.first_chunk()) else {
            return Ok(None);
        };
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| {
            BadOutput::Malformed { format: "raw bytes", what: "a length below 0".to_owned() }
        })?;
        if length > self.max_record_bytes {
            return Err(BadOutput::TooLong { limit_bytes: self.max_record_bytes });
        }
        let half = at + 4..at + 4 + length;
        Ok((half.end <= self.filled).then_some(half))
    }

    fn next_typed(&mut self) -> Result<Option<Halves>, BadOutput> {
        let measure = |at: usize| {
            typed_bytes::length(&self.buffer[at..self.filled]).map_err(|error| {
                BadOutput::Malformed { format: "typed bytes", what: error.to_string() }
            })
        };
        let Some(key) = measure(self.start)? else {
            let cut_off = self.ended && self.start < self.filled;
            return self.unless_cut_off(cut_off, "typed bytes");
        };
        let key = self.start..self.start + key;
        if typed_bytes::is_marker(&self.buffer[key.clone()]) {
            // The end, whatever follows.
            self.start = self.filled;
            return Ok(None);
        }
        match measure(key.end)? {
            Some(value) => {
                let value = key.end..key.end + value;
                self.start = value.end;
                Ok(Some((key, value)))
            }
            None => self.unless_cut_off(self.ended, "typed bytes"),
        }
    }

    fn unless_cut_off<T>(
        &self,
        cut_off: bool,
        format: &'static str,
    ) -> Result<Option<T>, BadOutput> {
        if cut_off {
            let what = "the last pair is cut off".to_owned();
            return Err(BadOutput::Malformed { format, what });
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    /// Reads `bytes` in pieces of `step`.
    fn read(mut reader: PairReader, bytes: &[u8], step: usize) -> Result<Pairs, BadOutput> {
        let mut pairs = Vec::new();
        let mut take_all = |reader: &mut PairReader| {
            while let Some((key, value)) = reader.next()? {
                pairs.push((key.to_vec(), value.to_vec()));
            }
            Ok(())
        };
        for piece in bytes.chunks(step) {
            reader.room()[..piece.len()].copy_from_slice(piece);
            reader.filled(piece.len());
            take_all(&mut reader)?;
        }
        reader.end();
        take_all(&mut reader)?;
        Ok(pairs)
    }

    #[track_caller]
    fn assert_pairs(make: impl Fn() -> PairReader, bytes: &[u8], expected: &[(&str, &str)]) {
        for step in 1..=bytes.len().max(1) {
            let pairs = read(make(), bytes, step).unwrap();
            let shown: Vec<(&str, &str)> = pairs
                .iter()
                .map(|(key, value)| {
                    (std::str::from_utf8(key).unwrap(), std::str::from_utf8(value).unwrap())
                })
                .collect();
            assert_eq!(shown, expected, "in pieces of {step}");
        }
    }

    fn lines(separator: &str, fields: usize, any_line: bool) -> PairReader {
        PairReader::new(Wire::Text, separator, fields, any_line, 1 << 20)
    }

    #[test]
    fn lines_are_split_at_the_nth_separator() {
        let text = b"a\tb\tc\nno separator\n\n\t\nlast\t";
        assert_pairs(
            || lines("\t", 1, true),
            text,
            &[("a", "b\tc"), ("no separator", ""), ("", ""), ("", ""), ("last", "")],
        );
        assert_pairs(
            || lines("\t", 2, true),
            text,
            &[("a\tb", "c"), ("no separator", ""), ("", ""), ("\t", ""), ("last\t", "")],
        );
        assert_pairs(|| lines("::", 1, true), b"a:b::c::d\n:::\n", &[("a:b", "c::d"), ("", ":")]);
        assert_pairs(|| lines("", 1, true), b"ab\n", &[("ab", "")]);
    }

    #[test]
    fn carriage_returns_end_lines_only_if_asked() {
        let text = b"a\r\nb\rc\n\r\rd\r";
        assert_pairs(
            || lines("\t", 1, true),
            text,
            &[("a", ""), ("b", ""), ("c", ""), ("", ""), ("", ""), ("d", "")],
        );
        assert_pairs(|| lines("\t", 1, false), text, &[("a\r", ""), ("b\rc", ""), ("\r\rd\r", "")]);
    }

    #[test]
    fn raw_and_typed_bytes_are_read_in_any_pieces() {
        let raw = || PairReader::new(Wire::RawBytes, "\t", 1, true, 1 << 20);
        let bytes = b"\0\0\0\x02k\n\0\0\0\x01v\0\0\0\0\0\0\0\0";
        assert_pairs(raw, bytes, &[("k\n", "v"), ("", "")]);
        // Less than a length is the end; more is not.
        assert_eq!(read(raw(), b"\0\0", 1).unwrap(), []);
        assert!(read(raw(), &bytes[..bytes.len() - 1], 1).is_err());
        assert!(read(raw(), b"\0\0\0\x02k", 1).is_err());
        assert!(read(raw(), b"\xff\xff\xff\xff", 1).is_err());

        let typed = || PairReader::new(Wire::TypedBytes, "\t", 1, true, 1 << 20);
        let bytes = b"\x07\0\0\0\x01k\x01\x02\x02\x01\x07\0\0\0\0";
        assert_pairs(
            typed,
            bytes,
            &[("\x07\0\0\0\x01k", "\x01\x02"), ("\x02\x01", "\x07\0\0\0\0")],
        );
        assert_pairs(typed, b"\x01\x01\x01\x02\xff", &[("\x01\x01", "\x01\x02")]);
        assert!(read(typed(), &bytes[..bytes.len() - 1], 1).is_err());
        assert!(read(typed(), b"\x0b", 1).is_err());
    }

    #[test]
    fn a_record_over_the_limit_is_an_error_before_it_is_complete() {
        let small = |wire| PairReader::new(wire, "\t", 1, true, 10);
        assert!(read(small(Wire::Text), b"0123456789\n", 3).is_ok());
        assert!(read(small(Wire::Text), b"0123456789a\n", 3).is_err());
        assert!(read(small(Wire::Text), b"0123456789a", 3).is_err());
        assert!(read(small(Wire::RawBytes), b"\x7f\0\0\0", 4).is_err());
    }

    #[test]
    fn a_long_line_does_not_keep_the_buffer_growing() {
        let mut reader = lines("\t", 1, true);
        for _ in 0..1000 {
            let line = [b'x'; 1000];
            reader.room()[..1000].copy_from_slice(&line);
            reader.filled(1000);
            reader.room()[0] = b'\n';
            reader.filled(1);
            while reader.next().unwrap().is_some() {}
        }
        assert!(reader.buffer.len() <= 2 * ROOM_BYTES, "{}", reader.buffer.len());
    }
}
