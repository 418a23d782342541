//! Torn tails are cut, damaged middles are refused, and neither is taken for the other.

use super::*;

/// Ten synced frames with one entry each, behind the checkpoint.
fn ten_frames(disk: &VirtualDisk) -> Wal {
    let (mut wal, _) = open(disk, ROOMY).unwrap();
    for index in 1..=10 {
        append_synced(&mut wal, &[entries(G, 1, index..=index)]);
    }
    wal
}

#[test]
fn a_flipped_bit_in_any_frame_but_the_last_is_damage() {
    for n in 0..10 {
        for at in [0, 4, 9, 17, 25, 29, 33] {
            let disk = VirtualDisk::new(1);
            drop(ten_frames(&disk));
            let path = newest_segment(&disk);
            disk.flip_bit(&path, frame_offset(&disk, &path, n) + at).unwrap();
            let before = disk.read(&path).unwrap();
            let error = open(&disk, ROOMY).unwrap_err();
            let WalError::Damaged { segment: 1, frame, .. } = error else { panic!("{error}") };
            assert_eq!(frame, n as u64 + 1);
            assert_eq!(disk.read(&path).unwrap(), before, "nothing was changed");
        }
    }
}

#[test]
fn a_zeroed_sector_in_the_middle_is_damage() {
    let disk = VirtualDisk::new(1);
    let (mut wal, _) = open(&disk, ROOMY).unwrap();
    for index in 1..=4 {
        append_synced(&mut wal, &[big(G, index, 3000)]);
    }
    disk.zero_range(&newest_segment(&disk), 1024, 512).unwrap();
    assert!(matches!(open(&disk, ROOMY), Err(WalError::Damaged { frame: 2, .. })));
}

#[test]
fn an_unfinished_newest_frame_is_cut_and_the_log_goes_on() {
    for at in [0, 9, 29, 40] {
        let disk = VirtualDisk::new(1);
        drop(ten_frames(&disk));
        let path = newest_segment(&disk);
        let newest = frame_offset(&disk, &path, 10);
        disk.flip_bit(&path, newest + at).unwrap();
        let (mut wal, recovered) = open(&disk, ROOMY).unwrap();
        assert_eq!(indexes(&recovered, G), (1..=9).collect::<Vec<_>>());
        if at > 9 {
            let torn = TornTail { segment: 1, offset: newest, frame: 11 };
            assert_eq!(recovered.torn_tail, Some(torn));
        }
        append_synced(&mut wal, &[entries(G, 2, 10..=11)]);
        let (_, recovered) = reopen(&disk, ROOMY);
        assert_eq!((indexes(&recovered, G).len(), recovered.torn_tail), (11, None));
    }
}

#[test]
fn a_gap_in_frames_that_were_never_synced_is_cut_with_all_behind_it() {
    let disk = VirtualDisk::new(1);
    let mut wal = ten_frames(&disk);
    for index in 11..=14 {
        wal.append(&[entries(G, 1, index..=index)]).unwrap();
    }
    let path = newest_segment(&disk);
    disk.flip_bit(&path, frame_offset(&disk, &path, 12) + 33).unwrap();
    let (mut wal, recovered) = reopen(&disk, ROOMY);
    assert_eq!(indexes(&recovered, G), (1..=11).collect::<Vec<_>>());
    assert_eq!(recovered.torn_tail.map(|torn| torn.frame), Some(13));
    // The same bytes once more: the old frames 14 and 15 must not follow them.
    append_synced(&mut wal, &[entries(G, 1, 12..=12)]);
    let (_, recovered) = reopen(&disk, ROOMY);
    assert_eq!(indexes(&recovered, G), (1..=12).collect::<Vec<_>>());
}

#[test]
fn a_witness_makes_rot_of_the_newest_frame_damage() {
    let disk = VirtualDisk::new(1);
    let mut wal = ten_frames(&disk);
    fill_spare(&mut wal);
    wal.witness().unwrap();
    wal.witness().unwrap();
    let path = newest_segment(&disk);
    disk.flip_bit(&path, frame_offset(&disk, &path, 10) + 33).unwrap();
    assert!(matches!(open(&disk, ROOMY), Err(WalError::Damaged { frame: 11, .. })));
}

#[test]
fn a_damaged_header_is_damage() {
    let disk = VirtualDisk::new(1);
    drop(ten_frames(&disk));
    disk.flip_bit(&newest_segment(&disk), 20).unwrap();
    assert!(matches!(open(&disk, ROOMY), Err(WalError::Damaged { segment: 1, offset: 0, .. })));
}

#[test]
fn damage_in_an_older_segment_is_found_also_at_its_end() {
    let disk = VirtualDisk::new(1);
    let (mut wal, _) = open(&disk, SMALL).unwrap();
    for index in 1..=30 {
        append_synced(&mut wal, &[big(G, index, 1000)]);
    }
    let path = segments(&disk)[1].clone();
    let frames = {
        let bytes = disk.read(&path).unwrap();
        (0..).take_while(|n| frame_offset(&disk, &path, *n) < bytes.len() as u64).count()
    };
    for n in 0..frames {
        let at = frame_offset(&disk, &path, n) + 40;
        disk.flip_bit(&path, at).unwrap();
        assert!(matches!(open(&disk, SMALL), Err(WalError::Damaged { segment: 2, .. })), "{n}");
        disk.flip_bit(&path, at).unwrap();
    }
    assert!(open(&disk, SMALL).is_ok());
}

#[test]
fn a_file_that_lost_its_end_is_damage_where_that_can_be_known() {
    let disk = VirtualDisk::new(1);
    let (mut wal, _) = open(&disk, SMALL).unwrap();
    for index in 1..=30 {
        fill_spare(&mut wal);
        append_synced(&mut wal, &[big(G, index, 1000)]);
    }
    for path in segments(&disk).split_off(1) {
        let bytes = disk.read(&path).unwrap();
        for len in [0, 100, 600, 5000] {
            disk.truncate_at_rest(&path, len).unwrap();
            assert!(matches!(open(&disk, SMALL), Err(WalError::Damaged { .. })), "{path} {len}");
        }
        disk.replace_at_rest(&path, &bytes).unwrap();
    }
    assert!(open(&disk, SMALL).is_ok());
}

#[test]
fn a_growing_file_that_ends_in_its_newest_frame_is_cut() {
    let disk = VirtualDisk::new(1);
    drop(ten_frames(&disk));
    let path = newest_segment(&disk);
    let newest = frame_offset(&disk, &path, 10);
    disk.truncate_at_rest(&path, newest + 20).unwrap();
    let (_, recovered) = open(&disk, ROOMY).unwrap();
    assert_eq!(indexes(&recovered, G).len(), 9);
}

#[test]
fn a_missing_segment_is_damage_unless_nobody_needs_it() {
    let disk = VirtualDisk::new(1);
    let (mut wal, _) = open(&disk, SMALL).unwrap();
    for index in 1..=30 {
        append_synced(&mut wal, &[big(G, index, 1000)]);
    }
    let files = segments(&disk);
    for missing in [0, 1, 2] {
        let bytes = disk.read(&files[missing]).unwrap();
        disk.remove(&files[missing]).unwrap();
        assert!(matches!(open(&disk, SMALL), Err(WalError::Damaged { .. })), "{missing}");
        assert_eq!(segments(&disk).len(), files.len() - 1, "nothing else was removed");
        disk.open(&files[missing], synod_base::disk::OpenMode::CreateNew).unwrap();
        disk.replace_at_rest(&files[missing], &bytes).unwrap();
    }
    let (mut wal, _) = reopen(&disk, SMALL);
    append_synced(&mut wal, &[start(G, 30, 1)]);
    // A crash in the middle of giving up segments: an older one came back before a gap.
    let path = "wal/0000000000000001.wal";
    disk.open(path, synod_base::disk::OpenMode::CreateNew).unwrap();
    let (_, recovered) = reopen(&disk, SMALL);
    assert_eq!(recovered.groups[&G].start.index, LogIndex(30));
    assert!(!segments(&disk).contains(&path.to_owned()));
}

#[test]
fn lost_and_misdirected_writes_are_never_taken_for_good() {
    for (seed, fault) in
        (0..40).flat_map(|s| [(s, DiskFault::LostWrite), (s, DiskFault::MisdirectedWrite)])
    {
        let disk = VirtualDisk::new(seed);
        let (mut wal, _) = open(&disk, ROOMY).unwrap();
        for index in 1..=10 {
            if index == 6 {
                disk.arm(fault);
            }
            append_synced(&mut wal, &[big(G, index, 700)]);
        }
        match open(&disk, ROOMY) {
            Err(WalError::Damaged { .. }) => {}
            Ok((_, recovered)) => {
                assert_eq!(indexes(&recovered, G).len(), 10, "seed {seed}: it landed in place");
            }
            Err(error) => panic!("{error}"),
        }
    }
}
