//! Jobs on a cluster: workers that die and stand still while the nodes, the network, disks and clocks do what
//! the faults have them do, clients that submit and cancel. What is checked: each job ends, and as it was
//! asked to; each part is published once, of the attempt that won; no task has two winners, no job changes
//! after its end, no deposed coordinator writes. Some jobs have tasks that nobody can do (`sick.rs`): they go
//! on without as many as they may, and no more, and the output says without which.
//!
//! Who decides is real (`synod-jobs/src/cluster/`); what takes time, and files, are made up here. Real
//! attempts, threads and files are tried in the tests of `synod-server` and `synod`.

mod calls;
mod clients;
mod ends;
mod files;
mod judge;
mod sick;
mod work;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use synod_base::NodeId;
use synod_jobs::cluster::{JobId, TaskId, Work};
use synod_jobs::input::InputFile;
use synod_jobs::plan::Split;
use synod_jobs::{InputFormat, JobPlan, JobSpec};
use synod_node::{RequestToken, StreamId, WatchKind};

use super::{Alarm, Run};
use crate::etcd::WireAnswer;
use crate::faults::MILLIS;

use clients::Client;
use files::Files;
use worker::{Calling, Worker};

/// A call without an answer for this long is given up: unknown.
const PATIENCE: u64 = 6_000 * MILLIS;
/// Deadlines are looked at so often.
const TICK: u64 = 250;

/// Everything about jobs in one run.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    workers: Vec<Worker>,
    files: Files,
    clients: Vec<Client>,
    /// Attempts of each task that have failed, those of sick tasks apart.
    broke: BTreeMap<(JobId, TaskId), u32>,
    deaths: u64,
    naps: u64,
    /// Jobs whose folder somebody has made who died before the records knew of it.
    left: BTreeSet<JobId>,
    behind: u64,
    /// Workers that stand still, and what has happened to them meanwhile.
    asleep: BTreeMap<usize, Missed>,
}

/// What a worker is reminded of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reminder {
    Tick,
    KeepAlive,
    GiveUp(RequestToken),
    Attempt(u64),
    Work(u64),
}

/// What happens to the jobs.
#[derive(Clone, Copy, Debug)]
pub(super) enum JobAlarm {
    /// Of this life of a worker.
    Worker(usize, u64, Reminder),
    /// A worker comes to life.
    Start(usize),
    /// Somebody dies, or stands still.
    Strike,
    /// A worker goes on.
    Wake(usize),
    Client(usize),
    ClientGivesUp(usize, RequestToken),
}

/// What a worker that stands still has not heard.
#[derive(Debug)]
struct Missed {
    /// It does all else, by records as they were.
    changes_only: bool,
    heard: Vec<Heard>,
}

/// What a worker learns.
#[derive(Debug)]
enum Heard {
    Reminder(Reminder),
    Answer(RequestToken, WireAnswer),
    Watch(StreamId, WatchKind),
    Lost(NodeId),
}

impl Run {
    pub(super) fn add_jobs(&mut self) {
        for place in 0..self.rng.usize(2..5) {
            let host = self.some_host();
            self.jobs.workers.push(Worker::new(place, 0, host));
            self.jobs.workers[place].alive = false;
            self.alarm_in(2_000, Alarm::Jobs(JobAlarm::Start(place)));
        }
        self.add_job_clients();
        self.alarm_in(4_000, Alarm::Jobs(JobAlarm::Strike));
    }

    pub(super) fn on_job_alarm(&mut self, alarm: JobAlarm) {
        match alarm {
            JobAlarm::Worker(place, life, reminder) => {
                if self.jobs.workers[place].life == life {
                    self.worker_hears(place, Heard::Reminder(reminder));
                }
            }
            JobAlarm::Start(place) => self.start_worker(place),
            JobAlarm::Strike => self.strike_worker(),
            JobAlarm::Wake(place) => {
                let missed = self.jobs.asleep.remove(&place);
                for heard in missed.into_iter().flat_map(|missed| missed.heard) {
                    self.worker_hears(place, heard);
                }
            }
            JobAlarm::Client(number) => self.job_client_goes_on(number),
            JobAlarm::ClientGivesUp(number, token) => {
                if self.jobs.clients[number].calling == Some(token) {
                    self.job_client_tries_again(number);
                }
            }
        }
    }

    fn start_worker(&mut self, place: usize) {
        if self.jobs.workers[place].alive || self.world.now >= self.stop_at {
            return;
        }
        let (life, host) = (self.jobs.workers[place].life + 1, self.some_host());
        self.jobs.workers[place] = Worker::new(place, life, host);
        self.remind_in(place, TICK, Reminder::Tick);
        self.remind_in(place, TICK, Reminder::KeepAlive);
        self.worker_goes_on(place);
    }

    /// A worker dies, or stands still for a while that may be longer than its lease, or hears of no change
    /// for a while.
    fn strike_worker(&mut self) {
        if self.world.now >= self.heal_at {
            return;
        }
        let place = self.rng.usize(..self.jobs.workers.len());
        if self.jobs.workers[place].alive && !self.jobs.asleep.contains_key(&place) {
            let changes_only = self.rng.u8(..3) == 0;
            if !changes_only && self.rng.bool() {
                self.kill_worker(place);
            } else {
                let count = if changes_only { &mut self.jobs.behind } else { &mut self.jobs.naps };
                *count += 1;
                self.jobs.asleep.insert(place, Missed { changes_only, heard: Vec::new() });
                self.alarm_in(9_000, Alarm::Jobs(JobAlarm::Wake(place)));
            }
        }
        self.alarm_in(6_000, Alarm::Jobs(JobAlarm::Strike));
    }

    fn kill_worker(&mut self, place: usize) {
        self.jobs.deaths += 1;
        let worker = &mut self.jobs.workers[place];
        worker.alive = false;
        self.jobs.left.append(&mut worker.made);
        let id = worker.id.clone();
        let working = std::mem::take(&mut worker.working);
        for (job, working) in working.into_iter().filter(|(_, w)| w.work == Work::Commit) {
            // It dies between two renames.
            let files = working.winners.outputs.len();
            let most = self.rng.usize(..=files).min(files.saturating_sub(1));
            if !working.cancel
                && files > 0
                && let Ok(found) = self.jobs.files.publish(&job, &working.winners, most)
            {
                self.world.violations.extend(found);
            }
        }
        self.jobs.files.lose_outputs(&id);
        self.alarm_in(3_000, Alarm::Jobs(JobAlarm::Start(place)));
    }

    fn remind_in(&mut self, place: usize, most_millis: u64, reminder: Reminder) {
        let life = self.jobs.workers[place].life;
        self.alarm_in(most_millis, Alarm::Jobs(JobAlarm::Worker(place, life, reminder)));
    }

    fn worker_hears(&mut self, place: usize, heard: Heard) {
        let is_change = matches!(heard, Heard::Watch(..));
        let missed = self.jobs.asleep.get_mut(&place);
        if let Some(missed) = missed.filter(|missed| is_change || !missed.changes_only) {
            return missed.heard.push(heard);
        }
        if !self.jobs.workers[place].alive {
            return;
        }
        match heard {
            Heard::Reminder(reminder) => self.on_reminder(place, reminder),
            Heard::Answer(token, answer) => self.on_worker_answer(place, token, answer),
            Heard::Watch(stream, kind) => {
                let worker = &mut self.jobs.workers[place];
                if worker.stream == Some(stream) {
                    match kind {
                        WatchKind::Events { events, .. } => {
                            events.iter().for_each(|event| worker.on_event(&event.event));
                        }
                        WatchKind::Canceled { .. } => worker.unfollow(),
                        WatchKind::Progress | WatchKind::Created => {}
                    }
                }
            }
            Heard::Lost(host) => self.worker_loses_host(place, host),
        }
        self.worker_goes_on(place);
    }

    fn on_reminder(&mut self, place: usize, reminder: Reminder) {
        match reminder {
            Reminder::Tick => {
                self.jobs.workers[place].on_tick();
                if self.world.now < self.stop_at {
                    self.remind_in(place, TICK, Reminder::Tick);
                }
            }
            Reminder::KeepAlive => self.keep_alive(place),
            Reminder::GiveUp(token) => {
                let worker = &mut self.jobs.workers[place];
                let waits =
                    |call: &Option<Calling>| call.as_ref().is_some_and(|c| c.token == token);
                if waits(&worker.session) {
                    worker.session = None;
                    self.remind_in(place, TICK, Reminder::KeepAlive);
                } else if waits(&worker.service) {
                    self.worker_call_fails(place);
                }
            }
            Reminder::Attempt(number) => self.attempt_ends(place, number),
            Reminder::Work(number) => self.work_ends(place, number),
        }
    }

    /// Lets a worker ask what it wants to ask next.
    fn worker_goes_on(&mut self, place: usize) {
        let (now, worker) = (self.world.now, &mut self.jobs.workers[place]);
        if !worker.alive || worker.service.is_some() || now >= self.stop_at {
            return;
        }
        let next = worker.next(now, &mut self.rng);
        let id = worker.id.clone();
        for (job, task, attempt) in std::mem::take(&mut worker.discards) {
            self.jobs.files.discard(&id, &job, (task, attempt));
        }
        for job in std::mem::take(&mut worker.removals) {
            self.jobs.files.clean(&job);
        }
        self.schedule_begun(place);
        if let Some((purpose, request)) = next {
            self.worker_calls(place, purpose, request);
        }
    }

    /// An answer for a worker, or for a client of jobs.
    pub(super) fn on_job_answer(&mut self, token: RequestToken, answer: WireAnswer) {
        let waits = |call: &Option<Calling>| call.as_ref().is_some_and(|call| call.token == token);
        let is_its = |w: &Worker| waits(&w.service) || waits(&w.session);
        if let Some(place) = self.jobs.workers.iter().position(is_its) {
            return self.worker_hears(place, Heard::Answer(token, answer));
        }
        let asks = |client: &Client| client.calling == Some(token);
        if let Some(number) = self.jobs.clients.iter().position(asks) {
            self.on_job_client_answer(number, answer);
        }
    }

    pub(super) fn job_workers_lose(&mut self, host: NodeId) {
        for place in 0..self.jobs.workers.len() {
            self.worker_hears(place, Heard::Lost(host));
        }
        for number in 0..self.jobs.clients.len() {
            let client = &self.jobs.clients[number];
            if client.host == host && client.calling.is_some() {
                self.job_client_tries_again(number);
            }
        }
    }
}

/// A map for each input.
fn plan_of(spec: &JobSpec) -> JobPlan {
    let input = |path: &PathBuf| InputFile {
        path: path.clone(),
        bytes: 100,
        modified: (0, 0),
        codec: None,
        version: None,
        whole: false,
    };
    JobPlan {
        inputs: spec.inputs.iter().map(input).collect(),
        format: InputFormat::default(),
        splits: (0..spec.inputs.len()).map(|input| Split { input, start: 0, end: 100 }).collect(),
        reduces: spec.reduces.unwrap_or(1),
        cuts: Vec::new(),
        max_record_bytes: 1,
        table_seed: 0,
    }
}
