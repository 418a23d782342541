//! Maintenance: what operators ask of one member.
//!
//! Alarms are not kept here: NOSPACE stands as long as the node takes no writes for want of disk,
//! and ends by itself. So alarms can be asked for, but not raised by hand, and one that stands cannot
//! be cleared by hand. Each member knows only its own. Defragmentation has nothing to do, the engine
//! gives space back as it goes.

use synod_base::{NodeId, Revision};
use synod_node::{Header, NodeStatus, Reply, Request, Response};
use synod_proto::etcdserverpb as pb;

use super::error::{Rejection, unexpected};
use super::header::header;

/// The refusals of what this server does not do.
pub const HASH_UNSUPPORTED: Rejection =
    Rejection::Unsupported("synod: Hash is not supported, members differ on disk; use HashKV");
/// See [`HASH_UNSUPPORTED`].
pub const SNAPSHOT_UNSUPPORTED: Rejection = Rejection::Unsupported(
    "synod: Snapshot is not supported, there is no bbolt file to send; copy a stopped node's data",
);
/// See [`HASH_UNSUPPORTED`].
pub const DOWNGRADE_UNSUPPORTED: Rejection =
    Rejection::Unsupported("synod: Downgrade is not supported, the data format has one version");
/// See [`HASH_UNSUPPORTED`].
pub const ALARM_ACTIVATE_UNSUPPORTED: Rejection = Rejection::Unsupported(
    "synod: alarms cannot be raised by hand, NOSPACE follows the state of the disk",
);

/// See [`HASH_UNSUPPORTED`].
pub const ALARM_ELSEWHERE_UNSUPPORTED: Rejection = Rejection::Unsupported(
    "synod: a member knows only its own alarms; send this to the member that it is about",
);

/// The request behind Status, Alarm and Defragment, and behind a health check.
#[must_use]
pub fn status_request() -> Request {
    Request::Status
}

/// Maintenance.Status, from the node. `dbSize` is all that the node keeps on disk, its log with the
/// files prepared for later included; `dbSizeInUse` is the state without the log. (In etcd the first
/// is the database file without its log, and the second leaves out its free pages.)
pub fn status_response(reply: Reply) -> Result<pb::StatusResponse, Rejection> {
    let (from, status) = node_status(reply)?;
    let size = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let mut errors = Vec::new();
    if status.leader == NodeId::NONE {
        errors.push("etcdserver: no leader".to_owned());
    }
    if status.disk_full {
        errors.push(format!("memberID:{} alarm:NOSPACE ", from.member.0));
    }
    Ok(pb::StatusResponse {
        header: header(&from),
        version: super::API_VERSION.to_owned(),
        db_size: size(status.disk_bytes),
        leader: status.leader.0,
        raft_index: status.commit_index.0,
        raft_term: status.term.0,
        raft_applied_index: status.applied_index.0,
        errors,
        db_size_in_use: size(status.state_bytes),
        is_learner: status.is_learner,
        ..pb::StatusResponse::default()
    })
}

/// Whether the node can serve: it knows a leader.
pub fn is_serving(reply: Reply) -> Result<bool, Rejection> {
    node_status(reply).map(|(_, status)| status.leader != NodeId::NONE)
}

/// Maintenance.Defragment, from the node's answer to [`status_request`].
pub fn defragment_response(reply: Reply) -> Result<pb::DefragmentResponse, Rejection> {
    let (from, _) = node_status(reply)?;
    Ok(pb::DefragmentResponse { header: header(&from) })
}

/// Maintenance.Alarm, to the node.
pub fn alarm_request(request: &pb::AlarmRequest) -> Result<Request, Rejection> {
    use pb::alarm_request::AlarmAction;
    let known = pb::AlarmType::try_from(request.alarm).is_ok();
    match AlarmAction::try_from(request.action) {
        Ok(AlarmAction::Get | AlarmAction::Deactivate) if known => Ok(Request::Status),
        Ok(AlarmAction::Activate) if known => Err(ALARM_ACTIVATE_UNSUPPORTED),
        _ => Err(Rejection::InvalidAlarm),
    }
}

/// Maintenance.Alarm, from the node: the alarms that stand. An alarm that stands is not cleared by
/// saying so: that is refused. Clearing one that does not stand is answered with none (etcd lists what
/// it cleared).
pub fn alarm_response(
    request: &pb::AlarmRequest,
    reply: Reply,
) -> Result<pb::AlarmResponse, Rejection> {
    use pb::alarm_request::AlarmAction;
    let (from, status) = node_status(reply)?;
    let no_space = pb::AlarmType::Nospace as i32;
    let stands =
        status.disk_full && [pb::AlarmType::None as i32, no_space].contains(&request.alarm);
    if request.action == AlarmAction::Deactivate as i32 {
        if ![0, from.member.0].contains(&request.member_id) {
            return Err(ALARM_ELSEWHERE_UNSUPPORTED);
        }
        if stands {
            return Err(Rejection::AlarmStands);
        }
    }
    let alarm = pb::AlarmMember { member_id: from.member.0, alarm: no_space };
    let alarms = if stands { vec![alarm] } else { Vec::new() };
    Ok(pb::AlarmResponse { header: header(&from), alarms })
}

/// Maintenance.HashKV, to the node.
#[must_use]
pub fn hash_kv_request(request: &pb::HashKvRequest) -> Request {
    Request::HashKv { revision: Revision(request.revision) }
}

/// Maintenance.HashKV, from the node.
pub fn hash_kv_response(reply: Reply) -> Result<pb::HashKvResponse, Rejection> {
    match reply {
        Ok((from, Response::HashKv { hash, compact_revision, hash_revision })) => {
            Ok(pb::HashKvResponse {
                header: header(&from),
                hash,
                compact_revision: compact_revision.0,
                hash_revision: hash_revision.0,
            })
        }
        other => unexpected(other),
    }
}

/// Maintenance.MoveLeader, to the node.
#[must_use]
pub fn move_leader_request(request: &pb::MoveLeaderRequest) -> Request {
    Request::MoveLeader { to: NodeId(request.target_id) }
}

/// Maintenance.MoveLeader, from the node.
pub fn move_leader_response(reply: Reply) -> Result<pb::MoveLeaderResponse, Rejection> {
    match reply {
        Ok((from, Response::Moved)) => Ok(pb::MoveLeaderResponse { header: header(&from) }),
        other => unexpected(other),
    }
}

fn node_status(reply: Reply) -> Result<(Header, NodeStatus), Rejection> {
    match reply {
        Ok((from, Response::Status(status))) => Ok((from, status)),
        other => unexpected(other),
    }
}

#[cfg(test)]
mod tests;
