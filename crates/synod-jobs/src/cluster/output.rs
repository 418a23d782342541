//! The output folder of a job on a cluster, seen by several nodes and touched again after crashes.
//!
//! Attempts write to `OUTPUT/_temporary/<job>/<task>-<attempt>/`. That path is also the mark that
//! the folder is the job's own. Workers make the last folder only: once a failed job's output
//! was removed, an attempt that still runs cannot bring it back.
//!
//! Everything that is published comes out of the job's folder, `_SUCCESS` too. Whoever ends a job without
//! success renames that folder first, to `<job>.ended`: from then on no coordinator that has been replaced
//! and does not know yet can publish anything. Only then is looked whether `_SUCCESS` is there: if so the job
//! has succeeded after all.

use crate::cluster::names::{JobId, TaskId};
use crate::commit::{
    Account, Manifest, Naming, OutputFolder, Part, Publish, SUCCESS, TEMPORARY, make_above,
    sync_names,
};
use crate::error::JobError;
use crate::progress::Progress;
use crate::reduce_task::ReduceOutput;
use crate::side_files::SideFile;
use crate::spec::JobSpec;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Removals that are tried while attempts still write.
const MAX_REMOVALS: u32 = 10;

/// A task's winner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Winner {
    /// The task.
    pub task: TaskId,
    /// Its attempt.
    pub attempt: u32,
    /// The part file it wrote; none for a map task of a job with reduce tasks.
    pub part: Option<ReduceOutput>,
    /// The files it wrote beside that.
    pub side_files: Vec<SideFile>,
}

/// Sees that the output does not exist.
pub fn check_absent(output: &Path) -> Result<(), JobError> {
    match output.symlink_metadata() {
        Ok(_) => Err(JobError::OutputExists { path: output.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(JobError::io("examine", output, error)),
    }
}

/// Makes the output folder of a job that is being prepared. It did not exist when preparation
/// began: if it is there and empty, or bears the job's mark, an earlier coordinator has made it.
pub fn create(output: &Path, job: &JobId) -> Result<(), JobError> {
    if let Some(parent) = output.parent() {
        make_above(output, parent)?;
    }
    let own = own_folder(output, job);
    match fs::create_dir(output) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let list = |error| JobError::io("list", output, error);
            let mut entries = fs::read_dir(output).map_err(list)?;
            let other = entries.find(|entry| match entry {
                Ok(entry) => entry.file_name() != TEMPORARY,
                Err(_) => true,
            });
            let temporary = output.join(TEMPORARY);
            let marked = own.is_dir() || ended_folder(output, job).is_dir() || !temporary.exists();
            if other.is_some() || !marked {
                return Err(JobError::OutputExists { path: output.to_owned() });
            }
        }
        made => made.map_err(|error| JobError::output(output, error))?,
    }
    fs::create_dir_all(&own).map_err(|error| JobError::io("create", &own, error))
}

/// Makes the folder of an attempt.
pub fn create_attempt(
    output: &Path,
    job: &JobId,
    task: TaskId,
    attempt: u32,
) -> Result<PathBuf, JobError> {
    let folder = attempt_folder(output, job, task, attempt);
    match fs::create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(JobError::io("create", &folder, error))
        }
        _ => Ok(folder),
    }
}

/// Removes what an attempt without success has written.
pub fn remove_attempt(output: &Path, job: &JobId, task: TaskId, attempt: u32) {
    // What stays is removed with the job's own folder.
    let _ = fs::remove_dir_all(attempt_folder(output, job, task, attempt));
}

/// Publishes the winners' part files. May be repeated, also by another node; can be cancelled until
/// `_SUCCESS` is there. What is left to do then is [`tidy`].
pub fn commit(
    spec: &JobSpec,
    job: &JobId,
    winners: &[Winner],
    account: &Account,
    progress: &Progress,
) -> Result<Manifest, JobError> {
    let own = own_folder(&spec.output, job);
    let naming = Naming::of(spec);
    if !own.is_dir() {
        return committed_before(spec, naming, winners, account);
    }
    let mut folder = OutputFolder::adopt(&spec.output, &own, job.to_string());
    let mut tasks = Vec::with_capacity(winners.len());
    for Winner { task, attempt, part, side_files } in winners {
        let own = attempt_folder(&spec.output, job, *task, *attempt);
        let part = part.as_ref().map(|output| (output, own.join(naming.part(output.partition))));
        if let Some((output, file)) = &part {
            let target = spec.output.join(naming.part(output.partition));
            if !(naming.lazy && output.records == 0) {
                check_length(if file.exists() { file } else { &target }, output.bytes)?;
            }
        }
        tasks.push(Publish { part, side: (side_files, side_folder(&own)) });
    }
    folder.publish(&spec.job, naming, &tasks, account, spec.sync_output, progress)
}

/// The job's mark goes after `_SUCCESS` has come: then all was published before, if it is still there. A
/// coordinator that wakes up late must not publish into what somebody else has made of the folder since.
fn committed_before(
    spec: &JobSpec,
    naming: Naming,
    winners: &[Winner],
    account: &Account,
) -> Result<Manifest, JobError> {
    let marker = spec.output.join(SUCCESS);
    let text = fs::read(&marker).map_err(|error| JobError::io("read", &marker, error))?;
    let other = || JobError::io("publish", &marker, io::Error::other("it is of another job"));
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|_| other())?;
    let parts = winners.iter().filter_map(|winner| winner.part.as_ref());
    let parts = parts.filter(|part| !(naming.lazy && part.records == 0));
    let ours = parts.map(|part| {
        let ReduceOutput { bytes, records, crc32c, .. } = *part;
        Part { name: naming.part(part.partition), bytes, records, crc32c }
    });
    let sides = winners.iter().flat_map(|winner| &winner.side_files);
    let is_ours = ours.eq(manifest.parts.iter().cloned()) && sides.eq(&manifest.side_files);
    let is_told = manifest.counters == account.counters && manifest.given_up == account.given_up;
    if manifest.job != spec.job || !is_told || !is_ours {
        return Err(other());
    }
    if spec.sync_output {
        sync_names(&spec.output)?;
    }
    Ok(manifest)
}

/// Removes what is left of a job whose output is complete. That it was is not changed by anything that
/// happens here; each entry that is gone is noted as a move.
pub fn tidy(output: &Path, job: &JobId, progress: &Progress) -> Result<(), JobError> {
    for folder in [own_folder(output, job), ended_folder(output, job)] {
        if folder.is_dir() {
            // Nobody can cancel it: there is nothing to be saved by that.
            let mut step = || {
                progress.note_move();
                Ok(())
            };
            remove_where(&folder, |_| true, &mut step)?;
            remove_all(&folder)?;
        }
    }
    remove_if_empty(&output.join(TEMPORARY))
}

/// Where an attempt puts files beside its part file; `attempt` is its folder.
pub fn side_folder(attempt: &Path) -> PathBuf {
    attempt.join("side")
}

/// The folder of an attempt within the output.
pub fn attempt_path(output: &Path, job: &JobId, task: TaskId, attempt: u32) -> PathBuf {
    attempt_folder(output, job, task, attempt)
}

/// Removes the output of a job without success, if the folder is the job's own. May be repeated, also after
/// a crash half way: the mark goes last. Each entry that is gone is noted as a move. What tasks publish are
/// files: a folder within is the output of somebody else, and stays.
///
/// If `_SUCCESS` came before nobody could write it any more, everything stays, and this is its manifest: the
/// job has succeeded. So it is when somebody has tidied up since; what is left to do is [`tidy`].
pub fn clean(
    output: &Path,
    job: &JobId,
    progress: &Progress,
) -> Result<Option<Manifest>, JobError> {
    let (own, ended) = (own_folder(output, job), ended_folder(output, job));
    let temporary = output.join(TEMPORARY);
    if own.is_dir() {
        // Made anew by a coordinator that knows nothing of the end: there is nothing in it worth keeping.
        remove_all(&ended)?;
        match fs::rename(&own, &ended) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(JobError::io("rename", &own, error));
            }
            _ => {}
        }
    }
    if let Some(manifest) = published(output, job)? {
        return Ok(Some(manifest));
    }
    if ended.is_dir() {
        let mut step = || progress.step();
        remove_where(output, |path| !is_folder(path), &mut step)?;
        remove_where(&temporary, |path| *path != ended, &mut step)?;
        remove_where(&ended, |_| true, &mut step)?;
        remove_all(&ended)?;
    }
    // Without the mark it is the job's only if nothing is in it, and then nobody misses it.
    remove_if_empty(&temporary)?;
    remove_if_empty(output)?;
    Ok(None)
}

/// The manifest that readers see, if it is this job's. What cannot be read may be there.
fn published(output: &Path, job: &JobId) -> Result<Option<Manifest>, JobError> {
    let marker = output.join(SUCCESS);
    let text = match fs::read(&marker) {
        Err(error) if is_absent_or_used(&error) => return Ok(None),
        read => read.map_err(|error| JobError::io("read", &marker, error))?,
    };
    // Of another program, or another job, that has come since.
    let manifest = serde_json::from_slice(&text).ok();
    Ok(manifest.filter(|manifest: &Manifest| manifest.id.as_ref() == Some(&job.to_string())))
}

fn remove_if_empty(folder: &Path) -> Result<(), JobError> {
    match fs::remove_dir(folder) {
        Err(error) if !is_absent_or_used(&error) => Err(JobError::io("remove", folder, error)),
        _ => Ok(()),
    }
}

fn is_absent_or_used(error: &io::Error) -> bool {
    use io::ErrorKind::{DirectoryNotEmpty, NotADirectory, NotFound};
    matches!(error.kind(), DirectoryNotEmpty | NotADirectory | NotFound)
}

/// Removes what is in a folder and is chosen, a step before each.
fn remove_where(
    folder: &Path,
    is_chosen: impl Fn(&Path) -> bool,
    step: &mut dyn FnMut() -> Result<(), JobError>,
) -> Result<(), JobError> {
    let list = |error| JobError::io("list", folder, error);
    for entry in fs::read_dir(folder).map_err(list)? {
        let path = entry.map_err(list)?.path();
        if is_chosen(&path) {
            step()?;
            remove_all(&path)?;
        }
    }
    Ok(())
}

fn is_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
}

/// Removes a file, or a folder and all in it.
fn remove_all(path: &Path) -> Result<(), JobError> {
    let mut removals = 0;
    loop {
        removals += 1;
        let removed =
            if is_folder(path) { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        match removed {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // An attempt that has not heard of the end yet has made something new.
            Err(error)
                if error.kind() == io::ErrorKind::DirectoryNotEmpty && removals < MAX_REMOVALS => {}
            Err(error) => return Err(JobError::io("remove", path, error)),
        }
    }
}

fn own_folder(output: &Path, job: &JobId) -> PathBuf {
    output.join(TEMPORARY).join(job.to_string())
}

/// What the job's own folder becomes when it ends without success.
fn ended_folder(output: &Path, job: &JobId) -> PathBuf {
    output.join(TEMPORARY).join(format!("{job}.ended"))
}

fn attempt_folder(output: &Path, job: &JobId, task: TaskId, attempt: u32) -> PathBuf {
    own_folder(output, job).join(format!("{task}-{attempt}"))
}

/// The part that is about to be published must be the one that its worker wrote: a folder that
/// is not the same on all nodes shows here at the latest.
fn check_length(file: &Path, bytes: u64) -> Result<(), JobError> {
    let found = fs::metadata(file).map_err(|error| JobError::io("examine", file, error))?.len();
    if found == bytes {
        return Ok(());
    }
    let what = format!("it has {found} bytes, its worker wrote {bytes}");
    Err(JobError::io("publish", file, io::Error::other(what)))
}
