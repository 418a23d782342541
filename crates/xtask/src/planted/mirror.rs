//! Copies of the workspace.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::step::output;

/// The tracked files of a work tree, as far as they are there.
pub(super) fn tracked(root: &Path) -> Result<BTreeSet<String>> {
    let listed = output(Command::new("git").args(["ls-files", "-z"]).current_dir(root))?;
    let listed = String::from_utf8(listed).context("a file's name is not UTF-8")?;
    let there = listed.split('\0').filter(|path| !path.is_empty() && root.join(path).is_file());
    Ok(there.map(str::to_owned).collect())
}

/// Every file below a folder.
pub(super) fn files(folder: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    collect(folder, folder, &mut found)?;
    Ok(found)
}

/// Makes `copy` hold exactly these files of `from`. Only what differs is written: what is as it was need not
/// be built again.
pub(super) fn mirror(from: &Path, paths: &BTreeSet<String>, copy: &Path) -> Result<()> {
    for path in paths {
        let bytes = fs::read(from.join(path)).with_context(|| format!("cannot read {path}"))?;
        let target = copy.join(path);
        if fs::read(&target).ok().as_ref() != Some(&bytes) {
            fs::create_dir_all(target.parent().expect("a file lies in a folder"))?;
            fs::write(&target, bytes).with_context(|| format!("cannot write {path}"))?;
        }
    }
    for other in files(copy)?.difference(paths) {
        fs::remove_file(copy.join(other)).with_context(|| format!("cannot remove {other}"))?;
    }
    Ok(())
}

fn collect(top: &Path, folder: &Path, found: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(top, &path, found)?;
        } else {
            let relative = path.strip_prefix(top).expect("the walk stays inside");
            found.insert(relative.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::root;

    #[test]
    fn a_mirror_follows_its_original() {
        let folder = root().join(format!("target/planted/mirror-test-{}", std::process::id()));
        let copy = folder.join("copy");
        fs::create_dir_all(copy.join("old")).unwrap();
        fs::write(copy.join("old/file"), "left over").unwrap();
        fs::write(copy.join("Cargo.toml"), "patched").unwrap();
        let tracked = tracked(&root()).unwrap();
        mirror(&root(), &tracked, &copy).unwrap();
        let same =
            |path: &str| fs::read(copy.join(path)).unwrap() == fs::read(root().join(path)).unwrap();
        assert!(same("Cargo.toml") && same("crates/xtask/Cargo.toml"));
        assert_eq!(files(&copy).unwrap(), tracked);
        let written = |path: &str| fs::metadata(copy.join(path)).unwrap().modified().unwrap();
        let before = written("Cargo.toml");
        mirror(&root(), &tracked, &copy).unwrap();
        assert_eq!(written("Cargo.toml"), before, "it was as it should be");
        fs::remove_dir_all(folder).unwrap();
    }
}
