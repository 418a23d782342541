//! Every field of a member, every change.

use super::*;

fn members_reply(subject: Option<Member>) -> Reply {
    let members = vec![our_member(1), our_member(2)];
    Ok((Header::default(), Response::Members { members, subject }))
}

fn our_member(id: u64) -> Member {
    Member {
        id: NodeId(id),
        name: format!("n{id}"),
        peer_urls: vec!["http://127.0.0.1:1".to_owned()],
        client_urls: vec!["http://127.0.0.1:2".to_owned()],
        is_learner: id == 2,
    }
}

fn wire_member(id: u64) -> pb::Member {
    pb::Member {
        id,
        name: format!("n{id}"),
        peer_urls: vec!["http://127.0.0.1:1".to_owned()],
        client_urls: vec!["http://127.0.0.1:2".to_owned()],
        is_learner: id == 2,
    }
}

#[test]
fn every_change_and_the_list_arrive() {
    let urls = || vec!["http://127.0.0.1:1".to_owned()];
    let id = NodeId(5);
    assert_eq!(
        member_add_request(pb::MemberAddRequest { peer_urls: urls(), is_learner: true }),
        Request::MemberAdd { peer_urls: urls(), learner: true }
    );
    assert_eq!(
        member_remove_request(&pb::MemberRemoveRequest { id: 5 }),
        Request::MemberRemove { id }
    );
    assert_eq!(
        member_update_request(pb::MemberUpdateRequest { id: 5, peer_urls: urls() }),
        Request::MemberUpdate { id, peer_urls: urls() }
    );
    assert_eq!(
        member_promote_request(&pb::MemberPromoteRequest { id: 5 }),
        Request::MemberPromote { id }
    );
    assert_eq!(
        member_list_request(&pb::MemberListRequest { linearizable: true }),
        Request::MemberList { linearizable: true }
    );
}

#[test]
fn every_answer_lists_the_members_and_an_addition_names_the_new_one() {
    let members = vec![wire_member(1), wire_member(2)];
    let added = member_add_response(members_reply(Some(our_member(2)))).unwrap();
    assert_eq!(added.member, Some(wire_member(2)));
    assert_eq!(added.members, members);
    assert_eq!(member_remove_response(members_reply(None)).unwrap().members, members);
    assert_eq!(member_update_response(members_reply(None)).unwrap().members, members);
    assert_eq!(member_promote_response(members_reply(None)).unwrap().members, members);
    assert_eq!(member_list_response(members_reply(None)).unwrap().members, members);
    let nameless = member_add_response(members_reply(None));
    assert_eq!(nameless, Err(Rejection::UnexpectedAnswer));
}
