//! KV.Txn: conditions and two lists of operations, nested as deep as the state allows.
//!
//! The decoder bounds how deep a message may nest before this recursion sees it; `validate_txn`
//! holds it to our own bound. Order of the checks: what the schema cannot say (unknown enums, empty
//! operations), then what the state refuses unseen.

use synod_base::{LeaseId, Revision};
use synod_node::{Header, Reply, Request, Response};
use synod_proto::etcdserverpb as pb;
use synod_state::kv::{
    Command, CommandResult, Compare, CompareResult, CompareTarget, KeyRange, Refusal, TxnOp,
    TxnOpResult, TxnRequest, TxnResult, validate_txn,
};

use super::error::{Rejection, unexpected};
use super::header::{header, inner_header};
use super::kv;

/// KV.Txn, to the node. A transaction that cannot write is a read: linearizable, unless each of its
/// operations is a range that asks for less (etcd's rule; without any operation, we keep the
/// promise).
pub fn txn_request(request: pb::TxnRequest) -> Result<Request, Rejection> {
    kv::must_fit(&request)?;
    let linearizable = !is_serializable(&request);
    let request = txn(request)?;
    validate_txn(&request)?;
    if request.is_read_only() {
        return Ok(Request::ReadTxn { request, linearizable });
    }
    Ok(Request::Write(Command::Txn(request)))
}

/// KV.Txn, from the node.
pub fn txn_response(reply: Reply) -> Result<pb::TxnResponse, Rejection> {
    match reply {
        Ok((from, Response::Write(CommandResult::Txn(result)) | Response::Txn(result))) => {
            Ok(txn_result(&from, header(&from), result))
        }
        other => unexpected(other),
    }
}

fn is_serializable(request: &pb::TxnRequest) -> bool {
    let mut ops = request.success.iter().chain(&request.failure).peekable();
    ops.peek().is_some()
        && ops.all(|op| match &op.request {
            Some(pb::request_op::Request::RequestRange(range)) => range.serializable,
            _ => false,
        })
}

fn txn(request: pb::TxnRequest) -> Result<TxnRequest, Rejection> {
    Ok(TxnRequest {
        compare: request.compare.into_iter().map(compare).collect::<Result<_, _>>()?,
        success: request.success.into_iter().map(op).collect::<Result<_, _>>()?,
        failure: request.failure.into_iter().map(op).collect::<Result<_, _>>()?,
    })
}

fn op(op: pb::RequestOp) -> Result<TxnOp, Rejection> {
    use pb::request_op::Request as Op;
    Ok(match op.request {
        Some(Op::RequestRange(request)) => TxnOp::Range(kv::range(request)?),
        Some(Op::RequestPut(request)) => TxnOp::Put(kv::put(request)),
        Some(Op::RequestDeleteRange(request)) => TxnOp::DeleteRange(kv::delete_range(request)),
        Some(Op::RequestTxn(request)) => TxnOp::Txn(txn(request)?),
        // etcd's answer to an operation that is none.
        None => return Err(Refusal::KeyNotFound.into()),
    })
}

/// A target without its value, or with another target's, is compared with zero or nothing, as in
/// etcd.
fn compare(compare: pb::Compare) -> Result<Compare, Rejection> {
    use pb::compare::{CompareResult as Result_, CompareTarget as Target, TargetUnion as Value};
    let result = match Result_::try_from(compare.result) {
        Ok(Result_::Equal) => CompareResult::Equal,
        Ok(Result_::Greater) => CompareResult::Greater,
        Ok(Result_::Less) => CompareResult::Less,
        Ok(Result_::NotEqual) => CompareResult::NotEqual,
        Err(_) => return Err(Rejection::InvalidCompare),
    };
    let target = match (Target::try_from(compare.target), compare.target_union) {
        (Ok(Target::Version), Some(Value::Version(version))) => CompareTarget::Version(version),
        (Ok(Target::Version), _) => CompareTarget::Version(0),
        (Ok(Target::Create), Some(Value::CreateRevision(r))) => CompareTarget::Create(Revision(r)),
        (Ok(Target::Create), _) => CompareTarget::Create(Revision(0)),
        (Ok(Target::Mod), Some(Value::ModRevision(r))) => CompareTarget::Mod(Revision(r)),
        (Ok(Target::Mod), _) => CompareTarget::Mod(Revision(0)),
        (Ok(Target::Value), Some(Value::Value(value))) => CompareTarget::Value(value),
        (Ok(Target::Value), _) => CompareTarget::Value(bytes::Bytes::new()),
        (Ok(Target::Lease), Some(Value::Lease(lease))) => CompareTarget::Lease(LeaseId(lease)),
        (Ok(Target::Lease), _) => CompareTarget::Lease(LeaseId::NONE),
        (Err(_), _) => return Err(Rejection::InvalidCompare),
    };
    let range = KeyRange { key: compare.key, range_end: compare.range_end };
    Ok(Compare { range, result, target })
}

fn txn_result(
    from: &Header,
    header: Option<pb::ResponseHeader>,
    result: TxnResult,
) -> pb::TxnResponse {
    let responses = result.responses.into_iter().map(|result| op_result(from, result)).collect();
    pb::TxnResponse { header, succeeded: result.succeeded, responses }
}

fn op_result(from: &Header, result: TxnOpResult) -> pb::ResponseOp {
    use pb::response_op::Response as Op;
    let header = inner_header(from);
    let response = match result {
        TxnOpResult::Range(result) => Op::ResponseRange(kv::range_result(header, result)),
        TxnOpResult::Put { prev_kv } => Op::ResponsePut(kv::put_result(header, prev_kv)),
        TxnOpResult::DeleteRange { deleted, prev_kvs } => {
            Op::ResponseDeleteRange(kv::delete_range_result(header, deleted, prev_kvs))
        }
        TxnOpResult::Txn(result) => Op::ResponseTxn(txn_result(from, header, result)),
    };
    pb::ResponseOp { response: Some(response) }
}

#[cfg(test)]
mod tests;
