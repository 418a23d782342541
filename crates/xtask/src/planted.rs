//! `cargo xtask sim --planted`: would the simulator notice? Each patch in `crates/synod-sim/planted`
//! plants one bug in a copy of the workspace; the copy's simulator must find it.
//!
//! A patch begins with two lines, before its first `diff`:
//!
//! ```text
//! promise: lost-write, stale-read      one of these must be among what it breaks
//! seeds: 50                            within so many seeds
//! ```
//!
//! The copy lies in `target/planted/src`. Only files that differ are written, so that each patch
//! rebuilds what it touches and no more.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::step::{output, root};

/// Plants every bug whose name contains `only`, and prints a table of what was found.
pub fn planted(only: Option<&str>) -> Result<()> {
    let folder = root().join("crates/synod-sim/planted");
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
        let line = match plant(patch) {
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

/// What a patch says it breaks.
#[derive(Debug, PartialEq)]
struct Expectation {
    promises: Vec<String>,
    seeds: u64,
}

fn plant(patch: &Path) -> Result<String> {
    let expectation = parse(&fs::read_to_string(patch)?)?;
    let copy = root().join("target/planted/src");
    mirror(&root(), &copy)?;
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
    judge(&simulate(&copy, expectation.seeds)?, &expectation)
}

/// The planted simulator's exit code and what it printed.
struct Simulated {
    code: Option<i32>,
    printed: String,
}

fn simulate(copy: &Path, seeds: u64) -> Result<Simulated> {
    let seeds = seeds.to_string();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--release", "--package", "synod-sim", "--example", "sim", "--"])
        .args([&seeds, "1", "until-failure"])
        .current_dir(copy)
        // Our own target folder: the dependencies are built already, the crates are told apart by path.
        .env("CARGO_TARGET_DIR", target_folder())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Simulated { code: output.status.code(), printed })
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn judge(simulated: &Simulated, expectation: &Expectation) -> Result<String> {
    let Simulated { code, printed } = simulated;
    let summary = printed.lines().rev().find_map(|line| line.rsplit_once("violations="));
    let Some((_, count)) = summary else {
        bail!("the planted simulator did not come to its summary (exit code {code:?})");
    };
    if *code != Some(1) || count.trim() == "0" {
        bail!("{} seeds passed (exit code {code:?})", expectation.seeds);
    }
    let broken = broken_promises(printed);
    let named = |promise: &String| broken.contains(promise.as_str());
    let broken_list = broken.iter().copied().collect::<Vec<_>>().join(", ");
    if !expectation.promises.iter().any(named) {
        bail!("it broke {broken_list}, but not what it says: {:?}", expectation.promises);
    }
    Ok(format!("{} violations within {} seeds: {broken_list}", count.trim(), expectation.seeds))
}

/// The promises named in lines such as `sim: seed 7: stale-read: ...`.
fn broken_promises(printed: &str) -> BTreeSet<&str> {
    let promise = |line| -> Option<&str> {
        let (seed, rest) = str::strip_prefix(line, "sim: seed ")?.split_once(": ")?;
        let (promise, _) = rest.split_once(": ")?;
        let is_seed = seed.bytes().all(|byte| byte.is_ascii_digit());
        (is_seed && !promise.contains(' ')).then_some(promise)
    };
    printed.lines().filter_map(promise).collect()
}

fn parse(patch: &str) -> Result<Expectation> {
    let header: Vec<&str> = patch.lines().take_while(|line| !line.starts_with("diff ")).collect();
    let value = |key: &str| {
        let fields = header.iter().filter_map(|line| line.split_once(':'));
        let of_key = fields.into_iter().find(|(name, _)| *name == key);
        let (_, value) = of_key.with_context(|| format!("the patch has no line '{key}:'"))?;
        anyhow::Ok(value.trim())
    };
    let promises: Vec<String> =
        value("promise")?.split(',').map(|promise| promise.trim().to_owned()).collect();
    let seeds = value("seeds")?.parse().context("'seeds:' is not a number")?;
    Ok(Expectation { promises, seeds })
}

/// Makes `copy` hold exactly the tracked files, as they are in the work tree.
fn mirror(from: &Path, copy: &Path) -> Result<()> {
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

fn name(patch: &Path) -> String {
    patch.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simulated(code: i32, printed: &str) -> Simulated {
        Simulated { code: Some(code), printed: printed.to_owned() }
    }

    fn expected() -> Expectation {
        Expectation { promises: vec!["lost-write".into(), "stale-read".into()], seeds: 9 }
    }

    #[test]
    fn a_patch_says_what_it_breaks_and_how_soon() {
        let patch = "The leader answers early.\npromise: lost-write, stale-read\nseeds: 9\n\
                     diff --git a/x b/x\n";
        assert_eq!(parse(patch).unwrap(), expected());
        assert!(parse("promise: x\ndiff --git a/x b/x\nseeds: 9\n").is_err());
        assert!(parse("promise: x\nseeds: many\n").is_err());
    }

    #[test]
    fn a_bug_counts_as_found_only_by_its_promise() {
        let found = "sim: seed 3: stale-read: old\nsim: seeds=9 violations=4\n";
        let found = judge(&simulated(1, found), &expected()).unwrap();
        assert_eq!(found, "4 violations within 9 seeds: stale-read");
        let other = "sim: seed 3: watch-gap: hole\nsim: seeds=9 violations=1\n";
        assert!(judge(&simulated(1, other), &expected()).is_err());
    }

    #[test]
    fn a_clean_run_and_a_failed_build_are_misses() {
        assert!(judge(&simulated(0, "sim: seeds=9 violations=0\n"), &expected()).is_err());
        assert!(judge(&simulated(101, ""), &expected()).is_err());
        let crashed = "sim: seed 3: stale-read: old\n";
        assert!(judge(&simulated(101, crashed), &expected()).is_err());
    }

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
