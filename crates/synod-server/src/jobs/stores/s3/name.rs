//! The names of objects: `s3://BUCKET/KEY`.
//!
//! As with files, a name that is an object is that object, whatever letters it has. Otherwise `*`, `?`,
//! `[..]`, `**` and `{a,b}` make it a pattern, and any other name is a folder: all keys that begin with it
//! and a slash. Keys are taken as they are, nothing in a name is an escape.

use std::path::{Path, PathBuf};

use object_store::path::Path as Key;
use synod_jobs::JobError;

/// What stands before `://`.
pub(in crate::jobs) const SCHEME: &str = "s3";

/// What a name says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ObjectName {
    pub bucket: String,
    /// Without a slash at the end; empty for the whole bucket.
    pub key: String,
    /// Whether the name ended with a slash, or has no key: no object is meant.
    pub is_folder: bool,
}

impl ObjectName {
    /// Reads a name.
    pub(super) fn parse(name: &Path) -> Result<ObjectName, JobError> {
        let bad = |what: &str| JobError::BadSpec { what: format!("{}: {what}", name.display()) };
        let text = name.to_str().ok_or_else(|| bad("it is not UTF-8"))?;
        let rest = text.strip_prefix("s3://").ok_or_else(|| bad("it does not begin with s3://"))?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if bucket.is_empty() || !bucket.bytes().all(sound) {
            return Err(bad("after s3:// comes the name of a bucket"));
        }
        let is_folder = key.is_empty() || key.ends_with('/');
        let (whole, key) = (key, key.strip_suffix('/').unwrap_or(key));
        // The client's keys would lose a slash at either end.
        if !whole.is_empty() && key.split('/').any(str::is_empty) {
            return Err(bad("between two slashes, and behind the bucket's, there must be a name"));
        }
        Key::parse(key).map_err(|error| bad(&error.to_string()))?;
        Ok(ObjectName { bucket: bucket.to_owned(), key: key.to_owned(), is_folder })
    }

    /// The key as the client takes it.
    pub(super) fn location(&self) -> Key {
        Key::parse(&self.key).expect("it was tried when the name was read")
    }

    /// What lies beneath it under the name of a file. Not every name can be one: tasks choose those of
    /// their side files, and control characters are in no key.
    pub(super) fn beneath(&self, name: &str) -> Result<Key, JobError> {
        let key =
            if self.key.is_empty() { name.to_owned() } else { format!("{}/{name}", self.key) };
        Key::parse(&key).map_err(|_| JobError::Store {
            name: format!("s3://{}/{}", self.bucket, self.key).into(),
            what: format!("no object can be named `{}`", name.escape_debug()),
            permanent: true,
        })
    }

    /// The folders that it lies in, the nearest first, the whole bucket last.
    pub(super) fn above(&self) -> impl Iterator<Item = ObjectName> {
        let ends: Vec<usize> = self.key.match_indices('/').map(|(at, _)| at).collect();
        let bucket = (!self.key.is_empty()).then_some(0);
        ends.into_iter().rev().chain(bucket).map(|end| ObjectName {
            bucket: self.bucket.clone(),
            key: self.key[..end].to_owned(),
            is_folder: true,
        })
    }

    /// The name of a key in the same bucket.
    pub(super) fn name_of(&self, key: &Key) -> PathBuf {
        PathBuf::from(format!("s3://{}/{key}", self.bucket))
    }

    /// Whether it may be a pattern.
    pub(super) fn is_pattern(&self) -> bool {
        self.key.contains(PATTERN)
    }

    /// The folder that all matches of a pattern are in.
    pub(super) fn fixed_folder(&self) -> &str {
        let fixed = &self.key[..self.key.find(PATTERN).unwrap_or(self.key.len())];
        fixed.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

const PATTERN: [char; 4] = ['*', '?', '[', '{'];

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str) -> Option<(String, String, bool)> {
        let name = ObjectName::parse(Path::new(name)).ok()?;
        Some((name.bucket, name.key, name.is_folder))
    }

    #[test]
    fn a_name_says_bucket_and_key() {
        let some = |bucket: &str, key: &str, folder| Some((bucket.into(), key.into(), folder));
        assert_eq!(parsed("s3://b"), some("b", "", true));
        assert_eq!(parsed("s3://b/"), some("b", "", true));
        assert_eq!(parsed("s3://b/a/x y%41"), some("b", "a/x y%41", false));
        assert_eq!(parsed("s3://my.b-1/a/"), some("my.b-1", "a", true));
        for bad in ["s3:/b/a", "s3://", "s3:///a", "s3://b?x/a", "s3://b/a//b", "s3://b/../a"] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
        for bad in ["s3://b//", "s3://b//a", "s3://b/a//", "s3://b/a///", "s3://b/a\nb/"] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_file_whose_name_no_key_can_hold_is_an_error_and_not_a_panic() {
        for folder in ["s3://b", "s3://b/", "s3://b/out/"] {
            let folder = ObjectName::parse(Path::new(folder)).unwrap();
            assert!(folder.beneath("part-00000").is_ok());
            for bad in ["a\nb", "a\x7f", "..", "."] {
                let error = folder.beneath(bad).unwrap_err();
                assert!(error.is_permanent());
                assert!(error.to_string().contains(&bad.escape_debug().to_string()), "{error}");
            }
        }
    }

    #[test]
    fn a_name_knows_the_folders_it_lies_in() {
        let above = |name: &str| {
            let name = ObjectName::parse(Path::new(name)).unwrap();
            name.above().map(|above| above.key).collect::<Vec<_>>()
        };
        assert_eq!(above("s3://b/a/b c/d/"), ["a/b c", "a", ""]);
        assert_eq!(above("s3://b/a"), [""]);
        assert_eq!(above("s3://b"), [""; 0]);
    }

    #[test]
    fn a_pattern_is_looked_for_only_where_it_can_match() {
        for (name, folder) in [
            ("s3://b/a/c/*.gz", "a/c"),
            ("s3://b/a/c*/d", "a"),
            ("s3://b/{a,b}/d", ""),
            ("s3://b/*", ""),
        ] {
            let name = ObjectName::parse(Path::new(name)).unwrap();
            assert!(name.is_pattern());
            assert_eq!(name.fixed_folder(), folder);
        }
    }
}
