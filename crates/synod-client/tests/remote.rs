//! `Remote` against a real etcd, and against endpoints that are not there.

mod etcd;

use std::time::Duration;

use etcd::{Etcd, free_address};
use synod_client::{Advice, ClientError, Consistency, Happened, Kv, Remote, RemoteOptions};
use synod_node::{RequestError, WatchSpec};
use synod_state::kv::{KeyRange, PutRequest, RangeRequest};
use tempfile::TempDir;
use tokio::net::TcpListener;

fn put(key: &'static str, value: &'static str) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() }
}

fn options() -> RemoteOptions {
    RemoteOptions::default()
}

#[tokio::test]
async fn a_real_etcd_passes_the_conformance_suite() {
    let data = TempDir::new().unwrap();
    let Some(etcd) = Etcd::start(data.path()) else { return };
    let kv = Remote::new(&[&etcd.endpoint], options()).unwrap();
    synod_client::conformance::run_all(&kv, "conformance").await;
}

#[tokio::test]
async fn members_leases_and_status_are_read_from_a_real_etcd() {
    let data = TempDir::new().unwrap();
    let Some(etcd) = Etcd::start(data.path()) else { return };
    let kv = Remote::new(&[&etcd.endpoint], options()).unwrap();
    let (header, members) = kv.member_list().await.unwrap();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].client_urls, [format!("http://{}", etcd.endpoint)]);
    let status = kv.endpoint_status(0).await.unwrap();
    assert_eq!((status.leader, status.header.member), (members[0].id, header.member));
    let (_, granted) = kv.lease_grant(synod_base::LeaseId(77), 60).await.unwrap();
    assert_eq!(kv.lease_list().await.unwrap().1, [granted.id]);
    let last = kv.member_remove(members[0].id).await.unwrap_err();
    assert_eq!(last.happened(), Happened::No, "{last}");
}

#[tokio::test]
async fn a_dead_endpoint_is_passed_over_for_reads_and_writes() {
    let data = TempDir::new().unwrap();
    let Some(etcd) = Etcd::start(data.path()) else { return };
    let kv = Remote::new(&[&free_address(), &etcd.endpoint], options()).unwrap();
    kv.put(put("k", "v")).await.unwrap();
    let kv = Remote::new(&[&free_address(), &etcd.endpoint], options()).unwrap();
    assert_eq!(kv.get("k").await.unwrap().1.unwrap().value, "v");
}

#[tokio::test]
async fn a_watch_goes_on_after_its_server_was_killed_and_started_again() {
    let data = TempDir::new().unwrap();
    let Some(mut etcd) = Etcd::start(data.path()) else { return };
    let kv = Remote::new(&[&etcd.endpoint], options()).unwrap();
    let spec = WatchSpec { range: KeyRange::one("k"), ..WatchSpec::default() };
    let mut watcher = kv.watch(spec).await.unwrap();
    kv.put(put("k", "1")).await.unwrap();
    assert_eq!(watcher.next().await.unwrap().events.len(), 1);
    kv.put(put("k", "2")).await.unwrap();
    etcd.kill();
    let _again = Etcd::start_at(data.path(), &etcd.endpoint).unwrap();
    // The channel of the watcher may still hold the second event, or it comes from history: once.
    kv.get("k").await.unwrap();
    kv.put(put("k", "3")).await.unwrap();
    let mut values = Vec::new();
    while values.len() < 2 {
        let batch = watcher.next().await.unwrap();
        values.extend(batch.events.into_iter().map(|event| event.event.kv.value));
    }
    assert_eq!(values, ["2", "3"]);
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_means_not_applied() {
    let kv = Remote::new(&[free_address()], options()).unwrap();
    let error = kv.put(put("k", "v")).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    assert_eq!((error.happened(), error.advice()), (Happened::No, Advice::GoElsewhere));
}

#[tokio::test]
async fn a_write_to_a_server_that_never_answers_is_unknown_and_sent_once() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let quick = RemoteOptions { request_timeout: Duration::from_millis(200), ..options() };
    let silent_address = silent.local_addr().unwrap().to_string();
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other_address = other.local_addr().unwrap().to_string();
    let kv = Remote::new(&[silent_address, other_address], quick).unwrap();
    let error = tokio::select! {
        answer = kv.put(put("k", "v")) => answer.unwrap_err(),
        _ = other.accept() => panic!("the write was sent to a second endpoint"),
    };
    assert_eq!(error, ClientError::Request(RequestError::TimedOut));
    assert_eq!(error.happened(), Happened::Unknown);

    let read = RangeRequest { range: KeyRange::one("k"), ..RangeRequest::default() };
    let (answer, accepted) =
        tokio::join!(kv.range(read, Consistency::Linearizable), other.accept());
    accepted.expect("a read is sent to the second endpoint");
    assert_eq!(answer.unwrap_err().happened(), Happened::No);
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_before_anything_is_sent() {
    for bad in ["", "localhost", "127.0.0.1:99999", "https://127.0.0.1:2379", ":2379"] {
        let error = Remote::new(&[bad], options()).unwrap_err();
        assert!(matches!(error, ClientError::BadEndpoint { .. }), "{bad}: {error:?}");
    }
}
