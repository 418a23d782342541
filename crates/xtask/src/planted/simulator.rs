//! `cargo xtask sim --planted`: would the simulator notice? A patch says which promises it may break, and
//! within how many seeds:
//!
//! ```text
//! promise: lost-write, stale-read      one of these must be among what it breaks
//! seeds: 50                            within so many seeds
//! users: jobs                          of clusters on which jobs run; of clients of keys without it
//! ```

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use synod_sim::run::{Kind, run};

use super::cargo;
use super::patch::Patch;

/// With no bug switched on so many seeds of each kind run as they do in the product. Jobs take longer, and
/// use all that keys do.
const CONTROL: [(Kind, u64); 2] = [(Kind::Keys, 20), (Kind::Jobs, 5)];

/// What a patch says it breaks.
#[derive(Debug, PartialEq)]
struct Expectation {
    promises: Vec<String>,
    seeds: u64,
    kind: Kind,
}

/// With no bug switched on everything that happens is what happens in the simulator that is linked in here.
pub(super) fn control(copy: &Path) -> Result<()> {
    for (kind, seeds) in CONTROL {
        let simulated = simulate(copy, None, kind, seeds)?;
        let ours = (1..=seeds).map(|seed| (seed, run(kind, seed).trace));
        compare(&simulated, &ours.collect::<Vec<_>>())
            .with_context(|| format!("{seeds} seeds of {kind:?}"))?;
    }
    Ok(())
}

pub(super) fn judge_bug(copy: &Path, patch: &Patch) -> Result<String> {
    let expectation = parse(patch)?;
    let Expectation { kind, seeds, .. } = expectation;
    judge(&simulate(copy, Some(&patch.name), kind, seeds)?, &expectation)
}

/// The planted simulator's exit code and what it printed.
struct Simulated {
    code: Option<i32>,
    printed: String,
}

impl Simulated {
    /// How many promises it broke, as its last line says.
    fn violations(&self) -> Result<&str> {
        let summary = self.printed.lines().rev().find_map(|line| line.rsplit_once("violations="));
        let code = self.code;
        let (_, count) = summary.with_context(|| {
            format!("it did not come to its summary (exit code {code:?}); does it compile?")
        })?;
        Ok(count.trim())
    }
}

fn simulate(copy: &Path, bug: Option<&str>, kind: Kind, seeds: u64) -> Result<Simulated> {
    let users = match kind {
        Kind::Keys => "keys",
        Kind::Jobs => "jobs",
    };
    let output = cargo(copy, bug)
        .args(["run", "--quiet", "--release", "--package", "synod-sim", "--example", "sim", "--"])
        .args([&seeds.to_string(), "1", users, "until-failure"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Simulated { code: output.status.code(), printed })
}

/// `ours`: seeds, and the trace of each as it should be.
fn compare(simulated: &Simulated, ours: &[(u64, u32)]) -> Result<()> {
    let count = simulated.violations()?;
    let Simulated { code, printed } = simulated;
    if *code != Some(0) || count != "0" {
        let words = printed.lines().filter(|line| !line.contains("violations 0")).take(5);
        let said = words.collect::<Vec<_>>().join("; ");
        bail!("the planted simulator is not clean (exit code {code:?}): {said}");
    }
    let theirs: Vec<(u64, u32)> = printed.lines().filter_map(trace).collect();
    let other = ours.iter().find(|seed| !theirs.contains(seed));
    if let Some((seed, ours)) = other {
        bail!(
            "seed {seed} does not run as in the product, where its trace is {ours:08x}: does a patch change \
             something outside of its switch?"
        );
    }
    Ok(())
}

/// The seed and its trace of a line such as `sim: seed 7 trace 8e5a0c17 operations ...`.
fn trace(line: &str) -> Option<(u64, u32)> {
    let (seed, rest) = line.strip_prefix("sim: seed ")?.split_once(" trace ")?;
    let (trace, _) = rest.split_once(' ')?;
    Some((seed.parse().ok()?, u32::from_str_radix(trace, 16).ok()?))
}

fn judge(simulated: &Simulated, expectation: &Expectation) -> Result<String> {
    let count = simulated.violations()?;
    let Simulated { code, printed } = simulated;
    if *code != Some(1) || count == "0" {
        bail!("{} seeds passed (exit code {code:?})", expectation.seeds);
    }
    let (seeds, broken) = broken_promises(printed);
    let named = |promise: &String| broken.contains(promise.as_str());
    let list = |words: BTreeSet<&str>| words.into_iter().collect::<Vec<_>>().join(", ");
    if !expectation.promises.iter().any(named) {
        bail!("it broke {}, but not what it says: {:?}", list(broken), expectation.promises);
    }
    let (seeds, most) = (list(seeds), expectation.seeds);
    Ok(format!("{count} violations in seed {seeds}, of {most} at most: {}", list(broken)))
}

/// The seeds and the promises of lines such as `sim: seed 7: stale-read: ...`.
fn broken_promises(printed: &str) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let broken = |line| -> Option<(&str, &str)> {
        let (seed, rest) = str::strip_prefix(line, "sim: seed ")?.split_once(": ")?;
        let (promise, _) = rest.split_once(": ")?;
        let is_seed = seed.bytes().all(|byte| byte.is_ascii_digit());
        (is_seed && !promise.contains(' ')).then_some((seed, promise))
    };
    printed.lines().filter_map(broken).unzip()
}

fn parse(patch: &Patch) -> Result<Expectation> {
    let seeds = patch.value("seeds")?.parse().context("'seeds:' is not a number")?;
    let kind = match patch.value("users") {
        Ok("jobs") => Kind::Jobs,
        Ok(other) => bail!("'users: {other}' is nobody"),
        Err(_) => Kind::Keys,
    };
    Ok(Expectation { promises: patch.list("promise")?, seeds, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simulated(code: i32, printed: &str) -> Simulated {
        Simulated { code: Some(code), printed: printed.to_owned() }
    }

    fn expected() -> Expectation {
        let promises = vec!["lost-write".into(), "stale-read".into()];
        Expectation { promises, seeds: 9, kind: Kind::Keys }
    }

    #[test]
    fn a_patch_says_what_it_breaks_and_how_soon() {
        let patch = "The leader answers early.\npromise: lost-write, stale-read\nseeds: 9\n\
                     diff --git a/x b/x\n";
        let parse = |text: &str| parse(&Patch::new("late.patch".into(), text.to_owned()));
        let bad = |text| parse(text).is_err();
        assert_eq!(parse(patch).unwrap(), expected());
        assert_eq!(parse("promise: x\nseeds: 1\nusers: jobs\n").unwrap().kind, Kind::Jobs);
        assert!(bad("promise: x\nseeds: 1\nusers: all\n"));
        assert!(bad("promise: x\ndiff --git a/x b/x\nseeds: 9\n"));
        assert!(bad("promise: x\nseeds: many\n"));
    }

    #[test]
    fn a_bug_counts_as_found_only_by_its_promise() {
        let found = "sim: seed 3: stale-read: old\nsim: seeds=9 violations=4\n";
        let found = judge(&simulated(1, found), &expected()).unwrap();
        assert_eq!(found, "4 violations in seed 3, of 9 at most: stale-read");
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
    fn the_control_is_clean_and_runs_as_the_product() {
        let printed = "sim: seed 1 twice: same trace 00000aaa\n\
                       sim: seed 1 trace 00000aaa operations 9 revisions 8 violations 0\n\
                       sim: seed 2 trace 00000bbb operations 9 revisions 8 violations 0\n\
                       sim: seeds=2 violations=0\n";
        let ours = [(1, 0xaaa), (2, 0xbbb)];
        compare(&simulated(0, printed), &ours).unwrap();
        let said = |code, printed, ours: &[(u64, u32)]| {
            compare(&simulated(code, printed), ours).unwrap_err().to_string()
        };
        assert!(said(0, printed, &[(1, 0xaaa), (2, 0xccc)]).contains("seed 2 does not run"));
        assert!(said(0, printed, &[(1, 0xaaa), (2, 0xbbb), (3, 0)]).contains("seed 3"), "not run");
        assert!(said(0, "sim: seeds=2 violations=0\n", &ours).contains("seed 1"));
        let broken = "sim: seed 1: lost-write: gone\nsim: seeds=1 violations=1\n";
        assert!(said(1, broken, &ours).contains("lost-write: gone"));
        assert!(said(101, "", &ours).contains("does it compile"));
    }
}
