//! Keeps the runs of a task: in memory while the job's budget allows it, else on local disk.
//!
//! Files of a store belong to the run that wrote them and go away with it.

use crate::error::JobError;
use crate::job::Job;
use crate::merge::{Merge, write_merged};
use crate::progress::Progress;
use crate::run::RunSource;
use crate::run::file::{FileSource, open_section};
use crate::run::memory::MemoryRun;
use crate::run::writer::{RunIndex, RunWriter};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Memory that finished runs of one job may occupy together.
#[derive(Debug)]
pub struct MemoryBudget {
    limit_bytes: u64,
    used_bytes: AtomicU64,
}

/// Part of a budget, given back when dropped.
#[derive(Debug)]
pub struct Grant {
    budget: Arc<MemoryBudget>,
    bytes: u64,
}

impl MemoryBudget {
    /// A budget of this many bytes; with 0 every run goes to disk.
    pub fn new(limit_bytes: u64) -> Arc<MemoryBudget> {
        Arc::new(MemoryBudget { limit_bytes, used_bytes: AtomicU64::new(0) })
    }

    /// Takes `bytes` if they are free.
    pub fn try_take(self: &Arc<Self>, bytes: u64) -> Option<Grant> {
        let fits = |used: u64| used.checked_add(bytes).filter(|&sum| sum <= self.limit_bytes);
        self.used_bytes.fetch_update(Relaxed, Relaxed, fits).ok()?;
        Some(Grant { budget: Arc::clone(self), bytes })
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.budget.used_bytes.fetch_sub(self.bytes, Relaxed);
    }
}

/// A run file that is removed when nobody reads it any more.
#[derive(Debug)]
pub struct DiskRun {
    path: PathBuf,
    index: RunIndex,
}

impl Drop for DiskRun {
    fn drop(&mut self) {
        // If it is gone already the folder around it was removed first, which is as good.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A finished run, wherever it is.
#[derive(Debug, Clone)]
pub enum Run {
    /// In this process, with the part of the budget that it holds.
    Memory(Arc<MemoryRun>, Arc<Grant>),
    /// In a local file.
    Disk(Arc<DiskRun>),
}

impl Run {
    /// Reads one partition.
    pub fn source(&self, partition: u32) -> Box<dyn RunSource> {
        match self {
            Run::Memory(run, _) => Box::new(run.source(partition)),
            Run::Disk(run) => Box::new(DiskSource { run: Arc::clone(run), partition, open: None }),
        }
    }

    /// Pairs of one partition.
    pub fn pairs(&self, partition: u32) -> u64 {
        match self {
            Run::Memory(run, _) => run.pairs(partition),
            Run::Disk(run) => run.index.sections[partition as usize].pairs,
        }
    }

    /// Bytes on disk, 0 for a run in memory.
    pub fn disk_bytes(&self) -> u64 {
        match self {
            Run::Memory(..) => 0,
            Run::Disk(run) => run.index.file_bytes,
        }
    }
}

/// One partition of a run file. It is opened at the first read and closed at its end, so sources
/// that wait for their turn in a merge hold neither a file nor a buffer.
struct DiskSource {
    run: Arc<DiskRun>,
    partition: u32,
    open: Option<FileSource>,
}

impl RunSource for DiskSource {
    fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, JobError> {
        let source = match &mut self.open {
            Some(source) => source,
            closed => {
                let section = self.run.index.sections[self.partition as usize];
                closed.insert(open_section(&self.run.path, section)?)
            }
        };
        source.next_block(block)
    }
}

/// Where one task puts its runs.
#[derive(Debug)]
pub struct RunStore {
    folder: PathBuf,
    /// Begins the name of every file; different for every attempt in the folder.
    prefix: String,
    budget: Arc<MemoryBudget>,
    next_file: AtomicU64,
}

impl RunStore {
    /// Puts files into `folder`, which exists or can be created; no other store uses `prefix`.
    pub fn new(
        folder: impl Into<PathBuf>,
        prefix: impl Into<String>,
        budget: Arc<MemoryBudget>,
    ) -> RunStore {
        RunStore {
            folder: folder.into(),
            prefix: prefix.into(),
            budget,
            next_file: AtomicU64::new(0),
        }
    }

    /// Keeps a run in memory if the budget has room and on disk otherwise.
    pub(crate) fn keep<J: Job>(
        &self,
        job: &J,
        run: MemoryRun,
        progress: &Progress,
    ) -> Result<Run, JobError> {
        let grant = self.budget.try_take(run.bytes());
        let run = Arc::new(run);
        if let Some(grant) = grant {
            return Ok(Run::Memory(run, Arc::new(grant)));
        }
        let source = |partition| Ok(vec![Box::new(run.source(partition)) as Box<dyn RunSource>]);
        self.write(job, run.partitions(), progress, source)
    }

    /// Merges sources, partition by partition, into a run on disk.
    pub(crate) fn write<J: Job>(
        &self,
        job: &J,
        partitions: u32,
        progress: &Progress,
        sources: impl Fn(u32) -> Result<Vec<Box<dyn RunSource>>, JobError>,
    ) -> Result<Run, JobError> {
        std::fs::create_dir_all(&self.folder)
            .map_err(|error| JobError::io("create", &self.folder, error))?;
        let number = self.next_file.fetch_add(1, Relaxed);
        let path = self.folder.join(format!("{}-{number}.run", self.prefix));
        // The guard stands before the file, so a failure half way leaves nothing behind.
        let mut run = DiskRun { path: path.clone(), index: RunIndex::default() };
        run.index = write_run_file(job, &path, partitions, progress, sources)?;
        Ok(Run::Disk(Arc::new(run)))
    }
}

/// Merges sources, partition by partition, into the run file at `path`.
pub(crate) fn write_run_file<J: Job>(
    job: &J,
    path: &Path,
    partitions: u32,
    progress: &Progress,
    sources: impl Fn(u32) -> Result<Vec<Box<dyn RunSource>>, JobError>,
) -> Result<RunIndex, JobError> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .map_err(|error| JobError::io("create", path, error))?;
    let write = |error| JobError::io("write", path, error);
    let mut writer = RunWriter::new(file);
    for partition in 0..partitions {
        writer.begin_partition().map_err(write)?;
        write_merged(job, Merge::new(sources(partition)?)?, &mut writer, path, progress)?;
    }
    let (_, index) = writer.finish().map_err(write)?;
    Ok(index)
}
