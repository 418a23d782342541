//! Inputs in the file system of this machine.

use crate::error::JobError;
use crate::framing::InputFormat;
use crate::input::codec::codec_of;
use crate::input::{InputFile, InputStore, local_path, names};
use crate::progress::Progress;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Files of this machine.
pub(crate) struct LocalFiles;

impl InputStore for LocalFiles {
    fn list(
        &self,
        name: &Path,
        format: &InputFormat,
        progress: &Progress,
    ) -> Result<Vec<InputFile>, JobError> {
        let paths = names::files_of(local_path(name), format.recursive, progress)?;
        let freeze = |path: &PathBuf| {
            progress.step()?;
            freeze(path, format)
        };
        paths.iter().map(freeze).collect()
    }

    fn open(&self, input: &InputFile, range: Range<u64>) -> Result<Box<dyn Read + Send>, JobError> {
        let (file, metadata) = open_regular(&input.path).map_err(|error| match error {
            JobError::InputMissing { path } => gone(&path),
            other => other,
        })?;
        compare(input, &metadata)?;
        Ok(Box::new(Positioned { file, at: range.start }))
    }

    fn check_unchanged(&self, input: &InputFile) -> Result<(), JobError> {
        let metadata = std::fs::metadata(&input.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => gone(&input.path),
            _ => JobError::io("examine", &input.path, error),
        })?;
        compare(input, &metadata)
    }
}

/// A file that is read from a place on, without a position that others share.
struct Positioned {
    file: File,
    at: u64,
}

impl Read for Positioned {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Looks at one file and freezes what it sees.
fn freeze(path: &Path, format: &InputFormat) -> Result<InputFile, JobError> {
    let (file, metadata) = open_regular(path)?;
    let codec = if format.keep_compressed {
        None
    } else {
        let mut first = [0; 8];
        let mut filled = 0;
        while filled < first.len() {
            match file.read_at(&mut first[filled..], filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(JobError::io("read", path, error)),
            }
        }
        codec_of(path, &first[..filled])?
    };
    Ok(InputFile {
        path: path.to_owned(),
        bytes: metadata.len(),
        modified: times(&metadata),
        codec,
        version: None,
        whole: false,
    })
}

fn gone(path: &Path) -> JobError {
    JobError::InputChanged { path: path.to_owned(), what: "it is gone".to_owned() }
}

fn compare(input: &InputFile, metadata: &Metadata) -> Result<(), JobError> {
    let what = if metadata.len() != input.bytes {
        format!("it had {} bytes and has {}", input.bytes, metadata.len())
    } else if times(metadata) != input.modified {
        "its modification time moved".to_owned()
    } else {
        return Ok(());
    };
    Err(JobError::InputChanged { path: input.path.clone(), what })
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

pub(super) fn unreadable(path: &Path, source: io::Error) -> JobError {
    match source.kind() {
        io::ErrorKind::NotFound => JobError::InputMissing { path: path.to_owned() },
        _ => JobError::InputUnreadable { path: path.to_owned(), source },
    }
}

fn times(metadata: &Metadata) -> (i64, i64) {
    (metadata.mtime(), metadata.mtime_nsec())
}
