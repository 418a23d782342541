//! Fetches parts of map outputs ahead of the reduces that will want them, while maps still run.
//!
//! Of a map output on another machine the partitions that this worker reduces first come in one piece, into
//! a file in the worker's folder for the job; they go with that folder. Nobody relies on it: what is not
//! here, or does not move, the reduce fetches itself, and what cannot be had it finds out itself, and
//! reports. So trouble here is not told to anybody, and a worker that a piece could not be had from is asked
//! for no more of that job. A few threads do it, no two of them at the same worker, and of the disk no more
//! than the service allows is taken. From a worker that gives so fast that nobody would wait for it nothing
//! more is fetched ahead, either: what that costs the maps is more than it saves the reduces. Which pieces
//! are wanted the service knows (`service/fetching_ahead.rs`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use synod_jobs::Progress;
use synod_jobs::cluster::shuffle::FetchError;
use synod_jobs::cluster::{JobId, TaskId};

use super::fetch::Connections;
use super::serve::path_of;

/// Threads that fetch ahead, at most.
const THREADS: usize = 4;
/// A piece of which fewer than so many bytes come in this time is given up.
const STEADY: (u64, Duration) = (64 << 10, Duration::from_secs(10));
/// A worker that has given so many bytes at such a rate, bytes per second, is fast: more than a gigabit per
/// second lets through.
const FAST: (u64, f64) = (1 << 20, 2e8);
/// How long a reduce waits for a piece of which nothing comes.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often one who waits looks.
const LOOK: Duration = Duration::from_millis(100);

/// Neighbouring partitions of a map output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub map: TaskId,
    pub attempt: u32,
    /// `host:port` of the worker that has it.
    pub address: String,
    pub partitions: Range<u32>,
    /// Where the first of them begins in the output.
    pub offset: u64,
    pub bytes: u64,
}

/// A map output, by task and attempt.
type Output = (TaskId, u32);

/// What a worker has fetched ahead, and what is on its way. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Ahead {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// A piece has come, or will not come.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: BTreeMap<JobId, OfJob>,
    queue: VecDeque<Order>,
    threads: usize,
    /// Workers that are being asked.
    asked: BTreeSet<String>,
}

#[derive(Debug)]
struct OfJob {
    folder: PathBuf,
    /// Tells its files from those of another life of this worker, whose threads may not have ended yet.
    life: u32,
    pieces: BTreeMap<Output, Found>,
    /// What of the disk may still be taken.
    room_bytes: u64,
    /// What each worker has given, and in how many seconds.
    given: BTreeMap<String, (u64, f64)>,
    /// Workers that are asked for no more: they give fast, or not at all.
    left_alone: BTreeSet<String>,
    /// The job is over, or the disk is in trouble.
    stopped: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Found {
    /// It is in the queue, or so many bytes of it have come.
    Coming {
        partitions: Range<u32>,
        arrived: Arc<AtomicU64>,
    },
    Here {
        partitions: Range<u32>,
        offset: u64,
    },
    Missing,
}

/// A piece that a thread is to fetch.
#[derive(Debug)]
struct Order {
    job: JobId,
    piece: Piece,
    path: PathBuf,
    arrived: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
}

impl Ahead {
    /// Those of these map outputs that were not asked for yet.
    pub(super) fn unasked(
        &self,
        job: &JobId,
        outputs: impl Iterator<Item = Output>,
    ) -> Vec<Output> {
        let state = self.shared.state();
        let pieces = state.jobs.get(job).map(|of_job| &of_job.pieces);
        let is_asked = |output: &_| pieces.is_some_and(|pieces| pieces.contains_key(output));
        outputs.filter(|output| !is_asked(output)).collect()
    }

    /// Has these pieces fetched into the worker's folder for the job, which exists; the number of threads
    /// that are to [work](Self::work) for it. When it is asked for the first time `room_bytes` says how much
    /// of the disk may be taken.
    pub(super) fn fetch(
        &self,
        job: &JobId,
        pieces: Vec<Piece>,
        folder: impl FnOnce() -> PathBuf,
        room_bytes: impl FnOnce() -> u64,
    ) -> usize {
        let mut state = self.shared.state();
        let State { jobs, queue, threads, .. } = &mut *state;
        let of_job = jobs.entry(job.clone()).or_insert_with(|| OfJob {
            folder: folder(),
            life: fastrand::u32(..),
            pieces: BTreeMap::new(),
            room_bytes: room_bytes(),
            given: BTreeMap::new(),
            left_alone: BTreeSet::new(),
            stopped: Arc::default(),
        });
        for piece in pieces {
            let output = (piece.map, piece.attempt);
            let wanted = (1..=of_job.room_bytes).contains(&piece.bytes)
                && !of_job.stopped.load(Relaxed)
                && !of_job.left_alone.contains(&piece.address);
            if !wanted {
                of_job.pieces.insert(output, Found::Missing);
                continue;
            }
            of_job.room_bytes -= piece.bytes;
            let (partitions, arrived) = (piece.partitions.clone(), Arc::<AtomicU64>::default());
            of_job.pieces.insert(output, Found::Coming { partitions, arrived: arrived.clone() });
            let (path, stopped) = (of_job.path(output), Arc::clone(&of_job.stopped));
            queue.push_back(Order { job: job.clone(), piece, path, arrived, stopped });
        }
        let more = THREADS.min(queue.len()).saturating_sub(*threads);
        *threads += more;
        more
    }

    /// The body of a thread: fetches what it can.
    pub(super) fn work(&self) {
        let connections = Connections::default();
        while let Some(order) = self.shared.next() {
            let began = Instant::now();
            let fetched = catch_unwind(AssertUnwindSafe(|| order.fetch(&connections)));
            let fetched = fetched.unwrap_or_else(|_| {
                Err(FetchError::Unreadable("it panicked; the log says where".to_owned()))
            });
            self.shared.ended(order, fetched, began.elapsed());
        }
    }

    /// One of the threads could not be started.
    pub(super) fn lacks_a_thread(&self) {
        self.shared.state().threads -= 1;
        self.shared.changed.notify_all();
    }

    /// A file with this partition of a map output, and the offset in the output at which the file begins.
    /// One that is in the queue goes to its front. Waits as long as it comes and the attempt goes on.
    pub(super) fn find(
        &self,
        job: &JobId,
        output: Output,
        partition: u32,
        progress: &Progress,
    ) -> Option<(PathBuf, u64)> {
        let mut state = self.shared.state();
        state.hurry(job, output);
        let mut seen = (0, Instant::now());
        loop {
            let of_job = state.jobs.get(job)?;
            match of_job.pieces.get(&output)? {
                Found::Here { partitions, offset } => {
                    let has_it = partitions.contains(&partition);
                    return has_it.then(|| (of_job.path(output), *offset));
                }
                Found::Missing => return None,
                Found::Coming { partitions, arrived } => {
                    let arrived = arrived.load(Relaxed);
                    if arrived > seen.0 {
                        seen = (arrived, Instant::now());
                        progress.note_move();
                    }
                    let is_hopeless = state.threads == 0 || seen.1.elapsed() >= PATIENCE;
                    let is_of_use = partitions.contains(&partition);
                    if is_hopeless || !is_of_use || progress.check_cancelled().is_err() {
                        return None;
                    }
                }
            }
            let waited = self.shared.changed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What is here of a map output is of no use.
    pub(super) fn forget(&self, job: &JobId, output: Output) {
        if let Some(of_job) = self.shared.state().jobs.get_mut(job) {
            of_job.pieces.insert(output, Found::Missing);
        }
    }

    /// Forgets all other jobs, and breaks off what comes for them.
    pub(super) fn retain(&self, is_needed: impl Fn(&JobId) -> bool) {
        let mut state = self.shared.state();
        let State { jobs, queue, .. } = &mut *state;
        jobs.retain(|job, of_job| {
            let needed = is_needed(job);
            if !needed {
                of_job.stopped.store(true, Relaxed);
            }
            needed
        });
        queue.retain(|order| is_needed(&order.job));
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl OfJob {
    fn path(&self, (map, attempt): Output) -> PathBuf {
        self.folder.join(format!("ahead-{map}-{attempt}-{:08x}.run", self.life))
    }

    /// Notes what a worker has given in this time, and whether it is fast.
    fn is_fast(&mut self, address: &str, bytes: u64, time: Duration) -> bool {
        let (all_bytes, seconds) = self.given.entry(address.to_owned()).or_default();
        *all_bytes += bytes;
        *seconds += time.as_secs_f64();
        let (least, rate) = FAST;
        *all_bytes >= least && *all_bytes as f64 > rate * *seconds
    }
}

impl State {
    /// Moves an order to the front of the queue.
    fn hurry(&mut self, job: &JobId, output: Output) {
        let is_it =
            |order: &Order| order.job == *job && (order.piece.map, order.piece.attempt) == output;
        let at = self.queue.iter().position(is_it);
        if let Some(order) = at.and_then(|at| self.queue.remove(at)) {
            self.queue.push_front(order);
        }
    }

    /// Asks a worker for no more of a job.
    fn leave_alone(&mut self, job: &JobId, address: &str) {
        let State { jobs, queue, .. } = self;
        let Some(of_job) = jobs.get_mut(job) else { return };
        of_job.left_alone.insert(address.to_owned());
        queue.retain(|order| {
            let is_its = order.job == *job && order.piece.address == address;
            if is_its {
                let Piece { map, attempt, bytes, .. } = order.piece;
                of_job.pieces.insert((map, attempt), Found::Missing);
                of_job.room_bytes += bytes;
            }
            !is_its
        });
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next order at a worker that nobody asks now. Without one the thread ends: who asks that worker
    /// goes on with the next order there.
    fn next(&self) -> Option<Order> {
        let mut state = self.state();
        let State { queue, asked, threads, .. } = &mut *state;
        let next = queue.iter().position(|order| !asked.contains(&order.piece.address));
        match next.and_then(|next| queue.remove(next)) {
            Some(order) => {
                asked.insert(order.piece.address.clone());
                Some(order)
            }
            None => {
                *threads -= 1;
                drop(state);
                self.changed.notify_all();
                None
            }
        }
    }

    fn ended(&self, order: Order, fetched: Result<(), FetchError>, took: Duration) {
        let Order { job, piece, path, .. } = &order;
        if fetched.is_err() {
            // It goes with the folder otherwise.
            let _ = fs::remove_file(order.coming());
        }
        let mut state = self.state();
        state.asked.remove(&piece.address);
        let mut is_needed = false;
        let mut leave_alone = false;
        if let Some(of_job) = state.jobs.get_mut(job) {
            is_needed = true;
            let found = match &fetched {
                Ok(()) => {
                    leave_alone = of_job.is_fast(&piece.address, piece.bytes, took);
                    Found::Here { partitions: piece.partitions.clone(), offset: piece.offset }
                }
                Err(FetchError::Unreadable(why)) => {
                    tracing::debug!("jobs: {} gives nothing ahead: {why}", piece.address);
                    leave_alone = true;
                    Found::Missing
                }
                Err(FetchError::Local(error)) => {
                    tracing::debug!("jobs: no more is fetched ahead for job {job}: {error}");
                    of_job.stopped.store(true, Relaxed);
                    Found::Missing
                }
            };
            if matches!(found, Found::Missing) {
                of_job.room_bytes += piece.bytes;
            }
            of_job.pieces.insert((piece.map, piece.attempt), found);
        }
        if leave_alone {
            state.leave_alone(job, &piece.address);
        }
        drop(state);
        self.changed.notify_all();
        if fetched.is_ok() && !is_needed {
            let _ = fs::remove_file(path);
        }
    }
}

impl Order {
    /// Where it is before it is whole.
    fn coming(&self) -> PathBuf {
        self.path.with_extension("coming")
    }

    fn fetch(&self, connections: &Connections) -> Result<(), FetchError> {
        let Piece { map, attempt, address, partitions, bytes, .. } = &self.piece;
        if self.stopped.load(Relaxed) {
            return Err(FetchError::Unreadable("it is not wanted any more".to_owned()));
        }
        let coming = self.coming();
        let file = BufWriter::new(File::create(&coming).map_err(FetchError::Local)?);
        let mut arriving = Arriving { file, order: self, since: None };
        let path = path_of(&self.job, *map, *attempt, partitions.clone());
        match connections.get(address, &path, *bytes, &mut arriving) {
            // Not the disk's fault.
            Err(FetchError::Local(error)) if error.kind() == io::ErrorKind::TimedOut => {
                Err(FetchError::Unreadable(error.to_string()))
            }
            Ok(()) => {
                let flushed = arriving.file.flush();
                flushed.and_then(|()| fs::rename(coming, &self.path)).map_err(FetchError::Local)
            }
            Err(error) => Err(error),
        }
    }
}

/// A piece on its way to its file. It breaks off when it is not wanted any more, or comes too slowly.
struct Arriving<'a> {
    file: BufWriter<File>,
    order: &'a Order,
    /// When it was seen to be steady, and how much had arrived then.
    since: Option<(Instant, u64)>,
}

impl Write for Arriving<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Order { arrived, stopped, .. } = self.order;
        let (least, time) = STEADY;
        let all = arrived.load(Relaxed);
        let since = self.since.get_or_insert_with(|| (Instant::now(), all));
        if all - since.1 >= least {
            *since = (Instant::now(), all);
        }
        if stopped.load(Relaxed) || since.0.elapsed() > time {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "too slow, or not wanted any more",
            ));
        }
        let written = self.file.write(bytes)?;
        arrived.fetch_add(written as u64, Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
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
        let threads = ahead.fetch(&job(), pieces, || folder.path().to_owned(), || room_bytes);
        for _ in 0..threads {
            let ahead = ahead.clone();
            std::thread::spawn(move || ahead.work());
        }
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
            let fetch = |pieces: &[(u32, &str)], room: u64| {
                let large = |(map, address)| Piece { bytes: 2 << 20, ..piece(map, address) };
                let pieces = pieces.iter().copied().map(large).collect();
                ahead.fetch(&job(), pieces, || folder.path().to_owned(), || room)
            };
            assert_eq!(fetch(&[(1, "it:1"), (2, "other:1"), (3, "it:1")], 7 << 20), 3);
            let order = ahead.shared.next().unwrap();
            ahead.shared.ended(order, end, took);
            assert_eq!(queued(&ahead) == [2, 3], is_asked);
            if is_asked {
                continue;
            }
            assert_eq!(find(&ahead, 3, 2), None);
            // What was set aside for it is there for others.
            fetch(&[(4, "it:1"), (5, "other:1")], 0);
            assert_eq!(queued(&ahead), [2, 5]);
        }
    }

    #[test]
    fn who_wants_a_piece_has_it_moved_to_the_front_and_waits_only_if_it_can_be_of_use() {
        let (ahead, folder) = (Ahead::default(), TempDir::new().unwrap());
        let pieces = (1..4).map(|map| piece(map, "it:1")).collect();
        assert_eq!(ahead.fetch(&job(), pieces, || folder.path().to_owned(), || 100), 3);
        assert_eq!(find(&ahead, 2, 4), None, "this partition will not be in it");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| find(&ahead, 3, 2));
            let began = Instant::now();
            while queued(&ahead) != [3, 2, 1] {
                assert!(began.elapsed() < Duration::from_secs(60));
                std::thread::sleep(Duration::from_millis(1));
            }
            let order = ahead.shared.next().unwrap();
            ahead.shared.ended(order, Ok(()), Duration::from_secs(1));
            assert_eq!(waiting.join().unwrap().unwrap().1, 100);
        });
        // What turns out to be of no use is not given again.
        ahead.forget(&job(), (TaskId::map(3), 0));
        assert_eq!(find(&ahead, 3, 2), None);
        // Nothing comes of the others.
        assert_eq!(find(&ahead, 1, 2), None);
    }

    #[test]
    fn without_a_thread_nobody_waits() {
        let (ahead, folder) = (Ahead::default(), TempDir::new().unwrap());
        let pieces = vec![piece(1, "127.0.0.1:9")];
        assert_eq!(ahead.fetch(&job(), pieces, || folder.path().to_owned(), || 100), 1);
        ahead.lacks_a_thread();
        assert_eq!(find(&ahead, 1, 2), None);
    }
}
