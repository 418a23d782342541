//! What a watch may be given, and one history for each property it can break.

use synod_state::kv::{KeyRange, KeyValue};

use super::super::story::*;
use super::*;

/// Keys a and b at revisions 2 to 5; at 6 both are deleted at once; x is outside, at 7.
fn story() -> Story {
    let mut story = Story::default();
    story.ask(1, put_leased("a", "1", 7));
    story.ask(1, put_leased("b", "2", 7));
    story.ask(1, put_leased("a", "3", 7));
    story.ask(1, put_leased("b", "4", 7));
    story.ask(1, revoke(7));
    story.ask(1, put("x", "5"));
    story
}

fn event(story: &Story, revision: i64, place: usize) -> WatchEvent {
    let event = story.applied.events[&Revision(revision)][place].clone();
    WatchEvent { event, prev_kv: None }
}

fn all_of(story: &Story, revisions: impl IntoIterator<Item = i64>) -> Vec<WatchEvent> {
    let of = |revision| {
        let count = story.applied.events[&Revision(revision)].len();
        (0..count).map(move |place| event(story, revision, place))
    };
    revisions.into_iter().flat_map(of).collect()
}

fn events(events: Vec<WatchEvent>) -> WatchSeen {
    let header = events.last().map_or(Revision(1), |event| event.event.kv.mod_revision);
    WatchSeen::Delivery(header, WatchKind::Events { events, more: false })
}

fn fragment(events: Vec<WatchEvent>) -> WatchSeen {
    let header = events.last().map_or(Revision(1), |event| event.event.kv.mod_revision);
    WatchSeen::Delivery(header, WatchKind::Events { events, more: true })
}

fn progress(header: i64) -> WatchSeen {
    WatchSeen::Delivery(Revision(header), WatchKind::Progress)
}

fn canceled(compacted: i64) -> WatchSeen {
    let compact_revision = Revision(compacted);
    let kind = WatchKind::Canceled { compact_revision, reason: String::new() };
    WatchSeen::Delivery(Revision(7), kind)
}

fn resumed(from: i64) -> WatchSeen {
    WatchSeen::Resumed(Revision(from))
}

/// A watch of a and b from `start`, that ended in good order.
fn log(start: i64, deliveries: Vec<WatchSeen>) -> WatchLog {
    let range = KeyRange { key: "a".into(), range_end: "c".into() };
    WatchLog { range, start: Revision(start), deliveries, complete: true }
}

#[track_caller]
fn assert_watch(story: &Story, log: WatchLog, expected: &[&str]) {
    assert_promises(&check(&[log], &story.applied, Revision(0)), expected);
}

#[test]
fn a_right_watch_passes() {
    let story = story();
    let created = WatchSeen::Delivery(Revision(7), WatchKind::Created);
    let deliveries = vec![
        created.clone(),
        events(all_of(&story, [2, 3])),
        progress(3),
        resumed(4),
        created,
        events(all_of(&story, [4])),
        events(all_of(&story, [5])),
        fragment(vec![event(&story, 6, 0)]),
        events(vec![event(&story, 6, 1)]),
        progress(7),
    ];
    assert_watch(&story, log(2, deliveries), &[]);
    assert_watch(&story, log(6, vec![events(all_of(&story, [6]))]), &[]);
    assert_watch(&story, log(100, vec![]), &[]);
}

#[test]
fn an_event_left_out_is_a_gap() {
    let story = story();
    assert_watch(&story, log(2, vec![events(all_of(&story, [2, 3, 5, 6]))]), &["watch-gap"]);
    assert_watch(&story, log(2, vec![events(all_of(&story, [3, 4, 5, 6]))]), &["watch-gap"]);
}

#[test]
fn a_missing_end_is_a_gap_only_if_the_watch_was_complete() {
    let story = story();
    let mut log = log(2, vec![events(all_of(&story, [2, 3]))]);
    assert_watch(&story, log.clone(), &["watch-gap"]);
    log.complete = false;
    assert_watch(&story, log, &[]);
}

#[test]
fn an_event_twice_or_out_of_order_is_seen() {
    let story = story();
    let twice = log(2, vec![events(all_of(&story, [2, 3, 3, 4, 5, 6]))]);
    assert_watch(&story, twice, &["watch-again"]);
    let swapped = log(2, vec![events(all_of(&story, [2, 4, 3, 5, 6]))]);
    assert_watch(&story, swapped, &["watch-gap", "watch-again"]);
    let early = log(4, vec![events(all_of(&story, [3, 4, 5, 6]))]);
    assert_watch(&story, early, &["watch-again"]);
}

#[test]
fn events_of_one_revision_keep_their_order() {
    let story = story();
    let swapped = vec![events(vec![event(&story, 6, 1), event(&story, 6, 0)])];
    assert_watch(&story, log(6, swapped), &["watch-wrong-event", "watch-wrong-event"]);
}

#[test]
fn a_revision_is_never_split() {
    let story = story();
    let split = vec![events(vec![event(&story, 6, 0)]), events(vec![event(&story, 6, 1)])];
    assert_watch(&story, log(6, split), &["watch-split", "watch-again"]);
    // A fragment that is never continued.
    let open = vec![fragment(vec![event(&story, 6, 0)])];
    assert_watch(&story, log(6, open), &["watch-split"]);
    let bookmarked = vec![fragment(vec![event(&story, 6, 0)]), progress(7)];
    assert_watch(&story, log(6, bookmarked), &["watch-split"]);
}

#[test]
fn a_stream_that_breaks_within_a_revision_resumes_at_it() {
    let story = story();
    let half = fragment(vec![event(&story, 6, 0)]);
    let again = vec![half.clone(), resumed(6), events(all_of(&story, [6]))];
    assert_watch(&story, log(6, again), &[]);
    assert_watch(&story, log(6, vec![half, resumed(7)]), &["watch-resume-gap"]);
}

#[test]
fn a_resume_misses_nothing() {
    let story = story();
    let lost = vec![events(all_of(&story, [2, 3])), resumed(4), events(all_of(&story, [5, 6]))];
    assert_watch(&story, log(2, lost), &["watch-gap"]);
    let client_skips =
        vec![events(all_of(&story, [2])), resumed(5), events(all_of(&story, [5, 6]))];
    assert_watch(&story, log(2, client_skips), &["watch-resume-gap"]);
}

#[test]
fn a_bookmark_ahead_of_its_events_is_seen() {
    let story = story();
    let ahead = vec![events(all_of(&story, [2])), progress(4), events(all_of(&story, [5, 6]))];
    assert_watch(&story, log(2, ahead), &["watch-gap"]);
    let late = vec![progress(4), events(all_of(&story, [2, 3, 4, 5, 6]))];
    let expected = ["watch-gap", "watch-again", "watch-again", "watch-again"];
    assert_watch(&story, log(2, late), &expected);
    let beyond = vec![events(all_of(&story, [2, 3, 4, 5, 6])), progress(8)];
    assert_watch(&story, log(2, beyond), &["watch-ahead"]);
}

#[test]
fn an_event_under_an_older_header_is_seen() {
    let story = story();
    let kind = WatchKind::Events { events: all_of(&story, [6]), more: false };
    let deliveries = vec![WatchSeen::Delivery(Revision(5), kind)];
    assert_watch(&story, log(6, deliveries), &["watch-ahead", "watch-ahead"]);
}

#[test]
fn an_event_outside_the_range_is_seen() {
    let story = story();
    let outside = vec![events(all_of(&story, [6])), events(all_of(&story, [7]))];
    assert_watch(&story, log(6, outside), &["watch-filter"]);
}

#[test]
fn an_event_that_never_happened_or_differs_is_seen() {
    let story = story();
    let mut other = all_of(&story, [5, 6]);
    other[0].event.kv.value = "other".into();
    assert_watch(&story, log(5, vec![events(other)]), &["watch-wrong-event"]);
    let mut more = all_of(&story, [6]);
    more[1].event.kv.mod_revision = Revision(7);
    let expected = ["watch-split", "watch-wrong-event"];
    assert_watch(&story, log(6, vec![events(more)]), &expected);
}

#[test]
fn an_empty_delivery_is_seen() {
    let story = story();
    let empty = WatchSeen::Delivery(Revision(7), WatchKind::Events { events: vec![], more: false });
    assert_watch(&story, log(7, vec![empty]), &["watch-empty"]);
}

fn with_prev(story: &Story, revisions: impl IntoIterator<Item = i64>) -> Vec<WatchEvent> {
    let (model, _) = Model::replay(&story.applied);
    let mut events = all_of(story, revisions);
    for event in &mut events {
        let kv = &event.event.kv;
        event.prev_kv = model.at(Revision(kv.mod_revision.0 - 1)).get(&kv.key).cloned();
    }
    events
}

#[test]
fn prev_kv_is_the_key_as_it_was() {
    let story = story();
    let right = with_prev(&story, 2..=6);
    assert_watch(&story, log(2, vec![events(right.clone())]), &[]);
    let broken = |place: usize, prev_kv: Option<KeyValue>| {
        let mut broken = right.clone();
        broken[place].prev_kv = prev_kv;
        log(2, vec![events(broken)])
    };
    assert_watch(&story, broken(2, Some(right[2].event.kv.clone())), &["watch-prev-kv"]);
    assert_watch(&story, broken(0, Some(right[2].event.kv.clone())), &["watch-prev-kv"]);
    assert_watch(&story, broken(2, None), &["watch-prev-kv"]);
    // Only a compaction may take it away.
    assert_promises(&check(&[broken(2, None)], &story.applied, Revision(4)), &[]);
    let violations = check(&[broken(3, None)], &story.applied, Revision(4));
    assert_promises(&violations, &["watch-prev-kv"]);
}

#[test]
fn a_create_flag_that_is_wrong_in_the_history_itself_is_seen() {
    let mut story = story();
    story.applied.events.get_mut(&Revision(4)).unwrap()[0].kv.version = 1;
    let deliveries = vec![events(all_of(&story, 2..=6))];
    assert_watch(&story, log(2, deliveries), &["watch-is-create"]);
}

#[test]
fn after_a_compaction_a_watch_goes_on_from_what_is_left() {
    let story = story();
    let right = vec![canceled(5), resumed(5), events(all_of(&story, [5, 6]))];
    assert_watch(&story, log(2, right), &[]);
    let below = vec![canceled(5), resumed(4), events(all_of(&story, [4, 5, 6]))];
    let violations = check(&[log(2, below)], &story.applied, Revision(0));
    assert_eq!(violations[0].promise, "watch-resume-compacted", "{violations:?}");
    let beyond = vec![canceled(5), resumed(6), events(all_of(&story, [6]))];
    assert_watch(&story, log(2, beyond), &["watch-resume-gap"]);
}

#[test]
fn a_watch_that_lost_nothing_is_not_canceled_for_a_compaction() {
    let story = story();
    let needless = vec![canceled(5), resumed(5), events(all_of(&story, [5, 6]))];
    assert_watch(&story, log(5, needless), &["watch-needless-cancel"]);
}

#[test]
fn nothing_comes_after_a_cancel() {
    let story = story();
    let after = vec![canceled(0), events(all_of(&story, [6]))];
    assert_watch(&story, log(6, after), &["watch-after-cancel"]);
}
