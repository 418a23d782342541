//! The built-in jobs beside programs that one would write or take for one machine.
//!
//! Each work runs Synod and its peers on the same warm file, in turns, two threads each on the same two
//! cores; all must give the same answer, and nobody syncs what it writes. What Synod's own sync adds is
//! measured apart. Peers that are not installed are named.

pub mod answers;
mod cores;
pub mod handwritten;
pub mod input;
mod measure;
pub mod peers;
mod report;
mod workers;
pub mod works;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::targets::JUDGED_INPUT_MB;
use super::workplace::{Workplace, installed};
use cores::CORES;
use peers::{Engine, GNU_SORT, MAWK, Python};
use report::Report;
use works::{Maker, Name};

/// The jobs.
#[derive(clap::Args)]
pub struct JobOptions {
    /// Size of a job's input, in millions of bytes; nothing is judged below 1000.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    input_mb: u64,
    /// Runs of each program.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Which works; all if left out.
    #[arg(long, value_delimiter = ',', value_name = "WORK,..")]
    works: Vec<Name>,
    /// A Python that has DuckDB, polars and PySpark, or some of them.
    #[arg(long, value_name = "PATH", default_value = "python3")]
    python: PathBuf,
    /// Which engines of that Python; they must be there. All that are there if left out.
    #[arg(long, value_delimiter = ',', value_name = "ENGINE,..")]
    engines: Vec<Engine>,
}

impl JobOptions {
    /// Whether the targets are about a work of this size. An empty job has none.
    fn judges(&self, name: Name) -> bool {
        name == Name::Empty || self.input_mb >= JUDGED_INPUT_MB
    }
}

/// Measures, prints tables, and returns the figures.
pub fn run(options: &JobOptions, synod: &Path, work: &Workplace) -> Result<Value> {
    let python = Python::look(&options.python, &options.engines)?;
    let mut versions = Map::new();
    for (engine, version) in &python.found {
        println!("bench: {} {version}", engine.name());
        versions.insert(engine.name().to_owned(), json!(version));
    }
    let mut missing = Map::new();
    let engines = python.missing.iter().map(|(engine, why)| (engine.name(), why.clone()));
    let programs = [(MAWK, "mawk"), (GNU_SORT, "sort")];
    let programs = programs.into_iter().filter(|(_, program)| installed(program).is_none());
    let programs = programs.map(|(name, program)| (name, format!("there is no {program}")));
    for (name, why) in engines.chain(programs) {
        println!("bench: {name} is not compared: {why}");
        missing.insert(name.to_owned(), json!(why));
    }
    let held = cores::hold(CORES);
    if let Err(why) = &held {
        println!("bench: programs are not held to {CORES} cores: {why}");
    }
    let mut figures = Map::new();
    let maker = Maker { options, synod, work, python: &python, held: held.is_ok() };
    let all = Name::value_variants();
    for &name in if options.works.is_empty() { all } else { &options.works } {
        match maker.make(name)? {
            Err(why) => {
                println!("bench: {name:?} is left out: {why}");
                missing.insert(format!("{name:?}"), json!(why));
            }
            Ok(made) => {
                let key = made.key();
                let runs = measure::in_turns(&key, &made.programs, made.form, options.runs, work)?;
                for (program, why) in &runs.failed {
                    missing.insert(format!("{program} ({key})"), json!(why));
                }
                let report = Report::new(&made, &runs)?;
                report.print()?;
                figures.insert(key, report.json()?);
            }
        }
    }
    figures.insert("versions".into(), Value::Object(versions));
    figures.insert("not_compared".into(), Value::Object(missing));
    figures.insert("not_held_to_two_cores".into(), json!(held.as_ref().err()));
    Ok(Value::Object(figures))
}
