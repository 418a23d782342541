//! fjall's journals, looked at before fjall opens them.
//!
//! ```text
//! N.jnl    batch | batch | .. | zeros (the file is made 64 MB long in advance)
//! batch    1 | items u32 | sequence number u64
//!          item: 2 | kind u8 | compression u8 | tree u64 | key bytes u16 | value bytes u32
//!                | stored bytes u32 | key | stored value
//!          or:   4 | tree u64
//!          3 | XXH3-64 of the items u64 | "FJL" 3
//! ```
//!
//! What was not synced, a power loss may take in any pieces. fjall takes a batch without its end for the
//! torn tail, but refuses to open over one that is whole in shape and has zeros inside. Both are a tail:
//! the newest journal is cut behind its last batch that checks out. That loses nothing but batches that
//! were not durable, and if a rotten disk lost others, the node notices: its log begins later, or a table
//! holds batches that are as new as the first one cut off. (A power loss while a table was being made of
//! batches that were not synced looks the same, and is refused, too: that replica is made anew.)
//!
//! Older journals were synced before the next was begun. One that is not whole, with batches after it in a
//! newer one, is damage and stays so. (With none after it, it is the tail: a full disk tore it.)

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use crate::engine::EngineError;

/// What the journals hold once their torn tail is off.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    /// Sequence number of the last batch, if there is one.
    pub(super) last: Option<u64>,
    /// That of the first one that was cut off, if its first bytes were there.
    pub(super) cut: Option<u64>,
    /// Whether anything was cut off, or the very first journal is still there: then there is a batch.
    pub(super) had_any: bool,
}

impl Found {
    /// Whether a batch that a table holds was cut off, or lay behind the last one.
    pub(super) fn lacks(&self, newest_in_tables: u64) -> bool {
        let behind = |last| newest_in_tables > last;
        self.cut.is_some_and(|cut| newest_in_tables >= cut)
            || self.last.map_or(self.had_any, behind)
    }
}

/// Cuts the torn tail off the journals in `folder`.
pub(super) fn cut_torn_tail(folder: &Path) -> Result<Found, EngineError> {
    let failed = |e: io::Error| EngineError::Io(format!("its journals cannot be read: {e}"));
    // Never under the hands of one who writes them.
    let _held = hold(folder)?;
    let mut all = Found::default();
    let mut torn: Vec<(PathBuf, u64)> = Vec::new();
    for (number, path) in list(folder).map_err(failed)? {
        all.had_any |= number == 0;
        let found = scan(&path).map_err(failed)?;
        if let (Some((path, at)), Some(_)) = (torn.first(), found.last) {
            let path = path.display();
            return Err(EngineError::Damaged(format!(
                "{path} is damaged at byte {at}, and newer batches follow"
            )));
        }
        all.last = all.last.max(found.last);
        if !found.rest_is_zeros {
            // Of a header that is torn itself the number may be anything.
            let is_next = |next: &u64| all.last.is_none_or(|last| *next > last);
            all.cut = all.cut.or(found.next.filter(is_next));
            all.had_any = true;
            torn.push((path, found.good_bytes));
        }
    }
    for (path, good_bytes) in torn {
        let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
        file.set_len(good_bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    }
    Ok(all)
}

/// fjall's own lock, if there is an engine yet; let go of before fjall takes it.
fn hold(folder: &Path) -> Result<Option<File>, EngineError> {
    let failed = |e: io::Error| EngineError::Io(format!("its lock cannot be taken: {e}"));
    let lock = match OpenOptions::new().read(true).write(true).open(folder.join("lock")) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        lock => lock.map_err(failed)?,
    };
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Err(EngineError::Io(LOCKED.to_owned())),
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

/// Writes the journals over themselves and syncs them. After a failed sync the operating system may take
/// for written what is only in its memory; a later sync would then promise what is not so.
pub(super) fn write_back(folder: &Path) -> io::Result<()> {
    list(folder)?.iter().try_for_each(|(_, path)| write_over(path))
}

fn write_over(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    loop {
        match file.read_at(&mut piece, at)? {
            0 => return file.sync_all(),
            // A hole stays one.
            n if piece[..n] == ZEROS[..n] => at += n as u64,
            n => {
                file.write_all_at(&piece[..n], at)?;
                at += n as u64;
            }
        }
    }
}

/// The journals by number, oldest first. None where there is no engine yet.
fn list(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut journals = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(journals),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // What else is there is fjall's to judge.
        if let Some(number) = name.strip_suffix(".jnl").and_then(|number| number.parse().ok()) {
            journals.push((number, path));
        }
    }
    journals.sort_unstable();
    Ok(journals)
}

/// What a journal holds.
struct Scan {
    /// Where the last good batch ends.
    good_bytes: u64,
    /// Its sequence number.
    last: Option<u64>,
    /// The sequence number behind it, of a batch that is not whole.
    next: Option<u64>,
    rest_is_zeros: bool,
}

fn scan(path: &Path) -> io::Result<Scan> {
    let mut input = Input {
        file: BufReader::with_capacity(BUFFER_BYTES, File::open(path)?),
        at: 0,
        sequence: None,
    };
    let mut found = Scan { good_bytes: 0, last: None, next: None, rest_is_zeros: true };
    loop {
        match input.batch() {
            Ok(true) => {
                found.good_bytes = input.at;
                found.last = input.sequence.take();
            }
            Ok(false) => break,
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => break,
            Err(e) => return Err(e),
        }
    }
    found.next = input.sequence;
    let mut rest = input.file.into_inner();
    io::Seek::seek(&mut rest, io::SeekFrom::Start(found.good_bytes))?;
    let mut piece = vec![0; PIECE_BYTES];
    while found.rest_is_zeros {
        match rest.read(&mut piece)? {
            0 => break,
            n => found.rest_is_zeros = piece[..n] == ZEROS[..n],
        }
    }
    Ok(found)
}

struct Input {
    file: BufReader<File>,
    at: u64,
    /// Of the batch that was begun last.
    sequence: Option<u64>,
}

impl Input {
    /// Reads a batch; whether all of it is there and checks out.
    fn batch(&mut self) -> io::Result<bool> {
        if self.byte()? != TAG_START {
            return Ok(false);
        }
        let items = u32::from_le_bytes(self.array()?);
        self.sequence = Some(u64::from_le_bytes(self.array()?));
        let mut checksum = Xxh3::new();
        for _ in 0..items {
            let tag = self.byte()?;
            checksum.update(&[tag]);
            match tag {
                TAG_ITEM => {
                    let header: [u8; 20] = self.array()?;
                    checksum.update(&header);
                    let key_bytes = u16::from_le_bytes([header[10], header[11]]);
                    let stored = [header[16], header[17], header[18], header[19]];
                    let bytes = u64::from(key_bytes) + u64::from(u32::from_le_bytes(stored));
                    self.sum(bytes, &mut checksum)?;
                }
                TAG_CLEAR => self.sum(8, &mut checksum)?,
                _ => return Ok(false),
            }
        }
        let ended = self.byte()? == TAG_END;
        let expected = u64::from_le_bytes(self.array()?);
        let trailer: [u8; 4] = self.array()?;
        let good = ended && expected == checksum.digest() && trailer == *TRAILER;
        Ok(good)
    }

    fn sum(&mut self, mut bytes: u64, checksum: &mut Xxh3) -> io::Result<()> {
        let mut piece = [0; 4096];
        while bytes > 0 {
            let most = usize::try_from(bytes).unwrap_or(usize::MAX).min(piece.len());
            let read = self.file.read(&mut piece[..most])?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            checksum.update(&piece[..read]);
            bytes -= read as u64;
            self.at += read as u64;
        }
        Ok(())
    }

    fn byte(&mut self) -> io::Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }
}

const TAG_START: u8 = 1;
const TAG_ITEM: u8 = 2;
const TAG_END: u8 = 3;
const TAG_CLEAR: u8 = 4;
const TRAILER: &[u8; 4] = b"FJL\x03";

/// What another opener is told.
pub(super) const LOCKED: &str = "another process has it open";

const BUFFER_BYTES: usize = 64 * 1024;
const PIECE_BYTES: usize = 64 * 1024;

/// Compared with as a whole: most of a new journal is zeros.
static ZEROS: [u8; PIECE_BYTES] = [0; PIECE_BYTES];
