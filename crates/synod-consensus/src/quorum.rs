//! Quorum arithmetic: which sets of nodes may decide, and what a set of acknowledgements has decided.
//!
//! A majority of the voters; while joint, a majority of each of the two configurations (Raft
//! dissertation, section 4.3). The raft crate has its own; this one serves hosts and checkers, which
//! must not depend on the code they check.

use std::collections::{BTreeMap, BTreeSet};

use synod_base::{LogIndex, NodeId};

use crate::core::Membership;

/// How many of `voters` make a majority.
#[must_use]
pub fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

impl Membership {
    /// Whether these nodes may decide. Without voters nobody may.
    #[must_use]
    pub fn quorum_of(&self, nodes: &BTreeSet<NodeId>) -> bool {
        let won = |voters: &[NodeId]| {
            voters.iter().filter(|v| nodes.contains(v)).count() >= majority(voters.len())
        };
        won(&self.voters) && (self.voters_outgoing.is_empty() || won(&self.voters_outgoing))
    }

    /// The highest position that a quorum holds, when each voter holds everything up to its position
    /// in `matched` (a missing one holds nothing).
    #[must_use]
    pub fn quorum_index(&self, matched: &BTreeMap<NodeId, LogIndex>) -> LogIndex {
        let held = |voters: &[NodeId]| {
            let mut positions: Vec<LogIndex> =
                voters.iter().map(|v| matched.get(v).copied().unwrap_or_default()).collect();
            positions.sort_unstable_by(|a, b| b.cmp(a));
            positions.get(majority(voters.len()) - 1).copied().unwrap_or_default()
        };
        let incoming = held(&self.voters);
        if self.voters_outgoing.is_empty() {
            incoming
        } else {
            incoming.min(held(&self.voters_outgoing))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(bits: u32) -> Vec<NodeId> {
        (0..5).filter(|n| bits & (1 << n) != 0).map(|n| NodeId(n + 1)).collect()
    }

    /// Counts by subtraction: a set decides when those outside it cannot.
    fn naive_quorum(membership: &Membership, nodes: &BTreeSet<NodeId>) -> bool {
        [&membership.voters, &membership.voters_outgoing].into_iter().enumerate().all(
            |(part, voters)| {
                let inside = voters.iter().filter(|v| nodes.contains(v)).count();
                let outside = voters.len() - inside;
                inside > outside || (part == 1 && voters.is_empty())
            },
        )
    }

    fn memberships() -> impl Iterator<Item = Membership> {
        (0..32u32).flat_map(|voters| {
            (0..32u32).map(move |outgoing| Membership {
                voters: ids(voters),
                voters_outgoing: ids(outgoing),
                ..Membership::default()
            })
        })
    }

    #[test]
    fn every_quorum_of_five_nodes_agrees_with_the_naive_count() {
        for membership in memberships() {
            for nodes in 0..32 {
                let nodes = ids(nodes).into_iter().collect();
                assert_eq!(
                    membership.quorum_of(&nodes),
                    naive_quorum(&membership, &nodes),
                    "{membership:?} {nodes:?}"
                );
            }
        }
    }

    #[test]
    fn two_quorums_of_one_membership_always_meet() {
        for membership in memberships() {
            for nodes in 0..32u32 {
                let set = ids(nodes).into_iter().collect();
                let rest = ids(!nodes & 31).into_iter().collect();
                assert!(!(membership.quorum_of(&set) && membership.quorum_of(&rest)));
            }
        }
    }

    #[test]
    fn the_quorum_index_is_the_highest_one_that_a_quorum_holds() {
        let mut rng = fastrand::Rng::with_seed(7);
        for membership in memberships() {
            let matched: BTreeMap<NodeId, LogIndex> =
                ids(rng.u32(0..32)).into_iter().map(|n| (n, LogIndex(rng.u64(0..6)))).collect();
            let held_at = |index: LogIndex| {
                let nodes = (1..=5)
                    .map(NodeId)
                    .filter(|n| matched.get(n).copied().unwrap_or_default() >= index)
                    .collect();
                membership.quorum_of(&nodes)
            };
            let naive = (0..6).rev().map(LogIndex).find(|&i| held_at(i)).unwrap_or_default();
            assert_eq!(membership.quorum_index(&matched), naive, "{membership:?} {matched:?}");
        }
    }
}
