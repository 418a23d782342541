//! A leader that is told to stop hands leadership over first: its cluster goes on at once, instead of
//! waiting for an election timeout.

use std::time::Duration;

use synod_base::NodeId;
use synod_client::Inbound;
use synod_node::Request;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::NodeLoop;
use crate::error::ServerError;

impl NodeLoop {
    /// Goes on as ever until another leads, or it takes too long.
    pub(super) async fn hand_over(&mut self) -> Result<(), ServerError> {
        let Some(heir) = self.heir() else { return Ok(()) };
        tracing::info!(%heir, "handing leadership over");
        let (reply, mut moved) = oneshot::channel();
        self.on_inbound(Inbound::Request(Request::MoveLeader { to: heir }, reply));
        let patience = Instant::now() + HAND_OVER_TIMEOUT;
        loop {
            self.settle()?;
            let deadline = self.clock.at(self.node.next_deadline());
            tokio::select! {
                biased;
                _ = &mut moved => return Ok(()),
                () = sleep_until(patience) => return Ok(()),
                Some(event) = self.peer_events.recv() => self.on_peer(event),
                Some(inbound) = self.inbox.recv() => self.on_inbound(inbound),
                () = sleep_until(deadline) => {}
            }
        }
    }

    /// Another voter that can be reached, if this node leads.
    fn heir(&self) -> Option<NodeId> {
        let own = self.node.header().member;
        if self.node.status().leader != own {
            return None;
        }
        let members = self.node.members();
        let mut voters = members.iter().filter(|m| !m.is_learner && m.id != own).map(|m| m.id);
        voters.find(|id| self.transport.is_connected(*id))
    }
}

/// A transfer takes a round trip or two.
const HAND_OVER_TIMEOUT: Duration = Duration::from_millis(500);
