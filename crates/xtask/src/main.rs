//! `cargo xtask`: the developer's commands.
//!
//! `check` only reads, `fix` rewrites; each command is a file here. Errors are one line, exit codes as
//! those of `synod`: 0, 1 (failed), 2 (wrong use).

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod check;
mod planted;
mod sim;
mod step;
mod tidy;

/// The developer's commands.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    after_help = "Examples:\n  \
        cargo xtask check                      format, lints, house rules, tests; only reads\n  \
        cargo xtask check --quick              the same without the tests\n  \
        cargo xtask fix                        rewrite what can be rewritten\n  \
        cargo xtask sim --seeds 200            simulate 200 clusters under faults\n  \
        cargo xtask sim --planted              is every planted bug still found?\n  \
        cargo xtask planted-jobs               do the tests of jobs find theirs?\n  \
        cargo xtask bench                      beside a real etcd and hand-written jobs"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures Synod beside etcd, and its jobs beside hand-written ones, under the same load.
    Bench(Box<bench::Arguments>),
    /// A job as one would write it by hand; what `bench` measures built-in ones against.
    #[command(hide = true)]
    ByHand(bench::mapreduce::handwritten::Arguments),
    /// Looks at format, lints, house rules and tests, and changes nothing.
    Check(check::Arguments),
    /// Formats, and applies the lints' suggestions.
    Fix,
    /// Builds the tests of jobs with the bugs of crates/synod-jobs/planted, and demands that they find each
    /// when it is switched on.
    PlantedJobs(PlantedJobs),
    /// Simulates clusters under faults, one per seed, and checks every promise.
    Sim(sim::Arguments),
    /// Looks at the house rules alone.
    Tidy,
}

/// Which bugs.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask planted-jobs                 every bug of crates/synod-jobs/planted\n  \
    cargo xtask planted-jobs --only winners  those that have this in their name")]
struct PlantedJobs {
    /// Only those whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Features to build with: those of the last `cargo test`, and little is built again.
    #[arg(long, value_name = "FEATURES", default_value = "")]
    features: String,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Bench(arguments) => bench::bench(&arguments),
        Command::ByHand(arguments) => bench::mapreduce::handwritten::run(&arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Fix => check::fix(),
        Command::PlantedJobs(PlantedJobs { only, features }) => {
            planted::planted(planted::Noticing::JobTests { features: &features }, only.as_deref())
        }
        Command::Sim(arguments) => sim::sim(&arguments),
        Command::Tidy => tidy::tidy(&step::root()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
