//! The Python package `mrjob` as an outside client: its `hadoop` runner drives this binary, called
//! `hadoop`, and must give what its `inline` runner gives, which runs the same program in one process.
//!
//! The scripts are the package's own examples, and a few in `mrjob_scripts/`. The Python is
//! SYNOD_TEST_PYTHON's, or `python3`; without mrjob in it these tests say so and pass, unless
//! SYNOD_TEST_REQUIRE_MRJOB=1 (as in `.ci/run`).

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

    /// The folder of the package's own examples.
    fn examples(&self) -> PathBuf {
        let ask = "import os, mrjob.examples as e; print(os.path.dirname(e.__file__), end='')";
        let told = Command::new(&self.python).args(["-c", ask]).output().unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        PathBuf::from(String::from_utf8(told.stdout).unwrap())
    }

    /// Runs a script, of ours unless its path is whole, with a runner.
    fn output(&self, script: &str, runner: &str, more: &[&str]) -> Output {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mrjob_scripts");
        let mut command = Command::new(&self.python);
        command.arg(scripts.join(script)).args(["--no-conf", "-r", runner]);
        // Sets of texts have the same order in all processes.
        command.args(["--cmdenv", "PYTHONHASHSEED=0"]).env("PYTHONHASHSEED", "0");
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

/// The package's examples that need no network: name, the runner that does the same without Hadoop (`inline`
/// knows no commands), and arguments.
const EXAMPLES: &[(&str, &str, &[&str])] = &[
    ("mr_word_freq_count", "inline", &[]),
    ("mr_most_used_word", "inline", &[]),
    ("mr_next_word_stats", "inline", &[]),
    ("mr_count_lines_by_file", "inline", &[]),
    ("mr_grep", "local", &["-e", "the"]),
    ("mr_words_containing_u_freq_count", "local", &[]),
];

/// A task for each file: every one starts some interpreters.
const FEW_TASKS: &[&str] = &["-D", "mapreduce.input.fileinputformat.split.minsize=100000000"];

#[test]
fn the_packages_own_examples_give_what_they_give_without_hadoop() {
    let Some(mut bench) = Bench::new() else { return };
    let examples = bench.examples();
    bench.inputs.truncate(1);
    bench.input("more.txt", &"the lazy duck and the 'other' dog\n".repeat(50));
    for &(name, runner, more) in EXAMPLES {
        let script = examples.join(format!("{name}.py"));
        let script = script.to_str().unwrap();
        let (expected, _) = bench.lines(script, runner, more);
        assert!(!expected.is_empty(), "{name} gives nothing");
        let (found, said) = bench.lines(script, "hadoop", &[more, FEW_TASKS].concat());
        let same = |line: &str| {
            // A line without a key gets a tab at its end, as Hadoop's text format gives it one.
            let line = line.strip_suffix('\t').unwrap_or(line);
            // Where a file is, is another matter.
            match line.split_once("/").filter(|_| name == "mr_count_lines_by_file") {
                Some((_, path)) => path.rsplit('/').next().unwrap().to_owned(),
                None => line.to_owned(),
            }
        };
        let of = |lines: &[String]| lines.iter().map(|line| same(line)).collect::<Vec<_>>();
        assert_eq!(of(&found), of(&expected), "{name}: {said}");
        bench.assert_tidy();
    }
}

#[test]
fn an_example_of_four_steps_whose_mappers_fetch_their_files_by_hadoop_fs_gives_the_same() {
    let Some(mut bench) = Bench::new() else { return };
    let examples = bench.examples();
    bench.inputs.clear();
    for name in
        ["twinkletoes-milne.txt", "happiness-milne.txt", "the_christening-milne-animals.txt"]
    {
        bench.inputs.push(examples.join("docs-to-classify").join(name));
    }
    let script = examples.join("mr_text_classifier.py");
    let script = script.to_str().unwrap();
    let more = ["--min-df", "1", "--no-test-set"];
    let (expected, _) = bench.lines(script, "inline", &more);
    let (found, said) = bench.lines(script, "hadoop", &[&more, FEW_TASKS].concat());
    assert!(said.contains("Running step 4 of 4") && said.contains("-copyToLocal"), "{said}");
    // Values come in another order, so sums of fractions differ in their last digits.
    let of = |lines: &[String]| lines.iter().map(|line| rounded(line)).collect::<Vec<_>>();
    assert!(expected.len() > 100);
    assert_eq!(of(&found), of(&expected));
    bench.assert_tidy();
}

/// With ten digits at most behind each point.
fn rounded(line: &str) -> String {
    let mut digits = None;
    let keep = |letter: &char| {
        digits = match (letter, digits) {
            ('.', _) => Some(0),
            (letter, Some(before)) if letter.is_ascii_digit() => Some(before + 1),
            _ => None,
        };
        digits.is_none_or(|digits| digits <= 10)
    };
    line.chars().filter(keep).collect()
}
