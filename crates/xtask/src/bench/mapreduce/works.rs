//! What is measured: each work with its input, Synod's command, the programs beside it, and what makes
//! their answers equal.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::JobOptions;
use super::answers::Form;
use super::cores::CORES;
use super::handwritten::ByHand;
use super::input::Input;
use super::measure::{Cpu, Program};
use super::peers::{Engine, Python, by_hand, gnu_sort, mawk, shell};
use super::workers::Workers;
use crate::bench::workplace::Workplace;

/// A work, by its name on the command line and in figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Name {
    /// How often each word occurs.
    Wordcount,
    /// Requests per address of an access log.
    Fieldcount,
    /// Records of 100 bytes in order.
    Sort,
    /// Words of which ten million in every GB are different, with 512 MiB of memory.
    Distinct,
    /// A word count of nothing.
    Empty,
    /// Hadoop Streaming with a mapper and a reducer.
    Streaming,
    /// Hadoop Streaming with a mapper alone.
    StreamingMap,
    /// A word count by three processes.
    Workers,
    /// Totals per address of an access log.
    Loganalysis,
    /// Records that are in order already.
    SortSorted,
    /// Records in the opposite order.
    SortReversed,
    /// One record over and over.
    SortEqual,
    /// A word count in which 99 of 100 words are the same one.
    HotKey,
    /// A word count of one word.
    EqualKeys,
    /// A word count of words that differ only behind their first 64 bytes.
    LateKeys,
    /// A word count of words that somebody has chosen so that they have one hash, if the seed is 0.
    CraftedKeys,
}

/// How Synod and a program beside it are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ratio {
    /// Synod's speed over the other's: more is better.
    Speed,
    /// Synod's time over the other's: less is better.
    Time,
}

/// A work, ready to be run.
pub struct Work {
    pub name: Name,
    pub input: PathBuf,
    pub form: Form,
    /// The first one is Synod.
    pub programs: Vec<Program>,
    pub ratio: Ratio,
    /// Memory that Synod was given, if that is judged.
    pub budget_bytes: Option<u64>,
    /// Whether the input is as large as the targets want it.
    pub is_judged: bool,
    /// Running while the work is measured.
    _workers: Option<Rc<Workers>>,
}

/// What works are made from.
pub struct Maker<'a> {
    pub options: &'a JobOptions,
    pub synod: &'a Path,
    pub work: &'a Workplace,
    pub python: &'a Python,
    /// Whether what is started has only as many cores as threads.
    pub held: bool,
}

impl Maker<'_> {
    /// The work, or why it cannot be measured here.
    pub fn make(&self, name: Name) -> Result<Result<Work, &'static str>> {
        let (input, form) = match name {
            Name::Wordcount | Name::Workers => (Input::ZipfText, Form::Lines),
            Name::Fieldcount | Name::Loganalysis => (Input::AccessLog, Form::Lines),
            Name::Sort => (Input::SortRecords, Form::Bytes),
            Name::Distinct => (Input::DistinctKeys, Form::Lines),
            Name::Streaming | Name::StreamingMap => (Input::AccessLog, Form::LinesButTabs),
            Name::Empty => (Input::Nothing, Form::Lines),
            Name::SortSorted => (Input::OrderedRecords, Form::Bytes),
            Name::SortReversed => (Input::ReversedRecords, Form::Bytes),
            Name::SortEqual => (Input::EqualRecords, Form::Differs),
            Name::HotKey => (Input::HotWord, Form::Differs),
            Name::EqualKeys => (Input::OneWord, Form::Differs),
            Name::LateKeys => (Input::LateWords, Form::Differs),
            Name::CraftedKeys => (Input::CraftedWords, Form::Differs),
        };
        let input = input.file(&self.work.kept, self.options.input_mb * 1_000_000)?;
        let mut work = Work {
            name,
            form,
            programs: Vec::new(),
            ratio: Ratio::Speed,
            budget_bytes: None,
            is_judged: self.options.judges(name),
            _workers: None,
            input: input.clone(),
        };
        work.programs = match name {
            Name::Wordcount => {
                let mut programs = self.synod_run("wordcount", &input, &[]);
                programs.push(by_hand(ByHand::Wordcount, &input));
                programs.extend(mawk(WORDS_AWK, &input));
                programs.extend(self.engines(&Engine::ALL, "wordcount", &input));
                programs
            }
            Name::Fieldcount => {
                let mut programs = self.synod_run("fieldcount", &input, &[]);
                programs.push(by_hand(ByHand::Fieldcount, &input));
                programs.extend(mawk(FIELD_AWK, &input));
                programs.extend(self.engines(&Engine::ALL, "fieldcount", &input));
                programs
            }
            Name::Sort => {
                let mut programs = self.synod_run("sort", &input, &[]);
                programs.extend(gnu_sort(&input));
                programs.extend(self.engines(&Engine::ALL, "sort", &input));
                programs
            }
            Name::Distinct => {
                work.budget_bytes = Some(BUDGET_MIB << 20);
                let memory = format!("{BUDGET_MIB}M");
                let mut programs = self.synod_run("wordcount", &input, &["--memory", &memory]);
                let duckdb = self.python.program(Engine::DuckDb, "wordcount", &input, BUDGET_MIB);
                programs.extend(duckdb);
                programs
            }
            Name::Empty => self.synod_run("wordcount", &input, &[]),
            Name::Loganalysis => {
                let mut programs = self.synod_run("loganalysis", &input, &[]);
                programs.extend(mawk(ACCESS_LOG_AWK, &input));
                programs
            }
            Name::Streaming | Name::StreamingMap => {
                if !self.has_streaming() {
                    return Ok(Err("this synod has no command `streaming`"));
                }
                work.ratio = Ratio::Time;
                let (reducer, script): (&[&str], _) = match name {
                    Name::Streaming => (&["-reducer", "uniq -c"], CUT_SORT_UNIQ),
                    _ => (&["-reducer", "NONE"], CUT),
                };
                let (synod, synced) = (
                    self.streaming(SYNOD, reducer, &input),
                    self.streaming(SYNCED, reducer, &input),
                );
                vec![synod, synced, shell(script, &input)]
            }
            Name::SortSorted | Name::SortReversed | Name::SortEqual => {
                work.ratio = Ratio::Time;
                self.beside_even("sort", &input, Input::MixedRecords)?
            }
            Name::HotKey | Name::EqualKeys | Name::LateKeys | Name::CraftedKeys => {
                work.ratio = Ratio::Time;
                // As many words, and as long ones.
                let even = match name {
                    Name::LateKeys => Input::EarlyWords,
                    Name::CraftedKeys => Input::UncraftedWords,
                    _ => Input::ZipfText,
                };
                self.beside_even("wordcount", &input, even)?
            }
            Name::Workers => {
                if !self.held {
                    return Ok(Err("three nodes would have more cores than one process uses"));
                }
                work.ratio = Ratio::Time;
                let workers = Rc::new(Workers::start(self.synod, self.work)?);
                let programs = self.on_workers(&workers, &input);
                work._workers = Some(workers);
                programs
            }
        };
        Ok(Ok(work))
    }

    fn engines(&self, engines: &[Engine], job: &'static str, input: &Path) -> Vec<Program> {
        let all = engines.iter().filter_map(|&engine| self.python.program(engine, job, input, 0));
        all.collect()
    }

    /// `synod run`, without and with its last sync.
    fn synod_run(&self, job: &'static str, input: &Path, more: &[&str]) -> Vec<Program> {
        let unsynced = [more, &["--no-sync"]].concat();
        vec![self.run_once(SYNOD, job, input, &unsynced), self.run_once(SYNCED, job, input, more)]
    }

    /// `synod run` in a process of its own.
    fn run_once(&self, name: &'static str, job: &str, input: &Path, more: &[&str]) -> Program {
        let slots = CORES.to_string();
        self.run_with(name, job, input, &[more, &["--slots", &slots]].concat())
    }

    fn run_with(&self, name: &'static str, job: &str, input: &Path, more: &[&str]) -> Program {
        let (synod, input, job) = (self.synod.to_owned(), input.to_owned(), job.to_owned());
        let more: Vec<String> = more.iter().map(|&argument| argument.to_owned()).collect();
        let command = move |output: &Path| {
            let mut command = Command::new(&synod);
            command.arg("run").arg(&job).arg(&input).arg("--output").arg(output).args(&more);
            command.arg("--quiet").stdout(Stdio::null());
            Ok(command)
        };
        Program { name, command: Box::new(command), cpu: Cpu::Own, may_fail: false }
    }

    /// Synod on this input, and on one that takes as much work but for its peculiarity.
    fn beside_even(&self, job: &'static str, input: &Path, even: Input) -> Result<Vec<Program>> {
        let even = even.file(&self.work.kept, self.options.input_mb * 1_000_000)?;
        let more = ["--no-sync"];
        let beside = self.run_once(EVEN_INPUT, job, &even, &more);
        Ok(vec![self.run_once(SYNOD, job, input, &more), beside])
    }

    fn on_workers(&self, workers: &Rc<Workers>, input: &Path) -> Vec<Program> {
        let endpoints = workers.endpoints();
        let three = |name, more: &[&str]| {
            let more = [&["--endpoints", &endpoints], more].concat();
            let mut program = self.run_with(name, "wordcount", input, &more);
            let workers = Rc::clone(workers);
            program.cpu = Cpu::And(Box::new(move || workers.cpu()));
            program
        };
        let beside = self.run_once(ONE_PROCESS, "wordcount", input, &["--no-sync"]);
        vec![three(SYNOD, &["--no-sync"]), three(SYNCED, &[]), beside]
    }

    fn has_streaming(&self) -> bool {
        let mut command = Command::new(self.synod);
        command.args(["streaming", "-help"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    fn streaming(
        &self,
        name: &'static str,
        reducer: &'static [&'static str],
        input: &Path,
    ) -> Program {
        let (synod, input) = (self.synod.to_owned(), input.to_owned());
        let command = move |output: &Path| {
            let mut command = Command::new(&synod);
            command.arg("streaming").arg("-input").arg(&input).arg("-output").arg(output);
            command.args(["-mapper", "cut -d ' ' -f 1"]).args(reducer);
            command.arg("--slots").arg(CORES.to_string()).stdout(Stdio::null());
            if name == SYNOD {
                command.arg("--no-sync");
            }
            Ok(command)
        };
        Program { name, command: Box::new(command), cpu: Cpu::Own, may_fail: false }
    }
}

impl Work {
    /// Its name on the command line and in figures.
    pub fn key(&self) -> String {
        let value = self.name.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Millions of bytes of input.
    pub fn input_mb(&self) -> Result<f64> {
        let metadata = std::fs::metadata(&self.input);
        let metadata = metadata.with_context(|| self.input.display().to_string())?;
        Ok(metadata.len() as f64 / 1e6)
    }
}

/// Synod as it is compared: its output is left to the kernel, as the others leave theirs.
pub const SYNOD: &str = "synod";
/// Synod with the sync that it does otherwise.
pub const SYNCED: &str = "synod, synced";
/// What three workers are compared with.
pub const ONE_PROCESS: &str = "synod, one process";

/// Synod on input without any peculiarity.
pub const EVEN_INPUT: &str = "synod, even input";

/// For the work with many distinct keys.
const BUDGET_MIB: u64 = 512;

const WORDS_AWK: &str =
    r#"{ for (i = 1; i <= NF; i++) n[$i]++ } END { for (w in n) print w "\t" n[w] }"#;
const FIELD_AWK: &str = r#"{ n[$1]++ } END { for (a in n) print a "\t" n[a] }"#;
const ACCESS_LOG_AWK: &str = include_str!("access_log.awk");
/// GNU sort with what it has where it is compared itself.
const CUT_SORT_UNIQ: &str = r#"cut -d ' ' -f 1 "$1" | sort --parallel=2 -S 50% | uniq -c > "$2""#;
const CUT: &str = r#"cut -d ' ' -f 1 "$1" > "$2""#;

#[cfg(test)]
mod tests {
    use super::*;

    fn options(input_mb: u64) -> JobOptions {
        let (works, python, engines) = (Vec::new(), PathBuf::new(), Vec::new());
        JobOptions { input_mb, runs: 1, works, python, engines }
    }

    /// What each program of a work is called with to write there.
    fn arguments(work: &Work, output: &Path) -> Vec<(&'static str, Vec<String>)> {
        let of = |program: &Program| {
            let command = (program.command)(output).unwrap();
            let all = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
            (program.name, all.collect())
        };
        work.programs.iter().map(of).collect()
    }

    #[test]
    fn synod_runs_two_tasks_at_a_time_and_is_measured_with_its_sync_too() {
        // Other tests have a folder of the same name where this one is.
        let folder = std::env::temp_dir().join(format!("xtask-works-{}", std::process::id()));
        let work = Workplace::new(Some(&folder)).unwrap();
        let python = Python::look(Path::new("no-such-python"), &[]).unwrap();
        // It has a command `streaming`, as far as can be seen.
        let synod = Path::new("true");
        let options = options(1);
        let maker = Maker { options: &options, synod, work: &work, python: &python, held: false };
        for &name in Name::value_variants() {
            let Ok(work) = maker.make(name).unwrap() else {
                assert_eq!(name, Name::Workers, "three nodes are not held to two cores");
                continue;
            };
            assert_eq!(work.is_judged, name == Name::Empty, "{name:?}");
            let arguments = arguments(&work, &folder.join("out"));
            for (program, said) in &arguments {
                if [SYNOD, SYNCED, EVEN_INPUT].contains(program) {
                    assert!(said.windows(2).any(|two| two == ["--slots", "2"]), "{said:?}");
                    let is_synced = !said.iter().any(|argument| argument == "--no-sync");
                    assert_eq!(is_synced, *program == SYNCED, "{said:?}");
                }
            }
            let has = |name| arguments.iter().any(|(program, _)| *program == name);
            assert!(has(SYNOD) && (has(SYNCED) || has(EVEN_INPUT)), "{name:?}");
        }
        drop(work);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn only_an_empty_job_is_judged_with_less_than_a_gigabyte() {
        for &name in Name::value_variants() {
            assert!(options(1000).judges(name) && options(1001).judges(name), "{name:?}");
            assert_eq!(options(999).judges(name), name == Name::Empty, "{name:?}");
        }
    }
}
