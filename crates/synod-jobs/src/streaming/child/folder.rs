//! The folders of a job and of its attempts on this machine.
//!
//! A job's files are copied once, read-only and executable, so that no task can spoil the original
//! and a script needs no mode of its own; archives are unpacked once. Each attempt works in a folder
//! of its own, with links to them. Large files are not copied but linked where they are. On a worker of a
//! cluster most files were sent with the job, see `cluster/sent.rs`.

use super::archive::{self, Limits};
use crate::error::JobError;
use crate::streaming::files::JobFile;
use rustix::fs::Access;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Files beyond it are linked where they are.
const COPIED_BYTES: u64 = 256 << 20;

/// The files of a job on this machine, as tasks link to them. Removed when dropped.
#[derive(Debug)]
pub struct JobFolder {
    path: PathBuf,
    /// Where each name of the working folder leads.
    links: Vec<(String, PathBuf)>,
}

/// Tells apart the folders of jobs that run in one process.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl JobFolder {
    /// Copies and unpacks the files of a job to a new folder below `parent`. What is `at_hand`, by its
    /// name, was sent to this machine: it was copied and unpacked already, and is linked to.
    pub fn create(
        parent: &Path,
        files: &[JobFile],
        archives: &[JobFile],
        at_hand: &BTreeMap<String, PathBuf>,
    ) -> Result<JobFolder, JobError> {
        let path = new_folder(parent)?;
        let mut folder = JobFolder { path, links: Vec::new() };
        let (here, files) = part(files, at_hand);
        folder.links.extend(here);
        let (here, archives) = part(archives, at_hand);
        folder.links.extend(here);
        for file in files {
            let target = folder.localize(file)?;
            folder.links.push((file.name.clone(), target));
        }
        for archive in archives {
            let target = folder.path.join("archives").join(&archive.name);
            std::fs::create_dir_all(&target)
                .map_err(|error| JobError::io("create", &target, error))?;
            archive::unpack(&archive.path, &target, &Limits::default())?;
            folder.links.push((archive.name.clone(), target));
        }
        Ok(folder)
    }

    fn localize(&self, file: &JobFile) -> Result<PathBuf, JobError> {
        let source = std::path::absolute(&file.path)
            .map_err(|error| JobError::io("find", &file.path, error))?;
        let metadata = source.metadata().map_err(|error| match error.kind() {
            // Another machine may have it.
            io::ErrorKind::NotFound => JobError::Task {
                message: format!("the job's file {} does not exist", source.display()),
                permanent: false,
                bad_record: None,
            },
            _ => JobError::io("examine", &source, error),
        })?;
        if !metadata.is_file() || metadata.len() > COPIED_BYTES {
            return Ok(source);
        }
        let folder = self.path.join("files");
        std::fs::create_dir_all(&folder).map_err(|error| JobError::io("create", &folder, error))?;
        let target = folder.join(&file.name);
        std::fs::copy(&source, &target).map_err(|error| JobError::io("copy", &source, error))?;
        std::fs::set_permissions(&target, PermissionsExt::from_mode(0o555))
            .map_err(|error| JobError::io("set the mode of", &target, error))?;
        Ok(target)
    }

    /// Lays out the folders of an attempt below `scratch`.
    pub fn lay_out(&self, scratch: &Path) -> Result<AttemptFolder, JobError> {
        let scratch =
            std::path::absolute(scratch).map_err(|error| JobError::io("find", scratch, error))?;
        let attempt = AttemptFolder { work: scratch.join("work"), temporary: scratch.join("tmp") };
        for folder in [&attempt.work, &attempt.temporary] {
            std::fs::create_dir_all(folder)
                .map_err(|error| JobError::io("create", folder, error))?;
        }
        for (name, target) in &self.links {
            let link = attempt.work.join(name);
            match symlink(target, &link) {
                // Mapper and combiner of an attempt share its folder.
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(JobError::io("create", &link, error));
                }
                _ => {}
            }
        }
        Ok(attempt)
    }
}

impl Drop for JobFolder {
    fn drop(&mut self) {
        // What an archive made read-only is made writable, else it could not be removed.
        if std::fs::remove_dir_all(&self.path).is_err() {
            archive::make_writable(&self.path);
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Links to files that are at hand, and the other files.
fn part<'f>(
    files: &'f [JobFile],
    at_hand: &BTreeMap<String, PathBuf>,
) -> (Vec<(String, PathBuf)>, Vec<&'f JobFile>) {
    let (mut here, mut others) = (Vec::new(), Vec::new());
    for file in files {
        match at_hand.get(&file.name) {
            Some(path) => here.push((file.name.clone(), path.clone())),
            None => others.push(file),
        }
    }
    (here, others)
}

/// The folders of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptFolder {
    /// Where the command works.
    pub work: PathBuf,
    /// For its temporary files.
    pub temporary: PathBuf,
}

/// A folder that nobody else has, readable for this user alone.
fn new_folder(parent: &Path) -> Result<PathBuf, JobError> {
    std::fs::create_dir_all(parent).map_err(|error| JobError::io("create", parent, error))?;
    let process = std::process::id();
    loop {
        let number = NEXT.fetch_add(1, Relaxed);
        let path = parent.join(format!("synod-job-{process}-{number}"));
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(JobError::io("create", &path, error)),
        }
    }
}

/// Whether this user may read the file. For a look before a job is submitted.
pub fn is_readable(path: &Path) -> io::Result<()> {
    rustix::fs::access(path, Access::READ_OK).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &Path, name: &str) -> JobFile {
        JobFile { path: path.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn attempts_see_copies_that_are_gone_with_the_job() {
        let place = tempfile::tempdir().unwrap();
        let original = place.path().join("script");
        std::fs::write(&original, "#!/bin/sh\n").unwrap();
        let side = place.path().join("side");
        std::fs::create_dir(&side).unwrap();
        std::fs::write(side.join("x"), "in a folder").unwrap();
        let jobs = place.path().join("jobs");
        let files = [file(&original, "s.sh"), file(&side, "dir")];
        let job = JobFolder::create(&jobs, &files, &[], &BTreeMap::new()).unwrap();
        let attempt = job.lay_out(&place.path().join("scratch")).unwrap();
        let seen = attempt.work.join("s.sh");
        assert_eq!(std::fs::read_to_string(&seen).unwrap(), "#!/bin/sh\n");
        assert_eq!(seen.metadata().unwrap().permissions().mode() & 0o777, 0o555);
        assert_eq!(original.metadata().unwrap().permissions().mode() & 0o111, 0);
        assert_eq!(std::fs::read_to_string(attempt.work.join("dir/x")).unwrap(), "in a folder");
        drop(job);
        assert_eq!(std::fs::read_dir(&jobs).unwrap().count(), 0);
        assert!(original.exists() && side.join("x").exists());
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let place = tempfile::tempdir().unwrap();
        let missing = place.path().join("missing");
        let files = [file(&missing, "m")];
        let error = JobFolder::create(place.path(), &files, &[], &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
        assert!(!error.is_permanent(), "another machine may have it");
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_at_hand_is_linked_to_and_stays() {
        let place = tempfile::tempdir().unwrap();
        let here = place.path().join("here");
        std::fs::write(&here, "sent").unwrap();
        let at_hand = BTreeMap::from([("s.sh".to_owned(), here.clone())]);
        let files = [file(&place.path().join("missing"), "s.sh")];
        let job = JobFolder::create(&place.path().join("jobs"), &files, &[], &at_hand).unwrap();
        let attempt = job.lay_out(&place.path().join("scratch")).unwrap();
        assert_eq!(attempt.work.join("s.sh").read_link().unwrap(), here);
        drop(job);
        assert_eq!(std::fs::read_to_string(&here).unwrap(), "sent");
    }
}
