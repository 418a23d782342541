//! Hand-made histories for the checkers' tests: a naive store that writes down everything it is
//! asked.

use bytes::Bytes;
use synod_base::{LeaseId, NodeId, Revision};
use synod_node::{Request, RequestError, Response};
use synod_state::kv::{
    Command, Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyRange, PutRequest,
    RangeRequest, TxnOp, TxnRequest,
};

use super::model::Model;
use crate::history::{Answer, Applied, Operation, TrueTime, Violation};

/// A history under construction. Each request of [`Story::ask`] takes effect at once, and takes ten
/// nanoseconds, one after the other.
#[derive(Clone, Default)]
pub struct Story {
    pub operations: Vec<Operation>,
    pub applied: Applied,
    pub now: TrueTime,
}

impl Story {
    /// Asks, gets an answer, notes both.
    pub fn ask(&mut self, client: u32, request: Request) -> Revision {
        let (revision, response) = self.happen(&request);
        self.now += 10;
        let answer = Answer { revision, response };
        let called = self.now - 9;
        let answer = Some((self.now, Ok(answer)));
        self.operations.push(operation(client, called, request, answer));
        revision
    }

    /// Asks and hears an error; it takes effect or not.
    pub fn fail(&mut self, client: u32, request: Request, error: RequestError, happens: bool) {
        if happens {
            let _ = self.happen(&request);
        }
        self.now += 10;
        let answer = Some((self.now, Err(error)));
        self.operations.push(operation(client, self.now - 9, request, answer));
    }

    /// Asks and never hears again.
    pub fn lose(&mut self, client: u32, request: Request, happens: bool) {
        self.fail(client, request, RequestError::TimedOut, happens);
        self.operations.last_mut().unwrap().answer = None;
    }

    /// Takes effect without being noted.
    pub fn happen(&mut self, request: &Request) -> (Revision, Response) {
        let (model, _) = Model::replay(&self.applied);
        let now = model.at(model.last());
        match request {
            Request::Write(command) => {
                let effect = now.effect(command).unwrap();
                let mut revision = model.last();
                if !effect.events.is_empty() {
                    revision = revision.next();
                    self.applied.events.insert(revision, effect.events);
                }
                (revision, Response::Write(effect.result))
            }
            Request::Range { request, .. } => (model.last(), now.range(request)),
            Request::ReadTxn { request, .. } => (model.last(), now.read_txn(request).unwrap()),
            other => panic!("{other:?} is not part of these stories"),
        }
    }

    /// The last operation.
    pub fn last(&mut self) -> &mut Operation {
        self.operations.last_mut().unwrap()
    }

    /// The last operation's answer.
    pub fn answer(&mut self) -> &mut Answer {
        self.last().answer.as_mut().unwrap().1.as_mut().unwrap()
    }
}

pub fn operation(
    client: u32,
    called: TrueTime,
    request: Request,
    answer: Option<(TrueTime, Result<Answer, RequestError>)>,
) -> Operation {
    Operation { client, node: NodeId(u64::from(client) + 1), called, request, answer }
}

pub fn put(key: &str, value: &str) -> Request {
    Request::Write(Command::Put(put_request(key, value, 0)))
}

pub fn put_leased(key: &str, value: &str, lease: i64) -> Request {
    Request::Write(Command::Put(put_request(key, value, lease)))
}

pub fn put_request(key: &str, value: &str, lease: i64) -> PutRequest {
    PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        lease: LeaseId(lease),
        ..PutRequest::default()
    }
}

pub fn delete(key: &str) -> Request {
    let range = KeyRange::one(Bytes::copy_from_slice(key.as_bytes()));
    Request::Write(Command::DeleteRange(DeleteRangeRequest { range, prev_kv: false }))
}

pub fn revoke(lease: i64) -> Request {
    Request::Write(Command::LeaseRevoke { id: LeaseId(lease) })
}

pub fn get(key: &str) -> Request {
    range(KeyRange::one(Bytes::copy_from_slice(key.as_bytes())), true)
}

pub fn get_here(key: &str) -> Request {
    range(KeyRange::one(Bytes::copy_from_slice(key.as_bytes())), false)
}

pub fn get_all() -> Request {
    range(KeyRange::prefix(""), true)
}

fn range(range: KeyRange, linearizable: bool) -> Request {
    Request::Range { request: RangeRequest { range, ..RangeRequest::default() }, linearizable }
}

/// Puts `value` if the key has the value `expected`, else reads it.
pub fn cas(key: &str, expected: &str, value: &str) -> Request {
    let range = KeyRange::one(Bytes::copy_from_slice(key.as_bytes()));
    let target = CompareTarget::Value(Bytes::copy_from_slice(expected.as_bytes()));
    let compare = Compare { range: range.clone(), result: CompareResult::Equal, target };
    let read = RangeRequest { range, ..RangeRequest::default() };
    Request::Write(Command::Txn(TxnRequest {
        compare: vec![compare],
        success: vec![TxnOp::Put(put_request(key, value, 0))],
        failure: vec![TxnOp::Range(read)],
    }))
}

/// Demands exactly these violations, by promise.
#[track_caller]
pub fn assert_promises(violations: &[Violation], expected: &[&str]) {
    let promises: Vec<_> = violations.iter().map(|violation| violation.promise).collect();
    assert_eq!(promises, expected, "{violations:#?}");
}
