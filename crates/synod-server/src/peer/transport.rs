//! `Transport`: one link per peer, and where each is. Owned by the node's loop.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use synod_base::NodeId;
use synod_node::Member;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::PeerEvent;
use super::hello::Local;
use super::link::{Link, Queued};

/// The ways to all peers.
#[derive(Debug)]
pub(crate) struct Transport {
    local: Local,
    events: mpsc::Sender<PeerEvent>,
    peers: BTreeMap<NodeId, Peer>,
    /// Peers with frames queued since the last flush.
    queued: Vec<NodeId>,
}

#[derive(Debug)]
struct Peer {
    link: Arc<Link>,
    task: JoinHandle<()>,
    /// In the member table as this node knows it. A peer may be known before (it greeted us), while
    /// this node still catches up.
    is_member: bool,
}

impl Transport {
    /// No peers yet.
    pub(crate) fn new(local: Local, events: mpsc::Sender<PeerEvent>) -> Self {
        Transport { local, events, peers: BTreeMap::new(), queued: Vec::new() }
    }

    /// Follows the member table: new members are dialled, moved ones redialled.
    pub(crate) fn add_members(&mut self, members: &[Member]) {
        for member in members {
            if let Some(address) = member.peer_address()
                && member.id != self.local.node
            {
                self.add(member.id, address, true);
            }
        }
    }

    /// Follows the member table: removed members are dropped.
    pub(crate) fn drop_removed(&mut self, members: &[Member]) {
        self.peers.retain(|id, peer| {
            let is_member = members.iter().any(|m| m.id == *id);
            let removed = peer.is_member && !is_member;
            if removed {
                peer.task.abort();
            }
            !removed
        });
    }

    /// A node greeted us and said where it is; the member table knows better if it has it.
    pub(crate) fn learn(&mut self, peer: NodeId, peer_url: &str) {
        if !self.peers.get(&peer).is_some_and(|p| p.is_member) && self.peers.len() < MAX_PEERS {
            self.add(peer, peer_url, false);
        }
    }

    /// Sends frames as far as the sockets take them now. Returns, once each, the peers whose frames
    /// were dropped.
    pub(crate) fn send(&mut self, frames: impl Iterator<Item = (NodeId, Bytes)>) -> Vec<NodeId> {
        let mut lost = Vec::new();
        for (to, body) in frames {
            let queued = self.peers.get(&to).map_or(Queued::Dropped, |p| p.link.queue(&body));
            let list = if queued == Queued::Yes { &mut self.queued } else { &mut lost };
            if !list.contains(&to) {
                list.push(to);
            }
        }
        for to in self.queued.drain(..) {
            if let Some(peer) = self.peers.get(&to) {
                peer.link.flush();
            }
        }
        lost
    }

    /// Whether there is a connection to this peer now.
    pub(crate) fn is_connected(&self, peer: NodeId) -> bool {
        self.peers.get(&peer).is_some_and(|p| p.link.is_connected())
    }

    fn add(&mut self, id: NodeId, address: &str, is_member: bool) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.link.set_address(address);
            peer.is_member |= is_member;
            return;
        }
        let link = Link::new(id, address);
        let task = tokio::spawn(link.clone().run(self.local.clone(), self.events.clone()));
        self.peers.insert(id, Peer { link, task, is_member });
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        for peer in self.peers.values() {
            peer.task.abort();
        }
    }
}

/// Links at once; greetings of still more unknown nodes are not dialled back.
const MAX_PEERS: usize = 64;
