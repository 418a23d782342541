//! A copy of the workspace.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::step::output;

/// Makes `copy` hold exactly the tracked files, as they are in the work tree.
pub(super) fn mirror(from: &Path, copy: &Path) -> Result<()> {
    let listed = output(Command::new("git").args(["ls-files", "-z"]).current_dir(from))?;
    let listed = String::from_utf8(listed).context("a file's name is not UTF-8")?;
    let wanted: BTreeSet<&str> =
        listed.split('\0').filter(|path| !path.is_empty() && from.join(path).is_file()).collect();
    for path in &wanted {
        let bytes = fs::read(from.join(path)).with_context(|| format!("cannot read {path}"))?;
        let target = copy.join(path);
        if fs::read(&target).ok().as_ref() != Some(&bytes) {
            fs::create_dir_all(target.parent().expect("a file lies in a folder"))?;
            fs::write(&target, bytes).with_context(|| format!("cannot write {path}"))?;
        }
    }
    remove_others(copy, copy, &wanted)
}

fn remove_others(copy: &Path, folder: &Path, wanted: &BTreeSet<&str>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(copy, &path, wanted)?;
        } else {
            let relative = path.strip_prefix(copy).expect("the walk stays inside");
            if !wanted.contains(relative.to_string_lossy().as_ref()) {
                fs::remove_file(&path)?;
            }
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
        mirror(&root(), &copy).unwrap();
        let same =
            |path: &str| fs::read(copy.join(path)).unwrap() == fs::read(root().join(path)).unwrap();
        assert!(same("Cargo.toml") && same("crates/xtask/Cargo.toml"));
        assert!(!copy.join("old/file").exists());
        fs::remove_dir_all(folder).unwrap();
    }
}
