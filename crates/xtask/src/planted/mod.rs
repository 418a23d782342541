//! Bugs that are planted to see whether they are noticed: by the simulator (`simulator.rs`), or by the
//! tests of jobs (`jobs.rs`). Each patch in a folder (`patch.rs`) plants one, behind a switch (`switch.rs`):
//!
//! ```text
//! if synod_base::planted("two-winners") { .. }
//! ```
//!
//! All of a folder are planted in one copy of the workspace, which is built once, and run with one of them
//! switched on at a time. First it is run with none: whoever would find something there finds nothing out
//! about the bugs.

mod jobs;
mod mirror;
mod patch;
mod simulator;
mod switch;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::root;
use patch::Patch;

/// Who is to notice.
#[derive(Clone, Copy)]
pub enum Noticing<'a> {
    /// The simulator, the bugs of `crates/synod-sim/planted`.
    Simulator,
    /// The tests of jobs, the bugs of `crates/synod-jobs/planted`.
    JobTests {
        /// That all is built with.
        features: &'a str,
    },
}

impl Noticing<'_> {
    fn folder(self) -> &'static str {
        match self {
            Noticing::Simulator => "crates/synod-sim/planted",
            Noticing::JobTests { .. } => "crates/synod-jobs/planted",
        }
    }

    /// Fails if anything is noticed in the copy while no bug is switched on.
    fn control(self, copy: &Path, patches: &[&Patch]) -> Result<()> {
        match self {
            Noticing::Simulator => simulator::control(copy),
            Noticing::JobTests { features } => jobs::control((copy, features), patches),
        }
    }

    /// What is noticed of this bug.
    fn judge(self, copy: &Path, patch: &Patch) -> Result<String> {
        match self {
            Noticing::Simulator => simulator::judge_bug(copy, patch),
            Noticing::JobTests { features } => jobs::judge_bug((copy, features), patch),
        }
    }
}

/// Plants the bugs, switches on every one whose name contains `only`, and prints a table of what was found.
pub fn planted(noticing: Noticing<'_>, only: Option<&str>) -> Result<()> {
    let patches = Patch::all(&root().join(noticing.folder()))?;
    let is_wanted = |patch: &&Patch| only.is_none_or(|only| patch.name.contains(only));
    let wanted: Vec<&Patch> = patches.iter().filter(is_wanted).collect();
    if wanted.is_empty() {
        bail!("no patch in {} has such a name", noticing.folder());
    }
    println!("xtask: planting {} bugs, all switched off", patches.len());
    let copy = plant(&root().join("target/planted"), &patches)?;
    noticing.control(&copy, &wanted).context("with no bug switched on")?;
    let mut table = Vec::new();
    let mut missed = 0;
    for patch in &wanted {
        let name = &patch.name;
        println!("xtask: switching on {name}");
        let line = match noticing.judge(&copy, patch) {
            Ok(found) => format!("{name:<36} found   {found}"),
            Err(error) => {
                missed += 1;
                format!("{name:<36} MISSED  {error:#}")
            }
        };
        println!("{line}");
        table.push(line);
    }
    println!("\nplanted bugs: {} of {} found", wanted.len() - missed, wanted.len());
    table.iter().for_each(|line| println!("  {line}"));
    if missed > 0 {
        bail!("{missed} of {} planted bugs were not found", wanted.len());
    }
    Ok(())
}

/// The folder's `src` becomes the workspace with all these bugs. They are planted beside it, so that what
/// has not changed since the last time is not written, and not built, again.
fn plant(folder: &Path, patches: &[Patch]) -> Result<PathBuf> {
    let (patched, copy) = (folder.join("patched"), folder.join("src"));
    mirror::mirror(&root(), &mirror::tracked(&root())?, &patched)?;
    switch::install(&patched)?;
    for patch in patches {
        patch.apply(&patched)?;
    }
    mirror::mirror(&patched, &mirror::files(&patched)?, &copy)?;
    Ok(copy)
}

/// `cargo`, in the copy, with one bug or none switched on.
fn cargo(copy: &Path, bug: Option<&str>) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Our own target folder: the dependencies are built already. Our crates are told apart by a feature.
    cargo.current_dir(copy).env("CARGO_TARGET_DIR", target_folder());
    switch::turn(&mut cargo, bug);
    // It is built for a few short runs: less of the compiler's time for our crates, with the same
    // dependencies.
    for own in fs::read_dir(copy.join("crates")).into_iter().flatten().flatten() {
        let own = own.file_name().to_string_lossy().into_owned();
        cargo.arg("--config").arg(format!("profile.release.package.{own}.opt-level=1"));
    }
    cargo
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        root().join(format!("target/planted/{name}-test-{}", std::process::id()))
    }

    #[test]
    fn the_patches_apply_one_after_another() {
        let folder = folder("plant");
        for noticing in [Noticing::Simulator, Noticing::JobTests { features: "" }] {
            let patches = Patch::all(&root().join(noticing.folder())).unwrap();
            let copy = plant(&folder, &patches).unwrap();
            assert!(patches.len() > 5 && mirror::files(&copy).is_ok(), "{}", noticing.folder());
            let base = fs::read_to_string(copy.join("crates/synod-base/src/lib.rs")).unwrap();
            assert!(base.contains("pub fn planted("));
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_patch_that_does_not_apply_is_named() {
        let folder = folder("misfit");
        fs::create_dir_all(&folder).unwrap();
        let text = "diff --git a/LICENSE b/LICENSE\n--- a/LICENSE\n+++ b/LICENSE\n@@ -1 +1 @@\n\
                    -not in there\n+synod_base::planted(\"misfit\")\n";
        let path = folder.join("misfit.patch");
        fs::write(&path, text).unwrap();
        let error = plant(&folder, &[Patch::new(path, text.to_owned())]).unwrap_err();
        assert!(format!("{error:#}").starts_with("misfit.patch does not apply"), "{error:#}");
        fs::remove_dir_all(folder).unwrap();
    }
}
