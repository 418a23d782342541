//! Undisturbed lives: what was appended comes back, and files go when nobody needs them.

use super::*;

#[test]
fn an_empty_folder_opens_empty_and_small() {
    let disk = VirtualDisk::new(1);
    let (wal, recovered) = open(&disk, WalLimits::default()).unwrap();
    assert_eq!(recovered, Recovered::default());
    assert!(disk.used_bytes() < 1024 && wal.disk_bytes() == disk.used_bytes());
    let (_, recovered) = reopen(&disk, WalLimits::default());
    assert_eq!(recovered, Recovered::default());
}

#[test]
fn everything_appended_comes_back_group_by_group() {
    let disk = VirtualDisk::new(1);
    let (mut wal, _) = open(&disk, ROOMY).unwrap();
    let other = GroupId(2);
    append_synced(&mut wal, &[LogRecord::NodeStart { start_number: 3 }, hard_state(G, 1, 2)]);
    append_synced(&mut wal, &[entries(G, 1, 1..=3), entries(other, 4, 1..=1)]);
    append_synced(&mut wal, &[hard_state(other, 4, 0), entries(G, 2, 4..=5)]);
    wal.append(&[]).unwrap();
    let (_, recovered) = reopen(&disk, ROOMY);
    assert_eq!((recovered.start_number, recovered.torn_tail), (3, None));
    assert_eq!(recovered.groups[&G].hard_state.voted_for, NodeId(2));
    assert_eq!(recovered.groups[&other].hard_state.term, Term(4));
    assert_eq!(
        (indexes(&recovered, G), indexes(&recovered, other)),
        (vec![1, 2, 3, 4, 5], vec![1])
    );
    let last = recovered.groups[&G].entries.last().unwrap();
    assert_eq!((last.term, &last.payload[..]), (Term(2), &b"1/5@2"[..]));
}

#[test]
fn entries_that_start_before_the_end_replace_the_rest() {
    let disk = VirtualDisk::new(1);
    let (mut wal, _) = open(&disk, ROOMY).unwrap();
    append_synced(&mut wal, &[entries(G, 1, 1..=5)]);
    append_synced(&mut wal, &[entries(G, 2, 3..=4), entries(G, 3, 4..=4)]);
    let (mut wal, recovered) = reopen(&disk, ROOMY);
    let terms: Vec<u64> = recovered.groups[&G].entries.iter().map(|entry| entry.term.0).collect();
    assert_eq!((indexes(&recovered, G), terms), (vec![1, 2, 3, 4], vec![1, 1, 2, 3]));
    append_synced(&mut wal, &[entries(G, 3, 1..=1)]);
    assert_eq!(indexes(&reopen(&disk, ROOMY).1, G), [1]);
}

#[test]
fn a_new_start_drops_what_lies_before_it() {
    let disk = VirtualDisk::new(1);
    let (mut wal, _) = open(&disk, ROOMY).unwrap();
    append_synced(&mut wal, &[entries(G, 1, 1..=5), start(G, 3, 1)]);
    append_synced(&mut wal, &[start(G, 3, 1)]);
    let (_, recovered) = reopen(&disk, ROOMY);
    assert_eq!(recovered.groups[&G].start.index, LogIndex(3));
    assert_eq!(indexes(&recovered, G), [4, 5]);
}

#[test]
fn a_start_beyond_the_end_or_at_another_term_empties_the_log() {
    for (index, term) in [(9, 1), (3, 2)] {
        let disk = VirtualDisk::new(1);
        let (mut wal, _) = open(&disk, ROOMY).unwrap();
        append_synced(&mut wal, &[entries(G, 1, 1..=5), start(G, index, term)]);
        let (mut wal, recovered) = reopen(&disk, ROOMY);
        assert!(recovered.groups[&G].entries.is_empty());
        assert_eq!(recovered.groups[&G].start.index, LogIndex(index));
        append_synced(&mut wal, &[entries(G, 3, index + 1..=index + 2)]);
        assert_eq!(indexes(&reopen(&disk, ROOMY).1, G), [index + 1, index + 2]);
    }
}

#[test]
fn a_log_of_many_segments_comes_back_whole() {
    let disk = VirtualDisk::new(1);
    let (mut wal, _) = open(&disk, SMALL).unwrap();
    append_synced(&mut wal, &[LogRecord::NodeStart { start_number: 1 }, hard_state(G, 1, 1)]);
    for index in 1..=50 {
        append_synced(&mut wal, &[big(G, index, 1000)]);
    }
    assert!(wal.segment_count() >= 7, "{}", wal.segment_count());
    assert_eq!(wal.disk_bytes(), disk.used_bytes());
    let (mut wal, recovered) = reopen(&disk, SMALL);
    assert_eq!(indexes(&recovered, G), (1..=50).collect::<Vec<_>>());
    assert_eq!((recovered.start_number, recovered.groups[&G].hard_state.term), (1, Term(1)));
    append_synced(&mut wal, &[big(G, 51, 1000)]);
    assert_eq!(indexes(&reopen(&disk, SMALL).1, G).len(), 51);
}

#[test]
fn segments_that_no_group_needs_are_given_up_and_their_files_reused() {
    let disk = VirtualDisk::new(1);
    let (mut wal, _) = open(&disk, SMALL).unwrap();
    fill_spare(&mut wal);
    let resting = GroupId(9);
    append_synced(&mut wal, &[entries(resting, 1, 1..=2), hard_state(resting, 5, 5)]);
    for index in 1..=100 {
        append_synced(&mut wal, &[big(G, index, 1000)]);
        if index % 10 == 0 {
            append_synced(&mut wal, &[start(G, index - 2, 1)]);
        }
    }
    assert!(wal.segment_count() > 10);
    assert_eq!(wal.holding_back(), [resting]);
    append_synced(&mut wal, &[start(resting, 2, 1)]);
    assert!(wal.segment_count() <= 2, "{}", wal.segment_count());
    assert!(disk.used_bytes() <= 5 * SMALL.segment_bytes, "{}", disk.used_bytes());
    let (mut wal, recovered) = reopen(&disk, SMALL);
    assert_eq!(indexes(&recovered, G), [99, 100]);
    assert_eq!(recovered.groups[&resting].hard_state.term, Term(5));
    assert_eq!(recovered.groups[&resting].start.index, LogIndex(2));
    append_synced(&mut wal, &[entries(resting, 5, 3..=3)]);
    assert_eq!(indexes(&reopen(&disk, SMALL).1, resting), [3]);
}

#[test]
fn records_of_a_reused_file_never_come_back() {
    let disk = VirtualDisk::new(1);
    let (mut wal, _) = open(&disk, SMALL).unwrap();
    let mut reused = 0;
    for index in 1..=200 {
        append_synced(&mut wal, &[big(G, index, 900)]);
        append_synced(&mut wal, &[start(G, index, 1)]);
        fill_spare(&mut wal);
        if index % 7 == 0 {
            let spares =
                disk.list("wal").unwrap().iter().filter(|n| n.starts_with("spare")).count();
            reused += spares;
            let recovered;
            (wal, recovered) = reopen(&disk, SMALL);
            assert!(recovered.groups[&G].entries.is_empty(), "at {index}");
            assert_eq!(recovered.groups[&G].start.index, LogIndex(index));
            assert_eq!(recovered.torn_tail, None, "at {index}");
        }
    }
    assert!(reused > 0 && disk.used_bytes() <= 4 * SMALL.segment_bytes);
}

#[test]
fn a_frame_larger_than_a_segment_gets_a_file_of_its_own() {
    let disk = VirtualDisk::new(1);
    let (mut wal, _) = open(&disk, SMALL).unwrap();
    append_synced(&mut wal, &[entries(G, 1, 1..=2)]);
    append_synced(&mut wal, &[big(G, 3, 50_000), big(GroupId(2), 1, 10_000)]);
    append_synced(&mut wal, &[entries(G, 1, 4..=5)]);
    append_synced(&mut wal, &[big(G, 6, 30_000)]);
    let (mut wal, recovered) = reopen(&disk, SMALL);
    assert_eq!(indexes(&recovered, G), [1, 2, 3, 4, 5, 6]);
    assert_eq!(recovered.groups[&G].entries[2].payload, vec![3; 50_000]);
    append_synced(&mut wal, &[start(G, 6, 1), start(GroupId(2), 1, 1)]);
    append_synced(&mut wal, &[entries(G, 1, 7..=7)]);
    wal.sync().unwrap();
    assert!(disk.used_bytes() < 60_000, "{}", disk.used_bytes());
}

#[test]
fn a_filled_log_never_grows_a_file_while_it_appends() {
    let disk = VirtualDisk::new(1);
    let (mut wal, _) = open(&disk, SMALL).unwrap();
    for index in 1..=60 {
        fill_spare(&mut wal);
        let before = disk.used_bytes();
        append_synced(&mut wal, &[start(G, index - 1, 1), big(G, index, 1500)]);
        assert!(disk.used_bytes() <= before, "at {index}");
    }
    assert_eq!(wal.disk_bytes(), disk.used_bytes());
}

#[test]
fn files_of_another_node_or_cluster_are_refused() {
    let disk = VirtualDisk::new(1);
    drop(open(&disk, ROOMY).unwrap());
    for identity in [
        WalIdentity { node: NodeId(2), ..IDENTITY },
        WalIdentity { cluster: ClusterId(8), ..IDENTITY },
    ] {
        let result = Wal::open(Arc::new(disk.clone()), "wal", identity, ROOMY);
        assert!(matches!(result, Err(WalError::OtherIdentity { found_node: NodeId(1), .. })));
    }
    assert!(open(&disk, ROOMY).is_ok());
}

#[test]
fn files_of_a_newer_format_are_refused_and_left_alone() {
    let disk = VirtualDisk::new(1);
    drop(open(&disk, ROOMY).unwrap());
    let path = newest_segment(&disk);
    let mut bytes = disk.read(&path).unwrap();
    bytes[8..12].copy_from_slice(&99u32.to_le_bytes());
    let crc = synod_base::checksum::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    disk.replace_at_rest(&path, &bytes).unwrap();
    let error = open(&disk, ROOMY).unwrap_err();
    assert!(matches!(error, WalError::NewerFormat { found: 99, known: 1 }), "{error}");
    assert_eq!(disk.read(&path).unwrap(), bytes);
}

#[test]
fn the_log_works_on_the_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(synod_base::disk::RealDisk::new(dir.path()));
    for round in 0..4u64 {
        let (mut wal, recovered) =
            Wal::open(Arc::clone(&disk), "node/wal", IDENTITY, SMALL).unwrap();
        assert_eq!(
            recovered.groups.get(&G).map_or(0, |group| group.entries.len() as u64),
            round * 20
        );
        for index in round * 20 + 1..=round * 20 + 20 {
            append_synced(&mut wal, &[big(G, index, 700)]);
            wal.prepare_spare(4096).unwrap();
        }
    }
}
