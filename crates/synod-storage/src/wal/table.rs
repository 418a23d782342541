//! What the log knows of each group without its payloads: hard state, start, and which entries of
//! which term lie in which segment.
//!
//! The writer and recovery feed it the same records. It answers three questions: what a checkpoint
//! says, whether a new start keeps the entries behind it, and which segments nobody needs.

use std::collections::{BTreeMap, VecDeque};

use synod_base::{Entry, GroupId, HardState, LogIndex, LogStart, Term};

use super::record::{Checkpoint, GroupCheckpoint, LogRecord};

/// The state of all groups in one log.
#[derive(Clone, Debug, Default)]
pub(super) struct GroupTable {
    pub(super) start_number: u32,
    groups: BTreeMap<GroupId, GroupLog>,
}

/// One group's log, as runs of entries.
#[derive(Clone, Debug, Default)]
pub(super) struct GroupLog {
    pub(super) hard_state: HardState,
    pub(super) start: LogStart,
    /// Index of the last entry, that of `start` if there is none.
    pub(super) last: LogIndex,
    /// Noted as committed; not in checkpoints: the note lies in no older segment than its entry, and is
    /// needed no longer than that.
    pub(super) committed: LogIndex,
    /// Ascending by index, and so by segment: later appends replace a suffix.
    runs: VecDeque<Run>,
}

/// Entries from `first` to the next run's `first`, of one term, in one segment.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: LogIndex,
    term: Term,
    segment: u64,
}

impl GroupTable {
    pub(super) fn groups(&self) -> &BTreeMap<GroupId, GroupLog> {
        &self.groups
    }

    pub(super) fn group(&mut self, group: GroupId) -> &mut GroupLog {
        self.groups.entry(group).or_default()
    }

    /// The group's log in `copies`, copied there first if it is not there yet.
    pub(super) fn copy_once<'a>(
        &self,
        group: GroupId,
        copies: &'a mut BTreeMap<GroupId, GroupLog>,
    ) -> &'a mut GroupLog {
        copies.entry(group).or_insert_with(|| self.groups.get(&group).cloned().unwrap_or_default())
    }

    /// Takes over a record that was written to `segment`.
    pub(super) fn apply(&mut self, record: &LogRecord, segment: u64) {
        match record {
            LogRecord::NodeStart { start_number } => self.start_number = *start_number,
            LogRecord::Entries { group, entries } => self.group(*group).append(entries, segment),
            LogRecord::HardState { group, state } => self.group(*group).hard_state = *state,
            LogRecord::Committed { group, index } => self.group(*group).note_committed(*index),
            LogRecord::Start { group, start } => {
                let log = self.group(*group);
                log.set_start(*start, log.keeps_entries(*start));
            }
        }
    }

    pub(super) fn checkpoint(&self) -> Checkpoint {
        let groups = self.groups.iter().map(|(group, log)| {
            let GroupLog { hard_state, start, last, .. } = *log;
            (*group, GroupCheckpoint { hard_state, start, last })
        });
        Checkpoint { start_number: self.start_number, groups: groups.collect() }
    }

    /// The oldest segment that holds an entry some group still has.
    pub(super) fn oldest_needed(&self) -> Option<u64> {
        self.groups.values().filter_map(GroupLog::oldest_segment).min()
    }

    /// Groups that have entries in this segment or an older one.
    pub(super) fn groups_in(&self, segment: u64) -> Vec<GroupId> {
        let needs = |log: &GroupLog| log.oldest_segment().is_some_and(|oldest| oldest <= segment);
        self.groups.iter().filter(|(_, log)| needs(log)).map(|(group, _)| *group).collect()
    }
}

impl GroupLog {
    /// Panics unless `entries` go on from this log: a gap on disk could not be told from damage.
    pub(super) fn assert_follows(&self, entries: &[Entry]) {
        let first = entries.first().expect("a record has at least one entry").index;
        assert!(
            first > self.start.index && first <= self.last.next(),
            "entries from {first} do not go on from {} after {}",
            self.last,
            self.start.index,
        );
        let ascending = entries.windows(2).all(|pair| pair[0].index.next() == pair[1].index);
        assert!(ascending, "entries leave a gap");
    }

    pub(super) fn append(&mut self, entries: &[Entry], segment: u64) {
        let Some(first) = entries.first() else { return };
        while self.runs.back().is_some_and(|run| run.first >= first.index) {
            self.runs.pop_back();
        }
        for entry in entries {
            let same = |run: &Run| run.term == entry.term && run.segment == segment;
            if !self.runs.back().is_some_and(same) {
                self.runs.push_back(Run { first: entry.index, term: entry.term, segment });
            }
            self.last = entry.index;
        }
    }

    pub(super) fn note_committed(&mut self, index: LogIndex) {
        self.committed = self.committed.max(index);
    }

    /// What is noted as committed, if it goes beyond the start.
    pub(super) fn committed_in_log(&self) -> Option<LogIndex> {
        Some(self.committed).filter(|index| *index > self.start.index)
    }

    /// Whether entries behind a new start stay: only if the log has the entry at `start`, or starts
    /// right there. Otherwise a snapshot replaces a log that had diverged or ended before.
    pub(super) fn keeps_entries(&self, start: LogStart) -> bool {
        start == self.start
            || (start.index <= self.last && self.term_at(start.index) == Some(start.term))
    }

    pub(super) fn set_start(&mut self, start: LogStart, keeps_entries: bool) {
        self.start = start;
        if !keeps_entries {
            // A snapshot has it all.
            self.committed = self.committed.min(start.index);
        }
        if !keeps_entries || self.last <= start.index {
            self.runs.clear();
            self.last = start.index;
            return;
        }
        while self.runs.get(1).is_some_and(|next| next.first <= start.index.next()) {
            self.runs.pop_front();
        }
    }

    /// Begins with what a checkpoint says; its entries, in segments before, are not known.
    pub(super) fn restore(&mut self, checkpoint: &GroupCheckpoint) {
        *self = GroupLog {
            hard_state: checkpoint.hard_state,
            start: checkpoint.start,
            last: checkpoint.last,
            committed: LogIndex(0),
            runs: VecDeque::new(),
        };
    }

    fn term_at(&self, index: LogIndex) -> Option<Term> {
        let run = self.runs.iter().rev().find(|run| run.first <= index)?;
        (self.start.index < index).then_some(run.term)
    }

    fn oldest_segment(&self) -> Option<u64> {
        self.runs.front().map(|run| run.segment)
    }
}
