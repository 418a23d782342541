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

use super::{Header, cargo};

/// What a patch says it breaks.
#[derive(Debug, PartialEq)]
struct Expectation {
    promises: Vec<String>,
    seeds: u64,
    jobs: bool,
}

pub(super) fn judge_copy(copy: &Path, header: &Header<'_>) -> Result<String> {
    let expectation = parse(header)?;
    judge(&simulate(copy, &expectation)?, &expectation)
}

/// The planted simulator's exit code and what it printed.
struct Simulated {
    code: Option<i32>,
    printed: String,
}

fn simulate(copy: &Path, expectation: &Expectation) -> Result<Simulated> {
    let seeds = expectation.seeds.to_string();
    let users = if expectation.jobs { "jobs" } else { "keys" };
    let output = cargo(copy)
        .args(["run", "--quiet", "--release", "--package", "synod-sim", "--example", "sim", "--"])
        .args([&seeds, "1", users, "until-failure"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Simulated { code: output.status.code(), printed })
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

fn parse(header: &Header<'_>) -> Result<Expectation> {
    let seeds = header.value("seeds")?.parse().context("'seeds:' is not a number")?;
    let jobs = match header.value("users") {
        Ok("jobs") => true,
        Ok(other) => bail!("'users: {other}' is nobody"),
        Err(_) => false,
    };
    Ok(Expectation { promises: header.list("promise")?, seeds, jobs })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simulated(code: i32, printed: &str) -> Simulated {
        Simulated { code: Some(code), printed: printed.to_owned() }
    }

    fn expected() -> Expectation {
        let promises = vec!["lost-write".into(), "stale-read".into()];
        Expectation { promises, seeds: 9, jobs: false }
    }

    #[test]
    fn a_patch_says_what_it_breaks_and_how_soon() {
        let patch = "The leader answers early.\npromise: lost-write, stale-read\nseeds: 9\n\
                     diff --git a/x b/x\n";
        let bad = |patch| parse(&Header { patch }).is_err();
        assert_eq!(parse(&Header { patch }).unwrap(), expected());
        let jobs = parse(&Header { patch: "promise: x\nseeds: 1\nusers: jobs\n" }).unwrap();
        assert!(jobs.jobs);
        assert!(bad("promise: x\nseeds: 1\nusers: all\n"));
        assert!(bad("promise: x\ndiff --git a/x b/x\nseeds: 9\n"));
        assert!(bad("promise: x\nseeds: many\n"));
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
}
