//! What there is to publish of a job, and to tell about it, read off its records: the winning attempt of each
//! task that has one, what all of them counted, and which tasks the job went on without.

use crate::cluster::output::Winner;
use crate::cluster::records::TaskOutput;
use crate::cluster::view::JobView;
use crate::commit::Account;

/// What is to be committed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Winners {
    /// Winning attempts that have left files, maps first. A task that was given up is not among them.
    pub outputs: Vec<Winner>,
    /// What the manifest says beside its files.
    pub account: Account,
}

impl Winners {
    /// Those of a job as its records are now.
    pub fn of(job: &JobView) -> Winners {
        let mut winners = Winners::default();
        winners.account.given_up = job.tasks_given_up();
        for (id, task) in &job.tasks {
            if task.record.given_up.is_some() {
                winners.account.counters.count_given_up(id.kind);
            }
            let Some(done) = task.record.winner() else { continue };
            winners.account.counters.add(done.output.counters());
            let (part, side_files) = match &done.output {
                TaskOutput::Map { side_files, .. } if side_files.is_empty() => continue,
                TaskOutput::Map { side_files, .. } => (None, side_files.clone()),
                TaskOutput::Reduce(part) => (Some(part.clone()), part.side_files.clone()),
            };
            winners.outputs.push(Winner { task: *id, attempt: done.attempt, part, side_files });
        }
        winners
    }
}
