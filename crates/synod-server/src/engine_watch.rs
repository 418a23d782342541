//! A watch on the store's writes. fjall makes a writer wait until its background threads have caught up,
//! also when they have ended over an error and never will. The thread that waits is the one that runs the
//! node, its sockets and its log: nothing in it could tell. So another thread looks, from time to time,
//! whether it is still the same write; a process that was merely stopped for a while passes.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use synod_storage::engine::{Engine, EngineError, EngineRead, Space, Visit, WriteBatch};

/// An engine whose writes are watched.
pub(crate) struct WatchedEngine {
    engine: Arc<dyn Engine>,
    /// Odd while a write is under way. There is one writer.
    writes: Arc<AtomicU64>,
    /// The watch ends with this.
    _alive: Sender<Infallible>,
}

impl WatchedEngine {
    /// Calls `on_stuck`, once and in a thread of its own, when a write takes longer than `patience`.
    pub(crate) fn new(
        engine: Arc<dyn Engine>,
        patience: Duration,
        on_stuck: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let writes = Arc::new(AtomicU64::new(0));
        let watched = Arc::clone(&writes);
        let (alive, ended) = channel();
        let watch = move || {
            let mut look = Look::default();
            while ended.recv_timeout(patience / LOOKS) == Err(RecvTimeoutError::Timeout) {
                if look.is_stuck(watched.load(Ordering::Relaxed)) {
                    return on_stuck();
                }
            }
        };
        std::thread::Builder::new().name("synod-watch".into()).spawn(watch)?;
        Ok(WatchedEngine { engine, writes, _alive: alive })
    }
}

/// What the last looks saw.
#[derive(Default)]
struct Look {
    writes: u64,
    same: u32,
}

impl Look {
    fn is_stuck(&mut self, writes: u64) -> bool {
        let same = writes == self.writes && writes % 2 == 1;
        self.same = if same { self.same + 1 } else { 0 };
        self.writes = writes;
        self.same >= LOOKS
    }
}

impl EngineRead for WatchedEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.engine.get(space, key)
    }

    fn scan(
        &self,
        space: Space,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> Result<(), EngineError> {
        self.engine.scan(space, from, to, visit)
    }
}

impl Engine for WatchedEngine {
    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let written = self.engine.write(batch);
        self.writes.fetch_add(1, Ordering::Relaxed);
        written
    }

    fn persist(&self) -> Result<(), EngineError> {
        self.engine.persist()
    }

    fn snapshot(&self) -> Result<Box<dyn EngineRead + Send>, EngineError> {
        self.engine.snapshot()
    }

    fn disk_bytes(&self) -> u64 {
        self.engine.disk_bytes()
    }
}

/// A write is stuck when so many looks in a row, after a first one, have seen it.
const LOOKS: u32 = 8;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::Receiver;

    use synod_storage::engine::MemoryEngine;

    use super::*;

    /// Each write waits for a word.
    struct Gated(MemoryEngine, Mutex<Receiver<()>>);

    impl EngineRead for Gated {
        fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
            self.0.get(space, key)
        }

        fn scan(
            &self,
            space: Space,
            from: &[u8],
            to: Option<&[u8]>,
            visit: &mut Visit<'_>,
        ) -> Result<(), EngineError> {
            self.0.scan(space, from, to, visit)
        }
    }

    impl Engine for Gated {
        fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
            self.1.lock().unwrap().recv().unwrap();
            self.0.write(batch)
        }

        fn persist(&self) -> Result<(), EngineError> {
            self.0.persist()
        }

        fn snapshot(&self) -> Result<Box<dyn EngineRead + Send>, EngineError> {
            self.0.snapshot()
        }

        fn disk_bytes(&self) -> u64 {
            self.0.disk_bytes()
        }
    }

    #[test]
    fn a_write_that_never_returns_is_told_once_and_may_still_return() {
        let (go_on, gate) = channel();
        let (told, stuck) = channel();
        let engine = Arc::new(Gated(MemoryEngine::new(), Mutex::new(gate)));
        let tell = move || told.send(()).unwrap();
        let watched = WatchedEngine::new(engine.clone(), Duration::from_millis(40), tell).unwrap();
        let mut batch = WriteBatch::default();
        batch.put(Space::Meta, "a", "1");
        let writer = std::thread::spawn(move || watched.write(batch));
        stuck.recv_timeout(Duration::from_secs(30)).expect("it is noticed");
        assert_eq!(engine.get(Space::Meta, b"a").unwrap(), None);
        go_on.send(()).unwrap();
        writer.join().unwrap().unwrap();
        assert_eq!(engine.get(Space::Meta, b"a").unwrap().unwrap(), "1");
        // The watch has ended: nobody is left to tell.
        assert!(stuck.recv().is_err());
    }

    #[test]
    fn one_long_write_is_stuck_and_many_short_ones_and_rest_are_not() {
        let stuck = |seen: &[u64]| {
            let mut look = Look::default();
            seen.iter().filter(|writes| look.is_stuck(**writes)).count()
        };
        assert_eq!(stuck(&[3; 9]), 1);
        assert_eq!(stuck(&[3; 8]), 0);
        assert_eq!(stuck(&[4; 50]), 0);
        assert_eq!(stuck(&(0..50).map(|i| 2 * i + 1).collect::<Vec<_>>()), 0);
        assert_eq!(stuck(&[3, 3, 3, 3, 3, 3, 3, 3, 4, 5, 5, 5, 5, 5, 5, 5]), 0);
    }
}
