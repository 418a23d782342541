//! Unique ids: each client takes a block of numbers by compare-and-set and hands them out on its own.
//!
//! The key holds the highest number that was ever taken. A block whose taking has an unknown outcome
//! is given up: ids may be skipped, never given twice. They ascend per client, not over all clients.

use bytes::Bytes;
use synod_node::Happened;
use tokio::sync::Mutex;

use crate::cas::{self, NumberError, Outcome};
use crate::kv::Kv;

/// Hands out ids from 1 on.
#[derive(Debug)]
pub struct IdAllocator<K: Kv> {
    kv: K,
    key: Bytes,
    block_size: i64,
    block: Mutex<Block>,
}

/// Ids taken and not yet given: `next..=last`.
#[derive(Debug)]
struct Block {
    next: i64,
    last: i64,
}

impl<K: Kv> IdAllocator<K> {
    /// Ids from the sequence in `key`, taken `block_size` (at least 1) at a time.
    pub fn new(kv: &K, key: impl Into<Bytes>, block_size: u32) -> Self {
        let block = Mutex::new(Block { next: 1, last: 0 });
        let block_size = i64::from(block_size.max(1));
        IdAllocator { kv: kv.clone(), key: key.into(), block_size, block }
    }

    /// An id that nobody else has got or will get.
    pub async fn next(&self) -> Result<i64, NumberError> {
        let mut block = self.block.lock().await;
        if block.next > block.last {
            *block = self.take_block().await?;
        }
        let id = block.next;
        block.next += 1;
        Ok(id)
    }

    async fn take_block(&self) -> Result<Block, NumberError> {
        let mut seen = cas::read(&self.kv, &self.key).await?;
        for _ in 0..cas::MAX_ROUNDS {
            let overflow = || NumberError::Overflow { key: cas::name(&self.key) };
            let last = seen.number.checked_add(self.block_size).ok_or_else(overflow)?;
            match cas::compare_and_set(&self.kv, &self.key, seen, last).await {
                Ok(Outcome::Done) => return Ok(Block { next: seen.number + 1, last }),
                Ok(Outcome::Lost(present)) => seen = present,
                // Perhaps it was taken; then nobody gets that block, and we take the one after it.
                Err(NumberError::Client(error)) if error.happened() == Happened::Unknown => {
                    seen = cas::read(&self.kv, &self.key).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(NumberError::Contended { key: cas::name(&self.key) })
    }
}
