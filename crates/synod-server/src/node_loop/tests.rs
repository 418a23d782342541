//! The loop over a virtual disk: it answers, it lives through a full disk, it ends on a broken one.

use std::time::Duration;

use synod_base::ClusterId;
use synod_base::disk::{Disk, DiskFault, VirtualDisk};
use synod_client::NodeHandle;
use synod_node::{
    LogRetention, Member, NodeConfig, NodeStatus, Reply, RequestError, Response, Start, Timing,
    boot,
};
use synod_state::kv::{Command, KeyRange, PutRequest, RangeRequest};
use synod_storage::engine::MemoryEngine;
use synod_storage::wal::WalLimits;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::peer::Local;

struct Rig {
    node: NodeHandle,
    disk: VirtualDisk,
    stop: watch::Sender<bool>,
    ended: JoinHandle<Result<(), ServerError>>,
}

/// A lone node whose loop runs on this runtime.
fn start() -> Rig {
    let (node_loop, node, disk, stop) = build();
    Rig { node, disk, stop, ended: tokio::task::spawn_local(node_loop.run()) }
}

/// The loop of a lone node, not running yet.
fn build() -> (NodeLoop, NodeHandle, VirtualDisk, watch::Sender<bool>) {
    let disk = VirtualDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let id = NodeId(1);
    let config = NodeConfig {
        node: id,
        cluster: ClusterId(1),
        name: "n1".into(),
        client_urls: Vec::new(),
        seed: 1,
        // The request that finds the disk full waits for this long.
        timing: Timing { request_timeout: Duration::from_millis(500), ..Timing::default() },
        log_retention: LogRetention::default(),
        // Segments begin empty and grow, so that a full disk is felt at once.
        wal_limits: WalLimits { segment_bytes: 1024 * 1024, max_spares: 0 },
    };
    let member =
        Member { id, name: "n1".into(), peer_urls: vec!["h:1".into()], ..Member::default() };
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
    let clock = Clock::start();
    let bootstrap = Start::Bootstrap(vec![member]);
    let (node, wal) = boot(shared, engine.clone(), config, bootstrap, clock.now()).unwrap();
    let (peer_event, peer_events) = mpsc::channel(4);
    let local = Local { cluster: ClusterId(1), node: id };
    let (handle, inbox) = NodeHandle::new(64);
    let (stop, stopped) = watch::channel(false);
    let node_loop = NodeLoop::new(LoopParts {
        node,
        wal,
        engine,
        transport: Transport::new(local, "h:1".into(), peer_event),
        inbox,
        peer_events,
        metrics: Arc::new(Metrics::new()),
        data: std::env::temp_dir(),
        disk_reserve_bytes: 0,
        stop: stopped,
        clock,
    });
    (node_loop, handle, disk, stop)
}

async fn put(node: &NodeHandle, key: &'static str, bytes: usize) -> Reply {
    let put =
        PutRequest { key: key.into(), value: vec![b'v'; bytes].into(), ..PutRequest::default() };
    timeout(PATIENCE, node.request(Request::Write(Command::Put(put)))).await.expect("an answer")
}

async fn has(node: &NodeHandle, key: &'static str) -> bool {
    let request = RangeRequest { range: KeyRange::one(key), ..RangeRequest::default() };
    let read = node.request(Request::Range { request, linearizable: true });
    match timeout(PATIENCE, read).await.expect("an answer") {
        Ok((_, Response::Range(found))) => !found.kvs.is_empty(),
        other => panic!("{other:?}"),
    }
}

async fn status(node: &NodeHandle) -> NodeStatus {
    let asked = node.request(Request::Status);
    match timeout(PATIENCE, asked).await.expect("an answer") {
        Ok((_, Response::Status(status))) => status,
        other => panic!("{other:?}"),
    }
}

/// Until a put is taken: the node elects itself, or finds room again.
async fn put_until_taken(node: &NodeHandle, key: &'static str) {
    let taken = async {
        while put(node, key, 8).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, taken).await.expect("a put is taken in time");
}

fn local_test(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(tokio::task::LocalSet::new().run_until(body));
}

#[test]
fn a_lone_node_answers_and_stops_when_told() {
    local_test(async {
        let rig = start();
        put_until_taken(&rig.node, "a").await;
        assert!(has(&rig.node, "a").await);
        assert!(!has(&rig.node, "b").await);
        rig.stop.send_replace(true);
        timeout(PATIENCE, rig.ended).await.unwrap().unwrap().unwrap();
        assert_eq!(put(&rig.node, "c", 1).await.unwrap_err(), RequestError::Stopped);
    });
}

#[test]
fn a_persist_that_ended_is_taken_also_by_a_node_that_is_never_idle() {
    local_test(async {
        let (mut node_loop, ..) = build();
        let result = Err(EngineError::Io("the disk is gone".to_owned()));
        node_loop.persist_done.send(Persisted { ticket: 1, result }).unwrap();
        // All that such a node does between two turns.
        let taken = node_loop.take_waiting();
        assert!(matches!(taken, Err(ServerError::Engine(_))), "{taken:?}");
    });
}

#[test]
fn the_status_counts_the_logs_files_beside_the_state() {
    local_test(async {
        let rig = start();
        put_until_taken(&rig.node, "before").await;
        let before = status(&rig.node).await;
        assert_eq!(before.disk_bytes, before.state_bytes + rig.disk.used_bytes());
        put(&rig.node, "large", 100_000).await.expect("there is room");
        let after = status(&rig.node).await;
        assert_eq!(after.disk_bytes, after.state_bytes + rig.disk.used_bytes());
        let (log_before, log_after) =
            (before.disk_bytes - before.state_bytes, after.disk_bytes - after.state_bytes);
        assert!(log_after >= log_before + 100_000, "{log_before} -> {log_after}");
    });
}

#[test]
fn a_full_disk_refuses_writes_keeps_reading_and_recovers() {
    local_test(async {
        let rig = start();
        put_until_taken(&rig.node, "before").await;
        rig.disk.set_capacity(Some(rig.disk.used_bytes() + 50_000));
        let mut refused = None;
        for _ in 0..16 {
            if let Err(error) = put(&rig.node, "fill", 20_000).await {
                refused = Some(error);
                break;
            }
        }
        // The one that found the disk full waits for room and may time out; then they are refused.
        assert!(matches!(refused, Some(RequestError::DiskFull | RequestError::TimedOut)));
        assert_eq!(put(&rig.node, "after", 8).await.unwrap_err(), RequestError::DiskFull);
        assert!(has(&rig.node, "before").await && !has(&rig.node, "after").await);
        rig.disk.set_capacity(None);
        put_until_taken(&rig.node, "after").await;
        assert!(has(&rig.node, "after").await);
    });
}

#[test]
fn a_failed_sync_ends_the_node_and_acknowledges_nothing() {
    local_test(async {
        let rig = start();
        put_until_taken(&rig.node, "before").await;
        rig.disk.arm(DiskFault::SyncError);
        assert_eq!(put(&rig.node, "lost", 8).await.unwrap_err(), RequestError::Stopped);
        let ended = timeout(PATIENCE, rig.ended).await.unwrap().unwrap();
        assert!(matches!(ended, Err(ServerError::Log(_))), "{ended:?}");
    });
}

const PATIENCE: Duration = Duration::from_secs(20);
