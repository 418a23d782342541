//! The conformance suite of `Kv` over a real node: from inside its process, and from outside.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use synod::client::{Embedded, Remote, RemoteOptions, conformance};
use synod::server::{Server, ServerOptions};
use tempfile::TempDir;

fn start(data: &TempDir) -> Server {
    Server::start(ServerOptions::new(data.path(), "n1"))
        .expect("a server starts on an empty folder")
}

#[tokio::test]
async fn an_embedded_node_passes_the_conformance_suite() {
    let data = TempDir::new().unwrap();
    let server = start(&data);
    conformance::run_all(&Embedded::new(server.node().clone()), "embedded").await;
    server.stop().unwrap();
}

#[tokio::test]
async fn a_remote_node_passes_the_conformance_suite() {
    let data = TempDir::new().unwrap();
    let server = start(&data);
    let endpoint = server.info().client_addresses[0].to_string();
    let kv = Remote::new(&[endpoint], RemoteOptions::default()).unwrap();
    conformance::run_all(&kv, "remote").await;
    server.stop().unwrap();
}
