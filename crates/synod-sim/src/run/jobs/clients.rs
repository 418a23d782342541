//! Whoever submits jobs and cancels some, and what must have come of each at the end.

use std::collections::BTreeMap;

use synod_base::{NodeId, Revision};
use synod_jobs::JobSpec;
use synod_jobs::cluster::names::JobKey;
use synod_jobs::cluster::records::{Totals, encode};
use synod_jobs::cluster::{Change, JobId, JobRecord, JobState};
use synod_node::{Request, RequestToken};
use synod_state::kv::Command;

use super::files::Folder;
use super::judge::Judge;
use super::{JobAlarm, PATIENCE};
use crate::etcd::WireAnswer;
use crate::faults::MILLIS;
use crate::history::Violation;
use crate::run::{Alarm, HEALING, Run};

/// Whoever submits a job, and perhaps cancels it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) job: JobId,
    pub(super) spec: JobSpec,
    pub(super) host: NodeId,
    pub(super) calling: Option<RequestToken>,
    /// Whether its job is in the records.
    submitted: bool,
    cancels: bool,
}

impl Run {
    pub(super) fn add_job_clients(&mut self) {
        let jobs = self.rng.usize(2..5);
        for number in 0..jobs {
            let maps = self.rng.usize(1..30);
            let inputs: Vec<String> = (0..maps).map(|map| format!("/in/{map}")).collect();
            let mut spec = JobSpec::new("wordcount", inputs, format!("/out/{number}"));
            spec.reduces = Some(self.rng.u32(1..8));
            let job: JobId = format!("job-{number}").parse().expect("a name");
            // The last one finds everything healed, and comes to a good end.
            let last = number + 1 == jobs;
            let first = self.jobs.clients.last().map(|first| first.job.clone());
            if !last && self.rng.u8(..4) == 0 {
                spec.after.extend(first);
            }
            let (host, cancels) = (self.some_host(), !last && self.rng.u8(..4) == 0);
            let client = Client { job, spec, host, calling: None, submitted: false, cancels };
            self.jobs.clients.push(client);
            let healed = self.heal_at + HEALING / 2;
            let at = if last { healed } else { self.rng.u64(2_000 * MILLIS..self.heal_at) };
            self.alarm_at(at, Alarm::Jobs(JobAlarm::Client(number)));
        }
    }

    pub(super) fn job_client_goes_on(&mut self, number: usize) {
        let client = &self.jobs.clients[number];
        if client.calling.is_some() || self.world.now >= self.stop_at {
            return;
        }
        if number > 0 && !self.jobs.clients[number - 1].submitted {
            // A job may only come after one that is known.
            return self.job_client_tries_again(number);
        }
        let key = client.job.key(if client.submitted { JobKey::Cancel } else { JobKey::Record });
        let value = if client.submitted { Vec::new() } else { first_record(&client.spec) };
        // Asked again when its outcome is not known: then it may be there.
        let change = Change::new().if_created_at(key.clone(), Revision(0)).put(key, value);
        let request = Request::Write(Command::Txn(change.into_txn()));
        let host = client.host;
        match self.call(host, &request) {
            Some(token) => {
                self.jobs.clients[number].calling = Some(token);
                let alarm = JobAlarm::ClientGivesUp(number, token);
                self.alarm_at(self.world.now + PATIENCE, Alarm::Jobs(alarm));
            }
            None => self.job_client_tries_again(number),
        }
    }

    pub(super) fn job_client_tries_again(&mut self, number: usize) {
        let host = self.some_host();
        let client = &mut self.jobs.clients[number];
        (client.calling, client.host) = (None, host);
        self.alarm_in(200, Alarm::Jobs(JobAlarm::Client(number)));
    }

    pub(super) fn on_job_client_answer(&mut self, number: usize, answer: WireAnswer) {
        let client = &mut self.jobs.clients[number];
        client.calling = None;
        if answer.is_err() {
            return self.job_client_tries_again(number);
        }
        // Whether it was this call or an earlier one that has put it.
        let is_new = !std::mem::replace(&mut client.submitted, true);
        if is_new && client.cancels {
            self.alarm_in(4_000, Alarm::Jobs(JobAlarm::Client(number)));
        }
    }

    /// What the records and the files have come to.
    pub(in crate::run) fn judge_jobs(&mut self) -> BTreeMap<&'static str, u64> {
        let judge = Judge::of(&self.applied);
        let mut broken = judge.violations.clone();
        let mut report = |promise, what| broken.push(Violation { promise, what });
        for client in self.jobs.clients.iter().filter(|client| client.submitted) {
            let job = &client.job;
            let folder = self.jobs.files.folders.get(job);
            match judge.state(job) {
                Some(JobState::Done(_)) => {
                    let won = judge.winners.get(job);
                    let there = folder.filter(|folder| folder.success).map(|f| &f.published);
                    if there.is_none() || there != won {
                        report("job-output", format!("{job}: won {won:?}, there is {folder:?}"));
                    }
                }
                Some(JobState::Cancelled) if client.cancels => {
                    // One that has slept through the end while it planned makes the folder once more: if it
                    // dies before it learns of the end, the folder stays, without anything to read.
                    let is_left = self.jobs.left.contains(job);
                    let shown = |folder: &&Folder| {
                        !is_left || folder.success || !folder.published.is_empty()
                    };
                    if let Some(folder) = folder.filter(shown) {
                        report("job-output", format!("{job} was cancelled, there is {folder:?}"));
                    }
                }
                // It is not the job's fault, but there is an end to trying.
                Some(JobState::Failed(why))
                    if why.contains("was begun") && judge.wears_out(job) => {}
                Some(JobState::Failed(why)) if !client.spec.after.is_empty() => {
                    // The job before it was cancelled, or lost its workers too often.
                    let wore_out = client.spec.after.iter().any(|before| judge.wears_out(before));
                    if !why.contains("was cancelled") && !wore_out {
                        report("job-end", format!("{job} failed: {why}"));
                    }
                }
                other => report("job-end", format!("{job} has not ended as it should: {other:?}")),
            }
        }
        self.world.violations.extend(broken);
        BTreeMap::from([
            ("jobs_done", judge.counts.done),
            ("jobs_cancelled", judge.counts.cancelled),
            ("outputs_lost", judge.counts.lost),
            ("second_attempts", judge.counts.backups),
            ("coordinators_replaced", judge.counts.coordinators),
            ("workers_killed", self.jobs.deaths),
            ("workers_asleep", self.jobs.naps),
        ])
    }
}

fn first_record(spec: &JobSpec) -> Vec<u8> {
    let record = JobRecord {
        name: spec.job.clone(),
        spec: spec.clone(),
        state: JobState::Submitted,
        epoch: 0,
        build: String::new(),
        totals: Totals::default(),
        runs_commands: false,
        attempts: 4,
        submitted_ms: 0,
        started_ms: 0,
        ended_ms: 0,
    };
    encode(&record).expect("its paths are text")
}
