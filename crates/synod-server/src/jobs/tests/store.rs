//! The store that the tests' workers share: the real node, on a disk and an engine in memory, and a link to
//! it for each worker that can be cut, in one direction or both, and can lose answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use synod_base::disk::VirtualDisk;
use synod_base::{ClusterId, NodeId};
use synod_client::{Inbound, NodeHandle};
use synod_node::{
    LogRetention, Member, NodeConfig, Reply, Request, RequestError, Start, Timing, WatchRequest,
    boot,
};
use synod_storage::engine::{Engine, MemoryEngine};
use synod_storage::wal::WalLimits;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};

use crate::metrics::Metrics;
use crate::node_loop::{Clock, LoopParts, NodeLoop};
use crate::peer::{Local, Transport};

/// Requests that wait for the node, or on a link.
const INBOX: usize = 4_096;

/// A node alone, on a thread of its own.
pub struct Store {
    handle: NodeHandle,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    /// Whose file system is asked how much room there is.
    _folder: TempDir,
}

impl Store {
    pub fn start() -> Store {
        let (handle, inbox) = NodeHandle::new(INBOX);
        let (stop, stopped) = watch::channel(false);
        let folder = TempDir::new().unwrap();
        let data = folder.path().to_owned();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let clock = Clock::start();
                let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
                let member = Member { id: NodeId(1), name: "store".into(), ..Member::default() };
                let config = NodeConfig {
                    node: NodeId(1),
                    cluster: ClusterId(1),
                    name: "store".into(),
                    client_urls: Vec::new(),
                    seed: 1,
                    timing: Timing::default(),
                    log_retention: LogRetention::default(),
                    wal_limits: WalLimits::default(),
                };
                let disk = Arc::new(VirtualDisk::new(1));
                let start = Start::Bootstrap(vec![member]);
                let (node, wal) = boot(disk, engine.clone(), config, start, clock.now()).unwrap();
                let (peer_event, peer_events) = mpsc::channel(1);
                let local = Local { cluster: ClusterId(1), node: NodeId(1) };
                let parts = LoopParts {
                    node,
                    wal,
                    engine,
                    transport: Transport::new(local, String::new(), peer_event),
                    inbox,
                    peer_events,
                    metrics: Arc::new(Metrics::new()),
                    data,
                    disk_reserve_bytes: 0,
                    stop: stopped,
                    clock,
                };
                NodeLoop::new(parts).run().await.unwrap();
            });
        });
        Store { handle, stop, thread: Some(thread), _folder: folder }
    }

    /// Without a link in between.
    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// A handle over a link of its own. Call it inside a tokio runtime.
    pub fn link(&self) -> (NodeHandle, Link) {
        let (handle, inbox) = NodeHandle::new(INBOX);
        let (set, state) = watch::channel(Traffic::Open);
        let faults = Arc::new(Mutex::new(Faults::default()));
        tokio::spawn(forward(inbox, self.handle(), state, faults.clone()));
        (handle, Link { set, faults })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the store failed");
        }
    }
}

/// What a link lets through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Traffic {
    Open,
    /// Nothing; watches break.
    Cut,
    /// Requests arrive and are done, but no answer and no event comes back; they come late, or never.
    OneWay,
}

#[derive(Debug, Default)]
struct Faults {
    /// One in so many writes loses its answer, by a generator of its own.
    lose: Option<(u32, fastrand::Rng)>,
    /// Reads that may have been answered with what was true some time ago.
    stale_reads: u32,
}

/// The switch of a link.
pub struct Link {
    set: watch::Sender<Traffic>,
    faults: Arc<Mutex<Faults>>,
}

impl Link {
    pub fn set(&self, traffic: Traffic) {
        self.set.send_replace(traffic);
    }

    /// From now on one write in so many is done, but its answer lost.
    pub fn lose_answers(&self, one_in: u32, seed: u64) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.lose = Some((one_in, fastrand::Rng::with_seed(seed)));
    }

    /// Reads so far that another node could have answered with older records.
    pub fn stale_reads(&self) -> u32 {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).stale_reads
    }
}

async fn forward(
    mut inbox: mpsc::Receiver<Inbound>,
    store: NodeHandle,
    state: watch::Receiver<Traffic>,
    faults: Arc<Mutex<Faults>>,
) {
    let mut streams = std::collections::BTreeMap::new();
    while let Some(inbound) = inbox.recv().await {
        match inbound {
            Inbound::Request(request, reply) => {
                if let Request::Range { linearizable: false, .. } = request {
                    faults.lock().unwrap_or_else(PoisonError::into_inner).stale_reads += 1;
                }
                let is_write = matches!(request, Request::Write(_));
                let lost = is_write && {
                    let mut faults = faults.lock().unwrap_or_else(PoisonError::into_inner);
                    faults.lose.as_mut().is_some_and(|(one_in, rng)| rng.u32(..*one_in) == 0)
                };
                tokio::spawn(ask(store.clone(), request, reply, state.clone(), lost));
            }
            Inbound::OpenStream(id, deliveries) => {
                if *state.borrow() == Traffic::Cut {
                    continue;
                }
                let (requests, theirs) = mpsc::channel(INBOX);
                streams.insert(id, requests);
                tokio::spawn(follow(store.clone(), theirs, deliveries, state.clone()));
            }
            Inbound::Watch(WatchRequest::Create { stream, spec }) => {
                if let Some(requests) = streams.get(&stream) {
                    drop(requests.send(spec).await);
                }
            }
            Inbound::Watch(WatchRequest::Close { stream }) => drop(streams.remove(&stream)),
            // The stream on the other side of the link counts for itself.
            Inbound::Watch(_) => {}
        }
    }
}

async fn ask(
    store: NodeHandle,
    request: Request,
    reply: oneshot::Sender<Reply>,
    mut state: watch::Receiver<Traffic>,
    lost: bool,
) {
    let traffic = *state.borrow_and_update();
    if traffic == Traffic::Cut {
        drop(reply.send(Err(RequestError::NoLeader)));
        return;
    }
    let answer = store.request(request).await;
    let lost = lost || *state.borrow() != Traffic::Open;
    let _heard: Result<(), _> = reply.send(if lost { Err(RequestError::TimedOut) } else { answer });
}

/// One watch stream: deliveries wait while the link is one-way, and end when it is cut.
async fn follow(
    store: NodeHandle,
    mut requests: mpsc::Receiver<synod_node::WatchSpec>,
    deliveries: mpsc::Sender<synod_node::WatchDelivery>,
    mut state: watch::Receiver<Traffic>,
) {
    let Some(mut stream) = store.open_watch_stream().await else { return };
    loop {
        let cut = async {
            if state.wait_for(|traffic| *traffic == Traffic::Cut).await.is_err() {
                // The switch has gone: nothing will change any more.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = cut => return,
            spec = requests.recv() => {
                let Some(spec) = spec else { return };
                if !stream.send(WatchRequest::Create { stream: stream.id(), spec }).await {
                    return;
                }
            }
            delivery = stream.next() => {
                let Some(delivery) = delivery else { return };
                let open = state.wait_for(|traffic| *traffic != Traffic::OneWay).await;
                let cut = open.is_ok_and(|traffic| *traffic == Traffic::Cut);
                if cut || deliveries.send(delivery).await.is_err() {
                    return;
                }
            }
        }
    }
}
