//! The output of a job on a cluster, be it a folder or in a store: each step of it may be repeated by another
//! coordinator. What happens in folders is in `output.rs`.

use crate::cluster::names::JobId;
use crate::cluster::output::{self, Winner};
use crate::commit::{Account, Manifest, sync_names};
use crate::error::JobError;
use crate::output_store::{OutputStore, Publication};
use crate::progress::Progress;
use crate::spec::JobSpec;
use crate::stores::Stores;
use std::path::PathBuf;

/// Where a job's output goes.
pub struct Destination<'a> {
    spec: &'a JobSpec,
    job: &'a JobId,
    folder: PathBuf,
    store: Option<&'a dyn OutputStore>,
}

impl<'a> Destination<'a> {
    /// That of a job.
    pub fn of(spec: &'a JobSpec, job: &'a JobId, stores: &'a Stores) -> Result<Self, JobError> {
        let store = stores.output_of(&spec.output)?;
        if store.is_some() && spec.staging_folder.is_none() {
            return Err(no_staging_folder(spec));
        }
        Ok(Destination { spec, job, folder: spec.working_folder(job), store })
    }

    /// Sees that nothing is there.
    pub fn check_absent(&self) -> Result<(), JobError> {
        if let Some(store) = self.store {
            store.check(self.spec)?;
            store.check_absent(&self.spec.output)?;
        }
        output::check_absent(&self.folder)
    }

    /// Makes it the job's own.
    pub fn create(&self) -> Result<(), JobError> {
        if let Some(store) = self.store {
            store.claim(&self.spec.output, Some(self.job))?;
        }
        output::create(&self.folder, self.job)
    }

    /// Publishes what the winners have written. It can be cancelled until readers see the output as
    /// complete; if they do already it ends well whatever `progress` says. What is left to do then is
    /// [`Destination::tidy`].
    pub fn commit(
        &self,
        winners: &[Winner],
        account: &Account,
        progress: &Progress,
    ) -> Result<Manifest, JobError> {
        let Some(store) = self.store else {
            return output::commit(self.spec, self.job, winners, account, progress);
        };
        let (output, mark) = (self.spec.output.as_path(), self.job.to_string());
        if let Some(manifest) = store.published(output, &mark)? {
            return Ok(manifest);
        }
        let staged = JobSpec { output: self.folder.clone(), ..self.spec.clone() };
        let manifest = output::commit(&staged, self.job, winners, account, progress)?;
        let folder = self.folder.as_path();
        let files = Publication { output, mark: &mark, folder, manifest: &manifest };
        store.publish(&files, progress)?;
        Ok(manifest)
    }

    /// Removes what is left of the work on an output that is complete: it is, whatever comes of this.
    pub fn tidy(&self, progress: &Progress) -> Result<(), JobError> {
        match self.store {
            Some(_) => self.remove_folder(),
            None => output::tidy(&self.folder, self.job, progress),
        }
    }

    /// Removes what there is of it, if it is the job's own and not complete. If it is, everything stays, and
    /// this is its manifest: a coordinator that was replaced has been faster than its end, and the job has
    /// succeeded. What is left to do then is [`Destination::tidy`].
    pub fn clean(&self, progress: &Progress) -> Result<Option<Manifest>, JobError> {
        let found = match self.store {
            Some(store) => {
                // Whoever still publishes misses its files from now on. What cannot be removed costs room,
                // and is no harm otherwise.
                let _ = self.remove_folder();
                store.clean(&self.spec.output, &self.job.to_string(), progress)?
            }
            None => output::clean(&self.folder, self.job, progress)?,
        };
        if found.is_some() && self.store.is_none() && self.spec.sync_output {
            // Who wrote it may have died before this.
            sync_names(&self.folder)?;
        }
        Ok(found)
    }

    /// The staging folder bears the job's name: it is nobody else's.
    fn remove_folder(&self) -> Result<(), JobError> {
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(JobError::io("remove", &self.folder, error))
            }
            _ => Ok(()),
        }
    }
}

/// Why a job with an output in a store does not run on a cluster.
pub fn no_staging_folder(spec: &JobSpec) -> JobError {
    let what = format!(
        "output {}: on a cluster part files are staged in a folder that all its nodes see until they are \
         published: name it by --staging DIR",
        spec.output.display()
    );
    JobError::BadSpec { what }
}
