//! Answers as `hadoop`, `mapred` and `hdfs` do, as far as launchers of streaming jobs ask.
//!
//! `hadoop jar any-streaming.jar ..` and `mapred streaming ..` are `synod streaming`, with Hadoop's
//! messages; `hadoop fs` and `hdfs dfs` work on files of this machine; `hadoop version` says a version
//! whose interface this is. Anything else is refused by name.

use std::io::Write;
use std::path::Path;

use super::files;
use super::run::{self, Style};
use crate::cli::Outcome;
use crate::cli::failure::Failure;

/// The version of Hadoop whose command line is followed.
const HADOOP_VERSION: &str = "3.4.1";

/// `hadoop WORDS`.
pub fn run(words: &[String]) -> Outcome {
    let Some((command, rest)) = words.split_first() else {
        return Err(Failure::WrongUse(format!("name a command: {COMMANDS}")));
    };
    match command.as_str() {
        "jar" => jar(rest),
        "streaming" => run::streaming(rest, Style::Hadoop),
        "fs" | "dfs" => files::run(rest),
        "version" | "-version" | "--version" => version(),
        "classpath" => {
            writeln!(std::io::stdout().lock())?;
            Ok(())
        }
        _ => Err(Failure::WrongUse(format!(
            "`{command}` is not a command that works here: {COMMANDS}; see `synod hadoop --help`"
        ))),
    }
}

const COMMANDS: &str = "jar <streaming.jar>, streaming, fs, dfs and version do";

/// `hadoop jar FILE.jar ..`: the file need not exist, its name says what it is.
fn jar(words: &[String]) -> Outcome {
    let Some((jar, rest)) = words.split_first() else {
        return Err(Failure::WrongUse("jar: name a jar, hadoop-streaming.jar for example".into()));
    };
    let name = Path::new(jar).file_name().map(|name| name.to_string_lossy().to_lowercase());
    let name = name.unwrap_or_default();
    let command_runner = name == "command-runner.jar";
    let (streaming, rest) = match rest.split_first() {
        Some((program, rest)) if command_runner && program == "hadoop-streaming" => (true, rest),
        _ => (name.contains("streaming") && name.ends_with(".jar"), rest),
    };
    if !streaming {
        // Launchers look for this line.
        eprintln!("Not a valid JAR: {jar}: no Java runs here, only streaming jars are known");
        return Err(Failure::Code(255));
    }
    run::streaming(rest, Style::Hadoop)
}

fn version() -> Outcome {
    let mut out = std::io::stdout().lock();
    writeln!(out, "Hadoop {HADOOP_VERSION}")?;
    writeln!(out, "This is Synod {}, which answers in its place", env!("CARGO_PKG_VERSION"))?;
    Ok(())
}
