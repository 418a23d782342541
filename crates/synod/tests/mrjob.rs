//! The Python package `mrjob` as an outside client: its `hadoop` runner drives this binary, called
//! `hadoop`, and must give what its `inline` runner gives, which runs the same program in one process.
//!
//! The scripts are in `mrjob_scripts/`. The Python is SYNOD_TEST_PYTHON's, or `python3`; without mrjob
//! in it these tests say so and pass, unless SYNOD_TEST_REQUIRE_MRJOB=1 (as in `.ci/run`).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use support::{binary, leave_out};
use tempfile::TempDir;

/// A folder with a `hadoop`, a place for HDFS and some input.
struct Bench {
    folder: TempDir,
    python: String,
    inputs: Vec<PathBuf>,
}

impl Bench {
    /// `None` if the test is to be left out.
    fn new() -> Option<Bench> {
        let python = std::env::var("SYNOD_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let import = ["-c", "import mrjob.hadoop, mrjob.inline"];
        let has_mrjob = Command::new(&python).args(import).stderr(Stdio::null()).status();
        if !has_mrjob.is_ok_and(|status| status.success()) {
            let what = format!("jobs of mrjob: {python} cannot import it (pip install mrjob)");
            leave_out(&what, "SYNOD_TEST_REQUIRE_MRJOB");
            return None;
        }
        let folder = TempDir::new().unwrap();
        std::os::unix::fs::symlink(binary(), folder.path().join("hadoop")).unwrap();
        // Its name is all that matters.
        fs::write(folder.path().join("hadoop-streaming-3.4.1.jar"), "").unwrap();
        for name in ["hdfs", "tmp"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut bench = Bench { folder, python, inputs: Vec::new() };
        bench.input("first.txt", "Die Würde des Menschen\nthe quick brown fox\n\nThe end\r\n");
        bench.input("second one.txt", &"the lazy dog, and the 'other' dog\n".repeat(2_000));
        bench.input("no newline.txt", "end of the\ttext");
        Some(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn input(&mut self, name: &str, content: &str) {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        self.inputs.push(path);
    }

    /// Runs a script with a runner.
    fn output(&self, script: &str, runner: &str, more: &[&str]) -> Output {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mrjob_scripts");
        let mut command = Command::new(&self.python);
        command.arg(scripts.join(script)).args(["--no-conf", "-r", runner]);
        if runner == "hadoop" {
            command.arg("--hadoop-bin").arg(self.path("hadoop"));
            command.arg("--hadoop-streaming-jar").arg(self.path("hadoop-streaming-3.4.1.jar"));
            command.args(["--python-bin", &self.python]);
        }
        command.args(more).args(&self.inputs);
        command.env("SYNOD_HDFS_ROOT", self.path("hdfs")).env("TMPDIR", self.path("tmp"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        for name in ["HADOOP_HOME", "HADOOP_PREFIX", "HADOOP_LOG_DIR", "SYNOD_ENDPOINTS"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// The lines that a runner gives, ascending, and what it said.
    fn lines(&self, script: &str, runner: &str, more: &[&str]) -> (Vec<String>, String) {
        let output = self.output(script, runner, more);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{script} -r {runner}: {said}");
        let mut lines: Vec<String> =
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        (lines, said)
    }

    /// What of HDFS is left: mrjob puts its own there and takes it away.
    fn assert_tidy(&self) {
        let mut folders = vec![self.path("hdfs")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                assert!(path.is_dir(), "{} is left", path.display());
                folders.push(path);
            }
        }
    }
}

#[test]
fn the_hadoop_runner_counts_words_as_the_inline_runner_does() {
    let Some(bench) = Bench::new() else { return };
    let (inline, said) = bench.lines("word_frequency.py", "inline", &[]);
    assert!(inline.contains(&"\"the\"\t4003".to_owned()), "{inline:?}");
    assert!(said.contains("\t\twords="), "{said}");
    let counted = said.lines().find(|line| line.trim().starts_with("words=")).unwrap().trim();
    for more in [&[][..], &["-D", "mapreduce.job.reduces=3"]] {
        let (hadoop, said) = bench.lines("word_frequency.py", "hadoop", more);
        assert_eq!(hadoop, inline, "{more:?}: {said}");
        // It has read the job's counters from the messages, its own among them.
        assert!(said.contains("\tvocabulary\n") && said.contains(counted), "{said}");
        assert!(said.contains("Running job: job_"), "{said}");
        bench.assert_tidy();
    }
}

#[test]
fn jobs_of_several_steps_give_what_the_inline_runner_gives() {
    let Some(bench) = Bench::new() else { return };
    let (inline, _) = bench.lines("most_used_word.py", "inline", &[]);
    assert_eq!(inline, ["\"the\"\t4003"]);
    let (hadoop, said) = bench.lines("most_used_word.py", "hadoop", &[]);
    assert_eq!(hadoop, inline, "{said}");
    assert!(said.contains("Running step 2 of 2"), "{said}");
    bench.assert_tidy();
}

#[test]
fn the_hadoop_runner_sees_that_a_job_failed_and_why() {
    let Some(mut bench) = Bench::new() else { return };
    bench.input("bad.txt", "fine\npoison\nfine\n");
    let output = bench.output("fails_in_its_mapper.py", "hadoop", &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{said}");
    assert!(said.contains("ValueError: a line that nobody can digest"), "{said}");
    assert!(said.contains("Step 1 of 1 failed"), "{said}");
}
