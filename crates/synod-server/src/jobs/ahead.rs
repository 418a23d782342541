//! Fetches parts of map outputs ahead of the reduces that will want them, while maps still run.
//!
//! Of a map output on another machine the partitions that this worker reduces first come in one piece, into a
//! file in the worker's folder for the job; they go with that folder. Nobody relies on it: what is not here
//! the reduce fetches itself, and what cannot be had it finds out itself, and reports. So trouble here is
//! not told to anybody, and not tried again. A few threads do it, no two of them at the same worker, and of
//! the disk no more than the service allows is taken. From a worker that gives so fast that nobody would wait for
//! it nothing more is fetched ahead: what that costs the maps is more than it saves the reduces. Which pieces
//! are wanted the service knows (`service/fetching_ahead.rs`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use synod_jobs::Progress;
use synod_jobs::cluster::shuffle::FetchError;
use synod_jobs::cluster::{JobId, TaskId};

use super::fetch::Connections;
use super::serve::path_of;

/// Threads that fetch ahead, at most.
const THREADS: usize = 4;
/// A piece of which fewer than so many bytes come in this time is given up: the reduces wait for it.
const STEADY: (u64, Duration) = (64 << 10, Duration::from_secs(10));
/// A worker that gives a piece of at least so many bytes at such a rate, bytes per second, is fast: more than a
/// gigabit per second lets through.
const FAST: (u64, f64) = (1 << 20, 2e8);
/// How often one who waits for a piece sees whether it is still wanted.
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
    pieces: BTreeMap<(TaskId, u32), Found>,
    /// What of the disk may still be taken.
    room_bytes: u64,
    /// Workers that give fast.
    fast: BTreeSet<String>,
    /// The job is over, or the disk is in trouble.
    stopped: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Found {
    Coming,
    Here { partitions: Range<u32>, offset: u64 },
    Missing,
}

/// A piece that a thread is to fetch.
#[derive(Debug)]
struct Order {
    job: JobId,
    piece: Piece,
    path: PathBuf,
    stopped: Arc<AtomicBool>,
}

impl Ahead {
    /// Those of these map outputs, by task and attempt, that were not asked for yet.
    pub(super) fn unasked(
        &self,
        job: &JobId,
        outputs: impl Iterator<Item = (TaskId, u32)>,
    ) -> Vec<(TaskId, u32)> {
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
            pieces: BTreeMap::new(),
            room_bytes: room_bytes(),
            fast: BTreeSet::new(),
            stopped: Arc::default(),
        });
        for piece in pieces {
            let key = (piece.map, piece.attempt);
            let fits = piece.bytes <= of_job.room_bytes && !of_job.stopped.load(Relaxed);
            let wanted = fits && !of_job.fast.contains(&piece.address);
            of_job.pieces.insert(key, if wanted { Found::Coming } else { Found::Missing });
            if wanted {
                of_job.room_bytes -= piece.bytes;
                let (path, stopped) = (of_job.path(key), Arc::clone(&of_job.stopped));
                queue.push_back(Order { job: job.clone(), piece, path, stopped });
            }
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
            let (least, rate) = FAST;
            let bytes = order.piece.bytes;
            let is_fast = bytes >= least
                && bytes as f64 > rate * began.elapsed().as_secs_f64()
                && fetched.is_ok();
            if is_fast {
                self.shared.is_fast(&order);
            }
            self.shared.ended(order, fetched);
        }
    }

    /// One of the threads could not be started.
    pub(super) fn lacks_a_thread(&self) {
        self.shared.state().threads -= 1;
        self.shared.changed.notify_all();
    }

    /// A file with this partition of a map output, and the offset in the output at which the file begins.
    /// Waits for one that is coming, unless the attempt is cancelled.
    pub(super) fn find(
        &self,
        job: &JobId,
        output: (TaskId, u32),
        partition: u32,
        progress: &Progress,
    ) -> Option<(PathBuf, u64)> {
        let mut state = self.shared.state();
        loop {
            let of_job = state.jobs.get(job)?;
            match of_job.pieces.get(&output)? {
                Found::Here { partitions, offset } => {
                    let has_it = partitions.contains(&partition);
                    return has_it.then(|| (of_job.path(output), *offset));
                }
                Found::Missing => return None,
                Found::Coming if state.threads == 0 => return None,
                Found::Coming if progress.check_cancelled().is_err() => return None,
                Found::Coming => {
                    let waited = self.shared.changed.wait_timeout(state, LOOK);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
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
    fn path(&self, (map, attempt): (TaskId, u32)) -> PathBuf {
        self.folder.join(format!("ahead-{map}-{attempt}.run"))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next order at a worker that nobody asks now. Without one the thread ends: who asks that worker goes
    /// on with the next order there.
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

    /// Nothing more is fetched ahead from the giver of this piece.
    fn is_fast(&self, Order { job, piece, .. }: &Order) {
        let mut state = self.state();
        let State { jobs, queue, .. } = &mut *state;
        let Some(of_job) = jobs.get_mut(job) else { return };
        of_job.fast.insert(piece.address.clone());
        queue.retain(|order| {
            let is_its = order.job == *job && order.piece.address == piece.address;
            if is_its {
                let Piece { map, attempt, bytes, .. } = order.piece;
                of_job.pieces.insert((map, attempt), Found::Missing);
                of_job.room_bytes += bytes;
            }
            !is_its
        });
    }

    fn ended(&self, order: Order, fetched: Result<(), FetchError>) {
        if fetched.is_err() {
            // It goes with the folder otherwise.
            let _ = fs::remove_file(order.coming());
        }
        let mut state = self.state();
        let Order {
            job, piece: Piece { map, attempt, address, partitions, offset, bytes }, ..
        } = &order;
        state.asked.remove(address);
        let is_here = fetched.is_ok();
        if let Some(of_job) = state.jobs.get_mut(job) {
            let (partitions, offset) = (partitions.clone(), *offset);
            let here = Found::Here { partitions, offset };
            of_job.pieces.insert((*map, *attempt), if is_here { here } else { Found::Missing });
            if !is_here {
                of_job.room_bytes += bytes;
            }
            if let Err(FetchError::Local(_)) = &fetched {
                of_job.stopped.store(true, Relaxed);
            }
        }
        let is_needed = state.jobs.contains_key(job);
        drop(state);
        self.changed.notify_all();
        if let Err(FetchError::Unreadable(why)) = &fetched {
            tracing::debug!("jobs: not fetched ahead, of task {map} of job {job}: {why}");
        }
        if let Err(FetchError::Local(error)) = &fetched {
            tracing::debug!("jobs: no more is fetched ahead for job {job}: {error}");
        }
        if is_here && !is_needed {
            let _ = fs::remove_file(&order.path);
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
        let (began, untold) = (Instant::now(), 0);
        let mut arriving = Arriving { file, stopped: &self.stopped, began, untold };
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
    stopped: &'a AtomicBool,
    /// Since when fewer bytes came than must come in that time, and how many.
    began: Instant,
    untold: u64,
}

impl Write for Arriving<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (least, time) = STEADY;
        if self.stopped.load(Relaxed) || self.untold < least && self.began.elapsed() > time {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "too slow, or not wanted any more",
            ));
        }
        let written = self.file.write(bytes)?;
        self.untold += written as u64;
        if self.untold >= least {
            (self.began, self.untold) = (Instant::now(), 0);
        }
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
        assert_eq!(names(&folder), ["ahead-m000001-0.run"]);
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

    #[test]
    fn from_a_worker_that_gives_fast_no_more_is_fetched_ahead() {
        let (ahead, folder) = (Ahead::default(), TempDir::new().unwrap());
        let path = || folder.path().to_owned();
        let pieces = ["fast:1", "slow:1", "fast:1"];
        let pieces = (1..).zip(pieces).map(|(map, address)| piece(map, address)).collect();
        assert_eq!(ahead.fetch(&job(), pieces, path, || 3 * BYTES), 3);
        let fast = ahead.shared.next().unwrap();
        ahead.shared.is_fast(&fast);
        assert_eq!(find(&ahead, 3, 2), None);
        // What was set aside for it is there for others.
        assert_eq!(ahead.fetch(&job(), vec![piece(4, "fast:1")], path, || 0), 0);
        assert_eq!(ahead.fetch(&job(), vec![piece(5, "slow:1")], path, || 0), 0);
        assert_eq!(find(&ahead, 4, 2), None);
        let state = ahead.shared.state();
        let queued: Vec<u32> = state.queue.iter().map(|order| order.piece.map.number).collect();
        assert_eq!(queued, [2, 5]);
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
