//! A host as the contract describes it: a disk that knows what is durable, an engine that remembers
//! what was applied, and one replica.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use synod_base::{Entry, EntryKind, HardState, LogIndex, LogStart, NodeId, Term};

use crate::core::*;
use crate::raft::RaftCore;

pub(super) const TICKS: CoreTicks = CoreTicks { heartbeat: 2, election: 10 };
pub(super) const FIRST: LogStart = LogStart { index: LogIndex(10), term: Term(1) };

/// What was applied, and how far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Engine {
    pub(super) at: LogStart,
    pub(super) membership: Membership,
    pub(super) history: BTreeMap<LogIndex, Entry>,
}

/// What a power cut leaves.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) hard_state: HardState,
    pub(super) start: LogStart,
    pub(super) entries: Vec<Entry>,
    pub(super) engine: Engine,
    /// Where a snapshot last took the engine.
    pub(super) installed: LogStart,
}

impl Disk {
    fn write(&mut self, write: &Write) {
        if let Some((start, _)) = &write.snapshot {
            self.start = *start;
            self.entries.clear();
        }
        if let Some(first) = write.entries.first() {
            self.entries.retain(|e| e.index < first.index);
            self.entries.extend(write.entries.iter().cloned());
        }
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
    }
}

/// A message on its way; a snapshot travels with the engine's state.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) from: NodeId,
    pub(super) message: Message,
    pub(super) engine: Option<Engine>,
}

pub(super) struct Host {
    pub(super) id: NodeId,
    pub(super) core: RaftCore,
    pub(super) disk: Disk,
    pub(super) engine: Engine,
    /// Writes that are not durable, each with the messages that wait for it.
    pub(super) unsynced: VecDeque<(Write, Vec<Message>)>,
    /// Sync by itself at once.
    pub(super) eager: bool,
    pub(super) outbox: Vec<Parcel>,
    pub(super) reads: Vec<(ReadContext, LogIndex)>,
    next_read: u64,
    start_number: u32,
}

impl Host {
    pub(super) fn new(id: NodeId, seed: u64, disk: Disk) -> Self {
        Self::restarted(id, seed, disk, 1)
    }

    fn restarted(id: NodeId, seed: u64, mut disk: Disk, start_number: u32) -> Self {
        let mut start = core_start(id, seed, &disk);
        if start.follow_snapshot(disk.installed) {
            disk.start = start.start;
            disk.entries.clear();
        }
        let core = RaftCore::new(start).unwrap();
        Host {
            id,
            core,
            engine: disk.engine.clone(),
            disk,
            unsynced: VecDeque::new(),
            eager: true,
            outbox: Vec::new(),
            reads: Vec::new(),
            next_read: 0,
            start_number,
        }
    }

    /// A power cut after the first `kept` of the un-synced writes.
    pub(super) fn crash(self, seed: u64, kept: usize) -> Self {
        let mut disk = self.disk;
        for (write, _) in self.unsynced.iter().take(kept) {
            disk.write(write);
        }
        let mut host = Self::restarted(self.id, seed, disk, self.start_number + 1);
        host.eager = self.eager;
        host
    }

    /// One turn: obeys every output.
    pub(super) fn pump(&mut self) {
        loop {
            while let Some(output) = self.core.take_output() {
                self.core.check();
                self.send(output.messages);
                self.unsynced.push_back((output.write, output.messages_after_write));
                self.reads.extend(output.reads);
                self.apply(output.committed);
                self.core.check();
            }
            while self.unsynced.front().is_some_and(|(w, m)| w.is_empty() && m.is_empty()) {
                self.unsynced.pop_front();
            }
            if !self.eager || self.unsynced.is_empty() {
                return;
            }
            self.sync(usize::MAX);
        }
    }

    /// Makes the first `count` writes durable.
    pub(super) fn sync(&mut self, count: usize) {
        for _ in 0..count.min(self.unsynced.len()) {
            let (write, messages) = self.unsynced.pop_front().unwrap();
            self.disk.write(&write);
            self.core.on_persisted(write.number);
            self.send(messages);
        }
    }

    fn send(&mut self, messages: Vec<Message>) {
        for mut message in messages {
            let mut engine = None;
            if let MessageKind::Snapshot { at } = message.kind {
                assert!(at.index <= self.engine.at.index, "a snapshot of a state to come");
                let to = message.to;
                let Some(newer) =
                    self.core.snapshot_message(to, self.engine.at, &self.engine.membership)
                else {
                    continue;
                };
                message = newer;
                engine = Some(self.engine.clone());
            }
            self.outbox.push(Parcel { from: self.id, message, engine });
        }
    }

    fn apply(&mut self, committed: Vec<Entry>) {
        for entry in committed {
            assert_eq!(entry.index, self.engine.at.index.next(), "applied with a gap or twice");
            if entry.kind == EntryKind::Membership {
                let change = MembershipChange::from_payload(entry.payload.clone()).unwrap();
                self.engine.membership = self.core.apply_change(&change);
            }
            self.engine.at = LogStart { index: entry.index, term: entry.term };
            self.engine.history.insert(entry.index, entry);
            self.core.on_applied(self.engine.at.index);
        }
    }

    /// Steps what arrived, bringing the engine to a snapshot first.
    pub(super) fn receive(&mut self, parcel: Parcel) -> Result<(), StepError> {
        if let Some(engine) = parcel.engine
            && engine.at.index > self.engine.at.index
        {
            self.engine = engine;
            // Durable at once, as an engine's own files are; the log follows with the write.
            self.disk.engine = self.engine.clone();
            self.disk.installed = self.engine.at;
        }
        let result = self.core.step(parcel.from, parcel.message.body);
        self.core.check();
        result
    }

    /// The engine's state becomes durable and the log before it is dropped.
    pub(super) fn compact(&mut self, upto: LogIndex) {
        self.disk.engine = self.engine.clone();
        if let Some(start) = self.core.compact(upto) {
            self.disk.start = start;
            self.disk.entries.retain(|e| e.index > start.index);
        }
        self.core.check();
    }

    pub(super) fn read(&mut self) -> Result<ReadContext, ReadRefused> {
        self.next_read += 1;
        let context =
            ReadContext { node: self.id, start_number: self.start_number, counter: self.next_read };
        self.core.read_index(context).map(|()| context)
    }

    pub(super) fn payloads(&self) -> Vec<Bytes> {
        let entries = self.engine.history.values();
        entries
            .filter(|e| e.kind == EntryKind::Normal && !e.payload.is_empty())
            .map(|e| e.payload.clone())
            .collect()
    }
}

pub(super) fn core_start(id: NodeId, seed: u64, disk: &Disk) -> CoreStart {
    CoreStart {
        node: id,
        seed: seed ^ id.0,
        hard_state: disk.hard_state,
        start: disk.start,
        entries: disk.entries.clone(),
        committed: None,
        membership: disk.engine.membership.clone(),
        applied: disk.engine.at.index,
        ticks: TICKS,
    }
}

/// The disk of a first member of a group of these voters.
pub(super) fn first_disk(voters: &[u64]) -> Disk {
    let membership = Membership::of_voters(voters.iter().copied().map(NodeId).collect());
    Disk {
        start: FIRST,
        engine: Engine { at: FIRST, membership, ..Engine::default() },
        ..Disk::default()
    }
}
