//! How a command fails: one line that says what to do, and an exit code.

use std::process::ExitCode;

use clap::error::ErrorKind;
use synod::client::{Advice, ClientError, OwnershipError, RequestError};
use synod::jobs::JobError;
use synod::kv::Refusal;
use synod::server::ServerError;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// It failed: exit code 1.
    Failed(String),
    /// It was used wrongly: exit code 2.
    WrongUse(String),
    /// Nothing to say; end with this code.
    Code(u8),
}

impl Failure {
    /// Prints the line; the exit code.
    pub fn report(self) -> ExitCode {
        match self {
            Failure::Failed(line) => {
                eprintln!("synod: {}", one_line(&line));
                ExitCode::from(1)
            }
            Failure::WrongUse(line) => {
                eprintln!("synod: {}", one_line(&line));
                ExitCode::from(2)
            }
            Failure::Code(code) => ExitCode::from(code),
        }
    }
}

/// Arguments that clap refuses, on one line; or the help that was asked for.
pub fn wrong_use(error: &clap::Error) -> ExitCode {
    let asks_for_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let help_is_due = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if asks_for_help || help_is_due {
        // A closed pipe is no reason to say more.
        drop(error.print());
        return if asks_for_help { ExitCode::SUCCESS } else { ExitCode::from(2) };
    }
    let text = error.to_string();
    let mut paragraphs = text.trim_start_matches("error: ").split("\n\n");
    let what = one_line(paragraphs.next().unwrap_or_default());
    let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    let tip = tip.map(|tip| format!("; {tip}")).unwrap_or_default();
    Failure::WrongUse(format!("{what}{tip}; see `{} --help`", command_of(&text))).report()
}

/// `synod lease grant` out of the usage line of a clap error.
fn command_of(text: &str) -> String {
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: ")).unwrap_or("synod");
    let is_name = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    let words: Vec<&str> =
        usage.split(' ').take_while(is_name).take_while(|word| !word.starts_with('-')).collect();
    words.join(" ")
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let hint = match (&error, error.advice()) {
            (ClientError::Unreachable { .. }, _) => {
                "; start a node with `synod up`, or name another with --endpoints"
            }
            (_, Advice::ReadFirst) => "; it may have happened: read before you try again",
            (_, Advice::Retry | Advice::Wait) => "; nothing happened: try again",
            (_, Advice::GoElsewhere) => {
                "; nothing happened: try again, or name another node with --endpoints"
            }
            (ClientError::Request(error), Advice::Stop | Advice::Fix) => fix_of(error),
            (_, Advice::Stop | Advice::Fix) => "",
        };
        Failure::Failed(format!("{error}{hint}"))
    }
}

/// What to change before the same request can succeed.
fn fix_of(error: &RequestError) -> &'static str {
    match error {
        RequestError::Refused(refusal) => match refusal {
            Refusal::EmptyKey => "; name a key",
            Refusal::Compacted { .. } => "; name a later revision",
            Refusal::FutureRevision { .. } => "; name a revision that exists, see `synod status`",
            Refusal::LeaseNotFound => "; it has ended, get a new one with `synod lease grant`",
            Refusal::TooManyOps => "; split it",
            Refusal::DuplicateKey => "; write each key once",
            _ => "",
        },
        RequestError::TooLarge => "; at most 1.5 MiB can be sent at once",
        RequestError::DiskFull => "; make room on the servers' disks",
        RequestError::MemberNotFound => "; see `synod member list`",
        RequestError::NotEnoughMembers => "; start the others first, see `synod status`",
        _ => "",
    }
}

impl From<OwnershipError> for Failure {
    fn from(error: OwnershipError) -> Self {
        match error {
            OwnershipError::Client(error) => error.into(),
            other => Failure::Failed(format!("{other}; start anew")),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            // The reader of our output has seen enough.
            std::io::ErrorKind::BrokenPipe => Failure::Code(0),
            _ => Failure::Failed(error.to_string()),
        }
    }
}

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        match error {
            JobError::BadSpec { .. } | JobError::UnknownJob { .. } => {
                Failure::WrongUse(error.to_string())
            }
            _ => Failure::Failed(error.to_string()),
        }
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Options(error) => Failure::WrongUse(error.to_string()),
            error => Failure::Failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_read_from_a_usage_line() {
        let text = "error: x\n\nUsage: synod lease grant [OPTIONS] <SECONDS>\n";
        assert_eq!(command_of(text), "synod lease grant");
        assert_eq!(command_of("error: x\n\nUsage: synod up --nodes <N>"), "synod up");
    }

    #[test]
    fn a_failure_is_one_line() {
        assert_eq!(one_line("a\n   b\tc\n"), "a b c");
    }
}
