//! Leases: never ended early, ended in time once the cluster is well, and all their keys in one
//! revision.
//!
//! A renewal counts from its *call*: the earliest moment the leader can have started the time anew.
//! So an end before call + time to live is early whatever the delays were.

use synod_base::Revision;
use synod_state::kv::EventKind;

use super::model::Model;
use crate::history::{Applied, LeaseLog, TrueTime, Violation};

/// When an end is late.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watched {
    /// From here on a leader stood undisturbed. A new leader gives every lease its full time, so
    /// none need end before this plus its time to live.
    pub healed: TrueTime,
    /// Until here ends were looked for.
    pub until: TrueTime,
    /// How long after its time to live a lease may stay: election time, drift, and the delays
    /// between a renewal's call and the leader's hearing of it.
    pub bound: TrueTime,
}

/// Checks all leases; `watched` is `None` if the workload did not end healed, so that no end is
/// late.
#[must_use]
pub fn check(leases: &[LeaseLog], applied: &Applied, watched: Option<Watched>) -> Vec<Violation> {
    let (model, _) = Model::replay(applied);
    let mut violations = Vec::new();
    for lease in leases {
        violations.extend(early(lease));
        violations.extend(watched.and_then(|watched| late(lease, watched)));
        violations.extend(keys_left(lease, &model));
        violations.extend(attached_later(lease, applied));
    }
    violations
}

fn early(lease: &LeaseLog) -> Option<Violation> {
    let (ended, _) = lease.ended?;
    let wanted_by = lease.revoked.is_some_and(|revoked| revoked <= ended);
    let alive_until = *lease.renewed.iter().max()? + ttl(lease);
    (!wanted_by && ended < alive_until).then(|| {
        let what = format!("lease {} ended at {ended}, before {alive_until}", lease.id);
        Violation::new("lease-early", what)
    })
}

fn late(lease: &LeaseLog, watched: Watched) -> Option<Violation> {
    let renewed = *lease.renewed.iter().max()?;
    let gone_by = renewed.max(watched.healed) + ttl(lease) + watched.bound;
    let ended = lease.ended.map_or(TrueTime::MAX, |(ended, _)| ended);
    (watched.until > gone_by && ended > gone_by).then(|| {
        let what = format!("lease {} had to end by {gone_by}: {:?}", lease.id, lease.ended);
        Violation::new("lease-late", what)
    })
}

/// At the revision of its end no key hangs on it any more.
fn keys_left(lease: &LeaseLog, model: &Model) -> Option<Violation> {
    let (_, revision) = lease.ended?;
    let left: Vec<_> = model.at(revision).attached(lease.id).map(|kv| &kv.key).collect();
    (!left.is_empty()).then(|| {
        let what = format!("lease {} ended at revision {revision}, but left {left:?}", lease.id);
        Violation::new("lease-keys-left", what)
    })
}

/// Nothing hangs itself on a lease that is over.
fn attached_later(lease: &LeaseLog, applied: &Applied) -> Option<Violation> {
    let (_, revision) = lease.ended?;
    let after = Revision(revision.0 + 1)..;
    let mut events = applied.events.range(after).flat_map(|(_, events)| events);
    let event = events.find(|e| e.kind == EventKind::Put && e.kv.lease == lease.id)?;
    let what = format!("lease {} ended at revision {revision}, then came {event:?}", lease.id);
    Some(Violation::new("lease-key-after-end", what))
}

fn ttl(lease: &LeaseLog) -> TrueTime {
    const SECOND: TrueTime = 1_000_000_000;
    u64::try_from(lease.ttl_seconds.max(1)).unwrap_or(u64::MAX).saturating_mul(SECOND)
}

#[cfg(test)]
mod tests;
