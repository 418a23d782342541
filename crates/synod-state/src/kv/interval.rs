//! A set of keys made of ranges, merged where they overlap.
//!
//! Validation asks for every put whether a deletion covers it. A request of 1.5 MiB can hold some
//! seventy thousand of each when transactions are nested, so a list would be searched billions of times.

use std::collections::BTreeMap;

use super::KeyRange;

/// Disjoint ranges by first key.
#[derive(Default, Debug)]
pub(crate) struct KeySet<'a> {
    ranges: BTreeMap<&'a [u8], End<'a>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End<'a> {
    Before(&'a [u8]),
    Through(&'a [u8]),
    Unbounded,
}

impl<'a> KeySet<'a> {
    /// Adds the keys of a range.
    pub fn insert(&mut self, range: &'a KeyRange) {
        let end = match &range.range_end[..] {
            [] => End::Through(&range.key),
            [0] => End::Unbounded,
            end if end <= &range.key[..] => return,
            end => End::Before(end),
        };
        self.insert_span(&range.key, end);
    }

    /// Adds all keys of another set.
    pub fn append(&mut self, other: KeySet<'a>) {
        for (start, end) in other.ranges {
            self.insert_span(start, end);
        }
    }

    /// Whether a key is in the set.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.ranges.range(..=key).next_back().is_some_and(|(_, end)| end.covers(key))
    }

    fn insert_span(&mut self, mut start: &'a [u8], mut end: End<'a>) {
        if let Some((before, its_end)) = self.ranges.range(..=start).next_back()
            && its_end.covers(start)
        {
            start = before;
            end = end.max(*its_end);
        }
        while let Some((next, its_end)) = self.ranges.range(start..).next()
            && (*next == start || end.covers(next))
        {
            let next = *next;
            end = end.max(*its_end);
            self.ranges.remove(next);
        }
        self.ranges.insert(start, end);
    }
}

impl End<'_> {
    /// Whether a range with this end reaches `key`, given that it starts at or before it.
    fn covers(&self, key: &[u8]) -> bool {
        match self {
            End::Before(end) => key < *end,
            End::Through(end) => key <= *end,
            End::Unbounded => true,
        }
    }

    fn max(self, other: Self) -> Self {
        if self.rank() < other.rank() { other } else { self }
    }

    /// Orders ends by how far they reach.
    fn rank(&self) -> (bool, &[u8], bool) {
        match *self {
            End::Before(end) => (false, end, false),
            End::Through(end) => (false, end, true),
            End::Unbounded => (true, &[], false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranges() -> impl Strategy<Value = Vec<KeyRange>> {
        let key = || proptest::collection::vec(0u8..3, 1..3);
        let end = prop_oneof![
            Just(Vec::new()),
            proptest::collection::vec(0u8..3, 1..3),
            proptest::collection::vec(0u8..3, 1..3),
        ];
        let range = (key(), end).prop_map(|(k, e)| KeyRange { key: k.into(), range_end: e.into() });
        proptest::collection::vec(range, 0..8)
    }

    proptest! {
        #[test]
        fn the_set_contains_what_one_of_its_ranges_contains(ranges in ranges()) {
            let mut set = KeySet::default();
            ranges.iter().for_each(|range| set.insert(range));
            let keys = |a| [vec![a], vec![a, 0], vec![a, 1], vec![a, 2], vec![a, 2, 0]];
            for key in (0..3u8).flat_map(keys) {
                let expected = ranges.iter().any(|range| range.contains(&key));
                prop_assert_eq!(set.contains(&key), expected, "{:?}", key);
            }
        }
    }
}
