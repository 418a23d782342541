//! What must have come of each job at the end: of its records, of its output, of what is told about it.

use std::collections::{BTreeMap, BTreeSet};

use synod_jobs::cluster::{JobId, JobReport, JobState, TaskId, TaskKind};
use synod_jobs::commit::Manifest;
use synod_jobs::given_up::GivenUp;

use super::clients::Client;
use super::files::Folder;
use super::judge::Judge;
use super::sick::COMPLAINT;
use crate::history::Violation;
use crate::run::Run;

/// Failures after which a task is not tried again.
const MOST_FAILURES: u32 = 4;

/// A promise, and how it was broken.
type Broken = (&'static str, String);

impl Run {
    /// What the records and the files have come to.
    pub(in crate::run) fn judge_jobs(&mut self) -> BTreeMap<&'static str, u64> {
        let judge = Judge::of(&self.applied);
        let mut broken = judge.violations.clone();
        let mut ends = Ends::default();
        for client in self.jobs.clients.iter().filter(|client| client.submitted) {
            let found = self.judge_end(&judge, client, &mut ends);
            let found = found.into_iter().chain(self.judge_given_up(&judge, client));
            broken.extend(found.map(|(promise, what)| Violation { promise, what }));
        }
        self.world.violations.extend(broken);
        BTreeMap::from([
            ("jobs_done", judge.counts.done),
            ("jobs_done_without_tasks", ends.done_without),
            ("jobs_failed_for_tasks", ends.failed_for_tasks),
            ("jobs_cancelled", judge.counts.cancelled),
            ("tasks_given_up", judge.counts.given_up),
            ("outputs_lost", judge.counts.lost),
            ("second_attempts", judge.counts.backups),
            ("coordinators_replaced", judge.counts.coordinators),
            ("workers_killed", self.jobs.deaths),
            ("workers_asleep", self.jobs.naps),
            ("workers_behind", self.jobs.behind),
        ])
    }

    fn judge_end(&self, judge: &Judge, client: &Client, ends: &mut Ends) -> Vec<Broken> {
        let Client { job, spec, sick, cancels, .. } = client;
        let given_up = judge.given_up(job);
        match judge.state(job) {
            Some(JobState::Done(manifest)) => {
                ends.done_without += u64::from(!given_up.is_empty());
                let mut broken = self.judge_output(judge, job, manifest);
                if sick.are_too_many(spec) {
                    broken.push(("job-end", format!("{job} is done, without {given_up:?}")));
                }
                broken
            }
            Some(JobState::Cancelled) if *cancels => self.left_behind(job),
            Some(JobState::Failed(why)) if sick.explains(spec, &given_up, why) => {
                ends.failed_for_tasks += 1;
                self.left_behind(job)
            }
            // It is not the job's fault, but there is an end to trying.
            Some(JobState::Failed(why)) if why.contains("was begun") && judge.wears_out(job) => {
                self.left_behind(job)
            }
            Some(JobState::Failed(why)) if why.contains("which must be done first") => {
                let ends_badly = |before: &&JobId| {
                    matches!(judge.state(before), Some(JobState::Failed(_) | JobState::Cancelled))
                };
                let before = spec.after.iter().find(ends_badly);
                match before.filter(|before| why.contains(&before.to_string())) {
                    Some(_) => self.left_behind(job),
                    None => vec![("job-end", format!("{job} failed: {why}"))],
                }
            }
            other => {
                vec![("job-end", format!("{job} has not ended as it should: {other:?}, {sick:?}"))]
            }
        }
    }

    /// The output of a job that is done holds what the tasks gave that have won, all of it, and says which
    /// have not.
    fn judge_output(&self, judge: &Judge, job: &JobId, told: &Manifest) -> Vec<Broken> {
        let none = BTreeMap::new();
        let won = judge.winners.get(job).unwrap_or(&none);
        let given_up = judge.given_up(job);
        let Some((folder, manifest)) = self.complete(job) else {
            return vec![("job-output", format!("{job}: won {won:?}, nothing is published"))];
        };
        let mut broken = Vec::new();
        let there = folder.published.iter().map(|(task, there)| (*task, there.attempt));
        if there.collect::<BTreeMap<_, _>>() != *won {
            broken.push(("job-output", format!("{job}: won {won:?}, there is {folder:?}")));
        }
        let is_map = |task: &&TaskId| task.kind == TaskKind::Map;
        let maps: BTreeSet<TaskId> = won.keys().filter(is_map).copied().collect();
        for (task, there) in folder.published.iter().filter(|(task, _)| !is_map(task)) {
            if there.holds != maps {
                let what = format!("{job}: {task} holds {:?} of {maps:?}", there.holds);
                broken.push(("job-output", what));
            }
        }
        let reduces = won.len() - maps.len();
        let counters = &manifest.counters;
        let counted = (counters.map_records_in, counters.reduce_pairs_in);
        let gone = |kind| given_up.keys().filter(|task| task.kind == kind).count() as u64;
        let uncounted = (counters.maps_given_up, counters.reduces_given_up);
        if counted != (maps.len() as u64, (maps.len() * reduces) as u64)
            || uncounted != (gone(TaskKind::Map), gone(TaskKind::Reduce))
            || names(&manifest.given_up) != given_up.keys().copied().collect::<Vec<_>>()
        {
            broken.push(("job-manifest", format!("{job}: {given_up:?}, told {manifest:?}")));
        }
        let report = judge.reports.get(job);
        let tells = |report: &JobReport| {
            report.given_up == manifest.given_up && report.counters == manifest.counters
        };
        if told != manifest || !report.is_some_and(tells) {
            let what = format!("{job}: {manifest:?} is there, told {told:?} and {report:?}");
            broken.push(("job-manifest", what));
        }
        broken
    }

    fn complete(&self, job: &JobId) -> Option<(&Folder, &Manifest)> {
        let folder = self.jobs.files.folders.get(job)?;
        Some((folder, folder.success.as_ref()?))
    }

    /// What a job without success has left. One that has slept through the end while it planned makes the
    /// folder once more: if it dies before it learns of the end, the folder stays, without anything to read.
    fn left_behind(&self, job: &JobId) -> Vec<Broken> {
        let is_left = self.jobs.left.contains(job);
        let shown =
            |folder: &&Folder| !is_left || folder.success.is_some() || !folder.published.is_empty();
        let folder = self.jobs.files.folders.get(job).filter(shown);
        let told = |folder| ("job-output", format!("{job} has no success, there is {folder:?}"));
        folder.map(told).into_iter().collect()
    }

    /// What was given up could not be done, and what has never been done was not.
    fn judge_given_up(&self, judge: &Judge, client: &Client) -> Vec<Broken> {
        let Client { job, sick, .. } = client;
        let mut broken = Vec::new();
        for (task, why) in judge.given_up(job) {
            let broke = self.jobs.broke.get(&(job.clone(), task)).copied().unwrap_or(0);
            let complains = why.starts_with(&format!("{COMPLAINT} (task {task}, "));
            let is_worn = broke >= MOST_FAILURES || judge.task_wears_out(job, task);
            if !(sick.is_sick(task) && complains || is_worn) {
                broken.push(("job-given-up", format!("{task} of {job} can be done: {why}")));
            }
        }
        let won = judge.winners.get(job).into_iter().flat_map(BTreeMap::keys);
        if let Some(task) = won.copied().find(|task| sick.is_hopeless(*task)) {
            broken.push(("job-output", format!("{task} of {job} cannot be done, and has won")));
        }
        broken
    }
}

/// How often jobs have ended in a way that is not in the records.
#[derive(Debug, Default)]
struct Ends {
    done_without: u64,
    failed_for_tasks: u64,
}

fn names(given_up: &[GivenUp]) -> Vec<TaskId> {
    given_up.iter().map(|one| one.task).collect()
}
