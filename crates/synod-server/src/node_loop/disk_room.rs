//! Whether there is room to write. Full is: the log found none, the store found none, or less than the
//! reserve is free. Room again is: the log has written what waited, and a quarter more than the
//! reserve is free, so that the answer does not flicker.

use std::path::PathBuf;
use std::time::Duration;

use synod_base::Instant;

use crate::data_folder::DataFolder;

/// What is known of the room on the data folder's file system.
#[derive(Debug)]
pub(super) struct DiskRoom {
    data: PathBuf,
    reserve_bytes: u64,
    next_check: Instant,
    log_full: bool,
    reserve_touched: bool,
    /// Free beyond the reserve when last looked at, where the system tells.
    room_bytes: Option<u64>,
    persist_retry: Option<u64>,
    /// As last told to the node.
    full: bool,
}

impl DiskRoom {
    /// Room, until looked at; due at once.
    pub(super) fn new(data: PathBuf, reserve_bytes: u64, now: Instant) -> Self {
        DiskRoom {
            data,
            reserve_bytes,
            next_check: now,
            log_full: false,
            reserve_touched: false,
            room_bytes: None,
            persist_retry: None,
            full: false,
        }
    }

    /// When to look again.
    pub(super) fn next_check(&self) -> Instant {
        self.next_check
    }

    /// Whether it is time to look.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.next_check
    }

    /// Whether writes must be refused.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// How much may be written before the reserve is touched, as last looked at.
    pub(super) fn room_bytes(&self) -> Option<u64> {
        self.room_bytes
    }

    /// The log was written, or found no room. True if `is_full` changed.
    pub(super) fn on_log(&mut self, full: bool, now: Instant) -> bool {
        if full && !self.log_full {
            self.next_check = now + RETRY;
        }
        self.log_full = full;
        self.changed()
    }

    /// Looks at the file system. True if `is_full` changed.
    pub(super) fn check(&mut self, now: Instant) -> bool {
        let free = DataFolder::free_bytes(&self.data);
        self.next_check = now + if self.log_full { RETRY } else { INTERVAL };
        // Where the system does not tell, a failing write will.
        if let Ok(free) = free {
            let wanted = if self.reserve_touched {
                self.reserve_bytes.saturating_add(self.reserve_bytes / 4)
            } else {
                self.reserve_bytes
            };
            self.reserve_touched = free < wanted;
            self.room_bytes = Some(free.saturating_sub(self.reserve_bytes));
        }
        self.changed()
    }

    /// A persist of the store found no room and must be done again.
    pub(super) fn retry_persist(&mut self, ticket: u64) {
        self.persist_retry = Some(ticket);
    }

    /// The persist to do again now.
    pub(super) fn take_persist_retry(&mut self) -> Option<u64> {
        self.persist_retry.take()
    }

    fn changed(&mut self) -> bool {
        let full = self.log_full || self.reserve_touched;
        std::mem::replace(&mut self.full, full) != full
    }
}

/// Between looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Between attempts to write what waits.
const RETRY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_retried_soon_and_room_is_told_once() {
        let now = Instant::ZERO;
        let mut room = DiskRoom::new(std::env::temp_dir(), 0, now);
        assert!(room.is_due(now) && !room.check(now));
        assert!(!room.is_due(now + RETRY));
        assert!(room.on_log(true, now) && room.is_full());
        assert!(!room.on_log(true, now));
        assert!(room.is_due(now + RETRY));
        assert!(room.on_log(false, now + RETRY) && !room.is_full());
    }

    #[test]
    fn less_than_the_reserve_is_full() {
        let mut room = DiskRoom::new(std::env::temp_dir(), u64::MAX, Instant::ZERO);
        assert!(room.check(Instant::ZERO) && room.is_full());
        assert_eq!(room.room_bytes(), Some(0));
        room.reserve_bytes = 0;
        assert!(room.check(Instant::ZERO) && !room.is_full());
        assert!(room.room_bytes() > Some(0));
    }
}
