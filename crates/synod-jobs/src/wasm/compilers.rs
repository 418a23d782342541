//! The threads that compile modules, a few for the whole process.
//!
//! A compiler cannot be stopped. Nobody waits for one longer than a limit, but the thread goes on, and what
//! it comes to is kept like that of any other: whoever asks again waits for the same one, or finds it done.
//! What is wrong with a module is known for good; that the machine had no thread, or no time, says nothing
//! about the module and is never kept. Threads that nobody waits for count among the few: a module that
//! takes for ever keeps one of them, not one for each task. Whoever waits and is told to end does so at once.

use crate::progress::Progress;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Stack of a thread.
const STACK_BYTES: usize = 8 << 20;

/// How often whoever waits looks whether it was told to end.
const LOOK: Duration = Duration::from_millis(20);
const NO_THREAD: &str = "there was no thread for its compiler";

/// Why a module was not compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It never will be, wherever it is tried.
    Module(String),
    /// This machine could not, now.
    Host(String),
    /// Whoever wanted it was told to end.
    Cancelled,
}

/// All threads that compile.
pub(super) struct Compilers {
    busy: Mutex<usize>,
    freed: Condvar,
    most: usize,
    limit: Duration,
    stack_bytes: usize,
}

/// What is made of one module.
pub(super) struct Slot<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

enum State<T> {
    Idle,
    Busy,
    Done(Result<T, String>),
}

impl<T> Default for Slot<T> {
    fn default() -> Slot<T> {
        Slot { state: Mutex::new(State::Idle), changed: Condvar::new() }
    }
}

impl<T: Clone> Slot<T> {
    /// What was made, if its compiler has ended; nothing if nobody is about to make it any more.
    fn wait(&self, patience: &mut Patience<'_>) -> Result<Option<Result<T, Fault>>, Fault> {
        let is_busy = |state: &mut State<T>| matches!(state, State::Busy);
        let state = patience.wait(&self.changed, self.lock(), is_busy)?;
        match &*state {
            State::Done(done) => Ok(Some(done.clone().map_err(Fault::Module))),
            State::Idle => Ok(None),
            State::Busy => Err(Fault::Host(format!(
                "it is not compiled within {} s: this machine is slow or busy, or the module needs \
                 smaller functions with fewer loops",
                patience.limit.as_secs()
            ))),
        }
    }
}

impl<T> Slot<T> {
    /// Whether it was idle, and is the caller's to fill now.
    fn claim(&self) -> bool {
        let mut state = self.lock();
        let is_first = matches!(*state, State::Idle);
        if is_first {
            *state = State::Busy;
        }
        is_first
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State<T>) {
        *self.lock() = state;
        self.changed.notify_all();
    }
}

/// How long somebody goes on waiting.
struct Patience<'p> {
    limit: Duration,
    left: Duration,
    progress: &'p Progress,
}

impl Patience<'_> {
    fn new(limit: Duration, progress: &Progress) -> Patience<'_> {
        Patience { limit, left: limit, progress }
    }

    /// Waits while `is_so`, or until there is no patience left: the caller looks which.
    fn wait<'g, S>(
        &mut self,
        changed: &Condvar,
        mut guard: MutexGuard<'g, S>,
        mut is_so: impl FnMut(&mut S) -> bool,
    ) -> Result<MutexGuard<'g, S>, Fault> {
        loop {
            self.progress.check_cancelled().map_err(|_| Fault::Cancelled)?;
            let look = LOOK.min(self.left);
            let waited = changed.wait_timeout_while(guard, look, &mut is_so);
            let (after, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            guard = after;
            if waited.timed_out() {
                self.left -= look;
            }
            if !waited.timed_out() || self.left.is_zero() {
                return Ok(guard);
            }
        }
    }
}

/// The slots of the modules used last.
pub(super) struct Kept<T> {
    /// By the SHA-256 of the module; the one used last at the end.
    slots: Vec<([u8; 32], Arc<Slot<T>>)>,
    most: usize,
}

impl<T> Kept<T> {
    /// So many, and beside them those that somebody waits for or that are being compiled.
    pub(super) const fn new(most: usize) -> Kept<T> {
        Kept { slots: Vec::new(), most }
    }

    /// The slot of a module.
    pub(super) fn slot(&mut self, hash: [u8; 32]) -> Arc<Slot<T>> {
        let found = match self.slots.iter().position(|(of, _)| *of == hash) {
            Some(at) => self.slots.remove(at),
            None => (hash, Arc::default()),
        };
        // Whoever forgot one that is being compiled would have it compiled a second time beside the first.
        while self.slots.len() >= self.most
            && let Some(oldest) =
                self.slots.iter().position(|(_, slot)| Arc::strong_count(slot) == 1)
        {
            self.slots.remove(oldest);
        }
        let slot = Arc::clone(&found.1);
        self.slots.push(found);
        slot
    }
}

impl Compilers {
    /// At most so many at a time, and nobody waits longer than this: once for a thread, once for its work.
    pub(super) const fn new(most: usize, limit: Duration) -> Compilers {
        let (busy, freed) = (Mutex::new(0), Condvar::new());
        Compilers { busy, freed, most, limit, stack_bytes: STACK_BYTES }
    }

    /// What is in the slot, or comes of `compile`. Ends soon after `progress` is cancelled; a thread that
    /// has begun goes on.
    pub(super) fn get<T: Clone + Send + 'static>(
        &'static self,
        slot: &Arc<Slot<T>>,
        progress: &Progress,
        compile: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, Fault> {
        let mut patience = Patience::new(self.limit, progress);
        loop {
            if slot.claim() {
                self.start(slot, progress, compile)?;
                let done = slot.wait(&mut patience)?;
                // Nobody but its own thread ends what has a thread.
                return done.unwrap_or_else(|| Err(Fault::Host(NO_THREAD.to_owned())));
            }
            // Whoever was first may have been told to end before there was a thread: the next one is first.
            if let Some(done) = slot.wait(&mut patience)? {
                return done;
            }
        }
    }

    /// Without success the slot is idle again, and may be busy with somebody else's compiler already.
    fn start<T: Send + 'static>(
        &'static self,
        slot: &Arc<Slot<T>>,
        progress: &Progress,
        compile: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<(), Fault> {
        let mut patience = Patience::new(self.limit, progress);
        let waited = patience.wait(&self.freed, self.lock(), |busy| *busy >= self.most);
        let mut busy = waited.inspect_err(|_| slot.set(State::Idle))?;
        if *busy >= self.most {
            slot.set(State::Idle);
            let most = self.most;
            return Err(Fault::Host(format!(
                "{most} other modules are being compiled, and none comes to an end"
            )));
        }
        *busy += 1;
        drop(busy);
        let place = Place { compilers: self, slot: Arc::clone(slot), began: false, made: None };
        let work = move || {
            let mut place = place;
            place.began = true;
            place.made = Some(compile());
        };
        let thread = std::thread::Builder::new().name("wasm-compiler".to_owned());
        // Without a thread the place is dropped with the work.
        let started = thread.stack_size(self.stack_bytes).spawn(work);
        started.map(drop).map_err(|error| Fault::Host(format!("{NO_THREAD}: {error}")))
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread's place among the few; given back however it ends.
struct Place<T> {
    compilers: &'static Compilers,
    slot: Arc<Slot<T>>,
    /// There was a thread: what becomes of it from then on is the module's doing.
    began: bool,
    made: Option<Result<T, String>>,
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        self.slot.set(match (self.made.take(), self.began) {
            (Some(made), _) => State::Done(made),
            (None, true) => State::Done(Err("the compiler has panicked over it".to_owned())),
            (None, false) => State::Idle,
        });
        *self.compilers.lock() -= 1;
        self.compilers.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    const SHORT: Duration = Duration::from_millis(20);
    /// Nothing takes this long on the slowest machine.
    const LONG: Duration = Duration::from_secs(60);

    fn until(what: &str, is_so: impl Fn() -> bool) {
        let began = std::time::Instant::now();
        while !is_so() {
            assert!(began.elapsed() < LONG, "waited in vain until {what}");
            std::thread::yield_now();
        }
    }

    /// Of a job that nobody cancels.
    fn idle() -> Progress {
        Progress::new()
    }

    fn compilers(most: usize, limit: Duration) -> &'static Compilers {
        Box::leak(Box::new(Compilers::new(most, limit)))
    }

    /// A compiler that goes on until it is told to end, or nobody can tell it any more.
    fn slow() -> (Sender<()>, impl FnOnce() -> Result<u32, String> + Send + 'static) {
        let (end, ended): (Sender<()>, Receiver<()>) = channel();
        (end, move || {
            let _ended = ended.recv();
            Ok(7)
        })
    }

    fn host_fault(got: Result<u32, Fault>) -> String {
        match got {
            Err(Fault::Host(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_takes_too_long_for_one_is_there_for_the_next_and_is_made_only_once() {
        let compilers = compilers(2, SHORT);
        let slot = Arc::new(Slot::default());
        let (end, compile) = slow();
        let why = host_fault(compilers.get(&slot, &idle(), compile));
        assert!(why.contains("not compiled within"), "{why}");
        let again = || -> Result<u32, String> { panic!("it is being made") };
        let why = host_fault(compilers.get(&slot, &idle(), again));
        assert!(why.contains("not compiled within"), "{why}");
        end.send(()).unwrap();
        until("it is made", || matches!(*slot.lock(), State::Done(_)));
        assert_eq!(compilers.get(&slot, &idle(), again), Ok(7));
    }

    #[test]
    fn compilers_that_nobody_waits_for_are_no_more_than_the_few_there_may_be() {
        let compilers = compilers(2, SHORT);
        let mut ends = Vec::new();
        for _ in 0..2 {
            let (end, compile) = slow();
            host_fault(compilers.get(&Arc::new(Slot::default()), &idle(), compile));
            ends.push(end);
        }
        let slot = Arc::new(Slot::default());
        for _ in 0..3 {
            let why = host_fault(compilers.get(&slot, &idle(), || Ok(1)));
            assert!(why.contains("2 other modules"), "{why}");
        }
        assert_eq!(*compilers.lock(), 2);
        drop(ends);
        until("there is room again", || *compilers.lock() == 0);
        // That there was no room is not kept. Those who may wait longer get what the others would.
        assert_eq!(self::compilers(2, LONG).get(&slot, &idle(), || Ok(1)), Ok(1));
    }

    #[test]
    fn that_there_was_no_thread_says_nothing_about_the_module_to_anybody_who_waits() {
        // More than there are addresses.
        let without = Compilers { stack_bytes: 1 << 50, ..Compilers::new(2, LONG) };
        let without: &'static Compilers = Box::leak(Box::new(without));
        let slot = Arc::new(Slot::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let why = host_fault(without.get(&slot, &idle(), || Ok(1)));
                        assert!(why.contains("thread for its compiler"), "{why}");
                    }
                });
            }
        });
        assert_eq!(*without.lock(), 0);
        assert_eq!(compilers(1, LONG).get(&slot, &idle(), || Ok(1)), Ok(1));
        // Who waits when the work is dropped learns the same.
        let slot = Arc::new(Slot::<u32>::default());
        slot.set(State::Busy);
        *without.lock() += 1;
        drop(Place { compilers: without, slot: Arc::clone(&slot), began: false, made: None });
        assert!(matches!(*slot.lock(), State::Idle));
    }

    #[test]
    fn of_all_modules_those_used_last_are_kept_and_those_that_are_being_compiled() {
        let compilers = compilers(1, SHORT);
        let hash = |number: u8| [number; 32];
        let mut kept = Kept::new(2);
        let (end, compile) = slow();
        let slot = kept.slot(hash(0));
        let first = Arc::downgrade(&slot);
        host_fault(compilers.get(&slot, &idle(), compile));
        drop(slot);
        for number in 1..9 {
            kept.slot(hash(number));
        }
        assert_eq!(kept.slots.len(), 2);
        let again = || -> Result<u32, String> { panic!("it is being made") };
        let why = host_fault(compilers.get(&kept.slot(hash(0)), &idle(), again));
        assert!(why.contains("not compiled within"), "{why}");
        end.send(()).unwrap();
        until("its thread has ended", || first.strong_count() == 1);
        assert_eq!(compilers.get(&kept.slot(hash(0)), &idle(), again), Ok(7));
        // As many others as are kept, and it is forgotten.
        for number in 1..3 {
            assert!(first.upgrade().is_some());
            kept.slot(hash(number));
        }
        assert!(first.upgrade().is_none());
        // Those that somebody holds are kept, however many.
        let held: Vec<_> = (10..15).map(|number| kept.slot(hash(number))).collect();
        assert_eq!(kept.slots.len(), 5);
        drop(held);
        kept.slot(hash(1));
        assert_eq!(kept.slots.len(), 2);
    }

    #[test]
    fn what_is_wrong_with_a_module_is_known_for_good_and_so_is_that_its_compiler_panics() {
        let compilers = compilers(1, LONG);
        let slot = Arc::new(Slot::<u32>::default());
        for _ in 0..2 {
            let got = compilers.get(&slot, &idle(), || Err("it is bad".to_owned()));
            assert_eq!(got, Err(Fault::Module("it is bad".to_owned())));
        }
        let slot = Arc::new(Slot::<u32>::default());
        for _ in 0..2 {
            let got = compilers.get(&slot, &idle(), || panic!("as a compiler may"));
            assert_eq!(got, Err(Fault::Module("the compiler has panicked over it".to_owned())));
        }
        assert_eq!(compilers.get(&Arc::new(Slot::default()), &idle(), || Ok(1)), Ok(1));
    }

    #[test]
    fn whoever_is_told_to_end_waits_no_longer_and_the_others_get_what_they_wait_for() {
        let compilers = compilers(1, LONG);
        let slot = Arc::new(Slot::<u32>::default());
        let (end, compile) = slow();
        let (waiting, starting) = (Progress::new(), Progress::new());
        let other = Arc::new(Slot::<u32>::default());
        std::thread::scope(|scope| {
            let first = scope.spawn(|| compilers.get(&slot, &idle(), compile));
            until("it is being made", || *compilers.lock() == 1);
            let told =
                scope.spawn(|| compilers.get(&slot, &waiting, || panic!("it is being made")));
            // There is no thread for this one; the next one wants the same.
            let queued = scope.spawn(|| compilers.get(&other, &starting, || panic!("cancelled")));
            until("it is claimed", || matches!(*other.lock(), State::Busy));
            let next = scope.spawn(|| compilers.get(&other, &idle(), || Ok(8)));
            waiting.cancel();
            starting.cancel();
            assert_eq!(told.join().unwrap(), Err(Fault::Cancelled));
            assert_eq!(queued.join().unwrap(), Err(Fault::Cancelled));
            assert_eq!(*compilers.lock(), 1, "the first one goes on");
            end.send(()).unwrap();
            assert_eq!(first.join().unwrap(), Ok(7));
            assert_eq!(next.join().unwrap(), Ok(8));
        });
    }
}
