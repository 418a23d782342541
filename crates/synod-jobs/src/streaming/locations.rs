//! Where a path or URI of a job lies on this machine.
//!
//! `hdfs://` names a file system that does not exist here. Whoever moves a job over says which
//! folder stands in its place; without that, such a URI is refused and nothing is guessed. A path
//! within it never leads out of that folder.

use crate::error::JobError;
use std::path::{Component, Path, PathBuf};

/// The setting (property) that names the folder in place of HDFS.
pub const HDFS_ROOT: &str = "synod.hdfs.root";
/// The environment variable for it.
pub const HDFS_ROOT_VARIABLE: &str = "SYNOD_HDFS_ROOT";

/// Schemes that mean the one distributed file system of a Hadoop cluster.
const CLUSTER_SCHEMES: &[&str] = &["hdfs", "viewfs", "webhdfs", "har"];

/// Schemes of stores that jobs read and write, see [`crate::input`], and what they are called here.
const STORE_SCHEMES: &[(&str, &str)] = &[("kv", "kv"), ("s3", "s3"), ("s3a", "s3"), ("s3n", "s3")];

/// How paths are understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locations {
    /// The folder in place of HDFS.
    pub hdfs_root: Option<PathBuf>,
}

impl Locations {
    /// What an input or the output is named: a path, or a name in a store beside files.
    pub fn resolve_data(&self, name: &str) -> Result<PathBuf, JobError> {
        if let Some((scheme, rest)) = name.split_once("://")
            && let Some((_, scheme)) = STORE_SCHEMES.iter().find(|(known, _)| *known == scheme)
        {
            return Ok(PathBuf::from(format!("{scheme}://{rest}")));
        }
        self.resolve(name)
    }

    /// The path of a file that is named by a path or URI.
    pub fn resolve(&self, name: &str) -> Result<PathBuf, JobError> {
        let bad = |what: String| Err(JobError::BadSpec { what });
        if name.is_empty() {
            return bad("an empty path: name a file".to_owned());
        }
        match scheme_of(name) {
            None => Ok(PathBuf::from(name)),
            Some(("file", rest)) => match path_of(rest) {
                Some(path) => Ok(PathBuf::from(path)),
                None => bad(format!("`{name}` names no path: write file:///path")),
            },
            Some((scheme, rest)) if CLUSTER_SCHEMES.contains(&scheme) => {
                let Some(root) = &self.hdfs_root else {
                    return bad(format!(
                        "`{name}` is in a Hadoop file system, which is not here: set \
                         {HDFS_ROOT_VARIABLE} (or -D {HDFS_ROOT}=..) to the folder that stands \
                         in its place"
                    ));
                };
                match path_of(rest).and_then(|path| below(root, path)) {
                    Some(path) => Ok(path),
                    None => bad(format!("`{name}` names no path below the root")),
                }
            }
            Some((scheme, _)) => {
                bad(format!("`{name}`: no file system for `{scheme}:` is known here"))
            }
        }
    }

    /// How Hadoop would print a path of this machine: below the root of HDFS an `hdfs:` URI.
    pub fn uri(&self, path: &Path) -> String {
        if let Some(root) = &self.hdfs_root
            && let Ok(inner) = path.strip_prefix(root)
        {
            return format!("hdfs:///{}", inner.display());
        }
        file_uri(path)
    }
}

/// A path as Hadoop's local file system prints it, for example `file:/tmp/a`.
pub fn file_uri(path: &Path) -> String {
    format!("file:{}", path.display())
}

/// Scheme and rest of a URI; `None` for a plain path, which may hold a colon behind a slash.
pub fn scheme_of(name: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = name.split_once(':')?;
    let mut bytes = scheme.bytes();
    let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let goes_on =
        bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    (starts && goes_on && rest.starts_with('/')).then_some((scheme, rest))
}

/// The path of a URI behind its scheme: `///a`, `//host/a` and `/a` are all `/a`.
fn path_of(rest: &str) -> Option<&str> {
    match rest.strip_prefix("//") {
        Some(with_host) => with_host.find('/').map(|at| &with_host[at..]),
        None => Some(rest),
    }
}

fn below(root: &Path, path: &str) -> Option<PathBuf> {
    let mut joined = root.to_owned();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => joined.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_file_uris_are_files_here() {
        let here = Locations::default();
        for (name, path) in [
            ("a/b", "a/b"),
            ("/a/b", "/a/b"),
            ("file:///a/b", "/a/b"),
            ("file:/a/b", "/a/b"),
            ("file://localhost/a", "/a"),
            ("./x:y", "./x:y"),
            ("2024:01/x", "2024:01/x"),
            ("a:b", "a:b"),
        ] {
            assert_eq!(here.resolve(name).unwrap(), Path::new(path), "{name}");
        }
        assert!(here.resolve("").is_err());
        assert!(here.resolve("file://host").is_err());
        assert!(here.resolve("s3://bucket/x").unwrap_err().to_string().contains("`s3:`"));
        assert_eq!(here.resolve_data("kv://a/?end=b").unwrap(), Path::new("kv://a/?end=b"));
        assert_eq!(here.resolve_data("file:///a").unwrap(), Path::new("/a"));
        assert_eq!(here.resolve_data("s3a://b/x").unwrap(), Path::new("s3://b/x"));
        assert!(here.resolve("kv://a").is_err(), "a file of a job is no key");
    }

    #[test]
    fn hdfs_needs_a_folder_in_its_place_and_stays_in_it() {
        let refused = Locations::default().resolve("hdfs:///a").unwrap_err().to_string();
        assert!(refused.contains("SYNOD_HDFS_ROOT"), "{refused}");
        let mapped = Locations { hdfs_root: Some(PathBuf::from("/srv/h")) };
        for (name, path) in [
            ("hdfs:///user/a", "/srv/h/user/a"),
            ("hdfs://node:8020/user/a/", "/srv/h/user/a"),
            ("hdfs:/user/./a", "/srv/h/user/a"),
            ("hdfs:///", "/srv/h"),
            ("/user/a", "/user/a"),
        ] {
            assert_eq!(mapped.resolve(name).unwrap(), Path::new(path), "{name}");
        }
        for bad in ["hdfs:///../etc/passwd", "hdfs:///a/../../b", "hdfs://host"] {
            assert!(mapped.resolve(bad).is_err(), "{bad}");
        }
        assert_eq!(mapped.uri(Path::new("/srv/h/a/b")), "hdfs:///a/b");
        assert_eq!(mapped.uri(Path::new("/a b")), "file:/a b");
    }
}
