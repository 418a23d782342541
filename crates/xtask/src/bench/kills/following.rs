//! What is seen of a job while it runs: its records, by `synod watch`.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::process::Process;

/// How far a job is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    Submitted,
    Planning,
    Map,
    /// Shuffle and reduce.
    Reduce,
    Commit,
    Over,
}

impl Phase {
    /// Each phase in which somebody can be killed.
    pub const EACH: [Phase; 5] =
        [Phase::Submitted, Phase::Planning, Phase::Map, Phase::Reduce, Phase::Commit];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Submitted => "submit",
            Phase::Planning => "plan",
            Phase::Map => "map",
            Phase::Reduce => "reduce",
            Phase::Commit => "commit",
            Phase::Over => "over",
        })
    }
}

/// Follows one job; the watch ends with it.
pub struct Following {
    seen: Arc<(Mutex<Seen>, Condvar)>,
    _watch: Process,
}

#[derive(Debug, Default)]
struct Seen {
    state: String,
    maps: u64,
    maps_done: u64,
    reduce_begun: bool,
}

impl Following {
    /// `watch` prints the changes of all jobs, a JSON object per line; the job is the one behind `last`.
    pub fn start(mut watch: Process, last: String) -> Result<Following> {
        let stdout = watch.child().stdout.take().context("its output is piped")?;
        let seen = Arc::new((Mutex::new(Seen::default()), Condvar::new()));
        let told = seen.clone();
        // It ends with the process, when the pipe does.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(std::io::Result::ok) {
                let Ok(change) = serde_json::from_str::<Value>(&line) else { continue };
                told.0.lock().unwrap_or_else(PoisonError::into_inner).take_in(&change, &last);
                told.1.notify_all();
            }
        });
        Ok(Following { seen, _watch: watch })
    }

    pub fn phase(&self) -> Phase {
        self.seen.0.lock().unwrap_or_else(PoisonError::into_inner).phase()
    }

    /// Waits until the job has come into this phase, or beyond; of the maps, until half of them are done.
    pub fn wait_for(&self, phase: Phase, at_most: Duration) -> Result<()> {
        let is_there = |seen: &mut Seen| !seen.state.is_empty() && seen.has_reached(phase);
        let reached = self.wait(at_most, is_there);
        ensure!(reached, "nothing is heard of phase {phase} of the job");
        Ok(())
    }

    /// Waits for so long, or until the job is over.
    pub fn wait_until_over(&self, at_most: Duration) {
        self.wait(at_most, |seen| seen.phase() == Phase::Over);
    }

    fn wait(&self, at_most: Duration, mut is_there: impl FnMut(&mut Seen) -> bool) -> bool {
        let seen = self.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.seen.1.wait_timeout_while(seen, at_most, |seen| !is_there(seen));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Seen {
    fn take_in(&mut self, change: &Value, last: &str) {
        let key = change["key"].as_str().and_then(|key| key.strip_prefix("synod/jobs/job/"));
        let Some((id, key)) = key.and_then(|key| key.split_once('/')) else { return };
        if id <= last || change["event"] != "PUT" {
            return;
        }
        let value = change["value"].as_str().unwrap_or_default();
        let value = serde_json::from_str::<Value>(value).unwrap_or_default();
        if key == "record" {
            // A state that holds something is an object with its name.
            let state = &value["state"];
            let name = state.as_object().and_then(|state| state.keys().next()).cloned();
            self.state = name.or_else(|| state.as_str().map(str::to_owned)).unwrap_or_default();
            self.maps = value["totals"]["maps"].as_u64().unwrap_or_default();
        } else if key.starts_with("task/m") && !value["done"].is_null() {
            self.maps_done += 1;
        } else if key.starts_with("claim/r") {
            self.reduce_begun = true;
        }
    }

    fn phase(&self) -> Phase {
        match self.state.as_str() {
            "" | "submitted" | "waiting" => Phase::Submitted,
            "preparing" => Phase::Planning,
            "running" if self.reduce_begun => Phase::Reduce,
            "running" => Phase::Map,
            "committing" => Phase::Commit,
            _ => Phase::Over,
        }
    }

    fn has_reached(&self, phase: Phase) -> bool {
        match self.phase() {
            Phase::Map if phase == Phase::Map => self.maps_done * 2 >= self.maps,
            now => now >= phase,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_phase_of_a_job_is_known_by_its_records_and_not_by_those_of_earlier_jobs() {
        let mut seen = Seen::default();
        let mut put = |key: &str, value: Value| {
            let key = format!("synod/jobs/job/{key}");
            seen.take_in(&json!({"event": "PUT", "key": key, "value": value.to_string()}), "07");
            (seen.phase(), seen.has_reached(Phase::Map))
        };
        let state = |state: Value| json!({"state": state, "totals": {"maps": 3}});
        assert_eq!(put("07/record", state(json!({"done": {}}))), (Phase::Submitted, false));
        assert_eq!(put("08/record", state(json!("submitted"))), (Phase::Submitted, false));
        assert_eq!(put("08/record", state(json!("preparing"))), (Phase::Planning, false));
        assert_eq!(put("08/record", state(json!("running"))), (Phase::Map, false));
        let done = json!({"done": {"attempt": 0}});
        assert_eq!(put("08/task/m000000", json!({"done": null})), (Phase::Map, false));
        assert_eq!(put("08/task/m000000", done.clone()), (Phase::Map, false));
        assert_eq!(put("08/task/m000002", done), (Phase::Map, true));
        assert_eq!(put("08/claim/r000000", json!({})), (Phase::Reduce, true));
        assert_eq!(put("08/record", state(json!("committing"))), (Phase::Commit, true));
        assert_eq!(put("08/record", state(json!({"done": {}}))), (Phase::Over, true));
    }
}
