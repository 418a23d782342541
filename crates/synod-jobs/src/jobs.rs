//! The jobs that a program knows: the built-in ones, and its own.
//!
//! On a cluster a job is no more than a name and settings in a record, and whoever takes part must
//! have the code behind the name. A value of [`Jobs`] holds that; workers, nodes and submissions are
//! given one, and there is none behind their backs. What is done with a job as a whole (to check it, to
//! plan it, an attempt of one of its tasks, a local run) is one dynamic call. All within that is made
//! for the type of the job, so a job of one's own runs as fast as a built-in one. The built-in jobs are
//! in `builtin/`.

use crate::builtin::options::{JobInfo, NamedJob, Options};
use crate::builtin::passes::{Passes, run_passes_of};
use crate::builtin::{BUILT_IN, JobVisitor, WASM, own_files, prepare, with_job};
use crate::cluster::attempt::{AttemptError, RunAttempt};
use crate::cluster::records::TaskOutput;
use crate::cluster::sent::OwnFile;
use crate::error::JobError;
use crate::job::Job;
use crate::local::{JobSummary, LocalOptions, run_local_with};
use crate::plan::{JobPlan, plan_for_records};
use crate::progress::Progress;
use crate::spec::JobSpec;
use crate::stores::Stores;
use crate::task::{Attempts, NoLog};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// The jobs that a program knows, by their names: every built-in one, and its own.
///
/// On a cluster all workers that take tasks of a job of one's own must be the same program, which is
/// told by the checksum of its file; workers of other programs leave such a job alone.
#[derive(Clone, Default)]
pub struct Jobs {
    own: Arc<BTreeMap<&'static str, Arc<dyn Known>>>,
}

/// A plan, and what the coordinator must know of the job beside it.
#[derive(Debug)]
pub struct PlannedJob {
    /// The plan.
    pub plan: JobPlan,
    /// See [`Job::RUNS_COMMANDS`].
    pub runs_commands: bool,
    /// See [`Job::attempts_on_cluster`].
    pub attempts: Attempts,
}

impl Jobs {
    /// The built-in jobs, no others.
    pub fn built_in() -> Jobs {
        Jobs::default()
    }

    /// These and `J`. A name that is taken, or empty, is refused.
    pub fn with<J: NamedJob + 'static>(mut self) -> Result<Jobs, JobError> {
        let name = J::NAME;
        let why = match () {
            () if name.is_empty() => "a job needs a name: this one's is empty".to_owned(),
            () if is_built_in(name) => {
                format!("a built-in job is called `{name}`: take another name")
            }
            () if self.own.contains_key(name) => {
                format!("another job of this program is called `{name}` already")
            }
            () => {
                Arc::make_mut(&mut self.own).insert(name, Arc::new(Of::<J>(PhantomData)));
                return Ok(self);
            }
        };
        Err(JobError::BadSpec { what: why })
    }

    /// What the program's own jobs say of themselves; [`BUILT_IN`] is what the others say.
    pub fn own(&self) -> impl Iterator<Item = JobInfo> {
        self.own.values().map(|job| job.info())
    }

    /// Whether a spec names a job of the program's own.
    pub fn is_own(&self, spec: &JobSpec) -> bool {
        self.own.contains_key(spec.job.as_str())
    }

    /// Whether a spec names a job at all that this program knows.
    pub fn is_known(&self, spec: &JobSpec) -> bool {
        self.is_own(spec) || is_built_in(&spec.job)
    }

    /// Builds the job that a spec names: finds unknown names, and settings that it cannot use.
    pub fn check(&self, spec: &JobSpec) -> Result<(), JobError> {
        struct Check;
        impl JobVisitor for Check {
            type Output = ();
            fn visit<J: Job>(self, _: &J) {}
        }
        match self.own.get(spec.job.as_str()) {
            Some(own) => own.check(spec),
            None => self.with_built_in(spec, &Progress::new(), Check),
        }
    }

    /// Freezes and splits the inputs of a job for the records of a cluster, see [`plan`](crate::plan::plan).
    pub fn plan(
        &self,
        spec: &JobSpec,
        slots: u32,
        stores: &Stores,
        progress: &Progress,
    ) -> Result<PlannedJob, JobError> {
        let make = MakePlan { spec, slots, stores, progress };
        match self.own.get(spec.job.as_str()) {
            Some(own) => own.plan(make),
            None => self.with_built_in(spec, progress, make)?,
        }
    }

    /// Runs a job in this process, over files.
    pub fn run_local(&self, spec: &JobSpec, progress: &Progress) -> Result<JobSummary, JobError> {
        let options = LocalOptions { stores: &Stores::local(), log: &NoLog, only_maps: None };
        self.run_local_with(spec, progress, &options)
    }

    /// Runs a job in this process.
    pub fn run_local_with(
        &self,
        spec: &JobSpec,
        progress: &Progress,
        options: &LocalOptions<'_>,
    ) -> Result<JobSummary, JobError> {
        self.run_passes(spec, progress, |spec| {
            // What another pass has counted is not this one's.
            progress.show(&Progress::new().snapshot());
            let run = RunLocal { spec, progress, options };
            match self.own.get(spec.job.as_str()) {
                Some(own) => own.run_local(run),
                None => self.with_built_in(spec, progress, run)?,
            }
        })
    }

    /// Runs a job, one pass after the other if it takes several, with `run` for each. `run` gets specs
    /// in which nothing is left open that the job needs. To find that out may take long, where a module
    /// has to be compiled: that ends when `progress` is cancelled.
    pub fn run_passes<E: From<JobError>>(
        &self,
        spec: &JobSpec,
        progress: &Progress,
        run: impl FnMut(&JobSpec) -> Result<JobSummary, E>,
    ) -> Result<JobSummary, E> {
        run_passes_of(self, spec, progress, run)
    }

    /// Fills in what the job that a spec names needs, and tells its passes if it has several.
    pub(crate) fn prepare(
        &self,
        spec: &mut JobSpec,
        progress: &Progress,
    ) -> Result<Option<Box<dyn Passes>>, JobError> {
        match self.own.get(spec.job.as_str()) {
            Some(own) => own.prepare(spec),
            None => prepare(spec, progress).map_err(|error| self.naming_own(error)),
        }
    }

    /// The files beside its inputs that a job needs where it runs, see [`NamedJob::own_files`].
    pub fn own_files(&self, spec: &JobSpec) -> Result<Vec<OwnFile>, JobError> {
        match self.own.get(spec.job.as_str()) {
            Some(own) => own.own_files(spec),
            None => own_files(spec).map_err(|error| self.naming_own(error)),
        }
    }

    pub(crate) fn run_attempt(
        &self,
        spec: &JobSpec,
        run: RunAttempt<'_, '_>,
    ) -> Result<TaskOutput, AttemptError> {
        match self.own.get(spec.job.as_str()) {
            Some(own) => own.run_attempt(spec, run),
            None => self.with_built_in(spec, run.progress(), run)?,
        }
    }

    fn with_built_in<V: JobVisitor>(
        &self,
        spec: &JobSpec,
        progress: &Progress,
        visitor: V,
    ) -> Result<V::Output, JobError> {
        with_job(spec, progress, visitor).map_err(|error| self.naming_own(error))
    }

    /// Who mistypes a name sees all of them.
    fn naming_own(&self, error: JobError) -> JobError {
        match error {
            JobError::UnknownJob { name, known } if !self.own.is_empty() => {
                let shown = self.own().filter(|job| job.is_shown).map(|job| job.name);
                let own = shown.collect::<Vec<_>>().join(", ");
                let known = format!("{known}, and this program's own {own}");
                JobError::UnknownJob { name, known }
            }
            error => error,
        }
    }
}

fn is_built_in(name: &str) -> bool {
    name == WASM || BUILT_IN.iter().any(|job| job.name == name)
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").field("own", &self.own.keys()).finish()
    }
}

/// What is done with a job of the program's own as a whole.
trait Known: Send + Sync {
    fn info(&self) -> JobInfo;
    fn own_files(&self, spec: &JobSpec) -> Result<Vec<OwnFile>, JobError>;
    fn prepare(&self, spec: &mut JobSpec) -> Result<Option<Box<dyn Passes>>, JobError>;
    fn check(&self, spec: &JobSpec) -> Result<(), JobError>;
    fn plan(&self, make: MakePlan<'_>) -> Result<PlannedJob, JobError>;
    fn run_local(&self, run: RunLocal<'_>) -> Result<JobSummary, JobError>;
    fn run_attempt(
        &self,
        spec: &JobSpec,
        run: RunAttempt<'_, '_>,
    ) -> Result<TaskOutput, AttemptError>;
}

/// The job of this type, built anew for whatever is done with it.
struct Of<J>(PhantomData<fn() -> J>);

impl<J: NamedJob> Of<J> {
    fn build(spec: &JobSpec) -> Result<J, JobError> {
        J::from_options(&Options::of::<J>(spec)?)
    }
}

impl<J: NamedJob> Known for Of<J> {
    fn info(&self) -> JobInfo {
        JobInfo::of::<J>()
    }

    fn own_files(&self, spec: &JobSpec) -> Result<Vec<OwnFile>, JobError> {
        J::own_files(spec)
    }

    fn prepare(&self, spec: &mut JobSpec) -> Result<Option<Box<dyn Passes>>, JobError> {
        Options::of::<J>(spec)?;
        J::prepare(spec)?;
        J::passes(spec)
    }

    fn check(&self, spec: &JobSpec) -> Result<(), JobError> {
        Self::build(spec).map(drop)
    }

    fn plan(&self, make: MakePlan<'_>) -> Result<PlannedJob, JobError> {
        let job = Self::build(make.spec)?;
        make.visit(&job)
    }

    fn run_local(&self, run: RunLocal<'_>) -> Result<JobSummary, JobError> {
        let job = Self::build(run.spec)?;
        run.visit(&job)
    }

    fn run_attempt(
        &self,
        spec: &JobSpec,
        run: RunAttempt<'_, '_>,
    ) -> Result<TaskOutput, AttemptError> {
        run.visit(&Self::build(spec)?)
    }
}

struct MakePlan<'a> {
    spec: &'a JobSpec,
    slots: u32,
    stores: &'a Stores,
    progress: &'a Progress,
}

impl JobVisitor for MakePlan<'_> {
    type Output = Result<PlannedJob, JobError>;

    fn visit<J: Job>(self, job: &J) -> Self::Output {
        let plan = plan_for_records(job, self.spec, self.slots, self.stores, self.progress)?;
        let attempts = job.attempts_on_cluster();
        Ok(PlannedJob { plan, runs_commands: J::RUNS_COMMANDS, attempts })
    }
}

struct RunLocal<'a> {
    spec: &'a JobSpec,
    progress: &'a Progress,
    options: &'a LocalOptions<'a>,
}

impl JobVisitor for RunLocal<'_> {
    type Output = Result<JobSummary, JobError>;

    fn visit<J: Job>(self, job: &J) -> Self::Output {
        run_local_with(self.spec, job, self.progress, self.options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Emitter, JobOption, Record, Sink, Values};

    /// Lines with a mark in front, each once.
    struct Marked(String);

    impl Job for Marked {
        fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
            out.emit_joined(&[self.0.as_bytes(), record.bytes], b"");
        }

        fn reduce(&self, key: &[u8], _: &mut Values<'_, Self>, out: &mut Sink) {
            out.bytes(key);
            out.end_record();
        }
    }

    impl NamedJob for Marked {
        const NAME: &'static str = "marked";
        const ABOUT: &'static str = "lines with a mark";
        const OPTIONS: &'static [JobOption] = &[JobOption::new("mark", "TEXT", "default: none")];

        fn from_options(options: &Options<'_>) -> Result<Self, JobError> {
            Ok(Marked(options.text("mark").unwrap_or_default().to_owned()))
        }

        fn prepare(spec: &mut JobSpec) -> Result<(), JobError> {
            spec.reduces.get_or_insert(2);
            Ok(())
        }
    }

    macro_rules! called {
        ($job:ident, $name:literal) => {
            struct $job;
            impl Job for $job {
                fn map(&self, _: Record<'_>, _: &mut Emitter<'_, Self>) {}
                fn reduce(&self, _: &[u8], _: &mut Values<'_, Self>, _: &mut Sink) {}
            }
            impl NamedJob for $job {
                const NAME: &'static str = $name;
                const ABOUT: &'static str = "";
                fn from_options(_: &Options<'_>) -> Result<Self, JobError> {
                    Ok($job)
                }
            }
        };
    }

    #[test]
    fn names_that_are_taken_or_empty_are_refused() {
        called!(Sort, "sort");
        called!(Wasm, "wasm");
        called!(Empty, "");
        let jobs = || Jobs::built_in().with::<Marked>().unwrap();
        let why = |result: Result<Jobs, JobError>| result.unwrap_err().to_string();
        assert!(why(jobs().with::<Sort>()).contains("a built-in job is called `sort`"));
        assert!(why(jobs().with::<Wasm>()).contains("a built-in job is called `wasm`"));
        assert!(why(jobs().with::<Empty>()).contains("needs a name"));
        let twice = why(jobs().with::<Marked>());
        assert!(twice.contains("another job of this program is called `marked`"), "{twice}");
        assert_eq!(jobs().own().map(|job| job.name).collect::<Vec<_>>(), ["marked"]);
    }

    #[test]
    fn an_unknown_name_is_answered_with_all_that_are_known() {
        let jobs = Jobs::built_in().with::<Marked>().unwrap();
        let spec = JobSpec::new("market", ["in"], "out");
        let known = "the built-in jobs are wordcount, ";
        for error in [
            jobs.check(&spec).unwrap_err(),
            jobs.run_local(&spec, &Progress::new()).unwrap_err(),
            jobs.plan(&spec, 1, &Stores::local(), &Progress::new()).unwrap_err(),
        ] {
            assert!(error.is_permanent(), "{error}");
            let error = error.to_string();
            assert!(
                error.starts_with("unknown job `market`: ") && error.contains(known),
                "{error}"
            );
            assert!(error.ends_with(", and this program's own marked"), "{error}");
        }
        let without = Jobs::built_in().check(&spec).unwrap_err().to_string();
        assert!(without.contains(known) && !without.contains("program's"), "{without}");
    }

    #[test]
    fn a_job_of_ones_own_is_given_its_settings_and_prepares_its_spec() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("in"), "b\na\nb\n").unwrap();
        let jobs = Jobs::built_in().with::<Marked>().unwrap();
        let mut spec = JobSpec::new("marked", [path("in")], path("out"));
        spec.options.insert("mark".into(), "> ".into());
        let summary = jobs.run_local(&spec, &Progress::new()).unwrap();
        let parts = summary.manifest.parts.iter().map(|part| path("out").join(&part.name));
        let parts: Vec<String> = parts.map(|part| std::fs::read_to_string(part).unwrap()).collect();
        assert_eq!(parts.len(), 2);
        let mut lines: Vec<&str> = parts.iter().flat_map(|part| part.lines()).collect();
        lines.sort_unstable();
        assert_eq!(lines, ["> a", "> b"]);
        spec.options.insert("remark".into(), "?".into());
        let refused = "job `marked` has no option `remark`: it has mark";
        for error in
            [jobs.check(&spec).unwrap_err(), jobs.run_local(&spec, &Progress::new()).unwrap_err()]
        {
            assert!(error.to_string().contains(refused), "{error}");
        }
        let built_in = JobSpec::new("wordcount", [path("in")], path("words"));
        assert!(jobs.is_own(&spec) && !jobs.is_own(&built_in));
        assert!(jobs.is_known(&spec) && jobs.is_known(&built_in));
        assert!(!Jobs::built_in().is_known(&spec));
        assert_eq!(jobs.run_local(&built_in, &Progress::new()).unwrap().manifest.job, "wordcount");
    }
}
