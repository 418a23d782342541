//! How large the records of a job may get.
//!
//! The store refuses a transaction of more than 1.5 MiB, and will refuse it as often as it is sent. Whatever
//! a job is made of, whatever it counts, names and says, its records stay within these bounds, so that it
//! comes to its end. What is cut is told with the number of what is missing; `_SUCCESS` holds all of it.

use crate::cluster::records::{Ended, JobRecord, JobState, encode};
use crate::cluster::report::JobReport;
use crate::commit::{Cut, Manifest};
use serde::Serialize;
use std::mem::take;

/// Bytes of a job's record as it is submitted.
pub const MAX_SPEC_BYTES: usize = 512 << 10;
/// Bytes of a task's record, with what its winner tells.
pub const MAX_TASK_BYTES: usize = 1 << 20;
/// Bytes of the last record of a job together with its report.
pub const MAX_END_BYTES: usize = 1280 << 10;
/// Characters of what is said when a job fails.
const MAX_WHY_CHARS: usize = 8_000;
/// Bytes for commas, and for numbers of what is cut.
const SLACK_BYTES: usize = 256;

/// What is written at the end of a job: its state and the report of its tasks, cut so that `record` with that
/// state and the report take no more than `room` bytes together. What the job's own functions have counted is
/// kept once: in the manifest, if there is one, else in the report.
pub(super) fn end_within(
    room: usize,
    record: &JobRecord,
    state: JobState,
    mut report: Option<JobReport>,
) -> (JobState, Option<JobReport>) {
    let counted = report.as_mut().map(|report| take(&mut report.counters.user));
    if let Some(report) = &mut report {
        while bytes_of(report) > room / 3 && report.halve() {}
    }
    let JobState::Done(whole) = state else {
        let used = bytes_of(&JobRecord { state: state.clone(), ..record.clone() });
        let mut room = Room::beside(used + bytes_of(&report), room);
        if let Some(report) = &mut report {
            let (kept, left_out) = room.first_of(counted.unwrap_or_default().into_iter());
            report.counters.user = kept;
            report.counters_left_out += left_out;
        }
        return (state, report);
    };
    let Manifest { parts, side_files, mut counters, .. } = whole.clone();
    let counted = take(&mut counters.user);
    let mut kept = Manifest { parts: Vec::new(), side_files: Vec::new(), counters, ..whole };
    let bare = JobRecord { state: JobState::Done(kept.clone()), ..record.clone() };
    let mut room = Room::beside(bytes_of(&bare) + bytes_of(&report), room);
    let mut cut = Cut::default();
    (kept.counters.user, cut.counters) = room.first_of(counted.into_iter());
    (kept.parts, cut.parts) = room.first_of(parts.into_iter());
    (kept.side_files, cut.side_files) = room.first_of(side_files.into_iter());
    kept.cut = cut;
    if let Some(report) = &mut report {
        report.counters_left_out = cut.counters;
    }
    (JobState::Done(kept), report)
}

impl JobState {
    /// This, with what it says cut to what people read.
    pub(super) fn in_short(self) -> JobState {
        match self {
            JobState::Failed(why) => JobState::Failed(cut(why)),
            JobState::Ending(Ended::Failed(why)) => JobState::Ending(Ended::Failed(cut(why))),
            state => state,
        }
    }
}

fn cut(mut why: String) -> String {
    if let Some((end, _)) = why.char_indices().nth(MAX_WHY_CHARS) {
        why.truncate(end);
        why.push('…');
    }
    why
}

/// Bytes that are left.
struct Room(usize);

impl Room {
    fn beside(used: usize, room: usize) -> Room {
        Room(room.saturating_sub(used + SLACK_BYTES))
    }

    /// The first of these that fit, and how many others there are.
    fn first_of<T: Serialize, C: FromIterator<T>>(
        &mut self,
        all: impl ExactSizeIterator<Item = T>,
    ) -> (C, u64) {
        let (count, mut kept) = (all.len(), 0);
        let fits = |one: &T| {
            // And what is between two of them.
            let left = self.0.checked_sub(bytes_of(one) + 1);
            self.0 = left.unwrap_or(0);
            kept += usize::from(left.is_some());
            left.is_some()
        };
        let first = all.take_while(fits).collect();
        (first, (count - kept) as u64)
    }
}

/// Its length as a record.
pub(super) fn bytes_of<T: Serialize>(record: &T) -> usize {
    encode(record).map_or(0, |text| text.len())
}
