//! A worker that fetches ahead, and those that give, fast, slowly, or not at all.

use super::*;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use tempfile::TempDir;

const BYTES: u64 = 5;

/// A worker that gives five bytes to whoever asks, each time after it was told to.
fn giver(told: Receiver<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for bytes in told {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let asked = lines.next().map(|line| line.unwrap());
            assert!(asked.is_none_or(|asked| asked.ends_with("?partitions=2-3&ahead HTTP/1.1")));
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len());
            // Who asked may have gone.
            let _ = stream.write_all((head + bytes).as_bytes());
        }
    });
    address
}

fn job() -> JobId {
    "a-1".parse().unwrap()
}

fn piece(map: u32, address: &str) -> Piece {
    let (map, address) = (TaskId::map(map), address.to_owned());
    Piece { map, attempt: 0, address, partitions: 2..4, offset: 100, bytes: BYTES }
}

/// Has these pieces fetched, with room for so many bytes, by as many threads as it wants.
fn fetch(ahead: &Ahead, folder: &TempDir, pieces: Vec<Piece>, room_bytes: u64) {
    for _ in 0..ahead.fetch(&job(), pieces, folder.path()) {
        let ahead = ahead.clone();
        std::thread::spawn(move || ahead.work(|_| room_bytes));
    }
}

/// The next order, as a thread takes it.
fn begin(ahead: &Ahead, room_bytes: u64) -> Order {
    let order = ahead.shared.next().unwrap();
    assert!(ahead.shared.has_room(&order, |_| room_bytes));
    order
}

fn is_coming(ahead: &Ahead, map: u32) -> bool {
    let state = ahead.shared.state();
    matches!(state.jobs[&job()].pieces[&(TaskId::map(map), 0)], Found::Coming { .. })
}

fn find(ahead: &Ahead, map: u32, partition: u32) -> Option<(PathBuf, u64)> {
    ahead.find(&job(), (TaskId::map(map), 0), partition, &Progress::new())
}

fn names(folder: &TempDir) -> Vec<String> {
    let files = fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn who_wants_a_piece_that_is_coming_waits_for_it_and_one_that_does_not_come_is_not_there() {
    let (tell, told) = channel();
    let address = giver(told);
    let (ahead, folder) = (Ahead::default(), TempDir::new().unwrap());
    assert_eq!(find(&ahead, 1, 2), None, "nobody has asked for it");
    fetch(&ahead, &folder, vec![piece(1, &address), piece(2, &address)], 100);
    let maps = [1, 2, 3].map(|map| (TaskId::map(map), 0));
    assert_eq!(ahead.unasked(&job(), maps.into_iter()), [maps[2]]);
    // The second answer is too short.
    let telling = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        tell.send("hello").unwrap();
        tell.send("hell").unwrap();
    });
    let (path, offset) = find(&ahead, 1, 3).unwrap();
    assert_eq!((fs::read_to_string(path).unwrap().as_str(), offset), ("hello", 100));
    assert_eq!(find(&ahead, 1, 4), None, "this partition is not in it");
    assert_eq!(find(&ahead, 2, 2), None);
    telling.join().unwrap();
    let names = names(&folder);
    assert!(names.len() == 1 && names[0].starts_with("ahead-m000001-0-"), "{names:?}");
}

#[test]
fn an_attempt_that_is_cancelled_waits_no_longer_nor_one_whose_job_is_over() {
    let (tell, told) = channel();
    let address = giver(told);
    let (ahead, folder) = (Ahead::default(), TempDir::new().unwrap());
    fetch(&ahead, &folder, vec![piece(1, &address)], 100);
    let progress = Progress::new();
    progress.cancel();
    assert_eq!(ahead.find(&job(), (TaskId::map(1), 0), 2, &progress), None);
    // Who waits in vain ends that.
    assert!(is_coming(&ahead, 1));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| find(&ahead, 1, 2));
        ahead.retain(|_| false);
        assert_eq!(waiting.join().unwrap(), None);
    });
    tell.send("hello").unwrap();
    let began = Instant::now();
    while ahead.shared.state().threads > 0 {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(names(&folder).is_empty(), "nobody wants it any more");
}

#[test]
fn no_more_of_the_disk_is_taken_than_is_given_and_a_disk_in_trouble_gets_no_more() {
    let (tell, told) = channel();
    let address = giver(told);
    let (ahead, folder) = (Ahead::default(), TempDir::new().unwrap());
    (0..2).for_each(|_| tell.send("hello").unwrap());
    let pieces = (1..4).map(|map| piece(map, &address)).collect();
    fetch(&ahead, &folder, pieces, 2 * BYTES + 1);
    assert!(find(&ahead, 1, 2).is_some() && find(&ahead, 2, 2).is_some());
    assert_eq!(find(&ahead, 3, 2), None);
    assert_eq!(names(&folder).len(), 2);

    let (ahead, gone) = (Ahead::default(), TempDir::new().unwrap());
    fs::remove_dir(gone.path()).unwrap();
    fetch(&ahead, &gone, vec![piece(1, &address)], 100);
    assert_eq!(find(&ahead, 1, 2), None);
    fs::create_dir(gone.path()).unwrap();
    tell.send("hello").unwrap();
    fetch(&ahead, &gone, vec![piece(2, &address)], 100);
    assert_eq!(find(&ahead, 2, 2), None, "it has failed once");
}

/// Maps whose pieces are in the queue, in its order.
fn queued(ahead: &Ahead) -> Vec<u32> {
    ahead.shared.state().queue.iter().map(|order| order.piece.map.number).collect()
}

#[test]
fn a_worker_that_gives_fast_or_not_at_all_is_asked_for_no_more_of_the_job() {
    type End = (Result<(), FetchError>, Duration);
    let slow = Duration::from_secs(1);
    let ends: [(End, bool); 4] = [
        ((Ok(()), slow), true),
        ((Ok(()), Duration::from_millis(1)), false),
        ((Err(FetchError::Unreadable("gone".to_owned())), slow), false),
        ((Err(FetchError::Local(io::ErrorKind::StorageFull.into())), slow), true),
    ];
    for ((end, took), is_asked) in ends {
        let (ahead, folder) = (Ahead::default(), TempDir::new().unwrap());
        let fetch = |pieces: &[(u32, &str)]| {
            let large = |(map, address)| Piece { bytes: 2 << 20, ..piece(map, address) };
            ahead.fetch(&job(), pieces.iter().copied().map(large).collect(), folder.path())
        };
        assert_eq!(fetch(&[(1, "it:1"), (2, "other:1"), (3, "it:1")]), 3);
        let order = begin(&ahead, 3 << 20);
        let has_failed = end.is_err();
        ahead.shared.ended(order, end, took);
        assert_eq!(queued(&ahead) == [2, 3], is_asked);
        if is_asked {
            continue;
        }
        assert_eq!(find(&ahead, 3, 2), None);
        // What was set aside for a piece that did not come is there for others.
        fetch(&[(4, "it:1"), (5, "other:1")]);
        let queue: &[u32] = if has_failed { &[2, 5] } else { &[2] };
        assert_eq!(queued(&ahead), queue);
    }
}

#[test]
fn who_wants_a_piece_has_it_moved_to_the_front_and_waits_only_if_it_can_be_of_use() {
    let (ahead, folder) = (Ahead::default(), TempDir::new().unwrap());
    let pieces = (1..4).map(|map| piece(map, "it:1")).collect();
    assert_eq!(ahead.fetch(&job(), pieces, folder.path()), 3);
    assert_eq!(find(&ahead, 2, 4), None, "this partition will not be in it");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| find(&ahead, 3, 2));
        let began = Instant::now();
        while queued(&ahead) != [3, 1, 2] {
            assert!(began.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(1));
        }
        ahead.shared.ended(begin(&ahead, 100), Ok(()), Duration::from_secs(1));
        assert_eq!(waiting.join().unwrap().unwrap().1, 100);
    });
    // What turns out to be of no use is not given again.
    ahead.forget(&job(), (TaskId::map(3), 0));
    assert_eq!(find(&ahead, 3, 2), None);
    // Its worker gives another one meanwhile: it is not to blame for this one.
    assert_eq!(begin(&ahead, 100).piece.map, TaskId::map(1));
    assert_eq!(find(&ahead, 2, 2), None);
    assert_eq!(queued(&ahead), [2]);
    assert!(is_coming(&ahead, 1) && is_coming(&ahead, 2));
    // Of one that it was asked for nothing comes: once that is waited for, for all of this worker.
    assert_eq!(find(&ahead, 1, 2), None);
    assert!(queued(&ahead).is_empty());
    assert!(!is_coming(&ahead, 1) && !is_coming(&ahead, 2));
}

#[test]
fn threads_that_are_busy_fetch_nothing_new_and_there_are_four_at_most() {
    let (ahead, folder) = (Ahead::default(), TempDir::new().unwrap());
    let mut begun = Vec::new();
    for (map, threads) in (0..5).zip([1, 1, 1, 1, 0]) {
        let pieces = vec![piece(map, &format!("w{map}:1"))];
        assert_eq!(ahead.fetch(&job(), pieces, folder.path()), threads, "{map}");
        if threads > 0 {
            begun.push(begin(&ahead, 100));
        }
    }
    assert_eq!((begun.len(), queued(&ahead)), (4, vec![4]));
}

#[test]
fn a_disk_is_looked_at_once_for_each_job_and_only_by_those_who_fetch() {
    let (ahead, folder) = (Ahead::default(), TempDir::new().unwrap());
    let pieces = (1..4).map(|map| piece(map, &format!("w{map}:1"))).collect();
    assert_eq!(ahead.fetch(&job(), pieces, folder.path()), 3);
    let looks = std::cell::Cell::new(0);
    let look = |at: &Path| {
        assert_eq!(at, folder.path());
        // Another thread is here at the same time.
        assert!(ahead.shared.state.try_lock().is_ok(), "nobody waits for the disk");
        looks.set(looks.get() + 1);
        2 * BYTES
    };
    let order = ahead.shared.next().unwrap();
    assert!(ahead.shared.has_room(&order, look));
    assert!(ahead.shared.has_room(&ahead.shared.next().unwrap(), look));
    let last = ahead.shared.next().unwrap();
    assert!(!ahead.shared.has_room(&last, look));
    ahead.shared.turn_away(&last);
    assert_eq!((looks.get(), find(&ahead, 3, 2)), (1, None));
    // What is given back is there for others, at the same worker, too.
    ahead.shared.ended(order, Err(FetchError::Unreadable("gone".to_owned())), Duration::ZERO);
    ahead.fetch(&job(), vec![piece(4, "w3:1")], folder.path());
    begin(&ahead, 0);
}

#[test]
fn without_a_thread_nobody_waits() {
    let (ahead, folder) = (Ahead::default(), TempDir::new().unwrap());
    let pieces = vec![piece(1, "127.0.0.1:9"), piece(2, "127.0.0.1:9")];
    assert_eq!(ahead.fetch(&job(), pieces, folder.path()), 2);
    (0..2).for_each(|_| ahead.lacks_a_thread());
    assert_eq!(find(&ahead, 2, 2), None);
    assert_eq!(queued(&ahead), [1, 2], "who waits for a piece has it moved to the front");
}
