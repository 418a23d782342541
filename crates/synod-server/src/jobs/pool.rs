//! Threads for attempts, used again and again: the allocator keeps a thread's freed memory for that thread,
//! so the next attempt need not have it cleared and mapped anew by the kernel.
//!
//! There are as many as were ever needed at a time. One that has nothing to do for a while ends, and its
//! memory goes back.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a thread waits for something to do.
const IDLE_PATIENCE: Duration = Duration::from_secs(5);

type Body = Box<dyn FnOnce() + Send>;

/// The threads of one worker. Dropped, it lets them end when they are done.
#[derive(Debug, Default)]
pub(super) struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Threads that wait, by number; the last one to wait is the first to go.
    idle: Mutex<Vec<(u64, Sender<Body>)>>,
    next: AtomicU64,
}

impl Pool {
    /// Runs `body` on a thread, at once. It must not panic.
    pub(super) fn run(&self, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut body: Body = Box::new(body);
        while let Some((_, thread)) = self.shared.idle().pop() {
            match thread.send(body) {
                Ok(()) => return Ok(()),
                // It has just ended.
                Err(back) => body = back.0,
            }
        }
        let shared = self.shared.clone();
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let thread = std::thread::Builder::new().name("synod-job".into());
        thread.spawn(move || serve(&shared, number, body)).map(drop)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.idle().clear();
    }
}

impl Shared {
    fn idle(&self) -> MutexGuard<'_, Vec<(u64, Sender<Body>)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(shared: &Shared, number: u64, first: Body) {
    let mut body = first;
    loop {
        body();
        let (sender, receiver) = channel();
        shared.idle().push((number, sender));
        match next_body(shared, number, &receiver) {
            Some(next) => body = next,
            None => return,
        }
    }
}

fn next_body(shared: &Shared, number: u64, receiver: &Receiver<Body>) -> Option<Body> {
    match receiver.recv_timeout(IDLE_PATIENCE) {
        Ok(body) => return Some(body),
        Err(RecvTimeoutError::Disconnected) => return None,
        Err(RecvTimeoutError::Timeout) => {}
    }
    let mut idle = shared.idle();
    let before = idle.len();
    idle.retain(|(waiting, _)| *waiting != number);
    let still_waiting = idle.len() < before;
    drop(idle);
    // Whoever has taken this thread from the list sends it something, or drops it.
    if still_waiting { None } else { receiver.recv().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::thread::ThreadId;

    /// Runs this many bodies at a time; the threads that they ran on. There are `all` afterwards.
    fn run_together(pool: &Pool, count: usize, all: usize) -> BTreeSet<String> {
        let barrier = Arc::new(std::sync::Barrier::new(count));
        let (sender, receiver) = channel::<ThreadId>();
        for _ in 0..count {
            let (sender, barrier) = (sender.clone(), barrier.clone());
            let body = move || {
                barrier.wait();
                sender.send(std::thread::current().id()).unwrap();
            };
            pool.run(body).unwrap();
        }
        let threads = (0..count).map(|_| format!("{:?}", receiver.recv().unwrap())).collect();
        // They have to come to rest before they can be taken again.
        while pool.shared.idle().len() < all {
            std::thread::yield_now();
        }
        threads
    }

    #[test]
    fn bodies_run_at_the_same_time_on_threads_that_are_used_again() {
        let pool = Pool::default();
        let three = run_together(&pool, 3, 3);
        assert_eq!(three.len(), 3);
        let two = run_together(&pool, 2, 3);
        assert!(two.is_subset(&three), "{two:?} of {three:?}");
        assert_eq!(run_together(&pool, 3, 3), three);
    }
}
