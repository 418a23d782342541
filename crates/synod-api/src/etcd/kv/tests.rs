//! Every field of every message, both ways; what is refused at the edge.

use bytes::Bytes;
use synod_base::{ClusterId, NodeId, Term};
use synod_node::Header;
use synod_state::kv::Refusal;

use super::*;

const HEADER: Header =
    Header { cluster: ClusterId(1), member: NodeId(2), revision: Revision(30), term: Term(4) };

fn wire_header() -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { cluster_id: 1, member_id: 2, revision: 30, raft_term: 4 })
}

fn pair(seed: i64) -> (KeyValue, mvccpb::KeyValue) {
    let (key, value) = (Bytes::from(format!("key {seed}")), Bytes::from(format!("value {seed}")));
    let ours = KeyValue {
        key: key.clone(),
        create_revision: Revision(seed + 1),
        mod_revision: Revision(seed + 2),
        version: seed + 3,
        value: value.clone(),
        lease: LeaseId(seed + 4),
    };
    let wire = mvccpb::KeyValue {
        key,
        create_revision: seed + 1,
        mod_revision: seed + 2,
        version: seed + 3,
        value,
        lease: seed + 4,
    };
    (ours, wire)
}

fn full_range() -> (pb::RangeRequest, RangeRequest) {
    let wire = pb::RangeRequest {
        key: "a".into(),
        range_end: "b".into(),
        limit: 1,
        revision: 2,
        sort_order: 2,
        sort_target: 3,
        serializable: true,
        keys_only: true,
        count_only: true,
        min_mod_revision: 4,
        max_mod_revision: 5,
        min_create_revision: 6,
        max_create_revision: 7,
    };
    let ours = RangeRequest {
        range: KeyRange { key: "a".into(), range_end: "b".into() },
        limit: 1,
        revision: Revision(2),
        sort_order: SortOrder::Descend,
        sort_target: SortTarget::Mod,
        keys_only: true,
        count_only: true,
        min_mod_revision: Revision(4),
        max_mod_revision: Revision(5),
        min_create_revision: Revision(6),
        max_create_revision: Revision(7),
    };
    (wire, ours)
}

#[test]
fn every_field_of_a_range_request_arrives() {
    let (wire, ours) = full_range();
    let expected = Request::Range { request: ours, linearizable: false };
    assert_eq!(range_request(wire), Ok(expected));
    let least = pb::RangeRequest { key: "a".into(), ..pb::RangeRequest::default() };
    let range = RangeRequest { range: KeyRange::one("a"), ..RangeRequest::default() };
    let expected = Request::Range { request: range, linearizable: true };
    assert_eq!(range_request(least), Ok(expected));
}

#[test]
fn sort_options_are_etcds_numbers_and_nothing_else() {
    let (wire, ours) = full_range();
    let orders = [SortOrder::None, SortOrder::Ascend, SortOrder::Descend];
    for (sort_order, expected) in (0..).zip(orders) {
        let got = range(pb::RangeRequest { sort_order, ..wire.clone() });
        assert_eq!(got, Ok(RangeRequest { sort_order: expected, ..ours.clone() }));
    }
    let targets = [
        SortTarget::Key,
        SortTarget::Version,
        SortTarget::Create,
        SortTarget::Mod,
        SortTarget::Value,
    ];
    for (sort_target, expected) in (0..).zip(targets) {
        let got = range(pb::RangeRequest { sort_target, ..wire.clone() });
        assert_eq!(got, Ok(RangeRequest { sort_target: expected, ..ours.clone() }));
    }
    for (sort_order, sort_target) in [(3, 0), (0, 5), (-1, 0), (0, -1)] {
        let odd = pb::RangeRequest { sort_order, sort_target, ..wire.clone() };
        assert_eq!(range_request(odd), Err(Rejection::InvalidSortOption));
    }
}

#[test]
fn every_field_of_a_range_response_leaves() {
    let (ours, wire) = pair(10);
    let result = RangeResult { kvs: vec![ours], more: true, count: 9 };
    let expected =
        pb::RangeResponse { header: wire_header(), kvs: vec![wire], more: true, count: 9 };
    assert_eq!(range_response(Ok((HEADER, Response::Range(result)))), Ok(expected));
}

#[test]
fn every_field_of_a_put_arrives_and_leaves() {
    let wire = pb::PutRequest {
        key: "k".into(),
        value: "".into(),
        lease: 0,
        prev_kv: true,
        ignore_value: true,
        ignore_lease: true,
    };
    let ours = PutRequest {
        key: "k".into(),
        value: "".into(),
        lease: LeaseId::NONE,
        prev_kv: true,
        ignore_value: true,
        ignore_lease: true,
    };
    assert_eq!(put_request(wire), Ok(Request::Write(Command::Put(ours))));
    let wire = pb::PutRequest {
        key: "k".into(),
        value: "v".into(),
        lease: 7,
        ..pb::PutRequest::default()
    };
    let ours = PutRequest {
        key: "k".into(),
        value: "v".into(),
        lease: LeaseId(7),
        ..PutRequest::default()
    };
    assert_eq!(put_request(wire), Ok(Request::Write(Command::Put(ours))));
    let (ours, wire) = pair(10);
    let reply = |prev_kv| Ok((HEADER, Response::Write(CommandResult::Put { prev_kv })));
    let expected = pb::PutResponse { header: wire_header(), prev_kv: Some(wire) };
    assert_eq!(put_response(reply(Some(ours))), Ok(expected));
    let expected = pb::PutResponse { header: wire_header(), prev_kv: None };
    assert_eq!(put_response(reply(None)), Ok(expected));
}

#[test]
fn a_value_is_a_slice_of_its_message_not_a_copy() {
    let value = Bytes::from(vec![7; 100]);
    let at = value.as_ptr();
    let wire = pb::PutRequest { key: "k".into(), value, ..pb::PutRequest::default() };
    let Ok(Request::Write(Command::Put(put))) = put_request(wire) else { panic!("a put") };
    assert_eq!(put.value.as_ptr(), at);
}

#[test]
fn every_field_of_a_deletion_arrives_and_leaves() {
    let wire = pb::DeleteRangeRequest { key: "a".into(), range_end: "b".into(), prev_kv: true };
    let range = KeyRange { key: "a".into(), range_end: "b".into() };
    let ours = DeleteRangeRequest { range, prev_kv: true };
    assert_eq!(delete_range_request(wire), Ok(Request::Write(Command::DeleteRange(ours))));
    let (ours, wire) = pair(10);
    let result = CommandResult::DeleteRange { deleted: 3, prev_kvs: vec![ours] };
    let expected =
        pb::DeleteRangeResponse { header: wire_header(), deleted: 3, prev_kvs: vec![wire] };
    assert_eq!(delete_range_response(Ok((HEADER, Response::Write(result)))), Ok(expected));
}

#[test]
fn a_compaction_arrives_and_leaves() {
    for physical in [false, true] {
        let wire = pb::CompactionRequest { revision: 9, physical };
        let command = Command::Compact { revision: Revision(9) };
        assert_eq!(compact_request(&wire), Ok(Request::Write(command)));
    }
    let reply = Ok((HEADER, Response::Write(CommandResult::Compact)));
    assert_eq!(compact_response(reply), Ok(pb::CompactionResponse { header: wire_header() }));
}

#[test]
fn an_empty_key_never_reaches_the_node() {
    let empty = Rejection::from(Refusal::EmptyKey);
    assert_eq!(range_request(pb::RangeRequest::default()), Err(empty.clone()));
    assert_eq!(put_request(pb::PutRequest::default()), Err(empty.clone()));
    assert_eq!(delete_range_request(pb::DeleteRangeRequest::default()), Err(empty));
}

#[test]
fn what_a_put_ignores_must_not_be_given() {
    let put = pb::PutRequest { key: "k".into(), ..pb::PutRequest::default() };
    let with_value = pb::PutRequest { value: "v".into(), ignore_value: true, ..put.clone() };
    assert_eq!(put_request(with_value), Err(Refusal::ValueProvided.into()));
    let with_lease = pb::PutRequest { lease: 1, ignore_lease: true, ..put };
    assert_eq!(put_request(with_lease), Err(Refusal::LeaseProvided.into()));
}

#[test]
fn a_request_is_measured_as_a_whole_message() {
    let put = |value_bytes| pb::PutRequest {
        key: "k".into(),
        value: vec![0; value_bytes].into(),
        ..pb::PutRequest::default()
    };
    // Key: tag, length, one byte. Value: tag, three bytes of length.
    let most = MAX_REQUEST_BYTES - 3 - 4;
    assert!(put_request(put(most)).is_ok());
    assert_eq!(put_request(put(most + 1)), Err(RequestError::TooLarge.into()));
}

#[test]
fn an_answer_to_something_else_is_an_internal_error_and_an_error_stays_itself() {
    let odd = || Ok((HEADER, Response::Moved));
    assert_eq!(range_response(odd()), Err(Rejection::UnexpectedAnswer));
    assert_eq!(put_response(odd()), Err(Rejection::UnexpectedAnswer));
    assert_eq!(delete_range_response(odd()), Err(Rejection::UnexpectedAnswer));
    assert_eq!(compact_response(odd()), Err(Rejection::UnexpectedAnswer));
    let failed = Err(RequestError::NoLeader);
    assert_eq!(put_response(failed), Err(RequestError::NoLeader.into()));
}
