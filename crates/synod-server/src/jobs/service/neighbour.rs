//! Notices at once that a worker's process has ended, where a lease would take seconds to.
//!
//! The workers stand in a ring by their ids, and each holds idle TCP connections to the ports of the next
//! two. When a process ends, its system closes the connection and refuses a new one: then a neighbour
//! ends the lease that the dead one has left. Nothing relies on it: a machine that is gone refuses
//! nothing, and its lease ends by itself. Nor can it do harm: whoever lives and loses its lease registers
//! again. A port that never answered (another network, a filter) proves nothing when it refuses.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use synod_base::{LeaseId, Revision};
use synod_client::{ClientError, Kv};
use synod_jobs::cluster::{View, WorkerId};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};

use crate::jobs::moments::Moments;

/// One of the next in the ring.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Neighbour {
    id: WorkerId,
    /// When it was registered: with another lease it is another one.
    created: Revision,
    /// `host:port`.
    address: String,
    node: String,
}

/// Whom this worker minds, and the tasks that do it.
#[derive(Default)]
pub(super) struct Minders {
    /// They end with this value.
    tasks: JoinSet<()>,
    by_neighbour: BTreeMap<Neighbour, AbortHandle>,
}

impl Minders {
    /// Minds the neighbours that a worker has now. Who was one before is minded on: what is known of it
    /// stays.
    pub(super) fn mind<K: Kv>(&mut self, id: &WorkerId, view: &View, kv: &K, moments: &Moments) {
        let now: Vec<Neighbour> = neighbours_of(id, view).collect();
        self.by_neighbour.retain(|neighbour, task| {
            let stays = now.contains(neighbour);
            if !stays {
                task.abort();
            }
            stays
        });
        for neighbour in now {
            self.by_neighbour.entry(neighbour).or_insert_with_key(|neighbour| {
                let (kv, neighbour, moments) = (kv.clone(), neighbour.clone(), moments.clone());
                self.tasks.spawn(async move {
                    until_its_process_ends(&neighbour, &moments).await;
                    end_lease(&kv, &neighbour).await;
                })
            });
        }
        while self.tasks.try_join_next().is_some() {}
    }
}

/// The next ones behind a worker, so that two may die together and both are noticed.
fn neighbours_of(id: &WorkerId, view: &View) -> impl Iterator<Item = Neighbour> {
    let behind = view.workers.iter().filter(move |(other, _)| *other > id);
    let before = view.workers.iter().take_while(move |(other, _)| *other < id);
    behind.chain(before).take(MINDED).map(|(id, worker)| Neighbour {
        id: id.clone(),
        created: worker.created,
        address: worker.record.address.clone(),
        node: worker.record.node.clone(),
    })
}

/// Resolves when a port that has taken connections refuses them, twice in a row.
async fn until_its_process_ends(neighbour: &Neighbour, moments: &Moments) {
    let (mut has_answered, mut refused) = (false, 0);
    while refused < REFUSALS {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&neighbour.address)).await {
            Ok(Ok(stream)) => {
                (has_answered, refused) = (true, 0);
                moments.minds(&neighbour.node);
                until_it_closes(stream).await;
            }
            Ok(Err(error)) if has_answered && error.kind() == ErrorKind::ConnectionRefused => {
                refused += 1;
                moments.misses(&neighbour.node, neighbour.created);
            }
            _ => {
                refused = 0;
                moments.misses(&neighbour.node, neighbour.created);
                tokio::time::sleep(UNREACHABLE_PAUSE).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn until_it_closes(mut stream: TcpStream) {
    // Nobody has asked it anything, but whatever it says is no reason to go.
    let mut ignored = [0; 64];
    while let Ok(1..) = stream.read(&mut ignored).await {}
}

/// Goes on until it is done: right now the store may be electing a leader for the same reason.
async fn end_lease<K: Kv>(kv: &K, neighbour: &Neighbour) {
    loop {
        match try_end_lease(kv, neighbour).await {
            Ok(ended) => {
                if ended {
                    let node = &neighbour.node;
                    tracing::warn!(
                        "jobs: the process of worker {node} has ended; its tasks go to others"
                    );
                }
                return;
            }
            Err(error) => tracing::debug!("jobs: cannot end the lease of a dead worker: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn try_end_lease<K: Kv>(kv: &K, neighbour: &Neighbour) -> Result<bool, ClientError> {
    let (_, registration) = kv.get(neighbour.id.key()).await?;
    let registration = registration.filter(|found| found.create_revision == neighbour.created);
    let lease = registration.map(|found| found.lease).filter(|lease| *lease != LeaseId::NONE);
    let Some(lease) = lease else { return Ok(false) };
    match kv.lease_revoke(lease).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_lease_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// How many neighbours each worker has.
const MINDED: usize = 2;
/// One refusal may be a port that is just opened anew.
const REFUSALS: u32 = 2;
/// Between connections.
const PAUSE: Duration = Duration::from_millis(100);
/// Before a port that cannot be reached is tried again.
const UNREACHABLE_PAUSE: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
