//! Files that a task leaves beside its part file (section 4.5 of the paper): its attempt's folder holds them
//! until the winner's are published by `commit.rs`.

use crate::error::JobError;
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::fs;
use std::io;
use std::path::Path;

/// A file that a task has written beside its part file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideFile {
    /// Name within the output folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// Why no task may leave a file of this name; `None` if it may.
fn refused(name: &str) -> Option<&'static str> {
    if name.starts_with("part-") || name.starts_with('_') {
        Some("names that begin with part- or _ are the job's own")
    } else if Path::new(name).file_name() != Some(name.as_ref()) {
        Some("it is not the name of a file within the output folder")
    } else {
        None
    }
}

impl SideFile {
    /// Sees that it can only be published as a file of its task within the output folder. The name may come
    /// out of a record that others can write.
    pub(crate) fn check(&self) -> Result<(), JobError> {
        match refused(&self.name) {
            Some(what) => Err(bad(&self.name, what)),
            None => Ok(()),
        }
    }
}

fn bad(name: impl Display, what: &str) -> JobError {
    let message = format!("side file {name}: {what}");
    JobError::Task { message, permanent: true, bad_record: None }
}

/// The files that a task has left in its side folder, which may not be there.
pub(crate) fn side_files(folder: &Path) -> Result<Vec<SideFile>, JobError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| JobError::io("list", folder, error))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| JobError::io("list", folder, error))?;
        let bad = |what: &str| bad(entry.path().display(), what);
        let name = entry.file_name().into_string().map_err(|_| bad("its name is not UTF-8"))?;
        if let Some(what) = refused(&name) {
            return Err(bad(what));
        }
        let metadata =
            entry.metadata().map_err(|error| JobError::io("examine", &entry.path(), error))?;
        if !metadata.is_file() {
            return Err(bad("it is not a regular file, and only files are published"));
        }
        files.push(SideFile { name, bytes: metadata.len() });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}
