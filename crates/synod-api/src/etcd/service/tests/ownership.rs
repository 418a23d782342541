//! Locks and elections: keys as etcd's clients write them, waiting, release, lost leases.

use synod_proto::etcdserverpb as pb;
use synod_proto::etcdserverpb::kv_client::KvClient;
use synod_proto::etcdserverpb::lease_client::LeaseClient;
use synod_proto::v3electionpb as election;
use synod_proto::v3electionpb::election_client::ElectionClient;
use synod_proto::v3lockpb as lock;
use synod_proto::v3lockpb::lock_client::LockClient;
use tonic::Code;
use tonic::service::Routes;

use super::{TestNode, run, seen, start};
use crate::etcd::service::routes;

async fn world() -> Routes {
    let routes = routes(&start(TestNode::default()));
    for id in [0xa, 0xb] {
        let grant = pb::LeaseGrantRequest { ttl: 60, id };
        LeaseClient::new(routes.clone()).lease_grant(grant).await.unwrap();
    }
    routes
}

async fn revoke(routes: &Routes, id: i64) {
    let request = pb::LeaseRevokeRequest { id };
    LeaseClient::new(routes.clone()).lease_revoke(request).await.unwrap();
}

async fn keys(routes: &Routes) -> Vec<String> {
    let all =
        pb::RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..Default::default() };
    let found = KvClient::new(routes.clone()).range(all).await.unwrap().into_inner();
    found.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect()
}

async fn until_keys(routes: &Routes, count: usize) {
    while keys(routes).await.len() != count {
        tokio::task::yield_now().await;
    }
}

fn wants(lease: i64) -> lock::LockRequest {
    lock::LockRequest { name: "l".into(), lease }
}

#[test]
fn a_lock_is_handed_on_when_it_is_released() {
    run(async {
        let routes = world().await;
        let mut client = LockClient::new(routes.clone());
        let held = client.lock(wants(0xa)).await.unwrap().into_inner();
        assert_eq!(held.key, "l/a");
        assert_eq!(client.lock(wants(0xa)).await.unwrap().into_inner().key, "l/a");
        let mut second = client.clone();
        let waiting = tokio::spawn(async move { second.lock(wants(0xb)).await });
        until_keys(&routes, 2).await;
        assert!(!waiting.is_finished());
        client.unlock(lock::UnlockRequest { key: held.key }).await.unwrap();
        let next = waiting.await.unwrap().unwrap().into_inner();
        assert_eq!(next.key, "l/b");
        assert!(next.header.unwrap().revision >= 4);
        assert_eq!(keys(&routes).await, ["l/b"]);
    });
}

#[test]
fn a_lock_waits_no_longer_than_its_lease_lives() {
    run(async {
        let routes = world().await;
        let mut client = LockClient::new(routes.clone());
        client.lock(wants(0xa)).await.unwrap();
        let mut second = client.clone();
        let waiting = tokio::spawn(async move { second.lock(wants(0xb)).await });
        until_keys(&routes, 2).await;
        revoke(&routes, 0xb).await;
        let words = "etcdserver: requested lease not found".to_owned();
        assert_eq!(seen(waiting.await.unwrap()), (Code::NotFound, words.clone()));
        let unknown = client.lock(wants(0xc)).await;
        assert_eq!(seen(unknown), (Code::NotFound, words));
    });
}

#[test]
fn a_caller_that_goes_away_leaves_the_line() {
    run(async {
        let routes = world().await;
        let mut client = LockClient::new(routes.clone());
        client.lock(wants(0xa)).await.unwrap();
        let mut second = client.clone();
        let waiting = tokio::spawn(async move { second.lock(wants(0xb)).await });
        until_keys(&routes, 2).await;
        waiting.abort();
        until_keys(&routes, 1).await;
        assert_eq!(keys(&routes).await, ["l/a"]);
    });
}

#[test]
fn a_lock_without_a_lease_gets_one_of_a_minute() {
    run(async {
        let routes = world().await;
        let held = LockClient::new(routes.clone()).lock(wants(0)).await.unwrap().into_inner();
        assert_eq!(held.key, "l/3e8");
        let ask = pb::LeaseTimeToLiveRequest { id: 1000, keys: false };
        let left = LeaseClient::new(routes).lease_time_to_live(ask).await.unwrap().into_inner();
        assert_eq!(left.granted_ttl, 60);
    });
}

fn campaign(lease: i64, value: &'static str) -> election::CampaignRequest {
    election::CampaignRequest { name: "e".into(), lease, value: value.into() }
}

#[test]
fn a_leader_is_elected_observed_succeeded_and_its_old_key_rules_no_more() {
    run(async {
        let routes = world().await;
        let mut client = ElectionClient::new(routes.clone());
        let name = || election::LeaderRequest { name: "e".into() };
        let nobody = (Code::Unknown, "election: no leader".to_owned());
        assert_eq!(seen(client.leader(name()).await), nobody);

        let mut leaders = client.observe(name()).await.unwrap().into_inner();
        let first = client.campaign(campaign(0xa, "one")).await.unwrap().into_inner();
        let first = first.leader.unwrap();
        assert_eq!((&first.name[..], &first.key[..]), (&b"e"[..], &b"e/a"[..]));
        assert_eq!((first.rev, first.lease), (2, 0xa));
        let seen_first = leaders.message().await.unwrap().unwrap().kv.unwrap();
        assert_eq!(seen_first.value, "one");

        let mut second = client.clone();
        let waiting = tokio::spawn(async move { second.campaign(campaign(0xb, "two")).await });
        until_keys(&routes, 2).await;
        let announce =
            election::ProclaimRequest { leader: Some(first.clone()), value: "one again".into() };
        client.proclaim(announce.clone()).await.unwrap();
        assert_eq!(leaders.message().await.unwrap().unwrap().kv.unwrap().value, "one again");

        client.resign(election::ResignRequest { leader: Some(first.clone()) }).await.unwrap();
        let next = waiting.await.unwrap().unwrap().into_inner().leader.unwrap();
        assert_eq!(next.key, "e/b");
        assert_eq!(leaders.message().await.unwrap().unwrap().kv.unwrap().value, "two");
        let now = client.leader(name()).await.unwrap().into_inner().kv.unwrap();
        assert_eq!((now.create_revision, &now.value[..]), (next.rev, &b"two"[..]));

        let not_leader = (Code::Unknown, "election: not leader".to_owned());
        assert_eq!(seen(client.proclaim(announce).await), not_leader);
        let again = election::ResignRequest { leader: Some(first) };
        assert!(client.resign(again).await.is_ok(), "as in etcd");
        assert_eq!(keys(&routes).await, ["e/b"]);
    });
}

#[test]
fn calls_of_a_leader_must_name_the_leadership() {
    run(async {
        let mut client = ElectionClient::new(world().await);
        let expected = (Code::Unknown, "\"leader\" field must be provided".to_owned());
        let proclaim = client.proclaim(election::ProclaimRequest::default()).await;
        assert_eq!(seen(proclaim), expected);
        let resign = client.resign(election::ResignRequest::default()).await;
        assert_eq!(seen(resign), expected);
    });
}
