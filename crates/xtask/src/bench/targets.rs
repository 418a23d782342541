//! What the figures have to reach, said beside each of them: met or not. docs/BENCHMARKS.md has the same
//! table.
//!
//! A figure is judged by its median (memory by the node that has most). The targets of the key-value
//! store are for one load; a figure of another load is not judged. Those of jobs are not for small inputs.

use std::fmt;

use serde_json::{Value, json};

use super::kv::requests::Load;
use super::mapreduce::peers::{BY_HAND, DUCKDB, GNU_SORT, MAWK, POLARS, PYSPARK, SHELL};
use super::mapreduce::works::{EVEN_INPUT, ONE_PROCESS};

/// A bound on one figure.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Target {
    /// This much or more.
    AtLeast(f64),
    /// This much or less.
    AtMost(f64),
    /// Less than this.
    Below(f64),
}

/// `synod up` on an empty folder until it is ready, in milliseconds.
pub const UP_MILLISECONDS: Target = Target::AtMost(200.0);

/// Memory of a node that does nothing, in millions of bytes.
pub const IDLE_MEGABYTES: Target = Target::Below(60.0);

/// The load that the ratios to etcd are demanded for.
pub struct Demanded {
    pub clients: u32,
    pub value_bytes: u32,
    /// Each load, without a pause.
    pub held_seconds: u64,
}

/// See [`Demanded`].
pub const DEMANDED: Demanded = Demanded { clients: 64, value_bytes: 256, held_seconds: 60 };

/// Synod's operations per second over etcd's.
pub fn over_etcd(load: Load, nodes: u8) -> Option<Target> {
    match (load, nodes) {
        (Load::Put, 1) => Some(Target::AtLeast(1.5)),
        (Load::Put, 3) => Some(Target::AtLeast(2.0)),
        (Load::Get, 1 | 3) => Some(Target::AtLeast(3.0)),
        _ => None,
    }
}

/// From the start of `synod run` on an empty file until it has ended, in milliseconds.
pub const EMPTY_JOB_MILLISECONDS: Target = Target::Below(50.0);

/// The most memory of a job's process over the budget it was given.
pub const MEMORY_OVER_BUDGET: Target = Target::AtMost(1.1);

/// Time of a job of which one worker of three was killed at half time, over that without.
pub const AFTER_WORKER: Target = Target::AtMost(1.35);

/// What a kill of the coordinator's node may cost, in seconds: an election (2 s) and 5 s.
pub const AFTER_COORDINATOR_SECONDS: Target = Target::AtMost(7.0);

/// The least input, in millions of bytes, with which the work of a job is judged.
pub const JUDGED_INPUT_MB: u64 = 1000;

/// A job's speed over that of a program beside it; its time over the other's for streaming jobs and for
/// three workers.
pub fn over_peer(work: &str, peer: &str) -> Option<Target> {
    Some(match (work, peer) {
        ("wordcount", BY_HAND) => Target::AtLeast(0.85),
        ("wordcount", DUCKDB | POLARS) => Target::AtLeast(1.5),
        ("wordcount", MAWK) => Target::AtLeast(5.0),
        ("wordcount", PYSPARK) => Target::AtLeast(6.0),
        ("fieldcount", BY_HAND) => Target::AtLeast(0.6),
        ("fieldcount", DUCKDB | POLARS) => Target::AtLeast(1.3),
        ("sort", GNU_SORT) => Target::AtLeast(2.0),
        ("sort", DUCKDB) => Target::AtLeast(1.5),
        ("sort", PYSPARK) => Target::AtLeast(3.0),
        ("distinct", DUCKDB) => Target::AtLeast(1.0),
        ("streaming" | "streaming-map", SHELL) => Target::AtMost(1.15),
        ("workers", ONE_PROCESS) => Target::AtMost(1.3),
        (_, EVEN_INPUT) => Target::AtMost(2.0),
        _ => return None,
    })
}

impl Target {
    /// Whether the figure is good enough.
    pub fn is_met(self, figure: f64) -> bool {
        match self {
            Target::AtLeast(bound) => figure >= bound,
            Target::AtMost(bound) => figure <= bound,
            Target::Below(bound) => figure < bound,
        }
    }

    /// The target and the verdict, for a person.
    pub fn verdict(self, figure: f64) -> String {
        let verdict = if self.is_met(figure) { "met" } else { "NOT MET" };
        format!("target {self}: {verdict}")
    }

    /// The same for a program.
    pub fn json(self, figure: f64) -> Value {
        json!({ "bound": self.to_string(), "met": self.is_met(figure) })
    }

    /// The same bound on a job, which may be too small to be judged.
    pub fn of_job(self, is_judged: bool) -> JobTarget {
        JobTarget { target: self, is_judged }
    }
}

/// A bound on a figure of a job.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct JobTarget {
    target: Target,
    /// Whether the input is large enough.
    is_judged: bool,
}

impl JobTarget {
    /// The target, and the verdict if there is to be one, for a person.
    pub fn verdict(self, figure: f64) -> String {
        if self.is_judged {
            return self.target.verdict(figure);
        }
        format!("target {}: not judged below {JUDGED_INPUT_MB} MB", self.target)
    }

    /// The same for a program.
    pub fn json(self, figure: f64) -> Value {
        if self.is_judged {
            return self.target.json(figure);
        }
        let why = format!("below {JUDGED_INPUT_MB} MB");
        json!({ "bound": self.target.to_string(), "met": null, "not_judged": why })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::AtLeast(bound) => write!(f, ">= {bound}"),
            Target::AtMost(bound) => write!(f, "<= {bound}"),
            Target::Below(bound) => write!(f, "< {bound}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_told_whether_it_is_good_enough() {
        let puts = over_etcd(Load::Put, 3).unwrap();
        assert_eq!(puts.verdict(2.0), "target >= 2: met");
        assert_eq!(puts.verdict(1.99), "target >= 2: NOT MET");
        assert_eq!(UP_MILLISECONDS.verdict(200.0), "target <= 200: met");
        assert_eq!(UP_MILLISECONDS.verdict(200.5), "target <= 200: NOT MET");
        assert_eq!(IDLE_MEGABYTES.verdict(60.0), "target < 60: NOT MET");
        assert_eq!(IDLE_MEGABYTES.verdict(12.5), "target < 60: met");
    }

    #[test]
    fn a_job_with_little_input_is_told_its_target_and_not_judged() {
        let (judged, small) = (UP_MILLISECONDS.of_job(true), UP_MILLISECONDS.of_job(false));
        for figure in [1.0, 900.0] {
            assert_eq!(judged.verdict(figure), UP_MILLISECONDS.verdict(figure));
            assert_eq!(judged.json(figure), UP_MILLISECONDS.json(figure));
            assert_eq!(small.verdict(figure), "target <= 200: not judged below 1000 MB");
            assert_eq!(small.json(figure)["met"], Value::Null);
            assert_eq!(small.json(figure)["bound"], json!("<= 200"));
        }
    }

    #[test]
    fn only_what_was_demanded_has_a_target() {
        assert_eq!(over_etcd(Load::Put, 1), Some(Target::AtLeast(1.5)));
        assert_eq!(over_etcd(Load::Get, 3), Some(Target::AtLeast(3.0)));
        assert_eq!(over_etcd(Load::Put, 5), None);
        assert_eq!(over_etcd(Load::Sget, 1), None);
        assert_eq!(over_peer("wordcount", MAWK), Some(Target::AtLeast(5.0)));
        assert_eq!(over_peer("sort", POLARS), None);
        assert_eq!(over_peer("loganalysis", MAWK), None);
    }
}
