//! Inputs: from the names a person gave to files frozen for the length of the job.
//!
//! A frozen input is its path, length and modification time. Tasks compare before and after they
//! read, so a file that is written to during the job fails the job instead of mixing two states.

use crate::error::JobError;
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One input file as it was when the job was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its modification time, seconds and nanoseconds since 1970.
    pub modified: (i64, i64),
}

impl InputFile {
    /// Looks at one file and freezes what it sees.
    pub fn freeze(path: &Path) -> Result<InputFile, JobError> {
        let (_, metadata) = open_regular(path)?;
        Ok(InputFile { path: path.to_owned(), bytes: metadata.len(), modified: times(&metadata) })
    }

    /// Opens the file and makes sure that it is still the frozen one.
    pub fn open(&self) -> Result<File, JobError> {
        let (file, metadata) = open_regular(&self.path).map_err(|error| match error {
            JobError::InputMissing { path } => {
                JobError::InputChanged { path, what: "it is gone".to_owned() }
            }
            other => other,
        })?;
        self.compare(&metadata)?;
        Ok(file)
    }

    /// Makes sure that an open file is still the frozen one.
    pub fn check_unchanged(&self, file: &File) -> Result<(), JobError> {
        let metadata =
            file.metadata().map_err(|error| JobError::io("examine", &self.path, error))?;
        self.compare(&metadata)
    }

    fn compare(&self, metadata: &Metadata) -> Result<(), JobError> {
        let what = if metadata.len() != self.bytes {
            format!("it had {} bytes and has {}", self.bytes, metadata.len())
        } else if times(metadata) != self.modified {
            "its modification time moved".to_owned()
        } else {
            return Ok(());
        };
        Err(JobError::InputChanged { path: self.path.clone(), what })
    }
}

/// Finds the files that `inputs` name, in the order given; a pattern's matches in bytewise order.
pub fn expand(inputs: &[PathBuf]) -> Result<Vec<InputFile>, JobError> {
    let mut files = Vec::new();
    for input in inputs {
        match pattern_of(input) {
            Some((folder, pattern)) if !input.exists() => {
                for path in matches(&folder, &pattern, input)? {
                    files.push(InputFile::freeze(&path)?);
                }
            }
            _ => files.push(InputFile::freeze(input)?),
        }
    }
    Ok(files)
}

fn open_regular(path: &Path) -> Result<(File, Metadata), JobError> {
    // Looked at before it is opened: opening a pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, error))?;
    if metadata.is_dir() {
        return Err(JobError::InputIsFolder { path: path.to_owned() });
    }
    if !metadata.is_file() {
        return Err(JobError::InputNotRegular { path: path.to_owned() });
    }
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    let metadata = file.metadata().map_err(|error| unreadable(path, error))?;
    Ok((file, metadata))
}

fn unreadable(path: &Path, source: io::Error) -> JobError {
    match source.kind() {
        io::ErrorKind::NotFound => JobError::InputMissing { path: path.to_owned() },
        _ => JobError::InputUnreadable { path: path.to_owned(), source },
    }
}

fn times(metadata: &Metadata) -> (i64, i64) {
    (metadata.mtime(), metadata.mtime_nsec())
}

/// Splits a path whose last part holds `*` into its folder and that part.
fn pattern_of(path: &Path) -> Option<(PathBuf, String)> {
    let name = path.file_name()?.to_str()?;
    if !name.contains('*') {
        return None;
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    Some((folder, name.to_owned()))
}

/// The regular files in `folder` whose name fits, without names that start with `_` or `.`.
fn matches(folder: &Path, pattern: &str, input: &Path) -> Result<Vec<PathBuf>, JobError> {
    let entries = std::fs::read_dir(folder).map_err(|error| unreadable(folder, error))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| JobError::io("list", folder, error))?;
        let name = entry.file_name();
        let bytes = name.as_encoded_bytes();
        let hidden = bytes.starts_with(b"_") || bytes.starts_with(b".");
        if !hidden && fits(pattern.as_bytes(), bytes) && entry.path().is_file() {
            found.push(entry.path());
        }
    }
    if found.is_empty() {
        return Err(JobError::NothingMatches { pattern: input.to_owned() });
    }
    found.sort();
    Ok(found)
}

/// Whether `name` fits `pattern`, in which `*` stands for any bytes.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let mut pieces = pattern.split(|&byte| byte == b'*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut pieces: Vec<&[u8]> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
        match memchr::memmem::find(rest, piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stands_for_any_bytes_and_nothing_else_is_special() {
        for (pattern, name, expected) in [
            ("*", "anything", true),
            ("*.log", "a.log", true),
            ("*.log", "a.log.gz", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "ac", false),
            ("ab*ba", "aba", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
