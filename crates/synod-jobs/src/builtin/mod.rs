//! The built-in jobs, each one a model of the [`Job`](crate::Job) trait, and their registry.
//!
//! A job is one file and one line in the registry below; its name, the line about it and its
//! options are declared beside the job, as [`BuiltIn`].

mod access_log;
mod field;
pub mod fieldcount;
pub mod loganalysis;
pub mod options;
pub mod sort;
pub mod wordcount;

use crate::error::JobError;
use crate::job::Job;
use crate::local::{JobSummary, run_local};
use crate::progress::Progress;
use crate::spec::JobSpec;
use options::{BuiltIn, JobInfo, Options};

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
        pub const BUILT_IN: &[JobInfo] = &[$(JobInfo::of::<$job>()),+];

        /// Finds the job that a spec names, builds it from its options and gives it to `visitor`.
        pub fn with_job<V: JobVisitor>(
            spec: &JobSpec,
            visitor: V,
        ) -> Result<V::Output, JobError> {
            $(if spec.job == <$job>::NAME {
                let job = <$job>::from_options(&Options::of::<$job>(spec)?)?;
                return Ok(visitor.visit(&job));
            })+
            Err(unknown(spec))
        }
    };
}

registry! {
    wordcount::WordCount,
    fieldcount::FieldCount,
    loganalysis::LogAnalysis,
    sort::Sort,
}

fn unknown(spec: &JobSpec) -> JobError {
    let shown = BUILT_IN.iter().filter(|job| job.is_shown).map(|job| job.name);
    JobError::UnknownJob { name: spec.job.clone(), known: shown.collect::<Vec<_>>().join(", ") }
}

/// Runs a built-in job in this process.
pub fn run_built_in(spec: &JobSpec, progress: &Progress) -> Result<JobSummary, JobError> {
    struct RunLocal<'a>(&'a JobSpec, &'a Progress);
    impl JobVisitor for RunLocal<'_> {
        type Output = Result<JobSummary, JobError>;
        fn visit<J: Job>(self, job: &J) -> Self::Output {
            run_local(self.0, job, self.1)
        }
    }
    with_job(spec, RunLocal(spec, progress))?
}
