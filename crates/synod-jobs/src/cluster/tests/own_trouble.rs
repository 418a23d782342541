//! Disks that do not give back to a reduce what it has fetched: it is the reduce that has failed.

use super::attempts::{Floor, attempt_from, elsewhere, section_in};
use crate::cluster::JobId;
use crate::cluster::attempt::AttemptError;
use crate::cluster::names::TaskId;
use crate::cluster::shuffle::{Fetch, FetchError, MapLocation};
use crate::error::JobError;
use crate::spec::JobSpec;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::Path;

/// Gets sections from a folder; before the last one something happens to the reduce's copy of the first.
struct Harming<'a> {
    theirs: &'a Path,
    mine: &'a Path,
    last: TaskId,
    harm: fn(&Path),
}

impl Fetch for Harming<'_> {
    fn fetch(
        &self,
        _: &JobId,
        _: u32,
        from: &MapLocation,
        into: &mut dyn Write,
    ) -> Result<(), FetchError> {
        if from.map == self.last {
            (self.harm)(&self.mine.join("tmp-r000000-0-from-m000000.run"));
        }
        into.write_all(&section_in(self.theirs, from).unwrap()).map_err(FetchError::Local)
    }
}

/// Gets nothing: there are no more file descriptors.
struct WithoutDescriptors;

impl Fetch for WithoutDescriptors {
    fn fetch(
        &self,
        _: &JobId,
        _: u32,
        _: &MapLocation,
        _: &mut dyn Write,
    ) -> Result<(), FetchError> {
        Err(FetchError::Local(io::Error::from(rustix::io::Errno::MFILE)))
    }
}

#[test]
fn a_copy_that_the_readers_own_disk_does_not_give_back_is_a_failure_of_the_reader() {
    let mut random = fastrand::Rng::with_seed(7);
    let lines: String = (0..30_000).map(|_| format!("{:016x}\n", random.u64(..))).collect();
    let floor = Floor::new(&lines);
    // Two sections that do not fit into memory.
    let spec = floor.job("sort", 1);
    let spec = JobSpec { split_bytes: Some(300_000), memory_bytes: 1 << 16, ..spec };
    let plan = floor.begin(&spec);
    let (theirs, mine) = (floor.theirs(), floor.mine());
    let made =
        (0..plan.splits.len() as u32).map(|number| (number, floor.map(&spec, &plan, number)));
    let maps: Vec<MapLocation> = made.map(|(number, map)| elsewhere(number, &map, 0)).collect();
    assert!(maps.len() > 1 && maps[0].section.bytes > 1 << 16);
    let last = maps[maps.len() - 1].map;
    let reduce = |fetch: &dyn Fetch| {
        attempt_from(&spec, &plan, TaskId::reduce(0), &mine, &maps, fetch).map(drop)
    };
    let harmed = |harm| reduce(&Harming { theirs: &theirs, mine: &mine, last, harm });
    harmed(|_| ()).unwrap();
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 3] = [
        ("gone", |copy| fs::remove_file(copy).unwrap()),
        ("cut", |copy| fs::OpenOptions::new().write(true).open(copy).unwrap().set_len(99).unwrap()),
        ("an error of the disk", |copy| {
            // No byte of it can be read: nothing is at the beginning of a process's memory.
            fs::remove_file(copy).unwrap();
            symlink("/proc/self/mem", copy).unwrap();
        }),
    ];
    for (what, harm) in harms {
        match harmed(harm) {
            Err(AttemptError::Failed(JobError::Io { path, .. })) => {
                assert!(path.ends_with("tmp-r000000-0-from-m000000.run"), "{what}: {path:?}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
    // What is damaged may have been so before it came.
    let damaged = harmed(|copy| {
        let mut bytes = fs::read(copy).unwrap();
        bytes[14] ^= 1;
        fs::write(copy, bytes).unwrap();
    });
    assert!(matches!(&damaged, Err(AttemptError::Unreadable(map, _)) if *map == TaskId::map(0)));
    match reduce(&WithoutDescriptors) {
        Err(AttemptError::Failed(error)) => {
            assert!(error.is_lack() && error.to_string().contains("fetch into"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read_dir(&mine).unwrap().count(), 0, "nothing stays");
}
