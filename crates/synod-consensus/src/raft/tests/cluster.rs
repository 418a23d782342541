//! Hosts on a network that loses, reorders and duplicates by seed, watched for safety after each step:
//! one leader a term, one entry a position, and no read older than what it must see.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use synod_base::{Entry, LogIndex, NodeId, Term};

use super::host::{Disk, Host, Parcel, first_disk};
use crate::core::*;

pub(super) struct Cluster {
    pub(super) hosts: BTreeMap<NodeId, Host>,
    pub(super) rng: fastrand::Rng,
    pub(super) network: Vec<Parcel>,
    /// Nodes that nobody reaches.
    pub(super) cut_off: BTreeSet<NodeId>,
    /// What was done, for comparing two runs.
    pub(super) trace: Vec<String>,
    seed: u64,
    leaders: BTreeMap<Term, NodeId>,
    chosen: BTreeMap<LogIndex, Entry>,
    reads: BTreeMap<ReadContext, LogIndex>,
}

impl Cluster {
    pub(super) fn new(seed: u64, voters: &[u64]) -> Self {
        let disk = first_disk(voters);
        let hosts = voters
            .iter()
            .map(|&id| (NodeId(id), Host::new(NodeId(id), seed, disk.clone())))
            .collect();
        Cluster {
            hosts,
            rng: fastrand::Rng::with_seed(seed),
            network: Vec::new(),
            cut_off: BTreeSet::new(),
            trace: Vec::new(),
            seed,
            leaders: BTreeMap::new(),
            chosen: BTreeMap::new(),
            reads: BTreeMap::new(),
        }
    }

    /// A cluster in which `leader` leads and has committed in its term.
    pub(super) fn led_by(seed: u64, voters: &[u64], leader: u64) -> Self {
        let mut cluster = Cluster::new(seed, voters);
        cluster.elect(leader);
        assert!(cluster.status(leader).committed_in_term);
        cluster
    }

    pub(super) fn host(&mut self, id: u64) -> &mut Host {
        self.hosts.get_mut(&NodeId(id)).unwrap()
    }

    pub(super) fn status(&self, id: u64) -> CoreStatus {
        self.hosts[&NodeId(id)].core.status()
    }

    pub(super) fn add_newcomer(&mut self, id: u64) {
        let host = Host::new(NodeId(id), self.seed, Disk::default());
        self.hosts.insert(NodeId(id), host);
    }

    pub(super) fn elect(&mut self, id: u64) {
        self.host(id).core.campaign();
        self.settle();
        assert_eq!(self.status(id).role, Role::Leader);
    }

    /// The leader of the highest term.
    pub(super) fn leader(&self) -> Option<NodeId> {
        self.hosts
            .values()
            .filter(|h| h.core.status().role == Role::Leader)
            .max_by_key(|h| h.core.status().term)
            .map(|h| h.id)
    }

    pub(super) fn propose(&mut self, id: u64, payload: &str) -> Result<(), ProposeError> {
        self.host(id).core.propose(vec![Bytes::copy_from_slice(payload.as_bytes())])
    }

    pub(super) fn change(&mut self, id: u64, changes: &[MemberChange]) -> Membership {
        let change = MembershipChange::of(changes.to_vec());
        self.host(id).core.propose_change(&change).unwrap();
        self.settle();
        self.run_ticks(5);
        self.host(id).engine.membership.clone()
    }

    pub(super) fn read(&mut self, id: u64) -> Result<ReadContext, ReadRefused> {
        let must_see = self.chosen.keys().last().copied().unwrap_or_default();
        let context = self.host(id).read()?;
        self.reads.insert(context, must_see);
        Ok(context)
    }

    pub(super) fn crash(&mut self, id: u64, kept: usize) {
        let host = self.hosts.remove(&NodeId(id)).unwrap();
        let seed = self.rng.u64(..);
        self.hosts.insert(NodeId(id), host.crash(seed, kept));
    }

    /// Lets everything that is under way arrive, in order, without any time passing.
    pub(super) fn settle(&mut self) {
        loop {
            self.pump_all();
            if self.network.is_empty() {
                return;
            }
            for parcel in std::mem::take(&mut self.network) {
                self.deliver(parcel);
            }
        }
    }

    pub(super) fn run_ticks(&mut self, count: usize) {
        for _ in 0..count {
            for host in self.hosts.values_mut() {
                host.core.tick();
            }
            self.settle();
        }
    }

    pub(super) fn pump_all(&mut self) {
        for host in self.hosts.values_mut() {
            host.pump();
            self.network.append(&mut host.outbox);
        }
        self.watch();
    }

    pub(super) fn deliver(&mut self, parcel: Parcel) {
        let (from, to) = (parcel.from, parcel.message.to);
        let snapshot = parcel.engine.is_some();
        let cut = self.cut_off.contains(&from) || self.cut_off.contains(&to);
        let delivered = !cut
            && self.hosts.get_mut(&to).is_some_and(|host| {
                host.receive(parcel).unwrap();
                true
            });
        if let Some(sender) = self.hosts.get_mut(&from) {
            if snapshot {
                sender.core.report_snapshot(to, delivered);
            } else if !delivered {
                sender.core.report_unreachable(to);
            }
        }
    }

    /// One step of a bad day.
    pub(super) fn stir(&mut self, count: usize) {
        for host in self.hosts.values_mut() {
            host.eager = false;
        }
        let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
        for step in 0..count {
            let id = ids[self.rng.usize(..ids.len())];
            let what = self.rng.u32(..100);
            match what {
                0..50 if !self.network.is_empty() => self.stir_network(),
                50..70 => self.host(id.0).core.tick(),
                70..84 => {
                    let writes = self.rng.usize(..3);
                    self.host(id.0).sync(writes);
                }
                84..91 => {
                    let _ = self.propose(id.0, &format!("{step}"));
                }
                91..96 => drop(self.read(id.0)),
                96 => {
                    let at = self.host(id.0).engine.at.index;
                    let upto = LogIndex(at.0.saturating_sub(self.rng.u64(0..4)));
                    self.host(id.0).compact(upto);
                }
                97 => {
                    let kept = self.rng.usize(..3);
                    self.crash(id.0, kept);
                }
                98 => {
                    if let Some(leader) = self.leader() {
                        self.host(leader.0).core.transfer_leader(id);
                    }
                }
                _ => {}
            }
            self.pump_all();
            let status = self.status(id.0);
            self.trace.push(format!("{what} {id} {status:?} {}", self.network.len()));
        }
    }

    fn stir_network(&mut self) {
        let parcel = self.network.swap_remove(self.rng.usize(..self.network.len()));
        match self.rng.u32(..10) {
            0 if parcel.engine.is_none() => {}
            1 if parcel.engine.is_none() => {
                self.network.push(parcel.clone());
                self.deliver(parcel);
            }
            _ => self.deliver(parcel),
        }
    }

    /// All faults end; then every member must reach the same state with everything ever applied in it.
    pub(super) fn heal(&mut self) {
        self.cut_off.clear();
        for host in self.hosts.values_mut() {
            host.eager = true;
        }
        self.run_ticks(60);
        let leader = self.leader().expect("a healed cluster elects a leader");
        self.propose(leader.0, "after the storm").unwrap();
        self.settle();
        self.run_ticks(10);
        let members = self.hosts[&leader].engine.membership.all();
        for id in members {
            let history = &self.hosts[&id].engine.history;
            assert_eq!(history, &self.chosen, "node {id} lost or invented something");
        }
    }

    /// What must hold at any time.
    fn watch(&mut self) {
        for host in self.hosts.values_mut() {
            host.core.check();
            let status = host.core.status();
            if status.role == Role::Leader {
                let leader = *self.leaders.entry(status.term).or_insert(host.id);
                assert_eq!(leader, host.id, "two leaders in term {}", status.term);
            }
            let known = self.chosen.len() as u64 + super::host::FIRST.index.0;
            for (index, entry) in host.engine.history.range(LogIndex(known.saturating_sub(8))..) {
                let chosen = self.chosen.entry(*index).or_insert_with(|| entry.clone());
                assert_eq!(chosen, entry, "two entries at one position");
            }
            for (context, index) in &host.reads {
                let must_see = self.reads[context];
                assert!(*index >= must_see, "a read at {index} misses what was applied");
            }
        }
    }
}
