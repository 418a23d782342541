//! Files that a task leaves beside its part file (section 4.5 of the paper): its attempt's folder holds them
//! until the winner's are published by `commit.rs`.

use crate::error::JobError;
use serde::{Deserialize, Serialize};
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

/// The files that a task has left in its side folder, which may not be there.
pub(crate) fn side_files(folder: &Path) -> Result<Vec<SideFile>, JobError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| JobError::io("list", folder, error))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| JobError::io("list", folder, error))?;
        let bad = |what: &str| JobError::Task {
            message: format!("side file {}: {what}", entry.path().display()),
            permanent: true,
            bad_record: None,
        };
        let name = entry.file_name().into_string().map_err(|_| bad("its name is not UTF-8"))?;
        if name.starts_with("part-") || name.starts_with('_') {
            return Err(bad("names that begin with part- or _ are the job's own"));
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
