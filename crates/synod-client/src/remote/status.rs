//! From a gRPC status to [`ClientError`]. etcd's own words are read in `wire.rs`.

use std::error::Error;

use synod_node::{Happened, RequestError};
use tonic::{Code, Status};

use super::MAX_ANSWER_BYTES;
use crate::error::ClientError;
use crate::wire;

/// What the status means. `is_read` tells "timed out" of a read from that of a write, which the
/// wire does not.
pub(crate) fn to_error(endpoint: &str, status: &Status, is_read: bool) -> ClientError {
    // Only a status that this process made up has a source: the server's words come without.
    if let Some(source) = status.source() {
        return of_transport(endpoint, source);
    }
    if let Some(error) = wire::request_error(status.message(), is_read) {
        return ClientError::Request(error);
    }
    let happened = match over_limit(status.message()) {
        Some(Receiver::Server) => return ClientError::Request(RequestError::TooLarge),
        Some(Receiver::Client) => Happened::Unknown,
        None => happened(status.code()),
    };
    ClientError::Status {
        code: format!("{:?}", status.code()),
        message: status.message().to_owned(),
        happened,
    }
}

/// Who would not take a message.
enum Receiver {
    Client,
    Server,
}

/// A message over the receiver's limit is refused by its gRPC library, before etcd's words can be
/// said: tonic's words are the first, those of etcd's library the second. A status of tonic looks the
/// same when it was this side that refused an answer; only the limit tells.
fn over_limit(message: &str) -> Option<Receiver> {
    let ours = format!("the limit is: {MAX_ANSWER_BYTES} bytes");
    match message {
        _ if message.contains("decoded message length too large") && message.ends_with(&ours) => {
            Some(Receiver::Client)
        }
        _ if message.contains("decoded message length too large") => Some(Receiver::Server),
        _ if message.starts_with("grpc: received message larger than max") => {
            Some(Receiver::Server)
        }
        _ => None,
    }
}

fn of_transport(endpoint: &str, source: &(dyn Error + 'static)) -> ClientError {
    let mut deepest = source;
    let mut connecting = source.is::<tonic::ConnectError>();
    while let Some(cause) = deepest.source() {
        deepest = cause;
        connecting |= cause.is::<tonic::ConnectError>();
    }
    let (endpoint, reason) = (endpoint.to_owned(), deepest.to_string());
    if connecting {
        ClientError::Unreachable { endpoint, reason }
    } else {
        ClientError::ConnectionLost { endpoint, reason }
    }
}

/// Whether a code without known words rules out that the request was done.
fn happened(code: Code) -> Happened {
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => Happened::No,
        _ => Happened::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timed_out_write_is_unknown_and_a_timed_out_read_is_not() {
        let words = "etcdserver: request timed out, possibly due to previous leader failure";
        let status = Status::unavailable(words);
        assert_eq!(to_error("e", &status, false).happened(), Happened::Unknown);
        assert_eq!(to_error("e", &status, true).happened(), Happened::No);
    }

    #[test]
    fn a_message_over_a_limit_is_told_by_who_refused_it() {
        let over = |limit: usize| {
            let words = "Error, decoded message length too large: found 999999999 bytes";
            Status::out_of_range(format!("{words}, the limit is: {limit} bytes"))
        };
        let go = "grpc: received message larger than max (4718604 vs. 2097152)";
        for refused in [over(2 * 1024 * 1024), Status::resource_exhausted(go)] {
            let error = to_error("e", &refused, false);
            assert_eq!(error, ClientError::Request(RequestError::TooLarge));
        }
        let own = to_error("e", &over(MAX_ANSWER_BYTES), false);
        assert_eq!(own.happened(), Happened::Unknown, "the answer to a write that was done");
    }

    #[test]
    fn a_status_without_known_words_is_unknown_unless_its_code_rules_that_out() {
        let odd = to_error("e", &Status::internal("what"), false);
        assert_eq!(odd.happened(), Happened::Unknown);
        let refused = to_error("e", &Status::unimplemented("what"), false);
        assert_eq!(refused.happened(), Happened::No);
    }

    #[test]
    fn etcds_words_become_the_state_machines_refusals() {
        let status = Status::not_found("etcdserver: requested lease not found");
        assert!(to_error("e", &status, false).is_lease_not_found());
    }
}
