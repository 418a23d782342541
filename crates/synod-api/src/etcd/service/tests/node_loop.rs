//! A node without consensus, log or clock: the key-value machine and the watch hub behind a
//! `NodeHandle`. What only a cluster knows is scripted.

use std::collections::BTreeMap;
use std::sync::Arc;

use synod_base::{ClusterId, Instant, LeaseId, LogIndex, NodeId, Revision, Term};
use synod_client::{Inbound, NodeHandle};
use synod_node::watch::WatchHub;
use synod_node::{
    Header, LeaseTimeToLive, Member, NodeStatus, Reply, Request, RequestError, Response, StreamId,
};
use synod_node::{WatchDelivery, WatchRequest};
use synod_state::kv::{Command, Kv};
use synod_storage::engine::{Engine, MemoryEngine, WriteBatch};
use tokio::sync::mpsc;

/// What a test may set.
#[derive(Clone, Default)]
pub(super) struct TestNode {
    /// Answers everything, instead of an answer.
    pub fails_with: Option<RequestError>,
    /// Knows no leader.
    pub leaderless: bool,
    /// Has no room to write.
    pub disk_full: bool,
}

struct Loop {
    script: TestNode,
    engine: Arc<MemoryEngine>,
    kv: Kv,
    hub: WatchHub,
    streams: BTreeMap<StreamId, mpsc::Sender<WatchDelivery>>,
    next_lease: i64,
    members: Vec<Member>,
}

/// Starts the loop; it ends with the last handle.
pub(super) fn start(script: TestNode) -> NodeHandle {
    let (handle, mut inbox) = NodeHandle::new(64);
    let engine = Arc::new(MemoryEngine::new());
    let kv = Kv::open(engine.clone()).expect("an empty engine opens");
    let hub = WatchHub::new(kv.revision());
    let members = vec![member(1)];
    let streams = BTreeMap::new();
    let mut node = Loop { script, engine, kv, hub, streams, next_lease: 1000, members };
    tokio::spawn(async move {
        while let Some(inbound) = inbox.recv().await {
            node.on(inbound);
        }
    });
    handle
}

fn member(id: u64) -> Member {
    Member { id: NodeId(id), name: format!("n{id}"), ..Member::default() }
}

impl Loop {
    fn header(&self) -> Header {
        let revision = self.kv.revision();
        Header { cluster: ClusterId(77), member: NodeId(1), revision, term: Term(2) }
    }

    fn on(&mut self, inbound: Inbound) {
        match inbound {
            Inbound::Request(request, reply) => {
                // Nobody waits for a dropped request's answer.
                drop(reply.send(self.answer(request)));
            }
            Inbound::OpenStream(stream, deliveries) => {
                self.streams.insert(stream, deliveries);
            }
            Inbound::Watch(request) => {
                if let WatchRequest::Close { stream } = request {
                    self.streams.remove(&stream);
                }
                let mut out = Vec::new();
                self.hub.on_request(Instant::ZERO, self.header(), request, &mut out);
                self.deliver(out);
            }
        }
        let mut out = Vec::new();
        let header = self.header();
        self.hub.turn(Instant::ZERO, header, &self.kv, &mut out).expect("memory does not fail");
        self.deliver(out);
    }

    fn deliver(&mut self, deliveries: Vec<WatchDelivery>) {
        for delivery in deliveries {
            if let Some(stream) = self.streams.get(&delivery.stream) {
                stream.try_send(delivery).expect("tests read what they ask for");
            }
        }
    }

    fn answer(&mut self, request: Request) -> Reply {
        if let Some(error) = &self.script.fails_with {
            return Err(error.clone());
        }
        let response = match request {
            Request::Write(command) => self.write(command)?,
            Request::Range { request, .. } => {
                Response::Range(self.kv.range(&request).expect("memory does not fail")?)
            }
            Request::ReadTxn { request, .. } => {
                Response::Txn(self.kv.read_txn(&request).expect("memory does not fail")?)
            }
            Request::LeaseKeepAlive { id } => {
                let ttl_seconds = self.kv.lease(id).map_or(0, |lease| lease.ttl_seconds);
                Response::LeaseKeepAlive { ttl_seconds }
            }
            Request::LeaseTimeToLive { id, keys } => Response::LeaseTimeToLive(self.left(id, keys)),
            Request::LeaseList => Response::LeaseList(self.kv.leases().map(|(id, _)| id).collect()),
            Request::HashKv { revision } => {
                Response::HashKv { hash: 5, compact_revision: Revision(0), hash_revision: revision }
            }
            Request::Status => Response::Status(self.status()),
            Request::MemberList { .. } => self.changed(None),
            Request::MemberAdd { learner, .. } => {
                let added = Member { is_learner: learner, ..member(2) };
                self.members.push(added.clone());
                self.changed(Some(added))
            }
            Request::MemberRemove { .. } => return Err(RequestError::NotEnoughMembers),
            Request::MemberUpdate { .. } => return Err(RequestError::MemberUrlInvalid),
            Request::MemberPromote { .. } => return Err(RequestError::LearnerNotReady),
            Request::MoveLeader { to: NodeId(2) } => Response::Moved,
            Request::MoveLeader { .. } => return Err(RequestError::BadTransferee),
        };
        Ok((self.header(), response))
    }

    fn write(&mut self, mut command: Command) -> Result<Response, RequestError> {
        if let Command::LeaseGrant { id: id @ LeaseId::NONE, .. } = &mut command {
            *id = LeaseId(self.next_lease);
            self.next_lease += 1;
        }
        let mut batch = WriteBatch::default();
        let result = self.kv.apply(&command, &mut batch).expect("memory does not fail");
        self.engine.write(batch).expect("memory does not fail");
        self.kv.on_committed();
        Ok(Response::Write(result?))
    }

    fn left(&self, id: LeaseId, keys: bool) -> LeaseTimeToLive {
        let Some(lease) = self.kv.lease(id) else {
            return LeaseTimeToLive { remaining_seconds: -1, granted_seconds: 0, keys: vec![] };
        };
        LeaseTimeToLive {
            remaining_seconds: lease.ttl_seconds - 1,
            granted_seconds: lease.ttl_seconds,
            keys: lease.keys.iter().filter(|_| keys).cloned().collect(),
        }
    }

    fn changed(&self, subject: Option<Member>) -> Response {
        Response::Members { members: self.members.clone(), subject }
    }

    fn status(&self) -> NodeStatus {
        NodeStatus {
            leader: if self.script.leaderless { NodeId::NONE } else { NodeId(1) },
            term: Term(2),
            commit_index: LogIndex(9),
            applied_index: LogIndex(8),
            is_learner: false,
            disk_bytes: 4096,
            state_bytes: 1024,
            key_count: self.kv.key_count() as u64,
            compact_revision: self.kv.compacted_revision(),
            disk_full: self.script.disk_full,
        }
    }
}
