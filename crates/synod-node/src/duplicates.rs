//! Which proposals this leader has already taken from followers in its term.
//!
//! A network may deliver a frame twice; proposing it twice would apply it twice. Frames name the term
//! (another term's are dropped), and within the term this memory answers. A leader that refuses a
//! proposal remembers it here like one that it took, so a repeated frame cannot make it happen later
//! and the refusal can be acted on.

use std::collections::{BTreeMap, BTreeSet};

use synod_base::{NodeId, ProposalId};

/// How far counters may run ahead of a gap (a lost frame). Older ones are treated as seen.
const WINDOW: u64 = 8 * 1024;

#[derive(Debug, Default)]
struct Origin {
    /// Everything below is treated as seen.
    floor: u64,
    /// Seen at or above the floor.
    seen: BTreeSet<u64>,
}

/// The proposals taken in one term.
#[derive(Debug, Default)]
pub struct Duplicates {
    origins: BTreeMap<(NodeId, u32), Origin>,
}

impl Duplicates {
    /// Forgets everything: a new term.
    pub fn clear(&mut self) {
        self.origins.clear();
    }

    /// Whether the proposal is new; from now on it is not.
    pub fn first_time(&mut self, id: ProposalId) -> bool {
        // The term's first proposal of an origin may carry any counter.
        let origin = self.origins.entry((id.node, id.start_number)).or_insert_with(|| Origin {
            floor: id.counter.saturating_sub(WINDOW),
            seen: BTreeSet::new(),
        });
        if id.counter < origin.floor || !origin.seen.insert(id.counter) {
            return false;
        }
        while origin.seen.remove(&origin.floor) {
            origin.floor += 1;
        }
        let highest = origin.seen.last().copied().unwrap_or(origin.floor);
        origin.floor = origin.floor.max((highest + 1).saturating_sub(WINDOW));
        while origin.seen.first().is_some_and(|&oldest| oldest < origin.floor) {
            origin.seen.pop_first();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(counter: u64) -> ProposalId {
        ProposalId { node: NodeId(2), start_number: 1, counter }
    }

    #[test]
    fn each_proposal_is_new_once_in_any_order() {
        let mut seen = Duplicates::default();
        for counter in [70_000, 70_002, 70_001, 69_999, 70_003] {
            assert!(seen.first_time(id(counter)), "{counter}");
            assert!(!seen.first_time(id(counter)), "{counter}");
        }
    }

    #[test]
    fn memory_is_bounded_by_the_window_also_with_gaps() {
        let mut seen = Duplicates::default();
        for counter in (0..1_000_000).step_by(2) {
            assert!(seen.first_time(id(counter)));
        }
        let origin = seen.origins.values().next().unwrap();
        assert!(origin.seen.len() as u64 <= WINDOW);
        assert!(!seen.first_time(id(3)), "behind the window counts as seen");
    }
}
