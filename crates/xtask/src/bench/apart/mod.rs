//! What a network between workers costs a sort: three nodes on machines apart, with what they fetch before
//! their reduces need it, and without.
//!
//! The machines are network namespaces of this one (`machines.rs`): they share its cores and disks, so a job
//! computes no faster than on one node, but each sends no more than its link lets through. A rate is compared
//! in pairs of runs, one after the other, on two clusters. The answers must be the same.

mod machines;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use self::machines::Machines;
use super::mapreduce::input::Input;
use super::statistics::Spread;
use super::table::Table;
use super::workplace::Workplace;

pub use self::machines::impossible;

/// How long the job is, and how often it runs.
#[derive(clap::Args)]
pub struct ApartOptions {
    /// Size of what is sorted, in millions of bytes.
    #[arg(long, default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(10..=100_000))]
    apart_input_mb: u64,
    /// Pairs of runs per rate.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    apart_runs: u32,
}

/// What a machine may send, as `tc` writes it.
const RATES: [(&str, Option<&str>); 3] =
    [("as fast as it can", None), ("1 Gbit/s", Some("1gbit")), ("300 Mbit/s", Some("300mbit"))];

/// Measures, prints a table, and returns the figures.
pub fn run(options: &ApartOptions, synod: &Path, work: &Workplace) -> Result<Value> {
    let input = Input::ZipfText.file(&work.kept, options.apart_input_mb * 1_000_000)?;
    let headings = ["each machine sends", "fetched ahead s", "when needed s", "ratio"];
    let mut table = Table::new(1, &headings);
    let mut figures = Vec::new();
    for (text, rate) in RATES {
        let mut ahead = Machines::start(synod, work, "ahead", rate, &[])?;
        let mut later = Machines::start(synod, work, "later", rate, &["--job-ahead-percent", "0"])?;
        // The first job of a cluster finds its workers asleep.
        ensure!(ahead.sort(&input)?.1 == later.sort(&input)?.1, "the answers differ");
        let mut pairs = Vec::new();
        for _ in 0..options.apart_runs {
            let (with, without) = (ahead.sort(&input)?, later.sort(&input)?);
            ensure!(with.1 == without.1, "the answers differ");
            pairs.push((with.0, without.0));
        }
        let spread = |of: fn(&(f64, f64)) -> f64| {
            Spread::of(pairs.iter().map(of)).context("there is a pair of runs")
        };
        let (with, without) = (spread(|pair| pair.0)?, spread(|pair| pair.1)?);
        let ratio = spread(|(with, without)| with / without)?;
        eprintln!("bench: apart: {text}: {with} s, {without} s");
        table.row(
            [vec![text.to_owned()], [with, without, ratio].map(|s| s.to_string()).into()].concat(),
        );
        figures.push(json!({
            "rate": text, "ahead": with.json(), "later": without.json(), "ratio": ratio.json(),
        }));
    }
    println!("\napart: three nodes sort {} MB", options.apart_input_mb);
    println!("{table}");
    Ok(Value::Array(figures))
}
