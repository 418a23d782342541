//! Requests that are refused, through our own client; etcd's sees them in `etcdctl.rs`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::support::cluster::Cluster;
use crate::support::load::runtime;
use crate::support::{http, refused, succeed, synod};

/// The most that a request may have, in bytes.
const MAX_REQUEST_BYTES: usize = 1536 * 1024;

#[test]
fn a_refused_request_says_what_to_change_and_changes_nothing() {
    let cluster = Cluster::start(1);
    let client = cluster.nodes[0].client();
    let at = ["--endpoints", &client];
    let refused = |arguments: &[&str]| refused(&[arguments, &at[..]].concat(), 1);
    succeed(&[&["put", "k", "v"][..], &at].concat());

    let line = refused(&["put", "", "v"]);
    assert!(line.contains("key is not provided") && line.contains("name a key"), "{line}");
    let line = refused(&["get", "k", "--rev", "1000"]);
    assert!(line.contains("future revision") && line.contains("synod status"), "{line}");
    for unknown in [&["put", "k", "w", "--lease", "123"][..], &["lease", "revoke", "123"]] {
        let line = refused(unknown);
        assert!(line.contains("lease not found") && line.contains("synod lease grant"), "{line}");
    }
    let kept = succeed(&[&["get", "", "--prefix"][..], &at].concat());
    assert_eq!(kept, "k\nv\n");
}

#[test]
fn a_request_over_the_limit_is_refused_and_one_below_it_is_not() {
    let cluster = Cluster::start(1);
    let client = cluster.nodes[0].client();
    let file = cluster.folder().join("value");
    let put = |bytes: usize| {
        fs::write(&file, vec![b'v'; bytes]).unwrap();
        let mut command = synod(&["put", "large", "-", "--endpoints", &client]);
        command.stdin(File::open(&file).unwrap()).output().unwrap()
    };
    let output = put(MAX_REQUEST_BYTES - 1024);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for too_many in [MAX_REQUEST_BYTES, 3 * MAX_REQUEST_BYTES] {
        let output = put(too_many);
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(line.contains("too large") && line.contains("1.5 MiB"), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
    }
    let kept = succeed(&["get", "large", "--values-only", "--endpoints", &client]);
    assert_eq!(kept.len(), MAX_REQUEST_BYTES - 1024 + 1);
    assert!(http::is_healthy(&client));
}

#[test]
fn bytes_that_are_no_request_neither_stop_nor_swell_the_client_port() {
    let mut cluster = Cluster::start(1);
    let client = cluster.nodes[0].client();
    assert!(http::is_healthy(&client));
    let before = cluster.nodes[0].process().resident_bytes();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let long_target = [b"GET /".to_vec(), vec![b'a'; 1 << 20]].concat();
    let long_header = [b"GET / HTTP/1.1\r\nA: ".to_vec(), vec![b'a'; 1 << 20]].concat();
    let declared = b"POST /health HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n".to_vec();
    // A settings frame that declares 16 MiB, and one of an unknown kind.
    let long_frame = [&preface[..], &[0xff, 0xff, 0xff, 4, 0, 0, 0, 0, 0]].concat();
    let odd_frame = [&preface[..], &[0, 0, 1, 0xee, 0xff, 0x7f, 0, 0, 1, 9]].concat();
    for _ in 0..ROUNDS {
        for bytes in [&long_target, &long_header, &declared, &long_frame, &odd_frame] {
            let mut stream = TcpStream::connect(&client).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            // The server may hang up before all is sent; what it says then is its business.
            drop(stream.write_all(bytes));
            drop(stream.read(&mut [0; 1024]));
        }
    }
    assert!(http::is_healthy(&client));
    let grown = cluster.nodes[0].process().resident_bytes().saturating_sub(before);
    assert!(grown < MAX_GROWTH_BYTES, "grew by {grown} bytes");
    succeed(&["put", "k", "v", "--endpoints", &client]);
}

#[test]
fn a_grpc_message_that_declares_four_gigabytes_is_refused_at_once() {
    let mut cluster = Cluster::start(1);
    let client = cluster.nodes[0].client();
    assert!(http::is_healthy(&client));
    let before = cluster.nodes[0].process().resident_bytes();
    // Not compressed, four bytes of length, and the first byte of what never comes.
    let body = Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, b'x']);
    for path in ["KV/Put", "KV/Range", "KV/Txn", "Lease/LeaseGrant", "Watch/Watch"] {
        for _ in 0..ROUNDS {
            let status = runtime().block_on(grpc_status(&client, path, body.clone()));
            // OUT_OF_RANGE as our gRPC library says it, or RESOURCE_EXHAUSTED as etcd's does.
            assert!(status == "11" || status == "8", "{path}: {status}");
        }
    }
    let grown = cluster.nodes[0].process().resident_bytes().saturating_sub(before);
    assert!(grown < MAX_GROWTH_BYTES, "grew by {grown} bytes");
    succeed(&["put", "k", "v", "--endpoints", &client]);
}

#[test]
fn services_and_methods_that_are_not_there_are_unimplemented() {
    let cluster = Cluster::start(1);
    let client = cluster.nodes[0].client();
    // No bytes of a message: all fields have their defaults.
    let body = Bytes::from_static(&[0, 0, 0, 0, 0]);
    for path in ["Auth/Authenticate", "Auth/AuthEnable", "Auth/UserAdd", "KV/Nothing", "No/Such"] {
        let status = runtime().block_on(grpc_status(&client, path, body.clone()));
        assert_eq!(status, "12", "{path} is UNIMPLEMENTED");
    }
    for path in ["Maintenance/Snapshot", "Maintenance/Hash", "Maintenance/Downgrade"] {
        let status = runtime().block_on(grpc_status(&client, path, body.clone()));
        assert_eq!(status, "12", "{path} is UNIMPLEMENTED");
    }
    assert!(http::is_healthy(&client));
}

/// Sends these bytes as the body of a gRPC call; the status in the answer's headers or trailers.
async fn grpc_status(client: &str, path: &str, body: Bytes) -> String {
    let stream = tokio::net::TcpStream::connect(client).await.expect("it listens");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("it speaks HTTP/2");
    tokio::spawn(connection);
    let request = hyper::Request::post(format!("http://{client}/etcdserverpb.{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(body))
        .expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    let (head, body) = answer.into_parts();
    let trailers = body.collect().await.expect("the whole answer").trailers().cloned();
    let status = head.headers.get("grpc-status").cloned();
    let status = status.or_else(|| trailers?.get("grpc-status").cloned());
    status.expect("a gRPC status").to_str().expect("digits").to_owned()
}

const ROUNDS: usize = 40;

/// Far less than was declared and sent.
const MAX_GROWTH_BYTES: u64 = 32 * 1024 * 1024;
