//! One server, real sockets and disk, through its own ports: gRPC and plain HTTP.
// Helpers beside the tests may unwrap, too.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::TcpListener;

use std::time::Duration;

use common::{PATIENCE, get, http_get, kv_client, lone_server, put};
use synod_api::etcd::API_VERSION;
use synod_base::Encoder;
use synod_base::checksum::crc32c;
use synod_proto::etcdserverpb::kv_client::KvClient;
use synod_server::{FolderError, Server, ServerError, ServerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test]
async fn what_was_put_is_there_and_still_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = lone_server(dir.path());
    let info = server.info().clone();
    let mut kv = kv_client(&server).await;
    put(&mut kv, "a", "1").await;
    assert_eq!(get(&mut kv, "a").await.as_deref(), Some("1"));
    server.stop().unwrap();
    let server = lone_server(dir.path());
    assert_eq!((server.info().node, server.info().cluster), (info.node, info.cluster));
    let mut kv = kv_client(&server).await;
    assert_eq!(get(&mut kv, "a").await.as_deref(), Some("1"));
    assert_eq!(get(&mut kv, "b").await, None);
}

#[tokio::test]
async fn health_version_and_metrics_are_on_the_client_port() {
    let dir = tempfile::tempdir().unwrap();
    let server = lone_server(dir.path());
    let at = server.info().client_addresses[0];
    put(&mut kv_client(&server).await, "a", "1").await;
    let healthy = (200, r#"{"health":"true","reason":""}"#.to_owned());
    assert_eq!(http_get(at, "/health").await, healthy);
    assert_eq!(http_get(at, "/health?serializable=true").await, healthy);
    assert_eq!(http_get(at, "/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(http_get(at, "/readyz").await, (200, "ok\n".to_owned()));
    let (status, version) = http_get(at, "/version").await;
    assert_eq!(status, 200);
    let etcds = format!(r#"{{"etcdserver":"{API_VERSION}","etcdcluster":"3.5.0","synod":"#);
    assert!(version.starts_with(&etcds), "{version}");
    let (status, metrics) = http_get(at, "/metrics").await;
    assert_eq!(status, 200);
    for line in ["synod_keys 1", "synod_revision 2", "synod_has_leader 1", "synod_is_leader 1"] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    }
    assert_eq!(http_get(at, "/nothing").await.0, 404);
}

#[tokio::test]
async fn a_folder_with_less_room_than_the_reserve_serves_reads_only() {
    let dir = tempfile::tempdir().unwrap();
    let server = lone_server(dir.path());
    put(&mut kv_client(&server).await, "a", "1").await;
    server.stop().unwrap();
    let mut options = ServerOptions::new(dir.path(), "n1");
    options.disk_reserve_bytes = u64::MAX;
    let server = Server::start(options).unwrap();
    assert!(server.wait_ready(PATIENCE));
    let mut kv = kv_client(&server).await;
    let refused = common::try_put(&mut kv, "a", "2").await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused:?}");
    assert_eq!(get(&mut kv, "a").await.as_deref(), Some("1"));
    let at = server.info().client_addresses[0];
    let full = (503, r#"{"health":"false","reason":"ALARM NOSPACE"}"#.to_owned());
    assert_eq!(http_get(at, "/health").await, full);
    assert_eq!(http_get(at, "/health?exclude=NOSPACE").await.0, 200);
}

#[tokio::test]
async fn a_client_that_connects_and_says_nothing_whole_is_disconnected() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = ServerOptions::new(dir.path(), "n1");
    options.first_request_timeout = Duration::from_millis(50);
    let server = Server::start(options).unwrap();
    assert!(server.wait_ready(PATIENCE));
    for begun in ["", "GET /he", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(server.info().client_addresses[0]).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "still open after {begun:?}");
    }
    put(&mut kv_client(&server).await, "a", "1").await;
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_a_place_is_free_again_when_one_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = ServerOptions::new(dir.path(), "n1");
    options.max_client_connections = 1;
    let server = Server::start(options).unwrap();
    assert!(server.wait_ready(PATIENCE));
    let mut kv = kv_client(&server).await;
    put(&mut kv, "a", "1").await;
    let mut stream = TcpStream::connect(server.info().client_addresses[0]).await.unwrap();
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok() && rest.is_empty());
    put(&mut kv, "a", "2").await;
    drop(kv);
    let free = async {
        loop {
            let address = format!("http://{}", server.info().client_addresses[0]);
            let Ok(mut kv) = KvClient::connect(address).await else { continue };
            if common::try_put(&mut kv, "a", "3").await.is_ok() {
                return;
            }
        }
    };
    timeout(PATIENCE, free).await.expect("the place is free again");
}

#[tokio::test]
async fn nonsense_from_a_greeted_peer_ends_its_connection_and_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let server = lone_server(dir.path());
    let mut hello = Encoder::new();
    hello.u32(u32::from_le_bytes(*b"SYNO")).u32(1).u8(0);
    hello.u64(server.info().cluster.0).u64(99).u64(server.info().node.0).str("127.0.0.1:1");
    let mut stream = TcpStream::connect(server.info().peer_addresses[0]).await.unwrap();
    for body in [hello.into_vec(), vec![0xfe; 300]] {
        let mut frame = Encoder::new();
        frame.u32(u32::try_from(body.len()).unwrap()).u32(crc32c(&body)).raw(&body);
        stream.write_all(&frame.into_vec()).await.unwrap();
    }
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection is still open");
    put(&mut kv_client(&server).await, "a", "1").await;
}

#[test]
fn what_is_taken_or_does_not_fit_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let server = lone_server(dir.path());
    let again = Server::start(ServerOptions::new(dir.path(), "n1"));
    assert!(matches!(again, Err(ServerError::Folder(FolderError::Locked { .. }))));
    drop(server);

    let other_name = Server::start(ServerOptions::new(dir.path(), "n2"));
    assert!(matches!(other_name, Err(ServerError::Folder(FolderError::OtherName { .. }))));
    let mut options = ServerOptions::new(dir.path(), "n1");
    options.cluster_token = "another".into();
    let other_cluster = Server::start(options);
    assert!(matches!(other_cluster, Err(ServerError::Folder(FolderError::OtherCluster { .. }))));

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = ServerOptions::new(dir.path(), "n1");
    options.listen_client = vec![taken.local_addr().unwrap().to_string()];
    let refused = Server::start(options);
    assert!(matches!(refused, Err(ServerError::AddressInUse { .. })));

    let mut options = ServerOptions::new(dir.path(), "n1");
    options.listen_peer = vec!["0.0.0.0:0".into()];
    let refused = Server::start(options);
    assert!(matches!(refused, Err(ServerError::Options(_))), "{refused:?}");
}
