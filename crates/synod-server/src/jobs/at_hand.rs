//! What a worker has of the files that came with a job: fetched from the store once, by the first thread that
//! needs them, checked, and unpacked in the worker's folder for the job.
//!
//! They go with that folder. Whatever fails here is this machine's fault, or the store's: another attempt,
//! or another machine, may do better.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use synod_client::{ClientError, Kv};
use synod_jobs::cluster::sent::{Check, Sent, unpack};
use synod_jobs::{JobError, JobSpec, Progress};
use tokio::runtime::Handle;

use super::folders::remove_all;
use super::patience::patiently_as_worker;

/// The files of one job on this worker.
pub(super) struct AtHand {
    sent: Sent,
    folder: PathBuf,
    read: Box<Read>,
    /// Where they are, once they are there.
    found: Mutex<Option<BTreeMap<String, PathBuf>>>,
}

/// Reads the piece at a key; it blocks.
type Read = dyn Fn(String) -> Result<Option<Bytes>, ReadError> + Send + Sync;

/// Why a piece was not read.
#[derive(Debug)]
enum ReadError {
    Client(ClientError),
    /// The process is about to stop.
    Stopping,
}

impl fmt::Debug for AtHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtHand").field("sent", &self.sent).field("folder", &self.folder).finish()
    }
}

impl AtHand {
    /// Those of the pack `sent`, in `store`, below the worker's folder for the job.
    pub(super) fn new<K: Kv>(store: K, runtime: Handle, sent: Sent, folder: &Path) -> AtHand {
        let read = move |key: String| {
            let store = store.clone();
            // A thread that waits for the runtime is told when that ends.
            let ask = async move { patiently_as_worker(|| store.get(key.clone())).await };
            let asked = runtime.spawn(ask);
            match runtime.block_on(asked) {
                Ok(Ok(found)) => Ok(found.map(|found| found.value)),
                Ok(Err(error)) => Err(ReadError::Client(error)),
                Err(_) => Err(ReadError::Stopping),
            }
        };
        let folder = folder.join("sent");
        AtHand { sent, folder, read: Box::new(read), found: Mutex::default() }
    }

    /// The spec with the places of its files on this machine. One thread fetches them, others wait.
    pub(super) fn fill_in(&self, spec: JobSpec, progress: &Progress) -> Result<JobSpec, JobError> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        progress.check_cancelled()?;
        let at_hand = match &*found {
            Some(at_hand) => at_hand.clone(),
            None => found.insert(self.fetch(progress)?).clone(),
        };
        Ok(JobSpec { at_hand, ..spec })
    }

    fn fetch(&self, progress: &Progress) -> Result<BTreeMap<String, PathBuf>, JobError> {
        // Of an attempt that failed.
        remove_all(&self.folder);
        let above = self.folder.parent().map_or(Ok(()), fs::create_dir_all);
        let made = above.and_then(|()| DirBuilder::new().mode(0o700).create(&self.folder));
        made.map_err(|error| JobError::io("create", &self.folder, error))?;
        let pack = self.folder.join("pack.tar");
        self.download(&pack, progress)?;
        let place = self.folder.join("all");
        fs::create_dir(&place).map_err(|error| JobError::io("create", &place, error))?;
        let found = unpack(&pack, &place)?;
        fs::remove_file(&pack).map_err(|error| JobError::io("remove", &pack, error))?;
        Ok(found)
    }

    fn download(&self, pack: &Path, progress: &Progress) -> Result<(), JobError> {
        let failed = |error| JobError::io("fetch the job's files to", pack, error);
        let mut file = File::create(pack).map_err(failed)?;
        let mut check = Check::default();
        for number in 0..self.sent.pieces {
            progress.check_cancelled()?;
            let key = self.sent.key(number);
            let piece = (self.read)(key.clone()).map_err(|error| match error {
                ReadError::Client(error) => failed(io::Error::other(format!("{key}: {error}"))),
                ReadError::Stopping => JobError::Cancelled,
            })?;
            let missing = || failed(io::Error::other(format!("the store has no key {key}")));
            let piece = piece.ok_or_else(missing)?;
            check.add(&piece);
            file.write_all(&piece).map_err(failed)?;
        }
        if !check.is(&self.sent) {
            let what =
                format!("what is under {} is not what was sent", self.sent.job.files_prefix());
            return Err(failed(io::Error::new(io::ErrorKind::InvalidData, what)));
        }
        Ok(())
    }
}
