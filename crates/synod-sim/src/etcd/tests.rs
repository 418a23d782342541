use bytes::Bytes;
use synod_base::{LeaseId, NodeId, Revision, Term};
use synod_node::{
    Happened, Header, Member, Reply, Request, RequestError, RequestToken, Response, StreamId,
    WatchDelivery, WatchEvent, WatchKind, WatchRequest, WatchSpec,
};
use synod_state::kv::{
    Command, CommandResult, Compare, CompareResult, CompareTarget, DeleteRangeRequest, Event,
    EventKind, KeyRange, KeyValue, PutRequest, RangeRequest, RangeResult, Refusal, TxnOp,
    TxnOpResult, TxnRequest, TxnResult,
};

use super::client::{self, Unreadable};
use super::server::{self, Front};
use crate::history::Answer;
use crate::host::CLUSTER;

const HOST: NodeId = NodeId(7);
const TOKEN: RequestToken = RequestToken(1);

fn from() -> Header {
    Header { cluster: CLUSTER, member: HOST, revision: Revision(12), term: Term(3) }
}

fn kv() -> KeyValue {
    KeyValue {
        key: Bytes::from_static(b"k"),
        create_revision: Revision(2),
        mod_revision: Revision(9),
        version: 4,
        value: Bytes::from_static(b"v"),
        lease: LeaseId(5),
    }
}

/// A request over the wire and its reply back: what the node was asked, what the client reads.
fn exchange(request: &Request, reply: Reply) -> (Request, Result<Answer, RequestError>) {
    let mut front = Front::default();
    let asked = front.accept(TOKEN, client::call(request).unwrap()).unwrap();
    let wire = front.answer(TOKEN, reply).expect("the call waits");
    (asked, client::answer(HOST, request, wire).unwrap())
}

fn write_exchanges() -> Vec<(Command, CommandResult)> {
    let compare = Compare {
        range: KeyRange::one("k"),
        result: CompareResult::NotEqual,
        target: CompareTarget::Lease(LeaseId(3)),
    };
    let put = PutRequest {
        key: Bytes::from_static(b"k"),
        value: Bytes::from_static(b"v"),
        lease: LeaseId(5),
        prev_kv: true,
        ..PutRequest::default()
    };
    let delete = DeleteRangeRequest { range: KeyRange::prefix("k"), prev_kv: true };
    let txn = TxnRequest {
        compare: vec![compare],
        success: vec![TxnOp::Put(put.clone())],
        failure: vec![TxnOp::DeleteRange(delete.clone())],
    };
    let txn_result =
        TxnResult { succeeded: true, responses: vec![TxnOpResult::Put { prev_kv: Some(kv()) }] };
    let (id, ttl_seconds) = (LeaseId(4), 9);
    vec![
        (Command::Put(put), CommandResult::Put { prev_kv: Some(kv()) }),
        (
            Command::DeleteRange(delete),
            CommandResult::DeleteRange { deleted: 1, prev_kvs: vec![kv()] },
        ),
        (Command::Txn(txn), CommandResult::Txn(txn_result)),
        (Command::Compact { revision: Revision(6) }, CommandResult::Compact),
        (Command::LeaseGrant { id, ttl_seconds }, CommandResult::LeaseGrant { id, ttl_seconds }),
        (Command::LeaseRevoke { id }, CommandResult::LeaseRevoke),
    ]
}

fn exchanges() -> Vec<(Request, Response)> {
    let request = RangeRequest {
        range: KeyRange::prefix("k"),
        revision: Revision(8),
        limit: 3,
        ..RangeRequest::default()
    };
    let found = RangeResult { kvs: vec![kv()], more: true, count: 2 };
    let read = TxnRequest { success: vec![TxnOp::Range(request.clone())], ..TxnRequest::default() };
    let read_result =
        TxnResult { succeeded: true, responses: vec![TxnOpResult::Range(found.clone())] };
    let member = Member {
        id: NodeId(2),
        name: "n2".into(),
        peer_urls: vec!["http://10.0.0.2:2380".into()],
        client_urls: vec!["http://10.0.0.2:2379".into()],
        is_learner: true,
    };
    let members = |subject| Response::Members { members: vec![member.clone()], subject };
    let id = member.id;
    let add = Request::MemberAdd { peer_urls: member.peer_urls.clone(), learner: true };
    let range = |linearizable| Request::Range { request: request.clone(), linearizable };
    let writes = write_exchanges().into_iter();
    let mut all: Vec<_> = writes
        .map(|(command, result)| (Request::Write(command), Response::Write(result)))
        .collect();
    all.extend([
        (range(true), Response::Range(found.clone())),
        (range(false), Response::Range(found)),
        (Request::ReadTxn { request: read, linearizable: true }, Response::Txn(read_result)),
        (Request::LeaseKeepAlive { id: LeaseId(4) }, Response::LeaseKeepAlive { ttl_seconds: 9 }),
        (Request::MemberList { linearizable: true }, members(None)),
        (add, members(Some(member.clone()))),
        (Request::MemberRemove { id }, members(None)),
        (Request::MemberPromote { id }, members(None)),
        (Request::MoveLeader { to: id }, Response::Moved),
    ]);
    all
}

#[test]
fn every_request_arrives_as_meant_and_every_answer_as_given() {
    for (request, response) in exchanges() {
        let (asked, answer) = exchange(&request, Ok((from(), response.clone())));
        assert_eq!(asked, request);
        let answer = answer.unwrap();
        assert_eq!((answer.revision, answer.response), (Revision(12), response));
    }
}

#[test]
fn a_client_knows_from_the_words_whether_its_request_happened() {
    let errors = [
        RequestError::Refused(Refusal::LeaseExists),
        RequestError::TooLarge,
        RequestError::NoLeader,
        RequestError::LeaderChanged,
        RequestError::Overloaded,
        RequestError::DiskFull,
        RequestError::Stopped,
        RequestError::ChangeInProgress,
        RequestError::LearnerNotReady,
    ];
    let write = Request::Write(Command::LeaseRevoke { id: LeaseId(4) });
    for error in errors.into_iter().chain([RequestError::TimedOut]) {
        let (_, answer) = exchange(&write, Err(error.clone()));
        assert_eq!(answer.unwrap_err(), error);
    }
    let read = Request::MemberList { linearizable: true };
    let (_, answer) = exchange(&read, Err(RequestError::ReadTimedOut));
    assert_eq!(answer.unwrap_err().happened(), Happened::No);
}

#[test]
fn the_renewal_of_a_lease_that_is_gone_says_zero_seconds() {
    let renewal = Request::LeaseKeepAlive { id: LeaseId(4) };
    let (_, answer) = exchange(&renewal, Err(RequestError::Refused(Refusal::LeaseNotFound)));
    assert_eq!(answer.unwrap().response, Response::LeaseKeepAlive { ttl_seconds: 0 });
}

#[test]
fn an_answer_under_another_members_header_or_with_unknown_words_is_unreadable() {
    let request = Request::MoveLeader { to: HOST };
    let mut front = Front::default();
    front.accept(TOKEN, client::call(&request).unwrap()).unwrap();
    let wire = front.answer(TOKEN, Ok((from(), Response::Moved))).unwrap();
    assert!(client::answer(NodeId(8), &request, wire).is_err());
    let odd = client::answer(HOST, &request, Err("etcdserver: odd".into()));
    assert!(matches!(odd, Err(Unreadable(_))));
    assert!(front.answer(TOKEN, Ok((from(), Response::Moved))).is_none(), "answered twice");
}

#[test]
fn a_watch_and_its_messages_travel_whole() {
    let stream = StreamId(3);
    let spec = WatchSpec {
        range: KeyRange::prefix("k"),
        start_revision: Revision(4),
        prev_kv: true,
        ..WatchSpec::default()
    };
    let create = server::watch_request(stream, client::watch_create(&spec)).unwrap();
    assert_eq!(create, WatchRequest::Create { stream, spec });
    let progress = server::watch_request(stream, client::watch_progress()).unwrap();
    assert_eq!(progress, WatchRequest::Progress { stream });
    let event = Event { kind: EventKind::Put, kv: kv() };
    let events = vec![WatchEvent { event, prev_kv: Some(kv()) }];
    let canceled =
        WatchKind::Canceled { compact_revision: Revision(5), reason: "compacted".into() };
    let kinds = [
        WatchKind::Created,
        WatchKind::Events { events, more: false },
        WatchKind::Progress,
        canceled,
    ];
    for kind in kinds {
        let header = from();
        let delivery = WatchDelivery { stream, watch_id: 0, header, kind: kind.clone(), bytes: 9 };
        let message = server::watch_response(delivery);
        assert_eq!(client::watch_message(HOST, message).unwrap(), (Revision(12), kind));
    }
}
