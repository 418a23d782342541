//! Inputs: from the names a person gave to files frozen for the length of the job.
//!
//! A frozen input is its path, length and modification time, and where that can be known, which file it
//! is. Tasks compare before and after they read, so a file that is written to or replaced during the job
//! fails the job instead of mixing two states.
//! What names stand for is in `names.rs`, compressed files in `codec.rs`, splits of bzip2 files in
//! `blocks.rs`. Names with a scheme (`s3://..`) belong to a store that the caller has given, see
//! `stores.rs`.

pub(crate) mod blocks;
pub mod codec;
mod local;
mod names;

use crate::error::JobError;
use crate::framing::{Framing, InputFormat};
use crate::progress::Progress;
use codec::Codec;
pub(crate) use local::LocalFiles;
use memchr::memmem;
pub use names::unfold;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::io::Read;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One input file as it was when the job was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Where it is: a path, or a name with a scheme.
    pub path: PathBuf,
    /// Its length as stored; of one that is read as a whole, an estimate of at least 1.
    pub bytes: u64,
    /// Its modification time, seconds and nanoseconds since 1970.
    pub modified: (i64, i64),
    /// How it is compressed.
    #[serde(default)]
    pub codec: Option<Codec>,
    /// What its store calls this version of it, if it does not go by the modification time alone.
    #[serde(default)]
    pub version: Option<String>,
    /// Whether its store can only read it from the beginning, to where it happens to end.
    #[serde(default)]
    pub whole: bool,
}

/// Where the inputs of one scheme are. Calls block.
pub trait InputStore: Send + Sync {
    /// The files that a name stands for, in the order in which they are read, as they are now. It can be
    /// cancelled, and notes what it finds as moves: there may be very many.
    fn list(
        &self,
        name: &Path,
        format: &InputFormat,
        progress: &Progress,
    ) -> Result<Vec<InputFile>, JobError>;

    /// The bytes of a frozen input from the beginning of `range` on, if it is still the frozen one. Behind
    /// the range's end no more is wanted than the rest of a record. What is read fails with an error of
    /// [`JobError::into_io`] where the store knows more than the operating system could say.
    fn open(&self, input: &InputFile, range: Range<u64>) -> Result<Box<dyn Read + Send>, JobError>;

    /// Fails if the input is not the frozen one any more.
    fn check_unchanged(&self, input: &InputFile) -> Result<(), JobError>;

    /// What the records of all its inputs are framed by, if that is not for the job to say.
    fn framing(&self) -> Option<Framing> {
        None
    }
}

/// The scheme of a name like `s3://bucket/key`; `None` for a path. What follows it may be any bytes.
pub fn scheme_of(name: &Path) -> Option<&str> {
    let name = name.as_os_str().as_bytes();
    let scheme = &name[..memmem::find(name, b"://")?];
    let letters = |&byte: &u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'-';
    let is_scheme = !scheme.is_empty() && scheme.iter().all(letters);
    is_scheme.then(|| std::str::from_utf8(scheme).ok()).flatten()
}

/// The path that a name without scheme, or with `file://`, stands for.
pub fn local_path(name: &Path) -> &Path {
    match name.as_os_str().as_bytes().strip_prefix(b"file://") {
        Some(path) => Path::new(OsStr::from_bytes(path)),
        None => name,
    }
}

/// Refuses a name that records of a cluster cannot hold: they are JSON.
pub fn check_name(name: &Path) -> Result<(), JobError> {
    match name.to_str() {
        Some(_) => Ok(()),
        None => Err(JobError::NameNotUtf8 { path: name.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_of_a_name_does_not_depend_on_what_follows_it() {
        for (name, scheme, path) in [
            (&b"kv://a\xff"[..], Some("kv"), &b"kv://a\xff"[..]),
            (b"file:///a\xff", Some("file"), b"/a\xff"),
            (b"/a\xff", None, b"/a\xff"),
            (b"\xff://a", None, b"\xff://a"),
            (b"://a", None, b"://a"),
        ] {
            let name = Path::new(OsStr::from_bytes(name));
            assert_eq!(scheme_of(name), scheme, "{name:?}");
            assert_eq!(local_path(name), Path::new(OsStr::from_bytes(path)));
        }
    }
}
