//! What the names of inputs stand for: files, folders and patterns of this machine.
//!
//! A name that exists is that file or folder, whatever letters it has. Otherwise `*`, `?`, `[..]` and
//! `**` match as in a shell, and `{a,b}` stands for both. Of a folder and of a pattern's matches, names
//! that begin with `_` or `.` are left out, as Hadoop does: they are not data.

use super::local::unreadable;
use crate::error::JobError;
use crate::progress::Progress;
use std::ffi::OsString;
use std::fs::{DirEntry, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Alternatives that braces in one pattern may unfold to.
const MAX_ALTERNATIVES: usize = 10_000;

/// The files that a name stands for, each once, in the order of their paths where it is not one file.
pub(super) fn files_of(
    name: &Path,
    recursive: bool,
    progress: &Progress,
) -> Result<Vec<PathBuf>, JobError> {
    let mut found = Vec::new();
    let is_special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'{');
    let is_pattern = !name.exists() && name.as_os_str().as_bytes().iter().any(is_special);
    if !is_pattern {
        add(name, (recursive, true), progress, &mut found)?;
        return Ok(found);
    }
    for path in matches(name, progress)? {
        add(&path, (recursive, false), progress, &mut found)?;
    }
    if found.is_empty() {
        return Err(JobError::NothingMatches { pattern: name.to_owned() });
    }
    // A folder that fits, and what lies in it, may give the same files.
    found.sort();
    found.dedup();
    Ok(found)
}

/// Adds a file, or the files of a folder. What was not named itself may be left out.
fn add(
    path: &Path,
    (recursive, named): (bool, bool),
    progress: &Progress,
    found: &mut Vec<PathBuf>,
) -> Result<(), JobError> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, error))?;
    if !metadata.is_dir() {
        // Of what a pattern matches, pipes and sockets are not meant.
        if named || metadata.is_file() {
            found.push(path.to_owned());
        }
        return Ok(());
    }
    let entries = std::fs::read_dir(path).map_err(|error| unreadable(path, error))?;
    let mut entries = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| JobError::io("list", path, error))?;
    entries.retain(|entry| !is_hidden(entry));
    entries.sort();
    for entry in entries {
        progress.step()?;
        let metadata = std::fs::metadata(&entry).map_err(|error| unreadable(&entry, error))?;
        if !metadata.is_dir() {
            if metadata.is_file() {
                found.push(entry);
            }
        } else if !recursive {
            return Err(JobError::InputIsFolder { path: entry });
        } else if entry.is_symlink() {
            // A link to a folder above would never end.
            return Err(JobError::InputIsLinkToFolder { path: entry });
        } else {
            add(&entry, (recursive, false), progress, found)?;
        }
    }
    Ok(())
}

fn matches(pattern: &Path, progress: &Progress) -> Result<Vec<PathBuf>, JobError> {
    let bad = |why: String| JobError::BadSpec {
        what: format!("input pattern {}: {why}", pattern.display()),
    };
    let text = pattern.to_str().ok_or_else(|| bad("it is not UTF-8".to_owned()))?;
    let mut found = Vec::new();
    for alternative in unfold(text).map_err(&bad)? {
        for part in alternative.split('/') {
            glob::Pattern::new(part).map_err(|error| bad(error.to_string()))?;
        }
        found.extend(fitting(&alternative, progress)?);
    }
    found.retain(|path| !is_hidden(path));
    found.sort();
    found.dedup();
    Ok(found)
}

/// What a pattern without braces fits, part by part of its path. Bytes of a name that are no text fit what
/// any letter does: no file is left out for how it is called.
fn fitting(pattern: &str, progress: &Progress) -> Result<Vec<PathBuf>, JobError> {
    let mut found = vec![PathBuf::from(if pattern.starts_with('/') { "/" } else { "" })];
    for part in pattern.split('/').filter(|part| !matches!(*part, "" | ".")) {
        let mut next = Vec::new();
        for folder in found {
            if part == "**" {
                add_folders(folder, progress, &mut next)?;
            } else if part.contains(['*', '?', '[']) {
                let fits = glob::Pattern::new(part).expect("each part was seen to be one");
                let names = entries(&folder, progress)?;
                let names = names.iter().filter(|name| fits.matches(&name.to_string_lossy()));
                next.extend(names.map(|name| folder.join(name)));
            } else {
                let path = folder.join(part);
                let is_there = seen(&path, path.symlink_metadata())?.is_some();
                next.extend(is_there.then_some(path));
            }
        }
        // Several `**` find a folder more than once.
        next.sort();
        next.dedup();
        found = next;
    }
    if !pattern.ends_with('/') {
        return Ok(found);
    }
    let mut folders = Vec::new();
    for path in found {
        let is_folder = seen(&path, path.metadata())?.is_some_and(|path| path.is_dir());
        folders.extend(is_folder.then_some(path));
    }
    Ok(folders)
}

/// What is at a path; `None` if there is nothing. What cannot be looked at is an error: nothing is left out
/// for want of a right.
fn seen(path: &Path, looked: io::Result<Metadata>) -> Result<Option<Metadata>, JobError> {
    match looked {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
            _ => Err(unreadable(path, error)),
        },
    }
}

/// Adds a folder and all below it, but for hidden ones and links: one to a folder above would never end.
fn add_folders(
    folder: PathBuf,
    progress: &Progress,
    found: &mut Vec<PathBuf>,
) -> Result<(), JobError> {
    let mut left = vec![folder];
    while let Some(folder) = left.pop() {
        for path in entries(&folder, progress)?.into_iter().map(|name| folder.join(name)) {
            let metadata = seen(&path, path.symlink_metadata())?;
            if metadata.is_some_and(|path| path.is_dir()) && !is_hidden(&path) {
                left.push(path);
            }
        }
        found.push(folder);
    }
    Ok(())
}

/// The names in a folder; none in what is no folder.
fn entries(folder: &Path, progress: &Progress) -> Result<Vec<OsString>, JobError> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if !seen(here, here.metadata())?.is_some_and(|here| here.is_dir()) {
        return Ok(Vec::new());
    }
    let failed = |error| unreadable(here, error);
    let name = |entry: io::Result<DirEntry>| {
        progress.step()?;
        Ok(entry.map_err(failed)?.file_name())
    };
    std::fs::read_dir(here).map_err(failed)?.map(name).collect()
}

/// The patterns that one with `{a,b}` stands for; why it stands for none.
pub fn unfold(pattern: &str) -> Result<Vec<String>, String> {
    let Some(open) = pattern.find('{') else { return Ok(vec![pattern.to_owned()]) };
    let (mut depth, mut start, mut choices, mut end) = (0, open + 1, Vec::new(), None);
    for (at, letter) in pattern.char_indices().skip_while(|(at, _)| *at < open) {
        match letter {
            '{' => depth += 1,
            ',' if depth == 1 => {
                choices.push(&pattern[start..at]);
                start = at + 1;
            }
            '}' if depth == 1 => {
                choices.push(&pattern[start..at]);
                end = Some(at + 1);
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    let end = end.ok_or("a { has no }")?;
    let mut all = Vec::new();
    for choice in choices {
        all.extend(unfold(&format!("{}{choice}{}", &pattern[..open], &pattern[end..]))?);
        if all.len() > MAX_ALTERNATIVES {
            return Err(format!("its braces stand for more than {MAX_ALTERNATIVES} patterns"));
        }
    }
    Ok(all)
}

fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.starts_with(b"_") || name.starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::fs;

    /// A folder with these files, whose names need not be text.
    fn with_files(names: &[&[u8]]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(OsStr::from_bytes(name));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        folder
    }

    fn found(folder: &Path, pattern: &str) -> Vec<Vec<u8>> {
        found_in(folder, pattern, false)
    }

    fn found_in(folder: &Path, pattern: &str, recursive: bool) -> Vec<Vec<u8>> {
        let files = files_of(&folder.join(pattern), recursive, &Progress::new()).unwrap();
        let below = files.iter().map(|file| file.strip_prefix(folder).unwrap());
        below.map(|path| path.as_os_str().as_bytes().to_vec()).collect()
    }

    #[test]
    fn a_pattern_leaves_out_no_file_for_bytes_that_are_no_text() {
        let names: [&[u8]; 5] =
            [b"a.log", b"b\xff.log", b"d\xff/c.log", b"d\xff/e/f.log", b"g.txt"];
        let folder = with_files(&names);
        for (pattern, fit) in [
            ("*.log", &[0, 1][..]),
            ("?.log", &[0]),
            ("b?.log", &[1]),
            ("*/*.log", &[2]),
            ("d?/c.log", &[2]),
            ("**/*.log", &[0, 1, 2, 3]),
            ("**/f.log", &[3]),
            ("./x/../[a-g].{log,txt}", &[]),
            ("[a-g].{log,txt}", &[0, 4]),
            ("{g,?}.txt", &[4]),
        ] {
            let expected: Vec<_> = fit.iter().map(|index: &usize| names[*index].to_vec()).collect();
            match expected.is_empty() {
                false => assert_eq!(found(folder.path(), pattern), expected, "{pattern}"),
                true => {
                    let name = folder.path().join(pattern);
                    let nothing = files_of(&name, false, &Progress::new());
                    assert!(matches!(nothing, Err(JobError::NothingMatches { .. })), "{pattern}");
                }
            }
        }
        let error = files_of(&folder.path().join("a**"), false, &Progress::new()).unwrap_err();
        assert!(error.to_string().contains("input pattern"), "{error}");
        let odd = folder.path().join(OsStr::from_bytes(b"\xff*"));
        let error = files_of(&odd, false, &Progress::new()).unwrap_err().to_string();
        assert!(error.contains("it is not UTF-8"), "{error}");
    }

    #[test]
    fn two_stars_stand_for_no_hidden_folder_and_for_no_link() {
        let names: [&[u8]; 4] = [b"a/b/c.txt", b"a/d.txt", b"a/.git/e.txt", b"a/_logs/f.txt"];
        let folder = with_files(&names);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("a/b/above")).unwrap();
        assert_eq!(found(folder.path(), "a/**/*.txt"), [names[0], names[1]]);
        assert_eq!(found(folder.path(), "**/a/*.txt"), [names[1]]);
        // Who names them means them.
        assert_eq!(found(folder.path(), "a/_logs/*"), [names[3]]);
        assert_eq!(found(folder.path(), "a/b/above/**/d.txt"), [b"a/b/above/a/d.txt"]);
    }

    #[test]
    fn a_file_is_found_once_however_many_folders_fit_that_it_is_in() {
        let names: [&[u8]; 3] = [b"in/a/b/c", b"in/a/d", b"in/e"];
        let folder = with_files(&names);
        for (pattern, recursive) in
            [("in/**", true), ("in/**/*", true), ("{in,in/a}", true), ("in/a/**/*", false)]
        {
            let expected = if recursive { &names[..] } else { &names[..2] };
            assert_eq!(found_in(folder.path(), pattern, recursive), expected, "{pattern}");
        }
        // With each `**` more, a folder would be looked at once for every folder above it.
        let deep = [&b"d/".repeat(40)[..], b"f"].concat();
        let folder = with_files(&[&deep]);
        assert_eq!(found(folder.path(), &format!("{}f", "**/".repeat(20))), [deep]);
    }

    #[test]
    fn braces_stand_for_each_of_their_choices() {
        for (pattern, expected) in [
            ("a", Ok(vec!["a"])),
            ("{a,b}c", Ok(vec!["ac", "bc"])),
            ("x{1,2{3,4}}{,y}", Ok(vec!["x1", "x1y", "x23", "x23y", "x24", "x24y"])),
            ("{a", Err(())),
        ] {
            let expected = expected.map(|all| all.into_iter().map(str::to_owned).collect());
            assert_eq!(unfold(pattern).map_err(drop), expected, "{pattern}");
        }
        assert!(unfold(&"{a,b}".repeat(20)).is_err());
    }
}
