//! Which splits of a local job are waiting, which are running, and what has come of the rest.
//!
//! A record that fails twice is a bad record: it is skipped if the spec allows. Splits of a failed
//! attempt are mapped again one at a time, so the next failure tells which of them it was; of a job that may
//! leave records out it tells all that the split has (`survey.rs`). A program that
//! fails on no particular record gets as many attempts as its job says. A split that fails for good ends the
//! job, or the job goes on without it, if it may.

use super::allowance::{Allowance, Tolerance};
use super::lock;
use crate::counters::Counters;
use crate::error::JobError;
use crate::map_task::Skips;
use crate::quarantine::reason;
use crate::reduce_task::ReduceOutput;
use crate::run::store::Run;
use crate::side_files::SideFile;
use crate::task::MAX_ATTEMPTS;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};

/// What an attempt has made of its splits.
#[derive(Default)]
pub(super) struct MapDone {
    /// Runs in emit order; none without reduce tasks.
    pub runs: Vec<Run>,
    /// The part file and where it is, without reduce tasks.
    pub part: Option<(ReduceOutput, PathBuf)>,
    /// Side files and the folder they are in.
    pub side: (Vec<SideFile>, PathBuf),
    /// Counts.
    pub counters: Counters,
}

/// Which splits are waiting, which are running and what has come of the rest.
pub(super) struct MapBoard<'a> {
    state: Mutex<MapState>,
    changed: Condvar,
    allowance: &'a Allowance,
    tolerance: &'a Tolerance,
    /// Attempts for a split that fails on no particular record.
    attempts: u32,
}

/// What follows from a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its splits are mapped again, or the job ends.
    AgainOrEnd,
    /// They are mapped again without the records of this split at these offsets.
    LeftOut(usize, Vec<u64>),
    /// The job goes on without one of them.
    GivenUp,
}

/// An attempt to be made.
pub(super) struct Taken {
    /// Its first split.
    pub first: usize,
    /// Whether it must have no other.
    pub alone: bool,
    /// How many there were before it, whoever made them.
    pub attempt: u32,
}

#[derive(Default)]
struct MapState {
    waiting: VecDeque<usize>,
    /// Splits of failed attempts, to be mapped one at a time.
    again: VecDeque<usize>,
    /// Attempts that run now.
    running: usize,
    /// Attempts that have begun, by their first split.
    begun: BTreeMap<usize, u32>,
    failures: BTreeMap<usize, SplitFailures>,
    skips: Skips,
    /// What attempts have made, by their first split.
    done: BTreeMap<usize, MapDone>,
    error: Option<JobError>,
}

/// What attempts of a split have failed on.
#[derive(Default)]
struct SplitFailures {
    /// Records that have failed once, by their offsets.
    once: BTreeSet<u64>,
    /// Failed attempts that nothing was left out for.
    open: u32,
    /// Those that are paid for by what was left out, two at a time.
    paid: u32,
}

impl SplitFailures {
    /// An attempt has failed on these; those that had failed before.
    fn note(&mut self, bad: Vec<(u64, JobError)>) -> Vec<(u64, JobError)> {
        self.open += 1;
        bad.into_iter().filter(|(offset, _)| !self.once.insert(*offset)).collect()
    }

    fn pay(&mut self) {
        let paid = self.open.min(2);
        self.open -= paid;
        self.paid += paid;
    }
}

impl<'a> MapBoard<'a> {
    pub(super) fn new(
        splits: impl Iterator<Item = usize>,
        allowance: &'a Allowance,
        tolerance: &'a Tolerance,
        attempts: u32,
    ) -> MapBoard<'a> {
        let state = MapState { waiting: splits.collect(), ..MapState::default() };
        MapBoard {
            state: Mutex::new(state),
            changed: Condvar::new(),
            allowance,
            tolerance,
            attempts,
        }
    }

    /// A new attempt. Waits while others may still fail and leave work.
    pub(super) fn take(&self) -> Option<Taken> {
        let mut state = lock(&self.state);
        loop {
            if state.error.is_some() {
                return None;
            }
            let taken = match state.again.pop_front() {
                Some(split) => Some((split, true)),
                None => state.waiting.pop_front().map(|split| (split, false)),
            };
            if let Some((first, alone)) = taken {
                state.running += 1;
                let begun = state.begun.entry(first).or_insert(0);
                *begun += 1;
                return Some(Taken { first, alone, attempt: *begun - 1 });
            }
            if state.running == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// One more split for a running attempt.
    pub(super) fn take_more(&self) -> Option<usize> {
        let mut state = lock(&self.state);
        if state.error.is_some() { None } else { state.waiting.pop_front() }
    }

    pub(super) fn skips(&self) -> Skips {
        lock(&self.state).skips.clone()
    }

    /// An attempt has succeeded whose first split this is.
    pub(super) fn done(&self, first: usize, done: MapDone) {
        let mut state = lock(&self.state);
        state.done.insert(first, done);
        state.running -= 1;
        self.changed.notify_all();
    }

    /// An attempt has failed.
    pub(super) fn failed(&self, splits: Vec<usize>, error: JobError) -> Outcome {
        let mut state = lock(&self.state);
        state.running -= 1;
        self.changed.notify_all();
        if let Some((split, bad)) = bad_records(&error, &splits) {
            // From now on record by record, whether any is known to be bad or not.
            state.skips.entry(split).or_default();
            let failures = state.failures.entry(split).or_default();
            let twice = failures.note(bad);
            // A function that fails elsewhere every time is not a matter of bad records.
            if failures.open >= MAX_ATTEMPTS {
                return self.give_up(&mut state, splits, Some(split), error);
            }
            if twice.is_empty() {
                state.again.extend(splits);
                return Outcome::AgainOrEnd;
            }
            failures.pay();
            let mut left_out = Vec::with_capacity(twice.len());
            for (offset, error) in twice {
                if !self.allowance.take() {
                    let error = self.allowance.exceeded(error);
                    return self.give_up(&mut state, splits, Some(split), error);
                }
                let skips = state.skips.entry(split).or_default();
                skips.insert(offset, reason(&error.to_string()));
                left_out.push(offset);
            }
            state.again.extend(splits);
            return Outcome::LeftOut(split, left_out);
        }
        let tries = splits.first().and_then(|first| {
            // Those that a record was left out for are paid for.
            let paid = state.failures.get(first).map_or(0, |failures| failures.paid);
            Some(state.begun.get(first)?.saturating_sub(paid))
        });
        let may_pass = matches!(
            error,
            JobError::Task { permanent: false, bad_record: None, .. }
                | JobError::NotStarted { permanent: false, .. }
        );
        if may_pass && tries.is_some_and(|tries| tries < self.attempts) {
            state.again.extend(splits);
            return Outcome::AgainOrEnd;
        }
        self.give_up(&mut state, splits, None, error)
    }

    /// A split has failed for good: `at_fault`, if it is known which.
    fn give_up(
        &self,
        state: &mut MapState,
        splits: Vec<usize>,
        at_fault: Option<usize>,
        error: JobError,
    ) -> Outcome {
        let at_fault = match splits[..] {
            [only] => Some(only),
            _ => at_fault,
        };
        match at_fault {
            // Each is mapped alone, which shows what it was.
            None if self.tolerance.cover(&error) => {
                state.again.extend(splits);
                Outcome::AgainOrEnd
            }
            None => {
                state.error.get_or_insert(error);
                Outcome::AgainOrEnd
            }
            Some(split) => match self.tolerance.give_up(split as u32, error) {
                Ok(()) => {
                    state.again.extend(splits.into_iter().filter(|other| *other != split));
                    Outcome::GivenUp
                }
                Err(error) => {
                    state.error.get_or_insert(error);
                    Outcome::AgainOrEnd
                }
            },
        }
    }

    /// What all attempts have made, in the order of their splits.
    pub(super) fn finish(self) -> Result<Vec<MapDone>, JobError> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        match state.error {
            Some(error) => Err(error),
            None => Ok(state.done.into_values().collect()),
        }
    }
}

/// The split and the records that an attempt has failed on, by their offsets, with the error of each.
fn bad_records(error: &JobError, splits: &[usize]) -> Option<(usize, Vec<(u64, JobError)>)> {
    let (split, offset) = bad_record(error, splits)?;
    match error {
        JobError::Task { message, permanent, bad_record } => {
            let (message, permanent, bad_record) = (message.clone(), *permanent, *bad_record);
            Some((split, vec![(offset, JobError::Task { message, permanent, bad_record })]))
        }
        error => Some((split, error.each_panic())),
    }
}

/// The split and the offset of the first record that an attempt has failed on.
pub(super) fn bad_record(error: &JobError, splits: &[usize]) -> Option<(usize, u64)> {
    match error {
        JobError::MapPanicked { split, offset, .. } => Some((*split, *offset)),
        JobError::Task { bad_record: Some(offset), .. } => Some((*splits.first()?, *offset)),
        _ => None,
    }
}
