//! Random lives with crashes: what was synced is there, and nothing else but a prefix of what followed.

use std::collections::BTreeMap;

use super::*;

/// What the log should hold: the state after each append since the last one known durable.
struct Model {
    /// Position 0 is durable; each later one is one append further.
    states: Vec<State>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct State {
    start_number: u32,
    groups: BTreeMap<GroupId, RecoveredGroup>,
}

impl State {
    fn apply(&mut self, record: &LogRecord) {
        match record {
            LogRecord::NodeStart { start_number } => self.start_number = *start_number,
            LogRecord::HardState { group, state } => self.group(*group).hard_state = *state,
            LogRecord::Committed { group, index } => {
                let log = self.group(*group);
                log.committed = log.committed.max(Some(*index));
            }
            LogRecord::Entries { group, entries } => {
                let log = self.group(*group);
                log.entries.retain(|entry| entry.index < entries[0].index);
                log.entries.extend(entries.iter().cloned());
            }
            LogRecord::Start { group, start } => {
                let log = self.group(*group);
                let at = log.entries.iter().find(|entry| entry.index == start.index);
                let keeps = *start == log.start || at.is_some_and(|entry| entry.term == start.term);
                log.entries.retain(|entry| keeps && entry.index > start.index);
                log.start = *start;
                log.committed = log.committed.filter(|index| keeps && *index > start.index);
            }
        }
    }

    fn group(&mut self, group: GroupId) -> &mut RecoveredGroup {
        self.groups.entry(group).or_default()
    }
}

fn random_record(rng: &mut fastrand::Rng, state: &State) -> LogRecord {
    let group = GroupId(rng.u32(1..4));
    let log = state.groups.get(&group).cloned().unwrap_or_default();
    let (first, last) = (log.start.index.0 + 1, log.start.index.0 + log.entries.len() as u64);
    let term = log.hard_state.term.0 + 1;
    // What is committed is replaced by nothing but a snapshot.
    let open = log.committed.map_or(first, |committed| first.max(committed.0 + 1));
    match rng.u32(..20) {
        0 => LogRecord::NodeStart { start_number: state.start_number + 1 },
        1..=3 => hard_state(group, log.hard_state.term.0 + rng.u64(..2), rng.u64(..4)),
        4..=6 if !log.entries.is_empty() => {
            let index = rng.u64(first..=last);
            let term = log.entries[(index - first) as usize].term.0;
            start(group, index, if rng.u8(..8) == 0 { term + 7 } else { term })
        }
        8 if !log.entries.is_empty() => {
            LogRecord::Committed { group, index: LogIndex(rng.u64(first..=last)) }
        }
        7 if rng.bool() => start(group, last + rng.u64(..5), term),
        _ => {
            let from = if rng.u8(..4) == 0 { rng.u64(open..=last + 1) } else { last + 1 };
            let count = rng.u64(1..4);
            let entries = (from..from + count).map(|index| {
                let bytes = if rng.u8(..30) == 0 { 9000 } else { rng.usize(..900) };
                entry(index, term, vec![rng.u8(..); bytes])
            });
            LogRecord::Entries { group, entries: entries.collect() }
        }
    }
}

/// One life: appends, syncs, fills, until it ends.
fn live(rng: &mut fastrand::Rng, wal: &mut Wal, model: &mut Model) {
    for _ in 0..rng.u32(1..40) {
        match rng.u32(..10) {
            0..=4 => {
                let mut next = model.states.last().unwrap().clone();
                let mut records = Vec::new();
                for _ in 0..rng.u32(1..4) {
                    let record = random_record(rng, &next);
                    next.apply(&record);
                    records.push(record);
                }
                match wal.append(&records) {
                    Ok(()) => model.states.push(next),
                    Err(WalError::NoSpace) => {}
                    Err(_) => {
                        // Unknown: it may be there after the restart.
                        model.states.push(next);
                        return;
                    }
                }
            }
            5..=7 => match wal.sync() {
                Ok(()) => drop(model.states.drain(..model.states.len() - 1)),
                Err(_) => return,
            },
            8 => drop(wal.prepare_spare(rng.usize(1..6000))),
            _ => drop(wal.witness()),
        }
        if wal.is_poisoned() {
            return;
        }
    }
}

fn check(seed: u64, round: u32, recovered: &Recovered, model: &mut Model) {
    let found = State { start_number: recovered.start_number, groups: recovered.groups.clone() };
    let same = |state: &State| {
        let empty = RecoveredGroup::default();
        let groups = |s: &State| -> BTreeMap<_, _> {
            s.groups.clone().into_iter().filter(|(_, group)| *group != empty).collect()
        };
        state.start_number == found.start_number && groups(state) == groups(&found)
    };
    let at = model.states.iter().rposition(same);
    assert!(at.is_some(), "seed {seed}, round {round}: not a prefix of what was appended");
    model.states = vec![found];
}

fn run(seed: u64, faults: bool) -> u64 {
    let mut rng = fastrand::Rng::with_seed(seed);
    let disk = VirtualDisk::new(seed);
    let mut model = Model { states: vec![State::default()] };
    for round in 0..8 {
        disk.disarm_all();
        disk.set_capacity(None);
        let (mut wal, recovered) = match open(&disk, SMALL) {
            Ok(opened) => opened,
            Err(error) => panic!("seed {seed}, round {round}: {error}"),
        };
        check(seed, round, &recovered, &mut model);
        if faults {
            if rng.bool() {
                disk.set_capacity(Some(disk.used_bytes() + rng.u64(..20_000)));
            }
            for fault in [DiskFault::NoSpace, DiskFault::TornWrite, DiskFault::SyncError] {
                if rng.u8(..4) == 0 {
                    disk.arm(fault);
                }
            }
        }
        live(&mut rng, &mut wal, &mut model);
        disk.crash(match rng.u8(..4) {
            0 => Crash::LoseUnsynced,
            1 => Crash::KeepEverything,
            _ => Crash::KeepRandomSubset,
        });
        if rng.u8(..4) == 0 {
            // A crash while the log is being opened.
            disk.arm(*rng.choice(&[DiskFault::WriteError, DiskFault::SyncError]).unwrap());
            if let Ok((wal, recovered)) = open(&disk, SMALL) {
                drop(wal);
                check(seed, round, &recovered, &mut model);
            }
            disk.disarm_all();
            disk.crash(Crash::KeepRandomSubset);
        }
    }
    disk.fault_counts().crashes
}

#[test]
fn after_any_crash_everything_synced_is_there_and_the_rest_is_a_prefix() {
    let crashes: u64 = (0..400).map(|seed| run(seed, false)).sum();
    assert!(crashes > 3000);
}

#[test]
fn after_faults_and_crashes_everything_synced_is_there_and_the_rest_is_a_prefix() {
    let crashes: u64 = (1000..1400).map(|seed| run(seed, true)).sum();
    assert!(crashes > 3000);
}
