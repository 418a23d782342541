//! What the tests of the job engine share: folders, generated text, naive answers.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use synod_jobs::{JobError, JobSpec, JobSummary, Progress, run_built_in};

/// A folder that goes away with the test, and the files in it.
pub struct Bench {
    folder: tempfile::TempDir,
    runs: std::cell::Cell<u32>,
}

impl Bench {
    pub fn new() -> Bench {
        Bench { folder: tempfile::tempdir().unwrap(), runs: 0.into() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// A spec with a fresh output and no sync, for speed.
    pub fn spec(&self, job: &str, inputs: &[&Path]) -> JobSpec {
        self.runs.set(self.runs.get() + 1);
        let output = self.path(&format!("out-{}", self.runs.get()));
        let mut spec = JobSpec::new(job, inputs.iter().copied(), output);
        spec.sync_output = false;
        spec.slots = Some(2);
        spec
    }

    /// Names in the folder that are not there at rest.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

pub fn run(spec: &JobSpec) -> Result<JobSummary, JobError> {
    run_built_in(spec, &Progress::new())
}

/// The part files in order, name and content; also checks that nothing else was left.
pub fn parts(output: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names: Vec<String> = fs::read_dir(output)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.remove(0), "_SUCCESS");
    names
        .into_iter()
        .map(|name| {
            assert!(name.starts_with("part-"), "{name}");
            let bytes = fs::read(output.join(&name)).unwrap();
            (name, bytes)
        })
        .collect()
}

/// The files of what a job has left out, by name, line by line in fields; they are removed.
pub fn take_quarantine(output: &Path) -> BTreeMap<String, Vec<Vec<String>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(output).unwrap() {
        let (name, path) = entry.map(|e| (e.file_name(), e.path())).unwrap();
        let name = name.into_string().unwrap();
        if name.starts_with(".skipped-") {
            let text = fs::read_to_string(&path).unwrap();
            let fields = |line: &str| line.splitn(5, '\t').map(str::to_owned).collect();
            files.insert(name, text.lines().map(fields).collect());
            fs::remove_file(path).unwrap();
        }
    }
    files
}

pub fn joined(output: &Path) -> Vec<u8> {
    parts(output).into_iter().flat_map(|(_, bytes)| bytes).collect()
}

/// What a word count must give, over all parts, sorted.
pub fn naive_word_count(text: &[u8]) -> Vec<Vec<u8>> {
    let mut counts: BTreeMap<&[u8], u64> = BTreeMap::new();
    for word in text.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty()) {
        *counts.entry(word).or_default() += 1;
    }
    let line = |(word, count): (&[u8], u64)| [word, b"\t", count.to_string().as_bytes()].concat();
    let mut lines: Vec<_> = counts.into_iter().map(line).collect();
    lines.sort();
    lines
}

pub fn sorted_lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = bytes
        .strip_suffix(b"\n")
        .map_or(Vec::new(), |all| all.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect());
    lines.sort();
    lines
}

/// Text in which the n-th word occurs about 1/n as often as the first.
pub fn zipf_text(seed: u64, bytes: usize, vocabulary: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let words: Vec<Vec<u8>> = (0..vocabulary)
        .map(|_| (0..random.usize(1..25)).map(|_| random.u8(b'a'..=b'z')).collect())
        .collect();
    let mut text = Vec::with_capacity(bytes + 32);
    while text.len() < bytes {
        let rank = (vocabulary as f64).powf(random.f64()) as usize - 1;
        text.extend_from_slice(&words[rank.min(vocabulary - 1)]);
        text.push(if random.u8(..8) == 0 { b'\n' } else { b' ' });
    }
    text
}

/// Runs a test of this program once more, behind a program that changes what it may do or sees.
pub fn run_again(behind: &mut Command, test: &str) {
    let own_program = std::env::current_exe().unwrap();
    let output = behind.arg(own_program).args(["--exact", test]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && said.contains("1 passed");
    assert!(passed, "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// Leaves a check out where it cannot be done, and says so; fails if this variable is 1.
pub fn leave_out(what: &str, variable: &str) {
    let demanded = std::env::var(variable).is_ok_and(|value| value == "1");
    assert!(!demanded, "{variable}=1, but this cannot be done here: {what}");
    // The harness shows what is printed only when a test fails. If nobody can read it, so be it.
    drop(writeln!(std::io::stderr(), "\n*** SKIPPED: {what}"));
}
