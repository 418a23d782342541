//! Which partitions of a job each worker reduces first.
//!
//! Every worker sees the same shares in the same records, so it can fetch what it will need of map outputs
//! while maps still run, and others can leave that to it. They move when workers come or go: then some of
//! what was fetched is of no use, and nothing else is lost.

use crate::cluster::names::WorkerId;
use std::ops::Range;

/// The shares of all workers in the partitions of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares<'v> {
    /// In the order of the workers, which is that of the partitions.
    shares: Vec<(&'v WorkerId, Range<u32>)>,
}

impl<'v> Shares<'v> {
    /// Of so many partitions, for these workers in their order, each with a weight: neighbouring partitions,
    /// as many as fall to its weight. Every partition is in one share, if anybody weighs anything.
    pub(super) fn new(
        workers: impl Iterator<Item = (&'v WorkerId, u32)>,
        partitions: u32,
    ) -> Shares<'v> {
        let workers: Vec<_> = workers.collect();
        let all: u64 = workers.iter().map(|(_, weight)| u64::from(*weight)).sum();
        // No more than there are partitions.
        let cut =
            |at: u64| (u128::from(partitions) * u128::from(at) / u128::from(all.max(1))) as u32;
        let mut before = 0;
        let shares = workers.into_iter().map(|(id, weight)| {
            let start = cut(before);
            before += u64::from(weight);
            (id, start..cut(before))
        });
        Shares { shares: shares.collect() }
    }

    /// That of a worker; empty if it has none.
    pub fn of(&self, worker: &WorkerId) -> Range<u32> {
        let found = self.shares.binary_search_by_key(&worker, |(id, _)| *id);
        found.map_or(0..0, |at| self.shares[at].1.clone())
    }

    /// Whose share a partition is in.
    pub fn owner(&self, partition: u32) -> Option<&'v WorkerId> {
        let at = self.shares.partition_point(|(_, share)| share.end <= partition);
        self.shares.get(at).map(|(id, _)| *id)
    }
}
