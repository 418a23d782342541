//! The log's directory: segment files, spare files to become segments, and the steps between them.
//!
//! | name | what |
//! |---|---|
//! | `0000000000000001.wal` | segment 1; header and checkpoint were durable before it got this name |
//! | `spare-0` | a filled file without meaning, ready to become a segment |
//! | `part` | a file on its way to one of these; removed when the log is opened |
//!
//! An error `NoSpace` from here left every segment as it was. After any other error the names on disk
//! are unknown, and the log must stop.

use std::sync::Arc;

use synod_base::disk::{Disk, DiskFile, OpenMode};

use super::error::{WalError, is_no_space};
use super::header::SegmentHeader;

/// The directory of one log.
pub(super) struct Folder {
    disk: Arc<dyn Disk>,
    dir: String,
    segment_bytes: u64,
    max_spares: usize,
    /// Numbers of the spare files.
    spares: Vec<u32>,
    /// The file that is being filled, and how far it is.
    filling: Option<(Box<dyn DiskFile>, u64)>,
}

/// What a directory holds.
#[derive(Default)]
pub(super) struct Listing {
    /// Segment numbers without a gap up to the newest.
    pub(super) segments: Vec<u64>,
    /// Older segments before a gap: their removal had begun when the machine stopped.
    pub(super) leftovers: Vec<u64>,
    spares: Vec<u32>,
    part: bool,
}

impl Folder {
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        dir: &str,
        segment_bytes: u64,
        max_spares: usize,
    ) -> Result<(Self, Listing), WalError> {
        let io = |e| WalError::from_io("list its directory", e);
        disk.create_dir_all(dir).map_err(io)?;
        let mut parent = dir;
        while !parent.is_empty() {
            parent = parent.rsplit_once('/').map_or("", |(parent, _)| parent);
            disk.sync_dir(parent).map_err(io)?;
        }
        let mut listing = Listing::default();
        for name in disk.list(dir).map_err(io)? {
            listing.add(&name);
        }
        listing.set_leftovers_apart();
        let (dir, spares) = (dir.to_owned(), Vec::new());
        Ok((Folder { disk, dir, segment_bytes, max_spares, spares, filling: None }, listing))
    }

    /// Removes what a crash left behind and takes over the spares. Only after the segments were found
    /// in order: a damaged log is left as it is.
    pub(super) fn tidy(&mut self, listing: &Listing) -> Result<(), WalError> {
        let leftovers = listing.leftovers.iter().map(|segment| segment_name(*segment));
        let part = listing.part.then(|| PART.to_owned());
        let mut changed = false;
        for name in leftovers.chain(part) {
            changed = true;
            let path = self.path(&name);
            self.disk.remove(&path).map_err(|e| WalError::from_io("remove an old file", e))?;
        }
        for spare in &listing.spares {
            // A spare that is not whole was renamed without its content: of no use.
            let path = self.path(&spare_name(*spare));
            let len = self.disk.open(&path, OpenMode::Existing).and_then(|file| file.len());
            let len = len.map_err(|e| WalError::from_io("open a spare file", e))?;
            if len == self.segment_bytes && self.spares.len() < self.max_spares {
                self.spares.push(*spare);
            } else {
                changed = true;
                self.disk.remove(&path).map_err(|e| WalError::from_io("remove a spare file", e))?;
            }
        }
        if changed { self.sync_names() } else { Ok(()) }
    }

    pub(super) fn open_segment(&self, segment: u64) -> Result<Box<dyn DiskFile>, WalError> {
        self.disk
            .open(&self.path(&segment_name(segment)), OpenMode::Existing)
            .map_err(|error| WalError::Io { action: "open a segment", error })
    }

    /// Makes a durable segment that begins with `header` and `checkpoint`, from a spare file if there is
    /// one and `bytes`, what will be in it at least, fit. Returns the file and its length.
    pub(super) fn create_segment(
        &mut self,
        mut header: SegmentHeader,
        checkpoint_at: u64,
        checkpoint: &[u8],
        bytes: u64,
    ) -> Result<(Box<dyn DiskFile>, u64), WalError> {
        let spare = self.spares.last().copied().filter(|_| bytes <= self.segment_bytes);
        let from = match spare {
            Some(spare) => spare_name(spare),
            None => {
                self.drop_part()?;
                PART.to_owned()
            }
        };
        header.filled_bytes = if spare.is_some() { self.segment_bytes } else { 0 };
        let mode = if spare.is_some() { OpenMode::Existing } else { OpenMode::CreateNew };
        let (from, to) = (self.path(&from), self.path(&segment_name(header.segment)));
        let written = self.disk.open(&from, mode).and_then(|mut file| {
            file.write_at(0, &header.encode())?;
            file.write_at(checkpoint_at, checkpoint)?;
            file.sync_data()?;
            self.disk.rename(&from, &to)?;
            Ok(file)
        });
        let file = match written {
            Ok(file) => file,
            Err(e) => {
                // A spare stays a spare; a new file goes, so that it takes no room.
                if spare.is_none() && is_no_space(&e) {
                    self.drop_part()?;
                }
                return Err(WalError::from_io("begin a segment", e));
            }
        };
        if spare.is_some() {
            self.spares.pop();
        }
        self.sync_names()?;
        let len = file.len().map_err(|error| WalError::Io { action: "begin a segment", error })?;
        Ok((file, len))
    }

    /// Takes segments out of the log, oldest first: a whole file becomes a spare if one is wanted.
    /// Segments that cannot go for lack of room stay; how many went.
    pub(super) fn retire(&mut self, segments: &[(u64, u64)]) -> Result<usize, WalError> {
        let mut retired = 0;
        for (segment, bytes) in segments {
            let path = self.path(&segment_name(*segment));
            let result = if *bytes == self.segment_bytes && self.spares.len() < self.max_spares {
                let spare = self.unused_spare();
                self.disk.rename(&path, &self.path(&spare_name(spare))).map(|()| {
                    self.spares.push(spare);
                })
            } else {
                self.disk.remove(&path)
            };
            match result {
                Ok(()) => retired += 1,
                Err(e) if is_no_space(&e) => break,
                Err(error) => return Err(WalError::Io { action: "retire a segment", error }),
            }
        }
        if retired > 0 {
            self.sync_names()?;
        }
        Ok(retired)
    }

    /// Fills the next spare file by at most `max_bytes`, durably; whether a spare is ready.
    pub(super) fn fill_spare(&mut self, max_bytes: usize) -> Result<bool, WalError> {
        if !self.spares.is_empty() || self.max_spares == 0 {
            return Ok(true);
        }
        let failed = |e| WalError::from_io("fill a spare file", e);
        let (mut file, mut filled) = match self.filling.take() {
            Some(filling) => filling,
            None => (self.disk.open(&self.path(PART), OpenMode::CreateNew).map_err(failed)?, 0),
        };
        let step = (max_bytes as u64).min(self.segment_bytes - filled);
        let result = fill(&mut *file, filled, step);
        if result.is_ok() {
            filled += step;
        }
        if result.is_ok() && filled == self.segment_bytes {
            let spare = self.unused_spare();
            drop(file);
            let (from, to) = (self.path(PART), self.path(&spare_name(spare)));
            self.disk.rename(&from, &to).map_err(failed)?;
            self.sync_names()?;
            self.spares.push(spare);
            return Ok(true);
        }
        self.filling = Some((file, filled));
        result.map_err(failed)?;
        Ok(false)
    }

    pub(super) fn has_spare(&self) -> bool {
        !self.spares.is_empty()
    }

    /// Bytes in files that are no segments.
    pub(super) fn spare_bytes(&self) -> u64 {
        let filling = self.filling.as_ref().map_or(0, |(_, filled)| *filled);
        self.spares.len() as u64 * self.segment_bytes + filling
    }

    /// Removes the file that is being made, if there is one.
    fn drop_part(&mut self) -> Result<(), WalError> {
        self.filling = None;
        match self.disk.remove(&self.path(PART)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(WalError::from_io("remove an unfinished file", e))
            }
            _ => Ok(()),
        }
    }

    fn unused_spare(&self) -> u32 {
        let unused = (0..).find(|number| !self.spares.contains(number));
        unused.expect("there are fewer spares than numbers")
    }

    fn sync_names(&self) -> Result<(), WalError> {
        self.disk
            .sync_dir(&self.dir)
            .map_err(|error| WalError::Io { action: "sync its directory", error })
    }

    fn path(&self, name: &str) -> String {
        if self.dir.is_empty() { name.to_owned() } else { format!("{}/{name}", self.dir) }
    }
}

impl Listing {
    fn add(&mut self, name: &str) {
        if let Some(hex) = name.strip_suffix(".wal") {
            if let Ok(segment) = u64::from_str_radix(hex, 16)
                && segment_name(segment) == name
            {
                self.segments.push(segment);
            }
        } else if let Some(number) = name.strip_prefix("spare-") {
            self.spares.extend(number.parse::<u32>().ok());
        } else if name == PART {
            self.part = true;
        }
    }

    fn set_leftovers_apart(&mut self) {
        self.segments.sort_unstable();
        let gap = self.segments.windows(2).rposition(|pair| pair[0] + 1 != pair[1]);
        if let Some(gap) = gap {
            self.leftovers = self.segments.drain(..=gap).collect();
        }
    }
}

/// Writes zeros and makes them durable.
pub(super) fn fill(file: &mut dyn DiskFile, offset: u64, bytes: u64) -> std::io::Result<()> {
    let zeros = vec![0; bytes.min(FILL_PIECE_BYTES) as usize];
    let mut done = 0;
    while done < bytes {
        let piece = (bytes - done).min(FILL_PIECE_BYTES);
        file.write_at(offset + done, &zeros[..piece as usize])?;
        done += piece;
    }
    file.sync_data()
}

/// The file name of a segment.
pub(super) fn segment_name(segment: u64) -> String {
    format!("{segment:016x}.wal")
}

fn spare_name(spare: u32) -> String {
    format!("spare-{spare}")
}

const PART: &str = "part";

/// Zeros are written in pieces of this size.
const FILL_PIECE_BYTES: u64 = 256 * 1024;
