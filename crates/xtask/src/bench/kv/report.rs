//! What the rounds of one cluster size have shown: a table, and the same as JSON.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::cluster::System;
use super::generator::{Outcome, new_histogram};
use super::requests::Load;
use crate::bench::statistics::Spread;
use crate::bench::table::{Table, megabytes, milliseconds};
use crate::bench::targets::{self, Target};

/// One load on one system in one round.
pub struct Measured {
    pub system: System,
    pub load: Load,
    pub outcome: Outcome,
    /// Processor time of each node, warm-up included.
    pub cpu: Vec<Duration>,
    pub max_resident_bytes: Vec<u64>,
}

impl Measured {
    /// In one line.
    pub fn line(&self) -> String {
        let rate = self.outcome.rate();
        let mut line = format!("{} {}: {rate:.0}/s", self.system.name(), self.load.name());
        if let Some(error) = &self.outcome.first_error {
            line += &format!(", {} errors, the first: {error}", self.outcome.errors);
        }
        line
    }
}

/// Every load of every round, in the order they were measured.
pub struct Report {
    nodes: u8,
    /// The load is the one that the targets are about.
    judged: bool,
    all: Vec<Measured>,
    idle: Vec<(System, Vec<u64>)>,
}

impl Report {
    /// Nothing yet, of clusters of this size; with `judged`, ratios are held against their targets.
    pub fn of_nodes(nodes: u8, judged: bool) -> Self {
        Report { nodes, judged, all: Vec::new(), idle: Vec::new() }
    }

    /// Memory of nodes that do nothing.
    pub fn idle(&mut self, system: System, resident_bytes: Vec<u64>) {
        self.idle.push((system, resident_bytes));
    }

    /// One more load.
    pub fn add(&mut self, measured: Measured) {
        self.all.push(measured);
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let idle = self.idle.iter().map(|(system, bytes)| (system.name().to_owned(), json!(bytes)));
        let loads = self.loads().into_iter().map(|load| {
            let systems = [System::Synod, System::Etcd].into_iter().filter_map(|system| {
                let rounds = Rounds::of(self, system, load)?;
                Some((system.name().to_owned(), rounds.json()))
            });
            let ratio = self.ratio(load).map(|ratio| {
                let target = self.target(load).map(|target| target.json(ratio.median));
                let mut figures = ratio.json();
                figures["target"] = json!(target);
                figures
            });
            let all: serde_json::Map<_, _> = systems.collect();
            (load.key().to_owned(), json!({ "systems": all, "ratio": ratio }))
        });
        json!({
            "idle_resident_bytes": idle.collect::<serde_json::Map<_, _>>(),
            "loads": loads.collect::<serde_json::Map<_, _>>(),
        })
    }

    fn target(&self, load: Load) -> Option<Target> {
        targets::over_etcd(load, self.nodes).filter(|_| self.judged)
    }

    fn loads(&self) -> Vec<Load> {
        let mut loads = Vec::new();
        for measured in &self.all {
            if !loads.contains(&measured.load) {
                loads.push(measured.load);
            }
        }
        loads
    }

    fn of(&self, system: System, load: Load) -> impl Iterator<Item = &Measured> {
        self.all.iter().filter(move |one| one.system == system && one.load == load)
    }

    /// Synod's operations per second over etcd's, round by round.
    fn ratio(&self, load: Load) -> Option<Spread> {
        let pairs = self.of(System::Synod, load).zip(self.of(System::Etcd, load));
        Spread::of(pairs.map(|(synod, etcd)| synod.outcome.rate() / etcd.outcome.rate()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(2, &HEADINGS);
        for load in self.loads() {
            let systems = [System::Synod, System::Etcd];
            for rounds in systems.iter().filter_map(|&system| Rounds::of(self, system, load)) {
                table.row(rounds.cells());
            }
            if let Some(ratio) = self.ratio(load) {
                let verdict = self.target(load).map(|target| target.verdict(ratio.median));
                let cell = [Some(ratio.to_string()), verdict].into_iter().flatten();
                let cell = cell.collect::<Vec<_>>().join(", ");
                table.row(vec![load.name().into(), "ratio".into(), cell]);
            }
        }
        for (system, bytes) in &self.idle {
            let each: Vec<String> = bytes.iter().copied().map(megabytes).collect();
            write!(f, "{} idle, memory per node: {}", system.name(), each.join(", "))?;
            if let (System::Synod, Some(&most)) = (system, bytes.iter().max()) {
                write!(f, "; {}", targets::IDLE_MEGABYTES.verdict(most as f64 / 1e6))?;
            }
            writeln!(f)?;
        }
        write!(f, "{table}")
    }
}

const HEADINGS: [&str; 10] = [
    "load",
    "system",
    "ops/s (min..max)",
    "p50",
    "p99",
    "p99.9",
    "errors",
    "server CPU",
    "client CPU",
    "max memory",
];

/// The rounds of one load on one system, taken together.
struct Rounds {
    system: System,
    load: Load,
    rate: Spread,
    latency: Histogram<u64>,
    errors: u64,
    /// Processor seconds of all nodes.
    cpu: Duration,
    own_cpu: Duration,
    took: Duration,
    /// Of the node that had most.
    max_resident_bytes: u64,
}

impl Rounds {
    fn of(report: &Report, system: System, load: Load) -> Option<Rounds> {
        let all = || report.of(system, load);
        let mut latency = new_histogram().ok()?;
        for one in all() {
            latency.add(&one.outcome.latency).ok()?;
        }
        Some(Rounds {
            system,
            load,
            rate: Spread::of(all().map(|one| one.outcome.rate()))?,
            latency,
            errors: all().map(|one| one.outcome.errors).sum(),
            cpu: all().flat_map(|one| &one.cpu).sum(),
            own_cpu: all().map(|one| one.outcome.own_cpu).sum(),
            took: all().map(|one| one.outcome.took).sum(),
            max_resident_bytes: all().flat_map(|one| &one.max_resident_bytes).copied().max()?,
        })
    }

    fn at(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_quantile(quantile))
    }

    fn cells(&self) -> Vec<String> {
        let share = self.own_cpu.as_secs_f64() / self.took.as_secs_f64() * 100.0;
        vec![
            self.load.name().into(),
            self.system.name().into(),
            format!("{:.0}", self.rate),
            milliseconds(self.at(0.5)),
            milliseconds(self.at(0.99)),
            milliseconds(self.at(0.999)),
            self.errors.to_string(),
            format!("{:.1} s", self.cpu.as_secs_f64()),
            format!("{share:.0} %"),
            megabytes(self.max_resident_bytes),
        ]
    }

    fn json(&self) -> Value {
        let microseconds = |quantile| self.at(quantile).as_secs_f64() * 1e6;
        json!({
            "operations_per_second": self.rate.json(),
            "p50_microseconds": microseconds(0.5),
            "p99_microseconds": microseconds(0.99),
            "p999_microseconds": microseconds(0.999),
            "max_microseconds": self.latency.max() as f64 / 1e3,
            "operations": self.latency.len(),
            "errors": self.errors,
            "server_cpu_seconds": self.cpu.as_secs_f64(),
            "generator_cpu_seconds": self.own_cpu.as_secs_f64(),
            "seconds": self.took.as_secs_f64(),
            "max_resident_bytes": self.max_resident_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This many operations in a second.
    fn measured(system: System, load: Load, operations: u64) -> Measured {
        let mut latency = new_histogram().unwrap();
        latency.record_n(1_000_000, operations).unwrap();
        let (took, own_cpu) = (Duration::from_secs(1), Duration::ZERO);
        let outcome = Outcome { latency, errors: 0, first_error: None, took, own_cpu };
        Measured { system, load, outcome, cpu: vec![Duration::ZERO], max_resident_bytes: vec![1] }
    }

    fn report(judged: bool) -> Report {
        let mut report = Report::of_nodes(3, judged);
        report.idle(System::Synod, vec![12_000_000, 61_000_000]);
        report.idle(System::Etcd, vec![99_000_000]);
        for (load, ours, theirs) in [(Load::Put, 190, 100), (Load::Get, 300, 100)] {
            report.add(measured(System::Synod, load, ours));
            report.add(measured(System::Etcd, load, theirs));
        }
        report
    }

    #[test]
    fn each_ratio_stands_beside_its_target() {
        let text = report(true).to_string();
        for line in [
            "synod idle, memory per node: 12 MB, 61 MB; target < 60: NOT MET",
            "etcd idle, memory per node: 99 MB",
        ] {
            assert!(text.lines().any(|l| l == line), "{text}");
        }
        assert!(text.contains("1.90 (1.90..1.90), target >= 2: NOT MET"), "{text}");
        assert!(text.contains("3.00 (3.00..3.00), target >= 3: met"), "{text}");
        let figures = report(true).json();
        assert_eq!(figures["loads"]["put"]["ratio"]["target"]["met"], json!(false));
        assert_eq!(figures["loads"]["get"]["ratio"]["target"]["bound"], json!(">= 3"));
    }

    #[test]
    fn another_load_than_the_targets_is_not_judged() {
        let text = report(false).to_string();
        assert!(text.contains("1.90 (1.90..1.90)") && !text.contains("target >="), "{text}");
        assert_eq!(report(false).json()["loads"]["put"]["ratio"]["target"], Value::Null);
    }
}
