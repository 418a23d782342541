//! `FjallEngine`: LSM trees on disk (fjall): one for the history, one for the other spaces.
//!
//! The history has a tree to itself because its keys only ever grow, so merging its tables moves no
//! data. The others hold little and share a tree, a byte before each key: each further tree costs a
//! dozen syncs when a node starts for the first time.
//!
//! A batch goes to fjall's journal with one flush to the operating system and no sync: it survives the
//! process, and a power loss may take a suffix of batches. [`Engine::persist`] syncs the journal.
//!
//! A full disk must not reach fjall: an `ENOSPC` in its journal or its background threads poisons the
//! whole database. So writes are refused while less than a reserve is free, and if it happens all
//! the same the database is opened anew, in place, once there is room. After any other error it stays
//! closed and the node stops: what a failed sync left behind is unknown, and the log knows better.

mod journal;
mod trees;

use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use fjall::{Database, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use super::{Engine, EngineError, EngineRead, Space, Visit, WriteBatch, WriteOp};
use trees::{Trees, is_history, prefix, stored_key};

/// How much memory and disk the engine may take.
#[derive(Clone, Copy, Debug)]
pub struct FjallOptions {
    /// Cache of blocks read from disk, in bytes.
    pub cache_bytes: u64,
    /// Writes of one space gathered in memory before they become a table, in bytes. Up to four more of
    /// these exist while tables are written.
    pub memtable_bytes: u64,
    /// Writes are refused while the file system has less than this free: tables and merges need room
    /// too.
    pub reserve_bytes: u64,
}

impl Default for FjallOptions {
    fn default() -> Self {
        FjallOptions { cache_bytes: 16 * MIB, memtable_bytes: 16 * MIB, reserve_bytes: 64 * MIB }
    }
}

/// The production engine.
pub struct FjallEngine {
    path: PathBuf,
    options: FjallOptions,
    /// `None` only if opening anew failed; then every call says so, and a write tries again.
    open: RwLock<Option<Open>>,
    /// Bytes written since room was last looked up.
    unchecked_bytes: AtomicU64,
    /// The disk was found full since fjall last took a batch: that explains why it stopped.
    was_full: AtomicBool,
    /// It met an error that room does not mend.
    failed: AtomicBool,
    /// One more than the newest batch's sequence number when it was last closed: opened anew, it must
    /// have that batch.
    reached: AtomicU64,
}

impl FjallEngine {
    /// Opens the engine in the directory `path`, creating it if needed.
    pub fn open(path: &Path, options: FjallOptions) -> Result<Self, EngineError> {
        let open = Open::new(path, options)?;
        Ok(FjallEngine {
            path: path.to_owned(),
            options,
            open: RwLock::new(Some(open)),
            unchecked_bytes: AtomicU64::new(u64::MAX / 2),
            was_full: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            reached: AtomicU64::new(0),
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Open>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses a write while there is less than the reserve free. Looks it up once per
    /// [`CHECK_EVERY_BYTES`], and on every write once it was short.
    fn check_room(&self, batch_bytes: u64) -> Result<(), EngineError> {
        let unchecked = self.unchecked_bytes.fetch_add(batch_bytes, Ordering::Relaxed);
        if unchecked < CHECK_EVERY_BYTES {
            return Ok(());
        }
        let stat = rustix::fs::statvfs(&self.path).map_err(|e| EngineError::Io(e.to_string()))?;
        let free = stat.f_bavail * stat.f_frsize;
        let reserve = self.options.reserve_bytes;
        if free < reserve + batch_bytes {
            self.unchecked_bytes.store(CHECK_EVERY_BYTES, Ordering::Relaxed);
            self.was_full.store(true, Ordering::Relaxed);
            return Err(EngineError::NoSpace(format!("{free} bytes free, {reserve} kept back")));
        }
        self.unchecked_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// What an error of fjall means for it: room can mend a full disk, nothing else.
    fn judge(&self, error: fjall::Error) -> EngineError {
        let error = from_fjall(error);
        let why =
            if matches!(error, EngineError::NoSpace(_)) { &self.was_full } else { &self.failed };
        why.store(true, Ordering::Relaxed);
        error
    }

    /// fjall refuses everything after an error in its files, also a passing one. If that was a full disk,
    /// and there is room now, opens it anew: its journal still has all batches that were visible.
    fn open_anew(&self) -> Result<(), EngineError> {
        self.unchecked_bytes.store(CHECK_EVERY_BYTES, Ordering::Relaxed);
        self.check_room(self.options.memtable_bytes)?;
        if self.failed.load(Ordering::Relaxed) || !self.was_full.load(Ordering::Relaxed) {
            return Err(EngineError::Io(STOPPED.to_owned()));
        }
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = open.as_ref() {
            if !open.poisoned() {
                return Ok(());
            }
            // A snapshot keeps the old database alive, and with it the lock on its files.
            if Arc::strong_count(&open.readers) > 1 {
                return Err(EngineError::NoSpace("waiting for readers to end".to_owned()));
            }
        }
        if let Some(closing) = open.take() {
            self.reached.fetch_max(closing.trees.reached(), Ordering::Relaxed);
        }
        journal::write_back(&self.path).map_err(|e| from_io(&e))?;
        let opened = Open::new(&self.path, self.options)?;
        let (had, has) = (self.reached.load(Ordering::Relaxed), opened.trees.reached());
        if has < had {
            self.failed.store(true, Ordering::Relaxed);
            return Err(EngineError::Io(format!(
                "batches {has} to {} were gone when it was opened anew after an error",
                had - 1
            )));
        }
        *open = Some(opened);
        Ok(())
    }

    fn try_write(&self, batch: &WriteBatch) -> fjall::Result<bool> {
        let open = self.read();
        let Some(open) = open.as_ref() else { return Ok(false) };
        let mut writes = open.database.batch();
        for op in &batch.ops {
            match op {
                WriteOp::Put(space, key, value) => {
                    writes.insert(open.trees.of(*space), &*stored_key(*space, key), &value[..]);
                }
                WriteOp::Delete(space, key) => {
                    writes.remove(open.trees.of(*space), &*stored_key(*space, key));
                }
            }
        }
        match writes.commit() {
            Ok(()) => Ok(true),
            Err(fjall::Error::Poisoned) => Ok(false),
            Err(e) => Err(e),
        }
    }
}

impl FjallEngine {
    /// False if fjall has stopped.
    fn try_persist(&self) -> fjall::Result<bool> {
        let open = self.read();
        let Some(open) = open.as_ref() else { return Ok(false) };
        match open.database.persist(PersistMode::SyncData) {
            Ok(()) => Ok(true),
            Err(fjall::Error::Poisoned) => Ok(false),
            Err(e) => Err(e),
        }
    }
}

impl EngineRead for FjallEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let open = self.read();
        let open = open.as_ref().ok_or_else(closed)?;
        let value = open.trees.of(space).get(stored_key(space, key)).map_err(from_fjall)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), EngineError> {
        self.snapshot()?.scan(space, from, to, visit)
    }
}

impl Engine for FjallEngine {
    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.check_room(batch.ops.iter().map(op_bytes).sum())?;
        // A batch enters the journal before it becomes visible, so one that failed is not visible; what
        // it left in the journal is cut off when the database is opened anew.
        if !self.try_write(&batch).map_err(|e| self.judge(e))? {
            self.open_anew()?;
            if !self.try_write(&batch).map_err(|e| self.judge(e))? {
                return Err(EngineError::Io(STOPPED.to_owned()));
            }
        }
        self.was_full.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn persist(&self) -> Result<(), EngineError> {
        if !self.try_persist().map_err(|e| self.judge(e))? {
            self.open_anew()?;
            if !self.try_persist().map_err(|e| self.judge(e))? {
                return Err(EngineError::Io(STOPPED.to_owned()));
            }
        }
        Ok(())
    }

    fn snapshot(&self) -> Result<Box<dyn EngineRead + Send>, EngineError> {
        let open = self.read();
        let open = open.as_ref().ok_or_else(closed)?;
        Ok(Box::new(FjallSnapshot {
            snapshot: open.database.snapshot(),
            trees: open.trees.clone(),
            _reader: Arc::clone(&open.readers),
        }))
    }

    fn disk_bytes(&self) -> u64 {
        let open = self.read();
        open.as_ref().and_then(|open| open.database.disk_space().ok()).unwrap_or(0)
    }
}

struct FjallSnapshot {
    snapshot: Snapshot,
    trees: Trees,
    _reader: Arc<()>,
}

impl EngineRead for FjallSnapshot {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let key = stored_key(space, key);
        let value = self.snapshot.get(self.trees.of(space), key).map_err(from_fjall)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), EngineError> {
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        let skip = usize::from(!is_history(space));
        let from = stored_key(space, from);
        let to = match to {
            Some(to) => Some(stored_key(space, to).into_owned()),
            None if is_history(space) => None,
            None => Some(vec![prefix(space) + 1]),
        };
        let to = to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let range = (Bound::Included(&*from), to);
        for pair in self.snapshot.range::<&[u8], _>(self.trees.of(space), range) {
            let (key, value) = pair.into_inner().map_err(from_fjall)?;
            if visit(&key[skip..], &value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}

/// An open database.
struct Open {
    database: Database,
    trees: Trees,
    /// Each snapshot holds a clone.
    readers: Arc<()>,
}

impl Open {
    fn new(path: &Path, options: FjallOptions) -> Result<Self, EngineError> {
        let in_journals = journal::cut_torn_tail(path)?;
        let database = Database::builder(path)
            .cache_size(options.cache_bytes)
            .max_journaling_size(MAX_JOURNAL_BYTES)
            .worker_threads(WORKER_THREADS)
            .open()
            .map_err(from_fjall)?;
        let tree = |name: &str, memtable_bytes: u64| {
            let create = || KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes);
            database.keyspace(name, create).map_err(from_fjall)
        };
        let small_bytes = options.memtable_bytes.min(SMALL_MEMTABLE_BYTES);
        let history = tree("history", options.memtable_bytes)?;
        let others = tree("others", small_bytes)?;
        let trees = Trees { history, others };
        match trees.newest_in_tables() {
            // Then one tree may be ahead of the other, and a batch is not whole.
            Some(newest) if in_journals.lacks(newest) => Err(EngineError::Damaged(format!(
                "its tables hold batch {newest}, but its journals end {}",
                in_journals.last.map_or_else(
                    || "without a whole batch".to_owned(),
                    |last| format!("with batch {last}")
                )
            ))),
            _ => Ok(Open { database, trees, readers: Arc::new(()) }),
        }
    }

    fn poisoned(&self) -> bool {
        matches!(self.database.persist(PersistMode::Buffer), Err(fjall::Error::Poisoned))
    }
}

fn op_bytes(op: &WriteOp) -> u64 {
    match op {
        WriteOp::Put(_, key, value) => (key.len() + value.len()) as u64,
        WriteOp::Delete(_, key) => key.len() as u64,
    }
}

fn closed() -> EngineError {
    EngineError::Io("the engine could not be opened anew after an error".to_owned())
}

fn from_fjall(error: fjall::Error) -> EngineError {
    match error {
        fjall::Error::Io(e) | fjall::Error::Storage(fjall::LsmError::Io(e)) => from_io(&e),
        fjall::Error::Locked => EngineError::Io(journal::LOCKED.to_owned()),
        fjall::Error::Poisoned => EngineError::Io(STOPPED.to_owned()),
        fjall::Error::InvalidVersion(version) => {
            EngineError::Damaged(format!("made by another version: {version:?}"))
        }
        other => EngineError::Damaged(other.to_string()),
    }
}

fn from_io(error: &std::io::Error) -> EngineError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            EngineError::NoSpace(error.to_string())
        }
        std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
            EngineError::Damaged(error.to_string())
        }
        _ => EngineError::Io(error.to_string()),
    }
}

/// What it says once fjall has stopped for good.
const STOPPED: &str = "it stopped after an error that was no full disk";

const MIB: u64 = 1024 * 1024;

/// Room is looked up after this many bytes of writes: far less than the reserve.
const CHECK_EVERY_BYTES: u64 = MIB;

/// fjall flushes spaces that rest when its journals exceed this; a restart reads them all.
const MAX_JOURNAL_BYTES: u64 = 64 * MIB;

/// Memtable of the spaces that share a tree.
const SMALL_MEMTABLE_BYTES: u64 = 4 * MIB;

/// Background threads: one writes tables while the other merges them. With only one, a long merge
/// holds up table writing until fjall halts all writes.
const WORKER_THREADS: usize = 2;

#[cfg(test)]
mod tests;
