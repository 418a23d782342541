//! Map and reduce tasks called one by one, as a cluster does: files in between, fetched through
//! [`RunSource`], damaged on purpose, on disks that are full.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use support::{Bench, joined, leave_out, parts, run, run_again, zipf_text};
use synod_jobs::builtin::sort::Sort;
use synod_jobs::builtin::wordcount::WordCount;
use synod_jobs::map_task::{MapContext, MapOutput, Skips, run_map_task, run_map_task_to_file};
use synod_jobs::quarantine::LeftOut;
use synod_jobs::reduce_task::{ReduceContext, run_reduce_task};
use synod_jobs::run::file::{SectionSource, open_section, read_index};
use synod_jobs::run::store::{MemoryBudget, RunStore};
use synod_jobs::{
    Attempts, Emitter, Job, JobError, JobPlan, JobSpec, NoLog, Progress, Record, ReduceInput,
    RunSource, Sink, Stores, TaskContext, TaskKind, Values, plan, run_local,
};

fn store(bench: &Bench, name: &str) -> RunStore {
    RunStore::new(bench.path("spill"), name, MemoryBudget::new(0))
}

fn task<'a>(bench: &Bench, kind: TaskKind, number: u32, progress: &'a Progress) -> TaskContext<'a> {
    let folders = (bench.path("scratch"), bench.path("side"));
    TaskContext::new("job", kind, number, (0, Attempts::both(2)), (1, 1), progress, &NoLog, folders)
}

fn map_to_file<J: Job>(
    bench: &Bench,
    job: &J,
    plan: &JobPlan,
    split: usize,
    buffer_bytes: u64,
    output: &Path,
) -> Result<MapOutput, JobError> {
    let progress = Progress::new();
    let context = MapContext {
        job,
        plan,
        stores: &Stores::local(),
        store: &store(bench, &format!("m{split}")),
        buffer_bytes,
        skips: &Skips::new(),
        may_leave_out: 0,
        task: &task(bench, TaskKind::Map, split as u32, &progress),
    };
    run_map_task_to_file(&context, split, output, 3)
}

fn reduce<J: Job>(
    bench: &Bench,
    job: &J,
    partition: u32,
    sources: Vec<Box<dyn RunSource>>,
    output: &Path,
) -> Result<synod_jobs::reduce_task::ReduceOutput, JobError> {
    let progress = Progress::new();
    let context = ReduceContext {
        job,
        store: &store(bench, &format!("r{partition}")),
        fan_in: 2,
        sync: false,
        codec: None,
        skips: &LeftOut::new(),
        task: &task(bench, TaskKind::Reduce, partition, &progress),
    };
    run_reduce_task(&context, partition, sources, output)
}

/// Runs every task of a job by hand, in an order of its own.
fn run_by_hand<J: Job>(bench: &Bench, job: &J, spec: &JobSpec) -> Vec<(String, Vec<u8>)> {
    let plan = plan(job, spec, 1, &Stores::local(), &Progress::new()).unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    let plan: JobPlan = serde_json::from_str(&text).unwrap();
    let mut outputs: Vec<MapOutput> = (0..plan.splits.len())
        .rev()
        .map(|split| {
            let path = bench.path(&format!("map-{split}"));
            map_to_file(bench, job, &plan, split, 200_000, &path).unwrap()
        })
        .collect();
    outputs.reverse();
    (0..plan.reduces)
        .map(|partition| {
            let sources = outputs.iter().map(|output| {
                assert_eq!(read_index(&output.path).unwrap(), output.index);
                let section = output.index.sections[partition as usize];
                // As a reducer elsewhere gets it: nothing but the section's bytes.
                let file = fs::read(&output.path).unwrap();
                let from = section.offset as usize;
                let bytes = file[from..from + section.bytes as usize].to_vec();
                let name = output.path.display().to_string();
                Box::new(SectionSource::new(std::io::Cursor::new(bytes), section.bytes, name)) as _
            });
            let name = format!("part-{partition:05}");
            let path = bench.path(&name);
            let output = reduce(bench, job, partition, sources.collect(), &path).unwrap();
            let bytes = fs::read(&path).unwrap();
            assert_eq!(output.bytes, bytes.len() as u64);
            assert_eq!(output.crc32c, crc32c::crc32c(&bytes));
            (name, bytes)
        })
        .collect()
}

#[test]
fn tasks_through_files_give_the_bytes_of_a_run_in_one_process() {
    let bench = Bench::new();
    let path = bench.file("in", &zipf_text(21, 1 << 20, 20_000));
    for name in ["wordcount", "sort"] {
        let mut spec = bench.spec(name, &[&path]);
        spec.split_bytes = Some(300_000);
        spec.reduces = Some(3);
        run(&spec).unwrap();
        let by_hand = match name {
            "sort" => run_by_hand(&bench, &Sort::default(), &spec),
            _ => run_by_hand(&bench, &WordCount, &spec),
        };
        assert!(by_hand == parts(&spec.output), "{name}");
        let left = fs::read_dir(bench.path("spill")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "runs go away with their tasks");
    }
}

fn one_map_output(bench: &Bench) -> MapOutput {
    let path = bench.file("in", &zipf_text(22, 400_000, 5_000));
    let plan =
        plan(&WordCount, &bench.spec("wordcount", &[&path]), 1, &Stores::local(), &Progress::new())
            .unwrap();
    map_to_file(bench, &WordCount, &plan, 0, 1 << 20, &bench.path("map")).unwrap()
}

fn reduce_file(bench: &Bench, output: &MapOutput) -> Result<(), JobError> {
    let source = open_section(&output.path, output.index.sections[0])?;
    reduce(bench, &WordCount, 0, vec![Box::new(source)], &bench.path("part"))?;
    Ok(())
}

#[test]
fn a_flipped_bit_anywhere_in_intermediate_data_is_found() {
    let bench = Bench::new();
    let output = one_map_output(&bench);
    reduce_file(&bench, &output).unwrap();
    let good = fs::read(&output.path).unwrap();
    let data = output.index.sections[0].bytes as usize;
    let places = (0..40).chain((40..data).step_by(997)).chain(data - 3..data);
    for place in places {
        let mut bad = good.clone();
        bad[place] ^= 1 << (place % 8);
        fs::write(&output.path, &bad).unwrap();
        let error = reduce_file(&bench, &output).unwrap_err();
        assert!(matches!(error, JobError::DamagedRun { .. }), "{place}: {error}");
    }
    for place in data..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 0x10;
        fs::write(&output.path, &bad).unwrap();
        let error = read_index(&output.path).unwrap_err();
        assert!(matches!(error, JobError::DamagedRun { .. }), "{place}: {error}");
    }
    for length in [0, 1, 15, data / 2, data - 1] {
        fs::write(&output.path, &good[..length]).unwrap();
        let error = reduce_file(&bench, &output).unwrap_err();
        assert!(matches!(error, JobError::DamagedRun { .. }), "{length}: {error}");
        assert!(read_index(&output.path).is_err());
    }
}

#[test]
fn a_block_that_declares_more_than_it_has_takes_no_memory() {
    for (raw, stored) in [(u32::MAX, u32::MAX), (u32::MAX, 1), (0, 0), (1, 2), (256, 1)] {
        let mut block = [raw.to_le_bytes(), stored.to_le_bytes(), [0; 4]].concat();
        block.push(0);
        let length = block.len() as u64;
        let mut source = SectionSource::new(std::io::Cursor::new(block), length, "test".into());
        let mut into = Vec::new();
        let error = source.next_block(&mut into).unwrap_err();
        assert!(matches!(error, JobError::DamagedRun { .. }), "{error}");
        assert!(into.capacity() < 1_000);
    }
}

#[test]
fn a_full_disk_under_a_map_output_or_a_part_file_is_called_that() {
    let bench = Bench::new();
    // Every write to this device fails for lack of space.
    let full = PathBuf::from("/dev/full");
    let path = bench.file("in", &zipf_text(23, 400_000, 5_000));
    let plan =
        plan(&WordCount, &bench.spec("wordcount", &[&path]), 1, &Stores::local(), &Progress::new())
            .unwrap();
    let error = map_to_file(&bench, &WordCount, &plan, 0, 1 << 20, &full).unwrap_err();
    assert!(matches!(&error, JobError::DiskFull { path } if *path == full), "{error}");
    let output = one_map_output(&bench);
    let source = open_section(&output.path, output.index.sections[0]).unwrap();
    let error = reduce(&bench, &WordCount, 0, vec![Box::new(source)], &full).unwrap_err();
    assert!(matches!(&error, JobError::DiskFull { path } if *path == full), "{error}");
}

#[test]
fn a_spill_folder_that_cannot_be_used_fails_the_task_by_name() {
    let bench = Bench::new();
    let path = bench.file("in", &zipf_text(24, 400_000, 50_000));
    let blocked = bench.file("blocked", b"a file, not a folder");
    let plan = plan(
        &Sort::default(),
        &bench.spec("sort", &[&path]),
        1,
        &Stores::local(),
        &Progress::new(),
    )
    .unwrap();
    let store = RunStore::new(&blocked, "m", MemoryBudget::new(0));
    let progress = Progress::new();
    let context = MapContext {
        job: &Sort::default(),
        plan: &plan,
        stores: &Stores::local(),
        store: &store,
        buffer_bytes: 100_000,
        skips: &Skips::new(),
        may_leave_out: 0,
        task: &task(&bench, TaskKind::Map, 0, &progress),
    };
    let mut once = Some(0);
    let error = run_map_task(&context, &mut || once.take()).unwrap_err();
    assert!(error.to_string().contains(blocked.to_str().unwrap()), "{error}");
}

/// Runs itself once more where the small disk is, in a mount namespace that goes with the process.
#[test]
fn a_job_on_a_disk_that_fills_up_says_so_and_leaves_nothing() {
    let bench = Bench::new();
    if let Some(disk) = std::env::var_os(SMALL_DISK) {
        return fill_up(&bench, Path::new(&disk));
    }
    let disk = bench.path("disk");
    fs::create_dir(&disk).unwrap();
    let mut refusals = Vec::new();
    // As root; as root of a user namespace.
    for namespace in ["-m", "-rm"] {
        let mut mount = Command::new("unshare");
        mount.args([namespace, "sh", "-c", MOUNT_AND_RUN, "sh"]).arg(&disk);
        let probe = mount.arg("true").output();
        if !probe.as_ref().is_ok_and(|done| done.status.success()) {
            refusals.push(probe);
            continue;
        }
        let mut again = Command::new("unshare");
        again.args([namespace, "sh", "-c", MOUNT_AND_RUN, "sh"]).arg(&disk);
        let test = "a_job_on_a_disk_that_fills_up_says_so_and_leaves_nothing";
        return run_again(again.env(SMALL_DISK, &disk), test);
    }
    let what = format!("a job on a full disk: nothing can be mounted ({refusals:?})");
    leave_out(&what, "SYNOD_TEST_REQUIRE_MOUNT");
}

const SMALL_DISK: &str = "SYNOD_TEST_SMALL_DISK";
const MOUNT_AND_RUN: &str = r#"mount -t tmpfs -o size=1m none "$1" && shift && exec "$@""#;

fn fill_up(bench: &Bench, disk: &Path) {
    let path = bench.file("in", &zipf_text(25, 4 << 20, 50_000));
    for spill in [false, true] {
        let mut spec = bench.spec("sort", &[&path]);
        spec.max_record_bytes = Some(1 << 20);
        if spill {
            // Only what is spilled goes to the small disk.
            spec.memory_bytes = 1;
            spec.spill_folder = Some(disk.to_owned());
        } else {
            spec.output = disk.join("out");
        }
        let error = run(&spec).unwrap_err();
        assert!(matches!(error, JobError::DiskFull { .. }), "{error}");
        assert!(!spec.output.exists());
    }
    assert_eq!(fs::read_dir(disk).unwrap().count(), 0);
}

#[test]
fn many_partitions_of_many_small_map_tasks_are_all_found() {
    let bench = Bench::new();
    let path = bench.file("in", &zipf_text(26, 600_000, 20_000));
    let mut spec = bench.spec("sort", &[&path]);
    spec.reduces = Some(40);
    spec.split_bytes = Some(20_000);
    let by_hand = run_by_hand(&bench, &Sort::default(), &spec);
    run(&spec).unwrap();
    let bytes: Vec<u8> = by_hand.into_iter().flat_map(|(_, bytes)| bytes).collect();
    assert!(bytes == joined(&spec.output));
}

/// A source of some pairs, a block each, that notes how far the task's progress is whenever it is asked; the
/// block of that number cancels the task.
struct Watched {
    progress: Arc<Progress>,
    seen: Arc<Mutex<Vec<u64>>>,
    keys: std::ops::Range<u8>,
    cancels_at: Option<u8>,
}

impl RunSource for Watched {
    fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, JobError> {
        self.seen.lock().unwrap().push(self.progress.moves());
        block.clear();
        let Some(key) = self.keys.next() else { return Ok(false) };
        if self.cancels_at == Some(key) {
            self.progress.cancel();
        }
        // Lengths of key and value, and the key.
        block.extend_from_slice(&[1, 0, key]);
        Ok(true)
    }
}

#[test]
fn a_merge_before_the_last_one_is_seen_to_move_and_ends_when_it_is_told_to() {
    for cancels_at in [None, Some(b'c')] {
        let bench = Bench::new();
        let progress = Arc::new(Progress::new());
        let seen = [(); 3].map(|()| Arc::new(Mutex::new(Vec::new())));
        // More than the two that may be merged at once.
        let sources = seen.iter().map(|seen| {
            let (progress, seen) = (progress.clone(), seen.clone());
            Box::new(Watched { progress, seen, keys: b'a'..b'h', cancels_at }) as _
        });
        let context = ReduceContext {
            job: &Sort::default(),
            store: &store(&bench, "r"),
            fan_in: 2,
            sync: false,
            codec: None,
            skips: &LeftOut::new(),
            task: &task(&bench, TaskKind::Reduce, 0, &progress),
        };
        let reduced = run_reduce_task(&context, 0, sources.collect(), &bench.path("part"));
        let seen = seen.map(|seen| seen.lock().unwrap().clone());
        for seen in &seen {
            assert!(seen.is_sorted_by(|before, after| before < after), "{seen:?}");
        }
        if cancels_at.is_some() {
            assert!(matches!(reduced, Err(JobError::Cancelled)), "{reduced:?}");
            assert_eq!(seen.map(|seen| seen.len()), [3, 2, 0], "no more is read");
        } else {
            assert_eq!(reduced.unwrap().counters.reduce_pairs_in, 21);
            assert_eq!(seen.map(|seen| seen.len()), [8; 3]);
        }
        assert_eq!(fs::read_dir(bench.path("spill")).unwrap().count(), 0);
    }
}

/// Notes how far its progress is for each record and each value; the note of that number cancels it.
struct Noting<const BY_PAIRS: bool> {
    progress: Arc<Progress>,
    seen: Mutex<Vec<u64>>,
    cancels_at: Option<usize>,
}

impl<const BY_PAIRS: bool> Noting<BY_PAIRS> {
    fn note(&self) {
        let mut seen = self.seen.lock().unwrap();
        seen.push(self.progress.moves());
        if self.cancels_at == Some(seen.len()) {
            self.progress.cancel();
        }
    }
}

impl<const BY_PAIRS: bool> Job for Noting<BY_PAIRS> {
    const WRITES_PAIRS: bool = true;

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        self.note();
        out.emit(record.bytes, b"");
    }

    fn reduce(&self, _: &[u8], values: &mut Values<'_, Self>, _: &mut Sink) {
        while values.next().is_some() {
            self.note();
        }
    }

    fn reduce_partition(
        &self,
        _: &TaskContext<'_>,
        input: &mut ReduceInput<'_, Self>,
        out: &mut Sink,
    ) -> Result<(), JobError> {
        if !BY_PAIRS {
            return input.reduce_groups(out);
        }
        while input.next_pair()?.is_some() {
            self.note();
        }
        Ok(())
    }
}

/// Runs it over four records, of which two are equal.
fn noted<const BY_PAIRS: bool>(
    reduces: u32,
    cancels_at: Option<usize>,
) -> (Result<(), JobError>, Vec<u64>) {
    let bench = Bench::new();
    let path = bench.file("in", b"a\nb\na\nc\n");
    let mut spec = bench.spec("noting", &[&path]);
    (spec.slots, spec.reduces) = (Some(1), Some(reduces));
    let (progress, seen) = (Arc::new(Progress::new()), Mutex::default());
    let job = Noting::<BY_PAIRS> { progress: progress.clone(), seen, cancels_at };
    let ran = run_local(&spec, &job, &progress).map(drop);
    (ran, job.seen.into_inner().unwrap())
}

#[test]
fn each_record_and_each_value_is_a_move_and_a_slow_reduce_hears_at_once_that_it_was_cancelled() {
    let ran = [noted::<false>(1, None), noted::<true>(1, None), noted::<false>(0, None)];
    for ((ran, seen), notes) in ran.into_iter().zip([8, 8, 4]) {
        ran.unwrap();
        assert_eq!(seen.len(), notes);
        // Of the four records, and of the values.
        for seen in seen.chunks(4) {
            assert!(seen.is_sorted_by(|before, after| before < after), "{seen:?}");
        }
    }
    // At the first of the two values of a group, and at the last one.
    for cancels_at in [5, 6] {
        for (ran, seen) in [noted::<false>(1, Some(cancels_at)), noted::<true>(1, Some(cancels_at))]
        {
            assert!(matches!(ran, Err(JobError::Cancelled)), "{ran:?}");
            assert_eq!(seen.len(), cancels_at);
        }
    }
}
