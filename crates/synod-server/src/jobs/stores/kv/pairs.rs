//! The keys and values that part files stand for: a line each, the key up to the first tab, the value
//! behind it; a line without a tab is a key with an empty value.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use synod_jobs::commit::Manifest;
use synod_jobs::{JobError, Progress, Publication};

/// How many pairs have been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Whole part files.
    pub parts: usize,
    /// Pairs of the next one.
    pub pairs: u64,
}

/// The pairs of all part files in their order.
pub(super) struct Pairs<'a> {
    files: &'a Publication<'a>,
    at: Position,
    open: Option<BufReader<File>>,
}

impl<'a> Pairs<'a> {
    /// From a position on.
    pub(super) fn from(files: &'a Publication<'a>, at: Position) -> Result<Pairs<'a>, JobError> {
        let mut pairs = Pairs { files, at: Position { pairs: 0, ..at }, open: None };
        while pairs.at.pairs < at.pairs {
            if pairs.next()?.is_none() {
                return Err(failed(files.output, "its part files are not those of before".into()));
            }
        }
        Ok(pairs)
    }

    /// The next pair and the position behind it.
    pub(super) fn next(&mut self) -> Result<Option<(Bytes, Bytes, Position)>, JobError> {
        loop {
            let Some(part) = self.files.manifest.parts.get(self.at.parts) else { return Ok(None) };
            let path = self.files.folder.join(&part.name);
            if self.open.is_none() {
                let file = File::open(&path).map_err(|error| JobError::io("read", &path, error))?;
                self.open = Some(BufReader::with_capacity(BUFFER_BYTES, file));
            }
            let Some(open) = &mut self.open else { continue };
            let mut line = Vec::new();
            let read = open.read_until(b'\n', &mut line);
            if read.map_err(|error| JobError::io("read", &path, error))? == 0 {
                self.open = None;
                self.at = Position { parts: self.at.parts + 1, pairs: 0 };
                continue;
            }
            self.at.pairs += 1;
            let line = Bytes::from(line);
            let line = if line.ends_with(b"\n") { line.slice(..line.len() - 1) } else { line };
            let tab = tab_in(&line);
            let value = line.slice(line.len().min(tab + 1)..);
            return Ok(Some((line.slice(..tab), value, self.at)));
        }
    }
}

fn tab_in(line: &[u8]) -> usize {
    line.iter().position(|&byte| byte == b'\t').unwrap_or(line.len())
}

/// Sees that every part file has a line for each of its records, and says how many pairs there are.
pub(super) fn check(files: &Publication<'_>, progress: &Progress) -> Result<u64, JobError> {
    let Manifest { parts, side_files, .. } = files.manifest;
    if let Some(side) = side_files.first() {
        let what = format!("a task has written {}: files beside part files are no keys", side.name);
        return Err(failed(files.output, what));
    }
    let mut found = vec![0_u64; parts.len()];
    let mut pairs = Pairs::from(files, Position::default())?;
    while let Some((_, _, at)) = pairs.next()? {
        found[at.parts] = at.pairs;
        if at.pairs.is_multiple_of(PAIRS_PER_MOVE) {
            progress.check_cancelled()?;
            progress.note_move();
        }
    }
    for (part, found) in parts.iter().zip(&found) {
        if part.records != *found {
            let (name, records) = (&part.name, part.records);
            let what = format!(
                "{name} has {found} lines for {records} records: a record of several lines is no key and value"
            );
            return Err(failed(files.output, what));
        }
    }
    Ok(found.iter().sum())
}

fn failed(output: &Path, what: String) -> JobError {
    JobError::Store { name: output.to_owned(), what, permanent: true }
}

const BUFFER_BYTES: usize = 256 << 10;
/// Pairs that are looked at before that counts as a move.
const PAIRS_PER_MOVE: u64 = 10_000;
