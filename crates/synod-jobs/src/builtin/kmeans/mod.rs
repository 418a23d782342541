//! Clusters points by k-means (Lloyd's iteration): each pass gives every point to its nearest centre
//! and moves every centre to the mean of its points.
//!
//! A point is a line of numbers, separated by blanks or by commas. An output line is
//! `cluster<TAB>points<TAB>centre`, clusters from 0 on, how many points each has, and the numbers of
//! its centre separated by blanks. With `assign=true` it is `cluster<TAB>line` for every point in the
//! order of the input, and the centres stand beside the part files in the file `centres`. Lines that
//! are no points, or of another number of dimensions, are in the counter `malformed_lines`;
//! `iterations` tells how many passes moved the centres.
//!
//! The first centres are `k` different points drawn by `seed`, whatever the order of the input, or those
//! given as `centres=1,2;3,4`. It ends after `iterations`, or as soon as no centre moves further
//! than `epsilon`. A point as near to two centres belongs to the first. A centre without points stays
//! where it is.
//!
//! Sums are of whole numbers of 2^-48, so the order in which points are added does not matter and the
//! output is the same to the byte for any splits and threads. Therefore numbers beyond 2^40 are
//! malformed: scale them. The centres travel in the options of the passes, which bounds them to
//! some 20,000 numbers; a map task holds one sum for each.

mod centres;
mod first;
mod point;
mod rounds;

pub use centres::{KMeansAssign, KMeansCentres};
pub use first::KMeansStart;

use crate::builtin::options::{JobOption, NamedJob, Options};
use crate::builtin::passes::Passes;
use crate::emit::Emitter;
use crate::error::JobError;
use crate::job::Job;
use crate::map_input::MapInput;
use crate::record::Record;
use crate::reduce_input::Values;
use crate::sink::Sink;
use crate::spec::JobSpec;
use crate::task::TaskContext;
use point::{Centres, Sums};

/// The counter of lines that are no points of the right number of dimensions.
const MALFORMED: &str = "malformed_lines";
/// The counter of passes that moved the centres.
const ITERATIONS: &str = "iterations";

const K: JobOption = JobOption::new("k", "N", "how many clusters; needed without centres");
const SEED: JobOption = JobOption::new("seed", "N", "draws the first centres; default: 0");
const CENTRES: JobOption = JobOption::new("centres", "1,2;3,4", "the first centres");

/// One pass: the means of the points that are nearest to each centre. Named without centres it is the
/// whole iteration, for which see [`run_passes`](crate::builtin::passes::run_passes).
#[derive(Debug, Clone)]
pub struct KMeans {
    centres: Centres,
}

impl NamedJob for KMeans {
    const NAME: &'static str = "k-means";
    const ABOUT: &'static str =
        "clusters of points, a line of numbers each: cluster, points, centre";
    const OPTIONS: &'static [JobOption] = &[
        K,
        SEED,
        CENTRES,
        JobOption::new("iterations", "N", "passes at most; default: 20"),
        JobOption::new("epsilon", "X", "enough if no centre moves further; default: 0"),
        JobOption::new("assign", "true", "cluster and line of each point, centres in a file"),
    ];

    fn from_options(options: &Options<'_>) -> Result<Self, JobError> {
        Ok(KMeans { centres: Centres::from_options(options)? })
    }

    fn passes(spec: &JobSpec) -> Result<Option<Box<dyn Passes>>, JobError> {
        Ok(Some(Box::new(rounds::Rounds::new(spec)?)))
    }
}

impl Job for KMeans {
    /// Not asked: [`KMeans::map_split`] reads the records.
    fn map(&self, _: Record<'_>, _: &mut Emitter<'_, Self>) {}

    /// Sums up the points of a split, and emits a sum for each centre: also where it is none, so that
    /// every centre has a line in the output.
    fn map_split(
        &self,
        _: &TaskContext<'_>,
        input: &mut MapInput<'_>,
        out: &mut Emitter<'_, Self>,
    ) -> Result<(), JobError> {
        let mut sums = vec![Sums::none(self.centres.dimensions()); self.centres.count()];
        let mut point = Vec::new();
        let mut malformed = 0;
        while let Some(block) = input.next_block()? {
            for record in block.records() {
                if self.centres.read(record.bytes, &mut point) {
                    sums[self.centres.nearest(&point)].add(&point);
                } else {
                    malformed += 1;
                }
            }
        }
        for (cluster, sums) in (0_u32..).zip(&sums) {
            out.emit(&cluster.to_be_bytes(), &sums.encode());
        }
        if malformed > 0 {
            out.count(MALFORMED, malformed);
        }
        Ok(())
    }

    fn reduce(&self, key: &[u8], values: &mut Values<'_, Self>, out: &mut Sink) {
        let cluster = u32::from_be_bytes(key.try_into().expect("every key is four bytes"));
        let mut sums = Sums::none(self.centres.dimensions());
        while let Some(value) = values.next() {
            sums.add_encoded(value);
        }
        let mean = sums.mean();
        let centre = mean.as_deref().unwrap_or_else(|| self.centres.get(cluster as usize));
        out.decimal(cluster.into());
        out.bytes(b"\t");
        out.decimal(sums.points());
        out.bytes(b"\t");
        out.bytes(point::text(centre, " ").as_bytes());
        out.end_record();
    }
}
