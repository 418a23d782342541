//! One piece on its way: from the worker that has it into a file of this one.
//!
//! The file has its name when it is whole, and another one before. What comes too slowly, or is not wanted
//! any more, breaks off.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use synod_jobs::cluster::shuffle::FetchError;
use synod_jobs::cluster::{JobId, TaskId};

use crate::jobs::fetch::Connections;
use crate::jobs::serve::path_ahead_of;

/// A piece of which fewer than so many bytes come in this time is given up.
const STEADY: (u64, Duration) = (64 << 10, Duration::from_secs(10));

/// Neighbouring partitions of a map output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::jobs) struct Piece {
    pub map: TaskId,
    pub attempt: u32,
    /// `host:port` of the worker that has it.
    pub address: String,
    pub partitions: Range<u32>,
    /// Where the first of them begins in the output.
    pub offset: u64,
    pub bytes: u64,
}

/// A piece that a thread is to fetch.
#[derive(Debug)]
pub(super) struct Order {
    pub job: JobId,
    pub piece: Piece,
    pub path: PathBuf,
    pub arrived: Arc<AtomicU64>,
    pub stopped: Arc<AtomicBool>,
}

impl Order {
    /// Where it is before it is whole.
    pub(super) fn coming(&self) -> PathBuf {
        self.path.with_extension("coming")
    }

    /// Fetches it; [`FetchError::Local`] is trouble with this machine's disk.
    pub(super) fn fetch(&self, connections: &Connections) -> Result<(), FetchError> {
        let Piece { map, attempt, address, partitions, bytes, .. } = &self.piece;
        if self.stopped.load(Relaxed) {
            return Err(FetchError::Unreadable("it is not wanted any more".to_owned()));
        }
        let coming = self.coming();
        let file = BufWriter::new(File::create(&coming).map_err(FetchError::Local)?);
        let mut arriving = Arriving { file, order: self, since: None };
        let path = path_ahead_of(&self.job, *map, *attempt, partitions.clone());
        match connections.get(address, &path, *bytes, &mut arriving) {
            // Not the disk's fault.
            Err(FetchError::Local(error)) if error.kind() == io::ErrorKind::TimedOut => {
                Err(FetchError::Unreadable(error.to_string()))
            }
            Ok(()) => {
                let flushed = arriving.file.flush();
                flushed.and_then(|()| fs::rename(coming, &self.path)).map_err(FetchError::Local)
            }
            Err(error) => Err(error),
        }
    }
}

/// A piece on its way to its file. It breaks off when it is not wanted any more, or comes too slowly.
struct Arriving<'a> {
    file: BufWriter<File>,
    order: &'a Order,
    /// When it was seen to be steady, and how much had arrived then.
    since: Option<(Instant, u64)>,
}

impl Write for Arriving<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Order { arrived, stopped, .. } = self.order;
        let (least, time) = STEADY;
        let all = arrived.load(Relaxed);
        let since = self.since.get_or_insert_with(|| (Instant::now(), all));
        if all - since.1 >= least {
            *since = (Instant::now(), all);
        }
        if stopped.load(Relaxed) || since.0.elapsed() > time {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "too slow, or not wanted any more",
            ));
        }
        let written = self.file.write(bytes)?;
        arrived.fetch_add(written as u64, Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
