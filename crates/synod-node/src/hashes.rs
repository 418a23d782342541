//! Hashes of the state that clients asked for. Each reads the whole history, so it is made in bounded steps,
//! one a turn: heartbeats and writes go on beside it. One at a time; a few may wait.

use std::collections::VecDeque;
use std::time::Duration;

use synod_base::{Instant, Revision};
use synod_state::kv::HashWalk;

use crate::node::Node;
use crate::request::{Reply, RequestError, RequestToken, Response};

/// Hashes that may be under way or wait; one more is refused.
const MAX_HASHES: usize = 8;

/// History that is hashed in one turn: about two milliseconds.
const STEP_BYTES: usize = 512 * 1024;

/// A hash may take so much longer than other requests: it reads gigabytes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A hash that a client waits for.
#[derive(Debug)]
pub(crate) struct Hashing {
    token: RequestToken,
    deadline: Instant,
    walk: HashWalk,
}

impl Node {
    /// Begins a hash, or lets it wait for the ones before it.
    pub(crate) fn start_hash(
        &mut self,
        deadline: Instant,
        token: RequestToken,
        revision: Revision,
    ) -> Result<(), RequestError> {
        if self.hashes.len() >= MAX_HASHES {
            return Err(RequestError::Overloaded);
        }
        let walk = self.kv.start_hash(revision)?;
        self.hashes.push_back(Hashing { token, deadline: deadline + PATIENCE, walk });
        Ok(())
    }

    /// Does a step of the first one.
    pub(crate) fn step_hash(&mut self) {
        let Some(mut hashing) = self.hashes.pop_front() else { return };
        let reply: Reply = match self.kv.step_hash(&mut hashing.walk, STEP_BYTES) {
            Ok(None) => return self.hashes.push_front(hashing),
            Ok(Some(Ok(hash))) => {
                let response = Response::HashKv {
                    hash: hash.hash,
                    compact_revision: hash.compacted,
                    hash_revision: hash.revision,
                };
                Ok((self.header(), response))
            }
            Ok(Some(Err(refusal))) => Err(refusal.into()),
            Err(error) => {
                self.stop_on(error);
                Err(RequestError::Stopped)
            }
        };
        self.reply(hashing.token, reply);
    }

    /// Those whose time is over.
    pub(crate) fn take_overdue_hashes(&mut self, now: Instant) -> Vec<RequestToken> {
        let (overdue, rest): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.hashes).into_iter().partition(|h| h.deadline <= now);
        self.hashes = rest;
        overdue.into_iter().map(|hashing| hashing.token).collect()
    }
}
