//! The log over a virtual disk: what comes back, what is refused, what survives.

mod crash;
mod damage;
mod full;
mod story;

use std::sync::Arc;

use bytes::Bytes;
use synod_base::disk::{Crash, Disk, DiskFault, VirtualDisk};
use synod_base::{
    ClusterId, Entry, EntryKind, GroupId, HardState, LogIndex, LogStart, NodeId, Term,
};

use super::*;

const IDENTITY: WalIdentity = WalIdentity { cluster: ClusterId(7), node: NodeId(1) };
const SMALL: WalLimits = WalLimits { segment_bytes: 8192, max_spares: 2 };
const ROOMY: WalLimits = WalLimits { segment_bytes: 256 * 1024, max_spares: 2 };
const G: GroupId = GroupId(1);

fn open(disk: &VirtualDisk, limits: WalLimits) -> Result<(Wal, Recovered), WalError> {
    Wal::open(Arc::new(disk.clone()), "wal", IDENTITY, limits)
}

/// Stops the process and opens the log again.
fn reopen(disk: &VirtualDisk, limits: WalLimits) -> (Wal, Recovered) {
    disk.crash(Crash::KeepEverything);
    open(disk, limits).unwrap()
}

fn entry(index: u64, term: u64, payload: impl Into<Bytes>) -> Entry {
    Entry {
        index: LogIndex(index),
        term: Term(term),
        kind: EntryKind::Normal,
        payload: payload.into(),
    }
}

fn entries(group: GroupId, term: u64, range: std::ops::RangeInclusive<u64>) -> LogRecord {
    let entries =
        range.map(|index| entry(index, term, format!("{group}/{index}@{term}"))).collect();
    LogRecord::Entries { group, entries }
}

/// One entry of `bytes` bytes.
fn big(group: GroupId, index: u64, bytes: usize) -> LogRecord {
    LogRecord::Entries { group, entries: vec![entry(index, 1, vec![index as u8; bytes])] }
}

fn hard_state(group: GroupId, term: u64, voted_for: u64) -> LogRecord {
    LogRecord::HardState {
        group,
        state: HardState { term: Term(term), voted_for: NodeId(voted_for) },
    }
}

fn start(group: GroupId, index: u64, term: u64) -> LogRecord {
    LogRecord::Start { group, start: LogStart { index: LogIndex(index), term: Term(term) } }
}

fn indexes(recovered: &Recovered, group: GroupId) -> Vec<u64> {
    recovered.groups[&group].entries.iter().map(|entry| entry.index.0).collect()
}

fn append_synced(wal: &mut Wal, records: &[LogRecord]) {
    wal.append(records).unwrap();
    wal.sync().unwrap();
}

/// Path of the newest segment file.
fn newest_segment(disk: &VirtualDisk) -> String {
    segments(disk).pop().unwrap()
}

fn segments(disk: &VirtualDisk) -> Vec<String> {
    let names = disk.list("wal").unwrap().into_iter();
    names.filter(|name| name.ends_with(".wal")).map(|name| format!("wal/{name}")).collect()
}

/// Where the n-th frame (from 0, the checkpoint) of a segment file begins.
fn frame_offset(disk: &VirtualDisk, path: &str, n: usize) -> u64 {
    let bytes = disk.read(path).unwrap();
    let mut at = header::FIRST_FRAME_AT;
    for _ in 0..n {
        at += frame::FrameHeader::peek(&bytes[at as usize..]).unwrap().total_bytes();
    }
    at
}

fn fill_spare(wal: &mut Wal) {
    while !wal.prepare_spare(4096).unwrap() {}
}
