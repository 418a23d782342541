//! The lines of one key on the left side, which a join reads again for each line on the right.
//!
//! Up to [`HELD_BYTES`] are held in memory, which is what a task's output takes, too. More are written to a
//! file of the attempt, packed and with checksums as runs are. Each time they are read all of them go to the
//! output, so that a key with many lines costs no more than the writing of what it joins to.

use crate::error::JobError;
use crate::run::RunSource;
use crate::run::file::open_section;
use crate::run::record;
use crate::run::writer::{RunWriter, Section};
use crate::task::TaskContext;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Bytes of lines that are held in memory, and one line more.
const HELD_BYTES: usize = 1 << 20;

/// The lines, in the order in which they came.
pub(super) struct LeftLines<'t> {
    task: &'t TaskContext<'t>,
    /// Pairs without a key, as in a block of a run.
    held: Vec<u8>,
    /// Where all of them are once they are too many.
    disk: Option<OnDisk>,
}

/// A file with one section. It goes with the value.
struct OnDisk {
    path: PathBuf,
    state: State,
}

enum State {
    Writing(RunWriter<File>),
    Written(Section),
}

impl<'t> LeftLines<'t> {
    /// None, of a task whose scratch folder nobody else puts files into.
    pub(super) fn new(task: &'t TaskContext<'t>) -> LeftLines<'t> {
        LeftLines { task, held: Vec::new(), disk: None }
    }

    /// One more. Not behind [`LeftLines::each`].
    pub(super) fn push(&mut self, line: &[u8]) -> Result<(), JobError> {
        if let Some(disk) = &mut self.disk {
            return disk.push(line);
        }
        record::put(&mut self.held, b"", line);
        if self.held.len() <= HELD_BYTES {
            return Ok(());
        }
        let disk = self.disk.insert(OnDisk::create(self.task.scratch()?)?);
        each_of(&self.held, |line| disk.push(line))?;
        // It would be held in vain.
        self.held = Vec::new();
        Ok(())
    }

    /// Gives all of them to `f`.
    pub(super) fn each(&mut self, mut f: impl FnMut(&[u8])) -> Result<(), JobError> {
        let mut give = |line: &[u8]| {
            f(line);
            Ok(())
        };
        match &mut self.disk {
            None => each_of(&self.held, give),
            Some(disk) => disk.each(self.task, &mut give),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.disk.is_none()
    }

    /// Whether they were too many to be held.
    pub(super) fn is_on_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.held.clear();
        self.disk = None;
    }
}

impl OnDisk {
    fn create(folder: &Path) -> Result<OnDisk, JobError> {
        let path = folder.join("left-lines");
        let file = File::create(&path).map_err(|error| JobError::io("create", &path, error))?;
        let mut writer = RunWriter::new(file);
        writer.begin_partition().map_err(|error| JobError::io("write", &path, error))?;
        Ok(OnDisk { path, state: State::Writing(writer) })
    }

    fn push(&mut self, line: &[u8]) -> Result<(), JobError> {
        let State::Writing(writer) = &mut self.state else {
            unreachable!("a key's lines on the left are all before those on the right")
        };
        writer.push(b"", line).map_err(|error| JobError::io("write", &self.path, error))
    }

    fn each(
        &mut self,
        task: &TaskContext<'_>,
        give: &mut impl FnMut(&[u8]) -> Result<(), JobError>,
    ) -> Result<(), JobError> {
        let section = self.section()?;
        let mut source = open_section(&self.path, section)?;
        let mut block = Vec::new();
        while source.next_block(&mut block).map_err(|error| self.unreadable(error))? {
            task.progress.step()?;
            each_of(&block, &mut *give)?;
        }
        Ok(())
    }

    /// Where the lines are in the file; from now on there are no more.
    fn section(&mut self) -> Result<Section, JobError> {
        let section = match std::mem::replace(&mut self.state, State::Written(Section::default())) {
            State::Written(section) => section,
            State::Writing(writer) => {
                let finished = writer.finish();
                let (_, index) =
                    finished.map_err(|error| JobError::io("write", &self.path, error))?;
                index.sections[0]
            }
        };
        self.state = State::Written(section);
        Ok(section)
    }

    /// No map task is to blame for what this one has written.
    fn unreadable(&self, error: JobError) -> JobError {
        match error {
            JobError::DamagedRun { what, .. } => JobError::io(
                "read again",
                &self.path,
                io::Error::new(io::ErrorKind::InvalidData, what),
            ),
            other => other,
        }
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        // If it stays it goes with the attempt's folder.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Gives each line of a block to `f`. Blocks come from here, or have passed their checksum.
fn each_of(block: &[u8], mut f: impl FnMut(&[u8]) -> Result<(), JobError>) -> Result<(), JobError> {
    let mut at = 0;
    while at < block.len() {
        let pair = record::read(block, at).expect("a block holds whole pairs");
        f(&block[pair.value.clone()])?;
        at = pair.value.end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Progress;
    use crate::task::{Attempts, NoLog, TaskKind};

    fn with_lines(check: impl FnOnce(&Path, &Progress, LeftLines<'_>)) {
        let folder = tempfile::tempdir().unwrap();
        let (scratch, side) = (folder.path().join("scratch"), folder.path().join("side"));
        let progress = Progress::new();
        let folders = (scratch.clone(), side);
        let task = TaskContext::new(
            "join",
            TaskKind::Reduce,
            0,
            (0, Attempts::both(1)),
            (1, 1),
            &progress,
            &NoLog,
            folders,
        );
        check(&scratch.join("left-lines"), &progress, LeftLines::new(&task));
    }

    fn all(lines: &mut LeftLines<'_>) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        lines.each(|line| all.push(line.to_vec())).unwrap();
        all
    }

    #[test]
    fn few_lines_are_in_memory_and_many_in_a_file_and_both_can_be_read_again_and_again() {
        with_lines(|file, _, mut lines| {
            for count in [3, 0, 30_000, 7, 30_000] {
                assert!(lines.is_empty());
                let expected: Vec<_> = (0..count).map(|n| vec![b'x'; n % 200]).collect();
                let mut most = 0;
                for line in &expected {
                    lines.push(line).unwrap();
                    most = most.max(lines.held.len());
                }
                assert!(most <= HELD_BYTES + 201, "{most}");
                let is_many = count > 1_000;
                assert_eq!((lines.is_on_disk(), file.exists()), (is_many, is_many));
                assert_eq!(lines.held.is_empty(), count == 0 || is_many);
                assert_eq!(all(&mut lines), expected);
                assert_eq!(all(&mut lines), expected);
                lines.clear();
                assert!(!file.exists());
            }
        });
    }

    #[test]
    fn lines_on_disk_are_checked_and_to_read_them_can_be_cancelled() {
        with_lines(|file, progress, mut lines| {
            (0..3_000).for_each(|_| lines.push(&[b'x'; 1_000]).unwrap());
            assert_eq!(all(&mut lines).len(), 3_000);
            let bytes = std::fs::read(file).unwrap();
            let mut damaged = bytes.clone();
            damaged[bytes.len() / 2] ^= 1;
            std::fs::write(file, damaged).unwrap();
            let error = lines.each(|_| ()).unwrap_err().to_string();
            assert!(error.contains("cannot read again") && error.contains("checksum"), "{error}");
            std::fs::write(file, bytes).unwrap();
            progress.cancel();
            assert!(matches!(lines.each(|_| ()), Err(JobError::Cancelled)));
        });
    }
}
