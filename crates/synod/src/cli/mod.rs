//! The command line: one file per command. This one knows them all, picks one, and says how it ended.
//!
//! Every command has an example in its help. An error is one line on stderr that says what to do.

mod background;
mod child;
mod compact;
mod connect;
mod elect;
mod etcd;
mod failure;
mod get;
mod http;
mod job_help;
mod jobs;
mod lease;
mod lock;
mod member;
mod open_files;
mod output;
mod parse;
mod pipeline;
mod progress;
mod put;
mod run;
mod run_flags;
mod server;
mod signals;
mod status;
mod store_flags;
mod streaming;
mod summary;
mod txn;
mod up;
mod watch;
mod worker;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::allocator;
use failure::Failure;

/// How a command ends.
type Outcome = Result<(), Failure>;

/// One binary for building distributed systems: agreed state, locks, ids, batch work.
#[derive(Parser, Debug)]
#[command(name = "synod", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  synod up                                 one node here, data in ./synod-data
  synod put greeting hello                 then: synod get greeting
  synod run wordcount *.txt --output out   count words, no server needed

Exit codes: 0 done, 1 failed, 2 wrong use; 130 if Ctrl-C ended a run or the wait for a lock; a lock
that ran a command ends with that command's code.";

#[derive(Subcommand, Debug)]
enum Command {
    Up(up::Up),
    Server(server::ServerCommand),
    Etcd(etcd::Etcd),
    Run(run::Run),
    Streaming(streaming::Streaming),
    Hadoop(streaming::Hadoop),
    Pipeline(pipeline::Pipeline),
    Jobs(jobs::Jobs),
    Worker(worker::Worker),
    Put(put::Put),
    Get(get::Get),
    Del(get::Del),
    Watch(watch::Watch),
    Txn(txn::Txn),
    Compact(compact::Compact),
    Lease(lease::Lease),
    Lock(lock::Lock),
    Elect(elect::Elect),
    Member(member::MemberCommand),
    Status(status::Status),
}

/// Does what the arguments say.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(as_synod(arguments)) {
        Ok(cli) => cli,
        Err(error) => return failure::wrong_use(&error),
    };
    if cli.command.only_runs_jobs() {
        allocator::give_back_at_once();
    }
    if cli.command.opens_many_files() {
        open_files::raise_limit();
    }
    let outcome = match cli.command {
        Command::Up(command) => command.run(),
        Command::Server(command) => command.run(),
        Command::Etcd(command) => command.run(),
        Command::Run(command) => command.run(),
        Command::Streaming(command) => command.run(),
        Command::Hadoop(command) => command.run(),
        Command::Pipeline(command) => command.run(),
        Command::Jobs(command) => command.run(),
        Command::Worker(command) => command.run(),
        Command::Put(command) => command.run(),
        Command::Get(command) => command.run(),
        Command::Del(command) => command.run(),
        Command::Watch(command) => command.run(),
        Command::Txn(command) => command.run(),
        Command::Compact(command) => command.run(),
        Command::Lease(command) => command.run(),
        Command::Lock(command) => command.run(),
        Command::Elect(command) => command.run(),
        Command::Member(command) => command.run(),
        Command::Status(command) => command.run(),
    };
    outcome.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

impl Command {
    /// Whether jobs are all that the process does, if it does any.
    fn only_runs_jobs(&self) -> bool {
        use Command::{Hadoop, Pipeline, Run, Streaming, Worker};
        matches!(self, Run(_) | Streaming(_) | Hadoop(_) | Pipeline(_) | Worker(_))
    }

    /// Whether it serves, or runs tasks.
    fn opens_many_files(&self) -> bool {
        use Command::{Etcd, Server, Up};
        self.only_runs_jobs() || matches!(self, Up(_) | Server(_) | Etcd(_))
    }
}

/// Called by the name of a program whose place it takes, the arguments are those of that program:
/// `etcd` is `synod etcd`; `hadoop`, `mapred` and `hdfs` are `synod hadoop`.
fn as_synod(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let called = arguments.first().and_then(|path| Path::new(path).file_stem());
    let command = called.and_then(|name| match name.to_str() {
        Some("etcd") => Some("etcd"),
        Some("hadoop" | "mapred" | "hdfs") => Some("hadoop"),
        _ => None,
    });
    if let Some(command) = command {
        arguments.splice(0..1, ["synod".into(), command.into()]);
    }
    if arguments.get(1).is_some_and(|command| command == "etcd") {
        let rest = arguments.split_off(2);
        arguments.extend(rest.into_iter().map(etcd::two_dashes));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_binary_called_etcd_takes_etcds_arguments() {
        let arguments = ["/usr/bin/etcd", "-name", "a", "--data-dir=b"].map(OsString::from);
        let read = as_synod(arguments.to_vec());
        assert_eq!(read, ["synod", "etcd", "--name", "a", "--data-dir=b"].map(OsString::from));
    }
    #[test]
    fn a_binary_called_hadoop_takes_hadoops_arguments() {
        for name in ["hadoop", "/opt/bin/mapred", "hdfs"] {
            let read = as_synod([name, "version"].map(OsString::from).to_vec());
            assert_eq!(read, ["synod", "hadoop", "version"].map(OsString::from));
        }
        let words = ["synod", "streaming", "-help", "-D", "a=b", "--check"].map(OsString::from);
        assert!(Cli::try_parse_from(words).is_ok());
    }
}
