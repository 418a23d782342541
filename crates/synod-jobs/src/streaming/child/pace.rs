//! When to look at the pipes of a command again.
//!
//! A full pipe wakes its writer as soon as one page of it has been read, and an empty one its reader at
//! the first byte. To follow every such call costs more than moving the bytes: two switches of
//! the processor for some 4 KiB. So between two looks there is a nap, during which only a closed pipe
//! counts. It is so long that about a third of a pipe moves meanwhile, and a command that runs faster
//! or slower changes it.

use super::launch::WIDE_PIPE_BYTES;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How long a nap is.
const NAP: RangeInclusive<Duration> = Duration::from_micros(100)..=Duration::from_millis(2);

/// The length of naps.
#[derive(Debug)]
pub struct Pace {
    nap: Duration,
    /// Bytes since the last nap.
    written: usize,
    read: usize,
}

impl Pace {
    /// Begins with short ones.
    pub fn new() -> Pace {
        Pace { nap: *NAP.start(), written: 0, read: 0 }
    }

    /// So many bytes went into its pipe.
    pub fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
    }

    /// So many bytes came out of its pipe.
    pub fn read(&mut self, bytes: usize) {
        self.read += bytes;
    }

    /// The length of the nap that begins now.
    pub fn next_nap(&mut self) -> Duration {
        let moved = self.written.max(self.read);
        if moved > WIDE_PIPE_BYTES / 2 {
            self.nap = (self.nap / 2).max(*NAP.start());
        } else if moved < WIDE_PIPE_BYTES / 4 {
            self.nap = (self.nap * 2).min(*NAP.end());
        }
        (self.written, self.read) = (0, 0);
        self.nap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naps_grow_while_little_moves_and_shrink_when_a_pipe_runs_full_or_empty() {
        let mut pace = Pace::new();
        let naps: Vec<Duration> = (0..20).map(|_| pace.next_nap()).collect();
        assert!(naps.is_sorted());
        assert_eq!(naps.last(), Some(NAP.end()));
        pace.read(WIDE_PIPE_BYTES / 5);
        pace.wrote(WIDE_PIPE_BYTES / 5);
        assert_eq!(pace.next_nap(), *NAP.end());
        // Neither much nor little, and much.
        pace.read(WIDE_PIPE_BYTES / 5);
        pace.read(WIDE_PIPE_BYTES / 5);
        assert_eq!(pace.next_nap(), *NAP.end());
        pace.wrote(WIDE_PIPE_BYTES);
        assert_eq!(pace.next_nap(), *NAP.end() / 2);
        for _ in 0..20 {
            pace.read(WIDE_PIPE_BYTES);
            pace.next_nap();
        }
        pace.read(WIDE_PIPE_BYTES);
        assert_eq!(pace.next_nap(), *NAP.start());
    }
}
