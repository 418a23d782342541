//! `VirtualDisk`: a disk in memory, driven by a seed, that fails the way disks fail.
//!
//! Files are inodes; what was written to a file since its last sync and which names of a directory
//! changed since its last sync are remembered apart ([`inode`], [`directory`]). [`VirtualDisk::crash`]
//! then keeps nothing, everything, or a random subset of that, in 512-byte sectors and single name
//! changes, as reliability.md section 3 asks. Faults are armed one by one and strike once; each that
//! struck is counted, so that a run can prove it exercised them.
//!
//! Every decision comes from the seed and the order of calls: same seed, same calls, same bytes.
//! Directories themselves (not the names in them) are durable as soon as they are created.

mod directory;
mod fault;
mod inode;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;
use rustix::io::Errno;

use self::directory::{Directory, InodeId, split};
pub use self::fault::{DiskFault, FaultCounts};
use self::inode::Inode;
use super::{Disk, DiskFile, OpenMode};

/// What survives of un-synced work when the machine stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// Power loss: nothing that was not synced survives.
    LoseUnsynced,
    /// Power loss: a random subset of un-synced sectors, lengths and names survives.
    KeepRandomSubset,
    /// Only the process died: the operating system still writes everything.
    KeepEverything,
}

/// A cheap handle; clones share one disk.
#[derive(Clone)]
pub struct VirtualDisk {
    state: Arc<Mutex<State>>,
}

impl VirtualDisk {
    /// An empty disk without a capacity limit.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            rng: Rng::with_seed(seed),
            generation: 0,
            inodes: BTreeMap::new(),
            next_inode: 0,
            directories: BTreeMap::from([(String::new(), Directory::default())]),
            capacity_bytes: None,
            read_only: false,
            armed: Vec::new(),
            counts: FaultCounts::default(),
        };
        VirtualDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// Stops the machine: un-synced work survives as `crash` says, and every open handle is dead.
    pub fn crash(&self, crash: Crash) {
        self.lock().crash(crash);
    }

    /// Arms a fault; it strikes at the next call it fits, once.
    pub fn arm(&self, fault: DiskFault) {
        self.lock().armed.push(fault);
    }

    /// Takes back all faults that have not struck yet.
    pub fn disarm_all(&self) {
        self.lock().armed.clear();
    }

    /// Limits the sum of all file lengths; `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity_bytes = bytes;
    }

    /// Makes every change fail with `EROFS`, as file systems do after a metadata error.
    pub fn set_read_only(&self, read_only: bool) {
        self.lock().read_only = read_only;
    }

    /// Sum of all file lengths, in bytes.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }

    /// How often each fault has struck.
    #[must_use]
    pub fn fault_counts(&self) -> FaultCounts {
        self.lock().counts
    }

    /// The file's bytes as a reader would see them now.
    pub fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut state = self.lock();
        let inode = state.lookup(path)?;
        Ok(state.inode(inode).data().to_vec())
    }

    /// Bit rot: flips the lowest bit of the byte at `offset`, at rest. Nothing notices until it reads.
    pub fn flip_bit(&self, path: &str, offset: u64) -> io::Result<()> {
        self.tamper(path, |inode| inode.flip_bit(offset))
    }

    /// Rot of a whole range: it reads as zeros from now on.
    pub fn zero_range(&self, path: &str, offset: u64, bytes: u64) -> io::Result<()> {
        self.tamper(path, |inode| inode.zero_range(offset, bytes))
    }

    /// The file loses its end, durably, behind everybody's back.
    pub fn truncate_at_rest(&self, path: &str, bytes: u64) -> io::Result<()> {
        self.tamper(path, |inode| inode.truncate_at_rest(bytes))
    }

    /// Puts `bytes` in place of the file's content, durably: an old copy that came back.
    pub fn replace_at_rest(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.tamper(path, |inode| inode.replace_at_rest(bytes))
    }

    fn tamper(&self, path: &str, change: impl FnOnce(&mut Inode)) -> io::Result<()> {
        let mut state = self.lock();
        let inode = state.lookup(path)?;
        change(state.inode(inode));
        state.counts.corruptions += 1;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for VirtualDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.lock();
        f.debug_struct("VirtualDisk")
            .field("generation", &state.generation)
            .field("files", &state.inodes.len())
            .field("counts", &state.counts)
            .finish_non_exhaustive()
    }
}

impl Disk for VirtualDisk {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        let inode = match mode {
            OpenMode::Existing => state.lookup(path)?,
            OpenMode::CreateNew => state.create(path)?,
        };
        state.inode(inode).handles += 1;
        let generation = state.generation;
        drop(state);
        Ok(Box::new(VirtualFile { disk: self.clone(), inode, generation }))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let state = self.lock();
        let directory = state.directories.get(dir).ok_or(Errno::NOENT)?;
        Ok(directory.names().keys().cloned().collect())
    }

    fn create_dir_all(&self, dir: &str) -> io::Result<()> {
        let mut state = self.lock();
        if !state.directories.contains_key(dir) {
            state.check_writable()?;
            let ends = dir.match_indices('/').map(|(at, _)| at).chain([dir.len()]);
            for end in ends {
                state.directories.entry(dir[..end].to_owned()).or_default();
            }
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.check_writable()?;
        let inode = state.lookup(from)?;
        let ((from_dir, from_name), (to_dir, to_name)) = (split(from), split(to));
        if from_dir == to_dir {
            state.directory(from_dir)?.rename(from_name, to_name, inode);
        } else {
            // Two directories have two journals: after a crash either half may be missing.
            state.directory(to_dir)?.link(to_name, inode);
            state.directory(from_dir)?.unlink(from_name);
        }
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.check_writable()?;
        state.lookup(path)?;
        let (dir, name) = split(path);
        state.directory(dir)?.unlink(name);
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.check_writable()?;
        if state.strike(DiskFault::SyncError) {
            return Err(Errno::IO.into());
        }
        state.directory(dir)?.sync();
        state.drop_orphans();
        Ok(())
    }
}

struct VirtualFile {
    disk: VirtualDisk,
    inode: InodeId,
    generation: u64,
}

impl VirtualFile {
    /// The state, unless the machine has crashed since this handle was opened.
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock();
        if state.generation == self.generation { Ok(state) } else { Err(Errno::STALE.into()) }
    }
}

impl Drop for VirtualFile {
    fn drop(&mut self) {
        if let Ok(mut state) = self.state() {
            state.inode(self.inode).handles -= 1;
        }
    }
}

impl DiskFile for VirtualFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state()?;
        if state.strike(DiskFault::ReadError) {
            return Err(Errno::IO.into());
        }
        Ok(state.inode(self.inode).read(offset, buf))
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.state()?.write(self.inode, offset, bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.inode(self.inode).len())
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.check_writable()?;
        let len = state.inode(self.inode).len();
        if bytes > len && state.room_bytes() < bytes - len {
            state.counts.no_space += 1;
            return Err(Errno::NOSPC.into());
        }
        state.inode(self.inode).set_len(bytes);
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut state = self.state()?;
        if state.strike(DiskFault::SyncError) {
            // The kernel reports the failure once and forgets the dirty pages (ATC'20).
            state.inode(self.inode).lose_unsynced();
            return Err(Errno::IO.into());
        }
        state.check_writable()?;
        state.inode(self.inode).sync();
        Ok(())
    }
}

struct State {
    rng: Rng,
    /// Counts crashes; a handle of an older generation is dead.
    generation: u64,
    inodes: BTreeMap<InodeId, Inode>,
    next_inode: u64,
    directories: BTreeMap<String, Directory>,
    capacity_bytes: Option<u64>,
    read_only: bool,
    armed: Vec<DiskFault>,
    counts: FaultCounts,
}

impl State {
    fn lookup(&self, path: &str) -> io::Result<InodeId> {
        let (dir, name) = split(path);
        let directory = self.directories.get(dir).ok_or(Errno::NOENT)?;
        Ok(*directory.names().get(name).ok_or(Errno::NOENT)?)
    }

    fn inode(&mut self, id: InodeId) -> &mut Inode {
        self.inodes.get_mut(&id).expect("a named or open inode is kept")
    }

    fn directory(&mut self, dir: &str) -> io::Result<&mut Directory> {
        self.directories.get_mut(dir).ok_or_else(|| Errno::NOENT.into())
    }

    fn create(&mut self, path: &str) -> io::Result<InodeId> {
        self.check_writable()?;
        if self.lookup(path).is_ok() {
            return Err(Errno::EXIST.into());
        }
        if self.strike(DiskFault::NoSpace) {
            return Err(Errno::NOSPC.into());
        }
        let (dir, name) = split(path);
        let inode = InodeId(self.next_inode);
        self.directory(dir)?.link(name, inode);
        self.next_inode += 1;
        self.inodes.insert(inode, Inode::default());
        Ok(inode)
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.read_only { Err(Errno::ROFS.into()) } else { Ok(()) }
    }

    /// Whether `fault` is armed; if so, it is used up and counted.
    fn strike(&mut self, fault: DiskFault) -> bool {
        let Some(at) = self.armed.iter().position(|armed| *armed == fault) else {
            return false;
        };
        self.armed.remove(at);
        self.counts.count(fault);
        true
    }

    fn write(&mut self, id: InodeId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        if !self.armed.is_empty() {
            if self.strike(DiskFault::WriteError) {
                return Err(Errno::IO.into());
            }
            if self.strike(DiskFault::NoSpace) {
                let written = self.rng.usize(..=bytes.len());
                self.inode(id).write(offset, &bytes[..written]);
                return Err(Errno::NOSPC.into());
            }
            if self.strike(DiskFault::TornWrite) {
                let written = self.rng.usize(..bytes.len().max(1));
                self.inode(id).write(offset, &bytes[..written]);
                return Err(Errno::IO.into());
            }
            if self.strike(DiskFault::LostWrite) {
                return Ok(());
            }
            if self.strike(DiskFault::MisdirectedWrite) {
                let sectors = self.inode(id).len() / inode::SECTOR_BYTES;
                let elsewhere = self.rng.u64(..=sectors) * inode::SECTOR_BYTES;
                self.inode(id).write(elsewhere, bytes);
                return Ok(());
            }
        }
        let grows = (offset + bytes.len() as u64).saturating_sub(self.inode(id).len());
        if grows > 0 {
            let room = self.room_bytes();
            if grows > room {
                let fits = (bytes.len() as u64).saturating_sub(grows - room) as usize;
                self.inode(id).write(offset, &bytes[..fits]);
                self.counts.no_space += 1;
                return Err(Errno::NOSPC.into());
            }
        }
        self.inode(id).write(offset, bytes);
        Ok(())
    }

    fn used_bytes(&self) -> u64 {
        self.inodes.values().map(Inode::len).sum()
    }

    fn room_bytes(&self) -> u64 {
        self.capacity_bytes.map_or(u64::MAX, |limit| limit.saturating_sub(self.used_bytes()))
    }

    fn crash(&mut self, crash: Crash) {
        self.generation += 1;
        self.counts.crashes += 1;
        for directory in self.directories.values_mut() {
            match crash {
                Crash::LoseUnsynced => directory.lose_unsynced(),
                Crash::KeepRandomSubset => directory.keep_random_subset(&mut self.rng),
                Crash::KeepEverything => directory.sync(),
            }
        }
        for inode in self.inodes.values_mut() {
            inode.handles = 0;
            match crash {
                Crash::LoseUnsynced => inode.lose_unsynced(),
                Crash::KeepRandomSubset => inode.keep_random_subset(&mut self.rng),
                Crash::KeepEverything => inode.sync(),
            }
        }
        self.drop_orphans();
    }

    /// Forgets inodes that no handle is open on and no name leads to, now or after a crash.
    fn drop_orphans(&mut self) {
        let directories = &self.directories;
        self.inodes.retain(|id, inode| {
            inode.handles > 0 || directories.values().any(|directory| directory.refers_to(*id))
        });
    }
}
