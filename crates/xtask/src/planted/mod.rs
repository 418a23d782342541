//! Bugs that are planted to see whether they are noticed: by the simulator (`simulator.rs`), or by the
//! tests of jobs (`jobs.rs`). Each patch in a folder plants one bug in a copy of the workspace.
//!
//! A patch begins with lines `key: value`, before its first `diff`: what must be found. The copy lies in
//! `target/planted/src`. Only files that differ are written, so that each patch rebuilds what it touches
//! and no more.

mod jobs;
mod mirror;
mod simulator;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::{output, root};

/// Who is to notice.
#[derive(Clone, Copy)]
pub enum Noticing {
    /// The simulator, the bugs of `crates/synod-sim/planted`.
    Simulator,
    /// The tests of jobs, the bugs of `crates/synod-jobs/planted`.
    JobTests,
}

impl Noticing {
    fn folder(self) -> &'static str {
        match self {
            Noticing::Simulator => "crates/synod-sim/planted",
            Noticing::JobTests => "crates/synod-jobs/planted",
        }
    }

    /// What was found in the copy with this patch.
    fn judge(self, copy: &Path, header: &Header<'_>) -> Result<String> {
        match self {
            Noticing::Simulator => simulator::judge_copy(copy, header),
            Noticing::JobTests => jobs::judge_copy(copy, header),
        }
    }
}

/// Plants every bug whose name contains `only`, and prints a table of what was found.
pub fn planted(noticing: Noticing, only: Option<&str>) -> Result<()> {
    let folder = root().join(noticing.folder());
    let mut patches: Vec<PathBuf> = fs::read_dir(&folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    patches.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    patches.retain(|path| only.is_none_or(|only| name(path).contains(only)));
    patches.sort();
    if patches.is_empty() {
        bail!("no patch in {} has such a name", folder.display());
    }
    let mut table = Vec::new();
    let mut missed = 0;
    for patch in &patches {
        println!("xtask: planting {}", name(patch));
        let line = match plant(noticing, patch) {
            Ok(found) => format!("{:<32} found   {found}", name(patch)),
            Err(error) => {
                missed += 1;
                format!("{:<32} MISSED  {error:#}", name(patch))
            }
        };
        println!("{line}");
        table.push(line);
    }
    println!("\nplanted bugs: {} of {} found", patches.len() - missed, patches.len());
    table.iter().for_each(|line| println!("  {line}"));
    if missed > 0 {
        bail!("{missed} of {} planted bugs were not found", patches.len());
    }
    Ok(())
}

fn plant(noticing: Noticing, patch: &Path) -> Result<String> {
    let text = fs::read_to_string(patch)?;
    let copy = root().join("target/planted/src");
    mirror::mirror(&root(), &copy)?;
    // Outside any repository git would take the folder's own; inside ours it would skip the files.
    let apply = ["apply", "--verbose", "--whitespace=nowarn"];
    let ceiling = copy.parent().expect("the copy lies in target/planted");
    output(
        Command::new("git")
            .args(apply)
            .arg(patch)
            .current_dir(&copy)
            .env("GIT_CEILING_DIRECTORIES", ceiling),
    )
    .context("the patch does not apply any more")?;
    noticing.judge(&copy, &Header { patch: &text })
}

/// The lines before a patch's first `diff`.
struct Header<'a> {
    patch: &'a str,
}

impl<'a> Header<'a> {
    fn value(&self, key: &str) -> Result<&'a str> {
        let lines = self.patch.lines().take_while(|line| !line.starts_with("diff "));
        let mut fields = lines.filter_map(|line| line.split_once(':'));
        let (_, value) = fields
            .find(|(name, _)| *name == key)
            .with_context(|| format!("the patch has no line '{key}:'"))?;
        Ok(value.trim())
    }

    /// Values that are apart by commas.
    fn list(&self, key: &str) -> Result<Vec<String>> {
        Ok(self.value(key)?.split(',').map(|item| item.trim().to_owned()).collect())
    }
}

/// `cargo`, in the copy.
fn cargo(copy: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Our own target folder: the dependencies are built already, the crates are told apart by path.
    cargo.current_dir(copy).env("CARGO_TARGET_DIR", target_folder());
    // Each is built for one short run: less of the compiler's time for our crates, with the same
    // dependencies.
    cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    cargo
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn name(patch: &Path) -> String {
    patch.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}
