//! Programs that one would write by hand for one machine with two cores: the yardsticks of the built-in jobs.
//!
//! They are in this binary so that they are there whenever something is measured; each run is a process of
//! its own, `cargo xtask by-hand WORK INPUT OUTPUT`. They share nothing with Synod's code.

mod fieldcount;
mod lines;
mod wordcount;

use std::path::PathBuf;

use anyhow::{Context, Result};

/// The command line of one.
#[derive(clap::Args)]
pub struct Arguments {
    /// What to do.
    work: ByHand,
    /// A file.
    input: PathBuf,
    /// A folder that does not exist.
    output: PathBuf,
}

/// What there is a program for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum ByHand {
    /// How often each word occurs.
    Wordcount,
    /// How many lines have the same first field.
    Fieldcount,
}

impl ByHand {
    /// As the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            ByHand::Wordcount => "wordcount",
            ByHand::Fieldcount => "fieldcount",
        }
    }
}

/// Runs one and ends the process.
pub fn run(arguments: &Arguments) -> Result<()> {
    let run = match arguments.work {
        ByHand::Wordcount => wordcount::run,
        ByHand::Fieldcount => fieldcount::run,
    };
    let Arguments { input, output, .. } = arguments;
    run(input, output).with_context(|| format!("{} to {}", input.display(), output.display()))
}
