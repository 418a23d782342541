//! Why a call has no answer: whether it happened, and what to do now.

use synod_base::Revision;
use synod_node::{Happened, RequestError};
use synod_state::kv::Refusal;
use thiserror::Error;

/// Why a call has no answer.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ClientError {
    /// The server answered with a reason.
    #[error("{0}")]
    Request(#[from] RequestError),
    /// No endpoint took the request: it was never sent.
    #[error("cannot reach {endpoint}: {reason}")]
    Unreachable {
        /// The last one tried.
        endpoint: String,
        /// What the network said.
        reason: String,
    },
    /// The connection broke after the request was sent.
    #[error("connection to {endpoint} lost: {reason}")]
    ConnectionLost {
        /// To where.
        endpoint: String,
        /// What the network said.
        reason: String,
    },
    /// The server refused with a status that has no meaning of its own here.
    #[error("server says {code}: {message}")]
    Status {
        /// The gRPC code's name.
        code: String,
        /// The server's words.
        message: String,
        /// Whether the code rules out that the request was done.
        happened: Happened,
    },
    /// The server's answer does not fit the request. Report it: one side has a bug.
    #[error("unexpected answer to {request}")]
    UnexpectedAnswer {
        /// To which request.
        request: &'static str,
    },
    /// The server ended the watch.
    #[error("watch ended by the server: {reason}")]
    WatchCanceled {
        /// Not 0: wanted events are compacted; read, then watch from here at the earliest.
        compact_revision: Revision,
        /// The server's words.
        reason: String,
    },
    /// Not a usable endpoint address.
    #[error("`{endpoint}` is not an endpoint; write host:port or http://host:port")]
    BadEndpoint {
        /// As given.
        endpoint: String,
    },
}

/// What to do after an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advice {
    /// Change the request (or the state it meets): it will be refused again.
    Fix,
    /// Send it again.
    Retry,
    /// Send it again, to another endpoint.
    GoElsewhere,
    /// Wait a little, then send it again.
    Wait,
    /// Find out first whether it happened: read, then decide.
    ReadFirst,
    /// Give up: only an operator or a developer can help.
    Stop,
}

impl ClientError {
    /// Whether the request happened.
    #[must_use]
    pub fn happened(&self) -> Happened {
        match self {
            ClientError::Request(error) => error.happened(),
            ClientError::Status { happened, .. } => *happened,
            ClientError::ConnectionLost { .. } | ClientError::UnexpectedAnswer { .. } => {
                Happened::Unknown
            }
            ClientError::Unreachable { .. }
            | ClientError::WatchCanceled { .. }
            | ClientError::BadEndpoint { .. } => Happened::No,
        }
    }

    /// What the caller should do. A read may always be sent again where a write says `ReadFirst`.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            ClientError::Request(error) => request_advice(error),
            ClientError::Unreachable { .. } => Advice::GoElsewhere,
            ClientError::ConnectionLost { .. } => Advice::ReadFirst,
            ClientError::Status { happened: Happened::Unknown, .. } => Advice::ReadFirst,
            ClientError::UnexpectedAnswer { .. } => Advice::Stop,
            ClientError::Status { .. }
            | ClientError::WatchCanceled { .. }
            | ClientError::BadEndpoint { .. } => Advice::Fix,
        }
    }

    /// Whether the state refused it because the lease is gone.
    #[must_use]
    pub fn is_lease_not_found(&self) -> bool {
        *self == ClientError::Request(RequestError::Refused(Refusal::LeaseNotFound))
    }
}

fn request_advice(error: &RequestError) -> Advice {
    match error {
        RequestError::Refused(_)
        | RequestError::TooLarge
        | RequestError::MemberNotFound
        | RequestError::MemberExists
        | RequestError::MemberUrlInvalid
        | RequestError::NotEnoughMembers
        | RequestError::NotLearner
        | RequestError::BadTransferee => Advice::Fix,
        RequestError::LeaderChanged | RequestError::TimedOut | RequestError::Stopped => {
            Advice::ReadFirst
        }
        RequestError::NoLeader | RequestError::NotLeader => Advice::GoElsewhere,
        RequestError::ReadTimedOut | RequestError::ChangeInProgress => Advice::Retry,
        RequestError::Overloaded | RequestError::LearnerNotReady => Advice::Wait,
        RequestError::DiskFull => Advice::Stop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_always_asks_to_read_first() {
        let errors = [
            ClientError::Request(RequestError::TimedOut),
            ClientError::Request(RequestError::LeaderChanged),
            ClientError::Request(RequestError::Stopped),
            ClientError::ConnectionLost { endpoint: String::new(), reason: String::new() },
        ];
        for error in errors {
            assert_eq!((error.happened(), error.advice()), (Happened::Unknown, Advice::ReadFirst));
        }
    }

    #[test]
    fn an_unreachable_endpoint_means_that_nothing_happened() {
        let error =
            ClientError::Unreachable { endpoint: "127.0.0.1:1".into(), reason: "refused".into() };
        assert_eq!((error.happened(), error.advice()), (Happened::No, Advice::GoElsewhere));
    }
}
