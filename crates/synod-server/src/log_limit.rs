//! At most one log line per interval: a peer that misbehaves in a loop must not fill the disk.

use std::time::{Duration, Instant};

/// Lets one line through per interval and counts the rest.
#[derive(Debug)]
pub(crate) struct LogLimit {
    last: Option<Instant>,
    suppressed: u64,
}

impl LogLimit {
    /// The first line passes.
    pub(crate) fn new() -> Self {
        LogLimit { last: None, suppressed: 0 }
    }

    /// Whether to log now, and then how many lines were left out since the last one.
    pub(crate) fn pass(&mut self) -> Option<u64> {
        match self.last {
            Some(last) if last.elapsed() < INTERVAL => {
                self.suppressed += 1;
                None
            }
            _ => {
                self.last = Some(Instant::now());
                Some(std::mem::take(&mut self.suppressed))
            }
        }
    }

    /// The next line passes, whenever it comes: things had got better in between.
    pub(crate) fn reset(&mut self) {
        self.last = None;
    }
}

const INTERVAL: Duration = Duration::from_secs(10);
