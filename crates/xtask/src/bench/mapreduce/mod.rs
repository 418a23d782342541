//! The built-in jobs beside programs that one would write or take for one machine.
//!
//! Each pair reads the same warm file, in turns, and must give the same answer. What is timed is the whole
//! process, start and output included.

mod answers;
mod input;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::statistics::Spread;
use super::table::Table;
use super::targets;
use super::workplace::{Workplace, build_handwritten_word_count, installed};

/// The jobs.
#[derive(clap::Args)]
pub struct JobOptions {
    /// Size of a job's input, in millions of bytes.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    input_mb: u64,
    /// Runs of each program.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
}

/// A job and who it is measured against.
struct Pair {
    job: &'static str,
    other: &'static str,
    input: PathBuf,
    same: fn(&Path, &Path) -> Result<bool>,
    /// How the other one is run: input and output are given.
    command: Box<MakeCommand>,
}

/// From an input and an output.
type MakeCommand = dyn Fn(&Path, &Path) -> Result<Command>;

/// Measures, prints a table, and returns the figures.
pub fn run(options: &JobOptions, synod: &Path, work: &Workplace) -> Result<Value> {
    let mut table = Table::new(2, &["job", "beside", "synod", "other", "synod's speed / other's"]);
    let mut figures = Map::new();
    for pair in pairs(options, work)? {
        let (ours, others) = measure(&pair, options.runs, synod, work)?;
        let ratios = Spread::of(ours.iter().zip(&others).map(|(own, other)| other / own));
        let none = "no run";
        let (ours, others) = (Spread::of(ours).context(none)?, Spread::of(others).context(none)?);
        let ratios = ratios.context(none)?;
        let mb = std::fs::metadata(&pair.input)?.len() as f64 / 1e6;
        let cell = |seconds: Spread| format!("{seconds} s, {:.0} MB/s", mb / seconds.median);
        let words = [pair.job.to_owned(), pair.other.to_owned()];
        let target = targets::over_other(pair.job);
        let verdict = target.map(|target| format!(", {}", target.verdict(ratios.median)));
        let ratio = format!("{ratios}{}", verdict.unwrap_or_default());
        table.row([&words[..], &[cell(ours), cell(others), ratio]].concat());
        let figure = json!({
            "beside": pair.other,
            "input_mb": mb,
            "synod_seconds": ours.json(),
            "other_seconds": others.json(),
            "speed_ratio": ratios.json(),
            "target": target.map(|target| target.json(ratios.median)),
        });
        figures.insert(pair.job.into(), figure);
    }
    println!("\njobs over {} MB, {} runs each, in turns, warm", options.input_mb, options.runs);
    print!("{table}");
    Ok(Value::Object(figures))
}

/// Seconds of each run of both, after one of each that does not count but is checked.
fn measure(pair: &Pair, runs: u32, synod: &Path, work: &Workplace) -> Result<(Vec<f64>, Vec<f64>)> {
    let once = |name: &str| -> Result<(f64, PathBuf)> {
        let output = work.absent(name)?;
        let mut command = if name == OURS {
            let mut command = Command::new(synod);
            command.arg("run").arg(pair.job).arg(&pair.input).arg("--output").arg(&output);
            command.stdout(Stdio::null());
            command
        } else {
            (pair.command)(&pair.input, &output)?
        };
        Ok((timed(&mut command)?, output))
    };
    let (first, answer) = once(OURS)?;
    let (second, other_answer) = once(THEIRS)?;
    if !(pair.same)(&answer, &other_answer)? {
        bail!("{}: another answer than {}", pair.job, pair.other);
    }
    eprintln!("bench: {}: same answer; {first:.2} s, {second:.2} s cold", pair.job);
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for run in 0..runs {
        // Who is first alternates.
        if run % 2 == 0 {
            ours.push(once(OURS)?.0);
            others.push(once(THEIRS)?.0);
        } else {
            others.push(once(THEIRS)?.0);
            ours.push(once(OURS)?.0);
        }
    }
    // Their outputs are large.
    work.absent(OURS)?;
    work.absent(THEIRS)?;
    Ok((ours, others))
}

/// Seconds until it ends. What it says on its standard error is read here: that pipe ends with it, so
/// waiting for the end is bounded.
fn timed(command: &mut Command) -> Result<f64> {
    let what = format!("{command:?}");
    let start = Instant::now();
    let mut child = Running(
        command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {what}"))?,
    );
    let mut stderr = child.0.stderr.take().context("it is piped")?;
    let (ended, has_ended) = mpsc::channel();
    std::thread::spawn(move || {
        let mut said = Vec::new();
        // What could not be read is not shown.
        drop(stderr.read_to_end(&mut said));
        drop(ended.send(said));
    });
    let Ok(said) = has_ended.recv_timeout(TIMEOUT) else {
        bail!("{what} takes longer than {} s", TIMEOUT.as_secs());
    };
    let status = child.0.wait()?;
    let took = start.elapsed();
    if !status.success() {
        let said = String::from_utf8_lossy(&said);
        bail!("{what}: {status}: {}", said.lines().last().unwrap_or_default());
    }
    Ok(took.as_secs_f64())
}

/// Killed when dropped before its end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn pairs(options: &JobOptions, work: &Workplace) -> Result<Vec<Pair>> {
    let bytes = options.input_mb * 1_000_000;
    let text = input::text(&work.kept, bytes)?;
    let word_count = build_handwritten_word_count()?;
    let mut pairs = vec![Pair {
        job: "wordcount",
        other: "by hand, two threads",
        input: text.clone(),
        same: answers::same_lines,
        command: Box::new(move |input, output| {
            let mut command = Command::new(&word_count);
            command.arg(input).arg(output).stdout(Stdio::null());
            Ok(command)
        }),
    }];
    if let Some(sort) = installed("sort") {
        pairs.push(Pair {
            job: "sort",
            other: "sort --parallel=2",
            input: text,
            same: answers::same_bytes,
            command: Box::new(move |input, output| {
                let mut command = Command::new(&sort);
                command.env("LC_ALL", "C").arg("--parallel=2").arg(input).arg("-o").arg(output);
                Ok(command)
            }),
        });
    }
    match installed("mawk") {
        Some(mawk) => pairs.push(Pair {
            job: "loganalysis",
            other: "mawk",
            input: input::access_log(&work.kept, bytes)?,
            same: answers::same_lines,
            command: Box::new(move |input, output| {
                let mut command = Command::new(&mawk);
                command.arg(ACCESS_LOG_AWK).arg(input).stdout(File::create(output)?);
                Ok(command)
            }),
        }),
        None => println!("bench: mawk is not installed: loganalysis is left out"),
    }
    Ok(pairs)
}

/// Names of the outputs.
const OURS: &str = "synod-output";
const THEIRS: &str = "other-output";

/// For one run of one program.
const TIMEOUT: Duration = Duration::from_secs(900);

const ACCESS_LOG_AWK: &str = include_str!("access_log.awk");
