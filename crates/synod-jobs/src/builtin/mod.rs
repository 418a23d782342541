//! The built-in jobs, each one a model of the [`Job`](crate::Job) trait, and their names.

mod access_log;
pub mod loganalysis;
pub mod sort;
pub mod wordcount;

use crate::error::JobError;
use crate::job::Job;
use crate::local::{JobSummary, run_local};
use crate::progress::Progress;
use crate::spec::JobSpec;
use loganalysis::LogAnalysis;
use sort::Sort;
use wordcount::WordCount;

/// Names of the built-in jobs with a line about each.
pub const BUILT_IN: [(&str, &str); 3] = [
    (WordCount::NAME, "how often each word occurs: word, count"),
    (LogAnalysis::NAME, "per client address of a log: requests, bytes, distinct URLs, first, last"),
    (Sort::NAME, "lines in bytewise order over all part files"),
];

/// Something to do with a job whose type is known only by its name.
pub trait JobVisitor {
    /// What comes of it.
    type Output;
    /// Does it.
    fn visit<J: Job>(self, job: &J) -> Self::Output;
}

/// Finds the job that a spec names, hands it its options and gives it to `visitor`.
pub fn with_job<V: JobVisitor>(spec: &JobSpec, visitor: V) -> Result<V::Output, JobError> {
    if BUILT_IN.iter().all(|(name, _)| *name != spec.job) {
        let known = BUILT_IN.map(|(name, _)| name).join(", ");
        return Err(JobError::UnknownJob { name: spec.job.clone(), known });
    }
    if let Some(option) = spec.options.keys().next() {
        let what = format!("job `{}` has no option `{option}`", spec.job);
        return Err(JobError::BadSpec { what });
    }
    Ok(match spec.job.as_str() {
        WordCount::NAME => visitor.visit(&WordCount),
        LogAnalysis::NAME => visitor.visit(&LogAnalysis),
        _ => visitor.visit(&Sort),
    })
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
