//! What the names of inputs stand for: files, folders and patterns of this machine.
//!
//! A name that exists is that file or folder, whatever letters it has. Otherwise `*`, `?`, `[..]` and
//! `**` match as in a shell, and `{a,b}` stands for both. Of a folder and of a pattern's matches, names
//! that begin with `_` or `.` are left out, as Hadoop does: they are not data.

use super::local::unreadable;
use crate::error::JobError;
use crate::progress::Progress;
use std::path::{Path, PathBuf};

/// Alternatives that braces in one pattern may unfold to.
const MAX_ALTERNATIVES: usize = 10_000;

/// The files that a name stands for, in bytewise order of their paths where it is not one file.
pub(super) fn files_of(
    name: &Path,
    recursive: bool,
    progress: &Progress,
) -> Result<Vec<PathBuf>, JobError> {
    let mut found = Vec::new();
    let is_pattern =
        !name.exists() && name.to_str().is_some_and(|text| text.contains(['*', '?', '[', '{']));
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
        let options =
            glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::default() };
        let paths =
            glob::glob_with(&alternative, options).map_err(|error| bad(error.to_string()))?;
        for path in paths {
            progress.step()?;
            let path = path.map_err(|error| {
                let path = error.path().to_owned();
                unreadable(&path, error.into())
            })?;
            if !is_hidden(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
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
