//! How large the splits of a job are.
//!
//! A spec may say it outright ([`JobSpec::split_bytes`]). Otherwise each slot gets several splits, or the job
//! as many as it wants, and [`SplitBounds`] hold. There are never more than a cluster takes, unless an upper
//! bound asks for small ones; what remains of a file may be a split below the lower bound.

use crate::spec::{DEFAULT_SPLIT_BYTES, JobSpec, MIN_AUTO_SPLIT_BYTES};
use serde::{Deserialize, Serialize};

/// A job that says nothing of its splits gets at least this many per slot.
pub(crate) const SPLITS_PER_SLOT: u64 = 4;
/// Above so many splits they get larger instead.
pub(crate) const MOST_AUTO_SPLITS: u64 = 20_000;
/// Sections of all map outputs that a cluster takes: every one is in a record, and every node holds the
/// records.
pub(crate) const MAX_SECTIONS: u64 = 4_000_000;

/// What a job says of its splits without naming their size, as jobs of Hadoop do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitBounds {
    /// No split is smaller, whatever else is said; 0 is no bound.
    #[serde(default)]
    pub least_bytes: u64,
    /// No split is larger, but for a rest of a tenth.
    #[serde(default)]
    pub most_bytes: Option<u64>,
    /// So many splits are wanted, in place of several for each slot. There are more if they would be larger
    /// than 64 MiB; 0 counts as 1.
    #[serde(default)]
    pub wanted: Option<u64>,
}

impl SplitBounds {
    /// Whether nothing is said.
    pub fn are_open(&self) -> bool {
        *self == SplitBounds::default()
    }
}

/// The size of the splits of so much input, for so many slots; those of a job that says nothing of them are
/// no larger than `usual_bytes` where that is possible.
pub(crate) fn split_bytes(spec: &JobSpec, total: u64, (slots, usual_bytes): (u32, u64)) -> u64 {
    if let Some(exact) = spec.split_bytes {
        return exact;
    }
    let bounds = &spec.split_bounds;
    let by_sections = MAX_SECTIONS / u64::from(spec.reduces.unwrap_or(1).max(1));
    let fewest_bytes = total.div_ceil(MOST_AUTO_SPLITS.min(by_sections).max(1));
    let each = match bounds.wanted {
        Some(wanted) => (total / wanted.max(1)).min(DEFAULT_SPLIT_BYTES),
        None => {
            let per_slots = total.div_ceil(u64::from(slots.max(1)) * SPLITS_PER_SLOT);
            per_slots.max(MIN_AUTO_SPLIT_BYTES).min(usual_bytes)
        }
    };
    let size = each.max(fewest_bytes);
    size.min(bounds.most_bytes.unwrap_or(u64::MAX)).max(bounds.least_bytes).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    fn size(bounds: SplitBounds, reduces: Option<u32>, total: u64, slots: u32) -> u64 {
        let spec = JobSpec { split_bounds: bounds, reduces, ..JobSpec::new("sort", ["in"], "out") };
        split_bytes(&spec, total, (slots, DEFAULT_SPLIT_BYTES))
    }

    #[test]
    fn splits_are_four_for_each_slot_but_no_smaller_than_1_mib_and_no_larger_than_64() {
        const MIB: u64 = 1 << 20;
        for (total, slots, expected) in [
            // Little input: four for each slot.
            (64 * MIB, 2, 8 * MIB),
            (64 * MIB, 1, 16 * MIB),
            (1_000 * MIB, 10, 25 * MIB),
            // Not more than one for each mebibyte.
            (8 * MIB, 2, MIB),
            (4 * MIB, 8, MIB),
            (0, 8, MIB),
            // Much input: of 64 MiB each.
            (1_024 * MIB, 4, 64 * MIB),
            (1_024 * MIB, 1, 64 * MIB),
            (MIB << 20, 1_000, 64 * MIB),
            // Very much: not more than 20,000.
            (MIB << 30, 8, (MIB << 30_u64).div_ceil(20_000)),
            // No slots are as one.
            (64 * MIB, 0, 16 * MIB),
        ] {
            let splits = size(SplitBounds::default(), None, total, slots);
            assert_eq!(splits, expected, "{total} bytes, {slots} slots");
        }
    }

    #[test]
    fn a_lower_bound_holds_whatever_the_input_the_slots_and_the_other_bounds() {
        for least_bytes in [1, 1_000, MIN_AUTO_SPLIT_BYTES + 1, 50 * MB, 100 * MB, 1_000 * MB] {
            for total in [0, 1, 10_000, 100 * MB, 10_000_000 * MB] {
                for (slots, most_bytes, wanted) in
                    [(1, None, None), (2, None, None), (64, Some(7), None), (2, Some(7), Some(900))]
                {
                    let bounds = SplitBounds { least_bytes, most_bytes, wanted };
                    assert!(size(bounds, None, total, slots) >= least_bytes, "{bounds:?} {total}");
                }
            }
        }
        let bounds = SplitBounds { least_bytes: 50 * MB, ..SplitBounds::default() };
        assert_eq!(size(bounds, None, 100 * MB, 2), 50 * MB);
        // One that asks for less than there is in any case changes nothing.
        let bounds = SplitBounds { least_bytes: 2_000, ..SplitBounds::default() };
        assert_eq!(size(bounds, None, 100 * MB, 2), 12_500_000);
    }

    #[test]
    fn an_upper_bound_makes_splits_smaller_and_never_larger() {
        let most = |bytes| SplitBounds { most_bytes: Some(bytes), ..SplitBounds::default() };
        for (bytes, total, expected) in [
            (0, 10, 1),
            (3, 10, 3),
            (1_000 * MB, 100 * MB, 12_500_000),
            (1_000 * MB, 10_000 * MB, DEFAULT_SPLIT_BYTES),
        ] {
            assert_eq!(size(most(bytes), None, total, 2), expected, "{bytes} of {total}");
        }
    }

    #[test]
    fn wanted_splits_are_hadoops_goal_within_what_a_cluster_takes() {
        let wanted = |splits| SplitBounds { wanted: Some(splits), ..SplitBounds::default() };
        for (splits, total, expected) in [
            (2, 100, 50),
            (3, 100, 33),
            (7, 0, 1),
            (200, 100, 1),
            (0, 100, 100),
            (1, 10 * MB, 10 * MB),
            (10, 1_000 * MB, DEFAULT_SPLIT_BYTES),
            (100, 1_000 * MB, 10 * MB),
            (1_000_000_000, 1_000 * MB, 50_000),
        ] {
            assert_eq!(size(wanted(splits), None, total, 8), expected, "{splits} of {total}");
        }
        // With so many reduce tasks there are 400 splits at most.
        assert_eq!(size(wanted(5_000), Some(10_000), 1_000 * MB, 8), 2_500_000);
        let both = SplitBounds { least_bytes: 60, most_bytes: Some(40), wanted: Some(2) };
        assert_eq!(size(both, None, 100, 1), 60);
        assert_eq!(size(SplitBounds { least_bytes: 0, ..both }, None, 100, 1), 40);
    }

    #[test]
    fn a_spec_without_bounds_says_nothing_of_them_and_one_with_some_is_read_again() {
        let mut spec = JobSpec::new("wordcount", ["/in"], "/out");
        let text = serde_json::to_string(&spec).unwrap();
        assert!(!text.contains("split_bounds"), "{text}");
        assert_eq!(serde_json::from_str::<JobSpec>(&text).unwrap(), spec);
        spec.split_bounds = SplitBounds { least_bytes: 5, most_bytes: None, wanted: Some(3) };
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<JobSpec>(&text).unwrap(), spec);
    }
}
