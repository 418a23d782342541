//! Real fjall folders, as power losses, full disks and rot leave them.

use std::fs;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;

const BLOCK: usize = 4096;

/// A folder with some batches in its journal, none of them in a table.
struct Image {
    folder: TempDir,
    /// What the journal holds, without the zeros behind it.
    journal: Vec<u8>,
    /// Where each batch ends in it.
    ends: Vec<usize>,
}

fn value(batch: usize) -> Vec<u8> {
    // Noise: a value that can be packed would not fill blocks of its own.
    let mut rng = fastrand::Rng::with_seed(batch as u64);
    (0..3 * BLOCK + 100 * batch).map(|_| rng.u8(..)).collect()
}

fn write(engine: &FjallEngine, batch: usize) -> Result<(), EngineError> {
    let mut writes = WriteBatch::default();
    writes.put(Space::History, batch.to_be_bytes().to_vec(), value(batch));
    writes.put(Space::Meta, "newest", batch.to_be_bytes().to_vec());
    engine.write(writes)
}

/// How many batches there are: from the first on, each of them whole.
fn batches(engine: &FjallEngine) -> usize {
    let mut found: usize = 0;
    let mut visit = |key: &[u8], stored: &[u8]| {
        assert_eq!(key, found.to_be_bytes());
        assert!(stored == value(found));
        found += 1;
        ControlFlow::Continue(())
    };
    engine.scan(Space::History, &[], None, &mut visit).unwrap();
    let newest = engine.get(Space::Meta, b"newest").unwrap();
    assert_eq!(
        newest.as_deref(),
        found.checked_sub(1).map(usize::to_be_bytes).as_ref().map(|n| &n[..])
    );
    found
}

fn open(folder: &Path) -> Result<FjallEngine, EngineError> {
    FjallEngine::open(folder, FjallOptions::default())
}

fn image(count: usize) -> Image {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).unwrap();
    (0..count).for_each(|batch| write(&engine, batch).unwrap());
    drop(engine);
    let mut journal = fs::read(folder.path().join("0.jnl")).unwrap();
    let trailer = b"FJL\x03";
    let ends: Vec<usize> =
        (4..journal.len()).filter(|&end| journal[end - 4..end] == trailer[..]).collect();
    assert_eq!(ends.len(), count);
    journal.truncate(ends[count - 1]);
    Image { folder, journal, ends }
}

impl Image {
    /// The folder with this journal in its place.
    fn with(&self, journal: &[u8]) -> TempDir {
        let folder = self.with_journals(&[journal]);
        assert!(!folder.path().join("1.jnl").exists());
        folder
    }

    fn with_journals(&self, journals: &[&[u8]]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        copy(self.folder.path(), folder.path());
        for (number, journal) in journals.iter().enumerate() {
            fs::write(folder.path().join(format!("{number}.jnl")), journal).unwrap();
        }
        folder
    }

    /// Batches that lie wholly before this byte.
    fn before(&self, byte: usize) -> usize {
        self.ends.iter().filter(|end| **end <= byte).count()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// It opens with exactly these batches, takes more, and has them when it is opened again.
fn goes_on_after(folder: &Path, expected: usize, what: &str) {
    let engine = open(folder).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(batches(&engine), expected, "{what}");
    write(&engine, expected).unwrap();
    drop(engine);
    assert_eq!(batches(&open(folder).unwrap()), expected + 1, "{what}");
}

#[test]
fn blocks_that_a_power_loss_left_unwritten_cost_the_batches_from_there_on_and_nothing_else() {
    let image = image(4);
    for block in 0..image.journal.len() / BLOCK {
        let mut journal = image.journal.clone();
        journal[block * BLOCK..][..BLOCK].fill(0);
        // The file is longer than what was written to it.
        journal.resize(journal.len() + 3 * BLOCK, 0);
        let folder = image.with(&journal);
        goes_on_after(folder.path(), image.before(block * BLOCK), &format!("block {block} lost"));
    }
    let mut journal = image.journal.clone();
    for block in [2, 5, 6, 9] {
        journal[block * BLOCK..][..BLOCK].fill(0);
    }
    goes_on_after(image.with(&journal).path(), image.before(2 * BLOCK), "several blocks lost");
}

#[test]
fn a_journal_that_ends_anywhere_costs_the_batch_that_is_not_whole() {
    let image = image(3);
    let torn = image.ends.iter().flat_map(|end| [end - 14, end - 1, *end, end + 5, end + 40]);
    for end in torn.chain([0, 1, 500, 7000]).filter(|end| *end <= image.journal.len()) {
        let folder = image.with(&image.journal[..end]);
        goes_on_after(folder.path(), image.before(end), &format!("cut at {end}"));
    }
}

#[test]
fn an_older_journal_that_is_damaged_is_an_error_and_left_as_it_is() {
    let image = image(6);
    let (older, newer) = image.journal.split_at(image.ends[3]);
    goes_on_after(image.with_journals(&[older, newer]).path(), 6, "two journals");
    let inside_a_value = image.ends[1] + 2 * BLOCK;
    // Without its first bytes a batch looks like the end; fjall would go on in the next journal.
    for (at, bytes) in [(inside_a_value, 64), (image.ends[1], 20), (image.ends[2] - 3, 1)] {
        let mut damaged = older.to_vec();
        damaged[at..at + bytes].fill(0);
        let folder = image.with_journals(&[&damaged, newer]);
        match open(folder.path()).map(|_| ()) {
            Err(EngineError::Damaged(why)) => assert!(why.contains("0.jnl is damaged"), "{why}"),
            other => panic!("{at}: {other:?}"),
        }
        assert!(fs::read(folder.path().join("0.jnl")).unwrap() == damaged);
    }
}

#[test]
fn a_batch_that_a_full_disk_tore_is_cut_off_although_a_journal_was_begun_after_it() {
    let image = image(4);
    let torn = &image.journal[..image.ends[2] + 2 * BLOCK];
    goes_on_after(image.with_journals(&[torn, &[0; BLOCK]]).path(), 3, "begun after it");
}

#[test]
fn a_journal_that_lost_what_a_table_has_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let engine = with_small_memtables(folder.path());
    (0..4).for_each(|batch| write(&engine, batch).unwrap());
    let newest = || engine.read().as_ref().unwrap().trees.newest_in_tables();
    assert!(engine.read().as_ref().unwrap().trees.history.rotate_memtable().unwrap());
    wait_until(|| newest().is_some());
    drop(engine);
    let path = folder.path().join("0.jnl");
    let journal = fs::read(&path).unwrap();
    let first_end = journal.windows(4).position(|bytes| bytes == b"FJL\x03").unwrap() + 4;
    let rotten = |at: usize| {
        let mut journal = journal.clone();
        journal[at] ^= 1;
        journal
    };
    // The first batch's tag, a byte of its first item, and that of the last one.
    let last = journal.windows(4).rposition(|bytes| bytes == b"FJL\x03").unwrap() - 20;
    for harmed in [journal[..first_end].to_vec(), rotten(0), rotten(40), rotten(last)] {
        fs::write(&path, &harmed).unwrap();
        // The tail is cut off when it is looked at first, and lacks the second time, too.
        for _ in 0..2 {
            match open(folder.path()).map(|_| ()) {
                Err(EngineError::Damaged(why)) => {
                    assert!(why.contains("its tables hold batch"), "{why}")
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn an_error_in_the_background_that_was_no_full_disk_stops_the_engine_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let engine = with_small_memtables(folder.path());
    break_a_worker(&engine);
    // There was room all the time.
    for _ in 0..2 {
        let refused = [write(&engine, 2), engine.persist()];
        assert!(refused.iter().all(|r| matches!(r, Err(EngineError::Io(_)))), "{refused:?}");
    }
    assert_eq!(batches(&engine), 2);
}

#[test]
fn an_engine_that_a_full_disk_stopped_goes_on_in_place_once_there_is_room() {
    for persist_first in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut engine = with_small_memtables(folder.path());
        break_a_worker(&engine);
        fill(&mut engine);
        let snapshot = engine.snapshot().unwrap();
        let waits = if persist_first { engine.persist() } else { write(&engine, 2) };
        assert!(matches!(waits, Err(EngineError::NoSpace(_))), "a reader is left: {waits:?}");
        drop(snapshot);
        if persist_first {
            engine.persist().unwrap();
        }
        write(&engine, 2).unwrap();
        assert_eq!(batches(&engine), 3);
        engine.persist().unwrap();
        drop(engine);
        assert_eq!(batches(&open(folder.path()).unwrap()), 3);
    }
}

#[test]
fn an_engine_that_is_opened_anew_and_lacks_what_was_visible_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut engine = with_small_memtables(folder.path());
    break_a_worker(&engine);
    fill(&mut engine);
    let path = folder.path().join("0.jnl");
    let journal = fs::read(&path).unwrap();
    let first_end = journal.windows(4).position(|bytes| bytes == b"FJL\x03").unwrap() + 4;
    // Under its hands; nothing more is written to it.
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(first_end as u64).unwrap();
    for _ in 0..2 {
        let refused = write(&engine, 2);
        assert!(matches!(refused, Err(EngineError::Io(_))), "{refused:?}");
    }
}

fn with_small_memtables(folder: &Path) -> FjallEngine {
    FjallEngine::open(folder, FjallOptions { memtable_bytes: 64 * 1024, ..FjallOptions::default() })
        .unwrap()
}

/// Writes two batches, and has fjall's background thread fail on the first table.
fn break_a_worker(engine: &FjallEngine) {
    (0..2).for_each(|batch| write(engine, batch).unwrap());
    let open = engine.read();
    let open = open.as_ref().unwrap();
    let tables = engine.path.join("keyspaces/1/tables");
    let away = engine.path.join("keyspaces/1/away");
    fs::rename(&tables, &away).unwrap();
    open.trees.history.rotate_memtable().unwrap();
    wait_until(|| open.poisoned());
    drop(fs::remove_dir_all(&tables));
    fs::rename(&away, &tables).unwrap();
}

/// A full disk is noticed; then there is room again.
fn fill(engine: &mut FjallEngine) {
    let options = engine.options;
    engine.options.reserve_bytes = u64::MAX / 2;
    let refused = write(engine, 2);
    assert!(matches!(refused, Err(EngineError::NoSpace(_))), "{refused:?}");
    engine.options = options;
}

fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "it never came");
        std::thread::yield_now();
    }
}
