//! The built-in jobs, each one a model of the [`Job`](crate::Job) trait, and their registry.
//!
//! A job is one file and one line in the registry below; its name, the line about it and its
//! options are declared beside the job, as [`NamedJob`]. What a program knows beside them is in
//! `jobs.rs`. Some jobs take several passes over the
//! input or over what a pass before has written: `passes.rs`.

mod access_log;
pub mod distinct;
pub mod field;
pub mod fieldcount;
pub mod grep;
pub mod inverted_index;
pub mod join;
pub mod kmeans;
pub mod loganalysis;
pub mod options;
pub mod passes;
pub mod sort;
mod sums;
pub mod top_k;
pub mod wordcount;

use crate::cluster::sent::OwnFile;
use crate::error::JobError;
use crate::job::Job;
use crate::jobs::Jobs;
use crate::local::{JobSummary, LocalOptions};
use crate::progress::Progress;
use crate::spec::JobSpec;
use options::{JobInfo, NamedJob, Options};
use passes::Passes;

/// Something to do with a job whose type is known only by its name.
pub trait JobVisitor {
    /// What comes of it.
    type Output;
    /// Does it.
    fn visit<J: Job>(self, job: &J) -> Self::Output;
}

macro_rules! registry {
    ($($job:ty,)+) => {
        /// The built-in jobs and what they say of themselves.
        pub const BUILT_IN: &[JobInfo] = &[
            $(JobInfo::of::<$job>(),)+
            #[cfg(feature = "wasm")]
            JobInfo::of::<crate::wasm::Wasm<false>>(),
        ];

        /// Finds the job that a spec names, builds it from its options and gives it to `visitor`. To build
        /// it may take long, where a module has to be compiled: that ends when `progress` is cancelled.
        pub fn with_job<V: JobVisitor>(
            spec: &JobSpec,
            progress: &Progress,
            visitor: V,
        ) -> Result<V::Output, JobError> {
            $(if spec.job == <$job>::NAME {
                let job = <$job>::from_options(&Options::of::<$job>(spec)?)?;
                return Ok(visitor.visit(&job));
            })+
            #[cfg(not(feature = "wasm"))]
            let _ = progress;
            // The type of this one depends on its module.
            #[cfg(feature = "wasm")]
            if spec.job == WASM {
                return crate::wasm::with_wasm_job(spec, progress, visitor);
            }
            Err(unknown(spec))
        }

        /// The files beside its inputs that the job that a spec names needs where it runs, but for
        /// those that all nodes see.
        pub(crate) fn own_files(spec: &JobSpec) -> Result<Vec<OwnFile>, JobError> {
            $(if spec.job == <$job>::NAME {
                return <$job>::own_files(spec);
            })+
            #[cfg(feature = "wasm")]
            if spec.job == WASM {
                return crate::wasm::Wasm::<false>::own_files(spec);
            }
            Err(unknown(spec))
        }

        /// Fills in what the job that a spec names needs, and tells its passes if it has several.
        pub(crate) fn prepare(
            spec: &mut JobSpec,
            progress: &Progress,
        ) -> Result<Option<Box<dyn Passes>>, JobError> {
            $(if spec.job == <$job>::NAME {
                Options::of::<$job>(spec)?;
                <$job>::prepare(spec)?;
                return <$job>::passes(spec);
            })+
            #[cfg(not(feature = "wasm"))]
            let _ = progress;
            #[cfg(feature = "wasm")]
            if spec.job == WASM {
                crate::wasm::prepare_wasm_job(spec, progress)?;
                return Ok(None);
            }
            Err(unknown(spec))
        }
    };
}

registry! {
    wordcount::WordCount,
    fieldcount::FieldCount,
    grep::Grep,
    loganalysis::LogAnalysis,
    sort::Sort,
    distinct::Distinct,
    top_k::TopK,
    top_k::TopKMerge,
    inverted_index::InvertedIndex,
    join::Join,
    kmeans::KMeans,
    kmeans::KMeansStart,
    kmeans::KMeansCentres,
    kmeans::KMeansAssign,
    crate::streaming::Streaming,
}

/// Name of the job whose functions are those of a WebAssembly module.
pub(crate) const WASM: &str = "wasm";

/// Whether the job cannot even be planned without the files that come with it.
pub fn is_planned_with_its_files(spec: &JobSpec) -> bool {
    spec.job == WASM
}

fn unknown(spec: &JobSpec) -> JobError {
    if spec.job == WASM {
        let what = "this program was built without WebAssembly: build it with --features wasm";
        return JobError::BadSpec { what: what.to_owned() };
    }
    let shown = BUILT_IN.iter().filter(|job| job.is_shown).map(|job| job.name);
    JobError::UnknownJob { name: spec.job.clone(), known: shown.collect::<Vec<_>>().join(", ") }
}

/// Runs a built-in job in this process, over files.
pub fn run_built_in(spec: &JobSpec, progress: &Progress) -> Result<JobSummary, JobError> {
    Jobs::built_in().run_local(spec, progress)
}

/// Runs a built-in job in this process.
pub fn run_built_in_with(
    spec: &JobSpec,
    progress: &Progress,
    options: &LocalOptions<'_>,
) -> Result<JobSummary, JobError> {
    Jobs::built_in().run_local_with(spec, progress, options)
}
