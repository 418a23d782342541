//! Full disks and failing disks.

use super::*;

#[test]
fn a_full_disk_refuses_an_append_and_takes_the_same_one_when_there_is_room() {
    let disk = VirtualDisk::new(1);
    let (mut wal, _) = open(&disk, ROOMY).unwrap();
    append_synced(&mut wal, &[entries(G, 1, 1..=3)]);
    disk.set_capacity(Some(disk.used_bytes() + 100));
    for _ in 0..3 {
        assert!(matches!(wal.append(&[big(G, 4, 2000)]), Err(WalError::NoSpace)));
        wal.sync().unwrap();
    }
    assert!(!wal.is_poisoned());
    disk.set_capacity(None);
    append_synced(&mut wal, &[big(G, 4, 2000)]);
    append_synced(&mut wal, &[entries(G, 1, 5..=5)]);
    let (_, recovered) = reopen(&disk, ROOMY);
    assert_eq!((indexes(&recovered, G), recovered.torn_tail), (vec![1, 2, 3, 4, 5], None));
}

#[test]
fn a_refused_append_is_not_there_after_a_restart() {
    for seed in 0..50 {
        let disk = VirtualDisk::new(seed);
        let (mut wal, _) = open(&disk, ROOMY).unwrap();
        fill_spare(&mut wal);
        append_synced(&mut wal, &[entries(G, 1, 1..=3)]);
        disk.arm(DiskFault::NoSpace);
        assert!(matches!(wal.append(&[big(G, 4, 2000)]), Err(WalError::NoSpace)));
        let (_, recovered) = reopen(&disk, ROOMY);
        assert_eq!(indexes(&recovered, G), [1, 2, 3]);
    }
}

#[test]
fn a_smaller_append_may_follow_a_refused_one() {
    let disk = VirtualDisk::new(1);
    let (mut wal, _) = open(&disk, ROOMY).unwrap();
    disk.set_capacity(Some(disk.used_bytes() + 1000));
    assert!(matches!(wal.append(&[big(G, 1, 2000)]), Err(WalError::NoSpace)));
    append_synced(&mut wal, &[entries(G, 1, 1..=1)]);
    assert_eq!(indexes(&reopen(&disk, ROOMY).1, G), [1]);
}

#[test]
fn a_full_disk_at_a_new_segment_leaves_the_log_usable() {
    let disk = VirtualDisk::new(1);
    let (mut wal, _) = open(&disk, SMALL).unwrap();
    for index in 1..=7 {
        append_synced(&mut wal, &[big(G, index, 1000)]);
    }
    disk.set_capacity(Some(disk.used_bytes() + 300));
    for _ in 0..3 {
        assert!(matches!(wal.append(&[big(G, 8, 1500)]), Err(WalError::NoSpace)));
        assert!(matches!(wal.append(&[big(G, 8, 20_000)]), Err(WalError::NoSpace)));
    }
    assert_eq!(segments(&disk).len(), 1);
    disk.set_capacity(None);
    append_synced(&mut wal, &[big(G, 8, 1500)]);
    append_synced(&mut wal, &[big(G, 9, 20_000)]);
    assert_eq!(indexes(&reopen(&disk, SMALL).1, G), (1..=9).collect::<Vec<_>>());
}

#[test]
fn an_oversized_append_that_never_fits_does_not_pile_up_segments() {
    let disk = VirtualDisk::new(1);
    let (mut wal, _) = open(&disk, SMALL).unwrap();
    append_synced(&mut wal, &[entries(G, 1, 1..=1)]);
    disk.set_capacity(Some(16_000));
    for _ in 0..10 {
        assert!(matches!(wal.append(&[big(G, 2, 20_000)]), Err(WalError::NoSpace)));
    }
    assert!(segments(&disk).len() <= 2);
    append_synced(&mut wal, &[entries(G, 1, 2..=2)]);
    assert_eq!(indexes(&reopen(&disk, SMALL).1, G), [1, 2]);
}

#[test]
fn filling_files_beforehand_stops_at_a_full_disk_and_goes_on_later() {
    let disk = VirtualDisk::new(1);
    let (mut wal, _) = open(&disk, SMALL).unwrap();
    disk.set_capacity(Some(10_000));
    let refused = (0..10).find_map(|_| wal.prepare_spare(4096).err());
    assert!(matches!(refused, Some(WalError::NoSpace)));
    append_synced(&mut wal, &[entries(G, 1, 1..=3)]);
    disk.set_capacity(None);
    fill_spare(&mut wal);
    append_synced(&mut wal, &[entries(G, 1, 4..=4)]);
    assert_eq!(indexes(&reopen(&disk, SMALL).1, G), [1, 2, 3, 4]);
}

#[test]
fn a_full_disk_lets_segments_go() {
    let disk = VirtualDisk::new(1);
    let (mut wal, _) = open(&disk, SMALL).unwrap();
    for index in 1..=30 {
        append_synced(&mut wal, &[big(G, index, 1000)]);
    }
    disk.set_capacity(Some(disk.used_bytes() + 200));
    append_synced(&mut wal, &[start(G, 29, 1)]);
    assert!(wal.segment_count() <= 2);
    append_synced(&mut wal, &[big(G, 31, 1000)]);
}

#[test]
fn a_failed_sync_stops_the_log_for_good() {
    let disk = VirtualDisk::new(1);
    let (mut wal, _) = open(&disk, ROOMY).unwrap();
    append_synced(&mut wal, &[entries(G, 1, 1..=3)]);
    wal.append(&[entries(G, 1, 4..=4)]).unwrap();
    disk.arm(DiskFault::SyncError);
    assert!(matches!(wal.sync(), Err(WalError::Io { .. })));
    assert!(wal.is_poisoned());
    assert!(matches!(wal.sync(), Err(WalError::Poisoned)));
    assert!(matches!(wal.append(&[entries(G, 1, 5..=5)]), Err(WalError::Poisoned)));
    assert!(matches!(wal.prepare_spare(100), Err(WalError::Poisoned)));
    assert_eq!(indexes(&reopen(&disk, ROOMY).1, G), [1, 2, 3]);
}

#[test]
fn a_failed_or_torn_write_stops_the_log_and_a_restart_cuts_what_it_left() {
    for seed in 0..50 {
        for fault in [DiskFault::WriteError, DiskFault::TornWrite] {
            let disk = VirtualDisk::new(seed);
            let (mut wal, _) = open(&disk, ROOMY).unwrap();
            append_synced(&mut wal, &[entries(G, 1, 1..=3)]);
            disk.arm(fault);
            assert!(matches!(wal.append(&[big(G, 4, 3000)]), Err(WalError::Io { .. })));
            assert!(matches!(wal.sync(), Err(WalError::Poisoned)));
            let (mut wal, recovered) = reopen(&disk, ROOMY);
            assert_eq!(indexes(&recovered, G), [1, 2, 3]);
            append_synced(&mut wal, &[entries(G, 1, 4..=4)]);
            assert_eq!(indexes(&reopen(&disk, ROOMY).1, G), [1, 2, 3, 4]);
        }
    }
}

#[test]
fn an_unreadable_file_is_an_error_not_an_empty_log() {
    let disk = VirtualDisk::new(1);
    let (mut wal, _) = open(&disk, ROOMY).unwrap();
    append_synced(&mut wal, &[entries(G, 1, 1..=3)]);
    disk.arm(DiskFault::ReadError);
    assert!(matches!(open(&disk, ROOMY), Err(WalError::Io { .. })));
    assert_eq!(indexes(&open(&disk, ROOMY).unwrap().1, G), [1, 2, 3]);
}
