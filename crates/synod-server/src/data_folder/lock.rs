//! One process per data folder. The operating system drops the lock when the process ends, however
//! it ends, so there is never a stale one to remove. The pid inside is for the error message only.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::error::FolderError;

/// The lock, held until dropped.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock, or says who has it. Never waits.
    pub(super) fn take(folder: &Path) -> Result<Self, FolderError> {
        let path = folder.join("LOCK");
        let unusable = |source| FolderError::Unusable { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(unusable)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(e) if e == rustix::io::Errno::WOULDBLOCK => {
                return Err(FolderError::Locked { path: folder.to_owned(), pid: read_pid(&file) });
            }
            Err(e) => return Err(unusable(e.into())),
        }
        write_pid(&mut file).map_err(unusable)?;
        Ok(FolderLock { _file: file })
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(mut file: &File) -> Option<u32> {
    let mut text = String::new();
    Read::take(&mut file, 32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
