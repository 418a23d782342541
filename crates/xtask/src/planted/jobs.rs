//! `cargo xtask planted-jobs`: would the tests of jobs notice? A patch says which tests must fail with it:
//!
//! ```text
//! package: synod-jobs
//! tests: cluster::tests::slowness::two_ends_in_the_same_moment_are_one_win_and_one_loss, ..
//! ```

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::{Header, cargo};

pub(super) fn judge_copy(copy: &Path, header: &Header<'_>) -> Result<String> {
    let tests = header.list("tests")?;
    let output = cargo(copy)
        .args(["test", "--quiet", "--package", header.value("package")?, "--lib", "--"])
        .args(["--exact", "--format=pretty"])
        .args(&tests)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    judge(&String::from_utf8_lossy(&output.stdout), &tests)
}

fn judge(printed: &str, tests: &[String]) -> Result<String> {
    if !printed.lines().any(|line| line.starts_with("test result: ")) {
        bail!("the tests did not come to their end; does it compile?");
    }
    let has_failed =
        |test: &&String| printed.lines().any(|line| *line == format!("test {test} ... FAILED"));
    let (found, missed): (Vec<&String>, Vec<&String>) = tests.iter().partition(has_failed);
    if !missed.is_empty() {
        bail!("these did not fail: {missed:?}");
    }
    Ok(format!("by {} tests", found.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_counts_as_found_if_every_test_that_is_named_fails() {
        let printed = "test a::b ... FAILED\ntest a::c ... ok\ntest result: FAILED. 1 passed\n";
        let named =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(judge(printed, &named(&["a::b"])).unwrap(), "by 1 tests");
        assert!(judge(printed, &named(&["a::b", "a::c"])).is_err());
        assert!(judge(printed, &named(&["a::d"])).is_err(), "there is no such test");
        assert!(judge("test a::b ... FAILED\n", &named(&["a::b"])).is_err(), "it was killed");
        assert!(judge("", &named(&["a::b"])).is_err(), "it does not compile");
    }
}
