//! From options, folder and sockets to a running node: whose folder is it, which kind of start is
//! this, boot, wire everything together, serve.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use synod_base::ClusterId;
use synod_base::disk::RealDisk;
use synod_base::limits::MAX_WAITING_PROPOSALS;
use synod_client::{Embedded, NodeHandle};
use synod_node::{LogRetention, Member, NodeConfig, Request, Start, boot, member::host_and_port};
use synod_state::kv::{KeyRange, RangeRequest};
use synod_storage::engine::{Engine, FjallEngine, FjallOptions};
use synod_storage::wal::WalLimits;
use tokio::sync::{mpsc, watch};

use crate::client::ClientPort;
use crate::cluster_naming::{cluster_id, first_members};
use crate::data_folder::{DataFolder, Identity, Stage};
use crate::engine_watch::WatchedEngine;
use crate::error::ServerError;
use crate::jobs::{JobFiles, JobService, JobsPage, Moments, NodeFacts, host_of_this_process};
use crate::listeners::Listeners;
use crate::metrics::Metrics;
use crate::node_loop::{Clock, LoopParts, NodeLoop};
use crate::options::{InitialState, ServerOptions};
use crate::peer::{
    Listener, Local, PEER_EVENTS_WAITING, Transport, check_founder, join_cluster, refuse_all,
};
use crate::server::ReadyInfo;

/// A node with its ports open, about to run.
pub(crate) struct Running {
    info: ReadyInfo,
    node: NodeHandle,
    node_loop: NodeLoop,
    clients: ClientPort,
    jobs: Option<JobService<Embedded>>,
    /// Held until the end.
    _folder: DataFolder,
}

/// What the folder, or the first start, says.
struct Origin {
    identity: Identity,
    start: Start,
    /// Members that are known before the node knows any.
    known: Vec<Member>,
}

impl Running {
    /// Boots the node. `None` if it was told to stop while it waited to join. `on_stuck` is called, in
    /// another thread, if the store takes a write and does not come back.
    pub(crate) async fn boot(
        options: ServerOptions,
        folder: DataFolder,
        listeners: Listeners,
        mut stop: watch::Receiver<bool>,
        on_stuck: fn(),
    ) -> Result<Option<Self>, ServerError> {
        let early = listeners.peers_to_tokio().map_err(ServerError::Runtime)?;
        let origin = tokio::select! {
            // A restart has nobody to ask: then no peer meets the early port.
            biased;
            origin = find_origin(&options, &folder, &listeners) => origin?,
            never = refuse_all(early) => match never {},
            _ = stop.wait_for(|stop| *stop) => return Ok(None),
        };
        let identity = origin.identity;
        let info = ReadyInfo {
            name: options.name.clone(),
            node: identity.node,
            cluster: identity.cluster,
            client_addresses: listeners.client_addresses(),
            peer_addresses: listeners.peer_addresses(),
        };
        let clock = Clock::start();
        let engine = open_engine(&folder, &options, on_stuck)?;
        let urls = client_urls(&options, &listeners);
        let config = NodeConfig {
            node: identity.node,
            cluster: identity.cluster,
            name: options.name.clone(),
            client_urls: urls.clone(),
            seed: fastrand::u64(..),
            timing: options.timing,
            log_retention: LogRetention::default(),
            wal_limits: WalLimits::default(),
        };
        let disk = Arc::new(RealDisk::new(folder.path()));
        let (node, wal) = boot(disk, engine.clone(), config, origin.start, clock.now())?;
        if identity.stage != Stage::Started {
            folder.store(&Identity { stage: Stage::Started, ..identity.clone() })?;
        }

        let only_here = listeners.are_loopback();
        let (client_sockets, peer_sockets) =
            listeners.into_tokio().map_err(ServerError::Runtime)?;
        let (peer_event, peer_events) = mpsc::channel(PEER_EVENTS_WAITING);
        let peer_url = identity.peer_urls.first().cloned().unwrap_or_default();
        let local = Local { cluster: identity.cluster, node: identity.node };
        let peers = Listener::new(local, peer_event.clone());
        let mut transport = Transport::new(local, peer_url, peer_event);
        for member in origin.known.iter().filter(|m| m.id != identity.node) {
            transport.learn(member.id, member.peer_address().unwrap_or_default());
        }
        let metrics = Arc::new(Metrics::new());
        let (handle, inbox) = NodeHandle::new(MAX_WAITING_PROPOSALS);
        let jobs = options.jobs.enabled.then(|| {
            let address = fetch_address(&urls);
            let facts = NodeFacts {
                name: options.name.clone(),
                address,
                folder: folder.jobs_path(),
                runs_commands: options.jobs.commands.unwrap_or(only_here),
                host: host_of_this_process(),
                moments: Moments::default(),
            };
            let store = Embedded::new(handle.clone());
            JobService::new(store, facts, options.jobs.clone(), stop.clone())
                .counting_in(metrics.jobs.clone())
        });
        let job_files = jobs.as_ref().map(|_| JobFiles::new(folder.jobs_path()));
        let jobs_page = JobsPage::new(Embedded::new(handle.clone()), options.name.clone());
        let clients = ClientPort::new(
            synod_api::etcd::service::routes(&handle),
            handle.clone(),
            metrics.clone(),
            (job_files, jobs_page),
            &options,
            stop.clone(),
        );
        let node_loop = NodeLoop::new(LoopParts {
            node,
            wal,
            engine,
            transport,
            inbox,
            peer_events,
            metrics,
            data: folder.path().to_owned(),
            disk_reserve_bytes: options.disk_reserve_bytes,
            stop,
            clock,
        });
        for socket in peer_sockets {
            tokio::spawn(peers.clone().run(socket));
        }
        for socket in client_sockets {
            tokio::spawn(clients.clone().run(socket));
        }
        Ok(Some(Running { info, node: handle, node_loop, clients, jobs, _folder: folder }))
    }

    /// A handle on the node.
    pub(crate) fn node(&self) -> &NodeHandle {
        &self.node
    }

    /// Who it is, and where.
    pub(crate) fn info(&self) -> &ReadyInfo {
        &self.info
    }

    /// Serves until told to stop. `ready` is called after the first linearizable read.
    pub(crate) async fn serve(self, ready: impl FnOnce(ReadyInfo)) -> Result<(), ServerError> {
        let jobs = self.jobs.map(|jobs| tokio::spawn(jobs.run()));
        let node_loop = self.node_loop.run();
        tokio::pin!(node_loop);
        let ended = tokio::select! {
            ended = &mut node_loop => Some(ended),
            () = first_read(&self.node) => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                ready(self.info);
                node_loop.await
            }
        };
        // Requests under way have been answered, by an error at worst: let the answers leave.
        self.clients.wait_closed(GOODBYE_TIMEOUT).await;
        if let Some(jobs) = jobs {
            // Its own waits have limits.
            drop(jobs.await);
        }
        ended
    }
}

/// Whose folder is it? A new one gets an identity, worked out or asked for.
async fn find_origin(
    options: &ServerOptions,
    folder: &DataFolder,
    listeners: &Listeners,
) -> Result<Origin, ServerError> {
    if let Some(identity) = folder.identity()? {
        identity.check(folder.path(), &options.name, &options.cluster_token)?;
        return Ok(Origin { identity, start: Start::Restart, known: Vec::new() });
    }
    let mut own_urls = options.told_peer_urls();
    if own_urls.is_empty() {
        own_urls = listeners.peer_addresses().iter().map(|a| format!("http://{a}")).collect();
    }
    let others: Vec<String> = options
        .initial_cluster
        .iter()
        .filter(|(name, _)| *name != options.name)
        .map(|(_, url)| url.clone())
        .filter(|url| own_urls.iter().all(|u| host_and_port(u) != host_and_port(url)))
        .collect();
    let origin = match options.initial_state {
        InitialState::New => {
            let origin = found_cluster(options, own_urls);
            check_founder(origin.identity.cluster, origin.identity.node, &others).await?;
            origin
        }
        InitialState::Existing => {
            let (answer, member) = join_cluster(&own_urls, &others, options.join_timeout).await?;
            let identity = Identity {
                cluster: answer.cluster,
                cluster_token: options.cluster_token.clone(),
                node: member.id,
                name: options.name.clone(),
                peer_urls: own_urls,
                stage: Stage::Starting,
            };
            Origin { identity, start: Start::Join, known: answer.members }
        }
    };
    folder.store(&origin.identity)?;
    Ok(origin)
}

fn found_cluster(options: &ServerOptions, own_urls: Vec<String>) -> Origin {
    let mut initial = options.initial_cluster.clone();
    if initial.is_empty() {
        initial = own_urls.iter().map(|url| (options.name.clone(), url.clone())).collect();
    }
    let members = first_members(&options.cluster_token, &initial);
    let own = members
        .iter()
        .find(|member| member.name == options.name)
        .expect("checked options name this member");
    let cluster = match &members[..] {
        // Nobody else has to work it out, and a later cluster with these flags is another one: members
        // that were added to this one must not take its founder back if it lost its folder, since it
        // would have nobody to ask.
        [_] => ClusterId(fastrand::u64(1..)),
        _ => cluster_id(&options.cluster_token, &members),
    };
    let identity = Identity {
        cluster,
        cluster_token: options.cluster_token.clone(),
        node: own.id,
        name: options.name.clone(),
        peer_urls: own_urls,
        stage: Stage::Starting,
    };
    Origin { identity, start: Start::Bootstrap(members.clone()), known: members }
}

fn open_engine(
    folder: &DataFolder,
    options: &ServerOptions,
    on_stuck: fn(),
) -> Result<Arc<dyn Engine>, ServerError> {
    let path: PathBuf = folder.engine_path();
    let defaults = FjallOptions::default();
    // The node stops taking writes before the store has to.
    let reserve_bytes = defaults.reserve_bytes.min(options.disk_reserve_bytes / 4);
    let engine = FjallEngine::open(&path, FjallOptions { reserve_bytes, ..defaults })?;
    let watched = WatchedEngine::new(Arc::new(engine), STUCK_AFTER, on_stuck);
    Ok(Arc::new(watched.map_err(ServerError::Runtime)?))
}

fn client_urls(options: &ServerOptions, listeners: &Listeners) -> Vec<String> {
    if !options.advertise_client.is_empty() {
        return options.advertise_client.clone();
    }
    listeners.client_addresses().iter().map(|address| format!("http://{address}")).collect()
}

/// Where other workers fetch map outputs: `host:port` of the first client URL.
fn fetch_address(urls: &[String]) -> String {
    urls.first().map(|url| host_and_port(url).to_owned()).unwrap_or_default()
}

/// Returns when the node has answered a linearizable read.
async fn first_read(node: &NodeHandle) {
    loop {
        let request = Request::Range {
            request: RangeRequest { range: KeyRange::one("ready"), ..RangeRequest::default() },
            linearizable: true,
        };
        if node.request(request).await.is_ok() {
            return;
        }
        tokio::time::sleep(FIRST_READ_PAUSE).await;
    }
}

/// The store makes a write wait while it merges what came before; on a slow disk that may take a while.
const STUCK_AFTER: Duration = Duration::from_mins(1);

/// Between attempts at the first read.
const FIRST_READ_PAUSE: Duration = Duration::from_millis(20);

/// Requests under way may take this long to leave when the server stops.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);
