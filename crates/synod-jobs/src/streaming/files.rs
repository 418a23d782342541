//! The files and archives that come with a job: `path#name`, where `name` is how a task sees them.

use super::locations::Locations;
use crate::error::JobError;
use crate::input::codec::{codec_of, unpack};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A file or archive of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its name in the working folder, without slashes.
    pub name: String,
}

impl JobFile {
    /// Reads one `path#name`; without a name it is the last part of the path.
    pub fn parse(text: &str, locations: &Locations) -> Result<JobFile, JobError> {
        let (path, name) = match text.rsplit_once('#') {
            Some((path, name)) => (path, Some(name)),
            None => (text, None),
        };
        let path = locations.resolve(path)?;
        let name = match name {
            Some(name) => name.to_owned(),
            None => {
                path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
            }
        };
        let plain = !name.is_empty()
            && name != "."
            && name != ".."
            && !name.contains(['/', '\0'])
            && !name.starts_with(RESERVED_PREFIX);
        if !plain {
            return Err(JobError::BadSpec {
                what: format!("`{text}`: a task sees it under one plain name, not `{name}`"),
            });
        }
        Ok(JobFile { path, name })
    }

    /// Reads the list that a property holds.
    pub(crate) fn list(text: Option<&str>) -> Result<Vec<JobFile>, JobError> {
        // They were resolved when the job was submitted.
        let here = Locations::default();
        let parts = text.unwrap_or_default().split(',').map(str::trim);
        parts.filter(|part| !part.is_empty()).map(|part| JobFile::parse(part, &here)).collect()
    }

    /// As a property holds it.
    pub fn uri(&self) -> String {
        format!("{}#{}", super::locations::file_uri(&self.path), self.name)
    }

    /// Refuses two files of one name.
    pub(crate) fn check_names(files: &[JobFile], archives: &[JobFile]) -> Result<(), JobError> {
        let mut names = BTreeSet::new();
        match files.iter().chain(archives).find(|file| !names.insert(&file.name)) {
            None => Ok(()),
            Some(file) => Err(JobError::BadSpec {
                what: format!(
                    "two files of the job would be called `{}`: give one another name, \
                     {}#other",
                    file.name,
                    file.path.display()
                ),
            }),
        }
    }

    /// Whether this is the file at `path`.
    pub fn is_at(&self, path: &Path) -> bool {
        self.path == path
    }
}

/// The content of a file, unpacked if its name and first bytes say that it is compressed.
pub fn open_text(path: &Path) -> Result<Box<dyn Read + Send>, JobError> {
    let bad = |error| JobError::io("read", path, error);
    let mut file = File::open(path).map_err(bad)?;
    let mut first = Vec::new();
    file.by_ref().take(FIRST_BYTES).read_to_end(&mut first).map_err(bad)?;
    file.rewind().map_err(bad)?;
    let file: Box<dyn Read + Send> = Box::new(file);
    match codec_of(path, &first)? {
        Some(codec) => unpack(codec, file, Arc::new(AtomicU64::new(0))).map_err(bad),
        None => Ok(file),
    }
}

/// Enough to tell a compressed file.
const FIRST_BYTES: u64 = 8;

/// Names that begin so are the engine's.
const RESERVED_PREFIX: &str = ".synod-";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<JobFile, JobError> {
        JobFile::parse(text, &Locations::default())
    }

    #[test]
    fn a_file_has_its_own_name_or_the_one_behind_the_hash() {
        let file = parse("file:/data/words.txt#w").unwrap();
        assert_eq!((file.path.to_str().unwrap(), file.name.as_str()), ("/data/words.txt", "w"));
        assert_eq!(parse("dir/words.txt").unwrap().name, "words.txt");
        assert_eq!(parse("a#b#c").unwrap().path, Path::new("a#b"));
        assert_eq!(parse("/a b#c d").unwrap().uri(), "file:/a b#c d");
    }

    #[test]
    fn names_that_leave_the_working_folder_are_refused() {
        for bad in ["a#", "a#..", "a#.", "a#b/c", "a#/b", "..", "/", "a#.synod-x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let file = |text| parse(text).unwrap();
        let twice = JobFile::check_names(&[file("a/x"), file("b/x")], &[]);
        assert!(twice.unwrap_err().to_string().contains("`x`"));
        assert!(JobFile::check_names(&[file("a/x")], &[file("b/x")]).is_err());
        assert!(JobFile::check_names(&[file("a/x")], &[file("b/x#y")]).is_ok());
    }
}
