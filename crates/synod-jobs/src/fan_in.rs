//! How many sources a task may merge at once: what its memory holds, and its share of the process's open
//! files.

use rustix::process::{Resource, getrlimit};

/// Memory that one source of a merge needs: its block, packed and unpacked, and its reader.
const BYTES_PER_SOURCE: u64 = 512 << 10;
/// What memory alone may make of it.
const FAN_IN: std::ops::RangeInclusive<u64> = 8..=256;
/// With fewer nothing can be merged.
const LEAST: usize = 2;
/// Of so many of the process's open files one may be a source of a merge. The rest is for everything else:
/// connections, inputs, pipes of programs, the store.
const FILES_PER_SOURCE: u64 = 2;
/// Files beside its sources that a task has open while it merges: what it writes, and one to spare.
const FILES_BESIDE: u64 = 2;

/// How many sources a task with this much memory merges at once, if so many tasks run at a time.
pub(crate) fn fan_in(bytes: u64, slots: u32) -> usize {
    within(bytes, slots, getrlimit(Resource::Nofile).current)
}

/// How many sources so much memory holds, however many files may be open.
pub(crate) fn of_memory(bytes: u64) -> usize {
    (bytes / BYTES_PER_SOURCE).clamp(*FAN_IN.start(), *FAN_IN.end()) as usize
}

/// The same in a process that may open so many files; `None`: any number.
fn within(bytes: u64, slots: u32, open_files: Option<u64>) -> usize {
    let of_files = open_files.map_or(u64::MAX, |files| {
        (files / FILES_PER_SOURCE / u64::from(slots.max(1))).saturating_sub(FILES_BESIDE)
    });
    of_memory(bytes).min(usize::try_from(of_files).unwrap_or(usize::MAX)).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_takes_no_more_sources_than_its_share_of_memory_and_of_open_files() {
        const PLENTY: u64 = 1 << 40;
        assert_eq!(within(PLENTY, 8, None), 256);
        assert_eq!(within(0, 8, None), 8);
        assert_eq!(within(20 << 20, 8, Some(1 << 20)), 40);
        // What a login gives often, which 8 tasks of 256 files are twice as much as.
        assert_eq!(within(PLENTY, 8, Some(1024)), 62);
        assert_eq!(within(PLENTY, 0, Some(1024)), 256);
        // All tasks together, with all that they have open, take no more than a half.
        for (files, slots) in [(1024, 8), (256, 16), (4096, 3), (65_536, 64)] {
            let fan_in = within(PLENTY, slots, Some(files)) as u64;
            assert!((fan_in + FILES_BESIDE) * u64::from(slots) <= files / 2, "{files}, {slots}");
        }
        // It is always a merge.
        for files in [0, 1, 16] {
            assert_eq!(within(PLENTY, 8, Some(files)), 2);
        }
    }
}
