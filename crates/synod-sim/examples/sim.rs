//! Runs seeds without xtask: `cargo run --release -p synod-sim --example sim -- SEEDS FIRST`.

use synod_sim::cli::{SimArgs, run_seeds};

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let seeds = numbers.next().unwrap_or(10);
    let first = numbers.next().unwrap_or(1);
    std::process::exit(run_seeds(&SimArgs { seeds, first, verbose: true }));
}
