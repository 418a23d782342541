//! The end of a run: what the replicas applied, whether they are equal after healing, and the verdict
//! of all checkers.

use std::collections::BTreeMap;

use synod_base::{NodeId, Revision};
use synod_node::Member;
use synod_state::kv::{Event, EventKind};

use super::{ELECTION, Kind, LEASE_BOUND, Report, Run};
use crate::check;
use crate::check::leases::Watched;
use crate::faults::Fault;
use crate::history::{LeaseLog, Violation, WatchLog};
use crate::host::Host;

impl Run {
    /// Replicas must agree on every revision, while it happens.
    pub(super) fn on_applied(&mut self, host: NodeId, events: Vec<Event>) {
        let mut by_revision: BTreeMap<Revision, Vec<_>> = BTreeMap::new();
        for event in events {
            by_revision.entry(event.kv.mod_revision).or_default().push(event);
        }
        for (revision, events) in by_revision {
            match self.applied.events.get(&revision) {
                None => {
                    self.note_lease_ends(revision, &events);
                    self.applied.events.insert(revision, events);
                }
                Some(known) if *known == events => {}
                Some(known) => {
                    let what = format!("{host} has {events:?} at {revision}, another {known:?}");
                    self.world.violations.push(Violation { promise: "replicas-agree", what });
                }
            }
        }
    }

    pub(super) fn finish(mut self) -> Report {
        self.check_convergence();
        self.check_unanswered();
        let jobs = if self.kind == Kind::Jobs { self.judge_jobs() } else { BTreeMap::new() };
        let mut violations = std::mem::take(&mut self.world.violations);
        let watches: Vec<WatchLog> =
            self.watchers.into_iter().map(|watcher| watcher.into_log()).collect();
        // A lease without keys ends without a trace in the history: nothing to judge.
        let has_key = |log: &LeaseLog| {
            let mut events = self.applied.events.values().flatten();
            events.any(|event| event.kind == EventKind::Put && event.kv.lease == log.id)
        };
        let leases: Vec<LeaseLog> =
            self.leases.into_iter().map(|l| l.log).filter(|log| has_key(log)).collect();
        let watched =
            Watched { healed: self.heal_at + ELECTION, until: self.world.now, bound: LEASE_BOUND };
        if self.kind == Kind::Keys {
            violations.extend(check::everything_watched(
                &self.operations,
                &self.applied,
                &watches,
                &leases,
                Some(watched),
            ));
        }
        let network = self.world.network.counts;
        let mut counters: BTreeMap<&'static str, u64> = BTreeMap::new();
        for fault in Fault::ALL {
            counters.insert(fault.name(), self.plan.struck.get(&fault).copied().unwrap_or(0));
        }
        let operator = self.operator.counts;
        let answered = self.operations.iter().filter(|op| matches!(op.answer, Some((_, Ok(_)))));
        let keys = [
            ("members_added", operator.added),
            ("members_promoted", operator.promoted),
            ("members_removed", operator.removed),
            ("leadership_moved", operator.moved),
            ("operations", self.operations.len() as u64),
            ("answered", answered.count() as u64),
        ];
        match self.kind {
            Kind::Keys => counters.extend(keys),
            Kind::Jobs => counters.extend(jobs),
        }
        counters.extend([
            ("frames_lost", network.lost),
            ("frames_duplicated", network.duplicated),
            ("frames_delayed", network.delayed),
            ("frames_reordered", network.reordered),
            ("frames_cut", network.cut),
            ("restarts", self.world.counts.restarts),
            ("log_full", self.world.counts.disk_full),
            ("revisions", self.applied.events.len() as u64),
        ]);
        Report {
            seed: self.seed,
            trace: self.world.trace(),
            simulated: self.world.now,
            counters,
            violations,
        }
    }

    /// After healing: every member that has a machine is there, equal, and serves.
    fn check_convergence(&mut self) {
        let mut states = BTreeMap::new();
        let mut broken = Vec::new();
        let members = self.members();
        let is_member = |id: &NodeId| members.iter().any(|member| member.id == *id);
        if members.is_empty() {
            broken.push("nobody leads after healing".to_owned());
        }
        for (id, host) in self.world.hosts.iter().filter(|(id, _)| is_member(id)) {
            match &host.process {
                None => broken.push(format!("{id} is down after healing")),
                Some(process) => {
                    let kv = process.node.kv();
                    let hash = kv.state_hash().map_err(|error| error.to_string());
                    let state = (process.node.status().applied_index, kv.revision(), hash);
                    states.insert(*id, (state, process.node.members()));
                }
            }
        }
        let mut different: Vec<_> = states.values().collect();
        different.dedup();
        if different.len() > 1 {
            broken.push(format!("replicas differ after healing: {states:?}"));
        }
        if self.answered_after_healing == 0 {
            broken.push("no request was answered after healing".to_owned());
        }
        for what in broken {
            self.world.violations.push(Violation { promise: "convergence", what });
        }
    }

    /// Clients rest longer than a request may take: each call has had its answer, were it a refusal.
    fn check_unanswered(&mut self) {
        for (id, host) in &self.world.hosts {
            let Some(process) = &host.process else { continue };
            for (token, call) in process.front.unanswered() {
                let what = format!("{id} has not answered {token:?} ({:?})", call.method);
                self.world.violations.push(Violation { promise: "one-answer", what });
            }
        }
    }

    /// The members that the newest leader knows.
    fn members(&self) -> Vec<Member> {
        let leaders = self.world.hosts.values().filter(|host| host.believes_it_leads());
        let nodes = leaders.filter_map(|host: &Host| Some(&host.process.as_ref()?.node));
        let newest = nodes.max_by_key(|node| node.status().term);
        newest.map(|node| node.members()).unwrap_or_default()
    }
}
