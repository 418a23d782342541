//! How a reduce comes by its partition of every map output, in the order of the map tasks.
//!
//! Outputs of this worker, and of others on the same machine whose files it can open, are read where they
//! are. Of the others the worker may have fetched a part ahead of the reduce, which is waited for if it is on
//! its way; what is left is fetched first, into memory or, beyond the attempt's share, into local files: so
//! connections are short, and an output that cannot be read is found early. How bytes come from another
//! machine is behind [`Fetch`]. Whatever is read, each block's checksum is verified before it is used; whose
//! fault it is if it cannot be read is in `blame.rs`.

use crate::cluster::attempt::{AttemptError, WorkMeter};
use crate::cluster::blame::{Blame, ReadFrom};
use crate::cluster::names::{JobId, TaskId, WorkerId};
use crate::cluster::records::{UnreadableRecord, shortened};
use crate::error::JobError;
use crate::progress::Progress;
use crate::run::RunSource;
use crate::run::file::{SectionFile, SectionSource, is_run_file, open_section_file};
use crate::run::writer::Section;
use std::fs::{self, File};
use std::io::{self, BufWriter, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of a map attempt's file in the worker's folder for the job.
pub fn map_file_name(task: TaskId, attempt: u32) -> String {
    format!("{task}-{attempt}.run")
}

/// Where one partition of one map output is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapLocation {
    /// The map task.
    pub map: TaskId,
    /// Its winning attempt.
    pub attempt: u32,
    /// Who has it.
    pub worker: WorkerId,
    /// `host:port` of that worker; `None` if it is this one.
    pub address: Option<String>,
    /// The file as this process may be able to open it, if that worker is on the same machine.
    pub file: Option<PathBuf>,
    /// Where in the file.
    pub section: Section,
    /// Checksum of the file's index, see [`RunIndex::checksum`](crate::run::writer::RunIndex::checksum).
    pub index_crc32c: u32,
}

/// Gets a section of a map output from another worker.
pub trait Fetch: Sync {
    /// Writes exactly the section's bytes to `into`. The error is what a person should read.
    fn fetch(
        &self,
        job: &JobId,
        partition: u32,
        from: &MapLocation,
        into: &mut dyn Write,
    ) -> Result<(), FetchError>;

    /// A local file that has the section already, and where in it; waits for one that is on its way, as long
    /// as the attempt goes on. `None`: it is to be fetched.
    fn ahead(
        &self,
        job: &JobId,
        partition: u32,
        from: &MapLocation,
        progress: &Progress,
    ) -> Option<(PathBuf, Section)> {
        let _ = (job, partition, from, progress);
        None
    }

    /// What [`ahead`](Self::ahead) has given of this output cannot be read: it gives no more of it.
    fn forget(&self, job: &JobId, from: &MapLocation) {
        let _ = (job, from);
    }
}

/// Why a section could not be had.
#[derive(Debug)]
pub enum FetchError {
    /// It cannot be read there.
    Unreadable(String),
    /// It cannot be written here, or this process lacks what it takes to ask for it.
    Local(std::io::Error),
}

/// The sources of one reduce.
pub(super) struct Collected {
    pub sources: Vec<Box<dyn RunSource>>,
    pub blame: Blame,
}

/// What collecting needs to know of the attempt.
pub(super) struct Shuffle<'a> {
    pub job: &'a JobId,
    pub partition: u32,
    /// The worker's own folder for the job.
    pub folder: &'a Path,
    /// Begins the names of files of this attempt alone.
    pub prefix: String,
    pub maps: &'a [MapLocation],
    /// Memory for what is fetched.
    pub room_bytes: u64,
    pub progress: &'a Progress,
    pub work: &'a Arc<WorkMeter>,
}

impl Shuffle<'_> {
    /// The partition's part of every map output that has any, in order.
    pub(super) fn collect(&self, fetch: &dyn Fetch) -> Result<Collected, AttemptError> {
        let mut room = self.room_bytes;
        let mut sources: Vec<Box<dyn RunSource>> = Vec::new();
        let blame = Blame::default();
        let wanted = || self.maps.iter().filter(|from| from.section.pairs > 0);
        let all: u64 = wanted().map(|from| from.section.bytes).sum();
        self.work.set_total(all.saturating_mul(2));
        for from in wanted() {
            self.progress.check_cancelled()?;
            let bytes = from.section.bytes;
            let mut read_from = ReadFrom::Output;
            let inner: Box<dyn RunSource> = if let Some(path) = self.here(from) {
                self.work.add(bytes);
                Box::new(self.lazy(path, from.section, false))
            } else if let Some((path, section)) =
                fetch.ahead(self.job, self.partition, from, self.progress)
            {
                read_from = ReadFrom::Ahead;
                self.work.add(bytes);
                Box::new(self.lazy(path, section, false))
            } else if bytes <= room {
                read_from = ReadFrom::Copy;
                room -= bytes;
                let mut fetched = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
                self.fetch_into(fetch, from, Path::new("memory"), &mut fetched)?;
                let reader = Metered { inner: Cursor::new(fetched), work: Arc::clone(self.work) };
                Box::new(SectionSource::new(reader, bytes, from.describe()))
            } else {
                read_from = ReadFrom::Copy;
                Box::new(self.fetch_to_file(fetch, from)?)
            };
            sources.push(Box::new(blame.source(inner, from, read_from)));
        }
        Ok(Collected { sources, blame })
    }

    /// The file of an output that can be read where it is.
    fn here(&self, from: &MapLocation) -> Option<PathBuf> {
        if from.address.is_none() {
            return Some(self.folder.join(map_file_name(from.map, from.attempt)));
        }
        // Another worker's: whatever is wrong with it there, asking that worker says what.
        from.file.clone().filter(|path| is_run_file(path, from.index_crc32c).is_ok_and(|is| is))
    }

    fn lazy(&self, path: PathBuf, section: Section, own: bool) -> LazySection {
        LazySection { path, section, open: None, own, work: Arc::clone(self.work) }
    }

    fn fetch_to_file(
        &self,
        fetch: &dyn Fetch,
        from: &MapLocation,
    ) -> Result<LazySection, AttemptError> {
        let path = self.folder.join(format!("{}-from-{}.run", self.prefix, from.map));
        // The guard stands before the file, so a failure half way leaves nothing behind.
        let section = Section { offset: 0, ..from.section };
        let source = self.lazy(path.clone(), section, true);
        let file = File::create(&path).map_err(|error| JobError::io("create", &path, error))?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        self.fetch_into(fetch, from, &path, &mut file)?;
        file.flush().map_err(|error| JobError::io("write", &path, error))?;
        Ok(source)
    }

    fn fetch_into(
        &self,
        fetch: &dyn Fetch,
        from: &MapLocation,
        path: &Path,
        into: &mut dyn Write,
    ) -> Result<(), AttemptError> {
        let mut arriving = Arriving { into, progress: self.progress, work: self.work, untold: 0 };
        let fetched = fetch.fetch(self.job, self.partition, from, &mut arriving);
        arriving.tell();
        fetched.map_err(|error| match error {
            FetchError::Local(error) => JobError::io("fetch into", path, error).into(),
            FetchError::Unreadable(message) => {
                AttemptError::Unreadable(from.map, from.report(&message))
            }
        })
    }
}

/// Bytes of a fetch that are a move of the task. Who sends less within the time that a task may stand still
/// sends as good as nothing.
const MOVE_BYTES: u64 = 64 << 10;

/// What is being fetched, on its way into memory or a file. It breaks off when the attempt is cancelled.
struct Arriving<'a> {
    into: &'a mut dyn Write,
    progress: &'a Progress,
    work: &'a WorkMeter,
    /// Bytes that are not yet told as work that is done.
    untold: u64,
}

impl Arriving<'_> {
    fn tell(&mut self) {
        self.work.add(std::mem::take(&mut self.untold));
    }
}

impl Write for Arriving<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.progress.check_cancelled().map_err(JobError::into_io)?;
        let written = self.into.write(bytes)?;
        self.untold += written as u64;
        if self.untold >= MOVE_BYTES {
            self.tell();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}

impl MapLocation {
    fn describe(&self) -> String {
        let address = self.address.as_deref().unwrap_or("this worker");
        format!("of task {}, attempt {}, at {address}", self.map, self.attempt)
    }

    pub(super) fn report(&self, message: &str) -> UnreadableRecord {
        UnreadableRecord {
            attempt: self.attempt,
            worker: self.worker.clone(),
            message: shortened(message),
        }
    }
}

/// A reader whose bytes are work that is done.
struct Metered<R> {
    inner: R,
    work: Arc<WorkMeter>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.work.add(read as u64);
        Ok(read)
    }
}

/// A section of a file that is opened when it is read, so that waiting for its turn in a merge costs
/// nothing.
struct LazySection {
    path: PathBuf,
    section: Section,
    open: Option<SectionSource<Metered<SectionFile>>>,
    /// The file goes with the source.
    own: bool,
    work: Arc<WorkMeter>,
}

impl LazySection {
    fn opened(&self) -> Result<SectionSource<Metered<SectionFile>>, JobError> {
        if self.own {
            self.check_length()?;
        }
        let file = open_section_file(&self.path, self.section)?;
        let reader = Metered { inner: file, work: Arc::clone(&self.work) };
        let origin = self.path.display().to_string();
        Ok(SectionSource::new(reader, self.section.bytes, origin))
    }

    /// What was fetched had its length: a file that is shorter has lost some of it here.
    fn check_length(&self) -> Result<(), JobError> {
        let failed = |error| JobError::io("read", &self.path, error);
        let (found, wanted) = (fs::metadata(&self.path).map_err(failed)?.len(), self.section.bytes);
        if found == wanted {
            return Ok(());
        }
        Err(failed(io::Error::other(format!("it has {found} bytes, {wanted} were written"))))
    }
}

impl RunSource for LazySection {
    fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, JobError> {
        let source = match &mut self.open {
            Some(source) => source,
            None => {
                let opened = self.opened()?;
                self.open.insert(opened)
            }
        };
        source.next_block(block)
    }
}

impl Drop for LazySection {
    fn drop(&mut self) {
        if self.own {
            // It goes with the folder otherwise.
            let _ = fs::remove_file(&self.path);
        }
    }
}
