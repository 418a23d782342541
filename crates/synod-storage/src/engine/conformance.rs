//! What every `Engine` must do, run over each of them.

use std::cell::RefCell;

use super::*;

/// Opens an engine over the same durable state again and again; `reopen` ends the process kindly,
/// `crash` may lose what was not persisted.
trait Rig {
    fn engine(&self) -> &dyn Engine;
    fn reopen(&mut self);
    fn crash(&mut self);
}

struct MemoryRig {
    engine: MemoryEngine,
    rng: RefCell<fastrand::Rng>,
}

impl Rig for MemoryRig {
    fn engine(&self) -> &dyn Engine {
        &self.engine
    }

    fn reopen(&mut self) {
        self.engine.crash(synod_base::disk::Crash::KeepEverything, &mut self.rng.borrow_mut());
    }

    fn crash(&mut self) {
        self.engine.crash(synod_base::disk::Crash::KeepRandomSubset, &mut self.rng.borrow_mut());
    }
}

struct FjallRig {
    dir: tempfile::TempDir,
    engine: Option<FjallEngine>,
}

impl FjallRig {
    fn start(&mut self) {
        self.engine = Some(FjallEngine::open(self.dir.path(), FjallOptions::default()).unwrap());
    }
}

impl Rig for FjallRig {
    fn engine(&self) -> &dyn Engine {
        self.engine.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.engine = None;
        self.start();
    }

    fn crash(&mut self) {
        self.reopen();
    }
}

fn rigs() -> Vec<(&'static str, Box<dyn Rig>)> {
    let memory =
        MemoryRig { engine: MemoryEngine::new(), rng: RefCell::new(fastrand::Rng::with_seed(11)) };
    let mut fjall = FjallRig { dir: tempfile::tempdir().unwrap(), engine: None };
    fjall.start();
    vec![("memory", Box::new(memory)), ("fjall", Box::new(fjall))]
}

fn put(engine: &dyn Engine, space: Space, key: &str, value: &str) {
    let mut batch = WriteBatch::default();
    batch.put(space, key.to_owned(), value.to_owned());
    engine.write(batch).unwrap();
}

fn get(engine: &dyn EngineRead, space: Space, key: &str) -> Option<String> {
    let value = engine.get(space, key.as_bytes()).unwrap()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

fn keys(engine: &dyn EngineRead, space: Space, from: &str, to: Option<&str>) -> Vec<String> {
    let mut keys = Vec::new();
    engine
        .scan(space, from.as_bytes(), to.map(str::as_bytes), &mut |key, _| {
            keys.push(String::from_utf8(key.to_vec()).unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
    keys
}

#[test]
fn a_key_reads_as_it_was_last_written() {
    for (name, rig) in rigs() {
        let engine = rig.engine();
        assert_eq!(get(engine, Space::Meta, "k"), None, "{name}");
        put(engine, Space::Meta, "k", "1");
        put(engine, Space::Meta, "k", "2");
        put(engine, Space::Meta, "empty", "");
        assert_eq!(get(engine, Space::Meta, "k").as_deref(), Some("2"), "{name}");
        assert_eq!(get(engine, Space::Meta, "empty").as_deref(), Some(""), "{name}");
        let mut batch = WriteBatch::default();
        batch.delete(Space::Meta, "k");
        batch.delete(Space::Meta, "never there");
        engine.write(batch).unwrap();
        assert_eq!(get(engine, Space::Meta, "k"), None, "{name}");
        assert_eq!(keys(engine, Space::Meta, "", None), ["empty"], "{name}");
        engine.write(WriteBatch::default()).unwrap();
    }
}

#[test]
fn of_two_changes_to_a_key_in_one_batch_the_later_wins() {
    for (name, rig) in rigs() {
        let mut batch = WriteBatch::default();
        batch.put(Space::Meta, "a", "1");
        batch.put(Space::Meta, "a", "2");
        batch.put(Space::Meta, "b", "1");
        batch.delete(Space::Meta, "b");
        batch.delete(Space::Meta, "c");
        batch.put(Space::Meta, "c", "3");
        rig.engine().write(batch).unwrap();
        let found: Vec<_> = ["a", "b", "c"].map(|k| get(rig.engine(), Space::Meta, k)).into();
        assert_eq!(found, [Some("2".to_owned()), None, Some("3".to_owned())], "{name}");
    }
}

#[test]
fn scans_are_in_bytewise_order_and_keep_to_their_ends() {
    for (name, rig) in rigs() {
        let engine = rig.engine();
        for key in ["b", "a", "ab", "c", "a\0", "\u{7f}"] {
            put(engine, Space::History, key, key);
        }
        let all = ["a", "a\0", "ab", "b", "c", "\u{7f}"];
        assert_eq!(keys(engine, Space::History, "", None), all, "{name}");
        assert_eq!(keys(engine, Space::History, "ab", Some("c")), ["ab", "b"], "{name}");
        assert_eq!(keys(engine, Space::History, "aa", Some("b\0")), ["ab", "b"], "{name}");
        assert!(keys(engine, Space::History, "c", Some("c")).is_empty(), "{name}");
        assert!(keys(engine, Space::History, "c", Some("a")).is_empty(), "{name}");
        let mut seen = 0;
        engine
            .scan(Space::History, b"", None, &mut |_, _| {
                seen += 1;
                if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap();
        assert_eq!(seen, 2, "{name}");
    }
}

#[test]
fn spaces_never_meet() {
    for (name, mut rig) in rigs() {
        for (i, space) in Space::ALL.into_iter().enumerate() {
            put(rig.engine(), space, "k", &i.to_string());
        }
        rig.reopen();
        for (i, space) in Space::ALL.into_iter().enumerate() {
            assert_eq!(get(rig.engine(), space, "k"), Some(i.to_string()), "{name}");
        }
    }
}

#[test]
fn a_snapshot_is_unmoved_by_later_writes() {
    for (name, rig) in rigs() {
        let engine = rig.engine();
        put(engine, Space::Meta, "changed", "old");
        put(engine, Space::Meta, "removed", "old");
        let before = engine.snapshot().unwrap();
        let mut batch = WriteBatch::default();
        batch.put(Space::Meta, "changed", "new");
        batch.delete(Space::Meta, "removed");
        batch.put(Space::Meta, "added", "new");
        engine.write(batch).unwrap();
        let after = engine.snapshot().unwrap();
        engine.clear(Space::Meta).unwrap();
        assert_eq!(keys(&*before, Space::Meta, "", None), ["changed", "removed"], "{name}");
        assert_eq!(get(&*before, Space::Meta, "changed").as_deref(), Some("old"), "{name}");
        assert_eq!(get(&*before, Space::Meta, "added"), None, "{name}");
        drop(before);
        assert_eq!(keys(&*after, Space::Meta, "", None), ["added", "changed"], "{name}");
        drop(after);
        assert!(keys(engine, Space::Meta, "", None).is_empty(), "{name}");
    }
}

#[test]
fn what_was_persisted_is_there_after_a_restart() {
    for (name, mut rig) in rigs() {
        put(rig.engine(), Space::Meta, "k", "1");
        put(rig.engine(), Space::Lease, "l", "2");
        rig.engine().persist().unwrap();
        rig.crash();
        assert_eq!(get(rig.engine(), Space::Meta, "k").as_deref(), Some("1"), "{name}");
        assert_eq!(get(rig.engine(), Space::Lease, "l").as_deref(), Some("2"), "{name}");
    }
}

#[test]
fn a_crash_keeps_a_prefix_of_whole_batches() {
    for (name, mut rig) in rigs() {
        let mut written: u32 = 0;
        for round in 0..20 {
            let persisted = written;
            for _ in 0..5 {
                written += 1;
                let mut batch = WriteBatch::default();
                batch.put(Space::Meta, "applied", written.to_string());
                batch.put(Space::History, format!("{written:08}"), "x");
                if written > 3 {
                    batch.delete(Space::History, format!("{:08}", written - 3));
                }
                rig.engine().write(batch).unwrap();
            }
            rig.crash();
            let applied: u32 =
                get(rig.engine(), Space::Meta, "applied").map_or(0, |v| v.parse().unwrap());
            assert!((persisted..=written).contains(&applied), "{name}, round {round}");
            let first = applied.saturating_sub(2).max(1);
            let expected: Vec<String> = (first..=applied).map(|i| format!("{i:08}")).collect();
            assert_eq!(keys(rig.engine(), Space::History, "", None), expected, "{name}");
            written = applied;
            rig.engine().persist().unwrap();
        }
    }
}

#[test]
fn values_of_a_mebibyte_come_back_whole() {
    for (name, mut rig) in rigs() {
        for i in 0..8u8 {
            let mut batch = WriteBatch::default();
            batch.put(Space::History, vec![i], vec![i; 1024 * 1024]);
            rig.engine().write(batch).unwrap();
        }
        rig.reopen();
        for i in 0..8u8 {
            let value = rig.engine().get(Space::History, &[i]).unwrap().unwrap();
            assert!(value.len() == 1024 * 1024 && value.iter().all(|b| *b == i), "{name}");
        }
    }
}

#[test]
fn many_small_keys_written_in_random_order_are_scanned_in_order() {
    const KEYS: u32 = 50_000;
    for (name, mut rig) in rigs() {
        let mut order: Vec<u32> = (0..KEYS).collect();
        fastrand::Rng::with_seed(3).shuffle(&mut order);
        for piece in order.chunks(500) {
            let mut batch = WriteBatch::default();
            for key in piece {
                batch.put(Space::History, key.to_be_bytes().to_vec(), key.to_le_bytes().to_vec());
            }
            rig.engine().write(batch).unwrap();
        }
        rig.reopen();
        let mut next: u32 = 0;
        rig.engine()
            .scan(Space::History, b"", None, &mut |key, value| {
                assert_eq!((key, value), (&next.to_be_bytes()[..], &next.to_le_bytes()[..]));
                next += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(next, KEYS, "{name}");
        rig.engine().clear(Space::History).unwrap();
        assert!(keys(rig.engine(), Space::History, "", None).is_empty(), "{name}");
        assert_eq!(rig.engine().get(Space::History, &7u32.to_be_bytes()).unwrap(), None);
    }
}

#[test]
fn a_visitor_may_use_the_engine_it_scans() {
    for (name, rig) in rigs() {
        for i in 0..1000 {
            put(rig.engine(), Space::Lease, &format!("{i:04}"), "x");
        }
        let mut seen = 0;
        rig.engine()
            .scan(Space::Lease, b"", None, &mut |key, _| {
                let mut batch = WriteBatch::default();
                batch.delete(Space::Lease, key.to_vec());
                rig.engine().write(batch).unwrap();
                seen += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!((seen, keys(rig.engine(), Space::Lease, "", None).len()), (1000, 0), "{name}");
    }
}

#[test]
fn a_full_memory_engine_refuses_writes_and_still_reads() {
    let engine = MemoryEngine::new();
    put(&engine, Space::Meta, "k", "1");
    engine.set_full(true);
    let mut batch = WriteBatch::default();
    batch.put(Space::Meta, "k", "2");
    assert!(matches!(engine.write(batch.clone()), Err(EngineError::NoSpace(_))));
    assert_eq!(get(&engine, Space::Meta, "k").as_deref(), Some("1"));
    engine.set_full(false);
    engine.write(batch).unwrap();
    assert_eq!(get(&engine, Space::Meta, "k").as_deref(), Some("2"));
}

#[test]
fn fjall_refuses_writes_while_the_disk_has_less_than_the_reserve() {
    let dir = tempfile::tempdir().unwrap();
    put(&FjallEngine::open(dir.path(), FjallOptions::default()).unwrap(), Space::Meta, "k", "1");
    let options = FjallOptions { reserve_bytes: 1 << 62, ..FjallOptions::default() };
    let engine = FjallEngine::open(dir.path(), options).unwrap();
    let mut batch = WriteBatch::default();
    batch.put(Space::Meta, "k", "2");
    assert!(matches!(engine.write(batch), Err(EngineError::NoSpace(_))));
    assert_eq!(get(&engine, Space::Meta, "k").as_deref(), Some("1"));
}

#[test]
fn a_second_opener_of_fjall_files_is_told_who_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let first = FjallEngine::open(dir.path(), FjallOptions::default()).unwrap();
    let second = FjallEngine::open(dir.path(), FjallOptions::default());
    assert!(matches!(second, Err(EngineError::Io(_))));
    drop(first);
    assert!(FjallEngine::open(dir.path(), FjallOptions::default()).is_ok());
}
