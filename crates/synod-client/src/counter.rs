//! A counter that many clients add to: a decimal number in one key, changed by compare-and-set.
//!
//! An addition is tried again only when the compare definitely failed. When the outcome is unknown the
//! caller is told so: adding again could count twice.

use bytes::Bytes;

use crate::cas::{self, Outcome};
use crate::kv::Kv;

pub use crate::cas::NumberError;

/// A counter in one key; an absent key counts as 0.
#[derive(Clone, Debug)]
pub struct Counter<K: Kv> {
    kv: K,
    key: Bytes,
}

impl<K: Kv> Counter<K> {
    /// The counter in this key.
    pub fn new(kv: &K, key: impl Into<Bytes>) -> Self {
        Counter { kv: kv.clone(), key: key.into() }
    }

    /// Its value now.
    pub async fn value(&self) -> Result<i64, NumberError> {
        Ok(cas::read(&self.kv, &self.key).await?.number)
    }

    /// Adds `delta` (which may be negative) and answers with the sum.
    pub async fn add(&self, delta: i64) -> Result<i64, NumberError> {
        let mut seen = cas::read(&self.kv, &self.key).await?;
        for _ in 0..cas::MAX_ROUNDS {
            let overflow = || NumberError::Overflow { key: cas::name(&self.key) };
            let sum = seen.number.checked_add(delta).ok_or_else(overflow)?;
            match cas::compare_and_set(&self.kv, &self.key, seen, sum).await? {
                Outcome::Done => return Ok(sum),
                Outcome::Lost(present) => seen = present,
            }
        }
        Err(NumberError::Contended { key: cas::name(&self.key) })
    }
}
