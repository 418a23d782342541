//! What a virtual disk keeps, loses and refuses.

use super::*;

fn disk_with_file(seed: u64) -> (VirtualDisk, Box<dyn DiskFile>) {
    let disk = VirtualDisk::new(seed);
    disk.create_dir_all("d").unwrap();
    let file = disk.open("d/f", OpenMode::CreateNew).unwrap();
    disk.sync_dir("d").unwrap();
    (disk, file)
}

#[test]
fn synced_bytes_survive_a_power_loss_and_others_do_not() {
    let (disk, mut file) = disk_with_file(1);
    file.write_at(0, &[1; 2000]).unwrap();
    file.sync_data().unwrap();
    file.write_at(1000, &[2; 2000]).unwrap();
    file.set_len(100).unwrap();
    file.set_len(5000).unwrap();
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(disk.read("d/f").unwrap(), vec![1; 2000]);
}

#[test]
fn a_process_crash_keeps_everything() {
    let (disk, mut file) = disk_with_file(1);
    file.write_at(3, b"abc").unwrap();
    disk.rename("d/f", "d/g").unwrap();
    disk.crash(Crash::KeepEverything);
    assert_eq!(disk.read("d/g").unwrap(), b"\0\0\0abc");
    assert_eq!(disk.list("d").unwrap(), ["g"]);
}

#[test]
fn names_are_lost_without_a_directory_sync() {
    let (disk, mut file) = disk_with_file(1);
    file.write_at(0, b"x").unwrap();
    file.sync_data().unwrap();
    disk.rename("d/f", "d/g").unwrap();
    let mut new = disk.open("d/new", OpenMode::CreateNew).unwrap();
    new.sync_data().unwrap();
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(disk.list("d").unwrap(), ["f"]);
    assert_eq!(disk.read("d/f").unwrap(), b"x");
}

#[test]
fn a_removed_file_comes_back_unless_the_directory_was_synced() {
    let (disk, mut file) = disk_with_file(1);
    file.write_at(0, b"x").unwrap();
    file.sync_data().unwrap();
    disk.remove("d/f").unwrap();
    drop(file);
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(disk.read("d/f").unwrap(), b"x");
    disk.remove("d/f").unwrap();
    disk.sync_dir("d").unwrap();
    disk.crash(Crash::LoseUnsynced);
    assert!(disk.list("d").unwrap().is_empty());
    assert_eq!(disk.used_bytes(), 0);
}

#[test]
fn a_random_subset_keeps_whole_sectors_and_never_touches_synced_ones() {
    let (mut mixed, mut middle_versions) = (0, 0);
    for seed in 0..200 {
        let (disk, mut file) = disk_with_file(seed);
        file.write_at(0, &[1; 4096]).unwrap();
        file.sync_data().unwrap();
        file.write_at(512, &[2; 1024]).unwrap();
        file.write_at(1024, &[3; 512]).unwrap();
        disk.crash(Crash::KeepRandomSubset);
        let bytes = disk.read("d/f").unwrap();
        assert_eq!(bytes.len(), 4096);
        let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
        assert!(bytes.chunks(512).all(|sector| sector.iter().all(|b| *b == sector[0])));
        assert_eq!((sectors[0], &sectors[3..]), (1, &[1; 5][..]));
        mixed += u32::from(sectors[1] == 1 && sectors[2] != 1);
        middle_versions += u32::from(sectors[2] == 2);
    }
    assert!(mixed > 20 && middle_versions > 20, "{mixed} {middle_versions}");
}

#[test]
fn an_unsynced_growth_may_survive_in_part() {
    let mut lengths = BTreeMap::new();
    for seed in 0..100 {
        let (disk, mut file) = disk_with_file(seed);
        file.write_at(0, &[7; 100]).unwrap();
        file.sync_data().unwrap();
        file.write_at(100, &[8; 3000]).unwrap();
        disk.crash(Crash::KeepRandomSubset);
        let bytes = disk.read("d/f").unwrap();
        assert_eq!(bytes[..100], [7; 100]);
        *lengths.entry(bytes.len()).or_insert(0) += 1;
    }
    assert!(lengths.contains_key(&100) && lengths.contains_key(&3100) && lengths.len() > 3);
}

#[test]
fn the_same_seed_and_calls_give_the_same_bytes() {
    let run = |seed| {
        let (disk, mut file) = disk_with_file(seed);
        for i in 0..20 {
            file.write_at(i * 300, &[i as u8; 700]).unwrap();
        }
        disk.crash(Crash::KeepRandomSubset);
        disk.read("d/f").unwrap()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn handles_from_before_a_crash_are_dead() {
    let (disk, mut file) = disk_with_file(1);
    disk.crash(Crash::KeepEverything);
    assert!(file.write_at(0, b"x").is_err());
    assert!(file.sync_data().is_err());
    assert!(disk.open("d/f", OpenMode::Existing).is_ok());
}

#[test]
fn a_full_disk_refuses_growth_with_enospc_and_still_takes_overwrites() {
    let (disk, mut file) = disk_with_file(1);
    file.write_at(0, &[1; 1000]).unwrap();
    disk.set_capacity(Some(1100));
    let error = file.write_at(900, &[2; 300]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.used_bytes(), 1100);
    file.write_at(0, &[3; 1000]).unwrap();
    assert!(file.set_len(1101).is_err());
    disk.set_capacity(None);
    file.write_at(900, &[2; 300]).unwrap();
    assert_eq!(disk.fault_counts().no_space, 2);
}

#[test]
fn a_failed_sync_drops_the_dirty_pages_and_the_next_one_succeeds_without_them() {
    let (disk, mut file) = disk_with_file(1);
    file.write_at(0, b"old").unwrap();
    file.sync_data().unwrap();
    file.write_at(0, b"new").unwrap();
    disk.arm(DiskFault::SyncError);
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(Errno::IO.raw_os_error()));
    file.sync_data().unwrap();
    assert_eq!(disk.read("d/f").unwrap(), b"old");
    assert_eq!(disk.fault_counts().sync_errors, 1);
}

#[test]
fn every_armed_fault_strikes_once() {
    let (disk, mut file) = disk_with_file(1);
    file.write_at(0, &[1; 4096]).unwrap();
    for fault in [DiskFault::NoSpace, DiskFault::WriteError, DiskFault::TornWrite] {
        disk.arm(fault);
        assert!(file.write_at(0, &[1; 4096]).is_err(), "{fault:?}");
        assert!(file.write_at(0, &[1; 4096]).is_ok(), "{fault:?}");
    }
    disk.arm(DiskFault::LostWrite);
    file.write_at(0, &[2; 4096]).unwrap();
    assert_eq!(disk.read("d/f").unwrap(), vec![1; 4096]);
    disk.arm(DiskFault::ReadError);
    assert!(file.read_at(0, &mut [0; 8]).is_err());
    assert_eq!(file.read_at(4090, &mut [0; 8]).unwrap(), 6);
    disk.arm(DiskFault::MisdirectedWrite);
    file.write_at(0, &[9; 100]).unwrap();
    assert_eq!(disk.read("d/f").unwrap().iter().filter(|b| **b == 9).count(), 100);
}

#[test]
fn a_read_only_disk_refuses_every_change() {
    let (disk, mut file) = disk_with_file(1);
    disk.set_read_only(true);
    assert!(file.write_at(0, b"x").is_err());
    assert!(disk.open("d/g", OpenMode::CreateNew).is_err());
    assert!(disk.rename("d/f", "d/g").is_err());
    assert!(disk.remove("d/f").is_err());
    assert!(disk.list("d").is_ok());
}
