//! Cluster: the members, and their changes. Whether an address can be used is the node's to say.

use synod_base::NodeId;
use synod_node::{Header, Member, Reply, Request, Response};
use synod_proto::etcdserverpb as pb;

use super::error::{Rejection, unexpected};
use super::header::header;

/// Cluster.MemberAdd, to the node.
#[must_use]
pub fn member_add_request(request: pb::MemberAddRequest) -> Request {
    Request::MemberAdd { peer_urls: request.peer_urls, learner: request.is_learner }
}

/// Cluster.MemberAdd, from the node.
pub fn member_add_response(reply: Reply) -> Result<pb::MemberAddResponse, Rejection> {
    match reply {
        Ok((from, Response::Members { members, subject: Some(added) })) => {
            Ok(pb::MemberAddResponse {
                header: header(&from),
                member: Some(member(added)),
                members: all(members),
            })
        }
        other => unexpected(other),
    }
}

/// Cluster.MemberRemove, to the node.
#[must_use]
pub fn member_remove_request(request: &pb::MemberRemoveRequest) -> Request {
    Request::MemberRemove { id: NodeId(request.id) }
}

/// Cluster.MemberRemove, from the node.
pub fn member_remove_response(reply: Reply) -> Result<pb::MemberRemoveResponse, Rejection> {
    let (from, members) = members(reply)?;
    Ok(pb::MemberRemoveResponse { header: header(&from), members })
}

/// Cluster.MemberUpdate, to the node.
#[must_use]
pub fn member_update_request(request: pb::MemberUpdateRequest) -> Request {
    Request::MemberUpdate { id: NodeId(request.id), peer_urls: request.peer_urls }
}

/// Cluster.MemberUpdate, from the node.
pub fn member_update_response(reply: Reply) -> Result<pb::MemberUpdateResponse, Rejection> {
    let (from, members) = members(reply)?;
    Ok(pb::MemberUpdateResponse { header: header(&from), members })
}

/// Cluster.MemberPromote, to the node.
#[must_use]
pub fn member_promote_request(request: &pb::MemberPromoteRequest) -> Request {
    Request::MemberPromote { id: NodeId(request.id) }
}

/// Cluster.MemberPromote, from the node.
pub fn member_promote_response(reply: Reply) -> Result<pb::MemberPromoteResponse, Rejection> {
    let (from, members) = members(reply)?;
    Ok(pb::MemberPromoteResponse { header: header(&from), members })
}

/// Cluster.MemberList, to the node.
#[must_use]
pub fn member_list_request(request: &pb::MemberListRequest) -> Request {
    Request::MemberList { linearizable: request.linearizable }
}

/// Cluster.MemberList, from the node.
pub fn member_list_response(reply: Reply) -> Result<pb::MemberListResponse, Rejection> {
    let (from, members) = members(reply)?;
    Ok(pb::MemberListResponse { header: header(&from), members })
}

fn members(reply: Reply) -> Result<(Header, Vec<pb::Member>), Rejection> {
    match reply {
        Ok((from, Response::Members { members, .. })) => Ok((from, all(members))),
        other => unexpected(other),
    }
}

fn all(members: Vec<Member>) -> Vec<pb::Member> {
    members.into_iter().map(member).collect()
}

fn member(member: Member) -> pb::Member {
    let Member { id, name, peer_urls, client_urls, is_learner } = member;
    pb::Member { id: id.0, name, peer_urls, client_urls, is_learner }
}

#[cfg(test)]
mod tests;
