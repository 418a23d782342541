//! How far a job has got, and the switch that stops it.
//!
//! Tasks add to atomic counters; a user interface polls [`Progress::snapshot`] and works out rates
//! with its own clock. Nothing here decides anything: a lost update would only look odd.

use crate::error::JobError;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// The step a job is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Inputs are being looked up, cut into splits and sampled.
    Planning = 0,
    /// Map tasks run.
    Map = 1,
    /// Reduce tasks run.
    Reduce = 2,
    /// Part files are being published.
    Commit = 3,
    /// The output is complete.
    Done = 4,
}

/// Shared by everyone who works on a job or watches it.
#[derive(Debug, Default)]
pub struct Progress {
    phase: AtomicU8,
    cancelled: Arc<AtomicBool>,
    moves: AtomicU64,
    /// Whether there were small moves since somebody looked.
    stirred: AtomicBool,
    /// What a task has said last of how it does.
    status: Mutex<Option<Arc<str>>>,
    pub(crate) bytes_total: AtomicU64,
    pub(crate) bytes_read: AtomicU64,
    pub(crate) maps_total: AtomicU64,
    pub(crate) maps_done: AtomicU64,
    pub(crate) maps_given_up: AtomicU64,
    pub(crate) reduces_total: AtomicU64,
    pub(crate) reduces_done: AtomicU64,
    pub(crate) reduces_given_up: AtomicU64,
    pub(crate) bytes_spilled: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The step the job is in.
    pub phase: Phase,
    /// Input bytes of the whole job.
    pub bytes_total: u64,
    /// Input bytes that map tasks have read; falls when a failed attempt is taken back.
    pub bytes_read: u64,
    /// Splits of the job.
    pub maps_total: u64,
    /// Splits that are mapped.
    pub maps_done: u64,
    /// Map tasks that the job goes on without.
    pub maps_given_up: u64,
    /// Reduce tasks of the job.
    pub reduces_total: u64,
    /// Reduce tasks that are finished.
    pub reduces_done: u64,
    /// Reduce tasks that the job goes on without.
    pub reduces_given_up: u64,
    /// Bytes of intermediate data that went to disk.
    pub bytes_spilled: u64,
    /// Bytes of output.
    pub bytes_written: u64,
}

impl Snapshot {
    /// Reduce tasks for which nothing remains to be done.
    pub fn reduces_over(&self) -> u64 {
        self.reduces_done + self.reduces_given_up
    }
}

impl Progress {
    /// A job that has not begun.
    pub fn new() -> Progress {
        Progress::default()
    }

    /// Asks the job to stop; its tasks notice at their next block.
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }

    /// Fails once somebody has called [`Progress::cancel`].
    #[inline]
    pub fn check_cancelled(&self) -> Result<(), JobError> {
        if self.cancelled.load(Relaxed) { Err(JobError::Cancelled) } else { Ok(()) }
    }

    /// The switch alone, for what outlives the borrow of this; it is never turned back.
    #[cfg(feature = "wasm")]
    pub(crate) fn cancel_switch(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancelled)
    }

    /// Says that something has happened that no counter shows: whoever watches this work waits on.
    pub fn note_move(&self) {
        self.moves.fetch_add(1, Relaxed);
    }

    /// Notes a move, and fails once the work was cancelled.
    pub fn step(&self) -> Result<(), JobError> {
        self.note_move();
        self.check_cancelled()
    }

    /// The same for what happens for every record or pair: many small moves may be one. While nobody looks,
    /// all but the first only read memory, so threads that share this do not take it from each other.
    #[inline]
    pub fn note_small_move(&self) {
        if !self.stirred.load(Relaxed) {
            self.stirred.store(true, Relaxed);
        }
    }

    /// Notes a small move, and fails once the work was cancelled.
    #[inline]
    pub fn small_step(&self) -> Result<(), JobError> {
        self.note_small_move();
        self.check_cancelled()
    }

    /// Whoever watches looks here; that it changes means that something moves, how much it is means nothing.
    pub fn moves(&self) -> u64 {
        if self.stirred.swap(false, Relaxed) {
            self.note_move();
        }
        self.moves.load(Relaxed)
    }

    /// A task says how it does, for people. What it said before is forgotten.
    pub fn say(&self, status: &str) {
        let mut said = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        *said = Some(status.into());
    }

    /// What a task has said last, if anything.
    pub fn status(&self) -> Option<Arc<str>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        let phase = match self.phase.load(Relaxed) {
            0 => Phase::Planning,
            1 => Phase::Map,
            2 => Phase::Reduce,
            3 => Phase::Commit,
            _ => Phase::Done,
        };
        Snapshot {
            phase,
            bytes_total: self.bytes_total.load(Relaxed),
            bytes_read: self.bytes_read.load(Relaxed),
            maps_total: self.maps_total.load(Relaxed),
            maps_done: self.maps_done.load(Relaxed),
            maps_given_up: self.maps_given_up.load(Relaxed),
            reduces_total: self.reduces_total.load(Relaxed),
            reduces_done: self.reduces_done.load(Relaxed),
            reduces_given_up: self.reduces_given_up.load(Relaxed),
            bytes_spilled: self.bytes_spilled.load(Relaxed),
            bytes_written: self.bytes_written.load(Relaxed),
        }
    }

    /// Shows how far a job is that runs elsewhere.
    pub fn show(&self, now: &Snapshot) {
        self.enter(now.phase);
        self.bytes_total.store(now.bytes_total, Relaxed);
        self.bytes_read.store(now.bytes_read, Relaxed);
        self.maps_total.store(now.maps_total, Relaxed);
        self.maps_done.store(now.maps_done, Relaxed);
        self.maps_given_up.store(now.maps_given_up, Relaxed);
        self.reduces_total.store(now.reduces_total, Relaxed);
        self.reduces_done.store(now.reduces_done, Relaxed);
        self.reduces_given_up.store(now.reduces_given_up, Relaxed);
        self.bytes_spilled.store(now.bytes_spilled, Relaxed);
        self.bytes_written.store(now.bytes_written, Relaxed);
    }

    /// Moves to `phase`; what tasks of another one have said is past. Whoever coordinates the job calls this.
    pub fn enter(&self, phase: Phase) {
        if self.phase.load(Relaxed) != phase as u8 {
            *self.status.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        self.phase.store(phase as u8, Relaxed);
    }
}
