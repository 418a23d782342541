//! Applying committed entries: the one place where the replicated state changes.
//!
//! Invariants: entries are applied in order, each once; one that the engine holds already (replay after a
//! restart, or an installed snapshot) is passed over; a payload that does not decode stops the replica,
//! since no other replica could go on either.

use synod_base::{Entry, EntryKind, Instant, LogStart, ProposalId};
use synod_state::kv::Command;

use crate::effects::StopReason;
use crate::item::{self, Item};
use crate::node::Node;
use crate::request::{Reply, RequestError, Response};

impl Node {
    /// Applies entries that consensus has committed.
    pub(crate) fn apply(&mut self, now: Instant, entries: Vec<Entry>) {
        let Some(last) = entries.last().map(|entry| entry.index) else { return };
        for entry in entries {
            if entry.index <= self.applied.position.index {
                continue;
            }
            self.applied.position = LogStart { index: entry.index, term: entry.term };
            self.position_moved = true;
            match entry.kind {
                EntryKind::Membership => self.apply_change(&entry),
                EntryKind::Normal => self.apply_items(now, &entry),
            }
            if self.stopped.is_some() {
                return;
            }
        }
        self.core.on_applied(last);
    }

    fn apply_items(&mut self, now: Instant, entry: &Entry) {
        self.forget_refused_change(entry);
        let items = match item::unpack(entry.payload.clone()) {
            Ok(items) => items,
            Err(error) => return self.stop_on_entry(entry, &error),
        };
        for (id, item) in items {
            match Item::decode(item) {
                Ok(Item::Kv(command)) => self.apply_command(now, id, &command),
                Ok(other) => self.apply_member_item(id, other),
                Err(error) => return self.stop_on_entry(entry, &error),
            }
            if self.stopped.is_some() {
                return;
            }
        }
    }

    fn apply_command(&mut self, now: Instant, id: ProposalId, command: &Command) {
        if matches!(command, Command::Compact { .. }) {
            // Whoever has kept up must not lose, to a compaction in the same turn, what came before it.
            let header = self.header();
            if let Err(error) = self.hub.before_compaction(header, &self.kv, &mut self.deliveries) {
                return self.stop_on(error);
            }
        }
        let outcome = match self.kv.apply(command, &mut self.batch) {
            Ok(outcome) => outcome,
            Err(error) => return self.stop_on(error),
        };
        if let Command::LeaseGrant { id: lease, .. } = command {
            self.lease_clock.release(*lease, id);
        }
        if self.leading.is_some() && outcome.is_ok() {
            match command {
                Command::LeaseGrant { id, .. } => {
                    let granted = self.kv.lease(*id).map_or(0, |lease| lease.ttl_seconds);
                    self.lease_clock.start(now, *id, granted);
                }
                Command::LeaseRevoke { id } => self.lease_clock.remove(*id),
                _ => {}
            }
        }
        if let Some(token) = self.proposals.finish(id) {
            let reply: Reply = match outcome {
                Ok(result) => Ok((self.header(), Response::Write(result))),
                Err(refusal) => Err(RequestError::Refused(refusal)),
            };
            self.reply(token, reply);
        }
    }

    pub(crate) fn stop_on_entry(&mut self, entry: &Entry, error: &synod_base::DecodeError) {
        self.stop(StopReason::DamagedEntry(format!("entry {}: {error}", entry.index)));
    }
}
