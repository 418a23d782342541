//! What must not show: how commands fall into batches, restarts, crashes that lose a batch, scrubbing.

use std::sync::Arc;

use proptest::prelude::*;
use synod_base::Revision;
use synod_state::kv::*;
use synod_storage::engine::{Engine, EngineRead, MemoryEngine, Space, WriteBatch};

use crate::model::check_everything;
use crate::naive::Naive;
use crate::{apply, everything, put, strategies};

/// What happens to a replica between two commands.
#[derive(Clone, Debug)]
enum Fate {
    /// Nothing: the next command joins the batch.
    Nothing,
    /// The batch is written.
    Commit,
    /// The batch is written, then the replica starts anew.
    Restart,
    /// The batch is lost, the replica starts anew and replays its commands.
    Crash,
    /// A step of scrubbing joins the batch.
    Scrub(usize),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Nothing),
        3 => Just(Fate::Commit),
        1 => Just(Fate::Restart),
        1 => Just(Fate::Crash),
        4 => (0usize..4).prop_map(Fate::Scrub),
    ]
}

struct Replica {
    engine: Arc<MemoryEngine>,
    kv: Kv,
    batch: WriteBatch,
    /// The commands whose changes are in `batch`.
    uncommitted: Vec<Command>,
    window_bytes: usize,
}

impl Replica {
    fn new(window_bytes: usize) -> Self {
        let engine = Arc::new(MemoryEngine::new());
        let kv = Kv::open_with_window(engine.clone(), window_bytes).unwrap();
        let batch = WriteBatch::default();
        Replica { engine, kv, batch, uncommitted: Vec::new(), window_bytes }
    }

    fn apply(&mut self, command: &Command) -> Result<CommandResult, Refusal> {
        self.uncommitted.push(command.clone());
        self.kv.apply(command, &mut self.batch).unwrap()
    }

    fn meet(&mut self, fate: &Fate) {
        match fate {
            Fate::Nothing => {}
            Fate::Commit => self.commit(),
            Fate::Restart => {
                self.commit();
                self.open();
            }
            Fate::Crash => {
                self.batch = WriteBatch::default();
                self.open();
                for command in std::mem::take(&mut self.uncommitted) {
                    let _ = self.apply(&command);
                }
            }
            Fate::Scrub(max_keys) => {
                self.kv.scrub(*max_keys, &mut self.batch).unwrap();
            }
        }
    }

    fn commit(&mut self) {
        self.engine.write(std::mem::take(&mut self.batch)).unwrap();
        self.kv.on_committed();
        self.uncommitted.clear();
    }

    fn open(&mut self) {
        self.kv = Kv::open_with_window(self.engine.clone(), self.window_bytes).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn batches_restarts_crashes_and_scrubbing_show_in_no_answer_and_no_hash(
        run in proptest::collection::vec((strategies::command(), fate()), 1..50),
        window_bytes in prop_oneof![Just(0usize), Just(2_000), Just(1 << 20)],
    ) {
        let mut naive = Naive::new();
        let mut plain = Replica::new(1 << 20);
        let mut tried = Replica::new(window_bytes);
        for (command, fate) in &run {
            let expected = naive.apply(command);
            prop_assert_eq!(&plain.apply(command), &expected);
            plain.commit();
            prop_assert_eq!(&tried.apply(command), &expected);
            tried.meet(fate);
            prop_assert_eq!(tried.kv.state_hash().unwrap(), plain.kv.state_hash().unwrap());
        }
        check_everything(&tried.kv, &naive)?;
        tried.meet(&Fate::Crash);
        tried.meet(&Fate::Restart);
        while tried.kv.scrub(2, &mut tried.batch).unwrap() {
            tried.meet(&Fate::Commit);
        }
        tried.meet(&Fate::Restart);
        check_everything(&tried.kv, &naive)?;
        prop_assert!(!tried.kv.needs_scrub());
        for revision in naive.compacted.max(1)..=naive.revision().0 {
            let revision = Revision(revision);
            prop_assert_eq!(tried.kv.hash(revision).unwrap(), plain.kv.hash(revision).unwrap());
        }
        prop_assert_eq!(tried.kv.state_hash().unwrap(), plain.kv.state_hash().unwrap());
        prop_assert!(tried.kv.sizes().history_events <= plain.kv.sizes().history_events);
    }
}

#[test]
fn scrubbing_removes_the_records_and_a_crash_in_its_middle_only_delays_it() {
    let mut replica = Replica::new(0);
    for _ in 0..3 {
        for key in ["a", "b", "c", "d"] {
            replica.apply(&put(key, "v", 0)).unwrap();
        }
    }
    let range = KeyRange::one("d");
    replica.apply(&Command::DeleteRange(DeleteRangeRequest { range, prev_kv: false })).unwrap();
    replica.apply(&put("e", "v", 0)).unwrap();
    replica.commit();
    let revision = replica.kv.revision();
    assert_eq!(history_records(&*replica.engine), 14);
    replica.apply(&Command::Compact { revision }).unwrap();
    replica.commit();
    let hash = replica.kv.state_hash().unwrap();

    assert!(replica.kv.scrub(1, &mut replica.batch).unwrap());
    replica.commit();
    assert_eq!(history_records(&*replica.engine), 12, "two puts of `a` are gone");
    assert!(replica.kv.scrub(2, &mut replica.batch).unwrap());
    replica.meet(&Fate::Crash);
    assert_eq!(replica.kv.sizes().history_events, 12);
    assert!(replica.kv.needs_scrub());

    while replica.kv.scrub(2, &mut replica.batch).unwrap() {}
    replica.commit();
    assert_eq!(history_records(&*replica.engine), 4, "one put each of a, b, c, e");
    assert_eq!(replica.kv.sizes().known_keys, 4);
    assert_eq!(replica.kv.state_hash().unwrap(), hash);
    replica.open();
    assert!(!replica.kv.needs_scrub());
    assert_eq!(replica.kv.state_hash().unwrap(), hash);
}

#[test]
fn a_compaction_during_a_scrub_is_scrubbed_too() {
    let mut replica = Replica::new(0);
    for _ in 0..3 {
        for key in ["a", "b", "c"] {
            replica.apply(&put(key, "v", 0)).unwrap();
        }
    }
    replica.apply(&Command::Compact { revision: Revision(5) }).unwrap();
    assert!(replica.kv.scrub(2, &mut replica.batch).unwrap());
    replica.apply(&Command::Compact { revision: Revision(10) }).unwrap();
    while replica.kv.scrub(2, &mut replica.batch).unwrap() {}
    replica.commit();
    assert_eq!(history_records(&*replica.engine), 3);
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let engine = Arc::new(MemoryEngine::new());
    drop(Kv::open(engine.clone()).unwrap());
    let mut batch = WriteBatch::default();
    let newer = (FORMAT_VERSION + 1).to_be_bytes().to_vec();
    batch.put(Space::Meta, &b"kv/format"[..], newer);
    engine.write(batch).unwrap();
    let error = Kv::open(engine).err().unwrap();
    assert!(matches!(error, OpenError::NewerFormat { found } if found == FORMAT_VERSION + 1));
}

#[test]
fn damaged_contents_do_not_open() {
    let damages: [(Space, &[u8], &[u8]); 5] = [
        (Space::History, b"short", b""),
        (Space::History, &[0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0], &[7]),
        (Space::Lease, &[0; 8], &[2]),
        (Space::Meta, b"kv/compacted", b"?"),
        (Space::Meta, b"kv/compacted", &[0, 0, 0, 0, 0, 0, 0, 99]),
    ];
    for (space, key, value) in damages {
        let engine = Arc::new(MemoryEngine::new());
        let mut kv = Kv::open(engine.clone()).unwrap();
        apply(&mut kv, &*engine, &put("a", "1", 0)).unwrap();
        let mut batch = WriteBatch::default();
        batch.put(space, key, value);
        engine.write(batch).unwrap();
        assert!(matches!(Kv::open(engine).err(), Some(OpenError::Engine(_))), "{space:?} {key:?}");
    }
}

#[test]
fn a_record_that_vanished_is_an_error_and_not_an_absent_key() {
    let engine = Arc::new(MemoryEngine::new());
    let mut kv = Kv::open_with_window(engine.clone(), 0).unwrap();
    apply(&mut kv, &*engine, &put("a", "1", 0)).unwrap();
    let mut batch = WriteBatch::default();
    batch.delete(Space::History, &[0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0][..]);
    engine.write(batch).unwrap();
    assert!(kv.range(&everything(Revision(0))).is_err());
}

fn history_records(engine: &dyn EngineRead) -> usize {
    let mut count = 0;
    let mut visit = |_: &[u8], _: &[u8]| {
        count += 1;
        std::ops::ControlFlow::Continue(())
    };
    engine.scan(Space::History, &[], None, &mut visit).unwrap();
    count
}
