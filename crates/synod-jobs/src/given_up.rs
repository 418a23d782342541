//! Tasks that a job went on without, because they have failed as often as a task may and the job allows
//! some of that: a map that was given up has added no record, a reduce has no part file.
//!
//! It is never done in silence: what is kept of it here goes into the manifest, the report and what people
//! are shown. How many may be given up is in the spec; what errors are no matter of one task is said by
//! [`JobError::is_of_whole_job`](crate::JobError::is_of_whole_job).

use crate::cluster::names::TaskId;
use crate::counters::Counters;
use crate::quarantine::reason;
use crate::task::TaskKind;
use serde::{Deserialize, Serialize};

/// Tasks that are named; all of them are counted.
pub const MAX_NAMED: usize = 1_000;
/// Bytes of errors that are kept of them together.
const MAX_TEXT: usize = 64 << 10;

/// A task that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// Which.
    pub task: TaskId,
    /// Its last failure, in short; empty if there are so many that no room was left for it.
    pub error: String,
}

/// Whether a job goes on although so many tasks of a kind have failed: Hadoop's rule, whose job fails when
/// `failed * 100 > percent * total`.
pub fn may_go_on(percent: u32, failed: u64, total: u64) -> bool {
    failed.saturating_mul(100) <= u64::from(percent).saturating_mul(total)
}

/// As many as are kept, in the order given.
pub(crate) fn kept<'e>(tasks: impl IntoIterator<Item = (TaskId, &'e str)>) -> Vec<GivenUp> {
    let mut room = MAX_TEXT;
    let keep = |(task, error): (TaskId, &str)| {
        let error = Some(reason(error)).filter(|error| error.len() <= room).unwrap_or_default();
        room -= error.len();
        GivenUp { task, error }
    };
    tasks.into_iter().take(MAX_NAMED).map(keep).collect()
}

impl Counters {
    /// Counts a task that was given up.
    pub fn count_given_up(&mut self, kind: TaskKind) {
        match kind {
            TaskKind::Map => self.maps_given_up += 1,
            TaskKind::Reduce => self.reduces_given_up += 1,
        }
    }
}

/// The warning of a job that went on without tasks, in one sentence; `None` if it has done them all.
pub fn warning(counted: &Counters, tasks: &[GivenUp]) -> Option<String> {
    let Counters { maps_given_up: maps, reduces_given_up: reduces, .. } = *counted;
    let tasks_of = |number: u64, kind: TaskKind| {
        format!("{number} {} task{}", kind.name(), if number == 1 { "" } else { "s" })
    };
    let what = match (tasks_of(maps, TaskKind::Map), tasks_of(reduces, TaskKind::Reduce)) {
        _ if maps + reduces == 0 => return None,
        (maps, _) if reduces == 0 => format!("{maps}: the output lacks what is in their input"),
        (_, reduces) if maps == 0 => format!("{reduces}: the part files of these are missing"),
        (maps, reduces) => format!(
            "{maps} and {reduces}: the output lacks what is in the input of the former, and the part \
             files of the latter"
        ),
    };
    let first =
        tasks.first().map(|first| format!(" (the first one, {}: {})", first.task, first.error));
    Some(format!("the job went on without {what}{}", first.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_may_fail_as_of_a_hundred_and_not_one_more() {
        for (percent, failed, total, may) in [
            (0, 0, 10, true),
            (0, 1, 10, false),
            (10, 1, 10, true),
            (10, 2, 10, false),
            (10, 1, 9, false),
            (33, 1, 3, false),
            (34, 1, 3, true),
            (100, 3, 3, true),
            (50, 0, 0, true),
        ] {
            assert_eq!(may_go_on(percent, failed, total), may, "{failed} of {total}, {percent} %");
        }
    }

    #[test]
    fn of_very_many_the_first_are_named_and_their_errors_have_a_bound() {
        let error = "it broke ".repeat(200);
        let all = (0..5_000).map(|number| (TaskId::map(number), error.as_str()));
        let kept = kept(all);
        assert_eq!(kept.len(), MAX_NAMED);
        assert!(kept[0].error.starts_with("it broke") && kept[MAX_NAMED - 1].error.is_empty());
        let text: usize = kept.iter().map(|one| one.error.len()).sum();
        assert!(text <= MAX_TEXT, "{text}");
    }

    #[test]
    fn a_warning_says_how_many_of_which_kind_and_why() {
        let mut counted = Counters::default();
        assert_eq!(warning(&counted, &[]), None);
        counted.count_given_up(TaskKind::Map);
        let tasks = kept([(TaskId::map(7), "it broke")]);
        let said = warning(&counted, &tasks).unwrap();
        assert!(
            said.contains("without 1 map task:") && said.contains("m000007: it broke"),
            "{said}"
        );
        counted.count_given_up(TaskKind::Reduce);
        let said = warning(&counted, &tasks).unwrap();
        assert!(said.contains("1 map task and 1 reduce task:"), "{said}");
    }
}
