//! Joins the lines of two inputs that have the same key field.
//!
//! An output line is `key<TAB>left line<TAB>right line`, lines as they are; where a `left`, `right`
//! or `outer` join has no line on one side, nothing stands there. Within a part file keys ascend,
//! and the lines of one key are in the order of the input. Lines without the key field are in no
//! output but in the counter `lines_without_field`, and in `left_lines_without_field` or
//! `right_lines_without_field`; `left_lines` and `right_lines` count the others.
//!
//! A file is on the left if the pattern `left` fits its path or the end of it from a name on
//! (`*`, `?` and `[..]` as in a shell); all others are on the right.
//!
//! The key in between is the field, escaped so that it ends, and the side, grouped by all but the
//! side: lines of the left side reach the reducer first. They are the only ones that it keeps, one key
//! at a time, a few in memory and more on disk (`left_lines.rs`); lines of the right side stream by. So
//! the side with fewer lines per key belongs on the left.

mod left_lines;

use crate::builtin::field::{Field, LEFT_LINES, RIGHT_LINES, SEPARATOR, WITHOUT_FIELD};
use crate::builtin::options::{JobOption, NamedJob, Options};
use crate::emit::Emitter;
use crate::error::JobError;
use crate::input::InputFile;
use crate::job::Job;
use crate::record::Record;
use crate::reduce_input::{ReduceInput, Values};
use crate::sink::Sink;
use crate::task::TaskContext;
use left_lines::LeftLines;
use std::path::Path;

/// The job.
#[derive(Debug, Clone)]
pub struct Join {
    left: glob::Pattern,
    left_field: Field,
    right_field: Field,
    /// Whether lines without a partner are kept: on the left, on the right.
    keep: (bool, bool),
}

impl NamedJob for Join {
    const NAME: &'static str = "join";
    const ABOUT: &'static str = "lines of two inputs with the same key field: key, left, right";
    const OPTIONS: &'static [JobOption] = &[
        JobOption::new(
            "left",
            "PATTERN",
            "the left side's files (fewer lines per key); others: right",
        ),
        JobOption::new("left_field", "N", "the key's field on the left; default: 1"),
        JobOption::new("right_field", "N", "the key's field on the right; default: 1"),
        SEPARATOR,
        JobOption::new("kind", "KIND", "inner, left, right or outer; default: inner"),
    ];

    fn from_options(options: &Options<'_>) -> Result<Self, JobError> {
        let wanted = "a pattern that fits the files on the left";
        let text = options.text("left").ok_or_else(|| options.bad("left", wanted))?;
        let left = glob::Pattern::new(text).map_err(|_| options.bad("left", wanted))?;
        let kinds = [
            ("inner", (false, false)),
            ("left", (true, false)),
            ("right", (false, true)),
            ("outer", (true, true)),
        ];
        Ok(Join {
            left,
            left_field: Field::from_options(options, "left_field", 1)?,
            right_field: Field::from_options(options, "right_field", 1)?,
            keep: options.choice("kind", &kinds)?,
        })
    }
}

const LEFT: u8 = 0;
const RIGHT: u8 = 1;

impl Job for Join {
    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        let is_left = is_on_left(&self.left, record.file);
        let (field, side, [with, without]) = if is_left {
            (&self.left_field, LEFT, LEFT_LINES)
        } else {
            (&self.right_field, RIGHT, RIGHT_LINES)
        };
        match field.find(record.bytes) {
            None => {
                out.count(WITHOUT_FIELD, 1);
                out.count(without, 1);
            }
            Some(range) => {
                out.count(with, 1);
                let mut key = Vec::with_capacity(range.len() + 3);
                escape(&record.bytes[range], &mut key);
                key.push(side);
                out.emit(&key, record.bytes);
            }
        }
    }

    fn group<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        &key[..key.len().saturating_sub(1)]
    }

    fn check_inputs(&self, inputs: &[InputFile]) -> Result<(), JobError> {
        let on_left = inputs.iter().filter(|input| is_on_left(&self.left, &input.path)).count();
        let (left, all) = (self.left.as_str(), inputs.len());
        let Some(InputFile { path: first, .. }) = inputs.first() else { return Ok(()) };
        let why = match on_left {
            0 => format!("fits none of the {all} input files, so nothing is on the left"),
            fit if fit == all => format!("fits all {all} input files, so nothing is on the right"),
            _ => return Ok(()),
        };
        let what = format!(
            "option `left` of job `join` is `{left}`, which {why}: it must fit the path of each file on the \
             left, or the end of it from a name on, and of no other (the first file is {})",
            first.display()
        );
        Err(JobError::BadSpec { what })
    }

    fn reduce(&self, _: &[u8], _: &mut Values<'_, Self>, _: &mut Sink) {
        panic!("both sides of a key are read at once, see reduce_partition");
    }

    fn reduce_partition(
        &self,
        task: &TaskContext<'_>,
        input: &mut ReduceInput<'_, Self>,
        out: &mut Sink,
    ) -> Result<(), JobError> {
        let mut both =
            BothSides { join: self, key: Vec::new(), left: LeftLines::new(task), any_right: true };
        let mut group: Option<Vec<u8>> = None;
        while let Some((key, line)) = input.next_pair()? {
            if group.as_deref() != Some(self.group(key)) {
                both.end(out)?;
                both.begin(self.group(key));
                group = Some(self.group(key).to_vec());
            }
            match key.last() {
                Some(&LEFT) => both.left.push(line)?,
                _ => both.right(line, out)?,
            }
        }
        both.end(out)
    }
}

/// The lines of one key: those on the left, then one after the other those on the right.
struct BothSides<'t> {
    join: &'t Join,
    key: Vec<u8>,
    left: LeftLines<'t>,
    any_right: bool,
}

impl BothSides<'_> {
    fn begin(&mut self, group: &[u8]) {
        self.key = unescape(group);
        self.any_right = false;
    }

    fn right(&mut self, right: &[u8], out: &mut Sink) -> Result<(), JobError> {
        self.any_right = true;
        if self.left.is_empty() && self.join.keep.1 {
            write(out, &self.key, b"", right);
        }
        self.left.each(|left| write(out, &self.key, left, right))?;
        // Behind a full disk there may be very many lines.
        out.check()
    }

    fn end(&mut self, out: &mut Sink) -> Result<(), JobError> {
        if !self.any_right && self.join.keep.0 {
            self.left.each(|left| write(out, &self.key, left, b""))?;
        }
        if self.left.is_on_disk() {
            out.count(ON_DISK, 1);
        }
        self.left.clear();
        out.check()
    }
}

/// The counter of keys with so many lines on the left that these were kept on disk.
const ON_DISK: &str = "keys_with_left_lines_on_disk";

fn write(out: &mut Sink, key: &[u8], left: &[u8], right: &[u8]) {
    for (field, end) in [(key, &b"\t"[..]), (left, b"\t"), (right, b"")] {
        out.bytes(field);
        out.bytes(end);
    }
    out.end_record();
}

/// Whether the pattern fits the path, or what follows one of its slashes.
fn is_on_left(pattern: &glob::Pattern, file: &Path) -> bool {
    let path = file.to_string_lossy();
    let starts = path.match_indices('/').map(|(at, _)| at + 1);
    std::iter::once(0).chain(starts).any(|start| pattern.matches(&path[start..]))
}

/// Appends bytes so that no key is the beginning of another and their order stays: a NUL becomes
/// NUL 0xff, and two NULs end.
fn escape(bytes: &[u8], key: &mut Vec<u8>) {
    for &byte in bytes {
        key.push(byte);
        if byte == 0 {
            key.push(0xff);
        }
    }
    key.extend_from_slice(b"\0\0");
}

fn unescape(group: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(group.len());
    let mut rest = group.strip_suffix(b"\0\0").unwrap_or(group).iter();
    while let Some(&byte) = rest.next() {
        bytes.push(byte);
        if byte == 0 {
            rest.next();
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_keys_keep_their_order_and_none_is_the_beginning_of_another() {
        let mut random = fastrand::Rng::with_seed(6);
        let mut keys: Vec<Vec<u8>> = (0..500)
            .map(|_| {
                (0..random.usize(..6)).map(|_| [0, 1, 0xfe, 0xff][random.usize(..4)]).collect()
            })
            .collect();
        keys.sort();
        keys.dedup();
        let escaped: Vec<Vec<u8>> = keys
            .iter()
            .map(|key| {
                let mut escaped = Vec::new();
                escape(key, &mut escaped);
                assert_eq!(unescape(&escaped), *key);
                escaped
            })
            .collect();
        assert!(escaped.is_sorted());
        assert!(escaped.windows(2).all(|pair| !pair[1].starts_with(&pair[0])));
    }

    #[test]
    fn a_pattern_fits_a_path_or_its_end_from_a_name_on() {
        for (pattern, path, fits) in [
            ("users*", "/data/users-1.txt", true),
            ("left/*", "/data/left/part-0", true),
            ("data/left/*", "/data/left/part-0", true),
            ("left/*", "/data/right/part-0", false),
            ("sers*", "/data/users-1.txt", false),
            ("users.txt", "users.txt", true),
        ] {
            let pattern = glob::Pattern::new(pattern).unwrap();
            assert_eq!(is_on_left(&pattern, Path::new(path)), fits, "{pattern} {path}");
        }
    }
}
