//! A runtime of one thread for the connections to stores, started when the first one is needed. It is
//! there until the process ends.

use std::io;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Builder, Handle};

static RUNNING: Mutex<Option<Handle>> = Mutex::new(None);

/// The runtime.
pub(super) fn runtime() -> io::Result<Handle> {
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*running {
        return Ok(handle.clone());
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name("synod-stores".into()).spawn(run)?;
    *running = Some(handle.clone());
    Ok(handle)
}
