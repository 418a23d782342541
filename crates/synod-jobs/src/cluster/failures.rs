//! What attempts of a task have failed on, and what of that is left out from now on.

use crate::cluster::bounds::{MAX_TASK_BYTES, bytes_of};
use crate::cluster::names::{TaskId, WorkerId};
use crate::cluster::records::{Span, TaskRecord, shortened};
use crate::quarantine::reason;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Bytes of errors that a task's record keeps of what was left out.
const MAX_SKIPPED_TEXT: usize = 64 << 10;

/// One failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptFailure {
    /// Its number.
    pub attempt: u32,
    /// Who ran it.
    pub worker: WorkerId,
    /// Name of that worker's node.
    #[serde(default)]
    pub node: String,
    /// When it ran.
    #[serde(default)]
    pub span: Span,
    /// The error, as a person should see it.
    pub message: String,
    /// Offset of the record that the map function panicked on; of a reduce the number of the group.
    pub bad_record: Option<u64>,
    /// No other attempt can do better.
    pub permanent: bool,
    /// It is no matter of this task alone: no job goes on without a task because of it.
    #[serde(default)]
    pub whole_job: bool,
    /// What else the map function panicked on, behind that record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<BadRecord>,
}

impl AttemptFailure {
    /// All that it failed on.
    fn places(&self) -> impl Iterator<Item = u64> {
        self.bad_record.into_iter().chain(self.others.iter().map(|other| other.place))
    }

    /// Without what is left out from now on; whether anything remains.
    fn retain(&mut self, left_out: &BTreeSet<u64>) -> bool {
        self.others.retain(|other| !left_out.contains(&other.place));
        match self.bad_record {
            Some(place) if left_out.contains(&place) && self.others.is_empty() => return false,
            Some(place) if left_out.contains(&place) => {
                let next = self.others.remove(0);
                self.bad_record = Some(next.place);
                if !next.error.is_empty() {
                    self.message = next.error;
                }
            }
            _ => {}
        }
        true
    }
}

/// The first of these errors, as far as there is room for their texts; of the rest the places.
pub(super) fn within_text(bad: impl Iterator<Item = (u64, String)>) -> Vec<BadRecord> {
    let mut kept = 0;
    let short = |(place, error): (u64, String)| {
        let error = if kept < MAX_SKIPPED_TEXT { reason(&error) } else { String::new() };
        kept += error.len();
        BadRecord { place, error }
    };
    bad.map(short).collect()
}

/// What two attempts of a task have failed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadRecord {
    /// Offset of the record, or number of the group.
    pub place: u64,
    /// The second failure, in short; empty if the task has left out so much that its record would get
    /// too large for the store.
    pub error: String,
}

impl TaskRecord {
    /// This task after one more failed attempt. The second failure at the same record makes it one
    /// to skip, if the job allows that, and then neither failure counts. If there is no room for it in the
    /// record any more, it is the failure that ends the job.
    pub fn failed(&self, failure: AttemptFailure, skips_allowed: bool) -> TaskRecord {
        let after = self.with(failure.clone(), skips_allowed);
        if bytes_of(&after) <= MAX_TASK_BYTES {
            return after;
        }
        let (failures, skips) = (after.failures.len(), after.skips.len());
        let message = format!(
            "its record cannot tell of more than {failures} failures and {skips} records left out; the \
             last failure: {}",
            failure.message
        );
        let last = AttemptFailure { message: shortened(&message), permanent: true, ..failure };
        let (skips, failures) = (Vec::new(), vec![last]);
        TaskRecord { skips, failures, done: None, lost: None, ..after }
    }

    fn with(&self, failure: AttemptFailure, skips_allowed: bool) -> TaskRecord {
        let mut after = self.clone();
        let seen: BTreeSet<u64> = match skips_allowed {
            true => self.failures.iter().flat_map(AttemptFailure::places).collect(),
            false => BTreeSet::new(),
        };
        let left_out: BTreeSet<u64> = failure.places().filter(|at| seen.contains(at)).collect();
        let first = failure.bad_record.map(|place| (place, failure.message.clone()));
        let others = failure.others.iter().map(|other| (other.place, other.error.clone()));
        let all = first.into_iter().chain(others).filter(|(at, _)| left_out.contains(at));
        let mut kept: usize = after.skips.iter().map(|skip| skip.error.len()).sum();
        for (place, error) in all {
            let is_room = kept < MAX_SKIPPED_TEXT;
            let error = if is_room { reason(&error) } else { String::new() };
            kept += error.len();
            after.skips.push(BadRecord { place, error });
        }
        after.failures.push(failure);
        let before = after.failures.len();
        after.failures.retain_mut(|failure| failure.retain(&left_out));
        after.forgiven = after.forgiven.saturating_add((before - after.failures.len()) as u32);
        after
    }

    /// The failure that ends the job, or the job's waiting for this task, if there is one.
    pub fn fatal_failure(&self, attempts_allowed: u32) -> Option<&AttemptFailure> {
        let last = self.failures.last()?;
        let twice = last.bad_record.is_some()
            && self.failures.iter().filter(|f| f.bad_record == last.bad_record).count() >= 2;
        (last.permanent || twice || self.failures.len() as u32 >= attempts_allowed).then_some(last)
    }
}

/// A failed task in one sentence.
pub fn sentence(task: TaskId, failure: &AttemptFailure) -> String {
    let AttemptFailure { attempt, worker, message, .. } = failure;
    format!("{message} (task {task}, attempt {attempt} on {worker})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::records::{decode, encode};

    fn failure(places: &[u64]) -> AttemptFailure {
        let error = |place: u64| format!("no {place}");
        AttemptFailure {
            attempt: 0,
            worker: "w1".parse().unwrap(),
            node: String::new(),
            span: Span::default(),
            message: places.first().map_or_else(|| "other".to_owned(), |place| error(*place)),
            bad_record: places.first().copied(),
            permanent: false,
            whole_job: false,
            others: within_text(places.iter().skip(1).map(|place| (*place, error(*place)))),
        }
    }

    fn after(failures: &[&[u64]]) -> TaskRecord {
        let failed = |task: TaskRecord, places: &&[u64]| task.failed(failure(places), true);
        failures.iter().fold(TaskRecord::default(), failed)
    }

    #[test]
    fn all_that_two_attempts_have_failed_on_is_left_out_at_once_and_they_do_not_count() {
        let skips = |task: &TaskRecord| -> Vec<(u64, String)> {
            task.skips.iter().map(|skip| (skip.place, skip.error.clone())).collect()
        };
        let no = |places: &[u64]| -> Vec<(u64, String)> {
            places.iter().map(|place| (*place, format!("no {place}"))).collect()
        };
        let task = after(&[&[3], &[3, 5, 9]]);
        assert_eq!((skips(&task), task.forgiven), (no(&[3]), 1));
        // What the second one has failed on beside it, once so far.
        assert_eq!(task.failures, [failure(&[5, 9])]);
        let task = after(&[&[3], &[3, 5, 9], &[5, 9]]);
        assert_eq!((skips(&task), task.forgiven, task.failures.len()), (no(&[3, 5, 9]), 3, 0));
        // A record that passes with another attempt is no bad one.
        let task = after(&[&[3, 4], &[4, 6]]);
        assert_eq!((skips(&task), task.forgiven), (no(&[4]), 0));
        assert_eq!(task.failures, [failure(&[3]), failure(&[6])]);
        // Failures of another kind stay.
        let task = after(&[&[], &[7], &[7], &[]]);
        assert_eq!((task.skips.len(), task.forgiven, task.failures.len()), (1, 2, 2));
    }

    #[test]
    fn a_failure_of_very_many_records_fits_their_record_and_old_ones_are_read() {
        let places: Vec<u64> = (0..crate::survey::MOST_FOUND as u64).map(|at| at << 40).collect();
        let task = after(&[&places[1..], &places, &places]);
        assert!(task.fatal_failure(9).is_none() && task.skips.len() == places.len());
        assert!(bytes_of(&task) < MAX_TASK_BYTES);
        let text: usize = task.skips.iter().map(|skip| skip.error.len()).sum();
        assert!(text < MAX_SKIPPED_TEXT + 500, "{text}");
        let old = encode(&failure(&[3])).unwrap();
        assert!(!String::from_utf8(old.clone()).unwrap().contains("others"));
        assert_eq!(decode::<AttemptFailure>(&old).unwrap(), failure(&[3]));
    }
}
