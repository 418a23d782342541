//! Kinds of requests, for the metrics.

use synod_node::Request;
use synod_state::kv::Command;

/// What a request is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RequestKind {
    /// A put.
    Put,
    /// A deletion.
    DeleteRange,
    /// A transaction, also one that only reads.
    Txn,
    /// A compaction.
    Compact,
    /// A read.
    Range,
    /// Grant, revoke, time to live, list.
    Lease,
    /// A keep-alive.
    LeaseKeepAlive,
    /// The member table.
    Member,
    /// Status and hash.
    Maintenance,
}

impl RequestKind {
    /// In the order of their numbers.
    pub(crate) const ALL: [RequestKind; 9] = [
        RequestKind::Put,
        RequestKind::DeleteRange,
        RequestKind::Txn,
        RequestKind::Compact,
        RequestKind::Range,
        RequestKind::Lease,
        RequestKind::LeaseKeepAlive,
        RequestKind::Member,
        RequestKind::Maintenance,
    ];

    /// Its label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            RequestKind::Put => "put",
            RequestKind::DeleteRange => "delete_range",
            RequestKind::Txn => "txn",
            RequestKind::Compact => "compact",
            RequestKind::Range => "range",
            RequestKind::Lease => "lease",
            RequestKind::LeaseKeepAlive => "lease_keep_alive",
            RequestKind::Member => "member",
            RequestKind::Maintenance => "maintenance",
        }
    }

    /// The kind of a request.
    pub(crate) fn of(request: &Request) -> Self {
        match request {
            Request::Write(command) => match command {
                Command::Put(_) => RequestKind::Put,
                Command::DeleteRange(_) => RequestKind::DeleteRange,
                Command::Txn(_) => RequestKind::Txn,
                Command::Compact { .. } => RequestKind::Compact,
                Command::LeaseGrant { .. } | Command::LeaseRevoke { .. } => RequestKind::Lease,
            },
            Request::Range { .. } => RequestKind::Range,
            Request::ReadTxn { .. } => RequestKind::Txn,
            Request::LeaseKeepAlive { .. } => RequestKind::LeaseKeepAlive,
            Request::LeaseTimeToLive { .. } | Request::LeaseList => RequestKind::Lease,
            Request::MemberList { .. }
            | Request::MemberAdd { .. }
            | Request::MemberRemove { .. }
            | Request::MemberUpdate { .. }
            | Request::MemberPromote { .. } => RequestKind::Member,
            Request::HashKv { .. } | Request::Status | Request::MoveLeader { .. } => {
                RequestKind::Maintenance
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_kinds_is_in_the_order_of_their_numbers() {
        for (number, kind) in RequestKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
    }
}
