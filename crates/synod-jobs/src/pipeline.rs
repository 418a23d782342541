//! Several jobs, one after the other: a job may read what earlier ones have written.
//!
//! A pipeline is plain data. What it says is checked as a whole before its first job runs. Outputs that
//! are only steps on the way are marked, and removed when the last job is done; if a job fails they
//! stay, so that it can be seen why. Who runs the jobs, here or on a cluster, is the caller's matter.

use crate::error::JobError;
use crate::spec::JobSpec;
use serde::Deserialize;
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
}
