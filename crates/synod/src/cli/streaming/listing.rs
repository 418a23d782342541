//! Names and listings of files, for the file commands.
//!
//! A path is shown the way it was given: what is listed below `hdfs:///a` begins with `hdfs:///a`, what
//! is listed below `b` with `b`.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use synod::jobs::streaming::locations::Locations;

use super::dates::Date;

/// A file or folder, and how it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where it is.
    pub path: PathBuf,
    /// As the caller would name it.
    pub shown: String,
}

impl Item {
    /// What is below a folder, by name.
    pub fn children(&self) -> io::Result<Vec<Item>> {
        let mut children = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let separator = if self.shown.ends_with('/') { "" } else { "/" };
            let shown = format!("{}{separator}{}", self.shown, name.to_string_lossy());
            children.push(Item { path: entry.path(), shown });
        }
        children.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(children)
    }

    /// What the system knows of it.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.path.metadata()
    }

    /// Bytes of all files in it.
    pub fn bytes(&self) -> io::Result<u64> {
        let metadata = self.metadata()?;
        if !metadata.is_dir() {
            return Ok(metadata.len());
        }
        self.children()?.iter().try_fold(0, |sum, child| Ok(sum + child.bytes()?))
    }

    /// The line of `-ls`.
    pub fn line(&self) -> io::Result<String> {
        let metadata = self.metadata()?;
        let (kind, copies, bytes) =
            if metadata.is_dir() { ('d', "-", 0) } else { ('-', "1", metadata.len()) };
        let modified = u64::try_from(metadata.mtime()).unwrap_or(0);
        Ok(format!(
            "{kind}{}   {copies} {} {} {bytes:>10} {} {}",
            rights(metadata.permissions().mode()),
            owner(metadata.uid()),
            owner(metadata.gid()),
            Date::of(Duration::from_secs(modified)).for_listing(),
            self.shown
        ))
    }
}

/// Names for the root; numbers for all others: who they are is not looked up.
fn owner(id: u32) -> String {
    if id == 0 { "root".to_owned() } else { id.to_string() }
}

fn rights(mode: u32) -> String {
    let letters = ['r', 'w', 'x'].iter().cycle();
    let bit = |(at, letter): (u32, &char)| if mode >> (8 - at) & 1 == 1 { *letter } else { '-' };
    (0..9).zip(letters).map(bit).collect()
}

/// What a word of a command names: one file, or all that fit its pattern. None if nothing is there.
pub fn named(word: &str, locations: &Locations) -> Result<Vec<Item>, String> {
    let path = locations.resolve(word).map_err(|error| error.to_string())?;
    let shown = word.to_owned();
    if path.symlink_metadata().is_ok() {
        return Ok(vec![Item { path, shown }]);
    }
    if !word.contains(['*', '?', '[', '{']) {
        return Ok(Vec::new());
    }
    let mut items = Vec::new();
    for pattern in alternatives(word) {
        let path = locations.resolve(&pattern).map_err(|error| error.to_string())?;
        let text = path.to_str().ok_or("the pattern is not UTF-8")?;
        let found = glob::glob(text).map_err(|error| format!("`{word}`: {error}"))?;
        for path in found.flatten() {
            let shown = shown_below(&pattern, &path);
            items.push(Item { path, shown });
        }
    }
    Ok(items)
}

/// How a path is called that a pattern has found: it has as many last parts as the pattern has parts
/// from its first special one on.
fn shown_below(pattern: &str, path: &Path) -> String {
    let special = pattern.find(['*', '?', '[']).unwrap_or(pattern.len());
    let start = pattern[..special].rfind('/').map_or(0, |at| at + 1);
    let parts = pattern[start..].trim_end_matches('/').split('/').count();
    let names: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let last = &names[names.len().saturating_sub(parts)..];
    format!("{}{}", &pattern[..start], last.join("/"))
}

/// `a{b,c}` is `ab` and `ac`; braces may lie in braces.
fn alternatives(pattern: &str) -> Vec<String> {
    let Some(open) = pattern.find('{') else { return vec![pattern.to_owned()] };
    let mut depth = 0;
    let mut commas = vec![open];
    let mut close = None;
    for (at, byte) in pattern.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => {
                close = Some(at);
                break;
            }
            b'}' => depth -= 1,
            b',' if depth == 1 => commas.push(at),
            _ => {}
        }
    }
    let Some(close) = close else { return vec![pattern.to_owned()] };
    commas.push(close);
    let (before, after) = (&pattern[..open], &pattern[close + 1..]);
    let choices = commas.windows(2).map(|pair| &pattern[pair[0] + 1..pair[1]]);
    choices.flat_map(|choice| alternatives(&format!("{before}{choice}{after}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_alternatives() {
        assert_eq!(
            alternatives("a{b,c{d,e}}f{1,2}"),
            ["abf1", "abf2", "acdf1", "acdf2", "acef1", "acef2"]
        );
        assert_eq!(alternatives("a{b"), ["a{b"]);
        assert_eq!(alternatives("a{}b"), ["ab"]);
    }

    #[test]
    fn what_a_pattern_finds_is_called_as_the_pattern_begins() {
        let shown = |pattern, path: &str| shown_below(pattern, Path::new(path));
        assert_eq!(shown("hdfs:///d/*/x", "/srv/d/a/x"), "hdfs:///d/a/x");
        assert_eq!(shown("*", "a"), "a");
        assert_eq!(shown("/a/b*", "/a/bc"), "/a/bc");
    }

    #[test]
    fn rights_are_letters() {
        assert_eq!(rights(0o100_644), "rw-r--r--");
        assert_eq!(rights(0o755), "rwxr-xr-x");
        assert_eq!(rights(0), "---------");
    }

    #[test]
    fn patterns_and_names_find_items() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        std::fs::create_dir_all(root.join("d/e")).unwrap();
        std::fs::write(root.join("d/e/x"), "12345").unwrap();
        let locations = Locations { hdfs_root: Some(root) };
        let shown = |word: &str| -> Vec<String> {
            named(word, &locations).unwrap().into_iter().map(|item| item.shown).collect()
        };
        assert_eq!(shown("hdfs:///d/*/{x,y}"), ["hdfs:///d/e/x"]);
        assert_eq!(shown("hdfs:///d"), ["hdfs:///d"]);
        assert!(shown("hdfs:///none").is_empty());
        let folder = &named("hdfs:///d", &locations).unwrap()[0];
        assert_eq!(folder.bytes().unwrap(), 5);
        assert_eq!(folder.children().unwrap()[0].shown, "hdfs:///d/e");
        assert!(folder.line().unwrap().starts_with('d'));
    }
}
