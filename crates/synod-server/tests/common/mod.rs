//! Starting servers and talking to them, for the tests of this crate.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use synod_proto::etcdserverpb::kv_client::KvClient;
use synod_proto::etcdserverpb::{PutRequest, RangeRequest};
use synod_server::{Server, ServerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Status;
use tonic::transport::Channel;

pub const PATIENCE: Duration = Duration::from_secs(30);

/// A lone server on free ports that answers.
pub fn lone_server(data: &Path) -> Server {
    let server = Server::start(ServerOptions::new(data, "n1")).unwrap();
    assert!(server.wait_ready(PATIENCE));
    server
}

pub async fn kv_client(server: &Server) -> KvClient<Channel> {
    let address = server.info().client_addresses[0];
    KvClient::connect(format!("http://{address}")).await.unwrap()
}

pub async fn try_put(kv: &mut KvClient<Channel>, key: &str, value: &str) -> Result<(), Status> {
    let request = PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..PutRequest::default()
    };
    kv.put(request).await.map(drop)
}

pub async fn put(kv: &mut KvClient<Channel>, key: &str, value: &str) {
    try_put(kv, key, value).await.unwrap();
}

pub async fn get(kv: &mut KvClient<Channel>, key: &str) -> Option<String> {
    let request = RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() };
    let mut found = kv.range(request).await.unwrap().into_inner().kvs;
    assert!(found.len() <= 1);
    found.pop().map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())
}

/// Status and body of an HTTP/1.1 GET.
pub async fn http_get(at: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}
