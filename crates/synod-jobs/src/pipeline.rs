//! Several jobs, one after the other: a job may read what earlier ones have written.
//!
//! A pipeline is plain data. What it says is checked as a whole before its first job runs. Outputs that
//! are only steps on the way are marked, and removed when the last job is done; if a job fails they
//! stay, so that it can be seen why. Who runs the jobs, here or on a cluster, is the caller's matter:
//! [`Pipeline::specs`] gives them in order, and for each the earlier ones that it needs.

use crate::error::JobError;
use crate::spec::JobSpec;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
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

/// A job of a pipeline, ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageSpec {
    /// What to run.
    pub spec: JobSpec,
    /// Positions of the earlier stages whose outputs it reads.
    pub needs: BTreeSet<usize>,
}

impl Pipeline {
    /// The jobs with what each needs, if they fit together.
    pub fn specs(&self) -> Result<Vec<StageSpec>, JobError> {
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
            let mut needs = BTreeSet::new();
            for input in &stage.inputs {
                let writers = self.stages.iter().enumerate();
                for (writer, _) in writers.filter(|(_, writer)| is_within(input, &writer.output)) {
                    if writer >= number {
                        let input = input.display();
                        return bad(format!(
                            "job {number} of the pipeline reads {input}, which job {writer} writes \
                             only later: put that one first"
                        ));
                    }
                    needs.insert(writer);
                }
            }
            let mut spec = JobSpec::new(&stage.job, &stage.inputs, &stage.output);
            spec.reduces = stage.reduces;
            spec.memory_bytes = stage.memory_bytes.unwrap_or(spec.memory_bytes);
            spec.options = stage.set.clone();
            spec.check()?;
            specs.push(StageSpec { spec, needs });
        }
        Ok(specs)
    }

    /// Removes the outputs that were only steps on the way.
    pub fn remove_temporary(&self) -> Result<(), JobError> {
        for stage in self.stages.iter().filter(|stage| stage.temporary) {
            match std::fs::remove_dir_all(&stage.output) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(JobError::io("remove", &stage.output, error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether an input is an output, or something in it, a pattern included.
fn is_within(input: &Path, output: &Path) -> bool {
    input.starts_with(output)
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
    fn a_stage_needs_those_whose_outputs_it_reads() {
        let stages = vec![
            stage(&["in"], "one"),
            stage(&["in"], "ones"),
            stage(&["one/part-*", "ones"], "three"),
            stage(&["three", "one"], "four"),
        ];
        let needs: Vec<Vec<usize>> = Pipeline { stages }
            .specs()
            .unwrap()
            .into_iter()
            .map(|stage| stage.needs.into_iter().collect())
            .collect();
        assert_eq!(needs, [vec![], vec![], vec![0, 1], vec![0, 2]]);
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
