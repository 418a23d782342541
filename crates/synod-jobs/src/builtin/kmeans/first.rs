//! The first pass of k-means: draws the centres that it begins with.

use super::point::{read, text};
use super::{K, MALFORMED, SEED};
use crate::builtin::options::{JobOption, NamedJob, Options};
use crate::emit::Emitter;
use crate::error::JobError;
use crate::job::Job;
use crate::map_input::MapInput;
use crate::record::Record;
use crate::reduce_input::{ReduceInput, Values};
use crate::sink::Sink;
use crate::task::TaskContext;
use std::collections::BTreeSet;

/// Different points with the smallest hashes, a line of numbers each: a draw that depends on the seed
/// and the points alone. A task holds `k` of them.
#[derive(Debug, Clone, Copy)]
pub struct KMeansStart {
    k: usize,
    seed: u64,
}

/// More cannot be centres: each has a number at least.
pub(super) const MAX_K: usize = 20_000;

impl NamedJob for KMeansStart {
    const NAME: &'static str = "k-means-start";
    const ABOUT: &'static str = "the first pass of k-means";
    const OPTIONS: &'static [JobOption] = &[K, SEED];
    const IS_SHOWN: bool = false;

    fn from_options(options: &Options<'_>) -> Result<Self, JobError> {
        let k = options.number(K.name, 1..=MAX_K)?;
        let k = k.ok_or_else(|| options.bad(K.name, "how many clusters"))?;
        Ok(KMeansStart { k, seed: options.number(SEED.name, 0..=u64::MAX)?.unwrap_or(0) })
    }
}

impl Job for KMeansStart {
    /// Not asked: [`KMeansStart::map_split`] reads the records.
    fn map(&self, _: Record<'_>, _: &mut Emitter<'_, Self>) {}

    fn map_split(
        &self,
        _: &TaskContext<'_>,
        input: &mut MapInput<'_>,
        out: &mut Emitter<'_, Self>,
    ) -> Result<(), JobError> {
        let mut drawn = BTreeSet::new();
        let mut point = Vec::new();
        let mut malformed = 0;
        while let Some(block) = input.next_block()? {
            for record in block.records() {
                if !read(record.bytes, &mut point) {
                    malformed += 1;
                    continue;
                }
                let hash = hash(self.seed, &point);
                let is_near = |&(last, _): &(u64, String)| hash <= last;
                if drawn.len() < self.k || drawn.last().is_some_and(is_near) {
                    drawn.insert((hash, text(&point, " ")));
                    if drawn.len() > self.k {
                        drawn.pop_last();
                    }
                }
            }
        }
        for (hash, point) in drawn {
            out.emit_joined(&[&hash.to_be_bytes(), point.as_bytes()], b"");
        }
        if malformed > 0 {
            out.count(MALFORMED, malformed);
        }
        Ok(())
    }

    /// Not asked: [`KMeansStart::reduce_partition`] reads the pairs.
    fn reduce(&self, _: &[u8], _: &mut Values<'_, Self>, _: &mut Sink) {}

    fn reduce_partition(
        &self,
        _: &TaskContext<'_>,
        input: &mut ReduceInput<'_, Self>,
        out: &mut Sink,
    ) -> Result<(), JobError> {
        let (mut last, mut count) = (Vec::new(), 0);
        while count < self.k
            && let Some((key, _)) = input.next_pair()?
        {
            if key != last {
                out.bytes(&key[size_of::<u64>()..]);
                out.end_record();
                count += 1;
                last.clear();
                last.extend_from_slice(key);
            }
        }
        Ok(())
    }
}

/// FNV-1a over the numbers, stirred at the end so that all bits count.
fn hash(seed: u64, point: &[f64]) -> u64 {
    let bytes = [seed].into_iter().chain(point.iter().map(|number| number.to_bits()));
    let hash = bytes.flat_map(u64::to_le_bytes).fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ hash >> 33
}
