//! A worker that is a process of its own: it has no node, and follows the records of a Synod or an etcd
//! cluster as a client does. It may be elected coordinator like any other.
//!
//! Told to stop, it takes nothing new, ends what it runs, and serves its map outputs until no running job
//! needs them; then it leaves. Told twice, or after a limit, it leaves at once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use synod_client::{Kv, Remote, RemoteOptions};
use synod_node::member::host_and_port;
use tokio::sync::{oneshot, watch};

use super::host::host_of_this_process;
use super::moments::Moments;
use super::{JobFiles, JobService, JobsOptions, JobsPage, NodeFacts, port};
use crate::data_folder::DataFolder;
use crate::error::{OptionsError, ServerError};
use crate::listeners::{are_loopback, bind_all};

/// What a worker is told.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Its name, for people.
    pub name: String,
    /// The cluster that holds the jobs' records: `host:port`, of Synod or of etcd.
    pub endpoints: Vec<String>,
    /// Where it listens: `host:port`; port 0 picks a free one.
    pub listen: String,
    /// What other workers are told to connect to; `None`: where it listens.
    pub advertise: Option<String>,
    /// Listen beyond loopback although nothing is encrypted and nobody is asked who they are.
    pub insecure: bool,
    /// Where map outputs are kept. Created if missing; no other process uses it.
    pub data: PathBuf,
    /// Slots, limits, whether commands are allowed.
    pub jobs: JobsOptions,
    /// How long it goes on serving its outputs when it is told to stop.
    pub drain_limit: Duration,
}

impl WorkerOptions {
    /// A worker of this name on a free loopback port.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>, name: impl Into<String>, endpoints: Vec<String>) -> Self {
        WorkerOptions {
            name: name.into(),
            endpoints,
            listen: "127.0.0.1:0".into(),
            advertise: None,
            insecure: false,
            data: data.into(),
            jobs: JobsOptions::default(),
            drain_limit: DRAIN_LIMIT,
        }
    }
}

/// Where a worker is, once it follows the records.
#[derive(Clone, Debug)]
pub struct WorkerReady {
    /// Its name.
    pub name: String,
    /// Where its outputs are fetched.
    pub address: SocketAddr,
}

/// Runs a worker in this thread until SIGINT or SIGTERM. `ready` is called once it has read the records.
pub fn run_worker(
    options: WorkerOptions,
    ready: impl FnOnce(WorkerReady),
) -> Result<(), ServerError> {
    options.jobs.check()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("synod-blocking")
        .build()
        .map_err(ServerError::Runtime)?;
    let ended = runtime.block_on(async {
        let (drain, stop) = halt_on_signals(options.drain_limit).map_err(ServerError::Runtime)?;
        let bad = |error: synod_client::ClientError| OptionsError::BadAddress {
            address: options.endpoints.join(","),
            why: error.to_string(),
        };
        let kv = Remote::new(&options.endpoints, RemoteOptions::default()).map_err(bad)?;
        serve(kv, options, ready, drain, stop).await
    });
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    ended
}

/// A worker over any store.
async fn serve<K: Kv>(
    kv: K,
    options: WorkerOptions,
    ready: impl FnOnce(WorkerReady),
    drain: watch::Receiver<bool>,
    stop: watch::Receiver<bool>,
) -> Result<(), ServerError> {
    // Held until the end.
    let folder = DataFolder::open(&options.data)?;
    let sockets = bind_all(std::slice::from_ref(&options.listen), options.insecure)?;
    let only_here = are_loopback(&sockets);
    let none = || OptionsError::BadAddress {
        address: options.listen.clone(),
        why: "it names no address of this machine".into(),
    };
    let address = sockets.iter().find_map(|socket| socket.local_addr().ok()).ok_or_else(none)?;
    let told = options.advertise.as_deref().map(host_and_port);
    let facts = NodeFacts {
        name: options.name.clone(),
        address: told.map_or_else(|| address.to_string(), str::to_owned),
        folder: folder.jobs_path(),
        runs_commands: options.jobs.commands.unwrap_or(only_here),
        host: host_of_this_process(),
        moments: Moments::default(),
    };
    let files = JobFiles::new(folder.jobs_path());
    let page = JobsPage::new(kv.clone(), options.name.clone());
    let mut ports = tokio::task::JoinSet::new();
    for socket in sockets {
        let socket = tokio::net::TcpListener::from_std(socket).map_err(ServerError::Runtime)?;
        ports.spawn(port::serve(socket, files.clone(), page.clone()));
    }
    let (following, followed) = oneshot::channel();
    let service = JobService::new(kv, facts, options.jobs, stop)
        .draining_when(drain)
        .telling_when_it_follows(following)
        .run();
    tokio::pin!(service);
    tokio::select! {
        () = &mut service => return Ok(()),
        followed = followed => {
            if followed.is_ok() {
                ready(WorkerReady { name: options.name, address });
            }
        }
    }
    service.await;
    Ok(())
}

/// The first signal drains, the second one or the end of the limit stops, a third one ends the process.
fn halt_on_signals(
    limit: Duration,
) -> std::io::Result<(watch::Receiver<bool>, watch::Receiver<bool>)> {
    use tokio::signal::unix::{SignalKind, signal};
    let (drain, draining) = watch::channel(false);
    let (stop, stopped) = watch::channel(false);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        next().await;
        tracing::info!("leaving as soon as nobody needs this worker's outputs");
        drain.send_replace(true);
        // Either way it is time to go.
        drop(tokio::time::timeout(limit, next()).await);
        stop.send_replace(true);
        next().await;
        std::process::exit(1);
    });
    Ok((draining, stopped))
}

/// Unless the options say otherwise.
const DRAIN_LIMIT: Duration = Duration::from_mins(10);
/// What still blocks at the end is not waited for longer than this.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
