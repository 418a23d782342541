//! Whoever submits jobs and cancels some. What must have come of each at the end is in `ends.rs`.

use synod_base::{NodeId, Revision};
use synod_jobs::JobSpec;
use synod_jobs::cluster::names::JobKey;
use synod_jobs::cluster::records::{Totals, encode};
use synod_jobs::cluster::{Change, JobId, JobRecord, JobState};
use synod_node::{Request, RequestToken};
use synod_state::kv::Command;

use super::sick::Sick;
use super::{JobAlarm, PATIENCE};
use crate::etcd::WireAnswer;
use crate::faults::MILLIS;
use crate::run::{Alarm, HEALING, Run};

/// Whoever submits a job, and perhaps cancels it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) job: JobId,
    pub(super) spec: JobSpec,
    /// Its tasks that nobody can do.
    pub(super) sick: Sick,
    pub(super) host: NodeId,
    pub(super) calling: Option<RequestToken>,
    /// Whether its job is in the records.
    pub(super) submitted: bool,
    pub(super) cancels: bool,
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
            let is_sick = !last && self.rng.bool();
            let sick =
                if is_sick { Sick::choose(&mut self.rng, &mut spec) } else { Sick::default() };
            let (host, cancels) = (self.some_host(), !last && self.rng.u8(..4) == 0);
            let (calling, submitted) = (None, false);
            let client = Client { job, spec, sick, host, calling, submitted, cancels };
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
        reduce_attempts: None,
        submitted_ms: 0,
        started_ms: 0,
        ended_ms: 0,
    };
    encode(&record).expect("its paths are text")
}
