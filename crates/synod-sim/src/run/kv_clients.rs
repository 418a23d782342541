//! Clients of keys: each has one call under way, notes what it meant and what it was told, and goes to
//! another host when its host fails it.

use bytes::Bytes;
use synod_base::{NodeId, Revision};
use synod_node::{Request, RequestError, RequestToken, Response};
use synod_state::kv::{CommandResult, RangeResult, TxnOpResult};

use super::{Alarm, HEALING, Run};
use crate::etcd::{WireAnswer, client};
use crate::faults::MILLIS;
use crate::history::{Answer, Operation, Violation};
use crate::workload::Workload;

/// A client that got no answer for this long gives up: unknown.
const PATIENCE: u64 = 8_000 * MILLIS;

#[derive(Debug)]
pub(super) struct KvClient {
    host: NodeId,
    workload: Workload,
    pending: Option<(RequestToken, usize)>,
}

impl Run {
    pub(super) fn add_clients(&mut self) {
        let compacts = self.rng.bool();
        for number in 0..self.rng.u32(3..8) {
            let workload = Workload::new(self.rng.fork(), number, compacts);
            let host = self.some_host();
            self.clients.push(KvClient { host, workload, pending: None });
            self.alarm_in(200, Alarm::Client(number as usize));
        }
    }

    pub(super) fn client_goes_on(&mut self, number: usize) {
        if self.world.now >= self.stop_at || self.clients[number].pending.is_some() {
            return;
        }
        let newest = self.applied.events.last_key_value().map_or(Revision(1), |(r, _)| *r);
        let request = self.clients[number].workload.next(newest);
        let host = self.clients[number].host;
        let Some(token) = self.call(host, &request) else {
            self.clients[number].host = self.some_host();
            return self.alarm_in(100, Alarm::Client(number));
        };
        let index = self.note_call(number as u32, host, request);
        self.clients[number].pending = Some((token, index));
        self.alarm_at(self.world.now + PATIENCE, Alarm::GiveUp(number, token));
    }

    pub(super) fn client_gives_up(&mut self, number: usize, token: RequestToken) {
        if self.clients[number].pending.is_some_and(|(pending, _)| pending == token) {
            self.clients[number].pending = None;
            self.clients[number].host = self.some_host();
            self.client_goes_on(number);
        }
    }

    pub(super) fn clients_lose(&mut self, host: NodeId) {
        for number in 0..self.clients.len() {
            if self.clients[number].host == host && self.clients[number].pending.take().is_some() {
                self.clients[number].host = self.some_host();
                self.alarm_in(100, Alarm::Client(number));
            }
        }
    }

    /// Sends a request to a host; `None` when nobody is there.
    pub(super) fn call(&mut self, host: NodeId, request: &Request) -> Option<RequestToken> {
        let token = RequestToken(self.number());
        let call = client::call(request).expect("the simulated clients ask only what they can");
        self.world.call(host, token, call).then_some(token)
    }

    /// Reads an answer; one that cannot be read is a broken promise.
    pub(super) fn read_answer(
        &mut self,
        host: NodeId,
        request: &Request,
        answer: WireAnswer,
    ) -> Option<Result<Answer, RequestError>> {
        match client::answer(host, request, answer) {
            Ok(answer) => Some(answer),
            Err(client::Unreadable(why)) => {
                let what = format!("{host} to {request:?}: {why}");
                self.world.violations.push(Violation { promise: "etcd-api", what });
                None
            }
        }
    }

    pub(super) fn note_call(&mut self, client: u32, node: NodeId, request: Request) -> usize {
        let called = self.world.now;
        self.operations.push(Operation { client, node, called, request, answer: None });
        self.operations.len() - 1
    }

    /// The client that waits for this answer.
    pub(super) fn client_of(&self, host: NodeId, token: RequestToken) -> Option<usize> {
        let waits = |c: &KvClient| c.pending.is_some_and(|(pending, _)| pending == token);
        self.clients.iter().position(|client| client.host == host && waits(client))
    }

    pub(super) fn on_client_answer(&mut self, number: usize, answer: WireAnswer) {
        let Some((_, index)) = self.clients[number].pending.take() else { return };
        let (host, request) = (self.clients[number].host, self.operations[index].request.clone());
        let Some(answer) = self.read_answer(host, &request, answer) else { return };
        let now = self.world.now;
        let failed = answer.is_err();
        if !failed && now > self.heal_at + HEALING / 2 {
            self.answered_after_healing += 1;
        }
        if let Ok(answer) = &answer {
            learn(&mut self.clients[number].workload, answer);
        }
        self.operations[index].answer = Some((now, answer));
        if failed && self.rng.bool() {
            self.clients[number].host = self.some_host();
        }
        self.alarm_in(if failed { 300 } else { 40 }, Alarm::Client(number));
    }
}

/// A client remembers what it saw, for its next guarded write.
fn learn(workload: &mut Workload, answer: &Answer) {
    let mut see = |range: &RangeResult| {
        for kv in &range.kvs {
            workload.saw(Bytes::clone(&kv.key), kv.mod_revision);
        }
    };
    match &answer.response {
        Response::Range(range) => see(range),
        Response::Write(CommandResult::Txn(txn)) | Response::Txn(txn) => {
            for result in &txn.responses {
                if let TxnOpResult::Range(range) = result {
                    see(range);
                }
            }
        }
        _ => {}
    }
}
