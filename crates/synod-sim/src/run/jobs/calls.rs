//! What simulated workers ask and are told: one call on their main line, one that keeps the lease, and the
//! stream of changes.

use bytes::Bytes;
use synod_base::NodeId;
use synod_jobs::cluster::names::PREFIX;
use synod_node::{Request, RequestError, RequestToken, Response, StreamId, WatchSpec};
use synod_state::kv::{CommandResult, KeyRange};

use super::worker::{Calling, Effect, LEASE_SECONDS, Purpose, Worker};
use super::{Heard, JobAlarm, PATIENCE, Reminder, TICK};
use crate::etcd::{WireAnswer, client};
use crate::history::{Answer, Violation};
use crate::run::{Alarm, HEALING, Run};

impl Run {
    pub(super) fn worker_calls(&mut self, place: usize, purpose: Purpose, request: Request) {
        let (host, called) = (self.jobs.workers[place].host, self.world.now);
        let Some(token) = self.call(host, &request) else {
            let host = self.some_host();
            let worker = &mut self.jobs.workers[place];
            // The stream came from that host, too.
            worker.unfollow();
            worker.host = host;
            if matches!(purpose, Purpose::KeepAlive) {
                self.remind_in(place, TICK, Reminder::KeepAlive);
            } else {
                // Asked again at the next tick, if it still wants to.
                worker.on_changed(purpose, Effect::NoOrUnknown, called);
            }
            return;
        };
        let calling = Calling { host, token, request, purpose, called };
        let worker = &mut self.jobs.workers[place];
        let line = match calling.purpose {
            Purpose::KeepAlive => &mut worker.session,
            _ => &mut worker.service,
        };
        *line = Some(calling);
        let (life, reminder) = (worker.life, Reminder::GiveUp(token));
        let alarm = JobAlarm::Worker(place, life, reminder);
        self.alarm_at(called + PATIENCE, Alarm::Jobs(alarm));
    }

    pub(super) fn keep_alive(&mut self, place: usize) {
        let worker = &self.jobs.workers[place];
        if worker.session.is_some() || self.world.now >= self.stop_at {
            return;
        }
        match worker.lease() {
            Some(id) => {
                let request = Request::LeaseKeepAlive { id };
                self.worker_calls(place, Purpose::KeepAlive, request);
            }
            None => self.remind_in(place, TICK, Reminder::KeepAlive),
        }
    }

    /// Nobody knows what became of the call on the main line.
    pub(super) fn worker_call_fails(&mut self, place: usize) {
        let now = self.world.now;
        let host = self.some_host();
        let worker = &mut self.jobs.workers[place];
        if let Some(calling) = worker.service.take() {
            worker.on_changed(calling.purpose, Effect::NoOrUnknown, now);
        }
        worker.unfollow();
        worker.host = host;
    }

    pub(super) fn worker_loses_host(&mut self, place: usize, host: NodeId) {
        if self.jobs.workers[place].host != host {
            return;
        }
        if self.jobs.workers[place].session.take().is_some() {
            self.remind_in(place, TICK, Reminder::KeepAlive);
        }
        self.worker_call_fails(place);
    }

    pub(super) fn on_worker_answer(
        &mut self,
        place: usize,
        token: RequestToken,
        answer: WireAnswer,
    ) {
        let worker = &mut self.jobs.workers[place];
        let is_this = |call: &mut Calling| call.token == token;
        let calling = worker.session.take_if(is_this).or_else(|| worker.service.take_if(is_this));
        let Some(calling) = calling else { return };
        let Some(answer) = self.read_answer(calling.host, &calling.request, answer) else { return };
        if answer.is_ok() && self.world.now > self.heal_at + HEALING / 2 {
            self.answered_after_healing += 1;
        }
        let Calling { purpose, called, request, .. } = calling;
        match purpose {
            Purpose::KeepAlive => {
                let mut again = TICK;
                if let Request::LeaseKeepAlive { id } = request
                    && let Ok(Answer { response: Response::LeaseKeepAlive { ttl_seconds }, .. }) =
                        answer
                {
                    self.jobs.workers[place].on_keep_alive(id, ttl_seconds, called);
                    again = LEASE_SECONDS.unsigned_abs() * 300;
                }
                self.remind_in(place, again, Reminder::KeepAlive);
            }
            Purpose::Follow => self.on_followed(place, answer),
            Purpose::Grant(lease) => {
                let worker = &mut self.jobs.workers[place];
                match answer {
                    Ok(_) => worker.on_lease(lease, called),
                    Err(_) => worker.on_changed(purpose, Effect::NoOrUnknown, called),
                }
            }
            purpose => {
                let effect = effect_of(&answer);
                self.jobs.workers[place].on_changed(purpose, effect, self.world.now);
                self.schedule_begun(place);
            }
        }
    }

    /// The records have come, or not: a stream follows them from there.
    fn on_followed(&mut self, place: usize, answer: Result<Answer, RequestError>) {
        let Ok(Answer { response: Response::Range(range), revision }) = answer else {
            let (host, now) = (self.some_host(), self.world.now);
            let worker = &mut self.jobs.workers[place];
            worker.host = host;
            return worker.on_changed(Purpose::Follow, Effect::NoOrUnknown, now);
        };
        self.jobs.workers[place].on_records(&range.kvs, revision);
        self.next_stream += 1;
        let stream = StreamId(self.next_stream);
        let worker = &mut self.jobs.workers[place];
        let spec = WatchSpec {
            range: KeyRange::prefix(PREFIX),
            start_revision: worker.follows_from(),
            ..WatchSpec::default()
        };
        worker.stream = Some(stream);
        let host = worker.host;
        if !self.world.watch(host, stream, client::watch_create(&spec)) {
            self.worker_loses_host(place, host);
        }
    }

    /// A message of a stream; false if no worker listens to it.
    pub(in crate::run) fn on_job_watch(
        &mut self,
        host: NodeId,
        stream: StreamId,
        message: &Bytes,
        bytes: usize,
    ) -> bool {
        let listens = |w: &Worker| w.alive && w.host == host && w.stream == Some(stream);
        let Some(place) = self.jobs.workers.iter().position(listens) else { return false };
        self.world.drained(host, stream, bytes);
        match client::watch_message(host, message.clone()) {
            Ok((_, kind)) => {
                self.worker_hears(place, Heard::Watch(stream, kind));
            }
            Err(client::Unreadable(what)) => {
                self.world.violations.push(Violation { promise: "etcd-api", what });
            }
        }
        true
    }
}

fn effect_of(answer: &Result<Answer, RequestError>) -> Effect {
    match answer {
        Ok(Answer { revision, response: Response::Write(CommandResult::Txn(txn)) })
            if txn.succeeded =>
        {
            Effect::Yes(*revision)
        }
        _ => Effect::NoOrUnknown,
    }
}
