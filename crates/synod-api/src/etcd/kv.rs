//! KV without transactions: Range, Put, DeleteRange, Compact. Keys and values are never copied.

use prost::Message;
use synod_base::limits::MAX_REQUEST_BYTES;
use synod_base::{LeaseId, Revision};
use synod_node::{Reply, Request, RequestError, Response};
use synod_proto::{etcdserverpb as pb, mvccpb};
use synod_state::kv::{
    Command, CommandResult, DeleteRangeRequest, KeyRange, KeyValue, PutRequest, RangeRequest,
    RangeResult, SortOrder, SortTarget, validate, validate_range,
};

use super::error::{Rejection, unexpected};
use super::header::header;

/// KV.Range, to the node.
pub fn range_request(request: pb::RangeRequest) -> Result<Request, Rejection> {
    let linearizable = !request.serializable;
    let request = range(request)?;
    validate_range(&request)?;
    Ok(Request::Range { request, linearizable })
}

/// KV.Range, from the node.
pub fn range_response(reply: Reply) -> Result<pb::RangeResponse, Rejection> {
    match reply {
        Ok((from, Response::Range(result))) => Ok(range_result(header(&from), result)),
        other => unexpected(other),
    }
}

/// KV.Put, to the node.
pub fn put_request(request: pb::PutRequest) -> Result<Request, Rejection> {
    must_fit(&request)?;
    write(Command::Put(put(request)))
}

/// KV.Put, from the node.
pub fn put_response(reply: Reply) -> Result<pb::PutResponse, Rejection> {
    match reply {
        Ok((from, Response::Write(CommandResult::Put { prev_kv }))) => {
            Ok(put_result(header(&from), prev_kv))
        }
        other => unexpected(other),
    }
}

/// KV.DeleteRange, to the node.
pub fn delete_range_request(request: pb::DeleteRangeRequest) -> Result<Request, Rejection> {
    must_fit(&request)?;
    write(Command::DeleteRange(delete_range(request)))
}

/// KV.DeleteRange, from the node.
pub fn delete_range_response(reply: Reply) -> Result<pb::DeleteRangeResponse, Rejection> {
    match reply {
        Ok((from, Response::Write(CommandResult::DeleteRange { deleted, prev_kvs }))) => {
            Ok(delete_range_result(header(&from), deleted, prev_kvs))
        }
        other => unexpected(other),
    }
}

/// KV.Compact, to the node. `physical` has no meaning here: a compaction is answered when it is
/// replicated, and reads below it fail from then on; when its bytes leave the disk is the engine's
/// affair.
pub fn compact_request(request: &pb::CompactionRequest) -> Result<Request, Rejection> {
    write(Command::Compact { revision: Revision(request.revision) })
}

/// KV.Compact, from the node.
pub fn compact_response(reply: Reply) -> Result<pb::CompactionResponse, Rejection> {
    match reply {
        Ok((from, Response::Write(CommandResult::Compact))) => {
            Ok(pb::CompactionResponse { header: header(&from) })
        }
        other => unexpected(other),
    }
}

/// etcd's bound on a request as a whole.
pub(crate) fn must_fit(message: &impl Message) -> Result<(), Rejection> {
    if message.encoded_len() > MAX_REQUEST_BYTES {
        return Err(RequestError::TooLarge.into());
    }
    Ok(())
}

/// A checked command, as a request.
pub(crate) fn write(command: Command) -> Result<Request, Rejection> {
    validate(&command)?;
    Ok(Request::Write(command))
}

pub(crate) fn range(request: pb::RangeRequest) -> Result<RangeRequest, Rejection> {
    use pb::range_request as wire;
    let sort_order = match wire::SortOrder::try_from(request.sort_order) {
        Ok(wire::SortOrder::None) => SortOrder::None,
        Ok(wire::SortOrder::Ascend) => SortOrder::Ascend,
        Ok(wire::SortOrder::Descend) => SortOrder::Descend,
        Err(_) => return Err(Rejection::InvalidSortOption),
    };
    let sort_target = match wire::SortTarget::try_from(request.sort_target) {
        Ok(wire::SortTarget::Key) => SortTarget::Key,
        Ok(wire::SortTarget::Version) => SortTarget::Version,
        Ok(wire::SortTarget::Create) => SortTarget::Create,
        Ok(wire::SortTarget::Mod) => SortTarget::Mod,
        Ok(wire::SortTarget::Value) => SortTarget::Value,
        Err(_) => return Err(Rejection::InvalidSortOption),
    };
    Ok(RangeRequest {
        range: KeyRange { key: request.key, range_end: request.range_end },
        limit: request.limit,
        revision: Revision(request.revision),
        sort_order,
        sort_target,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: Revision(request.min_mod_revision),
        max_mod_revision: Revision(request.max_mod_revision),
        min_create_revision: Revision(request.min_create_revision),
        max_create_revision: Revision(request.max_create_revision),
    })
}

pub(crate) fn put(request: pb::PutRequest) -> PutRequest {
    PutRequest {
        key: request.key,
        value: request.value,
        lease: LeaseId(request.lease),
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

pub(crate) fn delete_range(request: pb::DeleteRangeRequest) -> DeleteRangeRequest {
    DeleteRangeRequest {
        range: KeyRange { key: request.key, range_end: request.range_end },
        prev_kv: request.prev_kv,
    }
}

pub(crate) fn range_result(
    header: Option<pb::ResponseHeader>,
    result: RangeResult,
) -> pb::RangeResponse {
    let RangeResult { kvs, more, count } = result;
    pb::RangeResponse { header, kvs: key_values(kvs), more, count }
}

pub(crate) fn put_result(
    header: Option<pb::ResponseHeader>,
    prev_kv: Option<KeyValue>,
) -> pb::PutResponse {
    pb::PutResponse { header, prev_kv: prev_kv.map(key_value) }
}

pub(crate) fn delete_range_result(
    header: Option<pb::ResponseHeader>,
    deleted: i64,
    prev_kvs: Vec<KeyValue>,
) -> pb::DeleteRangeResponse {
    pb::DeleteRangeResponse { header, deleted, prev_kvs: key_values(prev_kvs) }
}

/// A key with its value.
#[must_use]
pub fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision.0,
        mod_revision: kv.mod_revision.0,
        version: kv.version,
        value: kv.value,
        lease: kv.lease.0,
    }
}

fn key_values(kvs: Vec<KeyValue>) -> Vec<mvccpb::KeyValue> {
    kvs.into_iter().map(key_value).collect()
}

#[cfg(test)]
mod tests;
