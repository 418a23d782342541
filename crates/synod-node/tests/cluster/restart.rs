//! What a restart refuses: a replica whose log is gone must not vote, whatever its state still says.

use std::sync::Arc;

use synod_base::disk::VirtualDisk;
use synod_base::{ClusterId, Instant, LogIndex, LogStart, NodeId, Term};
use synod_node::meta::{Applied, Notes};
use synod_node::{BootError, LogRetention, Member, NodeConfig, Start, Timing, boot};
use synod_storage::engine::{Engine, MemoryEngine, Space, WriteBatch};
use synod_storage::wal::WalLimits;

#[test]
fn a_restart_without_a_log_is_refused_also_where_the_state_stands_at_a_start() {
    let engine = MemoryEngine::new();
    let me = Member { id: NodeId(1), peer_urls: vec!["h:1".into()], ..Member::default() };
    let disk = VirtualDisk::new(1);
    start(&disk, &engine, Start::Bootstrap(vec![me])).unwrap();
    // Nothing has been applied since the bootstrap; votes may have been given.
    start(&disk, &engine, Start::Restart).unwrap();
    assert_eq!(without_log(&engine), LogIndex(10));

    // The very position of the last snapshot that was installed.
    let position = LogStart { index: LogIndex(500), term: Term(7) };
    let applied = Applied { position, ..Applied::load(&engine).unwrap() };
    let mut batch = WriteBatch::default();
    applied.save_position(&mut batch);
    Notes { installed: Some(position), ..Notes::default() }.save(&mut batch);
    engine.write(batch).unwrap();
    assert_eq!(without_log(&engine), LogIndex(500));

    for space in Space::ALL {
        engine.clear(space).unwrap();
    }
    assert_eq!(without_log(&engine), LogIndex(0));
}

/// Restarts on an empty disk: refused; how far the state had come.
fn without_log(engine: &MemoryEngine) -> LogIndex {
    match start(&VirtualDisk::new(2), engine, Start::Restart) {
        Err(BootError::LogGone { applied }) => applied,
        other => panic!("{other:?}"),
    }
}

fn start(disk: &VirtualDisk, engine: &MemoryEngine, start: Start) -> Result<(), BootError> {
    let config = NodeConfig {
        node: NodeId(1),
        cluster: ClusterId(7),
        name: "n1".into(),
        client_urls: Vec::new(),
        seed: 1,
        timing: Timing::default(),
        log_retention: LogRetention::default(),
        wal_limits: WalLimits { segment_bytes: 64 * 1024, max_spares: 1 },
    };
    let (disk, engine) = (Arc::new(disk.clone()), Arc::new(engine.clone()));
    boot(disk, engine, config, start, Instant::ZERO).map(drop)
}
