//! Counts lines per value of a field: requests per address, users per shell.
//!
//! An output line is `value<TAB>count`. What a field is, `field.rs` says; lines without the field
//! are not in the output but in the counter `lines_without_field`.
//!
//! The first field between blanks is found by its end within the sixteen bytes where a line
//! begins. Fields are found for many lines before they are emitted: two short loops, one after the
//! other, surprise the processor less often than one long one.

use crate::builtin::field::{Field, SEPARATOR, WINDOW, WITHOUT_FIELD, first_small};
use crate::builtin::options::{JobOption, NamedJob, Options};
use crate::builtin::sums::{self, ONE, number};
use crate::emit::Emitter;
use crate::error::JobError;
use crate::job::Job;
use crate::record::{Block, Record};
use crate::reduce_input::Values;
use crate::sink::Sink;
use std::ops::Range;

/// The job.
#[derive(Debug, Clone)]
pub struct FieldCount {
    field: Field,
}

impl NamedJob for FieldCount {
    const NAME: &'static str = "fieldcount";
    const ABOUT: &'static str = "how many lines have each value of a field: value, count";
    const OPTIONS: &'static [JobOption] =
        &[JobOption::new("field", "N", "which field, counted from 1; default: 1"), SEPARATOR];

    fn from_options(options: &Options<'_>) -> Result<Self, JobError> {
        Ok(FieldCount { field: Field::from_options(options, "field", 1)? })
    }
}

impl Job for FieldCount {
    const COMBINED_VALUE_BYTES: Option<usize> = Some(8);

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        match self.field.find(record.bytes) {
            Some(range) => out.emit_within(record.bytes, range, &ONE),
            None => out.count(WITHOUT_FIELD, 1),
        }
    }

    fn map_block(&self, block: Block<'_>, out: &mut Emitter<'_, Self>) {
        if self.field.is_first_between_blanks() {
            let slow = |line: Range<usize>| self.find_in(block.bytes, line);
            emit_fields(block.bytes, out, |line| first_word(block.bytes, line, slow));
        } else {
            emit_fields(block.bytes, out, |line| self.find_in(block.bytes, line));
        }
    }

    #[inline]
    fn combine(&self, total: &mut [u8], value: &[u8]) {
        sums::add(total, value);
    }

    fn reduce(&self, value: &[u8], counts: &mut Values<'_, Self>, out: &mut Sink) {
        let mut sum = 0_u64;
        while let Some(count) = counts.next() {
            sum = sum.saturating_add(number(count));
        }
        out.bytes(value);
        out.bytes(b"\t");
        out.decimal(sum);
        out.end_record();
    }
}

impl FieldCount {
    fn find_in(&self, bytes: &[u8], line: Range<usize>) -> Option<Range<usize>> {
        let start = line.start;
        self.field.find(&bytes[line]).map(|range| start + range.start..start + range.end)
    }
}

/// The first word of a line that may be followed by others.
#[inline]
fn first_word(
    bytes: &[u8],
    line: Range<usize>,
    slow: impl Fn(Range<usize>) -> Option<Range<usize>>,
) -> Option<Range<usize>> {
    let window = bytes[line.start..].first_chunk::<WINDOW>();
    match window.and_then(|window| first_small(*window)) {
        Some(len) if len > 0 && matches!(bytes[line.start + len], b' ' | b'\t' | b'\n') => {
            Some(line.start..line.start + len)
        }
        _ => slow(line),
    }
}

/// Lines whose fields are found before any of them is emitted.
const BATCH: usize = 128;

fn emit_fields(
    bytes: &[u8],
    out: &mut Emitter<'_, FieldCount>,
    find: impl Fn(Range<usize>) -> Option<Range<usize>>,
) {
    let mut found = [[0; 2]; BATCH];
    let mut ends = memchr::memchr_iter(b'\n', bytes);
    let (mut start, mut without) = (0, 0);
    while start < bytes.len() {
        let mut count = 0;
        while count < BATCH && start < bytes.len() {
            let end = ends.next().unwrap_or(bytes.len());
            match find(start..end) {
                Some(range) => {
                    found[count] = [range.start as u32, range.end as u32];
                    count += 1;
                }
                None => without += 1,
            }
            start = end + 1;
        }
        out.emit_each(bytes, &found[..count], &ONE);
    }
    if without > 0 {
        out.count(WITHOUT_FIELD, without);
    }
}
