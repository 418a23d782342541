//! The last pass of k-means: writes the centres, or which of them each point belongs to.

use super::point::{Centres, text};
use super::{CENTRES, ITERATIONS, MALFORMED};
use crate::builtin::options::{JobOption, NamedJob, Options};
use crate::emit::Emitter;
use crate::error::JobError;
use crate::job::Job;
use crate::map_input::MapInput;
use crate::record::Record;
use crate::reduce_input::{ReduceInput, Values};
use crate::sink::Sink;
use crate::task::TaskContext;

const DONE: JobOption = JobOption::new(ITERATIONS, "N", "how many passes there were");

fn done(options: &Options<'_>) -> Result<u64, JobError> {
    Ok(options.number(DONE.name, 0..=u64::MAX)?.unwrap_or(0))
}

/// The lines of the pass before in the order of their clusters.
#[derive(Debug, Clone, Copy)]
pub struct KMeansCentres {
    iterations: u64,
}

impl NamedJob for KMeansCentres {
    const NAME: &'static str = "k-means-centres";
    const ABOUT: &'static str = "the last pass of k-means";
    const OPTIONS: &'static [JobOption] = &[DONE];
    const IS_SHOWN: bool = false;

    fn from_options(options: &Options<'_>) -> Result<Self, JobError> {
        Ok(KMeansCentres { iterations: done(options)? })
    }
}

impl Job for KMeansCentres {
    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        let digits = record.bytes.split(|&byte| byte == b'\t').next().unwrap_or_default();
        // Longer numbers are larger ones.
        out.emit_joined(&[&[digits.len() as u8], digits], record.bytes);
    }

    fn reduce(&self, _: &[u8], lines: &mut Values<'_, Self>, out: &mut Sink) {
        while let Some(line) = lines.next() {
            out.bytes(line);
            out.end_record();
        }
    }

    fn reduce_partition(
        &self,
        _: &TaskContext<'_>,
        input: &mut ReduceInput<'_, Self>,
        out: &mut Sink,
    ) -> Result<(), JobError> {
        out.count(ITERATIONS, self.iterations);
        input.reduce_groups(out)
    }
}

/// Cluster and line of each point, without reduce tasks; the first task writes the centres to a
/// file beside the part files.
#[derive(Debug, Clone)]
pub struct KMeansAssign {
    centres: Centres,
    iterations: u64,
}

impl NamedJob for KMeansAssign {
    const NAME: &'static str = "k-means-assign";
    const ABOUT: &'static str = "the last pass of k-means with assign=true";
    const OPTIONS: &'static [JobOption] = &[CENTRES, DONE];
    const IS_SHOWN: bool = false;

    fn from_options(options: &Options<'_>) -> Result<Self, JobError> {
        Ok(KMeansAssign { centres: Centres::from_options(options)?, iterations: done(options)? })
    }
}

impl Job for KMeansAssign {
    const WRITES_PAIRS: bool = true;

    /// Not asked: [`KMeansAssign::map_split`] reads the records.
    fn map(&self, _: Record<'_>, _: &mut Emitter<'_, Self>) {}

    fn map_split(
        &self,
        task: &TaskContext<'_>,
        input: &mut MapInput<'_>,
        out: &mut Emitter<'_, Self>,
    ) -> Result<(), JobError> {
        if task.number == 0 {
            out.count(ITERATIONS, self.iterations);
            let path = task.side_folder()?.join("centres");
            let line = |(cluster, centre)| format!("{cluster}\t{}\n", text(centre, " "));
            let lines: String = self.centres.each().enumerate().map(line).collect();
            std::fs::write(&path, lines).map_err(|error| JobError::io("write", &path, error))?;
        }
        let mut point = Vec::new();
        let mut malformed = 0;
        while let Some(block) = input.next_block()? {
            for record in block.records() {
                if self.centres.read(record.bytes, &mut point) {
                    let cluster = self.centres.nearest(&point).to_string();
                    out.emit(cluster.as_bytes(), record.bytes);
                } else {
                    malformed += 1;
                }
            }
        }
        if malformed > 0 {
            out.count(MALFORMED, malformed);
        }
        Ok(())
    }

    /// Not asked: there are no reduce tasks.
    fn reduce(&self, _: &[u8], _: &mut Values<'_, Self>, _: &mut Sink) {}
}
