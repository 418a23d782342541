//! Requests that wait for their answer: a slab, so that a request costs no allocation and a token is
//! looked up by its index. A token also carries its slot's generation: an answer that comes twice or
//! to a token never given out is a bug and is seen, instead of reaching another client.

use std::time::Instant;

use synod_node::{Reply, RequestToken};
use tokio::sync::oneshot;

use super::request_kind::RequestKind;

/// One request that waits.
#[derive(Debug)]
pub(super) struct WaitingRequest {
    /// Where the answer goes.
    pub(super) reply: oneshot::Sender<Reply>,
    /// For the metrics.
    pub(super) kind: RequestKind,
    /// When the loop took it.
    pub(super) since: Instant,
}

/// All requests that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    request: Option<WaitingRequest>,
}

impl Waiting {
    /// Keeps a request under a new token.
    pub(super) fn insert(&mut self, request: WaitingRequest) -> RequestToken {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, request: None });
            u32::try_from(self.slots.len() - 1).expect("requests that wait are bounded")
        });
        let slot = &mut self.slots[index as usize];
        slot.request = Some(request);
        RequestToken(u64::from(slot.generation) << 32 | u64::from(index))
    }

    /// Takes a request out; `None` if nothing waits under this token.
    pub(super) fn take(&mut self, token: RequestToken) -> Option<WaitingRequest> {
        let index = token.0 as u32;
        let slot = self.slots.get_mut(index as usize)?;
        if slot.generation != (token.0 >> 32) as u32 {
            return None;
        }
        let request = slot.request.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        Some(request)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> WaitingRequest {
        let (reply, _) = oneshot::channel();
        WaitingRequest { reply, kind: RequestKind::Put, since: Instant::now() }
    }

    #[test]
    fn a_token_is_answered_once_and_its_slot_is_used_again_under_another_name() {
        let mut waiting = Waiting::default();
        let first = waiting.insert(request());
        let second = waiting.insert(request());
        assert_eq!(waiting.len(), 2);
        assert!(waiting.take(first).is_some());
        assert!(waiting.take(first).is_none());
        let third = waiting.insert(request());
        assert_ne!(first, third);
        assert_eq!(waiting.slots.len(), 2);
        assert!(waiting.take(first).is_none());
        assert!(waiting.take(third).is_some() && waiting.take(second).is_some());
        assert_eq!(waiting.len(), 0);
        assert!(waiting.take(RequestToken(u64::MAX)).is_none());
    }
}
