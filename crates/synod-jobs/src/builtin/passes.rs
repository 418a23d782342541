//! Jobs that take several passes: an iteration over the input, or a second look at what the first
//! pass has written.
//!
//! Each pass is a job of its own, run by whoever runs jobs: in this process, or on a cluster. What
//! all passes but the last write lies in a folder beside the output, `.NAME.passes`, and is removed
//! at the end, also after a failure; on a cluster it must be a folder that its nodes and the one who
//! drives the passes share, as the output is. The last pass writes to the output and makes it
//! visible like any job. Should the driver die, that folder stays behind and no output appears.

use crate::commit::make_above;
use crate::error::JobError;
use crate::jobs::Jobs;
use crate::local::JobSummary;
use crate::progress::Progress;
use crate::spec::JobSpec;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Decides from what the passes so far have written what the next one is.
pub trait Passes {
    /// The next pass, given what the one before has done. The folder that a pass writes to is
    /// chosen by the caller.
    fn next(&mut self, before: Option<&PassDone>) -> Result<Pass, JobError>;
}

/// A pass to run.
#[derive(Debug)]
pub enum Pass {
    /// Another one follows.
    More(JobSpec),
    /// Its output is the job's.
    Last(JobSpec),
}

/// What a pass has done.
#[derive(Debug)]
pub struct PassDone {
    /// Where its part files are.
    pub folder: PathBuf,
    /// What it counted and wrote.
    pub summary: JobSummary,
}

impl PassDone {
    /// A pass of this job over the lines that the pass before has written, where `spec` describes
    /// all passes together.
    pub fn input_of(&self, spec: &JobSpec, job: &str) -> JobSpec {
        let whole = JobSpec::new(job, [&self.folder], &spec.output);
        JobSpec {
            memory_bytes: spec.memory_bytes,
            slots: spec.slots,
            spill_folder: spec.spill_folder.clone(),
            sync_output: spec.sync_output,
            output_codec: spec.output_codec,
            table_seed: spec.table_seed,
            speculative: spec.speculative,
            not_speculative: spec.not_speculative,
            priority: spec.priority,
            name: spec.name.clone(),
            ..whole
        }
    }

    /// The lines of all its part files, in their order. They are all in memory: for passes that
    /// write little.
    pub fn lines(&self) -> Result<Vec<Vec<u8>>, JobError> {
        let mut lines = Vec::new();
        for part in &self.summary.manifest.parts {
            let path = self.folder.join(&part.name);
            let bytes = std::fs::read(&path).map_err(|error| JobError::io("read", &path, error))?;
            let ended = bytes.split_inclusive(|&byte| byte == b'\n');
            lines.extend(ended.map(|line| line.strip_suffix(b"\n").unwrap_or(line).to_vec()));
        }
        Ok(lines)
    }
}

/// Runs a built-in job, one pass after the other, with `run` for each. `run` gets specs in which
/// nothing is left open that the job needs. To find that out may take long, see [`with_job`]: that ends when
/// `progress` is cancelled.
///
/// [`with_job`]: crate::with_job
pub fn run_passes<E: From<JobError>>(
    spec: &JobSpec,
    progress: &Progress,
    run: impl FnMut(&JobSpec) -> Result<JobSummary, E>,
) -> Result<JobSummary, E> {
    run_passes_of(&Jobs::built_in(), spec, progress, run)
}

/// The spec of a built-in job that takes one pass, with nothing left open that the job needs: once it is
/// submitted nobody has to look after it. Refuses a job of several passes.
pub fn only_pass(spec: &JobSpec, progress: &Progress) -> Result<JobSpec, JobError> {
    let mut spec = spec.clone();
    match Jobs::built_in().prepare(&mut spec, progress)? {
        None => Ok(spec),
        Some(_) => {
            let what = format!(
                "job `{}` takes several passes, and somebody has to wait for each before the next: it cannot \
                 be left to itself in the background",
                spec.job
            );
            Err(JobError::BadSpec { what })
        }
    }
}

/// The same for a job of these.
pub(crate) fn run_passes_of<E: From<JobError>>(
    jobs: &Jobs,
    spec: &JobSpec,
    progress: &Progress,
    mut run: impl FnMut(&JobSpec) -> Result<JobSummary, E>,
) -> Result<JobSummary, E> {
    let mut spec = spec.clone();
    let Some(mut passes) = jobs.prepare(&mut spec, progress)? else { return run(&spec) };
    spec.check()?;
    if spec.failed_maps_percent > 0 || spec.failed_reduces_percent > 0 {
        let job = &spec.job;
        let what = format!(
            "job `{job}` takes several passes: each reads all that the one before it was to write, so none \
             of its tasks may fail for good"
        );
        return Err(JobError::BadSpec { what }.into());
    }
    if spec.output_is_in_store() {
        let (job, output) = (&spec.job, spec.output.display());
        let what =
            format!("job `{job}` takes several passes: its output is a folder, not {output}");
        return Err(JobError::BadSpec { what }.into());
    }
    if spec.output.symlink_metadata().is_ok() {
        return Err(JobError::OutputExists { path: spec.output }.into());
    }
    let folder = PassFolder::create(&spec.output)?;
    let mut before = None;
    for number in 1.. {
        match passes.next(before.as_ref())? {
            Pass::Last(mut pass) => {
                pass.output = spec.output;
                return run(&pass);
            }
            Pass::More(mut pass) => {
                let output = folder.path.join(format!("pass-{number}"));
                pass.output.clone_from(&output);
                // Nobody but the next pass reads it.
                pass.sync_output = false;
                pass.output_codec = None;
                let summary = run(&pass)?;
                before = Some(PassDone { folder: output, summary });
            }
        }
    }
    unreachable!("there is a number for every pass")
}

/// The folder beside an output, removed when dropped.
struct PassFolder {
    path: PathBuf,
}

impl PassFolder {
    fn create(output: &Path) -> Result<PassFolder, JobError> {
        let mut name = OsString::from(".");
        name.push(output.file_name().unwrap_or_default());
        name.push(".passes");
        let path = output.with_file_name(name);
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent {
            make_above(output, parent)?;
        }
        std::fs::create_dir(&path).map_err(|error| JobError::output(&path, error))?;
        Ok(PassFolder { path })
    }
}

impl Drop for PassFolder {
    fn drop(&mut self) {
        // Left behind it costs room, and the next job with this output says that it is there.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
