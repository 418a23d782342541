//! The server's half: calls to the node's requests, its replies to answers, watch messages both ways.
//!
//! It does what `synod-api`'s gRPC services do, without gRPC: it remembers each call until its one
//! reply comes. It lives and dies with its host's process.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use synod_api::etcd::{Rejection, cluster, kv, lease, maintenance, txn, watch};
use synod_node::{Reply, Request, RequestToken, StreamId, WatchDelivery, WatchRequest};
use synod_proto::etcdserverpb as pb;

use super::{Call, Method, WireAnswer};

/// A host's client port.
#[derive(Debug, Default)]
pub struct Front {
    calls: BTreeMap<RequestToken, Call>,
}

impl Front {
    /// A call to the node's request, or the words with which it is refused.
    pub fn accept(&mut self, token: RequestToken, call: Call) -> Result<Request, String> {
        let request = request(&call)?;
        self.calls.insert(token, call);
        Ok(request)
    }

    /// Calls that have no answer yet.
    pub fn unanswered(&self) -> impl Iterator<Item = (RequestToken, &Call)> {
        self.calls.iter().map(|(token, call)| (*token, call))
    }

    /// The node's reply to the answer; `None` for a reply that no call waits for.
    pub fn answer(&mut self, token: RequestToken, reply: Reply) -> Option<WireAnswer> {
        let call = self.calls.remove(&token)?;
        Some(response(&call, reply))
    }
}

/// A message of a watch stream, to the node.
pub fn watch_request(stream: StreamId, message: Bytes) -> Result<WatchRequest, String> {
    let message = decode(message)?;
    match watch::watch_request(stream, message) {
        Ok(Some(request)) => Ok(request),
        Ok(None) => Err("an empty message".to_owned()),
        Err(refused) => Err(refused.0.to_owned()),
    }
}

/// A delivery of the node, to a watch stream.
#[must_use]
pub fn watch_response(delivery: WatchDelivery) -> Bytes {
    watch::watch_response(delivery).encode_to_vec().into()
}

fn request(call: &Call) -> Result<Request, String> {
    let body = call.body.clone();
    let request = match call.method {
        Method::Range => kv::range_request(decode(body)?),
        Method::Put => kv::put_request(decode(body)?),
        Method::DeleteRange => kv::delete_range_request(decode(body)?),
        Method::Txn => txn::txn_request(decode(body)?),
        Method::Compact => kv::compact_request(&decode(body)?),
        Method::LeaseGrant => Ok(lease::grant_request(&decode(body)?)),
        Method::LeaseRevoke => Ok(lease::revoke_request(&decode(body)?)),
        Method::LeaseKeepAlive => Ok(lease::keep_alive_request(&decode(body)?)),
        Method::MemberList => Ok(cluster::member_list_request(&decode(body)?)),
        Method::MemberAdd => Ok(cluster::member_add_request(decode(body)?)),
        Method::MemberRemove => Ok(cluster::member_remove_request(&decode(body)?)),
        Method::MemberPromote => Ok(cluster::member_promote_request(&decode(body)?)),
        Method::MoveLeader => Ok(maintenance::move_leader_request(&decode(body)?)),
    };
    request.map_err(|rejection| words(&rejection))
}

fn response(call: &Call, reply: Reply) -> WireAnswer {
    match call.method {
        Method::Range => encode(kv::range_response(reply)),
        Method::Put => encode(kv::put_response(reply)),
        Method::DeleteRange => encode(kv::delete_range_response(reply)),
        Method::Txn => encode(txn::txn_response(reply)),
        Method::Compact => encode(kv::compact_response(reply)),
        Method::LeaseGrant => encode(lease::grant_response(reply)),
        Method::LeaseRevoke => encode(lease::revoke_response(reply)),
        Method::LeaseKeepAlive => {
            let request: pb::LeaseKeepAliveRequest = decode(call.body.clone())?;
            encode(lease::keep_alive_response(&request, reply))
        }
        Method::MemberList => encode(cluster::member_list_response(reply)),
        Method::MemberAdd => encode(cluster::member_add_response(reply)),
        Method::MemberRemove => encode(cluster::member_remove_response(reply)),
        Method::MemberPromote => encode(cluster::member_promote_response(reply)),
        Method::MoveLeader => encode(maintenance::move_leader_response(reply)),
    }
}

fn decode<M: Message + Default>(body: Bytes) -> Result<M, String> {
    M::decode(body).map_err(|error| format!("undecodable request: {error}"))
}

fn encode(answer: Result<impl Message, Rejection>) -> WireAnswer {
    answer.map(|message| message.encode_to_vec().into()).map_err(|rejection| words(&rejection))
}

fn words(rejection: &Rejection) -> String {
    rejection.code_and_message().1.to_owned()
}
