//! Malformed frames on the peer port: noise, lengths that are declared and never sent, strangers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use synod_base::Encoder;
use synod_base::checksum::crc32c;

use crate::support::cluster::Cluster;
use crate::support::{http, succeed};

/// More than a node takes at once, so that its limit on connections is met too.
const CONNECTIONS: usize = 200;

/// Far less than what was declared: thousands of frames of 16 MiB and more.
const MAX_GROWTH_BYTES: u64 = 48 * 1024 * 1024;

#[test]
fn malformed_frames_are_turned_away_without_harm() {
    let mut cluster = Cluster::start(3);
    let peer = cluster.nodes[0].peer();
    succeed(&["put", "k", "v", "--endpoints", &cluster.endpoints()]);
    let before = cluster.nodes[0].process().resident_bytes();

    let mut noise = noise_bytes(64 * 1024);
    noise[3] = 0xff;
    let kinds: [Vec<u8>; 8] = [
        noise,
        vec![0xff; 8],
        frame_head(u32::MAX, 0).to_vec(),
        frame_head(16 << 20, 0).to_vec(),
        frame_head(4096, 0).to_vec(),
        b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        frame(b"not a greeting"),
        damaged(frame(&greeting(1, 2, 3))),
    ];
    let mut open = Vec::new();
    for number in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(&peer).unwrap();
        // It may be turned away already.
        drop(stream.write_all(&kinds[number % kinds.len()]));
        open.push(stream);
    }
    assert_well(&mut cluster, before);
    drop(open);
}

#[test]
fn a_stranger_who_knows_the_greeting_gets_no_further_with_malformed_frames() {
    let mut cluster = Cluster::start(1);
    let (peer, client) = (cluster.nodes[0].peer(), cluster.nodes[0].client());
    succeed(&["put", "k", "v", "--endpoints", &client]);
    let before = cluster.nodes[0].process().resident_bytes();
    let (cluster_id, node_id) = ids(&client);
    let kinds: [Vec<u8>; 5] = [
        frame(b"no message"),
        frame(&[0xff; 64]),
        frame(&[]),
        frame_head(u32::MAX, 0).to_vec(),
        frame_head(16 << 20, 0).to_vec(),
    ];
    let mut open = Vec::new();
    for number in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(&peer).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let stranger = 7_000 + number as u64;
        drop(stream.write_all(&frame(&greeting(cluster_id, stranger, node_id))));
        drop(stream.read(&mut [0; 64]));
        drop(stream.write_all(&kinds[number % kinds.len()]));
        open.push(stream);
    }
    assert_well(&mut cluster, before);
    drop(open);
}

/// While the bad connections are open: the first node serves, and has not grown.
fn assert_well(cluster: &mut Cluster, before: u64) {
    let client = cluster.nodes[0].client();
    assert!(http::is_healthy(&client), "the node serves");
    succeed(&["put", "k", "w", "--endpoints", &client]);
    assert_eq!(succeed(&["get", "k", "--values-only", "--endpoints", &client]), "w\n");
    let process = cluster.nodes[0].process();
    let grown = process.resident_bytes().saturating_sub(before);
    assert!(grown < MAX_GROWTH_BYTES, "grew by {grown} bytes");
    assert!(!process.stderr().contains("panicked"), "{}", process.stderr());
    let lines = process.stderr().lines().count();
    assert!(lines < CONNECTIONS / 2, "{lines} lines of log: noise must not fill the disk");
}

/// Cluster and node as the client port tells them.
fn ids(client: &str) -> (u64, u64) {
    use crate::support::load::{remote, runtime};
    runtime().block_on(async {
        let (header, _) = remote(&[client.to_owned()]).member_list().await.expect("it serves");
        (header.cluster.0, header.member.0)
    })
}

/// A peer's greeting, as design and code of the peer port have it.
fn greeting(cluster: u64, from: u64, to: u64) -> Vec<u8> {
    let mut out = Encoder::new();
    out.u32(u32::from_le_bytes(*b"SYNO")).u32(1).u8(0);
    out.u64(cluster).u64(from).u64(to).str("http://127.0.0.1:1");
    out.into_bytes().to_vec()
}

fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a short body");
    [&frame_head(length, crc32c(body)), body].concat()
}

fn frame_head(length: u32, checksum: u32) -> [u8; 8] {
    let mut head = [0; 8];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..].copy_from_slice(&checksum.to_le_bytes());
    head
}

fn damaged(mut frame: Vec<u8>) -> Vec<u8> {
    frame[12] ^= 1;
    frame
}

/// The same noise in every run.
fn noise_bytes(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..count).map(|_| next()).collect()
}
