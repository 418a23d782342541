//! Writes log batches: all that a turn asks for go out as one sync. A full disk keeps them waiting, in
//! order; any other failure ends the node, because what a failed sync left behind is undefined.

use std::collections::VecDeque;

use synod_node::LogBatch;
use synod_storage::wal::{Wal, WalError};

/// The log, and what it has not taken yet.
#[derive(Debug)]
pub(super) struct LogWriter {
    wal: Wal,
    /// Batches that found no room; later ones queue up behind them.
    waiting: VecDeque<LogBatch>,
}

/// What one write did.
#[derive(Debug)]
pub(super) struct Written {
    /// Now durable, in order.
    pub(super) durable: Vec<LogBatch>,
    /// Records among them.
    pub(super) records: usize,
}

impl LogWriter {
    /// Writes to `wal`.
    pub(super) fn new(wal: Wal) -> Self {
        LogWriter { wal, waiting: VecDeque::new() }
    }

    /// Whether batches wait for room.
    pub(super) fn is_full(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Bytes of its files, the ones prepared for later included.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.wal.disk_bytes()
    }

    /// Appends the batches that wait and then these, as far as there is room, and syncs.
    pub(super) fn write(
        &mut self,
        batches: impl Iterator<Item = LogBatch>,
    ) -> Result<Written, WalError> {
        self.waiting.extend(batches);
        let mut written = Written { durable: Vec::new(), records: 0 };
        while let Some(batch) = self.waiting.front() {
            if !batch.records.is_empty() {
                match self.wal.append(&batch.records) {
                    Ok(_) => written.records += batch.records.len(),
                    Err(WalError::NoSpace) => break,
                    Err(error) => return Err(error),
                }
            }
            written.durable.extend(self.waiting.pop_front());
        }
        if written.records > 0 {
            self.wal.sync()?;
        }
        Ok(written)
    }

    /// Prepares the next log file by a small step; true when it is ready, or when there is no room.
    pub(super) fn prepare(&mut self) -> Result<bool, WalError> {
        match self.wal.prepare_spare(PREPARE_STEP_BYTES) {
            Err(WalError::NoSpace) => Ok(true),
            other => other,
        }
    }

    /// Marks the newest record as one that was finished, before the node rests or stops.
    pub(super) fn witness(&mut self) -> Result<(), WalError> {
        match self.wal.witness() {
            Err(WalError::NoSpace) => Ok(()),
            other => other,
        }
    }
}

/// Filled and synced at a time: short enough that a request hardly notices.
const PREPARE_STEP_BYTES: usize = 256 * 1024;
