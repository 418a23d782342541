//! `cargo xtask sim`: the simulator's command line. What it prints comes from `synod-sim`.

use anyhow::{Result, bail};
use synod_sim::cli::{SimArgs, run_seeds};
use synod_sim::run::Kind;

use crate::planted::{Noticing, planted};

/// Which seeds.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask sim --seeds 200                    200 clusters\n  \
    cargo xtask sim --jobs --seeds 200             200 clusters on which jobs run\n  \
    cargo xtask sim --seeds 1 --first 42 --verbose the one of seed 42, again\n  \
    cargo xtask sim --planted                      every bug of crates/synod-sim/planted\n  \
    cargo xtask sim --planted --only vote          those that have this in their name")]
pub struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed; the others follow it.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Workers and jobs use the clusters, instead of clients of keys.
    #[arg(long)]
    jobs: bool,
    /// A line per seed.
    #[arg(long)]
    verbose: bool,
    /// Build the workspace with the planted bugs, and demand that the simulator finds each when it is
    /// switched on.
    #[arg(long, conflicts_with_all = ["seeds", "first", "jobs", "verbose"])]
    planted: bool,
    /// Only the planted bugs whose name contains this.
    #[arg(long, requires = "planted", value_name = "NAME")]
    only: Option<String>,
}

/// Runs the seeds, or the planted bugs.
pub fn sim(arguments: &Arguments) -> Result<()> {
    if arguments.planted {
        return planted(Noticing::Simulator, arguments.only.as_deref());
    }
    let Arguments { seeds, first, verbose, jobs, .. } = *arguments;
    let kind = if jobs { Kind::Jobs } else { Kind::Keys };
    if first.checked_add(seeds).is_none() {
        bail!("--first {first} leaves no room for {seeds} seeds; take a smaller one");
    }
    match run_seeds(&SimArgs { kind, seeds, first, verbose, until_failure: false }) {
        0 => Ok(()),
        _ => bail!("promises were broken; each failing seed's replay command is above"),
    }
}
