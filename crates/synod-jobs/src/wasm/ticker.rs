//! Time for modules: a thread that lets the engine's epoch go on while any module may be running.
//!
//! A module asks at every call and every turn of a loop whether its epoch is over; that costs it a load
//! and a comparison. Counting instructions would not bound time: one that works on much memory at once
//! counts as one. The thread ends with the last task that needs it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use wasmtime::Engine;

/// How long an epoch is. A module may run one longer than its limit.
const TICK: Duration = Duration::from_millis(10);

static TICKER: Ticker =
    Ticker { state: Mutex::new(State { users: 0, runs: false }), ended: Condvar::new() };
static NOW: AtomicU64 = AtomicU64::new(0);

struct Ticker {
    state: Mutex<State>,
    ended: Condvar,
}

struct State {
    users: usize,
    /// Whether there is a thread.
    runs: bool,
}

/// Epochs go on while one of these lives.
pub(super) struct Ticking(());

impl Ticking {
    /// Begins, with a thread if there is none.
    pub fn begin(engine: &'static Engine) -> std::io::Result<Ticking> {
        let mut state = lock();
        if !state.runs {
            let thread = std::thread::Builder::new().name("wasm-ticker".to_owned());
            thread.spawn(move || tick(engine))?;
            state.runs = true;
        }
        state.users += 1;
        Ok(Ticking(()))
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        let mut state = lock();
        state.users -= 1;
        if state.users == 0 {
            TICKER.ended.notify_all();
        }
    }
}

/// Epochs in so many milliseconds; at least one.
pub(super) fn ticks(milliseconds: u32) -> u64 {
    u64::from(milliseconds).div_ceil(TICK.as_millis() as u64).max(1)
}

/// Epochs that have gone by.
pub(super) fn now() -> u64 {
    NOW.load(Relaxed)
}

fn tick(engine: &Engine) {
    let mut state = lock();
    while state.users > 0 {
        let waited = TICKER.ended.wait_timeout_while(state, TICK, |state| state.users > 0);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        NOW.fetch_add(1, Relaxed);
        engine.increment_epoch();
    }
    state.runs = false;
}

fn lock() -> MutexGuard<'static, State> {
    TICKER.state.lock().unwrap_or_else(PoisonError::into_inner)
}
