//! The pairs of one partition in their order, as a reduce task gets them: one by one, or by groups.
//!
//! Values stream through, so one key with all the pairs of a job runs in constant memory. Each pair is a
//! move of the task, and a look at the cancel switch: nobody knows how long a reduce function takes for one.

use crate::counters::Counters;
use crate::error::JobError;
use crate::job::Job;
use crate::merge::Merge;
use crate::progress::Progress;
use crate::quarantine::{BAD_GROUPS, Bad, LeftOut, Quarantine};
use crate::run::RunSource;
use crate::sink::Sink;
use crate::task::TaskContext;

/// Groups between two looks at the sink.
const GROUPS_PER_CHECK: u64 = 1_024;

/// Key and value of a pair.
pub type KeyValue<'p> = (&'p [u8], &'p [u8]);

/// All pairs of a partition, keys ascending, those of equal keys by map task and emit sequence.
pub struct ReduceInput<'m, J> {
    merge: Merge,
    job: &'m J,
    progress: &'m Progress,
    /// The key of the group that is being reduced.
    pub(crate) group: Vec<u8>,
    /// Its number in the partition, from 0.
    pub(crate) number: u64,
    pub(crate) counters: Counters,
    /// Groups to leave out, and where they are kept.
    bad: Option<(&'m LeftOut, Quarantine<'m>)>,
    /// Whether the group is left out.
    passing: bool,
    /// Whether the merge stands on a pair that was given.
    given: bool,
}

impl<'m, J: Job> ReduceInput<'m, J> {
    pub(crate) fn new(
        job: &'m J,
        progress: &'m Progress,
        sources: Vec<Box<dyn RunSource>>,
    ) -> Result<ReduceInput<'m, J>, JobError> {
        let merge = Merge::new(sources)?;
        let (group, counters) = (Vec::new(), Counters::default());
        let (number, bad, passing, given) = (0, None, false, false);
        Ok(ReduceInput { merge, job, progress, group, number, counters, bad, passing, given })
    }

    /// Leaves out these groups of the task's partition.
    pub(crate) fn leave_out(&mut self, task: &'m TaskContext<'m>, skips: &'m LeftOut) {
        self.bad = (!skips.is_empty()).then(|| (skips, Quarantine::new(task, task.number)));
    }

    /// The next pair, whatever its group. It is gone at the next call.
    #[inline]
    pub fn next_pair(&mut self) -> Result<Option<KeyValue<'_>>, JobError> {
        Ok(self.next_numbered()?.map(|(_, pair)| pair))
    }

    /// The next pair behind the number of its group among all of the partition.
    #[inline]
    pub(crate) fn next_numbered(&mut self) -> Result<Option<(u64, KeyValue<'_>)>, JobError> {
        loop {
            if self.given {
                self.merge.advance()?;
            }
            self.given = true;
            let Some((key, _)) = self.merge.head() else { return Ok(None) };
            if self.counters.reduce_pairs_in == 0 || self.job.group(key) != self.group {
                self.number = self.counters.reduce_groups_in;
                self.counters.reduce_groups_in += 1;
                self.group.clear();
                self.group.extend_from_slice(self.job.group(key));
                if let Some(bad) = &mut self.bad {
                    self.passing = is_bad(bad, self.number, &self.group, &mut self.counters)?;
                }
            }
            self.counters.reduce_pairs_in += 1;
            self.progress.small_step()?;
            if !self.passing {
                let number = self.number;
                return Ok(self.merge.head().map(|pair| (number, pair)));
            }
        }
    }

    /// Gives every group to [`Job::reduce`].
    pub fn reduce_groups(&mut self, out: &mut Sink) -> Result<(), JobError> {
        let (job, progress) = (self.job, self.progress);
        let ReduceInput { merge, group, number, counters, bad, .. } = self;
        while let Some((key, _)) = merge.head() {
            group.clear();
            group.extend_from_slice(job.group(key));
            *number = counters.reduce_groups_in;
            let passing = match bad {
                Some(bad) => is_bad(bad, *number, group, counters)?,
                None => false,
            };
            let state = State::Fresh;
            let mut values = Values { merge, job, progress, group, state, failure: None, pairs: 0 };
            if !passing {
                job.reduce(group, &mut values, out);
            }
            while values.advance() {}
            counters.reduce_pairs_in += values.pairs;
            if let Some(failure) = values.failure {
                return Err(failure);
            }
            counters.reduce_groups_in += 1;
            if counters.reduce_groups_in.is_multiple_of(GROUPS_PER_CHECK) {
                out.check()?;
            }
        }
        Ok(())
    }
}

/// Whether a group is to be left out. Then it is kept.
fn is_bad(
    (skips, quarantine): &mut (&LeftOut, Quarantine<'_>),
    number: u64,
    group: &[u8],
    counters: &mut Counters,
) -> Result<bool, JobError> {
    let Some(error) = skips.get(&number) else { return Ok(false) };
    quarantine.keep(&Bad { file: None, place: number, error, bytes: &[group] })?;
    counters.count(BAD_GROUPS, 1);
    Ok(true)
}

/// The pairs of one group, in order of their keys, then of map task and emit sequence.
pub struct Values<'m, J> {
    merge: &'m mut Merge,
    job: &'m J,
    progress: &'m Progress,
    group: &'m [u8],
    state: State,
    failure: Option<JobError>,
    pairs: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The merge stands on the first pair, which nobody has seen.
    Fresh,
    /// The merge stands on the pair that was given last.
    Given,
    /// The merge stands behind the group.
    Ended,
}

impl<J: Job> Values<'_, J> {
    /// The next value. It is gone at the next call.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend its items")]
    pub fn next(&mut self) -> Option<&[u8]> {
        if self.advance() { self.merge.head().map(|(_, value)| value) } else { None }
    }

    /// The next pair, with its whole key.
    #[inline]
    pub fn next_pair(&mut self) -> Option<(&[u8], &[u8])> {
        if self.advance() { self.merge.head() } else { None }
    }

    /// Moves to the next pair of the group.
    #[inline]
    fn advance(&mut self) -> bool {
        match self.state {
            State::Ended => return false,
            State::Fresh => self.state = State::Given,
            State::Given => {
                let moved = self.merge.advance();
                if let Err(failure) = moved.and_then(|()| self.progress.small_step()) {
                    self.failure = Some(failure);
                    self.state = State::Ended;
                    return false;
                }
                let same = |(key, _)| self.job.group(key) == self.group;
                if !self.merge.head().is_some_and(same) {
                    self.state = State::Ended;
                    return false;
                }
            }
        }
        self.pairs += 1;
        true
    }
}
