//! Runs: sorted, partitioned intermediate data, in memory or on disk.
//!
//! A reducer reads its partition of every run through [`RunSource`]; where the bytes come from (a
//! buffer of the same process, a local file, another worker) is behind that trait. A block holds
//! whole pairs, sorted by key.

pub mod file;
pub mod memory;
pub(crate) mod record;
pub mod store;
pub mod writer;

use crate::error::JobError;

/// Blocks are cut when they reach this many bytes; one pair is never divided.
pub const BLOCK_BYTES: usize = 128 << 10;

/// One partition of one run.
pub trait RunSource: Send {
    /// Replaces `block` by the next pairs. Returns `false`, with an empty block, at the end.
    fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, JobError>;

    /// Told that its last block turned out to be of no use, though nothing was wrong with its checksum.
    fn is_useless(&mut self, error: &JobError) {
        let _ = error;
    }
}
