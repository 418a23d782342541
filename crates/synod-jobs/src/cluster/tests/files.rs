//! Attempts and output folders on a real file system.

use super::attempts::*;
use crate::cluster::attempt::AttemptError;
use crate::cluster::names::{JobId, TaskId};
use crate::cluster::output::{self, Winner};
use crate::cluster::records::TaskOutput;
use crate::cluster::shuffle::{Fetch, FetchError, MapLocation};
use crate::commit::{Account, SUCCESS};
use crate::error::JobError;
use crate::progress::Progress;
use crate::run::writer::Section;
use crate::spec::JobSpec;
use crate::task::{Attempts, NoLog, TaskContext, TaskKind};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

#[test]
fn attempts_run_one_by_one_give_the_output_of_a_local_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text: String = (0..60_000u64).map(|n| format!("{} ", n * n % 7_919)).collect();
    fs::write(path("in"), text.replace("7 ", "7\n")).unwrap();
    // So little memory that fetched sections go to files.
    let spec = JobSpec {
        reduces: Some(2),
        split_bytes: Some(50_000),
        memory_bytes: 1 << 16,
        ..JobSpec::new("sort", [path("in")], path("local"))
    };
    crate::run_built_in(&spec, &Progress::new()).unwrap();
    let spec = JobSpec { output: path("out"), ..spec };
    let plan = plan_of(&spec);
    let id = job_id();
    output::create(&spec.output, &id).unwrap();
    // Another coordinator may have begun.
    output::create(&spec.output, &id).unwrap();
    fs::create_dir(path("work")).unwrap();
    let maps: Vec<TaskOutput> = (0..plan.splits.len() as u32)
        .map(|n| attempt(&spec, &plan, TaskId::map(n), &path("work"), &[]).unwrap())
        .collect();
    let mut winners = Vec::new();
    for partition in 0..plan.reduces {
        let locations: Vec<MapLocation> = (0u32..)
            .zip(&maps)
            .map(|(n, map)| {
                let there = elsewhere(n, map, partition);
                // Every other one is this worker's own.
                MapLocation { address: there.address.filter(|_| n.is_multiple_of(2)), ..there }
            })
            .collect();
        let task = TaskId::reduce(partition);
        let made = attempt(&spec, &plan, task, &path("work"), &locations).unwrap();
        let TaskOutput::Reduce(output) = made else { panic!("{made:?}") };
        winners.push(Winner { task, attempt: 0, part: Some(output), side_files: Vec::new() });

        // With one output gone, the reduce names it.
        let (kept, hidden) = (path("work/m000001-0.run"), path("hidden"));
        fs::rename(&kept, &hidden).unwrap();
        let mut lost = locations.clone();
        lost[1].section.pairs = lost[1].section.pairs.max(1);
        let scratch = JobSpec { output: path("scratch"), ..spec.clone() };
        fs::create_dir_all(path("scratch/_temporary/01")).unwrap();
        match attempt(&scratch, &plan, task, &path("work"), &lost) {
            Err(AttemptError::Unreadable(map, _)) => assert_eq!(map, TaskId::map(1)),
            other => panic!("{other:?}"),
        }
        fs::rename(&hidden, &kept).unwrap();
    }
    let left = fs::read_dir(path("work")).unwrap().count();
    assert_eq!(left, maps.len(), "only map outputs stay");
    let manifest =
        output::commit(&spec, &id, &winners, &Account::default(), &Progress::new()).unwrap();
    output::tidy(&spec.output, &id, &Progress::new()).unwrap();
    // Publishing may be repeated by another coordinator.
    assert_eq!(
        output::commit(&spec, &id, &winners, &Account::default(), &Progress::new()).unwrap(),
        manifest
    );
    for part in ["part-00000", "part-00001"] {
        let (here, there) = (path("local").join(part), path("out").join(part));
        assert!(fs::read(here).unwrap() == fs::read(there).unwrap(), "{part}");
    }
    assert!(path("out").join(SUCCESS).exists());
    assert_eq!(fs::read_dir(path("out")).unwrap().count(), 3);
}

#[test]
fn only_the_jobs_own_output_is_removed_and_an_attempt_cannot_bring_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let [mine, other]: [JobId; 2] = ["01", "02"].map(|id| id.parse().unwrap());
    output::check_absent(&out).unwrap();
    output::create(&out, &mine).unwrap();
    assert!(matches!(output::check_absent(&out), Err(JobError::OutputExists { .. })));
    assert!(matches!(output::create(&out, &other), Err(JobError::OutputExists { .. })));
    output::create_attempt(&out, &mine, TaskId::reduce(0), 0).unwrap();
    output::clean(&out, &other, &Progress::new()).unwrap();
    assert!(out.exists());
    // Two jobs that were looked at in the same moment may have one output within the other.
    let within = out.join("within");
    output::create(&within, &other).unwrap();
    fs::write(within.join("part-00000"), "theirs").unwrap();
    fs::write(out.join("part-00000"), "mine").unwrap();
    output::clean(&out, &mine, &Progress::new()).unwrap();
    assert!(!out.join("part-00000").exists() && !out.join("_temporary").exists());
    assert_eq!(fs::read_to_string(within.join("part-00000")).unwrap(), "theirs");
    output::clean(&within, &other, &Progress::new()).unwrap();
    output::clean(&out, &mine, &Progress::new()).unwrap();
    assert!(!out.exists());
    assert!(output::create_attempt(&out, &mine, TaskId::reduce(0), 0).is_err());
    // Nor one that writes files beside its part file.
    let side = output::side_folder(&output::attempt_path(&out, &mine, TaskId::map(0), 1));
    let (progress, folders) = (Progress::new(), (folder.path().join("scratch"), side.clone()));
    let task = TaskContext::new(
        "01",
        TaskKind::Map,
        0,
        (1, Attempts::both(4)),
        (1, 1),
        &progress,
        &NoLog,
        folders,
    );
    assert!(task.side_folder().is_err());
    assert!(!out.exists());
    output::create(&out, &mine).unwrap();
    for _ in 0..2 {
        assert_eq!(task.side_folder().unwrap(), side);
    }
    assert!(side.is_dir());
}

/// Fails at once: whoever asks it was to read a file.
struct FromNowhere;

impl Fetch for FromNowhere {
    fn fetch(
        &self,
        _: &JobId,
        _: u32,
        from: &MapLocation,
        _: &mut dyn Write,
    ) -> Result<(), FetchError> {
        Err(FetchError::Unreadable(format!("asked for {}", from.map)))
    }
}

#[test]
fn an_output_on_the_same_machine_is_read_where_it_is_if_it_is_the_one_of_the_record() {
    let floor = Floor::new("b\na\nc\n");
    let path = |name: &str| floor.path(name);
    let spec = floor.job("sort", 1);
    let plan = floor.begin(&spec);
    let map = floor.map(&spec, &plan, 0);
    let file = path("theirs/m000000-0.run");
    let there = MapLocation { file: Some(file.clone()), ..elsewhere(0, &map, 0) };
    let reduce = |there: &MapLocation| {
        let maps = std::slice::from_ref(there);
        attempt_from(&spec, &plan, TaskId::reduce(0), &floor.mine(), maps, &FromNowhere)
    };
    reduce(&there).unwrap();
    assert_eq!(floor.part(0), "a\nb\nc\n");
    let asked = |there: &MapLocation| match reduce(there) {
        Err(AttemptError::Unreadable(_, report)) => report.message == "asked for m000000",
        other => panic!("{other:?}"),
    };
    // Another file than the record's, or none: the worker is asked.
    assert!(asked(&MapLocation { index_crc32c: map.index_crc32c() ^ 1, ..there.clone() }));
    assert!(asked(&MapLocation { file: Some(path("nothing")), ..there.clone() }));
    assert!(asked(&MapLocation { file: Some(path("theirs")), ..there.clone() }));
    fs::write(path("short"), "x").unwrap();
    assert!(asked(&MapLocation { file: Some(path("short")), ..there.clone() }));
    // A bit that has turned over: it is the map output's fault, and nothing wrong comes out.
    let mut bytes = fs::read(&file).unwrap();
    bytes[14] ^= 1;
    fs::write(&file, bytes).unwrap();
    match reduce(&there) {
        Err(AttemptError::Unreadable(map, report)) => {
            assert_eq!(map, TaskId::map(0));
            assert!(report.message.contains("checksum"), "{}", report.message);
        }
        other => panic!("{other:?}"),
    }
}

/// Has a file with what lies in an output from some offset on, and gives nothing else.
struct Ahead<'a> {
    file: &'a Path,
    begin: u64,
    forgotten: Mutex<Vec<TaskId>>,
}

impl Fetch for Ahead<'_> {
    fn fetch(
        &self,
        job: &JobId,
        partition: u32,
        from: &MapLocation,
        into: &mut dyn Write,
    ) -> Result<(), FetchError> {
        FromNowhere.fetch(job, partition, from, into)
    }

    fn ahead(
        &self,
        _: &JobId,
        partition: u32,
        from: &MapLocation,
        _: &Progress,
    ) -> Option<(PathBuf, Section)> {
        let offset = from.section.offset.checked_sub(self.begin)?;
        (partition == 1).then(|| (self.file.to_owned(), Section { offset, ..from.section }))
    }

    fn forget(&self, _: &JobId, from: &MapLocation) {
        self.forgotten.lock().unwrap().push(from.map);
    }
}

#[test]
fn what_was_fetched_ahead_is_read_and_not_fetched_and_damage_to_it_is_found() {
    let words: Vec<String> = ('a'..='z').map(String::from).collect();
    let floor = Floor::new(&words.join("\n"));
    let spec = floor.job("wordcount", 3);
    let plan = floor.begin(&spec);
    let map = floor.map(&spec, &plan, 0);
    let bytes = fs::read(floor.path("theirs/m000000-0.run")).unwrap();
    let reduce = |partition: u32, fetch: &dyn Fetch| {
        let maps = [elsewhere(0, &map, partition)];
        attempt_from(&spec, &plan, TaskId::reduce(partition), &floor.mine(), &maps, fetch)
    };
    let section = map.section(1).unwrap();
    assert!(section.offset > 0 && section.pairs > 0, "a section that others stand around");
    // The file begins with the section before it.
    let begin = section.offset - map.section(0).unwrap().bytes;
    let file = floor.path("ahead");
    fs::write(&file, &bytes[begin as usize..]).unwrap();
    let ahead = Ahead { file: &file, begin, forgotten: Mutex::default() };
    reduce(1, &ahead).unwrap();
    assert_eq!(floor.part(1).lines().count() as u64, section.pairs);
    let asked = match reduce(2, &ahead) {
        Err(AttemptError::Unreadable(_, report)) => report.message,
        other => panic!("{other:?}"),
    };
    assert_eq!(asked, "asked for m000000");
    let mut damaged = bytes[begin as usize..].to_vec();
    damaged[(section.offset - begin) as usize + 14] ^= 1;
    fs::write(&file, damaged).unwrap();
    // That is not the map output's fault: it may be good.
    match reduce(1, &ahead) {
        Err(AttemptError::AheadUnreadable(map)) => assert_eq!(map, TaskId::map(0)),
        other => panic!("{other:?}"),
    }
    assert_eq!(ahead.forgotten.lock().unwrap().as_slice(), [TaskId::map(0)]);
}

/// Gets a section of an output in pieces, and notes before each how far the attempt is; the piece of that
/// number cancels it.
struct InPieces<'a> {
    folder: &'a Path,
    watch: &'a Watch,
    cancels_at: Option<usize>,
    seen: Mutex<Vec<u64>>,
}

impl Fetch for InPieces<'_> {
    fn fetch(
        &self,
        _: &JobId,
        _: u32,
        from: &MapLocation,
        into: &mut dyn Write,
    ) -> Result<(), FetchError> {
        for piece in section_in(self.folder, from).unwrap().chunks(64 << 10) {
            let mut seen = self.seen.lock().unwrap();
            seen.push(self.watch.work.moves());
            if self.cancels_at == Some(seen.len()) {
                self.watch.progress.cancel();
            }
            into.write_all(piece).map_err(FetchError::Local)?;
        }
        Ok(())
    }
}

#[test]
fn a_long_fetch_is_seen_to_move_and_breaks_off_when_the_attempt_is_cancelled() {
    let mut random = fastrand::Rng::with_seed(41);
    let lines: String = (0..40_000).map(|_| format!("{:016x}\n", random.u64(..))).collect();
    let floor = Floor::new(&lines);
    let spec = floor.job("sort", 1);
    let plan = floor.begin(&spec);
    let there = elsewhere(0, &floor.map(&spec, &plan, 0), 0);
    let pieces = there.section.bytes.div_ceil(64 << 10) as usize;
    assert!(pieces > 4, "{pieces}");
    // Into memory, and into a file.
    for memory_bytes in [1 << 30, 1 << 16] {
        let spec = JobSpec { memory_bytes, ..spec.clone() };
        for cancels_at in [None, Some(3)] {
            let watch = Watch::default();
            let (folder, seen) = (&floor.theirs(), Mutex::default());
            let fetch = InPieces { folder, watch: &watch, cancels_at, seen };
            let (task, maps) = (TaskId::reduce(0), std::slice::from_ref(&there));
            let made = watched_attempt(&spec, &plan, task, &floor.mine(), maps, &fetch, &watch);
            let seen = fetch.seen.into_inner().unwrap();
            assert!(seen.is_sorted_by(|before, after| before < after), "{seen:?}");
            match cancels_at {
                None => {
                    made.unwrap();
                    assert_eq!(seen.len(), pieces);
                    assert_eq!(watch.work.done(), watch.work.total());
                }
                Some(piece) => {
                    assert!(
                        matches!(made, Err(AttemptError::Failed(JobError::Cancelled))),
                        "{made:?}"
                    );
                    assert_eq!(seen.len(), piece, "no more is fetched");
                }
            }
        }
    }
}

/// Gives a section that one block of these bytes makes, with the right checksum.
struct Block<'a>(&'a [u8]);

impl Block<'_> {
    fn section(&self) -> Vec<u8> {
        let length = (self.0.len() as u32).to_le_bytes();
        // As long as packed: it is not packed.
        let lengths = [length, length].concat();
        let crc = crc32c::crc32c_append(crc32c::crc32c(&lengths), self.0);
        [&lengths, &crc.to_le_bytes()[..], self.0].concat()
    }
}

impl Fetch for Block<'_> {
    fn fetch(
        &self,
        _: &JobId,
        _: u32,
        _: &MapLocation,
        into: &mut dyn Write,
    ) -> Result<(), FetchError> {
        into.write_all(&self.section()).map_err(FetchError::Local)
    }
}

#[test]
fn a_block_with_a_good_checksum_and_no_whole_pairs_is_the_fault_of_its_map_output() {
    let floor = Floor::new("a\n");
    let spec = floor.job("sort", 1);
    let plan = floor.begin(&spec);
    let map = floor.map(&spec, &plan, 0);
    // A key of one byte and no value; then one that is longer than what is left, first or behind another.
    let good = Block(&[1, 0, b'a']);
    for bad in [Block(&[5, 0, b'a']), Block(&[1, 0, b'a', 5, 0, b'b'])] {
        for fetch in [&good, &bad] {
            let bytes = fetch.section().len() as u64;
            let section = Section { offset: 0, bytes, pairs: 1 };
            let maps = [MapLocation { section, ..elsewhere(0, &map, 0) }];
            match attempt_from(&spec, &plan, TaskId::reduce(0), &floor.mine(), &maps, fetch) {
                Ok(_) => assert_eq!(fetch.0, good.0),
                Err(AttemptError::Unreadable(map, report)) => {
                    assert_eq!((map, fetch.0), (TaskId::map(0), bad.0));
                    assert!(report.message.contains("whole pairs"), "{}", report.message);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
