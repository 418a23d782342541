//! An engine that breaks, or fills up, at a chosen write: what a crash in the middle of several writes
//! leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use synod_storage::engine::{
    Engine, EngineError, EngineRead, MemoryEngine, Space, Visit, WriteBatch,
};

/// Passes everything on until its writes are used up.
#[derive(Clone)]
pub struct FragileEngine {
    inner: MemoryEngine,
    writes_left: Arc<AtomicU64>,
    /// What is left then is an engine without room, not a broken one.
    fills_up: Arc<AtomicBool>,
}

impl FragileEngine {
    /// Whole.
    pub fn new(inner: MemoryEngine) -> Self {
        FragileEngine {
            inner,
            writes_left: Arc::new(AtomicU64::new(u64::MAX)),
            fills_up: Arc::default(),
        }
    }

    /// From now on so many writes (or syncs) work, then none.
    pub fn break_after(&self, writes: u64) {
        self.fills_up.store(false, Ordering::Relaxed);
        self.writes_left.store(writes, Ordering::Relaxed);
    }

    /// From now on so many writes (or syncs) find room, then none.
    pub fn fill_after(&self, writes: u64) {
        self.break_after(writes);
        self.fills_up.store(true, Ordering::Relaxed);
    }

    /// Whether it broke, or filled up.
    pub fn is_used_up(&self) -> bool {
        self.writes_left.load(Ordering::Relaxed) == 0
    }

    /// Whole again.
    pub fn mend(&self) {
        self.break_after(u64::MAX);
    }

    fn spend(&self) -> Result<(), EngineError> {
        let left = self.writes_left.load(Ordering::Relaxed);
        if left == 0 && self.fills_up.load(Ordering::Relaxed) {
            return Err(EngineError::NoSpace("the test filled it up".to_owned()));
        }
        if left == 0 {
            return Err(EngineError::Io("the engine broke, as the test wants".to_owned()));
        }
        self.writes_left.store(left - 1, Ordering::Relaxed);
        Ok(())
    }
}

impl EngineRead for FragileEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.inner.get(space, key)
    }

    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), EngineError> {
        self.inner.scan(space, from, to, visit)
    }
}

impl Engine for FragileEngine {
    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        self.spend()?;
        self.inner.write(batch)
    }

    fn persist(&self) -> Result<(), EngineError> {
        self.spend()?;
        self.inner.persist()
    }

    fn snapshot(&self) -> Result<Box<dyn EngineRead + Send>, EngineError> {
        self.inner.snapshot()
    }

    fn disk_bytes(&self) -> u64 {
        self.inner.disk_bytes()
    }
}
