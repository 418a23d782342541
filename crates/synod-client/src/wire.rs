//! What a client says and hears on etcd's wire: the state machine's requests as messages, messages
//! as its answers, and etcd's words for a failure read back.
//!
//! Pure, so that any transport can use it: gRPC does ([`crate::Remote`]), and the simulator's clients
//! do. The server's direction is in `synod-api`.

use synod_base::{ClusterId, LeaseId, NodeId, Revision, Term};
use synod_node::{Header, Member, RequestError, WatchEvent, WatchSpec};
use synod_proto::etcdserverpb as pb;
use synod_proto::mvccpb;
use synod_state::kv::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, Event, EventKind, KeyValue,
    PutRequest, RangeRequest, RangeResult, Refusal, SortOrder, SortTarget, TxnOp, TxnOpResult,
    TxnRequest, TxnResult,
};

use crate::error::ClientError;

/// Where an answer comes from.
#[must_use]
pub fn header(header: Option<pb::ResponseHeader>) -> Header {
    let header = header.unwrap_or_default();
    Header {
        cluster: ClusterId(header.cluster_id),
        member: NodeId(header.member_id),
        revision: Revision(header.revision),
        term: Term(header.raft_term),
    }
}

/// A key with its value.
#[must_use]
pub fn key_value(kv: mvccpb::KeyValue) -> KeyValue {
    KeyValue {
        key: kv.key,
        create_revision: Revision(kv.create_revision),
        mod_revision: Revision(kv.mod_revision),
        version: kv.version,
        value: kv.value,
        lease: LeaseId(kv.lease),
    }
}

/// A member.
#[must_use]
pub fn member(member: pb::Member) -> Member {
    Member {
        id: NodeId(member.id),
        name: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
        is_learner: member.is_learner,
    }
}

/// KV.Range.
#[must_use]
pub fn range_request(request: RangeRequest, serializable: bool) -> pb::RangeRequest {
    use pb::range_request::{SortOrder as Order, SortTarget as Target};
    let sort_order = match request.sort_order {
        SortOrder::None => Order::None,
        SortOrder::Ascend => Order::Ascend,
        SortOrder::Descend => Order::Descend,
    };
    let sort_target = match request.sort_target {
        SortTarget::Key => Target::Key,
        SortTarget::Version => Target::Version,
        SortTarget::Create => Target::Create,
        SortTarget::Mod => Target::Mod,
        SortTarget::Value => Target::Value,
    };
    pb::RangeRequest {
        key: request.range.key,
        range_end: request.range.range_end,
        limit: request.limit,
        revision: request.revision.0,
        sort_order: sort_order.into(),
        sort_target: sort_target.into(),
        serializable,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision.0,
        max_mod_revision: request.max_mod_revision.0,
        min_create_revision: request.min_create_revision.0,
        max_create_revision: request.max_create_revision.0,
    }
}

/// The answer to KV.Range.
#[must_use]
pub fn range_result(answer: pb::RangeResponse) -> RangeResult {
    let kvs = answer.kvs.into_iter().map(key_value).collect();
    RangeResult { kvs, more: answer.more, count: answer.count }
}

/// KV.Put.
#[must_use]
pub fn put_request(request: PutRequest) -> pb::PutRequest {
    pb::PutRequest {
        key: request.key,
        value: request.value,
        lease: request.lease.0,
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

/// KV.DeleteRange.
#[must_use]
pub fn delete_request(request: DeleteRangeRequest) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: request.range.key,
        range_end: request.range.range_end,
        prev_kv: request.prev_kv,
    }
}

/// KV.Txn. Its reads are linearizable.
#[must_use]
pub fn txn_request(request: TxnRequest) -> pb::TxnRequest {
    pb::TxnRequest {
        compare: request.compare.into_iter().map(compare).collect(),
        success: request.success.into_iter().map(txn_op).collect(),
        failure: request.failure.into_iter().map(txn_op).collect(),
    }
}

/// The answer to KV.Txn; an error if an operation has no answer.
pub fn txn_result(answer: pb::TxnResponse) -> Result<TxnResult, ClientError> {
    let responses: Result<_, ClientError> =
        answer.responses.into_iter().map(txn_op_result).collect();
    Ok(TxnResult { succeeded: answer.succeeded, responses: responses? })
}

/// Opens a watch. `watch_id` and `fragment` of the spec are not sent.
#[must_use]
pub fn watch_create(spec: &WatchSpec) -> pb::WatchRequest {
    use pb::watch_create_request::FilterType;
    use pb::watch_request::RequestUnion;
    let wanted = [(spec.no_put, FilterType::Noput), (spec.no_delete, FilterType::Nodelete)];
    let filters = wanted.into_iter().filter(|(wanted, _)| *wanted).map(|(_, filter)| filter.into());
    let create = pb::WatchCreateRequest {
        key: spec.range.key.clone(),
        range_end: spec.range.range_end.clone(),
        start_revision: spec.start_revision.0,
        progress_notify: spec.progress_notify,
        filters: filters.collect(),
        prev_kv: spec.prev_kv,
        watch_id: 0,
        fragment: false,
    };
    pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

/// One event of a watch.
#[must_use]
pub fn watch_event(event: mvccpb::Event) -> WatchEvent {
    let kind = match event.r#type() {
        mvccpb::event::EventType::Put => EventKind::Put,
        mvccpb::event::EventType::Delete => EventKind::Delete,
    };
    let kv = event.kv.map(key_value).unwrap_or_default();
    WatchEvent { event: Event { kind, kv }, prev_kv: event.prev_kv.map(key_value) }
}

/// What a server's words for a failure mean, if they are known: etcd's (its Go module
/// api/v3/v3rpc/rpctypes), which Synod uses, too. `is_read` tells "timed out" of a read from that of a
/// write, which the wire does not.
#[must_use]
pub fn request_error(message: &str, is_read: bool) -> Option<RequestError> {
    let words = message.strip_prefix("etcdserver: ").unwrap_or(message);
    // Some carry the reason behind a comma: "request timed out, possibly due to connection lost".
    let refusal = |refusal| Some(RequestError::Refused(refusal));
    match words {
        "key is not provided" => refusal(Refusal::EmptyKey),
        "value is provided" => refusal(Refusal::ValueProvided),
        "lease is provided" => refusal(Refusal::LeaseProvided),
        "key not found" => refusal(Refusal::KeyNotFound),
        "too many operations in txn request" => refusal(Refusal::TooManyOps),
        "duplicate key given in txn request" => refusal(Refusal::DuplicateKey),
        "txn requests are nested too deeply" => refusal(Refusal::TooDeep),
        "mvcc: required revision has been compacted" => {
            refusal(Refusal::Compacted { compacted: Revision(0) })
        }
        "mvcc: required revision is a future revision" => {
            refusal(Refusal::FutureRevision { current: Revision(0) })
        }
        "requested lease not found" => refusal(Refusal::LeaseNotFound),
        "lease already exists" => refusal(Refusal::LeaseExists),
        "too large lease TTL" => refusal(Refusal::LeaseTtlTooLarge),
        "request is too large" => Some(RequestError::TooLarge),
        "no leader" => Some(RequestError::NoLeader),
        "leader changed" => Some(RequestError::LeaderChanged),
        "too many requests" => Some(RequestError::Overloaded),
        "mvcc: database space exceeded" => Some(RequestError::DiskFull),
        "server stopped" => Some(RequestError::Stopped),
        "member not found" => Some(RequestError::MemberNotFound),
        "Peer URLs already exists" | "member ID already exist" => Some(RequestError::MemberExists),
        "given member URLs are invalid" => Some(RequestError::MemberUrlInvalid),
        "re-configuration failed due to not enough started members" => {
            Some(RequestError::NotEnoughMembers)
        }
        "re-configuration failed due to another membership change under way" => {
            Some(RequestError::ChangeInProgress)
        }
        "can only promote a learner member" => Some(RequestError::NotLearner),
        "can only promote a learner member which is in sync with leader" => {
            Some(RequestError::LearnerNotReady)
        }
        "not leader" => Some(RequestError::NotLeader),
        "bad leader transferee" => Some(RequestError::BadTransferee),
        _ if words.starts_with("request timed out") && is_read => Some(RequestError::ReadTimedOut),
        _ if words.starts_with("request timed out") => Some(RequestError::TimedOut),
        _ => None,
    }
}

fn compare(compare: Compare) -> pb::Compare {
    use pb::compare::{CompareResult as Result, CompareTarget as Target, TargetUnion};
    let result = match compare.result {
        CompareResult::Equal => Result::Equal,
        CompareResult::Greater => Result::Greater,
        CompareResult::Less => Result::Less,
        CompareResult::NotEqual => Result::NotEqual,
    };
    let (target, against) = match compare.target {
        CompareTarget::Version(version) => (Target::Version, TargetUnion::Version(version)),
        CompareTarget::Create(at) => (Target::Create, TargetUnion::CreateRevision(at.0)),
        CompareTarget::Mod(at) => (Target::Mod, TargetUnion::ModRevision(at.0)),
        CompareTarget::Value(value) => (Target::Value, TargetUnion::Value(value)),
        CompareTarget::Lease(lease) => (Target::Lease, TargetUnion::Lease(lease.0)),
    };
    pb::Compare {
        result: result.into(),
        target: target.into(),
        key: compare.range.key,
        range_end: compare.range.range_end,
        target_union: Some(against),
    }
}

fn txn_op(op: TxnOp) -> pb::RequestOp {
    use pb::request_op::Request;
    let request = match op {
        TxnOp::Range(request) => Request::RequestRange(range_request(request, false)),
        TxnOp::Put(request) => Request::RequestPut(put_request(request)),
        TxnOp::DeleteRange(request) => Request::RequestDeleteRange(delete_request(request)),
        TxnOp::Txn(request) => Request::RequestTxn(txn_request(request)),
    };
    pb::RequestOp { request: Some(request) }
}

fn txn_op_result(answer: pb::ResponseOp) -> Result<TxnOpResult, ClientError> {
    use pb::response_op::Response;
    Ok(match answer.response.ok_or(ClientError::UnexpectedAnswer { request: "txn" })? {
        Response::ResponseRange(answer) => TxnOpResult::Range(range_result(answer)),
        Response::ResponsePut(answer) => {
            TxnOpResult::Put { prev_kv: answer.prev_kv.map(key_value) }
        }
        Response::ResponseDeleteRange(answer) => TxnOpResult::DeleteRange {
            deleted: answer.deleted,
            prev_kvs: answer.prev_kvs.into_iter().map(key_value).collect(),
        },
        Response::ResponseTxn(answer) => TxnOpResult::Txn(txn_result(answer)?),
    })
}
