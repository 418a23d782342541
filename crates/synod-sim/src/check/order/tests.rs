//! Histories that the check of real time and answers must pass, and one for each way to break it.

use synod_base::LeaseId;
use synod_node::RequestError;
use synod_state::kv::{
    Compare, CompareResult, CompareTarget, KeyRange, RangeRequest, SortOrder, SortTarget, TxnOp,
    TxnRequest,
};

use super::super::story::*;
use super::*;

fn busy() -> Story {
    let mut story = Story::default();
    story.ask(1, put("a", "1"));
    story.ask(2, get("a"));
    story.ask(1, put("b", "2"));
    story.ask(1, cas("a", "1", "3"));
    story.ask(2, cas("a", "1", "4"));
    story.ask(3, get_all());
    story.ask(1, put_leased("c", "5", 7));
    story.ask(2, revoke(7));
    story.ask(2, get_here("c"));
    story
}

#[test]
fn a_right_history_passes() {
    let mut story = busy();
    story.lose(1, put("a", "6"), true);
    story.lose(1, put("a", "7"), false);
    story.ask(1, get("a"));
    let sorted = RangeRequest {
        range: KeyRange::prefix(""),
        limit: 1,
        sort_order: SortOrder::Descend,
        sort_target: SortTarget::Mod,
        ..RangeRequest::default()
    };
    story.ask(1, Request::Range { request: sorted, linearizable: true });
    assert_promises(&check(&story.operations, &story.applied), &[]);
}

#[test]
fn a_read_called_after_a_write_returned_must_see_it() {
    let mut story = busy();
    story.ask(1, get("a"));
    let stale = story.last().clone();
    story.ask(1, put("a", "6"));
    story.operations.push(Operation { called: story.now + 1, ..stale });
    let last = story.now + 9;
    story.last().answer.as_mut().unwrap().0 = last;
    assert_promises(&check(&story.operations, &story.applied), &["stale-read"]);
}

#[test]
fn a_read_concurrent_with_a_write_may_miss_it() {
    let mut story = busy();
    story.ask(1, get("a"));
    let stale = story.last().clone();
    story.ask(1, put("a", "6"));
    // Called when the put was under way still.
    story.operations.push(Operation { client: 9, called: story.now - 5, ..stale });
    let last = story.now + 9;
    story.last().answer.as_mut().unwrap().0 = last;
    assert_promises(&check(&story.operations, &story.applied), &[]);
}

#[test]
fn at_the_same_time_only_a_clients_own_order_counts() {
    let mut story = busy();
    story.ask(1, get("a"));
    let stale = story.last().clone();
    story.ask(1, put("a", "6"));
    let at_return = Operation { called: story.now, ..stale };
    story.operations.push(Operation { client: 9, ..at_return.clone() });
    story.last().answer.as_mut().unwrap().0 += 100;
    assert_promises(&check(&story.operations, &story.applied), &[]);
    story.operations.pop();
    story.operations.push(Operation { client: 1, ..at_return });
    story.last().answer.as_mut().unwrap().0 += 100;
    assert_promises(&check(&story.operations, &story.applied), &["stale-read"]);
}

#[test]
fn a_write_called_later_has_the_higher_revision() {
    let mut story = busy();
    story.ask(1, put("x", "6"));
    story.ask(2, put("y", "7"));
    let count = story.operations.len();
    // The two swap their times: the one with the higher revision is now first and over.
    let (first, second) = story.operations.split_at_mut(count - 1);
    let (first, second) = (first.last_mut().unwrap(), &mut second[0]);
    std::mem::swap(&mut first.called, &mut second.called);
    let (a, b) = (first.answer.as_mut().unwrap(), second.answer.as_mut().unwrap());
    std::mem::swap(&mut a.0, &mut b.0);
    assert_promises(&check(&story.operations, &story.applied), &["write-order"]);
}

#[test]
fn an_unknown_write_cannot_take_effect_before_its_call() {
    let mut story = Story::default();
    story.lose(1, put("a", "1"), true);
    story.ask(2, put("b", "2"));
    story.operations[0].called = story.now + 5;
    assert_promises(&check(&story.operations, &story.applied), &["write-order"]);
}

#[test]
fn a_future_revision_refused_after_it_was_seen_is_a_stale_read() {
    let mut story = busy();
    let revision = story.ask(1, put("a", "6"));
    let request = RangeRequest { range: KeyRange::one("a"), revision, ..RangeRequest::default() };
    let current = Revision(revision.0 - 1);
    let error = RequestError::Refused(Refusal::FutureRevision { current });
    story.fail(2, Request::Range { request, linearizable: true }, error, false);
    assert_promises(&check(&story.operations, &story.applied), &["stale-read"]);
}

#[test]
fn every_field_of_a_read_is_the_models() {
    fn broken(breaks: impl Fn(&mut synod_state::kv::RangeResult)) {
        let mut story = busy();
        story.ask(1, get_all());
        let Response::Range(range) = &mut story.answer().response else { unreachable!() };
        breaks(range);
        assert_promises(&check(&story.operations, &story.applied), &["wrong-answer"]);
    }
    broken(|range| range.kvs[0].value = "other".into());
    broken(|range| range.kvs[0].version += 1);
    broken(|range| range.kvs[0].create_revision = Revision(1));
    broken(|range| range.kvs[0].mod_revision = Revision(1));
    broken(|range| range.kvs[0].lease = LeaseId(5));
    broken(|range| range.count += 1);
    broken(|range| range.more = true);
    broken(|range| {
        range.kvs.pop();
    });
}

#[test]
fn a_compare_is_judged_before_its_own_writes() {
    let mut story = busy();
    // True after the put, not before it: `succeeded` and a put in the answer are a lie.
    story.ask(1, cas("a", "3", "6"));
    story.last().request = cas("a", "6", "6");
    assert_promises(&check(&story.operations, &story.applied), &["wrong-answer"]);
}

#[test]
fn a_reading_transaction_is_the_models_too() {
    let mut story = busy();
    let compare = Compare {
        range: KeyRange::one("a"),
        result: CompareResult::Greater,
        target: CompareTarget::Version(1),
    };
    let read = RangeRequest { range: KeyRange::one("b"), ..RangeRequest::default() };
    let request =
        TxnRequest { compare: vec![compare], success: vec![TxnOp::Range(read)], failure: vec![] };
    story.ask(1, Request::ReadTxn { request, linearizable: true });
    assert_promises(&check(&story.operations, &story.applied), &[]);
    let Response::Txn(txn) = &mut story.answer().response else { unreachable!() };
    txn.succeeded = false;
    assert_promises(&check(&story.operations, &story.applied), &["wrong-answer"]);
}

#[test]
fn an_answer_from_beyond_all_revisions_is_wrong() {
    let mut story = busy();
    story.ask(1, get("a"));
    story.answer().revision.0 += 1;
    assert_promises(&check(&story.operations, &story.applied), &["wrong-answer"]);
}

#[test]
fn a_serializable_read_may_be_old_but_never_goes_back_on_one_node() {
    let mut story = Story::default();
    story.ask(1, put("a", "1"));
    story.ask(1, get_here("a"));
    let mut old = story.last().clone();
    story.ask(1, put("a", "2"));
    story.ask(2, get_here("a"));
    old.called = story.now + 1;
    old.answer.as_mut().unwrap().0 = story.now + 9;
    // Node 5 has never shown anything newer.
    story.operations.push(Operation { client: 9, node: NodeId(5), ..old.clone() });
    assert_promises(&check(&story.operations, &story.applied), &[]);
    story.last().node = NodeId(3);
    assert_promises(&check(&story.operations, &story.applied), &["node-went-back"]);
}

#[test]
fn a_linearizable_read_is_not_older_than_a_local_one() {
    let mut story = Story::default();
    story.ask(1, put("a", "1"));
    story.ask(2, get("a"));
    let mut old = story.last().clone();
    story.lose(1, put("a", "2"), true);
    story.ask(3, get_here("a"));
    old.called = story.now + 1;
    old.answer.as_mut().unwrap().0 = story.now + 9;
    story.operations.push(Operation { client: 9, ..old });
    assert_promises(&check(&story.operations, &story.applied), &["stale-read"]);
}
