//! `synod streaming`: Hadoop Streaming's argument list, run here or on a cluster; and the names
//! `hadoop`, `mapred` and `hdfs` ([`hadoop`]), under which existing launch scripts find this binary.
//! A job may be handed to another engine ([`on`]).

mod dates;
mod files;
mod follow;
pub mod hadoop;
mod listing;
mod log;
mod on;
mod run;

use std::ffi::OsString;
use std::io::Write;

use clap::{Args, CommandFactory};

use super::Outcome;
use super::failure::Failure;
use run::Style;

/// Run a MapReduce job whose functions are programs, with Hadoop Streaming's own arguments
#[derive(Args, Debug)]
#[command(
    disable_help_flag = true,
    after_help = "Options are Hadoop's: `synod streaming -help`, and more with -info.

Examples:
  synod streaming -input logs -output counts -mapper 'cut -f 1' -reducer 'uniq -c'
  synod streaming --on spark -input logs -output counts -mapper 'cut -f 1' -reducer 'uniq -c'
  synod streaming --check -files map.py -input in -output out -mapper map.py -reducer NONE"
)]
pub struct Streaming {
    /// Hadoop Streaming's arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    words: Vec<OsString>,
}

impl Streaming {
    pub fn run(self) -> Outcome {
        if asks_for_help(&self.words) {
            return print_help("streaming");
        }
        run::streaming(&texts(self.words)?, Style::Synod)
    }
}

/// Answer as Hadoop's command `hadoop` (also when this binary is called `hadoop`, `mapred`, `hdfs`)
#[derive(Args, Debug)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:
  synod hadoop jar hadoop-streaming.jar -input in -output out -mapper cat -reducer cat
  ln -s $(command -v synod) hadoop; ./hadoop fs -ls file:///tmp"
)]
pub struct Hadoop {
    /// Arguments of `hadoop`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    words: Vec<OsString>,
}

impl Hadoop {
    pub fn run(self) -> Outcome {
        if asks_for_help(&self.words) {
            return print_help("hadoop");
        }
        hadoop::run(&texts(self.words)?)
    }
}

/// Whether the first argument is that of all other commands; Hadoop's own is `-help`.
fn asks_for_help(words: &[OsString]) -> bool {
    words.first().is_some_and(|word| word == "--help")
}

fn print_help(name: &str) -> Outcome {
    let mut all = super::Cli::command();
    all.build();
    let command = all.find_subcommand_mut(name).expect("the command that asks is one of them");
    write!(std::io::stdout().lock(), "{}", command.render_help())?;
    Ok(())
}

/// Arguments as text: Hadoop's own are Java strings.
fn texts(words: Vec<OsString>) -> Result<Vec<String>, Failure> {
    words
        .into_iter()
        .map(|word| {
            word.into_string().map_err(|word| {
                Failure::WrongUse(format!("the argument `{}` is not UTF-8", word.display()))
            })
        })
        .collect()
}
