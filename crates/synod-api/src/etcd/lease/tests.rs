//! Every field; a lease that is gone.

use synod_base::Revision;
use synod_node::{Header, LeaseTimeToLive};

use super::*;

const HEADER: Header = Header {
    cluster: synod_base::ClusterId(1),
    member: synod_base::NodeId(2),
    revision: Revision(3),
    term: synod_base::Term(4),
};

#[test]
fn a_grant_asks_for_a_second_at_least() {
    for (ttl, ttl_seconds) in [(60, 60), (1, 1), (0, 1), (-5, 1)] {
        let wire = pb::LeaseGrantRequest { ttl, id: 7 };
        let command = Command::LeaseGrant { id: LeaseId(7), ttl_seconds };
        assert_eq!(grant_request(&wire), Request::Write(command));
    }
    let result = CommandResult::LeaseGrant { id: LeaseId(7), ttl_seconds: 60 };
    let expected =
        pb::LeaseGrantResponse { header: header(&HEADER), id: 7, ttl: 60, error: String::new() };
    assert_eq!(grant_response(Ok((HEADER, Response::Write(result)))), Ok(expected));
}

#[test]
fn a_revoke_names_its_lease() {
    let wire = pb::LeaseRevokeRequest { id: 7 };
    let command = Command::LeaseRevoke { id: LeaseId(7) };
    assert_eq!(revoke_request(&wire), Request::Write(command));
    let reply = Ok((HEADER, Response::Write(CommandResult::LeaseRevoke)));
    let expected = pb::LeaseRevokeResponse { header: header(&HEADER) };
    assert_eq!(revoke_response(reply), Ok(expected));
    let gone = Err(RequestError::Refused(Refusal::LeaseNotFound));
    assert_eq!(revoke_response(gone), Err(Refusal::LeaseNotFound.into()));
}

#[test]
fn keeping_a_lease_alive_that_is_gone_answers_zero() {
    let wire = pb::LeaseKeepAliveRequest { id: 7 };
    assert_eq!(keep_alive_request(&wire), Request::LeaseKeepAlive { id: LeaseId(7) });
    for ttl in [60, 0] {
        let reply = Ok((HEADER, Response::LeaseKeepAlive { ttl_seconds: ttl }));
        let expected = pb::LeaseKeepAliveResponse { header: header(&HEADER), id: 7, ttl };
        assert_eq!(keep_alive_response(&wire, reply), Ok(expected));
    }
    let gone = Err(RequestError::Refused(Refusal::LeaseNotFound));
    assert_eq!(keep_alive_response(&wire, gone).map(|answer| answer.ttl), Ok(0));
    let failed = keep_alive_response(&wire, Err(RequestError::NoLeader));
    assert_eq!(failed, Err(RequestError::NoLeader.into()));
}

#[test]
fn time_to_live_carries_the_keys_and_answers_minus_one_for_a_lease_that_is_gone() {
    let wire = pb::LeaseTimeToLiveRequest { id: 7, keys: true };
    let request = Request::LeaseTimeToLive { id: LeaseId(7), keys: true };
    assert_eq!(time_to_live_request(&wire), request);
    let left =
        LeaseTimeToLive { remaining_seconds: 5, granted_seconds: 60, keys: vec!["k".into()] };
    let expected = pb::LeaseTimeToLiveResponse {
        header: header(&HEADER),
        id: 7,
        ttl: 5,
        granted_ttl: 60,
        keys: vec!["k".into()],
    };
    let reply = Ok((HEADER, Response::LeaseTimeToLive(left)));
    assert_eq!(time_to_live_response(&wire, reply), Ok(expected));
    let gone = Err(RequestError::Refused(Refusal::LeaseNotFound));
    assert_eq!(time_to_live_response(&wire, gone).map(|answer| answer.ttl), Ok(-1));
}

#[test]
fn leases_are_listed_in_order() {
    assert_eq!(leases_request(), Request::LeaseList);
    let reply = Ok((HEADER, Response::LeaseList(vec![LeaseId(1), LeaseId(9)])));
    let leases = vec![pb::LeaseStatus { id: 1 }, pb::LeaseStatus { id: 9 }];
    let expected = pb::LeaseLeasesResponse { header: header(&HEADER), leases };
    assert_eq!(leases_response(reply), Ok(expected));
}
