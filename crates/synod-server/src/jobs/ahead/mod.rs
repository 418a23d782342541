//! Fetches parts of map outputs ahead of the reduces that will want them, while maps still run.
//!
//! Of a map output on another machine the partitions that this worker reduces first come in one piece, into
//! a file in the worker's folder for the job; they go with that folder. Nobody relies on it: what is not
//! here, or does not move, the reduce fetches itself, and what cannot be had it finds out itself, and
//! reports. So trouble here is not told to anybody, and a worker that a piece could not be had from is asked
//! for no more of that job. A few threads do it, no two of them at the same worker, and of the disk no more
//! than the service allows is taken. From a worker that gives so fast that nobody would wait for it nothing
//! more is fetched ahead, either: what that costs the maps is more than it saves the reduces. Which pieces
//! are wanted the service knows (`service/fetching_ahead.rs`); how one comes is in `order.rs`.

mod order;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use synod_jobs::Progress;
use synod_jobs::cluster::shuffle::FetchError;
use synod_jobs::cluster::{JobId, TaskId};

use super::fetch::Connections;
use order::Order;
pub(super) use order::Piece;

/// Threads that fetch ahead, at most.
const THREADS: usize = 4;
/// A worker that has given so many bytes at such a rate, bytes per second, is fast: more than a gigabit per
/// second lets through.
const FAST: (u64, f64) = (1 << 20, 2e8);
/// How long a reduce waits for a piece of which nothing comes.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often one who waits looks.
const LOOK: Duration = Duration::from_millis(100);

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
    /// Workers that are being asked, and since when for the piece that it is now.
    asked: BTreeMap<String, Instant>,
}

#[derive(Debug)]
struct OfJob {
    folder: PathBuf,
    /// Tells its files from those of another life of this worker, whose threads may not have ended yet.
    life: u32,
    pieces: BTreeMap<Output, Found>,
    /// What of the disk may still be taken; `None`: nobody has looked.
    room_bytes: Option<u64>,
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
        address: String,
        arrived: Arc<AtomicU64>,
    },
    Here {
        partitions: Range<u32>,
        offset: u64,
    },
    Missing,
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

    /// Has these pieces fetched into the worker's folder for the job; the number of threads that are to
    /// [work](Self::work) for it.
    pub(super) fn fetch(&self, job: &JobId, pieces: Vec<Piece>, folder: &Path) -> usize {
        let mut state = self.shared.state();
        let State { jobs, queue, threads, .. } = &mut *state;
        let of_job = jobs.entry(job.clone()).or_insert_with(|| OfJob {
            folder: folder.to_owned(),
            life: fastrand::u32(..),
            pieces: BTreeMap::new(),
            room_bytes: None,
            given: BTreeMap::new(),
            left_alone: BTreeSet::new(),
            stopped: Arc::default(),
        });
        for piece in pieces {
            let output = (piece.map, piece.attempt);
            let wanted = (1..=of_job.room_bytes.unwrap_or(u64::MAX)).contains(&piece.bytes)
                && !of_job.stopped.load(Relaxed)
                && !of_job.left_alone.contains(&piece.address);
            if !wanted {
                of_job.pieces.insert(output, Found::Missing);
                continue;
            }
            let (partitions, address) = (piece.partitions.clone(), piece.address.clone());
            let arrived = Arc::<AtomicU64>::default();
            let coming = Found::Coming { partitions, address, arrived: arrived.clone() };
            of_job.pieces.insert(output, coming);
            let (path, stopped) = (of_job.path(output), Arc::clone(&of_job.stopped));
            queue.push_back(Order { job: job.clone(), piece, path, arrived, stopped });
        }
        // Those that there are may all be busy.
        let more = queue.len().min(THREADS.saturating_sub(*threads));
        *threads += more;
        more
    }

    /// The body of a thread: fetches what it can. Before the first piece of a job `room_in` makes the job's
    /// folder, and says how many bytes of its disk may be taken.
    pub(super) fn work(&self, room_in: impl Fn(&Path) -> u64) {
        let connections = Connections::default();
        while let Some(order) = self.shared.next() {
            if !self.shared.has_room(&order, &room_in) {
                self.shared.turn_away(&order);
                continue;
            }
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
    /// One that is in the queue goes to its front. Waits as long as it comes and the attempt goes on; who has
    /// waited in vain for a worker that was asked for it need not do so for its other pieces. A worker that
    /// gives another piece all the time is not to blame: this one is only not waited for.
    pub(super) fn find(
        &self,
        job: &JobId,
        output: Output,
        partition: u32,
        progress: &Progress,
    ) -> Option<(PathBuf, u64)> {
        let mut state = self.shared.state();
        let mut seen = None;
        loop {
            let of_job = state.jobs.get(job)?;
            let (address, arrived) = match of_job.pieces.get(&output)? {
                Found::Here { partitions, offset } => {
                    let has_it = partitions.contains(&partition);
                    return has_it.then(|| (of_job.path(output), *offset));
                }
                Found::Coming { partitions, .. } if !partitions.contains(&partition) => {
                    return None;
                }
                Found::Missing => return None,
                Found::Coming { address, arrived, .. } => (address.clone(), arrived.load(Relaxed)),
            };
            let is_queued = state.place_of(job, output).is_some();
            let now = (is_queued, arrived);
            if state.threads == 0 || progress.check_cancelled().is_err() {
                return None;
            }
            match &mut seen {
                None => {
                    state.hurry(job, output);
                    seen = Some((now, Instant::now()));
                }
                Some((before, _)) if *before != now => {
                    progress.note_move();
                    seen = Some((now, Instant::now()));
                }
                Some((_, since)) if is_queued => {
                    // For the piece before it others may have waited already.
                    let before = state.asked.get(&address).copied().unwrap_or(*since);
                    if before.min(*since).elapsed() >= PATIENCE {
                        return None;
                    }
                }
                Some((_, since)) if since.elapsed() >= PATIENCE => {
                    state.leave_alone(job, &address);
                    // If it comes all the same it is there for others.
                    state.jobs.get_mut(job)?.pieces.insert(output, Found::Missing);
                    return None;
                }
                Some(_) => {}
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
        if jobs.keys().all(&is_needed) {
            return;
        }
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
    /// Where in the queue an order is, if nobody has begun it.
    fn place_of(&self, job: &JobId, output: Output) -> Option<usize> {
        let is_it =
            |order: &Order| order.job == *job && (order.piece.map, order.piece.attempt) == output;
        self.queue.iter().position(is_it)
    }

    /// Moves an order to the front of the queue.
    fn hurry(&mut self, job: &JobId, output: Output) {
        let at = self.place_of(job, output);
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
                of_job.pieces.insert((order.piece.map, order.piece.attempt), Found::Missing);
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
        let next = queue.iter().position(|order| !asked.contains_key(&order.piece.address));
        match next.and_then(|next| queue.remove(next)) {
            Some(order) => {
                asked.insert(order.piece.address.clone(), Instant::now());
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

    /// Sets room aside for an order, if there is enough.
    fn has_room(&self, order: &Order, room_in: impl Fn(&Path) -> u64) -> bool {
        let unseen = self.state().jobs.get(&order.job).is_some_and(|job| job.room_bytes.is_none());
        // A disk may take its time: nobody waits for it here.
        let seen = order.path.parent().filter(|_| unseen).map(room_in);
        let mut state = self.state();
        let Some(of_job) = state.jobs.get_mut(&order.job) else { return false };
        // Another thread may have looked meanwhile, and taken some.
        let Some(room) = of_job.room_bytes.or(seen) else { return false };
        let left = room.checked_sub(order.piece.bytes);
        of_job.room_bytes = Some(left.unwrap_or(room));
        left.is_some()
    }

    /// There is no room for an order that was begun.
    fn turn_away(&self, order: &Order) {
        let Order { job, piece, .. } = order;
        let mut state = self.state();
        state.asked.remove(&piece.address);
        if let Some(of_job) = state.jobs.get_mut(job) {
            of_job.pieces.insert((piece.map, piece.attempt), Found::Missing);
        }
        drop(state);
        self.changed.notify_all();
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
                of_job.room_bytes = of_job.room_bytes.map(|room| room + piece.bytes);
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
