//! Inputs in the file system of this machine.
//!
//! A file is the frozen one if it has its length and its modification time, and no other file was put in
//! its place: `cp -p` and `rsync -t` keep both. Another file has another inode, and a time of change that
//! nobody can set. Each of them alone says too little: some file systems (FAT, FUSE without numbers of its
//! own) number a file anew when they have forgotten it, and a new hard link, as backups make them, or new
//! rights change a file's time and not its bytes. Numbers of devices and inodes mean something to processes
//! of one boot with the same mounts only, so on other machines length and modification time decide alone.

use crate::error::JobError;
use crate::framing::InputFormat;
use crate::input::codec::codec_of;
use crate::input::{InputFile, InputStore, local_path, names};
use crate::progress::Progress;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Files of this machine.
pub(crate) struct LocalFiles;

impl InputStore for LocalFiles {
    fn list(
        &self,
        name: &Path,
        format: &InputFormat,
        progress: &Progress,
    ) -> Result<Vec<InputFile>, JobError> {
        let paths = names::files_of(local_path(name), format.recursive, progress)?;
        let freeze = |path: &PathBuf| {
            progress.step()?;
            freeze(path, format)
        };
        paths.iter().map(freeze).collect()
    }

    fn open(&self, input: &InputFile, range: Range<u64>) -> Result<Box<dyn Read + Send>, JobError> {
        let (file, metadata) = open_regular(&input.path).map_err(|error| match error {
            JobError::InputMissing { path } => gone(&path),
            // It was a file when the job was planned: no other worker finds another thing there.
            JobError::InputIsFolder { path } | JobError::InputNotRegular { path } => {
                JobError::InputChanged { path, what: "it is no file any more".to_owned() }
            }
            other => other,
        })?;
        compare(input, &metadata)?;
        Ok(Box::new(Positioned { file, at: range.start }))
    }

    fn check_unchanged(&self, input: &InputFile) -> Result<(), JobError> {
        let metadata = std::fs::metadata(&input.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => gone(&input.path),
            _ => JobError::io("examine", &input.path, error),
        })?;
        compare(input, &metadata)
    }
}

/// A file that is read from a place on, without a position that others share.
struct Positioned {
    file: File,
    at: u64,
}

impl Read for Positioned {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Looks at one file and freezes what it sees.
fn freeze(path: &Path, format: &InputFormat) -> Result<InputFile, JobError> {
    let (file, metadata) = open_regular(path)?;
    let codec = if format.keep_compressed {
        None
    } else {
        let mut first = [0; 8];
        let mut filled = 0;
        while filled < first.len() {
            match file.read_at(&mut first[filled..], filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(JobError::io("read", path, error)),
            }
        }
        codec_of(path, &first[..filled])?
    };
    Ok(InputFile {
        path: path.to_owned(),
        bytes: metadata.len(),
        modified: times(&metadata),
        codec,
        version: identity(&metadata).map(|identity| identity.to_string()),
        whole: false,
    })
}

fn gone(path: &Path) -> JobError {
    JobError::InputChanged { path: path.to_owned(), what: "it is gone".to_owned() }
}

fn compare(input: &InputFile, metadata: &Metadata) -> Result<(), JobError> {
    let what = if metadata.len() != input.bytes {
        format!("it had {} bytes and has {}", input.bytes, metadata.len())
    } else if times(metadata) != input.modified {
        "its modification time moved".to_owned()
    } else if is_another(input, metadata) {
        "another file stands in its place".to_owned()
    } else {
        return Ok(());
    };
    Err(JobError::InputChanged { path: input.path.clone(), what })
}

/// Which file it is, for processes that see the same mounts.
#[derive(Debug, PartialEq, Eq)]
struct Identity<'m> {
    mounts: &'m str,
    file: (u64, u64),
    changed: (i64, i64),
}

impl fmt::Display for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity { mounts, file: (device, inode), changed: (seconds, nanos) } = self;
        write!(f, "{mounts} {device} {inode} {seconds} {nanos}")
    }
}

impl<'m> Identity<'m> {
    /// What was shown before.
    fn parse(text: &'m str) -> Option<Identity<'m>> {
        let mut words = text.split(' ');
        let mounts = words.next()?;
        let file = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let changed = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Identity { mounts, file, changed })
    }

    /// Whether both were seen by the same mounts, and are two files.
    fn differs(&self, other: &Identity<'_>) -> bool {
        self.mounts == other.mounts && self.file != other.file && self.changed != other.changed
    }
}

/// `None` where processes cannot tell whether they see the same mounts.
fn identity(metadata: &Metadata) -> Option<Identity<'static>> {
    let file = (metadata.dev(), metadata.ino());
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    Some(Identity { mounts: mounts()?, file, changed })
}

fn is_another(input: &InputFile, metadata: &Metadata) -> bool {
    let frozen = input.version.as_deref().and_then(Identity::parse);
    frozen.zip(identity(metadata)).is_some_and(|(frozen, found)| frozen.differs(&found))
}

/// Equal in processes of one boot that see the same mounts; `None` if the system does not say.
fn mounts() -> Option<&'static str> {
    static MOUNTS: OnceLock<Option<String>> = OnceLock::new();
    let find = || {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = std::fs::metadata("/proc/self/ns/mnt").ok()?.ino();
        Some(format!("{}-{namespace}", boot.trim()))
    };
    MOUNTS.get_or_init(find).as_deref()
}

fn open_regular(path: &Path) -> Result<(File, Metadata), JobError> {
    // Looked at before it is opened: opening a pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, error))?;
    if metadata.is_dir() {
        return Err(JobError::InputIsFolder { path: path.to_owned() });
    }
    if !metadata.is_file() {
        return Err(JobError::InputNotRegular { path: path.to_owned() });
    }
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    let metadata = file.metadata().map_err(|error| unreadable(path, error))?;
    Ok((file, metadata))
}

pub(super) fn unreadable(path: &Path, source: io::Error) -> JobError {
    match source.kind() {
        io::ErrorKind::NotFound => JobError::InputMissing { path: path.to_owned() },
        _ => JobError::InputUnreadable { path: path.to_owned(), source },
    }
}

fn times(metadata: &Metadata) -> (i64, i64) {
    (metadata.mtime(), metadata.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// A file `in` as a plan has it, and its folder.
    fn frozen() -> (tempfile::TempDir, InputFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        fs::write(&path, "one\ntwo\n").unwrap();
        let input = freeze(&path, &InputFormat::default()).unwrap();
        (folder, input)
    }

    /// Puts another file of equal length and time in the place of one.
    fn replace(folder: &Path, input: &InputFile) {
        let other = folder.join("other");
        let old = fs::metadata(&input.path).unwrap();
        let changed = |of: &Metadata| (of.ctime(), of.ctime_nsec());
        fs::write(&other, "two\none\n").unwrap();
        // The kernel's clock for files ticks every few milliseconds.
        while changed(&fs::metadata(&other).unwrap()) == changed(&old) {
            fs::write(&other, "two\none\n").unwrap();
        }
        let modified = old.modified().unwrap();
        File::options().write(true).open(&other).unwrap().set_modified(modified).unwrap();
        fs::rename(&other, &input.path).unwrap();
    }

    #[test]
    fn a_file_in_the_place_of_another_is_noticed_though_length_and_time_are_the_same() {
        let (folder, input) = frozen();
        LocalFiles.check_unchanged(&input).unwrap();
        replace(folder.path(), &input);
        let errors = [
            LocalFiles.check_unchanged(&input).unwrap_err(),
            LocalFiles.open(&input, 0..8).map(drop).unwrap_err(),
        ];
        for error in errors {
            assert!(error.to_string().contains("another file stands in its place"), "{error}");
        }
    }

    #[test]
    fn rights_and_links_and_renaming_to_and_fro_are_no_change() {
        let (folder, input) = frozen();
        fs::set_permissions(&input.path, fs::Permissions::from_mode(0o400)).unwrap();
        LocalFiles.check_unchanged(&input).unwrap();
        fs::hard_link(&input.path, folder.path().join("link")).unwrap();
        LocalFiles.check_unchanged(&input).unwrap();
        fs::rename(&input.path, folder.path().join("aside")).unwrap();
        fs::rename(folder.path().join("aside"), &input.path).unwrap();
        LocalFiles.check_unchanged(&input).unwrap();
    }

    #[test]
    fn another_machine_a_renumbered_file_and_an_older_plan_go_by_length_and_time() {
        let (folder, frozen) = frozen();
        let version = frozen.version.clone().unwrap();
        let seen = Identity::parse(&version).unwrap();
        let elsewhere = Identity { mounts: "elsewhere-1", ..seen };
        let renumbered = Identity { file: (seen.file.0, seen.file.1 + 1), ..seen };
        assert!(!renumbered.differs(&seen) && !seen.differs(&seen));
        replace(folder.path(), &frozen);
        for version in [Some(elsewhere.to_string()), None, Some("17".to_owned())] {
            let input = InputFile { version, ..frozen.clone() };
            LocalFiles.check_unchanged(&input).unwrap();
        }
    }
}
