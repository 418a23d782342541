//! Outputs that are no folder: what a store must do for one, and the staging folder in between.
//!
//! Tasks write part files to a folder as always: the staging folder, in this process one of its own, on a
//! cluster one that all nodes see. When every winner is known that folder is published like any output, then
//! the store is given what is in it. So an attempt leaves nothing in a store, and whoever publishes again
//! after a crash has the same files. `_SUCCESS`, or what stands for it, is written last.

use crate::cluster::names::JobId;
use crate::commit::Manifest;
use crate::error::JobError;
use crate::input::{local_path, scheme_of};
use crate::progress::Progress;
use crate::spec::JobSpec;
use std::path::{Component, Path};

/// Where the outputs of one scheme go. Calls block.
pub trait OutputStore: Send + Sync {
    /// Fails if the output cannot be what the spec wants, whatever there is already.
    fn check(&self, spec: &JobSpec) -> Result<(), JobError>;

    /// Fails if something is at the output.
    fn check_absent(&self, output: &Path) -> Result<(), JobError>;

    /// Marks the output as a job's own, if nothing is there but perhaps that mark, and gives the mark's
    /// text. A job in one process has no name and gets one.
    fn claim(&self, output: &Path, job: Option<&JobId>) -> Result<String, JobError>;

    /// Makes the files of a published folder visible, the manifest last, then takes the mark away. May be
    /// repeated, also by another process; ends at once if it was done. Fails if the output is not the
    /// mark's any more. It can be cancelled until the manifest is written, and notes each step as a move:
    /// who publishes without a move for long is given up.
    fn publish(&self, files: &Publication<'_>, progress: &Progress) -> Result<(), JobError>;

    /// The manifest of an output that was published under this mark.
    fn published(&self, output: &Path, mark: &str) -> Result<Option<Manifest>, JobError>;

    /// Removes what was written under this mark, and the mark last, unless all of it was published: then it
    /// stays, and this is its manifest. Notes moves like `publish`.
    fn clean(
        &self,
        output: &Path,
        mark: &str,
        progress: &Progress,
    ) -> Result<Option<Manifest>, JobError>;
}

/// What is to be visible.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// Where.
    pub output: &'a Path,
    /// Whose.
    pub mark: &'a str,
    /// The folder with the files that the manifest names.
    pub folder: &'a Path,
    /// What it holds.
    pub manifest: &'a Manifest,
}

impl JobSpec {
    /// The folder that part files are written to and published in: the output, or the job's own within
    /// the staging folder if the output is in a store.
    pub fn working_folder(&self, job: &JobId) -> std::path::PathBuf {
        match &self.staging_folder {
            Some(staging) if self.output_is_in_store() => staging.join(job.to_string()),
            _ => self.output.clone(),
        }
    }
}

/// Whether two outputs are the same, or one of them lies within the other, as their names say it: folders by
/// their components, prefixes of keys (`kv`) byte by byte, and in any other store by what is between slashes.
pub fn are_nested(one: &Path, other: &Path) -> bool {
    let (one, other) = (Parts::of(one), Parts::of(other));
    one.scheme == other.scheme && (one.begins(&other) || other.begins(&one))
}

/// Where an output is, from the whole to the part.
struct Parts<'a> {
    scheme: &'a str,
    parts: Vec<Vec<u8>>,
}

impl<'a> Parts<'a> {
    fn of(name: &'a Path) -> Parts<'a> {
        let scheme = scheme_of(name).unwrap_or("file");
        let text = name.to_str().and_then(|text| text.split_once("://")).map(|(_, rest)| rest);
        let mut parts = Vec::new();
        match (scheme, text) {
            ("kv", Some(text)) => {
                parts = unescaped(text).into_iter().map(|byte| vec![byte]).collect()
            }
            ("file", _) | (_, None) => {
                for component in local_path(name).components() {
                    match component {
                        Component::CurDir => {}
                        Component::ParentDir => drop(parts.pop()),
                        part => parts.push(part.as_os_str().as_encoded_bytes().to_vec()),
                    }
                }
            }
            (_, Some(text)) => {
                let between = text.split('/').filter(|part| !part.is_empty());
                parts = between.map(|part| part.as_bytes().to_vec()).collect();
            }
        }
        Parts { scheme, parts }
    }

    fn begins(&self, other: &Parts<'_>) -> bool {
        other.parts.starts_with(&self.parts)
    }
}

/// The bytes of a name in which `%` and two digits stand for any byte.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        let escaped = digits.filter(|_| byte == b'%');
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(escaped) => {
                bytes.push(escaped);
                rest = &behind[2..];
            }
            None => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_nested_if_one_is_the_other_or_within_it_whatever_store_they_are_in() {
        for (one, other) in [
            ("/a/out", "/a/out"),
            ("/a/out", "/a/./out//sub/"),
            ("/a/out", "/a/b/../out/x"),
            ("file:///a/out", "/a/out/b"),
            ("/", "/a"),
            ("kv://a", "kv://ab"),
            ("kv://a%2f", "kv://a/b"),
            ("kv://%zz", "kv://%zz1"),
            ("s3://b/out", "s3://b/out/"),
            ("s3://b", "s3://b/a/b"),
            ("s3://b/out/", "s3://b/out/sub"),
        ] {
            assert!(are_nested(Path::new(one), Path::new(other)), "{one} {other}");
            assert!(are_nested(Path::new(other), Path::new(one)), "{other} {one}");
        }
        for (one, other) in [
            ("/a/out", "/a/out2"),
            ("/a/out", "/b/out"),
            ("kv://a/", "kv://ab"),
            ("s3://b/out", "s3://b/out2"),
            ("s3://b/out", "s3://c/out"),
            ("s3://a/out", "kv://a/out"),
            ("/a", "s3://a"),
        ] {
            assert!(!are_nested(Path::new(one), Path::new(other)), "{one} {other}");
            assert!(!are_nested(Path::new(other), Path::new(one)), "{other} {one}");
        }
    }
}
