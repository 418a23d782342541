//! Compiles the schema: `protox` parses it (no system compiler needed), `tonic-prost-build` makes
//! the messages, clients and servers. `bytes` fields become `bytes::Bytes`, so that a key or value
//! is a slice of the message it came in.

const FILES: [&str; 10] = [
    "mvccpb/kv.proto",
    "etcdserverpb/header.proto",
    "etcdserverpb/kv.proto",
    "etcdserverpb/watch.proto",
    "etcdserverpb/lease.proto",
    "etcdserverpb/cluster.proto",
    "etcdserverpb/maintenance.proto",
    "v3lockpb/lock.proto",
    "v3electionpb/election.proto",
    "grpc/health.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build.rs");
    let mut schema = protox::compile(FILES, ["proto"])?;
    for file in &mut schema.file {
        for field in file.message_type.iter_mut().flat_map(|message| &mut message.field) {
            // The generator would spell these `peer_ur_ls` and `client_ur_ls`. Names are not on the
            // wire.
            match field.name() {
                "peerURLs" => field.name = Some("peer_urls".into()),
                "clientURLs" => field.name = Some("client_urls".into()),
                _ => {}
            }
        }
    }
    tonic_prost_build::configure().bytes(".").emit_rerun_if_changed(false).compile_fds(schema)?;
    Ok(())
}
