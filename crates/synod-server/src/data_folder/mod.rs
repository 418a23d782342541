//! The data folder: made if missing, held by one process, and with an identity.
//!
//! ```text
//! LOCK               flock'ed by the process that uses the folder; holds its pid
//! identity.toml      format version, cluster, member; see `identity.rs`
//! identity.toml.new  the same, while it is written
//! engine/            the store's own files
//! wal/               the write-ahead log, through `Disk`
//! jobs/              map outputs of running jobs; removed when a node that takes jobs starts
//! ```
//!
//! An identity that is not `started` means that the first start did not come to its end: nothing was
//! sent or acknowledged, so what it left (identity, engine, log) is removed and the first start is done
//! again. Anything else in the folder is left alone.

mod identity;
mod lock;

pub(crate) use identity::{Identity, Stage};

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::FolderError;
use lock::FolderLock;

/// A data folder that this process holds.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    /// Held as long as the folder is used.
    _lock: FolderLock,
}

impl DataFolder {
    /// Makes the folder if needed, and takes it.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        let unusable = |source| FolderError::Unusable { path: path.to_owned(), source };
        make(path, sync_dir).map_err(unusable)?;
        fs::read_dir(path).map_err(unusable)?;
        let lock = FolderLock::take(path)?;
        Ok(DataFolder { path: path.to_owned(), _lock: lock })
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the store keeps its files.
    pub(crate) fn engine_path(&self) -> PathBuf {
        self.path.join("engine")
    }

    /// Where map outputs are kept as long as their job lives.
    pub(crate) fn jobs_path(&self) -> PathBuf {
        self.path.join("jobs")
    }

    /// Whose folder it is; `None` if it is new, or its first start did not come to its end.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, FolderError> {
        match Identity::load(&self.path)? {
            Some(identity) if identity.stage == Stage::Started => Ok(Some(identity)),
            Some(_) => {
                self.remove_own()?;
                Ok(None)
            }
            None if self.other_names()?.is_empty() => Ok(None),
            None => Err(FolderError::LostIdentity { path: self.path.clone() }),
        }
    }

    /// Makes an identity durable.
    pub(crate) fn store(&self, identity: &Identity) -> Result<(), FolderError> {
        identity.store(&self.path)
    }

    /// Bytes that an unprivileged process can still write to the folder's file system.
    pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn remove_own(&self) -> Result<(), FolderError> {
        for path in self.other_names()? {
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|source| FolderError::Unusable { path: path.clone(), source })?;
        }
        sync_dir(&self.path)
            .map_err(|source| FolderError::Unusable { path: self.path.clone(), source })
    }

    /// What a start makes in the folder, apart from the lock. Files that are not Synod's are left
    /// alone: the identity goes last, so that a crash in between is taken up again.
    fn other_names(&self) -> Result<Vec<PathBuf>, FolderError> {
        let mut found: Vec<PathBuf> = Vec::new();
        for name in OWN_NAMES {
            let path = self.path.join(name);
            match fs::symlink_metadata(&path) {
                Ok(_) => found.push(path),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(FolderError::Unusable { path, source }),
            }
        }
        Ok(found)
    }
}

/// Makes the folder, and those above it, as far as they are missing. Each new name is made durable with
/// `sync` in the directory that holds it.
fn make(path: &Path, mut sync: impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|path| !path.as_os_str().is_empty() && !path.is_dir())
        .collect();
    for path in missing.into_iter().rev() {
        // Keys and values are nobody else's business.
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            made => made?,
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync(parent.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// Makes the names in a directory durable.
fn sync_dir(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

/// What a start makes in the folder, in the order in which it may be removed again.
const OWN_NAMES: [&str; 4] = ["engine", "wal", identity::TEMPORARY_NAME, identity::FILE_NAME];

#[cfg(test)]
mod tests;
