//! A patch: one planted bug, and what it says of itself before its first `diff`, in lines `key: value`.
//!
//! What it changes asks the switch (`switch.rs`) for the bug of the patch's own name, and for no other. The
//! patches of a folder are applied one after another, in the order of their names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::output;

/// A planted bug.
#[derive(Debug)]
pub(super) struct Patch {
    /// Its file's name, without `.patch`.
    pub(super) name: String,
    path: PathBuf,
    text: String,
}

impl Patch {
    /// All of a folder, in the order of their names.
    pub(super) fn all(folder: &Path) -> Result<Vec<Patch>> {
        let cannot = || format!("cannot read {}", folder.display());
        let mut patches = Vec::new();
        for entry in fs::read_dir(folder).with_context(cannot)? {
            let path = entry.with_context(cannot)?.path();
            if path.extension().is_some_and(|extension| extension == "patch") {
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                patches.push(Patch::new(path, text));
            }
        }
        patches.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(patches)
    }

    pub(super) fn new(path: PathBuf, text: String) -> Patch {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Patch { name, path, text }
    }

    /// Plants it in a copy of the workspace, switched off.
    pub(super) fn apply(&self, copy: &Path) -> Result<()> {
        let name = &self.name;
        let asked = self.bugs_asked_for();
        if asked != BTreeSet::from([name.clone()]) {
            bail!(
                "{name}.patch must ask for synod_base::planted(\"{name}\") alone, not for {asked:?}"
            );
        }
        let mut apply = Command::new("git");
        apply.args(["apply", "--verbose", "--whitespace=nowarn"]).arg(&self.path).current_dir(copy);
        // Outside any repository git would take the folder's own; inside ours it would skip the files.
        apply.env("GIT_CEILING_DIRECTORIES", copy.parent().unwrap_or(copy));
        let applied = output(&mut apply).map(drop);
        applied
            .with_context(|| format!("{name}.patch does not apply after those before it by name"))
    }

    /// The bugs that the lines it adds ask the switch for, however these lines are broken.
    fn bugs_asked_for(&self) -> BTreeSet<String> {
        let added = self.text.lines().filter_map(|line| line.strip_prefix('+'));
        let added: String = added.flat_map(str::split_whitespace).collect();
        let asked = added.split("synod_base::planted(\"").skip(1);
        asked.filter_map(|rest| rest.split_once('"')).map(|(bug, _)| bug.to_owned()).collect()
    }

    /// What it says of itself under this key.
    pub(super) fn value(&self, key: &str) -> Result<&str> {
        let lines = self.text.lines().take_while(|line| !line.starts_with("diff "));
        let mut fields = lines.filter_map(|line| line.split_once(':'));
        let (_, value) = fields
            .find(|(name, _)| *name == key)
            .with_context(|| format!("the patch has no line '{key}:'"))?;
        Ok(value.trim())
    }

    /// The same, of values that are apart by commas.
    pub(super) fn list(&self, key: &str) -> Result<Vec<String>> {
        Ok(self.value(key)?.split(',').map(|item| item.trim().to_owned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(name: &str, text: &str) -> Patch {
        Patch::new(PathBuf::from(format!("{name}.patch")), text.to_owned())
    }

    #[test]
    fn a_patch_asks_for_its_own_bug_and_no_other() {
        let nowhere = Path::new("/nonexistent");
        let asks = |text: &str| {
            let error = patch("late", text).apply(nowhere).unwrap_err();
            format!("{error:#}")
        };
        let other = asks("diff --git a/x b/x\n+if synod_base::planted(\"early\") {\n");
        assert!(other.contains("late.patch must ask") && other.contains("early"), "{other}");
        assert!(asks("diff --git a/x b/x\n+if true {\n").contains("late.patch must ask"));
        let unchanged = " if synod_base::planted(\"late\") {\n";
        assert!(asks(unchanged).contains("must ask"), "the line is not one that it adds");
        let broken = "+if synod_base::planted(\n+    \"late\",\n+) {\n";
        assert!(!asks(broken).contains("must ask"), "rustfmt may break it");
    }

    #[test]
    fn what_a_patch_says_of_itself_ends_with_its_first_diff() {
        let patch = patch("late", "tests: a::b, a::c\ndiff --git a/x b/x\n+package: x\n");
        assert_eq!(patch.list("tests").unwrap(), ["a::b", "a::c"]);
        assert!(patch.value("package").is_err());
    }
}
