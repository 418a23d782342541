//! The client's half: requests to calls, answers and watch messages read back.

use bytes::Bytes;
use prost::Message;
use synod_base::{NodeId, Revision};
use synod_client::wire;
use synod_node::{Header, Request, RequestError, Response, WatchKind, WatchSpec};
use synod_proto::etcdserverpb as pb;
use synod_state::kv::{Command, CommandResult};

use super::{Call, Method, WireAnswer};
use crate::history::Answer;
use crate::host::CLUSTER;

/// An answer that no client of the API could understand: a bug.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreadable(pub String);

/// The call for a request; `None` for one that the simulated clients never make.
#[must_use]
pub fn call(request: &Request) -> Option<Call> {
    let call = |method, body: Vec<u8>| Some(Call { method, body: body.into() });
    match request.clone() {
        Request::Write(command) => write_call(command),
        Request::Range { request, linearizable } => {
            call(Method::Range, wire::range_request(request, !linearizable).encode_to_vec())
        }
        Request::ReadTxn { request, linearizable: true } => {
            call(Method::Txn, wire::txn_request(request).encode_to_vec())
        }
        Request::LeaseKeepAlive { id } => {
            call(Method::LeaseKeepAlive, pb::LeaseKeepAliveRequest { id: id.0 }.encode_to_vec())
        }
        Request::MemberList { linearizable } => {
            call(Method::MemberList, pb::MemberListRequest { linearizable }.encode_to_vec())
        }
        Request::MemberAdd { peer_urls, learner } => call(
            Method::MemberAdd,
            pb::MemberAddRequest { peer_urls, is_learner: learner }.encode_to_vec(),
        ),
        Request::MemberRemove { id } => {
            call(Method::MemberRemove, pb::MemberRemoveRequest { id: id.0 }.encode_to_vec())
        }
        Request::MemberPromote { id } => {
            call(Method::MemberPromote, pb::MemberPromoteRequest { id: id.0 }.encode_to_vec())
        }
        Request::MoveLeader { to } => {
            call(Method::MoveLeader, pb::MoveLeaderRequest { target_id: to.0 }.encode_to_vec())
        }
        Request::ReadTxn { .. }
        | Request::LeaseTimeToLive { .. }
        | Request::LeaseList
        | Request::HashKv { .. }
        | Request::Status
        | Request::MemberUpdate { .. } => None,
    }
}

fn write_call(command: Command) -> Option<Call> {
    let (method, body) = match command {
        Command::Put(put) => (Method::Put, wire::put_request(put).encode_to_vec()),
        Command::DeleteRange(delete) => {
            (Method::DeleteRange, wire::delete_request(delete).encode_to_vec())
        }
        Command::Txn(txn) => (Method::Txn, wire::txn_request(txn).encode_to_vec()),
        Command::Compact { revision } => {
            let message = pb::CompactionRequest { revision: revision.0, physical: false };
            (Method::Compact, message.encode_to_vec())
        }
        Command::LeaseGrant { id, ttl_seconds } => {
            let message = pb::LeaseGrantRequest { id: id.0, ttl: ttl_seconds };
            (Method::LeaseGrant, message.encode_to_vec())
        }
        Command::LeaseRevoke { id } => {
            (Method::LeaseRevoke, pb::LeaseRevokeRequest { id: id.0 }.encode_to_vec())
        }
    };
    Some(Call { method, body: body.into() })
}

/// What the answer of `host` to a request says.
pub fn answer(
    host: NodeId,
    request: &Request,
    answer: WireAnswer,
) -> Result<Result<Answer, RequestError>, Unreadable> {
    let body = match answer {
        Ok(body) => body,
        Err(words) => {
            let error = wire::request_error(&words, is_read(request));
            return error.map(Err).ok_or(Unreadable(words));
        }
    };
    let (header, response) = response(request, body)?;
    // Only a keep-alive of a lease that is gone has no header.
    let gone = matches!(response, Response::LeaseKeepAlive { ttl_seconds: 0 });
    if (header.cluster != CLUSTER || header.member != host) && !gone {
        return Err(Unreadable(format!("{host} answers under the header {header:?}")));
    }
    Ok(Ok(Answer { revision: header.revision, response }))
}

/// Whether asking twice is harmless: the wire has the same words for a read and a write out of time.
fn is_read(request: &Request) -> bool {
    matches!(
        request,
        Request::Range { .. }
            | Request::ReadTxn { .. }
            | Request::LeaseKeepAlive { .. }
            | Request::MemberList { .. }
    )
}

fn response(request: &Request, body: Bytes) -> Result<(Header, Response), Unreadable> {
    Ok(match request {
        Request::Write(command) => {
            let (header, result) = written(command, body)?;
            (header, Response::Write(result))
        }
        Request::Range { .. } => {
            let mut message: pb::RangeResponse = decode(body)?;
            let header = wire::header(message.header.take());
            (header, Response::Range(wire::range_result(message)))
        }
        Request::ReadTxn { .. } => {
            let (header, result) = txn(body)?;
            (header, Response::Txn(result))
        }
        Request::LeaseKeepAlive { id } => {
            let message: pb::LeaseKeepAliveResponse = decode(body)?;
            if message.id != id.0 {
                return Err(Unreadable(format!("{message:?} to a keep-alive of {id:?}")));
            }
            (wire::header(message.header), Response::LeaseKeepAlive { ttl_seconds: message.ttl })
        }
        Request::MemberAdd { .. } => {
            let message: pb::MemberAddResponse = decode(body)?;
            let subject = message.member.map(wire::member);
            (wire::header(message.header), members(message.members, subject))
        }
        Request::MemberList { .. } => {
            let message: pb::MemberListResponse = decode(body)?;
            (wire::header(message.header), members(message.members, None))
        }
        Request::MemberRemove { .. } => {
            let message: pb::MemberRemoveResponse = decode(body)?;
            (wire::header(message.header), members(message.members, None))
        }
        Request::MemberPromote { .. } => {
            let message: pb::MemberPromoteResponse = decode(body)?;
            (wire::header(message.header), members(message.members, None))
        }
        Request::MoveLeader { .. } => {
            let message: pb::MoveLeaderResponse = decode(body)?;
            (wire::header(message.header), Response::Moved)
        }
        other => return Err(Unreadable(format!("an answer to {other:?}, which nobody asked"))),
    })
}

fn written(command: &Command, body: Bytes) -> Result<(Header, CommandResult), Unreadable> {
    Ok(match command {
        Command::Put(_) => {
            let message: pb::PutResponse = decode(body)?;
            let prev_kv = message.prev_kv.map(wire::key_value);
            (wire::header(message.header), CommandResult::Put { prev_kv })
        }
        Command::DeleteRange(_) => {
            let message: pb::DeleteRangeResponse = decode(body)?;
            let prev_kvs = message.prev_kvs.into_iter().map(wire::key_value).collect();
            let result = CommandResult::DeleteRange { deleted: message.deleted, prev_kvs };
            (wire::header(message.header), result)
        }
        Command::Txn(_) => {
            let (header, result) = txn(body)?;
            (header, CommandResult::Txn(result))
        }
        Command::Compact { .. } => {
            let message: pb::CompactionResponse = decode(body)?;
            (wire::header(message.header), CommandResult::Compact)
        }
        Command::LeaseGrant { .. } => {
            let message: pb::LeaseGrantResponse = decode(body)?;
            let id = synod_base::LeaseId(message.id);
            let result = CommandResult::LeaseGrant { id, ttl_seconds: message.ttl };
            (wire::header(message.header), result)
        }
        Command::LeaseRevoke { .. } => {
            let message: pb::LeaseRevokeResponse = decode(body)?;
            (wire::header(message.header), CommandResult::LeaseRevoke)
        }
    })
}

fn txn(body: Bytes) -> Result<(Header, synod_state::kv::TxnResult), Unreadable> {
    let mut message: pb::TxnResponse = decode(body)?;
    let header = wire::header(message.header.take());
    let result = wire::txn_result(message).map_err(|error| Unreadable(error.to_string()))?;
    Ok((header, result))
}

fn members(members: Vec<pb::Member>, subject: Option<synod_node::Member>) -> Response {
    Response::Members { members: members.into_iter().map(wire::member).collect(), subject }
}

/// The message that opens a watch.
#[must_use]
pub fn watch_create(spec: &WatchSpec) -> Bytes {
    wire::watch_create(spec).encode_to_vec().into()
}

/// The message that asks for progress.
#[must_use]
pub fn watch_progress() -> Bytes {
    use pb::watch_request::RequestUnion;
    let progress = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
    pb::WatchRequest { request_union: Some(progress) }.encode_to_vec().into()
}

/// A message of a watch: its header's revision, and what it is.
pub fn watch_message(host: NodeId, message: Bytes) -> Result<(Revision, WatchKind), Unreadable> {
    let message: pb::WatchResponse = decode(message)?;
    let header = wire::header(message.header);
    if header.cluster != CLUSTER || header.member != host {
        return Err(Unreadable(format!("{host} delivers under the header {header:?}")));
    }
    let kind = if message.canceled {
        let compact_revision = Revision(message.compact_revision);
        WatchKind::Canceled { compact_revision, reason: message.cancel_reason }
    } else if message.created {
        WatchKind::Created
    } else if message.events.is_empty() {
        WatchKind::Progress
    } else {
        let events = message.events.into_iter().map(wire::watch_event).collect();
        WatchKind::Events { events, more: message.fragment }
    };
    Ok((header.revision, kind))
}

fn decode<M: Message + Default>(body: Bytes) -> Result<M, Unreadable> {
    M::decode(body).map_err(|error| Unreadable(error.to_string()))
}
