//! `--on hadoop`: the same words for Hadoop's own `mapred streaming`, which takes the place of this
//! process. So its messages, what it does on a signal and its exit code are what the caller gets.

use std::os::unix::process::CommandExt;
use std::process::Command;

use super::program::{HANDED_TO_VARIABLE, Wanted};
use crate::cli::failure::Failure;

const MAPRED: Wanted = Wanted {
    name: "mapred",
    home: "HADOOP_HOME",
    advice: "install Hadoop 3 and set HADOOP_HOME to its folder",
};

/// Returns only if that could not be done.
pub fn run(words: &[String]) -> Failure {
    if let Some(input) = words.iter().find(|word| word.starts_with("kv://")) {
        return Failure::WrongUse(format!("{input}: only Synod reads keys; leave out --on hadoop"));
    }
    let program = match MAPRED.find(&[]) {
        Ok(program) => program,
        Err(failure) => return failure,
    };
    eprintln!("synod: handing the job to {}", program.display());
    let mut command = Command::new(&program);
    command.arg("streaming").args(words).env(HANDED_TO_VARIABLE, &program);
    let error = command.exec();
    Failure::Failed(format!("{} cannot be started: {error}", program.display()))
}
