//! The log of one attempt: what its task says, in files of a bounded size that keep its beginning and its
//! end.
//!
//! ```text
//! <job>/logs/<task>-<attempt>.log       the first bytes
//! <job>/logs/<task>-<attempt>.log.<n>   what follows, in pieces of one size; the last two are kept
//! ```
//!
//! A piece's number says where in the log it belongs, so a reader knows how much is left out between the
//! beginning and the pieces that are there. A log that cannot be written is no reason for a task to fail.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use synod_jobs::TaskLog;
use synod_jobs::cluster::TaskId;

/// Name of the folder of logs within the worker's folder for a job.
pub(super) const LOGS: &str = "logs";

/// Bytes of the beginning.
const HEAD_BYTES: usize = 512 << 10;
/// Bytes of a piece behind it.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces that are kept.
const PIECES: u64 = 2;

/// A log that is being written. The first line makes its file.
#[derive(Debug)]
pub(super) struct FileLog {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    head: PathBuf,
    /// The open file and the bytes that fit into it.
    open: Option<(File, usize)>,
    next_piece: u64,
    broken: bool,
}

impl FileLog {
    /// The log of an attempt; `folder` is the worker's for the job.
    pub(super) fn new(folder: &Path, task: TaskId, attempt: u32) -> FileLog {
        let head = head_of(folder, task, attempt);
        FileLog { state: Mutex::new(State { head, open: None, next_piece: 0, broken: false }) }
    }
}

impl TaskLog for FileLog {
    fn line(&self, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.broken {
            let written = state.write(bytes).and_then(|()| state.write(b"\n"));
            state.broken = written.is_err();
        }
    }
}

impl State {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (file, room) = match &mut self.open {
                Some((file, room)) if *room > 0 => (file, room),
                full => {
                    let next = match full {
                        None => {
                            if let Some(folder) = self.head.parent() {
                                fs::create_dir_all(folder)?;
                            }
                            (File::create(&self.head)?, HEAD_BYTES)
                        }
                        Some(_) => {
                            let number = self.next_piece;
                            if let Some(old) = number.checked_sub(PIECES) {
                                fs::remove_file(piece_of(&self.head, old))?;
                            }
                            self.next_piece += 1;
                            (File::create(piece_of(&self.head, number))?, PIECE_BYTES)
                        }
                    };
                    let (file, room) = full.insert(next);
                    (file, room)
                }
            };
            let (now, later) = bytes.split_at(bytes.len().min(*room));
            file.write_all(now)?;
            *room -= now.len();
            bytes = later;
        }
        Ok(())
    }
}

fn head_of(folder: &Path, task: TaskId, attempt: u32) -> PathBuf {
    folder.join(LOGS).join(format!("{task}-{attempt}.log"))
}

fn piece_of(head: &Path, number: u64) -> PathBuf {
    let mut name = head.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// What is kept of a log, also while it is being written; `None` if the attempt has said nothing.
pub(super) fn read_log(folder: &Path, task: TaskId, attempt: u32) -> io::Result<Option<Vec<u8>>> {
    let head = head_of(folder, task, attempt);
    let mut log = match fs::read(&head) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let mut pieces = Vec::new();
    let prefix = format!("{task}-{attempt}.log.");
    for entry in fs::read_dir(folder.join(LOGS))? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.parse::<u64>().ok());
        pieces.extend(number);
    }
    pieces.sort_unstable();
    let left_out = pieces.first().copied().unwrap_or(0);
    if left_out > 0 {
        let bytes = left_out * PIECE_BYTES as u64;
        log.extend_from_slice(format!("\n... {bytes} bytes are left out here ...\n").as_bytes());
    }
    for number in pieces {
        match fs::read(piece_of(&head, number)) {
            // The writer has gone on meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => log.append(&mut read?),
        }
    }
    Ok(Some(log))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_bytes(folder: &Path) -> u64 {
        let entries = fs::read_dir(folder.join(LOGS)).unwrap();
        entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    }

    #[test]
    fn a_short_log_is_kept_whole_and_a_silent_attempt_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let log = FileLog::new(folder.path(), TaskId::map(1), 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(read_log(folder.path(), TaskId::map(1), 0).unwrap(), None);
        log.line(b"one");
        log.line(b"");
        log.line(b"two");
        let read = read_log(folder.path(), TaskId::map(1), 0).unwrap().unwrap();
        assert_eq!(read, b"one\n\ntwo\n");
        assert_eq!(read_log(folder.path(), TaskId::map(1), 1).unwrap(), None);
    }

    #[test]
    fn a_long_log_keeps_its_beginning_and_its_end_within_a_mebibyte() {
        let folder = tempfile::tempdir().unwrap();
        let log = FileLog::new(folder.path(), TaskId::reduce(7), 3);
        let line = |number: u32| format!("line {number:07}");
        let all = 200_000;
        for number in 0..all {
            log.line(line(number).as_bytes());
        }
        assert!(folder_bytes(folder.path()) <= 1 << 20);
        let read = read_log(folder.path(), TaskId::reduce(7), 3).unwrap().unwrap();
        let read = String::from_utf8(read).unwrap();
        assert!(read.starts_with("line 0000000\nline 0000001\n"));
        assert!(read.ends_with(&format!("{}\n", line(all - 1))));
        let (_, rest) = read.split_once("\n... ").unwrap();
        let left_out: usize = rest.split_once(' ').unwrap().0.parse().unwrap();
        let said = 13 * all as usize;
        let notice = format!("\n... {left_out} bytes are left out here ...\n");
        assert_eq!(read.len() - notice.len() + left_out, said);
    }

    #[test]
    fn a_log_that_finds_no_room_is_given_up_and_nobody_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let head = head_of(folder.path(), TaskId::map(2), 0);
        fs::create_dir(head.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("/dev/full", &head).unwrap();
        let log = FileLog::new(folder.path(), TaskId::map(2), 0);
        log.line(b"one");
        assert!(log.state.lock().unwrap().broken);
        // Nor is it begun anew when there is room again: nobody could tell what is missing.
        fs::remove_file(&head).unwrap();
        log.line(b"two");
        assert!(!head.exists());
    }

    #[test]
    fn one_line_longer_than_everything_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let log = FileLog::new(folder.path(), TaskId::map(0), 0);
        log.line(&vec![b'x'; 5 << 20]);
        log.line(b"end");
        assert!(folder_bytes(folder.path()) <= 1 << 20);
        let read = read_log(folder.path(), TaskId::map(0), 0).unwrap().unwrap();
        assert!(read.starts_with(b"xxx") && read.ends_with(b"xxx\nend\n"));
    }
}
