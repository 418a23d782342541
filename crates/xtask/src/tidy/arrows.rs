//! The floor plan: a crate depends only on crates of lower floors, and on others through the workspace.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use toml::Table;

/// Every floor, lowest first. Crates of one floor do not know each other.
const FLOORS: [&[&str]; 10] = [
    &["synod-base", "synod-proto"],
    &["synod-storage", "synod-consensus"],
    &["synod-state"],
    &["synod-node"],
    &["synod-client"],
    &["synod-jobs"],
    &["synod-api"],
    &["synod-server", "synod-sim"],
    &["synod"],
    &["xtask"],
];

/// A crate's folder and manifest.
pub struct Manifest {
    pub folder: String,
    pub table: Table,
}

/// Reads the manifest of every crate.
pub fn read_manifests(root: &Path) -> Result<Vec<Manifest>> {
    let mut manifests = Vec::new();
    for entry in fs::read_dir(root.join("crates"))? {
        let entry = entry?;
        let path = entry.path().join("Cargo.toml");
        if path.is_file() {
            let text = fs::read_to_string(&path)?;
            let table = text.parse().with_context(|| path.display().to_string())?;
            let folder = entry.file_name().to_string_lossy().into_owned();
            manifests.push(Manifest { folder, table });
        }
    }
    manifests.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok(manifests)
}

/// Every arrow that does not point down, and every dependency that the workspace does not know.
pub fn breaches(manifests: &[Manifest]) -> Vec<String> {
    manifests.iter().flat_map(of_crate).collect()
}

fn of_crate(manifest: &Manifest) -> Vec<String> {
    let Manifest { folder, table } = manifest;
    let mut found = Vec::new();
    let name = table.get("package").and_then(|package| package.get("name"));
    if name.and_then(|name| name.as_str()) != Some(folder) {
        found.push(format!("crates/{folder}: a crate is called as its folder"));
    }
    let Some(floor) = floor(folder) else {
        found.push(format!("crates/{folder}: which floor is it on? Say so in tidy/arrows.rs"));
        return found;
    };
    let inherits_lints = table.get("lints").and_then(|lints| lints.get("workspace"));
    if inherits_lints.and_then(|inherits| inherits.as_bool()) != Some(true) {
        found.push(format!("crates/{folder}: '[lints] workspace = true' is missing"));
    }
    for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let dependencies = table.get(kind).and_then(|dependencies| dependencies.as_table());
        for (dependency, spec) in dependencies.into_iter().flatten() {
            if spec.get("workspace").and_then(|workspace| workspace.as_bool()) != Some(true) {
                let what = "is not taken from the workspace";
                found.push(format!("crates/{folder}: {dependency} {what}"));
            }
            let ours = dependency.starts_with("synod") || dependency == "xtask";
            // A crate's tests may use the crate itself, with other features.
            if ours && dependency != folder && self::floor(dependency) >= Some(floor) {
                let what = "does not point down the floor plan";
                found.push(format!("crates/{folder}: its arrow to {dependency} {what}"));
            }
        }
    }
    found
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(folder: &str, rest: &str) -> Vec<String> {
        let text = format!("[package]\nname = \"{folder}\"\n[lints]\nworkspace = true\n{rest}");
        breaches(&[Manifest { folder: folder.into(), table: text.parse().unwrap() }])
    }

    #[test]
    fn arrows_point_down() {
        let down = "[dependencies]\nsynod-base.workspace = true\nbytes = { workspace = true }\n";
        assert_eq!(check("synod-state", down), [""; 0]);
        let up = "[dependencies]\nsynod-node.workspace = true\n";
        assert!(check("synod-state", up)[0].contains("arrow to synod-node"));
        let beside = "[dev-dependencies]\nsynod-consensus.workspace = true\n";
        assert!(check("synod-storage", beside)[0].contains("arrow to synod-consensus"));
    }

    #[test]
    fn dependencies_come_from_the_workspace() {
        let own = "[build-dependencies]\nbytes = \"1\"\n";
        assert!(check("synod-state", own)[0].contains("bytes is not taken"));
    }

    #[test]
    fn an_unknown_crate_and_a_wrong_name_are_seen() {
        assert!(check("synod-attic", "")[0].contains("which floor"));
        let text = "[package]\nname = \"other\"\n[lints]\nworkspace = true\n";
        let manifest = Manifest { folder: "synod-base".into(), table: text.parse().unwrap() };
        assert!(breaches(&[manifest])[0].contains("called as its folder"));
    }

    #[test]
    fn lints_are_the_workspaces() {
        let text = "[package]\nname = \"synod-base\"\n";
        let manifest = Manifest { folder: "synod-base".into(), table: text.parse().unwrap() };
        assert!(breaches(&[manifest])[0].contains("lints"));
    }
}
