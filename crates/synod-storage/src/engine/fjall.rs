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
//! the same the database is opened anew, in place, once there is room.

use std::borrow::Cow;
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use super::{Engine, EngineError, EngineRead, Space, Visit, WriteBatch, WriteOp};

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
            return Err(EngineError::NoSpace(format!("{free} bytes free, {reserve} kept back")));
        }
        self.unchecked_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// fjall refuses everything after an error in its files, also a passing one. Opens it anew; its
    /// journal still has all batches that were visible.
    fn open_anew(&self) -> Result<(), EngineError> {
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
        *open = None;
        *open = Some(Open::new(&self.path, self.options)?);
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
        if self.try_write(&batch).map_err(from_fjall)? {
            return Ok(());
        }
        self.unchecked_bytes.store(CHECK_EVERY_BYTES, Ordering::Relaxed);
        self.check_room(self.options.memtable_bytes)?;
        self.open_anew()?;
        match self.try_write(&batch) {
            Ok(true) => Ok(()),
            Ok(false) => Err(EngineError::Io("the engine stopped after an error".to_owned())),
            Err(e) => Err(from_fjall(e)),
        }
    }

    fn persist(&self) -> Result<(), EngineError> {
        let open = self.read();
        let open = open.as_ref().ok_or_else(closed)?;
        open.database.persist(PersistMode::SyncData).map_err(from_fjall)
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
        Ok(Open { database, trees: Trees { history, others }, readers: Arc::new(()) })
    }

    fn poisoned(&self) -> bool {
        matches!(self.database.persist(PersistMode::Buffer), Err(fjall::Error::Poisoned))
    }
}

/// fjall's keyspaces; cheap handles.
#[derive(Clone)]
struct Trees {
    history: Keyspace,
    others: Keyspace,
}

impl Trees {
    fn of(&self, space: Space) -> &Keyspace {
        if is_history(space) { &self.history } else { &self.others }
    }
}

fn is_history(space: Space) -> bool {
    space == Space::History
}

/// The byte before the keys of a space in the shared tree: never changed.
fn prefix(space: Space) -> u8 {
    match space {
        Space::Meta => 1,
        Space::History => 2,
        Space::Lease => 3,
        Space::Local => 4,
        Space::Staging => 5,
    }
}

/// A key as it stands in its tree.
fn stored_key(space: Space, key: &[u8]) -> Cow<'_, [u8]> {
    if is_history(space) {
        return Cow::Borrowed(key);
    }
    let mut stored = Vec::with_capacity(key.len() + 1);
    stored.push(prefix(space));
    stored.extend_from_slice(key);
    Cow::Owned(stored)
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
        fjall::Error::Locked => EngineError::Io("another process has it open".to_owned()),
        fjall::Error::Poisoned => EngineError::Io("it stopped after an error".to_owned()),
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
