//! Requests of a stream, deliveries to it, and what is refused at the edge.

use pb::watch_request::RequestUnion;
use synod_base::{ClusterId, NodeId, Term};
use synod_state::kv::{Event, KeyValue};

use super::*;

const STREAM: StreamId = StreamId(3);
const HEADER: Header =
    Header { cluster: ClusterId(1), member: NodeId(2), revision: Revision(30), term: Term(4) };

fn asks(union: RequestUnion) -> Result<Option<WatchRequest>, CreateRefused> {
    watch_request(STREAM, pb::WatchRequest { request_union: Some(union) })
}

fn creates(create: pb::WatchCreateRequest) -> Result<WatchSpec, CreateRefused> {
    match asks(RequestUnion::CreateRequest(create))? {
        Some(WatchRequest::Create { stream: STREAM, spec }) => Ok(spec),
        other => panic!("not a creation: {other:?}"),
    }
}

fn delivers(watch_id: i64, kind: WatchKind) -> pb::WatchResponse {
    watch_response(WatchDelivery { stream: STREAM, watch_id, header: HEADER, kind, bytes: 1 })
}

fn response(watch_id: i64) -> pb::WatchResponse {
    pb::WatchResponse { header: header(&HEADER), watch_id, ..Default::default() }
}

#[test]
fn every_field_of_a_new_watch_arrives() {
    let wire = pb::WatchCreateRequest {
        key: "a".into(),
        range_end: "b".into(),
        start_revision: 5,
        progress_notify: true,
        filters: vec![1, 0, 9],
        prev_kv: true,
        watch_id: 6,
        fragment: true,
    };
    let expected = WatchSpec {
        watch_id: 6,
        range: KeyRange { key: "a".into(), range_end: "b".into() },
        start_revision: Revision(5),
        prev_kv: true,
        no_put: true,
        no_delete: true,
        progress_notify: true,
        fragment: true,
    };
    assert_eq!(creates(wire.clone()), Ok(expected.clone()));
    let no_delete = pb::WatchCreateRequest { filters: vec![1], ..wire.clone() };
    assert_eq!(creates(no_delete), Ok(WatchSpec { no_put: false, ..expected.clone() }));
    let no_put = pb::WatchCreateRequest { filters: vec![0], ..wire };
    assert_eq!(creates(no_put), Ok(WatchSpec { no_delete: false, ..expected }));
}

#[test]
fn cancel_and_progress_arrive_and_an_empty_message_is_skipped() {
    let cancel = pb::WatchCancelRequest { watch_id: 6 };
    assert_eq!(
        asks(RequestUnion::CancelRequest(cancel)),
        Ok(Some(WatchRequest::Cancel { stream: STREAM, watch_id: 6 }))
    );
    assert_eq!(
        asks(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})),
        Ok(Some(WatchRequest::Progress { stream: STREAM }))
    );
    assert_eq!(watch_request(STREAM, pb::WatchRequest::default()), Ok(None));
}

#[test]
fn an_empty_key_means_the_smallest_one() {
    let all = pb::WatchCreateRequest { range_end: vec![0].into(), ..Default::default() };
    let range = KeyRange { key: vec![0].into(), range_end: vec![0].into() };
    assert_eq!(creates(all).map(|spec| spec.range), Ok(range));
}

#[test]
fn a_negative_start_and_an_empty_range_are_refused_with_etcds_words() {
    let negative = pb::WatchCreateRequest { start_revision: -1, ..Default::default() };
    let words = "etcdserver: mvcc: required revision has been compacted";
    assert_eq!(creates(negative), Err(CreateRefused(words)));
    for end in ["a", "b"] {
        let empty =
            pb::WatchCreateRequest { key: "b".into(), range_end: end.into(), ..Default::default() };
        assert_eq!(creates(empty), Err(CreateRefused("mvcc: watcher range is empty")));
    }
    let expected = pb::WatchResponse {
        created: true,
        canceled: true,
        cancel_reason: "why".to_owned(),
        ..response(-1)
    };
    assert_eq!(refused_response(&HEADER, CreateRefused("why")), expected);
}

#[test]
fn every_kind_of_delivery_leaves_as_etcd_words_it() {
    assert_eq!(delivers(6, WatchKind::Created), pb::WatchResponse { created: true, ..response(6) });
    assert_eq!(delivers(-1, WatchKind::Progress), response(-1));
    let ended = |compact_revision, reason: &str| WatchKind::Canceled {
        compact_revision: Revision(compact_revision),
        reason: reason.to_owned(),
    };
    assert_eq!(
        delivers(6, ended(9, "late")),
        pb::WatchResponse {
            canceled: true,
            compact_revision: 9,
            cancel_reason: "late".to_owned(),
            ..response(6)
        }
    );
    let refused = delivers(-1, ended(0, "duplicate"));
    assert!(refused.created && refused.canceled, "one message, as etcd's client wants it");
}

#[test]
fn every_field_of_an_event_leaves() {
    let kv = KeyValue { key: "k".into(), mod_revision: Revision(9), ..KeyValue::default() };
    let before = KeyValue { key: "k".into(), value: "old".into(), ..KeyValue::default() };
    let event = |kind, prev_kv| WatchEvent { event: Event { kind, kv: kv.clone() }, prev_kv };
    let events = vec![event(EventKind::Put, Some(before.clone())), event(EventKind::Delete, None)];
    let wire = vec![
        mvccpb::Event {
            r#type: 0,
            kv: Some(key_value(kv.clone())),
            prev_kv: Some(key_value(before)),
        },
        mvccpb::Event { r#type: 1, kv: Some(key_value(kv.clone())), prev_kv: None },
    ];
    let got = delivers(6, WatchKind::Events { events, more: true });
    assert_eq!(got, pb::WatchResponse { fragment: true, events: wire, ..response(6) });
}
