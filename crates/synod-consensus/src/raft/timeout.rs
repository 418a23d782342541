//! Election timeouts drawn from our own seed.
//!
//! The raft crate draws them from the thread's random source, which two runs of one seed would not
//! share. So after every call that may have drawn one, it is overwritten by ours; a new one is drawn
//! when role, term or leader changed (Raft paper, section 5.2: it must be fresh for each election).

use raft::{RawNode, StateRole, Storage};

/// The current timeout and what it was drawn for.
pub(super) struct ElectionTimeout {
    rng: fastrand::Rng,
    range: std::ops::Range<usize>,
    current_ticks: usize,
    drawn_for: Option<(StateRole, u64, u64)>,
}

impl ElectionTimeout {
    /// Draws from `election_ticks` to just under twice that.
    pub(super) fn new(seed: u64, election_ticks: usize) -> Self {
        ElectionTimeout {
            rng: fastrand::Rng::with_seed(seed),
            range: election_ticks..election_ticks * 2,
            current_ticks: election_ticks,
            drawn_for: None,
        }
    }

    /// Puts our timeout in place of the crate's.
    pub(super) fn settle<S: Storage>(&mut self, node: &mut RawNode<S>) {
        let now = (node.raft.state, node.raft.term, node.raft.leader_id);
        if self.drawn_for != Some(now) {
            self.drawn_for = Some(now);
            self.current_ticks = self.rng.usize(self.range.clone());
        }
        if node.raft.randomized_election_timeout() != self.current_ticks {
            node.raft.set_randomized_election_timeout(self.current_ticks);
        }
    }
}
