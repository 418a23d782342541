//! What a worker keeps of its jobs on its own disk: map outputs while somebody may need them, logs for as
//! long as the job is known.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use synod_jobs::cluster::JobId;
use synod_jobs::cluster::attempt::remove_output;
use synod_jobs::cluster::worker::Held;
use synod_jobs::streaming::child::archive::make_writable;

use super::task_log::LOGS;
use super::threads::spawn;

/// The worker's folder for a job.
pub(super) fn folder_of(jobs: &Path, job: &JobId) -> PathBuf {
    jobs.join(job.to_string())
}

/// Removes a folder and all in it, on a thread of its own.
pub(super) fn remove_folder(path: PathBuf) {
    // What cannot be removed now is removed at the next start.
    drop(spawn(move || remove_all(&path)));
}

/// Removes a folder and all in it, also what a program of a job has made read-only.
pub(super) fn remove_all(path: &Path) {
    if std::fs::remove_dir_all(path).is_err() {
        make_writable(path);
        let _ = std::fs::remove_dir_all(path);
    }
}

/// Removes what an attempt has written into the worker's folder for the job and the job's own, on a thread of
/// its own: on a file system that does not answer that takes long.
pub(super) fn discard_output(held: &Held, folder: PathBuf, output: PathBuf) {
    let (job, task, attempt) = (held.job.clone(), held.task, held.attempt());
    // What cannot be removed now goes with the folders.
    drop(spawn(move || remove_output(&job, task, attempt, &folder, &output)));
}

/// Removes what is in the folder of a job, on a thread of its own, but for the logs.
pub(super) fn keep_logs_only(path: PathBuf) {
    drop(spawn(move || strip(&path)));
}

/// Removes what an earlier life has left in its jobs' folders, but for the logs; the jobs that have some.
pub(super) async fn strip_all(jobs: PathBuf) -> BTreeSet<JobId> {
    let strip_all = move || {
        let mut left = BTreeSet::new();
        for entry in std::fs::read_dir(&jobs).into_iter().flatten().flatten() {
            strip(&entry.path());
            let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
            left.extend(id.filter(|_| entry.path().exists()));
        }
        left
    };
    tokio::task::spawn_blocking(strip_all).await.unwrap_or_default()
}

/// What cannot be removed now is removed at the next start.
fn strip(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name() == LOGS {
            continue;
        }
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder {
            remove_all(&path);
        } else {
            let _ = std::fs::remove_file(path);
        }
    }
    // Without logs nothing is left to keep.
    let _ = std::fs::remove_dir(folder);
}
