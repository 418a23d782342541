//! `--on spark`: a program in Python (`driver.py`) that does what a streaming job does, for
//! `spark-submit`, with the job as a file of JSON ([`job`]).
//!
//! Both lie in a folder of their own until Spark has ended; there the driver also leaves what was counted.
//! Where Spark runs, and with how much, is a matter of Spark's own configuration; `-D spark.name=value` is
//! handed on.

mod job;

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use synod::jobs::Counters;
use synod::jobs::streaming::arguments::{Arguments, usage};

use super::program::Wanted;
use crate::cli::child::{code_of, terminate};
use crate::cli::connect::block_on;
use crate::cli::failure::Failure;
use crate::cli::signals::{self, StopSignals};
use crate::cli::streaming::log;
use crate::cli::streaming::run::Stop;
use job::SparkJob;

const SUBMIT: Wanted = Wanted {
    name: "spark-submit",
    home: "SPARK_HOME",
    advice: "`pip install pyspark` in a Python environment brings it; or set SPARK_HOME",
};

/// What runs the job.
const DRIVER: &str = include_str!("driver.py");

/// Hands the job to Spark and waits for it.
pub fn run(words: &[String]) -> Result<(), Stop> {
    let arguments =
        Arguments::parse(words).map_err(|error| Failure::WrongUse(error.to_string()))?;
    if let Some(help) = arguments.help {
        std::io::stdout().lock().write_all(usage::text(help).as_bytes())?;
        return Ok(());
    }
    let job = SparkJob::new(words, &arguments)?;
    for notice in &job.notices {
        eprintln!("synod: {notice}");
    }
    let program = SUBMIT.find(&python_folders())?;
    let folder = PrivateFolder::create()?;
    let driver = folder.write("driver.py", DRIVER.as_bytes())?;
    let described = folder.write("job.json", &job.describe(&folder.path)?)?;
    eprintln!("synod: handing the job to {}", program.display());
    let mut command = Command::new(&program);
    command.args(["--deploy-mode", "client", "--name", &job.name]);
    for (name, value) in &job.settings {
        command.args(["--conf", &format!("{name}={value}")]);
    }
    // What a driver says comes out of spark-submit as output, its errors too.
    let said = std::io::stderr().as_fd().try_clone_to_owned()?;
    command.arg(driver).arg(described).stdin(Stdio::null()).stdout(said);
    if let Some(python) = python_beside(&program) {
        command.env("PYSPARK_PYTHON", python);
    }
    wait_for(command)?;
    // Something else may have taken the place of Spark: then nobody has counted.
    if let Ok(counted) = std::fs::read(folder.path.join("counters.json")) {
        let user = serde_json::from_slice(&counted).map_err(|error| {
            Failure::Failed(format!("the job's counters cannot be read: {error}"))
        })?;
        let counted = Counters { user, ..Counters::default() };
        eprintln!("{}", log::counters_of_commands(&counted));
    }
    writeln!(std::io::stdout().lock(), "streaming: done on Spark, output in {}", job.output)?;
    Ok(())
}

/// Folders with the programs of Python environments that are named.
fn python_folders() -> Vec<PathBuf> {
    let environment = std::env::var_os("VIRTUAL_ENV").map(|folder| Path::new(&folder).join("bin"));
    let python = std::env::var_os("PYSPARK_PYTHON");
    let beside_python = python.and_then(|python| Path::new(&python).parent().map(Path::to_owned));
    let named = environment.into_iter().chain(beside_python);
    named.filter(|folder| folder.is_absolute()).collect()
}

/// The Python of the environment that a `spark-submit` is part of, if nobody has named another: only
/// there does it find Spark.
fn python_beside(program: &Path) -> Option<PathBuf> {
    let named = |variable| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    if named("PYSPARK_PYTHON") || named("PYSPARK_DRIVER_PYTHON") {
        return None;
    }
    let folder = program.parent()?;
    let python = folder.join("python3");
    (folder.join("find_spark_home.py").is_file() && python.is_file()).then_some(python)
}

/// Runs a command to its end; its code is ours, and so is its being told to stop.
fn wait_for(mut command: Command) -> Result<(), Failure> {
    block_on(async {
        let mut stop = StopSignals::listen()?;
        let mut ended = signals::children()?;
        let mut child = command.spawn().map_err(|error| {
            let program = command.get_program().display().to_string();
            Failure::Failed(format!("{program} cannot be started: {error}"))
        })?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            tokio::select! {
                _ = ended.recv() => {}
                // On Ctrl-C the terminal has told it already; once more does no harm.
                () = stop.next() => terminate(&child),
            }
        };
        match code_of(status) {
            0 => Ok(()),
            code => Err(Failure::Code(code)),
        }
    })
}

/// A folder that this user alone can read, gone with this value.
struct PrivateFolder {
    path: PathBuf,
}

impl PrivateFolder {
    fn create() -> std::io::Result<PrivateFolder> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("synod-spark-{}-{}", std::process::id(), now.as_nanos());
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(PrivateFolder { path })
    }

    fn write(&self, name: &str, content: &[u8]) -> std::io::Result<PathBuf> {
        let path = self.path.join(name);
        std::fs::write(&path, content)?;
        Ok(path)
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        // What cannot be removed lies among other temporary files.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
