//! Every reason for not answering, as etcd says it: the one table from our errors to gRPC codes and
//! texts.
//!
//! Clients match both (etcd's own client decides by the text what to retry), so a row that etcd has
//! must never change. Rows without a model in etcd say so. Whether a refused request happened is
//! [`RequestError::happened`]; over the wire the text tells it: only "leader changed", "request
//! timed out" after a write, and "server stopped" leave it open.

use synod_client::{ClientError, OwnershipError};
use synod_node::{Reply, RequestError};
use synod_state::kv::Refusal;
use thiserror::Error;
use tonic::{Code, Status};

/// Why a call of the etcd API fails: the node's reasons, and those of the API's edge.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Rejection {
    /// The node, or the checks it shares with us.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// An unknown sort order or target.
    #[error("invalid sort option")]
    InvalidSortOption,
    /// An unknown target or result of a comparison. etcd takes it for a comparison that holds.
    #[error("invalid compare in txn request")]
    InvalidCompare,
    /// An unknown alarm action or kind.
    #[error("invalid alarm request")]
    InvalidAlarm,
    /// A try to clear NOSPACE while the disk is full. etcd lets an operator do that.
    #[error("NOSPACE stands as long as the disk is full")]
    AlarmStands,
    /// An election's call without the leadership that it is about.
    #[error("\"leader\" field must be provided")]
    LeaderKeyMissing,
    /// Nobody leads.
    #[error("election: no leader")]
    ElectionNoLeader,
    /// The caller leads no longer.
    #[error("election: not leader")]
    ElectionNotLeader,
    /// A health check of a service that is not here.
    #[error("unknown service")]
    UnknownService,
    /// What etcd can do and this server cannot.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The server ended a watch that an answer depended on.
    #[error("watch ended: {0}")]
    WatchEnded(String),
    /// The node's answer does not fit the request: a bug here.
    #[error("the node's answer does not fit the request")]
    UnexpectedAnswer,
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Rejection::Request(refusal.into())
    }
}

impl From<ClientError> for Rejection {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Request(error) => error.into(),
            ClientError::WatchCanceled { reason, .. } => Rejection::WatchEnded(reason),
            // The node in this process has no endpoint, connection or status.
            ClientError::UnexpectedAnswer { .. }
            | ClientError::Unreachable { .. }
            | ClientError::ConnectionLost { .. }
            | ClientError::Status { .. }
            | ClientError::BadEndpoint { .. } => Rejection::UnexpectedAnswer,
        }
    }
}

impl From<OwnershipError> for Rejection {
    fn from(error: OwnershipError) -> Self {
        match error {
            OwnershipError::Client(error) => error.into(),
            OwnershipError::SessionLost => Refusal::LeaseNotFound.into(),
            OwnershipError::NotOwner => Rejection::ElectionNotLeader,
        }
    }
}

impl From<Rejection> for Status {
    fn from(rejection: Rejection) -> Self {
        let (code, message) = rejection.code_and_message();
        Status::new(code, message)
    }
}

impl Rejection {
    /// As it goes over the wire.
    #[must_use]
    pub fn code_and_message(&self) -> (Code, &str) {
        match self {
            Rejection::Request(error) => of_request(error),
            Rejection::InvalidSortOption => {
                (Code::InvalidArgument, "etcdserver: invalid sort option")
            }
            Rejection::InvalidCompare => {
                (Code::InvalidArgument, "etcdserver: invalid compare in txn request")
            }
            Rejection::InvalidAlarm => (Code::InvalidArgument, "etcdserver: invalid alarm request"),
            Rejection::AlarmStands => (
                Code::FailedPrecondition,
                "synod: NOSPACE stands as long as the disk is full, and ends by itself: make room",
            ),
            // etcd gives these three without a code of their own.
            Rejection::LeaderKeyMissing => (Code::Unknown, "\"leader\" field must be provided"),
            Rejection::ElectionNoLeader => (Code::Unknown, "election: no leader"),
            Rejection::ElectionNotLeader => (Code::Unknown, "election: not leader"),
            Rejection::UnknownService => (Code::NotFound, "unknown service"),
            Rejection::Unsupported(what) => (Code::Unimplemented, what),
            Rejection::WatchEnded(reason) => (Code::Unavailable, reason),
            Rejection::UnexpectedAnswer => {
                (Code::Internal, "synod: the node's answer does not fit the request")
            }
        }
    }
}

/// The node's errors, as they go over the wire.
#[must_use]
pub fn of_request(error: &RequestError) -> (Code, &'static str) {
    match error {
        RequestError::Refused(refusal) => of_refusal(refusal),
        RequestError::TooLarge => (Code::InvalidArgument, "etcdserver: request is too large"),
        RequestError::NoLeader => (Code::Unavailable, "etcdserver: no leader"),
        RequestError::LeaderChanged => (Code::Unavailable, "etcdserver: leader changed"),
        RequestError::TimedOut | RequestError::ReadTimedOut => {
            (Code::Unavailable, "etcdserver: request timed out")
        }
        RequestError::Overloaded => (Code::ResourceExhausted, "etcdserver: too many requests"),
        RequestError::DiskFull => {
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded")
        }
        RequestError::Stopped => (Code::Unavailable, "etcdserver: server stopped"),
        RequestError::MemberNotFound => (Code::NotFound, "etcdserver: member not found"),
        RequestError::MemberExists => {
            (Code::FailedPrecondition, "etcdserver: Peer URLs already exists")
        }
        RequestError::MemberUrlInvalid => {
            (Code::InvalidArgument, "etcdserver: given member URLs are invalid")
        }
        RequestError::NotEnoughMembers => (
            Code::FailedPrecondition,
            "etcdserver: re-configuration failed due to not enough started members",
        ),
        // etcd has no row for it: its second change waits until it times out.
        RequestError::ChangeInProgress => (
            Code::Unavailable,
            "etcdserver: re-configuration failed due to another membership change under way",
        ),
        RequestError::NotLearner => {
            (Code::FailedPrecondition, "etcdserver: can only promote a learner member")
        }
        RequestError::LearnerNotReady => (
            Code::FailedPrecondition,
            "etcdserver: can only promote a learner member which is in sync with leader",
        ),
        RequestError::NotLeader => (Code::FailedPrecondition, "etcdserver: not leader"),
        RequestError::BadTransferee => {
            (Code::FailedPrecondition, "etcdserver: bad leader transferee")
        }
    }
}

fn of_refusal(refusal: &Refusal) -> (Code, &'static str) {
    match refusal {
        Refusal::EmptyKey => (Code::InvalidArgument, "etcdserver: key is not provided"),
        Refusal::ValueProvided => (Code::InvalidArgument, "etcdserver: value is provided"),
        Refusal::LeaseProvided => (Code::InvalidArgument, "etcdserver: lease is provided"),
        Refusal::KeyNotFound => (Code::InvalidArgument, "etcdserver: key not found"),
        // etcd bounds the depth by the operations that the outer transactions leave over.
        Refusal::TooManyOps | Refusal::TooDeep => {
            (Code::InvalidArgument, "etcdserver: too many operations in txn request")
        }
        Refusal::DuplicateKey => {
            (Code::InvalidArgument, "etcdserver: duplicate key given in txn request")
        }
        Refusal::Compacted { .. } => {
            (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted")
        }
        Refusal::FutureRevision { .. } => {
            (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision")
        }
        Refusal::LeaseNotFound => (Code::NotFound, "etcdserver: requested lease not found"),
        Refusal::LeaseExists => (Code::FailedPrecondition, "etcdserver: lease already exists"),
        Refusal::LeaseTtlTooLarge => (Code::OutOfRange, "etcdserver: too large lease TTL"),
    }
}

/// What every conversion of a reply says to an answer of the wrong kind.
pub(crate) fn unexpected<T>(reply: Reply) -> Result<T, Rejection> {
    reply.map_or_else(|error| Err(error.into()), |_| Err(Rejection::UnexpectedAnswer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_base::Revision;

    /// etcd's table (api/v3rpc/rpctypes), as far as we can get into these states.
    #[test]
    fn every_error_has_the_code_and_the_words_that_etcd_gives() {
        use RequestError as E;
        let refused = [
            (Refusal::EmptyKey, Code::InvalidArgument, "key is not provided"),
            (Refusal::KeyNotFound, Code::InvalidArgument, "key not found"),
            (Refusal::ValueProvided, Code::InvalidArgument, "value is provided"),
            (Refusal::LeaseProvided, Code::InvalidArgument, "lease is provided"),
            (Refusal::TooManyOps, Code::InvalidArgument, "too many operations in txn request"),
            (Refusal::TooDeep, Code::InvalidArgument, "too many operations in txn request"),
            (Refusal::DuplicateKey, Code::InvalidArgument, "duplicate key given in txn request"),
            (
                Refusal::Compacted { compacted: Revision(5) },
                Code::OutOfRange,
                "mvcc: required revision has been compacted",
            ),
            (
                Refusal::FutureRevision { current: Revision(5) },
                Code::OutOfRange,
                "mvcc: required revision is a future revision",
            ),
            (Refusal::LeaseNotFound, Code::NotFound, "requested lease not found"),
            (Refusal::LeaseExists, Code::FailedPrecondition, "lease already exists"),
            (Refusal::LeaseTtlTooLarge, Code::OutOfRange, "too large lease TTL"),
        ];
        let failed = [
            (E::TooLarge, Code::InvalidArgument, "request is too large"),
            (E::NoLeader, Code::Unavailable, "no leader"),
            (E::LeaderChanged, Code::Unavailable, "leader changed"),
            (E::TimedOut, Code::Unavailable, "request timed out"),
            (E::ReadTimedOut, Code::Unavailable, "request timed out"),
            (E::Overloaded, Code::ResourceExhausted, "too many requests"),
            (E::DiskFull, Code::ResourceExhausted, "mvcc: database space exceeded"),
            (E::Stopped, Code::Unavailable, "server stopped"),
            (E::MemberNotFound, Code::NotFound, "member not found"),
            (E::MemberExists, Code::FailedPrecondition, "Peer URLs already exists"),
            (E::MemberUrlInvalid, Code::InvalidArgument, "given member URLs are invalid"),
            (
                E::NotEnoughMembers,
                Code::FailedPrecondition,
                "re-configuration failed due to not enough started members",
            ),
            (
                E::ChangeInProgress,
                Code::Unavailable,
                "re-configuration failed due to another membership change under way",
            ),
            (E::NotLearner, Code::FailedPrecondition, "can only promote a learner member"),
            (
                E::LearnerNotReady,
                Code::FailedPrecondition,
                "can only promote a learner member which is in sync with leader",
            ),
            (E::NotLeader, Code::FailedPrecondition, "not leader"),
            (E::BadTransferee, Code::FailedPrecondition, "bad leader transferee"),
        ];
        let refused = refused.map(|(refusal, code, words)| (E::Refused(refusal), code, words));
        for (error, code, words) in refused.into_iter().chain(failed) {
            let status = Status::from(Rejection::from(error));
            let expected = (code, format!("etcdserver: {words}"));
            assert_eq!((status.code(), status.message().to_owned()), expected);
        }
    }

    #[test]
    fn reasons_of_the_edge_keep_their_words() {
        let rows = [
            (
                Rejection::InvalidSortOption,
                Code::InvalidArgument,
                "etcdserver: invalid sort option",
            ),
            (Rejection::LeaderKeyMissing, Code::Unknown, "\"leader\" field must be provided"),
            (Rejection::ElectionNoLeader, Code::Unknown, "election: no leader"),
            (Rejection::ElectionNotLeader, Code::Unknown, "election: not leader"),
            (Rejection::Unsupported("no such thing"), Code::Unimplemented, "no such thing"),
        ];
        for (rejection, code, words) in rows {
            assert_eq!(rejection.code_and_message(), (code, words));
        }
    }

    #[test]
    fn losing_a_lease_while_waiting_for_a_lock_reads_as_lease_not_found() {
        let rejection = Rejection::from(OwnershipError::SessionLost);
        let expected = (Code::NotFound, "etcdserver: requested lease not found");
        assert_eq!(rejection.code_and_message(), expected);
        let client = ClientError::Request(RequestError::NoLeader);
        assert_eq!(
            Rejection::from(OwnershipError::Client(client)),
            Rejection::Request(RequestError::NoLeader)
        );
    }
}
