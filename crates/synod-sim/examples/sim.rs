//! Runs seeds without xtask: `cargo run --release -p synod-sim --example sim -- SEEDS FIRST
//! [jobs] [until-failure]`. Planted bugs are looked for with it: it needs fewer crates than xtask.

use synod_sim::cli::{SimArgs, run_seeds};
use synod_sim::run::Kind;

fn main() {
    let until_failure = std::env::args().any(|arg| arg == "until-failure");
    let jobs = std::env::args().any(|arg| arg == "jobs");
    let kind = if jobs { Kind::Jobs } else { Kind::Keys };
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let seeds = numbers.next().unwrap_or(10);
    let first = numbers.next().unwrap_or(1);
    std::process::exit(run_seeds(&SimArgs { kind, seeds, first, verbose: true, until_failure }));
}
