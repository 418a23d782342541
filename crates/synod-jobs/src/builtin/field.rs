//! The n-th field of a line, as awk and cut have it.
//!
//! Fields are counted from 1. Without a separator they are what runs of spaces and tabs separate,
//! and those at the line's start are ignored: a line of nothing else has no field. With a separator
//! every occurrence of it separates, so fields may be empty and every line has at least one.

use crate::builtin::options::{JobOption, Options};
use crate::counters::Counters;
use crate::error::JobError;
use memchr::memmem::Finder;
use std::ops::Range;

/// Which field of a line.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    /// How many fields are before it.
    before: usize,
    separator: Separator,
}

#[derive(Debug, Clone)]
enum Separator {
    Blanks,
    Byte(u8),
    Bytes(Box<Finder<'static>>),
}

/// The option of jobs that read fields.
pub(crate) const SEPARATOR: JobOption =
    JobOption::new("separator", "BYTES", "what separates fields; default: spaces and tabs");

/// The counter of lines that do not have the field.
pub(crate) const WITHOUT_FIELD: &str = "lines_without_field";

/// The counters of a join's lines on one side: of those that have it, and of those that do not.
pub(crate) const LEFT_LINES: [&str; 2] = ["left_lines", "left_lines_without_field"];
pub(crate) const RIGHT_LINES: [&str; 2] = ["right_lines", "right_lines_without_field"];

/// What to tell people of a job that found its field in no line, or in none of one side of a join: its
/// output lacks what was meant, and nothing else says so.
pub fn warning(counted: &Counters) -> Option<String> {
    let count = |name: &str| counted.user.get(name).copied().unwrap_or(0);
    // Of each kind of lines those with the field, and those without.
    let kinds = [
        ("no line has", [counted.map_pairs_out, count(WITHOUT_FIELD)]),
        ("no line on the left has", LEFT_LINES.map(count)),
        ("no line on the right has", RIGHT_LINES.map(count)),
    ];
    let (lines, [_, without]) =
        kinds.into_iter().find(|(_, [with, without])| *with == 0 && *without > 0)?;
    Some(format!(
        "{lines} the field that the job goes by, {without} lack it: look at its number and at the separator"
    ))
}

impl Field {
    /// The field that the option `name` tells.
    pub(crate) fn from_options(
        options: &Options<'_>,
        name: &str,
        default: usize,
    ) -> Result<Field, JobError> {
        let separator = match options.bytes(SEPARATOR.name)? {
            None => Separator::Blanks,
            Some(bytes) if bytes.contains(&b'\n') => {
                return Err(options.bad(SEPARATOR.name, "bytes without the line feed"));
            }
            Some(bytes) if bytes.len() == 1 => Separator::Byte(bytes[0]),
            Some(bytes) => Separator::Bytes(Box::new(Finder::new(&bytes).into_owned())),
        };
        let number = options.number(name, 1..=u32::MAX as usize)?.unwrap_or(default);
        Ok(Field { before: number - 1, separator })
    }

    /// The field that the option `name` tells, if it is given.
    pub(crate) fn if_given(options: &Options<'_>, name: &str) -> Result<Option<Field>, JobError> {
        let field = Field::from_options(options, name, 1)?;
        Ok(options.text(name).is_some().then_some(field))
    }

    /// Whether it is the first one and blanks separate: the case that is worth code of its own.
    pub(crate) fn is_first_between_blanks(&self) -> bool {
        self.before == 0 && matches!(self.separator, Separator::Blanks)
    }

    /// Where it is in a line without its line feed.
    #[inline]
    pub(crate) fn find(&self, line: &[u8]) -> Option<Range<usize>> {
        match &self.separator {
            Separator::Blanks => {
                let mut start = skip_blanks(line, 0);
                for _ in 0..self.before {
                    start = skip_blanks(line, end_of_word(line, start));
                }
                (start < line.len()).then(|| start..end_of_word(line, start))
            }
            Separator::Byte(byte) => {
                let mut ends = memchr::memchr_iter(*byte, line);
                let start = match self.before.checked_sub(1) {
                    None => 0,
                    Some(earlier) => ends.nth(earlier)? + 1,
                };
                Some(start..ends.next().unwrap_or(line.len()))
            }
            Separator::Bytes(finder) => {
                let mut start = 0;
                for _ in 0..self.before {
                    start += finder.find(&line[start..])? + finder.needle().len();
                }
                let len = finder.find(&line[start..]).unwrap_or(line.len() - start);
                Some(start..start + len)
            }
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[inline]
fn skip_blanks(line: &[u8], from: usize) -> usize {
    let rest = &line[from..];
    from + rest.iter().position(|&byte| !is_blank(byte)).unwrap_or(rest.len())
}

#[inline]
fn end_of_word(line: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(window) = line[at..].first_chunk() {
        match first_small(*window) {
            Some(place) if is_blank(line[at + place]) => return at + place,
            // Another control byte, which is part of the word.
            Some(place) => at += place + 1,
            None => at += WINDOW,
        }
    }
    let rest = &line[at..];
    at + rest.iter().position(|&byte| is_blank(byte)).unwrap_or(rest.len())
}

/// Bytes that are looked at together.
pub(crate) const WINDOW: usize = 16;

/// Where the first byte is that is no larger than a space: a blank, a line feed or another control
/// byte.
#[inline]
pub(crate) fn first_small(window: [u8; WINDOW]) -> Option<usize> {
    const ONES: u128 = u128::MAX / 255;
    let window = u128::from_le_bytes(window);
    // A byte below 33 borrows from its highest bit; only above the first one this may go wrong.
    let small = window.wrapping_sub(ONES * 33) & !window & (ONES << 7);
    (small != 0).then(|| small.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::JobSpec;

    /// The field by the rules of the name-plate, byte by byte.
    fn naive(line: &[u8], number: usize, separator: Option<&[u8]>) -> Option<Vec<u8>> {
        let Some(separator) = separator else {
            let words = line.split(|&byte| is_blank(byte)).filter(|word| !word.is_empty());
            return words.map(<[u8]>::to_vec).nth(number - 1);
        };
        let (mut fields, mut at) = (vec![Vec::new()], 0);
        while at < line.len() {
            if line[at..].starts_with(separator) {
                fields.push(Vec::new());
                at += separator.len();
            } else {
                fields.last_mut().unwrap().push(line[at]);
                at += 1;
            }
        }
        fields.get(number - 1).cloned()
    }

    #[test]
    fn a_field_is_found_as_naively_for_every_number_and_separator() {
        let mut random = fastrand::Rng::with_seed(5);
        let separators: [Option<&str>; 5] =
            [None, Some(","), Some("ab"), Some(r"\xff"), Some("aa")];
        for number in 1..6 {
            for text in separators {
                let mut spec = JobSpec::new("fieldcount", ["in"], "out");
                spec.options.insert("field".into(), number.to_string());
                if let Some(text) = text {
                    spec.options.insert("separator".into(), text.into());
                }
                let options = Options::of::<crate::builtin::fieldcount::FieldCount>(&spec).unwrap();
                let field = Field::from_options(&options, "field", 1).unwrap();
                let separator = text.map(|text| match text {
                    r"\xff" => &b"\xff"[..],
                    text => text.as_bytes(),
                });
                for _ in 0..2_000 {
                    let alphabet: &[u8] = b"aab, \t\r\0\xff\x08x";
                    let line: Vec<u8> = (0..random.usize(..60))
                        .map(|_| alphabet[random.usize(..alphabet.len())])
                        .collect();
                    let found = field.find(&line).map(|range| line[range].to_vec());
                    assert_eq!(
                        found,
                        naive(&line, number, separator),
                        "{number} {text:?} {line:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_field_that_no_line_has_is_warned_of() {
        let warned = |pairs: u64, counts: &[(&str, u64)]| {
            let mut counted = Counters { map_pairs_out: pairs, ..Counters::default() };
            counts.iter().for_each(|(name, amount)| counted.count(name, *amount));
            warning(&counted)
        };
        let without = (WITHOUT_FIELD, 5);
        let ([left, no_left], [right, no_right]) = (LEFT_LINES, RIGHT_LINES);
        for (pairs, counts, expected) in [
            (0, &[][..], None),
            (3, &[without], None),
            (0, &[without], Some("no line has the field that the job goes by, 5 lack it")),
            (7, &[without, (left, 3), (right, 4), (no_left, 5)], None),
            (
                3,
                &[without, (left, 3), (no_right, 5)],
                Some("no line on the right has the field that the job goes by, 5"),
            ),
            (
                3,
                &[without, (right, 3), (no_left, 4), (no_right, 1)],
                Some("no line on the left has the field that the job goes by, 4"),
            ),
            // There is no line on the left.
            (3, &[without, (right, 3), (no_right, 5)], None),
            (3, &[(right, 3)], None),
        ] {
            match (warned(pairs, counts), expected) {
                (None, None) => {}
                (Some(said), Some(expected)) => assert!(said.starts_with(expected), "{said}"),
                (said, expected) => panic!("{said:?} and not {expected:?}"),
            }
        }
    }

    #[test]
    fn the_first_small_byte_is_found_whatever_stands_behind_it() {
        for place in 0..WINDOW {
            for byte in 0..=255_u8 {
                let mut window = [0x21_u8; WINDOW];
                window[place] = byte;
                assert_eq!(first_small(window), (byte <= 0x20).then_some(place));
                window[place..].fill(byte);
                assert_eq!(first_small(window), (byte <= 0x20).then_some(place));
            }
        }
    }
}
