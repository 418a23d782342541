//! The output folder: created before any work, published at the end, removed if the job fails.
//!
//! Attempts write under `_temporary/`. Publishing renames the winners' part files, removes
//! `_temporary` and writes `_SUCCESS` last; it holds the manifest. A reader that sees `_SUCCESS`
//! sees everything. Every step may be repeated: a part that was renamed already is left alone.

use crate::counters::Counters;
use crate::error::JobError;
use crate::reduce_task::ReduceOutput;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Name of the folder for everything that is not published.
pub const TEMPORARY: &str = "_temporary";
/// Name of the marker and manifest.
pub const SUCCESS: &str = "_SUCCESS";

/// One published part file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Name within the output folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its records.
    pub records: u64,
    /// CRC32C of its bytes.
    pub crc32c: u32,
}

/// Content of `_SUCCESS`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name of the job.
    pub job: String,
    /// The part files in order of their partitions.
    pub parts: Vec<Part>,
    /// What the job counted.
    pub counters: Counters,
}

/// Name of a partition's part file.
pub fn part_name(partition: u32) -> String {
    format!("part-{partition:05}")
}

/// An output folder that this job has created; dropped without [`OutputFolder::publish`] it goes.
#[derive(Debug)]
pub struct OutputFolder {
    path: PathBuf,
    published: bool,
}

impl OutputFolder {
    /// Creates the folder. Of two jobs with the same output one is refused.
    pub fn create(path: &Path) -> Result<OutputFolder, JobError> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(|error| JobError::io("create", parent, error))?;
        }
        fs::create_dir(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => JobError::OutputExists { path: path.to_owned() },
            _ => JobError::io("create", path, error),
        })?;
        let folder = OutputFolder { path: path.to_owned(), published: false };
        let temporary = folder.temporary();
        fs::create_dir(&temporary).map_err(|error| JobError::io("create", &temporary, error))?;
        Ok(folder)
    }

    /// The output folder of a job that several processes work on: it stays, whatever happens here.
    pub fn adopt(path: &Path) -> Result<OutputFolder, JobError> {
        let folder = OutputFolder { path: path.to_owned(), published: true };
        // Publishing has removed it if it came to its end before and is being repeated.
        let temporary = folder.temporary();
        match fs::create_dir(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(JobError::io("create", &temporary, error))
            }
            _ => Ok(folder),
        }
    }

    /// The folder for attempts and spilled runs.
    pub fn temporary(&self) -> PathBuf {
        self.path.join(TEMPORARY)
    }

    /// Makes the output visible: `files` are the winners' part files, one per entry of `outputs`.
    pub fn publish(
        mut self,
        job: &str,
        outputs: &[ReduceOutput],
        files: &[PathBuf],
        counters: &Counters,
        sync: bool,
    ) -> Result<Manifest, JobError> {
        assert_eq!(outputs.len(), files.len(), "every part has its file");
        let mut parts = Vec::with_capacity(outputs.len());
        for (output, file) in outputs.iter().zip(files) {
            let name = part_name(output.partition);
            let target = self.path.join(&name);
            match fs::rename(file, &target) {
                Err(error) if !(error.kind() == io::ErrorKind::NotFound && target.exists()) => {
                    return Err(JobError::io("rename", file, error));
                }
                _ => {}
            }
            let ReduceOutput { bytes, records, crc32c, .. } = *output;
            parts.push(Part { name, bytes, records, crc32c });
        }
        let manifest = Manifest { job: job.to_owned(), parts, counters: counters.clone() };
        self.write_success(&manifest, sync)?;
        self.published = true;
        Ok(manifest)
    }

    fn write_success(&self, manifest: &Manifest, sync: bool) -> Result<(), JobError> {
        let text = serde_json::to_vec_pretty(manifest).expect("a manifest has only string keys");
        let marker = self.path.join(SUCCESS);
        let draft = self.temporary().join(SUCCESS);
        let failed = |error| JobError::io("write", &marker, error);
        let mut file = File::create(&draft).map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        if sync {
            file.sync_all().map_err(failed)?;
            sync_folder(&self.path)?;
        }
        fs::rename(&draft, &marker).map_err(failed)?;
        let temporary = self.temporary();
        fs::remove_dir_all(&temporary)
            .map_err(|error| JobError::io("remove", &temporary, error))?;
        if sync {
            sync_folder(&self.path)?;
            let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            sync_folder(parent.unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }
}

impl Drop for OutputFolder {
    fn drop(&mut self) {
        if !self.published {
            // The job has failed already; what cannot be removed is found by the next attempt.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn sync_folder(path: &Path) -> Result<(), JobError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| JobError::io("sync", path, error))
}
