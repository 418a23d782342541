//! Histories that the check of writes must pass, and one for each way to break a promise.

use synod_base::{LeaseId, Revision};
use synod_node::{Request, RequestError};
use synod_state::kv::{Command, CommandResult, DeleteRangeRequest, KeyRange};

use super::super::story::*;
use super::*;

fn busy() -> Story {
    let mut story = Story::default();
    story.ask(1, put("a", "1"));
    story.ask(2, put("b", "2"));
    story.ask(1, cas("a", "1", "3"));
    story.ask(2, cas("a", "1", "4"));
    story.ask(1, delete("a"));
    story.ask(2, delete("a"));
    story.ask(1, put_leased("c", "5", 7));
    story.ask(1, put_leased("d", "6", 7));
    story.ask(2, revoke(7));
    story
}

#[test]
fn a_right_history_passes() {
    let mut story = busy();
    story.lose(3, put("a", "7"), true);
    story.lose(3, put("a", "8"), false);
    story.fail(3, delete("b"), RequestError::LeaderChanged, true);
    story.fail(3, delete("a"), RequestError::LeaderChanged, true);
    story.fail(3, delete("a"), RequestError::TimedOut, false);
    story.fail(3, put("a", "9"), RequestError::NoLeader, false);
    assert_promises(&check(&story.operations, &story.applied), &[]);
}

#[test]
fn an_acknowledged_write_that_is_missing_is_lost() {
    let mut story = busy();
    story.ask(1, put("z", "last"));
    story.applied.events.pop_last();
    assert_promises(&check(&story.operations, &story.applied), &["lost-write"]);
}

#[test]
fn an_acknowledged_write_with_another_effect_is_lost() {
    let mut story = busy();
    let revision = story.ask(1, put("z", "right"));
    story.applied.events.get_mut(&revision).unwrap()[0].kv.value = "wrong".into();
    // And what is there instead is nobody's.
    let violations = check(&story.operations, &story.applied);
    assert_promises(&violations, &["lost-write", "unasked-write"]);
}

#[test]
fn a_transaction_whose_compare_failed_may_not_write() {
    let mut story = busy();
    story.ask(1, cas("b", "2", "10"));
    // The same answer, claimed by a request whose compare does not hold there.
    story.last().request = cas("b", "other", "10");
    let violations = check(&story.operations, &story.applied);
    assert_promises(&violations, &["lost-write", "wrong-effect"]);
}

#[test]
fn a_write_that_claims_to_have_changed_nothing_had_nothing_to_change() {
    let mut story = busy();
    let revision = story.ask(1, get("b"));
    let result = CommandResult::DeleteRange { deleted: 0, prev_kvs: Vec::new() };
    *story.last() = operation(1, story.now, delete("b"), None);
    let response = Response::Write(result);
    story.last().answer = Some((story.now + 1, Ok(crate::history::Answer { revision, response })));
    assert_promises(&check(&story.operations, &story.applied), &["lost-write"]);
}

#[test]
fn half_of_a_deletion_is_not_a_deletion() {
    let mut story = Story::default();
    story.ask(1, put("a", "1"));
    story.ask(1, put("b", "2"));
    let all = DeleteRangeRequest { range: KeyRange::prefix(""), prev_kv: false };
    let revision = story.ask(1, Request::Write(Command::DeleteRange(all)));
    story.applied.events.get_mut(&revision).unwrap().pop();
    let violations = check(&story.operations, &story.applied);
    assert_promises(&violations, &["lost-write", "unasked-write"]);
}

#[test]
fn a_refused_put_that_was_applied_is_seen() {
    let mut story = busy();
    story.fail(3, put("a", "7"), RequestError::NoLeader, true);
    assert_promises(&check(&story.operations, &story.applied), &["refused-yet-applied"]);
}

#[test]
fn a_refused_deletion_that_was_applied_is_seen() {
    let mut story = busy();
    story.fail(3, delete("b"), RequestError::NoLeader, true);
    assert_promises(&check(&story.operations, &story.applied), &["refused-yet-applied"]);
}

#[test]
fn an_acknowledged_put_applied_again_is_seen() {
    let mut story = busy();
    story.ask(1, put("a", "7"));
    let _ = story.happen(&put("a", "7"));
    assert_promises(&check(&story.operations, &story.applied), &["applied-twice"]);
}

#[test]
fn an_unknown_put_applied_twice_is_seen() {
    let mut story = busy();
    story.lose(3, put("a", "7"), true);
    let _ = story.happen(&put("a", "7"));
    assert_promises(&check(&story.operations, &story.applied), &["applied-twice"]);
}

#[test]
fn an_unknown_put_with_another_effect_is_seen() {
    let mut story = busy();
    story.lose(3, put("a", "7"), false);
    let _ = story.happen(&put_leased("a", "7", 9));
    assert_promises(&check(&story.operations, &story.applied), &["wrong-effect"]);
}

#[test]
fn one_unknown_deletion_explains_one_revision_only() {
    let mut story = busy();
    story.lose(3, delete("b"), true);
    story.ask(1, put("b", "7"));
    let _ = story.happen(&delete("b"));
    assert_promises(&check(&story.operations, &story.applied), &["unasked-write"]);
}

#[test]
fn unknown_deletions_are_matched_even_if_the_first_choice_is_wrong() {
    let mut story = Story::default();
    story.ask(1, put("a", "1"));
    let all = DeleteRangeRequest { range: KeyRange::prefix("a"), prev_kv: false };
    // Both fit the first revision, only the wide one the second: the matching has to move one.
    story.lose(3, Request::Write(Command::DeleteRange(all.clone())), true);
    story.ask(1, put("a", "2"));
    story.ask(1, put("ab", "3"));
    let _ = story.happen(&Request::Write(Command::DeleteRange(all)));
    story.lose(4, delete("a"), false);
    assert_promises(&check(&story.operations, &story.applied), &[]);
}

#[test]
fn an_event_that_nobody_asked_for_is_seen() {
    let mut story = busy();
    let _ = story.happen(&put("a", "from nowhere"));
    assert_promises(&check(&story.operations, &story.applied), &["unasked-write"]);
}

#[test]
fn a_lease_may_end_by_itself_but_only_as_a_whole() {
    let mut story = Story::default();
    story.ask(1, put_leased("a", "1", 7));
    story.ask(1, put_leased("b", "2", 7));
    let mut half = story.clone();
    let _ = story.happen(&revoke(7));
    assert_promises(&check(&story.operations, &story.applied), &[]);
    let _ = half.happen(&delete("a"));
    assert_promises(&check(&half.operations, &half.applied), &["unasked-write"]);
}

#[test]
fn two_writes_told_the_same_revision_are_seen() {
    let mut story = busy();
    let revision = story.ask(1, delete("b"));
    let again = story.operations.last().unwrap().clone();
    story.operations.push(again);
    let violations = check(&story.operations, &story.applied);
    assert_promises(&violations, &["revision-reused"]);
    assert!(violations[0].what.contains(&revision.to_string()));
}

#[test]
fn a_gap_in_the_revisions_is_seen() {
    let mut story = Story::default();
    story.ask(1, put("a", "1"));
    let events = story.applied.events.pop_last().unwrap().1;
    let mut event = events[0].clone();
    (event.kv.mod_revision, event.kv.create_revision) = (Revision(3), Revision(3));
    story.applied.events.insert(Revision(3), vec![event]);
    story.answer().revision = Revision(3);
    assert_promises(&check(&story.operations, &story.applied), &["revision-gap"]);
}

#[test]
fn an_empty_revision_is_seen() {
    let mut story = Story::default();
    story.ask(1, put("a", "1"));
    story.applied.events.insert(Revision(3), Vec::new());
    let violations = check(&story.operations, &story.applied);
    assert_eq!(violations[0].promise, "revision-gap", "{violations:?}");
}

#[test]
fn a_wrong_version_a_wrong_create_revision_and_an_idle_deletion_are_seen() {
    let mut version = busy();
    let revision = version.ask(1, put("b", "7"));
    version.applied.events.get_mut(&revision).unwrap()[0].kv.version = 1;
    let violations = check(&version.operations, &version.applied);
    assert_promises(&violations, &["wrong-event", "lost-write", "wrong-effect"]);

    let mut created = busy();
    let revision = created.ask(1, put("b", "7"));
    created.applied.events.get_mut(&revision).unwrap()[0].kv.create_revision = revision;
    let violations = check(&created.operations, &created.applied);
    assert_promises(&violations, &["wrong-event", "lost-write", "wrong-effect"]);

    let mut idle = busy();
    let revision = idle.ask(1, delete("b"));
    let again = idle.applied.events[&revision].clone();
    idle.applied.events.insert(revision.next(), again);
    let violations = check(&idle.operations, &idle.applied);
    assert_eq!(violations[0].promise, "wrong-event", "{violations:?}");
}

#[test]
fn a_workload_that_repeats_a_value_is_refused() {
    let mut story = busy();
    story.ask(1, put("z", "1"));
    assert_promises(&check(&story.operations, &story.applied), &["bad-workload"]);
}

#[test]
fn an_answer_of_another_kind_is_seen() {
    let mut story = Story::default();
    story.ask(1, get("a"));
    story.last().request = Request::Write(Command::LeaseGrant { id: LeaseId(7), ttl_seconds: 1 });
    assert_promises(&check(&story.operations, &story.applied), &["wrong-answer"]);
}
