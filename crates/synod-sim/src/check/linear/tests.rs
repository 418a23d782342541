//! Single keys, by hand and by the thousand: what can be ordered passes, what cannot is caught.

use fastrand::Rng;
use synod_node::{Request, RequestError};

use super::super::story::*;
use super::*;

/// Gives an operation other times.
fn timed(story: &mut Story, place: usize, called: TrueTime, returned: TrueTime) {
    let operation = &mut story.operations[place];
    operation.called = called;
    if let Some((time, _)) = &mut operation.answer {
        *time = returned;
    }
}

#[test]
fn a_sequence_passes() {
    let mut story = Story::default();
    story.ask(1, get("a"));
    story.ask(1, put("a", "1"));
    story.ask(2, get_all());
    story.ask(1, cas("a", "1", "2"));
    story.ask(1, cas("a", "1", "3"));
    story.ask(1, delete("a"));
    story.ask(1, delete("a"));
    story.ask(1, get("a"));
    story.ask(1, put_leased("a", "4", 7));
    let _ = story.happen(&revoke(7));
    story.ask(1, get("a"));
    assert_promises(&check(&story.operations), &[]);
}

#[test]
fn a_stale_read_is_caught_without_revisions() {
    let mut story = Story::default();
    story.ask(1, put("a", "1"));
    story.ask(2, get("a"));
    story.ask(1, put("a", "2"));
    timed(&mut story, 1, 100, 110);
    assert_promises(&check(&story.operations), &["not-linearizable"]);
    // Concurrent with the second put, it may come first.
    timed(&mut story, 1, 25, 110);
    assert_promises(&check(&story.operations), &[]);
}

#[test]
fn reads_never_go_back_while_a_write_is_under_way() {
    let mut story = Story::default();
    story.ask(1, put("a", "1"));
    story.ask(2, get("a"));
    story.ask(1, put("a", "2"));
    story.ask(3, get("a"));
    timed(&mut story, 2, 20, 100);
    timed(&mut story, 3, 30, 40);
    timed(&mut story, 1, 50, 60);
    assert_promises(&check(&story.operations), &["not-linearizable"]);
}

#[test]
fn a_value_from_nowhere_and_a_lost_value_are_caught() {
    let mut story = Story::default();
    story.ask(1, put("a", "1"));
    let mut nowhere = story.clone();
    let _ = nowhere.happen(&put("a", "2"));
    nowhere.ask(1, get("a"));
    assert_promises(&check(&nowhere.operations), &["not-linearizable"]);
    let _ = story.happen(&delete("a"));
    story.ask(1, get("a"));
    assert_promises(&check(&story.operations), &["not-linearizable"]);
}

#[test]
fn an_unknown_write_may_be_seen_at_any_later_time_but_not_twice() {
    let mut story = Story::default();
    story.ask(1, put("a", "1"));
    story.lose(2, put("a", "2"), false);
    story.ask(1, get("a"));
    story.ask(1, put("a", "3"));
    let _ = story.happen(&put("a", "2"));
    story.ask(1, get("a"));
    assert_promises(&check(&story.operations), &[]);
    story.ask(1, put("a", "4"));
    assert_promises(&check(&story.operations), &[]);
    let _ = story.happen(&put("a", "2"));
    story.ask(1, get("a"));
    assert_promises(&check(&story.operations), &["not-linearizable"]);
}

#[test]
fn an_unknown_write_is_not_seen_before_its_call() {
    let mut story = Story::default();
    story.lose(2, put("a", "2"), true);
    story.ask(1, get("a"));
    assert_promises(&check(&story.operations), &[]);
    story.operations[0].called = 1000;
    assert_promises(&check(&story.operations), &["not-linearizable"]);
}

#[test]
fn a_refused_write_is_never_seen() {
    let mut story = Story::default();
    story.fail(2, put("a", "2"), RequestError::NoLeader, true);
    story.ask(1, get("a"));
    assert_promises(&check(&story.operations), &["not-linearizable"]);
}

#[test]
fn two_swaps_from_one_value_cannot_both_win() {
    let mut story = Story::default();
    story.ask(1, put("a", "1"));
    let mut other = story.clone();
    story.ask(1, cas("a", "1", "2"));
    other.ask(2, cas("a", "1", "3"));
    let won = other.operations.pop().unwrap();
    story.operations.push(won);
    assert_promises(&check(&story.operations), &["not-linearizable"]);
}

#[test]
fn a_swap_that_failed_had_another_value_before_it() {
    let mut story = Story::default();
    story.ask(1, put("a", "1"));
    story.ask(1, cas("a", "0", "2"));
    assert_promises(&check(&story.operations), &[]);
    story.last().request = cas("a", "1", "2");
    assert_promises(&check(&story.operations), &["not-linearizable"]);
}

#[test]
fn an_unknown_deletion_explains_one_absence() {
    let mut story = Story::default();
    story.ask(1, put("a", "1"));
    story.lose(2, delete("a"), true);
    story.ask(1, get("a"));
    story.ask(1, put("a", "2"));
    assert_promises(&check(&story.operations), &[]);
    let _ = story.happen(&delete("a"));
    story.ask(1, get("a"));
    assert_promises(&check(&story.operations), &["not-linearizable"]);
}

#[test]
fn a_lease_takes_only_its_own_keys() {
    let mut story = Story::default();
    story.ask(1, put_leased("a", "1", 7));
    story.ask(1, put("a", "2"));
    let _ = story.happen(&delete("a"));
    story.ask(1, get("a"));
    assert_promises(&check(&story.operations), &["not-linearizable"]);
}

#[test]
fn a_deletion_that_found_nothing_is_held_to_it() {
    let mut story = Story::default();
    story.ask(1, delete("a"));
    story.ask(1, put("a", "1"));
    assert_promises(&check(&story.operations), &[]);
    timed(&mut story, 0, 100, 110);
    assert_promises(&check(&story.operations), &["not-linearizable"]);
}

/// A register under ten clients that never rest: each request takes effect somewhere between its
/// call and its return, some never answer.
fn crowd(seed: u64, count: usize) -> Vec<Operation> {
    let mut rng = Rng::with_seed(seed);
    let mut story = Story::default();
    let mut free_at = [0; 10];
    let mut value = 0;
    let mut planned = Vec::new();
    for _ in 0..count {
        let client = rng.usize(..10);
        let called = free_at[client] + rng.u64(1..20);
        let effect = called + rng.u64(1..50);
        let returned = effect + rng.u64(1..50);
        free_at[client] = returned;
        value += 1;
        let new = value.to_string();
        let request = match rng.u32(..10) {
            0..4 => get("a"),
            4..7 => put("a", &new),
            7 => delete("a"),
            _ => cas("a", &rng.u64(value.max(5) - 5..=value).to_string(), &new),
        };
        planned.push((effect, client, called, returned, request, rng.u32(..20)));
    }
    planned.sort_by_key(|(effect, ..)| *effect);
    let mut state: Option<String> = None;
    for (_, client, called, returned, request, luck) in planned {
        if luck == 0 {
            story.operations.push(operation(client as u32, called, request, None));
            continue;
        }
        let (answer, next) = on_register(&request, &state);
        state = next;
        let answer = (luck != 1).then_some((returned, Ok(answer)));
        story.operations.push(operation(client as u32, called, request, answer));
    }
    story.operations
}

/// The request on a single register, without a store: the whole model would be slow here.
fn on_register(
    request: &Request,
    state: &Option<String>,
) -> (crate::history::Answer, Option<String>) {
    let mut story = Story::default();
    if let Some(value) = state {
        story.ask(0, put("a", value));
    }
    story.ask(0, request.clone());
    let answer = story.answer().clone();
    story.ask(0, get("a"));
    let synod_node::Response::Range(range) = &story.answer().response else { unreachable!() };
    let next = range.kvs.first().map(|kv| String::from_utf8(kv.value.to_vec()).unwrap());
    (answer, next)
}

#[test]
fn thousands_of_requests_of_ten_clients_are_ordered() {
    for seed in 0..2 {
        assert_promises(&check(&crowd(seed, 3_000)), &[]);
    }
}

#[test]
fn one_wrong_read_among_hundreds_is_caught() {
    let mut caught = 0;
    for seed in 0..10 {
        let mut operations = crowd(seed, 200);
        // A read that finds a value from long before.
        let found = |operation: &Operation| match &operation.answer {
            Some((_, Ok(answer))) => match &answer.response {
                synod_node::Response::Range(range) if !range.kvs.is_empty() => Some(answer.clone()),
                _ => None,
            },
            _ => None,
        };
        let Some(old) = operations.iter().find_map(found) else { continue };
        let last = operations.iter().rposition(|operation| found(operation).is_some()).unwrap();
        operations[last].answer.as_mut().unwrap().1 = Ok(old);
        assert_promises(&check(&operations), &["not-linearizable"]);
        caught += 1;
    }
    assert!(caught > 7);
}

#[test]
fn keys_are_judged_one_by_one() {
    let mut story = Story::default();
    story.ask(1, put("a", "1"));
    story.ask(1, put("b", "2"));
    story.ask(1, get_all());
    assert_promises(&check(&story.operations), &[]);
    let _ = story.happen(&delete("b"));
    story.ask(1, get_all());
    let violations = check(&story.operations);
    assert_promises(&violations, &["not-linearizable"]);
    assert!(violations[0].what.contains("b\""), "{violations:?}");
}
