//! Lease: grant, revoke, keep alive, time to live, list.

use synod_base::LeaseId;
use synod_node::{Reply, Request, RequestError, Response};
use synod_proto::etcdserverpb as pb;
use synod_state::kv::{Command, CommandResult, Refusal};

use super::error::{Rejection, unexpected};
use super::header::header;

/// Lease.LeaseGrant, to the node. Id 0 lets the node pick; a TTL below a second becomes one.
#[must_use]
pub fn grant_request(request: &pb::LeaseGrantRequest) -> Request {
    let ttl_seconds = request.ttl.max(1);
    Request::Write(Command::LeaseGrant { id: LeaseId(request.id), ttl_seconds })
}

/// Lease.LeaseGrant, from the node.
pub fn grant_response(reply: Reply) -> Result<pb::LeaseGrantResponse, Rejection> {
    match reply {
        Ok((from, Response::Write(CommandResult::LeaseGrant { id, ttl_seconds }))) => {
            Ok(pb::LeaseGrantResponse {
                header: header(&from),
                id: id.0,
                ttl: ttl_seconds,
                error: String::new(),
            })
        }
        other => unexpected(other),
    }
}

/// Lease.LeaseRevoke, to the node.
#[must_use]
pub fn revoke_request(request: &pb::LeaseRevokeRequest) -> Request {
    Request::Write(Command::LeaseRevoke { id: LeaseId(request.id) })
}

/// Lease.LeaseRevoke, from the node.
pub fn revoke_response(reply: Reply) -> Result<pb::LeaseRevokeResponse, Rejection> {
    match reply {
        Ok((from, Response::Write(CommandResult::LeaseRevoke))) => {
            Ok(pb::LeaseRevokeResponse { header: header(&from) })
        }
        other => unexpected(other),
    }
}

/// One message of Lease.LeaseKeepAlive, to the node.
#[must_use]
pub fn keep_alive_request(request: &pb::LeaseKeepAliveRequest) -> Request {
    Request::LeaseKeepAlive { id: LeaseId(request.id) }
}

/// The answer to it. A lease that is gone is no error but a TTL of 0.
pub fn keep_alive_response(
    request: &pb::LeaseKeepAliveRequest,
    reply: Reply,
) -> Result<pb::LeaseKeepAliveResponse, Rejection> {
    match reply {
        Ok((from, Response::LeaseKeepAlive { ttl_seconds })) => Ok(pb::LeaseKeepAliveResponse {
            header: header(&from),
            id: request.id,
            ttl: ttl_seconds,
        }),
        Err(RequestError::Refused(Refusal::LeaseNotFound)) => {
            Ok(pb::LeaseKeepAliveResponse { header: None, id: request.id, ttl: 0 })
        }
        other => unexpected(other),
    }
}

/// Lease.LeaseTimeToLive, to the node.
#[must_use]
pub fn time_to_live_request(request: &pb::LeaseTimeToLiveRequest) -> Request {
    Request::LeaseTimeToLive { id: LeaseId(request.id), keys: request.keys }
}

/// Lease.LeaseTimeToLive, from the node. A lease that is gone is no error but a TTL of -1.
pub fn time_to_live_response(
    request: &pb::LeaseTimeToLiveRequest,
    reply: Reply,
) -> Result<pb::LeaseTimeToLiveResponse, Rejection> {
    match reply {
        Ok((from, Response::LeaseTimeToLive(left))) => Ok(pb::LeaseTimeToLiveResponse {
            header: header(&from),
            id: request.id,
            ttl: left.remaining_seconds,
            granted_ttl: left.granted_seconds,
            keys: left.keys,
        }),
        Err(RequestError::Refused(Refusal::LeaseNotFound)) => Ok(pb::LeaseTimeToLiveResponse {
            id: request.id,
            ttl: -1,
            ..pb::LeaseTimeToLiveResponse::default()
        }),
        other => unexpected(other),
    }
}

/// Lease.LeaseLeases, to the node.
#[must_use]
pub fn leases_request() -> Request {
    Request::LeaseList
}

/// Lease.LeaseLeases, from the node.
pub fn leases_response(reply: Reply) -> Result<pb::LeaseLeasesResponse, Rejection> {
    match reply {
        Ok((from, Response::LeaseList(ids))) => {
            let leases = ids.into_iter().map(|id| pb::LeaseStatus { id: id.0 }).collect();
            Ok(pb::LeaseLeasesResponse { header: header(&from), leases })
        }
        other => unexpected(other),
    }
}

#[cfg(test)]
mod tests;
