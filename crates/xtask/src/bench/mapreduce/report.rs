//! What the runs of one work have shown: a table for people, and the same as JSON.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::measure::{Program, Runs, Took};
use super::works::{Name, Ratio, SYNCED, Work};
use crate::bench::statistics::Spread;
use crate::bench::table::{Table, megabytes};
use crate::bench::targets::{self, JobTarget};

/// One work and its runs.
pub struct Report<'w> {
    work: &'w Work,
    runs: &'w Runs,
    mb: f64,
}

/// A figure of Synod's own that has a target.
struct Own {
    key: &'static str,
    what: String,
    figure: f64,
    target: JobTarget,
}

impl<'w> Report<'w> {
    pub fn new(work: &'w Work, runs: &'w Runs) -> Result<Self> {
        Ok(Report { work, runs, mb: work.input_mb()? })
    }

    fn each(&self) -> impl Iterator<Item = (&Program, &[Took])> {
        let all = self.work.programs.iter().zip(self.runs.took.iter().map(Vec::as_slice));
        all.filter(|(_, took)| !took.is_empty())
    }

    /// Pairs of runs of the same round: Synod's and this one's.
    fn ratio(&self, took: &[Took], of: impl Fn(&Took) -> Option<f64>) -> Option<Spread> {
        let pairs = self.runs.took[0].iter().zip(took);
        let ratios = pairs.filter_map(|(own, other)| {
            let (own, other) = (of(own)?, of(other)?);
            Some(match self.work.ratio {
                Ratio::Speed => other / own,
                Ratio::Time => own / other,
            })
        });
        Spread::of(ratios)
    }

    fn target(&self, program: &Program) -> Option<JobTarget> {
        let target = targets::over_peer(&self.work.key(), program.name)?;
        Some(target.of_job(self.work.is_judged))
    }

    /// What the last sync adds to a run.
    fn sync_seconds(&self) -> Option<Spread> {
        let (_, synced) = self.each().find(|(program, _)| program.name == SYNCED)?;
        let pairs = self.runs.took[0].iter().zip(synced);
        Spread::of(pairs.map(|(own, synced)| synced.seconds - own.seconds))
    }

    fn own_figures(&self) -> Vec<Own> {
        let own = &self.runs.took[0];
        let mut figures = Vec::new();
        let memory = own.iter().filter_map(|took| took.max_resident_bytes).max();
        if let (Some(budget), Some(memory)) = (self.work.budget_bytes, memory) {
            figures.push(Own {
                key: "memory_over_budget",
                what: format!("most memory {} / budget {}", megabytes(memory), megabytes(budget)),
                figure: memory as f64 / budget as f64,
                target: targets::MEMORY_OVER_BUDGET.of_job(self.work.is_judged),
            });
        }
        let median = Spread::of(own.iter().map(|took| took.seconds * 1e3));
        if let (Name::Empty, Some(spread)) = (self.work.name, median) {
            figures.push(Own {
                key: "milliseconds",
                what: format!("an empty job takes {spread} ms"),
                figure: spread.median,
                target: targets::EMPTY_JOB_MILLISECONDS.of_job(self.work.is_judged),
            });
        }
        figures
    }

    /// Prints the table.
    pub fn print(&self) -> Result<()> {
        let ratio = match self.work.ratio {
            Ratio::Speed => "synod's speed / its",
            Ratio::Time => "synod's time / its",
        };
        let headings =
            ["program", "seconds", "MB/s", "processor s", "memory", ratio, "by processor time"];
        let mut table = Table::new(1, &headings);
        for (number, (program, took)) in self.each().enumerate() {
            let seconds = Spread::of(took.iter().map(|took| took.seconds)).context("no run")?;
            let cpu = Spread::of(took.iter().filter_map(|took| took.cpu_seconds));
            let memory = took.iter().filter_map(|took| took.max_resident_bytes).max();
            let mut row = vec![
                program.name.to_owned(),
                seconds.to_string(),
                format!("{:.0}", self.mb / seconds.median),
                cpu.map_or_else(|| "unknown".into(), |cpu| format!("{:.2}", cpu.median)),
                memory.map_or_else(|| "unknown".into(), megabytes),
            ];
            if number > 0 && program.name != SYNCED {
                let ratio = self.ratio(took, |took| Some(took.seconds)).context("no run")?;
                let verdict = self.target(program).map(|target| target.verdict(ratio.median));
                let verdict = verdict.map(|verdict| format!(", {verdict}"));
                row.push(format!("{ratio}{}", verdict.unwrap_or_default()));
                let by_cpu = self.ratio(took, |took| took.cpu_seconds);
                row.push(by_cpu.map_or_else(String::new, |ratio| format!("{:.2}", ratio.median)));
            }
            table.row(row);
        }
        let (key, mb, lines) = (self.work.key(), self.mb, self.runs.lines);
        let rounds = self.runs.took[0].len();
        println!(
            "\n{key}: {mb:.0} MB, {rounds} runs each, in turns, warm; {lines} lines of answer"
        );
        print!("{table}");
        for Own { what, figure, target, .. } in self.own_figures() {
            println!("{what}: {figure:.2}, {}", target.verdict(figure));
        }
        if let Some(sync) = self.sync_seconds() {
            println!("synod's own sync at the end adds {sync} s");
        }
        Ok(())
    }

    /// As JSON.
    pub fn json(&self) -> Result<Value> {
        let mut programs = Map::new();
        for (number, (program, took)) in self.each().enumerate() {
            let spread = |of: &dyn Fn(&Took) -> Option<f64>| {
                Spread::of(took.iter().filter_map(of)).map(Spread::json)
            };
            let mut figures = json!({
                "seconds": spread(&|took| Some(took.seconds)),
                "processor_seconds": spread(&|took| took.cpu_seconds),
                "max_resident_bytes": took.iter().filter_map(|took| took.max_resident_bytes).max(),
            });
            if number > 0 && program.name != SYNCED {
                let ratio = self.ratio(took, |took| Some(took.seconds)).context("no run")?;
                let key = match self.work.ratio {
                    Ratio::Speed => "speed_ratio",
                    Ratio::Time => "time_ratio",
                };
                figures[key] = ratio.json();
                let by_cpu = self.ratio(took, |took| took.cpu_seconds);
                figures["processor_time_ratio"] = json!(by_cpu.map(Spread::json));
                let target = self.target(program).map(|target| target.json(ratio.median));
                figures["target"] = json!(target);
            }
            programs.insert(program.name.to_owned(), figures);
        }
        let mut figures = json!({
            "input_mb": self.mb,
            "answer_lines": self.runs.lines,
            "programs": programs,
            "sync_seconds": self.sync_seconds().map(Spread::json),
        });
        for Own { key, figure, target, .. } in self.own_figures() {
            figures[key] = json!({ "figure": figure, "target": target.json(figure) });
        }
        Ok(figures)
    }
}
