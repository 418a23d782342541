//! Conditions, operations, nesting, and which transactions are reads.

use synod_base::limits::{MAX_REQUEST_BYTES, MAX_TXN_OPS};
use synod_node::RequestError;
use synod_state::kv::{KeyValue, PutRequest, RangeRequest, RangeResult};

use super::*;
use pb::request_op::Request as Op;

fn wire_op(op: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(op) }
}

fn wire_put(key: &'static str) -> pb::RequestOp {
    let put = pb::PutRequest { key: key.into(), value: "v".into(), ..Default::default() };
    wire_op(Op::RequestPut(put))
}

fn wire_get(key: &'static str, serializable: bool) -> pb::RequestOp {
    let range = pb::RangeRequest { key: key.into(), serializable, ..Default::default() };
    wire_op(Op::RequestRange(range))
}

fn wire_txn(success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest { compare: Vec::new(), success, failure }
}

fn our_get(key: &'static str) -> TxnOp {
    TxnOp::Range(RangeRequest { range: KeyRange::one(key), ..RangeRequest::default() })
}

fn our_put(key: &'static str) -> TxnOp {
    TxnOp::Put(PutRequest { key: key.into(), value: "v".into(), ..PutRequest::default() })
}

#[test]
fn a_transaction_arrives_with_both_branches_and_its_nested_ones() {
    let nested = wire_txn(vec![wire_put("b")], vec![wire_get("c", false)]);
    let delete = pb::DeleteRangeRequest { key: "d".into(), range_end: "e".into(), prev_kv: true };
    let request = wire_txn(
        vec![wire_put("a"), wire_op(Op::RequestTxn(nested))],
        vec![wire_op(Op::RequestDeleteRange(delete))],
    );
    let range = KeyRange { key: "d".into(), range_end: "e".into() };
    let delete = synod_state::kv::DeleteRangeRequest { range, prev_kv: true };
    let nested =
        TxnRequest { compare: vec![], success: vec![our_put("b")], failure: vec![our_get("c")] };
    let expected = TxnRequest {
        compare: vec![],
        success: vec![our_put("a"), TxnOp::Txn(nested)],
        failure: vec![TxnOp::DeleteRange(delete)],
    };
    assert_eq!(txn_request(request), Ok(Request::Write(Command::Txn(expected))));
}

#[test]
fn every_condition_of_etcd_arrives() {
    use pb::compare::TargetUnion as Value;
    let targets = [
        (Value::Version(5), CompareTarget::Version(5)),
        (Value::CreateRevision(6), CompareTarget::Create(Revision(6))),
        (Value::ModRevision(7), CompareTarget::Mod(Revision(7))),
        (Value::Value("v".into()), CompareTarget::Value("v".into())),
        (Value::Lease(8), CompareTarget::Lease(LeaseId(8))),
    ];
    let results = [
        CompareResult::Equal,
        CompareResult::Greater,
        CompareResult::Less,
        CompareResult::NotEqual,
    ];
    for (target, (value, our_target)) in (0..).zip(targets) {
        for (result, our_result) in (0..).zip(results) {
            let wire = pb::Compare {
                result,
                target,
                key: "k".into(),
                target_union: Some(value.clone()),
                range_end: "l".into(),
            };
            let ours = Compare {
                range: KeyRange { key: "k".into(), range_end: "l".into() },
                result: our_result,
                target: our_target.clone(),
            };
            assert_eq!(compare(wire), Ok(ours));
        }
    }
}

#[test]
fn a_condition_without_its_value_compares_with_zero_and_an_unknown_one_is_refused() {
    let zeros = [
        CompareTarget::Version(0),
        CompareTarget::Create(Revision(0)),
        CompareTarget::Mod(Revision(0)),
        CompareTarget::Value(bytes::Bytes::new()),
        CompareTarget::Lease(LeaseId::NONE),
    ];
    for (target, zero) in (0..).zip(zeros) {
        let wire = pb::Compare { target, key: "k".into(), ..Default::default() };
        assert_eq!(compare(wire).map(|compare| compare.target), Ok(zero));
    }
    let odd = pb::compare::TargetUnion::Lease(3);
    let wire = pb::Compare { target: 0, target_union: Some(odd), ..Default::default() };
    assert_eq!(compare(wire).map(|compare| compare.target), Ok(CompareTarget::Version(0)));
    let unknown_target = pb::Compare { target: 5, ..Default::default() };
    assert_eq!(compare(unknown_target), Err(Rejection::InvalidCompare));
    let unknown_result = pb::Compare { result: 4, ..Default::default() };
    assert_eq!(compare(unknown_result), Err(Rejection::InvalidCompare));
}

#[test]
fn a_transaction_that_only_reads_is_a_read_as_fresh_as_its_ranges_ask() {
    let linearizable = |success, failure| match txn_request(wire_txn(success, failure)) {
        Ok(Request::ReadTxn { linearizable, .. }) => linearizable,
        other => panic!("not a read: {other:?}"),
    };
    let fresh = || wire_get("k", false);
    let stale = || wire_get("k", true);
    let nested = |op| wire_op(Op::RequestTxn(wire_txn(vec![op], vec![])));
    assert!(linearizable(vec![fresh()], vec![]));
    assert!(!linearizable(vec![stale()], vec![stale()]));
    assert!(linearizable(vec![stale()], vec![fresh()]));
    assert!(linearizable(vec![nested(stale())], vec![]), "as in etcd");
    assert!(linearizable(vec![], vec![]), "a bare comparison is a promise, too");
    let writes = wire_txn(vec![stale()], vec![wire_put("k")]);
    assert!(matches!(txn_request(writes), Ok(Request::Write(_))));
}

#[test]
fn malformed_transactions_never_reach_the_node() {
    let refused = |request| txn_request(request).unwrap_err();
    let empty_op = wire_txn(vec![pb::RequestOp::default()], vec![]);
    assert_eq!(refused(empty_op), Refusal::KeyNotFound.into());
    let twice = wire_txn(vec![], vec![wire_put("k"), wire_put("k")]);
    assert_eq!(refused(twice), Refusal::DuplicateKey.into());
    let many = wire_txn(vec![wire_get("k", false); MAX_TXN_OPS + 1], vec![]);
    assert_eq!(refused(many), Refusal::TooManyOps.into());
    let no_key = pb::TxnRequest { compare: vec![pb::Compare::default()], ..Default::default() };
    assert_eq!(refused(no_key), Refusal::EmptyKey.into());
    let range = pb::RangeRequest { key: "k".into(), sort_target: 9, ..Default::default() };
    let nested = wire_txn(vec![wire_op(Op::RequestRange(range))], vec![]);
    let odd_sort = wire_txn(vec![wire_op(Op::RequestTxn(nested))], vec![]);
    assert_eq!(refused(odd_sort), Rejection::InvalidSortOption);
    let value = vec![0; MAX_REQUEST_BYTES].into();
    let put = pb::PutRequest { key: "k".into(), value, ..Default::default() };
    let large = wire_txn(vec![wire_op(Op::RequestPut(put))], vec![]);
    assert_eq!(refused(large), RequestError::TooLarge.into());
}

#[test]
fn answers_keep_their_order_and_nesting_and_carry_the_revision() {
    let from = Header { revision: Revision(7), ..Header::default() };
    let kv = KeyValue { key: "k".into(), ..KeyValue::default() };
    let inner = TxnResult {
        succeeded: false,
        responses: vec![TxnOpResult::DeleteRange { deleted: 2, prev_kvs: vec![] }],
    };
    let result = TxnResult {
        succeeded: true,
        responses: vec![
            TxnOpResult::Put { prev_kv: Some(kv.clone()) },
            TxnOpResult::Range(RangeResult { kvs: vec![kv.clone()], more: false, count: 1 }),
            TxnOpResult::Txn(inner),
        ],
    };
    let header = Some(pb::ResponseHeader { revision: 7, ..Default::default() });
    use pb::response_op::Response as Answer;
    let op = |response| pb::ResponseOp { response: Some(response) };
    let kv = kv::key_value(kv);
    let nested = pb::TxnResponse {
        header,
        succeeded: false,
        responses: vec![op(Answer::ResponseDeleteRange(pb::DeleteRangeResponse {
            header,
            deleted: 2,
            prev_kvs: vec![],
        }))],
    };
    let expected = pb::TxnResponse {
        header,
        succeeded: true,
        responses: vec![
            op(Answer::ResponsePut(pb::PutResponse { header, prev_kv: Some(kv.clone()) })),
            op(Answer::ResponseRange(pb::RangeResponse {
                header,
                kvs: vec![kv],
                more: false,
                count: 1,
            })),
            op(Answer::ResponseTxn(nested)),
        ],
    };
    let written = Ok((from, Response::Write(CommandResult::Txn(result.clone()))));
    assert_eq!(txn_response(written), Ok(expected.clone()));
    assert_eq!(txn_response(Ok((from, Response::Txn(result)))), Ok(expected));
    assert_eq!(txn_response(Ok((from, Response::Moved))), Err(Rejection::UnexpectedAnswer));
}
