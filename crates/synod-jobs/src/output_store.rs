//! Outputs that are no folder: what a store must do for one, and the staging folder in between.
//!
//! Tasks write part files to a folder as always: the staging folder, in this process one of its own, on a
//! cluster one that all nodes see. When every winner is known that folder is published like any output, then
//! the store is given what is in it. So an attempt leaves nothing in a store, and whoever publishes again
//! after a crash has the same files. `_SUCCESS`, or what stands for it, is written last.

use crate::cluster::names::JobId;
use crate::commit::Manifest;
use crate::error::JobError;
use crate::progress::Progress;
use crate::spec::JobSpec;
use std::path::Path;

/// Where the outputs of one scheme go. Calls block.
pub trait OutputStore: Send + Sync {
    /// Fails if the output cannot be what the spec wants, whatever there is already.
    fn check(&self, spec: &JobSpec) -> Result<(), JobError>;

    /// Fails if something is at the output.
    fn check_absent(&self, output: &Path) -> Result<(), JobError>;

    /// Marks the output as a job's own, if nothing is there but perhaps that mark, and gives the mark's
    /// text. A job in one process has no name and gets one.
    fn claim(&self, output: &Path, job: Option<&JobId>) -> Result<String, JobError>;

    /// Makes the files of a published folder visible, the manifest last, then takes the mark away. May be
    /// repeated, also by another process; ends at once if it was done. Fails if the output is not the
    /// mark's any more. It can be cancelled until the manifest is written, and notes each step as a move:
    /// who publishes without a move for long is given up.
    fn publish(&self, files: &Publication<'_>, progress: &Progress) -> Result<(), JobError>;

    /// The manifest of an output that was published under this mark.
    fn published(&self, output: &Path, mark: &str) -> Result<Option<Manifest>, JobError>;

    /// Removes what was written under this mark, and the mark last, unless all of it was published. Notes
    /// moves like `publish`.
    fn clean(&self, output: &Path, mark: &str, progress: &Progress) -> Result<(), JobError>;
}

/// What is to be visible.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// Where.
    pub output: &'a Path,
    /// Whose.
    pub mark: &'a str,
    /// The folder with the files that the manifest names.
    pub folder: &'a Path,
    /// What it holds.
    pub manifest: &'a Manifest,
}

impl JobSpec {
    /// The folder that part files are written to and published in: the output, or the job's own within
    /// the staging folder if the output is in a store.
    pub fn working_folder(&self, job: &JobId) -> std::path::PathBuf {
        match &self.staging_folder {
            Some(staging) if self.output_is_in_store() => staging.join(job.to_string()),
            _ => self.output.clone(),
        }
    }
}
