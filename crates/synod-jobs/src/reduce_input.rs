//! The pairs of one partition in their order, as a reduce task gets them: one by one, or by groups.
//!
//! Values stream through, so one key with all the pairs of a job runs in constant memory.

use crate::counters::Counters;
use crate::error::JobError;
use crate::job::Job;
use crate::merge::Merge;
use crate::progress::Progress;
use crate::run::RunSource;
use crate::sink::Sink;

/// Groups between two looks at the sink and the cancel switch.
const GROUPS_PER_CHECK: u64 = 1_024;
/// Pairs between two looks at the cancel switch.
const PAIRS_PER_CHECK: u64 = 1 << 16;

/// Key and value of a pair.
pub type KeyValue<'p> = (&'p [u8], &'p [u8]);

/// All pairs of a partition, keys ascending, those of equal keys by map task and emit sequence.
pub struct ReduceInput<'m, J> {
    merge: Merge,
    job: &'m J,
    progress: &'m Progress,
    /// The key of the group that is being reduced.
    pub(crate) group: Vec<u8>,
    pub(crate) counters: Counters,
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
        Ok(ReduceInput { merge, job, progress, group, counters, given: false })
    }

    /// The next pair, whatever its group. It is gone at the next call.
    #[inline]
    pub fn next_pair(&mut self) -> Result<Option<KeyValue<'_>>, JobError> {
        if self.given {
            self.merge.advance()?;
        }
        self.given = true;
        let Some((key, _)) = self.merge.head() else { return Ok(None) };
        if self.counters.reduce_pairs_in == 0 || self.job.group(key) != self.group {
            self.counters.reduce_groups_in += 1;
            self.group.clear();
            self.group.extend_from_slice(self.job.group(key));
        }
        self.counters.reduce_pairs_in += 1;
        if self.counters.reduce_pairs_in.is_multiple_of(PAIRS_PER_CHECK) {
            self.progress.check_cancelled()?;
        }
        Ok(self.merge.head())
    }

    /// Gives every group to [`Job::reduce`].
    pub fn reduce_groups(&mut self, out: &mut Sink) -> Result<(), JobError> {
        let (job, progress) = (self.job, self.progress);
        let ReduceInput { merge, group, counters, .. } = self;
        while let Some((key, _)) = merge.head() {
            group.clear();
            group.extend_from_slice(job.group(key));
            let state = State::Fresh;
            let mut values = Values { merge, job, progress, group, state, failure: None, pairs: 0 };
            job.reduce(group, &mut values, out);
            while values.advance() {}
            counters.reduce_pairs_in += values.pairs;
            if let Some(failure) = values.failure {
                return Err(failure);
            }
            counters.reduce_groups_in += 1;
            if counters.reduce_groups_in.is_multiple_of(GROUPS_PER_CHECK) {
                out.check()?;
                progress.check_cancelled()?;
            }
        }
        Ok(())
    }
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
                let mut moved = self.merge.advance();
                if moved.is_ok() && self.pairs.is_multiple_of(PAIRS_PER_CHECK) {
                    moved = self.progress.check_cancelled();
                }
                if let Err(failure) = moved {
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
