//! Bytes of messages as etcd's clients send them, and what a hostile length does.

use prost::Message;
use synod_proto::etcdserverpb as pb;

#[test]
fn a_put_request_has_the_bytes_that_etcds_clients_send() {
    let put = pb::PutRequest {
        key: "k".into(),
        value: "v".into(),
        lease: 3,
        prev_kv: true,
        ignore_value: true,
        ignore_lease: true,
    };
    let bytes = [10, 1, b'k', 18, 1, b'v', 24, 3, 32, 1, 40, 1, 48, 1];
    assert_eq!(put.encode_to_vec(), bytes);
    assert_eq!(pb::PutRequest::decode(&bytes[..]), Ok(put));
}

#[test]
fn fields_with_high_numbers_and_unknown_fields_are_read() {
    // range_end is field 64 of a comparison; field 99 is from the future.
    let bytes = [26, 1, b'a', 130, 4, 1, b'b', 152, 6, 1];
    let compare = pb::Compare { key: "a".into(), range_end: "b".into(), ..Default::default() };
    assert_eq!(pb::Compare::decode(&bytes[..]), Ok(compare));
}

#[test]
fn a_declared_length_beyond_the_message_is_an_error_not_an_allocation() {
    let claims_two_gigabytes = [18, 0xff, 0xff, 0xff, 0xff, 0x07, b'v'];
    assert!(pb::PutRequest::decode(&claims_two_gigabytes[..]).is_err());
}

#[test]
fn a_transaction_nested_without_end_is_refused_by_the_decoder() {
    let nest = |inner: pb::TxnRequest| {
        let request = Some(pb::request_op::Request::RequestTxn(inner));
        pb::TxnRequest { success: vec![pb::RequestOp { request }], ..Default::default() }
    };
    let nested = |depth| (0..depth).fold(pb::TxnRequest::default(), |txn, _| nest(txn));
    let read = |txn: pb::TxnRequest| pb::TxnRequest::decode(txn.encode_to_vec().as_slice());
    assert!(read(nested(20)).is_ok());
    assert!(read(nested(1000)).is_err());
}
