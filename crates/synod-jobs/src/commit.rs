//! The output folder: created before any work, published at the end, removed if the job fails.
//!
//! Attempts write under `_temporary/`. Publishing renames the winners' part files and writes `_SUCCESS` last;
//! it holds the manifest. A reader that sees `_SUCCESS` sees everything, so from then on the job has
//! succeeded: that `_temporary` goes afterwards is tidying, and what stays of it is no failure. Every step
//! may be repeated: a part that was renamed already is left alone.

use crate::counters::Counters;
use crate::error::JobError;
use crate::given_up::GivenUp;
use crate::input::codec::Codec;
use crate::progress::Progress;
use crate::reduce_task::ReduceOutput;
use crate::side_files::SideFile;
use crate::spec::JobSpec;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Name of the folder for everything that is not published.
pub const TEMPORARY: &str = "_temporary";
/// Name of the marker and manifest.
pub const SUCCESS: &str = "_SUCCESS";

/// One published part file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Name within the output folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its records.
    pub records: u64,
    /// CRC32C of its bytes.
    pub crc32c: u32,
}

/// What is to be published of one task.
#[derive(Debug, Clone)]
pub struct Publish<'a> {
    /// The part file and where it is; none for a map task of a job with reduce tasks.
    pub part: Option<(&'a ReduceOutput, PathBuf)>,
    /// The files beside it and the folder they are in.
    pub side: (&'a [SideFile], PathBuf),
}

/// How part files are named and which are left out.
#[derive(Debug, Clone, Copy)]
pub struct Naming {
    /// Part files are compressed like this, and named for it.
    pub codec: Option<Codec>,
    /// Part files without a record are left out.
    pub lazy: bool,
}

impl Naming {
    /// As a spec says.
    pub fn of(spec: &JobSpec) -> Naming {
        Naming { codec: spec.output_codec, lazy: spec.lazy_output }
    }

    /// Name of a partition's part file.
    pub fn part(&self, partition: u32) -> String {
        match self.codec {
            None => format!("part-{partition:05}"),
            Some(codec) => format!("part-{partition:05}.{}", codec.extension()),
        }
    }
}

/// What a manifest says beside its files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// What the job counted.
    pub counters: Counters,
    /// The tasks that it went on without.
    pub given_up: Vec<GivenUp>,
}

impl From<Counters> for Account {
    fn from(counters: Counters) -> Account {
        Account { counters, given_up: Vec::new() }
    }
}

/// Content of `_SUCCESS`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name of the job.
    pub job: String,
    /// Which one it was, if it ran on a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The part files in order of their partitions.
    pub parts: Vec<Part>,
    /// Files that tasks have written beside them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub side_files: Vec<SideFile>,
    /// What the job counted, also how many tasks it went on without.
    pub counters: Counters,
    /// Those tasks, the first [`MAX_NAMED`](crate::given_up::MAX_NAMED) of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_up: Vec<GivenUp>,
    /// What is not here. Nothing, in `_SUCCESS`: only what the records of a cluster keep of it has a bound.
    #[serde(default, skip_serializing_if = "Cut::is_nothing")]
    pub cut: Cut,
}

/// How much of a manifest is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Part files.
    #[serde(default)]
    pub parts: u64,
    /// Files beside them.
    #[serde(default)]
    pub side_files: u64,
    /// Counters of the job's own.
    #[serde(default)]
    pub counters: u64,
}

impl Cut {
    /// Whether all is there.
    pub fn is_nothing(&self) -> bool {
        *self == Cut::default()
    }
}

/// An output folder that this job has created; dropped without [`OutputFolder::publish`] it goes.
#[derive(Debug)]
pub struct OutputFolder {
    path: PathBuf,
    /// Where `_SUCCESS` is written before it is renamed.
    drafts: PathBuf,
    /// Which job it is of, for the manifest.
    id: Option<String>,
    published: bool,
}

impl OutputFolder {
    /// Creates the folder. Of two jobs with the same output one is refused.
    pub fn create(path: &Path) -> Result<OutputFolder, JobError> {
        OutputFolder::create_with(path, &DirBuilder::new())
    }

    /// Creates a folder that only this user can look into.
    pub(crate) fn create_private(path: &Path) -> Result<OutputFolder, JobError> {
        OutputFolder::create_with(path, &private())
    }

    fn create_with(path: &Path, builder: &DirBuilder) -> Result<OutputFolder, JobError> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            make_above(path, parent)?;
        }
        builder.create(path).map_err(|error| JobError::output(path, error))?;
        let temporary = path.join(TEMPORARY);
        let drafts = temporary.clone();
        let folder = OutputFolder { path: path.to_owned(), drafts, id: None, published: false };
        fs::create_dir(&temporary).map_err(|error| JobError::io("create", &temporary, error))?;
        Ok(folder)
    }

    /// The output folder of a job that several processes work on: it stays, whatever happens here. `_SUCCESS`
    /// is written in `drafts`, so that without that folder nobody can publish, and names the job.
    pub fn adopt(path: &Path, drafts: &Path, id: String) -> OutputFolder {
        let (path, drafts) = (path.to_owned(), drafts.to_owned());
        OutputFolder { path, drafts, id: Some(id), published: true }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder for attempts and spilled runs.
    pub fn temporary(&self) -> PathBuf {
        self.path.join(TEMPORARY)
    }

    /// Makes the output visible: what tasks have won with, in the order of their partitions. It can be
    /// cancelled until `_SUCCESS` is there, and notes each file as a move.
    pub fn publish(
        &mut self,
        job: &str,
        naming: Naming,
        tasks: &[Publish<'_>],
        account: &Account,
        sync: bool,
        progress: &Progress,
    ) -> Result<Manifest, JobError> {
        // An earlier try may have come so far: then readers see the output, and it is brought to its end.
        let is_visible = self.path.join(SUCCESS).exists();
        let go_on = || {
            progress.note_move();
            if is_visible { Ok(()) } else { progress.check_cancelled() }
        };
        let mut parts = Vec::with_capacity(tasks.len());
        let mut side_files = Vec::new();
        let mut names = BTreeSet::new();
        for file in tasks.iter().flat_map(|task| task.side.0) {
            file.check()?;
            if !names.insert(&file.name) {
                let message = format!("two tasks have written a side file {}", file.name);
                return Err(JobError::Task { message, permanent: true, bad_record: None });
            }
        }
        for Publish { part, side: (files, folder) } in tasks {
            go_on()?;
            if let Some((output, file)) = part
                && !(naming.lazy && output.records == 0)
            {
                let name = naming.part(output.partition);
                self.move_in(file, &name)?;
                let ReduceOutput { bytes, records, crc32c, .. } = **output;
                parts.push(Part { name, bytes, records, crc32c });
            }
            for side in *files {
                go_on()?;
                let file = folder.join(&side.name);
                if sync && file.exists() {
                    sync_file(&file)?;
                }
                self.move_in(&file, &side.name)?;
                side_files.push(side.clone());
            }
        }
        let (job, id) = (job.to_owned(), self.id.clone());
        let Account { counters, given_up } = account.clone();
        let cut = Cut::default();
        let manifest = Manifest { job, id, parts, side_files, counters, given_up, cut };
        go_on()?;
        self.write_success(&manifest, sync)?;
        self.published = true;
        Ok(manifest)
    }

    /// Moves a file to its place, unless an earlier try has done so.
    fn move_in(&self, file: &Path, name: &str) -> Result<(), JobError> {
        let target = self.path.join(name);
        match fs::rename(file, &target) {
            Err(error) if !(error.kind() == io::ErrorKind::NotFound && target.exists()) => {
                Err(JobError::io("rename", file, error))
            }
            _ => Ok(()),
        }
    }

    fn write_success(&self, manifest: &Manifest, sync: bool) -> Result<(), JobError> {
        self.draft(manifest, sync)?.show(&self.path, sync)
    }

    /// Writes `_SUCCESS` where nobody looks for it. Who publishes the same job beside this one has another
    /// draft, so what is shown is always whole. One that nobody shows goes with the folder of drafts.
    fn draft(&self, manifest: &Manifest, sync: bool) -> Result<Draft, JobError> {
        let text = serde_json::to_vec_pretty(manifest).expect("a manifest has only string keys");
        let name = format!("{SUCCESS}-{:016x}", fastrand::u64(..));
        let draft = Draft { path: self.drafts.join(name) };
        let written = File::create(&draft.path).and_then(|mut file| {
            file.write_all(&text)?;
            if sync { file.sync_all() } else { Ok(()) }
        });
        written.map_err(|error| JobError::io("write", &self.path.join(SUCCESS), error))?;
        Ok(draft)
    }

    /// After [`OutputFolder::publish`]: removes what is not published. The job has succeeded whatever comes
    /// of it.
    pub fn tidy(&self) -> Result<(), JobError> {
        let temporary = self.temporary();
        fs::remove_dir_all(&temporary).map_err(|error| JobError::io("remove", &temporary, error))
    }
}

impl OutputFolder {
    /// Removes what a job puts there: files, and what is not published. Another folder within is the output
    /// of somebody else.
    fn remove(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                fs::remove_file(entry.path())?;
            } else if entry.file_name() == TEMPORARY {
                fs::remove_dir_all(entry.path())?;
            }
        }
        fs::remove_dir(&self.path)
    }
}

/// A whole `_SUCCESS` that readers do not see yet.
struct Draft {
    path: PathBuf,
}

impl Draft {
    /// Makes it visible in this output folder.
    fn show(self, output: &Path, sync: bool) -> Result<(), JobError> {
        if sync {
            sync_folder(output)?;
        }
        let marker = output.join(SUCCESS);
        fs::rename(&self.path, &marker).map_err(|error| JobError::io("write", &marker, error))?;
        if sync { sync_names(output) } else { Ok(()) }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Shown, it is here no more; what cannot be removed goes with the folder around it.
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for OutputFolder {
    fn drop(&mut self) {
        if !self.published {
            // The job has failed already; what cannot be removed is found by the next attempt.
            let _ = self.remove();
        }
    }
}

/// Makes the folder that an output is to be in, and those above it.
pub(crate) fn make_above(output: &Path, parent: &Path) -> Result<(), JobError> {
    match fs::create_dir_all(parent) {
        // A file of that name: the output is not there.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let source = io::ErrorKind::NotADirectory.into();
            Err(JobError::OutputNotMade { path: output.to_owned(), source })
        }
        made => made.map_err(|error| JobError::output(output, error)),
    }
}

/// Makes folders that only this user can look into.
pub(crate) fn private() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

fn sync_file(path: &Path) -> Result<(), JobError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| JobError::io("sync", path, error))
}

/// Makes sure that the names in an output folder stay, and its own.
pub(crate) fn sync_names(output: &Path) -> Result<(), JobError> {
    sync_folder(output)?;
    let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync_folder(parent.unwrap_or(Path::new(".")))
}

fn sync_folder(path: &Path) -> Result<(), JobError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| JobError::io("sync", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn another_place_is_advised_only_where_it_would_help() {
        for (errno, said) in [
            (Errno::ACCESS, "choose a place"),
            (Errno::ROFS, "choose a place"),
            (Errno::MFILE, "ulimit -n"),
            (Errno::IO, "cannot create"),
        ] {
            let error = JobError::output(Path::new("out"), errno.into()).to_string();
            assert!(error.contains(said), "{error}");
            assert_eq!(error.contains("choose a place"), said == "choose a place", "{error}");
        }
    }

    #[test]
    fn two_that_publish_one_output_at_once_show_whole_manifests_whoever_is_first() {
        let place = tempfile::tempdir().unwrap();
        let (path, drafts) = (place.path().join("out"), place.path().join("out/_temporary/01"));
        fs::create_dir_all(&drafts).unwrap();
        let adopted = || OutputFolder::adopt(&path, &drafts, "01".to_owned());
        let manifest = |job: &str| Manifest { job: job.to_owned(), ..Manifest::default() };
        let shown = || {
            let text = fs::read(path.join(SUCCESS)).unwrap();
            serde_json::from_slice::<Manifest>(&text).unwrap()
        };
        let drafts_left = || fs::read_dir(&drafts).unwrap().count();
        for sync in [false, true] {
            // One is deposed when it has written, and wakes up when the other one has, too.
            let old = adopted().draft(&manifest("old"), sync).unwrap();
            let new = adopted().draft(&manifest("new"), sync).unwrap();
            assert!(!path.join(SUCCESS).exists());
            old.show(&path, sync).unwrap();
            assert_eq!(shown(), manifest("old"));
            new.show(&path, sync).unwrap();
            assert_eq!(shown(), manifest("new"));
            fs::remove_file(path.join(SUCCESS)).unwrap();
            // One that is not shown leaves nothing.
            drop(adopted().draft(&manifest("none"), sync).unwrap());
            assert_eq!(drafts_left(), 0);
        }
    }
}
