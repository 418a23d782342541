//! The hub over a real store: what each watcher gets, in which order, and what it costs.

use std::sync::Arc;

use synod_state::kv::{Command, DeleteRangeRequest, KeyRange, PutRequest};
use synod_storage::engine::{Engine, MemoryEngine, WriteBatch};

use super::*;

const STREAM: StreamId = StreamId(1);

/// A hub, its store, and what it has given out.
struct Desk {
    engine: Arc<MemoryEngine>,
    kv: Kv,
    hub: WatchHub,
    now: Instant,
    out: Vec<WatchDelivery>,
}

impl Desk {
    fn new() -> Self {
        let engine = Arc::new(MemoryEngine::new());
        let kv = Kv::open(engine.clone()).unwrap();
        let hub = WatchHub::new(kv.revision());
        Desk { engine, kv, hub, now: Instant::ZERO, out: Vec::new() }
    }

    fn header(&self) -> Header {
        Header { revision: self.kv.revision(), ..Header::default() }
    }

    fn apply(&mut self, command: &Command) {
        let mut batch = WriteBatch::default();
        self.kv.apply(command, &mut batch).unwrap().unwrap();
        self.engine.write(batch).unwrap();
        self.kv.on_committed();
    }

    fn put(&mut self, key: &str, value: impl Into<Bytes>) -> Revision {
        let key = Bytes::copy_from_slice(key.as_bytes());
        self.apply(&Command::Put(PutRequest { key, value: value.into(), ..PutRequest::default() }));
        self.kv.revision()
    }

    fn delete(&mut self, key: &str) -> Revision {
        self.apply(&Command::DeleteRange(DeleteRangeRequest { range: of(key), prev_kv: false }));
        self.kv.revision()
    }

    fn ask(&mut self, request: WatchRequest) {
        self.hub.on_request(self.now, self.header(), request, &mut self.out);
    }

    fn create(&mut self, spec: WatchSpec) {
        self.ask(WatchRequest::Create { stream: STREAM, spec });
    }

    fn turn(&mut self) -> Vec<WatchDelivery> {
        self.hub.turn(self.now, self.header(), &self.kv, &mut self.out).unwrap();
        self.out.split_off(0)
    }

    /// Turns until the hub has nothing left to do at once.
    fn rest(&mut self) -> Vec<WatchDelivery> {
        let mut all = self.turn();
        while self.hub.is_busy() {
            all.extend(self.turn());
        }
        all
    }
}

fn of(key: &str) -> KeyRange {
    KeyRange { key: Bytes::copy_from_slice(key.as_bytes()), range_end: Bytes::new() }
}

fn everything() -> KeyRange {
    KeyRange { key: Bytes::from_static(b"\0"), range_end: Bytes::from_static(b"\0") }
}

fn from(revision: i64, range: KeyRange) -> WatchSpec {
    WatchSpec { range, start_revision: Revision(revision), ..WatchSpec::default() }
}

/// Revisions of the events that a watch got.
fn revisions(deliveries: &[WatchDelivery], watch_id: i64) -> Vec<i64> {
    let mut all = Vec::new();
    for delivery in deliveries.iter().filter(|d| d.watch_id == watch_id) {
        if let WatchKind::Events { events, .. } = &delivery.kind {
            all.extend(events.iter().map(|e| e.event.kv.mod_revision.0));
        }
    }
    all
}

fn ends(deliveries: &[WatchDelivery]) -> Vec<(i64, Revision)> {
    let end = |d: &WatchDelivery| match &d.kind {
        WatchKind::Canceled { compact_revision, .. } => Some((d.watch_id, *compact_revision)),
        _ => None,
    };
    deliveries.iter().filter_map(end).collect()
}

#[test]
fn a_watch_gets_what_happens_to_its_keys_from_now_on() {
    let mut desk = Desk::new();
    desk.put("a", "1");
    desk.turn();
    desk.create(from(0, of("a")));
    desk.create(from(0, everything()));
    let created = desk.turn();
    assert_eq!(created.iter().map(|d| d.watch_id).collect::<Vec<_>>(), [0, 1]);
    assert!(created.iter().all(|d| d.kind == WatchKind::Created));
    let (b, a) = (desk.put("b", "1").0, desk.put("a", "2").0);
    let gone = desk.delete("a").0;
    let deliveries = desk.turn();
    assert_eq!(revisions(&deliveries, 0), [a, gone]);
    assert_eq!(revisions(&deliveries, 1), [b, a, gone]);
    assert!(desk.turn().is_empty(), "nothing twice");
}

#[test]
fn a_watch_created_between_a_write_and_the_turn_that_shows_it_misses_nothing_it_should_see() {
    let mut desk = Desk::new();
    let before = desk.put("a", "1").0;
    desk.create(from(before, of("a")));
    desk.create(from(before + 1, of("a")));
    let deliveries = desk.rest();
    assert_eq!(revisions(&deliveries, 0), [before]);
    assert!(revisions(&deliveries, 1).is_empty());
    let after = desk.put("a", "2").0;
    let deliveries = desk.rest();
    assert_eq!((revisions(&deliveries, 0), revisions(&deliveries, 1)), (vec![after], vec![after]));
}

#[test]
fn a_watch_of_the_past_reads_history_and_joins_the_present_without_a_gap() {
    let mut desk = Desk::new();
    let all: Vec<i64> = (0..100).map(|n| desk.put("a", vec![n; 64 * 1024]).0).collect();
    desk.turn();
    desk.create(from(all[10], of("a")));
    let mut got = Vec::new();
    let mut written = all[10..].to_vec();
    for n in 0..30 {
        let deliveries = desk.turn();
        for delivery in &deliveries {
            desk.ask(WatchRequest::Drained { stream: STREAM, bytes: delivery.bytes });
        }
        got.extend(revisions(&deliveries, 0));
        written.push(desk.put("a", vec![n; 1024]).0);
    }
    got.extend(revisions(&desk.rest(), 0));
    assert_eq!(got, written);
}

#[test]
fn a_watch_of_the_future_waits_for_its_revision() {
    let mut desk = Desk::new();
    let now = desk.put("a", "1").0;
    desk.turn();
    desk.create(from(now + 3, of("a")));
    desk.create(from(i64::MAX, of("a")));
    for _ in 0..4 {
        desk.put("a", "2");
    }
    let deliveries = desk.rest();
    assert_eq!(revisions(&deliveries, 0), [now + 3, now + 4]);
    assert!(revisions(&deliveries, 1).is_empty());
}

#[test]
fn the_compacted_revision_itself_can_be_watched_and_an_earlier_one_says_where_to_resume() {
    let mut desk = Desk::new();
    let all: Vec<i64> = (0..10).map(|_| desk.put("a", "v").0).collect();
    desk.turn();
    desk.apply(&Command::Compact { revision: Revision(all[5]) });
    desk.create(from(all[5], of("a")));
    desk.create(from(all[4], of("a")));
    let deliveries = desk.rest();
    assert_eq!(revisions(&deliveries, 0), &all[5..]);
    assert_eq!(ends(&deliveries), [(1, Revision(all[5]))]);
    assert_eq!(desk.hub.len(), 1);
}

#[test]
fn a_watch_that_keeps_up_loses_nothing_to_a_compaction_in_the_same_turn() {
    let mut desk = Desk::new();
    desk.create(from(0, of("a")));
    desk.turn();
    let all: Vec<i64> = (0..5).map(|_| desk.put("a", "v").0).collect();
    let header = desk.header();
    desk.hub.before_compaction(header, &desk.kv, &mut desk.out).unwrap();
    desk.apply(&Command::Compact { revision: Revision(all[4]) });
    let after = desk.put("a", "w").0;
    let deliveries = desk.rest();
    assert!(ends(&deliveries).is_empty());
    assert_eq!(revisions(&deliveries, 0), [&all[..], &[after]].concat());
}

#[test]
fn a_slow_stream_is_given_no_more_until_it_has_taken_some_and_then_all_of_it_once() {
    let mut desk = Desk::new();
    desk.create(from(0, of("a")));
    desk.turn();
    let mut written = Vec::new();
    let mut deliveries = Vec::new();
    for n in 0..40 {
        written.push(desk.put("a", vec![n; 512 * 1024]).0);
        deliveries.extend(desk.turn());
    }
    let ahead: usize = deliveries.iter().map(|d| d.bytes).sum();
    assert!(ahead < MAX_STREAM_OUTSTANDING_BYTES + 1024 * 1024, "{ahead} bytes ahead");
    assert!(!desk.hub.is_busy(), "it waits for the client, not in a loop");
    let mut got = revisions(&deliveries, 0);
    while got.len() < written.len() {
        for delivery in std::mem::take(&mut deliveries) {
            desk.ask(WatchRequest::Drained { stream: STREAM, bytes: delivery.bytes });
        }
        deliveries = desk.rest();
        assert!(!deliveries.is_empty());
        got.extend(revisions(&deliveries, 0));
    }
    assert_eq!(got, written);
}

#[test]
fn a_slow_stream_holds_up_no_other() {
    let mut desk = Desk::new();
    desk.create(from(0, of("a")));
    let spec = from(0, of("a"));
    desk.ask(WatchRequest::Create { stream: StreamId(2), spec });
    desk.turn();
    let mut got = 0;
    for n in 0..20 {
        desk.put("a", vec![n; 512 * 1024]);
        for delivery in desk.turn() {
            if delivery.stream == StreamId(2) {
                got += revisions(std::slice::from_ref(&delivery), 0).len();
                let (stream, bytes) = (delivery.stream, delivery.bytes);
                desk.ask(WatchRequest::Drained { stream, bytes });
            }
        }
    }
    assert_eq!(got, 20);
}

#[test]
fn a_replaced_store_is_read_on_from_where_each_watch_was() {
    let mut old = Desk::new();
    old.create(from(0, of("a")));
    old.create(from(9, of("a")));
    old.put("a", "1");
    assert_eq!(revisions(&old.rest(), 0), [2]);
    let mut new = Desk::new();
    for _ in 0..9 {
        new.put("a", "1");
    }
    old.kv = new.kv;
    old.engine = new.engine;
    old.hub.on_store_replaced(old.kv.revision());
    let deliveries = old.rest();
    assert_eq!(revisions(&deliveries, 0), (3..=10).collect::<Vec<_>>());
    assert_eq!(revisions(&deliveries, 1), [9, 10]);
    let next = old.put("a", "2").0;
    let deliveries = old.rest();
    assert_eq!((revisions(&deliveries, 0), revisions(&deliveries, 1)), (vec![next], vec![next]));
}

#[test]
fn filters_leave_out_and_the_key_before_comes_along() {
    let mut desk = Desk::new();
    desk.create(WatchSpec { no_put: true, ..from(0, of("a")) });
    desk.create(WatchSpec { no_delete: true, prev_kv: true, ..from(0, of("a")) });
    desk.turn();
    let (first, second) = (desk.put("a", "1").0, desk.put("a", "2").0);
    let gone = desk.delete("a").0;
    let deliveries = desk.turn();
    assert_eq!(revisions(&deliveries, 0), [gone]);
    assert_eq!(revisions(&deliveries, 1), [first, second]);
    let WatchKind::Events { events, .. } = &deliveries.last().unwrap().kind else { panic!() };
    let before: Vec<_> = events.iter().map(|e| e.prev_kv.as_ref().map(|kv| &kv.value)).collect();
    assert_eq!(before, [None, Some(&Bytes::from("1"))]);
}

#[test]
fn an_id_in_use_is_refused_and_a_chosen_one_is_never_given_out_again() {
    let mut desk = Desk::new();
    desk.create(WatchSpec { watch_id: 1, ..from(0, of("a")) });
    desk.create(WatchSpec { watch_id: 1, ..from(0, of("b")) });
    desk.create(from(0, of("c")));
    desk.create(from(0, of("d")));
    let deliveries = desk.turn();
    assert_eq!(deliveries.iter().map(|d| d.watch_id).collect::<Vec<_>>(), [1, -1, 0, 2]);
    assert_eq!(ends(&deliveries), [(-1, Revision(0))]);
    desk.ask(WatchRequest::Cancel { stream: STREAM, watch_id: 1 });
    desk.ask(WatchRequest::Cancel { stream: STREAM, watch_id: 1 });
    assert_eq!(ends(&desk.turn()), [(1, Revision(0))], "the second one asks for nothing");
    desk.put("a", "1");
    assert!(desk.turn().is_empty());
}

#[test]
fn a_closed_stream_leaves_nothing_behind() {
    let mut desk = Desk::new();
    let old = desk.put("a", "1").0;
    desk.turn();
    desk.create(from(0, of("a")));
    desk.create(from(0, everything()));
    desk.create(from(old, of("a")));
    desk.ask(WatchRequest::Progress { stream: STREAM });
    desk.ask(WatchRequest::Close { stream: STREAM });
    desk.out.clear();
    desk.put("a", "2");
    assert!(desk.rest().is_empty());
    let WatchHub { streams, watchers, by_key, by_range, behind, progress_asked, .. } = &desk.hub;
    assert!(streams.is_empty() && watchers.is_empty() && by_key.is_empty());
    assert!(by_range.is_empty() && behind.is_empty() && progress_asked.is_empty());
}

#[test]
fn progress_is_told_once_all_watches_of_the_stream_have_everything() {
    let mut desk = Desk::new();
    let old = desk.put("a", vec![0; 1024]).0;
    for _ in 0..4 {
        desk.put("a", vec![0; 1024 * 1024]);
    }
    desk.turn();
    desk.create(from(old, of("a")));
    desk.ask(WatchRequest::Progress { stream: STREAM });
    let progress = |d: &WatchDelivery| d.kind == WatchKind::Progress;
    let first = desk.turn();
    assert!(!first.iter().any(progress), "still behind");
    let rest = desk.rest();
    assert!(rest.iter().any(progress));
    let last = rest.iter().position(progress).unwrap();
    assert!(rest[last..].iter().all(|d| !matches!(d.kind, WatchKind::Events { .. })));
    assert_eq!(rest[last].watch_id, -1);
    assert_eq!(rest[last].header.revision, desk.kv.revision());
}

#[test]
fn a_quiet_watch_that_wants_it_hears_how_far_it_is() {
    let mut desk = Desk::new();
    desk.create(WatchSpec { progress_notify: true, ..from(0, of("a")) });
    desk.create(from(0, of("a")));
    desk.turn();
    desk.now = desk.now + PROGRESS_INTERVAL + PROGRESS_CHECK_INTERVAL;
    let told: Vec<_> = desk.turn().into_iter().map(|d| (d.watch_id, d.kind)).collect();
    assert_eq!(told, [(0, WatchKind::Progress)]);
}

#[test]
fn fragments_are_small_and_say_whether_more_follows() {
    let mut desk = Desk::new();
    desk.create(WatchSpec { fragment: true, ..from(0, everything()) });
    desk.turn();
    let written: Vec<i64> =
        (0..6).map(|n| desk.put(&format!("k{n}"), vec![n; 1024 * 1024]).0).collect();
    let mut deliveries = Vec::new();
    while revisions(&deliveries, 0).len() < written.len() {
        let some = desk.rest();
        for delivery in &some {
            desk.ask(WatchRequest::Drained { stream: STREAM, bytes: delivery.bytes });
        }
        deliveries.extend(some);
    }
    assert_eq!(revisions(&deliveries, 0), written);
    assert!(deliveries.iter().all(|d| d.bytes <= MAX_REQUEST_BYTES + 1024));
    let WatchKind::Events { more, .. } = &deliveries.last().unwrap().kind else { panic!() };
    assert!(!more);
}
