//! What a job goes on without, kept beside its output: records that its map function fails on, groups that
//! its reduce function fails on, and what a command of a streaming job fails on.
//!
//! A task that leaves something out writes a side file, `.skipped-m-000003` (the number of the split) or
//! `.skipped-r-000003` (of the partition); like all side files it is published with the attempt that wins.
//! Each line is one thing, in fields with tabs between them:
//!
//! 1. the input file; `-` for a group,
//! 2. the number of the split, or of the partition,
//! 3. the offset at which the record begins; for a group its number in the partition, from 0,
//! 4. the error,
//! 5. the record without what ends it (after its key and a tab, if the input has keys); of a group the key.
//!
//! A backslash is written `\\`, a line feed `\n`, a tab `\t` (in the last field it stays a tab). All
//! other bytes are as they were.

use crate::error::JobError;
use crate::task::{TaskContext, TaskKind};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a task must leave out, with the error of each: records of a split by their offsets, groups of a
/// partition by their numbers.
pub type LeftOut = BTreeMap<u64, String>;

/// The counter of groups that were left out.
pub(crate) const BAD_GROUPS: &str = "bad_groups_skipped";

/// Longest error that is kept of each, in characters.
const MAX_ERROR_CHARS: usize = 500;

/// An error as it is kept.
pub(crate) fn reason(error: &str) -> String {
    error.chars().take(MAX_ERROR_CHARS).collect()
}

/// Something that is left out.
pub(crate) struct Bad<'r> {
    /// The input file, if it is a record of one.
    pub file: Option<&'r Path>,
    /// Its offset, or its number.
    pub place: u64,
    /// Why.
    pub error: &'r str,
    /// The record, or the key of the group, in pieces.
    pub bytes: &'r [&'r [u8]],
}

/// The file of one split or partition; made when there is something to keep.
pub(crate) struct Quarantine<'t> {
    task: &'t TaskContext<'t>,
    number: u32,
    file: Option<(BufWriter<File>, PathBuf)>,
}

impl<'t> Quarantine<'t> {
    /// Of this split or partition, written by an attempt that may have others, too.
    pub fn new(task: &'t TaskContext<'t>, number: u32) -> Quarantine<'t> {
        Quarantine { task, number, file: None }
    }

    /// Keeps something. It is with the operating system on return.
    pub fn keep(&mut self, bad: &Bad<'_>) -> Result<(), JobError> {
        if self.file.is_none() {
            let letter = match self.task.kind {
                TaskKind::Map => 'm',
                TaskKind::Reduce => 'r',
            };
            let folder = self.task.side_folder()?;
            let path = folder.join(format!(".skipped-{letter}-{:06}", self.number));
            let file = File::create(&path).map_err(|error| JobError::io("create", &path, error))?;
            self.file = Some((BufWriter::new(file), path));
        }
        if let Some((file, path)) = &mut self.file {
            write_line(file, self.number, bad)
                .map_err(|error| JobError::io("write", path, error))?;
        }
        Ok(())
    }
}

fn write_line(out: &mut impl Write, number: u32, bad: &Bad<'_>) -> io::Result<()> {
    let file = bad.file.map_or(&b"-"[..], |file| file.as_os_str().as_bytes());
    escaped(out, file, true)?;
    write!(out, "\t{number}\t{}\t", bad.place)?;
    escaped(out, bad.error.as_bytes(), true)?;
    out.write_all(b"\t")?;
    for piece in bad.bytes {
        escaped(out, piece, false)?;
    }
    out.write_all(b"\n")?;
    out.flush()
}

fn escaped(out: &mut impl Write, mut bytes: &[u8], tabs: bool) -> io::Result<()> {
    let special = |bytes: &[u8]| match tabs {
        true => memchr::memchr3(b'\\', b'\n', b'\t', bytes),
        false => memchr::memchr2(b'\\', b'\n', bytes),
    };
    while let Some(at) = special(bytes) {
        out.write_all(&bytes[..at])?;
        out.write_all(match bytes[at] {
            b'\n' => b"\\n",
            b'\t' => b"\\t",
            _ => b"\\\\",
        })?;
        bytes = &bytes[at + 1..];
    }
    out.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_five_fields_whatever_bytes_are_in_them() {
        let mut line = Vec::new();
        let bad = Bad {
            file: Some(Path::new("/in/a\tb\nc\\n")),
            place: 70,
            error: "it\tfailed\nbadly",
            bytes: &[b"key\t", b"a\\b\nc\td\xff\r"],
        };
        write_line(&mut line, 3, &bad).unwrap();
        let expected =
            b"/in/a\\tb\\nc\\\\n\t3\t70\tit\\tfailed\\nbadly\tkey\ta\\\\b\\nc\td\xff\r\n";
        assert_eq!(line, expected, "{}", line.escape_ascii());
    }
}
