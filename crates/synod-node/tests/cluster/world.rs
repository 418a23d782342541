//! A few nodes with everything around them in one test: disks, engines, a network, clients.
//!
//! Time stands still but for [`World::advance`]. Frames arrive in order and at once, unless a test cuts a
//! node off or filters them. Whatever a test does, every request is answered at most once, every frame
//! fits the peers' limit, and each node's own invariants hold after each turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use synod_base::disk::{Crash, VirtualDisk};
use synod_base::limits::MAX_PEER_FRAME_BYTES;
use synod_base::{ClusterId, Instant, LogIndex, NodeId};
use synod_node::frame::Frame;
use synod_node::{
    Effects, LogRetention, Member, Node, NodeConfig, Reply, Request, RequestToken, Start,
    StopReason, Timing, WatchDelivery, WatchRequest, boot,
};
use synod_storage::engine::MemoryEngine;
use synod_storage::wal::{Wal, WalLimits};

use crate::engine::FragileEngine;

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// One machine and, while it is up, its node.
pub struct Machine {
    disk: VirtualDisk,
    /// Survives crashes of the node.
    pub engine: MemoryEngine,
    /// Breaks the engine on demand.
    pub fragile: FragileEngine,
    process: Option<(Node, Wal)>,
    first_start: Start,
    started: bool,
    /// Log batches are not written while set.
    pub log_stuck: bool,
    stuck: VecDeque<synod_node::LogBatch>,
    /// Why it stopped by itself.
    pub stopped: Option<StopReason>,
}

/// Whether a frame from one node to another gets through.
type Filter = Box<dyn Fn(NodeId, NodeId, &Frame) -> bool>;

/// Everything.
pub struct World {
    pub now: Instant,
    pub machines: BTreeMap<NodeId, Machine>,
    /// Nodes without a network.
    pub cut: BTreeSet<NodeId>,
    /// Frames that get through; all of them if `None`.
    pub passes: Option<Filter>,
    /// Frames that were on the network, for tests that deliver one again.
    pub sent: Vec<(NodeId, NodeId, Bytes)>,
    pub record_frames: bool,
    pub deliveries: Vec<WatchDelivery>,
    wire: VecDeque<(NodeId, NodeId, Bytes)>,
    replies: BTreeMap<RequestToken, Reply>,
    tokens: u64,
    retention: usize,
    segment_bytes: u64,
}

impl World {
    /// A new cluster of `count` nodes, up and with a leader.
    pub fn new(count: u64) -> Self {
        Self::with_sizes(count, 1 << 20, 256 << 10)
    }

    /// The same, with other sizes of log.
    pub fn with_sizes(count: u64, retention: usize, segment_bytes: u64) -> Self {
        let mut world = World {
            now: Instant::ZERO + Duration::from_secs(1),
            machines: BTreeMap::new(),
            cut: BTreeSet::new(),
            passes: None,
            sent: Vec::new(),
            record_frames: false,
            deliveries: Vec::new(),
            wire: VecDeque::new(),
            replies: BTreeMap::new(),
            tokens: 0,
            retention,
            segment_bytes,
        };
        let members: Vec<Member> = (1..=count).map(member).collect();
        for member in &members {
            world.add_machine(member.id, Start::Bootstrap(members.clone()));
        }
        world.until("a leader", |world| world.leader().is_some());
        world.advance(Duration::from_secs(3));
        world
    }

    /// A machine more, started.
    pub fn add_machine(&mut self, id: NodeId, first_start: Start) {
        let engine = MemoryEngine::new();
        let machine = Machine {
            disk: VirtualDisk::new(id.0),
            fragile: FragileEngine::new(engine.clone()),
            engine,
            process: None,
            first_start,
            started: false,
            log_stuck: false,
            stuck: VecDeque::new(),
            stopped: None,
        };
        self.machines.insert(id, machine);
        self.start(id);
    }

    /// Starts a node, anew or for the first time.
    pub fn start(&mut self, id: NodeId) {
        let config = NodeConfig {
            node: id,
            cluster: ClusterId(7),
            name: format!("n{id}"),
            client_urls: vec![format!("http://10.0.0.{}:2379", id.0 % 250)],
            seed: id.0,
            timing: Timing::default(),
            log_retention: LogRetention { compact_above_bytes: self.retention },
            wal_limits: WalLimits { segment_bytes: self.segment_bytes, max_spares: 1 },
        };
        let machine = self.machines.get_mut(&id).unwrap();
        assert!(machine.process.is_none(), "{id} is up already");
        let start = if machine.started { Start::Restart } else { machine.first_start.clone() };
        let disk = Arc::new(machine.disk.clone());
        let engine = Arc::new(machine.fragile.clone());
        let started = boot(disk, engine, config, start, self.now).unwrap();
        machine.started = true;
        machine.stopped = None;
        machine.process = Some(started);
    }

    /// The machine loses power, or the process dies.
    pub fn crash(&mut self, id: NodeId, crash: Crash) {
        let machine = self.machines.get_mut(&id).unwrap();
        machine.process = None;
        machine.stuck.clear();
        machine.log_stuck = false;
        machine.disk.crash(crash);
        machine.engine.crash(crash, &mut fastrand::Rng::with_seed(id.0));
        self.wire.retain(|(from, to, _)| *from != id && *to != id);
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.machines[&id].process.as_ref().expect("the node is up").0
    }

    pub fn is_up(&self, id: NodeId) -> bool {
        self.machines[&id].process.is_some()
    }

    /// Whom a majority of the nodes that are up and connected follow, itself included.
    pub fn leader(&self) -> Option<NodeId> {
        let up = || self.machines.keys().filter(|id| self.is_up(**id) && !self.cut.contains(id));
        let mut leaders = up().filter(|id| self.node(**id).status().leader == **id);
        let leader = *leaders.next()?;
        let term = self.node(leader).status().term;
        let behind = |id: &&NodeId| self.node(**id).status().term <= term;
        (leaders.next().is_none() && up().all(|id| behind(&id))).then_some(leader)
    }

    /// A member that is up and does not lead.
    pub fn follower(&self) -> NodeId {
        let leader = self.leader().unwrap();
        let mut others = self.machines.keys().filter(|id| self.is_up(**id) && **id != leader);
        *others.next().unwrap()
    }

    /// Sends a request; its answer comes with time.
    pub fn request(&mut self, id: NodeId, request: Request) -> RequestToken {
        self.tokens += 1;
        let token = RequestToken(self.tokens);
        let now = self.now;
        self.node_mut(id).on_request(now, token, request);
        token
    }

    /// The answer, if it has come.
    pub fn reply(&self, token: RequestToken) -> Option<&Reply> {
        self.replies.get(&token)
    }

    /// Asks and waits for the answer.
    pub fn ask(&mut self, id: NodeId, request: Request) -> Reply {
        let token = self.request(id, request);
        self.wait_for(token)
    }

    /// Waits for an answer.
    pub fn wait_for(&mut self, token: RequestToken) -> Reply {
        self.until("an answer", |world| world.reply(token).is_some());
        self.reply(token).unwrap().clone()
    }

    pub fn watch(&mut self, id: NodeId, request: WatchRequest) {
        let now = self.now;
        self.node_mut(id).on_watch(now, request);
    }

    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.machines.get_mut(&id).unwrap().process.as_mut().expect("the node is up").0
    }

    /// A frame arrives outside the usual order.
    pub fn deliver(&mut self, from: NodeId, to: NodeId, frame: Bytes) {
        let now = self.now;
        self.node_mut(to).on_frame(now, from, frame).unwrap();
    }

    /// Lets time pass, tick by tick.
    pub fn advance(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now = self.now + Duration::from_millis(20);
            self.settle();
        }
    }

    /// Lets time pass until something is so.
    pub fn until(&mut self, what: &str, so: impl Fn(&World) -> bool) {
        let end = self.now + PATIENCE;
        self.settle();
        while !so(self) {
            assert!(self.now < end, "waited in vain for {what}");
            self.advance(Duration::from_millis(20));
        }
    }

    /// Does everything that needs no time.
    pub fn settle(&mut self) {
        loop {
            let ids: Vec<NodeId> = self.machines.keys().copied().collect();
            for id in ids {
                self.drive(id);
            }
            let Some((from, to, frame)) = self.wire.pop_front() else { return };
            self.transmit(from, to, frame);
        }
    }

    fn transmit(&mut self, from: NodeId, to: NodeId, frame: Bytes) {
        assert!(frame.len() <= MAX_PEER_FRAME_BYTES, "a frame of {} bytes", frame.len());
        let cut = self.cut.contains(&from) || self.cut.contains(&to);
        let passes = self
            .passes
            .as_ref()
            .is_none_or(|passes| passes(from, to, &Frame::decode(frame.clone()).unwrap()));
        if cut || !passes || self.machines.get(&to).is_none_or(|m| m.process.is_none()) {
            return;
        }
        if self.record_frames {
            self.sent.push((from, to, frame.clone()));
        }
        let now = self.now;
        self.node_mut(to).on_frame(now, from, frame).unwrap();
    }

    /// Turns one node until it rests, and does what it wants.
    pub fn drive(&mut self, id: NodeId) {
        for _ in 0..100_000 {
            let now = self.now;
            let machine = self.machines.get_mut(&id).unwrap();
            let Some((node, wal)) = &mut machine.process else { return };
            let mut effects = Effects::default();
            node.turn(now, &mut effects);
            node.check();
            if effects.is_empty() && node.next_deadline() > now {
                return;
            }
            let addressed = |(to, frame)| (id, to, frame);
            self.wire.extend(effects.send.into_iter().map(addressed));
            machine.stuck.extend(effects.log);
            while !machine.log_stuck
                && let Some(batch) = machine.stuck.pop_front()
            {
                wal.append(&batch.records).unwrap();
                wal.sync().unwrap();
                node.on_log_durable(batch.number);
                self.wire.extend(batch.send_after.into_iter().map(addressed));
            }
            if let Some(ticket) = effects.persist_engine {
                synod_storage::engine::Engine::persist(&machine.engine).unwrap();
                node.on_engine_persisted(ticket);
            }
            self.deliveries.extend(effects.watch);
            for (token, reply) in effects.replies {
                let before = self.replies.insert(token, reply);
                assert_eq!(before, None, "request {token:?} was answered twice");
            }
            if let Some(reason) = effects.stopped {
                machine.stopped = Some(reason);
                machine.process = None;
                return;
            }
        }
        panic!("{id} does not come to rest");
    }

    /// Bytes of a node's log on its disk.
    pub fn log_bytes(&self, id: NodeId) -> u64 {
        let (_, wal) = self.machines[&id].process.as_ref().expect("the node is up");
        wal.disk_bytes()
    }

    /// How far a node has applied.
    pub fn applied(&self, id: NodeId) -> LogIndex {
        self.node(id).status().applied_index
    }
}

/// A first member.
pub fn member(number: u64) -> Member {
    Member {
        id: NodeId(number),
        peer_urls: vec![format!("http://10.0.0.{number}:2380")],
        ..Member::default()
    }
}
