//! The workspace's Rust files, and which of their lines are tests.
//!
//! No parser: rustfmt's output is regular enough. A file is a test if it lies under `tests/`,
//! `benches/` or `examples/`, is called `tests.rs` or `.._tests.rs`, or is declared by a `mod`
//! under `#[cfg(test)]`. An inline test module runs to the end of its file, as the house wants
//! tests last.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::step::output;

/// One Rust file.
pub struct Source {
    /// From the root, with slashes.
    pub path: String,
    pub text: String,
    /// All of it is test code.
    pub is_test: bool,
}

/// Reads every Rust file that git knows or would take.
pub fn read_all(root: &Path) -> Result<Vec<Source>> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.rs"];
    let listed = output(Command::new("git").args(list).current_dir(root))?;
    let listed = String::from_utf8(listed).context("a file's name is not UTF-8")?;
    let paths: BTreeSet<&str> = listed.split('\0').filter(|path| !path.is_empty()).collect();
    let mut files = Vec::new();
    for path in paths {
        // A file that is deleted but not yet committed is listed still.
        if root.join(path).is_file() {
            let text = fs::read_to_string(root.join(path)).with_context(|| path.to_owned())?;
            files.push(Source { path: path.to_owned(), text, is_test: is_test_path(path) });
        }
    }
    mark_declared_tests(&mut files);
    Ok(files)
}

impl Source {
    /// The lines that are not tests, with their numbers from 1.
    pub fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = if self.is_test { 0 } else { self.inline_tests().unwrap_or(usize::MAX) };
        self.lines().take(end)
    }

    /// All lines, with their numbers from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(number, line)| (number + 1, line))
    }

    /// Lines that are neither blank, comments nor tests.
    pub fn code_lines(&self) -> usize {
        self.product_lines()
            .map(|(_, line)| line.trim_start())
            .filter(|line| !line.is_empty() && !line.starts_with("//"))
            .count()
    }

    /// After how many lines an inline test module begins.
    fn inline_tests(&self) -> Option<usize> {
        let lines: Vec<&str> = self.text.lines().collect();
        lines.iter().position(|line| *line == "#[cfg(test)]").filter(|at| {
            let module = lines[at + 1..].iter().find(|line| !line.starts_with("#["));
            module.is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
        })
    }

    /// Modules in other files that are declared for tests only.
    fn declared_tests(&self) -> impl Iterator<Item = &str> {
        let mut lines = self.text.lines().map(str::trim);
        std::iter::from_fn(move || {
            loop {
                if lines.next()? == "#[cfg(test)]"
                    && let Some(module) = lines.next()?.strip_suffix(';')
                    && let Some(name) = module.rsplit("mod ").next()
                {
                    return Some(name);
                }
            }
        })
    }
}

fn is_test_path(path: &str) -> bool {
    let folders = ["/tests/", "/benches/", "/examples/"];
    path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
        || folders.iter().any(|folder| path.contains(folder))
}

/// A module under `#[cfg(test)]` is a test with everything below it.
fn mark_declared_tests(files: &mut [Source]) {
    let mut stems = BTreeSet::new();
    for file in files.iter() {
        let stem = file.path.trim_end_matches(".rs");
        let owner = ["/mod", "/lib", "/main"].iter().find_map(|name| stem.strip_suffix(name));
        for name in file.declared_tests() {
            stems.insert(format!("{}/{name}", owner.unwrap_or(stem)));
        }
    }
    for file in files.iter_mut() {
        let below = |stem: &String| {
            let rest = file.path.strip_prefix(stem.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        file.is_test |= stems.iter().any(below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into(), is_test: is_test_path(path) }
    }

    #[test]
    fn an_inline_test_module_is_not_product_code() {
        let text = "//! Plate.\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n";
        let file = source("crates/x/src/a.rs", text);
        assert_eq!(file.product_lines().last(), Some((3, "")));
        assert_eq!(file.code_lines(), 1);
    }

    #[test]
    fn a_declared_test_module_is_a_test_with_all_below() {
        let mut files = [
            source("crates/x/src/a/mod.rs", "//! P.\n#[cfg(test)]\nmod story;\nmod other;\n"),
            source("crates/x/src/a/story.rs", ""),
            source("crates/x/src/a/story/deep.rs", ""),
            source("crates/x/src/a/storyteller.rs", ""),
            source("crates/x/src/a/other.rs", ""),
            source("crates/x/tests/it.rs", ""),
        ];
        mark_declared_tests(&mut files);
        let tests: Vec<bool> = files.iter().map(|file| file.is_test).collect();
        assert_eq!(tests, [false, true, true, false, false, true]);
    }
}
