//! Who is compared, and how each is run: two threads, no sync of the output.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use super::handwritten::ByHand;
use super::measure::{Cpu, Program};
use crate::bench::workplace::installed;
use crate::step;

/// An engine that a Python package brings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Engine {
    #[value(name = "duckdb")]
    DuckDb,
    Polars,
    #[value(name = "pyspark")]
    PySpark,
}

impl Engine {
    pub const ALL: [Engine; 3] = [Engine::DuckDb, Engine::Polars, Engine::PySpark];

    /// Its name in tables and figures.
    pub fn name(self) -> &'static str {
        match self {
            Engine::DuckDb => DUCKDB,
            Engine::Polars => POLARS,
            Engine::PySpark => PYSPARK,
        }
    }

    /// The package and what it is imported as.
    fn package(self) -> &'static str {
        match self {
            Engine::DuckDb => "duckdb",
            Engine::Polars => "polars",
            Engine::PySpark => "pyspark",
        }
    }
}

/// The engines of one Python.
pub struct Python {
    program: PathBuf,
    /// Those that can be imported, with their versions.
    pub found: Vec<(Engine, String)>,
    /// Those that cannot be used, and why.
    pub missing: Vec<(Engine, String)>,
}

impl Python {
    /// Asks the interpreter for all, or for those that must be there.
    pub fn look(program: &Path, demanded: &[Engine]) -> Result<Python> {
        let mut python =
            Python { program: program.to_owned(), found: Vec::new(), missing: Vec::new() };
        for engine in Engine::ALL {
            if !demanded.is_empty() && !demanded.contains(&engine) {
                python.missing.push((engine, "it was not asked for".to_owned()));
                continue;
            }
            match python.version(engine) {
                Ok(version) => python.found.push((engine, version)),
                Err(why) if demanded.is_empty() => python.missing.push((engine, why)),
                Err(why) => bail!("{} cannot be compared: {why}", engine.name()),
            }
        }
        Ok(python)
    }

    fn version(&self, engine: Engine) -> Result<String, String> {
        let package = engine.package();
        let script = format!("import {package}; print({package}.__version__)");
        let said = step::output(Command::new(&self.program).arg("-c").arg(script));
        let Ok(said) = said else {
            return Err(format!("{} cannot import {package}", self.program.display()));
        };
        let has_java = std::env::var_os("JAVA_HOME").is_some() || installed("java").is_some();
        if engine == Engine::PySpark && !has_java {
            return Err("there is no java".to_owned());
        }
        Ok(String::from_utf8_lossy(&said).trim().to_owned())
    }

    /// A job of this engine, if it can be imported; with a limit of its memory if that is not 0.
    pub fn program(
        &self,
        engine: Engine,
        job: &'static str,
        input: &Path,
        memory_mib: u64,
    ) -> Option<Program> {
        self.found.iter().find(|(found, _)| *found == engine)?;
        let script = folder().join(format!("{}_jobs.py", engine.package()));
        let (python, input) = (self.program.clone(), input.to_owned());
        let command = move |output: &Path| {
            let mut command = Command::new(&python);
            command.arg(&script).arg(job).arg(&input).arg(output).arg(memory_mib.to_string());
            command.env("POLARS_MAX_THREADS", "2").stdout(Stdio::null());
            Ok(command)
        };
        // It works in a Java process that nobody waits for.
        let cpu = if engine == Engine::PySpark { Cpu::Unknown } else { Cpu::Own };
        Some(Program { name: engine.name(), command: Box::new(command), cpu, may_fail: true })
    }
}

/// Where the scripts of the engines are.
fn folder() -> PathBuf {
    step::root().join("crates/xtask/src/bench/mapreduce/peers")
}

/// A program written by hand: this binary, called anew.
pub fn by_hand(work: ByHand, input: &Path) -> Program {
    let input = input.to_owned();
    let command = move |output: &Path| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["by-hand", work.name()]).arg(&input).arg(output).stdout(Stdio::null());
        Ok(command)
    };
    Program { name: BY_HAND, command: Box::new(command), cpu: Cpu::Own, may_fail: false }
}

/// A script of mawk, if that is installed.
pub fn mawk(script: &'static str, input: &Path) -> Option<Program> {
    let (mawk, input) = (installed("mawk")?, input.to_owned());
    let command = move |output: &Path| {
        let mut command = Command::new(&mawk);
        command.env("LC_ALL", "C").arg(script).arg(&input).stdout(File::create(output)?);
        Ok(command)
    };
    Some(Program { name: MAWK, command: Box::new(command), cpu: Cpu::Own, may_fail: false })
}

/// GNU sort, if it is installed.
pub fn gnu_sort(input: &Path) -> Option<Program> {
    let (sort, input) = (installed("sort")?, input.to_owned());
    let command = move |output: &Path| {
        let mut command = Command::new(&sort);
        command.env("LC_ALL", "C").args(["--parallel=2", "-S", "50%"]);
        command.arg(&input).arg("-o").arg(output);
        Ok(command)
    };
    Some(Program { name: GNU_SORT, command: Box::new(command), cpu: Cpu::Own, may_fail: false })
}

/// A pipeline of a shell that reads `$1` and writes `$2`.
pub fn shell(script: &'static str, input: &Path) -> Program {
    let input = input.to_owned();
    let command = move |output: &Path| {
        let mut command = Command::new("sh");
        command.env("LC_ALL", "C").arg("-c").arg(script).arg("sh").arg(&input).arg(output);
        Ok(command)
    };
    Program { name: SHELL, command: Box::new(command), cpu: Cpu::Own, may_fail: false }
}

/// Names in tables, figures and targets.
pub const BY_HAND: &str = "by hand, two threads";
pub const MAWK: &str = "mawk";
pub const GNU_SORT: &str = "GNU sort";
pub const SHELL: &str = "shell pipeline";
pub const DUCKDB: &str = "DuckDB";
pub const POLARS: &str = "polars";
pub const PYSPARK: &str = "PySpark";
