//! The attempts of a simulated worker: it claims tasks, says how far they are, and how they have ended.

use std::collections::BTreeSet;
use std::time::Duration;

use synod_base::Revision;
use synod_jobs::cluster::claim::{Asking, Claim};
use synod_jobs::cluster::records::{AttemptFailure, Span, TaskOutput, UnreadableRecord};
use synod_jobs::cluster::worker::{self, Held, Identity, Made, Pace};
use synod_jobs::cluster::{Change, JobId, JobView, TaskId, TaskKind, View, WorkerId};

use super::{Begun, SLOTS, Worker};
use crate::faults::MILLIS;
use crate::history::TrueTime;

/// Between two reports of how far an attempt is.
const TELL: u64 = 700 * MILLIS;

/// An attempt under way.
#[derive(Debug)]
pub(in super::super) struct Running {
    pub number: u64,
    pub held: Held,
    /// For a reduce: where each map's output is.
    pub maps: Vec<(TaskId, u32, WorkerId)>,
    pub cancelled: bool,
    moves: u64,
    told: TrueTime,
}

/// A task that it tries to claim, and where the outputs of the maps are by the records as they are then: the
/// view goes on meanwhile, a real worker's does not.
#[derive(Debug)]
pub(in super::super) struct Wanted {
    pub claim: Claim,
    maps: Vec<(TaskId, u32, WorkerId)>,
}

/// How an attempt ended.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Outcome {
    Made(TaskOutput),
    Failed { message: &'static str, permanent: bool },
    Unreadable(TaskId, UnreadableRecord),
    GivenUp,
}

impl Worker {
    /// How the next attempt that has ended did so.
    pub(super) fn report_ended(&mut self, now: TrueTime) -> Option<Change> {
        let (view, member) = (self.view.as_ref()?, self.member.as_ref()?);
        let me = &member.identity;
        for _ in 0..self.ended.len() {
            let (held, outcome) = self.ended.front()?;
            if view.revision() < held.revision {
                // Whether its claim stands cannot be told yet.
                self.ended.rotate_left(1);
                continue;
            }
            let job = view.jobs.get(&held.job);
            let task = job.and_then(|job| job.tasks.get(&held.task));
            if let Some(task) = task
                && worker::still_held(job, held)
            {
                let ended_ms = now / MILLIS;
                return Some(match outcome {
                    Outcome::Made(output) => {
                        let made = Made { output: output.clone(), ended_ms, work: 100 };
                        worker::done(held, me, task, made)
                    }
                    Outcome::Failed { message, permanent } => {
                        worker::failed(held, task, failure(held, me, (message, *permanent)), false)
                    }
                    Outcome::Unreadable(map, report) => {
                        worker::unreadable(held, task, *map, report)
                    }
                    Outcome::GivenUp => worker::given_back(held, task),
                });
            }
            let won = task
                .and_then(|task| task.record.winner())
                .is_some_and(|done| done.worker == self.id && done.attempt == held.attempt());
            if !won {
                self.discards.push((held.job.clone(), held.task, held.attempt()));
            }
            self.ended.pop_front();
        }
        None
    }

    pub(super) fn mind_running(&mut self, now: TrueTime) -> Option<Change> {
        let (view, member) = (self.view.as_ref()?, self.member.as_ref()?);
        let me = member.identity.clone();
        if let Some(change) = worker::stray_claim(view, &me, &self.busy()) {
            return Some(change);
        }
        let view = self.view.as_ref()?;
        let mut tell = None;
        for running in self.running.values_mut() {
            let job = view.jobs.get(&running.held.job);
            // A claim that the view has not come to is not gone.
            let is_gone =
                view.revision() >= running.held.revision && !worker::still_held(job, &running.held);
            if is_gone || job.is_some_and(|job| job.cancel) {
                running.cancelled = true;
            } else if now >= running.told + TELL {
                running.told = now;
                running.moves += 1;
                let work_done = (running.moves * 10).min(90);
                let pace =
                    Pace { activity: running.moves, work_done, work_total: 100, ..Pace::default() };
                tell = Some(worker::refreshed(&running.held, &me, pace));
            }
        }
        tell
    }

    fn busy(&self) -> BTreeSet<(JobId, TaskId)> {
        let ended = self.ended.iter().map(|(held, _)| (held.job.clone(), held.task));
        self.running.keys().cloned().chain(ended).collect()
    }

    /// Whether the view lacks a claim of its own.
    fn lacks_a_claim(&self) -> bool {
        let running = self.running.values().map(|running| &running.held);
        let mut held = running.chain(self.ended.iter().map(|(held, _)| held));
        let seen = self.view.as_ref().map_or(Revision(0), View::revision);
        held.any(|held| seen < held.revision)
    }

    pub(super) fn claim(&mut self, now: TrueTime) -> Option<Wanted> {
        if self.running.len() >= SLOTS || self.lacks_a_claim() {
            return None;
        }
        let busy = self.busy();
        let (view, member) = (self.view.as_ref()?, self.member.as_ref()?);
        let (me, mine) = (&member.identity, &member.record);
        let (unix_ms, now) = (now / MILLIS, Duration::from_nanos(now));
        let running = self.running.len() as u32;
        let ask = Asking { me, mine, busy: &busy, running, now, unix_ms };
        let claim = self.chooser.next(view, ask)?;
        let maps = match claim.task.kind {
            TaskKind::Map => Vec::new(),
            TaskKind::Reduce => outputs_of(view.jobs.get(&claim.job)?)?,
        };
        Some(Wanted { claim, maps })
    }

    /// A claim has taken effect: the attempt begins.
    pub(super) fn start(&mut self, wanted: Wanted, revision: Revision, now: TrueTime) {
        let Wanted { claim: Claim { job, task, seat, record, started_ms, .. }, maps } = wanted;
        let held = Held { job: job.clone(), task, seat, record, revision, started_ms };
        let number = self.number();
        let running = Running { number, held, maps, cancelled: false, moves: 0, told: now };
        self.running.insert((job, task), running);
        self.begun.push(Begun::Attempt(number));
    }

    /// An attempt has come to its end.
    pub(in super::super) fn on_attempt(&mut self, key: &(JobId, TaskId), outcome: Outcome) {
        if let Some(running) = self.running.remove(key) {
            self.ended.push_back((running.held, outcome));
        }
    }
}

fn failure(held: &Held, me: &Identity, (message, permanent): (&str, bool)) -> AttemptFailure {
    AttemptFailure {
        attempt: held.attempt(),
        worker: me.id.clone(),
        node: me.node.clone(),
        span: Span::default(),
        message: message.to_owned(),
        bad_record: None,
        permanent,
        whole_job: false,
        others: Vec::new(),
    }
}

fn outputs_of(job: &JobView) -> Option<Vec<(TaskId, u32, WorkerId)>> {
    let outputs = job.map_outputs()?.into_iter();
    Some(outputs.map(|(map, done)| (map, done.attempt, done.worker.clone())).collect())
}
