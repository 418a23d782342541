//! The `Disk` trait: the one door from Synod's own files to a file system.
//!
//! Two worlds implement it: [`RealDisk`] over the operating system, and [`VirtualDisk`], which lives
//! in memory, is driven by a seed, and can lose what was not synced, tear writes, run full, fail.
//! What each call makes durable is the contract; the rest of Synod relies on nothing beyond it:
//!
//! - `write_at` makes nothing durable. After a crash any subset of 512-byte sectors of un-synced
//!   writes may have survived.
//! - `sync_data` makes the file's bytes and length durable, not its name.
//! - `sync_dir` makes the names in one directory durable: creations, renames, removals.
//! - A failed `sync_data` leaves the written bytes undefined. Never sync again and hope: the caller
//!   must stop trusting the file (ATC'20, "Can Applications Recover from fsync Failures?").
//!
//! Paths are relative to the disk's root, with `/` between parts. fjall keeps its own files and does
//! not go through here.

mod real;
mod virtual_disk;

pub use real::RealDisk;
pub use virtual_disk::{Crash, DiskFault, FaultCounts, VirtualDisk};

use std::io;

/// How to open a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// It must exist; reading and writing.
    Existing,
    /// It must not exist yet.
    CreateNew,
}

/// A tree of files.
pub trait Disk: Send + Sync {
    /// Opens a file for reading and writing at any offset.
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Box<dyn DiskFile>>;

    /// Names of the files directly in `dir`, in bytewise order; `NotFound` if there is no such dir.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Creates a directory and its parents; existing ones are fine.
    fn create_dir_all(&self, dir: &str) -> io::Result<()>;

    /// Renames a file within the tree, replacing `to`. Atomic; durable after `sync_dir`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable after `sync_dir`.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
}

/// One open file.
pub trait DiskFile: Send {
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes`, growing the file if needed. On an error any part may have been written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts or grows (with zeros) the file.
    fn set_len(&mut self, bytes: u64) -> io::Result<()>;

    /// Makes all bytes written so far, and the length, durable (`fdatasync`).
    fn sync_data(&mut self) -> io::Result<()>;
}
