//! Attempts run one by one on a real file system, as a worker runs them; what they ask others for comes from
//! a folder, or as a test wants.

use crate::builtin::sort::Sort;
use crate::cluster::attempt::{Attempt, AttemptError, WorkMeter};
use crate::cluster::names::{JobId, TaskId};
use crate::cluster::output;
use crate::cluster::records::TaskOutput;
use crate::cluster::shuffle::{Fetch, FetchError, MapLocation, map_file_name};
use crate::plan::{JobPlan, plan};
use crate::progress::Progress;
use crate::run::writer::Section;
use crate::spec::JobSpec;
use crate::stores::Stores;
use crate::task::NoLog;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// A folder with a job's input, the folders of two workers, and a place for the output.
pub struct Floor {
    folder: TempDir,
}

impl Floor {
    pub fn new(input: &str) -> Floor {
        let floor = Floor { folder: tempfile::tempdir().unwrap() };
        fs::write(floor.path("in"), input).unwrap();
        fs::create_dir(floor.theirs()).unwrap();
        fs::create_dir(floor.mine()).unwrap();
        floor
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the other worker keeps its map outputs.
    pub fn theirs(&self) -> PathBuf {
        self.path("theirs")
    }

    /// Where the worker that reduces keeps what it fetches.
    pub fn mine(&self) -> PathBuf {
        self.path("mine")
    }

    /// A job from the input to the output.
    pub fn job(&self, job: &str, reduces: u32) -> JobSpec {
        JobSpec { reduces: Some(reduces), ..JobSpec::new(job, [self.path("in")], self.path("out")) }
    }

    /// Plans a job and makes room for its output.
    pub fn begin(&self, spec: &JobSpec) -> JobPlan {
        output::create(&spec.output, &job_id()).unwrap();
        plan_of(spec)
    }

    /// Runs a map as the other worker.
    pub fn map(&self, spec: &JobSpec, plan: &JobPlan, number: u32) -> TaskOutput {
        attempt(spec, plan, TaskId::map(number), &self.theirs(), &[]).unwrap()
    }

    /// The lines of a reduce's first attempt.
    pub fn part(&self, partition: u32) -> String {
        let attempt =
            output::attempt_path(&self.path("out"), &job_id(), TaskId::reduce(partition), 0);
        fs::read_to_string(attempt.join(format!("part-{partition:05}"))).unwrap()
    }
}

/// The job that all attempts are of.
pub fn job_id() -> JobId {
    "01".parse().unwrap()
}

/// A partition of the first attempt of a map, at another worker.
pub fn elsewhere(map: u32, made: &TaskOutput, partition: u32) -> MapLocation {
    MapLocation {
        map: TaskId::map(map),
        attempt: 0,
        worker: "w2".parse().unwrap(),
        address: Some("elsewhere".to_owned()),
        file: None,
        section: made.section(partition).unwrap(),
        index_crc32c: made.index_crc32c(),
    }
}

/// What a reduce wants of a map output in a folder.
pub fn section_in(folder: &Path, from: &MapLocation) -> io::Result<Vec<u8>> {
    let bytes = fs::read(folder.join(map_file_name(from.map, from.attempt)))?;
    let Section { offset, bytes: length, .. } = from.section;
    Ok(bytes[offset as usize..][..length as usize].to_vec())
}

/// Fetches from folders instead of from workers.
struct FromFolders<'a>(&'a Path);

impl Fetch for FromFolders<'_> {
    fn fetch(
        &self,
        _: &JobId,
        _: u32,
        from: &MapLocation,
        into: &mut dyn Write,
    ) -> Result<(), FetchError> {
        let unreadable = |error: std::io::Error| FetchError::Unreadable(error.to_string());
        into.write_all(&section_in(self.0, from).map_err(unreadable)?).map_err(FetchError::Local)
    }
}

/// The plan of a sort.
pub fn plan_of(spec: &JobSpec) -> JobPlan {
    plan(&Sort::default(), spec, 2, &Stores::local(), &Progress::new()).unwrap()
}

/// Runs one attempt as a worker does.
pub fn attempt(
    spec: &JobSpec,
    plan: &JobPlan,
    task: TaskId,
    folder: &Path,
    maps: &[MapLocation],
) -> Result<TaskOutput, AttemptError> {
    attempt_from(spec, plan, task, folder, maps, &FromFolders(folder))
}

/// The same, with what it asks others for given in this way.
pub fn attempt_from(
    spec: &JobSpec,
    plan: &JobPlan,
    task: TaskId,
    folder: &Path,
    maps: &[MapLocation],
    fetch: &dyn Fetch,
) -> Result<TaskOutput, AttemptError> {
    watched_attempt(spec, plan, task, folder, maps, fetch, &Watch::default())
}

/// Sees an attempt move, and cancels it.
#[derive(Default)]
pub struct Watch {
    pub progress: Progress,
    pub work: Arc<WorkMeter>,
}

pub fn watched_attempt(
    spec: &JobSpec,
    plan: &JobPlan,
    task: TaskId,
    folder: &Path,
    maps: &[MapLocation],
    fetch: &dyn Fetch,
    watch: &Watch,
) -> Result<TaskOutput, AttemptError> {
    let attempt = Attempt {
        job: &job_id(),
        task,
        number: 0,
        spec,
        plan,
        folder,
        slots: 2,
        skips: &[],
        has_failed_before: false,
        maps,
        stores: &Stores::local(),
        log: &NoLog,
        progress: &watch.progress,
        work: &watch.work,
    };
    attempt.run(fetch)
}
