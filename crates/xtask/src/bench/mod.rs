//! `cargo xtask bench`: Synod beside what its users run today, under the same load on the same disk.
//!
//! `kv` puts one generator's load on Synod and on a real etcd, in turns; `mapreduce` runs the built-in jobs
//! beside programs written by hand, `mawk`, `sort`, DuckDB, polars and PySpark. Both compare pairs that ran
//! one after the other, because a machine's speed drifts; what is compared and how durable each side is,
//! docs/BENCHMARKS.md says.

mod apart;
mod kills;
mod kv;
pub mod mapreduce;
mod process;
mod statistics;
mod table;
mod targets;
mod workplace;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::{Map, Value};

/// What to compare, and how.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask bench                                everything, about half an hour\n  \
    cargo xtask bench kv --nodes 1 --seconds 60      beside one etcd, a minute per load\n  \
    cargo xtask bench kv --loads put --rounds 1      puts, held for the whole time\n  \
    cargo xtask bench kv --only synod --json FILE    Synod alone, figures to a file\n  \
    cargo xtask bench mapreduce                      jobs beside other engines, a few minutes\n  \
    cargo xtask bench kills --kill-at phases         the coordinator's node, in each phase\n  \
    cargo xtask bench apart                          a network between workers, as root\n  \
    cargo xtask bench mapreduce --works sort --input-mb 1000 --runs 5 --python venv/bin/python")]
pub struct Arguments {
    /// Which part; all if left out.
    what: Option<What>,
    #[command(flatten)]
    kv: kv::LoadOptions,
    #[command(flatten)]
    mapreduce: mapreduce::JobOptions,
    #[command(flatten)]
    kills: kills::KillOptions,
    #[command(flatten)]
    apart: apart::ApartOptions,
    /// This program instead of building `synod` for release.
    #[arg(long, value_name = "PATH")]
    synod_bin: Option<PathBuf>,
    /// Folder for all data, which decides the disk; a folder below it is made and removed.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Also write every figure to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// The key-value store beside etcd.
    Kv,
    /// Jobs beside programs written by hand.
    Mapreduce,
    /// Jobs of which a worker or the coordinator is killed, beside themselves.
    Kills,
    /// A sort by workers with a network between them; needs the right to make network namespaces.
    Apart,
}

/// Measures, and prints the tables.
pub fn bench(arguments: &Arguments) -> Result<()> {
    if cfg!(debug_assertions) {
        println!(
            "bench: the load generator is a debug build; its figures are the machine's, not Synod's"
        );
    }
    let work = workplace::Workplace::new(arguments.data.as_deref())?;
    let synod = match &arguments.synod_bin {
        None => workplace::build_synod()?,
        Some(path) if path.is_file() => path.clone(),
        Some(path) => bail!("{} is not a program", path.display()),
    };
    let mut figures = Map::new();
    let wanted = |part| arguments.what.is_none_or(|what| what == part);
    if wanted(What::Kv) {
        figures.insert("kv".into(), kv::run(&arguments.kv, &synod, &work)?);
    }
    if wanted(What::Mapreduce) {
        figures.insert("mapreduce".into(), mapreduce::run(&arguments.mapreduce, &synod, &work)?);
    }
    if wanted(What::Kills) {
        figures.insert("kills".into(), kills::run(&arguments.kills, &synod, &work)?);
    }
    if wanted(What::Apart) {
        match apart::impossible() {
            None => {
                figures.insert("apart".into(), apart::run(&arguments.apart, &synod, &work)?);
            }
            Some(why) if arguments.what.is_some() => bail!("machines apart: {why}"),
            Some(why) => println!("bench: machines apart are not measured: {why}"),
        }
    }
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&Value::Object(figures))?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        <Arguments as clap::Args>::augment_args(clap::Command::new("bench")).debug_assert();
    }
}
