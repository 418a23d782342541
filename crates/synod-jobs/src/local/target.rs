//! Where a job in this process puts its output: a folder, or a store by way of a staging folder.

use crate::commit::{Manifest, OutputFolder};
use crate::error::JobError;
use crate::output_store::{OutputStore, Publication};
use crate::progress::Progress;
use crate::spec::JobSpec;
use crate::stores::Stores;
use std::path::{Path, PathBuf};

/// An output before the job has begun.
pub(super) struct Target<'a> {
    output: &'a Path,
    store: Option<&'a dyn OutputStore>,
}

/// The output of a running job; dropped before it is published it goes.
pub(super) struct Claimed<'a> {
    output: &'a Path,
    /// The store, its mark, and the staging folder.
    store: Option<(&'a dyn OutputStore, String, PathBuf)>,
    published: bool,
}

impl<'a> Target<'a> {
    /// Fails if something is there already.
    pub(super) fn find(spec: &'a JobSpec, stores: &'a Stores) -> Result<Target<'a>, JobError> {
        let (output, store) = (spec.output.as_path(), stores.output_of(&spec.output)?);
        match store {
            Some(store) => {
                store.check(spec)?;
                store.check_absent(output)?;
            }
            None if output.symlink_metadata().is_ok() => {
                return Err(JobError::OutputExists { path: output.to_owned() });
            }
            None => {}
        }
        Ok(Target { output, store })
    }

    /// Claims it, and makes the folder that tasks write to.
    pub(super) fn claim(self, spec: &JobSpec) -> Result<(Claimed<'a>, OutputFolder), JobError> {
        let output = self.output;
        let Some(store) = self.store else {
            let folder = OutputFolder::create(output)?;
            return Ok((Claimed { output, store: None, published: false }, folder));
        };
        let folder = make_staging_folder(spec)?;
        let mark = store.claim(output, None)?;
        let store = Some((store, mark, folder.path().to_owned()));
        Ok((Claimed { output, store, published: false }, folder))
    }
}

impl Claimed<'_> {
    /// After the folder was published.
    pub(super) fn publish(
        mut self,
        manifest: &Manifest,
        progress: &Progress,
    ) -> Result<(), JobError> {
        if let Some((store, mark, folder)) = &self.store {
            let output = self.output;
            store.publish(&Publication { output, mark, folder, manifest }, progress)?;
        }
        self.published = true;
        Ok(())
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        let Some((store, mark, folder)) = &self.store else { return };
        if !self.published {
            // The job has failed already; what stays is found by the next one with this output.
            let _ = store.clean(self.output, mark, &Progress::new());
        }
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// The first free name in the staging folder, in the folder for spilled data, or where temporary files are.
/// Nobody else on this machine may look into it: what is there is not published.
fn make_staging_folder(spec: &JobSpec) -> Result<OutputFolder, JobError> {
    let parent = spec.staging_folder.clone().or_else(|| spec.spill_folder.clone());
    let parent = parent.unwrap_or_else(std::env::temp_dir);
    let mut number = 0;
    loop {
        match OutputFolder::create_private(&parent.join(format!("synod-staging-{number}"))) {
            Err(JobError::OutputExists { .. }) => number += 1,
            made => return made,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn nobody_else_on_the_machine_can_look_into_the_staging_folder() {
        let parent = tempfile::tempdir().unwrap();
        let mut spec = JobSpec::new("sort", ["in"], "kv://out/");
        spec.staging_folder = Some(parent.path().to_owned());
        for _ in 0..2 {
            let folder = make_staging_folder(&spec).unwrap();
            let mode = folder.path().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
            // As after a job that was killed: the next one takes another name.
            std::mem::forget(folder);
        }
    }
}
