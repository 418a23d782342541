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
    /// Where this node can be dialled, as its greetings say.
    own_url: String,
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
    pub(crate) fn new(local: Local, own_url: String, events: mpsc::Sender<PeerEvent>) -> Self {
        Transport { local, own_url, events, peers: BTreeMap::new(), queued: Vec::new() }
    }

    /// Follows the member table: new members are dialled, moved ones redialled; all are told where this
    /// node has moved.
    pub(crate) fn add_members(&mut self, members: &[Member]) {
        let own = members.iter().find(|member| member.id == self.local.node);
        if let Some(url) = own.and_then(|own| own.peer_urls.first())
            && *url != self.own_url
        {
            self.own_url.clone_from(url);
            self.peers.values().for_each(|peer| peer.link.set_own_url(url));
        }
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

    /// A node greeted us and said where it is. The member table may know better; but this node, or the
    /// other, may be behind with it.
    pub(crate) fn learn(&mut self, peer: NodeId, peer_url: &str) {
        match self.peers.get(&peer) {
            Some(known) if known.is_member => known.link.set_greeted_from(peer_url),
            None if self.peers.len() >= MAX_PEERS => {}
            _ => self.add(peer, peer_url, false),
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
        let link = Link::new(id, address, &self.own_url);
        let task = tokio::spawn(link.clone().run(self.local, self.events.clone()));
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
