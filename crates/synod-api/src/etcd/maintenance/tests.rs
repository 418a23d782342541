//! Status, alarms that follow the disk, hashes, the change of leader.

use synod_base::{ClusterId, LogIndex, Term};

use super::*;

const HEADER: Header =
    Header { cluster: ClusterId(1), member: NodeId(2), revision: Revision(30), term: Term(4) };

fn status(leader: u64, disk_full: bool) -> Reply {
    let status = NodeStatus {
        leader: NodeId(leader),
        term: Term(4),
        commit_index: LogIndex(12),
        applied_index: LogIndex(11),
        is_learner: true,
        disk_bytes: 1000,
        state_bytes: 300,
        key_count: 3,
        compact_revision: Revision(5),
        disk_full,
    };
    Ok((HEADER, Response::Status(status)))
}

#[test]
fn every_field_of_a_status_leaves() {
    let expected = pb::StatusResponse {
        header: header(&HEADER),
        version: "3.5.21".to_owned(),
        db_size: 1000,
        leader: 2,
        raft_index: 12,
        raft_term: 4,
        raft_applied_index: 11,
        errors: vec![],
        db_size_in_use: 300,
        is_learner: true,
        storage_version: String::new(),
        db_size_quota: 0,
        downgrade_info: None,
    };
    assert_eq!(status_response(status(2, false)), Ok(expected));
    let errors = status_response(status(0, true)).unwrap().errors;
    assert_eq!(errors, ["etcdserver: no leader", "memberID:2 alarm:NOSPACE "]);
}

#[test]
fn a_node_serves_when_it_knows_a_leader() {
    assert_eq!(is_serving(status(2, false)), Ok(true));
    assert_eq!(is_serving(status(0, false)), Ok(false));
}

#[test]
fn the_space_alarm_stands_as_long_as_the_disk_is_full() {
    let alarms = |action, alarm, disk_full| {
        let wire = pb::AlarmRequest { action, member_id: 0, alarm };
        assert_eq!(alarm_request(&wire), Ok(Request::Status));
        alarm_response(&wire, status(2, disk_full)).unwrap().alarms
    };
    let no_space = vec![pb::AlarmMember { member_id: 2, alarm: 1 }];
    assert_eq!(alarms(0, 0, true), no_space);
    assert_eq!(alarms(0, 1, true), no_space);
    assert_eq!(alarms(0, 2, true), []);
    assert_eq!(alarms(0, 0, false), []);
}

#[test]
fn an_alarm_that_stands_cannot_be_cleared_by_hand() {
    let clear = |member_id, alarm, disk_full| {
        let wire = pb::AlarmRequest { action: 2, member_id, alarm };
        assert_eq!(alarm_request(&wire), Ok(Request::Status));
        alarm_response(&wire, status(2, disk_full)).map(|answer| answer.alarms)
    };
    assert_eq!(clear(0, 1, true), Err(Rejection::AlarmStands));
    assert_eq!(clear(2, 1, true), Err(Rejection::AlarmStands));
    assert_eq!(clear(2, 0, true), Err(Rejection::AlarmStands), "all alarms: this one, too");
    assert_eq!(clear(2, 2, true), Ok(vec![]), "another kind does not stand");
    assert_eq!(clear(2, 1, false), Ok(vec![]));
    assert_eq!(clear(7, 1, false), Err(ALARM_ELSEWHERE_UNSUPPORTED), "another member's");
}

#[test]
fn alarms_cannot_be_raised_and_unknown_ones_are_refused() {
    let wire = |action, alarm| pb::AlarmRequest { action, member_id: 0, alarm };
    assert_eq!(alarm_request(&wire(1, 1)), Err(ALARM_ACTIVATE_UNSUPPORTED));
    assert_eq!(alarm_request(&wire(3, 1)), Err(Rejection::InvalidAlarm));
    assert_eq!(alarm_request(&wire(0, 3)), Err(Rejection::InvalidAlarm));
}

#[test]
fn a_hash_says_of_what_it_is() {
    let wire = pb::HashKvRequest { revision: 9 };
    assert_eq!(hash_kv_request(&wire), Request::HashKv { revision: Revision(9) });
    let answer = Response::HashKv {
        hash: 0xffff_fffe,
        compact_revision: Revision(5),
        hash_revision: Revision(9),
    };
    let expected = pb::HashKvResponse {
        header: header(&HEADER),
        hash: 0xffff_fffe,
        compact_revision: 5,
        hash_revision: 9,
    };
    assert_eq!(hash_kv_response(Ok((HEADER, answer))), Ok(expected));
}

#[test]
fn leadership_moves_to_whom_was_named() {
    let wire = pb::MoveLeaderRequest { target_id: 3 };
    assert_eq!(move_leader_request(&wire), Request::MoveLeader { to: NodeId(3) });
    let expected = pb::MoveLeaderResponse { header: header(&HEADER) };
    assert_eq!(move_leader_response(Ok((HEADER, Response::Moved))), Ok(expected));
    let defragmented = defragment_response(status(2, false)).unwrap();
    assert_eq!(defragmented.header, header(&HEADER));
}
