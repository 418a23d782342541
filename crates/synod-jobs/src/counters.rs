//! Counts of what a job did, summed over the winning attempts only.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Different names that one job may count under; more are dropped into `counters_dropped`.
pub const MAX_USER_COUNTERS: usize = 10_000;

/// What the names of a task or a job may take in its record, as JSON. A record with counters, and what else is
/// written together with it, stays well below what a store takes at once, which is 1.5 MiB.
const RECORD_BYTES: usize = 512 << 10;
/// What a counter takes beside its name: quotes, a colon, digits, a comma.
const AMOUNT_BYTES: usize = 24;

/// Where those are counted.
const DROPPED: &str = "counters_dropped";

/// Built-in counts and those of the job's own functions. Additions saturate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Records given to map functions.
    pub map_records_in: u64,
    /// Bytes of those records with their terminators.
    pub map_bytes_in: u64,
    /// Pairs that map functions emitted.
    pub map_pairs_out: u64,
    /// Pairs left after combining, the ones that travel to reducers.
    pub combined_pairs_out: u64,
    /// Records left out because the map function panicked on them.
    pub bad_records_skipped: u64,
    /// Records left out because they were longer than the job allows.
    #[serde(default)]
    pub long_records_skipped: u64,
    /// Runs written to disk because the memory budget was reached, or to be fetched.
    pub runs_written: u64,
    /// Bytes of those runs as stored.
    pub run_bytes_written: u64,
    /// Groups given to reduce functions.
    pub reduce_groups_in: u64,
    /// Pairs given to reduce functions.
    pub reduce_pairs_in: u64,
    /// Records of output.
    pub reduce_records_out: u64,
    /// Bytes of output.
    pub reduce_bytes_out: u64,
    /// What the job's own functions counted.
    pub user: BTreeMap<String, u64>,
}

impl Counters {
    /// Adds to a counter of the job's own.
    pub fn count(&mut self, name: &str, amount: u64) {
        if let Some(value) = self.user.get_mut(name) {
            *value = value.saturating_add(amount);
            return;
        }
        let names = self.user.len() - usize::from(self.user.contains_key(DROPPED));
        // What a task dropped is added up, and not dropped once more.
        if names < MAX_USER_COUNTERS || name == DROPPED {
            self.user.insert(name.to_owned(), amount);
        } else {
            let dropped = self.user.entry(DROPPED.to_owned()).or_insert(0);
            *dropped = dropped.saturating_add(1);
        }
    }

    /// Drops the names that a record has no room for. One that cannot be written would be tried for ever.
    pub fn fit_into_record(&mut self) {
        let (mut room, mut dropped) = (RECORD_BYTES, 0);
        self.user.retain(|name, _| {
            let bytes = name.chars().map(escaped_bytes).sum::<usize>() + AMOUNT_BYTES;
            let fits = bytes <= room || name == DROPPED;
            if fits {
                room = room.saturating_sub(bytes);
            } else {
                dropped += 1;
            }
            fits
        });
        if dropped > 0 {
            let all = self.user.entry(DROPPED.to_owned()).or_insert(0);
            *all = all.saturating_add(dropped);
        }
    }

    /// Adds the counts of a finished task.
    pub fn add(&mut self, other: &Counters) {
        let Counters {
            map_records_in,
            map_bytes_in,
            map_pairs_out,
            combined_pairs_out,
            bad_records_skipped,
            long_records_skipped,
            runs_written,
            run_bytes_written,
            reduce_groups_in,
            reduce_pairs_in,
            reduce_records_out,
            reduce_bytes_out,
            user,
        } = other;
        for (mine, theirs) in [
            (&mut self.map_records_in, map_records_in),
            (&mut self.map_bytes_in, map_bytes_in),
            (&mut self.map_pairs_out, map_pairs_out),
            (&mut self.combined_pairs_out, combined_pairs_out),
            (&mut self.bad_records_skipped, bad_records_skipped),
            (&mut self.long_records_skipped, long_records_skipped),
            (&mut self.runs_written, runs_written),
            (&mut self.run_bytes_written, run_bytes_written),
            (&mut self.reduce_groups_in, reduce_groups_in),
            (&mut self.reduce_pairs_in, reduce_pairs_in),
            (&mut self.reduce_records_out, reduce_records_out),
            (&mut self.reduce_bytes_out, reduce_bytes_out),
        ] {
            *mine = mine.saturating_add(*theirs);
        }
        for (name, amount) in user {
            self.count(name, *amount);
        }
    }
}

/// What a character takes in JSON.
fn escaped_bytes(c: char) -> usize {
    match c {
        '"' | '\\' => 2,
        c if c.is_control() => 6,
        c => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_record_has_no_room_for_are_dropped_and_the_record_is_as_small_as_it_may_be() {
        for name in ["x", "\u{1}", "\"", "\u{fffd}"] {
            let mut counters = Counters::default();
            for number in 0..MAX_USER_COUNTERS {
                counters.count(&format!("{number}{}", name.repeat(240)), u64::MAX);
            }
            counters.count("short", 7);
            counters.fit_into_record();
            let (kept, dropped) = (counters.user.len() - 1, counters.user[DROPPED]);
            assert_eq!(kept as u64 + dropped, MAX_USER_COUNTERS as u64 + 1, "{name:?}");
            let bytes = serde_json::to_vec(&counters.user).unwrap().len();
            assert!((RECORD_BYTES / 2..RECORD_BYTES + 100).contains(&bytes), "{name:?}: {bytes}");
            let once = counters.clone();
            counters.fit_into_record();
            assert_eq!(counters, once);
        }
        let mut counters = Counters::default();
        (0..MAX_USER_COUNTERS).for_each(|number| counters.count(&format!("names::{number}"), 1));
        let all = counters.clone();
        counters.fit_into_record();
        assert_eq!(counters, all);
    }

    #[test]
    fn names_beyond_the_limit_are_added_up_as_dropped_through_every_merge() {
        let mut task = Counters::default();
        for name in 0..MAX_USER_COUNTERS + 7 {
            task.count(&format!("{name}"), 1);
        }
        let mut job = Counters::default();
        job.add(&task);
        job.add(&task);
        assert_eq!(job.user.len(), MAX_USER_COUNTERS + 1);
        assert_eq!(job.user[DROPPED], 14);
    }
}
