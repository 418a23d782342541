//! Several jobs, one after the other: a job may read what earlier ones have written.
//!
//! A pipeline is plain data. What it says is checked as a whole before its first job runs. Outputs that
//! are only steps on the way are marked, and removed when the last job is done; if a job fails they
//! stay, so that it can be seen why. Who runs the jobs, here or on a cluster, is the caller's matter.

use crate::error::JobError;
use crate::priority::Priority;
use crate::spec::JobSpec;
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Jobs in the order in which they run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// The jobs.
    #[serde(rename = "job")]
    pub stages: Vec<Stage>,
}

/// One job of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Name of the job.
    pub job: String,
    /// What it reads; the output of an earlier stage by its name.
    pub inputs: Vec<PathBuf>,
    /// Folder to create.
    pub output: PathBuf,
    /// Whether the output is of no use once the pipeline is done.
    #[serde(default)]
    pub temporary: bool,
    /// Number of reduce tasks.
    pub reduces: Option<u32>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Of a hundred map tasks, how many the job goes on without if they have failed for good.
    #[serde(default)]
    pub allow_failed_maps: u32,
    /// The same for reduce tasks.
    #[serde(default)]
    pub allow_failed_reduces: u32,
    /// On a cluster: whether its tasks are taken before or after those of other jobs.
    #[serde(default, deserialize_with = "said_priority")]
    pub priority: Option<Priority>,
    /// Options of the job.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
}

impl Pipeline {
    /// The jobs in the order in which they run, if they fit together.
    pub fn specs(&self) -> Result<Vec<JobSpec>, JobError> {
        let bad = |what: String| Err(JobError::BadSpec { what });
        if self.stages.is_empty() {
            return bad("a pipeline without jobs: write [[job]] once for each".to_owned());
        }
        let mut specs = Vec::with_capacity(self.stages.len());
        for (number, stage) in self.stages.iter().enumerate() {
            let shown = stage.output.display();
            if self.stages[..number].iter().any(|earlier| earlier.output == stage.output) {
                return bad(format!("two jobs of the pipeline have the output {shown}"));
            }
            for input in &stage.inputs {
                let mut later = self.stages[number..].iter().zip(number..);
                if let Some((_, writer)) = later.find(|(w, _)| input.starts_with(&w.output)) {
                    let input = input.display();
                    return bad(format!(
                        "job {number} of the pipeline reads {input}, which job {writer} writes only \
                         later: put that one first"
                    ));
                }
            }
            let mut spec = JobSpec::new(&stage.job, &stage.inputs, &stage.output);
            spec.reduces = stage.reduces;
            spec.memory_bytes = stage.memory_bytes.unwrap_or(spec.memory_bytes);
            spec.failed_maps_percent = stage.allow_failed_maps;
            spec.failed_reduces_percent = stage.allow_failed_reduces;
            spec.priority = stage.priority.unwrap_or_default();
            spec.options = stage.set.clone();
            spec.check()?;
            if stage.temporary && spec.output_is_in_store() {
                return bad(format!("output {shown} is no folder: only folders can be temporary"));
            }
            specs.push(spec);
        }
        Ok(specs)
    }

    /// The outputs that were only steps on the way: of no use once the last job is done.
    pub fn temporary_outputs(&self) -> impl Iterator<Item = &Path> {
        self.stages.iter().filter(|stage| stage.temporary).map(|stage| stage.output.as_path())
    }
}

/// A priority by its name or its number, as `--priority` takes it.
fn said_priority<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Priority>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Said {
        Name(String),
        Number(u64),
        Other(IgnoredAny),
    }
    let said = match Said::deserialize(from)? {
        Said::Name(name) => name,
        Said::Number(number) => number.to_string(),
        Said::Other(_) => String::new(),
    };
    said.parse().map(Some).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(inputs: &[&str], output: &str) -> Stage {
        Stage {
            job: "wordcount".to_owned(),
            inputs: inputs.iter().map(PathBuf::from).collect(),
            output: output.into(),
            temporary: false,
            reduces: Some(2),
            memory_bytes: None,
            allow_failed_maps: 0,
            allow_failed_reduces: 0,
            priority: None,
            set: BTreeMap::new(),
        }
    }

    #[test]
    fn jobs_may_read_what_earlier_ones_write() {
        let stages = vec![
            stage(&["in"], "one"),
            stage(&["one/part-*", "in"], "two"),
            stage(&["two", "one"], "three"),
        ];
        let specs = Pipeline { stages }.specs().unwrap();
        let outputs: Vec<&Path> = specs.iter().map(|spec| spec.output.as_path()).collect();
        assert_eq!(outputs, ["one", "two", "three"].map(Path::new));
    }

    #[test]
    fn jobs_that_do_not_fit_together_are_refused_before_any_runs() {
        for (stages, why) in [
            (vec![], "without jobs"),
            (vec![stage(&["in"], "out"), stage(&["in"], "out")], "have the output"),
            (vec![stage(&["b"], "a"), stage(&["in"], "b")], "only later"),
            (vec![stage(&["a"], "a")], "only later"),
            (vec![stage(&[], "a")], "no input"),
        ] {
            let error = Pipeline { stages }.specs().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    fn read(said: &str) -> Result<Pipeline, serde_json::Error> {
        let job = r#"{"job": "sort", "inputs": ["in"], "output": "out""#;
        serde_json::from_str(&format!(r#"{{"job": [{job}{said}}}]}}"#))
    }

    #[test]
    fn a_stage_says_how_many_of_its_tasks_may_fail_and_when_they_are_taken() {
        let said = r#", "allow_failed_maps": 7, "allow_failed_reduces": 100, "priority": "high""#;
        let spec = read(said).unwrap().specs().unwrap().remove(0);
        assert_eq!((spec.failed_maps_percent, spec.failed_reduces_percent), (7, 100));
        assert_eq!(spec.priority, Priority::High);
        let plain = read("").unwrap().specs().unwrap().remove(0);
        assert_eq!(plain, JobSpec::new("sort", ["in"], "out"));
        for (said, priority) in [("\"VERY_LOW\"", Priority::VeryLow), ("5", Priority::VeryHigh)] {
            let stages = read(&format!(r#", "priority": {said}"#)).unwrap().stages;
            assert_eq!(stages[0].priority, Some(priority));
        }
    }

    #[test]
    fn shares_and_priorities_that_are_none_are_refused_as_those_of_single_jobs() {
        for (field, kind) in [("allow_failed_maps", "map"), ("allow_failed_reduces", "reduce")] {
            let stages = read(&format!(r#", "{field}": 101"#)).unwrap();
            let error = stages.specs().unwrap_err().to_string();
            let why = format!("101 percent of {kind} tasks that may fail: 0 to 100 are possible");
            assert!(error.contains(&why), "{error}");
        }
        for wrong in ["\"urgent\"", "-1", "[5]"] {
            let error = read(&format!(r#", "priority": {wrong}"#)).unwrap_err().to_string();
            assert!(
                error.starts_with(&"urgent".parse::<Priority>().unwrap_err().to_string()),
                "{error}"
            );
        }
    }
}
