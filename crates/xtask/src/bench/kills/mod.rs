//! What it costs a word count if a process that works on it is killed: one of three workers when half of the
//! time is over, and the coordinator's node of three, in each quarter of the time and in each phase.
//!
//! Each killed run is compared with the undisturbed one before it, on processes started anew. The answers
//! must be the same, and the job must have been unfinished when the process was killed: by the records'
//! clock, which is this machine's, and of a coordinator by the epoch of whoever ended the job. A run that
//! was over before, or in another phase, does not count and is repeated. The time that counts is that of
//! `synod run` as a user sees it. Processes and runs are in `nodes.rs`, what is seen of a job in
//! `following.rs`.

mod following;
mod nodes;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};

use self::following::Phase;
use self::nodes::{Bench, Killed, Victim};
use super::mapreduce::input::Input;
use super::statistics::Spread;
use super::table::Table;
use super::targets::{AFTER_COORDINATOR_SECONDS, AFTER_WORKER};
use super::workplace::Workplace;

/// How long the job is, how often it runs, and when something is killed.
#[derive(clap::Args)]
pub struct KillOptions {
    /// Size of the killed job's input, in millions of bytes.
    #[arg(long, default_value_t = 6_000, value_parser = at_least_ten())]
    kill_input_mb: u64,
    /// Pairs of runs, undisturbed and killed.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    kill_runs: u32,
    /// When; both if left out.
    #[arg(long, value_name = "WHEN")]
    kill_at: Option<KillAt>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KillAt {
    /// After shares of the time that an undisturbed run takes.
    Shares,
    /// In each phase, the coordinator's node only.
    Phases,
}

fn at_least_ten() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(10..=1_000_000)
}

/// When somebody is killed.
#[derive(Clone, Copy)]
enum When {
    /// After this share of the undisturbed run's time.
    Share(f64),
    /// As soon as this phase is seen; of the maps, when half of them are done.
    In(Phase),
}

/// Measures, prints a table, and returns the figures.
pub fn run(options: &KillOptions, synod: &Path, work: &Workplace) -> Result<Value> {
    let bench = Bench { synod, work, input: input(options.kill_input_mb, work)? };
    let mut table = Table::new(1, &["killed", "undisturbed s", "killed s", "more s", "ratio", ""]);
    let wanted = |what| options.kill_at.is_none_or(|at| at == what);
    let mut rows = Vec::new();
    if wanted(KillAt::Shares) {
        rows.push((Victim::Worker, When::Share(0.5)));
        let shares = [0.1, 0.3, 0.5, 0.7, 0.9].map(When::Share);
        rows.extend(shares.map(|when| (Victim::Coordinator, when)));
    }
    if wanted(KillAt::Phases) {
        rows.extend(Phase::EACH.map(|phase| (Victim::Coordinator, When::In(phase))));
    }
    let mut figures = Vec::new();
    for (victim, when) in rows {
        let mut pairs = Vec::new();
        let mut phases = Vec::new();
        for _ in 0..options.kill_runs {
            let (calm, killed, phase) = pair(&bench, victim, when)?;
            pairs.push((calm, killed));
            phases.push(phase);
        }
        let (cells, figure) = row(victim, when, &pairs, phases)?;
        table.row(cells);
        figures.push(figure);
    }
    println!("\nkills: a word count of {} MB", options.kill_input_mb);
    println!("{table}");
    Ok(Value::Array(figures))
}

/// Seconds of an undisturbed run and of one with a kill that it was not over before, and the phase of that.
fn pair(bench: &Bench<'_>, victim: Victim, when: When) -> Result<(f64, f64, Phase)> {
    let calm = bench.once(victim, None)?;
    let mut last = String::new();
    for _ in 0..TRIES {
        let killed = bench.once(victim, Some((when, calm.seconds)))?;
        ensure!(killed.answer == calm.answer, "another answer after a kill");
        match (killed.kill.context("it says what was killed")?, when) {
            (Killed::Unfinished(phase), When::In(wanted)) if phase != wanted => {
                last = format!("it was in phase {phase}");
            }
            (Killed::Unfinished(phase), _) => return Ok((calm.seconds, killed.seconds, phase)),
            (Killed::TooLate(why), _) => last = why,
        }
        eprintln!("bench: kills: does not count, {last}: once more");
    }
    bail!("{TRIES} runs were not to be killed {}: {last}; take more input", when.text())
}

/// A row of the table, and the figures of it.
fn row(
    victim: Victim,
    when: When,
    pairs: &[(f64, f64)],
    mut phases: Vec<Phase>,
) -> Result<(Vec<String>, Value)> {
    let spread =
        |of: fn(&(f64, f64)) -> f64| Spread::of(pairs.iter().map(of)).context("there is a pair");
    let (calm, killed) = (spread(|pair| pair.0)?, spread(|pair| pair.1)?);
    let (more, ratio) = (spread(|(calm, killed)| killed - calm)?, spread(|(c, k)| k / c)?);
    let (name, target, figure) = match victim {
        Victim::Worker => ("a worker", AFTER_WORKER, ratio.median),
        Victim::Coordinator => ("the coordinator's node", AFTER_COORDINATOR_SECONDS, more.median),
    };
    phases.sort_unstable();
    phases.dedup();
    let seen: Vec<String> = phases.iter().map(Phase::to_string).collect();
    let what = match when {
        When::Share(_) => format!("{name} {} ({})", when.text(), seen.join(", ")),
        When::In(_) => format!("{name} {}", when.text()),
    };
    eprintln!("bench: kills: {what}: {:.2} s, then {:.2} s", calm.median, killed.median);
    let cells = [calm, killed, more, ratio]
        .map(|spread| format!("{:.2} ({:.2}..{:.2})", spread.median, spread.min, spread.max));
    let cells = [vec![what.clone()], cells.to_vec(), vec![target.verdict(figure)]].concat();
    let figure = json!({
        "killed": what, "undisturbed": calm.json(), "with_kill": killed.json(),
        "more_seconds": more.json(), "ratio": ratio.json(), "target": target.json(figure),
    });
    Ok((cells, figure))
}

impl When {
    fn text(self) -> String {
        match self {
            When::Share(share) => format!("at {:.0} %", share * 100.0),
            When::In(phase) => format!("in phase {phase}"),
        }
    }
}

/// A folder of links to one file: much to read, and little on the disk.
fn input(megabytes: u64, work: &Workplace) -> Result<PathBuf> {
    let one = megabytes.min(FILE_MB);
    let file = Input::ZipfText.file(&work.kept, one * 1_000_000)?;
    let folder = work.fresh("kill-input")?;
    for number in 0..megabytes / one {
        std::fs::hard_link(&file, folder.join(format!("{number:05}")))?;
    }
    Ok(folder)
}

/// Size of the file that all inputs are links to.
const FILE_MB: u64 = 200;
/// Runs that may be over before anything is killed, for one that is not.
const TRIES: u32 = 10;
