//! All checkers over one workload.

use synod_base::Revision;
use synod_node::Request;
use synod_state::kv::Command;

use super::leases::Watched;
use super::{leases, linear, order, watches, writes};
use crate::history::{Applied, LeaseLog, Operation, Violation, WatchLog};

/// Runs every checker; that a lease ended too late is looked for only with [`everything_watched`].
#[must_use]
pub fn everything(
    operations: &[Operation],
    applied: &Applied,
    watches: &[WatchLog],
    leases: &[LeaseLog],
) -> Vec<Violation> {
    everything_watched(operations, applied, watches, leases, None)
}

/// Runs every checker on a workload that ended healed.
#[must_use]
pub fn everything_watched(
    operations: &[Operation],
    applied: &Applied,
    watches: &[WatchLog],
    leases: &[LeaseLog],
    watched: Option<Watched>,
) -> Vec<Violation> {
    let mut violations = writes::check(operations, applied);
    violations.extend(order::check(operations, applied));
    violations.extend(linear::check(operations));
    violations.extend(watches::check(watches, applied, highest_compaction(operations)));
    violations.extend(leases::check(leases, applied, watched));
    violations
}

/// The highest revision that anyone asked to compact at, whatever the answer.
fn highest_compaction(operations: &[Operation]) -> Revision {
    let compactions = operations.iter().filter_map(|operation| match operation.request {
        Request::Write(Command::Compact { revision }) => Some(revision),
        _ => None,
    });
    compactions.max().unwrap_or_default()
}
