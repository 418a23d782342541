//! Lease holders: each is granted a lease, hangs two keys on it, renews it a number of times, and then
//! lets it run out or revokes it.

use bytes::Bytes;
use fastrand::Rng;
use synod_base::{LeaseId, NodeId, Revision};
use synod_node::{Request, RequestError, RequestToken, Response};
use synod_state::kv::{Command, Event, EventKind, PutRequest};

use super::{Alarm, Run};
use crate::etcd::WireAnswer;
use crate::history::{Answer, LeaseLog, TrueTime};

/// Lease holders are clients, too, from this number on.
const FIRST_CLIENT: u32 = 1_000;

#[derive(Debug)]
pub(super) struct LeaseHolder {
    host: NodeId,
    pending: Option<(RequestToken, usize, Step)>,
    renewals_left: u32,
    /// How many of its keys are there.
    attached: usize,
    attempts: u32,
    pub(super) log: LeaseLog,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Grant,
    Attach,
    Renew,
    Revoke,
    Done,
}

impl Run {
    pub(super) fn add_lease_holders(&mut self) {
        for number in 0..3 {
            let host = self.some_host();
            self.leases.push(LeaseHolder::new(host, number, &mut self.rng));
            self.alarm_in(10_000, Alarm::Lease(number as usize));
        }
    }

    pub(super) fn lease_goes_on(&mut self, number: usize) {
        let now = self.world.now;
        let holder = &mut self.leases[number];
        if holder.pending.is_some() {
            return;
        }
        let (step, request) = holder.next();
        let Some(request) = request else { return };
        if step == Step::Revoke {
            holder.log.revoked = Some(now);
        }
        let host = holder.host;
        if let Some(token) = self.call(host, &request) {
            let index = self.note_call(FIRST_CLIENT + number as u32, host, request);
            self.leases[number].pending = Some((token, index, step));
        } else {
            self.leases[number].host = self.some_host();
            self.alarm_in(200, Alarm::Lease(number));
        }
    }

    pub(super) fn lease_holders_lose(&mut self, host: NodeId) {
        for number in 0..self.leases.len() {
            if self.leases[number].host == host && self.leases[number].pending.take().is_some() {
                self.leases[number].host = self.some_host();
                self.alarm_in(200, Alarm::Lease(number));
            }
        }
    }

    /// The lease holder that waits for this answer.
    pub(super) fn lease_holder_of(&self, host: NodeId, token: RequestToken) -> Option<usize> {
        let waits = |h: &LeaseHolder| h.pending.is_some_and(|(pending, _, _)| pending == token);
        self.leases.iter().position(|holder| holder.host == host && waits(holder))
    }

    pub(super) fn on_lease_answer(&mut self, number: usize, answer: WireAnswer) {
        let holder = &mut self.leases[number];
        let Some((_, index, step)) = holder.pending.take() else { return };
        let (host, request) = (holder.host, self.operations[index].request.clone());
        let Some(answer) = self.read_answer(host, &request, answer) else { return };
        let operation = &mut self.operations[index];
        operation.answer = Some((self.world.now, answer.clone()));
        let next_in = self.leases[number].on_answer(operation.called, step, answer);
        if let Some(millis) = next_in {
            self.alarm_in(millis, Alarm::Lease(number));
        }
    }

    pub(super) fn note_lease_ends(&mut self, revision: Revision, events: &[Event]) {
        for holder in &mut self.leases {
            let ends = |event: &Event| {
                event.kind == EventKind::Delete && holder.log.keys.contains(&event.kv.key)
            };
            if holder.log.ended.is_none() && events.iter().any(ends) {
                holder.log.ended = Some((self.world.now, revision));
            }
        }
    }
}

impl LeaseHolder {
    fn new(host: NodeId, number: i64, rng: &mut Rng) -> Self {
        let log = LeaseLog {
            id: LeaseId(1_000 + number),
            ttl_seconds: rng.i64(2..6),
            renewed: Vec::new(),
            revoked: None,
            ended: None,
            keys: vec![
                Bytes::from(format!("lease{number}/a")),
                Bytes::from(format!("lease{number}/b")),
            ],
        };
        LeaseHolder {
            host,
            pending: None,
            renewals_left: rng.u32(0..20),
            attached: 0,
            attempts: 0,
            log,
        }
    }

    /// What comes next: grant, attach two keys, renew a number of times, then let it run out or revoke.
    fn next(&mut self) -> (Step, Option<Request>) {
        let id = self.log.id;
        if self.log.renewed.is_empty() {
            let command = Command::LeaseGrant { id, ttl_seconds: self.log.ttl_seconds };
            return (Step::Grant, Some(Request::Write(command)));
        }
        if self.attached < self.log.keys.len() {
            let key = self.log.keys[self.attached].clone();
            self.attempts += 1;
            let value = Bytes::from(format!("lease-{}-{}", id.0, self.attempts));
            let put = PutRequest { key, value, lease: id, ..PutRequest::default() };
            return (Step::Attach, Some(Request::Write(Command::Put(put))));
        }
        if self.renewals_left > 0 {
            return (Step::Renew, Some(Request::LeaseKeepAlive { id }));
        }
        if id.0 % 2 == 0 && self.log.revoked.is_none() {
            return (Step::Revoke, Some(Request::Write(Command::LeaseRevoke { id })));
        }
        (Step::Done, None)
    }

    /// Notes an answer; in how many milliseconds at most to go on.
    fn on_answer(
        &mut self,
        called: TrueTime,
        step: Step,
        answer: Result<Answer, RequestError>,
    ) -> Option<u64> {
        let response = answer.map(|answer| answer.response);
        match (step, response) {
            (Step::Grant, Ok(_)) => self.log.renewed.push(called),
            (Step::Attach, Ok(_)) => self.attached += 1,
            (Step::Renew, Ok(Response::LeaseKeepAlive { ttl_seconds })) => {
                self.renewals_left -= 1;
                if ttl_seconds == 0 {
                    self.renewals_left = 0;
                    return None;
                }
                self.log.renewed.push(called);
                return Some(ttl_seconds.unsigned_abs() * 600);
            }
            // An unknown grant, or a lease that ran out meanwhile: this holder is through.
            (Step::Grant | Step::Attach, Err(_)) => return None,
            (_, Err(_)) => return Some(500),
            _ => {}
        }
        Some(50)
    }
}
