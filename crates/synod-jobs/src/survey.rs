//! What an attempt finds that goes through a whole split to see which records its map function fails on.
//!
//! Only an attempt of a job that may leave records out does so, and only after another one has failed on a
//! record: those that fail in two attempts are left out together, so a split is mapped four times (the first
//! attempt may know no more than the block) and not twice more for each of its bad records. That a record has
//! to fail in two attempts stays as it is: what passes with another attempt is no bad record.

use crate::error::{PanickedRecord, panic_message};

/// Records that one attempt looks for; the records of a cluster have to hold them. If there are more, later
/// attempts find them.
pub const MOST_FOUND: usize = 5_000;

/// The records that have failed so far.
#[derive(Debug)]
pub(crate) struct Survey {
    most: usize,
    found: Vec<PanickedRecord>,
}

impl Survey {
    /// Of a job that may leave out so many records: one more, and nobody needs to know the rest.
    pub fn up_to(may_leave_out: u64) -> Survey {
        let most = usize::try_from(may_leave_out).unwrap_or(MOST_FOUND).saturating_add(1);
        Survey { most: most.min(MOST_FOUND), found: Vec::new() }
    }

    /// Whether it looks no further.
    pub fn is_full(&self) -> bool {
        self.found.len() >= self.most
    }

    /// The record at this offset, with this number, has failed.
    pub fn note(&mut self, (offset, record): (u64, u64), payload: &(dyn std::any::Any + Send)) {
        self.found.push(PanickedRecord { offset, record, message: panic_message(payload) });
    }

    /// The first that has failed, and the others; `None` if none has.
    pub fn end(self) -> Option<(PanickedRecord, Vec<PanickedRecord>)> {
        let mut found = self.found.into_iter();
        found.next().map(|first| (first, found.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_for_one_more_than_may_be_left_out_and_for_no_more_than_records_hold() {
        for (may, most) in [(1, 2), (7, 8), (u64::MAX, MOST_FOUND)] {
            let mut survey = Survey::up_to(may);
            let mut noted = 0;
            while !survey.is_full() {
                survey.note((10 * noted, noted), &"no");
                noted += 1;
            }
            assert_eq!(noted, most as u64);
            let (first, others) = survey.end().unwrap();
            assert_eq!((first.offset, first.message.as_str(), others.len()), (0, "no", most - 1));
            assert_eq!((others[0].offset, others[0].record), (10, 1));
        }
        assert!(Survey::up_to(1).end().is_none());
    }
}
