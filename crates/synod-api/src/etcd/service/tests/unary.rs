//! Calls with one request and one answer.

use synod_base::limits::MAX_REQUEST_BYTES;
use synod_node::RequestError;
use synod_proto::etcdserverpb as pb;
use synod_proto::etcdserverpb::cluster_client::ClusterClient;
use synod_proto::etcdserverpb::kv_client::KvClient;
use synod_proto::etcdserverpb::lease_client::LeaseClient;
use synod_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use synod_proto::grpc::health::v1 as health;
use synod_proto::grpc::health::v1::health_client::HealthClient;
use tonic::Code;
use tonic::service::Routes;

use super::{TestNode, run, seen, start};
use crate::etcd::service::{MAX_DECODED_BYTES, routes};

fn serve(script: TestNode) -> Routes {
    routes(&start(script))
}

fn put(key: &str, value: impl Into<bytes::Bytes>) -> pb::PutRequest {
    pb::PutRequest { key: key.to_owned().into(), value: value.into(), ..Default::default() }
}

fn get(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.to_owned().into(), ..Default::default() }
}

#[test]
fn a_key_is_put_read_changed_in_a_transaction_and_deleted() {
    run(async {
        let mut kv = KvClient::new(serve(TestNode::default()));
        let header = kv.put(put("k", "1")).await.unwrap().into_inner().header.unwrap();
        let expected =
            pb::ResponseHeader { cluster_id: 77, member_id: 1, revision: 2, raft_term: 2 };
        assert_eq!(header, expected);
        let read = kv.range(get("k")).await.unwrap().into_inner();
        assert_eq!((read.count, &read.kvs[0].value[..]), (1, &b"1"[..]));

        let compare = pb::Compare {
            target: pb::compare::CompareTarget::Mod.into(),
            key: "k".into(),
            target_union: Some(pb::compare::TargetUnion::ModRevision(2)),
            ..Default::default()
        };
        let nested = pb::TxnRequest {
            success: vec![op(pb::request_op::Request::RequestRange(get("k")))],
            ..Default::default()
        };
        let txn = pb::TxnRequest {
            compare: vec![compare],
            success: vec![
                op(pb::request_op::Request::RequestPut(put("k", "2"))),
                op(pb::request_op::Request::RequestTxn(nested)),
            ],
            failure: vec![],
        };
        let done = kv.txn(txn.clone()).await.unwrap().into_inner();
        assert!(done.succeeded);
        let Some(pb::response_op::Response::ResponseTxn(inner)) = &done.responses[1].response
        else {
            panic!("a nested answer")
        };
        let Some(pb::response_op::Response::ResponseRange(seen)) = &inner.responses[0].response
        else {
            panic!("a range")
        };
        assert_eq!(seen.kvs[0].value, "2", "it sees the operation before it");
        assert!(!kv.txn(txn).await.unwrap().into_inner().succeeded);

        let gone = pb::DeleteRangeRequest { key: "k".into(), prev_kv: true, ..Default::default() };
        let gone = kv.delete_range(gone).await.unwrap().into_inner();
        assert_eq!((gone.deleted, gone.prev_kvs[0].version), (1, 2));
    });
}

fn op(request: pb::request_op::Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

#[test]
fn compacted_and_future_revisions_are_out_of_range() {
    run(async {
        let mut kv = KvClient::new(serve(TestNode::default()));
        for value in ["1", "2", "3"] {
            kv.put(put("k", value)).await.unwrap();
        }
        kv.compact(pb::CompactionRequest { revision: 3, physical: true }).await.unwrap();
        let old = kv.range(pb::RangeRequest { revision: 2, ..get("k") }).await;
        let words = "etcdserver: mvcc: required revision has been compacted".to_owned();
        assert_eq!(seen(old), (Code::OutOfRange, words.clone()));
        let again = kv.compact(pb::CompactionRequest { revision: 3, physical: false }).await;
        assert_eq!(seen(again), (Code::OutOfRange, words));
        let future = kv.range(pb::RangeRequest { revision: 99, ..get("k") }).await;
        let words = "etcdserver: mvcc: required revision is a future revision".to_owned();
        assert_eq!(seen(future), (Code::OutOfRange, words));
    });
}

#[test]
fn refused_requests_carry_etcds_code_and_words() {
    run(async {
        let mut kv = KvClient::new(serve(TestNode::default()));
        let words = "etcdserver: key is not provided".to_owned();
        assert_eq!(seen(kv.put(put("", "v")).await), (Code::InvalidArgument, words));
        let leased = pb::PutRequest { lease: 5, ..put("k", "v") };
        let words = "etcdserver: requested lease not found".to_owned();
        assert_eq!(seen(kv.put(leased).await), (Code::NotFound, words));
        let sorted = pb::RangeRequest { sort_order: 7, ..get("k") };
        let words = "etcdserver: invalid sort option".to_owned();
        assert_eq!(seen(kv.range(sorted).await), (Code::InvalidArgument, words));
    });
}

#[test]
fn an_oversize_request_is_told_so_and_a_huge_one_is_not_even_decoded() {
    run(async {
        let mut kv = KvClient::new(serve(TestNode::default()));
        let oversize = kv.put(put("k", vec![0; MAX_REQUEST_BYTES])).await;
        let words = "etcdserver: request is too large".to_owned();
        assert_eq!(seen(oversize), (Code::InvalidArgument, words));
        let huge = kv.put(put("k", vec![0; MAX_DECODED_BYTES])).await;
        assert_eq!(seen(huge).0, Code::OutOfRange);
    });
}

#[test]
fn a_node_that_cannot_answer_says_why() {
    run(async {
        let script = TestNode { fails_with: Some(RequestError::NoLeader), ..TestNode::default() };
        let mut kv = KvClient::new(serve(script));
        let words = "etcdserver: no leader".to_owned();
        assert_eq!(seen(kv.range(get("k")).await), (Code::Unavailable, words));
    });
}

#[test]
fn a_node_that_has_stopped_says_so() {
    run(async {
        let (node, inbox) = synod_client::NodeHandle::new(1);
        drop(inbox);
        let mut kv = KvClient::new(routes(&node));
        let words = "etcdserver: server stopped".to_owned();
        assert_eq!(seen(kv.put(put("k", "v")).await), (Code::Unavailable, words));
    });
}

#[test]
fn leases_are_granted_asked_for_listed_and_revoked_with_their_keys() {
    run(async {
        let routes = serve(TestNode::default());
        let (mut kv, mut lease) = (KvClient::new(routes.clone()), LeaseClient::new(routes));
        let granted = lease.lease_grant(pb::LeaseGrantRequest { ttl: 30, id: 0 }).await;
        let granted = granted.unwrap().into_inner();
        assert_eq!((granted.id, granted.ttl), (1000, 30));
        kv.put(pb::PutRequest { lease: granted.id, ..put("k", "v") }).await.unwrap();
        let ask = pb::LeaseTimeToLiveRequest { id: granted.id, keys: true };
        let left = lease.lease_time_to_live(ask).await.unwrap().into_inner();
        assert_eq!((left.ttl, left.granted_ttl, &left.keys[0][..]), (29, 30, &b"k"[..]));
        let all = lease.lease_leases(pb::LeaseLeasesRequest {}).await.unwrap().into_inner();
        assert_eq!(all.leases, [pb::LeaseStatus { id: 1000 }]);
        lease.lease_revoke(pb::LeaseRevokeRequest { id: 1000 }).await.unwrap();
        assert_eq!(kv.range(get("k")).await.unwrap().into_inner().count, 0);
        let gone = lease.lease_time_to_live(pb::LeaseTimeToLiveRequest { id: 1000, keys: false });
        assert_eq!(gone.await.unwrap().into_inner().ttl, -1);
    });
}

#[test]
fn members_are_listed_and_changed_and_refusals_keep_their_words() {
    run(async {
        let mut cluster = ClusterClient::new(serve(TestNode::default()));
        let add = pb::MemberAddRequest { peer_urls: vec![], is_learner: true };
        let added = cluster.member_add(add).await.unwrap().into_inner();
        assert!(added.member.unwrap().is_learner);
        let list = cluster.member_list(pb::MemberListRequest { linearizable: true }).await;
        assert_eq!(list.unwrap().into_inner().members.len(), 2);
        let remove = cluster.member_remove(pb::MemberRemoveRequest { id: 1 }).await;
        assert_eq!(seen(remove).0, Code::FailedPrecondition);
        let update = pb::MemberUpdateRequest { id: 1, peer_urls: vec![] };
        assert_eq!(seen(cluster.member_update(update).await).0, Code::InvalidArgument);
        let promote = cluster.member_promote(pb::MemberPromoteRequest { id: 1 }).await;
        assert_eq!(seen(promote).0, Code::FailedPrecondition);
    });
}

#[test]
fn operators_get_status_and_hash_and_a_clear_no_for_the_rest() {
    run(async {
        let mut maintenance = MaintenanceClient::new(serve(TestNode::default()));
        let status = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
        assert_eq!((status.version.as_str(), status.leader), ("3.5.21", 1));
        let hash = maintenance.hash_kv(pb::HashKvRequest { revision: 1 }).await.unwrap();
        assert_eq!(hash.into_inner().hash, 5);
        assert!(maintenance.defragment(pb::DefragmentRequest {}).await.is_ok());
        assert!(maintenance.alarm(pb::AlarmRequest::default()).await.is_ok());
        assert!(maintenance.move_leader(pb::MoveLeaderRequest { target_id: 2 }).await.is_ok());
        let odd = maintenance.move_leader(pb::MoveLeaderRequest { target_id: 9 }).await;
        assert_eq!(seen(odd).1, "etcdserver: bad leader transferee");
        assert_eq!(seen(maintenance.hash(pb::HashRequest {}).await).0, Code::Unimplemented);
        let snapshot = maintenance.snapshot(pb::SnapshotRequest {}).await;
        assert_eq!(seen(snapshot).0, Code::Unimplemented);
        let downgrade = maintenance.downgrade(pb::DowngradeRequest::default()).await;
        assert_eq!(seen(downgrade).0, Code::Unimplemented);
    });
}

#[test]
fn the_space_alarm_is_listed_and_cannot_be_cleared_while_the_disk_is_full() {
    run(async {
        let clear = pb::AlarmRequest { action: 2, member_id: 1, alarm: 1 };
        let mut full =
            MaintenanceClient::new(serve(TestNode { disk_full: true, ..Default::default() }));
        let listed = full.alarm(pb::AlarmRequest::default()).await.unwrap().into_inner();
        assert_eq!(listed.alarms, [pb::AlarmMember { member_id: 1, alarm: 1 }]);
        let (code, words) = seen(full.alarm(clear).await);
        assert_eq!(code, Code::FailedPrecondition);
        assert!(words.contains("NOSPACE stands") && words.contains("make room"), "{words}");
        let mut roomy = MaintenanceClient::new(serve(TestNode::default()));
        assert_eq!(roomy.alarm(clear).await.unwrap().into_inner().alarms, []);
    });
}

#[test]
fn health_follows_the_leader() {
    run(async {
        for (leaderless, status) in [(false, 1), (true, 2)] {
            let script = TestNode { leaderless, ..TestNode::default() };
            let mut client = HealthClient::new(serve(script));
            for service in ["", "etcdserverpb.KV"] {
                let request = health::HealthCheckRequest { service: service.to_owned() };
                let answer = client.check(request).await.unwrap().into_inner();
                assert_eq!(answer.status, status);
            }
            let request = health::HealthCheckRequest { service: "no.such".to_owned() };
            assert_eq!(seen(client.check(request).await).0, Code::NotFound);
        }
    });
}
