//! A server: options in, a running node with its ports out.
//!
//! `run` is the binary's: it blocks, and stops on SIGINT and SIGTERM. `Server::start` is for programs
//! that embed a node: it runs on a thread of its own. Either way sockets, node loop and log share one
//! thread (design, D1); a few more do what blocks for long, like making the store durable.

use std::net::SocketAddr;
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use synod_base::{ClusterId, NodeId};
use synod_client::NodeHandle;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::data_folder::DataFolder;
use crate::error::ServerError;
use crate::listeners::Listeners;
use crate::options::ServerOptions;
use crate::running::Running;

/// Who a running server is, and where.
#[derive(Clone, Debug)]
pub struct ReadyInfo {
    /// Its name.
    pub name: String,
    /// Its id.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Where clients connect.
    pub client_addresses: Vec<SocketAddr>,
    /// Where peers connect.
    pub peer_addresses: Vec<SocketAddr>,
}

/// Runs a server in this thread until SIGINT or SIGTERM, or until it fails. `ready` is called once it
/// serves: when it has answered a linearizable read, which takes a majority of its cluster.
pub fn run(options: ServerOptions, ready: impl FnOnce(ReadyInfo)) -> Result<(), ServerError> {
    let (stop, stopped) = watch::channel(false);
    options.check()?;
    let folder = DataFolder::open(&options.data)?;
    let listeners = Listeners::bind(&options)?;
    let runtime = make_runtime()?;
    let ended = runtime.block_on(async {
        stop_on_signals(stop).map_err(ServerError::Runtime)?;
        match Running::boot(options, folder, listeners, stopped, exit_stuck).await? {
            Some(running) => running.serve(ready).await,
            None => Ok(()),
        }
    });
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    ended
}

/// A server on its own thread, for programs that embed one.
#[derive(Debug)]
pub struct Server {
    node: NodeHandle,
    info: ReadyInfo,
    stop: watch::Sender<bool>,
    ready: std_mpsc::Receiver<()>,
    thread: Option<JoinHandle<Result<(), ServerError>>>,
}

impl Server {
    /// Starts, and returns when the node runs and its ports are open. A cluster of several answers
    /// once a majority of them runs: see [`Server::wait_ready`].
    pub fn start(options: ServerOptions) -> Result<Self, ServerError> {
        options.check()?;
        let folder = DataFolder::open(&options.data)?;
        let listeners = Listeners::bind(&options)?;
        Self::spawn(options, folder, listeners)
    }

    /// As [`Server::start`], on sockets that are bound already.
    pub fn start_on(options: ServerOptions, listeners: Listeners) -> Result<Self, ServerError> {
        options.check()?;
        let folder = DataFolder::open(&options.data)?;
        Self::spawn(options, folder, listeners)
    }

    fn spawn(
        options: ServerOptions,
        folder: DataFolder,
        listeners: Listeners,
    ) -> Result<Self, ServerError> {
        let (stop, stopped) = watch::channel(false);
        let (started, on_started) = std_mpsc::channel();
        let (ready, on_ready) = std_mpsc::channel();
        let body = move || {
            let runtime = make_runtime()?;
            let ended = runtime.block_on(async {
                let booted = Running::boot(options, folder, listeners, stopped, tell_stuck);
                let Some(running) = booted.await? else {
                    return Ok(());
                };
                // Whoever started this may have gone; the server runs all the same.
                drop(started.send((running.node().clone(), running.info().clone())));
                let tell = |_| {
                    // Nobody may be waiting for it.
                    let _told: Result<(), _> = ready.send(());
                };
                running.serve(tell).await
            });
            runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
            ended
        };
        let thread = std::thread::Builder::new()
            .name("synod".into())
            .spawn(body)
            .map_err(ServerError::Runtime)?;
        match on_started.recv() {
            Ok((node, info)) => {
                Ok(Server { node, info, stop, ready: on_ready, thread: Some(thread) })
            }
            // It ended before it ran.
            Err(_) => match join(thread) {
                Err(error) => Err(error),
                Ok(()) => Err(ServerError::Panicked),
            },
        }
    }

    /// A handle on the node.
    #[must_use]
    pub fn node(&self) -> &NodeHandle {
        &self.node
    }

    /// Who it is, and where.
    #[must_use]
    pub fn info(&self) -> &ReadyInfo {
        &self.info
    }

    /// Waits until the server has answered a linearizable read; false if that takes longer than
    /// `patience`, or never comes because it has stopped. True once only.
    #[must_use]
    pub fn wait_ready(&self, patience: Duration) -> bool {
        self.ready.recv_timeout(patience).is_ok()
    }

    /// Stops the server in order, and says how it ended.
    pub fn stop(mut self) -> Result<(), ServerError> {
        self.stop.send_replace(true);
        self.thread.take().map_or(Ok(()), join)
    }
}

impl Drop for Server {
    /// Tells it to stop, and waits: the data folder is free afterwards.
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && let Err(error) = join(thread)
        {
            tracing::error!("server ended: {error}");
        }
    }
}

/// The process is a node and nothing else: who supervises it starts it again, and the log has everything.
fn exit_stuck() {
    tracing::error!("{STUCK}; ending the process, so that it can be started again");
    std::process::exit(1);
}

/// The process is somebody else's.
fn tell_stuck() {
    tracing::error!("{STUCK}; the process should be started again");
}

fn join(thread: JoinHandle<Result<(), ServerError>>) -> Result<(), ServerError> {
    thread.join().unwrap_or(Err(ServerError::Panicked))
}

fn make_runtime() -> Result<Runtime, ServerError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("synod-blocking")
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .build()
        .map_err(ServerError::Runtime)
}

fn stop_on_signals(stop: watch::Sender<bool>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping");
        stop.send_replace(true);
        // A second signal does not wait for anything.
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(1);
    });
    Ok(())
}

const STUCK: &str = "the store has been in one write for more than a minute and does not come back (its \
    background threads may have stopped over an error of the disk)";

/// Threads for what blocks: persists of the store, name look-ups.
const MAX_BLOCKING_THREADS: usize = 4;

/// A persist may be under way when the server stops; it is not waited for longer than this.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
