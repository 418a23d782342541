//! Counts of what a job did, summed over the winning attempts only.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Different names that one task, and one job, may count under; more are dropped into `counters_dropped`.
/// Hadoop fails such a job, beyond 120 as it comes (`mapreduce.job.counters.max`): a count too many is no
/// reason to lose the output.
pub const MAX_USER_COUNTERS: usize = 10_000;
/// What these names may take together in a record, as JSON. A record with counters, and what else is written
/// together with it, stays well below what a store takes at once, which is 1.5 MiB.
pub const MAX_USER_COUNTER_BYTES: usize = 512 << 10;
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
    /// Map tasks that the job went on without.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub maps_given_up: u64,
    /// Reduce tasks that the job went on without.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reduces_given_up: u64,
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
    /// What its names take together.
    #[serde(skip)]
    pub name_bytes: NameBytes,
}

/// What the names in [`Counters::user`] take, once somebody wanted to know. It says nothing of its own about
/// what was counted, so all of them are equal.
#[derive(Debug, Clone, Copy, Default)]
pub struct NameBytes(Option<usize>);

impl PartialEq for NameBytes {
    fn eq(&self, _: &NameBytes) -> bool {
        true
    }
}

impl Eq for NameBytes {}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Counters {
    /// Adds to a counter of the job's own.
    pub fn count(&mut self, name: &str, amount: u64) {
        if let Some(value) = self.user.get_mut(name) {
            *value = value.saturating_add(amount);
            return;
        }
        let user = &self.user;
        let sum = || user.keys().map(|name| json_bytes(name)).sum();
        let bytes = *self.name_bytes.0.get_or_insert_with(sum) + json_bytes(name);
        let names = user.len() - usize::from(user.contains_key(DROPPED));
        let is_room = names < MAX_USER_COUNTERS && bytes <= MAX_USER_COUNTER_BYTES;
        // What a task dropped is added up, and not dropped once more.
        if is_room || name == DROPPED {
            self.name_bytes.0 = Some(bytes);
            self.user.insert(name.to_owned(), amount);
        } else {
            self.count(DROPPED, 1);
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
            maps_given_up,
            reduces_given_up,
            runs_written,
            run_bytes_written,
            reduce_groups_in,
            reduce_pairs_in,
            reduce_records_out,
            reduce_bytes_out,
            user,
            name_bytes: _,
        } = other;
        for (mine, theirs) in [
            (&mut self.map_records_in, map_records_in),
            (&mut self.map_bytes_in, map_bytes_in),
            (&mut self.map_pairs_out, map_pairs_out),
            (&mut self.combined_pairs_out, combined_pairs_out),
            (&mut self.bad_records_skipped, bad_records_skipped),
            (&mut self.long_records_skipped, long_records_skipped),
            (&mut self.maps_given_up, maps_given_up),
            (&mut self.reduces_given_up, reduces_given_up),
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

/// What a counter takes in JSON, whatever its amount.
fn json_bytes(name: &str) -> usize {
    name.chars().map(escaped_bytes).sum::<usize>() + AMOUNT_BYTES
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
    fn what_is_more_than_a_counter_holds_is_the_most_that_it_holds() {
        let mut counters = Counters { map_pairs_out: u64::MAX - 1, ..Counters::default() };
        counters.count("mine", u64::MAX);
        counters.count("mine", 1);
        let other = Counters { map_pairs_out: 5, ..counters.clone() };
        counters.add(&other);
        assert_eq!((counters.map_pairs_out, counters.user["mine"]), (u64::MAX, u64::MAX));
    }

    #[test]
    fn names_that_a_record_has_no_room_for_are_dropped_and_the_record_is_as_small_as_it_may_be() {
        for name in ["x", "\u{1}", "\"", "\u{fffd}"] {
            let mut counters = Counters::default();
            for number in 0..MAX_USER_COUNTERS {
                counters.count(&format!("{number}{}", name.repeat(240)), u64::MAX);
            }
            counters.count("short", 7);
            let (kept, dropped) = (counters.user.len() - 1, counters.user[DROPPED]);
            assert_eq!(kept as u64 + dropped, MAX_USER_COUNTERS as u64 + 1, "{name:?}");
            let bytes = serde_json::to_vec(&counters.user).unwrap().len();
            assert!(
                (MAX_USER_COUNTER_BYTES / 2..MAX_USER_COUNTER_BYTES + 100).contains(&bytes),
                "{name:?}: {bytes}"
            );
        }
        let mut counters = Counters::default();
        (0..MAX_USER_COUNTERS).for_each(|number| counters.count(&format!("names::{number}"), 1));
        assert_eq!(counters.user.len(), MAX_USER_COUNTERS);
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

    #[test]
    fn long_names_are_dropped_when_there_is_no_room_for_them_and_short_ones_still_count() {
        let mut task = Counters::default();
        for name in 0..2_000 {
            task.count(&format!("{name:0>1003}"), 2);
        }
        let kept = task.user.len() as u64 - 1;
        assert!((508..=511).contains(&kept), "{kept}");
        assert_eq!(task.user[DROPPED], 2_000 - kept);
        task.count("short", 5);
        task.count(&format!("{:0>1003}", 3), 2);
        assert_eq!((task.user["short"], task.user[&format!("{:0>1003}", 3)]), (5, 4));
        // Two tasks of other names have no more room together than one.
        let mut other = Counters::default();
        for name in 0..2_000 {
            other.count(&format!("{name:x>1003}"), 2);
        }
        let mut job = Counters::default();
        job.add(&task);
        job.add(&other);
        let bytes: usize = job.user.keys().map(String::len).sum();
        assert!(bytes <= MAX_USER_COUNTER_BYTES + DROPPED.len(), "{bytes}");
        assert_eq!(job.user[DROPPED], task.user[DROPPED] + other.user[DROPPED] + kept);
    }
}
