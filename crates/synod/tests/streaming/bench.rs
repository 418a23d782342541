//! A folder to run streaming jobs in.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::parts::parts;
use crate::support::{PATIENCE, synod, wait_for};

/// A folder with inputs and scripts; commands run in it.
pub struct Bench {
    folder: TempDir,
    outputs: Cell<u32>,
}

/// A job that has succeeded.
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    /// The folder of its output.
    pub output: PathBuf,
    /// Its part files by name.
    pub parts: BTreeMap<String, Vec<u8>>,
}

/// Lines pass as they are, on both sides.
pub const CAT: &[&str] = &["-mapper", "cat", "-reducer", "cat"];
/// Lines pass as they are, without reduce tasks.
pub const MAPS: &[&str] = &["-mapper", "cat", "-reducer", "NONE"];

impl Bench {
    pub fn new() -> Bench {
        Bench { folder: TempDir::new().unwrap(), outputs: Cell::new(0) }
    }

    /// With a file `in`.
    pub fn with_input(content: impl AsRef<[u8]>) -> Bench {
        let bench = Bench::new();
        bench.put("in", content);
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and makes the folders that it is in.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Writes a script for the shell that can be started. Its path.
    pub fn script(&self, name: &str, text: &str) -> String {
        self.put(name, format!("#!/bin/sh\n{text}\n"));
        let path = self.path(name);
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A script that takes no hint: it and its child say who they are, ignore all requests to end, and wait
    /// for ever. `before` is done first.
    pub fn stubborn(&self, name: &str, before: &str) -> String {
        fs::create_dir_all(self.path("pids")).unwrap();
        let pids = self.path("pids").display().to_string();
        let script = format!(
            "{before}
             trap '' TERM HUP INT
             sleep 600 &
             echo $! > '{pids}/child-'$$
             echo $$ > '{pids}/leader-'$$
             wait"
        );
        self.script(name, &script)
    }

    /// The processes that have said who they are, when there are this many.
    pub fn wait_for_pids(&self, many: usize) -> Vec<String> {
        wait_for("programs that run", PATIENCE, || {
            let files = fs::read_dir(self.path("pids")).ok()?;
            let texts = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
            // One that is being written has no end yet.
            let pids: Vec<String> = texts.filter(|text| text.ends_with('\n')).collect();
            (pids.len() >= many).then_some(pids)
        })
    }

    /// A command of the binary, in the folder.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = synod(words);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        for name in ["SYNOD_HDFS_ROOT", "SYNOD_HANDED_TO", "HADOOP_USER_NAME"] {
            command.env_remove(name);
        }
        command
    }

    /// `-input in -output out-1` and so on, at the end so that generic options can stand in front.
    pub fn words<'w>(&self, words: &[&'w str], output: &'w str) -> Vec<&'w str> {
        let input: &[&str] = if words.contains(&"-input") { &[] } else { &["-input", "in"] };
        [words, input, &["-output", output]].concat()
    }

    /// Runs a job with a new output. Its folder, and how it went.
    pub fn try_run(&self, words: &[&str]) -> (PathBuf, Output) {
        self.outputs.set(self.outputs.get() + 1);
        let output = format!("out-{}", self.outputs.get());
        let words = [&["streaming"], &self.words(words, &output)[..]].concat();
        (self.path(&output), self.command(&words).output().unwrap())
    }

    /// Runs a job that must succeed.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Ran {
        let (output, done) = self.try_run(words);
        let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{words:?}: {}: {stderr}", done.status);
        let stdout = String::from_utf8(done.stdout).unwrap();
        Ran { stdout, stderr, parts: visible_parts(&output), output }
    }

    /// Runs a job that must fail and leave no output; what it said.
    #[track_caller]
    pub fn fail(&self, words: &[&str]) -> String {
        let (output, done) = self.try_run(words);
        let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(1), "{words:?}: {stderr}");
        assert!(!output.exists(), "{words:?} has left output: {stderr}");
        stderr
    }
}

impl Ran {
    /// All part files, one after the other.
    pub fn all(&self) -> Vec<u8> {
        self.parts.values().flatten().copied().collect()
    }

    /// The same as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.all()).unwrap()
    }

    /// Part files as text, in the order of their numbers.
    pub fn texts(&self) -> Vec<String> {
        self.parts.values().map(|part| String::from_utf8(part.clone()).unwrap()).collect()
    }

    /// A counter of those that were printed, `group` as it stands there.
    pub fn counter(&self, group: &str, name: &str) -> Option<i64> {
        let mut lines = self.stderr.lines().skip_while(|line| !line.contains("Counters: "));
        lines.find(|line| line.trim_end() == format!("\t{group}"))?;
        let group = lines.take_while(|line| line.starts_with("\t\t"));
        let mut pairs = group.filter_map(|line| line.trim().rsplit_once('='));
        pairs.find(|(found, _)| *found == name)?.1.parse().ok()
    }
}

/// The part files of an output that may have files of other names in it.
pub fn visible_parts(output: &Path) -> BTreeMap<String, Vec<u8>> {
    let only_parts = fs::read_dir(output).unwrap().all(|entry| {
        let name = entry.unwrap().file_name();
        name == "_SUCCESS" || name.to_string_lossy().starts_with("part-")
    });
    if only_parts {
        return parts(output);
    }
    let files = fs::read_dir(output).unwrap().map(|entry| entry.unwrap());
    let files = files.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    let parts = files.filter(|(name, _)| name.starts_with("part-"));
    parts.map(|(name, path)| (name, fs::read(path).unwrap())).collect()
}

/// Whether a process runs, by its number as a script has written it.
pub fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Waits until none of the processes runs.
pub fn wait_until_gone(pids: &[String]) {
    wait_for("the programs to be gone", PATIENCE, || {
        pids.iter().all(|pid| !is_alive(pid)).then_some(())
    });
}

/// `-D` before each.
pub fn properties<'p>(pairs: &[&'p str]) -> Vec<&'p str> {
    pairs.iter().flat_map(|pair| ["-D", pair]).collect()
}
