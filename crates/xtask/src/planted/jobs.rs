//! `cargo xtask planted-jobs`: would the tests of jobs notice? A patch says which tests must fail with it:
//!
//! ```text
//! package: synod-jobs
//! tests: cluster::tests::slowness::two_ends_in_the_same_moment_are_one_win_and_one_loss, ..
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::cargo;
use super::patch::Patch;

/// The copy of the workspace, and the features that it is built with.
type Copy<'a> = (&'a Path, &'a str);

/// With no bug switched on every test passes that the patches name.
pub(super) fn control(copy: Copy<'_>, patches: &[&Patch]) -> Result<()> {
    let mut packages: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for patch in patches {
        packages.entry(patch.value("package")?).or_default().extend(patch.list("tests")?);
    }
    for (package, tests) in packages {
        let tests: Vec<String> = tests.into_iter().collect();
        all_end(&run(copy, None, package, &tests)?, &tests, "ok")?;
    }
    Ok(())
}

pub(super) fn judge_bug(copy: Copy<'_>, patch: &Patch) -> Result<String> {
    let tests = patch.list("tests")?;
    let printed = run(copy, Some(&patch.name), patch.value("package")?, &tests)?;
    all_end(&printed, &tests, "FAILED")?;
    Ok(format!("by {} tests", tests.len()))
}

/// What these tests print.
fn run(
    (copy, features): Copy<'_>,
    bug: Option<&str>,
    package: &str,
    tests: &[String],
) -> Result<String> {
    // With the package `synod`, whose tests are filtered out: its features decide on those of dependencies.
    let output = cargo(copy, bug)
        .args(["test", "--quiet", "--features", features, "--package", "synod"])
        .args(["--package", package, "--lib", "--"])
        .args(["--exact", "--format=pretty"])
        .args(tests)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether each of the tests ended in this way, `ok` or `FAILED`.
fn all_end(printed: &str, tests: &[String], way: &str) -> Result<()> {
    if !printed.lines().any(|line| line.starts_with("test result: ")) {
        bail!("the tests did not come to their end; does it compile?");
    }
    let ended =
        |test: &&String| printed.lines().any(|line| line == format!("test {test} ... {way}"));
    let others: Vec<&String> = tests.iter().filter(|test| !ended(test)).collect();
    if !others.is_empty() {
        bail!("these did not end with {way}: {others:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_counts_as_found_if_every_test_that_is_named_fails() {
        let printed = "test a::b ... FAILED\ntest a::c ... ok\ntest result: FAILED. 1 passed\n";
        let judge = |printed: &str, names: &[&str], way: &str| {
            let tests: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            all_end(printed, &tests, way)
        };
        judge(printed, &["a::b"], "FAILED").unwrap();
        judge(printed, &["a::c"], "ok").unwrap();
        assert!(judge(printed, &["a::b", "a::c"], "FAILED").is_err());
        assert!(judge(printed, &["a::b", "a::c"], "ok").is_err(), "the control fails");
        for way in ["FAILED", "ok"] {
            assert!(judge(printed, &["a::d"], way).is_err(), "there is no such test");
            assert!(judge("", &["a::b"], way).is_err(), "it does not compile");
        }
        assert!(judge("test a::b ... FAILED\n", &["a::b"], "FAILED").is_err(), "it was killed");
    }
}
